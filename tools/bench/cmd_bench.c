/* cmd_bench.c: `lacuna bench`: finds the benchmark and hands over. The benchmarks measure the
 * inside of the library, which no other command may see, so they live apart from the other
 * commands. */
#include <stdio.h>
#include <string.h>

#include "bench/benches.h"
#include "commands.h"
#include "shell/args.h"
#include "shell/console.h"

typedef struct {
    const char *name, *message_name, *about;
    int (*run)(int argc, char **argv);
} benchmark;

static const benchmark benchmarks[] = {
    { "peak", "lacuna bench peak", "what the processor and its memory can do at most", bench_peak },
    { "attn", "lacuna bench attn", "attention, dense and over random plans", bench_attn },
    { "decode", "lacuna bench decode", "few queries over a long prefix kept in pages",
      bench_decode },
    { "gemm", "lacuna bench gemm", "matrix products", bench_gemm },
    { "step", "lacuna bench step", "a whole forward pass of a model's shape", bench_step },
    { "generate", "lacuna bench generate", "whole generations, composed of measured steps",
      bench_generate },
    { "block", "lacuna bench block", "steps of a decoding block behind a key cache", bench_block },
};
enum { N_BENCHMARKS = sizeof benchmarks / sizeof *benchmarks };

static int print_help(void)
{
    printf(
        "usage: lacuna bench WHAT [options]\n\n"
        "Measures this machine and the library on it. Every rate stands beside the peak of the\n"
        "unit that did the work, measured in the same run, and every output beside its error.\n\n"
        "benchmarks\n");
    for (size_t i = 0; i < N_BENCHMARKS; i++)
        printf("  %-8s %s\n", benchmarks[i].name, benchmarks[i].about);
    printf("\n"
           "  lacuna bench WHAT --help    its options\n\n"
           "example:\n"
           "  lacuna bench attn --ctx 4096 --density 1.0,0.3,0.1 -t 1\n");
    return console_flush_stdout();
}

static int fail_unknown(const char *name)
{
    const char *names[N_BENCHMARKS];
    for (size_t i = 0; i < N_BENCHMARKS; i++)
        names[i] = benchmarks[i].name;
    const char *nearest = args_nearest(name, names, N_BENCHMARKS);
    if (nearest)
        return console_fail(EXIT_USAGE, "unknown benchmark '%s'; did you mean %s?", name, nearest);
    return console_fail(EXIT_USAGE, "unknown benchmark '%s'; see lacuna bench --help", name);
}

int cmd_bench(int argc, char **argv)
{
    if (argc < 2) return console_fail(EXIT_USAGE, "no benchmark; see lacuna bench --help");
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-help") || !strcmp(name, "-h"))
        return print_help();
    for (size_t i = 0; i < N_BENCHMARKS; i++) {
        if (strcmp(name, benchmarks[i].name) != 0) continue;
        console_begin(benchmarks[i].message_name);
        return benchmarks[i].run(argc - 1, argv + 1);
    }
    return fail_unknown(name);
}
