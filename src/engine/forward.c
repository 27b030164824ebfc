/* forward.c: see forward.h. Products run over chunks of rows so that their scratch does not grow
 * with the context; attention runs over all rows at once. */
#include "engine/forward.h"

typedef struct {
    laci_layer_run run;
    const laci_pass *pass;
} context;

/* Keys and values of all rows, and queries too unless this is the last layer. */
static void project(const context *c, bool with_queries)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    const laci_head_op k_op = laci_layer_key_op(r), v_op = laci_layer_value_op(r);
    const size_t chunk = r->s->layout.chunk_rows;
    for (size_t row = 0; row < c->pass->n; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        laci_buf *x = r->buf[LACI_BUF_X], *y = r->buf[LACI_BUF_Y];
        laci_backend_norm(be, r->buf[LACI_BUF_H], row, NULL, n, r->d, &norm, x, 0);
        laci_layer_multiply(r, r->layer->k, x, 0, n, y);
        laci_backend_store(be, &k_op, y, n, &r->s->kv, LACI_KEYS, 0, row);
        laci_layer_multiply(r, r->layer->v, x, 0, n, y);
        laci_backend_store(be, &v_op, y, n, &r->s->kv, LACI_VALUES, 0, row);
        if (with_queries) laci_layer_queries(r, n, NULL, row, row);
    }
}

static laci_attention attention_of(const context *c, size_t n_q)
{
    return (laci_attention){ .q = c->run.buf[LACI_BUF_Q],
                             .kv = &c->run.s->kv,
                             .out = c->run.buf[LACI_BUF_O],
                             .n_q = n_q,
                             .n_k = c->pass->n,
                             .n_heads = (size_t)c->run.config->n_heads };
}

static void run_layer(const context *c, const laci_plan *plan)
{
    const laci_attention a = attention_of(c, c->pass->n);
    const size_t chunk = c->run.s->layout.chunk_rows;
    laci_layer_attend(&c->run, plan, &a);
    for (size_t row = 0; row < c->pass->n; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        laci_layer_finish(&c->run, row, c->run.buf[LACI_BUF_H], row, n);
    }
}

/* The last layer and the final norm, for the wanted rows only; each chunk goes to the sink. */
static lac_status run_last_layer(const context *c, const laci_plan *whole, lac_error *err)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    laci_buf *x = r->buf[LACI_BUF_X], *tail = r->buf[LACI_BUF_TAIL];
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    const laci_norm final = laci_layer_norm(r, r->s->model->weights.norm);
    const size_t chunk = r->s->layout.chunk_rows;
    for (size_t first = 0; first < c->pass->n_rows; first += chunk) {
        const size_t n = c->pass->n_rows - first < chunk ? c->pass->n_rows - first : chunk;
        const int32_t *rows = c->pass->rows + first;
        const laci_attention a = attention_of(c, n);
        laci_plan plan = *whole;
        plan.active = rows;
        plan.n_active = n;
        laci_backend_gather(be, r->buf[LACI_BUF_H], rows, n, r->d, tail);
        laci_backend_norm(be, tail, 0, NULL, n, r->d, &norm, x, 0);
        laci_layer_queries(r, n, rows, 0, 0);
        laci_layer_attend(r, &plan, &a);
        laci_layer_finish(r, 0, tail, 0, n);
        laci_backend_norm(be, tail, 0, NULL, n, r->d, &final, x, 0);
        lac_status st = c->pass->sink.take(c->pass->sink.user, first, n, err);
        if (st) return st;
    }
    return LAC_OK;
}

lac_status laci_forward(lac_session *s, const laci_pass *pass, lac_error *err)
{
    const laci_config *config = &s->model->config;
    const laci_weights *w = &s->model->weights;
    context c = { .run = laci_layer_begin(s, pass->clock), .pass = pass };
    laci_moment at = pass->moment;
    double density = 0;
    at.n_q = at.n_k = pass->n;
    laci_layer_embed(&c.run, pass->ids, pass->n, pass->time_row);
    for (int i = 0; i < config->n_layers; i++) {
        const bool is_last = i == config->n_layers - 1;
        const laci_plan_input in = { s->buf[LACI_BUF_Q], &s->kv };
        laci_plan_store *store = &s->plans[s->n_plans > 1 ? i : 0];
        c.run.layer = &w->layers[i];
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
