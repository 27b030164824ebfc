/* main.c: the program `lacuna`: finds the subcommand and hands over. Flags belong to the
 * subcommands; the work is the library's. */
#include "commands.h"
#include "shell/args.h"
#include "shell/console.h"
#include "shell/interrupt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    const char *message_name; /* in front of its messages */
    const char *about;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    { "run", "lacuna run", "generate text, or fill the holes of one", cmd_run },
    { "eval", "lacuna eval", "what sparse attention costs a model in quality", cmd_eval },
    { "inspect", "lacuna inspect", "what a model is and how much memory it takes", cmd_inspect },
    { "tokenize", "lacuna tokenize", "text to token ids and back", cmd_tokenize },
    { "bench", "lacuna bench", "how fast this machine is, and the library on it", cmd_bench },
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static int print_help(void)
{
    printf("usage: lacuna COMMAND [options]\n\n"
           "Runs diffusion language models: models that write by filling gaps in a text.\n\n"
           "commands\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].about);
    printf("\n"
           "  lacuna COMMAND --help    its options\n"
           "  lacuna --version         version and what this build can use\n\n"
           "exit status\n"
           "  0 done   1 failed at run time   2 usage   3 unsupported or damaged model\n"
           "  4 does not fit in memory   129, 130, 143 stopped by SIGHUP, Ctrl-C, SIGTERM\n\n"
           "example\n"
           "  printf 'lamp: 3141\\ngarden: 2718\\n' |\n"
           "      lacuna run -m models/nano-f -f - -p \"What is garden? \" -n 8 --visual\n");
    return console_flush_stdout();
}

static int print_version(void)
{
    printf("lacuna %s\n%s\n", lac_version(), lac_build_info());
    return console_flush_stdout();
}

static bool is_planned(const char *name)
{
    static const char *const planned[] = { "serve", "quantize" };
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        if (strcmp(name, planned[i]) == 0) return true;
    return false;
}

static int fail_unknown(const char *name)
{
    if (is_planned(name))
        return console_fail(EXIT_USAGE,
                            "%s is not in this version; there are run, eval, inspect, tokenize and "
                            "bench",
                            name);
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *nearest = args_nearest(name, names, N_COMMANDS);
    if (nearest)
        return console_fail(EXIT_USAGE, "unknown command '%s'; did you mean %s?", name, nearest);
    return console_fail(EXIT_USAGE, "unknown command '%s'; see lacuna --help", name);
}

int main(int argc, char **argv)
{
    interrupt_begin();
    if (argc < 2) return console_fail(EXIT_USAGE, "no command; see lacuna --help");
    const char *name = argv[1];
    const bool asks_help = strcmp(name, "help") == 0 && argc > 2;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        (strcmp(name, "help") == 0 && !asks_help))
        return print_help();
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) return print_version();
    char help_flag[] = "--help";
    char *help_argv[] = { argv[0], help_flag, NULL };
    if (asks_help) name = argv[2];
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(name, commands[i].name) != 0) continue;
        console_begin(commands[i].message_name);
        return asks_help ? commands[i].run(2, help_argv) : commands[i].run(argc - 1, argv + 1);
    }
    return fail_unknown(name);
}
