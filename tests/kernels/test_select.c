/* test_select.c: bounds and scores of pages, every instruction set this machine has against the
 * plain C definition, and the definition against brute force: sizes from nothing on, unaligned,
 * guard bands, NaN, infinities, denormals, pages without keys. --bench times the same. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include "kernels/checkasm.h"

enum { PANEL = LACI_PANEL, MAX_D = 1000 };

static const laci_dtype types[] = { LACI_F32, LACI_BF16 };

/* Keys [64, d] of a panel, scaled to differ widely between channels; returns them as they are held.
 */
static float *make_keys(size_t d, laci_dtype dtype, uint64_t seed)
{
    float *keys = take(PANEL * d, sizeof *keys);
    fill(keys, PANEL * d, seed, 3);
    for (size_t i = 0; i < PANEL * d; i++) {
        if (i % d % 5 == 1) keys[i] *= 1e-3f;
        if (i % d % 7 == 2) keys[i] += 4;
        if (dtype == LACI_BF16) keys[i] = laci_bf16_to_f32(laci_f32_to_bf16(keys[i]));
    }
    return keys;
}

static void pack(void *panel, const float *keys, laci_dtype dtype, size_t d)
{
    const laci_kernels ref = laci_kernels_ref();
    (dtype == LACI_F32 ? ref.pack_k_f32 : ref.pack_k_bf16)(panel, keys, d, 0, PANEL, d);
}

/* ------------------------------------------------------------------ page bounds */

static float bound_at(const void *bounds, laci_dtype dtype, size_t c, size_t j, bool is_low)
{
    if (dtype == LACI_F32) return ((const float *)bounds)[(2 * c + is_low) * PANEL + j];
    return laci_bf16_to_f32(((const uint16_t *)bounds)[2 * (c * PANEL + j) + is_low]);
}

/* Bounds of the pages of the first n keys; the others must not count. */
static void check_bounds(const laci_kernels *k, laci_dtype dtype, size_t d, size_t page, size_t n)
{
    const size_t bytes = laci_bounds_panel_bytes(dtype, d), lane = PANEL / 2 / page * (n % 2);
    const laci_kernels ref = laci_kernels_ref();
    float *keys = make_keys(d, dtype, n + d);
    guarded want = guarded_new(bytes, 0), got = guarded_new(bytes, 4);
    guarded panel = guarded_new(laci_k_panel_bytes(dtype, d), 4);
    for (size_t i = n * d; i < PANEL * d; i++)
        keys[i] = i % 2 ? 1e30f : -1e30f;
    pack(panel.data, keys, dtype, d);
    ref.page_bounds(want.data, lane, panel.data, n, page, dtype, d);
    k->page_bounds(got.data, lane, panel.data, n, page, dtype, d);
    assert_memory_equal(got.data, want.data, bytes);
    guarded_check(&got, bytes, "page_bounds");
    for (size_t first = 0; first < PANEL; first += page) {
        for (size_t c = 0; c < d; c++) {
            float top = first < n ? keys[first * d + c] : -LACI_NO_KEYS,
                  low = first < n ? top : -top;
            for (size_t j = first; j < n && j < first + page; j++) {
                top = fmaxf(top, keys[j * d + c]);
                low = fminf(low, keys[j * d + c]);
            }
            assert_true(bound_at(got.data, dtype, c, lane + first / page, false) == top);
            assert_true(bound_at(got.data, dtype, c, lane + first / page, true) == low);
        }
    }
    guarded_free(&want), guarded_free(&got), guarded_free(&panel);
    free(keys);
}

static void check_bound_sizes(const laci_kernels *k)
{
    static const size_t depths[] = { 8, 40, 128, MAX_D },
                        held[] = { 0, 1, 15, 16, 17, 33, 48, 63, 64 };
    for (size_t t = 0; t < 2; t++)
        for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++)
            for (size_t page = 16; page <= PANEL; page *= 2)
                for (size_t n = 0; n < sizeof held / sizeof held[0]; n++)
                    check_bounds(k, types[t], depths[d], page, held[n]);
}

