/* args.c: builds popt's table from ours, looks through the words for flags of other programs and
 * for one-dash words that popt would cut into letters, collects one text per flag, then converts.
 * Converting after collecting keeps popt's own, laxer number parsing out, and lets a flag silence a
 * bad environment variable. */
#define _POSIX_C_SOURCE 200809L
#include "shell/args.h"

#include "shell/console.h"
#include <ctype.h>
#include <popt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_NAMES = 256, MAX_NAME_TEXT = 8192 };

/* Everything one parse needs; lives on the stack of args_parse. */
typedef struct {
    const args_command *command;
    char *target;
    args_store *store;
    struct poptOption options[MAX_NAMES]; /* last entry all zero */
    const char *names[MAX_NAMES];         /* for suggestions */
    size_t n_options;
    char text[MAX_NAME_TEXT]; /* aliases, one after the other */
    size_t n_text;
    const char
        *given[MAX_NAMES]; /* by flag: text of the last use, "" for a switch, NULL = absent */
    const char **words; /* of the command line, without flags of other programs; NULL at the end */
    int n_words;
    bool help, help_all;
} parse;

enum { HELP_VALUE = 10000, HELP_ALL_VALUE };

static void add_option(parse *p, const char *name, char letter, bool takes_text, int value)
{
    if (p->n_options + 1 >= MAX_NAMES) return;
    p->names[p->n_options] = name;
    p->options[p->n_options++] = (struct poptOption){
        .longName = name,
        .shortName = letter,
        .argInfo = (takes_text ? POPT_ARG_STRING : POPT_ARG_NONE) | POPT_ARGFLAG_ONEDASH,
        .val = value,
    };
}

/* Copies n bytes of `name` into the parse, with '-' replaced by `dash`; NULL when full. */
static const char *keep_name(parse *p, const char *name, size_t n, char dash)
{
    if (n + 1 > MAX_NAME_TEXT - p->n_text) return NULL;
    char *copy = p->text + p->n_text;
    for (size_t i = 0; i < n; i++)
        copy[i] = (name[i] == '-' ? dash : name[i]);
    copy[n] = 0;
    p->n_text += n + 1;
    return copy;
}

/* The models' own scripts spell names with underscores, so each name works both ways. */
static void add_name(parse *p, const char *name, size_t n, char letter, bool takes_text, int value)
{
    const char *dashed = keep_name(p, name, n, '-');
    if (dashed) add_option(p, dashed, letter, takes_text, value);
    if (!memchr(name, '-', n)) return;
    const char *underscored = keep_name(p, name, n, '_');
    if (underscored) add_option(p, underscored, 0, takes_text, value);
}

static void build_options(parse *p)
{
    for (size_t i = 0; i < p->command->n_flags; i++) {
        const args_flag *flag = &p->command->flags[i];
        if (flag->kind == ARGS_GROUP) continue;
        const bool takes_text = flag->kind != ARGS_SWITCH;
        const int value = (int)i + 1;
        add_name(p, flag->name, strlen(flag->name), flag->letter, takes_text, value);
        for (const char *alias = flag->aliases; alias && *alias;) {
            const size_t n = strcspn(alias, ",");
            add_name(p, alias, n, 0, takes_text, value);
            alias += n + (alias[n] == ',');
        }
    }
    add_option(p, "help", 'h', false, HELP_VALUE);
    add_option(p, "help-all", 0, false, HELP_ALL_VALUE);
}

static bool takes_text(const struct poptOption *option)
{
    return (option->argInfo & POPT_ARG_MASK) == POPT_ARG_STRING;
}

static const struct poptOption *find_letter(const parse *p, char letter)
{
    for (size_t i = 0; i < p->n_options; i++)
        if (letter && p->options[i].shortName == letter) return &p->options[i];
    return NULL;
}

static const struct poptOption *find_name(const parse *p, const char *name, size_t n)
{
    for (size_t i = 0; i < p->n_options; i++)
        if (strncmp(p->names[i], name, n) == 0 && !p->names[i][n]) return &p->options[i];
    return NULL;
}

