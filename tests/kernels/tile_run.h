/* tile_run.h: runs of attend_f32 and attend_bf16 over a rig, every output between guard bands, rows
 * of NaN after the queries; and what the tests of attention kernels share besides: which levels
 * have kernels of their own, names, what rounding may add. */
#ifndef LACI_TESTS_TILE_RUN_H
#define LACI_TESTS_TILE_RUN_H

#include "kernels/tile_rig.h"

/* ------------------------------------------------------------------ running a kernel */

/* Statistics of a run: step 0 = none. */
typedef struct {
    size_t step;
    bool squares;
} run_stats;

typedef struct {
    laci_tile tile;
    guarded q, limits, acc, max, sum, sums, sums_max, squares, scratch;
} tile_run;

/* Queries of the rows, then rows of NaN: they may be read and must not count. */
static inline guarded make_queries(const tile_rig *r, const size_t *rows, size_t n)
{
    const size_t d = r->c.d, size = laci_act_bytes(r->c.dtype);
    guarded q = guarded_new((n + LACI_ROWS_IN_FLIGHT) * d * size, 0);
    for (size_t i = 0; i < (n + LACI_ROWS_IN_FLIGHT) * d; i++) {
        const size_t row = i / d < n && rows ? rows[i / d] : i / d;
        const float x = i < n * d ? r->q[row * d + i % d] : NAN;
        const uint16_t half = laci_f32_to_bf16(x);
        memcpy((char *)q.data + i * size, size == 2 ? (const void *)&half : (const void *)&x, size);
    }
    return q;
}

static inline void begin_stats(tile_run *run, const tile_rig *r, run_stats stats)
{
    laci_tile *t = &run->tile;
    if (!stats.step) return;
    const size_t n = LACI_TILE_ROWS * (r->c.n_panels + 1);
    t->step = stats.step;
    run->sums = guarded_new(n * (LACI_PANEL / stats.step) * sizeof(float), 4);
    run->sums_max = guarded_new(n * sizeof(float), 4);
    t->sums = run->sums.data;
    t->sums_max = run->sums_max.data;
    if (!stats.squares) return;
    run->squares = guarded_new(run->sums.n, 4);
    t->squares = run->squares.data;
}

/* A fresh tile of some rows of the rig; rows NULL = the first n. */
static inline tile_run run_begin(const tile_rig *r, const size_t *rows, size_t n, run_stats stats)
{
    const size_t d16 = laci_d16(r->c.d);
    tile_run run = { .tile = { .n_rows = n, .d = r->c.d, .scale = r->scale } };
    laci_tile *t = &run.tile;
    run.q = make_queries(r, rows, n);
    run.acc = guarded_new((n + LACI_ROWS_IN_FLIGHT) * d16 * sizeof(float), 0);
    run.max = guarded_new(n * sizeof(float), 4);
    run.sum = guarded_new(n * sizeof(float), 8);
    run.limits = guarded_new(n * sizeof(uint32_t), 4);
    run.scratch = guarded_new(laci_tile_scratch(r->c.d), 0);
    t->q = run.q.data;
    t->acc = run.acc.data;
    t->max = run.max.data;
    t->sum = run.sum.data;
    t->scratch = run.scratch.data;
    if (r->c.limited) t->limits = run.limits.data;
    memset(t->acc, 0, n * d16 * sizeof *t->acc);
    for (size_t i = 0; i < n; i++) {
        t->max[i] = -INFINITY;
        t->sum[i] = 0;
        ((uint32_t *)run.limits.data)[i] = r->limits[rows ? rows[i] : i];
    }
    begin_stats(&run, r, stats);
    return run;
}

static inline void run_panels(tile_run *run, const tile_rig *r, const laci_kernels *k, size_t first,
                              size_t n)
{
    (r->c.dtype == LACI_F32 ? k->attend_f32 : k->attend_bf16)(&run->tile, r->panels + first, n);
}

