/* attention.c: the public attention of lacuna.h, for programs with queries, keys and values of
 * their own: copies them to and from the backend, runs a pass, builds SparseD's plan from what a
 * dense pass measured. The selection itself is select.c, as for the policies. */
#include <string.h>

#include "api/saved_plan.h"
#include "attention/policy.h"
#include "attention/select.h"
#include "base/error.h"

enum {
    CHUNK_ROWS = 512, /* keys converted and packed at once */
    MIN_BLOCK = 16,
    KEYS_TOGETHER = 64, /* keys a kernel may multiply by a probability of 0: they must be finite */
    MAX_D_HEAD = 1024,
    MAX_WIDTH = 1 << 20, /* n_heads * d_head */
    MAX_THREADS = 4096,
};

struct lac_attention {
    lac_allocator mem;
    laci_backend *be;
    size_t n_batch, n_q, n_k; /* room */
    size_t n_heads, n_kv_heads, d;
    size_t n_keys;       /* set in each sequence */
    laci_kv kv;          /* of the whole batch */
    laci_buf *q, *out;   /* act [n_batch, n_q, n_heads * d]; out: room for f32 */
    laci_buf *lse;       /* f32 [n_batch, n_heads, n_q] */
    laci_buf *packing;   /* f32 [CHUNK_ROWS, n_kv_heads * d] */
    float *chunk;        /* the same, host */
    laci_plan_store all; /* every query reads every key */
};

/* Bytes of a query, a key or a value. */
static size_t act_size(const lac_attention *a)
{
    return laci_act_bytes(laci_backend_act(a->be));
}

static size_t n_blocks(size_t n, size_t block)
{
    return (n + block - 1) / block;
}

/* ------------------------------------------------------------------ creation */

static lac_status check_range(const char *name, int value, int first, int last, lac_error *err)
{
    if (value >= first && value <= last) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0, "attention: %s is %d, must be %d to %d", name, value,
                     first, last);
}

static lac_status check_options(const lac_attention_options *o, lac_error *err)
{
    lac_status st = check_range("n_batch", o->n_batch, 0, LACI_PLAN_MAX_HEADS, err);
    if (!st) st = check_range("n_k", o->n_k, 1, LACI_PLAN_MAX_TOKENS, err);
    if (!st) st = check_range("n_q", o->n_q, 0, LACI_PLAN_MAX_TOKENS, err);
    if (!st) st = check_range("n_heads", o->n_heads, 1, LACI_PLAN_MAX_HEADS, err);
    if (!st) st = check_range("n_kv_heads", o->n_kv_heads, 0, o->n_heads, err);
    if (!st) st = check_range("d_head", o->d_head, 8, MAX_D_HEAD, err);
    if (!st) st = check_range("dtype", (int)o->dtype, 0, LAC_DTYPE_BF16, err);
    if (!st) st = check_range("n_threads", o->n_threads, 0, MAX_THREADS, err);
    if (st) return st;
    if (o->d_head % 8)
        return laci_fail(err, LAC_EINVAL, 0, "attention: d_head is %d, must be a multiple of 8",
                         o->d_head);
    if (o->n_kv_heads && o->n_heads % o->n_kv_heads)
        return laci_fail(err, LAC_EINVAL, 0,
                         "attention: %d query heads, must be a multiple of the %d key heads",
                         o->n_heads, o->n_kv_heads);
    if ((int64_t)o->n_heads * o->d_head > MAX_WIDTH)
        return laci_fail(err, LAC_EINVAL, 0, "attention: %d heads of %d, at most %d numbers a row",
                         o->n_heads, o->d_head, MAX_WIDTH);
    return LAC_OK;
}

/* n_batch * n_rows * width * size; false when it does not fit. */
static bool bytes_of(const lac_attention *a, size_t n_rows, size_t width, size_t size, size_t *out)
{
    return laci_mul_size(a->n_batch * n_rows, width * size, out);
}

