/* cpu_linear_plain.c: matrix products in plain C, for builds without oneDNN: correct, not fast.
 * Weights are kept transposed in f32, [n_in, n_out], whatever the activation type. */
#include "backend/cpu/cpu_linear.h"
#include "base/error.h"
#include "kernels/kernels.h"

enum { SLAB = 256 };

typedef struct {
    laci_linear base;
    laci_dtype act;
    laci_kernels kernels;
    float *weights; /* [n_in, n_out] */
} plain_linear;

static bool rows_stand_alone(void)
{
    return true;
}

static size_t runtime_bytes(void)
{
    return 0;
}

static size_t matrix_bytes(laci_dtype act, size_t n_out, size_t n_in)
{
    (void)act;
    return n_out * n_in * sizeof(float);
}

static void free_linear(laci_linear *matrix, const lac_allocator *mem)
{
    if (!matrix) return;
    laci_release_aligned(mem, ((plain_linear *)matrix)->weights);
    laci_release(mem, matrix);
}

static lac_status make(laci_linear **out, const laci_linear_maker *maker, size_t n_out, size_t n_in,
                       laci_row_source source, lac_error *err)
{
    const lac_allocator *mem = &maker->mem;
    size_t n_elements;
    plain_linear *linear = laci_alloc_zero(mem, sizeof *linear);
    float *row = laci_alloc_array(mem, n_in, sizeof *row);
    if (!linear || !row || !laci_mul_size(n_out, n_in, &n_elements)) goto fail;
    linear->base = (laci_linear){ .kind = &laci_linear_plain,
                                  .n_out = n_out,
                                  .n_in = n_in,
                                  .n_slabs = (n_out + SLAB - 1) / SLAB,
                                  .row_bytes = n_in * laci_act_bytes(maker->act) };
    linear->act = maker->act;
    linear->kernels = laci_kernels_ref();
    linear->weights = laci_alloc_aligned(mem, n_elements * sizeof(float));
    if (!linear->weights) goto fail;
    for (size_t o = 0; o < n_out; o++) {
        source.read(source.user, o, 1, row);
        for (size_t i = 0; i < n_in; i++) {
            float w = row[i];
            if (maker->act == LACI_BF16) w = laci_bf16_to_f32(laci_f32_to_bf16(w));
            linear->weights[i * n_out + o] = w;
        }
    }
    laci_release(mem, row);
    *out = &linear->base;
    return LAC_OK;
fail:
    laci_release(mem, row);
    free_linear(&linear->base, mem);
    return laci_fail_memory(err, "a weight matrix", n_out * n_in * sizeof(float));
}

static bool multiply_slab(const laci_linear *matrix, const void *x, size_t n, size_t slab, float *y,
                          void *memory)
{
    enum { CHUNK = 512 };
    (void)memory;
    const plain_linear *linear = (const plain_linear *)matrix;
    const size_t n_out = matrix->n_out, n_in = matrix->n_in, first = slab * SLAB;
    const size_t n_cols = n_out - first < SLAB ? n_out - first : SLAB;
    if (linear->act == LACI_F32) {
        linear->kernels.matmul(y + first, n_out, x, linear->weights + first, n_out, n, n_cols,
                               n_in);
        return true;
    }
    float part[SLAB], row[CHUNK];
    for (size_t r = 0; r < n; r++) { /* bf16 rows are widened piece by piece */
        float *out = y + r * n_out + first;
        memset(out, 0, n_cols * sizeof *out);
        for (size_t i = 0; i < n_in; i += CHUNK) {
            const size_t n_part = n_in - i < CHUNK ? n_in - i : CHUNK;
            const uint16_t *half = (const uint16_t *)x + r * n_in + i;
            linear->kernels.from_bf16(row, half, n_part);
            linear->kernels.matmul(part, SLAB, row, linear->weights + i * n_out + first, n_out, 1,
                                   n_cols, n_part);
            linear->kernels.add(out, part, n_cols);
        }
    }
    return true;
}

const laci_linear_kind laci_linear_plain = { .name = "plain C",
                                             .rows_stand_alone = rows_stand_alone,
                                             .runtime_bytes = runtime_bytes,
                                             .bytes = matrix_bytes,
                                             .make = make,
                                             .free = free_linear,
                                             .slab = multiply_slab };
