/* cuda_jobs.c: see cuda_jobs.h. */
#include "backend/cuda/cuda_jobs.h"

#include "backend/cuda/cu_layout.h"
#include "backend/plan_rows.h"

size_t laci_cuda_lanes(const laci_plan *plan, size_t at, size_t end)
{
    const uint32_t first = plan->row_ptr[at];
    uint32_t low = first, high = plan->row_ptr[at + 1]; /* blocks that begin below `end` */
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if ((size_t)plan->cols[middle] * plan->k_block < end)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == first) return 0;
    const size_t last = (size_t)plan->cols[low - 1] * plan->k_block; /* the one that may be cut */
    const size_t of_last = end - last < plan->k_block ? end - last : plan->k_block;
    return (size_t)(low - 1 - first) * plan->k_block + of_last;
}

size_t laci_cuda_part(size_t n_lanes)
{
    return lanes_of_part((uint32_t)n_lanes);
}

/* ------------------------------------------------------------------ tiles */

/* Queries [begin, end) of heads [head, head + n_heads), all in plan row `row`. */
typedef struct {
    size_t batch, head, n_heads, row, begin, end;
} tile;

typedef struct {
    const laci_plan *plan;
    const laci_attention *a;
    laci_cu_jobs *out;
} maker;

static size_t keys_of(const laci_attention *a, size_t batch)
{
    const size_t n = a->n_keys ? a->n_keys[batch] : a->n_k;
    return n < a->n_k ? n : a->n_k;
}

/* Smallest and largest limit of the queries of a tile, at most n_keys. */
static void limits_of(const laci_attention *a, const tile *t, size_t n_keys, size_t *least,
                      size_t *most)
{
    *least = *most = n_keys;
    if (!a->limits) return;
    *most = 0;
    for (size_t i = t->begin; i < t->end; i++) {
        const size_t limit = a->limits[t->batch * a->n_q + i];
        if (limit < *least) *least = limit;
        if (limit > *most) *most = limit;
    }
    if (*most > n_keys) *most = n_keys;
}

static void add_job(const maker *m, const laci_cu_job *job)
{
    laci_cu_jobs *out = m->out;
    if (out->jobs) out->jobs[out->n_jobs] = *job;
    out->n_jobs++;
}

/* The jobs of one tile whose rows all read plan row `at`. The parts follow from the lanes of the
 * whole list; a limit only shortens what of them is read. */
static void add_tile(const maker *m, const tile *t, size_t at)
{
    laci_cu_jobs *out = m->out;
    const size_t n_keys = keys_of(m->a, t->batch);
    size_t least, most;
    limits_of(m->a, t, n_keys, &least, &most);
    const size_t n_lanes = laci_cuda_lanes(m->plan, at, n_keys);
    const size_t n_read = laci_cuda_lanes(m->plan, at, most);
    laci_cu_job job = { .batch = (uint32_t)t->batch,
                        .head = (uint32_t)t->head,
                        .n_heads = (uint32_t)t->n_heads,
                        .begin = (uint32_t)t->begin,
                        .n = (uint32_t)(t->end - t->begin),
                        .cols = m->plan->row_ptr[at],
                        .end = (uint32_t)n_read,
                        .full_end = (uint32_t)laci_cuda_lanes(m->plan, at, least),
                        .slot = -1 };
    if (job.n * job.n_heads > out->most_rows) out->most_rows = job.n * job.n_heads;
    const size_t part = laci_cuda_part(n_lanes);
    if (m->a->n_q > LACI_CU_FEW_QUERIES || n_read <= part) {
        add_job(m, &job);
        return;
    }
    const size_t n_parts = (n_read + part - 1) / part;
    if (out->parts)
        out->parts[out->n_parts] =
            (laci_cu_parts){ job.batch,        job.head, job.n_heads,
                             job.begin,        job.n,    (uint32_t)out->n_slots,
                             (uint32_t)n_parts };
    out->n_parts++;
    for (size_t i = 0; i < n_parts; i++) {
        job.first = (uint32_t)(i * part);
        job.end = (uint32_t)((i + 1) * part < n_read ? (i + 1) * part : n_read);
        job.slot = (int32_t)out->n_slots++;
        add_job(m, &job);
    }
}

/* ------------------------------------------------------------------ from rows to tiles */

/* `whole` names heads of a KV group; those in a run with the same keys share a tile. */
static void add_heads(const maker *m, const tile *whole)
{
    const size_t n_heads = m->a->n_heads, end = whole->head + whole->n_heads;
    tile t = *whole;
    for (; t.head < end; t.head += t.n_heads) {
        const size_t at = laci_plan_row_of(m->plan, n_heads, t.batch, t.head, t.row);
        t.n_heads = 1;
        while (t.head + t.n_heads < end &&
               laci_plan_same_keys(
                   m->plan, at,
                   laci_plan_row_of(m->plan, n_heads, t.batch, t.head + t.n_heads, t.row)))
            t.n_heads++;
        add_tile(m, &t, at);
    }
}

