/* denoise.c: turns a canvas with holes into text. For each block of holes, for each step: a forward
 * pass for the rows of the block's open holes, a candidate for each, a decision which of them are
 * fixed, a commit, the callback. A turn is what lies between two forward passes, so that several
 * generations can share them; alone they follow each other in a loop. Nothing is allocated between
 * the first step and the last. Sources: LLaDA (arXiv 2502.09992), Dream (2508.15487). */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "engine/denoise.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/rng.h"
#include "engine/block.h"
#include "engine/watch.h"

typedef laci_generation generation;

double laci_generation_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ setting out */

/* A mask token that is given is a hole, as in the published samplers. */
static bool is_hole(const generation *g, int32_t id)
{
    return id == LAC_HOLE || id == g->config->mask_id;
}

/* Where holes end that nobody asked for: with the last block, or with the context inside it. */
static size_t end_of_block(const generation *g)
{
    const size_t block = g->s->layout.block, n_ctx = g->s->layout.n_ctx;
    if (!block || g->opt.cut_last_block) return g->n_shown;
    const size_t end = (g->n_shown + block - 1) / block * block;
    return end < n_ctx ? end : n_ctx;
}

/* Copies the ids to the canvas, appends holes and lists all holes. */
static lac_status lay_canvas(generation *g, const int32_t *ids, size_t n_ids, lac_error *err)
{
    const lac_session *s = g->s;
    laci_sequence *seq = g->seq;
    const int n_tokens = laci_tokenizer_n_tokens(s->model->tokenizer);
    g->n_shown = n_ids + (size_t)g->opt.n_tokens;
    if (g->n_shown > s->layout.n_ctx)
        return laci_fail(err, LAC_ECONTEXT, 0,
                         "%zu prompt and %d new tokens do not fit: the context holds %zu", n_ids,
                         g->opt.n_tokens, s->layout.n_ctx);
    g->n = end_of_block(g);
    for (size_t i = 0; i < g->n; i++) {
        const int32_t id = i < n_ids && !is_hole(g, ids[i]) ? ids[i] : LAC_HOLE;
        if (id != LAC_HOLE && (id < 0 || id >= n_tokens))
            return laci_fail(err, LAC_EINVAL, 0, "id %d at position %zu: the model has %d tokens",
                             id, i, n_tokens);
        seq->canvas[i] = id;
        seq->step_map[i] = seq->proposed[i] = -1;
        seq->confidence[i] = NAN;
        seq->logprob[i] = 0;
        if (id == LAC_HOLE)
            seq->holes[g->n_holes++] = (int32_t)i;
        else
            g->tail_begin = (int)i + 1;
    }
    g->n_left = g->n_holes - (int)(g->n - g->n_shown);
    return LAC_OK;
}

/* A replay names every position of the canvas, and only tokens the model has. */
static lac_status check_replay(const generation *g, lac_error *err)
{
    const lac_generate_options *o = &g->opt;
    const int n_tokens = laci_tokenizer_n_tokens(g->s->model->tokenizer);
    if (!o->replay_ids && !o->replay_steps) return LAC_OK;
    if (!o->replay_ids || !o->replay_steps || o->n_replay != g->n_shown)
        return laci_fail(err, LAC_EINVAL, 0,
                         "a replay of %zu positions for a canvas of %zu: ids and steps of both",
                         o->replay_ids && o->replay_steps ? o->n_replay : 0, g->n_shown);
    for (size_t i = 0; i < g->n_shown; i++)
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
    const size_t act = laci_act_bytes(laci_backend_act(s->be));
    g->guided = g->opt.cfg_scale > 0;
    if (!g->guided || s->guide_capacity >= need) return LAC_OK;
    laci_buf *rows = NULL; /* others of a batch use those there are until the new ones are there */
    lac_status st =
        laci_buf_new(s->be, need * (size_t)g->config->d_model * act, "guidance", &rows, err);
    if (!st && !s->guide_logits)
        st = laci_buf_new(s->be, s->layout.bytes[LACI_BUF_LOGITS], "guidance", &s->guide_logits,
                          err);
    laci_buf_free(s->be, st ? rows : s->guide_rows);
    if (st) return st;
    s->guide_rows = rows;
    s->guide_capacity = need;
    return LAC_OK;
}

