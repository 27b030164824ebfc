/* sparsed.c: SparseD (arXiv 2509.24014): dense steps first, the last of them measures where each
 * head's softmax lies, and from then on every head reads the key blocks that held most of it. The
 * policy "fidelity" is the same with budgets by mass (select.h).
 *
 * Measuring costs next to nothing, so two things the paper does not do are offered: layers that
 * leave the dense steps as soon as their pattern has settled, and a meter that measures sampled
 * queries during sparse steps and has a layer measured again when its mass has moved away. */
#include <string.h>

#include "attention/pattern.h"
#include "attention/policy.h"
#include "attention/select.h"
#include "base/arena.h"
#include "base/rng.h"

enum {
    SETTLED_STEPS = 2, /* steps in a row whose predecessor's pattern still fits */
    PROBE_STEPS = 8,   /* a layer is probed every so many sparse steps */
};
/* A pattern fits a later step when it keeps SETTLED_MEAN of what that step's own pattern keeps, and
 * no more than LOOSE_ROWS of the rows keep less than SETTLED_ROW of it. */
#define SETTLED_MEAN 0.97
#define SETTLED_ROW 0.90
#define LOOSE_ROWS 0.05
/* Mass a sampled row may lose, mean over heads, before its layer is measured again. */
#define PROBE_DROP 0.05

/* One layer in one pass. */
typedef struct {
    bool built;  /* there is a pattern */
    bool sparse; /* the layer has left its dense steps */
    bool stale;  /* the meter wants it measured again */
    int block;   /* decoding block in which it was measured */
    int since;   /* step of the last measurement */
    int n_settled;
} layer_state;

typedef struct {
    laci_sparse how;
    laci_shape shape;
    size_t n_patterns, n_blocks, n_bits; /* of the longest context; words of one layer's pattern */
    layer_state *layers;                 /* [n_passes, n_layers] */
    float *kept;                         /* [n_passes, n_layers, n_heads] */
    float *row_kept;                     /* [n_passes, n_layers, n_blocks] mean over heads */
    uint64_t *bits;                      /* [n_passes, n_layers, n_bits] */
    float *mass, *late;                  /* [n_blocks, n_blocks] of the head at hand */
    float *more;                         /* the same, of another head of its group */
    uint64_t *keys;                      /* [n_blocks] scratch of the selection */
    float *probe;                        /* [n_heads, n_blocks] */
} sparsed;

/* The state and its arrays in one piece of memory, which begins with *s; without it only the size.
 */
static size_t carve(sparsed *s, void *memory, const laci_shape *shape)
{
    const size_t n_blocks = (shape->n_ctx + shape->sparse->block - 1) / shape->sparse->block;
    const size_t n_patterns = shape->sparse->per_kv ? shape->n_kv_heads : shape->n_heads;
    const size_t n_layers = shape->n_passes * shape->n_layers;
    const size_t n_bits = n_patterns * n_blocks * laci_pattern_words(n_blocks);
    const bool needs_late = laci_select_needs_late(shape->sparse);
    laci_arena arena = { memory, 0 };
    (void)laci_arena_take(&arena, 1, sizeof *s);
    LACI_TAKE(&arena, s->layers, n_layers);
    LACI_TAKE(&arena, s->kept, n_layers * shape->n_heads);
    LACI_TAKE(&arena, s->row_kept, n_layers * n_blocks);
    LACI_TAKE(&arena, s->bits, n_layers * n_bits);
    LACI_TAKE(&arena, s->keys, n_blocks);
    LACI_TAKE(&arena, s->mass, n_blocks * n_blocks);
    LACI_TAKE(&arena, s->more, n_blocks * n_blocks);
    LACI_TAKE(&arena, s->late, needs_late ? n_blocks * n_blocks : 0);
    LACI_TAKE(&arena, s->probe, shape->n_heads * n_blocks);
    s->n_patterns = n_patterns;
    s->n_blocks = n_blocks;
    s->n_bits = n_bits;
    return arena.used;
}

