/* cmd_bench_attn.c: `lacuna bench attn`: attention by context, block, type and density. Dense and
 * sparse rows of one shape take turns, so that their ratio holds on a machine with other work. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/attn_problem.h"
#include "bench/benches.h"
#include "bench/device.h"
#include "bench/options.h"
#include "bench/peak.h"
#include "shell/console.h"

typedef struct {
    bench_options common;
    const char *backend; /* NULL = cpu */
    const char *ctx, *block, *dtype, *d_head, *density, *scores, *out, *stats;
    int n_q, q_block, n_heads, n_kv_heads;
} attn_options;

#define AT(field) offsetof(attn_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Problem (a LIST gives a row for each)" },
    { ARGS_TEXT, "ctx", 'c', "LIST", AT(ctx), 0, 0, NULL, "keys (default 4096)" },
    { ARGS_INT, "n-q", 0, "N", AT(n_q), 1, 1 << 24, NULL, "queries (default: as many as keys)" },
    { ARGS_INT, "heads", 0, "N", AT(n_heads), 1, 1024, NULL, "query heads (default 8)" },
    { ARGS_INT, "kv-heads", 0, "N", AT(n_kv_heads), 1, 1024, NULL,
      "key-value heads, a divisor (default: as many as query heads)" },
    { ARGS_TEXT, "head-dim", 0, "LIST", AT(d_head), 0, 0, NULL, "width of a head (default 128)" },
    { ARGS_TEXT, "dtype", 0, "LIST", AT(dtype), 0, 0, NULL,
      "type of queries, keys and values: f32, bf16 (default bf16)" },
    { ARGS_TEXT, "block", 0, "LIST", AT(block), 0, 0, NULL,
      "keys of a block of the plan, and queries (default 128)" },
    { ARGS_INT, "q-block", 0, "N", AT(q_block), 1, 1 << 24, NULL,
      "queries of a block (default: as --block)" },
    { ARGS_TEXT, "density", 0, "LIST", AT(density), 0, 0, NULL,
      "share of the key blocks each query block reads, at random; 1 is dense (default 1.0)" },
    { ARGS_TEXT, "scores", 0, "KIND", AT(scores), 0, 0, NULL,
      "random; peaky: on few keys; rising: the largest comes last (default random)" },
    { ARGS_TEXT, "out", 0, "TYPE", AT(out), 0, 0, NULL,
      "type of outputs: act, as --dtype, or f32 (default act)" },
    { ARGS_TEXT, "stats", 0, "on|off", AT(stats), 0, 0, NULL,
      "a row for dense attention with pattern statistics; stats_extra is what they cost beside the "
      "time without, from pairs that take turns (default off)" },
    BENCH_BACKEND_FLAG(AT(backend)),
    BENCH_FLAGS,
};
#undef AT

/* One row: a plan, its times and its error. */
typedef struct {
    laci_plan_store plan;
    double density;
    samples times;
    attn_error error;
} attn_line;

/* Everything about one shape and block. Line 0 is dense, whether asked for or not. */
typedef struct {
    const attn_options *opt;
    attn_shape shape;
    size_t q_block, k_block;
    const number_list *density;
    attn_problem problem;
    attn_line *lines; /* [n_lines] owned */
    size_t n_lines;
    laci_mass_stats stats;
    bool with_stats;
    samples without, with; /* statistics, in pairs */
    peak_unit unit;
    double peak;
} attn_group;

/* ------------------------------------------------------------------ one shape */

static lac_status make_plans(attn_group *g, lac_error *err)
{
    const attn_shape *s = &g->shape;
    lac_status st = attn_plan_dense(&g->lines[0].plan, s->n_q, s->n_k, err);
    g->lines[0].density = 1;
    for (size_t i = 1; i < g->n_lines && !st; i++) {
        const random_plan how = {
            g->q_block, g->k_block, s->n_q, s->n_k, s->n_heads, 1, g->density->values[i - 1],
            s->seed
        };
        if (how.density >= 1) continue;
        st = attn_plan_random(&g->lines[i].plan, &how, err);
        if (!st) g->lines[i].density = laci_plan_density(&g->lines[i].plan.plan, s->n_q, s->n_k);
    }
    return st;
}

