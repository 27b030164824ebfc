/* pass.c: see pass.h. Rows of all sequences lie one after the other. Products run over chunks of
 * them so that their scratch does not grow with their number; storing keys and attention run
 * sequence by sequence and see its rows through views. The last layer computes the wanted rows
 * only, unless its attention is measured or kept: then all rows take part in it, and the wanted
 * ones are gathered. */
#include "engine/pass.h"

#include <string.h>

typedef struct {
    laci_layer_run run;
    const laci_rows *rows;
    size_t n, n_rows;         /* sequences, rows of all */
    const int32_t *positions; /* [n_rows]; NULL = from rows[0].first on */
    int layer;
} context;

static size_t chunk_of(const context *c, size_t row, size_t end)
{
    const size_t chunk = c->run.s->layout.chunk_rows;
    return end - row < chunk ? end - row : chunk;
}

static size_t act_of(const context *c)
{
    return laci_act_bytes(laci_backend_act(c->run.s->be));
}

/* Sequence p in the layer under way, its rows from row `row` of buffers on. */
static laci_attend look_at(const context *c, size_t p, size_t row)
{
    const lac_session *s = c->run.s;
    const laci_rows *rows = &c->rows[p];
    const size_t width = (size_t)c->run.config->n_heads * (size_t)c->run.config->d_head;
    laci_attend a = { .run = c->run,
                      .rows = rows,
                      .at = rows->at,
                      .q = s->view[LACI_VIEW_Q],
                      .o = s->view[LACI_VIEW_O] };
    a.at.layer = c->layer;
    a.at.n_q = rows->n;
    a.at.n_k = laci_attend_n_planned(s, rows);
    laci_view_set(s->be, s->view[LACI_VIEW_Q], s->buf[LACI_BUF_Q], row * width * act_of(c));
    laci_view_set(s->be, s->view[LACI_VIEW_O], s->buf[LACI_BUF_O], row * width * act_of(c));
    if (!s->layout.policy.input || rows->is_final) return a;
    laci_layer_norm(&c->run, c->run.layer->attn_norm, s->buf[LACI_BUF_H], row, rows->n);
    a.x = s->buf[LACI_BUF_X];
    return a;
}

/* ------------------------------------------------------------------ keys, values, queries */

/* How many of n rows from row i of a sequence on have neighbouring positions in one piece. */
static size_t run_length(const laci_rows *rows, size_t i, size_t n)
{
    const size_t first = rows->positions ? (size_t)rows->positions[i] : rows->first + i;
    const size_t left = laci_keys_piece_end(&rows->seq->kv, first) - first;
    size_t length = 1;
    if (left < n) n = left;
    if (!rows->positions) return n;
    while (length < n && (size_t)rows->positions[i + length] == first + length)
        length++;
    return length;
}

/* Rows [begin, end) of a sequence, which are in Y from row y_row on, into its store. */
static void store_rows(const context *c, const laci_head_op *op, laci_kv_part part,
                       const laci_rows *rows, size_t begin, size_t end, size_t y_row)
{
    const lac_session *s = c->run.s;
    laci_buf *const y = s->view[LACI_VIEW_Y];
    const size_t width = op->n_heads * op->d_head * sizeof(float);
    for (size_t i = begin, n; i < end; i += n) {
        const size_t first = rows->positions ? (size_t)rows->positions[i] : rows->first + i;
        n = run_length(rows, i, end - i);
        laci_view_set(s->be, y, s->buf[LACI_BUF_Y], (y_row + i - begin) * width);
        laci_keys_store(&rows->seq->kv, (size_t)c->layer, op, part, y, n, first);
        if (rows->is_final && part == LACI_KEYS)
            laci_keys_update_bounds(&rows->seq->kv, (size_t)c->layer, first, n);
    }
}

/* n rows of all from row `row` on, which are in Y, into the stores of their sequences. */
static void store(const context *c, const laci_head_op *op, laci_kv_part part, size_t row, size_t n)
{
    for (size_t p = 0, first = 0; p < c->n; first += c->rows[p++].n) {
        const size_t begin = row > first ? row - first : 0;
        const size_t end = row + n < first + c->rows[p].n ? row + n - first : c->rows[p].n;
        if (row + n > first && begin < end)
            store_rows(c, op, part, &c->rows[p], begin, end, first + begin - row);
    }
}

typedef enum { KEYS = 1, QUERIES = 2 } projection;

