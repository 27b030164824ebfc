/* cmd_bench_block.c: `lacuna bench block`: denoising steps of a decoding block behind a key cache,
 * dense and under each policy, by the engine's own block-wise route over a network of a published
 * shape with random weights. The prefix is made up (made_prefix.h). */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/error.h"
#include "bench/benches.h"
#include "bench/block_rig.h"
#include "bench/device.h"
#include "bench/inputs.h"
#include "bench/made_model.h"
#include "bench/options.h"
#include "run/sparse_options.h"
#include "shell/console.h"

enum {
    HEAD_ROWS = 16384, /* of the head that is timed; the rest costs as much a row */
    FIRST_STEPS = 3,   /* of which the middle one counts */
};

enum { OFF, LOSA, QUEST, MAGE, FLASHBLOCK, SPARSED, N_POLICIES };
static const char *const policy_names[N_POLICIES] = { "off",  "losa",       "quest",
                                                      "mage", "flashblock", "sparsed" };

/* By laci_prefix_selector. */
static const char *const selector_names[] = { [LACI_SELECT_PAGES] = "pages",
                                              [LACI_SELECT_COLUMNS] = "columns",
                                              [LACI_SELECT_BLOCKS] = "blocks" };

typedef struct {
    bench_options common;
    const char *shape, *prefix, *batch, *policies, *dtype;
    sparse_flags sparse; /* what is named below of it */
    int n_layers, block_length;
    float agreement;
    bool warm_cache;
} block_options;

#define AT(field) offsetof(block_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Problem (a LIST gives a row for each)" },
    { ARGS_TEXT, "shape", 0, "NAME", AT(shape), 0, 0, NULL,
      "llada-8b, dream-7b, sdar-8b or nano (default sdar-8b)" },
    { ARGS_INT, "layers", 0, "N", AT(n_layers), 1, 64, NULL,
      "layers that are measured, for all of the shape's (default 1)" },
    { ARGS_TEXT, "prefix", 0, "LIST", AT(prefix), 0, 0, NULL,
      "keys in the cache, whole blocks (default 32768)" },
    { ARGS_INT, "block-length", 0, "N", AT(block_length), 1, 512, NULL,
      "positions of the decoding block (default 16)" },
    { ARGS_TEXT, "active", 0, "N", AT(sparse.knob[SPARSE_ACTIVE]), 0, 0, NULL,
      "positions that change from step to step, which losa recomputes: a number, or below 1 a "
      "share (default 5)" },
    { ARGS_TEXT, "batch", 0, "LIST", AT(batch), 0, 0, NULL,
      "sequences, each with a prefix of its own, in one forward pass (default 1)" },
    { ARGS_FLOAT, "agreement", 0, "S", AT(agreement), 0, 4, NULL,
      "how much queries agree on the keys to read: lengths of keys differ by exp(S z), z normal; "
      "0 = not at all (default 0.15)" },
    { ARGS_TEXT, "dtype", 0, "TYPE", AT(dtype), 0, 0, NULL, "f32 or bf16 (default bf16)" },
    { ARGS_GROUP, .help = "Policy" },
    { ARGS_TEXT, "sparse", 0, "LIST", AT(policies), 0, 0, NULL,
      "off, losa, quest, mage, flashblock, sparsed (default losa,quest,off)" },
    { ARGS_TEXT, "budget", 0, "N", AT(sparse.knob[SPARSE_BUDGET]), 0, 0, NULL,
      "keys of the prefix that a row reads: a number, or below 1 a share (default 512)" },
    { ARGS_TEXT, "page", 0, "N", AT(sparse.knob[SPARSE_PAGE]), 0, 0, NULL,
      "keys of a page: 16, 32, 64 (default 16, losa 64)" },
    { ARGS_TEXT, "selector", 0, "NAME", AT(sparse.knob[SPARSE_SELECTOR]), 0, 0, NULL,
      "how keys are chosen: pages, columns or blocks (default: the policy's)" },
    { ARGS_TEXT, "plan-group", 0, "WHAT", AT(sparse.knob[SPARSE_GROUP]), 0, 0, NULL,
      "what pages or blocks are chosen for: head, or kv = the heads that share keys (default: "
      "pages each row, for the union; blocks head in sparsed, else kv)" },
    { ARGS_TEXT, "select-every", 0, "N", AT(sparse.knob[SPARSE_SELECT_EVERY]), 0, 0, NULL,
      "pages chosen once serve so many steps; above 1 they are chosen for all rows (default 1)" },
    { ARGS_TEXT, "refresh-tokens", 0, "N", AT(sparse.knob[SPARSE_REFRESH_TOKENS]), 0, 0, NULL,
      "read everything again after so many new tokens, 0 = never (default: flashblock 3, others "
      "0)" },
    { ARGS_SWITCH, "warm-cache", 0, NULL, AT(warm_cache), 0, 0, NULL,
      "leave weights and keys in the caches between steps; without it, they come from memory as in "
      "a whole model" },
    BENCH_FLAGS,
};
#undef AT

