/* test_prefix.c: policies behind a key cache, without attention: what knobs mean and which are
 * refused, when everything is read, which rows are recomputed. */
#include <math.h>

#include "test.h"

#include "attention/policy.h"

static laci_prefix choose(const char *request, const char *family, size_t n_ctx, char *reason)
{
    const laci_policy_model model = {
        .family = family, .kind = LACI_BLOCKWISE, .n_ctx = n_ctx, .block = 16
    };
    const laci_policy *policy;
    laci_settings settings;
    lac_error err = { 0 };
    if (laci_policy_choose(&policy, &settings, request, &model, reason, &err))
        fail_msg("%s", err.message);
    return settings.prefix;
}

static laci_prefix make(const char *request)
{
    char reason[LACI_REASON];
    return choose(request, "sdar", 4096, reason);
}

static void refuse(const char *request, const char *words)
{
    const laci_policy_model model = {
        .family = "sdar", .kind = LACI_BLOCKWISE, .n_ctx = 4096, .block = 16
    };
    char reason[LACI_REASON];
    const laci_policy *policy;
    laci_settings settings;
    lac_error err = { 0 };
    assert_int_equal(laci_policy_choose(&policy, &settings, request, &model, reason, &err),
                     LAC_EINVAL);
    if (!strstr(err.message, words))
        fail_msg("%s: \"%s\" lacks \"%s\"", request, err.message, words);
}

static void knobs_mean_what_they_say(void **state)
{
    (void)state;
    assert_true(make(NULL).is_dense);
    assert_true(make("off").is_dense && make("dense").is_dense);
    const laci_prefix losa = make("losa");
    assert_true(!losa.is_dense && losa.dense_first && laci_prefix_keeps(&losa));
    assert_int_equal(losa.page, 64);
    assert_int_equal(losa.selector, LACI_SELECT_BLOCKS);
    assert_int_equal(make("quest").page, 16);
    assert_int_equal(make("losa:page=32").page, 32);
    assert_int_equal(losa.min_prefix, 1024);
    assert_int_equal(make("losa:budget=1000").min_prefix, 2000);
    assert_int_equal(make("losa:min-prefix=0").min_prefix, 0);
    assert_int_equal(make("flashblock").refresh_tokens, 3);
    assert_int_equal(make("flashblock:refresh-tokens=0").refresh_tokens, 0);
    /* a selector by mass needs the first step whole */
    assert_true(make("losa:selector=columns").dense_first);
    assert_true(laci_prefix_measures(&(laci_prefix){ .selector = LACI_SELECT_COLUMNS }));
    assert_true(losa.min_change > 0);
    assert_true(make("losa:min-change=0").min_change <= 0);
    assert_true(!losa.by_hidden && make("losa:drift=hidden").by_hidden);
    assert_true(!make("losa:selector=pages,first-step=sparse").dense_first);
    refuse("losa:first-step=sparse", "needs selector=pages");
    refuse("losa:first-step=sparse,selector=blocks", "needs selector=pages");
    refuse("mage:first-step=sparse", "mage has no knob \"first-step\": it has budget");
    refuse("flashblock:first-step=sparse", "flashblock has no knob \"first-step\"");
    assert_true(!make("quest").dense_first && make("quest:first-step=dense").dense_first);
    refuse("losa:first-step=none", "'none' is not sparse or dense");
    refuse("losa:drift=keys", "'keys' is not query or hidden");
    assert_true(!losa.int8_bounds && make("losa:page-bounds=int8").int8_bounds);
    refuse("losa:page-bounds=int4", "'int4' is not exact or int8");
    /* who chooses: rows each for themselves, or all of a list */
    assert_true(!losa.pooled && !losa.per_head && losa.select_every == 1);
    assert_true(make("sparsed").per_head);
    const laci_prefix by_head = make("quest:group=head,select-every=4");
    assert_true(by_head.pooled && by_head.per_head && by_head.select_every == 4);
    const laci_prefix by_kv = make("sparsed:group=kv");
    assert_true(by_kv.pooled && !by_kv.per_head);
    refuse("losa:select-every=-2", "'-2' is not a whole number from 1 to 16777216");
    refuse("losa:select-every=33554432", "'33554432' is not a whole number");
    refuse("losa:group=page", "'page' is not head or kv");
    refuse("window", "auto, off, dense, losa, quest, mage, flashblock, sparsed");
    refuse("losa:budget=-3", "'-3' is not a whole number from 1 to 16777216 or a share above 0");
    refuse("losa:budget=1.5", "'1.5' is not a whole number");
    refuse("losa:active=nan", "'nan' is not a whole number");
    refuse("losa:page=48", "'48' is not 16, 32 or 64");
    refuse("losa:refresh-drift=-1", "'-1' is not a number from 0 to 1e+06");
    refuse("losa:first-layers=-2", "'-2' is not a whole number from 0 to 1024");
    refuse("losa:selector=best", "'best' is not pages, columns or blocks");
    refuse("losa:skip=0.5", "losa has no knob \"skip\": it has budget, active");
    refuse("off:measure=on", "knob measure of dense: sdar decodes blocks");
}