/* The longest plan row, counted in queries that are computed. */
static size_t longest_row(const laci_plan *plan, size_t n_q)
{
    size_t longest = 1;
    if (!plan->active) return plan->q_block < n_q ? plan->q_block : n_q;
    for (size_t row = 0; row < plan->n_rows; row++) {
        const size_t begin = laci_plan_first_query(plan, n_q, row * plan->q_block);
        const size_t n = laci_plan_first_query(plan, n_q, (row + 1) * plan->q_block) - begin;
        if (n > longest) longest = n;
    }
    return longest;
}

void laci_cuda_jobs(const laci_plan *plan, const laci_attention *a, size_t most_rows,
                    laci_cu_jobs *out)
{
    const maker m = { plan, a, out };
    const size_t longest = longest_row(plan, a->n_q);
    /* Statistics want the rows of a tile side by side among all: several heads only where each has
     * all its queries in it. */
    const bool is_run = !a->stats || (plan->n_heads == 1 && longest == a->n_q);
    const size_t heads = is_run ? laci_heads_per_tile(a, longest, most_rows) : 1;
    const size_t n_batch = a->n_batch ? a->n_batch : 1, rows = most_rows / heads;
    out->n_jobs = out->n_parts = out->n_slots = 0;
    out->most_rows = 0;
    for (size_t group = 0; group < n_batch * (a->n_heads / heads); group++) {
        for (size_t row = 0; row < plan->n_rows; row++) {
            tile t = { .batch = group / (a->n_heads / heads),
                       .head = group % (a->n_heads / heads) * heads,
                       .n_heads = heads,
                       .row = row };
            const size_t end = laci_plan_first_query(plan, a->n_q, (row + 1) * plan->q_block);
            t.begin = laci_plan_first_query(plan, a->n_q, row * plan->q_block);
            for (; t.begin < end; t.begin = t.end) {
                t.end = t.begin + rows < end ? t.begin + rows : end;
                add_heads(&m, &t);
            }
        }
    }
}

/* ------------------------------------------------------------------ chunks */

/* Row 0 of a job among all (sequence, head, query). */
static size_t row_of(const laci_attention *a, const laci_cu_job *job)
{
    return ((size_t)job->batch * a->n_heads + job->head) * a->n_q + job->begin;
}

static size_t end_of(const laci_attention *a, const laci_cu_job *job)
{
    return row_of(a, job) + (size_t)job->n * job->n_heads;
}

/* Whether a chunk may begin with job i: another tile than the one before, at a query block. */
static bool may_begin(const laci_attention *a, const laci_cu_job *jobs, size_t i)
{
    return i == 0 || (row_of(a, &jobs[i]) != row_of(a, &jobs[i - 1]) &&
                      jobs[i].begin % a->stats->q_block == 0);
}

/* Ends a chunk before job `end`: rows and items of its query blocks. */
static void end_chunk(const laci_attention *a, laci_cu_job *jobs, size_t end, laci_cu_chunk *chunk,
                      uint32_t *items)
{
    const size_t q_block = a->stats->q_block, n_q = a->n_q;
    chunk->end = end;
    chunk->item_end = chunk->item;
    chunk->row = row_of(a, &jobs[chunk->first]);
    chunk->n_rows = end_of(a, &jobs[end - 1]) - chunk->row;
    for (size_t i = chunk->first; i < end; i++)
        jobs[i].stats_row = (uint32_t)(row_of(a, &jobs[i]) - chunk->row);
    for (size_t row = chunk->row, n; row < chunk->row + chunk->n_rows; row += n) {
        const size_t left = n_q - row % n_q;
        uint32_t *item = items + 3 * chunk->item_end++;
        n = left < q_block ? left : q_block;
        item[0] = (uint32_t)row;
        item[1] = (uint32_t)n;
        item[2] = (uint32_t)(row - chunk->row);
    }
}

size_t laci_cuda_chunks(const laci_attention *a, laci_cu_job *jobs, size_t n_jobs, size_t most_rows,
                        laci_cu_chunk *chunks, uint32_t *items)
{
    size_t n_chunks = 0, cut = 0; /* cut: the last place where a chunk may begin */
    laci_cu_chunk chunk = { 0 };
    for (size_t i = 0; i < n_jobs; i++) {
        if (may_begin(a, jobs, i)) cut = i;
        const size_t n_rows = end_of(a, &jobs[i]) - row_of(a, &jobs[chunk.first]);
        if (n_rows <= most_rows || cut == chunk.first) continue;
        end_chunk(a, jobs, cut, &chunk, items);
        chunks[n_chunks++] = chunk;
        chunk = (laci_cu_chunk){ .first = cut, .item = chunk.item_end };
    }
    if (n_jobs == 0) return 0;
    end_chunk(a, jobs, n_jobs, &chunk, items);
    chunks[n_chunks++] = chunk;
    return n_chunks;
}