/* Keys and values, or queries, or both, of rows [begin, end). */
static void project(const context *c, size_t begin, size_t end, unsigned what)
{
    const laci_layer_run *r = &c->run;
    const laci_head_op k_op = laci_layer_key_op(r), v_op = laci_layer_value_op(r);
    laci_buf *x = r->buf[LACI_BUF_X], *y = r->buf[LACI_BUF_Y];
    for (size_t row = begin, n; row < end; row += n) {
        n = chunk_of(c, row, end);
        laci_layer_norm(r, r->layer->attn_norm, r->buf[LACI_BUF_H], row, n);
        if (what & KEYS) {
            laci_layer_multiply(r, r->layer->k, x, 0, n, y);
            store(c, &k_op, LACI_KEYS, row, n);
            laci_layer_multiply(r, r->layer->v, x, 0, n, y);
            store(c, &v_op, LACI_VALUES, row, n);
        }
        if (what & QUERIES)
            laci_layer_queries(r, n, c->positions ? c->positions + row : NULL,
                               c->rows[0].first + row, row);
    }
}

/* ------------------------------------------------------------------ a layer */

/* The plan of a canvas, behind a pass that only measures where the policy wants one. */
static lac_status plan_canvas(const context *c, laci_attend *a, bool is_last, lac_error *err)
{
    lac_status st = laci_attend_plan(a, is_last, err);
    if (st || !a->request.rehearsal) return st;
    if (is_last) project(c, 0, c->n_rows, QUERIES);
    st = laci_attend_all(a, err);
    return st ? st : laci_attend_plan(a, is_last, err);
}

static lac_status run_layer(const context *c, lac_error *err)
{
    const lac_session *s = c->run.s;
    const bool is_canvas = !s->layout.block;
    lac_status st = LAC_OK;
    laci_attend a;
    project(c, 0, c->n_rows, KEYS | QUERIES);
    for (size_t p = 0, row = 0; p < c->n && !st; row += c->rows[p++].n) {
        a = look_at(c, p, row);
        if (is_canvas) st = plan_canvas(c, &a, false, err);
        if (!st) st = laci_attend_all(&a, err);
    }
    for (size_t row = 0, n; row < c->n_rows && !st; row += n) {
        n = chunk_of(c, row, c->n_rows);
        laci_layer_finish(&c->run, s->buf[LACI_BUF_O], row, s->buf[LACI_BUF_H], row, n);
    }
    if (is_canvas && !st) laci_attend_report(&a);
    return st;
}

/* ------------------------------------------------------------------ the last layer */

/* Where a walk over the wanted rows of sequences stands. */
typedef struct {
    size_t seq, at;    /* next wanted row of this sequence */
    size_t row;        /* of its first row among all */
    size_t end;        /* sequences up to this one */
    size_t n_parts, n; /* what the last move took: parts and rows */
} walk;

