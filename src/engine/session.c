/* session.c: creates and frees sessions, predicts their memory. */
#include "engine/session.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "engine/block_memory.h"
#include "model/rope.h"

enum {
    CHUNK_ROWS = 1024,               /* rows of one pass through the products */
    LOGITS_BYTES = 16 * 1024 * 1024, /* aim of one chunk of logits */
};

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Offsets of a sequence's arrays in their one allocation; with `s` NULL only the size. */
static size_t carve_host(laci_sequence *s, char *base, size_t n)
{
    laci_sequence scratch;
    if (!s) s = &scratch;
    size_t at = 0;
#define CARVE(field)                                      \
    do {                                                  \
        s->field = base ? (void *)(base + at) : NULL;     \
        at += round_up(n * sizeof *s->field, LACI_ALIGN); \
    } while (0)
    CARVE(canvas);
    CARVE(input);
    CARVE(unguided);
    CARVE(holes);
    CARVE(step_map);
    CARVE(proposed);
    CARVE(rows);
    CARVE(seen_position);
    CARVE(confidence);
    CARVE(logprob);
    CARVE(keys);
    CARVE(choices);
    CARVE(candidates);
    CARVE(out_ids);
    CARVE(out_position);
    CARVE(out_step);
    CARVE(out_logprob);
#undef CARVE
    return at;
}

/* Memory of the policy: what it remembers, its plans, what it measures. */
static void plan_policy(laci_session_layout *l, const laci_chosen *chosen, size_t act_size)
{
    const laci_shape *shape = &chosen->shape;
    const laci_policy *policy = chosen->policy;
    laci_measure_sizes m = { 0 };
    l->state_bytes = policy->state_size(shape);
    l->n_plans = policy->plan_per_layer ? shape->n_layers : 1;
    policy->plan_size(shape, &l->plan_rows, &l->plan_cols);
    l->policy_bytes =
        l->state_bytes + l->n_plans * (l->plan_rows + 1 + l->plan_cols) * sizeof(uint32_t);
    if (policy->measures) policy->measures(shape, &m);
    const size_t probe = m.probe_rows ? round_up(m.probe_rows, LACI_ROW_PAD) : 0;
    l->stats_block = m.stats_block;
    l->stats_keys = m.stats_block ? shape->n_ctx : 0;
    l->shown_bytes = shape->sparse->measure ? m.mass_floats * sizeof(float) : 0;
    l->policy_bytes += l->shown_bytes;
    l->bytes[LACI_BUF_MASS] = m.mass_floats * sizeof(float);
    l->bytes[LACI_BUF_LATE] = m.late_floats * sizeof(float);
    l->bytes[LACI_BUF_LSE] = m.lse_floats * sizeof(float);
    l->bytes[LACI_BUF_COLUMNS] = m.column_floats * sizeof(float);
    l->bytes[LACI_BUF_PROBE_Q] = l->bytes[LACI_BUF_PROBE_O] =
        probe * shape->n_heads * shape->d_head * act_size;
}

static lac_status choose_policy(laci_chosen *chosen, const laci_config *c, size_t n_ctx,
                                const char *request, lac_error *err)
{
    const laci_policy_model model = { .family = c->family,
                                      .is_blockwise = c->mask == LAC_MASK_BLOCK_CAUSAL,
                                      .is_dream = c->sampler == LACI_SAMPLER_DREAM,
                                      .n_heads = (size_t)c->n_heads,
                                      .d_head = (size_t)c->d_head,
                                      .n_ctx = n_ctx,
                                      .block = (size_t)c->block_size };
    chosen->shape = (laci_shape){ .n_layers = (size_t)c->n_layers,
                                  .n_heads = (size_t)c->n_heads,
                                  .n_kv_heads = (size_t)c->n_kv_heads,
                                  .d_head = (size_t)c->d_head,
                                  .n_ctx = n_ctx,
                                  .n_passes = 1,
                                  .sparse = &chosen->settings.sparse };
    lac_status st =
        laci_policy_choose(&chosen->asked, &chosen->settings, request, &model, chosen->reason, err);
    if (st) return st;
    chosen->policy = model.is_blockwise ? &laci_policy_dense : chosen->asked;
    return LAC_OK;
}

