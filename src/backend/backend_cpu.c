/* backend_cpu.c: the CPU backend: buffers in process memory, rows spread over OpenMP threads, inner
 * loops from the kernel table, matrix products from cpu_linear.h. OpenMP lives in this file and
 * cpu_linear only. Every parallel loop writes disjoint outputs. */
#include <math.h>
#include <omp.h>

#include "backend/backend_ops.h"
#include "backend/cpu_linear.h"
#include "base/error.h"
#include "kernels/isa.h"
#include "kernels/kernels.h"

/* Elements below which a loop is not worth waking other threads for. */
enum { PARALLEL_MIN = 8192 };

struct laci_buf {
    void *data; /* aligned, owned */
    size_t n_bytes;
};

typedef struct {
    laci_backend base;
    laci_kernels kernels;
    laci_cpu_shapes *shapes; /* of the matrices made here */
    size_t scratch_stride;   /* bytes of one thread's scratch */
    char *scratch;           /* [n_threads, scratch_stride], owned */
} cpu_backend;

static cpu_backend *cpu_of(laci_backend *be)
{
    return (cpu_backend *)be;
}

static float *floats(const laci_buf *buf, size_t at)
{
    return buf ? (float *)buf->data + at : NULL;
}

static size_t act_size(const laci_backend *be)
{
    return be->act == LACI_BF16 ? 2 : 4;
}

static char *act_row(const laci_backend *be, const laci_buf *buf, size_t row, size_t d)
{
    return (char *)buf->data + row * d * act_size(be);
}

static void *scratch_of(const cpu_backend *cpu)
{
    return cpu->scratch + (size_t)omp_get_thread_num() * cpu->scratch_stride;
}

/* Writes a row of f32 as activations. */
static void put_act(const cpu_backend *cpu, void *out, const float *x, size_t n)
{
    if (cpu->base.act == LACI_BF16)
        cpu->kernels.to_bf16(out, x, n);
    else
        memcpy(out, x, n * sizeof *x);
}

static void get_act(const cpu_backend *cpu, float *out, const void *x, size_t n)
{
    if (cpu->base.act == LACI_BF16)
        cpu->kernels.from_bf16(out, x, n);
    else
        memcpy(out, x, n * sizeof *out);
}

/* ------------------------------------------------------------------ memory and weights */

static void cpu_close(laci_backend *be)
{
    cpu_backend *cpu = cpu_of(be);
    const lac_allocator mem = be->mem;
    laci_cpu_shapes_free(cpu->shapes, &mem);
    laci_release_aligned(&mem, cpu->scratch);
    laci_release(&mem, cpu);
}

static lac_status cpu_buf_new(laci_backend *be, size_t n_bytes, const char *what, laci_buf **out,
                              lac_error *err)
{
    laci_buf *buf = laci_alloc(&be->mem, sizeof *buf);
    void *data = laci_alloc_aligned(&be->mem, n_bytes);
    if (!buf || !data) {
        laci_release(&be->mem, buf);
        laci_release_aligned(&be->mem, data);
        return laci_fail_memory(err, what, n_bytes);
    }
    memset(data, 0, n_bytes); /* rows that pad a product must hold numbers */
    *buf = (laci_buf){ data, n_bytes };
    *out = buf;
    return LAC_OK;
}

static void cpu_buf_free(laci_backend *be, laci_buf *buf)
{
    laci_release_aligned(&be->mem, buf->data);
    laci_release(&be->mem, buf);
}

static void cpu_write(laci_backend *be, laci_buf *buf, size_t offset, const void *src, size_t n)
{
    (void)be;
    memcpy((char *)buf->data + offset, src, n);
}

static void cpu_read(laci_backend *be, const laci_buf *buf, size_t offset, void *dst, size_t n)
{
    (void)be;
    memcpy(dst, (const char *)buf->data + offset, n);
}

static void cpu_copy(laci_backend *be, laci_buf *out, size_t out_offset, const laci_buf *in,
                     size_t in_offset, size_t n)
{
    (void)be;
    memcpy((char *)out->data + out_offset, (const char *)in->data + in_offset, n);
}

