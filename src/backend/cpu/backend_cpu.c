/* backend_cpu.c: the CPU backend: buffers in process memory, rows spread over the threads of
 * cpu_team.h, inner loops from the kernel table, matrix products from cpu_linear.h. An operation is
 * a job and a function over a span of its rows; spans write disjoint outputs. */
#include <assert.h>
#include <math.h>
#include <stdatomic.h>

#include "backend/cpu/cpu_attend.h"
#include "backend/cpu/cpu_rows.h"
#include "backend/cpu/cpu_select.h"
#include "backend/cpu/cpu_state.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/thread.h"
#include "kernels/isa.h"

/* Addresses that must be left when a session is made: what the libraries take inside a pass. */
enum { RUN_ROOM = 8 << 20 };

/* ------------------------------------------------------------------ memory and weights */

static void cpu_close(laci_backend *be)
{
    cpu_backend *cpu = cpu_of(be);
    const lac_allocator mem = be->mem;
    laci_team_close(cpu->team);
    laci_cpu_shapes_free(cpu->shapes, &mem);
    laci_release_aligned(&mem, cpu->scratch);
    laci_release_aligned(&mem, cpu->shared);
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
    *buf = (laci_buf){ .data = data, .n_bytes = n_bytes };
    *out = buf;
    return LAC_OK;
}

static void cpu_buf_free(laci_backend *be, laci_buf *buf)
{
    if (!buf->is_view) laci_release_aligned(&be->mem, buf->data);
    laci_release(&be->mem, buf);
}

static lac_status cpu_view_new(laci_backend *be, laci_buf **out, lac_error *err)
{
    laci_buf *view = laci_alloc(&be->mem, sizeof *view);
    if (!view) return laci_fail_memory(err, "a view", sizeof *view);
    *view = (laci_buf){ .is_view = true };
    *out = view;
    return LAC_OK;
}

static void cpu_view_set(laci_backend *be, laci_buf *view, const laci_buf *of, size_t offset)
{
    (void)be;
    view->data = (char *)of->data + offset;
    view->n_bytes = of->n_bytes - offset;
}

static lac_status cpu_kv_new(laci_backend *be, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                             size_t d_head, laci_kv *out, lac_error *err)
{
    laci_kv kv = { .n_batch = n_batch, .n_kv_heads = n_kv_heads, .d_head = d_head, .n_ctx = n_ctx };
    const size_t n_panels = n_batch * n_kv_heads * ((n_ctx + LACI_PANEL - 1) / LACI_PANEL);
    lac_status st =
        cpu_buf_new(be, n_panels * laci_k_panel_bytes(be->act, d_head), "keys", &kv.k, err);
    if (!st)
        st = cpu_buf_new(be, n_panels * laci_v_panel_bytes(be->act, d_head), "values", &kv.v, err);
    if (st && kv.k) cpu_buf_free(be, kv.k);
    if (!st) *out = kv;
    return st;
}

