/* tile_rig.h: query rows over packed panels: seeded input, and the definition of attention over it
 * as a straight computation in double precision. Scores are in powers of two, as in attend.h.
 * Shared by the tests of the attention kernels; tile_run.h runs kernels on it. */
#ifndef LACI_TESTS_TILE_RIG_H
#define LACI_TESTS_TILE_RIG_H

#include "kernels/checkasm.h"

typedef enum { LANES_FULL, LANES_TAIL, LANES_RANDOM, LANES_GAPS, N_LANES } lanes_kind;
typedef enum {
    SCORES_RANDOM,
    SCORES_RISING, /* along the keys, so the maximum keeps moving */
    SCORES_FALLING,
    SCORES_EQUAL,
    SCORES_HUGE, /* 1e10 to 1e30, no two alike */
} scores_kind;

typedef struct {
    laci_dtype dtype;
    size_t n_rows, d, n_panels;
    lanes_kind lanes;
    bool limited;  /* rows have key limits of their own, some 0 */
    bool gathered; /* lanes hold keys of any position */
    scores_kind scores;
    float size; /* of the queries: 1 = scores near zero */
} tile_case;

typedef struct {
    tile_case c;
    size_t n_keys;
    float *q, *k, *v; /* as the kernel reads them: [n_rows, d], [n_keys, d] */
    guarded k_packed, v_packed;
    laci_panel *panels;  /* [n_panels] */
    uint32_t *positions; /* [n_keys] */
    uint32_t *limits;    /* [n_rows] */
    float scale;
    double *p;         /* [n_rows, n_keys] softmax; 0 where a row does not read */
    double *out, *lse; /* [n_rows, d], [n_rows] */
    double score_size; /* largest |score| read */
} tile_rig;

static inline float as_read(laci_dtype dtype, float x)
{
    return dtype == LACI_BF16 ? laci_bf16_to_f32(laci_f32_to_bf16(x)) : x;
}

/* ------------------------------------------------------------------ input */

static inline uint64_t lanes_of(const tile_case *c, size_t panel)
{
    switch (c->lanes) {
    case LANES_TAIL:
        return panel + 1 < c->n_panels ? UINT64_MAX
                                       : UINT64_MAX >> (1 + (c->n_rows * 7 + c->d + panel) % 63);
    case LANES_RANDOM: return laci_rng_u64(31, panel + c->d * 100 + c->n_rows);
    case LANES_GAPS: return panel % 3 == 1 ? UINT64_MAX : panel % 3 == 2 ? 1u << 17 : 0;
    default: return UINT64_MAX;
    }
}

static inline void make_positions(tile_rig *r)
{
    for (size_t i = 0; i < r->c.n_panels; i++) {
        laci_panel *panel = &r->panels[i];
        panel->lanes = lanes_of(&r->c, i);
        panel->first = (uint32_t)(96 * i + 5);
        panel->positions = r->c.gathered ? r->positions + i * LACI_PANEL : NULL;
        for (size_t j = 0; j < LACI_PANEL; j++) {
            const size_t at = i * LACI_PANEL + j;
            const uint32_t any = (uint32_t)(laci_rng_u64(32, at) % (2 * r->n_keys));
            r->positions[at] = r->c.gathered ? any : panel->first + (uint32_t)j;
            if (r->c.gathered && !(panel->lanes >> j & 1))
                r->positions[at] = j % 2 ? 0 : UINT32_MAX;
        }
    }
    for (size_t i = 0; i < r->c.n_rows; i++) {
        r->limits[i] = (uint32_t)(laci_rng_u64(33, i) % (2 * r->n_keys + 2));
        if (i % 5 == 3) r->limits[i] = 0;
        if (i % 5 == 1) r->limits[i] = 96 + 5; /* the first panel, no more */
        if (i % 7 == 2) r->limits[i] = UINT32_MAX;
        if (!r->c.limited) r->limits[i] = UINT32_MAX;
    }
}

/* Adds `score` powers of two to the score of every row with key j, roughly. */
static inline float toward(const tile_rig *r, double score)
{
    return (float)(score / (double)r->scale);
}

static inline void shape_scores(tile_rig *r)
{
    const size_t d = r->c.d;
    for (size_t i = 0; i < r->c.n_rows && r->c.scores != SCORES_RANDOM; i++)
        r->q[i * d] = r->c.scores == SCORES_HUGE ? (i % 2 ? -1e15f : 1e15f) : 1;
    for (size_t j = 0; j < r->n_keys; j++) {
        const double along = (double)j / (double)r->n_keys;
        if (r->c.scores == SCORES_RISING) r->k[j * d] = toward(r, 300 * along);
        if (r->c.scores == SCORES_FALLING) r->k[j * d] = toward(r, -300 * along);
        if (r->c.scores == SCORES_EQUAL) memcpy(r->k + j * d, r->k, d * sizeof *r->k);
        const size_t rank = j * 977 % r->n_keys;
        if (r->c.scores == SCORES_HUGE)
            r->k[j * d] = (rank % 2 ? -1e15f : 1e15f) * exp2f(-(float)(rank / 2) / 16);
    }
}

