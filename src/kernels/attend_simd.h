/* attend_simd.h: attention over packed panels, written once and compiled by each instruction set's
 * file. The including file defines first: LANES, the vector type `vec`, the operations v_* used
 * below, BIG_ROWS x TILE_VECS (the register tile: rows by vectors of keys or channels), and PAIRS.
 * Without PAIRS arithmetic is f32, and bf16 panels are widened to f32 once per panel and tile; with
 * it, products are of bf16 pairs with f32 sums, straight from bf16 panels. Static functions only.
 * docs/kernels.md explains the structure and what each trick gains.
 *
 * A row's arithmetic is the same whichever register tile computes it and whatever rows share it. */
#include <math.h>

#include "kernels/kernels.h"

enum {
    PANEL = LACI_PANEL,
    PANEL_VECS = PANEL / LANES,
    LINES = 2,    /* cache lines fetched ahead at each step of a product */
    HEADROOM = 8, /* powers of two between a row's largest score and its measure */
    /* 32-bit words: of a row of probabilities, and what one step of a product takes */
    P_WORDS = PAIRS ? PANEL / 2 : PANEL,
    STEP = PAIRS ? 2 : 1,
};

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#define UNROLL_LOOP _Pragma("unroll(4)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_LOOP _Pragma("GCC unroll 4")
#endif
#define INLINE static inline __attribute__((always_inline))
#define COLD static __attribute__((noinline, cold))

/* A panel that will be needed next, on its way into the cache a few lines at a step. */
typedef struct {
    const char *at;
    size_t left; /* bytes */
} stream;

/* One call: the tile, its memory carved from the scratch, the panel under way. Arrays called words
 * hold floats, or pairs of bf16 with PAIRS. */
typedef struct {
    laci_tile *tile;
    laci_dtype dtype;
    size_t d, d16;
    size_t n_steps;             /* of a product over the head size */
    float *q;                   /* words of the rows, by register tile of R rows: [n_steps][R] */
    float *k, *v;               /* the widened panel: K [d][64], V [64][d16] */
    float *p;                   /* words [n_rows][P_WORDS]: probabilities of the panel */
    float *last;                /* [rows from last_row on][d16] output that is not in the tile */
    size_t last_row;            /* SIZE_MAX = all of it is */
    float *scores;              /* [BIG_ROWS][64] of one register tile, when they leave registers */
    const float *k_now, *v_now; /* words of the panel under way */
    stream k_ahead, v_ahead;    /* of the panel after it */
    size_t n_unset;             /* rows that have read no key yet */
    uint32_t lowest_limit;      /* of all rows */
    bool masked;                /* some row may not read some lane of the panel */
    bool precise;               /* exponential to f32 precision, or as bf16 wants it */
    float base[LACI_TILE_ROWS]; /* what scores are measured from: max, or 0 before any key */
    vec sum[LACI_TILE_ROWS];    /* of probabilities, by lane */
} run;

/* ------------------------------------------------------------------ exponential */

/* 2^x for x below 100; exactly 0 below -126.5; NaN stays NaN. Degree 5: relative error 7.5e-8
 * before rounding; degree 3: 7.5e-5. Adding 1.5 * 2^23 + 127 rounds to an integer that is already
 * the exponent of the result. Coefficients: least largest relative error on [-1/2, 1/2]. */
INLINE vec exp2_negative(vec x, bool precise)
{
    const vec magic = v_set1(12582912.0f + 127.0f);
    x = v_max(v_set1(-127.0f), x); /* the second operand where either is NaN */
    const vec shifted = v_add(x, magic);
    const vec r = v_sub(x, v_sub(shifted, magic));
    vec p;
    if (precise) {
        p = v_fma(v_set1(1.32764720e-3f), r, v_set1(9.67554138e-3f));
        p = v_fma(p, r, v_set1(5.55071327e-2f));
        p = v_fma(p, r, v_set1(2.40221197e-1f));
        p = v_fma(p, r, v_set1(6.93146967e-1f));
        p = v_fma(p, r, v_set1(1.00000007f));
    } else {
        p = v_fma(v_set1(5.51716695e-2f), r, v_set1(2.42611125e-1f));
        p = v_fma(p, r, v_set1(6.93260986e-1f));
        p = v_fma(p, r, v_set1(9.99928073e-1f));
    }
    return v_mul(p, v_exponent(shifted));
}

