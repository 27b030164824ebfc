/* cuda_backend.c: the CUDA backend: memory, weights, rows. Host logic only; what runs on the device
 * is behind the table of cuda_api.h. Attention is in cuda_attend.c, selection in cuda_select.c.
 *
 * Errors of the device cannot be returned by operations, which have no result: the first one is
 * noted, and from then on everything that is read back is NaN (integers: all bits set), so that no
 * wrong number passes for an answer.
 *
 * Device memory for arguments and scratch grows in the first steps of a new shape and not after. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/cuda_state.h"
#include "base/error.h"
#include "kernels/attend.h"

enum {
    ALIGN_ARGUMENT = 256,
    RING_BYTES = 1 << 20,
    STATS_BYTES = 256 << 20,
    WEIGHT_CHUNK = 1 << 20, /* elements of a matrix converted at once */
};

struct laci_linear {
    char *data; /* act [n_out, n_in] on the device, owned */
    size_t n_out, n_in;
};

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ------------------------------------------------------------------ device and errors */

void laci_cuda_wait(cuda_backend *cuda)
{
    laci_cuda_flush(cuda);
    laci_cuda_note(cuda, cuda->api.sync(cuda->stream));
    cuda->ring.is_at_rest = true;
}

/* Launch errors of the operation just queued. */
static void leave(cuda_backend *cuda)
{
    laci_cuda_note(cuda, cuda->api.last_error());
}

static lac_status fail_device(const cuda_backend *cuda, int code, const char *what, size_t n_bytes,
                              lac_error *err)
{
    size_t free_bytes = 0;
    laci_cu_info info;
    if (!cuda->api.info(cuda->device, &info)) free_bytes = info.free_bytes;
    (void)cuda->api.last_error(); /* a refused allocation is no error of later launches */
    return laci_fail(err, LAC_ENOMEM, 0,
                     "no memory for %s on %s: %zu bytes wanted, %zu free (device says: %s)", what,
                     cuda->name, n_bytes, free_bytes, cuda->api.explain(code));
}

/* ------------------------------------------------------------------ arguments and scratch */

static void free_ring(cuda_backend *cuda)
{
    if (cuda->ring.host) cuda->api.host_release(cuda->ring.host);
    if (cuda->ring.device) cuda->api.release(cuda->ring.device);
    cuda->ring = (laci_cu_ring){ 0 };
}

void laci_cuda_room(cuda_backend *cuda, size_t n_bytes, size_t n_arrays)
{
    const size_t n = n_bytes + n_arrays * ALIGN_ARGUMENT;
    laci_cu_ring *ring = &cuda->ring;
    if (ring->is_at_rest) ring->at = ring->sent = 0;
    if (ring->at + n <= ring->size) return;
    laci_cuda_wait(cuda);
    ring->at = ring->sent = 0;
    if (n <= ring->size) return;
    const size_t size = n < RING_BYTES / 4 ? RING_BYTES : round_up(4 * n, RING_BYTES);
    free_ring(cuda);
    void *host = NULL, *device = NULL;
    int code = cuda->api.host_alloc(&host, size);
    if (!code) code = cuda->api.alloc(&device, size);
    cuda->ring = (laci_cu_ring){ .host = host, .device = device, .size = code ? 0 : size };
    laci_cuda_note(cuda, code);
}

void *laci_cuda_put(cuda_backend *cuda, const void *src, size_t n)
{
    laci_cu_ring *ring = &cuda->ring;
    const size_t at = round_up(ring->at, ALIGN_ARGUMENT);
    if (!src || cuda->failed || at + n > ring->size) return NULL;
    memcpy(ring->host + at, src, n);
    if (!cuda->graphs.is_open) /* else a whole segment's are copied at once */
        laci_cuda_note(cuda, cuda->api.copy(cuda->stream, ring->device + at, ring->host + at, n));
    ring->at = at + n;
    ring->is_at_rest = false;
    return ring->device + at;
}

void *laci_cuda_put_one(cuda_backend *cuda, const void *src, size_t n)
{
    laci_cuda_room(cuda, n, 1);
    return laci_cuda_put(cuda, src, n);
}

