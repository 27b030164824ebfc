/* backend_cpu.c: the CPU backend: opening it, buffers in process memory, rows spread over the
 * threads of cpu_team.h, inner loops from the kernel table. Matrix products are in cpu_linear.c,
 * attention in cpu_attend.c, selection in cpu_select.c, measures of rows in cpu_rows.c. An
 * operation is a job and a function over a span of its rows; spans write disjoint outputs. */
#include <math.h>

#include "backend/cpu/cpu_state.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/thread.h"
#include "kernels/isa.h"

/* Addresses that must be left when a session is made: what the libraries take inside a pass. */
enum { RUN_ROOM = 8 << 20 };

/* ------------------------------------------------------------------ memory and weights */

void laci_cpu_close(laci_backend *be)
{
    cpu_backend *cpu = cpu_of(be);
    const lac_allocator mem = be->mem;
    laci_team_close(cpu->team);
    for (size_t i = 0; i < LACI_LINEAR_KINDS; i++)
        if (cpu->linear_common[i]) laci_linear_kinds[i]->free_common(cpu->linear_common[i], &mem);
    laci_release_aligned(&mem, cpu->scratch);
    laci_release_aligned(&mem, cpu->shared);
    laci_release(&mem, cpu);
}

lac_status laci_cpu_buf_new(laci_backend *be, size_t n_bytes, const char *what, laci_buf **out,
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
    *buf = (laci_buf){ .data = data, .n_bytes = n_bytes };
    *out = buf;
    return LAC_OK;
}

void laci_cpu_buf_free(laci_backend *be, laci_buf *buf)
{
    if (!buf->is_view) laci_release_aligned(&be->mem, buf->data);
    laci_release(&be->mem, buf);
}

lac_status laci_cpu_view_new(laci_backend *be, laci_buf **out, lac_error *err)
{
    laci_buf *view = laci_alloc(&be->mem, sizeof *view);
    if (!view) return laci_fail_memory(err, "a view", sizeof *view);
    *view = (laci_buf){ .is_view = true };
    *out = view;
    return LAC_OK;
}

void laci_cpu_view_set(laci_backend *be, laci_buf *view, const laci_buf *of, size_t offset)
{
    (void)be;
    view->data = (char *)of->data + offset;
    view->n_bytes = of->n_bytes - offset;
}

lac_status laci_cpu_kv_new(laci_backend *be, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                           size_t d_head, laci_kv *out, lac_error *err)
{
    laci_kv kv = { .n_batch = n_batch, .n_kv_heads = n_kv_heads, .d_head = d_head, .n_ctx = n_ctx };
    const size_t n_panels = n_batch * n_kv_heads * ((n_ctx + LACI_PANEL - 1) / LACI_PANEL);
    lac_status st =
        laci_cpu_buf_new(be, n_panels * laci_k_panel_bytes(be->act, d_head), "keys", &kv.k, err);
    if (!st)
        st = laci_cpu_buf_new(be, n_panels * laci_v_panel_bytes(be->act, d_head), "values", &kv.v,
                              err);
    if (st && kv.k) laci_cpu_buf_free(be, kv.k);
    if (!st) *out = kv;
    return st;
}

size_t laci_kv_bytes(laci_dtype act, size_t n_batch, size_t n_ctx, size_t n_kv_heads, size_t d_head)
{
    const size_t n_panels = n_batch * n_kv_heads * ((n_ctx + LACI_PANEL - 1) / LACI_PANEL);
    return n_panels * (laci_k_panel_bytes(act, d_head) + laci_v_panel_bytes(act, d_head));
}

void laci_cpu_write(laci_backend *be, laci_buf *buf, size_t offset, const void *src, size_t n)
{
    (void)be;
    memcpy((char *)buf->data + offset, src, n);
}

void laci_cpu_read(laci_backend *be, const laci_buf *buf, size_t offset, void *dst, size_t n)
{
    (void)be;
    memcpy(dst, (const char *)buf->data + offset, n);
}

void laci_cpu_clear(laci_backend *be, laci_buf *buf)
{
    (void)be;
    memset(buf->data, 0, buf->n_bytes);
}

void laci_cpu_copy(laci_backend *be, laci_buf *out, size_t out_offset, const laci_buf *in,
                   size_t in_offset, size_t n)
{
    (void)be;
    memcpy((char *)out->data + out_offset, (const char *)in->data + in_offset, n);
}

