/* forward.c: see forward.h. Products run over chunks of rows so that their scratch does not grow
 * with the context; attention runs over all rows at once. The last layer computes the wanted rows
 * only, under the same plan, unless its policy measures it: a pattern needs every query, also those
 * that are wanted at a later step. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "engine/forward.h"

#include <math.h>
#include <time.h>

/* What every step of a layer needs at hand. */
typedef struct {
    lac_session *s;
    const laci_pass *pass;
    const laci_config *config;
    const laci_layer *layer;
    laci_buf *const *buf;
    laci_measures measures;
    laci_request request; /* of the layer under way */
    size_t d, q_width, d_ff;
    double density, kept; /* sums over layers */
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

/* Queries of all rows of a last layer that is measured; other layers make them along with keys. */
static void project_all_queries(const context *c)
{
    const laci_norm norm = norm_of(c, c->layer->attn_norm);
    const size_t chunk = c->s->layout.chunk_rows;
    for (size_t row = 0; row < c->pass->n; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        laci_backend_norm(c->s->be, c->buf[LACI_BUF_H], row, NULL, n, c->d, &norm,
                          c->buf[LACI_BUF_X], 0);
        project_queries(c, n, NULL, row, row);
    }
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

/* Attention output of n rows from o_row of `o` added to rows h_row.. of `h`, then the MLP. */
static void finish_rows(const context *c, const laci_buf *o, size_t o_row, laci_buf *h,
                        size_t h_row, size_t n)
{
    laci_backend *be = c->s->be;
    laci_buf *x = c->buf[LACI_BUF_X], *y = c->buf[LACI_BUF_Y], *z = c->buf[LACI_BUF_Z];
    const laci_norm norm = norm_of(c, c->layer->ffn_norm);
    const bool gated = c->layer->gate != NULL;
    multiply(c, c->layer->o, o, o_row, n, y);
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

/* A few queries run densely beside a sparse pass, for what they show of the softmax alone. */
static void probe(const context *c)
{
    const size_t begin = c->request.probe_begin, n = c->request.probe_end - begin;
    const size_t act = laci_backend_act(c->s->be) == LACI_BF16 ? 2 : 4, bytes = c->q_width * act;
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
    laci_backend_copy(c->s->be, c->measures.probe_q, 0, c->buf[LACI_BUF_Q], begin * bytes,
                      n * bytes);
    attend(c, &plan, &a);
}

static lac_status observe(const context *c, const laci_moment *at, const laci_plan *plan,
                          const laci_attention *a, lac_error *err)
{
    const lac_session *s = c->s;
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
    attend(c, plan, &a);
    if (c->request.probe_end) probe(c);
    return observe(c, at, plan, &a, err);
}

static lac_status run_layer(const context *c, const laci_moment *at, const laci_plan *plan,
                            lac_error *err)
{
    const size_t chunk = c->s->layout.chunk_rows;
    lac_status st = attend_all(c, at, plan, err);
    for (size_t row = 0; row < c->pass->n && !st; row += chunk) {
        const size_t n = c->pass->n - row < chunk ? c->pass->n - row : chunk;
        finish_rows(c, c->buf[LACI_BUF_O], row, c->buf[LACI_BUF_H], row, n);
    }
    return st;
}

/* Attention of `n` wanted rows, whose residual is in TAIL; returns the buffer it is in, from row 0.
 * Rows of a layer that was run whole are gathered, into the queries nobody needs any more. */
static const laci_buf *attend_wanted(const context *c, const laci_plan *whole, bool is_done,
                                     const int32_t *rows, size_t n)
{
    laci_backend *be = c->s->be;
    const laci_norm norm = norm_of(c, c->layer->attn_norm);
    const laci_attention a = attention_of(c, n);
    laci_plan plan = *whole;
    if (is_done) {
        laci_backend_gather_rows(be, laci_backend_act(be), c->buf[LACI_BUF_O], rows, n, c->q_width,
                                 c->buf[LACI_BUF_Q]);
        return c->buf[LACI_BUF_Q];
    }
    plan.active = rows;
    plan.n_active = n;
    laci_backend_norm(be, c->buf[LACI_BUF_TAIL], 0, NULL, n, c->d, &norm, c->buf[LACI_BUF_X], 0);
    project_queries(c, n, rows, 0, 0);
    attend(c, &plan, &a);
    return c->buf[LACI_BUF_O];
}

/* The last layer and the final norm, for the wanted rows only; each chunk goes to the sink. */
static lac_status run_last_layer(const context *c, const laci_moment *at, const laci_plan *whole,
                                 lac_error *err)
{
    laci_backend *be = c->s->be;
    const bool is_measured = c->request.stats || c->request.lse;
    lac_status st = LAC_OK;
    if (is_measured) {
        project_all_queries(c);
        st = attend_all(c, at, whole, err);
    } else {
        st = observe(c, at, whole, NULL, err);
    }
    laci_buf *x = c->buf[LACI_BUF_X], *tail = c->buf[LACI_BUF_TAIL];
    const laci_norm final = norm_of(c, c->s->model->weights.norm);
    const size_t chunk = c->s->layout.chunk_rows;
    for (size_t first = 0; first < c->pass->n_rows && !st; first += chunk) {
        const size_t n = c->pass->n_rows - first < chunk ? c->pass->n_rows - first : chunk;
        const int32_t *rows = c->pass->rows + first;
        laci_backend_gather(be, c->buf[LACI_BUF_H], rows, n, c->d, tail);
        const laci_buf *o = attend_wanted(c, whole, is_measured, rows, n);
        finish_rows(c, o, 0, tail, 0, n);
        laci_backend_norm(be, tail, 0, NULL, n, c->d, &final, x, 0);
        st = c->pass->sink.take(c->pass->sink.user, first, n, err);
    }
    return st;
}

/* The masses of the pass, copied to where the caller can read them; NULL where there are none. */
static const float *show_mass(const context *c, const laci_moment *at)
{
    const laci_mass_stats *m = &c->request.mass;
    if (!c->s->shown || !c->request.stats || !m->mass || m->doubled) return NULL;
    const size_t n = (at->n_q + m->q_block - 1) / m->q_block *
                     ((at->n_k + m->k_block - 1) / m->k_block) * (size_t)c->config->n_heads;
    laci_backend_read(c->s->be, m->mass, 0, c->s->shown, n * sizeof *c->s->shown);
    return c->s->shown;
}

/* Adds the layer to the sums of the pass and shows its plan to the caller. */
static void account(context *c, const laci_moment *at, const laci_plan *plan)
{
    const lac_session *s = c->s;
    const double density = laci_plan_density(plan, at->n_q, at->n_k);
    const float *kept = s->policy->kept ? s->policy->kept(s->policy_state, at) : NULL;
    const size_t n_heads = (size_t)c->config->n_heads;
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

/* One layer from projection to residual, or to the sink. */
static lac_status do_layer(context *c, laci_moment *at, int i, lac_error *err)
{
    const lac_session *s = c->s;
    const bool is_last = i == c->config->n_layers - 1;
    const laci_plan_input in = { s->buf[LACI_BUF_Q], &s->kv, &c->measures, &c->request, is_last };
    laci_plan_store *store = &s->plans[s->n_plans > 1 ? i : 0];
    c->layer = &s->model->weights.layers[i];
    c->request = (laci_request){ 0 };
    at->layer = i;
    project(c, !is_last);
    lac_status st = s->policy->plan(s->policy_state, s->be, at, &in, store, err);
    if (!st)
        st = is_last ? run_last_layer(c, at, &store->plan, err)
                     : run_layer(c, at, &store->plan, err);
    if (!st) account(c, at, &store->plan);
    return st;
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
    context c = { .s = s,
                  .pass = pass,
                  .config = config,
                  .buf = s->buf,
                  .measures = { .mass = s->buf[LACI_BUF_MASS],
                                .late = s->buf[LACI_BUF_LATE],
                                .lse = s->buf[LACI_BUF_LSE],
                                .columns = s->buf[LACI_BUF_COLUMNS],
                                .probe_q = s->buf[LACI_BUF_PROBE_Q],
                                .probe_out = s->buf[LACI_BUF_PROBE_O] },
                  .d = (size_t)config->d_model,
                  .q_width = (size_t)config->n_heads * (size_t)config->d_head,
                  .d_ff = (size_t)config->d_ff };
    laci_moment at = pass->moment;
    lac_status st = LAC_OK;
    at.n_q = at.n_k = pass->n;
    embed(&c);
    for (int i = 0; i < config->n_layers && !st; i++)
        st = do_layer(&c, &at, i, err);
    s->density = c.density / config->n_layers;
    s->kept_mass = c.kept / config->n_layers;
    return st;
}

void laci_forward_logits(lac_session *s, const laci_buf *x, size_t x_row, size_t n, laci_buf *out)
{
    laci_backend_linear(s->be, s->model->weights.head, x, x_row, n, out);
}