char *laci_cuda_scratch(cuda_backend *cuda, laci_cu_scratch *scratch, size_t n)
{
    const bool pinned = scratch == &cuda->results;
    if (cuda->failed) return NULL;
    if (n <= scratch->size && scratch->data) return scratch->data;
    laci_cuda_wait(cuda);
    if (scratch->data) (pinned ? cuda->api.host_release : cuda->api.release)(scratch->data);
    *scratch = (laci_cu_scratch){ 0 };
    void *data = NULL;
    const int code = (pinned ? cuda->api.host_alloc : cuda->api.alloc)(&data, n);
    laci_cuda_note(cuda, code);
    if (code) return NULL;
    *scratch = (laci_cu_scratch){ data, n };
    return scratch->data;
}

void *laci_cuda_host(cuda_backend *cuda, size_t n)
{
    if (cuda->jobs && n <= cuda->jobs_size) return cuda->jobs;
    laci_release(&cuda->base.mem, cuda->jobs);
    cuda->jobs = laci_alloc(&cuda->base.mem, n);
    cuda->jobs_size = cuda->jobs ? n : 0;
    if (!cuda->jobs) laci_cuda_note(cuda, -1);
    return cuda->jobs;
}

void laci_cuda_get(cuda_backend *cuda, void *dst, const void *src, size_t n)
{
    laci_cuda_flush(cuda);
    if (!cuda->failed) laci_cuda_note(cuda, cuda->api.copy(cuda->stream, dst, src, n));
    if (!cuda->failed) laci_cuda_wait(cuda);
    if (cuda->failed) memset(dst, 0xff, n);
}

/* ------------------------------------------------------------------ memory and weights */

void laci_cuda_close(laci_backend *be)
{
    cuda_backend *cuda = laci_cuda_at_once(be);
    const lac_allocator mem = be->mem;
    laci_cuda_wait(cuda);
    laci_cuda_free_graphs(cuda);
    for (size_t i = 0; i < LACI_N_MARKS; i++)
        if (cuda->marks[i]) cuda->api.event_free(cuda->marks[i]);
    free_ring(cuda);
    if (cuda->scratch.data) cuda->api.release(cuda->scratch.data);
    if (cuda->stats.data) cuda->api.release(cuda->stats.data);
    if (cuda->workspace.data) cuda->api.release(cuda->workspace.data);
    if (cuda->results.data) cuda->api.host_release(cuda->results.data);
    laci_cu_blas_close(cuda->blas, &mem);
    cuda->api.stream_free(cuda->stream);
    laci_release(&mem, cuda->jobs);
    laci_release(&mem, cuda);
}

/* Weights are read on other streams than this one. */
lac_status laci_cuda_finish(laci_backend *be, lac_error *err)
{
    cuda_backend *cuda = laci_cuda_at_once(be);
    laci_cuda_wait(cuda);
    if (!cuda->failed) return LAC_OK;
    return laci_fail(err, LAC_EINTERNAL, 0, "%s: work that was queued has failed: %s", cuda->name,
                     cuda->api.explain(cuda->failed));
}

lac_status laci_cuda_buf_new(laci_backend *be, size_t n_bytes, const char *what, laci_buf **out,
                             lac_error *err)
{
    cuda_backend *cuda = laci_cuda_at_once(be);
    void *data = NULL;
    laci_buf *buf = laci_alloc(&be->mem, sizeof *buf);
    if (!buf) return laci_fail_memory(err, what, sizeof *buf);
    const int code = cuda->api.alloc(&data, n_bytes);
    if (code) {
        laci_release(&be->mem, buf);
        return fail_device(cuda, code, what, n_bytes, err);
    }
    laci_cuda_note(cuda,
                   cuda->api.fill(cuda->stream, data, 0, n_bytes)); /* padding holds numbers */
    *buf = (laci_buf){ .data = data, .n_bytes = n_bytes };
    *out = buf;
    return LAC_OK;
}

/* Memory that queued work may still use. */
static void release_at_once(laci_backend *be, void *data)
{
    cuda_backend *cuda = laci_cuda_at_once(be);
    laci_cuda_wait(cuda);
    cuda->api.release(data);
}

void laci_cuda_buf_free(laci_backend *be, laci_buf *buf)
{
    if (!buf->is_view) release_at_once(be, buf->data);
    laci_release(&be->mem, buf);
}

lac_status laci_cuda_view_new(laci_backend *be, laci_buf **out, lac_error *err)
{
    laci_buf *view = laci_alloc(&be->mem, sizeof *view);
    if (!view) return laci_fail_memory(err, "a view", sizeof *view);
    *view = (laci_buf){ .is_view = true };
    *out = view;
    return LAC_OK;
}

