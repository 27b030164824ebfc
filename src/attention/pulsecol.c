/* pulsecol.c: PulseCol (arXiv 2605.20813): groups of neighbouring queries keep single keys,
 * columns, instead of blocks: those with the largest mean probability over the group. No dense
 * steps at the start but the first; instead the columns are chosen again in a number of steps
 * spread over the first 30%. Column masses need a second product of queries and keys, half of dense
 * attention again, in the steps that measure. */
#include "attention/pattern.h"
#include "attention/policy.h"
#include "attention/select.h"
#include "base/arena.h"

enum { GROUPS_AT_ONCE = 8 }; /* groups of queries whose column masses are held at once */
#define REFRESH_SHARE 0.3    /* of the steps, in which refreshes are spread */

typedef struct {
    laci_sparse how;
    laci_shape shape;
    size_t n_bits;  /* words of one layer's pattern */
    bool *built;    /* [n_passes, n_layers] */
    float *kept;    /* [n_passes, n_layers, n_heads] */
    uint64_t *bits; /* [n_passes, n_layers, n_bits] */
    uint64_t *keys; /* [n_ctx] scratch of the selection */
    float *mass;    /* [n_ctx] of one group */
} pulsecol;

/* The state and its arrays in one piece of memory, which begins with *s; without it only the size.
 */
static size_t carve(pulsecol *s, void *memory, const laci_shape *shape)
{
    const size_t g = shape->sparse->block, n_rows = (shape->n_ctx + g - 1) / g;
    const size_t n_layers = shape->n_passes * shape->n_layers;
    const size_t n_bits = shape->n_heads * n_rows * laci_pattern_words(shape->n_ctx);
    laci_arena arena = { memory, 0 };
    (void)laci_arena_take(&arena, 1, sizeof *s);
    LACI_TAKE(&arena, s->built, n_layers);
    LACI_TAKE(&arena, s->kept, n_layers * shape->n_heads);
    LACI_TAKE(&arena, s->bits, n_layers * n_bits);
    LACI_TAKE(&arena, s->keys, shape->n_ctx);
    LACI_TAKE(&arena, s->mass, shape->n_ctx);
    s->n_bits = n_bits;
    return arena.used;
}

static lac_status pulsecol_begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)err;
    pulsecol *s = state;
    s->how = *shape->sparse;
    s->shape = *shape;
    (void)carve(s, s, shape);
    return LAC_OK;
}

static lac_status pulsecol_sizes(const laci_shape *shape, laci_policy_sizes *out, lac_error *err)
{
    (void)err;
    const size_t g = shape->sparse->block;
    const size_t n_rows = shape->n_heads * ((shape->n_ctx + g - 1) / g);
    *out = (laci_policy_sizes){
        .state_bytes = carve(&(pulsecol){ .n_bits = 0 }, NULL, shape),
        .plan_rows = n_rows,
        .plan_cols = n_rows * laci_sparse_n_kept(shape->sparse, shape->n_ctx),
        .measures = { .lse_floats = shape->n_heads * shape->n_ctx,
                      .column_floats = shape->n_heads * GROUPS_AT_ONCE * shape->n_ctx },
    };
    return LAC_OK;
}

static size_t layer_index(const pulsecol *s, const laci_moment *at)
{
    return (size_t)at->pass * s->shape.n_layers + (size_t)at->layer;
}

static laci_pattern pattern_of(const pulsecol *s, const laci_moment *at)
{
    return (laci_pattern){ .n_patterns = s->shape.n_heads,
                           .n_rows = (at->n_q + s->how.block - 1) / s->how.block,
                           .n_cols = at->n_k,
                           .bits = s->bits + layer_index(s, at) * s->n_bits };
}

/* Whether step t is the i-th of n_refreshes spread evenly over the first REFRESH_SHARE. */
static bool is_refresh(const laci_sparse *how, int step, int n_steps)
{
    const int n = (int)how->n_refreshes;
    const double every = REFRESH_SHARE * n_steps / n;
    for (int i = 0; i < n && (int)(i * every) <= step; i++)
        if ((int)(i * every) == step) return true;
    return false;
}