lac_status laci_session_plan(const laci_session_room *room, laci_chosen *chosen,
                             laci_session_layout *out, lac_error *err)
{
    const laci_config *config = room->config;
    const laci_dtype act = room->act;
    lac_status st = choose_policy(chosen, config, room->n_ctx, room->opt->sparse, err);
    if (st) return st;
    const size_t n = room->n_ctx, n_sequences = room->n_sequences;
    const size_t d = (size_t)config->d_model, d_ff = (size_t)config->d_ff;
    const size_t n_vocab = (size_t)config->n_vocab;
    const size_t q = (size_t)config->n_heads * (size_t)config->d_head;
    const size_t kv = (size_t)config->n_kv_heads * (size_t)config->d_head;
    const size_t a = act == LACI_BF16 ? 2 : 4;
    const bool is_blockwise = config->mask == LAC_MASK_BLOCK_CAUSAL;
    laci_session_layout l = { .n_ctx = n, .n_sequences = n_sequences };
    l.n_pass = is_blockwise ? laci_block_all_rows(config, n, n_sequences) : n;
    l.n_pad = round_up(l.n_pass, LACI_ROW_PAD);
    l.chunk_rows = is_blockwise || l.n_pad < CHUNK_ROWS ? l.n_pad : CHUNK_ROWS;
    l.logit_rows = LOGITS_BYTES / (n_vocab * sizeof(float)) / LACI_ROW_PAD * LACI_ROW_PAD;
    l.logit_rows = larger(l.logit_rows, LACI_ROW_PAD);
    if (l.logit_rows > l.chunk_rows) l.logit_rows = l.chunk_rows;
    const size_t widest = larger(larger(q, d), d_ff);
    l.bytes[LACI_BUF_H] = l.n_pass * d * sizeof(float);
    l.bytes[LACI_BUF_Q] = l.bytes[LACI_BUF_O] = l.n_pad * q * a;
    l.kv_bytes = is_blockwise
                     ? n_sequences * laci_block_cache_need(config, act, n)
                     : laci_kv_bytes(act, 1, n, (size_t)config->n_kv_heads, (size_t)config->d_head);
    l.bytes[LACI_BUF_X] = l.chunk_rows * widest * a;
    l.bytes[LACI_BUF_Y] = l.chunk_rows * larger(widest, kv) * sizeof(float);
    l.bytes[LACI_BUF_Z] = l.chunk_rows * d_ff * sizeof(float);
    l.bytes[LACI_BUF_TAIL] = l.chunk_rows * d * sizeof(float);
    l.bytes[LACI_BUF_COS] = l.bytes[LACI_BUF_SIN] =
        n * (size_t)config->rope_dim / 2 * sizeof(float);
    l.bytes[LACI_BUF_LOGITS] = l.logit_rows * n_vocab * sizeof(float);
    l.host_bytes = carve_host(NULL, NULL, n);
    if (is_blockwise) {
        l.block_bytes = laci_block_bytes(config, act, n, n_sequences, &chosen->settings.prefix);
        const laci_prefix *how = &chosen->settings.prefix;
        l.n_pages = how->is_dense ? 0 : (n + how->page - 1) / how->page;
        l.n_ranked = laci_prefix_measures(how) ? n : 0;
    }
    plan_policy(&l, chosen, a);
    if (is_blockwise) {
        l.stats_block = chosen->settings.prefix.page;
        l.stats_keys = laci_block_stats_keys(config, n, &chosen->settings.prefix);
    }
    *out = l;
    return LAC_OK;
}

static laci_scratch_size scratch_need(const lac_model *model, const laci_session_layout *l)
{
    const laci_config *c = &model->config;
    return laci_backend_scratch_need(model->be, &(laci_scratch_dims){ .d_model = (size_t)c->d_model,
                                                                      .d_head = (size_t)c->d_head,
                                                                      .n_vocab = (size_t)c->n_vocab,
                                                                      .n_rows = l->chunk_rows,
                                                                      .n_ctx = l->stats_keys,
                                                                      .stats_block = l->stats_block,
                                                                      .n_pages = l->n_pages,
                                                                      .n_ranked = l->n_ranked });
}

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

static lac_status make_sequences(lac_session *s, lac_error *err)
{
    const size_t n = s->layout.n_sequences, size = s->layout.host_bytes + LACI_ALIGN;
    s->seq = laci_alloc_zero(&s->mem, n * sizeof *s->seq);
    if (!s->seq) return laci_fail_memory(err, "sequences", n * sizeof *s->seq);
    for (size_t i = 0; i < n; i++) {
        char *host = laci_alloc_zero(&s->mem, size);
        if (!host) return laci_fail_memory(err, "the canvas", size);
        s->seq[i].host = host;
        (void)carve_host(&s->seq[i],
                         host + (LACI_ALIGN - (uintptr_t)host % LACI_ALIGN) % LACI_ALIGN,
                         s->layout.n_ctx);
    }
    return LAC_OK;
}