/* ------------------------------------------------------------------ rows */

typedef struct {
    const cpu_backend *cpu;
    const laci_embedding *embedding;
    const int32_t *ids;
    laci_buf *out;
} embed_job;

static void embed_span(void *job, size_t begin, size_t end, int thread)
{
    const embed_job *j = job;
    const laci_embedding *embedding = j->embedding;
    const size_t d = embedding->d;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *row = floats(j->out, i * d);
        const bool is_known = j->ids[i] >= 0 && (size_t)j->ids[i] < embedding->n_rows;
        const size_t id = (size_t)(is_known ? j->ids[i] : embedding->stand_in);
        get_act(j->cpu, row, act_row(&j->cpu->base, embedding->table, id, d), d);
        if (embedding->time_table)
            j->cpu->kernels.add(row, floats(embedding->time_table, embedding->time_row * d), d);
        if (embedding->norm)
            j->cpu->kernels.rms_norm(row, row, floats(embedding->norm->weight, 0),
                                     embedding->norm->eps, d);
    }
}

void laci_cpu_embed(laci_backend *be, const laci_embedding *embedding, const int32_t *ids, size_t n,
                    laci_buf *out)
{
    embed_job job = { cpu_of(be), embedding, ids, out };
    spread(be, n, 0, n * embedding->d, embed_span, &job);
}

typedef struct {
    const cpu_backend *cpu;
    const laci_norm_rows *rows;
} norm_job;

static void norm_span(void *job, size_t begin, size_t end, int thread)
{
    const cpu_backend *cpu = ((const norm_job *)job)->cpu;
    const laci_norm_rows *r = ((const norm_job *)job)->rows;
    const laci_kernels *k = &cpu->kernels;
    const float *weight = floats(r->norm.weight, 0);
    const size_t d = r->d;
    float *wide = scratch_of(cpu, thread);
    for (size_t i = begin; i < end; i++) {
        const float *from = floats(r->x, (r->rows ? (size_t)r->rows[i] : r->x_row + i) * d);
        if (cpu->base.act == LACI_F32) {
            k->rms_norm(floats(r->out, (r->out_row + i) * d), from, weight, r->norm.eps, d);
        } else {
            k->rms_norm(wide, from, weight, r->norm.eps, d);
            put_act(cpu, act_row(&cpu->base, r->out, r->out_row + i, d), wide, d);
        }
    }
}

void laci_cpu_norm(laci_backend *be, const laci_norm_rows *rows)
{
    norm_job job = { cpu_of(be), rows };
    spread(be, rows->n, 0, rows->n * rows->d, norm_span, &job);
}

void laci_cpu_gather(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n, size_t d,
                     laci_buf *out)
{
    laci_cpu_gather_rows(be, LACI_F32, x, rows, n, d, out);
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

typedef struct {
    const cpu_backend *cpu;
    const laci_head_rows *rows;
} heads_job;

static void heads_span(void *job, size_t begin, size_t end, int thread)
{
    const cpu_backend *cpu = ((const heads_job *)job)->cpu;
    const laci_head_rows *r = ((const heads_job *)job)->rows;
    const size_t width = r->op->n_heads * r->op->d_head;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *row = floats(r->x, i * width);
        treat_heads(cpu, r->op, row,
                    r->positions ? (size_t)r->positions[i] : r->first_position + i);
        put_act(cpu, act_row(&cpu->base, r->out, r->out_row + i, width), row, width);
    }
}

void laci_cpu_heads(laci_backend *be, const laci_head_rows *rows)
{
    heads_job job = { cpu_of(be), rows };
    spread(be, rows->n, 0, rows->n * rows->op->n_heads * rows->op->d_head, heads_span, &job);
}

typedef struct {
    laci_backend *be;
    const laci_kv_rows *rows;
    size_t at, end, first_panel; /* keys [at, end) of the piece */
    void (*pack)(void *, const float *, size_t, size_t, size_t, size_t);
} store_job;

