/* args_help.c: the help of a command, printed from its table of flags: those marked common on one
 * screen, or all by group. */
#include "shell/args.h"

#include "shell/console.h"
#include <string.h>

enum { HELP_COLUMN = 30, HELP_WIDTH = 96 };

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

static void print_flag(const args_flag *flag, bool aliases)
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
    if (!flag->aliases || !aliases) return;
    printf("%*salso", HELP_COLUMN, "");
    for (const char *alias = flag->aliases; *alias;) {
        const int n = (int)strcspn(alias, ",");
        printf(n <= 3 ? " -%.*s" : " --%.*s", n, alias); /* short ones are typed with one */
        alias += n + (alias[n] == ',');
    }
    putchar('\n');
}

static size_t count_flags(const args_command *command)
{
    size_t n = 0;
    for (size_t i = 0; i < command->n_flags; i++)
        n += command->flags[i].kind != ARGS_GROUP;
    return n;
}

static const args_flag *find_flag(const args_command *command, const char *name, size_t n)
{
    for (size_t i = 0; i < command->n_flags; i++) {
        const args_flag *flag = &command->flags[i];
        if (flag->kind != ARGS_GROUP && strlen(flag->name) == n && !strncmp(flag->name, name, n))
            return flag;
    }
    return NULL;
}

/* What people use, on one screen. */
static void print_common(const args_command *command)
{
    putchar('\n');
    for (const char *name = command->common; *name;) {
        const size_t n = strcspn(name, ",");
        const args_flag *flag = find_flag(command, name, n);
        if (flag) print_flag(flag, false);
        name += n + (name[n] == ',');
    }
    printf("  -h, --help                  print this\n"
           "      --help-all              all %zu flags, by group\n",
           count_flags(command));
}

static void print_all(const args_command *command)
{
    for (size_t i = 0; i < command->n_flags; i++) {
        if (command->flags[i].kind == ARGS_GROUP)
            printf("\n%s\n", command->flags[i].help);
        else
            print_flag(&command->flags[i], true);
    }
    printf("\n  -h, --help                  print this\n");
    printf("\nLong names work with one dash or two. Each flag can also be set in the environment:\n"
           "LACUNA_ARG_ and its name in capitals, such as LACUNA_ARG_MODEL; a flag wins.\n");
}

int args_print_help(const args_command *command, bool all)
{
    printf("usage: %s %s\n\n", command->name, command->usage);
    print_wrapped(command->about, 0, 0);
    if (all || !command->common)
        print_all(command);
    else
        print_common(command);
    printf("\nexample:\n%s\n", command->example);
    return console_flush_stdout();
}