void laci_cuda_view_set(laci_backend *be, laci_buf *view, const laci_buf *of, size_t offset)
{
    (void)be;
    view->data = of->data + offset;
    view->n_bytes = of->n_bytes - offset;
}

lac_status laci_cuda_kv_new(laci_backend *be, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                            size_t d_head, laci_kv *out, lac_error *err)
{
    laci_kv kv = { .n_batch = n_batch, .n_kv_heads = n_kv_heads, .d_head = d_head, .n_ctx = n_ctx };
    const size_t n_keys = kv_at(&kv, n_batch), bytes = laci_act_bytes(be->act);
    lac_status st = laci_cuda_buf_new(be, n_keys * d_head * bytes, "keys", &kv.k, err);
    if (!st) st = laci_cuda_buf_new(be, n_keys * v_stride(d_head) * bytes, "values", &kv.v, err);
    if (st && kv.k) laci_cuda_buf_free(be, kv.k);
    if (!st) *out = kv;
    return st;
}

void laci_cuda_write(laci_backend *be, laci_buf *buf, size_t offset, const void *src, size_t n)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < RING_BYTES / 4 ? n - at : RING_BYTES / 4;
        const void *from = laci_cuda_put_one(cuda, (const char *)src + at, part);
        if (from)
            laci_cuda_note(cuda, cuda->api.copy(cuda->stream, buf->data + offset + at, from, part));
    }
}

void laci_cuda_read(laci_backend *be, const laci_buf *buf, size_t offset, void *dst, size_t n)
{
    laci_cuda_get(laci_cuda_at_once(be), dst, buf->data + offset, n);
}

void laci_cuda_copy(laci_backend *be, laci_buf *out, size_t out_offset, const laci_buf *in,
                    size_t in_offset, size_t n)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    if (!n) return;
    laci_cuda_note(cuda,
                   cuda->api.copy(cuda->stream, out->data + out_offset, in->data + in_offset, n));
}

void laci_cuda_clear(laci_backend *be, laci_buf *buf)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    laci_cuda_note(cuda, cuda->api.fill(cuda->stream, buf->data, 0, buf->n_bytes));
}

size_t laci_cuda_linear_bytes(laci_backend *be, size_t n_out, size_t n_in)
{
    return n_out * n_in * laci_act_bytes(be->act);
}

/* Reads the matrix in chunks of rows, converts them in place and copies them over. */
static void fill_weights(cuda_backend *cuda, const laci_linear *w, laci_row_source source,
                         float *rows, size_t n_rows)
{
    const size_t bytes = laci_act_bytes(cuda->base.act);
    for (size_t row = 0; row < w->n_out; row += n_rows) {
        const size_t n = (w->n_out - row < n_rows ? w->n_out - row : n_rows) * w->n_in;
        source.read(source.user, row, n / w->n_in, rows);
        uint16_t *halves = (uint16_t *)(void *)rows;
        for (size_t i = 0; bytes == 2 && i < n; i++) {
            const uint16_t half = laci_f32_to_bf16(rows[i]);
            memcpy(halves + i, &half, sizeof half); /* at or before the float it came from */
        }
        laci_cuda_note(
            cuda, cuda->api.copy(cuda->stream, w->data + row * w->n_in * bytes, rows, n * bytes));
        laci_cuda_wait(cuda);
    }
}

lac_status laci_cuda_linear_new(laci_backend *be, size_t n_out, size_t n_in, laci_row_source source,
                                laci_linear **out, lac_error *err)
{
    cuda_backend *cuda = laci_cuda_at_once(be);
    const size_t n_bytes = laci_cuda_linear_bytes(be, n_out, n_in);
    const size_t n_rows = n_in < WEIGHT_CHUNK ? WEIGHT_CHUNK / n_in : 1;
    laci_linear *w = laci_alloc(&be->mem, sizeof *w);
    float *rows = laci_alloc_array(&be->mem, n_rows * n_in, sizeof *rows);
    void *data = NULL;
    lac_status st = LAC_OK;
    if (!w || !rows) {
        st = laci_fail_memory(err, "a chunk of weights", n_rows * n_in * sizeof *rows);
    } else {
        const int code = cuda->api.alloc(&data, n_bytes);
        if (code) st = fail_device(cuda, code, "weights", n_bytes, err);
    }
    if (!st) {
        *w = (laci_linear){ data, n_out, n_in };
        fill_weights(cuda, w, source, rows, n_rows);
        if (cuda->failed)
            st = laci_fail(err, LAC_EINTERNAL, 0, "%s: copying weights: %s", cuda->name,
                           cuda->api.explain(cuda->failed));
    }
    laci_release(&be->mem, rows);
    if (st) {
        if (data) cuda->api.release(data);
        laci_release(&be->mem, w);
        return st;
    }
    *out = w;
    return LAC_OK;
}

