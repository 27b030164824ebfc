/* attend.c: see attend.h. Rows that have keys of their own beside the planned ones are two partial
 * results (algorithm: LoSA, arXiv 2604.12056): that of the planned keys may be kept from an earlier
 * step for rows that did not change. */
#include "engine/attend.h"

/* ------------------------------------------------------------------ what is at hand */

static const laci_config *config_of(const laci_attend *c)
{
    return c->run.config;
}

static size_t width_of(const laci_attend *c)
{
    return (size_t)config_of(c)->n_heads * (size_t)config_of(c)->d_head;
}

static laci_pieces pieces_of(const laci_attend *c)
{
    return (laci_pieces){ &c->run, &c->rows->seq->kv, (size_t)c->at.layer };
}

static laci_measures measures_of(const lac_session *s)
{
    return (laci_measures){ .mass = s->buf[LACI_BUF_MASS],
                            .late = s->buf[LACI_BUF_LATE],
                            .lse = s->buf[LACI_BUF_LSE],
                            .columns = s->buf[LACI_BUF_COLUMNS],
                            .pages = s->buf[LACI_BUF_PAGES],
                            .probe_q = s->buf[LACI_BUF_PROBE_Q],
                            .probe_out = s->buf[LACI_BUF_PROBE_O] };
}

static laci_kept *kept_of(const laci_attend *c)
{
    const size_t n = c->run.s->layout.policy.n_kept;
    return n ? &c->rows->seq->kept[n > 1 ? (size_t)c->at.layer : 0] : NULL;
}

/* The session's plan, as this sequence left it. */
static laci_plan_store *plan_of(const laci_attend *c)
{
    lac_session *s = c->run.s;
    if (s->planned != c->rows->seq) s->plan.n_written = 0;
    s->planned = c->rows->seq;
    return &s->plan;
}

static laci_plan_input input_of(laci_attend *c, const laci_measures *measures)
{
    const laci_keys *keys = &c->rows->seq->kv;
    return (laci_plan_input){ .q = c->q,
                              .x = c->x,
                              .ids = c->rows->ids,
                              .kept = kept_of(c),
                              .pages = keys->pages ? &keys->pages[c->at.layer] : NULL,
                              .measures = measures,
                              .request = &c->request,
                              .rows = { .n = c->at.n_q },
                              .row_q = c->q,
                              .spare = c->run.buf[LACI_BUF_ROW_Q] };
}

bool laci_attend_keeps(const lac_session *s, const laci_rows *rows)
{
    return s->layout.policy.n_kept && !rows->is_final;
}

/* ------------------------------------------------------------------ what is shown and added up */

/* The masses of the layer, copied to where the caller can read them; NULL where there are none. */
static const float *show_mass(const laci_attend *c)
{
    const laci_mass_stats *m = &c->request.mass;
    float *shown = c->run.s->shown;
    if (!shown || !c->request.stats || !m->mass || m->doubled) return NULL;
    const size_t n = (c->at.n_q + m->q_block - 1) / m->q_block *
                     ((c->at.n_k + m->k_block - 1) / m->k_block) * (size_t)config_of(c)->n_heads;
    laci_backend_read(c->run.s->be, m->mass, 0, shown, n * sizeof *shown);
    return shown;
}

/* The plan as the caller sees it, of n_q rows. */
static lac_plan_view view_of(const laci_attend *c, const laci_plan *plan, size_t n_q)
{
    return (lac_plan_view){ .step = c->at.step,
                            .layer = c->at.layer,
                            .n_q = (int)n_q,
                            .n_k = (int)c->at.n_k,
                            .q_block = (int)plan->q_block,
                            .k_block = (int)plan->k_block,
                            .n_heads = (int)plan->n_heads,
                            .n_rows = (int)plan->n_rows,
                            .row_ptr = plan->row_ptr,
                            .cols = plan->cols,
                            .pass = c->at.pass };
}

static void add_whole(const laci_attend *c, size_t n_rows)
{
    laci_read_whole(&c->rows->seq->stats, &c->run.s->chosen.shape, n_rows, c->rows->n_keys);
}