/* Row of a position among those of its sequence. */
static size_t row_of(const laci_rows *rows, int32_t position)
{
    if (!rows->positions) return (size_t)position - rows->first;
    size_t low = 0, high = rows->n;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (rows->positions[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Takes as many wanted rows as there is room for: which parts they are, their rows among all and
 * their positions. */
static void move_on(const context *c, walk *w)
{
    const laci_pass_arrays *m = &c->run.s->arrays;
    const size_t most = c->run.s->layout.chunk_rows;
    w->n_parts = w->n = 0;
    while (w->seq < w->end && w->n < most) {
        const laci_rows *rows = &c->rows[w->seq];
        const size_t left = rows->n_wanted - w->at, room = most - w->n;
        const size_t n = left < room ? left : room;
        for (size_t i = 0; i < n; i++) {
            const int32_t position = rows->wanted[w->at + i];
            m->wanted[w->n + i] = position;
            m->rows[w->n + i] = (int32_t)(w->row + row_of(rows, position));
        }
        if (n) m->parts[w->n_parts++] = (laci_row_part){ w->seq, w->at, n };
        w->n += n;
        w->at += n;
        if (w->at < rows->n_wanted) return;
        w->row += rows->n;
        w->seq++;
        w->at = 0;
    }
}

/* Attention of the wanted rows of the walk, whose residual is in TAIL; returns the buffer it is in.
 * Rows of a layer that was run whole are gathered, into the queries nobody needs any more. */
static const laci_buf *attend_wanted(const context *c, const walk *w, bool is_done)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    const laci_pass_arrays *m = &r->s->arrays;
    if (is_done) {
        const size_t width = (size_t)r->config->n_heads * (size_t)r->config->d_head;
        laci_backend_gather_rows(be, laci_backend_act(be), r->buf[LACI_BUF_O], m->rows, w->n, width,
                                 r->buf[LACI_BUF_Q]);
        return r->buf[LACI_BUF_Q];
    }
    laci_layer_norm(r, r->layer->attn_norm, r->buf[LACI_BUF_TAIL], 0, w->n);
    laci_layer_queries(r, w->n, m->wanted, 0, 0);
    for (size_t i = 0, row = 0; i < w->n_parts; row += m->parts[i++].n) {
        laci_attend a = look_at(c, m->parts[i].pass, row);
        laci_attend_wanted(&a, m->wanted + row, m->parts[i].n);
    }
    return r->buf[LACI_BUF_O];
}

/* What follows the last attention and the final norm, for wanted rows only: all of whose attention
 * is done, or none. */
static lac_status finish_wanted(const context *c, walk w, bool is_done, laci_row_sink sink,
                                lac_error *err)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    const laci_pass_arrays *m = &r->s->arrays;
    laci_buf *tail = r->buf[LACI_BUF_TAIL];
    lac_status st = LAC_OK;
    for (move_on(c, &w); w.n && !st; move_on(c, &w)) {
        laci_backend_gather(be, r->buf[LACI_BUF_H], m->rows, w.n, r->d, tail);
        laci_layer_finish(r, attend_wanted(c, &w, is_done), 0, tail, 0, w.n);
        laci_layer_norm(r, r->s->model->weights.norm, tail, 0, w.n);
        for (size_t i = 0; i < w.n_parts; i++)
            m->parts[i].first += c->rows[m->parts[i].pass].first_wanted;
        st = sink.take(sink.user, m->parts, w.n_parts, err);
    }
    return st;
}

/* A canvas runs alone. */
static lac_status run_last_of_canvas(const context *c, laci_row_sink sink, lac_error *err)
{
    laci_attend a = look_at(c, 0, 0);
    lac_status st = plan_canvas(c, &a, true, err);
    const bool is_measured = a.request.stats || a.request.lse;
    if (!st && is_measured) {
        project(c, 0, c->n_rows, QUERIES);
        st = laci_attend_all(&a, err);
    }
    if (!st) st = finish_wanted(c, (walk){ .end = c->n }, is_measured, sink, err);
    if (!st) laci_attend_report(&a);
    return st;
}

static lac_status run_last_layer(const context *c, laci_row_sink sink, lac_error *err)
{
    walk first = { 0 }, others = { .end = c->n };
    size_t n_wanted = 0;
    lac_status st = LAC_OK;
    project(c, 0, c->n_rows, KEYS);
    if (!c->run.s->layout.block) return run_last_of_canvas(c, sink, err);
    for (; first.end < c->n && laci_attend_keeps(c->run.s, &c->rows[first.end]); first.end++) {
        others.row += c->rows[first.end].n;
        n_wanted += c->rows[first.end].n_wanted;
    }
    others.seq = first.end;
    if (n_wanted) project(c, 0, others.row, QUERIES);
    for (size_t p = 0, row = 0; p < first.end && !st; row += c->rows[p++].n) {
        laci_attend a = look_at(c, p, row);
        if (c->rows[p].n_wanted) st = laci_attend_all(&a, err);
    }
    if (!st) st = finish_wanted(c, first, true, sink, err);
    return st ? st : finish_wanted(c, others, false, sink, err);
}

/* ------------------------------------------------------------------ the pass */

/* Ids and positions of all rows, one sequence after the other. Returns the ids. */
static const int32_t *line_up(context *c)
{
    const laci_pass_arrays *m = &c->run.s->arrays;
    for (size_t p = 0; p < c->n; p++) {
        const laci_rows *rows = &c->rows[p];
        rows->seq->stats = (laci_read_stats){ 0 };
        for (size_t i = 0; i < rows->n && c->n > 1; i++) {
            m->ids[c->n_rows + i] = rows->ids[i];
            m->positions[c->n_rows + i] =
                rows->positions ? rows->positions[i] : (int32_t)(rows->first + i);
        }
        c->n_rows += rows->n;
    }
    c->positions = c->n > 1 ? m->positions : c->rows[0].positions;
    return c->n > 1 ? m->ids : c->rows[0].ids;
}

lac_status laci_pass(lac_session *s, const laci_rows *rows, size_t n, laci_row_sink sink,
                     laci_clock *clock, lac_error *err)
{
    const laci_weights *w = &s->model->weights;
    const int n_layers = s->model->config.n_layers;
    context c = { .run = laci_layer_begin(s, clock), .rows = rows, .n = n };
    const int32_t *ids = line_up(&c);
    lac_status st = LAC_OK;
    laci_backend_pass_begin(s->be);
    laci_layer_embed(&c.run, ids, c.n_rows, rows[0].time_row);
    for (; c.layer < n_layers && !st; c.layer++) {
        c.run.layer = &w->layers[c.layer];
        st = c.layer + 1 < n_layers ? run_layer(&c, err) : run_last_layer(&c, sink, err);
    }
    laci_backend_pass_end(s->be);
    return st;
}

void laci_pass_logits(lac_session *s, const laci_buf *x, size_t x_row, size_t n, laci_buf *out)
{
    laci_backend_linear(s->be, s->model->weights.head, x, x_row, n, out);
}
