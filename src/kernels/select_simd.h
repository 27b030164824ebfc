/* select_simd.h: selection in vectors: page bounds, page scores, pooling, the k largest. Written
 * once over the vectors of attend_simd.h, which an instruction set's file includes first, and
 * compiled with that set's flags. Static functions only.
 *
 * A row's arithmetic does not depend on the rows that share its call. */
#include "kernels/select.h"

typedef int32_t ivec __attribute__((vector_size(LANES * 4)));

enum {
    SCORE_VECS = 8,                             /* sums of one row under way, to hide latency */
    SCORE_PANELS = SCORE_VECS / PANEL_VECS,     /* bounds panels they span */
    SCORE_CHANNELS = 32 / SCORE_PANELS,         /* widened at a time: 16 KB, less than an L1 */
    SCORE_WIDTH = 2 * SCORE_PANELS * LACI_PANEL /* floats of one widened channel */
};

INLINE ivec i_set1(int32_t x)
{
    return (ivec){ 0 } + x;
}

INLINE vec pick(ivec mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

/* All ones where x is NaN. */
INLINE ivec is_nan(vec x)
{
    return (ivec)(x != x); /* NOLINT(misc-redundant-expression): false for numbers */
}

INLINE vec v_negate(vec x)
{
    return (vec)((ivec)x ^ i_set1(INT32_MIN));
}

/* The first n < LANES of x, then `rest`. */
INLINE vec load_some(const float *x, size_t n, float rest)
{
    float full[LANES];
    for (size_t i = 0; i < LANES; i++)
        full[i] = i < n ? x[i] : rest;
    return v_load(full);
}

INLINE void store_some(float *x, vec v, size_t n)
{
    float full[LANES];
    v_store(full, v);
    memcpy(x, full, n * sizeof *x);
}

/* ------------------------------------------------------------------ page bounds */

/* Largest and smallest of `page` lanes of one channel, of which n > 0 hold keys; the others are
 * taken for copies of the first. */
INLINE void reduce_page(float *top, float *low, const float *keys, size_t page, size_t n)
{
    const vec first = v_set1(keys[0]), infinite = v_set1(INFINITY);
    ivec lane;
    for (int32_t i = 0; i < LANES; i++)
        lane[i] = i;
    vec tops = v_negate(infinite),
        lows = tops; /* of the keys, and of the keys with their sign turned */
    for (size_t j = 0; j < page; j += LANES) {
        const vec key = pick(lane < i_set1((int32_t)n - (int32_t)j), v_load(keys + j), first);
        tops = v_max(pick(is_nan(key), infinite, key), tops);
        lows = v_max(pick(is_nan(key), infinite, v_negate(key)), lows);
    }
    *top = v_max_lanes(tops);
    *low = -v_max_lanes(lows);
}

/* Bounds of one page in one channel as they are kept. */
INLINE void put_bounds(void *bounds, laci_dtype dtype, size_t c, size_t lane, float top, float low)
{
    if (dtype == LACI_F32) {
        ((float *)bounds)[2 * c * PANEL + lane] = top;
        ((float *)bounds)[(2 * c + 1) * PANEL + lane] = low;
    } else {
        ((uint32_t *)bounds)[c * PANEL + lane] =
            (laci_f32_to_bits(low) & 0xffff0000u) | laci_f32_to_bits(top) >> 16;
    }
}

static void page_bounds(void *bounds, size_t lane, const void *k, size_t n, size_t page,
                        laci_dtype dtype, size_t d)
{
    float wide[2 * PANEL]; /* two channels, from one row of words */
    for (size_t c = 0; c < d; c++) {
        const float *keys = (const float *)k + c * PANEL;
        if (dtype == LACI_BF16) {
            if (c % 2 == 0)
                widen_words(wide, wide + PANEL, (const uint32_t *)k + c / 2 * PANEL, PANEL);
            keys = wide + c % 2 * PANEL;
        }
        for (size_t p = 0; p < PANEL / page; p++) {
            const size_t first = p * page;
            float top = -LACI_NO_KEYS, low = LACI_NO_KEYS;
            if (first < n) reduce_page(&top, &low, keys + first, page, n - first);
            put_bounds(bounds, dtype, c, lane + p, top, low);
        }
    }
}

/* ------------------------------------------------------------------ page scores */

/* Channels [c, c + n) of P panels of bounds as f32 [n][2][P * 64]. */
INLINE void widen_bounds(float *wide, const void *bounds, laci_dtype dtype, size_t d, size_t c,
                         size_t n, const size_t P)
{
    for (size_t p = 0; p < P; p++) {
        const uint32_t *words = (const uint32_t *)bounds + p * d * PANEL;
        const float *floats = (const float *)bounds + 2 * p * d * PANEL;
        for (size_t i = 0; i < n; i++) {
            float *top = wide + 2 * i * P * PANEL + p * PANEL, *low = top + P * PANEL;
            if (dtype == LACI_F32) {
                memcpy(top, floats + 2 * (c + i) * PANEL, PANEL * sizeof *top);
                memcpy(low, floats + (2 * (c + i) + 1) * PANEL, PANEL * sizeof *low);
            } else {
                widen_words(top, low, words + (c + i) * PANEL, PANEL);
            }
        }
    }
}

/* The same of int8 panels, in units of their pages. */
INLINE void widen_bounds_i8(float *wide, const void *bounds, size_t d, size_t c, size_t n,
                            const size_t P)
{
    for (size_t p = 0; p < P; p++) {
        const int8_t *whole = (const int8_t *)bounds + p * laci_bounds_panel_bytes_i8(d) +
                              PANEL * sizeof(float) + 2 * c * PANEL;
        for (size_t i = 0; i < 2 * n; i++)
            for (size_t j = 0; j < PANEL; j++)
                wide[(i * P + p) * PANEL + j] = (float)whole[i * PANEL + j];
    }
}

/* scores[V vectors] of one row += its channels q[n] times the bounds on the side each points to.
 * Reading one side only, by the sign, halves the products; what is left is bound by loads, so the
 * vectors of a channel are many and its query is broadcast once. */
INLINE void score_row(float *scores, const float *q, const float *wide, size_t n, bool is_first,
                      const size_t V)
{
    vec s[SCORE_VECS];
    for (size_t j = 0; j < V; j++)
        s[j] = is_first ? v_zero() : v_load(scores + j * LANES);
    for (size_t c = 0; c < n; c++) {
        const float *side = wide + (2 * c + (laci_f32_to_bits(q[c]) >> 31)) * V * LANES;
        const vec one = v_set1(q[c]);
        for (size_t j = 0; j < V; j++)
            s[j] = v_fma(one, v_load(side + j * LANES), s[j]);
    }
    for (size_t j = 0; j < V; j++)
        v_store(scores + j * LANES, s[j]);
}

/* Scores of P panels from `panel` on; q f32 [n_rows, d]. */
INLINE void score_panels(const laci_page_scores *s, laci_dtype dtype, const float *q, float *wide,
                         size_t panel, const size_t P)
{
    const size_t d = s->d;
    const char *bounds = (const char *)s->bounds + panel * laci_bounds_panel_bytes(dtype, d);
    for (size_t c = 0; c < d; c += SCORE_CHANNELS) {
        const size_t n = d - c < SCORE_CHANNELS ? d - c : SCORE_CHANNELS;
        widen_bounds(wide, bounds, dtype, d, c, n, P);
        for (size_t row = 0; row < s->n_rows; row++)
            score_row(s->scores + row * s->stride + panel * PANEL, q + row * d + c, wide, n, c == 0,
                      P * PANEL_VECS);
    }
}

/* The same of int8 panels. */
INLINE void score_panels_i8(const laci_page_scores *s, float *wide, size_t panel, const size_t P)
{
    const size_t d = s->d, bytes = laci_bounds_panel_bytes_i8(d);
    const char *bounds = (const char *)s->bounds + panel * bytes;
    for (size_t c = 0; c < d; c += SCORE_CHANNELS) {
        const size_t n = d - c < SCORE_CHANNELS ? d - c : SCORE_CHANNELS;
        widen_bounds_i8(wide, bounds, d, c, n, P);
        for (size_t row = 0; row < s->n_rows; row++)
            score_row(s->scores + row * s->stride + panel * PANEL,
                      (const float *)s->q + row * d + c, wide, n, c == 0, P * PANEL_VECS);
    }
    for (size_t i = 0; i < s->n_rows * P; i++) {
        const size_t row = i / P, p = i % P;
        const float *units = (const float *)(const void *)(bounds + p * bytes);
        float *scores = s->scores + row * s->stride + (panel + p) * PANEL;
        for (size_t j = 0; j < PANEL; j += LANES)
            v_store(scores + j, v_mul(v_load(scores + j), v_load(units + j)));
    }
}

static void page_scores_i8(const laci_page_scores *s)
{
    _Alignas(64) float wide[SCORE_CHANNELS * SCORE_WIDTH];
    size_t panel = 0;
    for (; panel + SCORE_PANELS <= s->n_panels; panel += SCORE_PANELS)
        score_panels_i8(s, wide, panel, SCORE_PANELS);
    for (; panel < s->n_panels; panel++)
        score_panels_i8(s, wide, panel, 1);
}

INLINE void page_scores(const laci_page_scores *s, laci_dtype dtype)
{
    _Alignas(64) float wide[SCORE_CHANNELS * SCORE_WIDTH];
    const float *q = dtype == LACI_F32 ? s->q : s->scratch;
    size_t panel = 0;
    for (size_t i = 0; dtype == LACI_BF16 && i < s->n_rows * s->d; i++)
        ((float *)s->scratch)[i] = laci_bf16_to_f32(((const uint16_t *)s->q)[i]);
    for (; panel + SCORE_PANELS <= s->n_panels; panel += SCORE_PANELS)
        score_panels(s, dtype, q, wide, panel, SCORE_PANELS);
    for (; panel < s->n_panels; panel++)
        score_panels(s, dtype, q, wide, panel, 1);
}

static void page_scores_f32(const laci_page_scores *s)
{
    page_scores(s, LACI_F32);
}

static void page_scores_bf16(const laci_page_scores *s)
{
    page_scores(s, LACI_BF16);
}

/* ------------------------------------------------------------------ pooling */

INLINE vec max_of(vec out, vec x)
{
    const vec infinite = v_set1(INFINITY);
    return v_max(pick(is_nan(x), infinite, x), pick(is_nan(out), infinite, out));
}

static void pool_max(float *out, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(out + i, max_of(v_load(out + i), v_load(x + i)));
    if (i < n)
        store_some(out + i, max_of(load_some(out + i, n - i, 0), load_some(x + i, n - i, 0)),
                   n - i);
}

/* Where x is NaN or +infinity: what counts as infinite and stays out of a softmax. */
INLINE ivec is_hot(vec x)
{
    return ~(ivec)(x < v_set1(INFINITY));
}

/* 2^(factor * (x - top)), 0 where x is hot. */
INLINE vec soften(vec x, vec top, vec factor)
{
    const vec cool = pick(is_hot(x), v_set1(-INFINITY), x);
    return exp2_negative(v_mul(v_sub(cool, top), factor), true);
}

/* out + share * e, +infinity where x is hot. */
INLINE vec add_share(vec out, vec x, vec e, vec share)
{
    return pick(is_hot(x), v_set1(INFINITY), v_fma(e, share, out));
}

static void pool_softmax(float *out, float *x, float scale, size_t n)
{
    const vec factor = v_set1(scale * 1.44269504f), cold = v_set1(-INFINITY);
    const size_t tail = n / LANES * LANES;
    const vec last = load_some(x + tail, n - tail, -INFINITY);
    vec tops = pick(is_hot(last), cold, last), total = v_zero();
    for (size_t i = 0; i < tail; i += LANES) {
        const vec now = v_load(x + i);
        tops = v_max(pick(is_hot(now), cold, now), tops);
    }
    const float most = v_max_lanes(tops);
    const vec top = v_set1(most == -INFINITY ? 0 : most);
    for (size_t i = 0; i < tail; i += LANES)
        total = v_add(total, soften(v_load(x + i), top, factor));
    total = v_add(total, soften(last, top, factor));
    const float sum = v_add_lanes(total);
    const vec share = v_set1(sum > 0 ? 1 / sum : 0);
    for (size_t i = 0; i < tail; i += LANES) {
        const vec now = v_load(x + i);
        v_store(out + i, add_share(v_load(out + i), now, soften(now, top, factor), share));
    }
    const vec rest = load_some(out + tail, n - tail, 0);
    store_some(out + tail, add_share(rest, last, soften(last, top, factor), share), n - tail);
}

/* ------------------------------------------------------------------ the k largest */

/* Orders as the numbers do, as an integer: NaN like +infinity, -0 like 0. */
INLINE ivec rank_of(vec x)
{
    const ivec bits = (ivec)pick(is_nan(x), v_set1(INFINITY), v_add(x, v_zero()));
    return bits ^ ((bits >> 31) & i_set1(INT32_MAX));
}

INLINE size_t count_above(const int32_t *ranks, size_t n, int32_t least)
{
    ivec count = i_set1(0);
    size_t total = 0;
    for (size_t i = 0; i < n; i += LANES) {
        ivec rank;
        memcpy(&rank, ranks + i, sizeof rank);
        count -= rank >= least; /* true is -1 */
    }
    for (size_t i = 0; i < LANES; i++)
        total += (size_t)count[i];
    return total;
}

/* Writes the ids of the ranks above `least` and of the first `ties` equal to it: k in all. Without
 * branches: which way an element goes cannot be foreseen. */
static void collect(uint32_t *ids, const int32_t *ranks, size_t k, int32_t least, size_t ties)
{
    size_t n_ids = 0, i = 0;
    for (; ties > 0; i++) {
        const size_t is_tie = ranks[i] == least;
        ids[n_ids] = (uint32_t)i;
        n_ids += is_tie | (size_t)(ranks[i] > least);
        ties -= is_tie;
    }
    for (; n_ids < k; i++) {
        ids[n_ids] = (uint32_t)i;
        n_ids += ranks[i] > least;
    }
}

/* Halves the interval of ranks in which the k-th largest lies, counting on the way: vectors count
 * so fast that no smarter way was faster. */
static size_t top_k(uint32_t *ids, const float *x, size_t n, size_t k, int32_t *scratch)
{
    const size_t n_whole = (n + LANES - 1) / LANES * LANES;
    int64_t least = INT32_MIN, most = INT32_MAX;
    size_t ties = k = k < n ? k : n;
    for (size_t i = 0; i < n; i += LANES) {
        const vec now = i + LANES <= n ? v_load(x + i) : load_some(x + i, n - i, 0);
        const ivec rank = rank_of(now);
        memcpy(scratch + i, &rank, sizeof rank);
    }
    for (size_t i = n; i < n_whole; i++)
        scratch[i] = INT32_MIN; /* no number has this rank */
    while (least < most) {
        const int64_t middle = least + (most - least + 1) / 2;
        const size_t n_above = count_above(scratch, n_whole, (int32_t)middle);
        if (n_above >= k)
            least = middle;
        else
            most = middle - 1, ties = k - n_above;
        if (n_above == k) { /* these and no others */
            least = middle - 1, ties = 0;
            break;
        }
    }
    collect(ids, scratch, k, (int32_t)least, ties);
    return k;
}

static void fill_select(laci_kernels *table)
{
    table->page_bounds = page_bounds;
    table->page_scores_f32 = page_scores_f32;
    table->page_scores_bf16 = page_scores_bf16;
    table->page_scores_i8 = page_scores_i8;
    table->pool_max = pool_max;
    table->pool_softmax = pool_softmax;
    table->top_k = top_k;
}
