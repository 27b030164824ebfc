/* cmd_bench_decode.c: `lacuna bench decode`: few queries over a long prefix, the regime of
 * block-wise decoding: all queries dense against the few that changed, over the pages chosen for
 * them. */
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
    const char *prefix, *pages, *dtype;
    int n_queries, n_active, n_heads, n_kv_heads, d_head, page;
    bool warm_cache;
} decode_options;

#define AT(field) offsetof(decode_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Problem (a LIST gives rows for each)" },
    { ARGS_TEXT, "prefix", 0, "LIST", AT(prefix), 0, 0, NULL, "keys (default 32768)" },
    { ARGS_INT, "queries", 0, "N", AT(n_queries), 1, 1 << 20, NULL,
      "queries of the dense pass (default 16)" },
    { ARGS_INT, "active", 0, "N", AT(n_active), 1, 1 << 20, NULL,
      "queries of the sparse pass (default 5)" },
    { ARGS_TEXT, "pages", 0, "LIST", AT(pages), 0, 0, NULL,
      "share of the pages the sparse pass reads (default 0.1)" },
    { ARGS_INT, "page", 0, "N", AT(page), 16, 64, NULL,
      "keys of a page: 16, 32 or 64 (default 64)" },
    { ARGS_INT, "heads", 0, "N", AT(n_heads), 1, 1024, NULL, "query heads (default 32)" },
    { ARGS_INT, "kv-heads", 0, "N", AT(n_kv_heads), 1, 1024, NULL,
      "key-value heads, a divisor (default 8)" },
    { ARGS_INT, "head-dim", 0, "N", AT(d_head), 8, 1024, NULL, "width of a head (default 128)" },
    { ARGS_TEXT, "dtype", 0, "LIST", AT(dtype), 0, 0, NULL,
      "type of queries, keys and values: f32, bf16 (default bf16)" },
    { ARGS_SWITCH, "warm-cache", 0, NULL, AT(warm_cache), 0, 0, NULL,
      "leave the prefix in the caches between repeats; without it, it comes from memory as in a "
      "step of a model" },
    BENCH_BACKEND_FLAG(AT(backend)),
    BENCH_FLAGS,
};
#undef AT

enum { LINE_ALL, LINE_ACTIVE, LINE_ONE, N_DENSE };

/* One row. */
typedef struct {
    size_t n_q;
    double share; /* of the pages; 0 = dense */
    double density;
    laci_plan_store plan;
    samples total, select, attend; /* of one repeat, and of its parts */
    attn_error error;
} decode_line;

typedef struct {
    const decode_options *opt;
    attn_shape shape;
    attn_problem problem;
    laci_pages pages;
    laci_id_lists chosen; /* [n_kv_heads] owned */
    double bounds_seconds;
    device_memory memory; /* measures it, and pushes the prefix out of the caches */
    decode_line *lines;   /* [n_lines] owned: dense ones, then one for each share of pages */
    size_t n_lines;
    peak_unit unit;
    double peak, bandwidth; /* 1e9 operations and bytes a second */
} decode_group;

/* ------------------------------------------------------------------ one prefix */

static size_t n_pages_of(const decode_group *g)
{
    const size_t page = (size_t)g->opt->page;
    return (g->shape.n_k + page - 1) / page;
}

/* Pages a list holds; at least one. */
static size_t budget_of(const decode_group *g, const decode_line *line)
{
    const long n = lround(line->share * (double)n_pages_of(g));
    return n < 1 ? 1 : (size_t)n;
}

