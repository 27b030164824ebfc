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

/* ------------------------------------------------------------------ plans that break the second
 * law */

enum { MAX_ROWS = 12, N_Q = 16, N_K = 20, N_HEADS = 3 };

/* A plan over N_Q queries and N_K keys: rows of 8, blocks of 4, that is 2 rows and 5 blocks. */
typedef struct {
    laci_plan plan;
    uint32_t row_ptr[MAX_ROWS + 1];
    uint32_t *cols; /* exactly as many as are listed, so that reading past them shows */
} raw_plan;

/* Every row lists blocks 1, 2 and 4. */
static raw_plan *sound_plan(size_t n_heads)
{
    raw_plan *raw = calloc(1, sizeof *raw);
    raw->cols = malloc(n_heads * 2 * 3 * sizeof *raw->cols);
    for (uint32_t i = 0; i < n_heads * 2; i++) {
        raw->row_ptr[i + 1] = 3 * (i + 1);
        memcpy(raw->cols + 3 * (size_t)i, (const uint32_t[]){ 1, 2, 4 }, 3 * sizeof *raw->cols);
    }
    raw->plan = (laci_plan){ .q_block = 8,
                             .k_block = 4,
                             .n_heads = n_heads,
                             .n_rows = 2,
                             .row_ptr = raw->row_ptr,
                             .cols = raw->cols };
    return raw;
}

static void free_plan(raw_plan *raw)
{
    free(raw->cols);
    free(raw);
}

