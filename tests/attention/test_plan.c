/* test_plan.c: building, validating and measuring plans, and the policies' two laws for dense. */
#include "test.h"

#include "attention/policy.h"

static laci_plan_store make(size_t n_rows, size_t n_cols)
{
    laci_plan_store store = { 0 };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    assert_ok(laci_plan_reserve(&store, n_rows, n_cols, &mem, NULL));
    return store;
}

static void density_counts_tokens_not_blocks(void **state)
{
    (void)state;
    laci_plan_store store = make(2, 8);
    laci_plan_begin(&store, 4, 4, 1, 2); /* 6 queries, 10 keys: rows of 4 and 2, blocks 4 4 2 */
    assert_ok(laci_plan_add(&store, 0, 1, NULL));
    assert_ok(laci_plan_add(&store, 2, 3, NULL));
    laci_plan_end_row(&store);
    assert_ok(laci_plan_add(&store, 0, 3, NULL));
    laci_plan_end_row(&store);
    assert_ok(laci_plan_validate(&store.plan, 6, 10, 5, NULL));
    assert_float_equal((float)laci_plan_density(&store.plan, 6, 10),
                       (4 * 6 + 2 * 10) / (float)(6 * 10), 1e-6f);
    laci_plan_clear(&store);
}

static void broken_plans_are_refused(void **state)
{
    (void)state;
    lac_error err;
    laci_plan_store store = make(1, 4);
    laci_plan_begin(&store, 8, 2, 1, 1);
    assert_ok(laci_plan_add(&store, 1, 2, NULL));
    assert_ok(laci_plan_add(&store, 1, 2, NULL)); /* twice */
    laci_plan_end_row(&store);
    assert_int_equal(laci_plan_validate(&store.plan, 8, 8, 1, &err), LAC_EINTERNAL);
    assert_string_equal(err.message, "plan: head 0 row 0: block 1 follows block 1");
    laci_plan_begin(&store, 8, 2, 1, 1);
    assert_ok(laci_plan_add(&store, 3, 5, NULL)); /* block 4 of 4 */
    laci_plan_end_row(&store);
    assert_int_equal(laci_plan_validate(&store.plan, 8, 8, 1, &err), LAC_EINTERNAL);
    assert_string_equal(err.message, "plan: head 0 row 0 names block 4 of 4");
    laci_plan_begin(&store, 8, 2, 1, 1);
    laci_plan_end_row(&store);
    assert_int_equal(laci_plan_validate(&store.plan, 8, 8, 1, &err), LAC_EINTERNAL);
    assert_string_equal(err.message, "plan: head 0 row 0 is empty");
    assert_int_equal(laci_plan_validate(&store.plan, 9, 8, 1, &err), LAC_EINTERNAL);
    laci_plan_begin(&store, 8, 2, 1, 1);
    assert_int_equal(laci_plan_add(&store, 0, 5, &err), LAC_EINTERNAL); /* room for 4 */
    laci_plan_clear(&store);
}

static void dense_reads_everything(void **state)
{
    (void)state;
    const laci_shape shape = { 2, 4, 2, 16, 100 };
    const laci_policy *policy = laci_policy_find("off");
    size_t n_rows, n_cols;
    assert_non_null(policy);
    policy->plan_size(&shape, &n_rows, &n_cols);
    laci_plan_store store = make(n_rows, n_cols);
    for (size_t n = 1; n <= 100; n += 33) {
        const laci_moment at = { .n_q = n, .n_k = n };
        const laci_plan_input in = { 0 };
        assert_ok(policy->plan(NULL, NULL, &at, &in, &store, NULL));
        assert_ok(laci_plan_validate(&store.plan, n, n, 4, NULL));
        assert_float_equal((float)laci_plan_density(&store.plan, n, n), 1, 0);
    }
    laci_plan_clear(&store);
}

static void unknown_policies_are_named(void **state)
{
    (void)state;
    const laci_policy *policy;
    const char *reason;
    lac_error err;
    assert_ok(laci_policy_choose(&policy, NULL, &reason, &err));
    assert_string_equal(policy->name, "dense");
    assert_int_equal(laci_policy_choose(&policy, "sparsedd", &reason, &err), LAC_EINVAL);
    assert_non_null(strstr(err.message, "\"sparsedd\""));
    assert_non_null(strstr(err.message, "dense"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(density_counts_tokens_not_blocks),
        cmocka_unit_test(broken_plans_are_refused),
        cmocka_unit_test(dense_reads_everything),
        cmocka_unit_test(unknown_policies_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
