/* cuda_attend.c: attention on the device: jobs from the plan (cuda_jobs.c), kernels by type and
 * head size, merging of parts, statistics chunk by chunk. */
#include <math.h>

#include "backend/cuda/cuda_jobs.h"
#include "backend/cuda/cuda_select.h"

/* One call: what is read from the caller's memory and what was made of it. */
typedef struct {
    cuda_backend *cuda;
    const laci_plan *plan;
    const laci_attention *a;
    size_t n_batch, words;
    laci_cu_jobs jobs;
    laci_cu_chunk *chunks; /* with statistics only */
    uint32_t *items;
    size_t n_chunks, n_items, most_chunk_rows;
    laci_cu_attend args;
    const laci_cu_parts *parts; /* on the device */
} attend_call;

static bool is_power_of_two(size_t n)
{
    return (n & (n - 1)) == 0;
}

uint32_t laci_cuda_shift(size_t k_block)
{
    uint32_t shift = 0;
    if (!is_power_of_two(k_block)) return LACI_CU_WHOLE;
    while (k_block >> shift > 1)
        shift++;
    return shift;
}

/* Whether the tensor-core kernel takes this call. */
static bool takes_mma(const cuda_backend *cuda, size_t d)
{
    return is_bf16(&cuda->base) && d <= LACI_CU_MMA_D &&
           cuda->api.mma_shared((uint32_t)d, LACI_CU_ROWS) <= cuda->info.shared_bytes;
}

/* Whether the kernel of compute capability 9.0 does: runs of keys are whole tiles of 64. */
static bool takes_wgmma(const cuda_backend *cuda, size_t d, size_t k_block, size_t n_k)
{
    return cuda->wgmma && is_bf16(&cuda->base) && d <= LACI_CU_MMA_D &&
           (k_block % LACI_CU_TILE == 0 || k_block >= n_k) &&
           cuda->api.wgmma_shared((uint32_t)d) <= cuda->info.shared_bytes;
}

size_t laci_cuda_tile_rows(const cuda_backend *cuda, size_t d, size_t k_block, size_t n_k)
{
    const bool is_half = d > 128 && takes_mma(cuda, d) && !takes_wgmma(cuda, d, k_block, n_k);
    return is_half ? LACI_CU_ROWS / 2 : LACI_CU_ROWS;
}

/* ------------------------------------------------------------------ jobs */

/* Keys of one sum of statistics. */
static size_t step_of(const laci_mass_stats *stats)
{
    return stats->k_block < LACI_CU_TILE ? stats->k_block : LACI_CU_TILE;
}

/* Sums of a row, those of a tile that keys do not fill included. */
static size_t steps_of(const laci_attention *a)
{
    return (a->n_k + LACI_CU_TILE - 1) / LACI_CU_TILE * (LACI_CU_TILE / step_of(a->stats));
}

/* Makes the jobs and, with statistics, their chunks; false when there is no memory. */
static bool make_jobs(attend_call *c)
{
    const laci_attention *a = c->a;
    const size_t rows = laci_cuda_tile_rows(c->cuda, a->kv->d_head, c->plan->k_block, a->n_k);
    laci_cuda_jobs(c->plan, a, rows, &c->jobs);
    const size_t jobs_bytes = c->jobs.n_jobs * sizeof *c->jobs.jobs;
    const size_t parts_bytes = c->jobs.n_parts * sizeof *c->jobs.parts;
    size_t chunk_bytes = 0, item_bytes = 0;
    if (a->stats) {
        const size_t q_blocks = (a->n_q + a->stats->q_block - 1) / a->stats->q_block;
        chunk_bytes = c->jobs.n_jobs * sizeof *c->chunks;
        item_bytes = 3 * c->n_batch * a->n_heads * q_blocks * sizeof *c->items;
    }
    char *at = laci_cuda_host(c->cuda, chunk_bytes + jobs_bytes + parts_bytes + item_bytes);
    if (!at) return false;
    c->chunks = (void *)at;
    c->jobs.jobs = (void *)(at + chunk_bytes);
    c->jobs.parts = (void *)(at + chunk_bytes + jobs_bytes);
    c->items = (void *)(at + chunk_bytes + jobs_bytes + parts_bytes);
    laci_cuda_jobs(c->plan, a, rows, &c->jobs);
    if (!a->stats) return true;
    const size_t most = c->cuda->stats_bytes / (steps_of(a) * sizeof(float));
    c->n_chunks = laci_cuda_chunks(a, c->jobs.jobs, c->jobs.n_jobs, most, c->chunks, c->items);
    for (size_t i = 0; i < c->n_chunks; i++) {
        c->n_items = c->chunks[i].item_end;
        if (c->chunks[i].n_rows > c->most_chunk_rows) c->most_chunk_rows = c->chunks[i].n_rows;
    }
    return true;
}