/* Panels [first, last) of those that hold the keys. */
static void store_span(void *job, size_t first, size_t last, int thread)
{
    const store_job *j = job;
    const laci_kv_rows *r = j->rows;
    const size_t d = r->op->d_head, width = r->op->n_heads * d;
    const size_t bytes = r->part == LACI_KEYS ? laci_k_panel_bytes(j->be->act, d)
                                              : laci_v_panel_bytes(j->be->act, d);
    (void)thread;
    for (size_t panel = j->first_panel + first; panel < j->first_panel + last; panel++) {
        const size_t begin = panel * LACI_PANEL > j->at ? panel * LACI_PANEL : j->at;
        const size_t stop = (panel + 1) * LACI_PANEL < j->end ? (panel + 1) * LACI_PANEL : j->end;
        float *x = floats(r->x, (begin - j->at) * width);
        for (size_t i = begin; i < stop; i++)
            treat_heads(cpu_of(j->be), r->op, x + (i - begin) * width, r->kv->first + i);
        for (size_t h = 0; h < r->op->n_heads; h++)
            j->pack(kv_panels(j->be, r->kv, r->part, r->batch, h) + panel * bytes, x + h * d, width,
                    begin % LACI_PANEL, stop - begin, d);
    }
}

void laci_cpu_store(laci_backend *be, const laci_kv_rows *rows)
{
    const laci_kernels *k = &cpu_of(be)->kernels;
    const bool is_bf16 = be->act == LACI_BF16;
    const size_t at = rows->row - rows->kv->first, end = at + rows->n;
    const size_t first_panel = at / LACI_PANEL;
    const size_t n_panels = (end + LACI_PANEL - 1) / LACI_PANEL - first_panel;
    store_job job = { be, rows, at, end, first_panel, NULL };
    if (rows->part == LACI_KEYS)
        job.pack = is_bf16 ? k->pack_k_bf16 : k->pack_k_f32;
    else
        job.pack = is_bf16 ? k->pack_v_bf16 : k->pack_v_f32;
    spread(be, n_panels, 0, rows->n * rows->op->n_heads * rows->op->d_head, store_span, &job);
}

/* Rows of d numbers of one or two tensors. */
typedef struct {
    const cpu_backend *cpu;
    const laci_buf *a, *b;
    laci_buf *out;
    size_t row, d; /* first row of out */
    float scale;
} pair_job;

static void mlp_span(void *job, size_t begin, size_t end, int thread)
{
    const pair_job *j = job;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *row = floats(j->b, i * j->d);
        if (j->a)
            j->cpu->kernels.swiglu(row, floats(j->a, i * j->d), row, j->d);
        else
            j->cpu->kernels.relu2(row, row, j->d);
        put_act(j->cpu, act_row(&j->cpu->base, j->out, i, j->d), row, j->d);
    }
}

void laci_cpu_mlp(laci_backend *be, const laci_buf *gate, const laci_buf *up, size_t n, size_t d,
                  laci_buf *out)
{
    pair_job job = { .cpu = cpu_of(be), .a = gate, .b = up, .out = out, .d = d };
    spread(be, n, 0, n * d, mlp_span, &job);
}

static void add_span(void *job, size_t begin, size_t end, int thread)
{
    const pair_job *j = job;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        j->cpu->kernels.add(floats(j->out, (j->row + i) * j->d), floats(j->a, i * j->d), j->d);
}

void laci_cpu_add(laci_backend *be, laci_buf *sum, size_t sum_row, const laci_buf *x, size_t n,
                  size_t d)
{
    pair_job job = { .cpu = cpu_of(be), .a = x, .out = sum, .row = sum_row, .d = d };
    spread(be, n, 0, n * d, add_span, &job);
}

static void guide_span(void *job, size_t begin, size_t end, int thread)
{
    const pair_job *j = job;
    float *cond = floats(j->out, 0);
    const float *uncond = floats(j->a, 0);
    (void)thread;
    for (size_t i = begin * j->d; i < end * j->d; i++)
        cond[i] = uncond[i] + (j->scale + 1.0f) * (cond[i] - uncond[i]);
}

void laci_cpu_guide(laci_backend *be, laci_buf *cond, const laci_buf *uncond, size_t n, size_t d,
                    float scale)
{
    pair_job job = { .cpu = cpu_of(be), .a = uncond, .out = cond, .d = d, .scale = scale };
    spread(be, n, 0, n * d, guide_span, &job);
}

typedef struct {
    const cpu_backend *cpu;
    const laci_choice_rule *rule;
    float *logits;
    const uint64_t *keys;
    laci_choice *out;
} choose_job;

