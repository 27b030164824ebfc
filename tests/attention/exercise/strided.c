/* strided.c: a policy as an exercise. This file and one line in policies.def are all of it: every
 * row of blocks reads its neighbours, the block with the prompt's end, and every n-th block
 * (strided attention: arXiv 1904.10509). The plan of a canvas is written once and then left alone.
 */
#include "attention/policy.h"

typedef struct {
    laci_sparse how;
} strided;

static lac_status strided_sizes(const laci_shape *shape, laci_policy_sizes *out, lac_error *err)
{
    (void)err;
    const size_t n = (shape->n_ctx + shape->sparse->block - 1) / shape->sparse->block;
    *out =
        (laci_policy_sizes){ .state_bytes = sizeof(strided), .plan_rows = n, .plan_cols = n * n };
    return LAC_OK;
}

static lac_status strided_begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)err;
    ((strided *)state)->how = *shape->sparse;
    return LAC_OK;
}

static lac_status strided_plan(void *state, laci_backend *be, const laci_moment *at,
                               const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)be, (void)in;
    const strided *s = state;
    const size_t b = s->how.block, n = (at->n_k + b - 1) / b, border = at->prompt_end / b;
    lac_status st = LAC_OK;
    if (out->n_written) return LAC_OK; /* of this generation */
    laci_plan_begin(out, b, b, 1, n);
    for (size_t row = 0; row < n && !st; row++) {
        for (size_t col = 0; col < n && !st; col++) {
            const size_t away = row > col ? row - col : col - row;
            if (away <= 1 || col == border || away % s->how.window == 0)
                st = laci_plan_add(out, col, col + 1, err);
        }
        laci_plan_end_row(out);
    }
    return st;
}

static const laci_knob strided_knobs[] = {
    { "stride", LACI_KNOB_COUNT, LACI_AT(sparse.window), 1, LACI_KNOB_MOST, .normal = "4",
      .help = "blocks from one that is read to the next" },
    { "block", LACI_KNOB_SIZE, LACI_AT(sparse.block), .words = "16|32|64|128", .normal = "16",
      .help = "queries and keys of a block" },
};

const laci_policy laci_policy_strided = {
    .name = "strided",
    .about = "Every query reads the keys near it and blocks at equal distances",
    .models = LACI_FULL,
    .knobs = strided_knobs,
    .n_knobs = sizeof strided_knobs / sizeof *strided_knobs,
    .sizes = strided_sizes,
    .begin = strided_begin,
    .plan = strided_plan,
};