lac_status laci_generation_bytes(const lac_session *s, const laci_sequence *seq, size_t n_holes,
                                 const lac_generate_options *opt, uint64_t *bytes, lac_error *err)
{
    const size_t row = (size_t)s->model->config.d_model * laci_act_bytes(laci_backend_act(s->be));
    const size_t need = n_holes + s->layout.logit_rows, logits = s->layout.bytes[LACI_BUF_LOGITS];
    laci_shape shape = s->chosen.shape;
    laci_policy_sizes sizes;
    *bytes = opt->on_logits && !s->seen_logits ? logits : 0;
    if (!(opt->cfg_scale > 0)) return LAC_OK;
    shape.n_passes = 2;
    lac_status st = s->policy->sizes(&shape, &sizes, err);
    if (st) return st;
    if (s->guide_capacity < need) *bytes += (need - s->guide_capacity) * row;
    if (!s->guide_logits) *bytes += logits;
    if (seq->n_passes < 2) *bytes += sizes.state_bytes - seq->state_bytes;
    return LAC_OK;
}

/* Checks the request, lays the canvas and takes memory for what it asks for. */
static lac_status set_out(generation *g, const int32_t *ids, size_t n_ids, lac_error *err)
{
    size_t n_holes = 0;
    for (size_t i = 0; i < n_ids; i++)
        n_holes += is_hole(g, ids[i]);
    if (g->opt.quirks & ~g->s->quirks & LAC_QUIRK_ROPE_F32)
        return laci_fail(err, LAC_EINVAL, 0,
                         "quirks hold rope-f32 (%d), which the session was created without: it "
                         "has its angles from lac_session_options.quirks",
                         (int)LAC_QUIRK_ROPE_F32);
    lac_status st = laci_options_resolve(g->config, n_holes, &g->opt, err);
    if (!st) st = lay_canvas(g, ids, n_ids, err);
    if (!st) st = check_replay(g, err);
    if (!st) st = laci_block_check(g, err);
    if (!st) st = reserve_seen(g, err);
    if (!st) st = reserve_guidance(g, err);
    if (!st) st = laci_session_begin(g->s, g->seq, g->guided ? 2 : 1, err);
    return st;
}

/* Blocks and steps of a canvas that is laid. */
static void plan_steps(generation *g)
{
    const int block = (int)g->s->layout.block;
    g->schedule =
        (laci_schedule){ .n_holes = g->n_holes,
                         .lead = block ? block - g->seq->holes[0] % block : 0,
                         .block_length = g->opt.block_length,
                         .steps = g->opt.steps,
                         .is_dream = laci_algorithm_is_dream(g->opt.algorithm),
                         .may_fix_none = (g->opt.quirks & LAC_QUIRK_ZERO_STEP) != 0,
                         .eps = g->opt.eps,
                         .n_wanted = g->n_left,
                         .block_steps = g->opt.block_steps,
                         .may_defer = g->opt.algorithm == LAC_ALGORITHM_CONFIDENCE_THRESHOLD };
    for (int b = 0; b < laci_schedule_n_blocks(&g->schedule); b++)
        g->n_steps += laci_schedule_block_steps(&g->schedule, b);
}

/* ------------------------------------------------------------------ one step */

/* First pass of guidance: keeps the final rows, packed. */
static lac_status keep_rows(void *user, const laci_row_part *part, size_t n_parts, lac_error *err)
{
    (void)n_parts;
    (void)err;
    generation *g = user;
    lac_session *s = g->s;
    const size_t act = laci_act_bytes(laci_backend_act(s->be));
    const size_t bytes = (size_t)g->config->d_model * act;
    laci_backend_copy(s->be, s->guide_rows, part->first * bytes, s->buf[LACI_BUF_X], 0,
                      part->n * bytes);
    return LAC_OK;
}