void laci_cuda_linear_free(laci_backend *be, laci_linear *linear)
{
    release_at_once(be, linear->data);
    laci_release(&be->mem, linear);
}

/* ------------------------------------------------------------------ rows */

void laci_cuda_embed(laci_backend *be, const laci_embedding *embedding, const int32_t *ids,
                     size_t n, laci_buf *out)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_norm *norm = embedding->norm;
    const size_t d = embedding->d;
    const laci_cu_embed a = {
        .table = embedding->table->data,
        .time = floats_at(embedding->time_table, embedding->time_row * d),
        .weight = norm ? floats_at(norm->weight, 0) : NULL,
        .ids = laci_cuda_put_one(cuda, ids, n * sizeof *ids),
        .out = floats_at(out, 0),
        .eps = norm ? norm->eps : 0,
        .n = (uint32_t)n,
        .d = (uint32_t)d,
        .n_rows = (uint32_t)embedding->n_rows,
        .stand_in = (uint32_t)embedding->stand_in,
        .normed = norm != NULL,
        .bf16 = is_bf16(be),
    };
    if (!n || !a.ids) return;
    cuda->api.embed(cuda->stream, &a);
    leave(cuda);
}

void laci_cuda_norm(laci_backend *be, const laci_norm_rows *r)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_norm a = {
        .x = floats_at(r->x, r->rows ? 0 : r->x_row * r->d),
        .rows = laci_cuda_put_one(cuda, r->rows, r->n * sizeof *r->rows),
        .weight = floats_at(r->norm.weight, 0),
        .out = acts_at(be, r->out, r->out_row * r->d),
        .eps = r->norm.eps,
        .n = (uint32_t)r->n,
        .d = (uint32_t)r->d,
        .bf16 = is_bf16(be),
    };
    if (!r->n || (r->rows && !a.rows)) return;
    cuda->api.norm(cuda->stream, &a);
    leave(cuda);
}

static void move_rows(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n,
                      size_t row_bytes, laci_buf *out, bool scatter)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_move a = { x->data,   laci_cuda_put_one(cuda, rows, n * sizeof *rows),
                             out->data, (uint32_t)n,
                             row_bytes, scatter };
    if (!n || !a.rows) return;
    cuda->api.move(cuda->stream, &a);
    leave(cuda);
}

void laci_cuda_gather(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n, size_t d,
                      laci_buf *out)
{
    move_rows(be, x, rows, n, d * sizeof(float), out, false);
}

void laci_cuda_gather_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                           const int32_t *rows, size_t n, size_t d, laci_buf *out)
{
    move_rows(be, x, rows, n, d * laci_act_bytes(type), out, false);
}

void laci_cuda_scatter_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                            const int32_t *rows, size_t n, size_t d, laci_buf *out)
{
    move_rows(be, x, rows, n, d * laci_act_bytes(type), out, true);
}

void laci_cuda_linear(laci_backend *be, const laci_linear *linear, const laci_buf *x, size_t x_row,
                      size_t n, laci_buf *out)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_product a = { acts_at(be, x, x_row * linear->n_in),
                                linear->data,
                                floats_at(out, 0),
                                (uint32_t)n,
                                (uint32_t)linear->n_out,
                                (uint32_t)linear->n_in,
                                is_bf16(be) };
    laci_cu_blas_result by_library = LACI_CU_BLAS_NO_WAY;
    if (!n) return;
    if (cuda->blas) {
        void *workspace = laci_cuda_scratch(cuda, &cuda->workspace, LACI_CU_BLAS_BYTES);
        if (!workspace) return;
        by_library = laci_cu_blas_product(cuda->blas, &a, workspace, cuda->stream);
    }
    if (by_library == LACI_CU_BLAS_NO_WAY) cuda->api.product(cuda->stream, &a);
    if (by_library == LACI_CU_BLAS_FAILED) laci_cuda_note(cuda, -1);
    leave(cuda);
}

