/* block.c: see block.h. */
#include "engine/block.h"

#include <math.h>

#include "base/error.h"
#include "base/rng.h"
#include "engine/block_forward.h"

lac_status laci_block_check(const laci_generation *g, lac_error *err)
{
    const lac_generate_options *o = &g->opt;
    const int32_t first = g->s->holes[0];
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
static size_t pass_length(const lac_session *s, size_t first, size_t n)
{
    const size_t end = laci_kv_cache_piece_end(&s->block->cache, first);
    if (n > s->block->pass_rows) n = s->block->pass_rows;
    return end - first < n ? end - first : n;
}

static lac_status run_timed(laci_generation *g, const laci_block_pass *pass, lac_error *err)
{
    const double start = laci_generation_now();
    const lac_status st = laci_block_forward(g->s, pass, err);
    g->seconds_forward += laci_generation_now() - start;
    g->forwards++;
    return st;
}

/* The stream of the token at a position, in the step that comes next. */
static void ask_for(laci_generation *g, size_t i, int32_t position)
{
    g->s->candidates[i].position = position;
    g->s->keys[i] =
        laci_rng_key(g->opt.seed, LACI_RNG_TOKEN, (uint32_t)g->step, (uint32_t)position);
}

/* Positions [first, first + n), which are final, into the cache. The last row proposes the token
 * after it where the model's rows do that, and where that token is open. */
static lac_status store_final(laci_generation *g, size_t first, size_t n, lac_error *err)
{
    lac_session *s = g->s;
    const int32_t last = (int32_t)(first + n) - 1;
    const size_t next = first + n;
    laci_block_pass pass = { .ids = s->canvas + first, .first = first, .n = n };
    if (g->shift && next < g->n && s->canvas[next] == LAC_HOLE) {
        pass.rows = &last;
        pass.n_rows = 1;
        pass.sink = (laci_row_sink){ laci_generation_choose, g };
        ask_for(g, 0, (int32_t)next);
    }
    return run_timed(g, &pass, err);
}

lac_status laci_block_prefill(laci_generation *g, lac_error *err)
{
    lac_session *s = g->s;
    const size_t block = (size_t)g->config->block_size;
    const size_t n_final = (size_t)s->holes[0] / block * block;
    const double start = laci_generation_now();
    lac_status st = laci_kv_cache_reserve(&s->block->cache, n_final, err);
    for (size_t first = 0, n; first < n_final && !st; first += n) {
        n = pass_length(s, first, n_final - first);
        st = store_final(g, first, n, err);
    }
    g->seconds_prefill = laci_generation_now() - start;
    return st;
}

lac_status laci_block_commit(laci_generation *g, lac_error *err)
{
    return store_final(g, g->block_begin, g->block_end - g->block_begin, err);
}

/* ------------------------------------------------------------------ the active block */

/* A policy remembers nothing over blocks. */
static void reset_policy(laci_block_memory *m)
{
    m->step = m->n_tokens = 0;
    for (size_t i = 0; !m->how.is_dense && i < m->cache.n_layers; i++)
        m->layer[i].step_read = m->layer[i].tokens_read = 0;
}

/* Marks the ids that differ from those of the step before. */
static void find_new(laci_block_memory *m, const int32_t *ids, size_t n)
{
    for (size_t i = 0; !m->how.is_dense && i < n; i++) {
        m->is_new[i] = m->step > 0 && ids[i] != m->last_ids[i];
        m->n_tokens += m->is_new[i];
        m->last_ids[i] = ids[i];
    }
}

/* What the pass read, as a step reports it. */
static void take_stats(laci_generation *g)
{
    const laci_block_stats *st = &g->s->block->stats;
    const double n = st->n_layers ? (double)st->n_layers : 1;
    g->s->density = st->density / n;
    g->n_active = st->active / n;
    g->union_inflation = st->n_lists ? st->inflation / (double)st->n_lists : 1;
    g->bytes_read = st->bytes;
    g->active_sum += g->n_active;
    g->bytes_sum += st->bytes;
    g->inflation_sum += st->n_lists ? g->union_inflation : 0;
    g->n_selected += st->n_lists > 0;
}

lac_status laci_block_enter(laci_generation *g, int block, int begin, int end, lac_error *err)
{
    lac_session *s = g->s;
    const size_t size = (size_t)g->config->block_size, n_ctx = s->layout.n_ctx;
    const int32_t first = s->holes[begin];
    g->block_begin = (size_t)first / size * size;
    g->block_end = g->block_begin + size < n_ctx ? g->block_begin + size : n_ctx;
    reset_policy(s->block);
    /* The model knows whole blocks: past the canvas stand masks, which are never decided. */
    for (size_t i = g->n; i < g->block_end; i++)
        s->input[i] = g->config->mask_id;
    lac_status st = laci_kv_cache_reserve(&s->block->cache, g->block_end, err);
    if (st || !g->shift || (size_t)first > g->block_begin || !first) return st;
    s->candidates[0].choice = s->choices[0];
    s->candidates[0].position = first;
    g->n_candidates = 1;
    laci_generation_commit(g, 1);
    g->stopped = laci_generation_has_ended(g);
    laci_generation_report(g, block, begin, end, 1, 0);
    g->step++;
    return LAC_OK;
}

lac_status laci_block_run(laci_generation *g, laci_row_sink sink, lac_error *err)
{
    lac_session *s = g->s;
    const laci_block_pass pass = { .ids = s->input + g->block_begin,
                                   .first = g->block_begin,
                                   .n = g->block_end - g->block_begin,
                                   .rows = s->rows,
                                   .n_rows = (size_t)g->n_candidates,
                                   .sink = sink,
                                   .is_draft = true,
                                   .clock = g->clock,
                                   .on_plan = g->opt.on_plan,
                                   .user = g->opt.user,
                                   .step = g->step };
    find_new(s->block, pass.ids, pass.n);
    const lac_status st = laci_block_forward(s, &pass, err);
    s->block->step++;
    take_stats(g);
    return st;
}

/* ------------------------------------------------------------------ logits only */

lac_status laci_block_logits(lac_session *s, const int32_t *ids, size_t n, const int32_t *rows,
                             size_t n_rows, laci_row_sink sink, lac_error *err)
{
    lac_status st = laci_kv_cache_reserve(&s->block->cache, n, err);
    size_t row = 0;
    for (size_t first = 0, n_pass; first < n && !st; first += n_pass) {
        n_pass = pass_length(s, first, n - first);
        const size_t first_row = row;
        while (row < n_rows && (size_t)rows[row] < first + n_pass)
            row++;
        const laci_block_pass pass = { .ids = ids + first,
                                       .first = first,
                                       .n = n_pass,
                                       .rows = rows + first_row,
                                       .n_rows = row - first_row,
                                       .first_row = first_row,
                                       .sink = sink };
        st = laci_block_forward(s, &pass, err);
    }
    return st;
}
