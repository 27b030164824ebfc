/* cpu_rows.c: how far rows moved, columns summed into pages, masses of parts. Few rows and few
 * sums: plain C. Every sum is in one fixed order. */
#include "backend/cpu_rows.h"

#include <math.h>

#include "backend/cpu_state.h"

enum { LANES = 8, PIECE = 1024, RUN = 1024 };

typedef struct {
    float change[LANES], size[LANES];
} sums;

/* Adds n channels; channel i goes to lane i mod LANES, which lets the compiler use vectors. */
static void add_channels(sums *s, const float *x, const float *ref, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        for (size_t lane = 0; lane < LANES && i + lane < n; lane++) {
            const float difference = x[i + lane] - ref[i + lane];
            s->change[lane] += difference * difference;
            s->size[lane] += ref[i + lane] * ref[i + lane];
        }
}

void laci_cpu_row_changes(laci_backend *be, const laci_buf *x, const laci_buf *ref, size_t n,
                          size_t d, double *change, double *size)
{
    const cpu_backend *cpu = cpu_of(be);
#pragma omp parallel for schedule(static) \
    num_threads(be->n_threads) if (n * d > (size_t)8 * PARALLEL_MIN)
    for (size_t row = 0; row < n; row++) {
        float a[PIECE], b[PIECE];
        change[row] = size[row] = 0;
        for (size_t at = 0; at < d; at += PIECE) {
            const size_t part = d - at < PIECE ? d - at : PIECE;
            sums s = { { 0 }, { 0 } };
            get_act(cpu, a, act_row(be, x, row * d + at, 1), part);
            get_act(cpu, b, act_row(be, ref, row * d + at, 1), part);
            add_channels(&s, a, b, part);
            for (size_t lane = 0; lane < LANES; lane++) {
                change[row] += (double)s.change[lane];
                size[row] += (double)s.size[lane];
            }
        }
    }
}

void laci_cpu_pool_columns(laci_backend *be, const laci_buf *x, size_t n_rows, size_t stride,
                           size_t n, size_t page, laci_buf *out, size_t out_stride)
{
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n_rows * n > PARALLEL_MIN)
    for (size_t row = 0; row < n_rows; row++) {
        const float *from = floats(x, row * stride);
        float *to = floats(out, row * out_stride);
        for (size_t first = 0, at = 0; first < n; first += page, at++) {
            const size_t end = first + page < n ? first + page : n;
            float sum = 0;
            for (size_t i = first; i < end; i++)
                sum += from[i];
            to[at] = sum;
        }
    }
}

/* Blocks [begin, end) of one head, into out[end - begin]. */
static void pool_run(const laci_part_masses *part, size_t head, size_t begin, size_t end,
                     float *out)
{
    for (size_t i = 0; i < end - begin; i++)
        out[i] = 0;
    for (size_t q = 0; q < part->n_q; q++) {
        const size_t row = head * part->n_q + q;
        const float *mass = floats(part->mass, row * part->n_blocks + begin);
        const float lse = *floats(part->part_lse, row);
        if (lse == -INFINITY) continue;
        const float share = expf(lse - *floats(part->lse, row)) / (float)part->n_q;
        for (size_t i = 0; i < end - begin; i++)
            out[i] += share * mass[i];
    }
}

/* Runs of blocks whose sums stay near. */
void laci_cpu_pool_masses(laci_backend *be, const laci_part_masses *part, laci_buf *out,
                          size_t stride, size_t first)
{
    const size_t n = part->n_blocks, n_runs = (n + RUN - 1) / RUN;
#pragma omp parallel for schedule(static) \
    num_threads(be->n_threads) if (part->n_heads * part->n_q * n > PARALLEL_MIN)
    for (size_t i = 0; i < part->n_heads * n_runs; i++) {
        const size_t head = i / n_runs, begin = i % n_runs * RUN;
        pool_run(part, head, begin, begin + RUN < n ? begin + RUN : n,
                 floats(out, head * stride + first + begin));
    }
}