static void report(const laci_attend *c, const laci_observation *seen)
{
    const lac_session *s = c->run.s;
    laci_sequence *seq = c->rows->seq;
    if (s->policy->report)
        s->policy->report(seq->policy_state, s->be, &c->at, seen, seq->counts, &seq->stats);
    else
        laci_read_planned(&seq->stats, &s->chosen.shape, &c->at, seen->plan, NULL);
}

void laci_attend_report(laci_attend *c)
{
    const laci_plan *plan = &c->run.s->plan.plan;
    const laci_plan_input in = input_of(c, NULL);
    const laci_read_stats *stats = &c->rows->seq->stats;
    report(c, &(laci_observation){ .in = &in, .plan = plan });
    if (!c->rows->on_plan) return;
    lac_plan_view view = view_of(c, plan, c->at.n_q);
    view.density = stats->layer_density;
    view.kept_mass = plan->n_heads == (size_t)config_of(c)->n_heads ? stats->head_kept : NULL;
    view.mass = show_mass(c);
    view.mass_block = (int)c->request.mass.k_block;
    c->rows->on_plan(c->rows->user, &view);
}

void laci_attend_settle(lac_session *s, const laci_rows *rows)
{
    laci_moment at = rows->at;
    laci_sequence *seq = rows->seq;
    at.n_q = rows->n;
    at.n_k = laci_attend_n_planned(s, rows);
    if (s->policy->report && !rows->is_final)
        s->policy->report(seq->policy_state, s->be, &at, NULL, seq->counts, &seq->stats);
}

/* ------------------------------------------------------------------ everything */

/* Keys that rows at `positions` (NULL = all rows of the pass) read; NULL when all read the same. */
static const uint32_t *limits_of(const laci_attend *c, const int32_t *positions, size_t n)
{
    const size_t block = c->run.s->layout.block, end = c->rows->n_keys;
    uint32_t *limits = c->run.s->arrays.limits;
    if (!positions) positions = c->rows->positions;
    if (c->rows->n <= block) return NULL;
    for (size_t i = 0; i < n; i++) {
        const size_t at = positions ? (size_t)positions[i] : c->rows->first + i;
        const size_t block_end = (at / block + 1) * block;
        limits[i] = (uint32_t)(block_end < end ? block_end : end);
    }
    return limits;
}

static void attend_whole(const laci_attend *c, const int32_t *positions, size_t n)
{
    const laci_pieces pieces = pieces_of(c);
    laci_pieces_attend_whole(&pieces, c->q, n, c->rows->n_keys, limits_of(c, positions, n), c->o);
    add_whole(c, n);
}

/* ------------------------------------------------------------------ a canvas */

static laci_attention canvas_attention(const laci_attend *c, size_t n_q)
{
    const laci_keys *keys = &c->rows->seq->kv;
    return (laci_attention){ .q = c->q,
                             .kv = laci_keys_of(keys, &keys->pieces[0], (size_t)c->at.layer),
                             .out = c->o,
                             .n_q = n_q,
                             .n_k = c->at.n_k,
                             .n_heads = (size_t)config_of(c)->n_heads };
}

/* A few queries run densely beside a sparse pass, for what they show of the softmax alone. */
static void probe(const laci_attend *c)
{
    laci_backend *be = c->run.s->be;
    const laci_measures m = measures_of(c->run.s);
    const size_t begin = c->request.probe_begin, n = c->request.probe_end - begin;
    const size_t bytes = width_of(c) * laci_act_bytes(laci_backend_act(be));
    const uint32_t ends[] = { 0, 1 }, col = 0;
    const laci_plan plan = {
        .q_block = n, .k_block = c->at.n_k, .n_heads = 1, .n_rows = 1, .row_ptr = ends, .cols = &col
    };
    laci_attention a = canvas_attention(c, n);
    a.q = m.probe_q;
    a.out = m.probe_out;
    a.stats = &c->request.mass;
    laci_backend_copy(be, m.probe_q, 0, c->q, begin * bytes, n * bytes);
    laci_layer_attend(&c->run, &plan, &a);
}

lac_status laci_attend_plan(laci_attend *c, bool is_last, lac_error *err)
{
    const lac_session *s = c->run.s;
    const laci_measures measures = measures_of(s);
    laci_plan_input in = input_of(c, &measures);
    in.is_last = is_last;
    c->request = (laci_request){ 0 };
    return s->policy->plan(c->rows->seq->policy_state, s->be, &c->at, &in, plan_of(c), err);
}

