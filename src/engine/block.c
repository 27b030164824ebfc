/* block.c: see block.h. */
#include "engine/block.h"

#include <math.h>

#include "base/error.h"
#include "base/rng.h"
#include "engine/block_attend.h"
#include "engine/watch.h"

lac_status laci_block_check(const laci_generation *g, lac_error *err)
{
    const lac_generate_options *o = &g->opt;
    const int32_t first = g->seq->holes[0];
    if (o->cfg_scale > 0)
        return laci_fail(err, LAC_EINVAL, 0,
                         "cfg_scale %g: %s decodes block by block behind a key cache, where "
                         "guidance is not defined",
                         (double)o->cfg_scale, g->config->family);
    if (o->algorithm == LAC_ALGORITHM_ORIGIN)
        return laci_fail(err, LAC_EINVAL, 0,
                         "algorithm origin: its schedule is for whole canvases, and %s decodes "
                         "block by block",
                         g->config->family);
    if (g->tail_begin > first)
        return laci_fail(err, LAC_EINVAL, 0,
                         "a token is given at position %d behind the hole at %d: %s reads from "
                         "left to right and cannot fill holes inside a text",
                         g->tail_begin - 1, first, g->config->family);
    return LAC_OK;
}

/* ------------------------------------------------------------------ passes */

/* A pass from position `first` that stops at the end of a piece of the cache; n at most. */
static size_t pass_length(const lac_session *s, const laci_sequence *seq, size_t first, size_t n)
{
    const size_t end = laci_kv_cache_piece_end(&seq->block->cache, first);
    if (n > s->block->pass_rows) n = s->block->pass_rows;
    return end - first < n ? end - first : n;
}

/* The stream of the token at a position, in the step that comes next. */
static void ask_for(laci_generation *g, size_t i, int32_t position)
{
    g->seq->candidates[i].position = position;
    g->seq->keys[i] =
        laci_rng_key(g->opt.seed, LACI_RNG_TOKEN, (uint32_t)g->step, (uint32_t)position);
}

/* Marks the ids that differ from those of the step before. */
static void find_new(const laci_generation *g, const int32_t *ids, size_t n)
{
    laci_block_state *b = g->seq->block;
    for (size_t i = 0; !g->s->block->how.is_dense && i < n; i++) {
        b->is_new[i] = b->step > 0 && ids[i] != b->last_ids[i];
        b->n_tokens += b->is_new[i];
        b->last_ids[i] = ids[i];
    }
}

/* Rows s->rows of the active block. */
static laci_block_pass draft(const laci_generation *g)
{
    const laci_block_pass pass = { .seq = g->seq->block,
                                   .ids = g->seq->input + g->block_begin,
                                   .first = g->block_begin,
                                   .n = g->block_end - g->block_begin,
                                   .rows = g->seq->rows,
                                   .n_rows = (size_t)g->n_candidates,
                                   .is_draft = true,
                                   .on_plan = g->opt.on_plan,
                                   .user = g->opt.user,
                                   .step = g->step };
    find_new(g, pass.ids, pass.n);
    return pass;
}

size_t laci_block_next_rows(const laci_generation *g)
{
    const size_t n_block = g->block_end - g->block_begin;
    return g->turn == LACI_TURN_PREFILL
               ? pass_length(g->s, g->seq, g->n_stored, g->n_prompt - g->n_stored)
               : n_block;
}

/* Positions [first, first + n) as the model reads them: a replay may leave holes open for good. */
static const int32_t *read_canvas(const laci_generation *g, size_t first, size_t n)
{
    const laci_sequence *seq = g->seq;
    for (size_t i = first; i < first + n; i++)
        seq->input[i] = seq->canvas[i] == LAC_HOLE ? g->config->mask_id : seq->canvas[i];
    return seq->input + first;
}

/* What is final goes into the cache. The last row proposes the token after it where the model's
 * rows do that, and where that token is open. */
laci_block_pass laci_block_next(laci_generation *g)
{
    laci_sequence *seq = g->seq;
    if (g->turn == LACI_TURN_STEP) return draft(g);
    const size_t first = g->n_stored, n = laci_block_next_rows(g), next = first + n;
    laci_block_pass pass = {
        .seq = seq->block, .ids = read_canvas(g, first, n), .first = first, .n = n
    };
    if (g->shift && next < g->n && seq->canvas[next] == LAC_HOLE) {
        seq->rows[0] = (int32_t)next - 1;
        pass.rows = seq->rows;
        pass.n_rows = 1;
        ask_for(g, 0, (int32_t)next);
    }
    g->n_stored = next;
    return pass;
}