/* ------------------------------------------------------------------ arguments */

static size_t n_cols(const laci_plan *plan)
{
    return plan->row_ptr[plan->n_heads * plan->n_rows];
}

static void put_arguments(attend_call *c)
{
    const laci_attention *a = c->a;
    const size_t d = a->kv->d_head;
    cuda_backend *cuda = c->cuda;
    c->args = (laci_cu_attend){
        .q = a->q->data,
        .k = a->kv->k->data,
        .v = a->kv->v->data,
        .out = a->out->data,
        .lse = floats_at(a->lse, 0),
        .jobs = laci_cuda_put(cuda, c->jobs.jobs, c->jobs.n_jobs * sizeof *c->jobs.jobs),
        .cols = laci_cuda_put(cuda, c->plan->cols, n_cols(c->plan) * sizeof(uint32_t)),
        .limits = laci_cuda_put(cuda, a->limits, c->n_batch * a->n_q * sizeof(uint32_t)),
        .valid = laci_cuda_put(cuda, a->valid, c->n_batch * c->words * sizeof(uint64_t)),
        .scale = 1.44269504088896341f / sqrtf((float)d),
        .n_jobs = (uint32_t)c->jobs.n_jobs,
        .most_rows = c->jobs.most_rows,
        .n_batch = (uint32_t)a->kv->n_batch,
        .n_q = (uint32_t)a->n_q,
        .n_k = (uint32_t)a->n_k,
        .n_heads = (uint32_t)a->n_heads,
        .n_kv_heads = (uint32_t)a->kv->n_kv_heads,
        .d = (uint32_t)d,
        .v_stride = (uint32_t)v_stride(d),
        .words = (uint32_t)c->words,
        .k_block = (uint32_t)c->plan->k_block,
        .k_shift = laci_cuda_shift(c->plan->k_block),
        .ctx = kv_room(a->kv),
        .bf16 = is_bf16(&cuda->base),
        .out_f32 = a->out_f32,
    };
    c->parts = laci_cuda_put(cuda, c->jobs.parts, c->jobs.n_parts * sizeof *c->jobs.parts);
    if (c->jobs.n_slots) {
        const size_t rows = c->jobs.n_slots * LACI_CU_ROWS;
        c->args.partial =
            (void *)laci_cuda_scratch(cuda, &cuda->scratch, rows * (d + 1) * sizeof(float));
        if (c->args.partial) c->args.partial_lse = c->args.partial + rows * d;
    }
}

/* Room for all arrays of a call, those of statistics included. */
static void make_room(const attend_call *c)
{
    const laci_attention *a = c->a;
    size_t n = c->jobs.n_jobs * sizeof *c->jobs.jobs + c->jobs.n_parts * sizeof *c->jobs.parts +
               n_cols(c->plan) * sizeof(uint32_t) + c->n_batch * a->n_q * sizeof(uint32_t) +
               c->n_batch * c->words * sizeof(uint64_t) + 3 * c->n_items * sizeof(uint32_t);
    size_t n_arrays = 6;
    if (a->stats && a->stats->kept) {
        const laci_plan *kept = a->stats->kept;
        n += (kept->n_heads * kept->n_rows + 1 + n_cols(kept)) * sizeof(uint32_t);
        n_arrays += 2;
    }
    laci_cuda_room(c->cuda, n, n_arrays);
}