/* Takes ownership of `text`. False when out of memory. */
static bool store_text(args_store *store, char *text)
{
    char **owned = realloc(store->owned, (store->n_owned + 1) * sizeof *owned);
    if (!owned) {
        free(text);
        return false;
    }
    store->owned = owned;
    store->owned[store->n_owned++] = text;
    return true;
}

static int fail_unknown(const parse *p, const char *word)
{
    const char *bare = word + strspn(word, "-");
    const char *nearest = args_nearest(bare, p->names, p->n_options);
    const struct poptOption *letter = word[1] == '-' ? NULL : find_letter(p, word[1]);
    if (nearest)
        return console_fail(EXIT_USAGE, "unknown option '%s'; did you mean %s%s?", word,
                            strlen(nearest) <= 3 ? "-" : "--", nearest);
    if (letter && takes_text(letter))
        return console_fail(EXIT_USAGE, "unknown option '%s'; a value stands apart: -%c %s", word,
                            word[1], word + 2);
    return console_fail(EXIT_USAGE, "unknown option '%s'; see %s --help", word, p->command->name);
}

static int fail_option(const parse *p, poptContext context, int problem)
{
    const char *option = poptBadOption(context, POPT_BADOPTION_NOALIAS);
    if (!option) option = "";
    if (problem == POPT_ERROR_NOARG)
        return console_fail(EXIT_USAGE, "%s needs a value; see %s --help", option,
                            p->command->name);
    if (problem == POPT_ERROR_UNWANTEDARG)
        return console_fail(EXIT_USAGE, "%s takes no value; see %s --help", option,
                            p->command->name);
    if (problem != POPT_ERROR_BADOPT)
        return console_fail(EXIT_USAGE, "%s: %s", option, poptStrerror(problem));
    return fail_unknown(p, option);
}

/* ------------------------------------------------------------------ words */

static const args_foreign *find_foreign(const args_command *command, const char *name, size_t n)
{
    for (size_t i = 0; i < command->n_foreign; i++)
        if (args_is_listed(command->foreign[i].names, name, n)) return &command->foreign[i];
    return NULL;
}

/* -n8, or -vq: a letter with its number, or switches. popt takes these apart. */
static bool is_letters(const parse *p, const char *word)
{
    const struct poptOption *first = find_letter(p, word[1]);
    if (!first) return false;
    if (takes_text(first)) {
        const args_kind kind = p->command->flags[first->val - 1].kind;
        const bool is_number = kind == ARGS_INT || kind == ARGS_FLOAT || kind == ARGS_SEED;
        return is_number && isdigit((unsigned char)word[2]);
    }
    for (const char *c = word + 1; *c; c++) {
        const struct poptOption *option = find_letter(p, *c);
        if (!option || takes_text(option)) return false;
    }
    return true;
}

/* Drops a flag of another program after saying why it does nothing, or refuses it. */
static int meet_foreign(const args_foreign *flag, const char *word, bool has_value,
                        const char *next, int *n_used)
{
    const int n_flag = (int)strcspn(word, "=");
    if (flag->refused) return console_fail(EXIT_USAGE, "%.*s: %s", n_flag, word, flag->why);
    if (has_value && flag->value == ARGS_NO_VALUE)
        return console_fail(EXIT_USAGE, "%.*s takes no value", n_flag, word);
    const bool wants = !has_value && flag->value != ARGS_NO_VALUE;
    if (wants && flag->value == ARGS_VALUE && !next)
        return console_fail(EXIT_USAGE, "%s needs a value", word);
    if (wants && next && (flag->value == ARGS_VALUE || next[0] != '-')) ++*n_used;
    console_note("%.*s has no effect: %s", n_flag, word, flag->why);
    return ARGS_GO_ON;
}

/* Looks at one flag. *n_used receives how many words it and its value are, *keep whether popt is to
 * see them. */