static lac_status make_buffers(lac_attention *a, lac_error *err)
{
    const size_t width = a->n_heads * a->d, act = act_size(a);
    const size_t kv_width = a->n_kv_heads * a->d, chunk = CHUNK_ROWS * kv_width * sizeof(float);
    const laci_scratch_dims scratch = {
        .d_model = a->d, .d_head = a->d, .n_ctx = a->n_k, .stats_block = MIN_BLOCK
    };
    size_t q = 0, out = 0, lse = 0, keys = 0;
    if (!bytes_of(a, a->n_q, width, act, &q) || !bytes_of(a, a->n_q, width, sizeof(float), &out) ||
        !bytes_of(a, a->n_q, a->n_heads, sizeof(float), &lse) ||
        !bytes_of(a, a->n_k + 64, 2 * kv_width, sizeof(float), &keys))
        return laci_fail_memory(err, "attention", SIZE_MAX);
    lac_status st = laci_buf_new(a->be, q, "queries", &a->q, err);
    if (!st) st = laci_buf_new(a->be, out, "attention output", &a->out, err);
    if (!st) st = laci_buf_new(a->be, lse, "log-sum-exp", &a->lse, err);
    if (!st) st = laci_buf_new(a->be, chunk, "keys to pack", &a->packing, err);
    if (!st) st = laci_kv_new(a->be, a->n_batch, a->n_k, a->n_kv_heads, a->d, &a->kv, err);
    if (!st) st = laci_backend_reserve(a->be, laci_backend_scratch_need(a->be, &scratch), err);
    if (!st)
        st = laci_plan_reserve(&a->all, n_blocks(a->n_q, MIN_BLOCK), n_blocks(a->n_q, MIN_BLOCK),
                               &a->mem, err);
    if (st) return st;
    a->chunk = laci_alloc(&a->mem, chunk);
    return a->chunk ? LAC_OK : laci_fail_memory(err, "keys to pack", chunk);
}

lac_status lac_attention_create(lac_attention **out, const lac_attention_options *opt,
                                lac_error *err)
{
    if (!out || !opt) return laci_fail(err, LAC_EINVAL, 0, "attention: no dimensions");
    lac_status st = check_options(opt, err);
    if (st) return st;
    const lac_allocator mem = laci_allocator_or_default(opt->allocator);
    lac_attention *a = laci_alloc_zero(&mem, sizeof *a);
    if (!a) return laci_fail_memory(err, "attention", sizeof *a);
    a->mem = mem;
    a->n_batch = opt->n_batch ? (size_t)opt->n_batch : 1;
    a->n_k = (size_t)opt->n_k;
    a->n_q = opt->n_q ? (size_t)opt->n_q : a->n_k;
    a->n_heads = (size_t)opt->n_heads;
    a->n_kv_heads = opt->n_kv_heads ? (size_t)opt->n_kv_heads : a->n_heads;
    a->d = (size_t)opt->d_head;
    st = laci_backend_open(&a->be, NULL,
                           opt->dtype == LAC_DTYPE_BF16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                           opt->n_threads, &mem, err);
    if (!st) st = make_buffers(a, err);
    if (st)
        lac_attention_free(a);
    else
        *out = a;
    return st;
}

void lac_attention_free(lac_attention *a)
{
    if (!a) return;
    const lac_allocator mem = a->mem;
    laci_plan_clear(&a->all);
    laci_release(&mem, a->chunk);
    if (a->be) {
        laci_buf_free(a->be, a->q);
        laci_buf_free(a->be, a->out);
        laci_buf_free(a->be, a->lse);
        laci_buf_free(a->be, a->packing);
        laci_kv_free(a->be, &a->kv);
    }
    laci_backend_close(a->be);
    laci_release(&mem, a);
}

/* ------------------------------------------------------------------ the caller's arrays */

/* Rows of the caller, [n_batch, n, n_heads, d] by strides. */
typedef struct {
    lac_strides strides;
    size_t n, n_heads, d, size; /* size: bytes of an element */
} rows_of;

static rows_of rows_at(const lac_attention *a, const lac_strides *given, size_t n, size_t n_heads,
                       size_t size)
{
    rows_of r = { *given, n, n_heads, a->d, size };
    if (!given->batch && !given->head && !given->row)
        r.strides = (lac_strides){ n * n_heads * a->d, a->d, n_heads * a->d };
    return r;
}