/* ------------------------------------------------------------------ launches */

void laci_cuda_launch(cuda_backend *cuda, const laci_cu_attend *args)
{
    const laci_cu_api *api = &cuda->api;
    if (takes_wgmma(cuda, args->d, args->k_block, args->n_k))
        laci_cuda_note(cuda, api->attend_wgmma(cuda->stream, args));
    else
        (takes_mma(cuda, args->d) ? api->attend_mma : api->attend_plain)(cuda->stream, args);
    laci_cuda_note(cuda, api->last_error());
}

static laci_cu_mass mass_arguments(const attend_call *c)
{
    const laci_attention *a = c->a;
    const laci_mass_stats *s = a->stats;
    laci_cu_mass m = {
        .items = laci_cuda_put(c->cuda, c->items, 3 * c->n_items * sizeof *c->items),
        .mass = floats_at(s->mass, 0),
        .late = floats_at(s->late, 0),
        .base = floats_at(s->base, 0),
        .n_q = (uint32_t)a->n_q,
        .n_heads = (uint32_t)a->n_heads,
        .q_block = (uint32_t)s->q_block,
        .n_q_blocks = (uint32_t)((a->n_q + s->q_block - 1) / s->q_block),
        .n_blocks = (uint32_t)((a->n_k + s->k_block - 1) / s->k_block),
        .per_block = (uint32_t)(s->k_block / step_of(s)),
        .n_steps = (uint32_t)steps_of(a),
        .late_from = (uint32_t)s->late_from,
        .n_parts = (uint32_t)((a->n_k + LACI_MASS_PART - 1) / LACI_MASS_PART),
        .share = (uint32_t)(a->n_heads / a->kv->n_kv_heads * a->n_q),
    };
    if (s->kept && s->kept_mass) {
        const size_t n = s->kept->n_heads * s->kept->n_rows;
        m.kept_mass = floats_at(s->kept_mass, 0);
        m.kept_row_ptr = laci_cuda_put(c->cuda, s->kept->row_ptr, (n + 1) * sizeof(uint32_t));
        m.kept_cols = laci_cuda_put(c->cuda, s->kept->cols, n_cols(s->kept) * sizeof(uint32_t));
        m.kept_patterns = (uint32_t)s->kept->n_heads;
        m.kept_rows = (uint32_t)s->kept->n_rows;
    }
    return m;
}

/* Attention and masses chunk by chunk: the statistics of one chunk are in memory at a time. */
static void launch_with_stats(attend_call *c)
{
    cuda_backend *cuda = c->cuda;
    laci_cu_attend args = c->args;
    laci_cu_mass m = mass_arguments(c);
    const size_t row_bytes = m.n_steps * sizeof(float);
    args.stats = (void *)laci_cuda_scratch(cuda, &cuda->stats, c->most_chunk_rows * row_bytes);
    args.step = (uint32_t)step_of(c->a->stats);
    args.n_steps = m.n_steps;
    args.squared = c->a->stats->doubled;
    m.sums = args.stats;
    if (cuda->failed) return;
    const uint32_t *items = m.items;
    for (size_t i = 0; i < c->n_chunks; i++) {
        const laci_cu_chunk *chunk = &c->chunks[i];
        args.jobs = c->args.jobs + chunk->first;
        args.n_jobs = (uint32_t)(chunk->end - chunk->first);
        m.items = items + 3 * chunk->item;
        m.n_items = (uint32_t)(chunk->item_end - chunk->item);
        /* NaN where a limit keeps every row of a tile from reading on */
        laci_cuda_note(cuda,
                       cuda->api.fill(cuda->stream, args.stats, 0xff, chunk->n_rows * row_bytes));
        laci_cuda_launch(cuda, &args);
        cuda->api.mass(cuda->stream, &m);
        laci_cuda_note(cuda, cuda->api.last_error());
    }
}