/* One page of 16 keys whose channels each hold something odd. */
static void check_bound_values(const laci_kernels *k)
{
    static const struct {
        float value;
        float top, low;
    } odd[8] = { { NAN, INFINITY, -INFINITY },
                 { INFINITY, INFINITY, 1 },
                 { -INFINITY, 1, -INFINITY },
                 { 1e-40f, 1, 1e-40f },
                 { -1e-40f, 1, -1e-40f },
                 { 3.3e38f, 3.3e38f, 1 },
                 { 0, 1, 0 },
                 { 1, 1, 1 } };
    for (size_t t = 0; t < 2; t++) {
        for (size_t key = 0; key < 16; key++) {
            float *keys = take(PANEL * 8, sizeof *keys);
            guarded panel = guarded_new(laci_k_panel_bytes(types[t], 8), 0);
            guarded bounds = guarded_new(laci_bounds_panel_bytes(types[t], 8), 0);
            for (size_t i = 0; i < (size_t)PANEL * 8; i++)
                keys[i] = i / 8 == key ? odd[i % 8].value : 1;
            keys[key * 8] = key % 2 ? NAN : low_nan();
            pack(panel.data, keys, types[t], 8);
            k->page_bounds(bounds.data, 3, panel.data, 16, 16, types[t], 8);
            for (size_t c = 0; c < 8; c++) {
                float side[2] = { odd[c].top, odd[c].low };
                for (size_t i = 0; i < 2; i++) {
                    if (types[t] == LACI_BF16)
                        side[i] = laci_bf16_to_f32(laci_f32_to_bf16(side[i]));
                    assert_true(bound_at(bounds.data, types[t], c, 3, i) == side[i]);
                }
            }
            guarded_free(&panel), guarded_free(&bounds);
            free(keys);
        }
    }
}

static void bounds_hold_every_key(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n = get_levels(levels);
    for (size_t i = 0; i < n; i++) {
        if (!IS_NEW(levels, i, page_bounds)) continue;
        check_bound_sizes(&levels[i].table);
        check_bound_values(&levels[i].table);
    }
}

/* ------------------------------------------------------------------ page scores */

/* Rows of queries over bounds of n_panels panels of pages of 16 keys. */
typedef struct {
    laci_dtype dtype;
    bool is_i8; /* bounds rounded outwards, queries f32 */
    size_t d, n_rows, n_panels, n_pages;
    float *q, *keys; /* as f32: keys [16 * n_pages, d] */
    void *q_act, *bounds;
    guarded scratch;
} score_case;

static size_t act_bytes(const score_case *c)
{
    return laci_act_bytes(c->dtype);
}

/* Sets q_act to q, and q to what q_act holds of it. */
static void round_queries(score_case *c)
{
    for (size_t i = 0; i < c->n_rows * c->d; i++) {
        const uint16_t half = laci_f32_to_bf16(c->q[i]);
        if (c->dtype == LACI_BF16) c->q[i] = laci_bf16_to_f32(half);
        memcpy((char *)c->q_act + i * act_bytes(c),
               c->dtype == LACI_BF16 ? (const void *)&half : (const void *)&c->q[i], act_bytes(c));
    }
}