/* The dense rig owns the caches, the policy's reads them too. */
enum { DENSE, POLICY, N_KINDS };

/* One prefix, batch and number of threads. */
typedef struct {
    const block_options *opt;
    const lac_model *model;
    int shape, n_threads;
    size_t prefix, block, n_active, batch;
    block_rig *rig[N_KINDS];
    float *rows[N_KINDS]; /* [batch, block, d_model] final rows of a step; owned */
    device_memory memory; /* measures it, and pushes all else out of the caches */
    double bandwidth, peak;
    peak_unit unit;
    uint64_t n_changes; /* steps so far: where ids change, and to what */
    /* of the policy under way, over the whole batch; seconds of the layers that are measured */
    int policy;
    samples step[N_KINDS], attention[N_KINDS];
    double head[MAX_REPEATS];  /* milliseconds, of the whole vocabulary */
    block_rig_step first, sum; /* the block's first step; sums over repeats */
    size_t n_selected;         /* repeats that have an inflation */
    double rel_l2;
} block_run;

/* What rows of the policy under way are of: of "off" there is the dense rig only. */
static int kind_of(const block_run *r)
{
    return r->policy == OFF ? DENSE : POLICY;
}

/* ------------------------------------------------------------------ one step */

static void push_out(void *user)
{
    block_run *r = user;
    if (r->opt->warm_cache) return;
    r->bandwidth = fmax(r->bandwidth, device_memory_rate(&r->memory));
}

/* Other ids at n_active positions of every block, the same in both rigs. */
static void change_ids(block_run *r)
{
    const uint64_t key = laci_rng_key(r->opt->common.seed, INPUT_IDS, 1, 0);
    const uint64_t n_others = (uint64_t)r->model->config.n_vocab - 1;
    for (size_t i = 0; i < r->n_active; i++) {
        const size_t at = (r->n_changes * r->n_active + i) % r->block;
        const uint64_t draw = laci_rng_u64(key, r->n_changes * r->block + i);
        for (int kind = 0; kind < N_KINDS; kind++)
            if (r->rig[kind]) block_rig_change(r->rig[kind], at, 1 + (int32_t)(draw % n_others));
    }
    r->n_changes++;
}

static void run_head(block_run *r)
{
    push_out(r);
    r->head[r->step[DENSE].n - 1] =
        made_time_head(block_rig_session(r->rig[DENSE]), r->shape, r->batch * r->block);
}

static void add_step(block_run *r, int kind, const block_rig_step *step)
{
    samples_put(&r->step[kind], step->time);
    samples_put(&r->attention[kind], (instant){ step->attention, NAN });
    if (kind != kind_of(r)) return;
    r->sum.density += step->density;
    r->sum.rows_read += step->rows_read;
    r->sum.bytes += step->bytes;
    if (isnan(step->inflation)) return;
    r->sum.inflation += step->inflation;
    r->n_selected++;
}