size_t laci_kv_bytes(laci_dtype act, size_t n_batch, size_t n_ctx, size_t n_kv_heads, size_t d_head)
{
    const size_t n_panels = n_batch * n_kv_heads * ((n_ctx + LACI_PANEL - 1) / LACI_PANEL);
    return n_panels * (laci_k_panel_bytes(act, d_head) + laci_v_panel_bytes(act, d_head));
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

static void cpu_clear(laci_backend *be, laci_buf *buf)
{
    (void)be;
    memset(buf->data, 0, buf->n_bytes);
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
    cpu_backend *cpu = cpu_of(be);
    const laci_linear_maker maker = { &cpu->shapes, cpu->team, be->act, be->mem };
    return laci_cpu_linear_new(out, &maker, n_out, n_in, source, err);
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

static void cpu_embed(laci_backend *be, const laci_embedding *embedding, const int32_t *ids,
                      size_t n, laci_buf *out)
{
    embed_job job = { cpu_of(be), embedding, ids, out };
    spread(be, n, 0, n * embedding->d, embed_span, &job);
}

typedef struct {
    const cpu_backend *cpu;
    const laci_buf *x;
    const laci_norm *norm;
    laci_buf *out;
    const int32_t *rows;
    size_t x_row, out_row, d;
} norm_job;

static void norm_span(void *job, size_t begin, size_t end, int thread)
{
    const norm_job *j = job;
    const laci_kernels *k = &j->cpu->kernels;
    const float *weight = floats(j->norm->weight, 0);
    const size_t d = j->d;
    float *wide = scratch_of(j->cpu, thread);
    for (size_t i = begin; i < end; i++) {
        const float *from = floats(j->x, (j->rows ? (size_t)j->rows[i] : j->x_row + i) * d);
        if (j->cpu->base.act == LACI_F32) {
            k->rms_norm(floats(j->out, (j->out_row + i) * d), from, weight, j->norm->eps, d);
        } else {
            k->rms_norm(wide, from, weight, j->norm->eps, d);
            put_act(j->cpu, act_row(&j->cpu->base, j->out, j->out_row + i, d), wide, d);
        }
    }
}

static void cpu_norm(laci_backend *be, const laci_buf *x, size_t x_row, const int32_t *rows,
                     size_t n, size_t d, const laci_norm *norm, laci_buf *out, size_t out_row)
{
    norm_job job = { cpu_of(be), x, norm, out, rows, x_row, out_row, d };
    spread(be, n, 0, n * d, norm_span, &job);
}

static void cpu_gather(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n, size_t d,
                       laci_buf *out)
{
    laci_cpu_gather_rows(be, LACI_F32, x, rows, n, d, out);
}

/* A product of rows: see multiply_group. */
typedef struct {
    const cpu_backend *cpu;
    const laci_linear *linear;
    const char *x;
    float *y;
    size_t n, part, n_parts;
    bool packs;
    atomic_bool failed;
} product_job;

/* Inputs of tiles [begin, end). */
static void pack_span(void *job, size_t begin, size_t end, int thread)
{
    const product_job *j = job;
    const size_t row = laci_cpu_linear_row_bytes(j->linear);
    const size_t bytes = laci_cpu_linear_n_in(j->linear) * act_size(&j->cpu->base);
    (void)thread;
    for (size_t i = begin * LACI_LINEAR_ROWS; i < j->n && i < end * LACI_LINEAR_ROWS;
         i += LACI_LINEAR_ROWS)
        laci_cpu_linear_pack(j->linear, j->x + i * bytes,
                             j->n - i < LACI_LINEAR_ROWS ? j->n - i : LACI_LINEAR_ROWS,
                             j->cpu->shared + i * row);
}

static void multiply_span(void *job, size_t begin, size_t end, int thread)
{
    product_job *j = job;
    const size_t row = laci_cpu_linear_row_bytes(j->linear);
    const char *x = j->packs ? j->cpu->shared : j->x;
    for (size_t i = begin; i < end; i++) {
        const size_t first = i % j->n_parts * j->part;
        if (first >= j->n) continue; /* parts are whole tiles */
        if (!laci_cpu_linear_slab(j->linear, x + first * row,
                                  j->n - first < j->part ? j->n - first : j->part, i / j->n_parts,
                                  j->y + first * laci_cpu_linear_n_out(j->linear),
                                  scratch_of(j->cpu, thread)))
            atomic_store(&j->failed, true);
    }
}

/* Rows of one group: inputs are packed once for all slabs, then threads take slabs, or parts of
 * the group where there are few. */
static bool multiply_group(const cpu_backend *cpu, const laci_linear *linear, const char *x,
                           size_t n, float *y)
{
    const size_t n_slabs = laci_cpu_linear_n_slabs(linear);
    const size_t n_tiles = (n + LACI_LINEAR_ROWS - 1) / LACI_LINEAR_ROWS;
    const size_t wanted = (2 * (size_t)cpu->base.n_threads + n_slabs - 1) / n_slabs;
    const size_t n_parts = wanted < n_tiles ? wanted : n_tiles;
    const size_t part = (n_tiles + n_parts - 1) / n_parts * LACI_LINEAR_ROWS;
    product_job job = { cpu, linear, x, y, n, part, n_parts, laci_cpu_linear_packs(linear), false };
    assert(!job.packs || n * laci_cpu_linear_row_bytes(linear) <= cpu->shared_bytes);
    if (job.packs) laci_team_run(cpu->team, n_tiles, 1, pack_span, &job);
    laci_team_run(cpu->team, n_slabs * n_parts, 1, multiply_span, &job);
    return !atomic_load(&job.failed);
}

static void cpu_linear(laci_backend *be, const laci_linear *linear, const laci_buf *x, size_t x_row,
                       size_t n, laci_buf *out)
{
    const size_t n_in = laci_cpu_linear_n_in(linear), n_out = laci_cpu_linear_n_out(linear);
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
    const laci_head_op *op;
    const laci_buf *x;
    laci_buf *out;
    const int32_t *positions;
    size_t first_position, out_row;
} heads_job;

static void heads_span(void *job, size_t begin, size_t end, int thread)
{
    const heads_job *j = job;
    const size_t width = j->op->n_heads * j->op->d_head;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *row = floats(j->x, i * width);
        treat_heads(j->cpu, j->op, row,
                    j->positions ? (size_t)j->positions[i] : j->first_position + i);
        put_act(j->cpu, act_row(&j->cpu->base, j->out, j->out_row + i, width), row, width);
    }
}

static void cpu_heads(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                      const int32_t *positions, size_t first_position, laci_buf *out,
                      size_t out_row)
{
    heads_job job = { cpu_of(be), op, x, out, positions, first_position, out_row };
    spread(be, n, 0, n * op->n_heads * op->d_head, heads_span, &job);
}

typedef struct {
    laci_backend *be;
    const laci_head_op *op;
    const laci_buf *x;
    const laci_kv *kv;
    laci_kv_part part;
    size_t batch, at, end, first_panel; /* keys [at, end) of the piece */
    void (*pack)(void *, const float *, size_t, size_t, size_t, size_t);
} store_job;

/* Panels [first, last) of those that hold the keys. */
static void store_span(void *job, size_t first, size_t last, int thread)
{
    const store_job *j = job;
    const laci_head_op *op = j->op;
    const size_t d = op->d_head, width = op->n_heads * d;
    const size_t bytes = j->part == LACI_KEYS ? laci_k_panel_bytes(j->be->act, d)
                                              : laci_v_panel_bytes(j->be->act, d);
    (void)thread;
    for (size_t panel = j->first_panel + first; panel < j->first_panel + last; panel++) {
        const size_t begin = panel * LACI_PANEL > j->at ? panel * LACI_PANEL : j->at;
        const size_t stop = (panel + 1) * LACI_PANEL < j->end ? (panel + 1) * LACI_PANEL : j->end;
        float *rows = floats(j->x, (begin - j->at) * width);
        for (size_t i = begin; i < stop; i++)
            treat_heads(cpu_of(j->be), op, rows + (i - begin) * width, j->kv->first + i);
        for (size_t h = 0; h < op->n_heads; h++)
            j->pack(kv_panels(j->be, j->kv, j->part, j->batch, h) + panel * bytes, rows + h * d,
                    width, begin % LACI_PANEL, stop - begin, d);
    }
}

static void cpu_store(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                      const laci_kv *kv, laci_kv_part part, size_t batch, size_t row)
{
    const laci_kernels *k = &cpu_of(be)->kernels;
    const bool is_bf16 = be->act == LACI_BF16;
    const size_t at = row - kv->first, end = at + n, first_panel = at / LACI_PANEL;
    const size_t n_panels = (end + LACI_PANEL - 1) / LACI_PANEL - first_panel;
    store_job job = { be, op, x, kv, part, batch, at, end, first_panel, NULL };
    if (part == LACI_KEYS)
        job.pack = is_bf16 ? k->pack_k_bf16 : k->pack_k_f32;
    else
        job.pack = is_bf16 ? k->pack_v_bf16 : k->pack_v_f32;
    spread(be, n_panels, 0, n * op->n_heads * op->d_head, store_span, &job);
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

static void cpu_mlp(laci_backend *be, const laci_buf *gate, const laci_buf *up, size_t n, size_t d,
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

static void cpu_add(laci_backend *be, laci_buf *sum, size_t sum_row, const laci_buf *x, size_t n,
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

static void cpu_guide(laci_backend *be, laci_buf *cond, const laci_buf *uncond, size_t n, size_t d,
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

static void cpu_choose(laci_backend *be, const laci_choice_rule *rule, laci_buf *logits, size_t row,
                       size_t n, const uint64_t *keys, laci_choice *out)
{
    const size_t n_vocab = (size_t)rule->n_vocab;
    choose_job job = { cpu_of(be), rule, floats(logits, row * n_vocab), keys, out };
    spread(be, n, 1, n * n_vocab, choose_span, &job);
}

/* ------------------------------------------------------------------ opening */

static laci_scratch_size cpu_scratch_need(const laci_backend *weights,
                                          const laci_scratch_dims *dims)
{
    laci_scratch_size need =
        laci_cpu_linear_scratch(((const cpu_backend *)weights)->shapes, dims->n_rows);
    const size_t others[] = {
        laci_cpu_attend_scratch(dims->d_head, dims->n_ctx, dims->stats_block),
        laci_cpu_select_scratch(dims->d_head, dims->n_pages, dims->n_ranked),
        dims->n_vocab * sizeof(int32_t),
        dims->d_model * sizeof(float),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i] > need.per_thread) need.per_thread = others[i];
    need.per_thread = (need.per_thread + LACI_ALIGN - 1) / LACI_ALIGN * LACI_ALIGN;
    return need;
}

static lac_status cpu_reserve(laci_backend *be, laci_scratch_size size, lac_error *err)
{
    cpu_backend *cpu = cpu_of(be);
    const size_t threads = size.per_thread * (size_t)be->n_threads;
    char *scratch = laci_alloc_aligned(&be->mem, threads);
    char *shared = laci_alloc_aligned(&be->mem, size.shared);
    const bool has_room = laci_has_room(RUN_ROOM, (size_t)be->n_threads);
    if (!scratch || !shared || !has_room) {
        laci_release_aligned(&be->mem, scratch);
        laci_release_aligned(&be->mem, shared);
        return laci_fail_memory(err, scratch && shared ? "threads and their work" : "scratch",
                                threads + size.shared);
    }
    laci_release_aligned(&be->mem, cpu->scratch);
    laci_release_aligned(&be->mem, cpu->shared);
    cpu->scratch = scratch;
    cpu->scratch_stride = size.per_thread;
    cpu->shared = shared;
    cpu->shared_bytes = size.shared;
    return laci_team_start(cpu->team, err);
}

static void cpu_mark(laci_backend *be, unsigned i)
{
    cpu_of(be)->marks[i] = (double)laci_clock_ns() * 1e-9;
}

static double cpu_between(laci_backend *be, unsigned from, unsigned to)
{
    return cpu_of(be)->marks[to] - cpu_of(be)->marks[from];
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
    .view_new = cpu_view_new,
    .view_set = cpu_view_set,
    .write = cpu_write,
    .read = cpu_read,
    .copy = cpu_copy,
    .clear = cpu_clear,
    .kv_new = cpu_kv_new,
    .linear_new = cpu_linear_new,
    .linear_free = cpu_linear_free,
    .linear_bytes = cpu_linear_bytes,
    .embed = cpu_embed,
    .norm = cpu_norm,
    .gather = cpu_gather,
    .linear = cpu_linear,
    .heads = cpu_heads,
    .store = cpu_store,
    .attend = laci_cpu_attend,
    .column_mass = laci_cpu_column_mass,
    .merge = laci_cpu_merge,
    .mlp = cpu_mlp,
    .add = cpu_add,
    .guide = cpu_guide,
    .choose = cpu_choose,
    .pages_new = laci_cpu_pages_new,
    .pages_new_i8 = laci_cpu_pages_new_i8,
    .page_bounds = laci_cpu_page_bounds,
    .select_pages = laci_cpu_select_pages,
    .top_k = laci_cpu_top_k,
    .gather_rows = laci_cpu_gather_rows,
    .scatter_rows = laci_cpu_scatter_rows,
    .row_changes = laci_cpu_row_changes,
    .pool_columns = laci_cpu_pool_columns,
    .pool_masses = laci_cpu_pool_masses,
    .scratch_need = cpu_scratch_need,
    .reserve = cpu_reserve,
    .mark = cpu_mark,
    .between = cpu_between,
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
    cpu->base = (laci_backend){ &cpu_ops,
                                "cpu",
                                dtype == LAC_DTYPE_BF16 ? LACI_BF16 : LACI_F32,
                                n_threads > 0 ? n_threads : laci_machine_threads(),
                                laci_cpu_linear_rows_stand_alone(),
                                from };
    cpu->kernels = laci_kernels_for(isa);
    const lac_status st = laci_team_open(&cpu->team, cpu->base.n_threads, &from, err);
    if (st)
        laci_release(&from, cpu);
    else
        *out = &cpu->base;
    return st;
}