static score_case make_scores(laci_dtype dtype, size_t d, size_t n_rows, size_t n_panels)
{
    score_case c = {
        .dtype = dtype, .d = d, .n_rows = n_rows, .n_panels = n_panels, .n_pages = n_panels * PANEL
    };
    const laci_kernels ref = laci_kernels_ref();
    void *panel = take(1, laci_k_panel_bytes(dtype, d));
    c.q = take(n_rows * d, sizeof *c.q);
    c.q_act = take(n_rows * d, sizeof *c.q);
    c.keys = take(16 * c.n_pages * d, sizeof *c.keys);
    c.bounds = take(n_panels + 1, laci_bounds_panel_bytes(dtype, d));
    memset((char *)c.bounds + n_panels * laci_bounds_panel_bytes(dtype, d), 0xff,
           laci_bounds_panel_bytes(dtype, d)); /* NaN, lest they be read, even times 0 */
    c.scratch = guarded_new(laci_score_scratch(d), 0);
    fill(c.q, n_rows * d, 5, 2);
    for (size_t i = 0; i < n_rows * d; i++)
        if (i % 11 == 3) c.q[i] = i % 2 ? 0.0f : -0.0f;
    round_queries(&c);
    for (size_t p = 0; p < c.n_pages; p += 4) { /* four pages to a panel of keys */
        float *keys = make_keys(d, dtype, 100 + p);
        memcpy(c.keys + p * 16 * d, keys, PANEL * d * sizeof *keys);
        pack(panel, keys, dtype, d);
        ref.page_bounds((char *)c.bounds + p / PANEL * laci_bounds_panel_bytes(dtype, d), p % PANEL,
                        panel, PANEL, 16, dtype, d);
        free(keys);
    }
    free(panel);
    return c;
}

/* The same with bounds in int8. */
static score_case make_scores_i8(size_t d, size_t n_rows, size_t n_panels)
{
    const laci_kernels ref = laci_kernels_ref();
    const size_t from = laci_bounds_panel_bytes(LACI_F32, d), to = laci_bounds_panel_bytes_i8(d);
    score_case c = make_scores(LACI_F32, d, n_rows, n_panels);
    char *small = take(n_panels + 1, to);
    memset(small + n_panels * to, 0xff, to);
    for (size_t p = 0; p < n_panels; p++)
        ref.round_bounds(small + p * to, (char *)c.bounds + p * from, 0, PANEL, LACI_F32, d);
    free(c.bounds);
    c.bounds = small;
    c.is_i8 = true;
    return c;
}

static void free_scores(score_case *c)
{
    guarded_check(&c->scratch, laci_score_scratch(c->d), "page_scores' scratch");
    guarded_free(&c->scratch);
    free(c->q), free(c->q_act), free(c->keys), free(c->bounds);
}

/* Scores rows [row, row + n). */
static void run_rows(const laci_kernels *k, const score_case *c, size_t row, size_t n,
                     float *scores, size_t stride)
{
    const laci_page_scores s = { .scores = scores,
                                 .stride = stride,
                                 .q = (const char *)c->q_act + row * c->d * act_bytes(c),
                                 .bounds = c->bounds,
                                 .n_rows = n,
                                 .n_panels = c->n_panels,
                                 .d = c->d,
                                 .scratch = c->scratch.data };
    if (c->is_i8)
        k->page_scores_i8(&s);
    else
        (c->dtype == LACI_F32 ? k->page_scores_f32 : k->page_scores_bf16)(&s);
}

/* No product with a key of the page lies above its score by more than f32 rounding can explain: a
 * step of 2^-24 of the sum of magnitudes for each of d + 1 roundings. */
static void check_is_bound(const score_case *c, const float *scores, size_t stride)
{
    for (size_t i = 0; i < c->n_rows * c->n_pages * 16; i++) {
        const size_t row = i / 16 / c->n_pages, key = i % (16 * c->n_pages);
        double product = 0, size = 0;
        for (size_t e = 0; e < c->d; e++) {
            const double q = (double)c->q[row * c->d + e];
            product += q * (double)c->keys[key * c->d + e];
            size += fabs(q) * 8; /* no key is larger */
        }
        const double slack = size * (double)(c->d + 1) * 0x1p-24;
        const double score = (double)scores[row * stride + key / 16];
        if (!(score + slack >= product))
            fail_msg("row %zu key %zu: product %g above the score %g", row, key, product, score);
    }
}