static lac_status cpu_linear_new(laci_backend *be, size_t n_out, size_t n_in,
                                 laci_row_source source, laci_linear **out, lac_error *err)
{
    return laci_cpu_linear_new(out, &cpu_of(be)->shapes, be->act, n_out, n_in, source, &be->mem,
                               err);
}

static void cpu_linear_free(laci_backend *be, laci_linear *linear)
{
    laci_cpu_linear_free(linear, &be->mem);
}

static size_t cpu_linear_bytes(laci_backend *be, size_t n_out, size_t n_in)
{
    return laci_cpu_linear_bytes(be->act, n_out, n_in);
}

/* ------------------------------------------------------------------ rows */

static void cpu_embed(laci_backend *be, const laci_embedding *embedding, const int32_t *ids,
                      size_t n, laci_buf *out)
{
    const cpu_backend *cpu = cpu_of(be);
    const size_t d = embedding->d;
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * d > PARALLEL_MIN)
    for (size_t i = 0; i < n; i++) {
        float *row = floats(out, i * d);
        get_act(cpu, row, act_row(be, embedding->table, (size_t)ids[i], d), d);
        if (embedding->time_table)
            cpu->kernels.add(row, floats(embedding->time_table, embedding->time_row * d), d);
        if (embedding->norm)
            cpu->kernels.rms_norm(row, row, floats(embedding->norm->weight, 0),
                                  embedding->norm->eps, d);
    }
}

static void cpu_norm(laci_backend *be, const laci_buf *x, size_t x_row, const int32_t *rows,
                     size_t n, size_t d, const laci_norm *norm, laci_buf *out, size_t out_row)
{
    const cpu_backend *cpu = cpu_of(be);
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * d > PARALLEL_MIN)
    for (size_t i = 0; i < n; i++) {
        const float *from = floats(x, (rows ? (size_t)rows[i] : x_row + i) * d);
        if (be->act == LACI_F32) {
            cpu->kernels.rms_norm(floats(out, (out_row + i) * d), from, floats(norm->weight, 0),
                                  norm->eps, d);
        } else {
            float *wide = scratch_of(cpu);
            cpu->kernels.rms_norm(wide, from, floats(norm->weight, 0), norm->eps, d);
            put_act(cpu, act_row(be, out, out_row + i, d), wide, d);
        }
    }
}

static void cpu_gather(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n, size_t d,
                       laci_buf *out)
{
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * d > PARALLEL_MIN)
    for (size_t i = 0; i < n; i++)
        memcpy(floats(out, i * d), floats(x, (size_t)rows[i] * d), d * sizeof(float));
}

static void cpu_linear(laci_backend *be, const laci_linear *linear, const laci_buf *x, size_t x_row,
                       size_t n, laci_buf *out)
{
    const cpu_backend *cpu = cpu_of(be);
    const size_t n_in = laci_cpu_linear_n_in(linear), n_out = laci_cpu_linear_n_out(linear);
    const size_t n_slabs = laci_cpu_linear_n_slabs(linear);
    const size_t n_tiles = (n + LACI_LINEAR_ROWS - 1) / LACI_LINEAR_ROWS * n_slabs;
    bool failed = false;
#pragma omp parallel for schedule(dynamic) num_threads(be->n_threads) \
    reduction(||                                                      \
              : failed) if (n_tiles > 1)
    for (size_t tile = 0; tile < n_tiles; tile++) {
        const size_t row = tile / n_slabs * LACI_LINEAR_ROWS;
        const size_t n_rows = n - row < LACI_LINEAR_ROWS ? n - row : LACI_LINEAR_ROWS;
        if (!laci_cpu_linear_tile(linear, act_row(be, x, x_row + row, n_in), n_rows, tile % n_slabs,
                                  floats(out, row * n_out), scratch_of(cpu)))
            failed = true;
    }
    /* The primitives were compiled and tried at load; should one fail now, the result must not pass
     * for an answer: NaN reaches every logit. */
    if (failed)
        for (size_t i = 0; i < n * n_out; i++)
            *floats(out, i) = NAN;
}

