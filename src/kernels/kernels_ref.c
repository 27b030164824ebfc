/* kernels_ref.c: the definition of every kernel in plain C: simplest loops, no intrinsics, sums in
 * double where the bound needs it. Every faster variant is tested against this file. */
#include <math.h>

#include "kernels/kernels.h"

static void rms_norm(float *out, const float *x, const float *weight, float eps, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    const float scale = (float)(1.0 / sqrt(squares / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * scale * (weight ? weight[i] : 1.0f);
}

static void rope(float *x, const float *cosines, const float *sines, size_t n_pairs, bool adjacent)
{
    for (size_t i = 0; i < n_pairs; i++) {
        float *a = adjacent ? x + 2 * i : x + i;
        float *b = adjacent ? a + 1 : a + n_pairs;
        const float first = *a * cosines[i] - *b * sines[i];
        *b = *b * cosines[i] + *a * sines[i];
        *a = first;
    }
}

static void swiglu(float *out, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

/* Written so that NaN passes through. */
static void relu2(float *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float kept = x[i] < 0 ? 0 : x[i];
        out[i] = kept * kept;
    }
}

static void add(float *sum, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += x[i];
}

static void scale(float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

static void to_bf16(uint16_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = laci_f32_to_bf16(x[i]);
}

static void from_bf16(float *out, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = laci_bf16_to_f32(x[i]);
}

/* Columns innermost: the compiler may use vectors without reordering any sum. */
static void matmul(float *y, size_t y_stride, const float *x, const float *w, size_t w_stride,
                   size_t n_rows, size_t n_out, size_t n_in)
{
    for (size_t row = 0; row < n_rows; row++) {
        float *restrict out = y + row * y_stride;
        memset(out, 0, n_out * sizeof *out);
        for (size_t k = 0; k < n_in; k++) {
            const float factor = x[row * n_in + k];
            const float *restrict weights = w + k * w_stride;
            for (size_t col = 0; col < n_out; col++)
                out[col] += factor * weights[col];
        }
    }
}

/* ------------------------------------------------------------------ attention: packing */

static void pack_k_f32(void *panel, const float *x, size_t stride, size_t lane, size_t n, size_t d)
{
    float *to = panel;
    for (size_t j = 0; j < n; j++)
        for (size_t c = 0; c < d; c++)
            to[c * LACI_PANEL + lane + j] = x[j * stride + c];
}

static void pack_v_f32(void *panel, const float *x, size_t stride, size_t lane, size_t n, size_t d)
{
    const size_t d16 = laci_d16(d);
    float *to = (float *)panel + lane * d16;
    for (size_t j = 0; j < n; j++)
        for (size_t c = 0; c < d16; c++)
            to[j * d16 + c] = c < d ? x[j * stride + c] : 0;
}

/* Index of channel c of key j among the halves of a K panel, and of a V panel. */
static size_t k_half(size_t c, size_t j)
{
    return (c / 2 * LACI_PANEL + j) * 2 + c % 2;
}

static size_t v_half(size_t c, size_t j, size_t d16)
{
    return ((j / 32 * 16 + j % 16) * d16 + c) * 2 + j / 16 % 2;
}

static void pack_k_bf16(void *panel, const float *x, size_t stride, size_t lane, size_t n, size_t d)
{
    uint16_t *to = panel;
    for (size_t j = 0; j < n; j++)
        for (size_t c = 0; c < d; c++)
            to[k_half(c, lane + j)] = laci_f32_to_bf16(x[j * stride + c]);
}

static void pack_v_bf16(void *panel, const float *x, size_t stride, size_t lane, size_t n, size_t d)
{
    const size_t d16 = laci_d16(d);
    uint16_t *to = panel;
    for (size_t j = 0; j < n; j++)
        for (size_t c = 0; c < d16; c++)
            to[v_half(c, lane + j, d16)] = c < d ? laci_f32_to_bf16(x[j * stride + c]) : 0;
}

/* The panels of a head that hold a key, as words: of K rows of 64 keys, of V rows of d16 channels.
 */
typedef struct {
    const uint32_t *k, *v;
} words_of_key;

static words_of_key find_panels(const laci_gather *to, size_t key)
{
    const size_t at = key / LACI_PANEL;
    const char *k = to->k_from, *v = to->v_from;
    return (words_of_key){
        (const uint32_t *)(const void *)(k + at * laci_k_panel_bytes(to->dtype, to->d)),
        (const uint32_t *)(const void *)(v + at * laci_v_panel_bytes(to->dtype, to->d))
    };
}

/* Copies one half of each of n words: the high one if the number of 16 keys is odd (see v_half). */
static void copy_halves(uint32_t *to, size_t group, const uint32_t *from, size_t from_group,
                        size_t n)
{
    const unsigned up = group % 2 * 16, down = from_group % 2 * 16;
    const uint32_t others = up ? 0xffffu : 0xffff0000u;
    for (size_t i = 0; i < n; i++)
        to[i] = (to[i] & others) | (from[i] >> down & 0xffffu) << up;
}

/* n neighbouring keys, all of one group of 16, to lanes from `lane` on, also of one group. */
static void gather_neighbours(const laci_gather *to, size_t lane, size_t key, size_t n)
{
    const size_t d = to->d, d16 = laci_d16(d), j = key % LACI_PANEL;
    const bool is_f32 = to->dtype == LACI_F32;
    const words_of_key from = find_panels(to, key);
    uint32_t *k = to->k, *v = to->v;
    for (size_t row = 0; row < (is_f32 ? d : d / 2); row++)
        memcpy(k + row * LACI_PANEL + lane, from.k + row * LACI_PANEL + j, n * sizeof *k);
    if (is_f32)
        memcpy(v + lane * d16, from.v + j * d16, n * d16 * sizeof *v);
    else
        copy_halves(v + (lane / 32 * 16 + lane % 16) * d16, lane / 16,
                    from.v + (j / 32 * 16 + j % 16) * d16, j / 16, n * d16);
}

static void gather_group(const laci_gather *to, size_t group, size_t from)
{
    gather_neighbours(to, group * 16, from * 16, 16);
}

static void gather_keys(const laci_gather *to, const uint32_t *keys, size_t n)
{
    for (size_t j = 0; j < n; j++)
        gather_neighbours(to, j, keys[j], 1);
}

/* ------------------------------------------------------------------ attention: the recurrence */

/* A panel as f32: K [d][64], V [64][d16]. */
static void unpack_panel(float *k, float *v, const laci_panel *panel, laci_dtype dtype, size_t d)
{
    const size_t d16 = laci_d16(d);
    if (dtype == LACI_F32) {
        memcpy(k, panel->k, laci_k_panel_bytes(dtype, d));
        memcpy(v, panel->v, laci_v_panel_bytes(dtype, d));
        return;
    }
    for (size_t j = 0; j < LACI_PANEL; j++) {
        for (size_t c = 0; c < d; c++)
            k[c * LACI_PANEL + j] = laci_bf16_to_f32(((const uint16_t *)panel->k)[k_half(c, j)]);
        for (size_t c = 0; c < d16; c++)
            v[j * d16 + c] = laci_bf16_to_f32(((const uint16_t *)panel->v)[v_half(c, j, d16)]);
    }
}

static float query(const laci_tile *tile, laci_dtype dtype, size_t row, size_t c)
{
    const size_t i = row * tile->d + c;
    return dtype == LACI_F32 ? ((const float *)tile->q)[i]
                             : laci_bf16_to_f32(((const uint16_t *)tile->q)[i]);
}

/* Whether a row reads lane j of a panel. */
static bool reads(const laci_tile *tile, size_t row, const laci_panel *panel, size_t j)
{
    const uint32_t at = panel->positions ? panel->positions[j] : panel->first + (uint32_t)j;
    return (panel->lanes >> j & 1) && (!tile->limits || at < tile->limits[row]);
}

/* Scores of one row against a panel, in powers of two; -INFINITY where the row may not read. */
static void score_row(float scores[LACI_PANEL], const laci_tile *tile, laci_dtype dtype, size_t row,
                      const laci_panel *panel, const float *k)
{
    memset(scores, 0, LACI_PANEL * sizeof *scores);
    for (size_t c = 0; c < tile->d; c++) {
        const float q = query(tile, dtype, row, c);
        for (size_t j = 0; j < LACI_PANEL; j++)
            scores[j] += q * k[c * LACI_PANEL + j];
    }
    for (size_t j = 0; j < LACI_PANEL; j++)
        scores[j] = reads(tile, row, panel, j) ? scores[j] * tile->scale : -INFINITY;
}

/* Sums of p, and of its square, over every `step` lanes. */
static void keep_sums(laci_tile *tile, size_t row, const float *p)
{
    const size_t n = LACI_PANEL / tile->step, at = tile->panel_at;
    tile->sums_max[at * LACI_TILE_ROWS + row] = tile->max[row];
    for (size_t i = 0; i < n; i++) {
        double sum = 0, squares = 0;
        for (size_t j = i * tile->step; j < (i + 1) * tile->step; j++) {
            sum += (double)p[j];
            squares += (double)p[j] * (double)p[j];
        }
        tile->sums[(at * n + i) * LACI_TILE_ROWS + row] = (float)sum;
        if (tile->squares) tile->squares[(at * n + i) * LACI_TILE_ROWS + row] = (float)squares;
    }
}

/* One row against a panel: scores, new maximum, rescaled sums. */
static void attend_row(laci_tile *tile, laci_dtype dtype, size_t row, const laci_panel *panel,
                       const float *k, const float *v)
{
    const size_t d16 = laci_d16(tile->d);
    float *acc = tile->acc + row * d16;
    float p[LACI_PANEL];
    float top = tile->max[row];
    score_row(p, tile, dtype, row, panel, k);
    for (size_t j = 0; j < LACI_PANEL; j++)
        top = p[j] > top ? p[j] : top;
    /* Measured from 0 while no score is above -inf: the row stays empty, a NaN still shows. */
    const float base = top == -INFINITY ? 0 : top;
    const float shrink = tile->max[row] == -INFINITY ? 0.0f : exp2f(tile->max[row] - base);
    double sum = 0;
    for (size_t c = 0; c < d16; c++)
        acc[c] *= shrink;
    for (size_t j = 0; j < LACI_PANEL; j++) {
        p[j] = reads(tile, row, panel, j) ? exp2f(p[j] - base) : 0;
        sum += (double)p[j];
        for (size_t c = 0; c < d16; c++)
            acc[c] += p[j] * v[j * d16 + c];
    }
    tile->sum[row] = tile->sum[row] * shrink + (float)sum;
    tile->max[row] = top;
    if (tile->sums) keep_sums(tile, row, p);
}

static void attend(laci_tile *tile, laci_dtype dtype, const laci_panel *panels, size_t n)
{
    float *k = tile->scratch;
    float *v = k + LACI_PANEL * tile->d;
    for (size_t i = 0; i < n; i++) {
        unpack_panel(k, v, &panels[i], dtype, tile->d);
        for (size_t row = 0; row < tile->n_rows; row++)
            attend_row(tile, dtype, row, &panels[i], k, v);
        tile->panel_at++;
    }
}

static void attend_f32(laci_tile *tile, const laci_panel *panels, size_t n)
{
    attend(tile, LACI_F32, panels, n);
}

static void attend_bf16(laci_tile *tile, const laci_panel *panels, size_t n)
{
    attend(tile, LACI_BF16, panels, n);
}

/* ------------------------------------------------------------------ attention: statistics, merging
 */

static void column_mass(const laci_tile *tile, laci_dtype dtype, const laci_panel *panels, size_t n,
                        const float *lse, float *sums)
{
    float *k = tile->scratch;
    float *v = k + LACI_PANEL * tile->d;
    float scores[LACI_PANEL];
    for (size_t i = 0; i < n; i++) {
        unpack_panel(k, v, &panels[i], dtype, tile->d);
        for (size_t row = 0; row < tile->n_rows; row++) {
            if (lse[row] == -INFINITY) continue;
            score_row(scores, tile, dtype, row, &panels[i], k);
            for (size_t j = 0; j < LACI_PANEL; j++)
                if (reads(tile, row, &panels[i], j))
                    sums[i * LACI_PANEL + j] += exp2f(scores[j] - lse[row]);
        }
    }
}

static void column_mass_f32(const laci_tile *tile, const laci_panel *panels, size_t n,
                            const float *lse, float *sums)
{
    column_mass(tile, LACI_F32, panels, n, lse, sums);
}

static void column_mass_bf16(const laci_tile *tile, const laci_panel *panels, size_t n,
                             const float *lse, float *sums)
{
    column_mass(tile, LACI_BF16, panels, n, lse, sums);
}

/* Sum of a row's weights in key block `b`, measured from the end of the row. */
static double block_weight(const laci_mass *mass, size_t row, size_t b)
{
    const size_t per_panel = LACI_PANEL / mass->step, per_block = mass->block / mass->step;
    double weight = 0;
    for (size_t i = b * per_block; i < (b + 1) * per_block && i < mass->n_panels * per_panel; i++) {
        const float max = mass->sums_max[i / per_panel * LACI_TILE_ROWS + row];
        const double below = (double)(max - mass->max[row]);
        if (max == -INFINITY) continue;
        weight +=
            (double)mass->sums[i * LACI_TILE_ROWS + row] * exp2(mass->squared ? 2 * below : below);
    }
    return weight;
}

static double weight_from(const laci_mass *mass, size_t row, size_t from)
{
    double total = 0;
    for (size_t b = from; b < mass->n_blocks; b++)
        total += block_weight(mass, row, b);
    return total;
}

static void mass_rows(float *out, const laci_mass *mass, size_t row, size_t n, size_t from)
{
    memset(out, 0, mass->n_blocks * sizeof *out);
    for (size_t i = row; i < row + n; i++) {
        const double total = weight_from(mass, i, from);
        for (size_t b = from; b < mass->n_blocks && total != 0; b++)
            out[b] += (float)(block_weight(mass, i, b) / total);
    }
}

static void mass_each(float *out, size_t stride, const laci_mass *mass, size_t row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < mass->n_blocks; b++)
            out[b * stride + i] = (float)block_weight(mass, row + i, b);
}

static void mass_in(float *out, const laci_mass *mass, size_t row, size_t n, const uint32_t *blocks,
                    size_t n_listed)
{
    for (size_t i = 0; i < n; i++) {
        const double total = weight_from(mass, row + i, 0);
        double sum = 0;
        for (size_t b = 0; b < n_listed; b++)
            sum += block_weight(mass, row + i, blocks[b]);
        out[i] = total != 0 ? (float)(sum / total) : 0;
    }
}

static void merge(float *out, float *lse, const float *other, float other_lse, size_t d)
{
    if (other_lse == -INFINITY) return;
    const float top = *lse > other_lse ? *lse : other_lse;
    const float mine = expf(*lse - top), theirs = expf(other_lse - top), total = mine + theirs;
    for (size_t c = 0; c < d; c++)
        out[c] = (mine * out[c] + theirs * other[c]) / total;
    *lse = top + logf(total);
}

/* ------------------------------------------------------------------ selection */

static float key_channel(const void *k, laci_dtype dtype, size_t c, size_t j)
{
    return dtype == LACI_F32 ? ((const float *)k)[c * LACI_PANEL + j]
                             : laci_bf16_to_f32(((const uint16_t *)k)[k_half(c, j)]);
}

static void page_bounds(void *bounds, size_t lane, const void *k, size_t n, size_t page,
                        laci_dtype dtype, size_t d)
{
    for (size_t first = 0; first < LACI_PANEL; first += page, lane++) {
        for (size_t c = 0; c < d; c++) {
            float top = first < n ? -INFINITY : -LACI_NO_KEYS;
            float low = -top;
            for (size_t j = first; j < first + page && j < n; j++) {
                const float key = key_channel(k, dtype, c, j);
                if (key > top || key != key) top = key == key ? key : INFINITY;
                if (key < low || key != key) low = key == key ? key : -INFINITY;
            }
            if (dtype == LACI_F32) {
                ((float *)bounds)[2 * c * LACI_PANEL + lane] = top;
                ((float *)bounds)[(2 * c + 1) * LACI_PANEL + lane] = low;
            } else {
                ((uint32_t *)bounds)[c * LACI_PANEL + lane] =
                    (laci_f32_to_bits(low) & 0xffff0000u) | laci_f32_to_bits(top) >> 16;
            }
        }
    }
}

/* A bound of channel c in lane j of a panel. */
static float bound_in(const void *panel, laci_dtype dtype, size_t c, size_t j, size_t is_low)
{
    if (dtype == LACI_F32) return ((const float *)panel)[(2 * c + is_low) * LACI_PANEL + j];
    return laci_bf16_to_f32(((const uint16_t *)panel)[(c * LACI_PANEL + j) * 2 + is_low]);
}

/* The smallest whole number of units that is not below x. */
static int8_t units_above(double x, double unit)
{
    const double n = unit > 0 ? ceil(x / unit) : 0;
    return (int8_t)(n * unit < x ? n + 1 : n); /* the quotient was rounded, the product is not */
}

static void round_bounds(void *out, const void *bounds, size_t lane, size_t n, laci_dtype dtype,
                         size_t d)
{
    int8_t *const whole = (int8_t *)out + LACI_PANEL * sizeof(float);
    for (size_t j = lane; j < lane + n; j++) {
        float most = 0;
        for (size_t i = 0; i < 2 * d; i++)
            most = fmaxf(most, fabsf(bound_in(bounds, dtype, i / 2, j, i % 2)));
        float unit = most / 127;
        if (127 * (double)unit < (double)most) unit = nextafterf(unit, INFINITY);
        if (isinf(most)) unit = NAN; /* and whole numbers of 0 */
        for (size_t i = 0; i < 2 * d; i++) {
            const double x = (double)bound_in(bounds, dtype, i / 2, j, i % 2);
            const bool is_low = i % 2;
            const int8_t above = isinf(most) ? 0 : units_above(is_low ? -x : x, (double)unit);
            whole[i * LACI_PANEL + j] = (int8_t)(is_low ? -above : above);
        }
        ((float *)out)[j] = unit;
    }
}

/* Channel c of page j: the bound on the side that q points to. */
static float page_bound(const laci_page_scores *s, laci_dtype dtype, float q, size_t c, size_t j)
{
    const size_t bytes = laci_bounds_panel_bytes(dtype, s->d);
    return bound_in((const char *)s->bounds + j / LACI_PANEL * bytes, dtype, c, j % LACI_PANEL,
                    laci_f32_to_bits(q) >> 31);
}

static void page_scores(const laci_page_scores *s, laci_dtype dtype)
{
    for (size_t row = 0; row < s->n_rows; row++) {
        for (size_t j = 0; j < s->n_panels * LACI_PANEL; j++) {
            double sum = 0;
            for (size_t c = 0; c < s->d; c++) {
                const size_t at = row * s->d + c;
                const float q = dtype == LACI_F32 ? ((const float *)s->q)[at]
                                                  : laci_bf16_to_f32(((const uint16_t *)s->q)[at]);
                sum += (double)q * (double)page_bound(s, dtype, q, c, j);
            }
            s->scores[row * s->stride + j] = (float)sum;
        }
    }
}

static void page_scores_f32(const laci_page_scores *s)
{
    page_scores(s, LACI_F32);
}

static void page_scores_bf16(const laci_page_scores *s)
{
    page_scores(s, LACI_BF16);
}

static void page_scores_i8(const laci_page_scores *s)
{
    const size_t bytes = laci_bounds_panel_bytes_i8(s->d);
    for (size_t row = 0; row < s->n_rows; row++) {
        const float *q = (const float *)s->q + row * s->d;
        for (size_t j = 0; j < s->n_panels * LACI_PANEL; j++) {
            const char *panel = (const char *)s->bounds + j / LACI_PANEL * bytes;
            const float *unit = (const float *)(const void *)panel + j % LACI_PANEL;
            const int8_t *whole = (const int8_t *)panel + LACI_PANEL * sizeof *unit;
            double sum = 0;
            for (size_t c = 0; c < s->d; c++)
                sum +=
                    (double)q[c] *
                    whole[(2 * c + (laci_f32_to_bits(q[c]) >> 31)) * LACI_PANEL + j % LACI_PANEL];
            s->scores[row * s->stride + j] = (float)(sum * (double)*unit);
        }
    }
}

static void pool_max(float *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] > out[i]) out[i] = x[i];
        if (x[i] != x[i] || out[i] != out[i]) out[i] = INFINITY;
    }
}