static void check_scores(const laci_kernels *k, const score_case *c)
{
    const laci_kernels ref = laci_kernels_ref();
    const char *name = c->is_i8               ? "page_scores_i8"
                       : c->dtype == LACI_F32 ? "page_scores_f32"
                                              : "page_scores_bf16";
    const size_t n = c->n_pages, stride = n + 3, all = c->n_rows * stride;
    guarded want = guarded_new(all * 4, 0), got = guarded_new(all * 4, 4),
            one = guarded_new(n * 4, 8);
    double *wide = take(n, sizeof *wide);
    run_rows(&ref, c, 0, c->n_rows, want.data, stride);
    run_rows(k, c, 0, c->n_rows, got.data, stride);
    guarded_check(&got, all ? (all - 3) * 4 : 0, name);
    for (size_t row = 0; row < c->n_rows; row++) {
        const float *mine = (const float *)got.data + row * stride;
        for (size_t i = 0; i < n; i++)
            wide[i] = (double)((const float *)want.data)[row * stride + i];
        const double error = error_of(name, mine, wide, n);
        if (error > (double)bound_of(name))
            fail_msg("%s, d %zu, row %zu of %zu: error %g", name, c->d, row, c->n_rows, error);
        for (size_t i = n; i < stride && row + 1 < c->n_rows; i++)
            assert_true(laci_f32_to_bits(mine[i]) == 0x5c5c5c5cu);
        run_rows(k, c, row, 1, one.data, n); /* the same bits whatever rows share the call */
        assert_memory_equal(one.data, mine, n * sizeof(float));
    }
    if (c->n_rows <= 8 && c->d <= 128) check_is_bound(c, got.data, stride);
    guarded_free(&want), guarded_free(&got), guarded_free(&one);
    free(wide);
}