static lac_status sparsed_begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)err;
    sparsed *s = state;
    s->how = *shape->sparse;
    s->shape = *shape;
    (void)carve(s, s, shape);
    return LAC_OK;
}

static lac_status sparsed_sizes(const laci_shape *shape, laci_policy_sizes *out, lac_error *err)
{
    (void)err;
    const laci_sparse *how = shape->sparse;
    const size_t n = (shape->n_ctx + how->block - 1) / how->block;
    const size_t most =
        how->fidelity > 0 ? laci_sparse_n_most(how, n) + 1 : 2 * laci_sparse_n_kept(how, n) + 2;
    const size_t n_rows = shape->n_heads * n, n_floats = n_rows * n;
    *out = (laci_policy_sizes){
        .state_bytes = carve(&(sparsed){ .n_bits = 0 }, NULL, shape),
        .plan_rows = n_rows,
        .plan_cols = n_rows * (most < n ? most : n),
        .measures = { .mass_floats = n_floats,
                      .late_floats = laci_select_needs_late(how) ? n_floats : 0,
                      .probe_rows = how->auto_refresh ? how->block : 0,
                      .stats_block = how->block },
    };
    return LAC_OK;
}

static size_t layer_index(const sparsed *s, const laci_moment *at)
{
    return (size_t)at->pass * s->shape.n_layers + (size_t)at->layer;
}

static laci_pattern pattern_of(const sparsed *s, const laci_moment *at)
{
    const size_t b = s->how.block;
    return (laci_pattern){ .n_patterns = s->n_patterns,
                           .n_rows = (at->n_q + b - 1) / b,
                           .n_cols = (at->n_k + b - 1) / b,
                           .bits = s->bits + layer_index(s, at) * s->n_bits };
}

/* ------------------------------------------------------------------ before attention */

static bool must_measure(const sparsed *s, const layer_state *l, const laci_moment *at, int n_dense)
{
    if (!l->sparse) return s->how.auto_switch || at->step >= n_dense - 1;
    return l->stale || (s->how.reset == LACI_RESET_BLOCK && at->block != l->block);
}

static void request_stats(const sparsed *s, const laci_moment *at, const laci_plan_input *in)
{
    const laci_split split = laci_split_blocks(&s->how, at->prompt_end, at->n_k);
    in->request->stats = true;
    in->request->mass = (laci_mass_stats){ .q_block = s->how.block,
                                           .k_block = s->how.block,
                                           .doubled = s->how.doubled,
                                           .mass = in->measures->mass };
    if (laci_select_needs_late(&s->how) && split.late_from < split.n_blocks) {
        in->request->mass.late = in->measures->late;
        in->request->mass.late_from = split.late_from;
    }
}

/* Asks for one query block, a different one each time, to be run densely beside the sparse pass. */
static void request_probe(const sparsed *s, const layer_state *l, const laci_moment *at,
                          const laci_plan_input *in)
{
    const size_t b = s->how.block, n_rows = (at->n_q + b - 1) / b;
    if (!s->how.auto_refresh || in->is_last || (at->step - l->since) % PROBE_STEPS) return;
    const uint64_t key = laci_rng_key(0, LACI_RNG_PICK, (uint32_t)at->step, (uint32_t)at->layer);
    const size_t row = (size_t)(laci_rng_u64(key, 0) % n_rows);
    in->request->probe_begin = row * b;
    in->request->probe_end = (row + 1) * b < at->n_q ? (row + 1) * b : at->n_q;
    in->request->mass = (laci_mass_stats){
        .q_block = b, .k_block = b, .doubled = s->how.doubled, .mass = in->measures->mass
    };
}

