/* cmd_bench_peak.c: `lacuna bench peak`: one row for each instruction unit of this processor and
 * for each level of its memory, read and written. */
#include <stddef.h>

#include "bench/benches.h"
#include "bench/options.h"
#include "bench/peak.h"
#include "shell/console.h"

typedef struct {
    bench_options common;
} peak_options;

static const args_flag flags[] = { BENCH_FLAGS };

enum { RUNS_PER_REPEAT = 10 }; /* of a unit: they are short */

static void bench_unit(rows_out *out, const bench_options *opt, peak_unit unit, int n_threads)
{
    samples s = { .n = 0 };
    double ops = 0;
    const size_t rounds = peak_unit_rounds(unit, PEAK_RUN_SECONDS);
    const int n = opt->repeat * RUNS_PER_REPEAT;
    bench_progress(opt, "%s, %d threads", peak_unit_name(unit), n_threads);
    for (int i = -opt->warmup; i < n && s.n < MAX_REPEATS; i++) {
        const instant start = instant_now();
        const peak_run one = peak_unit_run(unit, n_threads, rounds);
        if (i < 0) continue;
        ops = one.ops;
        samples_add(&s, start);
        s.wall[s.n - 1] = one.seconds; /* without the making of threads */
    }
    bench_row row = row_of("peak");
    row_text(&row, "dtype", peak_unit_dtype(unit));
    row_count(&row, "threads", (size_t)n_threads);
    row_time(&row, &s);
    row_speed(&row, &s, ops, ops / samples_best(&s) * 1e-9, peak_unit_name(unit));
    row_text(&row, "unit", peak_unit_name(unit));
    row_none(&row, "gb_per_s");
    row_none(&row, "buffer_bytes");
    rows_add(out, &row);
}

static int bench_level(rows_out *out, const bench_options *opt, peak_level level, bool write,
                       int n_threads)
{
    samples s = { .n = 0 };
    double bytes = 0;
    bench_progress(opt, "%s, %d threads", peak_level_name(level, write), n_threads);
    peak_bandwidth *b = peak_bandwidth_open(level, write, n_threads);
    if (!b)
        return console_fail(EXIT_MEMORY, "no memory or no threads for %s",
                            peak_level_name(level, write));
    for (int i = -opt->warmup; i < opt->repeat; i++) {
        const instant start = instant_now();
        const peak_run one = peak_bandwidth_run(b);
        if (i < 0) continue;
        bytes = one.ops;
        samples_add(&s, start);
        s.wall[s.n - 1] = one.seconds;
    }
    bench_row row = row_of("peak");
    row_count(&row, "threads", (size_t)n_threads);
    row_time(&row, &s);
    row_none(&row, "peak_unit");
    row_text(&row, "unit", peak_level_name(level, write));
    row_real(&row, "gb_per_s", bytes / samples_best(&s) * 1e-9);
    row_count(&row, "buffer_bytes", peak_bandwidth_bytes(b));
    rows_add(out, &row);
    peak_bandwidth_close(b);
    return EXIT_OK;
}

static int bench_threads(rows_out *out, const bench_options *opt, int n_threads)
{
    int code = memory_check((double)uncached_bytes());
    for (int unit = 0; unit < PEAK_N_UNITS && !code; unit++)
        if (peak_unit_is_here((peak_unit)unit)) bench_unit(out, opt, (peak_unit)unit, n_threads);
    for (int level = 0; level < PEAK_N_LEVELS && !code; level++)
        code = bench_level(out, opt, (peak_level)level, false, n_threads);
    for (int level = 0; level < PEAK_N_LEVELS && !code; level++)
        code = bench_level(out, opt, (peak_level)level, true, n_threads);
    return code;
}

static int peak(const peak_options *opt)
{
    number_list threads;
    rows_out out = { .n = 0 };
    int code = threads_read(&threads, &opt->common);
    if (!code) code = format_read(&out.format, &opt->common);
    for (size_t i = 0; i < threads.n && !code; i++)
        code = bench_threads(&out, &opt->common, (int)threads.values[i]);
    const int end = rows_end(&out);
    return code ? code : end;
}

int bench_peak(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna bench peak",
        .usage = "[options]",
        .about = "Measures what every benchmark is compared with: the instruction units of this "
                 "processor, each by a loop of nothing else, and the bandwidth of its caches and "
                 "memory. LAC_ISA narrows the units as it does the kernels.",
        .example = "  lacuna bench peak -t 1,2",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    peak_options opt = { .common = BENCH_DEFAULTS };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = peak(&opt);
    args_free(&store);
    return code;
}