/* Whether the heads of a row lie one after the other, and the rows too. */
static bool is_packed_row(const rows_of *r)
{
    return r->strides.head == r->d || r->n_heads == 1;
}

static bool is_packed(const rows_of *r)
{
    return is_packed_row(r) && (r->strides.row == r->n_heads * r->d || r->n == 1);
}

static size_t offset_of(const rows_of *r, size_t batch, size_t row, size_t head)
{
    return (batch * r->strides.batch + row * r->strides.row + head * r->strides.head) * r->size;
}

/* Calls `piece` for every run of the rows that is contiguous in both layouts: bytes [at, at + n) of
 * the caller's array are bytes [to, to + n) of the backend's. */
typedef void (*piece_fn)(lac_attention *a, void *user, size_t at, size_t to, size_t n);

static void for_pieces(lac_attention *a, const rows_of *r, piece_fn piece, void *user)
{
    const size_t head = r->d * r->size, row = r->n_heads * head;
    for (size_t b = 0; b < a->n_batch; b++) {
        if (is_packed(r)) {
            piece(a, user, offset_of(r, b, 0, 0), b * r->n * row, r->n * row);
            continue;
        }
        for (size_t i = 0; i < r->n; i++) {
            const size_t to = (b * r->n + i) * row;
            if (is_packed_row(r)) {
                piece(a, user, offset_of(r, b, i, 0), to, row);
                continue;
            }
            for (size_t h = 0; h < r->n_heads; h++)
                piece(a, user, offset_of(r, b, i, h), to + h * head, head);
        }
    }
}

static void write_piece(lac_attention *a, void *user, size_t at, size_t to, size_t n)
{
    laci_backend_write(a->be, a->q, to, *(const char *const *)user + at, n);
}

static void read_piece(lac_attention *a, void *user, size_t at, size_t from, size_t n)
{
    laci_backend_read(a->be, a->out, from, *(char *const *)user + at, n);
}

/* ------------------------------------------------------------------ keys and values */

/* Rows [first, first + n) of one sequence as f32, heads side by side. */
static void convert(lac_attention *a, const rows_of *r, const char *from, size_t batch,
                    size_t first, size_t n)
{
    const size_t width = r->n_heads * r->d, run = is_packed_row(r) ? width : r->d;
    const laci_dtype type = laci_backend_act(a->be);
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < width; at += run)
            laci_dtype_to_f32(type, from + offset_of(r, batch, first + i, at / r->d), run,
                              a->chunk + i * width + at);
}

static void pack(lac_attention *a, laci_kv_part part, const rows_of *r, const char *from,
                 size_t begin)
{
    const laci_head_op op = { .n_heads = a->n_kv_heads, .d_head = a->d };
    const size_t row = a->n_kv_heads * a->d * sizeof(float);
    for (size_t b = 0; b < a->n_batch; b++) {
        for (size_t first = 0; first < r->n; first += CHUNK_ROWS) {
            const size_t n = r->n - first < CHUNK_ROWS ? r->n - first : CHUNK_ROWS;
            convert(a, r, from, b, first, n);
            laci_backend_write(a->be, a->packing, 0, a->chunk, n * row);
            laci_backend_store(
                a->be, &(laci_kv_rows){ &op, a->packing, n, &a->kv, part, b, begin + first });
        }
    }
}

/* Keys [end, ..) of an earlier, longer cache that share a panel with the last key become zeros:
 * what is not finite there would show. */
static void clear_behind(lac_attention *a, size_t end)
{
    const laci_head_op op = { .n_heads = a->n_kv_heads, .d_head = a->d };
    const size_t left = a->n_keys > end ? a->n_keys - end : 0;
    const size_t n = left < KEYS_TOGETHER ? left : KEYS_TOGETHER;
    const size_t bytes = n * a->n_kv_heads * a->d * sizeof(float);
    if (!n) return;
    memset(a->chunk, 0, bytes);
    for (size_t b = 0; b < a->n_batch; b++) {
        laci_backend_write(a->be, a->packing, 0, a->chunk, bytes);
        laci_backend_store(a->be, &(laci_kv_rows){ &op, a->packing, n, &a->kv, LACI_KEYS, b, end });
        laci_backend_write(a->be, a->packing, 0, a->chunk, bytes);
        laci_backend_store(a->be,
                           &(laci_kv_rows){ &op, a->packing, n, &a->kv, LACI_VALUES, b, end });
    }
}

