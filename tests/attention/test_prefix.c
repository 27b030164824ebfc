/* test_prefix.c: policies behind a key cache, without attention: what options mean and which are
 * refused, when everything is read, which rows are recomputed. */
#include <math.h>

#include "test.h"

#include "attention/prefix.h"

static const laci_prefix_model model = { "sdar", 16, 4096 };

static laci_prefix make(const char *name, const lac_sparse_options *opt)
{
    laci_prefix p;
    char reason[64];
    lac_error err = { 0 };
    if (laci_prefix_choose(&p, name, opt, &model, reason, sizeof reason, &err))
        fail_msg("%s", err.message);
    return p;
}

static void refuse(const char *name, const lac_sparse_options *opt, const char *words)
{
    laci_prefix p;
    char reason[64];
    lac_error err = { 0 };
    assert_int_equal(laci_prefix_choose(&p, name, opt, &model, reason, sizeof reason, &err),
                     LAC_EINVAL);
    if (!strstr(err.message, words)) fail_msg("\"%s\" lacks \"%s\"", err.message, words);
}

static void options_mean_what_they_say(void **state)
{
    (void)state;
    assert_true(make(NULL, NULL).is_dense);
    assert_true(make("off", NULL).is_dense);
    const laci_prefix losa = make("losa", NULL);
    assert_true(!losa.is_dense && losa.dense_first && laci_prefix_keeps(&losa));
    assert_int_equal(losa.page, 64);
    assert_int_equal(losa.selector, LACI_SELECT_BLOCKS);
    assert_int_equal(make("quest", NULL).page, 16);
    assert_int_equal(make("losa", &(lac_sparse_options){ .page = 32 }).page, 32);
    assert_int_equal(losa.min_prefix, 1024);
    assert_int_equal(make("losa", &(lac_sparse_options){ .budget = 1000 }).min_prefix, 2000);
    assert_int_equal(make("losa", &(lac_sparse_options){ .min_prefix = -1 }).min_prefix, 0);
    assert_int_equal(make("flashblock", NULL).refresh_tokens, 3);
    assert_int_equal(
        make("flashblock", &(lac_sparse_options){ .refresh_tokens = -1 }).refresh_tokens, 0);
    /* a selector by mass needs the first step whole, also in quest */
    const lac_sparse_options columns = { .selector = LAC_SELECTOR_COLUMNS };
    assert_true(make("quest", &columns).dense_first);
    assert_true(laci_prefix_measures(&(laci_prefix){ .selector = LACI_SELECT_COLUMNS }));
    assert_true(losa.min_change > 0);
    assert_true(make("losa", &(lac_sparse_options){ .min_change = -1 }).min_change <= 0);
    const lac_sparse_options hidden = { .drift = LAC_DRIFT_HIDDEN };
    assert_true(!losa.by_hidden && make("losa", &hidden).by_hidden);
    lac_sparse_options first = { .first_step = LAC_FIRST_STEP_SPARSE,
                                 .selector = LAC_SELECTOR_PAGES };
    assert_true(!make("losa", &first).dense_first);
    first.selector = LAC_SELECTOR_DEFAULT;
    refuse("losa", &first, "selector pages does without");
    refuse("mage", &first, "first_step sparse: mage");
    refuse("flashblock", &first, "first_step sparse: flashblock");
    first.selector = LAC_SELECTOR_BLOCKS;
    refuse("losa", &first, "first_step sparse: losa");
    first = (lac_sparse_options){ .first_step = LAC_FIRST_STEP_DENSE };
    assert_true(!make("quest", NULL).dense_first && make("quest", &first).dense_first);
    refuse("losa", &(lac_sparse_options){ .first_step = (lac_first_step)3 }, "first_step 3");
    refuse("losa", &(lac_sparse_options){ .drift = (lac_drift)-1 }, "drift");
    const lac_sparse_options int8 = { .page_bounds = LAC_BOUNDS_INT8 };
    assert_true(!losa.int8_bounds && make("losa", &int8).int8_bounds);
    refuse("losa", &(lac_sparse_options){ .page_bounds = (lac_page_bounds)7 }, "page_bounds 7");
    /* who chooses: rows each for themselves, or all of a list */
    assert_true(!losa.pooled && !losa.per_head && losa.select_every == 1);
    assert_true(make("sparsed", NULL).per_head);
    const lac_sparse_options by_pages = { .selector = LAC_SELECTOR_PAGES };
    assert_false(make("sparsed", &by_pages).per_head);
    const lac_sparse_options heads = { .plan_group = LAC_PLAN_PER_HEAD, .select_every = 4 };
    const laci_prefix by_head = make("quest", &heads);
    assert_true(by_head.pooled && by_head.per_head && by_head.select_every == 4);
    const laci_prefix by_kv =
        make("sparsed", &(lac_sparse_options){ .plan_group = LAC_PLAN_PER_KV });
    assert_true(by_kv.pooled && !by_kv.per_head);
    refuse("losa", &(lac_sparse_options){ .select_every = -2 }, "select_every is -2");
    refuse("losa", &(lac_sparse_options){ .select_every = 1 << 25 }, "select_every is 33554432");
    refuse("losa", &(lac_sparse_options){ .plan_group = (lac_plan_group)3 }, "plan_group 3");
    refuse("window", NULL, "losa, quest");
    refuse("losa", &(lac_sparse_options){ .budget = -3 }, "budget is -3");
    refuse("losa", &(lac_sparse_options){ .budget = 1.5 }, "budget is 1.5");
    refuse("losa", &(lac_sparse_options){ .active = (double)NAN }, "active is nan");
    refuse("losa", &(lac_sparse_options){ .page = 48 }, "pages of 48");
    refuse("losa", &(lac_sparse_options){ .refresh_drift = -1 }, "refresh_drift is -1");
    refuse("losa", &(lac_sparse_options){ .first_layers = -2 }, "first_layers is -2");
    refuse("losa", &(lac_sparse_options){ .selector = (lac_selector)9 }, "selector 9");
}

