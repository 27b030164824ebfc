/* session.c: creates and frees sessions, predicts their memory. */
#include "engine/session.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/rope.h"

/* ------------------------------------------------------------------ creation */

/* Angle position * theta^(-2i/r) of pair i. Published code takes power, frequency and product in
 * f32, each rounded: the angle is then wrong by half a last place of its size. */
static double angle_of(const laci_config *c, size_t at, size_t i, bool is_f32)
{
    if (!is_f32) return (double)at * laci_rope_frequency(c, i);
    const float power = (float)(2 * i) / (float)c->rope_dim;
    const float frequency = 1.0f / (float)pow((double)(float)c->rope_theta, (double)power);
    return (double)((float)at * (frequency / (float)c->rope_scale));
}

/* Cosines and sines of all angles, stored as f32. */
static lac_status fill_rope(lac_session *s, bool is_f32, lac_error *err)
{
    const laci_config *c = &s->model->config;
    const size_t n_pairs = (size_t)c->rope_dim / 2;
    float *line = laci_alloc_array(&s->mem, 2 * n_pairs, sizeof *line);
    if (!line) return laci_fail_memory(err, "rotation angles", 2 * n_pairs * sizeof *line);
    for (size_t at = 0; at < s->layout.n_ctx; at++) {
        for (size_t i = 0; i < n_pairs; i++) {
            const double angle = angle_of(c, at, i, is_f32);
            line[i] = (float)cos(angle);
            line[n_pairs + i] = (float)(c->rope_sign * sin(angle));
        }
        const size_t bytes = n_pairs * sizeof *line;
        laci_backend_write(s->be, s->buf[LACI_BUF_COS], at * bytes, line, bytes);
        laci_backend_write(s->be, s->buf[LACI_BUF_SIN], at * bytes, line + n_pairs, bytes);
    }
    laci_release(&s->mem, line);
    return LAC_OK;
}

/* What the policy keeps of a sequence on the device. */
static lac_status make_kept(lac_session *s, laci_sequence *seq, lac_error *err)
{
    static const char what[] = "attention of a block";
    const laci_session_layout *l = &s->layout;
    const laci_policy_sizes *p = &l->policy;
    lac_status st = LAC_OK;
    if (!p->n_kept) return LAC_OK;
    seq->kept = laci_alloc_zero(&s->mem, p->n_kept * sizeof *seq->kept);
    if (!seq->kept) return laci_fail_memory(err, what, p->n_kept * sizeof *seq->kept);
    for (size_t i = 0; i < p->n_kept && !st; i++) {
        st = laci_buf_new(s->be, l->kept_out, what, &seq->kept[i].out, err);
        if (!st) st = laci_buf_new(s->be, l->kept_lse, what, &seq->kept[i].lse, err);
        if (!st && l->kept_ref) st = laci_buf_new(s->be, l->kept_ref, what, &seq->kept[i].ref, err);
    }
    if (!st && l->counts) st = laci_buf_new(s->be, l->counts, what, &seq->counts, err);
    return st;
}

/* Memory of the policy's state for n_passes forward passes a step. */
static lac_status make_state(lac_session *s, laci_sequence *seq, size_t n_passes, lac_error *err)
{
    laci_policy_sizes sizes;
    laci_shape shape = s->chosen.shape;
    shape.n_passes = n_passes;
    lac_status st = s->policy->sizes(&shape, &sizes, err);
    if (st) return st;
    laci_release(&s->mem, seq->policy_state);
    seq->n_passes = 0;
    seq->policy_state = laci_alloc(&s->mem, sizes.state_bytes);
    if (!seq->policy_state) return laci_fail_memory(err, "a policy", sizes.state_bytes);
    seq->state_bytes = sizes.state_bytes;
    seq->n_passes = n_passes;
    return LAC_OK;
}