static void auto_is_losa_where_it_pays(void **state)
{
    (void)state;
    char reason[LACI_REASON];
    assert_true(choose("auto", "sdar", 8192, reason).is_dense);
    assert_non_null(strstr(reason, "auto: reads the whole key cache"));
    assert_true(choose("auto", "other", 65536, reason).is_dense);
    assert_non_null(strstr(reason, "auto: reads the whole key cache"));
    const laci_prefix p = choose("auto", "sdar", 8193, reason);
    assert_non_null(strstr(reason, "auto: losa pays behind more than 8192"));
    assert_int_equal(p.rows, LACI_ROWS_CHANGED);
    assert_int_equal(p.min_prefix, 8192);
    assert_int_equal(laci_prefix_budget(&p, 20000, 1), 2000);
    const laci_prefix asked = choose("auto:budget=300,min-prefix=9000", "sdar", 65536, reason);
    assert_int_equal(laci_prefix_budget(&asked, 20000, 1), 300);
    assert_int_equal(asked.min_prefix, 9000);
    refuse("auto:skip=0.1", "losa has no knob \"skip\"");
}

static void budgets_are_counts_or_shares(void **state)
{
    (void)state;
    laci_prefix p = make("quest:budget=100");
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
    const laci_prefix losa = make("losa:budget=64,first-layers=1");
    laci_prefix_moment at = { .layer = 1, .n_keys = 2000 };
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_DENSE);
    at.step = 1;
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_SPARSE);
    at.layer = 0;
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_WHOLE);
    at.layer = 1;
    at.n_keys = 1024;
    assert_int_equal(laci_prefix_decide(&losa, &at), LACI_PREFIX_WHOLE);
    const laci_prefix every = make("losa:budget=4096,min-prefix=0,refresh-steps=3");
    at = (laci_prefix_moment){ .step = 2, .n_keys = 4097, .steps_since = 2 };
    assert_int_equal(laci_prefix_decide(&every, &at), LACI_PREFIX_SPARSE);
    at.steps_since = 3;
    assert_int_equal(laci_prefix_decide(&every, &at), LACI_PREFIX_DENSE);
    at.n_keys = 4096; /* the budget holds all of it */
    assert_int_equal(laci_prefix_decide(&every, &at), LACI_PREFIX_WHOLE);
    const laci_prefix flash = make("flashblock:min-prefix=0");
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
    laci_prefix p = make("losa:active=3,min-change=0");
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
    laci_prefix p = make("losa:refresh-drift=0.11");
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
        cmocka_unit_test(knobs_mean_what_they_say),
        cmocka_unit_test(auto_is_losa_where_it_pays),
        cmocka_unit_test(budgets_are_counts_or_shares),
        cmocka_unit_test(when_everything_is_read),
        cmocka_unit_test(rows_that_moved_and_new_ids_are_active),
        cmocka_unit_test(drift_of_the_rest_is_a_share_of_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