static void check_score_sizes(const laci_kernels *k, laci_dtype dtype, bool is_i8)
{
    static const struct {
        size_t d, n_rows, n_panels;
    } cases[] = { { 8, 0, 1 },  { 8, 1, 0 },    { 8, 1, 1 },   { 16, 2, 2 },   { 24, 3, 3 },
                  { 40, 5, 2 }, { 64, 4, 5 },   { 128, 8, 2 }, { 128, 20, 3 }, { 72, 32, 1 },
                  { 8, 31, 2 }, { 120, 16, 1 }, { 96, 17, 4 }, { MAX_D, 3, 3 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        score_case c = is_i8 ? make_scores_i8(cases[i].d, cases[i].n_rows, cases[i].n_panels)
                             : make_scores(dtype, cases[i].d, cases[i].n_rows, cases[i].n_panels);
        check_scores(k, &c);
        free_scores(&c);
    }
}

/* A page with a NaN or infinite key must be read: for a query that points to it the score is
 * +infinity or NaN. A page without keys scores below pages with keys, and is a number. */
static void check_score_values(const laci_kernels *k, laci_dtype dtype)
{
    score_case c = make_scores(dtype, 24, 6, 2);
    float *keys = make_keys(c.d, c.dtype, 9), *scores = take(6 * 2 * PANEL, sizeof *scores);
    void *panel = take(1, laci_k_panel_bytes(c.dtype, c.d));
    char *second = (char *)c.bounds + laci_bounds_panel_bytes(c.dtype, c.d);
    keys[17 * c.d + 5] = NAN;
    keys[40 * c.d + 6] = INFINITY;
    pack(panel, keys, c.dtype, c.d);
    k->page_bounds(second, 60, panel, 48, 16, c.dtype, c.d);
    for (size_t i = 0; i < 6 * c.d; i++)
        c.q[i] = i / c.d == 0 ? 0 : i / c.d == 1 ? 1 : i / c.d == 2 ? -1 : c.q[i];
    round_queries(&c);
    run_rows(k, &c, 0, 6, scores, 2 * PANEL);
    for (size_t row = 0; row < 6; row++) {
        const float *last = scores + row * 2 * PANEL + PANEL + 60;
        assert_true(isfinite(last[0]));
        assert_false(last[1] < INFINITY); /* the NaN key */
        if (row == 1) assert_false(last[2] < INFINITY);
        assert_true(row == 0 ? last[3] == 0 : last[3] < -1e30f); /* no keys */
    }
    free_scores(&c);
    free(keys), free(scores), free(panel);
}

static void scores_are_upper_bounds(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n = get_levels(levels);
    for (size_t i = 0; i < n; i++) {
        for (size_t t = 0; t < 2; t++) {
            if (t == 0 ? !IS_NEW(levels, i, page_scores_f32) : !IS_NEW(levels, i, page_scores_bf16))
                continue;
            check_score_sizes(&levels[i].table, types[t], false);
            check_score_values(&levels[i].table, types[t]);
        }
        if (IS_NEW(levels, i, page_scores_i8)) check_score_sizes(&levels[i].table, LACI_F32, true);
    }
}

/* ------------------------------------------------------------------ int8 bounds */

/* Lanes [lane, lane + n): never inside what they stand for, and less than a unit outside, which is
 * 1/127 of the largest. */
static void check_rounding(const laci_kernels *k, laci_dtype dtype, size_t d, size_t page, size_t n)
{
    const size_t lane = 5, n_lanes = PANEL / page, bytes = laci_bounds_panel_bytes_i8(d);
    float *keys = make_keys(d, dtype, n + d + page);
    void *panel = take(1, laci_k_panel_bytes(dtype, d));
    void *bounds = take(1, laci_bounds_panel_bytes(dtype, d));
    guarded got = guarded_new(bytes, 4), before = guarded_new(bytes, 4);
    pack(panel, keys, dtype, d);
    k->page_bounds(bounds, lane, panel, n, page, dtype, d);
    k->round_bounds(got.data, bounds, lane, n_lanes, dtype, d);
    guarded_check(&got, bytes, "round_bounds");
    const float *units = (const float *)got.data;
    const int8_t *whole = (const int8_t *)got.data + PANEL * sizeof *units;
    for (size_t j = 0; j < PANEL; j++) {
        const bool is_written = j >= lane && j < lane + n_lanes;
        double most = 0;
        for (size_t i = 0; i < 2 * d && is_written; i++) {
            const double x = (double)bound_at(bounds, dtype, i / 2, j, i % 2);
            const double held = (double)units[j] * whole[i * PANEL + j];
            assert_true(i % 2 ? held <= x : held >= x);
            assert_true(fabs(held - x) < (double)units[j] || held == x);
            most = fmax(most, fabs(x));
        }
        if (is_written) assert_true((double)units[j] <= most / 127 * (1 + 0x1p-23));
        for (size_t i = 0; i < 2 * d && !is_written; i++) /* as before */
            assert_int_equal(whole[i * PANEL + j],
                             ((const int8_t *)before.data)[PANEL * sizeof *units + i * PANEL + j]);
    }
    guarded_free(&got), guarded_free(&before);
    free(keys), free(panel), free(bounds);
}

/* A page of zeros, one with a NaN key, one with an infinite key, one without keys, and tiny keys.
 */
static void check_odd_pages(const laci_kernels *k)
{
    enum { D = 16, ROWS = 3 };
    float *keys = take(PANEL * D, sizeof *keys), q[ROWS * D], scores[ROWS * PANEL];
    void *panel = take(1, laci_k_panel_bytes(LACI_F32, D));
    void *bounds = take(1, laci_bounds_panel_bytes(LACI_F32, D));
    void *whole = take(1, laci_bounds_panel_bytes_i8(D)), *scratch = take(1, laci_score_scratch(D));
    for (size_t i = 0; i < (size_t)PANEL * D; i++)
        keys[i] = i / D < 16 ? 0 : i / D < 48 ? 1 : 1e-42f;
    keys[20 * D + 3] = NAN;
    keys[40 * D + 4] = -INFINITY;
    pack(panel, keys, LACI_F32, D);
    for (size_t lane = 0; lane < PANEL; lane += 4) /* the last four have no keys */
        k->page_bounds(bounds, lane, panel, lane < 60 ? PANEL : 0, 16, LACI_F32, D);
    k->round_bounds(whole, bounds, 0, PANEL, LACI_F32, D);
    for (size_t i = 0; i < ROWS * D; i++)
        q[i] = i / D == 0 ? 0.0f : i / D == 1 ? 1.0f : -1.0f;
    const laci_page_scores s = { .scores = scores,
                                 .stride = PANEL,
                                 .q = q,
                                 .bounds = whole,
                                 .n_rows = ROWS,
                                 .n_panels = 1,
                                 .d = D,
                                 .scratch = scratch };
    k->page_scores_i8(&s);
    for (size_t row = 0; row < ROWS; row++) {
        const float *mine = scores + row * PANEL;
        assert_true(mine[0] == 0);
        assert_true(isnan(mine[1]) && isnan(mine[2])); /* NaN ranks before all numbers */
        assert_true(isfinite(mine[3]));
        if (row == 1) assert_true(mine[3] >= 16 * 1e-42f);
        assert_true(row == 0 ? mine[60] == 0 : mine[60] < -1e30f);
    }
    free(keys), free(panel), free(bounds), free(whole), free(scratch);
}

static void int8_bounds_lie_outside(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n = get_levels(levels);
    static const size_t depths[] = { 8, 40, 128 }, held[] = { 0, 1, 17, 64 };
    for (size_t i = 0; i < n; i++) {
        if (!IS_NEW(levels, i, round_bounds) && !IS_NEW(levels, i, page_scores_i8)) continue;
        for (size_t t = 0; t < 2; t++)
            for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++)
                for (size_t page = 16; page <= PANEL; page *= 2)
                    for (size_t h = 0; h < sizeof held / sizeof held[0]; h++)
                        check_rounding(&levels[i].table, types[t], depths[d], page, held[h]);
        check_odd_pages(&levels[i].table);
    }
}