static lac_status make_sequence(lac_session *s, laci_sequence *seq, lac_error *err)
{
    const laci_policy_sizes *p = &s->layout.policy;
    seq->host = laci_alloc_aligned(&s->mem, s->layout.host_bytes);
    if (!seq->host) return laci_fail_memory(err, "the canvas", s->layout.host_bytes);
    memset(seq->host, 0, s->layout.host_bytes);
    (void)laci_sequence_carve(seq, seq->host, s->layout.n_ctx);
    lac_status st = make_kept(s, seq, err);
    if (!st) st = make_state(s, seq, 1, err);
    if (!s->layout.block && seq != s->seq) {
        seq->kv = s->seq->kv;
        return st;
    }
    seq->kv = laci_session_keys(&s->model->config, &s->layout);
    seq->kv.be = s->be;
    if (!st && p->page) st = laci_keys_keep_bounds(&seq->kv, p->page, p->int8_bounds, err);
    if (!st && !s->layout.block) st = laci_keys_reserve(&seq->kv, s->layout.n_ctx, err);
    return st;
}

static lac_status make_sequences(lac_session *s, lac_error *err)
{
    const size_t n = s->layout.n_sequences;
    lac_status st = LAC_OK;
    s->seq = laci_alloc_zero(&s->mem, n * sizeof *s->seq);
    if (!s->seq) return laci_fail_memory(err, "sequences", n * sizeof *s->seq);
    for (size_t i = 0; i < n && !st; i++)
        st = make_sequence(s, &s->seq[i], err);
    return st;
}

static lac_status make_buffers(lac_session *s, lac_error *err)
{
    static const char *const names[LACI_N_BUFS] = {
        [LACI_BUF_H] = "the residual stream",
        [LACI_BUF_Q] = "queries",
        [LACI_BUF_O] = "attention output",
        [LACI_BUF_X] = "activations",
        [LACI_BUF_Y] = "activations",
        [LACI_BUF_Z] = "activations",
        [LACI_BUF_TAIL] = "activations",
        [LACI_BUF_COS] = "rotation angles",
        [LACI_BUF_SIN] = "rotation angles",
        [LACI_BUF_LOGITS] = "logits",
        [LACI_BUF_PART] = "attention output",
        [LACI_BUF_PART_LSE] = "attention output",
        [LACI_BUF_MORE] = "attention output",
        [LACI_BUF_MORE_LSE] = "attention output",
        [LACI_BUF_PROBE_Q] = "sampled queries",
        [LACI_BUF_PROBE_O] = "sampled queries",
        [LACI_BUF_ROW_Q] = "attention of a block",
    };
    lac_status st = LAC_OK;
    for (int i = 0; i < LACI_N_BUFS && !st; i++)
        if (s->layout.bytes[i] || i < LACI_BUF_PART)
            st = laci_buf_new(s->be, s->layout.bytes[i], names[i] ? names[i] : "pattern statistics",
                              &s->buf[i], err);
    for (int i = 0; i < LACI_N_VIEWS && !st; i++)
        st = laci_view_new(s->be, &s->view[i], err);
    return st;
}

/* Everything that a pass needs. */
static lac_status make_pass(lac_session *s, lac_error *err)
{
    const laci_session_layout *l = &s->layout;
    lac_status st = make_buffers(s, err);
    if (st) return st;
    s->arrays.host = laci_alloc_aligned(&s->mem, l->array_bytes);
    if (!s->arrays.host) return laci_fail_memory(err, "rows of a pass", l->array_bytes);
    (void)laci_pass_arrays_carve(&s->arrays, s->arrays.host, l, (size_t)s->model->config.n_heads);
    st = laci_plan_reserve(&s->plan, l->policy.plan_rows, l->policy.plan_cols, &s->mem, err);
    if (!st && l->policy.n_kept)
        st = laci_plan_reserve(&s->piece_plan, l->policy.plan_rows, l->policy.plan_cols, &s->mem,
                               err);
    if (!st && l->shown_bytes && !(s->shown = laci_alloc(&s->mem, l->shown_bytes)))
        st = laci_fail_memory(err, "shown statistics", l->shown_bytes);
    if (!st) st = laci_backend_reserve(s->be, laci_session_scratch(s->model, l), err);
    return st ? st : fill_rope(s, (s->quirks & LAC_QUIRK_ROPE_F32) != 0, err);
}