static lac_status sparsed_plan(void *state, laci_backend *be, const laci_moment *at,
                               const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)be;
    const sparsed *s = state;
    const layer_state *l = &s->layers[layer_index(s, at)];
    const int n_dense = laci_sparse_n_dense(&s->how, at->n_steps);
    if (at->n_k < s->how.min_n || n_dense >= at->n_steps)
        return laci_plan_dense(out, at->n_q, at->n_k, at->n_q, err);
    in->request->rehearsal = s->how.reset == LACI_RESET_STEP && l->sparse && l->since != at->step;
    if (in->request->rehearsal || must_measure(s, l, at, n_dense)) {
        request_stats(s, at, in);
        return laci_plan_dense(out, at->n_q, at->n_k, s->how.block, err);
    }
    if (!l->sparse) return laci_plan_dense(out, at->n_q, at->n_k, at->n_q, err);
    request_probe(s, l, at, in);
    const laci_pattern p = pattern_of(s, at);
    return laci_pattern_write(&p, s->shape.n_heads, s->how.block, s->how.block, out, err);
}

/* ------------------------------------------------------------------ after attention */

/* What comparing a layer's old pattern with the step's masses says. */
typedef struct {
    double sum; /* of kept mass under the old pattern over that under the new one */
    size_t n_rows, n_loose;
} comparison;

/* Masses of one pattern: of its head, or the mean of its group. */
static void read_masses(const sparsed *s, laci_backend *be, const laci_buf *from, size_t pattern,
                        size_t n, float *out)
{
    const size_t group = s->shape.n_heads / s->n_patterns;
    laci_backend_read(be, from, pattern * group * n * sizeof *out, out, n * sizeof *out);
    for (size_t h = 1; h < group; h++) {
        laci_backend_read(be, from, (pattern * group + h) * n * sizeof *out, s->more,
                          n * sizeof *out);
        for (size_t i = 0; i < n; i++)
            out[i] += s->more[i];
    }
    for (size_t i = 0; i < n && group > 1; i++)
        out[i] /= (float)group;
}

/* Selects all rows of one pattern from s->mass and s->late. */
static void select_rows(const sparsed *s, const laci_pattern *p, size_t pattern,
                        const laci_split *split, bool compare, comparison *c)
{
    for (size_t row = 0; row < p->n_rows; row++) {
        const float *mass = s->mass + row * p->n_cols;
        uint64_t *bits = laci_pattern_row(p, pattern, row);
        const double before = compare ? laci_pattern_kept(bits, mass, p->n_cols) : 0;
        laci_select_row(&s->how, split, mass, s->late + row * p->n_cols, s->keys, bits);
        const double after = laci_pattern_kept(bits, mass, p->n_cols);
        const double share = after > 0 ? before / after : 0;
        c->sum += share;
        c->n_rows++;
        c->n_loose += !(share >= SETTLED_ROW);
    }
}

/* Mass each head keeps under the new pattern, and each row over all heads. */
static void weigh(const sparsed *s, laci_backend *be, const laci_moment *at, const laci_pattern *p,
                  const laci_buf *from)
{
    const size_t n = p->n_rows * p->n_cols, index = layer_index(s, at), b = s->how.block;
    float *rows = s->row_kept + index * s->n_blocks, *heads = s->kept + index * s->shape.n_heads;
    memset(rows, 0, p->n_rows * sizeof *rows);
    for (size_t head = 0; head < s->shape.n_heads; head++) {
        double sum = 0;
        laci_backend_read(be, from, head * n * sizeof *s->mass, s->mass, n * sizeof *s->mass);
        for (size_t row = 0; row < p->n_rows; row++) {
            const uint64_t *bits =
                laci_pattern_row(p, head * s->n_patterns / s->shape.n_heads, row);
            const double kept = laci_pattern_kept(bits, s->mass + row * p->n_cols, p->n_cols);
            const size_t left = at->n_q - row * b;
            sum += kept * (double)(left < b ? left : b);
            rows[row] += (float)(kept / (double)s->shape.n_heads);
        }
        heads[head] = (float)(sum / (double)at->n_q);
    }
}