/* Bounds of all pages, which a model keeps up to date as it stores keys; and room for lists. */
static lac_status make_pages(decode_group *g, lac_error *err)
{
    const attn_shape *s = &g->shape;
    const size_t n_pages = n_pages_of(g);
    const laci_scratch_dims dims = { .d_model = s->n_heads * s->d_head,
                                     .d_head = s->d_head,
                                     .n_pages = n_pages };
    laci_backend *be = g->problem.be;
    g->chosen.stride = n_pages;
    g->chosen.ids = malloc(s->n_kv_heads * n_pages * sizeof *g->chosen.ids);
    g->chosen.counts = malloc(s->n_kv_heads * sizeof *g->chosen.counts);
    if (!g->chosen.ids || !g->chosen.counts)
        return laci_fail_memory(err, "lists of pages", s->n_kv_heads * (n_pages + 1) * 4);
    lac_status st = laci_pages_new(be, &g->problem.kv, (size_t)g->opt->page, &g->pages, err);
    if (!st) st = laci_backend_reserve(be, laci_backend_scratch_need(be, &dims), err);
    if (st) return st;
    laci_backend_mark(be, 0);
    laci_backend_page_bounds(be, &g->problem.kv, &g->pages, 0, 0, s->n_k);
    laci_backend_mark(be, 1);
    g->bounds_seconds = laci_backend_between(be, 0, 1);
    return LAC_OK;
}

static lac_status make_plans(decode_group *g, lac_error *err)
{
    const attn_shape *s = &g->shape;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const size_t n_q[N_DENSE] = { (size_t)g->opt->n_queries, (size_t)g->opt->n_active, 1 };
    lac_status st = LAC_OK;
    for (size_t i = 0; i < g->n_lines && !st; i++) {
        decode_line *line = &g->lines[i];
        line->n_q = n_q[i < N_DENSE ? i : LINE_ACTIVE];
        line->density = 1;
        if (i < N_DENSE)
            st = attn_plan_dense(&line->plan, line->n_q, s->n_k, err);
        else
            st = laci_plan_reserve(&line->plan, s->n_heads, s->n_heads * budget_of(g, line), &mem,
                                   err);
    }
    return st;
}

/* Scores the pages for the active queries, takes the best for each KV head and writes the plan. */
static lac_status choose_pages(decode_group *g, decode_line *line, lac_error *err)
{
    const attn_shape *s = &g->shape;
    const uint32_t n_keys = (uint32_t)s->n_k;
    const laci_page_query query = { .q = g->problem.q,
                                    .pages = &g->pages,
                                    .n_batch = 1,
                                    .n_q = line->n_q,
                                    .n_heads = s->n_heads,
                                    .n_keys = &n_keys,
                                    .budget = { .n = budget_of(g, line) },
                                    .pool = LACI_POOL_MAX };
    lac_status st = LAC_OK;
    laci_backend_select_pages(g->problem.be, &query, &g->chosen);
    laci_plan_begin(&line->plan, line->n_q, g->pages.page, s->n_heads, 1);
    for (size_t head = 0; head < s->n_heads && !st; head++) {
        const size_t kv_head = head / (s->n_heads / s->n_kv_heads);
        const uint32_t *ids = g->chosen.ids + kv_head * g->chosen.stride;
        for (uint32_t i = 0; i < g->chosen.counts[kv_head] && !st; i++)
            st = laci_plan_add(&line->plan, ids[i], ids[i] + 1, err);
        laci_plan_end_row(&line->plan);
    }
    return st;
}

static void read_memory(decode_group *g)
{
    g->bandwidth = fmax(g->bandwidth, device_memory_rate(&g->memory));
}

/* A repeat that counts, or not. */
static lac_status run_line(decode_group *g, decode_line *line, bool counts, lac_error *err)
{
    if (!g->opt->warm_cache) read_memory(g);
    laci_backend *be = g->problem.be;
    const instant start = instant_now();
    laci_backend_mark(be, 0);
    const lac_status st = line->share > 0 ? choose_pages(g, line, err) : LAC_OK;
    if (st) return st;
    const instant chosen = instant_now();
    laci_backend_mark(be, 1);
    attn_problem_run(&g->problem, &line->plan.plan, line->n_q, NULL);
    laci_backend_mark(be, 2);
    if (!counts) return LAC_OK;
    if (line->share > 0) device_add(&line->select, start, be, 0, 1);
    device_add(&line->attend, chosen, be, 1, 2);
    device_add(&line->total, start, be, 0, 2);
    return LAC_OK;
}

/* The first run of every line, whose output is compared with brute force. */
static lac_status check_lines(decode_group *g, lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t i = 0; i < g->n_lines && !st; i++) {
        decode_line *line = &g->lines[i];
        const laci_plan *plan = &line->plan.plan;
        st = run_line(g, line, false, err);
        if (!st) st = laci_plan_validate(plan, line->n_q, g->shape.n_k, g->shape.n_heads, err);
        if (st) return st;
        line->error = attn_problem_check(&g->problem, plan, line->n_q);
        line->density = laci_plan_density(plan, line->n_q, g->shape.n_k);
    }
    return st;
}