/* Hands n rows of logits from `row` on, the step's rows from `first` on, to the caller. */
static void show_logits(const generation *g, const laci_buf *logits, size_t row, size_t first,
                        size_t n)
{
    const lac_session *s = g->s;
    laci_sequence *seq = g->seq;
    const size_t n_vocab = (size_t)g->config->n_vocab;
    if (!g->opt.on_logits) return;
    while (n && (size_t)seq->candidates[first + n - 1].position >= g->n_shown)
        n--;
    if (!n) return;
    for (size_t i = 0; i < n; i++)
        seq->seen_position[i] = seq->candidates[first + i].position;
    laci_backend_read(s->be, logits, row * n_vocab * sizeof(float), s->seen_logits,
                      n * n_vocab * sizeof(float));
    const lac_logits_view view = { .step = g->step,
                                   .n_steps = g->n_steps,
                                   .n_rows = (int)n,
                                   .n_vocab = (int)n_vocab,
                                   .first = (int)first,
                                   .position = seq->seen_position,
                                   .logits = s->seen_logits };
    g->opt.on_logits(g->opt.user, &view);
}

/* Takes note of the first row of logits that is not finite, while its final row, row x_row of X, is
 * still there: a finite one leaves the output matrix to blame. */
static void look_for_broken(generation *g, size_t x_row, size_t first, size_t n)
{
    const lac_session *s = g->s;
    const laci_choice *choices = g->seq->choices + first;
    size_t i = 0;
    while (i < n && !choices[i].is_broken)
        i++;
    if (i == n || g->broken >= 0) return;
    g->broken = (int)(first + i);
    g->is_head_broken = laci_rows_finite(s, s->buf[LACI_BUF_X], true, x_row + i, 1) &&
                        (!g->guided || laci_rows_finite(s, s->guide_rows, true, first + i, 1));
}

/* n rows of logits from `row` on, of final rows from x_row on: the step's rows from `first` on. */
static void choose_rows(generation *g, size_t row, size_t x_row, size_t first, size_t n)
{
    lac_session *s = g->s;
    laci_buf *logits = s->buf[LACI_BUF_LOGITS];
    if (g->guided) {
        laci_pass_logits(s, s->guide_rows, first, n, s->guide_logits);
        laci_backend_guide(s->be, logits, s->guide_logits, n, (size_t)g->config->n_vocab,
                           g->opt.cfg_scale);
    }
    show_logits(g, logits, row, first, n);
    laci_backend_choose(s->be, &g->rule, logits, row, n, g->seq->keys + first,
                        g->seq->choices + first);
    look_for_broken(g, x_row, first, n);
}

/* Final rows to logits to choices, chunk by chunk: whole logits never exist. A chunk holds rows of
 * several generations where they share the pass. */
static lac_status choose(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err)
{
    (void)err;
    generation *const *g = user;
    lac_session *s = g[0]->s;
    const size_t chunk = s->layout.logit_rows;
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++)
        n += parts[i].n;
    for (size_t row = 0; row < n; row += chunk) {
        const size_t end = n - row < chunk ? n : row + chunk;
        laci_pass_logits(s, s->buf[LACI_BUF_X], row, end - row, s->buf[LACI_BUF_LOGITS]);
        for (size_t i = 0, at = 0; i < n_parts; at += parts[i++].n) {
            const size_t from = at > row ? at : row;
            const size_t to = at + parts[i].n < end ? at + parts[i].n : end;
            if (from < to)
                choose_rows(g[parts[i].pass], from - row, from, parts[i].first + from - at,
                            to - from);
        }
    }
    return LAC_OK;
}

