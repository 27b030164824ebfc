/* attn_problem.c: see attn_problem.h. */
#include "bench/attn_problem.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/inputs.h"
#include "bench/measure.h"

enum {
    STORE_ROWS = 512, /* keys packed at once, as the engine does */
    CHECKED_ROWS = 16,
    WRITE_MOST = 4096,  /* elements written at once */
    ROWS_PAST_END = 16, /* of queries, that kernels may read */
};
static const float PEAKY = 6, RISE_PER_KEY = 3.0f / 64; /* in natural units of the score */

double attn_problem_bytes(const attn_shape *s)
{
    const double q = (double)s->n_q * (double)(s->n_heads * s->d_head);
    const double kv = (double)s->n_k * (double)(s->n_kv_heads * s->d_head);
    const double a = (double)laci_act_bytes(s->dtype);
    return q * (sizeof(float) + a + (s->out_f32 ? sizeof(float) : a)) +
           2 * kv * (sizeof(float) + a);
}

double attn_flops(const attn_shape *s, size_t n_q, double density)
{
    return 4.0 * (double)s->d_head * density * (double)n_q * (double)s->n_k * (double)s->n_heads;
}

/* ------------------------------------------------------------------ inputs */

/* Rising scores: channel 0 of every query is sqrt(d), and channel 0 of the keys rises. */
static float adjusted(const attn_shape *s, int stream, size_t row, size_t channel, float x)
{
    if (s->scores == SCORES_PEAKY && stream == INPUT_Q) return x * PEAKY;
    if (s->scores != SCORES_RISING || channel) return x;
    if (stream == INPUT_Q) return sqrtf((float)s->d_head);
    return stream == INPUT_K ? (float)row * RISE_PER_KEY : x;
}

/* [n_rows, n_heads, d_head]; NULL when there is no memory. */
static float *make_rows(const attn_shape *s, int stream, size_t n_rows, size_t n_heads)
{
    const size_t width = n_heads * s->d_head;
    const uint64_t key = laci_rng_key(s->seed, (uint32_t)stream, 0, 0);
    float *rows = malloc(n_rows * width * sizeof *rows);
    for (size_t i = 0; rows && i < n_rows * width; i++) {
        const float x = input_normal(key, i);
        rows[i] = input_rounded(s->dtype, adjusted(s, stream, i / width, i % s->d_head, x));
    }
    return rows;
}

static void write_queries(attn_problem *p)
{
    const attn_shape *s = &p->shape;
    const size_t width = s->n_heads * s->d_head;
    for (size_t row = 0; row < s->n_q; row++) {
        uint16_t half[WRITE_MOST];
        const float *from = p->q_host + row * width;
        if (s->dtype == LACI_F32) laci_backend_write(p->be, p->q, row * width * 4, from, width * 4);
        for (size_t i = 0; s->dtype == LACI_BF16 && i < width; i += WRITE_MOST) {
            const size_t n = width - i < WRITE_MOST ? width - i : WRITE_MOST;
            for (size_t k = 0; k < n; k++)
                half[k] = laci_f32_to_bf16(from[i + k]);
            laci_backend_write(p->be, p->q, (row * width + i) * 2, half, n * 2);
        }
    }
}

/* Packs one part; only the packing is timed. */
static double pack(attn_problem *p, laci_buf *x, laci_kv_part part)
{
    const attn_shape *s = &p->shape;
    const size_t width = s->n_kv_heads * s->d_head;
    const laci_head_op op = { .n_heads = s->n_kv_heads, .d_head = s->d_head };
    const float *from = part == LACI_KEYS ? p->k_host : p->v_host;
    double seconds = 0;
    for (size_t row = 0; row < s->n_k; row += STORE_ROWS) {
        const size_t n = s->n_k - row < STORE_ROWS ? s->n_k - row : STORE_ROWS;
        laci_backend_write(p->be, x, 0, from + row * width, n * width * sizeof *from);
        laci_backend_mark(p->be, 0);
        laci_backend_store(p->be, &(laci_kv_rows){ &op, x, n, &p->kv, part, 0, row });
        laci_backend_mark(p->be, 1);
        seconds += laci_backend_between(p->be, 0, 1);
    }
    return seconds;
}

/* ------------------------------------------------------------------ opening */