/* One row of queries, keys or values: bias, norm, rotation, in place. */
static void treat_heads(const cpu_backend *cpu, const laci_head_op *op, float *x, size_t position)
{
    const size_t d = op->d_head, n_pairs = op->rope_dim / 2;
    if (op->bias) cpu->kernels.add(x, floats(op->bias, 0), op->n_heads * d);
    for (size_t h = 0; h < op->n_heads; h++, x += d) {
        if (op->norm_before)
            cpu->kernels.rms_norm(x, x, floats(op->norm.weight, 0), op->norm.eps, d);
        if (op->cosines)
            cpu->kernels.rope(x, floats(op->cosines, position * n_pairs),
                              floats(op->sines, position * n_pairs), n_pairs, op->rope_adjacent);
        if (op->norm_after)
            cpu->kernels.rms_norm(x, x, floats(op->norm.weight, 0), op->norm.eps, d);
    }
}

static void cpu_heads(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                      const int32_t *positions, size_t first_position, laci_buf *out,
                      size_t out_row)
{
    const cpu_backend *cpu = cpu_of(be);
    const size_t width = op->n_heads * op->d_head;
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * width > PARALLEL_MIN)
    for (size_t i = 0; i < n; i++) {
        float *row = floats(x, i * width);
        treat_heads(cpu, op, row, positions ? (size_t)positions[i] : first_position + i);
        put_act(cpu, act_row(be, out, out_row + i, width), row, width);
    }
}

static void cpu_mlp(laci_backend *be, const laci_buf *gate, const laci_buf *up, size_t n, size_t d,
                    laci_buf *out)
{
    const cpu_backend *cpu = cpu_of(be);
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * d > PARALLEL_MIN)
    for (size_t i = 0; i < n; i++) {
        float *row = floats(up, i * d);
        if (gate)
            cpu->kernels.swiglu(row, floats(gate, i * d), row, d);
        else
            cpu->kernels.relu2(row, row, d);
        put_act(cpu, act_row(be, out, i, d), row, d);
    }
}

static void cpu_add(laci_backend *be, laci_buf *sum, size_t sum_row, const laci_buf *x, size_t n,
                    size_t d)
{
    const cpu_backend *cpu = cpu_of(be);
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * d > PARALLEL_MIN)
    for (size_t i = 0; i < n; i++)
        cpu->kernels.add(floats(sum, (sum_row + i) * d), floats(x, i * d), d);
}

static void cpu_guide(laci_backend *be, laci_buf *cond, const laci_buf *uncond, size_t n, size_t d,
                      float scale)
{
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * d > PARALLEL_MIN)
    for (size_t i = 0; i < n * d; i++) {
        const float u = *floats(uncond, i);
        *floats(cond, i) = u + (scale + 1.0f) * (*floats(cond, i) - u);
    }
}

static void cpu_choose(laci_backend *be, const laci_choice_rule *rule, laci_buf *logits, size_t row,
                       size_t n, const uint64_t *keys, laci_choice *out)
{
    const cpu_backend *cpu = cpu_of(be);
    const size_t n_vocab = (size_t)rule->n_vocab;
#pragma omp parallel for schedule(dynamic) \
    num_threads(be->n_threads) if (n * n_vocab > PARALLEL_MIN)
    for (size_t i = 0; i < n; i++)
        out[i] = laci_choose(rule, floats(logits, (row + i) * n_vocab), keys[i], scratch_of(cpu));
}

/* ------------------------------------------------------------------ attention */

