/* attend_rig.h: a backend with seeded queries, keys, masks and a plan, in memory that is all NaN
 * until it is written, reached through backend.h alone. Shared by the tests of the backend's
 * attention; attend_check.h adds the definition to compare with. */
#ifndef LACI_TESTS_ATTEND_RIG_H
#define LACI_TESTS_ATTEND_RIG_H

#include "backend/any_backend.h"

#include "attention/plan.h"
#include "base/rng.h"

typedef struct {
    size_t n_batch, n_q, n_k, n_heads, n_kv_heads, d;
    size_t q_block, k_block;
    size_t n_patterns;   /* of the plan: 1, n_heads or n_batch * n_heads */
    size_t alike;        /* so many neighbouring patterns are the same; 0 = 1 */
    double density;      /* share of blocks kept; 1 = all */
    bool empty_rows;     /* every third plan row keeps nothing */
    size_t active_every; /* queries computed: every so many, 0 = all */
    bool n_keys;         /* sequences have fewer keys than n_k, each its own number */
    bool limits;  /* rows read keys below a limit: by blocks of 20, as block-causal models do */
    bool valid;   /* a tenth of the keys does not count */
    bool out_act; /* output as activations, not f32 */
    /* What is first here is number so many of a larger case: a part of it, alone. */
    size_t first_batch, first_head, first_kv_head, first_pattern;
} attend_case;

typedef struct {
    attend_case c;
    lac_dtype dtype;
    int n_threads;
    size_t n_rows; /* queries of a sequence that are computed */
    laci_backend *be;
    laci_buf *q, *out, *lse;
    laci_kv kv;
    float *q_host, *k_host, *v_host; /* as the backend reads them, row-major as in backend.h */
    int32_t *active;
    uint32_t *n_keys, *limits;
    uint64_t *valid;
    laci_plan_store plan;
    laci_attention a;
    double *p; /* [n_batch, n_heads, n_rows, n_k] the softmax; 0 = not read */
    double *want, *want_lse;
    double score_size; /* largest |score|, in powers of two */
} attend_rig;

static inline void *take(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert_non_null(p);
    return p;
}

/* ------------------------------------------------------------------ a backend in bad memory */

/* Fresh memory is all NaN, so that nothing relies on what it finds there. */
static inline void *nan_alloc(void *user, size_t size)
{
    void *p = malloc(size);
    (void)user;
    if (p) memset(p, 0xff, size);
    return p;
}

static inline void *nan_resize(void *user, void *p, size_t size)
{
    (void)user;
    return realloc(p, size);
}

static inline void nan_release(void *user, void *p)
{
    (void)user;
    free(p);
}

static inline laci_backend *open_backend(lac_dtype dtype, int n_threads,
                                         const laci_scratch_dims *dims)
{
    const lac_allocator mem = { .alloc = nan_alloc, .resize = nan_resize, .release = nan_release };
    laci_backend *be = NULL;
    assert_ok(laci_backend_open(&be, backend_name(), dtype, n_threads, &mem, NULL));
    assert_ok(laci_backend_reserve(be, laci_backend_scratch_need(be, dims), NULL));
    return be;
}

/* A buffer of n floats, all NaN until they are written. */
static inline laci_buf *new_floats(laci_backend *be, size_t n)
{
    laci_buf *buf = NULL;
    float *junk = take(n, sizeof *junk);
    memset(junk, 0xff, n * sizeof *junk);
    assert_ok(laci_buf_new(be, n * sizeof *junk, "test", &buf, NULL));
    laci_backend_write(be, buf, 0, junk, n * sizeof *junk);
    free(junk);
    return buf;
}

static inline float *read_floats(laci_backend *be, const laci_buf *buf, size_t n)
{
    float *out = take(n, sizeof *out);
    laci_backend_read(be, buf, 0, out, n * sizeof *out);
    return out;
}

/* ------------------------------------------------------------------ input */

/* Rows [n_batch, n_rows, n_heads, d] of numbers in [-2, 2] as activations hold them; a number
 * depends on the seed and its place in the larger case. */
static inline float *random_rows(const attend_rig *r, uint64_t seed, size_t n_rows, size_t n_heads,
                                 size_t first_head)
{
    const size_t d = r->c.d, n = r->c.n_batch * n_rows * n_heads * d;
    float *x = take(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        const uint64_t head = i / d % n_heads + first_head, row = i / d / n_heads % n_rows;
        const uint64_t batch = i / d / n_heads / n_rows + r->c.first_batch;
        const uint64_t at = ((batch << 16 | row) << 8 | head) << 16 | i % d;
        x[i] = 4 * (float)laci_rng_unit(seed, at) - 2;
        if (r->dtype == LAC_DTYPE_BF16) x[i] = laci_bf16_to_f32(laci_f32_to_bf16(x[i]));
    }
    return x;
}