lac_status laci_block_begin(laci_generation *g, lac_error *err)
{
    const size_t block = (size_t)g->config->block_size;
    g->n_prompt = (size_t)g->seq->holes[0] / block * block;
    return laci_kv_cache_reserve(&g->seq->block->cache, g->n_prompt, err);
}

/* ------------------------------------------------------------------ the active block */

/* A policy remembers nothing over blocks. */
static void reset_policy(const laci_generation *g)
{
    laci_block_state *b = g->seq->block;
    b->step = b->n_tokens = 0;
    for (size_t i = 0; !g->s->block->how.is_dense && i < b->cache.n_layers; i++) {
        b->layer[i].step_read = b->layer[i].tokens_read = 0;
        b->layer[i].step_chosen = -1;
    }
}

/* What the pass read, as a step reports it. */
void laci_block_take(laci_generation *g)
{
    const laci_block_run_state read = { .run = laci_layer_begin(g->s, NULL),
                                        .m = g->s->block,
                                        .seq = g->seq->block,
                                        .first = g->block_begin,
                                        .n_pass = g->block_end - g->block_begin };
    const laci_block_stats *st = &g->seq->block->stats;
    laci_block_settle(&read);
    const double n = st->n_layers ? (double)st->n_layers : 1;
    g->seq->block->step++;
    g->density = st->density / n;
    g->kept_mass = g->density < 1 ? NAN : 1; /* nobody measures what was left out */
    g->n_active = st->active / n;
    g->union_inflation = st->n_lists ? st->inflation / (double)st->n_lists : 1;
    g->bytes_read = st->bytes;
    g->density_sum += g->density;
    g->active_sum += g->n_active;
    g->bytes_sum += st->bytes;
    g->inflation_sum += st->n_lists ? g->union_inflation : 0;
    g->n_selected += st->n_lists > 0;
    g->drafts++;
}

lac_status laci_block_enter(laci_generation *g, lac_error *err)
{
    laci_sequence *seq = g->seq;
    const size_t size = (size_t)g->config->block_size, n_ctx = g->s->layout.n_ctx;
    const int32_t first = seq->holes[g->hole_begin];
    g->block_begin = (size_t)first / size * size;
    g->block_end = g->block_begin + size < n_ctx ? g->block_begin + size : n_ctx;
    reset_policy(g);
    /* The model knows whole blocks: past the canvas stand masks, which are never decided. */
    for (size_t i = g->n; i < g->block_end; i++)
        seq->input[i] = g->config->mask_id;
    lac_status st = laci_kv_cache_reserve(&seq->block->cache, g->block_end, err);
    if (st || !g->shift || (size_t)first > g->block_begin || !first) return st;
    seq->candidates[0].choice = seq->choices[0];
    seq->candidates[0].position = first;
    g->n_candidates = 1;
    const size_t n_fixed = g->opt.replay_ids ? laci_generation_replay(g) : 1;
    laci_generation_commit(g, n_fixed);
    g->stopped = laci_generation_has_ended(g);
    laci_generation_report(g, 0);
    g->step++;
    return LAC_OK;
}

/* ------------------------------------------------------------------ logits only */

lac_status laci_block_logits(lac_session *s, laci_sequence *seq, const laci_block_text *text,
                             laci_row_sink sink, lac_error *err)
{
    lac_status st = laci_kv_cache_reserve(&seq->block->cache, text->n, err);
    size_t row = 0;
    for (size_t first = 0, n_pass; first < text->n && !st; first += n_pass) {
        n_pass = pass_length(s, seq, first, text->n - first);
        const size_t first_row = row;
        while (row < text->n_rows && (size_t)text->rows[row] < first + n_pass)
            row++;
        const laci_block_pass pass = { .seq = seq->block,
                                       .ids = text->ids + first,
                                       .first = first,
                                       .n = n_pass,
                                       .rows = text->rows + first_row,
                                       .n_rows = row - first_row,
                                       .first_row = first_row };
        st = laci_block_forward(s, &pass, 1, sink, NULL, err);
        if (s->watch && s->watch->first != LACI_WATCH_NOTHING) break;
    }
    return st;
}

laci_block_text laci_block_read(laci_generation *g, int32_t position)
{
    const bool is_step = g->turn == LACI_TURN_STEP;
    const size_t n = is_step ? g->block_end : g->n_stored;
    (void)read_canvas(g, 0, n < g->n ? n : g->n); /* past the canvas stand masks already */
    g->seq->rows[0] = g->shift && position > 0 ? position - 1 : position;
    return (laci_block_text){ g->seq->input, g->seq->rows, n, 1 };
}