void laci_cuda_attend(laci_backend *be, const laci_plan *plan, const laci_attention *a)
{
    attend_call c = { .cuda = laci_cuda_enter(be), .plan = plan, .a = a };
    c.n_batch = a->n_batch ? a->n_batch : 1;
    c.words = (a->n_k + 63) / 64;
    if (!make_jobs(&c) || !c.jobs.n_jobs) return;
    make_room(&c);
    put_arguments(&c);
    if (c.cuda->failed) return;
    if (a->stats)
        launch_with_stats(&c);
    else
        laci_cuda_launch(c.cuda, &c.args);
    if (c.cuda->failed || !c.jobs.n_parts) return;
    c.cuda->api.combine(c.cuda->stream, &c.args, c.parts, (uint32_t)c.jobs.n_parts);
    laci_cuda_note(c.cuda, c.cuda->api.last_error());
}

/* ------------------------------------------------------------------ columns and merging */

void laci_cuda_column_mass(laci_backend *be, const laci_attention *a, size_t q_group, size_t first,
                           size_t n_groups, laci_buf *out)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const size_t n_batch = a->n_batch ? a->n_batch : 1, words = (a->n_k + 63) / 64;
    const size_t n = n_batch * (1 + a->n_q) * sizeof(uint32_t) + n_batch * words * sizeof(uint64_t);
    uint32_t *n_keys = laci_cuda_host(cuda, n_batch * sizeof *n_keys);
    if (!n_groups || !n_keys) return;
    for (size_t i = 0; i < n_batch; i++)
        n_keys[i] = a->n_keys ? a->n_keys[i] : (uint32_t)a->n_k;
    laci_cuda_room(cuda, n, 3);
    const laci_cu_columns args = {
        .q = a->q->data,
        .k = a->kv->k->data,
        .lse = floats_at(a->lse, 0),
        .n_keys = laci_cuda_put(cuda, n_keys, n_batch * sizeof *n_keys),
        .limits = laci_cuda_put(cuda, a->limits, n_batch * a->n_q * sizeof(uint32_t)),
        .valid = laci_cuda_put(cuda, a->valid, n_batch * words * sizeof(uint64_t)),
        .out = floats_at(out, 0),
        .scale = 1.44269504088896341f / sqrtf((float)a->kv->d_head),
        .n_batch = (uint32_t)n_batch,
        .n_q = (uint32_t)a->n_q,
        .n_k = (uint32_t)a->n_k,
        .n_heads = (uint32_t)a->n_heads,
        .n_kv_heads = (uint32_t)a->kv->n_kv_heads,
        .d = (uint32_t)a->kv->d_head,
        .words = (uint32_t)words,
        .q_group = (uint32_t)q_group,
        .first = (uint32_t)first,
        .n_groups = (uint32_t)n_groups,
        .ctx = kv_room(a->kv),
        .bf16 = is_bf16(be),
    };
    if (cuda->failed) return;
    cuda->api.columns(cuda->stream, &args);
    laci_cuda_note(cuda, cuda->api.last_error());
}

void laci_cuda_merge(laci_backend *be, const laci_merge *p)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_merge a = { .out = floats_at(p->out, 0),
                              .lse = floats_at(p->lse, 0),
                              .other = floats_at(p->other, 0),
                              .other_lse = floats_at(p->other_lse, 0),
                              .n_rows = (uint32_t)(p->n_batch * p->n_q * p->n_heads),
                              .n_q = (uint32_t)p->n_q,
                              .n_heads = (uint32_t)p->n_heads,
                              .d = (uint32_t)p->d_head };
    if (!a.n_rows) return;
    cuda->api.merge(cuda->stream, &a);
    laci_cuda_note(cuda, cuda->api.last_error());
}