static lac_status make_buffers(attn_problem *p, laci_buf **x, lac_error *err)
{
    const attn_shape *s = &p->shape;
    const size_t width = s->n_heads * s->d_head, n_rows = s->n_q + ROWS_PAST_END;
    const laci_scratch_dims dims = { .d_model = width,
                                     .d_head = s->d_head,
                                     .n_ctx = s->stats_block ? s->n_k : 0,
                                     .stats_block = s->stats_block };
    const size_t out_bytes = s->out_f32 ? sizeof(float) : laci_act_bytes(s->dtype);
    lac_status st = laci_backend_reserve(p->be, laci_backend_scratch_need(p->be, &dims), err);
    if (!st)
        st = laci_buf_new(p->be, n_rows * width * laci_act_bytes(s->dtype), "queries", &p->q, err);
    if (!st) st = laci_buf_new(p->be, n_rows * width * out_bytes, "outputs", &p->out, err);
    if (!st) st = laci_kv_new(p->be, 1, s->n_k, s->n_kv_heads, s->d_head, &p->kv, err);
    if (!st)
        st = laci_buf_new(p->be, STORE_ROWS * s->n_kv_heads * s->d_head * sizeof(float), "keys", x,
                          err);
    return st;
}

lac_status attn_problem_open(attn_problem *p, const attn_shape *shape, lac_error *err)
{
    enum { N_PACKS = 2 }; /* the first touches memory for the first time */
    laci_buf *x = NULL;
    *p = (attn_problem){ .shape = *shape };
    p->q_host = make_rows(shape, INPUT_Q, shape->n_q, shape->n_heads);
    p->k_host = make_rows(shape, INPUT_K, shape->n_k, shape->n_kv_heads);
    p->v_host = make_rows(shape, INPUT_V, shape->n_k, shape->n_kv_heads);
    if (!p->q_host || !p->k_host || !p->v_host)
        return laci_fail_memory(err, "the inputs", (size_t)attn_problem_bytes(shape));
    lac_status st = laci_backend_open(&p->be, shape->backend,
                                      shape->dtype == LACI_BF16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                                      shape->n_threads, NULL, err);
    if (!st) st = make_buffers(p, &x, err);
    if (!st) write_queries(p);
    for (int i = 0; i < N_PACKS && !st; i++) {
        const double seconds = pack(p, x, LACI_KEYS) + pack(p, x, LACI_VALUES);
        if (!i || seconds < p->pack_seconds) p->pack_seconds = seconds;
    }
    if (x) laci_buf_free(p->be, x);
    return st;
}

void attn_problem_close(attn_problem *p)
{
    if (p->be) {
        laci_kv_free(p->be, &p->kv);
        laci_buf_free(p->be, p->q);
        laci_buf_free(p->be, p->out);
        laci_backend_close(p->be);
    }
    free(p->q_host);
    free(p->k_host);
    free(p->v_host);
    *p = (attn_problem){ .be = NULL };
}

void attn_problem_run(const attn_problem *p, const laci_plan *plan, size_t n_q,
                      const laci_mass_stats *stats)
{
    const laci_attention a = { .q = p->q,
                               .kv = &p->kv,
                               .out = p->out,
                               .out_f32 = p->shape.out_f32,
                               .n_q = n_q,
                               .n_k = p->shape.n_k,
                               .n_heads = p->shape.n_heads,
                               .stats = stats };
    laci_backend_attend(p->be, plan, &a);
}

/* ------------------------------------------------------------------ brute force */

/* Host memory of the check. */
typedef struct {
    uint32_t *keys; /* [n_k] those one query reads */
    size_t n_keys;
    double *weights; /* [n_k] of those keys */
    double *right;   /* [d] the right answer */
    float *got;      /* [d] the one in question */
} brute_memory;