/* Guard bands; rows past the last; panels not yet written. */
static inline void check_guards(const tile_run *run)
{
    const laci_tile *t = &run->tile;
    const size_t n = t->n_rows;
    guarded_check(&run->acc, n * laci_d16(t->d) * sizeof(float), "acc");
    guarded_check(&run->max, n * sizeof(float), "max");
    guarded_check(&run->sum, n * sizeof(float), "sum");
    guarded_check(&run->scratch, laci_tile_scratch(t->d), "scratch");
    if (!t->sums) return;
    const size_t per_panel = LACI_PANEL / t->step;
    guarded_check(&run->sums, run->sums.n, "sums");
    guarded_check(&run->sums_max, run->sums_max.n, "sums_max");
    if (t->squares) guarded_check(&run->squares, run->squares.n, "squares");
    for (size_t i = 0; i < LACI_TILE_ROWS; i++) {
        const size_t at = t->panel_at * LACI_TILE_ROWS + i;
        const size_t sum_at = t->panel_at * per_panel * LACI_TILE_ROWS + i;
        const uint32_t junk = 0x5c5c5c5c;
        if (memcmp(&t->sums_max[at], &junk, 4) || memcmp(&t->sums[sum_at], &junk, 4) ||
            (t->squares && memcmp(&t->squares[sum_at], &junk, 4)))
            fail_msg("statistics of row %zu: panel %zu was written too early", i, t->panel_at);
    }
}

/* Output [n, d] and log-sum-exp [n] of a run, its guards checked. A row without keys gives 0, -inf.
 */
static inline void run_end(const tile_run *run, float *out, float *lse)
{
    const laci_tile *t = &run->tile;
    const size_t d16 = laci_d16(t->d);
    check_guards(run);
    for (size_t i = 0; i < t->n_rows; i++) {
        const bool empty = t->sum[i] == 0;
        for (size_t c = 0; c < t->d; c++)
            out[i * t->d + c] = empty ? t->acc[i * d16 + c] : t->acc[i * d16 + c] / t->sum[i];
        lse[i] = empty ? -INFINITY : t->max[i] + log2f(t->sum[i]);
    }
}

static inline void run_free(tile_run *run)
{
    guarded *all[] = { &run->q,    &run->limits,   &run->acc,     &run->max,    &run->sum,
                       &run->sums, &run->sums_max, &run->squares, &run->scratch };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        guarded_free(all[i]);
}

/* Runs `rows` (NULL = the first n) in calls of `step` panels (0 = one call). */
static inline void run_rows(const tile_rig *r, const laci_kernels *k, const size_t *rows, size_t n,
                            size_t step, run_stats stats, float *out, float *lse)
{
    tile_run run = run_begin(r, rows, n, stats);
    if (!step) step = r->c.n_panels;
    for (size_t at = 0; at < r->c.n_panels; at += step)
        run_panels(&run, r, k, at, at + step < r->c.n_panels ? step : r->c.n_panels - at);
    run_panels(&run, r, k, r->c.n_panels, 0);
    run_end(&run, out, lse);
    run_free(&run);
}

/* All rows in one call, without statistics. */
static inline void run_all(const tile_rig *r, const laci_kernels *k, float *out, float *lse)
{
    run_rows(r, k, NULL, r->c.n_rows, 0, (run_stats){ 0 }, out, lse);
}

/* ------------------------------------------------------------------ choosing and naming */

static inline const char *kernel_name(laci_dtype dtype)
{
    return dtype == LACI_F32 ? "attend_f32" : "attend_bf16";
}

static inline bool has_own_kernel(const level *levels, size_t i, laci_dtype dtype)
{
    return dtype == LACI_F32 ? IS_NEW(levels, i, attend_f32) : IS_NEW(levels, i, attend_bf16);
}

static inline const char *describe(const tile_rig *r, const char *level_name)
{
    static char text[200];
    const tile_case *c = &r->c;
    snprintf(text, sizeof text,
             "%s %s: %zu rows of %zu, %zu panels, lanes %d, limits %d, gathered %d, scores %d",
             kernel_name(c->dtype), level_name, c->n_rows, c->d, c->n_panels, (int)c->lanes,
             c->limited, c->gathered, (int)c->scores);
    return text;
}

/* What the rounding of a score may add: kernels.def, for sums of 128 terms; longer ones round more.
 * Shaped scores have their large term first, so that every later term is rounded at its size. */
static inline double rounding_of(const tile_rig *r)
{
    const double terms = r->c.d > 128 ? sqrt((double)r->c.d / 128) : 1;
    return 3e-7 * r->score_size * terms * (r->c.scores == SCORES_RANDOM ? 1 : 4);
}

#endif