static int look_at_flag(const parse *p, const char *word, const char *next, int *n_used, bool *keep)
{
    const bool one_dash = word[1] != '-';
    const char *name = word + (one_dash ? 1 : 2);
    const size_t n = strcspn(name, "=");
    const bool has_value = name[n] == '=';
    const struct poptOption *own =
        one_dash && n == 1 ? find_letter(p, name[0]) : find_name(p, name, n);
    const args_foreign *foreign = own ? NULL : find_foreign(p->command, name, n);
    *n_used = 1;
    *keep = !foreign;
    if (foreign) return meet_foreign(foreign, word, has_value, next, n_used);
    if (!own && !(one_dash && is_letters(p, word))) return fail_unknown(p, word);
    if (own && takes_text(own) && !has_value && next) *n_used = 2;
    return ARGS_GO_ON;
}

/* Fills p->words. */
static int look_through(parse *p, int argc, char **argv)
{
    p->words = calloc((size_t)argc + 1, sizeof *p->words);
    if (!p->words) return console_fail(EXIT_MEMORY, "out of memory");
    for (int i = 0; i < argc;) {
        const bool is_flag = i > 0 && argv[i][0] == '-' && argv[i][1];
        bool keep = true;
        int n_used = 1;
        if (is_flag && strcmp(argv[i], "--") != 0) {
            const int code =
                look_at_flag(p, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &n_used, &keep);
            if (code != ARGS_GO_ON) return code;
        }
        for (int k = 0; keep && k < n_used; k++)
            p->words[p->n_words++] = argv[i + k];
        i += n_used;
    }
    return ARGS_GO_ON;
}

/* Runs popt over the words and fills p->given. */
static int collect(parse *p)
{
    poptContext context = poptGetContext("lacuna", p->n_words, p->words, p->options, 0);
    if (!context) return console_fail(EXIT_MEMORY, "out of memory");
    int code = ARGS_GO_ON, value = 0;
    while (code == ARGS_GO_ON && (value = poptGetNextOpt(context)) >= 0) {
        if (value >= HELP_VALUE) {
            p->help = true;
            p->help_all |= value == HELP_ALL_VALUE;
            continue;
        }
        const size_t at = (size_t)value - 1;
        char *text = poptGetOptArg(context);
        if (p->command->flags[at].kind == ARGS_SWITCH) {
            free(text);
            p->given[at] = "";
        } else if (!text || !store_text(p->store, text)) {
            code = console_fail(EXIT_MEMORY, "out of memory");
        } else {
            p->given[at] = text;
        }
    }
    if (code == ARGS_GO_ON && value < -1) code = fail_option(p, context, value);
    const char *extra = code == ARGS_GO_ON && !p->help ? poptPeekArg(context) : NULL;
    if (extra)
        code = console_fail(EXIT_USAGE, "unexpected argument '%s'; see %s --help", extra,
                            p->command->name);
    poptFreeContext(context);
    return code;
}