/* Rows of a step over `ids`; pass number 1 is the unguided one. */
static laci_rows rows_of(const generation *g, const int32_t *ids, int pass_number)
{
    const int n_time = g->config->n_time_steps;
    return (laci_rows){ .seq = g->seq,
                        .ids = ids + g->first_row,
                        .first = g->first_row,
                        .n = g->end_row - g->first_row,
                        .n_keys = g->end_row,
                        .wanted = g->seq->rows,
                        .n_wanted = (size_t)g->n_candidates,
                        .time_row = n_time ? (size_t)(g->step < n_time ? g->step : n_time - 1) : 0,
                        .at = { .step = g->step,
                                .n_steps = g->n_steps,
                                .prompt_end = (size_t)g->tail_begin,
                                .block = g->block,
                                .block_step = g->block_step,
                                .pass = pass_number },
                        .on_plan = g->opt.on_plan,
                        .user = g->opt.user };
}

laci_rows laci_generation_rows(generation *g)
{
    return g->turn == LACI_TURN_STEP ? rows_of(g, g->seq->input, 0) : laci_block_store(g);
}

void laci_generation_note(generation *g, const laci_rows *rows)
{
    laci_attend_settle(g->s, rows);
    const laci_read_stats read = laci_read_means(&g->seq->stats);
    g->forwards++;
    if (rows->is_final) return;
    g->density = read.density;
    g->kept_mass = read.kept;
    g->n_active = read.active;
    g->union_inflation = read.inflation;
    g->bytes_read = read.bytes;
    g->density_sum += g->density;
    g->active_sum += g->n_active;
    g->bytes_sum += read.bytes;
    g->inflation_sum += read.n_lists ? read.inflation : 0;
    g->n_selected += read.n_lists > 0;
    g->drafts++;
}

/* The pass of a step without the given tokens; its rows are kept until the other's are there. */
static lac_status run_unguided(generation *g, lac_error *err)
{
    const laci_rows rows = rows_of(g, g->seq->unguided, 1);
    const lac_status st = laci_pass(g->s, &rows, 1, (laci_row_sink){ keep_rows, g }, NULL, err);
    if (!st) laci_generation_note(g, &rows);
    return st;
}

/* Whether a row of the pass decides the position, if it is open. Of a block-wise model the pass
 * begins at the block, so that a first token the row before did not give is never asked for. */
static bool is_open(const generation *g, int32_t position)
{
    if (g->seq->canvas[position] != LAC_HOLE) return false;
    return !g->shift || !position || (size_t)position > g->first_row;
}

/* Whether a replay fixes an open hole of the sub-block in this step; of any sub-block if -1. */
static bool is_named(const generation *g, int sub_block)
{
    const laci_sequence *seq = g->seq;
    for (int h = g->hole_begin; h < g->hole_end && g->opt.replay_steps; h++)
        if ((size_t)seq->holes[h] < g->n_shown && is_open(g, seq->holes[h]) &&
            g->opt.replay_steps[seq->holes[h]] == g->step &&
            (sub_block < 0 || seq->holes[h] / g->sub_block == sub_block))
            return true;
    return false;
}

/* Lists the open holes this step may fix: those of the first sub-block that has any, or in a replay
 * of the sub-blocks it fixes holes of. */
static void list_candidates(generation *g)
{
    laci_sequence *seq = g->seq;
    const bool by_name = g->sub_block > 0 && is_named(g, -1);
    int first = -1;
    g->n_candidates = 0;
    g->has_more = false;
    for (int h = g->hole_begin; h < g->hole_end; h++) {
        const int32_t position = seq->holes[h];
        const int sub_block = g->sub_block > 0 ? position / g->sub_block : 0;
        if (!is_open(g, position)) continue;
        if (first < 0) first = sub_block;
        if (by_name ? !is_named(g, sub_block) : sub_block != first)
            g->has_more = true;
        else
            seq->candidates[g->n_candidates++].position = position;
    }
}

