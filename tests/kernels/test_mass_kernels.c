/* test_mass_kernels.c: what attention tells about where its softmax lies, of every instruction set
 * this machine has, against double precision: the sums attend_* keeps, their squares, mass_rows,
 * mass_each, mass_in, column_mass_*; and merging partial results. --bench times them. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include "kernels/tile_run.h"

/* ------------------------------------------------------------------ sums by key block */

/* Softmax probability of keys [first, end) of a row; of doubled scores if `squared`, then the
 * caller divides by the total. */
static double mass_of(const tile_rig *r, size_t row, size_t first, size_t end, bool squared)
{
    double sum = 0;
    for (size_t j = first; j < end && j < r->n_keys; j++) {
        const double p = r->p[row * r->n_keys + j];
        sum += squared ? p * p : p;
    }
    return sum;
}

/* Sums and squares of a finished run, brought from the row's measure of each panel to its end: the
 * softmax of every step keys. Keys of weight 0 beside a row's measure may be lost, not wrong. */
static void check_sums(const tile_rig *r, const tile_run *run, bool squared, const char *what)
{
    const laci_tile *t = &run->tile;
    const size_t per_panel = LACI_PANEL / t->step, n = r->c.n_panels * per_panel;
    const double bound =
        (squared ? 2 : 1) * ((double)bound_of(kernel_name(r->c.dtype)) + rounding_of(r));
    const float *sums = squared ? t->squares : t->sums;
    for (size_t row = 0; row < r->c.n_rows; row++) {
        double largest = 1e-30, worst = 0;
        for (size_t i = 0; i < n && r->lse[row] > -INFINITY; i++) {
            const double end = (double)t->max[row] + log2((double)t->sum[row]);
            const double below = (double)t->sums_max[i / per_panel * LACI_TILE_ROWS + row] - end;
            const double sum = (double)sums[i * LACI_TILE_ROWS + row];
            const double got = sum == 0 ? 0 : sum * exp2(squared ? 2 * below : below);
            const double want = mass_of(r, row, i * t->step, (i + 1) * t->step, squared);
            if (!(fabs(got - want) <= worst)) worst = fabs(got - want);
            if (want > largest) largest = want;
        }
        if (!(worst <= bound * largest))
            fail_msg("%s, %s of %zu keys, row %zu: error %g, bound %g", what,
                     squared ? "squares" : "sums", t->step, row, worst / largest, bound);
    }
}

/* ------------------------------------------------------------------ mass_rows and mass_in */

/* Rows [row, row + n) and the key blocks from `from` on that a check is about. */
typedef struct {
    const tile_rig *rig;
    const level *level;
    laci_mass mass;
    size_t row, n, from;
} mass_case;

/* Shares of a row's key blocks from block `from` on, in double; returns what they are shares of. */
static double shares(const mass_case *c, size_t row, double *out)
{
    const size_t block = c->mass.block;
    double total = 0;
    for (size_t b = 0; b < c->mass.n_blocks; b++) {
        out[b] =
            b < c->from ? 0 : mass_of(c->rig, row, b * block, (b + 1) * block, c->mass.squared);
        total += out[b];
    }
    for (size_t b = 0; b < c->mass.n_blocks && total > 0; b++)
        out[b] /= total;
    return total;
}

/* What mass_rows shall give; returns how many rows' shares are lost: blocks that hold next to
 * nothing of a row share any numbers among them that add up to 1, or 0. */
static size_t wanted_rows(const mass_case *c, double *want, double *total)
{
    double *one = take(c->mass.n_blocks, sizeof *one);
    size_t n_lost = 0;
    *total = 0;
    memset(want, 0, c->mass.n_blocks * sizeof *want);
    for (size_t row = c->row; row < c->row + c->n; row++) {
        const double whole = shares(c, row, one);
        n_lost += whole < 1e-30 && whole != 0;
        *total += whole != 0;
        for (size_t b = 0; b < c->mass.n_blocks; b++)
            want[b] += one[b];
    }
    free(one);
    return n_lost;
}

