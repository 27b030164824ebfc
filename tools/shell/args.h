/* args.h: the command line of one subcommand, described by a table: flags with one-letter names,
 * aliases, environment variables, strict numbers, and the help printed from the same table.
 * Parsing itself is popt's. Order of precedence: flag, then LACUNA_ARG_<NAME>, then default.
 *
 * A word of one dash and several letters is a long name (-ngl 99), a letter with its number (-n8)
 * or switches together (-vq), and nothing else. */
#ifndef LACUNA_TOOLS_ARGS_H
#define LACUNA_TOOLS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    ARGS_GROUP,  /* not a flag: starts a group in the help; `help` is its title */
    ARGS_SWITCH, /* bool */
    ARGS_TEXT,   /* const char *, owned by the args object */
    ARGS_INT,    /* int, within [min, max] */
    ARGS_FLOAT,  /* float, within [min, max], never NaN */
    ARGS_SEED,   /* uint64_t; "random" and -1 draw one */
    ARGS_SIZE,   /* uint64_t bytes; K, M, G and T multiply by powers of 1024 */
} args_kind;

typedef struct {
    args_kind kind;
    const char *name;    /* canonical: "ctx-size"; the environment spells LACUNA_ARG_CTX_SIZE */
    char letter;         /* 0 = none */
    const char *value;   /* what the help calls the value: "N" */
    size_t at;           /* offset of the field in the target, written only when given */
    double min, max;     /* ARGS_INT and ARGS_FLOAT */
    const char *aliases; /* comma-separated further names, NULL = none */
    const char *help;    /* with the default in words */
} args_flag;

/* A flag of another program, by what people type. It is dropped with one line that says why it has
 * no effect, or refused with a sentence that says what to do. */
typedef enum {
    ARGS_NO_VALUE,
    ARGS_VALUE,
    ARGS_MAYBE_VALUE, /* the next word is its value unless that begins with a dash */
} args_foreign_value;

typedef struct {
    const char *names; /* comma-separated, without dashes */
    args_foreign_value value;
    bool refused;
    const char *why; /* follows the flag as typed and a colon */
} args_foreign;

typedef struct {
    const char *name;    /* as in the messages: "lacuna run" */
    const char *usage;   /* after the name: "-m MODEL -p TEXT [options]" */
    const char *about;   /* a paragraph */
    const char *example; /* one or more command lines */
    const args_flag *flags;
    size_t n_flags;
    const char *common; /* comma-separated names that --help shows, in this order, while --help-all
                           shows all; NULL: both show all */
    const args_foreign *foreign; /* NULL = none; a flag of the command's own comes first */
    size_t n_foreign;
} args_command;

/* Texts handed out by args_parse; zeroed is empty. */
typedef struct {
    char **owned;
    size_t n_owned;
} args_store;

/* Fills the fields of `target`. Exit code, or ARGS_GO_ON when the command should run: --help prints
 * and gives 0; anything wrong prints one sentence and gives 2. */
enum { ARGS_GO_ON = -1 };
int args_parse(args_store *store, const args_command *command, void *target, int argc, char **argv);
void args_free(args_store *store);

/* Prints the help: the common flags where there are such, or `all`. Used by args_parse. */
int args_print_help(const args_command *command, bool all);

/* Strict numbers: the whole text, in range, no NaN. */
bool args_read_int(const char *text, int64_t min, int64_t max, int64_t *out);
bool args_read_float(const char *text, double min, double max, double *out);

/* Whether a list, separated by commas and perhaps blanks, holds the n bytes at `name`. */
bool args_is_listed(const char *list, const char *name, size_t n);

/* The candidate nearest to a mistyped `word`, NULL when none is near. */
const char *args_nearest(const char *word, const char *const *candidates, size_t n_candidates);

#endif