static void choose_span(void *job, size_t begin, size_t end, int thread)
{
    const choose_job *j = job;
    for (size_t i = begin; i < end; i++)
        j->out[i] = laci_choose(j->rule, j->logits + i * (size_t)j->rule->n_vocab, j->keys[i],
                                scratch_of(j->cpu, thread));
}

void laci_cpu_choose(laci_backend *be, const laci_choice_rule *rule, laci_buf *logits, size_t row,
                     size_t n, const uint64_t *keys, laci_choice *out)
{
    const size_t n_vocab = (size_t)rule->n_vocab;
    choose_job job = { cpu_of(be), rule, floats(logits, row * n_vocab), keys, out };
    spread(be, n, 1, n * n_vocab, choose_span, &job);
}

/* ------------------------------------------------------------------ opening */

laci_scratch_size laci_cpu_scratch_need(const laci_backend *be, const laci_scratch_dims *dims)
{
    laci_scratch_size need = laci_cpu_linear_scratch((const cpu_backend *)be, dims->n_rows);
    const size_t others[] = {
        laci_cpu_attend_scratch(dims->d_head, dims->n_ctx, dims->stats_block),
        laci_cpu_select_scratch(dims->d_head, dims->n_pages, dims->n_ranked),
        dims->n_vocab * sizeof(int32_t),
        dims->d_model * sizeof(float),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i] > need.per_thread) need.per_thread = others[i];
    laci_arena thread = { NULL, 0 }; /* rounds up, so that every thread's scratch is aligned */
    (void)laci_arena_take(&thread, need.per_thread, 1);
    need.per_thread = thread.used;
    return need;
}

lac_status laci_cpu_reserve(laci_backend *be, laci_scratch_size size, lac_error *err)
{
    cpu_backend *cpu = cpu_of(be);
    size_t threads = SIZE_MAX, total = SIZE_MAX;
    (void)laci_mul_size(size.per_thread, (size_t)be->n_threads, &threads);
    (void)laci_add_size(threads, size.shared, &total);
    char *scratch = laci_alloc_aligned(&be->mem, threads);
    char *shared = laci_alloc_aligned(&be->mem, size.shared);
    const bool has_room = laci_has_room(RUN_ROOM, (size_t)be->n_threads);
    if (!scratch || !shared || !has_room) {
        laci_release_aligned(&be->mem, scratch);
        laci_release_aligned(&be->mem, shared);
        return laci_fail_memory(err, scratch && shared ? "threads and their work" : "scratch",
                                total);
    }
    laci_release_aligned(&be->mem, cpu->scratch);
    laci_release_aligned(&be->mem, cpu->shared);
    cpu->scratch = scratch;
    cpu->scratch_stride = size.per_thread;
    cpu->shared = shared;
    cpu->shared_bytes = size.shared;
    return laci_team_start(cpu->team, err);
}

void laci_cpu_mark(laci_backend *be, unsigned i)
{
    cpu_of(be)->marks[i] = (double)laci_clock_ns() * 1e-9;
}

double laci_cpu_between(laci_backend *be, unsigned from, unsigned to)
{
    return cpu_of(be)->marks[to] - cpu_of(be)->marks[from];
}

size_t laci_cpu_runtime_bytes(const laci_backend *be)
{
    (void)be;
    return laci_linear_kinds[0]->runtime_bytes();
}

/* All that is not optional. */
static const laci_backend_ops cpu_ops = {
#define CALLS(entry) .entry = laci_cpu_##entry,
#define GIVES CALLS
#define BY_HAND CALLS
#define MAY_CALL(entry)
#define MAY_GIVE(entry)
#define OP(shape, result, function, entry, parameters, arguments) shape(entry)
#include "backend/backend_ops.def"
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
    cpu->base = (laci_backend){ &cpu_ops,
                                "cpu",
                                dtype == LAC_DTYPE_BF16 ? LACI_BF16 : LACI_F32,
                                n_threads > 0 ? n_threads : laci_machine_threads(),
                                laci_linear_kinds[0]->rows_stand_alone(),
                                from };
    cpu->kernels = laci_kernels_for(isa);
    const lac_status st = laci_team_open(&cpu->team, cpu->base.n_threads, &from, err);
    if (st)
        laci_release(&from, cpu);
    else
        *out = &cpu->base;
    return st;
}
