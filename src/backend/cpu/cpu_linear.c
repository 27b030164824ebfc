/* cpu_linear.c: the kinds of matrix of this build, and a product of any kind: which thread computes
 * which tiles. The numbers are the kind's. */
#include "backend/cpu/cpu_linear.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>

#include "backend/cpu/cpu_state.h"

const laci_linear_kind *const laci_linear_kinds[LACI_LINEAR_KINDS] = {
#ifdef LACI_HAVE_ONEDNN
    &laci_linear_onednn,
#endif
    &laci_linear_plain,
};

lac_status laci_cpu_linear_new(laci_backend *be, size_t n_out, size_t n_in, laci_row_source source,
                               laci_linear **out, lac_error *err)
{
    cpu_backend *cpu = cpu_of(be);
    const laci_linear_maker maker = { &cpu->linear_common[0], cpu->team, be->act, be->mem };
    return laci_linear_kinds[0]->make(out, &maker, n_out, n_in, source, err);
}

void laci_cpu_linear_free(laci_backend *be, laci_linear *linear)
{
    linear->kind->free(linear, &be->mem);
}

size_t laci_cpu_linear_bytes(laci_backend *be, size_t n_out, size_t n_in)
{
    return laci_linear_kinds[0]->bytes(be->act, n_out, n_in);
}

laci_scratch_size laci_cpu_linear_scratch(const cpu_backend *cpu, size_t n_rows)
{
    laci_scratch_size most = { 0 };
    for (size_t i = 0; i < LACI_LINEAR_KINDS; i++) {
        if (!cpu->linear_common[i]) continue;
        const laci_scratch_size s =
            laci_linear_kinds[i]->scratch_need(cpu->linear_common[i], n_rows);
        if (s.per_thread > most.per_thread) most.per_thread = s.per_thread;
        if (s.shared > most.shared) most.shared = s.shared;
    }
    return most;
}

/* A product of rows: see multiply_group. */
typedef struct {
    const cpu_backend *cpu;
    const laci_linear *linear;
    const char *x;
    float *y;
    size_t n, part, n_parts;
    atomic_bool failed;
} product_job;

/* Inputs of tiles [begin, end). */
static void pack_span(void *job, size_t begin, size_t end, int thread)
{
    const product_job *j = job;
    const size_t row = j->linear->row_bytes;
    const size_t bytes = j->linear->n_in * act_size(&j->cpu->base);
    (void)thread;
    for (size_t i = begin * LACI_LINEAR_ROWS; i < j->n && i < end * LACI_LINEAR_ROWS;
         i += LACI_LINEAR_ROWS)
        j->linear->kind->pack(j->linear, j->x + i * bytes,
                              j->n - i < LACI_LINEAR_ROWS ? j->n - i : LACI_LINEAR_ROWS,
                              j->cpu->shared + i * row);
}

static void multiply_span(void *job, size_t begin, size_t end, int thread)
{
    product_job *j = job;
    const size_t row = j->linear->row_bytes;
    const char *x = j->linear->packs ? j->cpu->shared : j->x;
    for (size_t i = begin; i < end; i++) {
        const size_t first = i % j->n_parts * j->part;
        if (first >= j->n) continue; /* parts are whole tiles */
        if (!j->linear->kind->slab(j->linear, x + first * row,
                                   j->n - first < j->part ? j->n - first : j->part, i / j->n_parts,
                                   j->y + first * j->linear->n_out, scratch_of(j->cpu, thread)))
            atomic_store(&j->failed, true);
    }
}

/* Rows of one group: inputs are packed once for all slabs, then threads take slabs, or parts of
 * the group where there are few. */
static bool multiply_group(const cpu_backend *cpu, const laci_linear *linear, const char *x,
                           size_t n, float *y)
{
    const size_t n_slabs = linear->n_slabs;
    const size_t n_tiles = (n + LACI_LINEAR_ROWS - 1) / LACI_LINEAR_ROWS;
    const size_t wanted = (2 * (size_t)cpu->base.n_threads + n_slabs - 1) / n_slabs;
    const size_t n_parts = wanted < n_tiles ? wanted : n_tiles;
    const size_t part = (n_tiles + n_parts - 1) / n_parts * LACI_LINEAR_ROWS;
    product_job job = { cpu, linear, x, y, n, part, n_parts, false };
    assert(!linear->packs || n * linear->row_bytes <= cpu->shared_bytes);
    if (linear->packs) laci_team_run(cpu->team, n_tiles, 1, pack_span, &job);
    laci_team_run(cpu->team, n_slabs * n_parts, 1, multiply_span, &job);
    return !atomic_load(&job.failed);
}

void laci_cpu_linear(laci_backend *be, const laci_linear *linear, const laci_buf *x, size_t x_row,
                     size_t n, laci_buf *out)
{
    const size_t n_in = linear->n_in, n_out = linear->n_out;
    bool done = true;
    for (size_t row = 0; row < n; row += LACI_LINEAR_GROUP)
        done &= multiply_group(cpu_of(be), linear, act_row(be, x, x_row + row, n_in),
                               n - row < LACI_LINEAR_GROUP ? n - row : LACI_LINEAR_GROUP,
                               floats(out, row * n_out));
    /* The primitives were compiled and tried at load; should one fail now, the result must not pass
     * for an answer: NaN reaches every logit. */
    for (size_t i = 0; !done && i < n * n_out; i++)
        *floats(out, i) = NAN;
}