/* ------------------------------------------------------------------ panels and queries */

/* Words of two halves to two rows of f32. */
INLINE void widen_words(float *low, float *high, const uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        v_store(low + i, v_low_half(words + i));
        v_store(high + i, v_high_half(words + i));
    }
}

#if !PAIRS
static void widen_k(const run *r, const uint32_t *words)
{
    for (size_t c = 0; c < r->d / 2; c++)
        widen_words(r->k + 2 * c * PANEL, r->k + (2 * c + 1) * PANEL, words + c * PANEL, PANEL);
}

static void widen_v(const run *r, const uint32_t *words)
{
    for (size_t i = 0; i < PANEL / 2; i++) {
        const size_t key = i / 16 * 32 + i % 16;
        widen_words(r->v + key * r->d16, r->v + (key + 16) * r->d16, words + i * r->d16, r->d16);
    }
}

#endif

/* Rows of the register tile that starts at `row`. */
static size_t tile_rows(size_t row, size_t n_rows)
{
    return n_rows - row < BIG_ROWS ? n_rows - row : BIG_ROWS;
}

/* Word `step` of a query row. */
static float query_word(const run *r, const laci_tile *tile, size_t row, size_t step)
{
    float word;
    const size_t at = row * r->d + step * STEP;
    if (r->dtype == LACI_F32) return ((const float *)tile->q)[at];
    if (!PAIRS) return laci_bf16_to_f32(((const uint16_t *)tile->q)[at]);
    memcpy(&word, (const uint16_t *)tile->q + at, sizeof word);
    return word;
}

/* Queries step by step within a register tile, so that one pointer walks them. */
static void arrange_queries(const run *r, const laci_tile *tile)
{
    for (size_t row = 0, n; row < tile->n_rows; row += n) {
        n = tile_rows(row, tile->n_rows);
        float *to = r->q + row * r->n_steps;
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < r->n_steps; c++)
                to[c * n + i] = query_word(r, tile, row + i, c);
    }
}

/* ------------------------------------------------------------------ probabilities in memory */

#if PAIRS
/* Two vectors of probabilities, keys j and j + 16, as words of bf16, rounded to nearest. */
INLINE void put_probabilities(float *words, const vec *e, const size_t V)
{
    UNROLL for (size_t j = 0; j < V; j += 2) v_store(words + j / 2 * LANES, v_pair(e[j], e[j + 1]));
}

INLINE void get_probabilities(vec *e, const float *words, const size_t V)
{
    UNROLL for (size_t j = 0; j < V; j += 2)
    {
        e[j] = v_low_half(words + j / 2 * LANES);
        e[j + 1] = v_high_half(words + j / 2 * LANES);
    }
}
#else
INLINE void put_probabilities(float *words, const vec *e, const size_t V)
{
    UNROLL for (size_t j = 0; j < V; j++) v_store(words + j * LANES, e[j]);
}

INLINE void get_probabilities(vec *e, const float *words, const size_t V)
{
    UNROLL for (size_t j = 0; j < V; j++) e[j] = v_load(words + j * LANES);
}
#endif

/* ------------------------------------------------------------------ moving the measure */

/* Where a row's output is summed. */
INLINE float *row_output(const run *r, size_t row)
{
    return row < r->last_row ? r->tile->acc + row * r->d16 : r->last + (row - r->last_row) * r->d16;
}

INLINE vec row_top(const float *scores, size_t n)
{
    vec top = v_load(scores);
    for (size_t i = LANES; i < n; i += LANES)
        top = v_max(top, v_load(scores + i));
    return top;
}

INLINE void scale_floats(float *x, size_t n, vec factor)
{
    for (size_t i = 0; i < n; i += LANES)
        v_store(x + i, v_mul(v_load(x + i), factor));
}