lac_status laci_session_begin(lac_session *s, laci_sequence *seq, size_t n_passes, lac_error *err)
{
    lac_status st = seq->n_passes < n_passes ? make_state(s, seq, n_passes, err) : LAC_OK;
    if (st) return st;
    laci_shape shape = s->chosen.shape;
    shape.n_passes = seq->n_passes;
    memset(seq->policy_state, 0, seq->state_bytes);
    if (s->planned == seq) s->planned = NULL;
    return s->policy->begin(seq->policy_state, &shape, err);
}

/* Range of opt->n_ctx and opt->n_threads. */
static lac_status check_room(const lac_model *model, const lac_session_options *opt, int *n_ctx,
                             lac_error *err)
{
    const laci_config *c = &model->config;
    if (!model->config.n_layers)
        return laci_fail(err, LAC_EINVAL, 0, "the model was opened without config.json");
    *n_ctx = opt->n_ctx ? opt->n_ctx : c->n_ctx_train;
    const int most = opt->allow_longer ? LACI_MAX_CTX : c->n_ctx;
    if (*n_ctx < 1 || *n_ctx > most)
        return laci_fail(err, LAC_ECONTEXT, 0, "a context of %d: %s allows 1 to %d", *n_ctx,
                         opt->allow_longer ? "this version" : "the model", most);
    if (opt->n_threads < 0 || opt->n_threads > 4096)
        return laci_fail(err, LAC_EINVAL, 0, "%d threads: 1 to 4096, or 0 for the model's",
                         opt->n_threads);
    return LAC_OK;
}

/* What this engine can run. */
static lac_status check_session(const lac_model *model, const lac_session_options *opt, int *n_ctx,
                                lac_error *err)
{
    if (!model->has_weights)
        return laci_fail(err, LAC_EINVAL, 0, "the model was opened without weights");
    return check_room(model, opt, n_ctx, err);
}

lac_status laci_session_plan_memory(const lac_model *model, const lac_session_options *opt,
                                    size_t n_sequences, lac_memory_plan *out, lac_error *err)
{
    laci_chosen chosen = { 0 };
    laci_session_layout l;
    int n_ctx = 0;
    const laci_config *c = &model->config;
    lac_status st = check_room(model, opt, &n_ctx, err);
    if (st) return st;
    const laci_session_room room = { c, laci_backend_act(model->be), (size_t)n_ctx, n_sequences,
                                     opt };
    st = laci_session_plan(&room, &chosen, &l, err);
    if (st) return st;
    const int n_threads = opt->n_threads ? opt->n_threads : laci_backend_threads(model->be);
    lac_memory_plan plan = { .n_ctx = n_ctx, .n_threads = n_threads };
    plan.bytes_weights = laci_weights_bytes(c, model->be);
    plan.bytes_kv = l.kv_bytes;
    plan.bytes_workspace = n_sequences * l.host_bytes + l.array_bytes + l.policy_bytes;
    for (int i = 0; i < LACI_N_BUFS; i++)
        plan.bytes_workspace += l.bytes[i];
    const laci_scratch_size scratch = laci_session_scratch(model, &l);
    plan.bytes_workspace += scratch.per_thread * (size_t)n_threads + scratch.shared;
    plan.bytes_runtime = model->runtime_bytes + laci_backend_runtime_bytes(model->be);
    plan.bytes_total =
        plan.bytes_weights + plan.bytes_kv + plan.bytes_workspace + plan.bytes_runtime;
    *out = plan;
    return LAC_OK;
}

/* Refuses before memory is taken. */
static lac_status check_limit(const lac_model *model, const lac_session_options *opt, int n_ctx,
                              size_t n_sequences, lac_error *err)
{
    lac_memory_plan plan;
    if (!opt->max_bytes) return LAC_OK;
    lac_status st = laci_session_plan_memory(model, opt, n_sequences, &plan, err);
    if (!st && plan.bytes_total > opt->max_bytes)
        st = laci_fail(err, LAC_ENOMEM, 0, "a context of %d needs %llu bytes, the limit is %llu",
                       n_ctx, (unsigned long long)plan.bytes_total,
                       (unsigned long long)opt->max_bytes);
    return st;
}

