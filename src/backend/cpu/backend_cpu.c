/* backend_cpu.c: the CPU backend: buffers in process memory, rows spread over OpenMP threads, inner
 * loops from the kernel table, matrix products from cpu_linear.h. OpenMP lives in this file and
 * cpu_linear only. Every parallel loop writes disjoint outputs. */
#include <assert.h>
#include <math.h>

#include "backend/cpu/cpu_attend.h"
#include "backend/cpu/cpu_rows.h"
#include "backend/cpu/cpu_select.h"
#include "backend/cpu/cpu_state.h"
#include "base/error.h"
#include "kernels/isa.h"

/* Addresses that must be left when a session is made: what the libraries take inside a pass. */
enum { RUN_ROOM = 8 << 20 };

/* ------------------------------------------------------------------ memory and weights */

static void cpu_close(laci_backend *be)
{
    cpu_backend *cpu = cpu_of(be);
    const lac_allocator mem = be->mem;
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

/* Rows of one group: inputs are packed once for all slabs, then threads take slabs, or parts of
 * the group where there are few. */
static bool multiply_group(const cpu_backend *cpu, const laci_linear *linear, const char *x,
                           size_t n, float *y)
{
    const int n_threads = cpu->base.n_threads;
    const size_t n_in = laci_cpu_linear_n_in(linear), n_out = laci_cpu_linear_n_out(linear);
    const size_t n_slabs = laci_cpu_linear_n_slabs(linear), row = laci_cpu_linear_row_bytes(linear);
    const size_t n_tiles = (n + LACI_LINEAR_ROWS - 1) / LACI_LINEAR_ROWS;
    const size_t wanted = (2 * (size_t)n_threads + n_slabs - 1) / n_slabs;
    const size_t n_parts = wanted < n_tiles ? wanted : n_tiles;
    const size_t part = (n_tiles + n_parts - 1) / n_parts * LACI_LINEAR_ROWS;
    const bool packs = laci_cpu_linear_packs(linear);
    bool failed = false;
    assert(!packs || n * row <= cpu->shared_bytes); /* more rows than the session said */
#pragma omp parallel num_threads(n_threads) reduction(|| : failed) if (n_tiles * n_slabs > 1)
    {
#pragma omp for schedule(static)
        for (size_t i = 0; i < (packs ? n : 0); i += LACI_LINEAR_ROWS)
            laci_cpu_linear_pack(linear, x + i * n_in * act_size(&cpu->base),
                                 n - i < LACI_LINEAR_ROWS ? n - i : LACI_LINEAR_ROWS,
                                 cpu->shared + i * row);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n_slabs * n_parts; i++) {
            const size_t first = i % n_parts * part;
            if (first >= n) continue; /* parts are whole tiles */
            if (!laci_cpu_linear_slab(linear, (packs ? cpu->shared : x) + first * row,
                                      n - first < part ? n - first : part, i / n_parts,
                                      y + first * n_out, scratch_of(cpu)))
                failed = true;
        }
    }
    return !failed;
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

static void cpu_store(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                      const laci_kv *kv, laci_kv_part part, size_t batch, size_t row)
{
    const cpu_backend *cpu = cpu_of(be);
    const laci_kernels *k = &cpu->kernels;
    const bool is_bf16 = be->act == LACI_BF16;
    const size_t d = op->d_head, width = op->n_heads * d;
    const size_t at = row - kv->first, end = at + n; /* keys of this piece */
    const size_t bytes =
        part == LACI_KEYS ? laci_k_panel_bytes(be->act, d) : laci_v_panel_bytes(be->act, d);
    const size_t first_panel = at / LACI_PANEL, end_panel = (end + LACI_PANEL - 1) / LACI_PANEL;
    void (*pack)(void *, const float *, size_t, size_t, size_t, size_t) =
        part == LACI_KEYS ? (is_bf16 ? k->pack_k_bf16 : k->pack_k_f32)
                          : (is_bf16 ? k->pack_v_bf16 : k->pack_v_f32);
#pragma omp parallel for schedule(static) num_threads(be->n_threads) if (n * width > PARALLEL_MIN)
    for (size_t panel = first_panel; panel < end_panel; panel++) {
        const size_t begin = panel * LACI_PANEL > at ? panel * LACI_PANEL : at;
        const size_t stop = (panel + 1) * LACI_PANEL < end ? (panel + 1) * LACI_PANEL : end;
        float *rows = floats(x, (begin - at) * width);
        for (size_t i = begin; i < stop; i++)
            treat_heads(cpu, op, rows + (i - begin) * width, kv->first + i);
        for (size_t h = 0; h < op->n_heads; h++)
            pack(kv_panels(be, kv, part, batch, h) + panel * bytes, rows + h * d, width,
                 begin % LACI_PANEL, stop - begin, d);
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
    return LAC_OK;
}

static void cpu_mark(laci_backend *be, unsigned i)
{
    cpu_of(be)->marks[i] = omp_get_wtime();
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
                                n_threads > 0 ? n_threads : omp_get_num_procs(),
                                laci_cpu_linear_rows_stand_alone(),
                                from };
    cpu->kernels = laci_kernels_for(isa);
    *out = &cpu->base;
    return LAC_OK;
}
