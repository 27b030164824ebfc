/* dense.c: the dense policy: every query reads every key. One plan row of one block, written when
 * the length changes. */
#include "attention/policy.h"

static size_t dense_state_size(const laci_shape *shape)
{
    (void)shape;
    return 0;
}

static lac_status dense_begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)state, (void)shape, (void)err;
    return LAC_OK;
}

static void dense_plan_size(const laci_shape *shape, size_t *n_rows, size_t *n_cols)
{
    (void)shape;
    *n_rows = *n_cols = 1;
}

static lac_status dense_plan(void *state, laci_backend *be, const laci_moment *at,
                             const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)state, (void)be, (void)in;
    if (out->n_written && out->plan.q_block == at->n_q && out->plan.k_block == at->n_k)
        return LAC_OK;
    laci_plan_begin(out, at->n_q, at->n_k, 1, 1);
    lac_status st = laci_plan_add(out, 0, 1, err);
    if (!st) laci_plan_end_row(out);
    return st;
}

const laci_policy laci_policy_dense = {
    .name = "dense",
    .state_size = dense_state_size,
    .begin = dense_begin,
    .plan_size = dense_plan_size,
    .plan = dense_plan,
};