static lac_status make_stats(attn_group *g, lac_error *err)
{
    const attn_shape *s = &g->shape;
    const size_t n_q_blocks = (s->n_q + g->q_block - 1) / g->q_block;
    const size_t n_k_blocks = (s->n_k + g->k_block - 1) / g->k_block;
    g->stats = (laci_mass_stats){ .q_block = g->q_block, .k_block = g->k_block };
    if (!g->with_stats) return LAC_OK;
    return laci_buf_new(g->problem.be, s->n_heads * n_q_blocks * n_k_blocks * sizeof(float),
                        "pattern statistics", &g->stats.mass, err);
}

static void run_line(attn_group *g, attn_line *line, samples *times, bool with_stats)
{
    const instant start = instant_now();
    laci_backend_mark(g->problem.be, 0);
    attn_problem_run(&g->problem, &line->plan.plan, g->shape.n_q, with_stats ? &g->stats : NULL);
    laci_backend_mark(g->problem.be, 1);
    if (times) device_add(times, start, g->problem.be, 0, 1);
}

/* Lines without a plan of their own are dense: line 0 stands for them. */
static bool has_plan(const attn_line *line)
{
    return line->plan.n_written > 0;
}

static void measure(attn_group *g)
{
    const bench_options *opt = &g->opt->common;
    attn_line *dense = &g->lines[0];
    for (size_t i = 0; i < g->n_lines; i++) {
        if (!has_plan(&g->lines[i])) continue;
        run_line(g, &g->lines[i], NULL, false);
        g->lines[i].error = attn_problem_check(&g->problem, &g->lines[i].plan.plan, g->shape.n_q);
    }
    g->peak = device_peak(g->problem.be, g->unit, g->shape.n_threads);
    for (int r = -opt->warmup; r < opt->repeat; r++)
        for (size_t i = 0; i < g->n_lines; i++)
            if (has_plan(&g->lines[i]))
                run_line(g, &g->lines[i], r < 0 ? NULL : &g->lines[i].times, false);
    for (int r = -opt->warmup; r < opt->repeat && g->with_stats; r++) {
        const bool first = r & 1; /* who goes first takes turns too */
        run_line(g, dense, r < 0 ? NULL : first ? &g->with : &g->without, first);
        run_line(g, dense, r < 0 ? NULL : first ? &g->without : &g->with, !first);
    }
    g->peak = fmax(g->peak, device_peak(g->problem.be, g->unit, g->shape.n_threads));
}

static bench_row row_of_line(const attn_group *g, const attn_line *line, const samples *times,
                             const samples *dense)
{
    static const char *const scores[N_SCORES] = { "random", "peaky", "rising" };
    const attn_shape *s = &g->shape;
    const char *act = s->dtype == LACI_BF16 ? "bf16" : "f32";
    const double vs_dense = samples_ratio(dense, times);
    bench_row row = row_of("attn");
    row_count(&row, "ctx", s->n_k);
    row_count(&row, "n_q", s->n_q);
    row_count(&row, "n_heads", s->n_heads);
    row_count(&row, "n_kv_heads", s->n_kv_heads);
    row_count(&row, "d_head", s->d_head);
    row_text(&row, "dtype", act);
    row_count(&row, "threads", (size_t)s->n_threads);
    row_count(&row, "block", g->k_block);
    row_real(&row, "density", line->density);
    row_text(&row, "policy", line == g->lines ? "dense" : "random");
    row_time(&row, times);
    row_speed(&row, times, attn_flops(s, s->n_q, line->density), g->peak,
              device_peak_name(g->problem.be, g->unit));
    row_real(&row, "vs_dense", vs_dense);
    row_real(&row, "rel_l2", line->error.rel_l2);
    row_real(&row, "max_abs", line->error.max_abs);
    row_count(&row, "q_block", g->q_block);
    row_text(&row, "scores", scores[s->scores]);
    row_text(&row, "out", s->out_f32 ? "f32" : act);
    row_real(&row, "efficiency", line->density * vs_dense);
    row_real(&row, "ms_pack", 1e3 * g->problem.pack_seconds);
    row_text(&row, "backend", laci_backend_name(g->problem.be));
    row_text(&row, "stats", times == &g->with ? "on" : "off");
    if (times == &g->with)
        row_real(&row, "stats_extra", samples_ratio(times, dense) - 1);
    else
        row_none(&row, "stats_extra");
    return row;
}