static lac_status measure(decode_group *g, lac_error *err)
{
    enum { N_READS = 3 };
    const bench_options *opt = &g->opt->common;
    const int n_threads = g->shape.n_threads;
    lac_status st = check_lines(g, err);
    g->peak = device_peak(g->problem.be, g->unit, n_threads);
    for (int i = 0; i < N_READS; i++)
        read_memory(g);
    for (int r = -opt->warmup; r < opt->repeat; r++)
        for (size_t i = 0; i < g->n_lines && !st; i++)
            st = run_line(g, &g->lines[i], r >= 0, err);
    g->peak = fmax(g->peak, device_peak(g->problem.be, g->unit, n_threads));
    return st;
}

static void report_line(const decode_group *g, const decode_line *line, rows_out *out)
{
    const attn_shape *s = &g->shape;
    const size_t key_bytes = 2 * s->n_kv_heads * s->d_head * laci_act_bytes(s->dtype);
    const double gb = line->density * (double)(s->n_k * key_bytes) * 1e-9;
    const double gb_per_s = gb / samples_best(&line->attend);
    bench_row row = row_of("decode");
    row_count(&row, "ctx", s->n_k);
    row_count(&row, "n_q", line->n_q);
    row_count(&row, "n_heads", s->n_heads);
    row_count(&row, "n_kv_heads", s->n_kv_heads);
    row_count(&row, "d_head", s->d_head);
    row_text(&row, "dtype", s->dtype == LACI_BF16 ? "bf16" : "f32");
    row_count(&row, "threads", (size_t)s->n_threads);
    row_count(&row, "block", (size_t)g->opt->page);
    row_real(&row, "density", line->density);
    row_text(&row, "policy", line->share > 0 ? "pages" : "dense");
    row_time(&row, &line->total);
    row_speed(&row, &line->total, attn_flops(s, line->n_q, line->density), g->peak,
              device_peak_name(g->problem.be, g->unit));
    row_real(&row, "vs_dense", samples_ratio(&g->lines[LINE_ALL].total, &line->total));
    row_real(&row, "rel_l2", line->error.rel_l2);
    row_real(&row, "max_abs", line->error.max_abs);
    row_real(&row, "ms_bounds", line->share > 0 ? 1e3 * g->bounds_seconds : NAN);
    row_real(&row, "ms_select", 1e3 * samples_median(&line->select));
    row_real(&row, "ms_attend", 1e3 * samples_median(&line->attend));
    row_real(&row, "gb_per_s", gb_per_s);
    row_real(&row, "bandwidth_gb_per_s", g->bandwidth);
    row_real(&row, "bandwidth_share", gb_per_s / g->bandwidth);
    row_text(&row, "backend", laci_backend_name(g->problem.be));
    row_text(&row, "cache", g->opt->warm_cache ? "warm" : "cold");
    rows_add(out, &row);
}

static int run_group(decode_group *g, rows_out *out)
{
    lac_error err = { .message = "" };
    lac_status st = LAC_OK;
    const int code = memory_check(attn_problem_bytes(&g->shape) + (double)uncached_bytes());
    if (code) return code;
    st = attn_problem_open(&g->problem, &g->shape, &err);
    if (!st) st = device_memory_open(&g->memory, g->problem.be, g->shape.n_threads, &err);
    if (!st) st = make_pages(g, &err);
    if (!st) st = make_plans(g, &err);
    if (!st) st = measure(g, &err);
    for (size_t i = 0; i < g->n_lines; i++) {
        if (!st) report_line(g, &g->lines[i], out);
        laci_plan_clear(&g->lines[i].plan);
    }
    if (g->problem.be) laci_pages_free(g->problem.be, &g->pages);
    free(g->chosen.ids);
    free(g->chosen.counts);
    device_memory_close(&g->memory);
    attn_problem_close(&g->problem);
    return st ? console_fail_status(st, &err) : EXIT_OK;
}

