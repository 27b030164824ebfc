/* test_attend.c: attention by plan against the definition: blocks of any size, patterns for all
 * heads or each its own, rows without keys, ragged ends, grouped heads, active queries, both types.
 * A plan that lists everything equals the one that says so in one span. */
#include "backend/attend_check.h"

/* n_batch, n_q, n_k, n_heads, n_kv_heads, d, q_block, k_block, n_patterns, alike */
static const attend_case cases[] = {
    { 1, 1, 1, 1, 1, 8, 1, 1, 1, 1, .density = 1 },
    { 1, 130, 130, 2, 2, 32, 130, 130, 1, 1, .density = 1 },
    { 1, 130, 200, 4, 2, 16, 130, 200, 1, 1, .density = 1, .active_every = 7 },
    { 1, 200, 200, 4, 2, 32, 32, 16, 4, 1, .density = 0.3 },
    { 1, 200, 333, 2, 1, 40, 64, 64, 1, 1, .density = 0.4 },
    { 1, 150, 150, 2, 2, 16, 16, 1, 2, 1, .density = 0.1 },
    { 1, 150, 300, 4, 1, 64, 32, 1, 4, 2, .density = 0.5 },
    { 1, 150, 299, 4, 4, 24, 50, 7, 4, 1, .density = 0.4 },
    { 1, 150, 150, 2, 1, 64, 32, 32, 1, 1, .density = 0.5, .empty_rows = true, .active_every = 3 },
    { 1, 97, 500, 8, 1, 16, 16, 48, 8, 4, .density = 0.4 },
    { 1, 96, 96, 3, 1, 24, 16, 128, 1, 1, .density = 0.9, .active_every = 5 },
    { 1, 270, 700, 2, 1, 128, 128, 128, 2, 2, .density = 0.5, .empty_rows = true },
    { 1, 131, 600, 2, 2, 80, 100, 130, 2, 1, .density = 0.6 },
    { 1, 64, 900, 8, 2, 96, 64, 64, 8, 1, .density = 0.3, .active_every = 2 },
    { 1, 40, 129, 4, 2, 256, 1, 32, 4, 1, .density = 0.5 },
    { 1, 300, 100, 2, 1, 8, 300, 16, 2, 1, .density = 0.5 },
};

static void check_cases(lac_dtype dtype)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        attend_case c = cases[i];
        check_case(&c, dtype, 1);
        c.out_act = true;
        check_case(&c, dtype, 2);
    }
}

static void f32_plans_equal_the_definition(void **state)
{
    (void)state;
    check_cases(LAC_DTYPE_F32);
}

static void bf16_plans_equal_the_definition(void **state)
{
    (void)state;
    check_cases(LAC_DTYPE_BF16);
}

/* Every block size, with every grouping of eight heads, empty rows and all. */
static void any_block_size_is_right(void **state)
{
    (void)state;
    static const size_t blocks[] = { 1, 7, 16, 32, 48, 64, 128, 130, 260 };
    static const size_t kv_heads[] = { 8, 4, 2, 1 };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        for (size_t j = 0; j < 4; j++) {
            check_case(&(attend_case){ .n_batch = 1,
                                       .n_q = 70,
                                       .n_k = 260,
                                       .n_heads = 8,
                                       .n_kv_heads = kv_heads[j],
                                       .d = 16,
                                       .q_block = blocks[(i + 2 * j) % 9],
                                       .k_block = blocks[i],
                                       .n_patterns = j % 2 ? 8 : 1,
                                       .alike = j,
                                       .density = 0.5,
                                       .empty_rows = i % 2 },
                       (i + j) % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 1);
        }
    }
}

/* ------------------------------------------------------------------ single keys */

/* One row of keys: a run, then isolated keys for several panels, then runs again. */
static void fill_runs(laci_plan_store *plan, size_t n_k, size_t isolated, size_t run)
{
    laci_plan_begin(plan, 5, 1, 1, 1);
    for (size_t at = 0; at < n_k;) {
        const size_t end = at + run < n_k ? at + run : n_k;
        assert_ok(laci_plan_add(plan, at, end, NULL));
        at = end + 1;
        for (size_t i = 0; i < isolated && at < n_k; i++, at += 2)
            assert_ok(laci_plan_add(plan, at, at + 1, NULL));
    }
    laci_plan_end_row(plan);
}

/* Whatever order runs and single keys come in, each key is read once. */
static void lists_of_keys_are_read_whole(void **state)
{
    (void)state;
    static const size_t isolated[] = { 0, 1, 30, 64, 130, 200, 260, 330, 520 };
    static const size_t runs[] = { 1, 8, 16, 20, 40, 64, 100 };
    const attend_case c = { 1, 5, 1500, 1, 1, 8, 5, 1, 1, 1, .density = 1 };
    for (size_t i = 0; i < 9 * 7; i++) {
        attend_rig *r = rig_new(&c, i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 1, 0);
        fill_runs(&r->plan, c.n_k, isolated[i / 7], runs[i % 7]);
        assert_ok(laci_plan_validate(&r->plan.plan, c.n_q, c.n_k, 1, NULL));
        brute_force(r);
        laci_backend_attend(r->be, &r->plan.plan, &r->a);
        check_result(r);
        rig_free(r);
    }
}

/* ------------------------------------------------------------------ everything listed */

static void a_full_plan_equals_dense(void **state)
{
    (void)state;
    static const size_t blocks[] = { 1, 7, 16, 48, 64, 128, 130 };
    for (size_t i = 0; i < 14; i++) {
        const size_t block = blocks[i / 2];
        const lac_dtype dtype = i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32;
        const attend_case dense = { 1, 140, 290, 4, 2, 40, 140, 290, 1, 1, .density = 1 };
        attend_case listed = dense;
        listed.q_block = listed.k_block = block;
        listed.n_patterns = i % 4 < 2 ? 4 : 1;
        attend_rig *a = rig_new(&dense, dtype, 1, 0), *b = rig_new(&listed, dtype, 1, 0);
        laci_backend_attend(a->be, &a->plan.plan, &a->a);
        laci_backend_attend(b->be, &b->plan.plan, &b->a);
        float *want = read_out(a), *got = read_out(b);
        double *wide = take(n_out(a), sizeof *wide);
        for (size_t j = 0; j < n_out(a); j++)
            wide[j] = (double)want[j];
        compare(describe(b), got, wide, n_out(a), dtype == LAC_DTYPE_F32 ? 2e-6 : 1e-2);
        free(want), free(got), free(wide);
        rig_free(a), rig_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_plans_equal_the_definition),
        cmocka_unit_test(bf16_plans_equal_the_definition),
        cmocka_unit_test(any_block_size_is_right),
        cmocka_unit_test(lists_of_keys_are_read_whole),
        cmocka_unit_test(a_full_plan_equals_dense),
    };
    run_on_backend(tests);
}
