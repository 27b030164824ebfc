/* layer.c: see layer.h. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "engine/layer.h"

#include <assert.h>
#include <time.h>

#include "engine/watch.h"

laci_layer_run laci_layer_begin(lac_session *s, laci_clock *clock)
{
    const laci_config *config = &s->model->config;
    return (laci_layer_run){ .s = s,
                             .config = config,
                             .buf = s->buf,
                             .clock = clock,
                             .d = (size_t)config->d_model,
                             .d_ff = (size_t)config->d_ff };
}

double laci_layer_now(const laci_layer_run *c)
{
    struct timespec t = { 0 };
    if (c->clock) clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static laci_norm norm_of(const laci_layer_run *c, const laci_buf *weight)
{
    return (laci_norm){ weight, (float)c->config->norm_eps };
}

void laci_layer_norm(const laci_layer_run *c, const laci_buf *weight, const laci_buf *x,
                     size_t x_row, size_t n)
{
    const laci_norm_rows rows = { .x = x,
                                  .x_row = x_row,
                                  .n = n,
                                  .d = c->d,
                                  .norm = norm_of(c, weight),
                                  .out = c->buf[LACI_BUF_X] };
    laci_backend_norm(c->s->be, &rows);
}

void laci_layer_multiply(const laci_layer_run *c, const laci_linear *matrix, const laci_buf *x,
                         size_t x_row, size_t n, laci_buf *y)
{
    const double start = laci_layer_now(c);
    laci_backend_linear(c->s->be, matrix, x, x_row, n, y);
    if (c->clock) c->clock->linear += laci_layer_now(c) - start;
}

void laci_layer_attend(const laci_layer_run *c, const laci_plan *plan, const laci_attention *a)
{
    const double start = laci_layer_now(c);
    laci_backend_attend(c->s->be, plan, a);
    if (c->clock) c->clock->attention += laci_layer_now(c) - start;
}

/* Rotation and normalisation of queries (or keys); values pass `rotate` false. */
static laci_head_op head_op(const laci_layer_run *c, int n_heads, const laci_buf *bias,
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

laci_head_op laci_layer_key_op(const laci_layer_run *c)
{
    return head_op(c, c->config->n_kv_heads, c->layer->k_bias, c->layer->k_norm, true);
}

laci_head_op laci_layer_value_op(const laci_layer_run *c)
{
    return head_op(c, c->config->n_kv_heads, c->layer->v_bias, NULL, false);
}

void laci_layer_queries(const laci_layer_run *c, size_t n, const int32_t *positions, size_t first,
                        size_t out_row)
{
    const laci_head_op op =
        head_op(c, c->config->n_heads, c->layer->q_bias, c->layer->q_norm, true);
    laci_layer_multiply(c, c->layer->q, c->buf[LACI_BUF_X], 0, n, c->buf[LACI_BUF_Y]);
    laci_backend_heads(c->s->be, &(laci_head_rows){ .op = &op,
                                                    .x = c->buf[LACI_BUF_Y],
                                                    .n = n,
                                                    .positions = positions,
                                                    .first_position = first,
                                                    .out = c->buf[LACI_BUF_Q],
                                                    .out_row = out_row });
}

void laci_layer_attention_output(const laci_layer_run *c, const laci_buf *o, size_t o_row,
                                 laci_buf *h, size_t h_row, size_t n)
{
    laci_buf *y = c->buf[LACI_BUF_Y];
    laci_layer_multiply(c, c->layer->o, o, o_row, n, y);
    laci_backend_add(c->s->be, h, h_row, y, n, c->d);
}

void laci_layer_feed_forward(const laci_layer_run *c, laci_buf *h, size_t h_row, size_t n)
{
    laci_backend *be = c->s->be;
    laci_buf *x = c->buf[LACI_BUF_X], *y = c->buf[LACI_BUF_Y], *z = c->buf[LACI_BUF_Z];
    const bool gated = c->layer->gate != NULL;
    laci_layer_norm(c, c->layer->ffn_norm, h, h_row, n);
    if (gated) laci_layer_multiply(c, c->layer->gate, x, 0, n, y);
    laci_layer_multiply(c, c->layer->up, x, 0, n, z);
    laci_backend_mlp(be, gated ? y : NULL, z, n, c->d_ff, x);
    laci_layer_multiply(c, c->layer->down, x, 0, n, y);
    laci_backend_add(be, h, h_row, y, n, c->d);
    laci_watch_rows(c->s, (int)(c->layer - c->s->model->weights.layers), h, h_row, n);
}

void laci_layer_finish(const laci_layer_run *c, const laci_buf *o, size_t o_row, laci_buf *h,
                       size_t h_row, size_t n)
{
    laci_layer_attention_output(c, o, o_row, h, h_row, n);
    laci_layer_feed_forward(c, h, h_row, n);
}

void laci_layer_embed(const laci_layer_run *c, const int32_t *ids, size_t n, size_t time_row)
{
    const laci_weights *w = &c->s->model->weights;
    const laci_norm norm = norm_of(c, NULL);
    const laci_embedding embedding = { .table = w->embed,
                                       .time_table = w->time,
                                       .d = c->d,
                                       .time_row = time_row,
                                       .norm = c->config->embed_norm ? &norm : NULL,
                                       .n_rows = (size_t)c->config->n_vocab,
                                       .stand_in = c->config->mask_id };
    for (size_t i = 0; i < n; i++)
        assert(ids[i] >= 0 && ids[i] < c->config->n_vocab);
    laci_backend_embed(c->s->be, &embedding, ids, n, c->buf[LACI_BUF_H]);
    laci_watch_rows(c->s, LACI_WATCH_EMBEDDING, c->buf[LACI_BUF_H], 0, n);
}
