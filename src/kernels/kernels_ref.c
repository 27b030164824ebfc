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

static float element(const void *base, laci_dtype dtype, size_t i)
{
    return dtype == LACI_F32 ? ((const float *)base)[i]
                             : laci_bf16_to_f32(((const uint16_t *)base)[i]);
}

/* Unpacks a panel of at most LACI_ATTEND_PANEL keys: K transposed to [d, panel], V as [panel, d].
 */
static void unpack_panel(float *k_panel, float *v_panel, const laci_keys *keys, size_t first,
                         size_t n, size_t d)
{
    for (size_t j = 0; j < n; j++) {
        const size_t at = (first + j) * keys->stride;
        for (size_t c = 0; c < d; c++) {
            k_panel[c * LACI_ATTEND_PANEL + j] = element(keys->k, keys->dtype, at + c);
            v_panel[j * d + c] = element(keys->v, keys->dtype, at + c);
        }
    }
}

/* One row against a panel: scores, new maximum, rescaled sums. */
static void attend_row(laci_attend_tile *tile, size_t row, const float *k_panel,
                       const float *v_panel, float *scores, size_t n)
{
    const size_t d = tile->d;
    const float *q = tile->q + row * d;
    float *acc = tile->acc + row * d;
    float top = tile->max[row];
    memset(scores, 0, n * sizeof *scores);
    for (size_t c = 0; c < d; c++)
        for (size_t j = 0; j < n; j++)
            scores[j] += q[c] * k_panel[c * LACI_ATTEND_PANEL + j];
    for (size_t j = 0; j < n; j++)
        top = scores[j] > top ? scores[j] : top;
    const float shrink = tile->max[row] == -INFINITY ? 0.0f : expf(tile->max[row] - top);
    double sum = 0;
    for (size_t c = 0; c < d; c++)
        acc[c] *= shrink;
    for (size_t j = 0; j < n; j++) {
        /* Every score is -inf: the row has seen no key yet and must stay empty. */
        const float p = top == -INFINITY && scores[j] == -INFINITY ? 0 : expf(scores[j] - top);
        sum += (double)p;
        for (size_t c = 0; c < d; c++)
            acc[c] += p * v_panel[j * d + c];
    }
    tile->sum[row] = tile->sum[row] * shrink + (float)sum;
    tile->max[row] = top;
}

static void attend_keys(laci_attend_tile *tile, const laci_keys *keys, size_t n_keys)
{
    float *k_panel = tile->scratch;
    float *v_panel = k_panel + LACI_ATTEND_PANEL * tile->d;
    float *scores = v_panel + LACI_ATTEND_PANEL * tile->d;
    for (size_t first = 0; first < n_keys; first += LACI_ATTEND_PANEL) {
        const size_t left = n_keys - first;
        const size_t n = left < LACI_ATTEND_PANEL ? left : LACI_ATTEND_PANEL;
        unpack_panel(k_panel, v_panel, keys, first, n, tile->d);
        for (size_t row = 0; row < tile->n_rows; row++)
            attend_row(tile, row, k_panel, v_panel, scores, n);
    }
}

laci_kernels laci_kernels_ref(void)
{
    return (laci_kernels){
#define KERNEL(name, bound, result, arguments) .name = name,
#include "kernels/kernels.def"
#undef KERNEL
    };
}