/* A step of both rigs, which may count. */
static lac_status run_repeat(block_run *r, bool counts, lac_error *err)
{
    lac_status st = LAC_OK;
    change_ids(r);
    for (int kind = 0; kind < N_KINDS && !st; kind++) {
        block_rig_step step;
        if (!r->rig[kind]) continue;
        st = block_rig_run(r->rig[kind], push_out, r, NULL, &step, err);
        if (!st && counts) add_step(r, kind, &step);
    }
    if (!st && counts) run_head(r);
    return st;
}

/* Distance of the policy's final rows from the dense ones after a step that is not timed. */
static lac_status check(block_run *r, lac_error *err)
{
    const size_t n = r->batch * r->block * (size_t)r->model->config.d_model;
    double difference = 0, size = 0;
    block_rig_step step;
    lac_status st = LAC_OK;
    change_ids(r);
    for (int kind = 0; kind < N_KINDS && !st; kind++)
        st = block_rig_run(r->rig[kind], push_out, r, r->rows[kind], &step, err);
    for (size_t i = 0; i < n && !st; i++) {
        const double right = r->rows[DENSE][i], off = r->rows[POLICY][i] - right;
        difference += off * off;
        size += right * right;
    }
    r->rel_l2 = sqrt(difference / size);
    return st;
}

static int by_attention(const void *a, const void *b)
{
    const double x = ((const block_rig_step *)a)->attention,
                 y = ((const block_rig_step *)b)->attention;
    return (x > y) - (x < y);
}

/* The first step of a block, which most policies run dense and some measure: the middle one of
 * some, after one that takes the memory it needs. */
static lac_status run_first(block_run *r, int kind, lac_error *err)
{
    block_rig_step steps[FIRST_STEPS + 1];
    lac_status st = LAC_OK;
    for (int i = 0; i <= FIRST_STEPS && !st; i++) {
        st = block_rig_begin(r->rig[kind], err);
        if (!st) st = block_rig_run(r->rig[kind], push_out, r, NULL, &steps[i], err);
    }
    if (st) return st;
    qsort(steps + 1, FIRST_STEPS, sizeof *steps, by_attention);
    r->first = steps[1 + FIRST_STEPS / 2];
    return LAC_OK;
}

/* A block from its first step. */
static lac_status measure(block_run *r, lac_error *err)
{
    const bench_options *opt = &r->opt->common;
    lac_status st = LAC_OK;
    for (int kind = 0; kind < N_KINDS && !st; kind++)
        if (r->rig[kind]) st = run_first(r, kind, err);
    for (int i = -opt->warmup; i < opt->repeat && !st; i++)
        st = run_repeat(r, i >= 0, err);
    return st || r->policy == OFF ? st : check(r, err);
}

/* ------------------------------------------------------------------ a row */

/* Milliseconds of the whole shape's attention. */
static double attention_ms(const block_run *r, double seconds)
{
    return 1e3 * seconds * made_shape_layers(r->shape) / r->opt->n_layers;
}

/* And of a step, given those of its head. */
static double step_ms(const block_run *r, double seconds, double head)
{
    return 1e3 * seconds * made_shape_layers(r->shape) / r->opt->n_layers + head;
}

/* Keys that say what the row is of. */
static bench_row row_begin(const block_run *r)
{
    const laci_config *c = &r->model->config;
    const laci_prefix *how = block_rig_policy(r->rig[kind_of(r)]);
    bench_row row = row_of("block");
    row_count(&row, "ctx", r->prefix + r->block);
    row_count(&row, "n_q", r->block);
    row_count(&row, "n_heads", (size_t)c->n_heads);
    row_count(&row, "n_kv_heads", (size_t)c->n_kv_heads);
    row_count(&row, "d_head", (size_t)c->d_head);
    row_text(&row, "dtype", laci_backend_act(r->model->be) == LACI_BF16 ? "bf16" : "f32");
    row_count(&row, "threads", (size_t)r->n_threads);
    const bool has_pages = how->rows != LACI_ROWS_NONE && how->selector != LACI_SELECT_COLUMNS;
    if (r->policy != OFF && has_pages) row_count(&row, "block", how->page);
    row_text(&row, "policy", policy_names[r->policy]);
    const bool selects = r->policy != OFF && how->rows != LACI_ROWS_NONE;
    row_text(&row, "selector", selects ? selector_names[how->selector] : "none");
    return row;
}

