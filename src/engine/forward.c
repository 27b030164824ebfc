/* forward.c: see forward.h. Products run over chunks of rows so that their scratch does not grow
 * with the context; attention runs over all rows at once. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "engine/forward.h"

#include <time.h>

/* What every step of a layer needs at hand. */
typedef struct {
    lac_session *s;
    const laci_pass *pass;
    const laci_config *config;
    const laci_layer *layer;
    laci_buf *const *buf;
    size_t d, q_width, kv_width, d_ff;
} context;

/* Seconds, of a pass that is timed. */
static double now(const context *c)
{
    struct timespec t = { 0 };
    if (c->pass->clock) clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void multiply(const context *c, const laci_linear *matrix, const laci_buf *x, size_t x_row,
                     size_t n, laci_buf *y)
{
    const double start = now(c);
    laci_backend_linear(c->s->be, matrix, x, x_row, n, y);
    if (c->pass->clock) c->pass->clock->linear += now(c) - start;
}

static void attend(const context *c, const laci_plan *plan, const laci_attention *a)
{
    const double start = now(c);
    laci_backend_attend(c->s->be, plan, a);
    if (c->pass->clock) c->pass->clock->attention += now(c) - start;
}

static laci_norm norm_of(const context *c, const laci_buf *weight)
{
    return (laci_norm){ weight, (float)c->config->norm_eps };
}

/* Rotation and normalisation of queries (or keys); values pass `rotate` false. */
static laci_head_op head_op(const context *c, int n_heads, const laci_buf *bias,
                            const laci_buf *norm, bool rotate)
{
    laci_head_op op = { .n_heads = (size_t)n_heads,
                        .d_head = (size_t)c->config->d_head,
                        .bias = bias,
                        .norm = norm_of(c, norm) };
    if (!rotate) return op;
    op.norm_before = c->config->qk_norm == LACI_QK_NORM_BEFORE_ROPE;
    op.norm_after = c->config->qk_norm == LACI_QK_NORM_AFTER_ROPE;
    op.cosines = c->buf[LACI_BUF_COS];
    op.sines = c->buf[LACI_BUF_SIN];
    op.rope_dim = (size_t)c->config->rope_dim;
    op.rope_adjacent = c->config->rope_layout == LACI_ROPE_ADJACENT;
    return op;
}

/* Queries of n rows already normalised in X, into rows out_row.. of Q. */
static void project_queries(const context *c, size_t n, const int32_t *positions, size_t first,
                            size_t out_row)
{
    laci_backend *be = c->s->be;
    const laci_head_op op =
        head_op(c, c->config->n_heads, c->layer->q_bias, c->layer->q_norm, true);
    multiply(c, c->layer->q, c->buf[LACI_BUF_X], 0, n, c->buf[LACI_BUF_Y]);
    laci_backend_heads(be, &op, c->buf[LACI_BUF_Y], n, positions, first, c->buf[LACI_BUF_Q],
                       out_row);
}

/* Keys and values of all rows, and queries too unless this is the last layer. */
static void project(const context *c, bool with_queries)
{
    laci_backend *be = c->s->be;
    const laci_norm norm = norm_of(c, c->layer->attn_norm);
    const laci_head_op k_op =
        head_op(c, c->config->n_kv_heads, c->layer->k_bias, c->layer->k_norm, true);
    const laci_head_op v_op = head_op(c, c->config->n_kv_heads, c->layer->v_bias, NULL, false);
    const size_t chunk = c->s->layout.chunk_rows;
    for (size_t row = 0; row < c->pass->n; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        laci_buf *x = c->buf[LACI_BUF_X], *y = c->buf[LACI_BUF_Y];
        laci_backend_norm(be, c->buf[LACI_BUF_H], row, NULL, n, c->d, &norm, x, 0);
        multiply(c, c->layer->k, x, 0, n, y);
        laci_backend_store(be, &k_op, y, n, &c->s->kv, LACI_KEYS, 0, row);
        multiply(c, c->layer->v, x, 0, n, y);
        laci_backend_store(be, &v_op, y, n, &c->s->kv, LACI_VALUES, 0, row);
        if (with_queries) project_queries(c, n, NULL, row, row);
    }
}

/* Attention output of n rows from o_row added to rows h_row.. of `h`, then the MLP. */
static void finish_rows(const context *c, size_t o_row, laci_buf *h, size_t h_row, size_t n)
{
    laci_backend *be = c->s->be;
    laci_buf *x = c->buf[LACI_BUF_X], *y = c->buf[LACI_BUF_Y], *z = c->buf[LACI_BUF_Z];
    const laci_norm norm = norm_of(c, c->layer->ffn_norm);
    const bool gated = c->layer->gate != NULL;
    multiply(c, c->layer->o, c->buf[LACI_BUF_O], o_row, n, y);
    laci_backend_add(be, h, h_row, y, n, c->d);
    laci_backend_norm(be, h, h_row, NULL, n, c->d, &norm, x, 0);
    if (gated) multiply(c, c->layer->gate, x, 0, n, y);
    multiply(c, c->layer->up, x, 0, n, z);
    laci_backend_mlp(be, gated ? y : NULL, z, n, c->d_ff, x);
    multiply(c, c->layer->down, x, 0, n, y);
    laci_backend_add(be, h, h_row, y, n, c->d);
}

static laci_attention attention_of(const context *c, size_t n_q)
{
    return (laci_attention){ .q = c->buf[LACI_BUF_Q],
                             .kv = &c->s->kv,
                             .out = c->buf[LACI_BUF_O],
                             .n_q = n_q,
                             .n_k = c->pass->n,
                             .n_heads = (size_t)c->config->n_heads };
}

static void run_layer(const context *c, const laci_plan *plan)
{
    const laci_attention a = attention_of(c, c->pass->n);
    const size_t chunk = c->s->layout.chunk_rows;
    attend(c, plan, &a);
    for (size_t row = 0; row < c->pass->n; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        finish_rows(c, row, c->buf[LACI_BUF_H], row, n);
    }
}

/* The last layer and the final norm, for the wanted rows only; each chunk goes to the sink. */
static lac_status run_last_layer(const context *c, const laci_plan *whole, lac_error *err)
{
    laci_backend *be = c->s->be;
    laci_buf *x = c->buf[LACI_BUF_X], *tail = c->buf[LACI_BUF_TAIL];
    const laci_norm norm = norm_of(c, c->layer->attn_norm);
    const laci_norm final = norm_of(c, c->s->model->weights.norm);
    const size_t chunk = c->s->layout.chunk_rows;
    for (size_t first = 0; first < c->pass->n_rows; first += chunk) {
        const size_t n = c->pass->n_rows - first < chunk ? c->pass->n_rows - first : chunk;
        const int32_t *rows = c->pass->rows + first;
        const laci_attention a = attention_of(c, n);
        laci_plan plan = *whole;
        plan.active = rows;
        plan.n_active = n;
        laci_backend_gather(be, c->buf[LACI_BUF_H], rows, n, c->d, tail);
        laci_backend_norm(be, tail, 0, NULL, n, c->d, &norm, x, 0);
        project_queries(c, n, rows, 0, 0);
        attend(c, &plan, &a);
        finish_rows(c, 0, tail, 0, n);
        laci_backend_norm(be, tail, 0, NULL, n, c->d, &final, x, 0);
        lac_status st = c->pass->sink.take(c->pass->sink.user, first, n, err);
        if (st) return st;
    }
    return LAC_OK;
}

static void embed(const context *c)
{
    const laci_weights *w = &c->s->model->weights;
    const laci_norm norm = norm_of(c, NULL);
    const laci_embedding embedding = { .table = w->embed,
                                       .time_table = w->time,
                                       .d = c->d,
                                       .time_row = c->pass->time_row,
                                       .norm = c->config->embed_norm ? &norm : NULL };
    laci_backend_embed(c->s->be, &embedding, c->pass->ids, c->pass->n, c->buf[LACI_BUF_H]);
}

lac_status laci_forward(lac_session *s, const laci_pass *pass, lac_error *err)
{
    const laci_config *config = &s->model->config;
    const laci_weights *w = &s->model->weights;
    context c = { .s = s,
                  .pass = pass,
                  .config = config,
                  .buf = s->buf,
                  .d = (size_t)config->d_model,
                  .d_ff = (size_t)config->d_ff };
    laci_moment at = pass->moment;
    double density = 0;
    at.n_q = at.n_k = pass->n;
    embed(&c);
    for (int i = 0; i < config->n_layers; i++) {
        const bool is_last = i == config->n_layers - 1;
        const laci_plan_input in = { s->buf[LACI_BUF_Q], &s->kv };
        laci_plan_store *store = &s->plans[s->n_plans > 1 ? i : 0];
        c.layer = &w->layers[i];
        at.layer = i;
        project(&c, !is_last);
        lac_status st = s->policy->plan(s->policy_state, s->be, &at, &in, store, err);
        if (!st) density += laci_plan_density(&store->plan, pass->n, pass->n);
        if (!st && is_last) st = run_last_layer(&c, &store->plan, err);
        if (st) return st;
        if (!is_last) run_layer(&c, &store->plan);
        if (s->policy->observe)
            st = s->policy->observe(s->policy_state, s->be, &at, &store->plan, NULL, err);
        if (st) return st;
    }
    s->density = density / config->n_layers;
    return LAC_OK;
}

void laci_forward_logits(lac_session *s, const laci_buf *x, size_t x_row, size_t n, laci_buf *out)
{
    laci_backend_linear(s->be, s->model->weights.head, x, x_row, n, out);
}