lac_status lac_attention_set_kv(lac_attention *a, const lac_attention_kv *kv, lac_error *err)
{
    if (!a || !kv || !kv->k || !kv->v)
        return laci_fail(err, LAC_EINVAL, 0, "attention: keys or values missing");
    lac_status st = check_range("the first new key", kv->begin, 0, (int)a->n_keys, err);
    if (!st) st = check_range("the number of new keys", kv->n, 1, (int)a->n_k - kv->begin, err);
    if (st) return st;
    const size_t n = (size_t)kv->n, begin = (size_t)kv->begin;
    const size_t size = act_size(a);
    const rows_of k = rows_at(a, &kv->k_strides, n, a->n_kv_heads, size);
    const rows_of v = rows_at(a, &kv->v_strides, n, a->n_kv_heads, size);
    pack(a, LACI_KEYS, &k, kv->k, begin);
    pack(a, LACI_VALUES, &v, kv->v, begin);
    clear_behind(a, begin + n);
    a->n_keys = begin + n;
    return LAC_OK;
}

/* ------------------------------------------------------------------ a pass */

static lac_status check_call(const lac_attention *a, const lac_attention_call *call, lac_error *err)
{
    if (!a || !call || !call->q || !call->out)
        return laci_fail(err, LAC_EINVAL, 0, "attention: queries or output missing");
    if (!a->n_keys) return laci_fail(err, LAC_EINVAL, 0, "attention: no keys are set");
    lac_status st = check_range("n_q", call->n_q, 1, (int)a->n_q, err);
    if (st) return st;
    const rows_of out = rows_at(a, &call->out_strides, (size_t)call->n_q, a->n_heads, 1);
    if ((a->n_heads > 1 && out.strides.head < a->d) || (out.n > 1 && out.strides.row < a->d) ||
        (a->n_batch > 1 && out.strides.batch < a->d))
        return laci_fail(err, LAC_EINVAL, 0,
                         "attention: output strides %zu, %zu, %zu lie within a head of %zu",
                         out.strides.batch, out.strides.head, out.strides.row, a->d);
    return LAC_OK;
}

static lac_status check_plan(const lac_attention *a, const lac_attention_call *call,
                             const lac_plan *plan, lac_error *err)
{
    const laci_plan_dims *d = &plan->dims;
    if (d->n_batch != 1 && d->n_batch != a->n_batch)
        return laci_fail(err, LAC_EINVAL, 0, "attention: a plan of %zu sequences for %zu",
                         d->n_batch, a->n_batch);
    if (d->n_heads == a->n_heads && d->n_q == (size_t)call->n_q && d->n_k == a->n_keys)
        return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0,
                     "attention: a plan of %zu heads, %zu queries, %zu keys for %zu, %d, %zu",
                     d->n_heads, d->n_q, d->n_k, a->n_heads, call->n_q, a->n_keys);
}

/* Runs a checked call and hands back its results. */
static void run(lac_attention *a, const lac_attention_call *call, const laci_plan *plan,
                const laci_mass_stats *stats)
{
    const size_t n_q = (size_t)call->n_q, size = act_size(a);
    const rows_of q = rows_at(a, &call->q_strides, n_q, a->n_heads, size);
    const rows_of out =
        rows_at(a, &call->out_strides, n_q, a->n_heads, call->out_f32 ? sizeof(float) : size);
    const laci_attention pass = { .q = a->q,
                                  .kv = &a->kv,
                                  .out = a->out,
                                  .out_f32 = call->out_f32,
                                  .lse = call->lse ? a->lse : NULL,
                                  .n_batch = a->n_batch,
                                  .n_q = n_q,
                                  .n_k = a->n_keys,
                                  .n_heads = a->n_heads,
                                  .limits = call->limits,
                                  .valid = call->valid,
                                  .stats = stats };
    const void *from = call->q;
    void *to = call->out;
    for_pieces(a, &q, write_piece, (void *)&from);
    laci_backend_attend(a->be, plan, &pass);
    for_pieces(a, &out, read_piece, (void *)&to);
    if (call->lse)
        laci_backend_read(a->be, a->lse, 0, call->lse,
                          a->n_batch * a->n_heads * n_q * sizeof *call->lse);
}