/* auto on a family and context. */
static laci_prefix choose(const char *family, size_t n_ctx, const lac_sparse_options *opt,
                          const char *words)
{
    const laci_prefix_model of = { family, 16, n_ctx };
    laci_prefix p;
    char reason[128];
    assert_ok(laci_prefix_choose(&p, "auto", opt, &of, reason, sizeof reason, NULL));
    if (!strstr(reason, words)) fail_msg("\"%s\" lacks \"%s\"", reason, words);
    return p;
}

static void auto_is_losa_where_it_pays(void **state)
{
    (void)state;
    assert_true(choose("sdar", 8192, NULL, "auto: reads the whole key cache").is_dense);
    assert_true(choose("other", 65536, NULL, "auto: reads the whole key cache").is_dense);
    const laci_prefix p = choose("sdar", 8193, NULL, "auto: losa pays behind more than 8192");
    assert_string_equal(p.name, "losa");
    assert_int_equal(p.min_prefix, 8192);
    assert_int_equal(laci_prefix_budget(&p, 20000, 1), 2000);
    const lac_sparse_options own = { .budget = 300, .min_prefix = 9000 };
    const laci_prefix asked = choose("sdar", 65536, &own, "auto: losa");
    assert_int_equal(laci_prefix_budget(&asked, 20000, 1), 300);
    assert_int_equal(asked.min_prefix, 9000);
}

static void budgets_are_counts_or_shares(void **state)
{
    (void)state;
    laci_prefix p = make("quest", &(lac_sparse_options){ .budget = 100 });
    assert_int_equal(laci_prefix_budget(&p, 1000, 1), 100);
    assert_int_equal(laci_prefix_budget(&p, 1000, 16), 7);
    assert_int_equal(laci_prefix_budget(&p, 60, 16), 4);
    p.budget = 0.1;
    assert_int_equal(laci_prefix_budget(&p, 1000, 1), 100);
    assert_int_equal(laci_prefix_budget(&p, 3, 16), 1);
    assert_int_equal(laci_prefix_list_size(&p, 1000), 63);
}