/* Queries as activations. */
static inline void write_queries(attend_rig *r)
{
    const size_t n = r->c.n_batch * r->n_rows * r->c.n_heads * r->c.d;
    const size_t size = r->dtype == LAC_DTYPE_BF16 ? 2 : 4;
    char *act = take(n, size);
    r->q_host = random_rows(r, 1, r->n_rows, r->c.n_heads, r->c.first_head);
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = laci_f32_to_bf16(r->q_host[i]);
        memcpy(act + i * size, size == 2 ? (const void *)&half : &r->q_host[i], size);
    }
    assert_ok(laci_buf_new(r->be, n * size, "queries", &r->q, NULL));
    laci_backend_write(r->be, r->q, 0, act, n * size);
    free(act);
}

/* Stores rows [begin, end) of a sequence; `host` is of all sequences, each [n_k, heads * d]. */
static inline void store_rows(attend_rig *r, laci_kv_part part, const float *host, size_t batch,
                              size_t begin, size_t end)
{
    const size_t width = r->c.n_kv_heads * r->c.d, n = (end - begin) * width;
    const laci_head_op op = { .n_heads = r->c.n_kv_heads, .d_head = r->c.d };
    laci_buf *x = NULL;
    assert_ok(laci_buf_new(r->be, n * sizeof(float) + 64, "rows", &x, NULL));
    laci_backend_write(r->be, x, 0, host + (batch * r->c.n_k + begin) * width, n * sizeof(float));
    laci_backend_store(r->be, &(laci_kv_rows){ &op, x, end - begin, &r->kv, part, batch, begin });
    laci_buf_free(r->be, x);
}

/* Keys and values; those past n_keys of a sequence are large, so that reading one shows. */
static inline void write_keys(attend_rig *r)
{
    const size_t width = r->c.n_kv_heads * r->c.d, n = r->c.n_batch * r->c.n_k * width;
    r->k_host = random_rows(r, 2, r->c.n_k, r->c.n_kv_heads, r->c.first_kv_head);
    r->v_host = random_rows(r, 3, r->c.n_k, r->c.n_kv_heads, r->c.first_kv_head);
    assert_ok(
        laci_kv_new(r->be, r->c.n_batch, r->c.n_k + 37, r->c.n_kv_heads, r->c.d, &r->kv, NULL));
    for (size_t i = 0; i < n; i++)
        if (i / width % r->c.n_k >= r->n_keys[i / width / r->c.n_k])
            r->k_host[i] = r->v_host[i] = 1000;
    for (size_t b = 0; b < r->c.n_batch; b++) {
        store_rows(r, LACI_KEYS, r->k_host, b, 0, r->c.n_k);
        store_rows(r, LACI_VALUES, r->v_host, b, 0, r->c.n_k);
    }
}

static inline size_t position_of(const attend_rig *r, size_t row)
{
    return r->active ? (size_t)r->active[row] : row;
}

static inline void make_masks(attend_rig *r)
{
    const attend_case *c = &r->c;
    const size_t words = (c->n_k + 63) / 64;
    r->n_keys = take(c->n_batch, sizeof *r->n_keys);
    r->limits = take(c->n_batch * r->n_rows, sizeof *r->limits);
    r->valid = take(c->n_batch * words, sizeof *r->valid);
    for (size_t b = 0; b < c->n_batch; b++)
        r->n_keys[b] = (uint32_t)(c->n_keys ? 1 + (c->n_k - 1) / (2 + b + c->first_batch) : c->n_k);
    for (size_t i = 0; i < c->n_batch * r->n_rows; i++) {
        const size_t block = position_of(r, i % r->n_rows) / 20, b = i / r->n_rows + c->first_batch;
        r->limits[i] = c->limits ? (uint32_t)(block * 20 + b) : UINT32_MAX;
    }
    for (size_t i = 0; i < c->n_batch * words; i++) {
        const size_t at = i + c->first_batch * words;
        r->valid[i] = UINT64_MAX;
        for (size_t j = 0; c->valid && j < 64; j++)
            if (laci_rng_u64(5, at * 64 + j) % 10 == 0) r->valid[i] &= ~(UINT64_C(1) << j);
    }
}

/* ------------------------------------------------------------------ the plan */