lac_status laci_session_new(lac_session **out, const lac_model *model,
                            const lac_session_options *opt, size_t n_sequences, lac_error *err)
{
    int n_ctx = 0;
    lac_status st = check_session(model, opt, &n_ctx, err);
    if (!st) st = check_limit(model, opt, n_ctx, n_sequences, err);
    if (st) return st;
    const lac_allocator mem =
        opt->allocator ? laci_allocator_or_default(opt->allocator) : model->mem;
    lac_session *s = laci_alloc_zero(&mem, sizeof *s);
    if (!s) return laci_fail_memory(err, "a session", sizeof *s);
    s->mem = mem;
    s->model = model;
    s->quirks = opt->quirks;
    const laci_dtype act = laci_backend_act(model->be);
    const int n_threads = opt->n_threads ? opt->n_threads : laci_backend_threads(model->be);
    const laci_session_room room = { &model->config, act, (size_t)n_ctx, n_sequences, opt };
    st = laci_session_plan(&room, &s->chosen, &s->layout, err);
    if (!st)
        st = laci_backend_open(&s->be, laci_backend_name(model->be),
                               act == LACI_BF16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, n_threads, &mem,
                               err);
    s->policy = s->chosen.policy;
    if (!st) st = make_pass(s, err);
    if (!st) st = make_sequences(s, err);
    if (st)
        lac_session_free(s);
    else
        *out = s;
    return st;
}

lac_status lac_session_create(lac_session **out, const lac_model *model,
                              const lac_session_options *opt, lac_error *err)
{
    const lac_session_options defaults = { 0 };
    if (!out || !model) return laci_fail(err, LAC_EINVAL, 0, "no model for the session");
    return laci_session_new(out, model, opt ? opt : &defaults, 1, err);
}

static void free_sequence(lac_session *s, laci_sequence *seq)
{
    for (size_t i = 0; seq->kept && i < s->layout.policy.n_kept; i++) {
        laci_buf_free(s->be, seq->kept[i].out);
        laci_buf_free(s->be, seq->kept[i].lse);
        laci_buf_free(s->be, seq->kept[i].ref);
    }
    laci_buf_free(s->be, seq->counts);
    if (s->layout.block || seq == s->seq) laci_keys_clear(&seq->kv);
    laci_release(&s->mem, seq->kept);
    laci_release(&s->mem, seq->policy_state);
    laci_release_aligned(&s->mem, seq->host);
}

void lac_session_free(lac_session *s)
{
    if (!s) return;
    const lac_allocator mem = s->mem;
    for (size_t i = 0; s->seq && i < s->layout.n_sequences; i++)
        free_sequence(s, &s->seq[i]);
    for (int i = 0; i < LACI_N_BUFS; i++)
        laci_buf_free(s->be, s->buf[i]);
    for (int i = 0; i < LACI_N_VIEWS; i++)
        laci_buf_free(s->be, s->view[i]);
    laci_buf_free(s->be, s->guide_rows);
    laci_buf_free(s->be, s->guide_logits);
    laci_plan_clear(&s->plan);
    laci_plan_clear(&s->piece_plan);
    laci_release_aligned(&mem, s->arrays.host);
    laci_release(&mem, s->shown);
    laci_release(&mem, s->seq);
    laci_release(&mem, s->seen_logits);
    laci_backend_close(s->be);
    laci_release(&mem, s);
}

const char *lac_session_sparse(const lac_session *s)
{
    return s->policy->name;
}

const char *lac_session_sparse_reason(const lac_session *s)
{
    return s->chosen.reason;
}

lac_status lac_session_plan_memory(const lac_model *model, const lac_session_options *opt,
                                   lac_memory_plan *out, lac_error *err)
{
    const lac_session_options defaults = { 0 };
    if (!model || !out) return laci_fail(err, LAC_EINVAL, 0, "no model or no place for its plan");
    return laci_session_plan_memory(model, opt ? opt : &defaults, 1, out, err);
}

lac_status lac_model_plan_memory(const lac_model *model, int n_ctx, int n_threads,
                                 lac_memory_plan *out, lac_error *err)
{
    const lac_session_options opt = { .n_ctx = n_ctx, .n_threads = n_threads > 0 ? n_threads : 0 };
    return lac_session_plan_memory(model, &opt, out, err);
}
