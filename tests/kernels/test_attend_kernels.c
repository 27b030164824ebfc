/* test_attend_kernels.c: attend_f32 and attend_bf16 of every instruction set this machine has
 * against attention in double precision, within the bounds of kernels.def: sizes, masks, special
 * values, guard bands. --bench times them. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include "kernels/tile_run.h"

static const size_t row_counts[] = { 0, 1, 2, 5, 6, 7, 11, 12, 13, 20, 63, 64, 127, 128 };
static const size_t head_sizes[] = { 8, 16, 24, 40, 64, 80, 96, 128, 256, 1000 };
static const size_t panel_counts[] = { 0, 1, 2, 3, 5, 9, 33 };
enum {
    N_ROW_COUNTS = sizeof row_counts / sizeof row_counts[0],
    N_HEAD_SIZES = sizeof head_sizes / sizeof head_sizes[0],
    N_PANEL_COUNTS = sizeof panel_counts / sizeof panel_counts[0]
};

/* The bounds of kernels.def. One-hot rows of huge scores owe nothing to a score's rounding. */
static void check_result(const tile_rig *r, const float *out, const float *lse, const char *what)
{
    const double bound = (double)bound_of(kernel_name(r->c.dtype));
    const double rounding = rounding_of(r);
    const double allowed = bound + (r->c.scores == SCORES_HUGE ? 0 : rounding);
    const double error = error_of(what, out, r->out, r->c.n_rows * r->c.d);
    if (error > allowed) fail_msg("%s: error %g, bound %g", what, error, allowed);
    error_of(what, lse, r->lse, r->c.n_rows);
    for (size_t i = 0; i < r->c.n_rows; i++)
        if (fabs((double)lse[i] - r->lse[i]) > 2 * bound + rounding)
            fail_msg("%s: row %zu has log-sum-exp %g, want %g", what, i, (double)lse[i], r->lse[i]);
}

static void check_case(const tile_case *c)
{
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    tile_rig r = rig_new(c);
    float *out = take(c->n_rows * c->d, sizeof *out), *lse = take(c->n_rows, sizeof *lse);
    rig_ready(&r);
    for (size_t i = 0; i < n_levels; i++) {
        if (!has_own_kernel(levels, i, c->dtype)) continue;
        run_all(&r, &levels[i].table, out, lse);
        check_result(&r, out, lse, describe(&r, levels[i].name));
    }
    free(out), free(lse);
    rig_free(&r);
}

/* Every number of rows with every head size; the rest by the draw. */
static void check_sizes(laci_dtype dtype)
{
    for (size_t i = 0; i < N_ROW_COUNTS * N_HEAD_SIZES; i++) {
        const uint64_t draw = laci_rng_u64(21, i);
        tile_case c = { .dtype = dtype,
                        .n_rows = row_counts[i % N_ROW_COUNTS],
                        .d = head_sizes[i / N_ROW_COUNTS],
                        .n_panels = panel_counts[draw % N_PANEL_COUNTS],
                        .lanes = (lanes_kind)(draw >> 8 & 3),
                        .limited = draw >> 10 & 1,
                        .gathered = draw >> 11 & 1,
                        .size = draw >> 12 & 1 ? 1 : 12 };
        if (c.n_rows * c.d * c.n_panels > 100000) c.n_panels = 1 + draw % 2;
        check_case(&c);
    }
}

static void f32_matches_double_precision(void **state)
{
    (void)state;
    check_sizes(LACI_F32);
}

static void bf16_matches_double_precision(void **state)
{
    (void)state;
    check_sizes(LACI_BF16);
}

static void any_scores_are_right(void **state)
{
    (void)state;
    static const scores_kind kinds[] = { SCORES_RISING, SCORES_FALLING, SCORES_EQUAL, SCORES_HUGE };
    for (size_t i = 0; i < 32; i++) {
        check_case(&(tile_case){ .dtype = i & 1 ? LACI_BF16 : LACI_F32,
                                 .n_rows = i & 2 ? 13 : 64,
                                 .d = i & 4 ? 128 : 40,
                                 .n_panels = i & 2 ? 33 : 5,
                                 .lanes = i & 4 ? LANES_FULL : LANES_RANDOM,
                                 .limited = i & 4,
                                 .scores = kinds[i / 8],
                                 .size = 1 });
    }
}