static double dot(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* The keys query `query` of a head reads under the plan. */
static void list_keys(brute_memory *m, const attn_problem *p, const laci_plan *plan, size_t head,
                      size_t query)
{
    const size_t row = (plan->n_heads > 1 ? head * plan->n_rows : 0) + query / plan->q_block;
    m->n_keys = 0;
    for (uint32_t c = plan->row_ptr[row]; c < plan->row_ptr[row + 1]; c++)
        for (size_t i = 0; i < plan->k_block; i++)
            if (plan->cols[c] * plan->k_block + i < p->shape.n_k)
                m->keys[m->n_keys++] = (uint32_t)(plan->cols[c] * plan->k_block + i);
}

/* Attention of one query over the keys listed. */
static void brute_force(brute_memory *m, const attn_problem *p, size_t head, size_t query)
{
    const attn_shape *s = &p->shape;
    const size_t d = s->d_head, width = s->n_kv_heads * d;
    const size_t kv_at = head / (s->n_heads / s->n_kv_heads) * d;
    const float *q = p->q_host + (query * s->n_heads + head) * d;
    double largest = -INFINITY, sum = 0;
    for (size_t j = 0; j < m->n_keys; j++) {
        m->weights[j] = dot(q, p->k_host + m->keys[j] * width + kv_at, d) / sqrt((double)d);
        largest = fmax(largest, m->weights[j]);
    }
    for (size_t i = 0; i < d; i++)
        m->right[i] = 0;
    for (size_t j = 0; j < m->n_keys; j++) {
        const double weight = exp(m->weights[j] - largest);
        const float *v = p->v_host + m->keys[j] * width + kv_at;
        sum += weight;
        for (size_t i = 0; i < d; i++)
            m->right[i] += weight * (double)v[i];
    }
    for (size_t i = 0; i < d; i++)
        m->right[i] /= sum;
}

/* The output row of one head, from element `at` of the buffer. */
static void read_output(const attn_problem *p, size_t at, float *out)
{
    const size_t d = p->shape.d_head;
    if (p->shape.out_f32 || p->shape.dtype == LACI_F32) {
        laci_backend_read(p->be, p->out, at * sizeof *out, out, d * sizeof *out);
        return;
    }
    for (size_t i = 0; i < d; i++) {
        uint16_t half;
        laci_backend_read(p->be, p->out, (at + i) * sizeof half, &half, sizeof half);
        out[i] = laci_bf16_to_f32(half);
    }
}

static attn_error compare_rows(brute_memory *m, const attn_problem *p, const laci_plan *plan,
                               size_t n_q)
{
    const attn_shape *s = &p->shape;
    const size_t d = s->d_head;
    double difference = 0, length = 0, largest = 0;
    for (size_t i = 0; i < CHECKED_ROWS; i++) {
        const size_t head = i * s->n_heads / CHECKED_ROWS;
        const size_t query = (i * n_q + n_q / 2) / CHECKED_ROWS;
        list_keys(m, p, plan, head, query);
        brute_force(m, p, head, query);
        read_output(p, (query * s->n_heads + head) * d, m->got);
        for (size_t k = 0; k < d; k++) {
            const double apart = fabs((double)m->got[k] - m->right[k]);
            difference += apart * apart;
            length += m->right[k] * m->right[k];
            if (apart > largest || isnan(apart)) largest = apart;
        }
    }
    return (attn_error){ sqrt(difference / length), largest };
}

attn_error attn_problem_check(const attn_problem *p, const laci_plan *plan, size_t n_q)
{
    attn_error e = { NAN, NAN };
    brute_memory m = { .keys = malloc(p->shape.n_k * sizeof *m.keys),
                       .weights = malloc(p->shape.n_k * sizeof *m.weights),
                       .right = malloc(p->shape.d_head * sizeof *m.right),
                       .got = malloc(p->shape.d_head * sizeof *m.got) };
    if (m.keys && m.weights && m.right && m.got) e = compare_rows(&m, p, plan, n_q);
    free(m.keys);
    free(m.weights);
    free(m.right);
    free(m.got);
    return e;
}

/* ------------------------------------------------------------------ plans */

lac_status attn_plan_dense(laci_plan_store *out, size_t n_q, size_t n_k, lac_error *err)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    lac_status st = laci_plan_reserve(out, 1, 1, &mem, err);
    if (st) return st;
    laci_plan_begin(out, n_q, n_k, 1, 1);
    st = laci_plan_add(out, 0, 1, err);
    laci_plan_end_row(out);
    return st;
}

/* `n` of the blocks [0, of), each set as likely as any other: a block is taken with the chance that
 * is left for it. */
static lac_status add_random(laci_plan_store *out, uint64_t key, size_t n, size_t of,
                             lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t id = 0; id < of && n && !st; id++) {
        if (laci_rng_unit(key, id) * (double)(of - id) >= (double)n) continue;
        st = laci_plan_add(out, id, id + 1, err);
        n--;
    }
    return st;
}

lac_status attn_plan_random(laci_plan_store *out, const random_plan *how, lac_error *err)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const size_t n_rows = (how->n_q + how->q_block - 1) / how->q_block;
    const size_t n_blocks = (how->n_k + how->k_block - 1) / how->k_block;
    size_t n = (size_t)lround(how->density * (double)n_blocks);
    if (n < 1) n = 1;
    lac_status st =
        laci_plan_reserve(out, how->n_heads * n_rows, how->n_heads * n_rows * n, &mem, err);
    if (st) return st;
    laci_plan_begin(out, how->q_block, how->k_block, how->n_heads, n_rows);
    for (size_t i = 0; i < how->n_heads * n_rows && !st; i++) {
        const uint32_t head = (uint32_t)(i / n_rows / how->group), row = (uint32_t)(i % n_rows);
        st = add_random(out, laci_rng_key(how->seed, INPUT_PLAN, head, row), n, n_blocks, err);
        laci_plan_end_row(out);
    }
    if (!st) st = laci_plan_validate(&out->plan, how->n_q, how->n_k, how->n_heads, err);
    return st;
}