static void build(const sparsed *s, laci_backend *be, const laci_moment *at,
                  const laci_observation *seen)
{
    layer_state *l = &s->layers[layer_index(s, at)];
    const laci_pattern p = pattern_of(s, at);
    const laci_split split = laci_split_blocks(&s->how, at->prompt_end, at->n_k);
    const size_t n = p.n_rows * p.n_cols;
    comparison c = { 0 };
    for (size_t pattern = 0; pattern < s->n_patterns; pattern++) {
        read_masses(s, be, seen->in->request->mass.mass, pattern, n, s->mass);
        if (seen->in->request->mass.late)
            read_masses(s, be, seen->in->request->mass.late, pattern, n, s->late);
        select_rows(s, &p, pattern, &split, l->built, &c);
    }
    weigh(s, be, at, &p, seen->in->request->mass.mass);
    const bool fits = l->built && c.sum >= SETTLED_MEAN * (double)c.n_rows &&
                      (double)c.n_loose <= LOOSE_ROWS * (double)c.n_rows;
    l->n_settled = fits ? l->n_settled + 1 : 0;
    if (at->step >= laci_sparse_n_dense(&s->how, at->n_steps) - 1 || l->n_settled >= SETTLED_STEPS)
        l->sparse = true;
    l->built = true;
    l->stale = false;
    l->block = at->block;
    l->since = at->step;
}

/* Compares the mass the sampled row keeps now with what it kept when the pattern was made. */
static void read_probe(const sparsed *s, laci_backend *be, const laci_moment *at,
                       const laci_request *request)
{
    const size_t index = layer_index(s, at), row = request->probe_begin / s->how.block;
    const laci_pattern p = pattern_of(s, at);
    const size_t n_heads = s->shape.n_heads;
    double kept = 0;
    laci_backend_read(be, request->mass.mass, 0, s->probe, n_heads * p.n_cols * sizeof *s->probe);
    for (size_t head = 0; head < n_heads; head++)
        kept += laci_pattern_kept(laci_pattern_row(&p, head * s->n_patterns / n_heads, row),
                                  s->probe + head * p.n_cols, p.n_cols);
    const double before = (double)s->row_kept[index * s->n_blocks + row];
    s->layers[index].stale = !(kept / (double)n_heads >= before - PROBE_DROP);
}

static lac_status sparsed_observe(void *state, laci_backend *be, const laci_moment *at,
                                  const laci_observation *seen, lac_error *err)
{
    (void)err;
    if (seen->in->request->stats)
        build(state, be, at, seen);
    else if (seen->in->request->probe_end)
        read_probe(state, be, at, seen->in->request);
    return LAC_OK;
}

static void sparsed_report(void *state, laci_backend *be, const laci_moment *at,
                           const laci_observation *seen, const laci_buf *counts,
                           laci_read_stats *sum)
{
    (void)be, (void)counts;
    const sparsed *s = state;
    const size_t index = layer_index(s, at);
    const float *kept = s->layers[index].built ? s->kept + index * s->shape.n_heads : NULL;
    if (seen) laci_read_planned(sum, &s->shape, at, seen->plan, kept);
}

/* ------------------------------------------------------------------ knobs */

