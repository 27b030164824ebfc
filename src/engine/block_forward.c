/* block_forward.c: see block_forward.h. Rows of all passes lie one after the other; what concerns
 * one sequence alone, its cache and its attention, sees them through views. The last layer computes
 * the wanted rows only, unless a policy keeps what rows read: then all rows of these passes are run
 * and the wanted ones gathered. */
#include "engine/block_forward.h"

#include <assert.h>
#include <string.h>

#include "engine/block_attend.h"

typedef struct {
    laci_layer_run run;
    laci_block_memory *m;
    const laci_block_pass *passes;
    size_t n_passes, n_rows; /* rows of all passes */
    size_t layer;
} context;

/* Pass p in the layer under way, its rows from row `row` on. */
static laci_block_run_state look_at(const context *c, size_t p, size_t row)
{
    const laci_block_pass *pass = &c->passes[p];
    laci_backend *be = c->run.s->be;
    const size_t act = laci_backend_act(be) == LACI_BF16 ? 2 : 4;
    const size_t offset =
        row * (size_t)c->run.config->n_heads * (size_t)c->run.config->d_head * act;
    laci_view_set(be, c->m->x, c->run.buf[LACI_BUF_X], row * c->run.d * act);
    laci_view_set(be, c->m->q, c->run.buf[LACI_BUF_Q], offset);
    laci_view_set(be, c->m->o, c->run.buf[LACI_BUF_O], offset);
    return (laci_block_run_state){ .run = c->run,
                                   .m = c->m,
                                   .seq = pass->seq,
                                   .layer = c->layer,
                                   .first = pass->first,
                                   .n_pass = pass->n,
                                   .on_plan = pass->on_plan,
                                   .user = pass->user,
                                   .gen_step = pass->step };
}

/* Rows of Y, keys or values of all passes, into the caches. */
static void store_part(const context *c, const laci_head_op *op, laci_kv_part part)
{
    const size_t width = op->n_heads * op->d_head * sizeof(float);
    for (size_t p = 0, row = 0; p < c->n_passes; row += c->passes[p++].n) {
        const laci_block_pass *pass = &c->passes[p];
        laci_view_set(c->run.s->be, c->m->y, c->run.buf[LACI_BUF_Y], row * width);
        laci_kv_cache_store(&pass->seq->cache, c->layer, op, part, c->m->y, pass->n, pass->first);
    }
}

/* Keys and values of all rows; leaves the normalised rows in X. */
static void store_rows(const context *c)
{
    const laci_layer_run *r = &c->run;
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    const laci_head_op k_op = laci_layer_key_op(r), v_op = laci_layer_value_op(r);
    laci_buf *x = r->buf[LACI_BUF_X], *y = r->buf[LACI_BUF_Y];
    laci_backend_norm(r->s->be, r->buf[LACI_BUF_H], 0, NULL, c->n_rows, r->d, &norm, x, 0);
    laci_layer_multiply(r, r->layer->k, x, 0, c->n_rows, y);
    store_part(c, &k_op, LACI_KEYS);
    laci_layer_multiply(r, r->layer->v, x, 0, c->n_rows, y);
    store_part(c, &v_op, LACI_VALUES);
    for (size_t p = 0, row = 0; p < c->n_passes; row += c->passes[p++].n) {
        const laci_block_run_state one = look_at(c, p, row);
        if (!c->passes[p].is_draft) laci_block_update_pages(&one);
    }
}

/* Attention of all rows of the first n passes into O; in the last layer, of those that want rows.
 */
static lac_status attend_all(const context *c, size_t n_passes, bool is_last, lac_error *err)
{
    size_t n = 0;
    lac_status st = LAC_OK;
    for (size_t p = 0; p < n_passes; p++)
        n += c->passes[p].n;
    laci_layer_queries(&c->run, n, c->m->positions, 0, 0);
    const double start = laci_layer_now(&c->run);
    for (size_t p = 0, row = 0; p < n_passes && !st; row += c->passes[p++].n) {
        const laci_block_run_state one = look_at(c, p, row);
        if (is_last && !c->passes[p].n_rows) continue;
        if (c->passes[p].is_draft)
            st = laci_block_attend_draft(&one, err);
        else
            laci_block_attend_whole(&one, c->m->positions + row, c->passes[p].n);
    }
    if (c->run.clock) c->run.clock->behind_cache += laci_layer_now(&c->run) - start;
    return st;
}

/* ------------------------------------------------------------------ the last layer */

/* Where a walk over the wanted rows of passes stands. */
typedef struct {
    size_t pass, at;   /* next row of this pass */
    size_t row;        /* of this pass's first among all */
    size_t end;        /* passes up to this one */
    size_t n_parts, n; /* what the last move took: parts and rows */
} walk;

/* Takes as many wanted rows as there is room for: which parts they are, their rows among all and
 * their positions. */
static void move_on(const context *c, walk *w)
{
    laci_block_memory *m = c->m;
    w->n_parts = w->n = 0;
    while (w->pass < w->end && w->n < m->n_rows) {
        const laci_block_pass *pass = &c->passes[w->pass];
        const size_t left = pass->n_rows - w->at, room = m->n_rows - w->n;
        const size_t n = left < room ? left : room;
        for (size_t i = 0; i < n; i++) {
            const int32_t position = pass->rows[w->at + i];
            assert((size_t)position >= pass->first && (size_t)position < pass->first + pass->n);
            m->wanted[w->n + i] = position;
            m->rows[w->n + i] = (int32_t)w->row + position - (int32_t)pass->first;
        }
        if (n) m->parts[w->n_parts++] = (laci_row_part){ w->pass, w->at, n };
        w->n += n;
        w->at += n;
        if (w->at < pass->n_rows) return;
        w->row += pass->n;
        w->pass++;
        w->at = 0;
    }
}