static void report(const attn_group *g, rows_out *out)
{
    const attn_line *dense = &g->lines[0];
    bench_row row;
    for (size_t i = 1; i < g->n_lines; i++) {
        const attn_line *line = has_plan(&g->lines[i]) ? &g->lines[i] : dense;
        row = row_of_line(g, line, &line->times, &dense->times);
        rows_add(out, &row);
    }
    if (!g->with_stats) return;
    row = row_of_line(g, dense, &g->with, &g->without);
    rows_add(out, &row);
}

/* Refuses what does not fit, and plans that 32-bit offsets cannot hold. */
static int check_size(const attn_group *g)
{
    const double rows = ceil((double)g->shape.n_q / (double)g->q_block);
    const double blocks = ceil((double)g->shape.n_k / (double)g->k_block);
    const double pairs = (double)g->shape.n_heads * rows * blocks;
    double all = 0, largest = 0;
    for (size_t i = 0; i < g->density->n; i++) {
        const double density = g->density->values[i] < 1 ? g->density->values[i] : 0;
        all += density;
        largest = fmax(largest, density);
    }
    const int code =
        memory_check(attn_problem_bytes(&g->shape) + pairs * (all * 4 + (g->with_stats ? 4 : 0)));
    if (code || pairs * largest < UINT32_MAX) return code;
    return console_fail(EXIT_USAGE,
                        "a plan of %.0f key blocks is more than %u; a larger --block makes fewer",
                        pairs * largest, UINT32_MAX);
}

static int run_group(attn_group *g, rows_out *out)
{
    lac_error err = { .message = "" };
    lac_status st = LAC_OK;
    int code = check_size(g);
    if (code) return code;
    g->n_lines = g->density->n + 1;
    g->lines = calloc(g->n_lines, sizeof *g->lines);
    if (!g->lines) st = laci_fail_memory(&err, "the rows", g->n_lines * sizeof *g->lines);
    if (!st) st = attn_problem_open(&g->problem, &g->shape, &err);
    if (!st) st = make_plans(g, &err);
    if (!st) st = make_stats(g, &err);
    if (!st) {
        measure(g);
        report(g, out);
    }
    if (g->stats.mass) laci_buf_free(g->problem.be, g->stats.mass);
    attn_problem_close(&g->problem);
    for (size_t i = 0; g->lines && i < g->n_lines; i++)
        laci_plan_clear(&g->lines[i].plan);
    free(g->lines);
    return st ? console_fail_status(st, &err) : EXIT_OK;
}

/* ------------------------------------------------------------------ all shapes */

/* The command line, read. */
typedef struct {
    const attn_options *opt;
    number_list ctx, block, d_head, density, threads;
    dtype_list dtype;
    int scores, out, stats;
    rows_format format;
} attn_lists;

static int check(const attn_lists *l)
{
    const attn_options *opt = l->opt;
    if (opt->n_kv_heads && opt->n_heads % opt->n_kv_heads)
        return console_fail(EXIT_USAGE, "--heads %d is not a multiple of --kv-heads %d",
                            opt->n_heads, opt->n_kv_heads);
    for (size_t i = 0; i < l->d_head.n; i++)
        if ((int)l->d_head.values[i] % 8)
            return console_fail(EXIT_USAGE, "--head-dim: %.0f is not a multiple of 8",
                                l->d_head.values[i]);
    for (size_t i = 0; i < l->block.n && l->stats; i++) {
        const int block = (int)l->block.values[i], q_block = opt->q_block ? opt->q_block : block;
        if (block % 64 && block != 16 && block != 32)
            return console_fail(
                EXIT_USAGE, "--stats on: --block %d is neither 16, 32 nor a multiple of 64", block);
        if (128 % q_block)
            return console_fail(EXIT_USAGE,
                                "--stats on: query blocks of %d do not divide 128; see --q-block",
                                q_block);
    }
    return EXIT_OK;
}