/* ------------------------------------------------------------------ special values */

/* What one entry of q, k or v is overwritten with; row and key are chosen below. */
typedef struct {
    char where;    /* 'q', 'k', 'v' */
    float value;   /* of one channel */
    bool all_keys; /* k or v: of all keys of the first panel, not one */
} special;

enum { SPECIAL_ROW = 3, SPECIAL_KEY = 70, SPECIAL_CHANNEL = 5 };

/* Channel 5 of every query is +1 and of every key +1 or -1: an infinity there makes scores of -inf
 * or +inf, not of NaN. */
static void plant(tile_rig *r, const special *s)
{
    const size_t d = r->c.d;
    for (size_t i = 0; i < r->c.n_rows; i++)
        r->q[i * d + SPECIAL_CHANNEL] = 1;
    for (size_t j = 0; j < r->n_keys; j++)
        r->k[j * d + SPECIAL_CHANNEL] = s->where == 'q' || j % 3 ? -1 : 1;
    if (s->where == 'q') r->q[SPECIAL_ROW * d + SPECIAL_CHANNEL] = s->value;
    float *keys = s->where == 'k' ? r->k : r->v;
    for (size_t j = 0; s->where != 'q' && j < r->n_keys; j++)
        if (s->all_keys ? j < LACI_PANEL : j == SPECIAL_KEY)
            keys[j * d + SPECIAL_CHANNEL] = s->value;
}

/* A special value in one row of q leaves the other rows as they were without it. */
static void check_other_rows(tile_rig *r, const level *l, const float *out)
{
    const size_t d = r->c.d, n = r->c.n_rows;
    float *clean = take(n * d, sizeof *clean), *lse = take(n, sizeof *lse);
    float *planted = r->q + SPECIAL_ROW * d + SPECIAL_CHANNEL, value = *planted;
    *planted = 1;
    run_all(r, &l->table, clean, lse);
    *planted = value;
    for (size_t i = 0; i < n; i++)
        if (i != SPECIAL_ROW && memcmp(clean + i * d, out + i * d, d * sizeof *out))
            fail_msg("%s: row %zu is touched by row %d", describe(r, l->name), i, SPECIAL_ROW);
    free(clean), free(lse);
}

static void check_special(const tile_case *c, const special *s)
{
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    tile_rig r = rig_new(c);
    float *out = take(c->n_rows * c->d, sizeof *out), *lse = take(c->n_rows, sizeof *lse);
    plant(&r, s);
    rig_ready(&r);
    for (size_t i = 0; i < n_levels; i++) {
        char what[300];
        if (!has_own_kernel(levels, i, c->dtype)) continue;
        snprintf(what, sizeof what, "%s, %g in %c of %s", describe(&r, levels[i].name),
                 (double)s->value, s->where, s->all_keys ? "a panel" : "one");
        run_all(&r, &levels[i].table, out, lse);
        check_result(&r, out, lse, what);
        if (s->where == 'q') check_other_rows(&r, &levels[i], out);
    }
    free(out), free(lse);
    rig_free(&r);
}

