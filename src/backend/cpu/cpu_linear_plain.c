/* cpu_linear_plain.c: matrix products in plain C for builds without oneDNN: correct, not fast.
 * Weights are kept transposed in f32, [n_in, n_out], whatever the activation type. */
#include "backend/cpu/cpu_linear.h"
#include "base/error.h"
#include "kernels/kernels.h"

enum { SLAB = 256 };

struct laci_linear {
    size_t n_out, n_in;
    laci_dtype act;
    laci_kernels kernels;
    float *weights; /* [n_in, n_out] */
};

void laci_cpu_shapes_free(laci_cpu_shapes *shapes, const lac_allocator *mem)
{
    (void)shapes, (void)mem; /* nothing is compiled here */
}

const char *laci_cpu_linear_name(void)
{
    return "plain C";
}

bool laci_cpu_linear_rows_stand_alone(void)
{
    return true;
}

size_t laci_cpu_linear_runtime_bytes(void)
{
    return 0;
}

size_t laci_cpu_linear_bytes(laci_dtype act, size_t n_out, size_t n_in)
{
    (void)act;
    return n_out * n_in * sizeof(float);
}

lac_status laci_cpu_linear_new(laci_linear **out, const laci_linear_maker *maker, size_t n_out,
                               size_t n_in, laci_row_source source, lac_error *err)
{
    const lac_allocator *mem = &maker->mem;
    const laci_dtype act = maker->act;
    size_t n_elements;
    laci_linear *linear = laci_alloc_zero(mem, sizeof *linear);
    float *row = laci_alloc_array(mem, n_in, sizeof *row);
    if (!linear || !row || !laci_mul_size(n_out, n_in, &n_elements)) goto fail;
    *linear = (laci_linear){ .n_out = n_out, .n_in = n_in, .act = act };
    linear->kernels = laci_kernels_ref();
    linear->weights = laci_alloc_aligned(mem, n_elements * sizeof(float));
    if (!linear->weights) goto fail;
    for (size_t o = 0; o < n_out; o++) {
        source.read(source.user, o, 1, row);
        for (size_t i = 0; i < n_in; i++) {
            float w = row[i];
            if (act == LACI_BF16) w = laci_bf16_to_f32(laci_f32_to_bf16(w));
            linear->weights[i * n_out + o] = w;
        }
    }
    laci_release(mem, row);
    *out = linear;
    return LAC_OK;
fail:
    laci_release(mem, row);
    laci_cpu_linear_free(linear, mem);
    return laci_fail_memory(err, "a weight matrix", n_out * n_in * sizeof(float));
}

void laci_cpu_linear_free(laci_linear *linear, const lac_allocator *mem)
{
    if (!linear) return;
    laci_release_aligned(mem, linear->weights);
    laci_release(mem, linear);
}

size_t laci_cpu_linear_n_out(const laci_linear *linear)
{
    return linear->n_out;
}

size_t laci_cpu_linear_n_in(const laci_linear *linear)
{
    return linear->n_in;
}

size_t laci_cpu_linear_n_slabs(const laci_linear *linear)
{
    return (linear->n_out + SLAB - 1) / SLAB;
}

laci_scratch_size laci_cpu_linear_scratch(const laci_cpu_shapes *shapes, size_t n_rows)
{
    (void)shapes;
    (void)n_rows;
    return (laci_scratch_size){ 0 };
}

bool laci_cpu_linear_packs(const laci_linear *linear)
{
    (void)linear;
    return false;
}

void laci_cpu_linear_pack(const laci_linear *linear, const void *x, size_t n, void *out)
{
    (void)linear;
    (void)x;
    (void)n;
    (void)out;
}

size_t laci_cpu_linear_row_bytes(const laci_linear *linear)
{
    return linear->n_in * laci_act_bytes(linear->act);
}

bool laci_cpu_linear_slab(const laci_linear *linear, const void *x, size_t n, size_t slab, float *y,
                          void *scratch)
{
    enum { CHUNK = 512 };
    (void)scratch;
    const size_t first = slab * SLAB;
    const size_t n_cols = linear->n_out - first < SLAB ? linear->n_out - first : SLAB;
    if (linear->act == LACI_F32) {
        linear->kernels.matmul(y + first, linear->n_out, x, linear->weights + first, linear->n_out,
                               n, n_cols, linear->n_in);
        return true;
    }
    float part[SLAB], row[CHUNK];
    for (size_t r = 0; r < n; r++) { /* bf16 rows are widened piece by piece */
        float *out = y + r * linear->n_out + first;
        memset(out, 0, n_cols * sizeof *out);
        for (size_t i = 0; i < linear->n_in; i += CHUNK) {
            const size_t n_part = linear->n_in - i < CHUNK ? linear->n_in - i : CHUNK;
            const uint16_t *half = (const uint16_t *)x + r * linear->n_in + i;
            linear->kernels.from_bf16(row, half, n_part);
            linear->kernels.matmul(part, SLAB, row, linear->weights + i * linear->n_out + first,
                                   linear->n_out, 1, n_cols, n_part);
            linear->kernels.add(out, part, n_cols);
        }
    }
    return true;
}