/* ------------------------------------------------------------------ --bench */

typedef struct {
    score_case c;
    void *panel;
    float *scores;
    size_t page;
} bench_data;

static void time_bounds(const laci_kernels *k, void *user)
{
    bench_data *b = user;
    k->page_bounds(b->c.bounds, 0, b->panel, PANEL, b->page, b->c.dtype, b->c.d);
}

static void time_scores(const laci_kernels *k, void *user)
{
    bench_data *b = user;
    run_rows(k, &b->c, 0, b->c.n_rows, b->scores, b->c.n_pages);
}

static void bench_type(laci_dtype dtype)
{
    static const size_t rows[] = { 1, 4, 16, 20, 32 };
    const char *type = dtype == LACI_F32 ? "f32" : "bf16";
    char what[64];
    bench_data b = { .c = make_scores(dtype, 128, 1, 1) };
    float *keys = make_keys(128, dtype, 1);
    b.panel = take(1, laci_k_panel_bytes(dtype, 128));
    pack(b.panel, keys, dtype, 128);
    for (b.page = 16; b.page <= PANEL; b.page *= 2) {
        snprintf(what, sizeof what, "page_bounds %s, pages of %zu, d 128", type, b.page);
        const bench_case c = { what, offsetof(laci_kernels, page_bounds), time_bounds, &b, 0 };
        bench_kernel(&c);
    }
    free_scores(&b.c);
    free(keys), free(b.panel);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        b.c = make_scores(dtype, 128, rows[i], 8);
        b.scores = take(rows[i] * b.c.n_pages, sizeof *b.scores);
        snprintf(what, sizeof what, "page_scores_%s, %zu rows, 512 pages, d 128", type, rows[i]);
        const size_t at = dtype == LACI_F32 ? offsetof(laci_kernels, page_scores_f32)
                                            : offsetof(laci_kernels, page_scores_bf16);
        const bench_case c = { what, at, time_scores, &b, 4.0 * (double)rows[i] * 512 * 128 };
        bench_kernel(&c);
        free_scores(&b.c);
        free(b.scores);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold_every_key),
        cmocka_unit_test(scores_are_upper_bounds),
        cmocka_unit_test(int8_bounds_lie_outside),
    };
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        bench_type(LACI_F32);
        bench_type(LACI_BF16);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