static laci_cu_heads heads_of(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n)
{
    return (laci_cu_heads){
        .x = floats_at(x, 0),
        .bias = floats_at(op->bias, 0),
        .weight = floats_at(op->norm.weight, 0),
        .cosines = floats_at(op->cosines, 0),
        .sines = floats_at(op->sines, 0),
        .eps = op->norm.eps,
        .n = (uint32_t)n,
        .n_heads = (uint32_t)op->n_heads,
        .d = (uint32_t)op->d_head,
        .rope_dim = (uint32_t)op->rope_dim,
        .norm_before = op->norm_before,
        .norm_after = op->norm_after,
        .adjacent = op->rope_adjacent,
        .bf16 = is_bf16(be),
    };
}

void laci_cuda_heads(laci_backend *be, const laci_head_rows *r)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    laci_cu_heads a = heads_of(be, r->op, r->x, r->n);
    a.positions = laci_cuda_put_one(cuda, r->positions, r->n * sizeof *r->positions);
    a.first_position = r->first_position;
    a.out = acts_at(be, r->out, r->out_row * r->op->n_heads * r->op->d_head);
    if (!r->n || (r->positions && !a.positions)) return;
    cuda->api.heads(cuda->stream, &a);
    leave(cuda);
}

void laci_cuda_store(laci_backend *be, const laci_kv_rows *r)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    laci_cu_heads a = heads_of(be, r->op, r->x, r->n);
    const laci_buf *to = r->part == LACI_KEYS ? r->kv->k : r->kv->v;
    const size_t stride = r->part == LACI_KEYS ? r->op->d_head : v_stride(r->op->d_head);
    a.first_position = r->row;
    a.first_row = r->row - r->kv->first;
    a.ctx = kv_room(r->kv);
    a.stride = (uint32_t)stride;
    a.keys = true;
    a.out = acts_at(be, to, kv_at(r->kv, r->batch) * stride);
    if (!r->n) return;
    cuda->api.heads(cuda->stream, &a);
    leave(cuda);
}

void laci_cuda_mlp(laci_backend *be, const laci_buf *gate, const laci_buf *up, size_t n, size_t d,
                   laci_buf *out)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_mlp a = { floats_at(gate, 0), floats_at(up, 0), out->data, n * d, is_bf16(be) };
    if (!a.n) return;
    cuda->api.mlp(cuda->stream, &a);
    leave(cuda);
}

void laci_cuda_add(laci_backend *be, laci_buf *sum, size_t sum_row, const laci_buf *x, size_t n,
                   size_t d)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_add a = { floats_at(sum, sum_row * d), floats_at(x, 0), n * d, 0, false };
    if (!a.n) return;
    cuda->api.add(cuda->stream, &a);
    leave(cuda);
}

void laci_cuda_guide(laci_backend *be, laci_buf *cond, const laci_buf *uncond, size_t n, size_t d,
                     float scale)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_add a = { floats_at(cond, 0), floats_at(uncond, 0), n * d, scale, true };
    if (!a.n) return;
    cuda->api.add(cuda->stream, &a);
    leave(cuda);
}

/* ------------------------------------------------------------------ opening */

/* Nothing is computed on the host. */
laci_scratch_size laci_cuda_scratch_need(const laci_backend *be, const laci_scratch_dims *dims)
{
    (void)be, (void)dims;
    return (laci_scratch_size){ 0 };
}

lac_status laci_cuda_reserve(laci_backend *be, laci_scratch_size size, lac_error *err)
{
    (void)be, (void)size, (void)err;
    return LAC_OK;
}

void laci_cuda_mark(laci_backend *be, unsigned i)
{
    cuda_backend *cuda = laci_cuda_at_once(be);
    if (!cuda->marks[i]) laci_cuda_note(cuda, cuda->api.event_new(&cuda->marks[i]));
    if (!cuda->failed) laci_cuda_note(cuda, cuda->api.event_record(cuda->marks[i], cuda->stream));
}

double laci_cuda_between(laci_backend *be, unsigned from, unsigned to)
{
    cuda_backend *cuda = laci_cuda_at_once(be);
    float ms = NAN;
    if (!cuda->failed)
        laci_cuda_note(cuda, cuda->api.event_ms(&ms, cuda->marks[from], cuda->marks[to]));
    return cuda->failed ? NAN : (double)ms * 1e-3;
}

size_t laci_cuda_runtime_bytes(const laci_backend *be)
{
    (void)be;
    return 0; /* of the host; a CUDA context takes a few hundred MB of the device */
}

static const laci_backend_ops cuda_ops = {
#define OP(shape, result, function, entry, parameters, arguments) .entry = laci_cuda_##entry,
#include "backend/backend_ops.def"
};