/* The first `n` probabilities of a row; n is a multiple of 32 with PAIRS. */
COLD void shrink_probabilities(float *words, size_t n, vec shrink)
{
    for (size_t j = 0; j < n; j += 2 * LANES) {
        vec e[2];
        get_probabilities(e, words + j / STEP, 2);
        e[0] = v_mul(e[0], shrink);
        e[1] = v_mul(e[1], shrink);
        put_probabilities(words + j / STEP, e, 2);
    }
}

/* `scores` [n] of one row are measured from its base and may lie above: raises the base, an
 * integer, and shrinks by an exact power of two what was measured from the old one: output, sum,
 * and the `done` probabilities at `words` that are not yet in the output. */
COLD void lift_row(run *r, size_t row, float *scores, size_t n, float *words, size_t done)
{
    laci_tile *tile = r->tile;
    const bool is_unset = tile->max[row] == -INFINITY;
    const float top = v_max_lanes(row_top(scores, n));
    if (top == -INFINITY || !(is_unset || top > 0)) return;
    const float lift = top <= 3e38f ? ceilf(top) + HEADROOM : top;
    if (is_unset) {
        r->n_unset--;
    } else {
        const vec shrink = v_set1(exp2f(-lift));
        scale_floats(row_output(r, row), r->d16, shrink);
        shrink_probabilities(words, done, shrink);
        r->sum[row] = v_mul(r->sum[row], shrink);
        tile->sum[row] *= exp2f(-lift);
    }
    for (size_t j = 0; j < n; j += LANES)
        v_store(scores + j, v_sub(v_load(scores + j), v_set1(lift)));
    r->base[row] += lift;
    tile->max[row] = r->base[row];
}

/* ------------------------------------------------------------------ reading ahead */

/* The caller of `n` steps will fetch LINES lines at each; returns the bytes between steps: 0 once
 * the panel is fetched. */
INLINE size_t stream_step(stream *ahead, size_t n)
{
    const size_t bytes = n * LINES * 64;
    if (ahead->left < bytes) return 0;
    ahead->left -= bytes;
    ahead->at += bytes;
    return LINES * 64;
}

/* Bf16 panels are read in place and fit the first cache; widened ones fill it. */
INLINE void fetch_lines(const char *line)
{
    enum { NEARNESS = PAIRS ? 3 : 2 };
    UNROLL for (size_t i = 0; i < LINES; i++) __builtin_prefetch(line + i * 64, 0, NEARNESS);
}

/* ------------------------------------------------------------------ scores and probabilities */

/* s[R][V] = scores of R rows against V vectors of keys, before scaling. */
INLINE void dot_tile(vec s[BIG_ROWS][TILE_VECS], const float *q, const float *k, size_t n_steps,
                     stream *ahead, const size_t R, const size_t V)
{
    const char *line = ahead->left ? ahead->at : (const char *)q;
    const size_t step = stream_step(ahead, n_steps);
    UNROLL for (size_t i = 0; i < R; i++) UNROLL for (size_t j = 0; j < V; j++) s[i][j] = v_zero();
    UNROLL_LOOP for (size_t c = 0; c < n_steps; c++)
    {
        vec keys[TILE_VECS];
        UNROLL for (size_t j = 0; j < V; j++) keys[j] = v_load(k + c * PANEL + j * LANES);
        fetch_lines(line + c * step);
        UNROLL for (size_t i = 0; i < R; i++)
        {
            const vec one = v_set1(q[c * R + i]);
            UNROLL for (size_t j = 0; j < V; j++) s[i][j] = v_mac(s[i][j], one, keys[j]);
        }
    }
}

/* Scores of R rows to and from memory, rows a panel's width apart. */
INLINE void store_scores(float *scores, vec s[BIG_ROWS][TILE_VECS], const size_t R, const size_t V)
{
    UNROLL for (size_t i = 0; i < R; i++) UNROLL for (size_t j = 0; j < V; j++)
        v_store(scores + i * PANEL + j * LANES, s[i][j]);
}

