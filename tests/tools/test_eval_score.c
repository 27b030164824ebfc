/* test_eval_score.c: the scoring rules on hand-made answers, and intervals against values worked
 * out by hand. */
#include <math.h>

#include "test.h"

#include "eval/eval_score.h"

static double score(const char *output, const char *const *refs, size_t n, bool part)
{
    return eval_score(output, strlen(output), refs, n, part);
}

static void references_score_by_share_or_any(void **state)
{
    (void)state;
    static const char *const refs[] = { "1234", "Blue-Moon", "zz" };
    assert_true(score("x1234, blue-moon.", refs, 3, false) == 2.0 / 3);
    assert_true(score("x1234", refs, 3, true) == 1);
    assert_true(score("123 4", refs, 3, true) == 0);
    assert_true(score("", refs, 3, false) == 0);
    assert_true(score("", refs, 3, true) == 0);
    assert_true(score("ZZ", refs, 3, false) == 1.0 / 3);
    /* control characters are line breaks, and match one another */
    static const char *const lines[] = { "a\nb" };
    assert_true(score("a\tb", lines, 1, false) == 1);
    assert_true(score("a b", lines, 1, false) == 0);
}

static bool exact(const char *output, const char *expected)
{
    return eval_is_exact(output, strlen(output), expected, strlen(expected));
}

static void exact_is_the_whole_answer(void **state)
{
    (void)state;
    assert_true(exact("1234", "1234"));
    assert_true(exact(" 1234\n", "1234"));
    assert_true(exact("1, 2,3", "1 2 3"));
    assert_false(exact("12345", "1234"));
    assert_false(exact("1234 5", "1234"));
    assert_false(exact("123", "1234"));
    assert_false(exact("12 34", "1234"));
    assert_false(exact("", "1234"));
    assert_true(exact(" ", ""));
}

static void agreement_counts_the_end(void **state)
{
    (void)state;
    static const int32_t a[] = { 1, 2, 3 }, b[] = { 1, 9, 3, 4 };
    assert_true(eval_agreement(a, 3, a, 3) == 1);
    assert_true(eval_agreement(a, 3, b, 4) == 2.0 / 5);
    assert_true(eval_agreement(b, 4, a, 3) == 2.0 / 5);
    assert_true(eval_agreement(a, 0, b, 0) == 1);
    assert_true(eval_agreement(a, 0, b, 1) == 0);
}

static void no_change_has_an_exact_bound(void **state)
{
    (void)state;
    const double zeros[50] = { 0 };
    const eval_paired p = eval_paired_of(zeros, 50, 1);
    assert_true(p.mean == 0 && p.n_up == 0 && p.n_down == 0 && p.p == 1);
    /* Clopper and Pearson: 1 - 0.025^(1/50) */
    assert_true(fabs(p.high - 0.0711217) < 1e-6);
    assert_true(p.low == -p.high);
}

static void differences_have_intervals_around_their_mean(void **state)
{
    (void)state;
    double d[100] = { 0 };
    for (int i = 0; i < 20; i++)
        d[i] = -1;
    for (int i = 20; i < 24; i++)
        d[i] = 1;
    const eval_paired p = eval_paired_of(d, 100, 3), again = eval_paired_of(d, 100, 3);
    assert_true(fabs(p.mean + 0.16) < 1e-12);
    assert_int_equal(p.n_up, 4);
    assert_int_equal(p.n_down, 20);
    /* the normal approximation: standard error sqrt((0.24 - 0.16^2) / 100) = 0.0463 */
    assert_true(fabs(p.low + 0.2507) < 0.015 && fabs(p.high + 0.0693) < 0.015);
    /* 2 * sum of C(24, 0..4) / 2^24 */
    assert_true(fabs(p.p - 2.0 * (1 + 24 + 276 + 2024 + 10626) / 16777216) < 1e-12);
    assert_memory_equal(&p, &again, sizeof p);
}

static void all_lost_is_all_lost(void **state)
{
    (void)state;
    const double d[] = { -1, -1, -1 };
    const eval_paired p = eval_paired_of(d, 3, 1);
    assert_true(p.mean == -1 && p.low == -1 && p.high == -1);
    assert_true(fabs(p.p - 0.25) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_score_by_share_or_any),
        cmocka_unit_test(exact_is_the_whole_answer),
        cmocka_unit_test(agreement_counts_the_end),
        cmocka_unit_test(no_change_has_an_exact_bound),
        cmocka_unit_test(differences_have_intervals_around_their_mean),
        cmocka_unit_test(all_lost_is_all_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