/* Which kernel bf16 attention runs: LAC_CUDA_ATTEND is "mma" (as when it is not set) or "wgmma". */
static lac_status choose_kernel(cuda_backend *cuda, lac_error *err)
{
    const char *name = getenv("LAC_CUDA_ATTEND");
    if (!name || !*name || !strcmp(name, "mma")) return LAC_OK;
    if (strcmp(name, "wgmma") != 0)
        return laci_fail(err, LAC_EINVAL, 0, "LAC_CUDA_ATTEND is \"%s\": it is mma or wgmma", name);
    if (cuda->info.major != 9)
        return laci_fail(err, LAC_EINVAL, 0,
                         "LAC_CUDA_ATTEND=wgmma needs compute capability 9.0: device %d has %d.%d",
                         cuda->device, cuda->info.major, cuda->info.minor);
    if (!cuda->api.has_wgmma())
        return laci_fail(err, LAC_EINVAL, 0,
                         "LAC_CUDA_ATTEND=wgmma needs a driver with tensor maps (CUDA 12)");
    cuda->wgmma = true;
    return LAC_OK;
}

/* Whether forward passes become graphs: LAC_CUDA_GRAPH is 0 (as when it is not set) or 1. */
static lac_status choose_graphs(cuda_backend *cuda, lac_error *err)
{
    const char *wanted = getenv("LAC_CUDA_GRAPH");
    if (!wanted || !*wanted || !strcmp(wanted, "0")) return LAC_OK;
    if (strcmp(wanted, "1") != 0)
        return laci_fail(err, LAC_EINVAL, 0, "LAC_CUDA_GRAPH is \"%s\": it is 0 or 1", wanted);
    cuda->graphs.is_wanted = true;
    return LAC_OK;
}

/* The stream and the library of products. */
static lac_status start(cuda_backend *cuda, lac_error *err)
{
    const int code = cuda->api.stream_new(&cuda->stream);
    if (code)
        return laci_fail(err, LAC_EINVAL, 0, "CUDA device %d cannot be used: %s", cuda->device,
                         cuda->api.explain(code));
    /* a library of the toolkit needs a device; one that is named may be made for the emulator */
    if (cuda->info.emulated && !getenv("LAC_CUBLAS")) return LAC_OK;
    const lac_status st = laci_cu_blas_open(&cuda->blas, &cuda->base.mem, err);
    if (st) cuda->api.stream_free(cuda->stream);
    return st;
}

lac_status laci_cuda_open_on(laci_backend **out, const laci_cu_api *api, int device,
                             lac_dtype dtype, const lac_allocator *mem, lac_error *err)
{
    const lac_allocator from = laci_allocator_or_default(mem);
    int n_devices = 0;
    int code = api->count(&n_devices);
    if (code)
        return laci_fail(err, LAC_EINVAL, 0, "no CUDA device: %s; --backend cpu runs without one",
                         api->explain(code));
    if (device < 0 || device >= n_devices)
        return laci_fail(err, LAC_EINVAL, 0, "no CUDA device %d: this machine has %d", device,
                         n_devices);
    cuda_backend *cuda = laci_alloc_zero(&from, sizeof *cuda);
    if (!cuda) return laci_fail_memory(err, "a backend", sizeof *cuda);
    cuda->api = *api;
    cuda->device = device;
    cuda->stats_bytes = STATS_BYTES;
    (void)snprintf(cuda->name, sizeof cuda->name, "cuda:%d", device);
    cuda->base =
        (laci_backend){ &cuda_ops, cuda->name, dtype == LAC_DTYPE_F32 ? LACI_F32 : LACI_BF16,
                        1,         false,      from };
    code = api->info(device, &cuda->info);
    if (code || cuda->info.major < 8) {
        const laci_cu_info info = cuda->info;
        laci_release(&from, cuda);
        if (code)
            return laci_fail(err, LAC_EINVAL, 0, "CUDA device %d cannot be used: %s", device,
                             api->explain(code));
        return laci_fail(err, LAC_EINVAL, 0,
                         "CUDA device %d, %s, has compute capability %d.%d: 8.0 or later is needed",
                         device, info.name, info.major, info.minor);
    }
    lac_status st = choose_kernel(cuda, err);
    if (!st) st = choose_graphs(cuda, err);
    if (!st) st = start(cuda, err);
    if (st) {
        laci_release(&from, cuda);
        return st;
    }
    *out = &cuda->base;
    return LAC_OK;
}