/* What attention read, and how fast. */
static void row_reading(bench_row *row, const block_run *r, const samples *attention)
{
    const laci_config *c = &r->model->config;
    const double n = (double)attention->n, n_layers = r->opt->n_layers;
    const double pairs = (double)(r->batch * r->block) * (double)(r->prefix + r->block);
    const double flops = 4.0 * c->d_head * c->n_heads * pairs * n_layers;
    const double density = r->sum.density / n, bytes = r->sum.bytes / n;
    const double inflation = r->sum.inflation / (double)r->n_selected;
    row_real(row, "density", density);
    row_speed(row, attention, flops * density, r->peak, peak_unit_name(r->unit));
    row_real(row, "union_inflation", r->n_selected ? inflation : (double)NAN);
    row_real(row, "rows_read", r->sum.rows_read / n);
    row_real(row, "bytes_read", bytes * made_shape_layers(r->shape) / n_layers);
    row_real(row, "gb_per_s", 1e-9 * bytes / samples_best(attention));
    row_real(row, "bandwidth_gb_per_s", r->opt->warm_cache ? (double)NAN : r->bandwidth);
}

/* Times of the whole model, beside dense. */
static void row_times(bench_row *row, block_run *r, int kind)
{
    const samples *step = r->step, *attention = r->attention;
    const double head = median_of(r->head, step[DENSE].n);
    const double ms_attention = attention_ms(r, samples_median(&attention[kind]));
    const double ms_step = step_ms(r, samples_median(&step[kind]), head);
    const double dense_attention = attention_ms(r, samples_median(&attention[DENSE]));
    const double dense_step = step_ms(r, samples_median(&step[DENSE]), head);
    row_real(row, "ms_attention", ms_attention);
    row_real(row, "ms_step", ms_step);
    row_real(row, "vs_dense_attention", dense_attention / ms_attention);
    row_real(row, "vs_dense_step", dense_step / ms_step);
    row_real(row, "vs_dense", dense_step / ms_step);
    row_real(row, "ms_attention_best", attention_ms(r, samples_best(&attention[kind])));
    row_real(row, "ms_step_best", step_ms(r, samples_best(&step[kind]), head));
    row_real(row, "ms_attention_dense", dense_attention);
    row_real(row, "ms_step_dense", dense_step);
    row_real(row, "ms_attention_first", attention_ms(r, r->first.attention));
    row_real(row, "ms_step_first", step_ms(r, r->first.time.wall, head));
    row_real(row, "ms_head", head);
}

/* Bytes of the whole model for a sequence; and of the process so far. */
static void row_memory(bench_row *row, const block_run *r)
{
    struct rusage usage;
    size_t cache, policy;
    block_rig_bytes(r->rig[kind_of(r)], made_shape_layers(r->shape), &cache, &policy);
    row_count(row, "cache_bytes", cache);
    row_count(row, "policy_bytes", policy);
    if (!getrusage(RUSAGE_SELF, &usage))
        row_count(row, "peak_memory_bytes", (size_t)usage.ru_maxrss * 1024);
}

static void report(block_run *r, rows_out *out)
{
    const int kind = kind_of(r);
    const laci_prefix *how = block_rig_policy(r->rig[kind]);
    bench_row row = row_begin(r);
    row_time(&row, &r->step[kind]);
    row_text(&row, "shape", made_shape_names[r->shape]);
    row_count(&row, "prefix", r->prefix);
    row_count(&row, "batch", r->batch);
    row_reading(&row, r, &r->attention[kind]);
    row_times(&row, r, kind);
    row_real(&row, "rel_l2", r->policy == OFF ? 0 : r->rel_l2);
    row_memory(&row, r);
    row_count(&row, "active", r->n_active);
    const bool has_budget = r->policy != OFF && how->rows != LACI_ROWS_NONE;
    row_real(&row, "budget",
             has_budget ? (double)laci_prefix_budget(how, r->prefix, 1) : (double)NAN);
    row_real(&row, "agreement", (double)r->opt->agreement);
    row_count(&row, "layers_measured", (size_t)r->opt->n_layers);
    row_count(&row, "layers", (size_t)made_shape_layers(r->shape));
    row_text(&row, "cache", r->opt->warm_cache ? "warm" : "cold");
    row_text(&row, "composed",
             "ms_attention: layers_measured scaled to layers; ms_step: the same and the head");
    rows_add(out, &row);
}