/* Asks for a candidate for every open hole of the block, or of its sub-block. */
static void ask(generation *g)
{
    laci_sequence *seq = g->seq;
    list_candidates(g);
    for (int i = 0; i < g->n_candidates; i++) {
        const int32_t position = seq->candidates[i].position;
        seq->rows[i] = g->shift && position > 0 ? position - 1 : position;
        seq->keys[i] =
            laci_rng_key(g->opt.seed, LACI_RNG_TOKEN, (uint32_t)g->step, (uint32_t)position);
    }
    for (size_t i = 0; i < g->n; i++) {
        seq->input[i] = seq->canvas[i] == LAC_HOLE ? g->config->mask_id : seq->canvas[i];
        /* Without guidance every given position is hidden; what was fixed since stays. */
        seq->unguided[i] = seq->step_map[i] < 0 ? g->config->mask_id : seq->input[i];
    }
}

/* Which open positions of the block this step fixes; they come first among the candidates. */
static size_t decide(generation *g)
{
    laci_candidate *candidates = g->seq->candidates;
    const int n_open = g->n_candidates, n_block = g->hole_end - g->hole_begin;
    const int i = g->block_step, n_steps = g->n_block_steps;
    const int quota = laci_schedule_quota(&g->schedule, i, n_steps, n_block, n_open);
    const double chance = laci_schedule_chance(&g->schedule, i, n_steps);
    laci_rank_candidates(candidates, (size_t)n_open, g->config, &g->opt, g->step);
    return laci_decide(candidates, (size_t)n_open, (size_t)quota, chance, &g->opt, g->step);
}

/* Decides as the replayed run did: its candidates of this step come first, with its tokens. What
 * lies behind the canvas is no part of a replay and decided as ever. */
static size_t replay(generation *g)
{
    laci_candidate *c = g->seq->candidates;
    const size_t n_own = g->n > g->n_shown ? decide(g) : 0;
    size_t n_fixed = 0;
    for (size_t i = 0; i < (size_t)g->n_candidates; i++) {
        laci_candidate own = c[i];
        const bool is_shown = (size_t)own.position < g->n_shown;
        if (is_shown ? g->opt.replay_steps[own.position] != g->step : i >= n_own) continue;
        const int32_t id = is_shown ? g->opt.replay_ids[own.position] : own.choice.id;
        if (own.choice.id != id) own.choice.logprob = NAN;
        own.choice.id = id;
        c[i] = c[n_fixed];
        c[n_fixed++] = own;
    }
    return n_fixed;
}

static void commit(generation *g, size_t n_fixed)
{
    laci_sequence *seq = g->seq;
    for (size_t i = 0; i < g->n; i++) {
        seq->confidence[i] = NAN;
        seq->proposed[i] = -1;
    }
    for (size_t i = 0; i < (size_t)g->n_candidates; i++) {
        const laci_candidate *c = &seq->candidates[i];
        seq->confidence[c->position] = (float)c->choice.confidence;
        if (i >= n_fixed) {
            seq->proposed[c->position] = c->choice.id;
            continue;
        }
        seq->canvas[c->position] = c->choice.id;
        seq->step_map[c->position] = g->step;
        seq->logprob[c->position] = c->choice.logprob;
        g->n_left -= (size_t)c->position < g->n_shown;
    }
}

/* Position of the first end token that closes the text: everything before it in the tail is fixed.
 * -1 while there is none. */
static int find_end(const generation *g)
{
    if (g->opt.ignore_eos) return -1;
    for (int i = g->tail_begin; i < (int)g->n_shown; i++) {
        if (g->seq->canvas[i] == LAC_HOLE) return -1;
        for (int e = 0; e < g->config->n_eos; e++)
            if (g->seq->canvas[i] == g->config->eos_ids[e]) return i;
    }
    return -1;
}

/* Holes before the tail that are still open: infill goes on even when the tail has ended. */
static bool has_open_inside(const generation *g)
{
    for (int h = 0; h < g->n_holes && g->seq->holes[h] < g->tail_begin; h++)
        if (g->seq->canvas[g->seq->holes[h]] == LAC_HOLE) return true;
    return false;
}