static lac_status make_buffers(lac_session *s, lac_error *err)
{
    static const char *const names[LACI_N_BUFS] = {
        [LACI_BUF_H] = "the residual stream",   [LACI_BUF_Q] = "queries",
        [LACI_BUF_O] = "attention output",      [LACI_BUF_X] = "activations",
        [LACI_BUF_Y] = "activations",           [LACI_BUF_Z] = "activations",
        [LACI_BUF_TAIL] = "activations",        [LACI_BUF_COS] = "rotation angles",
        [LACI_BUF_SIN] = "rotation angles",     [LACI_BUF_LOGITS] = "logits",
        [LACI_BUF_MASS] = "pattern statistics", [LACI_BUF_LATE] = "pattern statistics",
        [LACI_BUF_LSE] = "log-sum-exp",         [LACI_BUF_COLUMNS] = "pattern statistics",
        [LACI_BUF_PROBE_Q] = "sampled queries", [LACI_BUF_PROBE_O] = "sampled queries",
    };
    const laci_config *c = &s->model->config;
    for (int i = 0; i < LACI_N_BUFS; i++) {
        if (!s->layout.bytes[i] && i >= LACI_BUF_MASS) continue;
        lac_status st = laci_buf_new(s->be, s->layout.bytes[i], names[i], &s->buf[i], err);
        if (st) return st;
    }
    lac_status st = make_sequences(s, err);
    if (st) return st;
    st = c->mask == LAC_MASK_BLOCK_CAUSAL
             ? laci_block_memory_new(s, err)
             : laci_kv_new(s->be, 1, s->layout.n_ctx, (size_t)c->n_kv_heads, (size_t)c->d_head,
                           &s->kv, err);
    if (!st) st = laci_backend_reserve(s->be, scratch_need(s->model, &s->layout), err);
    return st ? st : fill_rope(s, (s->quirks & LAC_QUIRK_ROPE_F32) != 0, err);
}

/* Memory of the policy's state for n_passes forward passes a step. */
static lac_status make_state(lac_session *s, size_t n_passes, lac_error *err)
{
    s->chosen.shape.n_passes = n_passes;
    const size_t size = s->policy->state_size(&s->chosen.shape);
    laci_release(&s->mem, s->policy_state);
    s->n_passes = 0;
    s->policy_state = laci_alloc(&s->mem, size);
    if (!s->policy_state) return laci_fail_memory(err, "a policy", size);
    s->n_passes = n_passes;
    return LAC_OK;
}

static lac_status make_policy(lac_session *s, lac_error *err)
{
    const laci_session_layout *l = &s->layout;
    s->policy = s->chosen.policy;
    s->n_plans = l->n_plans;
    s->plans = laci_alloc_zero(&s->mem, s->n_plans * sizeof *s->plans);
    if (!s->plans) return laci_fail_memory(err, "a policy", s->n_plans * sizeof *s->plans);
    if (l->shown_bytes && !(s->shown = laci_alloc(&s->mem, l->shown_bytes)))
        return laci_fail_memory(err, "shown statistics", l->shown_bytes);
    lac_status st = make_state(s, 1, err);
    for (size_t i = 0; i < s->n_plans && !st; i++)
        st = laci_plan_reserve(&s->plans[i], l->plan_rows, l->plan_cols, &s->mem, err);
    return st;
}

lac_status laci_session_begin(lac_session *s, size_t n_passes, lac_error *err)
{
    lac_status st = s->n_passes < n_passes ? make_state(s, n_passes, err) : LAC_OK;
    if (st) return st;
    memset(s->policy_state, 0, s->policy->state_size(&s->chosen.shape));
    for (size_t i = 0; i < s->n_plans; i++)
        s->plans[i].n_written = 0;
    s->density = s->kept_mass = 1;
    return s->policy->begin(s->policy_state, &s->chosen.shape, err);
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
    plan.bytes_workspace = n_sequences * l.host_bytes + l.block_bytes + l.policy_bytes;
    for (int i = 0; i < LACI_N_BUFS; i++)
        plan.bytes_workspace += l.bytes[i];
    const laci_scratch_size scratch = scratch_need(model, &l);
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
    if (!st) st = make_buffers(s, err);
    if (!st) st = make_policy(s, err);
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

void lac_session_free(lac_session *s)
{
    if (!s) return;
    const lac_allocator mem = s->mem;
    for (int i = 0; i < LACI_N_BUFS; i++)
        laci_buf_free(s->be, s->buf[i]);
    if (s->be) laci_kv_free(s->be, &s->kv);
    laci_block_memory_free(s);
    laci_buf_free(s->be, s->guide_rows);
    laci_buf_free(s->be, s->guide_logits);
    for (size_t i = 0; s->plans && i < s->n_plans; i++)
        laci_plan_clear(&s->plans[i]);
    laci_release(&mem, s->plans);
    laci_release(&mem, s->shown);
    laci_release(&mem, s->policy_state);
    for (size_t i = 0; s->seq && i < s->layout.n_sequences; i++)
        laci_release(&mem, s->seq[i].host);
    laci_release(&mem, s->seq);
    laci_release(&mem, s->seen_logits);
    laci_backend_close(s->be);
    laci_release(&mem, s);
}

const char *lac_session_sparse(const lac_session *s)
{
    return s->chosen.asked->name;
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