static int read_lists(attn_lists *l, const attn_options *opt)
{
    static const char *const scores[N_SCORES] = { "random", "peaky", "rising" };
    static const char *const outs[] = { "act", "f32" }, *const switches[] = { "off", "on" };
    *l = (attn_lists){ .opt = opt };
    int code = list_read(&l->ctx, "--ctx", opt->ctx, true, 1, 1 << 24);
    if (!code) code = list_read(&l->block, "--block", opt->block, true, 1, 1 << 24);
    if (!code) code = list_read(&l->d_head, "--head-dim", opt->d_head, true, 8, 1024);
    if (!code) code = list_read(&l->density, "--density", opt->density, false, 0, 1);
    if (!code) code = threads_read(&l->threads, &opt->common);
    if (!code) code = dtypes_read(&l->dtype, opt->dtype);
    if (!code) code = choice_read(&l->scores, "--scores", opt->scores, scores, N_SCORES);
    if (!code) code = choice_read(&l->out, "--out", opt->out, outs, 2);
    if (!code) code = choice_read(&l->stats, "--stats", opt->stats, switches, 2);
    if (!code) code = format_read(&l->format, &opt->common);
    return code ? code : check(l);
}

/* The i-th combination of the lists, the last list going fastest. */
static attn_group *make_group(const attn_lists *l, size_t i)
{
    const attn_options *opt = l->opt;
    attn_group *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    const size_t block = i % l->block.n, ctx = i / l->block.n % l->ctx.n;
    i /= l->block.n * l->ctx.n;
    const size_t threads = i % l->threads.n, d_head = i / l->threads.n % l->d_head.n;
    i /= l->threads.n * l->d_head.n;
    g->opt = opt;
    g->density = &l->density;
    g->k_block = (size_t)l->block.values[block];
    g->q_block = opt->q_block ? (size_t)opt->q_block : g->k_block;
    g->with_stats = l->stats;
    g->shape = (attn_shape){ .dtype = l->dtype.values[i],
                             .out_f32 = l->out == 1,
                             .n_k = (size_t)l->ctx.values[ctx],
                             .n_heads = (size_t)opt->n_heads,
                             .d_head = (size_t)l->d_head.values[d_head],
                             .stats_block = l->stats ? g->k_block : 0,
                             .scores = (attn_scores)l->scores,
                             .seed = opt->common.seed,
                             .backend = opt->backend,
                             .n_threads = (int)l->threads.values[threads] };
    g->shape.n_q = opt->n_q ? (size_t)opt->n_q : g->shape.n_k;
    g->shape.n_kv_heads = (size_t)(opt->n_kv_heads ? opt->n_kv_heads : opt->n_heads);
    g->unit = peak_unit_of_kernels(g->shape.dtype);
    return g;
}

static int attn(const attn_options *opt)
{
    attn_lists lists;
    int code = read_lists(&lists, opt);
    if (code) return code;
    rows_out out = { .format = lists.format };
    const size_t n = lists.dtype.n * lists.d_head.n * lists.threads.n * lists.ctx.n * lists.block.n;
    for (size_t i = 0; i < n && !code; i++) {
        attn_group *g = make_group(&lists, i);
        if (!g) {
            code = console_fail(EXIT_MEMORY, "out of memory");
            break;
        }
        bench_progress(&opt->common, "%zu of %zu: %zu queries, %zu keys, %d threads", i + 1, n,
                       g->shape.n_q, g->shape.n_k, g->shape.n_threads);
        code = run_group(g, &out);
        free(g);
    }
    const int end = rows_end(&out);
    return code ? code : end;
}

int bench_attn(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna bench attn",
        .usage = "[options]",
        .about = "Times attention over random inputs. vs_dense is how many times faster a row is "
                 "than dense attention of its shape, timed in turns; efficiency is density times "
                 "that. The peak is that of the unit that does the kernel's arithmetic. rel_l2 and "
                 "max_abs compare with brute force in double precision on 16 rows.",
        .example = "  lacuna bench attn --ctx 4096,8192 --density 1.0,0.5,0.3,0.1 -t 1",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    attn_options opt = { .common = BENCH_DEFAULTS,
                         .ctx = "4096",
                         .block = "128",
                         .dtype = "bf16",
                         .d_head = "128",
                         .density = "1.0",
                         .scores = "random",
                         .out = "act",
                         .stats = "off",
                         .n_heads = 8 };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = attn(&opt);
    args_free(&store);
    return code;
}
