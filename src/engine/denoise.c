/* denoise.c: the loop that turns a canvas with holes into text. For each block of holes, for each
 * step: a forward pass for the rows of the block's open holes, a candidate for each, a decision
 * which of them are fixed, a commit, the callback. Nothing is allocated between the first step and
 * the last. Sources: LLaDA (arXiv 2502.09992), Dream (2508.15487). */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "engine/denoise.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/rng.h"
#include "engine/block.h"

typedef laci_generation generation;

double laci_generation_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ setting out */

/* Copies the ids to the canvas, appends holes and lists all holes. */
static lac_status lay_canvas(generation *g, const int32_t *ids, size_t n_ids, lac_error *err)
{
    lac_session *s = g->s;
    const int n_tokens = laci_tokenizer_n_tokens(s->model->tokenizer);
    g->n = n_ids + (size_t)g->opt.n_tokens;
    if (g->n > s->layout.n_ctx)
        return laci_fail(err, LAC_ECONTEXT, 0,
                         "%zu prompt and %d new tokens do not fit: the context holds %zu", n_ids,
                         g->opt.n_tokens, s->layout.n_ctx);
    for (size_t i = 0; i < g->n; i++) {
        const int32_t id = i < n_ids ? ids[i] : LAC_HOLE;
        if (id != LAC_HOLE && (id < 0 || id >= n_tokens))
            return laci_fail(err, LAC_EINVAL, 0, "id %d at position %zu: the model has %d tokens",
                             id, i, n_tokens);
        s->canvas[i] = id;
        s->step_map[i] = s->proposed[i] = -1;
        s->confidence[i] = NAN;
        s->logprob[i] = 0;
        if (id == LAC_HOLE)
            s->holes[g->n_holes++] = (int32_t)i;
        else
            g->tail_begin = (int)i + 1;
    }
    g->n_left = g->n_holes;
    return LAC_OK;
}

/* A replay names every position of the canvas, and only tokens the model has. */
static lac_status check_replay(const generation *g, lac_error *err)
{
    const lac_generate_options *o = &g->opt;
    const int n_tokens = laci_tokenizer_n_tokens(g->s->model->tokenizer);
    if (!o->replay_ids && !o->replay_steps) return LAC_OK;
    if (!o->replay_ids || !o->replay_steps || o->n_replay != g->n)
        return laci_fail(err, LAC_EINVAL, 0,
                         "a replay of %zu positions for a canvas of %zu: ids and steps of both",
                         o->replay_ids && o->replay_steps ? o->n_replay : 0, g->n);
    for (size_t i = 0; i < g->n; i++)
        if (o->replay_steps[i] >= 0 && (o->replay_ids[i] < 0 || o->replay_ids[i] >= n_tokens))
            return laci_fail(err, LAC_EINVAL, 0,
                             "replayed id %d at position %zu: the model has %d tokens",
                             o->replay_ids[i], i, n_tokens);
    return LAC_OK;
}

/* Logits are handed to the caller from memory of the host. */
static lac_status reserve_seen(generation *g, lac_error *err)
{
    lac_session *s = g->s;
    const size_t bytes = s->layout.bytes[LACI_BUF_LOGITS];
    if (!g->opt.on_logits || s->seen_logits) return LAC_OK;
    s->seen_logits = laci_alloc(&s->mem, bytes);
    return s->seen_logits ? LAC_OK : laci_fail_memory(err, "logits for the caller", bytes);
}

/* Guidance runs a second pass; its rows are kept until the first pass's logits are there. */
static lac_status reserve_guidance(generation *g, lac_error *err)
{
    lac_session *s = g->s;
    const size_t need = (size_t)g->n_holes + s->layout.logit_rows;
    const size_t act = laci_backend_act(s->be) == LACI_BF16 ? 2 : 4;
    g->guided = g->opt.cfg_scale > 0;
    if (!g->guided || s->guide_capacity >= need) return LAC_OK;
    laci_buf_free(s->be, s->guide_rows);
    s->guide_rows = NULL;
    s->guide_capacity = 0;
    lac_status st = laci_buf_new(s->be, need * (size_t)g->config->d_model * act, "guidance",
                                 &s->guide_rows, err);
    if (!st && !s->guide_logits)
        st = laci_buf_new(s->be, s->layout.bytes[LACI_BUF_LOGITS], "guidance", &s->guide_logits,
                          err);
    if (!st) s->guide_capacity = need;
    return st;
}

