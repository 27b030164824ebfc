/* batch.c: the public lac_batch: generations side by side on one session with a sequence for each.
 * A step gives every generation whose rows fit a turn: in one forward pass where blocks are decoded
 * behind key caches, one after the other where whole canvases are. Which rows share a pass changes
 * no result: products treat rows alone, attention runs sequence by sequence. A sequence that is
 * kept is one nobody uses, whose final keys a later request may begin with. */
#include "base/error.h"
#include "engine/block.h"

enum { MAX_SEQUENCES = 1024 };

typedef struct {
    bool is_used;
    uint64_t
        kept_at; /* when its keys were kept for later requests, by b->n_keeps; 0 = they are not */
    laci_generation g;
} member;

struct lac_batch {
    lac_session *s;  /* owned, as is all below */
    size_t n;        /* sequences there is room for */
    member *members; /* [n] on the session's sequence of the same number */
    size_t *order;   /* [n] numbers of those in use, oldest first */
    size_t n_used;
    uint64_t n_keeps;
    laci_generation **turn; /* [n] those that take part in a step */
    laci_rows *rows;        /* [n] what they run */
    bool is_stepping;       /* a callback may be running */
};

/* ------------------------------------------------------------------ creation */

static lac_status check_size(int max_sequences, lac_error *err)
{
    if (max_sequences >= 1 && max_sequences <= MAX_SEQUENCES) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0, "a batch of %d sequences: 1 to %d", max_sequences,
                     MAX_SEQUENCES);
}

lac_status lac_batch_create(lac_batch **out, const lac_model *model, const lac_session_options *opt,
                            int max_sequences, lac_error *err)
{
    const lac_session_options defaults = { 0 };
    if (!out || !model) return laci_fail(err, LAC_EINVAL, 0, "no model for the batch");
    lac_session *s = NULL;
    const size_t n = (size_t)max_sequences;
    lac_status st = check_size(max_sequences, err);
    if (!st) st = laci_session_new(&s, model, opt ? opt : &defaults, n, err);
    if (st) return st;
    lac_batch *b = laci_alloc_zero(&s->mem, sizeof *b);
    if (!b) {
        lac_session_free(s);
        return laci_fail_memory(err, "a batch", sizeof *b);
    }
    *b = (lac_batch){ .s = s, .n = n };
    b->members = laci_alloc_zero(&s->mem, n * sizeof *b->members);
    b->order = laci_alloc_zero(&s->mem, n * sizeof *b->order);
    b->turn = laci_alloc_zero(&s->mem, n * sizeof *b->turn);
    b->rows = laci_alloc_zero(&s->mem, n * sizeof *b->rows);
    if (!b->members || !b->order || !b->turn || !b->rows) {
        lac_batch_free(b);
        return laci_fail_memory(err, "a batch", n * sizeof *b->members);
    }
    *out = b;
    return LAC_OK;
}

void lac_batch_free(lac_batch *b)
{
    if (!b) return;
    lac_session *s = b->s;
    const lac_allocator mem = s->mem;
    laci_release(&mem, b->members);
    laci_release(&mem, b->order);
    laci_release(&mem, b->turn);
    laci_release(&mem, b->rows);
    laci_release(&mem, b);
    lac_session_free(s);
}

lac_status lac_batch_plan_memory(const lac_model *model, const lac_session_options *opt,
                                 int max_sequences, lac_memory_plan *out, lac_error *err)
{
    const lac_session_options defaults = { 0 };
    if (!model || !out) return laci_fail(err, LAC_EINVAL, 0, "no model or no place for its plan");
    lac_status st = check_size(max_sequences, err);
    if (st) return st;
    return laci_session_plan_memory(model, opt ? opt : &defaults, (size_t)max_sequences, out, err);
}

/* ------------------------------------------------------------------ sequences */

/* Callbacks run in the middle of a step, where nothing may change. */
static lac_status check_idle(const lac_batch *b, lac_error *err)
{
    if (!b) return laci_fail(err, LAC_EINVAL, 0, "no batch");
    if (b->is_stepping)
        return laci_fail(err, LAC_EINVAL, 0, "a callback of a batch cannot change the batch");
    return LAC_OK;
}

