/* window.c: fixed patterns, the baselines of the SparseD paper: `window` reads keys near the query,
 * `streaming` (arXiv 2309.17453, as a mask over the whole sequence) also the first keys. Both from
 * the first step on, all layers and heads alike, in whole blocks, rounded outwards. */
#include "attention/policy.h"

typedef struct {
    laci_sparse how;
} window;

static lac_status window_begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)err;
    ((window *)state)->how = *shape->sparse;
    return LAC_OK;
}

static lac_status window_sizes(const laci_shape *shape, laci_policy_sizes *out, lac_error *err)
{
    (void)err;
    const size_t n = (shape->n_ctx + shape->sparse->block - 1) / shape->sparse->block;
    *out = (laci_policy_sizes){ .state_bytes = sizeof(window), .plan_rows = n, .plan_cols = n * n };
    return LAC_OK;
}

/* Key blocks of one row: the first `sink`, and those at most `reach` away. */
typedef struct {
    size_t sink, reach;
} extent;

static size_t row_begin(const extent *e, size_t row)
{
    return row > e->reach ? row - e->reach : 0;
}

static size_t row_end(const extent *e, size_t row, size_t n)
{
    return row + e->reach + 1 < n ? row + e->reach + 1 : n;
}

static size_t count_blocks(const extent *e, size_t n)
{
    size_t total = 0;
    for (size_t row = 0; row < n; row++) {
        const size_t begin = row_begin(e, row);
        total += row_end(e, row, n) - begin + (e->sink < begin ? e->sink : begin);
    }
    return total;
}

/* The widest reach, at least 0, at which no more than `select` of all blocks are read. */
static size_t reach_by_density(size_t sink, double select, size_t n)
{
    size_t low = 0, high = n; /* reach low is allowed, high is not */
    while (high - low > 1) {
        const extent e = { sink, low + (high - low) / 2 };
        if ((double)count_blocks(&e, n) <= select * (double)n * (double)n)
            low = e.reach;
        else
            high = e.reach;
    }
    return select >= 1 ? n : low;
}

static extent extent_of(const laci_sparse *how, bool has_sink, size_t n_k)
{
    const size_t b = how->block, n = (n_k + b - 1) / b;
    extent e = { 0, 0 };
    if (has_sink && how->sink == LACI_KNOB_AUTO) {
        e.sink = (size_t)(how->select * (double)n / 5 + 0.5);
        if (!e.sink) e.sink = 1;
    } else if (has_sink) {
        e.sink = how->sink / b + (how->sink % b > 0);
    }
    if (e.sink > n) e.sink = n;
    /* a query at its block's edge sees window / 2 keys into the next ones */
    e.reach =
        how->window ? (how->window / 2 + b - 1) / b : reach_by_density(e.sink, how->select, n);
    if (e.reach > n) e.reach = n;
    return e;
}

static lac_status write_plan(const laci_sparse *how, bool has_sink, const laci_moment *at,
                             laci_plan_store *out, lac_error *err)
{
    const size_t b = how->block, n_rows = (at->n_q + b - 1) / b, n = (at->n_k + b - 1) / b;
    const extent e = extent_of(how, has_sink, at->n_k);
    lac_status st = LAC_OK;
    if (out->n_written == n_rows && out->plan.q_block == b) return LAC_OK; /* the canvas is fixed */
    laci_plan_begin(out, b, b, 1, n_rows);
    for (size_t row = 0; row < n_rows && !st; row++) {
        const size_t begin = row_begin(&e, row);
        st = laci_plan_add(out, 0, e.sink < begin ? e.sink : begin, err);
        if (!st) st = laci_plan_add(out, begin, row_end(&e, row, n), err);
        if (!st) laci_plan_end_row(out);
    }
    return st;
}

static lac_status window_plan(void *state, laci_backend *be, const laci_moment *at,
                              const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)be, (void)in;
    return write_plan(&((window *)state)->how, false, at, out, err);
}

static lac_status streaming_plan(void *state, laci_backend *be, const laci_moment *at,
                                 const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)be, (void)in;
    return write_plan(&((window *)state)->how, true, at, out, err);
}

/* clang-format off */
#define WINDOW_KNOBS                                                                                  \
    { "window", LACI_KNOB_COUNT, LACI_AT(sparse.window), 1, LACI_KNOB_MOST, .normal = "auto",         \
      .means = "as many as give the density of select",                                               \
      .help = "keys around a query that it reads, both sides together" },                             \
    { "select", LACI_KNOB_PART, LACI_AT(sparse.select), .normal = "0.3",                              \
      .help = "share of the keys that is read, where window does not say it" },                       \
    { "block", LACI_KNOB_SIZE, LACI_AT(sparse.block), .words = "16|32|64|128", .normal = "auto",      \
      .means = "128, below 4,096 positions 32", .help = "queries and keys of a block" }
/* clang-format on */

static const laci_knob window_knobs[] = { WINDOW_KNOBS };
static const laci_knob streaming_knobs[] = {
    WINDOW_KNOBS,
    { "sink", LACI_KNOB_COUNT, LACI_AT(sparse.sink), 0, LACI_KNOB_MOST, .normal = "auto",
      .means = "a fifth of select", .help = "first keys that every query reads" },
};

static lac_status window_complete(laci_settings *settings, const laci_policy_model *model,
                                  lac_error *err)
{
    (void)err;
    laci_sparse *how = &settings->sparse;
    if (how->window == LACI_KNOB_AUTO) how->window = 0;
    if (!how->block) how->block = laci_sparse_block(model->n_ctx);
    return LAC_OK;
}

#define WINDOW(text, sentence, table, planner)                                \
    {                                                                         \
        .name = text, .about = sentence, .models = LACI_FULL, .knobs = table, \
        .n_knobs = sizeof table / sizeof *table, .complete = window_complete, \
        .sizes = window_sizes, .begin = window_begin, .plan = planner         \
    }

const laci_policy laci_policy_window =
    WINDOW("window", "Every query reads the keys near it", window_knobs, window_plan);
const laci_policy laci_policy_streaming =
    WINDOW("streaming", "Every query reads the keys near it and the first keys (StreamingLLM)",
           streaming_knobs, streaming_plan);