static lac_status begin(generation *g, const int32_t *ids, size_t n_ids, lac_error *err)
{
    size_t n_holes = 0;
    for (size_t i = 0; i < n_ids; i++)
        n_holes += ids[i] == LAC_HOLE;
    lac_status st = laci_options_resolve(g->config, n_holes, &g->opt, err);
    if (!st) st = lay_canvas(g, ids, n_ids, err);
    if (!st) st = check_replay(g, err);
    if (!st) st = reserve_seen(g, err);
    if (!st) st = reserve_guidance(g, err);
    if (!st) st = laci_session_begin(g->s, g->guided ? 2 : 1, err);
    if (st) return st;
    g->rule =
        laci_choice_rule_of(g->config, laci_tokenizer_n_tokens(g->s->model->tokenizer), &g->opt);
    g->shift = g->opt.shift ? g->opt.shift > 0 : g->config->shift_logits;
    g->is_blockwise = g->config->mask == LAC_MASK_BLOCK_CAUSAL;
    g->sub_block = g->is_blockwise ? g->config->sub_block : 0;
    if (g->is_blockwise) st = laci_block_check(g, err);
    if (st) return st;
    g->schedule =
        (laci_schedule){ .n_holes = g->n_holes,
                         .lead = g->is_blockwise ? g->config->block_size -
                                                       g->s->holes[0] % g->config->block_size
                                                 : 0,
                         .block_length = g->opt.block_length,
                         .steps = g->opt.steps,
                         .is_dream = laci_algorithm_is_dream(g->opt.algorithm),
                         .may_fix_none = (g->opt.quirks & LAC_QUIRK_ZERO_STEP) != 0,
                         .eps = g->opt.eps };
    for (int b = 0; b < laci_schedule_n_blocks(&g->schedule); b++)
        g->n_steps += laci_schedule_block_steps(&g->schedule, b);
    return LAC_OK;
}

/* ------------------------------------------------------------------ one step */

/* First pass of guidance: keeps the final rows, packed. */
static lac_status keep_rows(void *user, size_t first, size_t n, lac_error *err)
{
    (void)err;
    generation *g = user;
    lac_session *s = g->s;
    const size_t act = laci_backend_act(s->be) == LACI_BF16 ? 2 : 4;
    const size_t bytes = (size_t)g->config->d_model * act;
    laci_backend_copy(s->be, s->guide_rows, first * bytes, s->buf[LACI_BUF_X], 0, n * bytes);
    return LAC_OK;
}

/* Hands n rows of logits, the step's rows from `first` on, to the caller. */
static void show_logits(generation *g, const laci_buf *logits, size_t first, size_t n)
{
    lac_session *s = g->s;
    const size_t n_vocab = (size_t)g->config->n_vocab;
    if (!g->opt.on_logits) return;
    for (size_t i = 0; i < n; i++)
        s->seen_position[i] = s->candidates[first + i].position;
    laci_backend_read(s->be, logits, 0, s->seen_logits, n * n_vocab * sizeof(float));
    const lac_logits_view view = { .step = g->step,
                                   .n_steps = g->n_steps,
                                   .n_rows = (int)n,
                                   .n_vocab = (int)n_vocab,
                                   .first = (int)first,
                                   .position = s->seen_position,
                                   .logits = s->seen_logits };
    g->opt.on_logits(g->opt.user, &view);
}

/* Final rows to logits to candidates, chunk by chunk: whole logits never exist. */
lac_status laci_generation_choose(void *user, size_t first, size_t n, lac_error *err)
{
    (void)err;
    generation *g = user;
    lac_session *s = g->s;
    laci_buf *logits = s->buf[LACI_BUF_LOGITS];
    const size_t n_vocab = (size_t)g->config->n_vocab, chunk = s->layout.logit_rows;
    for (size_t row = 0; row < n; row += chunk) {
        const size_t n_part = n - row < chunk ? n - row : chunk;
        laci_forward_logits(s, s->buf[LACI_BUF_X], row, n_part, logits);
        if (g->guided) {
            laci_forward_logits(s, s->guide_rows, first + row, n_part, s->guide_logits);
            laci_backend_guide(s->be, logits, s->guide_logits, n_part, n_vocab, g->opt.cfg_scale);
        }
        show_logits(g, logits, first + row, n_part);
        laci_backend_choose(s->be, &g->rule, logits, 0, n_part, s->keys + first + row,
                            s->choices + first + row);
    }
    return LAC_OK;
}