/* Index of the first query at or after a position. */
static size_t first_query(const laci_plan *plan, size_t n_q, size_t position)
{
    if (!plan->active) return position < n_q ? position : n_q;
    size_t begin = 0, end = plan->n_active;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if ((size_t)plan->active[middle] < position)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Memory one tile works in, carved from a thread's scratch. */
static void carve_tile(laci_attend_tile *tile, float *scratch, float **q, size_t d)
{
    tile->d = d;
    tile->scratch = scratch;
    scratch += LACI_ATTEND_SCRATCH(d);
    *q = scratch;
    tile->q = scratch;
    tile->acc = scratch + LACI_ATTEND_ROWS * d;
    tile->max = tile->acc + LACI_ATTEND_ROWS * d;
    tile->sum = tile->max + LACI_ATTEND_ROWS;
}

static size_t tile_bytes(size_t d)
{
    return (LACI_ATTEND_SCRATCH(d) + (size_t)LACI_ATTEND_ROWS * (2 * d + 2)) * sizeof(float);
}

/* Queries [begin, end) of one head, all in plan row `row`. */
typedef struct {
    size_t head, row, begin, end;
} tile_job;

/* Reads the keys a plan row lists; neighbouring blocks are read as one run. */
static void attend_row_keys(const cpu_backend *cpu, const laci_plan *plan, const laci_attention *a,
                            const tile_job *job, laci_attend_tile *tile)
{
    const size_t width = a->n_kv_heads * a->d_head;
    const size_t kv_head = job->head / (a->n_heads / a->n_kv_heads);
    const size_t at = (plan->n_heads > 1 ? job->head : 0) * plan->n_rows + job->row;
    const size_t skip = kv_head * a->d_head * act_size(&cpu->base);
    for (uint32_t c = plan->row_ptr[at]; c < plan->row_ptr[at + 1];) {
        const size_t first = (size_t)plan->cols[c] * plan->k_block;
        size_t end = first;
        for (; c < plan->row_ptr[at + 1] && (size_t)plan->cols[c] * plan->k_block == end; c++)
            end += plan->k_block;
        if (end > a->n_k) end = a->n_k;
        const laci_keys keys = { act_row(&cpu->base, a->k, first, width) + skip,
                                 act_row(&cpu->base, a->v, first, width) + skip, width,
                                 cpu->base.act };
        cpu->kernels.attend_keys(tile, &keys, end - first);
    }
}

static void attend_tile(const cpu_backend *cpu, const laci_plan *plan, const laci_attention *a,
                        const tile_job *job)
{
    const size_t d = a->d_head, width = a->n_heads * d;
    const float scale = 1.0f / sqrtf((float)d);
    laci_attend_tile tile;
    float *q;
    carve_tile(&tile, scratch_of(cpu), &q, d);
    tile.n_rows = job->end - job->begin;
    for (size_t i = 0; i < tile.n_rows; i++) {
        const char *from = act_row(&cpu->base, a->q, job->begin + i, width);
        get_act(cpu, q + i * d, from + job->head * d * act_size(&cpu->base), d);
        for (size_t c = 0; c < d; c++)
            q[i * d + c] *= scale;
        tile.max[i] = -INFINITY;
        tile.sum[i] = 0;
    }
    memset(tile.acc, 0, tile.n_rows * d * sizeof *tile.acc);
    attend_row_keys(cpu, plan, a, job, &tile);
    for (size_t i = 0; i < tile.n_rows; i++) {
        const bool empty = tile.sum[i] == 0;
        float *acc = tile.acc + i * d;
        for (size_t c = 0; c < d; c++)
            acc[c] = empty ? 0 : acc[c] / tile.sum[i];
        put_act(cpu,
                act_row(&cpu->base, a->out, job->begin + i, width) +
                    job->head * d * act_size(&cpu->base),
                acc, d);
        if (a->lse)
            *floats(a->lse, job->head * a->n_q + job->begin + i) =
                empty ? -INFINITY : tile.max[i] + logf(tile.sum[i]);
    }
}

static void cpu_attend(laci_backend *be, const laci_plan *plan, const laci_attention *a)
{
    const cpu_backend *cpu = cpu_of(be);
    /* A plan row may hold more queries than a tile: it is cut into n_parts, the last ones empty
     * where few of its queries are active. */
    const size_t longest = plan->q_block < a->n_q ? plan->q_block : a->n_q;
    const size_t n_parts = (longest + LACI_ATTEND_ROWS - 1) / LACI_ATTEND_ROWS;
    const size_t n_jobs = a->n_heads * plan->n_rows * n_parts;
#pragma omp parallel for schedule(dynamic) \
    num_threads(be->n_threads) if (a->n_q * a->n_k * a->n_heads > PARALLEL_MIN)
    for (size_t i = 0; i < n_jobs; i++) {
        tile_job job = { .head = i / (plan->n_rows * n_parts), .row = i / n_parts % plan->n_rows };
        const size_t end = first_query(plan, a->n_q, (job.row + 1) * plan->q_block);
        job.begin =
            first_query(plan, a->n_q, job.row * plan->q_block) + i % n_parts * LACI_ATTEND_ROWS;
        job.end = job.begin + LACI_ATTEND_ROWS < end ? job.begin + LACI_ATTEND_ROWS : end;
        if (job.begin < job.end) attend_tile(cpu, plan, a, &job);
    }
}

/* ------------------------------------------------------------------ opening */

static size_t cpu_scratch_need(const laci_backend *weights, size_t d_model, size_t d_head,
                               size_t n_vocab)
{
    const size_t needs[] = {
        tile_bytes(d_head),
        n_vocab * sizeof(int32_t),
        d_model * sizeof(float),
        laci_cpu_linear_scratch(((const cpu_backend *)weights)->shapes),
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++)
        if (needs[i] > most) most = needs[i];
    return most;
}

static lac_status cpu_reserve(laci_backend *be, size_t bytes_per_thread, lac_error *err)
{
    cpu_backend *cpu = cpu_of(be);
    const size_t stride = (bytes_per_thread + LACI_ALIGN - 1) / LACI_ALIGN * LACI_ALIGN;
    char *scratch = laci_alloc_aligned(&be->mem, stride * (size_t)be->n_threads);
    if (!scratch) return laci_fail_memory(err, "thread scratch", stride * (size_t)be->n_threads);
    laci_release_aligned(&be->mem, cpu->scratch);
    cpu->scratch = scratch;
    cpu->scratch_stride = stride;
    return LAC_OK;
}

static size_t cpu_runtime_bytes(const laci_backend *be)
{
    (void)be;
    return laci_cpu_linear_runtime_bytes();
}

static const laci_backend_ops cpu_ops = {
    .close = cpu_close,
    .buf_new = cpu_buf_new,
    .buf_free = cpu_buf_free,
    .write = cpu_write,
    .read = cpu_read,
    .copy = cpu_copy,
    .linear_new = cpu_linear_new,
    .linear_free = cpu_linear_free,
    .linear_bytes = cpu_linear_bytes,
    .embed = cpu_embed,
    .norm = cpu_norm,
    .gather = cpu_gather,
    .linear = cpu_linear,
    .heads = cpu_heads,
    .attend = cpu_attend,
    .mlp = cpu_mlp,
    .add = cpu_add,
    .guide = cpu_guide,
    .choose = cpu_choose,
    .scratch_need = cpu_scratch_need,
    .reserve = cpu_reserve,
    .runtime_bytes = cpu_runtime_bytes,
};

lac_status laci_backend_cpu_open(laci_backend **out, lac_dtype dtype, int n_threads,
                                 const lac_allocator *mem, lac_error *err)
{
    const lac_allocator from = laci_allocator_or_default(mem);
    const unsigned isa = laci_isa_detect();
    cpu_backend *cpu = laci_alloc_zero(&from, sizeof *cpu);
    if (!cpu) return laci_fail_memory(err, "a backend", sizeof *cpu);
    const bool native_bf16 = (isa & LACI_ISA_AVX512_BF16) != 0;
    if (dtype == LAC_DTYPE_AUTO) dtype = native_bf16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32;
    cpu->base = (laci_backend){ &cpu_ops, "cpu", dtype == LAC_DTYPE_BF16 ? LACI_BF16 : LACI_F32,
                                n_threads > 0 ? n_threads : omp_get_num_procs(), from };
    cpu->kernels = laci_kernels_for(isa);
    *out = &cpu->base;
    return LAC_OK;
}
