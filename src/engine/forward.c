/* forward.c: see forward.h. Products run over chunks of rows so that their scratch does not grow
 * with the context; attention runs over all rows at once. The last layer computes the wanted rows
 * only, under the same plan, unless its policy measures it: a pattern needs every query, also those
 * that are wanted at a later step. */
#include "engine/forward.h"

#include <math.h>

typedef struct {
    laci_layer_run run;
    const laci_pass *pass;
    laci_measures measures;
    laci_request request; /* of the layer under way */
    size_t q_width;
    double density, kept; /* sums over layers */
} context;

/* Queries of all rows of a last layer that is measured; other layers make them along with keys. */
static void project_all_queries(const context *c)
{
    const laci_norm norm = laci_layer_norm(&c->run, c->run.layer->attn_norm);
    const size_t chunk = c->run.s->layout.chunk_rows;
    for (size_t row = 0; row < c->pass->n; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        laci_backend_norm(c->run.s->be, c->run.buf[LACI_BUF_H], row, NULL, n, c->run.d, &norm,
                          c->run.buf[LACI_BUF_X], 0);
        laci_layer_queries(&c->run, n, NULL, row, row);
    }
}

/* Keys and values of all rows, and queries too unless this is the last layer. */
static void project(const context *c, bool with_queries)
{
    laci_backend *be = c->run.s->be;
    const laci_norm norm = laci_layer_norm(&c->run, c->run.layer->attn_norm);
    const laci_head_op k_op = laci_layer_key_op(&c->run), v_op = laci_layer_value_op(&c->run);
    const size_t chunk = c->run.s->layout.chunk_rows;
    for (size_t row = 0; row < c->pass->n; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        laci_buf *x = c->run.buf[LACI_BUF_X], *y = c->run.buf[LACI_BUF_Y];
        laci_backend_norm(be, c->run.buf[LACI_BUF_H], row, NULL, n, c->run.d, &norm, x, 0);
        laci_layer_multiply(&c->run, c->run.layer->k, x, 0, n, y);
        laci_backend_store(be, &k_op, y, n, &c->run.s->kv, LACI_KEYS, 0, row);
        laci_layer_multiply(&c->run, c->run.layer->v, x, 0, n, y);
        laci_backend_store(be, &v_op, y, n, &c->run.s->kv, LACI_VALUES, 0, row);
        if (with_queries) laci_layer_queries(&c->run, n, NULL, row, row);
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

/* A few queries run densely beside a sparse pass, for what they show of the softmax alone. */
static void probe(const context *c)
{
    const size_t begin = c->request.probe_begin, n = c->request.probe_end - begin;
    const size_t act = laci_backend_act(c->run.s->be) == LACI_BF16 ? 2 : 4,
                 bytes = c->q_width * act;
    const uint32_t ends[] = { 0, 1 }, col = 0;
    const laci_plan plan = { .q_block = n,
                             .k_block = c->pass->n,
                             .n_heads = 1,
                             .n_rows = 1,
                             .row_ptr = ends,
                             .cols = &col };
    laci_attention a = attention_of(c, n);
    a.q = c->measures.probe_q;
    a.out = c->measures.probe_out;
    a.stats = &c->request.mass;
    laci_backend_copy(c->run.s->be, c->measures.probe_q, 0, c->run.buf[LACI_BUF_Q], begin * bytes,
                      n * bytes);
    laci_layer_attend(&c->run, &plan, &a);
}

static lac_status observe(const context *c, const laci_moment *at, const laci_plan *plan,
                          const laci_attention *a, lac_error *err)
{
    const lac_session *s = c->run.s;
    const laci_observation seen = { plan, &c->request, &c->measures, a };
    if (!s->policy->observe) return LAC_OK;
    return s->policy->observe(s->policy_state, s->be, at, &seen, err);
}

/* Attention of every row, with what was asked to be measured, which the policy then sees. */
static lac_status attend_all(const context *c, const laci_moment *at, const laci_plan *plan,
                             lac_error *err)
{
    laci_attention a = attention_of(c, c->pass->n);
    if (c->request.stats) a.stats = &c->request.mass;
    if (c->request.lse) a.lse = c->measures.lse;
    laci_layer_attend(&c->run, plan, &a);
    if (c->request.probe_end) probe(c);
    return observe(c, at, plan, &a, err);
}

static lac_status run_layer(const context *c, const laci_moment *at, const laci_plan *plan,
                            lac_error *err)
{
    const size_t chunk = c->run.s->layout.chunk_rows;
    lac_status st = attend_all(c, at, plan, err);
    for (size_t row = 0; row < c->pass->n && !st; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        laci_layer_finish(&c->run, c->run.buf[LACI_BUF_O], row, c->run.buf[LACI_BUF_H], row, n);
    }
    return st;
}

/* Attention of `n` wanted rows, whose residual is in TAIL; returns the buffer it is in, from row 0.
 * Rows of a layer that was run whole are gathered, into the queries nobody needs any more. */
static const laci_buf *attend_wanted(const context *c, const laci_plan *whole, bool is_done,
                                     const int32_t *rows, size_t n)
{
    laci_backend *be = c->run.s->be;
    const laci_norm norm = laci_layer_norm(&c->run, c->run.layer->attn_norm);
    const laci_attention a = attention_of(c, n);
    laci_plan plan = *whole;
    if (is_done) {
        laci_backend_gather_rows(be, laci_backend_act(be), c->run.buf[LACI_BUF_O], rows, n,
                                 c->q_width, c->run.buf[LACI_BUF_Q]);
        return c->run.buf[LACI_BUF_Q];
    }
    plan.active = rows;
    plan.n_active = n;
    laci_backend_norm(be, c->run.buf[LACI_BUF_TAIL], 0, NULL, n, c->run.d, &norm,
                      c->run.buf[LACI_BUF_X], 0);
    laci_layer_queries(&c->run, n, rows, 0, 0);
    laci_layer_attend(&c->run, &plan, &a);
    return c->run.buf[LACI_BUF_O];
}

/* The last layer and the final norm, for the wanted rows only; each chunk goes to the sink. */
static lac_status run_last_layer(const context *c, const laci_moment *at, const laci_plan *whole,
                                 lac_error *err)
{
    laci_backend *be = c->run.s->be;
    const bool is_measured = c->request.stats || c->request.lse;
    lac_status st = LAC_OK;
    if (is_measured) {
        project_all_queries(c);
        st = attend_all(c, at, whole, err);
    } else {
        st = observe(c, at, whole, NULL, err);
    }
    laci_buf *x = c->run.buf[LACI_BUF_X], *tail = c->run.buf[LACI_BUF_TAIL];
    const laci_norm final = laci_layer_norm(&c->run, c->run.s->model->weights.norm);
    const size_t chunk = c->run.s->layout.chunk_rows;
    for (size_t first = 0; first < c->pass->n_rows && !st; first += chunk) {
        const size_t n = c->pass->n_rows - first < chunk ? c->pass->n_rows - first : chunk;
        const int32_t *rows = c->pass->rows + first;
        laci_backend_gather(be, c->run.buf[LACI_BUF_H], rows, n, c->run.d, tail);
        const laci_buf *o = attend_wanted(c, whole, is_measured, rows, n);
        laci_layer_finish(&c->run, o, 0, tail, 0, n);
        laci_backend_norm(be, tail, 0, NULL, n, c->run.d, &final, x, 0);
        st = c->pass->sink.take(c->pass->sink.user, &(laci_row_part){ 0, first, n }, 1, err);
    }
    return st;
}

/* The masses of the pass, copied to where the caller can read them; NULL where there are none. */
static const float *show_mass(const context *c, const laci_moment *at)
{
    const laci_mass_stats *m = &c->request.mass;
    if (!c->run.s->shown || !c->request.stats || !m->mass || m->doubled) return NULL;
    const size_t n = (at->n_q + m->q_block - 1) / m->q_block *
                     ((at->n_k + m->k_block - 1) / m->k_block) * (size_t)c->run.config->n_heads;
    laci_backend_read(c->run.s->be, m->mass, 0, c->run.s->shown, n * sizeof *c->run.s->shown);
    return c->run.s->shown;
}

/* Adds the layer to the sums of the pass and shows its plan to the caller. */
static void account(context *c, const laci_moment *at, const laci_plan *plan)
{
    const lac_session *s = c->run.s;
    const double density = laci_plan_density(plan, at->n_q, at->n_k);
    const float *kept = s->policy->kept ? s->policy->kept(s->policy_state, at) : NULL;
    const size_t n_heads = (size_t)c->run.config->n_heads;
    double sum = 0;
    for (size_t h = 0; kept && h < n_heads; h++)
        sum += (double)kept[h];
    c->density += density;
    c->kept += density >= 1 ? 1 : kept ? sum / (double)n_heads : (double)NAN;
    if (!c->pass->on_plan) return;
    const lac_plan_view view = { .step = at->step,
                                 .layer = at->layer,
                                 .n_q = (int)at->n_q,
                                 .n_k = (int)at->n_k,
                                 .q_block = (int)plan->q_block,
                                 .k_block = (int)plan->k_block,
                                 .n_heads = (int)plan->n_heads,
                                 .n_rows = (int)plan->n_rows,
                                 .row_ptr = plan->row_ptr,
                                 .cols = plan->cols,
                                 .density = density,
                                 .kept_mass = plan->n_heads == n_heads ? kept : NULL,
                                 .pass = at->pass,
                                 .mass = show_mass(c, at),
                                 .mass_block = (int)c->request.mass.k_block };
    c->pass->on_plan(c->pass->user, &view);
}

/* The layer's plan, behind a pass that only measures where the policy wants one. */
static lac_status plan_layer(context *c, const laci_moment *at, bool is_last, laci_plan_store *out,
                             lac_error *err)
{
    const lac_session *s = c->run.s;
    const laci_plan_input in = { s->buf[LACI_BUF_Q], &s->kv, &c->measures, &c->request, is_last };
    c->request = (laci_request){ 0 };
    lac_status st = s->policy->plan(s->policy_state, s->be, at, &in, out, err);
    if (st || !c->request.rehearsal) return st;
    if (is_last) project_all_queries(c);
    st = attend_all(c, at, &out->plan, err);
    c->request = (laci_request){ 0 };
    return st ? st : s->policy->plan(s->policy_state, s->be, at, &in, out, err);
}

/* One layer from projection to residual, or to the sink. */
static lac_status do_layer(context *c, laci_moment *at, int i, lac_error *err)
{
    const lac_session *s = c->run.s;
    const bool is_last = i == c->run.config->n_layers - 1;
    laci_plan_store *store = &s->plans[s->n_plans > 1 ? i : 0];
    c->run.layer = &s->model->weights.layers[i];
    at->layer = i;
    project(c, !is_last);
    lac_status st = plan_layer(c, at, is_last, store, err);
    if (!st)
        st = is_last ? run_last_layer(c, at, &store->plan, err)
                     : run_layer(c, at, &store->plan, err);
    if (!st) account(c, at, &store->plan);
    return st;
}

lac_status laci_forward(lac_session *s, const laci_pass *pass, lac_error *err)
{
    const laci_config *config = &s->model->config;
    context c = { .run = laci_layer_begin(s, pass->clock),
                  .pass = pass,
                  .measures = { .mass = s->buf[LACI_BUF_MASS],
                                .late = s->buf[LACI_BUF_LATE],
                                .lse = s->buf[LACI_BUF_LSE],
                                .columns = s->buf[LACI_BUF_COLUMNS],
                                .probe_q = s->buf[LACI_BUF_PROBE_Q],
                                .probe_out = s->buf[LACI_BUF_PROBE_O] },
                  .q_width = (size_t)config->n_heads * (size_t)config->d_head };
    laci_moment at = pass->moment;
    lac_status st = LAC_OK;
    at.n_q = at.n_k = pass->n;
    laci_backend_pass_begin(s->be);
    laci_layer_embed(&c.run, pass->ids, pass->n, pass->time_row);
    for (int i = 0; i < config->n_layers && !st; i++)
        st = do_layer(&c, &at, i, err);
    laci_backend_pass_end(s->be);
    s->density = c.density / config->n_layers;
    s->kept_mass = c.kept / config->n_layers;
    return st;
}

void laci_forward_logits(lac_session *s, const laci_buf *x, size_t x_row, size_t n, laci_buf *out)
{
    laci_backend_linear(s->be, s->model->weights.head, x, x_row, n, out);
}