static void when_everything_is_read(void **state)
{
    (void)state;
    const laci_prefix losa = make("losa", &(lac_sparse_options){ .budget = 64, .first_layers = 1 });
    laci_prefix_moment at = { .layer = 1, .n_keys = 2000 };
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_DENSE);
    at.step = 1;
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_SPARSE);
    at.layer = 0;
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_WHOLE);
    at.layer = 1;
    at.n_keys = 1024;
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_WHOLE);
    const laci_prefix every =
        make("losa", &(lac_sparse_options){ .budget = 4096, .min_prefix = -1, .refresh_steps = 3 });
    at = (laci_prefix_moment){ .step = 2, .n_keys = 4097, .steps_since = 2 };
    assert_int_equal(laci_prefix_decide(&every, &at), LACI_PREFIX_SPARSE);
    at.steps_since = 3;
    assert_int_equal(laci_prefix_decide(&every, &at), LACI_PREFIX_DENSE);
    at.n_keys = 4096; /* the budget holds all of it */
    assert_int_equal(laci_prefix_decide(&every, &at), LACI_PREFIX_WHOLE);
    const laci_prefix flash = make("flashblock", &(lac_sparse_options){ .min_prefix = -1 });
    at = (laci_prefix_moment){ .step = 4, .n_keys = 100, .tokens_since = 2 };
    assert_int_equal(laci_prefix_decide(&flash, &at), LACI_PREFIX_SPARSE);
    at.tokens_since = 3;
    assert_int_equal(laci_prefix_decide(&flash, &at), LACI_PREFIX_DENSE);
    at = (laci_prefix_moment){ .step = 0, .n_keys = 0 }; /* nothing to read */
    assert_int_equal(laci_prefix_decide(&flash, &at), LACI_PREFIX_WHOLE);
}

static void check_pick(const laci_prefix *p, const laci_row_drift *drift, size_t n,
                       const char *want)
{
    int32_t active[8];
    char got[32] = "";
    const size_t n_active = laci_prefix_pick(p, drift, n, active);
    for (size_t i = 0; i < n_active; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%d", active[i]);
    if (strcmp(got, want)) fail_msg("rows %s, not %s", got, want);
}

static void rows_that_moved_and_new_ids_are_active(void **state)
{
    (void)state;
    const laci_row_drift drift[] = { { 1, 10, false }, { 5, 10, false }, { 0, 10, true },
                                     { 5, 10, false }, { 2, 10, false }, { 0, 10, true } };
    laci_prefix p = make("losa", &(lac_sparse_options){ .active = 3, .min_change = -1 });
    check_pick(&p, drift, 6, "125"); /* the new ones, then the lower of two that moved alike */
    p.active = 1;
    check_pick(&p, drift, 6, "25"); /* new ones are never left out */
    p.active = 0.7;
    check_pick(&p, drift, 6, "12345");
    p.active = 99;
    check_pick(&p, drift, 6, "012345");
    p.min_change = 0.3; /* 5 of 10 is far enough, 2 of 10 is not */
    check_pick(&p, drift, 6, "1235");
    p.rows = LACI_ROWS_ALL;
    p.active = 1;
    check_pick(&p, drift, 6, "012345");
    p.rows = LACI_ROWS_NONE;
    check_pick(&p, drift, 6, "");
}

static void drift_of_the_rest_is_a_share_of_its_size(void **state)
{
    (void)state;
    const laci_row_drift drift[] = { { 1, 10, false }, { 5, 10, false }, { 2, 20, false } };
    const int32_t active[] = { 1 };
    laci_prefix p = make("losa", &(lac_sparse_options){ .refresh_drift = 0.11 });
    assert_false(laci_prefix_has_drifted(&p, drift, 3, active, 1)); /* 3 of 30 */
    p.refresh_drift = 0.09;
    assert_true(laci_prefix_has_drifted(&p, drift, 3, active, 1));
    p.refresh_drift = 0;
    assert_false(laci_prefix_has_drifted(&p, drift, 3, active, 0));
    const laci_row_drift odd[] = { { (double)NAN, 10, false } };
    p.refresh_drift = 1;
    assert_true(laci_prefix_has_drifted(&p, odd, 1, active, 0)); /* what is odd is read */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_mean_what_they_say),
        cmocka_unit_test(auto_is_losa_where_it_pays),
        cmocka_unit_test(budgets_are_counts_or_shares),
        cmocka_unit_test(when_everything_is_read),
        cmocka_unit_test(rows_that_moved_and_new_ids_are_active),
        cmocka_unit_test(drift_of_the_rest_is_a_share_of_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