static lac_status attend_canvas(laci_attend *c, lac_error *err)
{
    const lac_session *s = c->run.s;
    const laci_plan *plan = &s->plan.plan;
    const laci_measures measures = measures_of(s);
    const laci_plan_input in = input_of(c, &measures);
    laci_attention a = canvas_attention(c, c->at.n_q);
    const laci_observation seen = { .in = &in, .plan = plan, .attention = &a };
    if (c->request.stats) a.stats = &c->request.mass;
    if (c->request.lse) a.lse = measures.lse;
    laci_layer_attend(&c->run, plan, &a);
    if (c->request.probe_end) probe(c);
    return s->policy->observe
               ? s->policy->observe(c->rows->seq->policy_state, s->be, &c->at, &seen, err)
               : LAC_OK;
}

/* ------------------------------------------------------------------ behind a key cache */

/* Has rows and keys chosen and read on a device that does so by itself; false where it does not. */
static bool read_by_device(const laci_attend *c, const laci_plan_input *in)
{
    const lac_session *s = c->run.s;
    laci_sequence *seq = c->rows->seq;
    const laci_pieces pieces = pieces_of(c);
    laci_paged_read read = { .n_pieces = laci_keys_count_pieces(&seq->kv, c->at.n_k) };
    if (!s->policy->on_device || c->rows->on_plan ||
        !s->policy->on_device(seq->policy_state, &c->at, in, &read))
        return false;
    for (size_t i = 0; i < read.n_pieces; i++)
        s->arrays.pieces[i] = laci_keys_of(&seq->kv, &seq->kv.pieces[i], pieces.layer);
    read.q = c->q;
    read.n_q = c->at.n_q;
    read.n_heads = (size_t)config_of(c)->n_heads;
    read.pieces = s->arrays.pieces;
    read.n_keys = c->at.n_k;
    read.out = in->kept->out;
    read.lse = in->kept->lse;
    read.spare = s->buf[LACI_BUF_PART];
    read.spare_lse = s->buf[LACI_BUF_PART_LSE];
    read.counts = seq->counts;
    const double start = laci_layer_now(&c->run);
    if (!laci_backend_paged_read(s->be, &read)) return false;
    if (c->run.clock) c->run.clock->attention += laci_layer_now(&c->run) - start;
    report(c, &(laci_observation){ .in = in, .by_device = true });
    return true;
}

/* Results of the rows that read go where the block's rows are kept. */
static void put_rows(const laci_attend *c, const laci_plan_input *in)
{
    const lac_session *s = c->run.s;
    const size_t n_heads = (size_t)config_of(c)->n_heads, n = in->rows.n;
    int32_t *lse_at = s->arrays.lse_at;
    for (size_t h = 0; h < n_heads; h++)
        for (size_t i = 0; i < n; i++)
            lse_at[h * n + i] = (int32_t)(h * c->at.n_q) + in->rows.rows[i];
    laci_backend_scatter_rows(s->be, LACI_F32, s->buf[LACI_BUF_MORE], in->rows.rows, n, width_of(c),
                              in->kept->out);
    laci_backend_scatter_rows(s->be, LACI_F32, s->buf[LACI_BUF_MORE_LSE], lse_at, n * n_heads, 1,
                              in->kept->lse);
}

/* Puts together what was asked for, of a read of all planned keys. */
static void measure(const laci_attend *c, const laci_plan_input *in)
{
    const laci_pieces pieces = pieces_of(c);
    const laci_measures *m = in->measures;
    if (c->request.pages)
        laci_pieces_pool(&pieces, in->kept->lse, c->at.n_q, c->at.n_k,
                         c->run.s->layout.policy.measures.row_page, m->pages);
    if (c->request.columns)
        laci_pieces_columns(&pieces, c->q, in->kept->lse, c->at.n_q, c->at.n_k, m->columns);
}