INLINE void load_scores(vec s[BIG_ROWS][TILE_VECS], const float *scores, const size_t R,
                        const size_t V)
{
    UNROLL for (size_t i = 0; i < R; i++) UNROLL for (size_t j = 0; j < V; j++) s[i][j] =
        v_load(scores + i * PANEL + j * LANES);
}

/* s[R][V], measured from the rows' bases, becomes probabilities at `words`, rows `stride` apart. */
INLINE void exponentials(run *r, vec s[BIG_ROWS][TILE_VECS], size_t row, float *words,
                         size_t stride, const size_t R, const size_t V)
{
    UNROLL for (size_t i = 0; i < R; i++)
    {
        vec sum = r->sum[row + i];
        UNROLL for (size_t j = 0; j < V; j++)
        {
            s[i][j] = exp2_negative(s[i][j], r->precise);
            sum = v_add(sum, s[i][j]);
        }
        r->sum[row + i] = sum;
        put_probabilities(words + i * stride, s[i], V);
    }
}

/* s[R][V], raw scores of keys from lane `at` on, becomes probabilities. Stays in registers unless a
 * row's base must rise: then it passes through memory. */
INLINE void soften_tile(run *r, vec s[BIG_ROWS][TILE_VECS], size_t row, size_t at, const size_t R,
                        const size_t V)
{
    const vec scale = v_set1(r->tile->scale);
    vec below = v_signs();
    UNROLL for (size_t i = 0; i < R; i++)
    {
        const vec base = v_set1(r->base[row + i]);
        UNROLL for (size_t j = 0; j < V; j++)
        {
            s[i][j] = v_fms(s[i][j], scale, base);
            below = v_and(below, s[i][j]);
        }
    }
    if (__builtin_expect(r->n_unset > 0 || !v_all_negative(below), 0)) {
        store_scores(r->scores, s, R, V);
        for (size_t i = 0; i < R; i++)
            lift_row(r, row + i, r->scores + i * PANEL, V * LANES, r->p + (row + i) * P_WORDS, at);
        load_scores(s, r->scores, R, V);
    }
    exponentials(r, s, row, r->p + row * P_WORDS + at / STEP, P_WORDS, R, V);
}

/* Takes scores in memory that a row may not read out of the running. */
COLD void mask_row(const run *r, const laci_panel *panel, size_t row, float *scores)
{
    const uint32_t limit = r->tile->limits ? r->tile->limits[row] : UINT32_MAX;
    for (size_t j = 0; j < PANEL; j++) {
        const uint32_t at = panel->positions ? panel->positions[j] : panel->first + (uint32_t)j;
        if (!(panel->lanes >> j & 1) || at >= limit) scores[j] = -INFINITY;
    }
}

/* Raw scores of one row against a whole panel, in memory, become probabilities at words + done. The
 * base rises at the same places as in soften_tile. */
INLINE void soften_row(run *r, size_t row, float *scores, float *words, size_t done)
{
    const vec scale = v_set1(r->tile->scale);
    for (size_t at = 0; at < PANEL; at += TILE_VECS * LANES) {
        const vec base = v_set1(r->base[row]);
        vec s[BIG_ROWS][TILE_VECS], below = v_signs();
        UNROLL for (size_t j = 0; j < TILE_VECS; j++)
        {
            s[0][j] = v_fms(v_load(scores + at + j * LANES), scale, base);
            below = v_and(below, s[0][j]);
        }
        if (__builtin_expect(r->n_unset > 0 || !v_all_negative(below), 0)) {
            store_scores(scores + at, s, 1, TILE_VECS);
            lift_row(r, row, scores + at, TILE_VECS * LANES, words, done + at);
            load_scores(s, scores + at, 1, TILE_VECS);
        }
        exponentials(r, s, row, words + (done + at) / STEP, 0, 1, TILE_VECS);
    }
}

/* Raw scores of R rows against the panel, to memory. */
INLINE void dot_rows(run *r, size_t row, const size_t R, const size_t V)
{
    vec s[BIG_ROWS][TILE_VECS];
    for (size_t at = 0; at < PANEL; at += V * LANES) {
        dot_tile(s, r->q + row * r->n_steps, r->k_now + at, r->n_steps, &r->k_ahead, R, V);
        store_scores(r->scores + at, s, R, V);
    }
}