/* Lanes that do not count hold large finite numbers. */
static inline void make_input(tile_rig *r)
{
    const size_t d = r->c.d;
    fill(r->q, r->c.n_rows * d, 11, r->c.size);
    fill(r->k, r->n_keys * d, 12, 1);
    fill(r->v, r->n_keys * d, 13, 1);
    shape_scores(r);
    for (size_t at = 0; at < r->n_keys * d; at++) {
        const size_t j = at / d;
        if (r->panels[j / LACI_PANEL].lanes >> j % LACI_PANEL & 1) continue;
        r->k[at] = r->v[at] = at % 3 ? 3e4f : -3e4f;
    }
}

/* Packs k and v as they are now, and rounds them (and q) to what the kernel will read. */
static inline void pack(tile_rig *r)
{
    const laci_kernels ref = laci_kernels_ref();
    const size_t d = r->c.d, n = r->n_keys;
    const bool wide = r->c.dtype == LACI_F32;
    for (size_t i = 0; i < r->c.n_panels; i++) {
        const size_t row = i * LACI_PANEL;
        char *k = (char *)r->k_packed.data + i * laci_k_panel_bytes(r->c.dtype, d);
        char *v = (char *)r->v_packed.data + i * laci_v_panel_bytes(r->c.dtype, d);
        (wide ? ref.pack_k_f32 : ref.pack_k_bf16)(k, r->k + row * d, d, 0, LACI_PANEL, d);
        (wide ? ref.pack_v_f32 : ref.pack_v_bf16)(v, r->v + row * d, d, 0, LACI_PANEL, d);
        r->panels[i].k = k;
        r->panels[i].v = v;
    }
    for (size_t i = 0; i < n * d; i++) {
        r->k[i] = as_read(r->c.dtype, r->k[i]);
        r->v[i] = as_read(r->c.dtype, r->v[i]);
    }
    for (size_t i = 0; i < r->c.n_rows * d; i++)
        r->q[i] = as_read(r->c.dtype, r->q[i]);
}

/* ------------------------------------------------------------------ the definition */

static inline bool row_reads(const tile_rig *r, size_t row, size_t key)
{
    return (r->panels[key / LACI_PANEL].lanes >> key % LACI_PANEL & 1) &&
           r->positions[key] < r->limits[row];
}

static inline double score_of(const tile_rig *r, size_t row, size_t key)
{
    double sum = 0;
    for (size_t c = 0; c < r->c.d; c++)
        sum += (double)r->q[row * r->c.d + c] * (double)r->k[key * r->c.d + c];
    return sum * (double)r->scale;
}

static inline void brute_force_row(tile_rig *r, size_t row)
{
    const size_t n = r->n_keys, d = r->c.d;
    double *p = r->p + row * n, *out = r->out + row * d;
    double top = -INFINITY, total = 0;
    for (size_t j = 0; j < n; j++) {
        p[j] = row_reads(r, row, j) ? score_of(r, row, j) : -INFINITY;
        if (p[j] > top) top = p[j];
        if (isfinite(p[j]) && fabs(p[j]) > r->score_size) r->score_size = fabs(p[j]);
    }
    for (size_t j = 0; j < n; j++)
        total += p[j] = p[j] == -INFINITY ? 0 : exp2(p[j] - (top == -INFINITY ? 0 : top));
    memset(out, 0, d * sizeof *out);
    for (size_t j = 0; j < n; j++) {
        if (p[j] == 0) continue;
        p[j] /= total;
        for (size_t c = 0; c < d; c++)
            out[c] += p[j] * (double)r->v[j * d + c];
    }
    r->lse[row] = total == 0 ? -INFINITY : top + log2(total);
}

static inline void brute_force(tile_rig *r)
{
    r->score_size = 0;
    for (size_t row = 0; row < r->c.n_rows; row++)
        brute_force_row(r, row);
}

/* ------------------------------------------------------------------ making and freeing */

/* Input made, nothing packed: a test may change q, k and v before rig_ready(). */
static inline tile_rig rig_new(const tile_case *c)
{
    const size_t n = c->n_panels * LACI_PANEL;
    tile_rig r = { .c = *c, .n_keys = n, .scale = 1.44269504f / sqrtf((float)c->d) };
    r.q = take(c->n_rows * c->d, sizeof *r.q);
    r.k = take(n * c->d, sizeof *r.k);
    r.v = take(n * c->d, sizeof *r.v);
    r.k_packed = guarded_new(c->n_panels * laci_k_panel_bytes(c->dtype, c->d), 0);
    r.v_packed = guarded_new(c->n_panels * laci_v_panel_bytes(c->dtype, c->d), 0);
    r.panels = take(c->n_panels, sizeof *r.panels);
    r.positions = take(n, sizeof *r.positions);
    r.limits = take(c->n_rows, sizeof *r.limits);
    r.p = take(c->n_rows * n, sizeof *r.p);
    r.out = take(c->n_rows * c->d, sizeof *r.out);
    r.lse = take(c->n_rows, sizeof *r.lse);
    make_positions(&r);
    make_input(&r);
    return r;
}

static inline void rig_ready(tile_rig *r)
{
    pack(r);
    brute_force(r);
}

static inline void rig_free(tile_rig *r)
{
    free(r->q), free(r->k), free(r->v), free(r->panels), free(r->positions), free(r->limits);
    free(r->p), free(r->out), free(r->lse);
    guarded_free(&r->k_packed);
    guarded_free(&r->v_packed);
}

#endif