/* Refused with a sentence that holds `words`; the plan is freed. */
static void assert_refused(raw_plan *raw, const char *words)
{
    lac_error err = { 0 };
    assert_int_equal(laci_plan_validate(&raw->plan, N_Q, N_K, N_HEADS, &err), LAC_EINTERNAL);
    if (strncmp(err.message, "plan: ", 6) || !strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    free_plan(raw);
}

static void assert_accepted(raw_plan *raw)
{
    lac_error err = { 0 };
    if (laci_plan_validate(&raw->plan, N_Q, N_K, N_HEADS, &err)) fail_msg("%s", err.message);
    free_plan(raw);
}

static void blocks_must_be_in_range_ascending_and_unique(void **state)
{
    (void)state;
    static const struct {
        uint32_t cols[3];
        const char *words;
    } rows[] = {
        { { 1, 2, 5 }, "head 2 row 1 names block 5 of 5" },
        { { 1, 2, UINT32_MAX }, "head 2 row 1 names block 4294967295 of 5" },
        { { 5, 6, 7 }, "head 2 row 1 names block 5 of 5" },
        { { 1, 1, 4 }, "head 2 row 1: block 1 follows block 1" },
        { { 1, 4, 4 }, "head 2 row 1: block 4 follows block 4" },
        { { 2, 1, 4 }, "head 2 row 1: block 1 follows block 2" },
        { { 4, 0, 1 }, "head 2 row 1: block 0 follows block 4" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        raw_plan *raw = sound_plan(3);
        memcpy(raw->cols + 15, rows[i].cols, sizeof rows[i].cols);
        assert_refused(raw, rows[i].words);
    }
    assert_accepted(sound_plan(3));
}

static void row_offsets_must_rise_from_zero(void **state)
{
    (void)state;
    raw_plan *raw = sound_plan(3);
    raw->row_ptr[3] = 4; /* rows 2 and 3 are head 1's: [6, 4) and [4, 12) */
    assert_refused(raw, "head 1 row 0");
    raw = sound_plan(3);
    raw->row_ptr[3] = 4;
    raw->plan.active = (const int32_t[]){ 8 }; /* nobody asks for row 0: no better */
    raw->plan.n_active = 1;
    assert_refused(raw, "head 1 row 0");
    raw = sound_plan(3);
    raw->row_ptr[0] = 1;
    assert_refused(raw, "head 0 row 0");
}

/* A row cannot hold more than every block once: told before its ids are read. */
static void row_offsets_must_not_overflow(void **state)
{
    (void)state;
    raw_plan *raw = sound_plan(3);
    raw->row_ptr[6] = UINT32_MAX;
    assert_refused(raw, "head 2 row 1");
    raw = sound_plan(1);
    raw->row_ptr[2] = 3 + 6; /* 6 ids of 5 blocks */
    assert_refused(raw, "head 0 row 1");
}

/* That a range runs backwards or too far is another mistake than that it is empty. */
static void offsets_are_not_called_empty(void **state)
{
    (void)state;
    lac_error err = { 0 };
    for (int part = 0; part < 2; part++) {
        raw_plan *raw = sound_plan(3);
        raw->row_ptr[3] = part ? UINT32_MAX : 4;
        assert_int_equal(laci_plan_validate(&raw->plan, N_Q, N_K, N_HEADS, &err), LAC_EINTERNAL);
        assert_null(strstr(err.message, "empty"));
        assert_non_null(strstr(err.message, part ? "4294967295" : "4"));
        free_plan(raw);
    }
}

static void a_row_someone_asks_for_must_not_be_empty(void **state)
{
    (void)state;
    static const int32_t in_row_0[] = { 0, 3, 7 }, in_row_1[] = { 7, 8 };
    for (int part = 0; part < 3; part++) {
        raw_plan *raw = sound_plan(1);
        raw->row_ptr[1] = 3;
        raw->row_ptr[2] = 3; /* row 1 is empty */
        raw->plan.active = part == 0 ? NULL : part == 1 ? in_row_0 : in_row_1;
        raw->plan.n_active = part == 0 ? 0 : part == 1 ? 3 : 2;
        if (part == 1)
            assert_accepted(raw);
        else
            assert_refused(raw, "head 0 row 1 is empty");
    }
}

static void active_queries_must_be_in_range_and_in_order(void **state)
{
    (void)state;
    static const struct {
        int32_t active[3];
        const char *words; /* NULL = accepted */
    } lists[] = {
        { { 0, 5, 15 }, NULL },
        { { 5, 5, 5 }, NULL }, /* never falling: the same position twice is sound */
        { { -1, 0, 1 }, "active query -1 at 0 of 16" },
        { { 0, 1, 16 }, "active query 16 at 2 of 16" },
        { { 0, INT32_MAX, 1 }, "active query 2147483647 at 1 of 16" },
        { { 3, 2, 4 }, "active query 2 at 1 of 16" },
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        raw_plan *raw = sound_plan(1);
        raw->plan.active = lists[i].active;
        raw->plan.n_active = 3;
        if (lists[i].words)
            assert_refused(raw, lists[i].words);
        else
            assert_accepted(raw);
    }
}

static void shapes_must_fit_the_layer(void **state)
{
    (void)state;
    raw_plan *raw = sound_plan(2);
    assert_refused(raw, "2 heads for a layer of 3");
    raw = sound_plan(3);
    raw->plan.n_heads = 0;
    assert_refused(raw, "0 heads for a layer of 3");
    raw = sound_plan(4);
    assert_refused(raw, "4 heads for a layer of 3");
    raw = sound_plan(1);
    raw->plan.n_rows = 1;
    assert_refused(raw, "1 rows of 8 for 16 queries");
    raw = sound_plan(1);
    raw->plan.q_block = 0;
    assert_refused(raw, "");
    raw = sound_plan(1);
    raw->plan.k_block = 0;
    assert_refused(raw, "");
    raw = sound_plan(1);
    raw->plan.row_ptr = NULL;
    assert_refused(raw, "not built");
    raw = sound_plan(1);
    raw->plan.cols = NULL;
    assert_refused(raw, "not built");
    assert_accepted(sound_plan(1));
    assert_accepted(sound_plan(N_HEADS));
}

/* A plan may have patterns of its own for every sequence of a batch. */
static void patterns_may_be_of_each_sequence(void **state)
{
    (void)state;
    assert_accepted(sound_plan(2 * N_HEADS));
    raw_plan *raw = sound_plan(2 * N_HEADS);
    raw->cols[6 * 5] = 5; /* the first id of pattern 5, row 0 */
    assert_refused(raw, "head 5 row 0 names block 5 of 5");
}

static void room_is_never_exceeded(void **state)
{
    (void)state;
    lac_error err;
    laci_plan_store store = make(1, 4);
    laci_plan_begin(&store, 8, 2, 1, 1);
    assert_int_equal(laci_plan_add(&store, 0, 5, &err), LAC_EINTERNAL);
    assert_string_equal(err.message, "plan has room for 4 entries, 5 written");
    assert_ok(laci_plan_add(&store, 0, 4, NULL));
    laci_plan_end_row(&store);
    assert_int_equal(laci_plan_add(&store, 0, 1, &err), LAC_EINTERNAL);
    assert_string_equal(err.message, "plan has room for 1 rows, row 1 written");
    assert_ok(laci_plan_validate(&store.plan, 8, 8, 1, NULL));
    laci_plan_clear(&store);
}

/* ------------------------------------------------------------------ policies */

static void dense_reads_everything(void **state)
{
    (void)state;
    const laci_sparse sparse = { .block = 32 };
    const laci_shape shape = { .n_layers = 2,
                               .n_heads = 4,
                               .n_kv_heads = 2,
                               .d_head = 16,
                               .n_ctx = 100,
                               .n_passes = 1,
                               .sparse = &sparse };
    const laci_policy *policy = laci_policy_find("off", 3, LACI_FULL);
    laci_policy_sizes sizes;
    uint64_t policy_state[8];
    assert_non_null(policy);
    assert_ok(policy->sizes(&shape, &sizes, NULL));
    assert_true(sizes.state_bytes <= sizeof policy_state);
    assert_ok(policy->begin(policy_state, &shape, NULL));
    laci_plan_store store = make(sizes.plan_rows, sizes.plan_cols);
    for (size_t n = 1; n <= 100; n += 33) {
        const laci_moment at = { .n_q = n, .n_k = n };
        const laci_plan_input in = { 0 };
        assert_ok(policy->plan(policy_state, NULL, &at, &in, &store, NULL));
        assert_ok(laci_plan_validate(&store.plan, n, n, 4, NULL));
        assert_float_equal((float)laci_plan_density(&store.plan, n, n), 1, 0);
    }
    laci_plan_clear(&store);
}

static void unknown_policies_are_named(void **state)
{
    (void)state;
    const laci_policy *policy;
    laci_settings settings;
    char reason[LACI_REASON];
    lac_error err;
    const laci_policy_model model = {
        .kind = LACI_FULL, .family = "llada", .n_heads = 4, .d_head = 32, .n_ctx = 100
    };
    assert_ok(laci_policy_choose(&policy, &settings, NULL, &model, reason, &err));
    assert_string_equal(policy->name, "dense");
    assert_int_equal(laci_policy_choose(&policy, &settings, "sparsedd", &model, reason, &err),
                     LAC_EINVAL);
    assert_non_null(strstr(err.message, "\"sparsedd\""));
    assert_non_null(strstr(err.message, "dense"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(density_counts_tokens_not_blocks),
        cmocka_unit_test(blocks_must_be_in_range_ascending_and_unique),
        cmocka_unit_test(row_offsets_must_rise_from_zero),
        cmocka_unit_test(row_offsets_must_not_overflow),
        cmocka_unit_test(offsets_are_not_called_empty),
        cmocka_unit_test(a_row_someone_asks_for_must_not_be_empty),
        cmocka_unit_test(active_queries_must_be_in_range_and_in_order),
        cmocka_unit_test(shapes_must_fit_the_layer),
        cmocka_unit_test(patterns_may_be_of_each_sequence),
        cmocka_unit_test(room_is_never_exceeded),
        cmocka_unit_test(dense_reads_everything),
        cmocka_unit_test(unknown_policies_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