INLINE void score_rows(run *r, const laci_panel *panel, size_t row, const size_t R, const size_t V)
{
    vec s[BIG_ROWS][TILE_VECS];
    if (r->masked) {
        dot_rows(r, row, R, V);
        for (size_t i = 0; i < R; i++) {
            mask_row(r, panel, row + i, r->scores + i * PANEL);
            soften_row(r, row + i, r->scores + i * PANEL, r->p + (row + i) * P_WORDS, 0);
        }
        return;
    }
    for (size_t at = 0; at < PANEL; at += V * LANES) {
        dot_tile(s, r->q + row * r->n_steps, r->k_now + at, r->n_steps, &r->k_ahead, R, V);
        soften_tile(r, s, row, at, R, V);
    }
}

/* ------------------------------------------------------------------ output */

/* acc[R][V vectors] += p[R][64] * v[64][V vectors]; `next` is the tile after it. */
INLINE void weigh_tile(float *acc, const float *next, const float *p, const float *v, size_t d16,
                       stream *ahead, const size_t R, const size_t V)
{
    const char *line = ahead->left ? ahead->at : (const char *)p;
    const size_t step = stream_step(ahead, P_WORDS);
    vec a[BIG_ROWS][TILE_VECS];
    UNROLL for (size_t i = 0; i < R; i++) UNROLL for (size_t j = 0; j < V; j++) a[i][j] =
        v_load(acc + i * d16 + j * LANES);
    UNROLL for (size_t i = 0; i < R; i++) UNROLL for (size_t j = 0; j < V; j++)
        __builtin_prefetch(next + i * d16 + j * LANES, 1);
    UNROLL_LOOP for (size_t key = 0; key < P_WORDS; key++)
    {
        vec values[TILE_VECS];
        UNROLL for (size_t j = 0; j < V; j++) values[j] = v_load(v + key * d16 + j * LANES);
        fetch_lines(line + key * step);
        UNROLL for (size_t i = 0; i < R; i++)
        {
            const vec one = v_set1(p[i * P_WORDS + key]);
            UNROLL for (size_t j = 0; j < V; j++) a[i][j] = v_mac(a[i][j], one, values[j]);
        }
    }
    UNROLL for (size_t i = 0; i < R; i++) UNROLL for (size_t j = 0; j < V; j++)
        v_store(acc + i * d16 + j * LANES, a[i][j]);
}

INLINE void weigh_rows(run *r, size_t row, const size_t R, const size_t V)
{
    float *acc = r->tile->acc + row * r->d16;
    const float *p = r->p + row * P_WORDS;
    size_t c = 0;
    for (; c + V * LANES <= r->d16; c += V * LANES) {
        const size_t then = c + 2 * V * LANES <= r->d16 ? c + V * LANES : R * r->d16;
        weigh_tile(acc + c, acc + then, p, r->v_now + c, r->d16, &r->v_ahead, R, V);
    }
    for (; c < r->d16; c += LANES)
        weigh_tile(acc + c, acc + c, p, r->v_now + c, r->d16, &r->v_ahead, R, 1);
}

/* ------------------------------------------------------------------ one panel */

/* Calls for the register tile of n rows. */
#define ROW_CASES(CALL)                                               \
    switch (n) {                                                      \
    case BIG_ROWS: CALL(BIG_ROWS, TILE_VECS) break; SMALL_CASES(CALL) \
    default: break;                                                   \
    }
#define SCORE(R, V) score_rows(r, panel, row, R, V);
#define WEIGH(R, V) weigh_rows(r, row, R, V);
#define DOT(R, V) dot_rows(r, row, R, V);

static void score_panel(run *r, const laci_panel *panel)
{
    for (size_t row = 0, n; row < r->tile->n_rows; row += n) {
        n = tile_rows(row, r->tile->n_rows);
        ROW_CASES(SCORE)
    }
}