/* ------------------------------------------------------------------ one policy */

/* Options of a policy as asked for, however short the prefix is; its knobs are written to
 * `request`. */
static lac_session_options session_options(const block_run *r, int policy,
                                           char request[SPARSE_TEXT])
{
    sparse_flags own = r->opt->sparse;
    char active[24];
    snprintf(active, sizeof active, "%zu", r->n_active);
    own.knob[SPARSE_ACTIVE] = active;
    own.knob[SPARSE_MIN_PREFIX] = "0";
    (void)sparse_flags_request(&own, policy_names[policy], request);
    return (lac_session_options){ .n_ctx = (int)(r->prefix + r->block),
                                  .n_threads = r->n_threads,
                                  .sparse = request };
}

static lac_status open_rig(block_run *r, int kind, int policy, lac_error *err)
{
    char request[SPARSE_TEXT];
    const lac_session_options how = session_options(r, policy, request);
    const block_rig_options opt = { .model = r->model,
                                    .how = &how,
                                    .batch = r->batch,
                                    .prefix = r->prefix,
                                    .agreement = (double)r->opt->agreement,
                                    .seed = r->opt->common.seed,
                                    .owner = r->rig[DENSE] };
    return block_rig_open(&r->rig[kind], &opt, err);
}

static int run_policy(block_run *r, rows_out *out)
{
    lac_error err = { .message = "" };
    memset(r->step, 0, sizeof r->step);
    memset(r->attention, 0, sizeof r->attention);
    r->sum = (block_rig_step){ .density = 0 };
    r->n_selected = r->n_changes = 0;
    bench_progress(&r->opt->common, "%s, prefix %zu, batch %zu, %d threads: %s",
                   made_shape_names[r->shape], r->prefix, r->batch, r->n_threads,
                   policy_names[r->policy]);
    lac_status st = r->policy == OFF ? LAC_OK : open_rig(r, POLICY, r->policy, &err);
    if (!st) st = measure(r, &err);
    if (!st) report(r, out);
    block_rig_close(r->rig[POLICY]);
    r->rig[POLICY] = NULL;
    return st ? console_fail_status(st, &err) : EXIT_OK;
}

/* ------------------------------------------------------------------ all of them */

typedef struct {
    number_list prefix, batch, threads;
    choice_list policies;
    dtype_list dtype;
    int shape;
    size_t n_active;
} block_lists;

/* Refuses what does not fit: a dense session and a policy's for every sequence. */
static int check_memory(const block_run *r, const block_lists *l)
{
    char request[SPARSE_TEXT];
    lac_memory_plan dense, plan;
    double largest = 0;
    lac_error err = { .message = "" };
    lac_session_options how = session_options(r, OFF, request);
    lac_status st = lac_session_plan_memory(r->model, &how, &dense, &err);
    for (size_t i = 0; i < l->policies.n && !st; i++) {
        how = session_options(r, l->policies.values[i], request);
        st = lac_session_plan_memory(r->model, &how, &plan, &err);
        if (!st) largest = fmax(largest, (double)plan.bytes_workspace);
    }
    if (st) return console_fail_status(st, &err);
    return memory_check((double)(dense.bytes_weights + dense.bytes_runtime) +
                        (double)r->batch *
                            ((double)(dense.bytes_kv + dense.bytes_workspace) + largest) +
                        (double)uncached_bytes());
}

