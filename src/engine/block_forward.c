/* block_forward.c: see block_forward.h. The last layer computes the wanted rows only, unless a
 * policy keeps what rows read: then all rows are run and the wanted ones gathered. */
#include "engine/block_forward.h"

#include "engine/block_attend.h"

typedef laci_block_run_state context;

/* Keys and values of all rows; leaves the normalised rows in X. */
static void store_rows(const context *c, bool is_draft)
{
    const laci_layer_run *r = &c->run;
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    const laci_head_op k_op = laci_layer_key_op(r), v_op = laci_layer_value_op(r);
    laci_buf *x = r->buf[LACI_BUF_X], *y = r->buf[LACI_BUF_Y];
    const size_t n = c->n_pass;
    laci_backend_norm(r->s->be, r->buf[LACI_BUF_H], 0, NULL, n, r->d, &norm, x, 0);
    laci_layer_multiply(r, r->layer->k, x, 0, n, y);
    laci_kv_cache_store(&c->m->cache, c->layer, &k_op, LACI_KEYS, y, n, c->first);
    laci_layer_multiply(r, r->layer->v, x, 0, n, y);
    laci_kv_cache_store(&c->m->cache, c->layer, &v_op, LACI_VALUES, y, n, c->first);
    if (!is_draft) laci_block_update_pages(c);
}

/* n queries in Q, of positions or (NULL) of all rows of the active block, into O. */
static lac_status attend(const context *c, const int32_t *positions, size_t n, lac_error *err)
{
    const double start = laci_layer_now(&c->run);
    lac_status st = LAC_OK;
    if (positions)
        laci_block_attend_whole(c, positions, n);
    else
        st = laci_block_attend_draft(c, err);
    if (c->run.clock) c->run.clock->behind_cache += laci_layer_now(&c->run) - start;
    return st;
}

/* Attention of all rows into O. */
static lac_status attend_all(const context *c, bool is_draft, lac_error *err)
{
    laci_layer_queries(&c->run, c->n_pass, NULL, c->first, 0);
    for (size_t i = 0; i < c->n_pass && !is_draft; i++)
        c->m->rows[i] = (int32_t)(c->first + i);
    return attend(c, is_draft ? NULL : c->m->rows, c->n_pass, err);
}

/* Attention of n wanted rows, whose residual is in TAIL; returns the buffer it is in. */
static const laci_buf *attend_wanted(const context *c, bool is_done, const int32_t *positions,
                                     size_t n)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    if (is_done) {
        const size_t width = (size_t)r->config->n_heads * (size_t)r->config->d_head;
        laci_backend_gather_rows(be, laci_backend_act(be), r->buf[LACI_BUF_O], c->m->rows, n, width,
                                 r->buf[LACI_BUF_Q]);
        return r->buf[LACI_BUF_Q];
    }
    laci_backend_norm(be, r->buf[LACI_BUF_TAIL], 0, NULL, n, r->d, &norm, r->buf[LACI_BUF_X], 0);
    laci_layer_queries(r, n, positions, 0, 0);
    (void)attend(c, positions, n, NULL); /* reads everything: cannot fail */
    return r->buf[LACI_BUF_O];
}

/* The last layer and the final norm, for the wanted rows only. */
static lac_status run_last_layer(const context *c, const laci_block_pass *pass, lac_error *err)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    laci_buf *x = r->buf[LACI_BUF_X], *tail = r->buf[LACI_BUF_TAIL];
    const laci_norm final = laci_layer_norm(r, r->s->model->weights.norm);
    const bool is_done = pass->is_draft && !c->m->how.is_dense;
    lac_status st = is_done && pass->n_rows ? attend_all(c, true, err) : LAC_OK;
    for (size_t at = 0, n; at < pass->n_rows && !st; at += n) {
        const int32_t *positions = pass->rows + at;
        n = pass->n_rows - at < c->m->pass_rows ? pass->n_rows - at : c->m->pass_rows;
        for (size_t i = 0; i < n; i++)
            c->m->rows[i] = positions[i] - (int32_t)pass->first;
        laci_backend_gather(be, r->buf[LACI_BUF_H], c->m->rows, n, r->d, tail);
        laci_layer_finish(r, attend_wanted(c, is_done, positions, n), 0, tail, 0, n);
        laci_backend_norm(be, tail, 0, NULL, n, r->d, &final, x, 0);
        st = pass->sink.take(pass->sink.user, pass->first_row + at, n, err);
    }
    return st;
}

lac_status laci_block_forward(lac_session *s, const laci_block_pass *pass, lac_error *err)
{
    const laci_weights *w = &s->model->weights;
    const size_t n_layers = (size_t)s->model->config.n_layers;
    context c = { .run = laci_layer_begin(s, pass->clock),
                  .m = s->block,
                  .first = pass->first,
                  .n_pass = pass->n,
                  .on_plan = pass->on_plan,
                  .user = pass->user,
                  .gen_step = pass->step };
    lac_status st = LAC_OK;
    s->block->stats = (laci_block_stats){ 0 };
    laci_layer_embed(&c.run, pass->ids, pass->n, 0);
    for (; c.layer + 1 < n_layers && !st; c.layer++) {
        c.run.layer = &w->layers[c.layer];
        store_rows(&c, pass->is_draft);
        st = attend_all(&c, pass->is_draft, err);
        if (!st) laci_layer_finish(&c.run, s->buf[LACI_BUF_O], 0, s->buf[LACI_BUF_H], 0, pass->n);
    }
    if (st) return st;
    c.run.layer = &w->layers[c.layer];
    store_rows(&c, pass->is_draft);
    return run_last_layer(&c, pass, err);
}