/* Pass 1 is the unguided one. */
static lac_status run_pass(generation *g, const int32_t *ids, int pass_number, laci_row_sink sink,
                           lac_error *err)
{
    const int n_time = g->config->n_time_steps;
    const laci_pass pass = {
        .ids = ids,
        .n = g->n,
        .rows = g->s->rows,
        .n_rows = (size_t)g->n_candidates,
        .time_row = n_time ? (size_t)(g->step < n_time ? g->step : n_time - 1) : 0,
        .moment = { .step = g->step,
                    .n_steps = g->n_steps,
                    .prompt_end = (size_t)g->tail_begin,
                    .block = g->block,
                    .pass = pass_number },
        .sink = sink,
        .on_plan = g->opt.on_plan,
        .user = g->opt.user,
    };
    const double start = laci_generation_now();
    const lac_status st =
        g->is_blockwise ? laci_block_run(g, sink, err) : laci_forward(g->s, &pass, err);
    g->seconds_forward += laci_generation_now() - start;
    g->forwards++;
    g->drafts++;
    g->density_sum += g->s->density;
    return st;
}

/* Candidates for every open hole in holes [begin, end). */
static lac_status propose(generation *g, int begin, int end, lac_error *err)
{
    lac_session *s = g->s;
    g->n_candidates = 0;
    g->has_more = false;
    for (int h = begin; h < end; h++) {
        const int32_t position = s->holes[h];
        if (s->canvas[position] != LAC_HOLE) continue;
        g->has_more = g->sub_block > 0 && g->n_candidates > 0 &&
                      position / g->sub_block != s->candidates[0].position / g->sub_block;
        if (g->has_more) break;
        const int i = g->n_candidates++;
        s->candidates[i].position = position;
        s->rows[i] = g->shift && position > 0 ? position - 1 : position;
        s->keys[i] =
            laci_rng_key(g->opt.seed, LACI_RNG_TOKEN, (uint32_t)g->step, (uint32_t)position);
    }
    for (size_t i = 0; i < g->n; i++) {
        const bool is_open = s->canvas[i] == LAC_HOLE;
        s->input[i] = is_open ? g->config->mask_id : s->canvas[i];
        /* Without guidance every given position is hidden; what was fixed since stays. */
        s->unguided[i] = s->step_map[i] < 0 ? g->config->mask_id : s->input[i];
    }
    lac_status st = LAC_OK;
    if (g->guided) st = run_pass(g, s->unguided, 1, (laci_row_sink){ keep_rows, g }, err);
    if (!st) st = run_pass(g, s->input, 0, (laci_row_sink){ laci_generation_choose, g }, err);
    for (int i = 0; i < g->n_candidates && !st; i++)
        s->candidates[i].choice = s->choices[i];
    return st;
}

/* Decides as the replayed run did: its candidates of this step come first, with its tokens. */
static size_t replay(generation *g)
{
    laci_candidate *c = g->s->candidates;
    size_t n_fixed = 0;
    for (size_t i = 0; i < (size_t)g->n_candidates; i++) {
        laci_candidate own = c[i];
        if (g->opt.replay_steps[own.position] != g->step) continue;
        const int32_t id = g->opt.replay_ids[own.position];
        if (own.choice.id != id) own.choice.logprob = NAN;
        own.choice.id = id;
        c[i] = c[n_fixed];
        c[n_fixed++] = own;
    }
    return n_fixed;
}

/* Which open positions of the block this step fixes; they come first among the candidates. */
static size_t decide(generation *g, int i, int n_steps, int n_block)
{
    laci_candidate *candidates = g->s->candidates;
    const int n_open = g->n_candidates;
    if (g->opt.replay_ids) return replay(g);
    const int quota = laci_schedule_quota(&g->schedule, i, n_steps, n_block, n_open);
    const double chance = laci_schedule_chance(&g->schedule, i, n_steps);
    laci_rank_candidates(candidates, (size_t)n_open, g->config, &g->opt, g->step);
    return laci_decide(candidates, (size_t)n_open, (size_t)quota, chance, &g->opt, g->step);
}

void laci_generation_commit(generation *g, size_t n_fixed)
{
    lac_session *s = g->s;
    for (size_t i = 0; i < g->n; i++) {
        s->confidence[i] = NAN;
        s->proposed[i] = -1;
    }
    for (size_t i = 0; i < (size_t)g->n_candidates; i++) {
        const laci_candidate *c = &s->candidates[i];
        s->confidence[c->position] = (float)c->choice.confidence;
        if (i >= n_fixed) {
            s->proposed[c->position] = c->choice.id;
            continue;
        }
        s->canvas[c->position] = c->choice.id;
        s->step_map[c->position] = g->step;
        s->logprob[c->position] = c->choice.logprob;
    }
    g->n_left -= (int)n_fixed;
}