static bool has_ended(const generation *g)
{
    return find_end(g) >= 0 && !has_open_inside(g);
}

/* Of the positions this step fixed those that callers see. */
static int n_fixed_shown(const generation *g)
{
    int n = 0;
    for (int h = g->hole_begin; h < g->hole_end; h++)
        n += (size_t)g->seq->holes[h] < g->n_shown && g->seq->step_map[g->seq->holes[h]] == g->step;
    return n;
}

static void report(generation *g, double seconds)
{
    const laci_sequence *seq = g->seq;
    if (!g->opt.on_step) return;
    const int block_end = seq->holes[g->hole_end - 1] + 1;
    const lac_step step = { .step = g->step,
                            .n_steps = g->n_steps,
                            .block = g->block,
                            .n_blocks = laci_schedule_n_blocks(&g->schedule),
                            .block_begin = seq->holes[g->hole_begin],
                            .block_end = block_end < (int)g->n_shown ? block_end : (int)g->n_shown,
                            .n_fixed = n_fixed_shown(g),
                            .n_left = g->n_left,
                            .n_canvas = (int)g->n_shown,
                            .canvas = seq->canvas,
                            .step_map = seq->step_map,
                            .confidence = seq->confidence,
                            .candidate = seq->proposed,
                            .seconds = seconds,
                            .density = g->density,
                            .kept_mass = g->kept_mass,
                            .union_inflation = g->union_inflation,
                            .n_active = g->n_active,
                            .bytes_read = g->bytes_read };
    g->cancelled = g->opt.on_step(g->opt.user, &step) != 0;
}

/* ------------------------------------------------------------------ turns */

static void end(generation *g)
{
    g->turn = LACI_TURN_DONE;
    g->seconds = laci_generation_now() - g->start;
}

void laci_generation_cancel(generation *g)
{
    if (g->turn == LACI_TURN_DONE) return;
    g->cancelled = true;
    end(g);
}

static void enter_block(generation *g)
{
    laci_schedule_block(&g->schedule, g->block, &g->hole_begin, &g->hole_end);
    g->n_block_steps = laci_schedule_block_steps(&g->schedule, g->block);
    g->block_step = 0;
    g->turn = LACI_TURN_STEP;
    g->status = laci_block_enter(g, &g->error);
    if (g->status || g->stopped || g->cancelled || !g->n_left) end(g);
}

static void leave_block(generation *g)
{
    if (g->stopped || g->cancelled || !g->n_left || g->hole_end == g->n_holes) {
        end(g);
    } else if (g->s->layout.block) {
        g->turn = LACI_TURN_COMMIT;
    } else {
        g->block++;
        enter_block(g);
    }
}

/* What was put off until behind the last step gets one more; in a replay only what comes in it. */
static void extend_block(generation *g, size_t n_fixed)
{
    bool is_open = false;
    if (!g->schedule.may_defer || g->block_step < g->n_block_steps) return;
    for (size_t i = n_fixed; i < (size_t)g->n_candidates; i++) {
        const size_t at = (size_t)g->seq->candidates[i].position;
        is_open |= !g->opt.replay_ids || (at < g->n_shown && g->opt.replay_steps[at] >= g->step);
    }
    g->n_block_steps += is_open;
    g->n_steps += is_open;
}

/* Decides from the choices of the pass; `start` is when the turn began. */
static void finish_step(generation *g, double start)
{
    laci_sequence *seq = g->seq;
    const int n_open = g->n_candidates;
    for (int i = 0; i < n_open; i++)
        seq->candidates[i].choice = seq->choices[i];
    const size_t n_fixed = g->opt.replay_ids ? replay(g) : decide(g);
    const bool is_filled = (int)n_fixed == n_open;
    commit(g, n_fixed);
    g->stopped = has_ended(g);
    report(g, laci_generation_now() - start);
    g->step++;
    g->block_step++;
    extend_block(g, n_fixed);
    const bool is_late = g->block_step >= g->n_block_steps;
    const bool is_over = g->has_more ? is_late && !n_fixed : is_late || is_filled;
    if (is_over || g->stopped || g->cancelled || !g->n_left) leave_block(g);
}