static uint64_t random_seed(void)
{
    uint64_t seed = 0;
    FILE *source = fopen("/dev/urandom", "rb");
    const bool got = source && fread(&seed, sizeof seed, 1, source) == 1;
    if (source) fclose(source);
    if (!got) seed = (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
    return seed & UINT64_C(0x1fffffffffffff); /* 53 bits: exact in every JSON reader */
}

static bool read_seed(const char *text, uint64_t *out)
{
    if (strcmp(text, "random") == 0 || strcmp(text, "-1") == 0) {
        *out = random_seed();
        return true;
    }
    uint64_t value = 0;
    for (const char *c = text; *c; c++) {
        if (!isdigit((unsigned char)*c)) return false;
        const uint64_t digit = (uint64_t)(*c - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return *text != 0;
}

static bool read_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 18) return false;
    uint64_t value = strtoull(text, NULL, 10);
    const char *unit = text[n] ? strchr(units, toupper((unsigned char)text[n])) : NULL;
    if (unit) {
        const unsigned shift = 10u * (unsigned)(unit - units + 1);
        if (value > UINT64_MAX >> shift) return false;
        value <<= shift;
        n++;
    }
    if (strcmp(text + n, "") != 0 && strcmp(text + n, "iB") != 0 && strcmp(text + n, "B") != 0)
        return false;
    *out = value;
    return true;
}

static bool read_switch(const char *text, bool *out)
{
    static const char *const yes[] = { "", "1", "on", "true", "yes" };
    static const char *const no[] = { "0", "off", "false", "no" };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (strcmp(text, yes[i]) == 0) return *out = true, true;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (strcmp(text, no[i]) == 0) return *out = false, true;
    return false;
}

/* Converts one text. `label` is what the reader typed: "--steps" or a variable's name. */
static int convert(const args_flag *flag, char *target, const char *text, const char *label)
{
    void *out = target + flag->at;
    int64_t whole = 0;
    double real = 0;
    switch (flag->kind) {
    case ARGS_GROUP: return ARGS_GO_ON;
    case ARGS_TEXT: *(const char **)out = text; return ARGS_GO_ON;
    case ARGS_SWITCH:
        if (read_switch(text, out)) return ARGS_GO_ON;
        return console_fail(EXIT_USAGE, "%s: '%s' is neither on nor off", label, text);
    case ARGS_INT:
        if (!args_read_int(text, (int64_t)flag->min, (int64_t)flag->max, &whole))
            return console_fail(EXIT_USAGE, "%s: '%s' is not a whole number from %.0f to %.0f",
                                label, text, flag->min, flag->max);
        *(int *)out = (int)whole;
        return ARGS_GO_ON;
    case ARGS_FLOAT:
        if (!args_read_float(text, flag->min, flag->max, &real))
            return console_fail(EXIT_USAGE, "%s: '%s' is not a number from %g to %g", label, text,
                                flag->min, flag->max);
        *(float *)out = (float)real;
        return ARGS_GO_ON;
    case ARGS_SEED:
        if (read_seed(text, out)) return ARGS_GO_ON;
        return console_fail(EXIT_USAGE, "%s: '%s' is neither a whole number below 2^64 nor random",
                            label, text);
    case ARGS_SIZE:
        if (read_size(text, out)) return ARGS_GO_ON;
        return console_fail(EXIT_USAGE, "%s: '%s' is not a size such as 512M or 8G", label, text);
    }
    return ARGS_GO_ON;
}

/* Name of the variable that mirrors a flag. */
static void variable_name(const char *flag_name, char *out, size_t n_out)
{
    const int n = snprintf(out, n_out, "LACUNA_ARG_%s", flag_name);
    for (int i = 0; i < n; i++)
        out[i] = (char)(out[i] == '-' ? '_' : toupper((unsigned char)out[i]));
}

static int apply(const parse *p)
{
    for (size_t i = 0; i < p->command->n_flags; i++) {
        const args_flag *flag = &p->command->flags[i];
        if (flag->kind == ARGS_GROUP) continue;
        char label[64];
        const char *text = p->given[i];
        if (text) {
            snprintf(label, sizeof label, "--%s", flag->name);
        } else {
            variable_name(flag->name, label, sizeof label);
            text = getenv(label);
            if (!text || !*text) continue;
        }
        const int code = convert(flag, p->target, text, label);
        if (code != ARGS_GO_ON) return code;
    }
    return ARGS_GO_ON;
}

int args_parse(args_store *store, const args_command *command, void *target, int argc, char **argv)
{
    parse p = { .command = command, .target = target, .store = store };
    build_options(&p);
    int code = look_through(&p, argc, argv);
    if (code == ARGS_GO_ON) code = collect(&p);
    if (code == ARGS_GO_ON && p.help)
        code = args_print_help(command, p.help_all);
    else if (code == ARGS_GO_ON)
        code = apply(&p);
    free(p.words);
    return code;
}

void args_free(args_store *store)
{
    for (size_t i = 0; i < store->n_owned; i++)
        free(store->owned[i]);
    free(store->owned);
    *store = (args_store){ .owned = NULL };
}
