/* options.h: what the benchmarks' command lines share: the flags every one has, lists of numbers
 * and of words, and the check that a benchmark fits into memory. Messages name the flag as args.h
 * does. */
#ifndef LACUNA_BENCH_OPTIONS_H
#define LACUNA_BENCH_OPTIONS_H

#include "base/dtype.h"
#include "bench/rows.h"
#include "shell/args.h"

/* First member of every benchmark's options. */
typedef struct {
    const char *threads; /* NULL = all cores */
    int repeat, warmup;
    uint64_t seed;
    bool json, csv, quiet;
} bench_options;

#define BENCH_DEFAULTS                      \
    {                                       \
        .repeat = 5, .warmup = 1, .seed = 1 \
    }

/* Flags for bench_options at the beginning of a target. */
#define BENCH_FLAG(kind, name, letter, value, field, min, max, help)                    \
    {                                                                                   \
        kind, name, letter, value, offsetof(bench_options, field), min, max, NULL, help \
    }
#define BENCH_FLAGS                                                                    \
    { ARGS_GROUP, .help = "Measuring" },                                               \
        BENCH_FLAG(ARGS_TEXT, "threads", 't', "LIST", threads, 0, 0,                   \
                   "threads (default: all cores this process may use)"),               \
        BENCH_FLAG(ARGS_INT, "repeat", 0, "N", repeat, 1, MAX_REPEATS,                 \
                   "repeats of every row, what is compared taking turns (default 5)"), \
        BENCH_FLAG(ARGS_INT, "warmup", 0, "N", warmup, 0, MAX_REPEATS,                 \
                   "repeats before those that count (default 1)"),                     \
        BENCH_FLAG(ARGS_SEED, "seed", 's', "N", seed, 0, 0,                            \
                   "seed of the inputs, or random (default 1)"),                       \
        { ARGS_GROUP, .help = "Output" },                                              \
        BENCH_FLAG(ARGS_SWITCH, "json", 0, NULL, json, 0, 0, "one JSON object a row"), \
        BENCH_FLAG(ARGS_SWITCH, "csv", 0, NULL, csv, 0, 0, "CSV with a header"),       \
        BENCH_FLAG(ARGS_SWITCH, "quiet", 'q', NULL, quiet, 0, 0, "no progress on standard error")

enum { MAX_LIST = 32 };

typedef struct {
    double values[MAX_LIST];
    size_t n;
} number_list;

/* Reads numbers separated by commas; whole ones when `whole`. EXIT_OK, or EXIT_USAGE after naming
 * flag and text. */
int list_read(number_list *out, const char *flag, const char *text, bool whole, double min,
              double max);

/* Threads of the options: all cores when none were given. */
int threads_read(number_list *out, const bench_options *opt);

/* Names of element types, "f32" and "bf16". */
typedef struct {
    laci_dtype values[2];
    size_t n;
} dtype_list;
int dtypes_read(dtype_list *out, const char *text);

/* Position of `text` among n names; EXIT_USAGE with the names otherwise. */
int choice_read(int *out, const char *flag, const char *text, const char *const *names, size_t n);

/* The same for a list: positions of its words, in their order. */
typedef struct {
    int values[MAX_LIST];
    size_t n;
} choice_list;
int choices_read(choice_list *out, const char *flag, const char *text, const char *const *names,
                 size_t n);

/* Format of the rows; EXIT_USAGE when two are asked for. */
int format_read(rows_format *out, const bench_options *opt);

/* "lacuna bench attn: ..." on standard error, unless quiet. */
void bench_progress(const bench_options *opt, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* EXIT_OK when so many bytes fit into this machine, else EXIT_MEMORY after saying so. */
int memory_check(double n_bytes);

#endif