/* Position of the first end token that closes the text: everything before it in the tail is fixed.
 * -1 while there is none. */
static int find_end(const generation *g)
{
    if (g->opt.ignore_eos) return -1;
    for (int i = g->tail_begin; i < (int)g->n; i++) {
        if (g->s->canvas[i] == LAC_HOLE) return -1;
        for (int e = 0; e < g->config->n_eos; e++)
            if (g->s->canvas[i] == g->config->eos_ids[e]) return i;
    }
    return -1;
}

/* Holes before the tail that are still open: infill goes on even when the tail has ended. */
static bool has_open_inside(const generation *g)
{
    for (int h = 0; h < g->n_holes && g->s->holes[h] < g->tail_begin; h++)
        if (g->s->canvas[g->s->holes[h]] == LAC_HOLE) return true;
    return false;
}

bool laci_generation_has_ended(const generation *g)
{
    return find_end(g) >= 0 && !has_open_inside(g);
}

void laci_generation_report(generation *g, int block, int begin, int end, size_t n_fixed,
                            double seconds)
{
    const lac_session *s = g->s;
    if (!g->opt.on_step) return;
    const lac_step step = { .step = g->step,
                            .n_steps = g->n_steps,
                            .block = block,
                            .n_blocks = laci_schedule_n_blocks(&g->schedule),
                            .block_begin = s->holes[begin],
                            .block_end = s->holes[end - 1] + 1,
                            .n_fixed = (int)n_fixed,
                            .n_left = g->n_left,
                            .n_canvas = (int)g->n,
                            .canvas = s->canvas,
                            .step_map = s->step_map,
                            .confidence = s->confidence,
                            .candidate = s->proposed,
                            .seconds = seconds,
                            .density = s->density,
                            .kept_mass = s->kept_mass,
                            .union_inflation = g->is_blockwise ? g->union_inflation : 1,
                            .n_active = g->n_active,
                            .bytes_read = g->bytes_read };
    g->cancelled = g->opt.on_step(g->opt.user, &step) != 0;
}

/* One block to its end, or to where the text ends. */
static lac_status run_block(generation *g, int block, lac_error *err)
{
    int begin, end;
    laci_schedule_block(&g->schedule, block, &begin, &end);
    g->block = block;
    const int n_steps = laci_schedule_block_steps(&g->schedule, block);
    lac_status st = g->is_blockwise ? laci_block_enter(g, block, begin, end, err) : LAC_OK;
    for (int i = 0; !st && (i < n_steps || g->has_more) && !g->cancelled && !g->stopped; i++) {
        const double start = laci_generation_now();
        st = propose(g, begin, end, err);
        if (st) return st;
        const int n_open = g->n_candidates;
        const size_t n_fixed = decide(g, i, n_steps, end - begin);
        laci_generation_commit(g, n_fixed);
        g->stopped = laci_generation_has_ended(g);
        laci_generation_report(g, block, begin, end, n_fixed, laci_generation_now() - start);
        g->step++;
        if ((int)n_fixed == n_open && !g->has_more) break;
    }
    const bool goes_on = !g->stopped && !g->cancelled && end < g->n_holes;
    if (!st && g->is_blockwise && goes_on) st = laci_block_commit(g, err);
    return st;
}

/* ------------------------------------------------------------------ result */

static void collect(const generation *g, double seconds, lac_result *out)
{
    lac_session *s = g->s;
    const int end = find_end(g);
    size_t n = 0;
    for (int h = 0; h < g->n_holes; h++) {
        const int32_t at = s->holes[h];
        if (s->canvas[at] == LAC_HOLE || (end >= 0 && at >= end)) continue;
        s->out_ids[n] = s->canvas[at];
        s->out_position[n] = at;
        s->out_step[n] = s->step_map[at];
        s->out_logprob[n++] = s->logprob[at];
    }
    *out = (lac_result){ .ids = s->out_ids,
                         .position = s->out_position,
                         .step_map = s->out_step,
                         .logprobs = s->out_logprob,
                         .n_ids = n,
                         .canvas = s->canvas,
                         .n_canvas = g->n,
                         .finish = g->cancelled ? LAC_FINISH_CANCELLED
                                   : end >= 0   ? LAC_FINISH_STOP
                                                : LAC_FINISH_LENGTH,
                         .steps = g->step,
                         .forwards = g->forwards,
                         .seconds = seconds,
                         .seconds_forward = g->seconds_forward,
                         .density = g->drafts ? g->density_sum / g->drafts : 0,
                         .kept_mass = s->kept_mass,
                         .seconds_prefill = g->seconds_prefill,
                         .union_inflation = g->n_selected ? g->inflation_sum / g->n_selected : 1,
                         .n_active = g->drafts ? g->active_sum / g->drafts : 0,
                         .bytes_read = g->bytes_sum };
}