/* What the last row of a stored block proposed is fixed without a pass, as a step of its own, where
 * the model's first row of a block predicts its second token. */
static void fix_first(generation *g)
{
    g->seq->candidates[0].choice = g->seq->choices[0];
    const size_t n_fixed = g->opt.replay_ids ? replay(g) : 1;
    commit(g, n_fixed);
    g->stopped = has_ended(g);
    report(g, 0);
    g->step++;
    if (g->stopped || g->cancelled || !g->n_left) end(g);
}

/* What follows from a pass; `start` is when the turn began. */
static void finish_turn(generation *g, double start)
{
    if (g->turn == LACI_TURN_STEP) {
        finish_step(g, start);
        return;
    }
    if (g->turn == LACI_TURN_PREFILL) {
        g->seconds_prefill = laci_generation_now() - g->start;
        if (g->opt.on_prompt)
            g->cancelled = g->opt.on_prompt(g->opt.user, g->n_stored, g->n_prompt) != 0;
        if (g->cancelled) end(g);
        if (g->cancelled || g->n_stored < g->n_prompt) return;
    } else {
        g->block++;
    }
    enter_block(g);
    if (g->turn == LACI_TURN_STEP && g->n_candidates) fix_first(g);
}

/* ------------------------------------------------------------------ numbers that are not finite */

/* Repeats the pass of a turn under watch, a block-wise one from the first token on: what it reads
 * of the cache may be what is broken. What the passes report does not matter here. */
static void repeat_watched(generation *g, int32_t position, laci_watch *watch)
{
    lac_session *s = g->s;
    const laci_row_sink sink = { laci_drop_rows, NULL };
    g->opt.on_plan = NULL;
    s->watch = watch;
    laci_rows rows = s->layout.block ? laci_block_read(g, position) : rows_of(g, g->seq->input, 0);
    (void)laci_block_passes(s, &rows, sink, NULL);
    rows = rows_of(g, g->seq->unguided, 1);
    if (g->guided) (void)laci_block_passes(s, &rows, sink, NULL);
    s->watch = NULL;
}

/* Ends a generation whose logits are not finite, with a sentence that says where that began. */
static void end_broken(generation *g)
{
    char when[32];
    laci_watch watch = { LACI_WATCH_NOTHING };
    const int32_t position = g->seq->candidates[g->broken].position;
    (void)snprintf(when, sizeof when, " in step %d", g->step);
    laci_watch_wipe(g->s, g->seq);
    if (!g->is_head_broken) repeat_watched(g, position, &watch);
    laci_watch_wipe(g->s, g->seq);
    g->status = laci_watch_fail(g->s, position, when, g->is_head_broken, &watch, &g->error);
    end(g);
}

/* ------------------------------------------------------------------ a turn */

void laci_generation_turn(generation *const *g, size_t n, laci_rows *rows)
{
    lac_session *s = g[0]->s;
    lac_error err = { 0 };
    const double start = laci_generation_now();
    for (size_t i = 0; i < n; i++) {
        g[i]->broken = -1;
        if (g[i]->turn == LACI_TURN_STEP) ask(g[i]);
        rows[i] = laci_generation_rows(g[i]);
    }
    const laci_row_sink sink = { choose, (void *)g };
    const double begin = laci_generation_now();
    lac_status st = g[0]->guided ? run_unguided(g[0], &err) : LAC_OK;
    if (!st) st = laci_pass(s, rows, n, sink, NULL, &err);
    const double seconds = laci_generation_now() - begin;
    for (size_t i = 0; i < n; i++) {
        g[i]->seconds_forward += seconds;
        g[i]->status = st;
        if (st) {
            g[i]->error = err;
            end(g[i]);
        } else if (g[i]->broken >= 0) {
            end_broken(g[i]);
        } else {
            laci_generation_note(g[i], &rows[i]);
            finish_turn(g[i], start);
        }
    }
}