/* Which blocks are kept. */
/* clang-format off */
#define PATTERN_KNOBS(fidelity_default, fidelity_means)                                               \
    { "select", LACI_KNOB_PART, LACI_AT(sparse.select), .normal = "auto",                             \
      .means = "0.3; with fidelity no limit", .help = "share of the key blocks that a row reads" },   \
    { "fidelity", LACI_KNOB_PART, LACI_AT(sparse.fidelity), .normal = fidelity_default,               \
      .means = fidelity_means,                                                                        \
      .help = "read the fewest blocks that hold this share of the softmax, and no more than select" },\
    { "block", LACI_KNOB_SIZE, LACI_AT(sparse.block), .words = "16|32|64|128", .normal = "auto",      \
      .means = "128, below 4,096 positions 32", .help = "queries and keys of a block" },              \
    { "group", LACI_KNOB_EITHER, LACI_AT(sparse.per_kv), .words = "head|kv", .normal = "head",        \
      .help = "what has a pattern of its own: a query head, or the heads that share keys" },          \
    { "mode", LACI_KNOB_CHOICE, LACI_AT(sparse.mode), .words = "default|paper|reference",             \
      .normal = "default",                                                                            \
      .help = "details: our own, those of the paper, or those of the published code" },               \
    { "isolated", LACI_KNOB_CHOICE, LACI_AT(sparse.isolated), .words = "paper|reference|none",        \
      .normal = "auto", .means = "as mode",                                                           \
      .help = "how blocks of the prompt and of the generation compete apart" },                       \
    { "keep", LACI_KNOB_CHOICE, LACI_AT(sparse.keep), .words = "ceil|reference", .normal = "auto",    \
      .means = "as mode", .help = "blocks of n that are kept: ceil(n * select), or floor + 1" },      \
    { "boundary", LACI_KNOB_CHOICE, LACI_AT(sparse.boundary), .words = "keep|aligned|reference",      \
      .normal = "auto", .means = "as mode",                                                           \
      .help = "the block that holds the prompt's end: always read, of the generation, or of the "     \
              "prompt" },                                                                             \
    { "score", LACI_KNOB_CHOICE, LACI_AT(sparse.score), .words = "sqrt_d|sqrt_h", .normal = "auto",   \
      .means = "as mode", .help = "scale of the scores that rank blocks" },                           \
    { "ragged", LACI_KNOB_CHOICE, LACI_AT(sparse.ragged), .words = "fair|diluted", .normal = "auto",  \
      .means = "as mode", .help = "a short last block ranks by the keys it has, or as if full" }

#define SPARSED_KNOBS(fidelity_default, fidelity_means)                                               \
    { "skip", LACI_KNOB_LESS, LACI_AT(sparse.skip), .normal = "0.2",                                  \
      .help = "share of the steps that stay dense" },                                                 \
    PATTERN_KNOBS(fidelity_default, fidelity_means),                                                  \
    { "schedule", LACI_KNOB_CHOICE, LACI_AT(sparse.schedule), .words = "paper|reference",             \
      .normal = "auto", .means = "as mode", .help = "dense steps: steps * skip, or two more" },       \
    { "reset", LACI_KNOB_CHOICE, LACI_AT(sparse.reset), .words = "generation|block|step",             \
      .normal = "generation",                                                                         \
      .help = "what a pattern lives for; step measures in each step and is slower than dense" },      \
    { "switch", LACI_KNOB_EITHER, LACI_AT(sparse.auto_switch), .words = "fixed|auto",                 \
      .normal = "fixed",                                                                              \
      .help = "leave the dense steps as skip says, or once a layer's pattern has settled" },          \
    { "refresh", LACI_KNOB_EITHER, LACI_AT(sparse.auto_refresh), .words = "off|auto",                 \
      .normal = "off", .help = "measure a layer again when sampled queries lose mass" },              \
    { "measure", LACI_KNOB_EITHER, LACI_AT(sparse.measure), .words = "off|on", .normal = "off",       \
      .help = "show in traces and pictures where the softmax lies" }
/* clang-format on */

static const laci_knob pattern_knobs[] = { PATTERN_KNOBS("auto", "off") };
static const laci_knob sparsed_knobs[] = { SPARSED_KNOBS("auto", "off") };
static const laci_knob fidelity_knobs[] = { SPARSED_KNOBS("0.95", NULL) };

/* A variant that was asked for, else the mode's. */
static void fill_variant(int *variant, int mode, int normal, int paper, int reference)
{
    if (*variant) return;
    *variant = mode == LACI_MODE_REFERENCE ? reference : mode == LACI_MODE_PAPER ? paper : normal;
}

