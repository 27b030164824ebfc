/* test_attend_same_bits.c: the laws of attend_f32 and attend_bf16 that make results reproducible,
 * on every instruction set this machine has: a row has the same bits in any company, with
 * statistics or without, and the same result to rounding in any number of calls (sums are added up
 * once a call). */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include <math.h>

#include "kernels/tile_run.h"

static const tile_case cases[] = {
    { LACI_F32, 64, 64, 9, LANES_RANDOM, true, false, SCORES_RANDOM, 12 },
    { LACI_F32, 127, 40, 5, LANES_FULL, false, false, SCORES_RISING, 1 },
    { LACI_F32, 20, 80, 11, LANES_TAIL, false, false, SCORES_FALLING, 1 },
    { LACI_F32, 128, 128, 3, LANES_FULL, false, false, SCORES_RANDOM, 30 },
    { LACI_BF16, 64, 128, 9, LANES_TAIL, true, false, SCORES_RANDOM, 12 },
    { LACI_BF16, 127, 24, 5, LANES_GAPS, true, true, SCORES_RISING, 1 },
    { LACI_BF16, 20, 256, 11, LANES_FULL, false, false, SCORES_RISING, 1 },
    { LACI_BF16, 128, 128, 3, LANES_FULL, false, false, SCORES_RANDOM, 30 },
};

typedef void (*law)(const tile_rig *r, const level *l, const float *out, const float *lse);

/* Every case by every level: output and log-sum-exp of all rows in one call, then the law. */
static void check_law(law holds)
{
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        tile_rig r = rig_new(&cases[c]);
        float *out = take(r.c.n_rows * r.c.d, sizeof *out), *lse = take(r.c.n_rows, sizeof *lse);
        pack(&r);
        for (size_t i = 0; i < n_levels; i++) {
            if (!has_own_kernel(levels, i, r.c.dtype)) continue;
            run_all(&r, &levels[i].table, out, lse);
            holds(&r, &levels[i], out, lse);
        }
        free(out), free(lse);
        rig_free(&r);
    }
}

/* The rows taken in another order, `n` at a time, have the bits they have together. */
static void check_company(const tile_rig *r, const level *l, size_t n, const float *want,
                          const float *want_lse)
{
    float *out = take(n * r->c.d, sizeof *out), *lse = take(n, sizeof *lse);
    size_t rows[LACI_TILE_ROWS];
    for (size_t at = 0; at < r->c.n_rows; at += n) {
        const size_t n_now = at + n < r->c.n_rows ? n : r->c.n_rows - at;
        for (size_t i = 0; i < n_now; i++)
            rows[i] = (at + i) * 37 % r->c.n_rows; /* 37 shares no factor with any n_rows here */
        run_rows(r, &l->table, rows, n_now, 0, (run_stats){ 0 }, out, lse);
        for (size_t i = 0; i < n_now; i++) {
            if (memcmp(out + i * r->c.d, want + rows[i] * r->c.d, r->c.d * sizeof *out) ||
                memcmp(&lse[i], &want_lse[rows[i]], sizeof *lse))
                fail_msg("%s: row %zu has other bits as number %zu of %zu", describe(r, l->name),
                         rows[i], i, n_now);
        }
    }
    free(out), free(lse);
}

static void company_holds(const tile_rig *r, const level *l, const float *out, const float *lse)
{
    static const size_t company[] = { 1, 2, 3, 6, 7, 12, 19 };
    for (size_t i = 0; i < sizeof company / sizeof company[0]; i++)
        check_company(r, l, company[i], out, lse);
}

/* The same result in calls of `step` panels with such statistics. */
static void check_run(const tile_rig *r, const level *l, size_t step, run_stats stats,
                      const float *want, const float *want_lse)
{
    const size_t n = r->c.n_rows;
    float *out = take(n * r->c.d, sizeof *out), *lse = take(n, sizeof *lse);
    run_rows(r, &l->table, NULL, n, step, stats, out, lse);
    if (memcmp(out, want, n * r->c.d * sizeof *out) || memcmp(lse, want_lse, n * sizeof *lse))
        fail_msg("%s: other bits in calls of %zu panels with statistics of %zu keys, squares %d",
                 describe(r, l->name), step, stats.step, stats.squares);
    free(out), free(lse);
}

/* The same result to rounding in calls of `step` panels. */
static void check_calls(const tile_rig *r, const level *l, size_t step, const float *want,
                        const float *want_lse)
{
    const size_t n = r->c.n_rows;
    float *out = take(n * r->c.d, sizeof *out), *lse = take(n, sizeof *lse);
    run_rows(r, &l->table, NULL, n, step, (run_stats){ 0 }, out, lse);
    float largest = 1e-30f;
    for (size_t i = 0; i < n * r->c.d; i++)
        if (fabsf(want[i]) > largest) largest = fabsf(want[i]);
    for (size_t i = 0; i < n * r->c.d; i++)
        if (!(fabsf(out[i] - want[i]) <= 2e-6f * largest))
            fail_msg("%s: value %zu is %g in calls of %zu panels, %g in one", describe(r, l->name),
                     i, (double)out[i], step, (double)want[i]);
    for (size_t i = 0; i < n; i++)
        if (lse[i] != want_lse[i] && !(fabsf(lse[i] - want_lse[i]) <= 2e-6f * (1 + fabsf(lse[i]))))
            fail_msg("%s: log-sum-exp %zu is %g in calls of %zu panels, %g in one",
                     describe(r, l->name), i, (double)lse[i], step, (double)want_lse[i]);
    free(out), free(lse);
}

static void calls_hold(const tile_rig *r, const level *l, const float *out, const float *lse)
{
    check_calls(r, l, 1, out, lse);
    check_calls(r, l, 2, out, lse);
    check_calls(r, l, 5, out, lse);
}

static void statistics_hold(const tile_rig *r, const level *l, const float *out, const float *lse)
{
    for (size_t step = 16; step <= LACI_PANEL; step *= 2) {
        check_run(r, l, 0, (run_stats){ step, false }, out, lse);
        check_run(r, l, 0, (run_stats){ step, true }, out, lse);
    }
}

static void a_row_is_the_same_in_any_company(void **state)
{
    (void)state;
    check_law(company_holds);
}

static void a_tile_may_be_read_in_several_calls(void **state)
{
    (void)state;
    check_law(calls_hold);
}

static void statistics_change_no_bit(void **state)
{
    (void)state;
    check_law(statistics_hold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_the_same_in_any_company),
        cmocka_unit_test(a_tile_may_be_read_in_several_calls),
        cmocka_unit_test(statistics_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
