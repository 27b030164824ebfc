/* dense.c: the dense policy: every query reads every key. One plan row of one block, written when
 * the length changes; on request it measures in every pass where the softmax lies, for people who
 * want to see it. */
#include "attention/policy.h"

typedef struct {
    size_t block; /* of the statistics, 0 = none */
} dense;

static lac_status dense_begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)err;
    dense *s = state;
    s->block = shape->sparse->measure ? shape->sparse->block : 0;
    return LAC_OK;
}

/* Blocks of statistics over the longest context; 1 where there are none. */
static size_t n_blocks(const laci_shape *shape)
{
    const size_t block = shape->sparse->block;
    return shape->sparse->measure ? (shape->n_ctx + block - 1) / block : 1;
}

static lac_status dense_sizes(const laci_shape *shape, laci_policy_sizes *out, lac_error *err)
{
    (void)err;
    const size_t n = n_blocks(shape);
    *out = (laci_policy_sizes){ .state_bytes = sizeof(dense), .plan_rows = n, .plan_cols = n };
    if (!shape->sparse->measure) return LAC_OK;
    out->measures.mass_floats = shape->n_heads * n * n;
    out->measures.stats_block = shape->sparse->block;
    return LAC_OK;
}

/* Left alone where it is there already. One column, as wide as the keys. */
lac_status laci_plan_dense(laci_plan_store *out, size_t n_q, size_t n_k, size_t q_block,
                           lac_error *err)
{
    if (q_block > n_q) q_block = n_q;
    if (out->n_written && out->plan.n_heads == 1 && out->plan.q_block == q_block &&
        out->plan.k_block == n_k && out->n_written == (n_q + q_block - 1) / q_block)
        return LAC_OK;
    const size_t n_rows = (n_q + q_block - 1) / q_block;
    lac_status st = LAC_OK;
    laci_plan_begin(out, q_block, n_k, 1, n_rows);
    for (size_t row = 0; row < n_rows && !st; row++) {
        st = laci_plan_add(out, 0, 1, err);
        if (!st) laci_plan_end_row(out);
    }
    return st;
}

static lac_status dense_plan(void *state, laci_backend *be, const laci_moment *at,
                             const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)be;
    const size_t block = ((const dense *)state)->block;
    if (!block) return laci_plan_dense(out, at->n_q, at->n_k, at->n_q, err);
    in->request->stats = true;
    in->request->mass =
        (laci_mass_stats){ .q_block = block, .k_block = block, .mass = in->measures->mass };
    return laci_plan_dense(out, at->n_q, at->n_k, block, err);
}

static const laci_knob dense_knobs[] = {
    { "measure", LACI_KNOB_EITHER, LACI_AT(sparse.measure), .words = "off|on", .normal = "off",
      .help = "show in traces and pictures where the softmax lies; of models that see the whole "
              "sequence" },
    { "block", LACI_KNOB_SIZE, LACI_AT(sparse.block), .words = "16|32|64|128", .normal = "auto",
      .means = "128, below 4,096 positions 32",
      .help = "queries and keys of a block that is shown" },
};

static lac_status dense_complete(laci_settings *settings, const laci_policy_model *model,
                                 lac_error *err)
{
    if (settings->sparse.measure && model->kind == LACI_BLOCKWISE)
        return laci_fail(err, LAC_EINVAL, 0,
                         "knob measure of dense: %s decodes blocks behind a key cache, and only "
                         "models that see the whole sequence are measured",
                         model->family);
    if (!settings->sparse.block) settings->sparse.block = laci_sparse_block(model->n_ctx);
    return LAC_OK;
}

static const laci_prefix dense_preset = { .is_dense = true, .page = 16 };

const laci_policy laci_policy_dense = {
    .name = "dense",
    .about = "Every query reads every key",
    .models = LACI_FULL | LACI_BLOCKWISE,
    .knobs = dense_knobs,
    .n_knobs = sizeof dense_knobs / sizeof *dense_knobs,
    .preset = &dense_preset,
    .complete = dense_complete,
    .sizes = dense_sizes,
    .begin = dense_begin,
    .plan = dense_plan,
};
