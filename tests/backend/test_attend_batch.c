/* test_attend_batch.c: attention of several sequences, with numbers of keys, limits and validity of
 * their own, against the definition; and what must not change a bit of it: the number of threads,
 * the other sequences of a batch, the other heads of a group. */
#include "backend/attend_check.h"

/* n_batch, n_q, n_k, n_heads, n_kv_heads, d, q_block, k_block, n_patterns, alike */
static const attend_case cases[] = {
    { 1, 100, 100, 2, 2, 16, 100, 100, 1, 1, .density = 1, .limits = true },
    { 3, 100, 200, 4, 2, 32, 100, 200, 1, 1, .density = 1, .n_keys = true },
    { 3, 90, 200, 2, 1, 24, 32, 64, 6, 1, .density = 0.6, .n_keys = true, .valid = true },
    { 3, 130, 333, 4, 1, 40, 64, 16, 4, 2, .density = 0.5, .n_keys = true, .limits = true },
    { 1, 200, 400, 2, 2, 16, 16, 1, 2, 1, .density = 0.3, .limits = true, .valid = true },
    { 3, 200, 300, 4, 4, 64, 200, 300, 1, 1, .density = 1, .valid = true, .active_every = 3 },
    { 3, 64, 500, 8, 1, 16, 16, 48, 24, 4, .density = 0.4, .n_keys = true, .limits = true,
      .valid = true, .active_every = 5 },
    { 2, 150, 290, 8, 2, 128, 128, 130, 8, 2, .density = 0.7, .limits = true, .empty_rows = true },
    { 3, 33, 129, 2, 1, 80, 7, 7, 2, 1, .density = 0.5, .n_keys = true, .active_every = 2 },
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static void masks_equal_the_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        attend_case c = cases[i];
        check_case(&c, LAC_DTYPE_F32, 2);
        c.out_act = true;
        check_case(&c, LAC_DTYPE_BF16, 1);
    }
}

/* ------------------------------------------------------------------ what changes no bit */

/* Runs the rig; out [n_out], lse [n_lse] are the caller's. */
static void run(const attend_rig *r, float **out, float **lse)
{
    laci_backend_attend(r->be, &r->plan.plan, &r->a);
    *out = read_out(r);
    *lse = read_floats(r->be, r->lse, n_lse(r));
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    static const int threads[] = { 2, 5 };
    for (size_t i = 0; i < 4 * N_CASES; i++) {
        const lac_dtype dtype = i & 1 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32;
        attend_rig *one = rig_new(&cases[i / 4], dtype, 1, 0);
        attend_rig *many = rig_new(&cases[i / 4], dtype, threads[i / 2 % 2], 0);
        float *want, *want_lse, *got, *got_lse;
        run(one, &want, &want_lse);
        run(many, &got, &got_lse);
        compare_bits(describe(many), want, got, n_out(one));
        compare_bits(describe(many), want_lse, got_lse, n_lse(one));
        free(want), free(want_lse), free(got), free(got_lse);
        rig_free(one), rig_free(many);
    }
}

/* The part of a case from one sequence and head on, with n_heads heads. */
static attend_case part_of(const attend_case *c, size_t batch, size_t head, size_t n_heads)
{
    attend_case part = *c;
    part.n_batch = 1;
    part.n_heads = n_heads;
    part.n_kv_heads = n_heads == c->n_heads ? c->n_kv_heads : 1;
    part.first_batch = batch;
    part.first_head = head;
    part.first_kv_head = head / (c->n_heads / c->n_kv_heads);
    if (c->n_patterns == 1) return part;
    part.n_patterns = n_heads;
    part.first_pattern = c->n_patterns > c->n_heads ? batch * c->n_heads + head : head;
    return part;
}

/* A part alone has the bits it has in the whole, whose results are given. */
static void check_part(const attend_rig *whole, size_t batch, size_t head, size_t n_heads,
                       const float *want, const float *want_lse)
{
    const attend_case *c = &whole->c, part = part_of(c, batch, head, n_heads);
    attend_rig *r = rig_new(&part, whole->dtype, 1, 0);
    float *out, *lse;
    run(r, &out, &lse);
    for (size_t h = 0; h < n_heads; h++) {
        const size_t row = (batch * c->n_heads + head + h) * r->n_rows;
        compare_bits(describe(r), want_lse + row, lse + h * r->n_rows, r->n_rows);
        for (size_t i = 0; i < r->n_rows; i++)
            compare_bits(describe(r),
                         want + (((batch * r->n_rows) + i) * c->n_heads + head + h) * c->d,
                         out + (i * n_heads + h) * c->d, c->d);
    }
    free(out), free(lse);
    rig_free(r);
}

/* All parts of every case: sequences with all their heads, or single heads. */
static void check_parts(bool single_heads)
{
    for (size_t i = 0; i < 2 * N_CASES; i++) {
        const attend_case *c = &cases[i / 2];
        attend_rig *r = rig_new(c, i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 1, 0);
        float *out, *lse;
        run(r, &out, &lse);
        const size_t n_heads = single_heads ? 1 : c->n_heads;
        for (size_t b = 0; b < c->n_batch; b++)
            for (size_t head = 0; head < c->n_heads; head += n_heads)
                check_part(r, b, head, n_heads, out, lse);
        free(out), free(lse);
        rig_free(r);
    }
}

static void a_sequence_is_the_same_alone(void **state)
{
    (void)state;
    check_parts(false);
}

static void a_head_is_the_same_alone(void **state)
{
    (void)state;
    check_parts(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_equal_the_definition),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(a_sequence_is_the_same_alone),
        cmocka_unit_test(a_head_is_the_same_alone),
    };
    run_on_backend(tests);
}