static void check_rows(const mass_case *c)
{
    const size_t n_blocks = c->mass.n_blocks;
    const double bound = 2 * ((double)bound_of(kernel_name(c->rig->c.dtype)) + rounding_of(c->rig));
    guarded got = guarded_new(n_blocks * sizeof(float), 4);
    double *want = take(n_blocks, sizeof *want), total = 0, n_counted = 0;
    char what[300];
    snprintf(what, sizeof what,
             "mass_rows %s, block %zu, step %zu, from %zu, rows %zu to %zu, squared %d",
             c->level->name, c->mass.block, c->mass.step, c->from, c->row, c->row + c->n,
             c->mass.squared);
    c->level->table.mass_rows(got.data, &c->mass, c->row, c->n, c->from);
    guarded_check(&got, got.n, what);
    const size_t n_lost = wanted_rows(c, want, &n_counted);
    const double error = n_lost ? 0 : error_of(what, got.data, want, n_blocks);
    if (error > bound) fail_msg("%s: error %g, bound %g", what, error, bound);
    for (size_t b = 0; b < n_blocks; b++) {
        total += (double)((const float *)got.data)[b];
        if (b < c->from && ((const float *)got.data)[b] != 0) fail_msg("%s: block %zu", what, b);
    }
    if (!(fabs(total - n_counted) < 1e-5 * (double)c->n + (double)n_lost))
        fail_msg("%s: shares add up to %g of %g", what, total, n_counted);
    free(want);
    guarded_free(&got);
}

/* The rows apart, blocks further from each other than there are rows: between them nothing is
 * written. Weights become shares when measured from the row's log-sum-exp. */
static void check_each(const mass_case *c)
{
    const size_t n_blocks = c->mass.n_blocks, stride = c->n + 3, block = c->mass.block;
    const double bound = 2 * ((double)bound_of(kernel_name(c->rig->c.dtype)) + rounding_of(c->rig));
    guarded got = guarded_new(n_blocks * stride * sizeof(float), 4);
    const char *what = describe(c->rig, c->level->name);
    float *weights = got.data;
    for (size_t i = 0; i < n_blocks * stride; i++)
        weights[i] = 7;
    c->level->table.mass_each(weights, stride, &c->mass, c->row, c->n);
    guarded_check(&got, got.n, "mass_each");
    for (size_t i = 0; i < n_blocks * stride; i++) {
        const size_t row = c->row + i % stride, b = i / stride;
        if (i % stride >= c->n) {
            assert_true(weights[i] == 7);
            continue;
        }
        const double lse = c->rig->lse[row], above = (double)c->mass.max[row] - lse;
        const double want = mass_of(c->rig, row, b * block, (b + 1) * block, c->mass.squared);
        const double share = lse == -INFINITY
                                 ? (double)weights[i]
                                 : (double)weights[i] * exp2(c->mass.squared ? 2 * above : above);
        if (!(fabs(share - want) <= bound))
            fail_msg("mass_each, %s, row %zu, block %zu of %zu: %g, not %g", what, row, b, block,
                     share, want);
    }
    guarded_free(&got);
}

/* Every other block, by row. */
static void check_listed(const mass_case *c)
{
    const size_t n_blocks = c->mass.n_blocks, n_listed = (n_blocks + 1) / 2;
    const double bound = 2 * ((double)bound_of(kernel_name(c->rig->c.dtype)) + rounding_of(c->rig));
    guarded got = guarded_new(c->n * sizeof(float), 4);
    double *one = take(n_blocks, sizeof *one), *want = take(c->n, sizeof *want);
    uint32_t *listed = take(n_listed, sizeof *listed);
    const char *what = describe(c->rig, c->level->name);
    for (size_t i = 0; i < n_listed; i++)
        listed[i] = (uint32_t)(2 * i);
    c->level->table.mass_in(got.data, &c->mass, c->row, c->n, listed, n_listed);
    guarded_check(&got, got.n, "mass_in");
    for (size_t i = 0; i < c->n; i++) {
        (void)shares(c, c->row + i, one);
        want[i] = 0;
        for (size_t b = 0; b < n_listed; b++)
            want[i] += one[listed[b]];
        const double error = fabs((double)((const float *)got.data)[i] - want[i]);
        if (!(error <= bound)) fail_msg("mass_in, %s, row %zu: error %g", what, c->row + i, error);
    }
    free(one), free(want), free(listed);
    guarded_free(&got);
}

static void check_masses(const tile_rig *r, const level *l, const tile_run *run)
{
    const laci_tile *t = &run->tile;
    for (size_t block = t->step; block <= 4 * LACI_PANEL; block *= 2) {
        if (block > t->step && block < LACI_PANEL) continue;
        for (int squared = 0; squared <= (t->squares ? 1 : 0); squared++) {
            mass_case c = { .rig = r,
                            .level = l,
                            .mass = { .sums = squared ? t->squares : t->sums,
                                      .sums_max = t->sums_max,
                                      .max = t->max,
                                      .n_panels = t->panel_at,
                                      .step = t->step,
                                      .block = block,
                                      .n_blocks = (r->n_keys + block - 1) / block,
                                      .squared = squared } };
            for (c.row = 0; c.row < r->c.n_rows; c.row += c.n) {
                const size_t some = c.row * 5 % 37 + 1; /* 1, and any number up to 37 */
                c.n = some < r->c.n_rows - c.row ? some : r->c.n_rows - c.row;
                c.from = 0;
                check_listed(&c);
                check_each(&c);
                for (; c.from <= c.mass.n_blocks; c.from += 1 + c.mass.n_blocks / 3)
                    check_rows(&c);
            }
        }
    }
}