static lac_status open_run(block_run *r, lac_error *err)
{
    const size_t n = r->batch * r->block * (size_t)r->model->config.d_model;
    for (int kind = 0; kind < N_KINDS; kind++)
        if (!(r->rows[kind] = malloc(n * sizeof *r->rows[kind])))
            return laci_fail_memory(err, "rows of a block", n * sizeof *r->rows[kind]);
    lac_status st = open_rig(r, DENSE, OFF, err);
    if (st) return st;
    r->peak = peak_unit_rate(r->unit, r->n_threads);
    return device_memory_open(&r->memory, block_rig_session(r->rig[DENSE])->be, r->n_threads, err);
}

static void close_run(block_run *r)
{
    device_memory_close(&r->memory);
    block_rig_close(r->rig[DENSE]);
    free(r->rows[DENSE]);
    free(r->rows[POLICY]);
    free(r);
}

/* The i-th combination of the lists, prefixes going fastest. */
static int run_combination(const block_options *opt, const block_lists *l, const lac_model *model,
                           size_t i, rows_out *out)
{
    lac_error err = { .message = "" };
    block_run *r = calloc(1, sizeof *r);
    if (!r) return console_fail(EXIT_MEMORY, "out of memory");
    r->opt = opt;
    r->model = model;
    r->shape = l->shape;
    r->block = (size_t)opt->block_length;
    r->n_active = l->n_active;
    r->prefix = (size_t)l->prefix.values[i % l->prefix.n];
    r->batch = (size_t)l->batch.values[i / l->prefix.n % l->batch.n];
    r->n_threads = (int)l->threads.values[i / l->prefix.n / l->batch.n];
    r->unit = peak_unit_of_kernels(laci_backend_act(model->be));
    int code = check_memory(r, l);
    bench_progress(&opt->common, "%s, prefix %zu, batch %zu: making keys",
                   made_shape_names[r->shape], r->prefix, r->batch);
    lac_status st = code ? LAC_OK : open_run(r, &err);
    if (st) code = console_fail_status(st, &err);
    for (size_t k = 0; k < l->policies.n && !code; k++) {
        r->policy = l->policies.values[k];
        code = run_policy(r, out);
    }
    close_run(r);
    return code;
}

/* The number of a knob whose text the library has checked. */
static double number_of(const sparse_flags *given, int knob, double otherwise)
{
    double value = otherwise;
    if (given->knob[knob]) (void)args_read_float(given->knob[knob], 0, (1 << 24), &value);
    return value;
}

/* Numbers that do not go together. */
static int check_lists(const block_lists *l, const block_options *opt)
{
    const double budget = number_of(&opt->sparse, SPARSE_BUDGET, 512);
    bool has_budget = false;
    for (size_t i = 0; i < l->policies.n; i++)
        has_budget |= l->policies.values[i] != OFF && l->policies.values[i] != FLASHBLOCK;
    if (l->dtype.n > 1) return console_fail(EXIT_USAGE, "--dtype: one type at a time");
    if (l->n_active > (size_t)opt->block_length)
        return console_fail(EXIT_USAGE, "--active %zu is more than --block-length %d", l->n_active,
                            opt->block_length);
    for (size_t i = 0; i < l->prefix.n; i++) {
        if ((size_t)l->prefix.values[i] % (size_t)opt->block_length)
            return console_fail(EXIT_USAGE, "--prefix: %.0f is not a multiple of --block-length %d",
                                l->prefix.values[i], opt->block_length);
        if (has_budget && budget >= l->prefix.values[i])
            return console_fail(EXIT_USAGE, "--budget: %g keys are all of a prefix of %.0f", budget,
                                l->prefix.values[i]);
    }
    return EXIT_OK;
}