lac_status laci_denoise(lac_session *s, const int32_t *ids, size_t n_ids,
                        const lac_generate_options *opt, lac_result *result, lac_error *err)
{
    generation g = { .s = s, .config = &s->model->config, .opt = *opt };
    const double start = laci_generation_now();
    lac_status st = begin(&g, ids, n_ids, err);
    if (!st && g.is_blockwise) st = laci_block_prefill(&g, err);
    if (st) return st;
    const int n_blocks = laci_schedule_n_blocks(&g.schedule);
    for (int b = 0; b < n_blocks && !st && !g.cancelled && !g.stopped; b++)
        st = run_block(&g, b, err);
    if (st) return st;
    collect(&g, laci_generation_now() - start, result);
    if (!g.cancelled) return LAC_OK;
    return laci_fail(err, LAC_ECANCELLED, 0, "stopped by the caller after %d of %d steps", g.step,
                     g.n_steps);
}

/* ------------------------------------------------------------------ logits only */

typedef struct {
    lac_session *s;
    float *out; /* [n_rows, n_vocab] */
} logits_sink;

static lac_status read_logits(void *user, size_t first, size_t n, lac_error *err)
{
    (void)err;
    const logits_sink *sink = user;
    lac_session *s = sink->s;
    const size_t n_vocab = (size_t)s->model->config.n_vocab, chunk = s->layout.logit_rows;
    for (size_t row = 0; row < n; row += chunk) {
        const size_t n_part = n - row < chunk ? n - row : chunk;
        laci_forward_logits(s, s->buf[LACI_BUF_X], row, n_part, s->buf[LACI_BUF_LOGITS]);
        laci_backend_read(s->be, s->buf[LACI_BUF_LOGITS], 0, sink->out + (first + row) * n_vocab,
                          n_part * n_vocab * sizeof(float));
    }
    return LAC_OK;
}

static lac_status check_rows(const int32_t *rows, size_t n_rows, size_t n_ids, lac_error *err)
{
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i] < 0 || (size_t)rows[i] >= n_ids || (i && rows[i] < rows[i - 1]))
            return laci_fail(err, LAC_EINVAL, 0,
                             "row %d at index %zu: rows never fall and lie in 0 to %zu", rows[i], i,
                             n_ids - 1);
    return LAC_OK;
}

lac_status laci_session_logits(lac_session *s, const int32_t *ids, size_t n_ids,
                               const int32_t *rows, size_t n_rows, float noise, float *logits,
                               lac_error *err)
{
    const laci_config *c = &s->model->config;
    const int n_tokens = laci_tokenizer_n_tokens(s->model->tokenizer);
    logits_sink sink = { s, logits };
    if (n_ids > s->layout.n_ctx)
        return laci_fail(err, LAC_ECONTEXT, 0, "%zu ids: the context holds %zu", n_ids,
                         s->layout.n_ctx);
    lac_status st = check_rows(rows, n_rows, n_ids, err);
    if (!st) st = laci_session_begin(s, 1, err);
    if (st) return st;
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] != LAC_HOLE && (ids[i] < 0 || ids[i] >= n_tokens))
            return laci_fail(err, LAC_EINVAL, 0, "id %d at position %zu: the model has %d tokens",
                             ids[i], i, n_tokens);
        s->input[i] = ids[i] == LAC_HOLE ? c->mask_id : ids[i];
    }
    const laci_pass pass = { .ids = s->input,
                             .n = n_ids,
                             .rows = rows,
                             .n_rows = n_rows,
                             .time_row = c->n_time_steps
                                             ? (size_t)lroundf(noise * (float)(c->n_time_steps - 1))
                                             : 0,
                             .moment = { .n_steps = 1, .prompt_end = n_ids },
                             .sink = { read_logits, &sink } };
    if (c->mask == LAC_MASK_BLOCK_CAUSAL)
        return laci_block_logits(s, s->input, n_ids, rows, n_rows, pass.sink, err);
    return laci_forward(s, &pass, err);
}