static const tile_case cases[] = {
    { LACI_F32, 1, 8, 1, LANES_TAIL, false, false, SCORES_RANDOM, 1 },
    { LACI_F32, 13, 40, 5, LANES_TAIL, true, false, SCORES_RANDOM, 12 },
    { LACI_F32, 64, 64, 9, LANES_FULL, false, false, SCORES_RANDOM, 1 },
    { LACI_F32, 7, 128, 33, LANES_RANDOM, true, true, SCORES_RANDOM, 12 },
    { LACI_F32, 12, 16, 9, LANES_GAPS, false, false, SCORES_RISING, 1 },
    { LACI_F32, 128, 24, 3, LANES_FULL, false, false, SCORES_FALLING, 1 },
    { LACI_BF16, 2, 24, 2, LANES_TAIL, false, false, SCORES_RANDOM, 1 },
    { LACI_BF16, 20, 128, 5, LANES_TAIL, true, false, SCORES_RANDOM, 12 },
    { LACI_BF16, 63, 64, 9, LANES_FULL, false, false, SCORES_RANDOM, 1 },
    { LACI_BF16, 6, 40, 33, LANES_RANDOM, true, true, SCORES_RANDOM, 12 },
    { LACI_BF16, 12, 16, 9, LANES_GAPS, false, false, SCORES_RISING, 1 },
    { LACI_BF16, 127, 80, 3, LANES_FULL, false, false, SCORES_EQUAL, 1 },
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static void statistics_are_the_softmax_by_block(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (size_t i = 0; i < 3 * N_CASES; i++) {
        tile_rig r = rig_new(&cases[i / 3]);
        const size_t n = r.c.n_rows;
        float *out = take(n * r.c.d, sizeof *out), *lse = take(n, sizeof *lse);
        rig_ready(&r);
        for (size_t l = 0; l < n_levels; l++) {
            if (!has_own_kernel(levels, l, r.c.dtype) && !IS_NEW(levels, l, mass_rows)) continue;
            tile_run run = run_begin(&r, NULL, n, (run_stats){ (size_t)16 << i % 3, i % 2 });
            run_panels(&run, &r, &levels[l].table, 0, r.c.n_panels / 2);
            run_panels(&run, &r, &levels[l].table, r.c.n_panels / 2,
                       r.c.n_panels - r.c.n_panels / 2);
            run_end(&run, out, lse);
            assert_int_equal(run.tile.panel_at, r.c.n_panels);
            check_sums(&r, &run, false, describe(&r, levels[l].name));
            if (i % 2) check_sums(&r, &run, true, describe(&r, levels[l].name));
            check_masses(&r, &levels[l], &run);
            run_free(&run);
        }
        free(out), free(lse);
        rig_free(&r);
    }
}

/* ------------------------------------------------------------------ column_mass */

/* The rows' probabilities key by key, added to what `sums` holds: here 0.5. */
static void check_columns(const tile_rig *r, const level *l)
{
    const size_t n = r->c.n_panels * LACI_PANEL;
    const char *name = r->c.dtype == LACI_F32 ? "column_mass_f32" : "column_mass_bf16";
    const double bound = (double)bound_of(name) + rounding_of(r);
    guarded got = guarded_new(n * sizeof(float), 4);
    double *want = take(n, sizeof *want);
    float *lse = take(r->c.n_rows, sizeof *lse), *sums = got.data;
    tile_run run = run_begin(r, NULL, r->c.n_rows, (run_stats){ 0 });
    for (size_t i = 0; i < r->c.n_rows; i++)
        lse[i] = (float)r->lse[i];
    for (size_t j = 0; j < n; j++) {
        sums[j] = 0.5f;
        want[j] = 0.5;
        for (size_t i = 0; i < r->c.n_rows; i++)
            want[j] += r->p[i * n + j];
    }
    (r->c.dtype == LACI_F32 ? l->table.column_mass_f32 : l->table.column_mass_bf16)(
        &run.tile, r->panels, r->c.n_panels, lse, sums);
    guarded_check(&got, got.n, name);
    guarded_check(&run.acc, r->c.n_rows * laci_d16(r->c.d) * sizeof(float), "acc");
    guarded_check(&run.scratch, run.scratch.n, "scratch");
    const double error = error_of(name, sums, want, n);
    if (error > bound)
        fail_msg("%s, %s: error %g, bound %g", name, describe(r, l->name), error, bound);
    for (size_t j = 0; j < n; j++)
        if (want[j] == 0.5 && sums[j] != 0.5f)
            fail_msg("%s, %s: key %zu nobody reads has %g", name, describe(r, l->name), j,
                     (double)sums[j] - 0.5);
    run_free(&run);
    free(want), free(lse);
    guarded_free(&got);
}

static void columns_are_the_softmax_by_key(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (size_t i = 0; i < N_CASES; i++) {
        tile_rig r = rig_new(&cases[i]);
        rig_ready(&r);
        for (size_t l = 0; l < n_levels; l++)
            if (r.c.dtype == LACI_F32 ? IS_NEW(levels, l, column_mass_f32)
                                      : IS_NEW(levels, l, column_mass_bf16))
                check_columns(&r, &levels[l]);
        rig_free(&r);
    }
}

/* A NaN in one query reaches the columns it reads. */
static void columns_show_nan(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    const tile_case c = { .dtype = LACI_F32, .n_rows = 7, .d = 16, .n_panels = 1, .size = 1 };
    for (size_t l = 0; l < n_levels; l++) {
        tile_rig r = rig_new(&c);
        float lse[7] = { 1, 1, 1, 1, 1, 1, -INFINITY }, sums[LACI_PANEL] = { 0 };
        r.q[3 * c.d + 1] = r.q[6 * c.d] = low_nan(); /* row 6 has no keys: it does not count */
        rig_ready(&r);
        for (int part = 0; part < 2; part++) {
            tile_run run = run_begin(&r, part ? NULL : (const size_t[]){ 0, 1, 2, 4, 5, 0, 6 }, 7,
                                     (run_stats){ 0 });
            levels[l].table.column_mass_f32(&run.tile, r.panels, 1, lse, sums);
            for (size_t j = 0; j < LACI_PANEL; j++)
                assert_int_equal(!!isnan(sums[j]), part);
            run_free(&run);
        }
        rig_free(&r);
    }
}

/* ------------------------------------------------------------------ --bench */

typedef struct {
    tile_rig rig;
    tile_run run;
    laci_mass mass;
    float lse[LACI_TILE_ROWS], sums[64 * LACI_PANEL];
} mass_bench;

static void run_columns(const laci_kernels *k, void *user)
{
    mass_bench *b = user;
    (b->rig.c.dtype == LACI_F32 ? k->column_mass_f32 : k->column_mass_bf16)(
        &b->run.tile, b->rig.panels, b->rig.c.n_panels, b->lse, b->sums);
}

static void run_mass(const laci_kernels *k, void *user)
{
    mass_bench *b = user;
    k->mass_rows(b->sums, &b->mass, 0, LACI_TILE_ROWS, 0);
}

static int bench_all(void)
{
    static mass_bench b;
    for (int part = 0; part < 2; part++) {
        const laci_kernels ref = laci_kernels_ref();
        const tile_case c = {
            .dtype = part ? LACI_BF16 : LACI_F32, .n_rows = 128, .d = 128, .n_panels = 64, .size = 1
        };
        b.rig = rig_new(&c);
        pack(&b.rig);
        b.run = run_begin(&b.rig, NULL, c.n_rows, (run_stats){ 32, false });
        run_panels(&b.run, &b.rig, &ref, 0, c.n_panels);
        for (size_t i = 0; i < c.n_rows; i++)
            b.lse[i] = b.run.tile.max[i] + log2f(b.run.tile.sum[i]);
        b.mass = (laci_mass){ b.run.sums.data,
                              b.run.sums_max.data,
                              b.run.max.data,
                              c.n_panels,
                              32,
                              32,
                              2 * c.n_panels,
                              false };
        bench_kernel(&(bench_case){ part ? "column_mass_bf16, 128 x 4096 keys, d 128"
                                         : "column_mass_f32, 128 x 4096 keys, d 128",
                                    part ? offsetof(laci_kernels, column_mass_bf16)
                                         : offsetof(laci_kernels, column_mass_f32),
                                    run_columns, &b, 2.0 * 128 * 4096 * 128 });
        if (part)
            bench_kernel(&(bench_case){ "mass_rows, 128 rows, 128 blocks of 32",
                                        offsetof(laci_kernels, mass_rows), run_mass, &b, 0 });
        run_free(&b.run);
        rig_free(&b.rig);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_the_softmax_by_block),
        cmocka_unit_test(columns_are_the_softmax_by_key),
        cmocka_unit_test(columns_show_nan),
    };
    if (argc > 1 && !strcmp(argv[1], "--bench")) return bench_all();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