/* ------------------------------------------------------------------ all prefixes */

typedef struct {
    const decode_options *opt;
    number_list prefix, pages, threads;
    dtype_list dtype;
    rows_format format;
} decode_lists;

static int read_lists(decode_lists *l, const decode_options *opt)
{
    *l = (decode_lists){ .opt = opt };
    int code = list_read(&l->prefix, "--prefix", opt->prefix, true, 1, 1 << 24);
    if (!code) code = list_read(&l->pages, "--pages", opt->pages, false, 1e-6, 1);
    if (!code) code = dtypes_read(&l->dtype, opt->dtype);
    if (!code) code = threads_read(&l->threads, &opt->common);
    if (!code) code = format_read(&l->format, &opt->common);
    if (code) return code;
    if (opt->n_heads % opt->n_kv_heads)
        return console_fail(EXIT_USAGE, "--heads %d is not a multiple of --kv-heads %d",
                            opt->n_heads, opt->n_kv_heads);
    if (opt->d_head % 8)
        return console_fail(EXIT_USAGE, "--head-dim: %d is not a multiple of 8", opt->d_head);
    if (opt->page != 16 && opt->page != 32 && opt->page != 64)
        return console_fail(EXIT_USAGE, "--page: %d is not one of 16, 32, 64", opt->page);
    if (opt->n_active > opt->n_queries)
        return console_fail(EXIT_USAGE, "--active %d is more than --queries %d", opt->n_active,
                            opt->n_queries);
    return EXIT_OK;
}

/* The i-th combination of the lists, prefixes going fastest. */
static int run_combination(const decode_lists *l, size_t i, rows_out *out)
{
    const decode_options *opt = l->opt;
    const size_t at = i / l->prefix.n;
    decode_group g = { .opt = opt, .n_lines = N_DENSE + l->pages.n };
    g.shape = (attn_shape){ .dtype = l->dtype.values[at / l->threads.n],
                            .n_q = (size_t)opt->n_queries,
                            .n_k = (size_t)l->prefix.values[i % l->prefix.n],
                            .n_heads = (size_t)opt->n_heads,
                            .n_kv_heads = (size_t)opt->n_kv_heads,
                            .d_head = (size_t)opt->d_head,
                            .seed = opt->common.seed,
                            .backend = opt->backend,
                            .n_threads = (int)l->threads.values[at % l->threads.n] };
    g.unit = peak_unit_of_kernels(g.shape.dtype);
    g.lines = calloc(g.n_lines, sizeof *g.lines);
    if (!g.lines) return console_fail(EXIT_MEMORY, "out of memory");
    for (size_t k = 0; k < l->pages.n; k++)
        g.lines[N_DENSE + k].share = l->pages.values[k];
    bench_progress(&opt->common, "%zu keys, %d threads", g.shape.n_k, g.shape.n_threads);
    const int code = run_group(&g, out);
    free(g.lines);
    return code;
}

static int decode(const decode_options *opt)
{
    decode_lists lists;
    int code = read_lists(&lists, opt);
    if (code) return code;
    rows_out out = { .format = lists.format };
    const size_t n = lists.dtype.n * lists.threads.n * lists.prefix.n;
    for (size_t i = 0; i < n && !code; i++)
        code = run_combination(&lists, i, &out);
    const int end = rows_end(&out);
    return code ? code : end;
}

int bench_decode(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna bench decode",
        .usage = "[options]",
        .about = "Times attention of few queries over a long prefix: all of them dense, the active "
                 "ones dense, one dense, and the active ones over chosen pages of keys. vs_dense "
                 "is the time of all queries dense over the time of the row, choosing included. "
                 "bandwidth_share is of the memory bandwidth measured in the same run.",
        .example = "  lacuna bench decode --prefix 32768 --queries 16 --active 5 --pages 0.1 -t 1",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    decode_options opt = { .common = BENCH_DEFAULTS,
                           .prefix = "32768",
                           .pages = "0.1",
                           .dtype = "bf16",
                           .n_queries = 16,
                           .n_active = 5,
                           .n_heads = 32,
                           .n_kv_heads = 8,
                           .d_head = 128,
                           .page = 64 };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = decode(&opt);
    args_free(&store);
    return code;
}