lac_status lac_attention_run(lac_attention *a, const lac_attention_call *call, const lac_plan *plan,
                             lac_error *err)
{
    lac_status st = check_call(a, call, err);
    if (!st && plan) st = check_plan(a, call, plan, err);
    if (!st && !plan)
        st = laci_plan_dense(&a->all, (size_t)call->n_q, a->n_keys, (size_t)call->n_q, err);
    if (!st) run(a, call, plan ? &plan->store.plan : &a->all.plan, NULL);
    return st;
}

/* ------------------------------------------------------------------ building a plan */

typedef struct {
    lac_attention *a;
    lac_plan *plan;
    laci_sparse how;
    size_t group; /* heads that share a pattern */
    size_t n;     /* blocks of queries times blocks of keys */
    laci_mass_stats stats;
    laci_buf *late_buf;        /* owned; stats.late where it has a meaning */
    float *mass, *late, *more; /* [n] of a pattern; more: of one of its heads */
    uint64_t *keys;            /* scratch of the selection */
} builder;

/* Mean over the heads of a group, from head `first` on, counted over all sequences. */
static void read_masses(const builder *b, const laci_buf *from, size_t first, float *out)
{
    const size_t bytes = b->n * sizeof *out;
    laci_backend_read(b->a->be, from, first * bytes, out, bytes);
    for (size_t h = 1; h < b->group; h++) {
        laci_backend_read(b->a->be, from, (first + h) * bytes, b->more, bytes);
        for (size_t i = 0; i < b->n; i++)
            out[i] += b->more[i];
    }
    for (size_t i = 0; i < b->n && b->group > 1; i++)
        out[i] /= (float)b->group;
}

/* Chooses the blocks of one group of heads. */
static void select_group(const builder *b, size_t first)
{
    const laci_pattern *p = &b->plan->pattern;
    const laci_split split = laci_split_blocks(&b->how, b->plan->dims.n_prompt, b->plan->dims.n_k);
    read_masses(b, b->stats.mass, first, b->mass);
    if (b->late && b->stats.late) read_masses(b, b->stats.late, first, b->late);
    for (size_t row = 0; row < p->n_rows; row++) {
        uint64_t *bits = laci_pattern_row(p, first, row);
        laci_select_row(&b->how, &split, b->mass + row * p->n_cols,
                        b->late ? b->late + row * p->n_cols : NULL, b->keys, bits);
    }
    const size_t size = p->n_rows * laci_pattern_words(p->n_cols) * sizeof(uint64_t);
    for (size_t h = 1; h < b->group; h++)
        memcpy(laci_pattern_row(p, first + h, 0), laci_pattern_row(p, first, 0), size);
}

/* Mass a head kept, mean over its queries. */
static float weigh(const builder *b, size_t head)
{
    const laci_pattern *p = &b->plan->pattern;
    const size_t bytes = b->n * sizeof *b->more, n_q = b->plan->dims.n_q, block = b->how.block;
    double sum = 0;
    laci_backend_read(b->a->be, b->stats.mass, head * bytes, b->more, bytes);
    for (size_t row = 0; row < p->n_rows; row++) {
        const size_t left = n_q - row * block;
        sum +=
            (double)(left < block ? left : block) *
            laci_pattern_kept(laci_pattern_row(p, head, row), b->more + row * p->n_cols, p->n_cols);
    }
    return (float)(sum / (double)n_q);
}

