/* commands.h: the subcommands. Each takes its own arguments, argv[0] being its name, and returns
 * the exit code of the program. */
#ifndef LACUNA_TOOLS_COMMANDS_H
#define LACUNA_TOOLS_COMMANDS_H

int cmd_run(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_bench(int argc, char **argv); /* in bench/ */

#endif