static void fill_variants(laci_sparse *how, bool is_llada)
{
    fill_variant(&how->schedule, how->mode, LACI_SCHEDULE_PAPER, LACI_SCHEDULE_PAPER,
                 LACI_SCHEDULE_REFERENCE);
    fill_variant(&how->isolated, how->mode, LACI_ISOLATED_PAPER, LACI_ISOLATED_PAPER,
                 LACI_ISOLATED_REFERENCE);
    fill_variant(&how->keep, how->mode, LACI_KEEP_CEIL, LACI_KEEP_CEIL, LACI_KEEP_REFERENCE);
    fill_variant(&how->boundary, how->mode, LACI_BOUNDARY_KEEP, LACI_BOUNDARY_ALIGNED,
                 LACI_BOUNDARY_REFERENCE);
    fill_variant(&how->ragged, how->mode, LACI_RAGGED_FAIR, LACI_RAGGED_FAIR, LACI_RAGGED_DILUTED);
    fill_variant(&how->score, how->mode, LACI_SCORE_SQRT_D, LACI_SCORE_SQRT_D,
                 is_llada ? LACI_SCORE_SQRT_H : LACI_SCORE_SQRT_D);
}

/* The published scale of LLaDA, sqrt(n_heads), is what the statistics can give where it is half of
 * sqrt(d_head), as in the published models, or the same. */
static lac_status sparsed_complete(laci_settings *settings, const laci_policy_model *model,
                                   lac_error *err)
{
    laci_sparse *how = &settings->sparse;
    fill_variants(how, !strcmp(model->family, "llada"));
    how->most = how->select > 0 ? how->select : 1;
    if (!(how->select > 0)) how->select = 0.3;
    if (!how->block)
        how->block = laci_sparse_block(how->mode == LACI_MODE_REFERENCE ? SIZE_MAX : model->n_ctx);
    if (how->score == LACI_SCORE_SQRT_D || model->d_head == model->n_heads) return LAC_OK;
    if (model->d_head != 4 * model->n_heads)
        return laci_fail(err, LAC_EUNSUPPORTED, 0,
                         "score scale sqrt_h: %zu heads of %zu; this version scores by sqrt(heads) "
                         "where a head is as large as their number, or four times as large",
                         model->n_heads, model->d_head);
    how->doubled = true;
    return LAC_OK;
}

lac_status laci_pattern_settings(laci_settings *settings, const char *text,
                                 const laci_policy_model *model, lac_error *err)
{
    const size_t n = sizeof pattern_knobs / sizeof *pattern_knobs;
    laci_settings own = { 0 };
    laci_knobs_default(&own, pattern_knobs, n);
    own.sparse.schedule = LACI_SCHEDULE_PAPER; /* nothing is scheduled */
    lac_status st = laci_knobs_read(&own, pattern_knobs, n, "a plan", text ? text : "",
                                    text ? strlen(text) : 0, err);
    if (!st) st = sparsed_complete(&own, model, err);
    if (!st) *settings = own;
    return st;
}

#define SPARSED(text, sentence, table)                                         \
    {                                                                          \
        .name = text, .about = sentence, .models = LACI_FULL, .knobs = table,  \
        .n_knobs = sizeof table / sizeof *table, .complete = sparsed_complete, \
        .sizes = sparsed_sizes, .begin = sparsed_begin, .plan = sparsed_plan,  \
        .observe = sparsed_observe, .report = sparsed_report                   \
    }

const laci_policy laci_policy_sparsed =
    SPARSED("sparsed",
            "Dense steps first; then each head reads the key blocks that held most of its "
            "softmax (SparseD)",
            sparsed_knobs);
const laci_policy laci_policy_fidelity =
    SPARSED("fidelity",
            "Sparsed with a budget for each row: the blocks that hold a given share of "
            "the softmax",
            fidelity_knobs);