static lac_status find(const lac_batch *b, int sequence, member **out, lac_error *err)
{
    lac_status st = check_idle(b, err);
    if (st) return st;
    if (sequence < 0 || (size_t)sequence >= b->n || !b->members[sequence].is_used)
        return laci_fail(err, LAC_EINVAL, 0, "sequence %d: the batch has none of this number",
                         sequence);
    *out = &b->members[sequence];
    return LAC_OK;
}

/* Positions of the cache of a whole generation over n. */
static size_t cache_end(const lac_batch *b, size_t n)
{
    const size_t block = b->s->layout.block, n_ctx = b->s->layout.n_ctx;
    if (!block || n > n_ctx) return n_ctx;
    const size_t end = (n + block - 1) / block * block;
    return end < n_ctx ? end : n_ctx;
}

/* A sequence nobody uses: the one that keeps most of these ids, else one that keeps nothing, else
 * the one that was kept first. b->n = there is none. */
static size_t choose_free(const lac_batch *b, const int32_t *ids, size_t n_ids)
{
    size_t best = b->n, most = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (b->members[i].is_used) continue;
        const size_t n_same = laci_block_count_same(b->s, &b->s->seq[i], ids, n_ids);
        const bool is_older = best == b->n || b->members[i].kept_at < b->members[best].kept_at;
        if (n_same < most || (n_same == most && !is_older)) continue;
        best = i;
        most = n_same;
    }
    return best;
}

/* A place for a request, which is to be added. */
static lac_status find_free(const lac_batch *b, const int32_t *ids, size_t n_ids, size_t *place,
                            lac_error *err)
{
    lac_status st = check_idle(b, err);
    if (st) return st;
    if (!ids && n_ids) return laci_fail(err, LAC_EINVAL, 0, "no ids to add");
    *place = choose_free(b, ids, n_ids);
    if (*place < b->n) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0, "the batch has room for %zu sequences and holds %zu", b->n,
                     b->n_used);
}

lac_status lac_batch_add_bytes(const lac_batch *b, const int32_t *ids, size_t n_ids,
                               const lac_generate_options *opt, uint64_t *bytes, lac_error *err)
{
    lac_generate_options own = opt ? *opt : (lac_generate_options){ 0 };
    uint64_t more;
    size_t i, n_holes = 0;
    lac_status st = find_free(b, ids, n_ids, &i, err);
    if (st) return st;
    if (!bytes) return laci_fail(err, LAC_EINVAL, 0, "no place for a number of bytes");
    for (size_t at = 0; at < n_ids; at++)
        n_holes += ids[at] == LAC_HOLE || ids[at] == b->s->model->config.mask_id;
    st = laci_options_resolve(&b->s->model->config, n_holes, &own, err);
    const size_t n = n_ids + (size_t)own.n_tokens, n_ctx = b->s->layout.n_ctx;
    if (!st && n > n_ctx)
        st = laci_fail(err, LAC_ECONTEXT, 0, "%zu positions: the context holds %zu", n, n_ctx);
    const laci_sequence *seq = &b->s->seq[i];
    if (!st)
        st = laci_generation_bytes(b->s, seq, n_holes + (size_t)own.n_tokens, &own, &more, err);
    if (st) return st;
    const size_t held = laci_keys_bytes(&seq->kv);
    const size_t need = laci_keys_need(&seq->kv, laci_backend_act(b->s->be), cache_end(b, n));
    *bytes = more + (need > held ? need - held : 0);
    return LAC_OK;
}

lac_status lac_batch_add(lac_batch *b, const int32_t *ids, size_t n_ids,
                         const lac_generate_options *opt, int *sequence, lac_error *err)
{
    const lac_generate_options defaults = { 0 };
    size_t i;
    lac_status st = find_free(b, ids, n_ids, &i, err);
    if (st) return st;
    if (!sequence) return laci_fail(err, LAC_EINVAL, 0, "no place for the number of a sequence");
    member *m = &b->members[i];
    m->kept_at = 0;
    st = laci_generation_begin(&m->g, b->s, &b->s->seq[i], ids, n_ids, opt ? opt : &defaults, err);
    /* The cache of the whole generation, so that no step takes memory. */
    if (!st) st = laci_keys_reserve(&b->s->seq[i].kv, cache_end(b, m->g.n), err);
    if (st) return st;
    m->is_used = true;
    b->order[b->n_used++] = i;
    *sequence = (int)i;
    return LAC_OK;
}