lac_status laci_generation_begin(generation *g, lac_session *s, laci_sequence *seq,
                                 const int32_t *ids, size_t n_ids, const lac_generate_options *opt,
                                 lac_error *err)
{
    *g = (generation){ .s = s,
                       .seq = seq,
                       .config = &s->model->config,
                       .opt = *opt,
                       .start = laci_generation_now(),
                       .density = 1,
                       .kept_mass = 1,
                       .union_inflation = 1 };
    g->n_reused = laci_block_count_same(s, seq, ids, n_ids);
    seq->n_kept = 0;
    lac_status st = set_out(g, ids, n_ids, err);
    if (st) return st;
    g->rule = laci_choice_rule_of(g->config, laci_tokenizer_n_tokens(s->model->tokenizer),
                                  s->model->gaps, &g->opt);
    g->shift = g->opt.shift ? g->opt.shift > 0 : g->config->shift_logits;
    g->sub_block = s->layout.block ? g->config->sub_block : 0;
    plan_steps(g);
    st = laci_block_begin(g, err);
    if (st) return st;
    if (g->n_stored < g->n_prompt)
        g->turn = LACI_TURN_PREFILL;
    else
        enter_block(g);
    if (g->status && err) *err = g->error;
    return g->status;
}

/* ------------------------------------------------------------------ result */

static void collect(const generation *g, lac_result *out)
{
    laci_sequence *seq = g->seq;
    const int end = find_end(g);
    size_t n = 0;
    for (int h = 0; h < g->n_holes; h++) {
        const int32_t at = seq->holes[h];
        if (seq->canvas[at] == LAC_HOLE || (end >= 0 && at >= end)) continue;
        if ((size_t)at >= g->n_shown) break;
        seq->out_ids[n] = seq->canvas[at];
        seq->out_position[n] = at;
        seq->out_step[n] = seq->step_map[at];
        seq->out_logprob[n++] = seq->logprob[at];
    }
    *out = (lac_result){ .ids = seq->out_ids,
                         .position = seq->out_position,
                         .step_map = seq->out_step,
                         .logprobs = seq->out_logprob,
                         .n_ids = n,
                         .canvas = seq->canvas,
                         .n_canvas = g->n_shown,
                         .finish = g->cancelled ? LAC_FINISH_CANCELLED
                                   : end >= 0   ? LAC_FINISH_STOP
                                                : LAC_FINISH_LENGTH,
                         .steps = g->step,
                         .forwards = g->forwards,
                         .seconds = g->seconds,
                         .seconds_forward = g->seconds_forward,
                         .density = g->drafts ? g->density_sum / g->drafts : 0,
                         .kept_mass = g->kept_mass,
                         .seconds_prefill = g->seconds_prefill,
                         .union_inflation = g->n_selected ? g->inflation_sum / g->n_selected : 1,
                         .n_active = g->drafts ? g->active_sum / g->drafts : 0,
                         .bytes_read = g->bytes_sum,
                         .n_reused = g->n_reused };
}

lac_status laci_generation_outcome(const generation *g, lac_result *result, lac_error *err)
{
    if (g->status) {
        if (err) *err = g->error;
        return g->status;
    }
    collect(g, result);
    if (!g->cancelled) return LAC_OK;
    return laci_fail(err, LAC_ECANCELLED, 0, "stopped by the caller after %d of %d steps", g->step,
                     g->n_steps);
}

lac_status laci_denoise(lac_session *s, const int32_t *ids, size_t n_ids,
                        const lac_generate_options *opt, lac_result *result, lac_error *err)
{
    generation g, *const alone = &g;
    laci_rows rows;
    lac_status st = laci_generation_begin(&g, s, s->seq, ids, n_ids, opt, err);
    if (st) return st;
    while (g.turn != LACI_TURN_DONE)
        laci_generation_turn(&alone, 1, &rows);
    return laci_generation_outcome(&g, result, err);
}