static lac_status pulsecol_plan(void *state, laci_backend *be, const laci_moment *at,
                                const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)be;
    const pulsecol *s = state;
    const laci_pattern p = pattern_of(s, at);
    if (!s->built[layer_index(s, at)] || is_refresh(&s->how, at->step, at->n_steps)) {
        in->request->lse = true;
        return laci_plan_dense(out, at->n_q, at->n_k, at->n_q, err);
    }
    return laci_pattern_write(&p, s->shape.n_heads, s->how.block, 1, out, err);
}

/* Columns of one group of one head, number `at_mass` of those measured. Returns the mass kept. */
static double choose_columns(const pulsecol *s, laci_backend *be, const laci_buf *columns,
                             size_t at_mass, size_t n_k, uint64_t *bits)
{
    laci_backend_read(be, columns, at_mass * n_k * sizeof *s->mass, s->mass, n_k * sizeof *s->mass);
    for (size_t w = 0; w < laci_pattern_words(n_k); w++)
        bits[w] = 0;
    laci_select_top(s->mass, 0, n_k, laci_sparse_n_kept(&s->how, n_k), s->keys, bits);
    return laci_pattern_kept(bits, s->mass, n_k);
}

static lac_status pulsecol_observe(void *state, laci_backend *be, const laci_moment *at,
                                   const laci_observation *seen, lac_error *err)
{
    (void)err;
    const pulsecol *s = state;
    const laci_pattern p = pattern_of(s, at);
    const size_t n_heads = s->shape.n_heads, index = layer_index(s, at), g = s->how.block;
    float *kept = s->kept + index * n_heads;
    if (!seen->in->request->lse) return LAC_OK;
    for (size_t head = 0; head < n_heads; head++)
        kept[head] = 0;
    for (size_t first = 0; first < p.n_rows; first += GROUPS_AT_ONCE) {
        const size_t left = p.n_rows - first, n = left < GROUPS_AT_ONCE ? left : GROUPS_AT_ONCE;
        laci_backend_column_mass(be, seen->attention, g, first, n, seen->in->measures->columns);
        for (size_t i = 0; i < n_heads * n; i++) {
            const size_t head = i / n, row = first + i % n;
            const size_t n_q = at->n_q - row * g < g ? at->n_q - row * g : g;
            kept[head] += (float)(choose_columns(s, be, seen->in->measures->columns, i, at->n_k,
                                                 laci_pattern_row(&p, head, row)) *
                                  (double)n_q / (double)at->n_q);
        }
    }
    s->built[index] = true;
    return LAC_OK;
}

static void pulsecol_report(void *state, laci_backend *be, const laci_moment *at,
                            const laci_observation *seen, const laci_buf *counts,
                            laci_read_stats *sum)
{
    (void)be, (void)counts;
    const pulsecol *s = state;
    const size_t index = layer_index(s, at);
    const float *kept = s->built[index] ? s->kept + index * s->shape.n_heads : NULL;
    if (seen) laci_read_planned(sum, &s->shape, at, seen->plan, kept);
}

static const laci_knob pulsecol_knobs[] = {
    { "select", LACI_KNOB_PART, LACI_AT(sparse.select), .normal = "0.3",
      .help = "share of the keys that a group of queries reads" },
    { "block", LACI_KNOB_SIZE, LACI_AT(sparse.block), .words = "16|32|64|128", .normal = "32",
      .help = "neighbouring queries that share their columns" },
    { "refreshes", LACI_KNOB_COUNT, LACI_AT(sparse.n_refreshes), 1, 4096, .normal = "auto",
      .means = "16, Dream 8", .help = "steps that choose columns again, within the first 30%" },
};

static lac_status pulsecol_complete(laci_settings *settings, const laci_policy_model *model,
                                    lac_error *err)
{
    (void)err;
    laci_sparse *how = &settings->sparse;
    if (how->n_refreshes == LACI_KNOB_AUTO) how->n_refreshes = model->is_dream ? 8 : 16;
    how->keep = LACI_KEEP_CEIL;
    return LAC_OK;
}

const laci_policy laci_policy_pulsecol = {
    .name = "pulsecol",
    .about = "Groups of queries read the single keys with the largest mean probability (PulseCol)",
    .models = LACI_FULL,
    .knobs = pulsecol_knobs,
    .n_knobs = sizeof pulsecol_knobs / sizeof *pulsecol_knobs,
    .complete = pulsecol_complete,
    .sizes = pulsecol_sizes,
    .begin = pulsecol_begin,
    .plan = pulsecol_plan,
    .observe = pulsecol_observe,
    .report = pulsecol_report,
};