lac_status lac_batch_remove(lac_batch *b, int sequence, lac_error *err)
{
    member *m;
    lac_status st = find(b, sequence, &m, err);
    if (st) return st;
    size_t kept = 0;
    for (size_t i = 0; i < b->n_used; i++)
        if (b->order[i] != (size_t)sequence) b->order[kept++] = b->order[i];
    b->n_used = kept;
    m->is_used = false;
    return LAC_OK;
}

lac_status lac_batch_keep(lac_batch *b, int sequence, lac_error *err)
{
    member *m;
    lac_status st = find(b, sequence, &m, err);
    if (st) return st;
    if (m->g.turn != LACI_TURN_DONE)
        return laci_fail(err, LAC_EINVAL, 0, "sequence %d is at step %d of %d: not done", sequence,
                         m->g.step, m->g.n_steps);
    st = lac_batch_remove(b, sequence, err);
    if (st || m->g.status) return st;
    m->kept_at = ++b->n_keeps;
    laci_block_keep(&m->g);
    return LAC_OK;
}

lac_status lac_batch_cancel(lac_batch *b, int sequence, lac_error *err)
{
    member *m;
    lac_status st = find(b, sequence, &m, err);
    if (!st) laci_generation_cancel(&m->g);
    return st;
}

bool lac_batch_is_done(const lac_batch *b, int sequence)
{
    return b && sequence >= 0 && (size_t)sequence < b->n && b->members[sequence].is_used &&
           b->members[sequence].g.turn == LACI_TURN_DONE;
}

lac_status lac_batch_result(const lac_batch *b, int sequence, lac_result *result, lac_error *err)
{
    member *m;
    lac_status st = find(b, sequence, &m, err);
    if (st) return st;
    if (!result) return laci_fail(err, LAC_EINVAL, 0, "no place for a result");
    if (m->g.turn != LACI_TURN_DONE)
        return laci_fail(err, LAC_EINVAL, 0, "sequence %d is at step %d of %d: not done", sequence,
                         m->g.step, m->g.n_steps);
    return laci_generation_outcome(&m->g, result, err);
}

lac_status lac_batch_progress(const lac_batch *b, int sequence, size_t *done, size_t *total,
                              lac_error *err)
{
    member *m;
    lac_status st = find(b, sequence, &m, err);
    if (st) return st;
    if (!done || !total) return laci_fail(err, LAC_EINVAL, 0, "no place for the progress");
    *total = m->g.n_prompt;
    *done = m->g.n_stored < m->g.n_prompt ? m->g.n_stored : m->g.n_prompt;
    return LAC_OK;
}

/* ------------------------------------------------------------------ a step */

/* Who takes part: blocks that are being denoised, blocks that are finished, and chunks of prompts,
 * oldest first, while there is room. There is always room for one chunk and all blocks. Canvases do
 * not share a pass, and all take part. */
static size_t line_up(lac_batch *b)
{
    static const laci_turn kinds[] = { LACI_TURN_STEP, LACI_TURN_COMMIT, LACI_TURN_PREFILL };
    size_t n = 0, n_rows = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (size_t i = 0; i < b->n_used; i++) {
            laci_generation *g = &b->members[b->order[i]].g;
            if (g->turn != kinds[k]) continue;
            const size_t rows = laci_block_next_rows(g);
            if (b->s->layout.block && n_rows + rows > b->s->layout.n_pass) continue;
            n_rows += rows;
            b->turn[n++] = g;
        }
    }
    return n;
}

lac_status lac_batch_step(lac_batch *b, int *n_running, lac_error *err)
{
    lac_status st = check_idle(b, err);
    if (st) return st;
    /* If sharing a pass would change low-order bits, sequences run one at a time; canvases do too.
     */
    const bool is_shared = b->s->layout.block && laci_backend_rows_stand_alone(b->s->be);
    const size_t n = line_up(b), share = is_shared ? n : 1;
    b->is_stepping = true;
    for (size_t i = 0; i < n; i += share)
        laci_generation_turn(b->turn + i, share, b->rows);
    b->is_stepping = false;
    int running = 0;
    for (size_t i = 0; i < b->n_used; i++)
        running += b->members[b->order[i]].g.turn != LACI_TURN_DONE;
    if (n_running) *n_running = running;
    return LAC_OK;
}