static inline bool keeps(const attend_case *c, size_t pattern, size_t row, size_t col)
{
    if (c->empty_rows && row % 3 == 1) return false;
    if (c->density >= 1) return true;
    pattern += c->first_pattern;
    return laci_rng_unit(77 + pattern / (c->alike ? c->alike : 1), row * 10000 + col) < c->density;
}

static inline size_t n_blocks(size_t n, size_t block)
{
    return (n + block - 1) / block;
}

/* A plan of blocks for which keeps() says yes. */
static inline laci_plan_store make_plan(const attend_case *c)
{
    laci_plan_store plan = { 0 };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const size_t n_rows = n_blocks(c->n_q, c->q_block), n_cols = n_blocks(c->n_k, c->k_block);
    assert_ok(laci_plan_reserve(&plan, c->n_patterns * n_rows, c->n_patterns * n_rows * n_cols,
                                &mem, NULL));
    laci_plan_begin(&plan, c->q_block, c->k_block, c->n_patterns, n_rows);
    for (size_t i = 0; i < c->n_patterns * n_rows; i++) {
        for (size_t col = 0; col < n_cols; col++)
            if (keeps(c, i / n_rows, i % n_rows, col))
                assert_ok(laci_plan_add(&plan, col, col + 1, NULL));
        laci_plan_end_row(&plan);
    }
    return plan;
}

/* ------------------------------------------------------------------ making and freeing */

static inline void fill_arguments(attend_rig *r)
{
    const attend_case *c = &r->c;
    r->a = (laci_attention){ .q = r->q,
                             .kv = &r->kv,
                             .out = r->out,
                             .out_f32 = !c->out_act,
                             .lse = r->lse,
                             .n_batch = c->n_batch,
                             .n_q = r->n_rows,
                             .n_k = c->n_k,
                             .n_heads = c->n_heads,
                             .n_keys = c->n_keys ? r->n_keys : NULL,
                             .limits = c->limits ? r->limits : NULL,
                             .valid = c->valid ? r->valid : NULL };
}

/* Everything but the definition, which brute_force() adds; stats_block 0 = no statistics. */
static inline attend_rig *rig_new(const attend_case *c, lac_dtype dtype, int n_threads,
                                  size_t stats_block)
{
    attend_rig *r = take(1, sizeof *r);
    *r = (attend_rig){ .c = *c, .dtype = dtype, .n_threads = n_threads, .n_rows = c->n_q };
    r->be = open_backend(dtype, n_threads,
                         &(laci_scratch_dims){ .d_model = 8,
                                               .d_head = c->d,
                                               .n_vocab = 8,
                                               .n_ctx = stats_block ? c->n_k : 0,
                                               .stats_block = stats_block });
    r->plan = make_plan(c);
    if (c->active_every) {
        r->active = take(c->n_q, sizeof *r->active);
        for (size_t i = r->n_rows = 0; i < c->n_q; i += c->active_every)
            r->active[r->n_rows++] = (int32_t)i;
        laci_plan_set_active(&r->plan, r->active, r->n_rows);
    }
    make_masks(r);
    write_queries(r);
    write_keys(r);
    r->out = new_floats(r->be, c->n_batch * r->n_rows * c->n_heads * c->d);
    r->lse = new_floats(r->be, c->n_batch * r->n_rows * c->n_heads);
    fill_arguments(r);
    return r;
}

static inline void rig_free(attend_rig *r)
{
    laci_buf_free(r->be, r->q);
    laci_buf_free(r->be, r->out);
    laci_buf_free(r->be, r->lse);
    laci_kv_free(r->be, &r->kv);
    laci_backend_close(r->be);
    laci_plan_clear(&r->plan);
    free(r->q_host), free(r->k_host), free(r->v_host), free(r->active), free(r->n_keys);
    free(r->limits), free(r->valid), free(r->p), free(r->want), free(r->want_lse);
    free(r);
}

static inline size_t n_lse(const attend_rig *r)
{
    return r->c.n_batch * r->n_rows * r->c.n_heads;
}

static inline size_t n_out(const attend_rig *r)
{
    return n_lse(r) * r->c.d;
}

/* Output as f32, whatever its type. The caller frees it. */
static inline float *read_out(const attend_rig *r)
{
    const size_t n = n_out(r);
    if (!r->c.out_act || r->dtype == LAC_DTYPE_F32) return read_floats(r->be, r->out, n);
    uint16_t *half = take(n, sizeof *half);
    float *out = take(n, sizeof *out);
    laci_backend_read(r->be, r->out, 0, half, n * sizeof *half);
    for (size_t i = 0; i < n; i++)
        out[i] = laci_bf16_to_f32(half[i]);
    free(half);
    return out;
}

#endif
