/* attend_simd.h: the vector body of attend_keys, written once over compiler vectors and compiled by
 * each instruction set's file with that set's flags. The including file defines LANES (floats in a
 * register) and ROW_TILE (rows of scores held in registers) first. Static functions only. */
#include <math.h>

#include "kernels/kernels.h"

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef float vec_own __attribute__((vector_size(LANES * 4)));
enum { PANEL = LACI_ATTEND_PANEL, PANEL_VECS = PANEL / LANES };

static inline vec_own load(const float *x)
{
    return *(const vec *)(const void *)x;
}

static inline void store(float *x, vec_own v)
{
    *(vec *)(void *)x = v;
}

static inline vec_own splat(float x)
{
    return (vec_own){ 0 } + x;
}

static inline vec_own pick(ivec mask, vec_own yes, vec_own no)
{
    return (vec_own)((mask & (ivec)yes) | (~mask & (ivec)no));
}

/* e^x for x <= 0 (NaN stays NaN): 2^n by exponent bits times a degree-6 polynomial of the rest,
 * relative error below 2e-7; 0 below -87. */
static inline vec_own exp_negative(vec_own x)
{
    const vec_own safe = pick(x < -87.0f, splat(-87.0f), x);
    const vec_own shifted = safe * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to integer */
    const vec_own n = shifted - 12582912.0f;
    const vec_own r = (safe - n * 0.693359375f) + n * 2.12194440e-4f;
    vec_own p = splat(1.3981999507e-3f);
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const vec_own scaled = (vec_own)((ivec)p + ((ivec)shifted << 23));
    const vec_own result = pick(x < -87.0f, splat(0), scaled);
    return pick(x == x, result, x); /* NOLINT(misc-redundant-expression): false for NaN */
}

static inline float sum_lanes(vec_own v)
{
    float total = 0;
    for (int i = 0; i < LANES; i++)
        total += v[i];
    return total;
}

static inline float max_lanes(vec_own v)
{
    float top = v[0];
    for (int i = 1; i < LANES; i++)
        top = v[i] > top ? v[i] : top;
    return top;
}

/* scores[n_rows][PANEL] of ROW_TILE rows, held in registers over the whole head dimension. */
static inline void score_rows(float *scores, const float *q, const float *k_panel, size_t d)
{
    vec_own s[ROW_TILE][PANEL_VECS];
    for (size_t r = 0; r < ROW_TILE; r++)
        for (size_t j = 0; j < PANEL_VECS; j++)
            s[r][j] = splat(0);
    for (size_t c = 0; c < d; c++) {
        for (size_t j = 0; j < PANEL_VECS; j++) {
            const vec_own k = load(k_panel + c * PANEL + j * LANES);
            for (size_t r = 0; r < ROW_TILE; r++)
                s[r][j] += q[r * d + c] * k;
        }
    }
    for (size_t r = 0; r < ROW_TILE; r++)
        for (size_t j = 0; j < PANEL_VECS; j++)
            store(scores + r * PANEL + j * LANES, s[r][j]);
}

/* Turns one row of scores into probabilities against the new maximum; returns the factor by which
 * what the row held before shrinks. */
static inline float soften_row(laci_attend_tile *tile, size_t row, float *scores, size_t n)
{
    for (size_t j = n; j < PANEL; j++)
        scores[j] = -INFINITY;
    vec_own top = splat(tile->max[row]);
    for (size_t j = 0; j < PANEL_VECS; j++) {
        const vec_own s = load(scores + j * LANES);
        top = pick(s > top, s, top);
    }
    const float new_max = max_lanes(top);
    const float old_max = tile->max[row];
    if (new_max == -INFINITY) { /* no key yet, unless a score is NaN, which must show */
        for (size_t j = 0; j < PANEL; j++)
            scores[j] = scores[j] == -INFINITY ? 0 : scores[j];
    }
    const float base = new_max == -INFINITY ? 0 : new_max;
    vec_own sum = splat(0);
    for (size_t j = 0; j < PANEL_VECS; j++) {
        vec_own p = load(scores + j * LANES) - base;
        if (new_max != -INFINITY) p = exp_negative(p);
        store(scores + j * LANES, p);
        sum += p;
    }
    const float shrink = old_max == -INFINITY ? 0 : expf(old_max - base);
    tile->sum[row] = tile->sum[row] * shrink + sum_lanes(sum);
    tile->max[row] = new_max;
    return shrink;
}