static void weigh_panel(run *r)
{
    for (size_t row = 0, n; row < r->tile->n_rows; row += n) {
        n = tile_rows(row, r->tile->n_rows);
        ROW_CASES(WEIGH)
    }
}

/* Pattern statistics of one panel: for all rows, whose probabilities are at `p`, `stride` words
 * apart, the sums of every PANEL / N of them, or of their squares. LANES rows are added up at once,
 * so that a row costs its loads, a few additions and its share of one store. */
INLINE void add_up_rows(const laci_tile *tile, const float *p, size_t stride, float *out,
                        bool squared, const size_t N)
{
    for (size_t row = 0; row < tile->n_rows; row += LANES) {
        vec sums[4][LANES];
        for (size_t j = 0; j < LANES; j++) {
            vec e[PANEL_VECS];
            get_probabilities(e, p + (row + j) * stride, PANEL_VECS);
            UNROLL for (size_t i = 0; i < N; i++)
            {
                const vec *part = e + i * (PANEL_VECS / N);
                vec sum = squared ? v_mul(part[0], part[0]) : part[0];
                for (size_t v = 1; v < PANEL_VECS / N; v++)
                    sum = squared ? v_fma(part[v], part[v], sum) : v_add(sum, part[v]);
                sums[i][j] = sum;
            }
        }
        UNROLL for (size_t i = 0; i < N; i++)
            v_store(out + i * LACI_TILE_ROWS + row, v_add_each(sums[i]));
    }
}

static void keep_panel(const laci_tile *tile, size_t panel, const float *p, size_t stride,
                       bool squared)
{
    const size_t n = PANEL / tile->step;
    float *out = (squared ? tile->squares : tile->sums) + panel * n * LACI_TILE_ROWS;
    if (n == 1)
        squared ? add_up_rows(tile, p, stride, out, true, 1)
                : add_up_rows(tile, p, stride, out, false, 1);
    else if (n == 2)
        add_up_rows(tile, p, stride, out, squared, 2);
    else
        add_up_rows(tile, p, stride, out, squared, 4);
}

static void keep_max(const laci_tile *tile, size_t panel)
{
    memcpy(tile->sums_max + panel * LACI_TILE_ROWS, tile->max, tile->n_rows * sizeof(float));
}

static void keep_sums(const run *r)
{
    const laci_tile *tile = r->tile;
    keep_panel(tile, tile->panel_at, r->p, P_WORDS, false);
    if (tile->squares) keep_panel(tile, tile->panel_at, r->p, P_WORDS, true);
    keep_max(tile, tile->panel_at);
}

static bool is_masked(const run *r, const laci_panel *panel)
{
    if (panel->lanes != UINT64_MAX) return true;
    if (!r->tile->limits) return false;
    if (!panel->positions) return panel->first + (uint32_t)PANEL > r->lowest_limit;
    for (size_t j = 0; j < PANEL; j++)
        if (panel->positions[j] >= r->lowest_limit) return true;
    return false;
}

static void begin_run(run *r, laci_tile *tile, laci_dtype dtype)
{
    float *at = tile->scratch;
    r->tile = tile;
    r->dtype = dtype;
    r->d = tile->d;
    r->d16 = laci_d16(tile->d);
    r->n_steps = tile->d / STEP;
    r->precise = dtype == LACI_F32;
    r->q = at;
    r->k = at += (LACI_TILE_ROWS + LACI_ROWS_IN_FLIGHT) * r->d;
    r->v = at += PANEL * r->d;
    r->p = at += PANEL * r->d16;
    r->scores = at + LACI_TILE_ROWS * PANEL;
    r->last_row = SIZE_MAX;
    r->n_unset = 0;
    r->lowest_limit = UINT32_MAX;
    for (size_t row = 0; row < tile->n_rows; row++) {
        if (tile->limits && tile->limits[row] < r->lowest_limit)
            r->lowest_limit = tile->limits[row];
        if (tile->max[row] == -INFINITY) r->n_unset++;
        r->base[row] = tile->max[row] == -INFINITY ? 0 : tile->max[row];
        r->sum[row] = v_zero();
    }
}