/* The rows that in->rows names read what is planned for them. */
static lac_status read_planned(laci_attend *c, laci_plan_input *in, lac_error *err)
{
    lac_session *s = c->run.s;
    void *state = c->rows->seq->policy_state;
    laci_plan_store *store = plan_of(c);
    const laci_pieces pieces = pieces_of(c);
    const bool is_all = in->rows.n == c->at.n_q;
    if (!is_all) {
        laci_backend_gather_rows(s->be, laci_backend_act(s->be), c->q, in->rows.rows, in->rows.n,
                                 width_of(c), s->buf[LACI_BUF_ROW_Q]);
        in->row_q = s->buf[LACI_BUF_ROW_Q];
    }
    lac_status st = s->policy->plan(state, s->be, &c->at, in, store, err);
    const laci_plan *plan = c->request.all ? NULL : &store->plan;
    const laci_pieces_read read = {
        .q = in->row_q,
        .n = in->rows.n,
        .n_keys = c->at.n_k,
        .plan = plan,
        .out = is_all ? in->kept->out : s->buf[LACI_BUF_MORE],
        .lse = is_all ? in->kept->lse : s->buf[LACI_BUF_MORE_LSE],
        .row_page = c->request.pages ? s->layout.policy.measures.row_page : 0,
    };
    if (!st) st = laci_pieces_attend(&pieces, &read, err);
    if (st) return st;
    if (!is_all) put_rows(c, in);
    measure(c, in);
    const laci_observation seen = { .in = in, .plan = plan };
    st = s->policy->observe ? s->policy->observe(state, s->be, &c->at, &seen, err) : LAC_OK;
    if (st) return st;
    report(c, &seen);
    if (!plan || !c->rows->on_plan) return LAC_OK;
    lac_plan_view view = view_of(c, plan, in->rows.n);
    view.density = laci_plan_density(plan, in->rows.n, c->at.n_k);
    view.active = in->rows.rows;
    view.first = (int)c->at.n_k;
    c->rows->on_plan(c->rows->user, &view);
    return LAC_OK;
}

/* All rows of a block that is being denoised. */
static lac_status attend_behind(laci_attend *c, lac_error *err)
{
    const lac_session *s = c->run.s;
    const laci_measures measures = measures_of(s);
    const laci_pieces pieces = pieces_of(c);
    laci_plan_input in = input_of(c, &measures);
    lac_status st = LAC_OK;
    c->request = (laci_request){ 0 };
    if (!read_by_device(c, &in)) {
        in.rows = (laci_row_list){ .n = c->at.n_q, .whole = !s->policy->rows };
        if (s->policy->rows)
            st = s->policy->rows(c->rows->seq->policy_state, s->be, &c->at, &in, &in.rows, err);
        if (st) return st;
        if (in.rows.whole) {
            attend_whole(c, NULL, c->at.n_q);
            return LAC_OK;
        }
        if (in.rows.n)
            st = read_planned(c, &in, err);
        else
            report(c, &(laci_observation){ .in = &in });
    }
    if (!st) laci_pieces_attend_own(&pieces, c->q, c->at.n_q, c->at.n_k, in.kept, c->o);
    return st;
}

/* ------------------------------------------------------------------ the rows of a pass */

size_t laci_attend_n_planned(const lac_session *s, const laci_rows *rows)
{
    return s->layout.block ? rows->first : rows->n_keys;
}

/* Adds the time since `start` to that of rows behind a key cache. */
static void stop_clock(const laci_attend *c, double start)
{
    if (c->run.clock && c->run.s->layout.block)
        c->run.clock->behind_cache += laci_layer_now(&c->run) - start;
}

lac_status laci_attend_all(laci_attend *c, lac_error *err)
{
    const double start = laci_layer_now(&c->run);
    lac_status st = LAC_OK;
    if (c->rows->is_final)
        attend_whole(c, NULL, c->at.n_q);
    else
        st = c->run.s->layout.block ? attend_behind(c, err) : attend_canvas(c, err);
    stop_clock(c, start);
    return st;
}

void laci_attend_wanted(laci_attend *c, const int32_t *positions, size_t n)
{
    const double start = laci_layer_now(&c->run);
    if (c->rows->is_final || c->run.s->layout.block) {
        attend_whole(c, positions, n);
    } else {
        const laci_attention a = canvas_attention(c, n);
        laci_plan plan = c->run.s->plan.plan;
        plan.active = positions;
        plan.n_active = n;
        laci_layer_attend(&c->run, &plan, &a);
    }
    stop_clock(c, start);
}