/* acc[ROW_TILE][d] = acc * shrink + p[ROW_TILE][n] * v_panel[n][d]. */
static inline void gather_rows(float *acc, const float *shrink, const float *p,
                               const float *v_panel, size_t n, size_t d)
{
    size_t c = 0;
    for (; c + LANES <= d; c += LANES) {
        vec_own a[ROW_TILE];
        for (size_t r = 0; r < ROW_TILE; r++)
            a[r] = load(acc + r * d + c) * shrink[r];
        for (size_t j = 0; j < n; j++) {
            const vec_own v = load(v_panel + j * d + c);
            for (size_t r = 0; r < ROW_TILE; r++)
                a[r] += p[r * PANEL + j] * v;
        }
        for (size_t r = 0; r < ROW_TILE; r++)
            store(acc + r * d + c, a[r]);
    }
    for (; c < d; c++) { /* head dimensions that are no multiple of the register */
        for (size_t r = 0; r < ROW_TILE; r++) {
            float a = acc[r * d + c] * shrink[r];
            for (size_t j = 0; j < n; j++)
                a += p[r * PANEL + j] * v_panel[j * d + c];
            acc[r * d + c] = a;
        }
    }
}

/* K transposed to [d, PANEL], V as [PANEL, d]; columns past n are zero so that no old NaN is read.
 */
static void unpack_panel(float *k_panel, float *v_panel, const laci_keys *keys, size_t first,
                         size_t n, size_t d)
{
    for (size_t j = 0; j < n; j++) {
        const size_t at = (first + j) * keys->stride;
        float *v = v_panel + j * d;
        if (keys->dtype == LACI_F32) {
            const float *k = (const float *)keys->k + at;
            memcpy(v, (const float *)keys->v + at, d * sizeof *v);
            for (size_t c = 0; c < d; c++)
                k_panel[c * PANEL + j] = k[c];
        } else {
            const uint16_t *k = (const uint16_t *)keys->k + at;
            const uint16_t *half = (const uint16_t *)keys->v + at;
            for (size_t c = 0; c < d; c++)
                v[c] = laci_bf16_to_f32(half[c]);
            for (size_t c = 0; c < d; c++)
                k_panel[c * PANEL + j] = laci_bf16_to_f32(k[c]);
        }
    }
    for (size_t c = 0; n < PANEL && c < d; c++)
        memset(k_panel + c * PANEL + n, 0, (PANEL - n) * sizeof *k_panel);
}

/* One panel for all rows of the tile. A last group of fewer than ROW_TILE rows goes through copies,
 * so that no row's arithmetic depends on its neighbours. */
static void attend_panel(laci_attend_tile *tile, const float *k_panel, const float *v_panel,
                         float *scores, size_t n)
{
    const size_t d = tile->d;
    float q_copy[ROW_TILE * LACI_MAX_D_HEAD], acc_copy[ROW_TILE * LACI_MAX_D_HEAD];
    for (size_t row = 0; row < tile->n_rows; row += ROW_TILE) {
        const size_t left = tile->n_rows - row;
        const size_t n_rows = left < ROW_TILE ? left : ROW_TILE;
        const float *q = tile->q + row * d;
        float *acc = tile->acc + row * d;
        float shrink[ROW_TILE] = { 0 };
        if (n_rows < ROW_TILE) {
            memset(q_copy, 0, ROW_TILE * d * sizeof *q_copy);
            memset(acc_copy, 0, ROW_TILE * d * sizeof *acc_copy);
            q = memcpy(q_copy, q, n_rows * d * sizeof *q_copy);
            acc = memcpy(acc_copy, acc, n_rows * d * sizeof *acc_copy);
        }
        score_rows(scores, q, k_panel, d);
        for (size_t r = 0; r < n_rows; r++)
            shrink[r] = soften_row(tile, row + r, scores + r * PANEL, n);
        gather_rows(acc, shrink, scores, v_panel, n, d);
        if (n_rows < ROW_TILE) memcpy(tile->acc + row * d, acc, n_rows * d * sizeof *acc);
    }
}

static void attend_keys(laci_attend_tile *tile, const laci_keys *keys, size_t n_keys)
{
    float *k_panel = tile->scratch;
    float *v_panel = k_panel + PANEL * tile->d;
    float *scores = v_panel + PANEL * tile->d;
    for (size_t first = 0; first < n_keys; first += PANEL) {
        const size_t n = n_keys - first < PANEL ? n_keys - first : PANEL;
        unpack_panel(k_panel, v_panel, keys, first, n, tile->d);
        attend_panel(tile, k_panel, v_panel, scores, n);
    }
}