static void end_run(const run *r)
{
    for (size_t row = 0; row < r->tile->n_rows; row++)
        r->tile->sum[row] += v_add_lanes(r->sum[row]);
}

static void choose_panel(run *r, const laci_panel *panel, const laci_panel *next, bool with_values)
{
    r->k_ahead = (stream){ next->k, laci_k_panel_bytes(r->dtype, r->d) };
    r->v_ahead = (stream){ next->v, laci_v_panel_bytes(r->dtype, r->d) };
    r->k_now = panel->k;
    r->v_now = panel->v;
    r->masked = is_masked(r, panel);
#if !PAIRS
    if (r->dtype == LACI_F32) return;
    widen_k(r, panel->k);
    if (with_values) widen_v(r, panel->v);
    r->k_now = r->k;
    r->v_now = r->v;
#else
    (void)with_values;
#endif
}

static void attend(laci_tile *tile, laci_dtype dtype, const laci_panel *panels, size_t n)
{
    run r;
    begin_run(&r, tile, dtype);
    arrange_queries(&r, tile);
    for (size_t i = 0; i < n; i++) {
        choose_panel(&r, &panels[i], &panels[i + 1 < n ? i + 1 : i], true);
        score_panel(&r, &panels[i]);
        weigh_panel(&r);
        if (tile->sums) keep_sums(&r);
        tile->panel_at++;
    }
    end_run(&r);
}

/* ------------------------------------------------------------------ probability by key */

/* Adds the probabilities of n_rows rows whose raw scores [n_rows][64] are in memory. */
static void add_columns(run *r, const laci_panel *panel, float *scores, size_t row, size_t n_rows,
                        const float *lse, float *sums)
{
    const vec scale = v_set1(r->tile->scale);
    vec sum[PANEL / LANES];
    UNROLL for (size_t j = 0; j < PANEL / LANES; j++) sum[j] = v_load(sums + j * LANES);
    for (size_t i = 0; i < n_rows; i++, scores += PANEL) {
        if (lse[row + i] == -INFINITY) continue;
        if (r->masked) mask_row(r, panel, row + i, scores);
        UNROLL for (size_t j = 0; j < PANEL / LANES; j++)
        {
            const vec t = v_fms(v_load(scores + j * LANES), scale, v_set1(lse[row + i]));
            sum[j] = v_add(sum[j], exp2_negative(t, r->precise));
        }
    }
    UNROLL for (size_t j = 0; j < PANEL / LANES; j++) v_store(sums + j * LANES, sum[j]);
}

static void columns_of_panel(run *r, const laci_panel *panel, const float *lse, float *sums)
{
    for (size_t row = 0, n; row < r->tile->n_rows; row += n) {
        n = tile_rows(row, r->tile->n_rows);
        ROW_CASES(DOT)
        add_columns(r, panel, r->scores, row, n, lse, sums);
    }
}

static void column_mass(const laci_tile *tile, laci_dtype dtype, const laci_panel *panels, size_t n,
                        const float *lse, float *sums)
{
    run r;
    laci_tile rows = *tile;
    begin_run(&r, &rows, dtype);
    arrange_queries(&r, &rows);
    for (size_t i = 0; i < n; i++) {
        choose_panel(&r, &panels[i], &panels[i + 1 < n ? i + 1 : i], false);
        columns_of_panel(&r, &panels[i], lse, sums + i * PANEL);
    }
}

static void column_mass_bf16(const laci_tile *tile, const laci_panel *panels, size_t n,
                             const float *lse, float *sums)
{
    column_mass(tile, LACI_BF16, panels, n, lse, sums);
}

static void attend_bf16(laci_tile *tile, const laci_panel *panels, size_t n)
{
    attend(tile, LACI_BF16, panels, n);
}

#if !PAIRS
static void column_mass_f32(const laci_tile *tile, const laci_panel *panels, size_t n,
                            const float *lse, float *sums)
{
    column_mass(tile, LACI_F32, panels, n, lse, sums);
}

static void attend_f32(laci_tile *tile, const laci_panel *panels, size_t n)
{
    attend(tile, LACI_F32, panels, n);
}
#endif