static lac_status take_memory(builder *b, lac_error *err)
{
    const lac_allocator *mem = &b->a->mem;
    const size_t n_patterns = b->plan->pattern.n_patterns;
    const bool needs_late = laci_select_needs_late(&b->how);
    size_t bytes;
    if (!laci_mul_size(n_patterns * sizeof(float), b->n, &bytes))
        return laci_fail_memory(err, "pattern statistics", SIZE_MAX);
    lac_status st = laci_buf_new(b->a->be, bytes, "pattern statistics", &b->stats.mass, err);
    if (!st && needs_late)
        st = laci_buf_new(b->a->be, bytes, "pattern statistics", &b->late_buf, err);
    if (st) return st;
    b->mass = laci_alloc_array(mem, b->n, sizeof *b->mass);
    b->more = laci_alloc_array(mem, b->n, sizeof *b->more);
    b->keys = laci_alloc_array(mem, b->plan->pattern.n_cols, sizeof *b->keys);
    if (needs_late) b->late = laci_alloc_array(mem, b->n, sizeof *b->late);
    if (!b->mass || !b->more || !b->keys || (needs_late && !b->late))
        return laci_fail_memory(err, "pattern statistics", b->n * sizeof *b->mass);
    return LAC_OK;
}

static void release_memory(const builder *b)
{
    const lac_allocator *mem = &b->a->mem;
    laci_buf_free(b->a->be, b->stats.mass);
    laci_buf_free(b->a->be, b->late_buf);
    laci_release(mem, b->mass);
    laci_release(mem, b->late);
    laci_release(mem, b->more);
    laci_release(mem, b->keys);
}

/* The dense pass with its measurements, then the plan. Late masses have no meaning where no key
 * block is of the generation. */
static lac_status measure(builder *b, const lac_attention_call *call, lac_error *err)
{
    const laci_plan_dims *d = &b->plan->dims;
    const laci_split split = laci_split_blocks(&b->how, d->n_prompt, d->n_k);
    if (split.late_from < split.n_blocks) b->stats.late = b->late_buf;
    b->stats.late_from = split.late_from;
    if (b->late) memset(b->late, 0, b->n * sizeof *b->late);
    lac_status st = laci_plan_dense(&b->a->all, d->n_q, d->n_k, d->block, err);
    if (st) return st;
    run(b->a, call, &b->a->all.plan, &b->stats);
    for (size_t first = 0; first < b->plan->pattern.n_patterns; first += b->group)
        select_group(b, first);
    for (size_t head = 0; head < b->plan->pattern.n_patterns; head++)
        b->plan->kept[head] = weigh(b, head);
    return laci_saved_plan_finish(b->plan, err);
}

static lac_status resolve(const lac_attention *a, const lac_plan_options *opt, laci_sparse *how,
                          lac_error *err)
{
    const laci_policy_model model = {
        .kind = LACI_FULL, .family = "", .n_heads = a->n_heads, .d_head = a->d, .n_ctx = a->n_keys
    };
    laci_settings settings = { 0 };
    lac_status st = laci_pattern_settings(&settings, opt->knobs, &model, err);
    if (!st) *how = settings.sparse;
    return st ? st : check_range("n_prompt", opt->n_prompt, 0, (int)a->n_keys, err);
}

lac_status lac_attention_build(lac_attention *a, const lac_attention_call *call,
                               const lac_plan_options *opt, lac_plan **out, lac_error *err)
{
    const lac_plan_options defaults = { .n_prompt = 0 };
    builder b = { .a = a };
    if (!opt) opt = &defaults;
    lac_status st = check_call(a, call, err);
    if (!st && !out) st = laci_fail(err, LAC_EINVAL, 0, "attention: no place for the plan");
    if (!st) st = resolve(a, opt, &b.how, err);
    if (st) return st;
    const laci_plan_dims dims = { a->n_batch, a->n_heads,  (size_t)call->n_q,
                                  a->n_keys,  b.how.block, (size_t)opt->n_prompt };
    st = laci_saved_plan_new(&b.plan, &dims, &a->mem, err);
    if (st) return st;
    b.group = b.how.per_kv ? a->n_heads / a->n_kv_heads : 1;
    b.n = b.plan->pattern.n_rows * b.plan->pattern.n_cols;
    b.stats = (laci_mass_stats){ .q_block = b.how.block,
                                 .k_block = b.how.block,
                                 .doubled = b.how.doubled };
    st = take_memory(&b, err);
    if (!st) st = measure(&b, call, err);
    release_memory(&b);
    if (st)
        lac_plan_free(b.plan);
    else
        *out = b.plan;
    return st;
}