static void pool_softmax(float *out, float *x, float scale, size_t n)
{
    double top = -INFINITY, total = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] < INFINITY && (double)x[i] > top) top = (double)x[i];
    for (size_t i = 0; i < n; i++)
        if (x[i] < INFINITY && x[i] > -INFINITY) total += exp((double)scale * ((double)x[i] - top));
    for (size_t i = 0; i < n; i++) {
        if (!(x[i] < INFINITY))
            out[i] = INFINITY;
        else if (x[i] > -INFINITY)
            out[i] += (float)(exp((double)scale * ((double)x[i] - top)) / total);
    }
}

/* Orders as the numbers do, as an integer: NaN like +infinity, -0 like 0. */
static int32_t rank_of(float x)
{
    const uint32_t bits = laci_f32_to_bits(x == x ? x + 0.0f : INFINITY);
    return (int32_t)(bits >> 31 ? bits ^ 0x7fffffffu : bits);
}

static size_t top_k(uint32_t *ids, const float *x, size_t n, size_t k, int32_t *scratch)
{
    int64_t least = INT32_MIN, most = INT32_MAX; /* between them: the largest rank that k reach */
    size_t n_ids = 0, ties = k;
    for (size_t i = 0; i < n; i++)
        scratch[i] = rank_of(x[i]);
    while (least < most) {
        const int64_t middle = least + (most - least + 1) / 2;
        size_t n_above = 0;
        for (size_t i = 0; i < n; i++)
            n_above += scratch[i] >= middle;
        if (n_above >= k)
            least = middle;
        else
            most = middle - 1, ties = k - n_above;
    }
    for (size_t i = 0; i < n && n_ids < k; i++) {
        const bool is_tie = scratch[i] == least;
        if (scratch[i] > least || (is_tie && ties > 0)) ids[n_ids++] = (uint32_t)i;
        ties -= is_tie && ties > 0;
    }
    return n_ids;
}

laci_kernels laci_kernels_ref(void)
{
    return (laci_kernels){
#define KERNEL(name, bound, result, arguments) .name = name,
#include "kernels/kernels.def"
#undef KERNEL
    };
}