/* Attention of the wanted rows of the walk, whose residual is in TAIL; returns the buffer it is in.
 */
static const laci_buf *attend_wanted(const context *c, const walk *w, bool is_done)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    if (is_done) {
        const size_t width = (size_t)r->config->n_heads * (size_t)r->config->d_head;
        laci_backend_gather_rows(be, laci_backend_act(be), r->buf[LACI_BUF_O], c->m->rows, w->n,
                                 width, r->buf[LACI_BUF_Q]);
        return r->buf[LACI_BUF_Q];
    }
    laci_backend_norm(be, r->buf[LACI_BUF_TAIL], 0, NULL, w->n, r->d, &norm, r->buf[LACI_BUF_X], 0);
    laci_layer_queries(r, w->n, c->m->wanted, 0, 0);
    const double start = laci_layer_now(r);
    for (size_t i = 0, row = 0; i < w->n_parts; row += c->m->parts[i++].n) {
        const laci_block_run_state one = look_at(c, c->m->parts[i].pass, row);
        laci_block_attend_whole(&one, c->m->wanted + row, c->m->parts[i].n);
    }
    if (r->clock) r->clock->behind_cache += laci_layer_now(r) - start;
    return r->buf[LACI_BUF_O];
}

/* What follows the last attention and the final norm, for wanted rows only: all of whose attention
 * is done, or none. */
static lac_status finish_wanted(const context *c, walk w, bool is_done, laci_row_sink sink,
                                lac_error *err)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    laci_buf *x = r->buf[LACI_BUF_X], *tail = r->buf[LACI_BUF_TAIL];
    const laci_norm final = laci_layer_norm(r, r->s->model->weights.norm);
    lac_status st = LAC_OK;
    for (move_on(c, &w); w.n && !st; move_on(c, &w)) {
        laci_backend_gather(be, r->buf[LACI_BUF_H], c->m->rows, w.n, r->d, tail);
        laci_layer_finish(r, attend_wanted(c, &w, is_done), 0, tail, 0, w.n);
        laci_backend_norm(be, tail, 0, NULL, w.n, r->d, &final, x, 0);
        for (size_t i = 0; i < w.n_parts; i++)
            c->m->parts[i].first += c->passes[c->m->parts[i].pass].first_row;
        st = sink.take(sink.user, c->m->parts, w.n_parts, err);
    }
    return st;
}

static lac_status run_last_layer(const context *c, laci_row_sink sink, lac_error *err)
{
    walk drafts = { 0 }, others = { .end = c->n_passes };
    bool is_wanted = false;
    for (; drafts.end < c->n_passes && c->passes[drafts.end].is_draft; drafts.end++) {
        others.row += c->passes[drafts.end].n;
        is_wanted = is_wanted || c->passes[drafts.end].n_rows;
    }
    if (c->m->how.is_dense) return finish_wanted(c, (walk){ .end = c->n_passes }, false, sink, err);
    others.pass = drafts.end;
    lac_status st = is_wanted ? attend_all(c, drafts.end, true, err) : LAC_OK;
    if (!st) st = finish_wanted(c, drafts, true, sink, err);
    return st ? st : finish_wanted(c, others, false, sink, err);
}

/* ------------------------------------------------------------------ the passes */

/* Ids and positions of all rows, one pass after the other. */
static void line_up(context *c)
{
    for (size_t p = 0; p < c->n_passes; p++) {
        const laci_block_pass *pass = &c->passes[p];
        pass->seq->stats = (laci_block_stats){ 0 };
        pass->seq->n_unsettled = 0;
        memcpy(c->m->ids + c->n_rows, pass->ids, pass->n * sizeof *pass->ids);
        for (size_t i = 0; i < pass->n; i++)
            c->m->positions[c->n_rows++] = (int32_t)(pass->first + i);
    }
}

lac_status laci_block_forward(lac_session *s, const laci_block_pass *passes, size_t n_passes,
                              laci_row_sink sink, laci_clock *clock, lac_error *err)
{
    const laci_weights *w = &s->model->weights;
    const size_t n_layers = (size_t)s->model->config.n_layers;
    context c = {
        .run = laci_layer_begin(s, clock), .m = s->block, .passes = passes, .n_passes = n_passes
    };
    lac_status st = LAC_OK;
    line_up(&c);
    laci_backend_pass_begin(s->be);
    laci_layer_embed(&c.run, c.m->ids, c.n_rows, 0);
    for (; c.layer + 1 < n_layers && !st; c.layer++) {
        c.run.layer = &w->layers[c.layer];
        store_rows(&c);
        st = attend_all(&c, n_passes, false, err);
        if (!st) laci_layer_finish(&c.run, s->buf[LACI_BUF_O], 0, s->buf[LACI_BUF_H], 0, c.n_rows);
    }
    if (!st) {
        c.run.layer = &w->layers[c.layer];
        store_rows(&c);
        st = run_last_layer(&c, sink, err);
    }
    laci_backend_pass_end(s->be);
    return st;
}
