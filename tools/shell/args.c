/* args.c: builds popt's table from ours, collects one text per flag, then converts. Converting
 * after collecting keeps popt's own, laxer number parsing out, and lets a flag silence a bad
 * environment variable. */
#define _POSIX_C_SOURCE 200809L
#include "shell/args.h"

#include "shell/console.h"
#include <ctype.h>
#include <popt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_NAMES = 256, MAX_NAME_TEXT = 8192, HELP_COLUMN = 30, HELP_WIDTH = 96 };

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
    bool help;
} parse;

enum { HELP_VALUE = 10000 };

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
    const char *bare = option + strspn(option, "-");
    const char *nearest = args_nearest(bare, p->names, p->n_options);
    if (nearest)
        return console_fail(EXIT_USAGE, "unknown option '%s'; did you mean --%s?", option, nearest);
    return console_fail(EXIT_USAGE, "unknown option '%s'; see %s --help", option, p->command->name);
}

/* Runs popt over argv and fills p->given. */
static int collect(parse *p, int argc, char **argv)
{
    poptContext context =
        poptGetContext("lacuna", argc, (const char **)(void *)argv, p->options, 0);
    if (!context) return console_fail(EXIT_MEMORY, "out of memory");
    int code = ARGS_GO_ON, value = 0;
    while (code == ARGS_GO_ON && (value = poptGetNextOpt(context)) >= 0) {
        if (value == HELP_VALUE) {
            p->help = true;
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

/* ------------------------------------------------------------------ help */

/* Prints `text` from the current column on, wrapped, further lines indented. */
static void print_wrapped(const char *text, int column, int indent)
{
    while (*text) {
        const int n = (int)strcspn(text, " ");
        if (column > indent && column + 1 + n > HELP_WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", n, text);
        column += n;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_flag(const args_flag *flag)
{
    int column = flag->letter ? printf("  -%c, ", flag->letter) : printf("      ");
    column += printf("--%s", flag->name);
    if (flag->value) column += printf(" %s", flag->value);
    if (column >= HELP_COLUMN - 1) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", HELP_COLUMN - column, "");
    print_wrapped(flag->help, HELP_COLUMN, HELP_COLUMN);
    if (!flag->aliases) return;
    printf("%*salso", HELP_COLUMN, "");
    for (const char *alias = flag->aliases; *alias;) {
        const int n = (int)strcspn(alias, ",");
        printf(n <= 3 ? " -%.*s" : " --%.*s", n, alias); /* short ones are typed with one */
        alias += n + (alias[n] == ',');
    }
    putchar('\n');
}

static int print_help(const args_command *command)
{
    printf("usage: %s %s\n\n", command->name, command->usage);
    print_wrapped(command->about, 0, 0);
    for (size_t i = 0; i < command->n_flags; i++) {
        if (command->flags[i].kind == ARGS_GROUP)
            printf("\n%s\n", command->flags[i].help);
        else
            print_flag(&command->flags[i]);
    }
    printf("\n  -h, --help                  print this\n");
    printf("\nLong names work with one dash or two. Each flag can also be set in the environment:\n"
           "LACUNA_ARG_ and its name in capitals, such as LACUNA_ARG_MODEL; a flag wins.\n");
    printf("\nexample:\n%s\n", command->example);
    return console_flush_stdout();
}

int args_parse(args_store *store, const args_command *command, void *target, int argc, char **argv)
{
    parse p = { .command = command, .target = target, .store = store };
    build_options(&p);
    int code = collect(&p, argc, argv);
    if (code == ARGS_GO_ON && p.help) return print_help(command);
    if (code == ARGS_GO_ON) code = apply(&p);
    return code;
}

void args_free(args_store *store)
{
    for (size_t i = 0; i < store->n_owned; i++)
        free(store->owned[i]);
    free(store->owned);
    *store = (args_store){ .owned = NULL };
}
