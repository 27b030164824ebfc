/* cpu_rows.c: how far rows moved, columns summed into pages, masses of parts. Few rows and few
 * sums: plain C. Every sum is in one fixed order. */
#include <math.h>

#include "backend/cpu/cpu_state.h"

enum { LANES = 8, PIECE = 1024, QUERIES = 64 };

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

typedef struct {
    const cpu_backend *cpu;
    const laci_buf *x, *ref;
    size_t d;
    double *change, *size;
} changes_job;

static void change_rows(void *job, size_t begin, size_t end, int thread)
{
    const changes_job *j = job;
    const laci_backend *be = &j->cpu->base;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        float a[PIECE], b[PIECE];
        double change = 0, size = 0;
        for (size_t at = 0; at < j->d; at += PIECE) {
            const size_t part = j->d - at < PIECE ? j->d - at : PIECE;
            sums s = { { 0 }, { 0 } };
            get_act(j->cpu, a, act_row(be, j->x, row * j->d + at, 1), part);
            get_act(j->cpu, b, act_row(be, j->ref, row * j->d + at, 1), part);
            add_channels(&s, a, b, part);
            for (size_t lane = 0; lane < LANES; lane++) {
                change += (double)s.change[lane];
                size += (double)s.size[lane];
            }
        }
        j->change[row] = change;
        j->size[row] = size;
    }
}

void laci_cpu_row_changes(laci_backend *be, const laci_buf *x, const laci_buf *ref, size_t n,
                          size_t d, double *change, double *size)
{
    changes_job job = { cpu_of(be), x, ref, d, change, size };
    spread(be, n, 0, n * d / 8, change_rows, &job); /* a row takes little */
}

static void pool_rows(void *job, size_t begin, size_t end, int thread)
{
    const laci_column_pages *c = job;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        const float *from = floats(c->x, row * c->stride);
        float *to = floats(c->out, row * c->out_stride);
        for (size_t first = 0, at = 0; first < c->n; first += c->page, at++) {
            const size_t stop = first + c->page < c->n ? first + c->page : c->n;
            float sum = 0;
            for (size_t i = first; i < stop; i++)
                sum += from[i];
            to[at] = sum;
        }
    }
}

void laci_cpu_pool_columns(laci_backend *be, const laci_column_pages *columns)
{
    laci_column_pages job = *columns;
    spread(be, job.n_rows, 0, job.n_rows * job.n, pool_rows, &job);
}

/* Sum of w[n] * x[n] in LANES lanes; n is a multiple of LANES. */
static float dot_lanes(const float *w, const float *x, size_t n)
{
    float lane[LANES] = { 0 };
    for (size_t i = 0; i < n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] += w[i + j] * x[i + j];
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
           ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* Blocks [begin, end) of one head, all of one part: up to QUERIES queries at a time. */
static void pool_part(const laci_row_masses *rows, size_t head, size_t begin, size_t end,
                      float *out)
{
    const size_t n_q = rows->n_q, per_part = LACI_MASS_PART / rows->k_block;
    const size_t n_parts = (rows->n_blocks + per_part - 1) / per_part;
    const size_t group = rows->n_heads / rows->n_kv_heads, share = group * n_q;
    for (size_t i = begin; i < end; i++)
        out[i - begin] = 0;
    for (size_t first = 0; first < n_q; first += QUERIES) {
        const size_t n = n_q - first < QUERIES ? n_q - first : QUERIES, whole = n / LANES * LANES;
        const float *mass = floats(rows->mass, (head / group * rows->n_blocks + begin) * share +
                                                   head % group * n_q + first);
        float weights[QUERIES];
        for (size_t q = 0; q < n; q++) {
            const size_t row = head * n_q + first + q;
            const float base = *floats(rows->base, row * n_parts + begin / per_part);
            weights[q] = 0;
            if (base != -INFINITY) weights[q] = expf(base - *floats(rows->lse, row)) / (float)n_q;
        }
        for (size_t b = begin; b < end; b++, mass += share) {
            __builtin_prefetch(mass + 32 * share); /* too far apart to be foreseen */
            float sum = dot_lanes(weights, mass, whole);
            for (size_t q = whole; q < n; q++)
                sum += weights[q] * mass[q];
            out[b - begin] += sum;
        }
    }
}

typedef struct {
    const laci_row_masses *rows;
    laci_buf *out;
    size_t stride, first, n_parts;
} masses_job;

static void pool_parts(void *job, size_t begin, size_t end, int thread)
{
    const masses_job *j = job;
    const laci_row_masses *rows = j->rows;
    const size_t n = rows->n_blocks, per_part = LACI_MASS_PART / rows->k_block;
    const size_t group = rows->n_heads / rows->n_kv_heads;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        /* the heads of a KV head, whose rows lie side by side, one after another */
        const size_t head = i / group / j->n_parts * group + i % group;
        const size_t from = i / group % j->n_parts * per_part;
        pool_part(rows, head, from, from + per_part < n ? from + per_part : n,
                  floats(j->out, head * j->stride + j->first + from));
    }
}

void laci_cpu_pool_masses(laci_backend *be, const laci_row_masses *rows, laci_buf *out,
                          size_t stride, size_t first)
{
    const size_t n = rows->n_blocks, per_part = LACI_MASS_PART / rows->k_block;
    masses_job job = { rows, out, stride, first, (n + per_part - 1) / per_part };
    spread(be, rows->n_heads * job.n_parts, 0, rows->n_heads * rows->n_q * n, pool_parts, &job);
}