static int read_lists(block_lists *l, block_options *opt)
{
    const double most = (1 << 24) - opt->block_length;
    const char *names[MAX_LIST];
    int code = choice_read(&l->shape, "--shape", opt->shape, made_shape_names, N_MADE_SHAPES);
    if (!code) code = list_read(&l->prefix, "--prefix", opt->prefix, true, 1, most);
    if (!code) code = list_read(&l->batch, "--batch", opt->batch, true, 1, 256);
    if (!code)
        code = choices_read(&l->policies, "--sparse", opt->policies, policy_names, N_POLICIES);
    if (!code) code = dtypes_read(&l->dtype, opt->dtype);
    if (!code) code = threads_read(&l->threads, &opt->common);
    if (code) return code;
    for (size_t i = 0; i < l->policies.n; i++)
        names[i] = policy_names[l->policies.values[i]];
    code = sparse_flags_check(&opt->sparse, names, l->policies.n);
    if (code != ARGS_GO_ON) return code;
    const double active = number_of(&opt->sparse, SPARSE_ACTIVE, 5);
    l->n_active = (size_t)(active < 1 ? ceil(active * opt->block_length) : active);
    if (!opt->sparse.knob[SPARSE_ACTIVE] && l->n_active > (size_t)opt->block_length)
        l->n_active = (size_t)opt->block_length;
    return check_lists(l, opt);
}

static int make_model(lac_model **out, const block_lists *l, const block_options *opt)
{
    made_options how = { .shape = l->shape,
                         .n_layers = opt->n_layers,
                         .n_threads = (int)l->threads.values[0],
                         .dtype = l->dtype.values[0],
                         .n_vocab = made_shape_vocab(l->shape),
                         .block_size = opt->block_length };
    lac_error err = { .message = "" };
    lac_memory_plan plan;
    int code = EXIT_OK;
    if (how.n_vocab > HEAD_ROWS) how.n_vocab = HEAD_ROWS;
    for (size_t i = 0; i < l->prefix.n; i++)
        how.n_ctx = (int)fmax(how.n_ctx, l->prefix.values[i] + opt->block_length);
    bench_progress(&opt->common, "%s, %d layers of random weights", made_shape_names[l->shape],
                   how.n_layers);
    lac_status st = made_model_new(out, &how, &err);
    if (!st) st = lac_model_plan_memory(*out, how.n_ctx, how.n_threads, &plan, &err);
    if (!st) code = memory_check((double)plan.bytes_total);
    if (!st && !code) st = made_model_fill(*out, opt->common.seed, &err);
    return st ? console_fail_status(st, &err) : code;
}

static int block(block_options *opt)
{
    block_lists l = { .shape = 0 };
    rows_out out = { .n = 0 };
    lac_model *model = NULL;
    int code = read_lists(&l, opt);
    if (!code) code = format_read(&out.format, &opt->common);
    if (!code) code = make_model(&model, &l, opt);
    for (size_t i = 0; !code && i < l.threads.n * l.batch.n * l.prefix.n; i++)
        code = run_combination(opt, &l, model, i, &out);
    lac_model_close(model);
    const int end = rows_end(&out);
    return code ? code : end;
}

int bench_block(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna bench block",
        .usage = "[options]",
        .about = "Times denoising steps of a block of a block-wise model behind a key cache, dense "
                 "and under each policy in turn, by the engine's own route over random weights of "
                 "a published shape. Weights of few layers are measured and scaled to the layers "
                 "of the shape, the head added once. The cache holds made-up keys, so what is read "
                 "is as much as on a trained model only where --agreement says so; rel_l2, of the "
                 "block's final rows against the dense ones, shows that the step is computed, not "
                 "how well a model would do. ms_attention has everything between queries and "
                 "attention output in it: choosing, reading, merging.",
        .example = "  lacuna bench block --shape sdar-8b --prefix 8192,32768 --budget 0.1 "
                   "--sparse losa,quest,off -t 2",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    block_options opt = { .common = BENCH_DEFAULTS,
                          .shape = "sdar-8b",
                          .prefix = "32768",
                          .batch = "1",
                          .policies = "losa,quest,off",
                          .dtype = "bf16",
                          .n_layers = 1,
                          .block_length = 16,
                          .agreement = 0.15F };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = block(&opt);
    args_free(&store);
    return code;
}