static void special_values_show_where_they_must(void **state)
{
    (void)state;
    const special specials[] = {
        { 'q', NAN, false },       { 'q', low_nan(), false }, { 'q', INFINITY, false },
        { 'q', -INFINITY, false }, { 'q', 1e-40f, false },    { 'q', 1e30f, false },
        { 'k', NAN, false },       { 'k', low_nan(), false }, { 'k', INFINITY, false },
        { 'k', -INFINITY, false }, { 'k', 1e-40f, false },    { 'k', -1e30f, false },
        { 'k', 1e30f, false },     { 'k', -INFINITY, true },  { 'k', -1e30f, true },
        { 'k', NAN, true },        { 'v', NAN, false },       { 'v', low_nan(), false },
        { 'v', INFINITY, false },  { 'v', -INFINITY, false }, { 'v', 1e-40f, false },
        { 'v', -1e-40f, true },    { 'v', 1e30f, false },     { 'v', 1e-38f, true },
    };
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
        for (int part = 0; part < 8; part++) {
            const tile_case c = { .dtype = part & 1 ? LACI_BF16 : LACI_F32,
                                  .n_rows = part & 2 ? 20 : 7,
                                  .d = part & 4 ? 128 : 24,
                                  .n_panels = 3,
                                  .size = 1 };
            check_special(&c, &specials[i]);
        }
    }
}

/* Rows all of whose scores are -inf, over every panel, are rows without keys. */
static void rows_below_everything_are_empty(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (int part = 0; part < 4; part++) {
        const tile_case c = { .dtype = part & 1 ? LACI_BF16 : LACI_F32,
                              .n_rows = 13,
                              .d = part & 2 ? 128 : 40,
                              .n_panels = 2,
                              .size = 1 };
        tile_rig r = rig_new(&c);
        float out[13 * 128], lse[13];
        for (size_t j = 0; j < r.n_keys; j++)
            r.k[j * c.d] = INFINITY;
        for (size_t i = 0; i < c.n_rows; i++)
            r.q[i * c.d] = i % 2 ? -1 : 1; /* odd rows -inf, even rows +inf: NaN */
        rig_ready(&r);
        for (size_t i = 0; i < n_levels; i++) {
            if (!has_own_kernel(levels, i, c.dtype)) continue;
            run_all(&r, &levels[i].table, out, lse);
            check_result(&r, out, lse, describe(&r, levels[i].name));
            for (size_t row = 0; row < c.n_rows; row++)
                assert_true(row % 2 ? lse[row] == -INFINITY : isnan(lse[row]));
        }
        rig_free(&r);
    }
}

/* ------------------------------------------------------------------ --bench */

typedef struct {
    tile_rig rig;
    tile_run run;
} attend_bench;

static void run_bench(const laci_kernels *k, void *user)
{
    attend_bench *b = user;
    b->run.tile.panel_at = 0;
    run_panels(&b->run, &b->rig, k, 0, b->rig.c.n_panels);
}

static void bench(laci_dtype dtype, size_t n_rows, size_t d, size_t step)
{
    const tile_case c = { .dtype = dtype, .n_rows = n_rows, .d = d, .n_panels = 16, .size = 1 };
    attend_bench b = { .rig = rig_new(&c) };
    char what[80];
    pack(&b.rig);
    b.run = run_begin(&b.rig, NULL, n_rows, (run_stats){ step, false });
    snprintf(what, sizeof what, "%s, %zu x %zu keys, d %zu%s", kernel_name(dtype), n_rows,
             b.rig.n_keys, d, step ? ", stats" : "");
    bench_kernel(&(bench_case){ what,
                                dtype == LACI_F32 ? offsetof(laci_kernels, attend_f32)
                                                  : offsetof(laci_kernels, attend_bf16),
                                run_bench, &b, 4.0 * (double)(n_rows * b.rig.n_keys * d) });
    run_free(&b.run);
    rig_free(&b.rig);
}

static int bench_all(void)
{
    for (int part = 0; part < 2; part++) {
        const laci_dtype dtype = part ? LACI_BF16 : LACI_F32;
        bench(dtype, 128, 128, 0);
        bench(dtype, 128, 128, 32);
        bench(dtype, 128, 64, 0);
        bench(dtype, 32, 128, 0);
        bench(dtype, 1, 128, 0);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_matches_double_precision),
        cmocka_unit_test(bf16_matches_double_precision),
        cmocka_unit_test(any_scores_are_right),
        cmocka_unit_test(special_values_show_where_they_must),
        cmocka_unit_test(rows_below_everything_are_empty),
    };
    if (argc > 1 && !strcmp(argv[1], "--bench")) return bench_all();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
