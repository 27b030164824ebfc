/* block.c: see block.h. */
#include "engine/block.h"

#include "base/error.h"
#include "base/rng.h"
#include "engine/watch.h"

lac_status laci_block_check(const laci_generation *g, lac_error *err)
{
    const lac_generate_options *o = &g->opt;
    const int32_t first = g->seq->holes[0];
    if (!g->s->layout.block) return LAC_OK;
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
    const size_t end = laci_keys_piece_end(&seq->kv, first);
    if (n > s->layout.seq_rows) n = s->layout.seq_rows;
    return end - first < n ? end - first : n;
}

/* The stream of the token at a position, in the step that comes next. */
static void ask_for(laci_generation *g, size_t i, int32_t position)
{
    g->seq->candidates[i].position = position;
    g->seq->keys[i] =
        laci_rng_key(g->opt.seed, LACI_RNG_TOKEN, (uint32_t)g->step, (uint32_t)position);
}

size_t laci_block_next_rows(const laci_generation *g)
{
    return g->turn == LACI_TURN_PREFILL
               ? pass_length(g->s, g->seq, g->n_stored, g->n_prompt - g->n_stored)
               : g->end_row - g->first_row;
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
laci_rows laci_block_store(laci_generation *g)
{
    laci_sequence *seq = g->seq;
    const size_t first = g->n_stored, n = laci_block_next_rows(g), next = first + n;
    laci_rows rows = { .seq = seq,
                       .ids = read_canvas(g, first, n),
                       .first = first,
                       .n = n,
                       .n_keys = next,
                       .is_final = true };
    g->n_candidates = 0;
    if (g->shift && next < g->n && seq->canvas[next] == LAC_HOLE) {
        seq->rows[0] = (int32_t)next - 1;
        rows.wanted = seq->rows;
        rows.n_wanted = 1;
        ask_for(g, 0, (int32_t)next);
        g->n_candidates = 1;
    }
    g->n_stored = next;
    return rows;
}

/* ------------------------------------------------------------------ keys of an earlier generation
 */

void laci_block_keep(const laci_generation *g)
{
    const bool is_exact = laci_backend_rows_stand_alone(g->s->be);
    g->seq->n_kept = is_exact || g->n_stored < g->n_prompt ? g->n_stored : g->n_prompt;
}

size_t laci_block_count_same(const lac_session *s, const laci_sequence *seq, const int32_t *ids,
                             size_t n_ids)
{
    const size_t n = seq->n_kept < n_ids ? seq->n_kept : n_ids, block = s->layout.block;
    size_t same = 0;
    while (same < n && ids[same] == seq->canvas[same])
        same++;
    return block ? same / block * block : 0;
}

/* Where rows do not stand alone, only passes are spared that would have the same rows: whole chunks
 * of the prompt. */
static size_t count_spared(const laci_generation *g, size_t n)
{
    size_t end = 0;
    if (laci_backend_rows_stand_alone(g->s->be)) return n;
    for (size_t next = 0; next <= n && next < g->n_prompt;) {
        end = next;
        next += pass_length(g->s, g->seq, next, SIZE_MAX);
    }
    return end;
}

/* Begins behind the blocks whose keys are there. A row whose proposal is wanted runs again. */
static void take_over(laci_generation *g)
{
    const size_t block = g->s->layout.block;
    size_t n = g->n_reused < g->n_prompt ? g->n_reused : g->n_prompt;
    if (n && n == g->n_prompt && g->shift && g->seq->canvas[n] == LAC_HOLE) n -= block;
    g->n_reused = g->n_stored = n = count_spared(g, n);
    /* of a page that is now half empty, the bounds are those of the keys it has */
    for (size_t layer = 0; n && layer < g->seq->kv.n_kept; layer++)
        laci_keys_update_bounds(&g->seq->kv, layer, n - block, block);
}

lac_status laci_block_begin(laci_generation *g, lac_error *err)
{
    const size_t block = g->s->layout.block;
    g->end_row = g->n;
    if (!block) return LAC_OK;
    g->n_prompt = (size_t)g->seq->holes[0] / block * block;
    lac_status st = laci_keys_reserve(&g->seq->kv, g->n_prompt, err);
    if (!st) take_over(g);
    return st;
}

/* ------------------------------------------------------------------ the active block */

lac_status laci_block_enter(laci_generation *g, lac_error *err)
{
    laci_sequence *seq = g->seq;
    const size_t size = g->s->layout.block, n_ctx = g->s->layout.n_ctx;
    if (!size) return LAC_OK;
    g->first_row = (size_t)seq->holes[g->hole_begin] / size * size;
    g->end_row = g->first_row + size < n_ctx ? g->first_row + size : n_ctx;
    /* The model knows whole blocks: past the canvas stand masks, which are never decided. */
    for (size_t i = g->n; i < g->end_row; i++)
        seq->input[i] = g->config->mask_id;
    return laci_keys_reserve(&seq->kv, g->end_row, err);
}

/* ------------------------------------------------------------------ from the first row on */

lac_status laci_block_passes(lac_session *s, const laci_rows *all, laci_row_sink sink,
                             lac_error *err)
{
    if (!s->layout.block) return laci_pass(s, all, 1, sink, NULL, err);
    lac_status st = laci_keys_reserve(&all->seq->kv, all->n, err);
    size_t row = 0;
    laci_rows rows = *all;
    rows.is_final = true;
    for (size_t first = 0; first < all->n && !st; first += rows.n) {
        rows.ids = all->ids + first;
        rows.first = first;
        rows.n = pass_length(s, all->seq, first, all->n - first);
        rows.n_keys = first + rows.n;
        rows.wanted = all->wanted + row;
        rows.first_wanted = row;
        while (row < all->n_wanted && (size_t)all->wanted[row] < rows.n_keys)
            row++;
        rows.n_wanted = row - rows.first_wanted;
        st = laci_pass(s, &rows, 1, sink, NULL, err);
        if (s->watch && s->watch->first != LACI_WATCH_NOTHING) break;
    }
    return st;
}

laci_rows laci_block_read(laci_generation *g, int32_t position)
{
    const size_t n = g->turn == LACI_TURN_STEP ? g->end_row : g->n_stored;
    (void)read_canvas(g, 0, n < g->n ? n : g->n); /* past the canvas stand masks already */
    g->seq->rows[0] = g->shift && position > 0 ? position - 1 : position;
    return (laci_rows){ .seq = g->seq,
                        .ids = g->seq->input,
                        .n = n,
                        .n_keys = n,
                        .wanted = g->seq->rows,
                        .n_wanted = 1 };
}
