/* layout.c: what a session of some options holds: the policy it runs and the size of every part.
 * Sizes are in this one place, used to take and to predict. What models differ in for the engine,
 * whether keys are kept and how many rows a pass has, is decided here and is numbers from then on.
 */
#include "engine/session.h"

#include "base/arena.h"

enum {
    CHUNK_ROWS = 1024,               /* rows of one pass through the products */
    CACHE_ROWS = 512,                /* of a prompt that go behind a key cache at once */
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

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------------ host memory */

size_t laci_sequence_carve(laci_sequence *s, void *memory, size_t n)
{
    laci_arena arena = { memory, 0 };
    LACI_TAKE(&arena, s->canvas, n);
    LACI_TAKE(&arena, s->input, n);
    LACI_TAKE(&arena, s->unguided, n);
    LACI_TAKE(&arena, s->holes, n);
    LACI_TAKE(&arena, s->step_map, n);
    LACI_TAKE(&arena, s->proposed, n);
    LACI_TAKE(&arena, s->rows, n);
    LACI_TAKE(&arena, s->seen_position, n);
    LACI_TAKE(&arena, s->confidence, n);
    LACI_TAKE(&arena, s->logprob, n);
    LACI_TAKE(&arena, s->keys, n);
    LACI_TAKE(&arena, s->choices, n);
    LACI_TAKE(&arena, s->candidates, n);
    LACI_TAKE(&arena, s->out_ids, n);
    LACI_TAKE(&arena, s->out_position, n);
    LACI_TAKE(&arena, s->out_step, n);
    LACI_TAKE(&arena, s->out_logprob, n);
    return arena.used;
}

size_t laci_pass_arrays_carve(laci_pass_arrays *s, void *memory, const laci_session_layout *l,
                              size_t n_heads)
{
    const size_t n = l->block ? l->n_pass : 0; /* a canvas runs alone and reads everything */
    laci_arena arena = { memory, 0 };
    LACI_TAKE(&arena, s->limits, n);
    LACI_TAKE(&arena, s->in_piece, n);
    LACI_TAKE(&arena, s->ids, n);
    LACI_TAKE(&arena, s->positions, n);
    LACI_TAKE(&arena, s->rows, l->chunk_rows);
    LACI_TAKE(&arena, s->wanted, l->chunk_rows);
    LACI_TAKE(&arena, s->parts, l->n_sequences);
    LACI_TAKE(&arena, s->lse_at, l->block * n_heads);
    LACI_TAKE(&arena, s->pieces, l->block ? LACI_KEY_PIECES : 0);
    return arena.used;
}

/* ------------------------------------------------------------------ the policy */

static lac_status choose_policy(laci_chosen *chosen, const laci_session_room *room, lac_error *err)
{
    const laci_config *c = room->config;
    const laci_policy_model model = { .family = c->family,
                                      .kind = c->mask == LAC_MASK_BLOCK_CAUSAL ? LACI_BLOCKWISE
                                                                               : LACI_FULL,
                                      .is_dream = c->sampler == LACI_SAMPLER_DREAM,
                                      .n_heads = (size_t)c->n_heads,
                                      .d_head = (size_t)c->d_head,
                                      .n_ctx = room->n_ctx,
                                      .block = (size_t)c->block_size };
    return laci_policy_choose(&chosen->policy, &chosen->settings, room->opt->sparse, &model,
                              chosen->reason, err);
}

static laci_shape shape_of(const laci_session_room *room, const laci_session_layout *l,
                           const laci_chosen *chosen)
{
    const laci_config *c = room->config;
    return (laci_shape){ .n_layers = (size_t)c->n_layers,
                         .n_heads = (size_t)c->n_heads,
                         .n_kv_heads = (size_t)c->n_kv_heads,
                         .d_head = (size_t)c->d_head,
                         .d_model = (size_t)c->d_model,
                         .n_ctx = room->n_ctx,
                         .n_passes = 1,
                         .block = smaller(l->block, l->seq_rows),
                         .act = room->act,
                         .sparse = &chosen->settings.sparse,
                         .prefix = &chosen->settings.prefix };
}

/* Buffers for what the policy wants measured. */
static void add_measures(laci_session_layout *l, const laci_shape *shape, size_t act_size,
                         size_t most_pieces)
{
    const laci_measure_sizes *m = &l->policy.measures;
    const size_t width = shape->n_heads * shape->d_head;
    const size_t n_rows = shape->n_heads * shape->block;
    l->bytes[LACI_BUF_MASS] = m->mass_floats * sizeof(float);
    l->bytes[LACI_BUF_LATE] = m->late_floats * sizeof(float);
    l->bytes[LACI_BUF_LSE] = m->lse_floats * sizeof(float);
    l->bytes[LACI_BUF_COLUMNS] = m->column_floats * sizeof(float);
    l->bytes[LACI_BUF_PAGES] = m->page_floats * sizeof(float);
    l->bytes[LACI_BUF_PROBE_Q] = l->bytes[LACI_BUF_PROBE_O] =
        round_up(m->probe_rows, LACI_ROW_PAD) * width * act_size;
    if (!l->policy.n_kept) return;
    l->bytes[LACI_BUF_ROW_Q] = shape->block * larger(width, l->policy.ref_width) * act_size;
    l->bytes[LACI_BUF_PIECE_COLUMNS] = l->bytes[LACI_BUF_COLUMNS];
    if (!m->row_page) return;
    const size_t n_pages = (shape->n_ctx + m->row_page - 1) / m->row_page;
    l->bytes[LACI_BUF_ROW_MASS] = n_rows * n_pages * sizeof(float);
    l->bytes[LACI_BUF_ROW_BASE] =
        n_rows * (shape->n_ctx / LACI_MASS_PART + most_pieces) * sizeof(float);
}

/* Memory of the policy: what it remembers, its plans, what it measures. */
static lac_status add_policy(laci_session_layout *l, const laci_session_room *room,
                             const laci_chosen *chosen, lac_error *err)
{
    const laci_shape *shape = &chosen->shape;
    const laci_keys keys = laci_session_keys(room->config, l);
    const size_t act_size = laci_act_bytes(room->act);
    laci_policy_sizes *p = &l->policy;
    lac_status st = chosen->policy->sizes(shape, p, err);
    if (st) return st;
    add_measures(l, shape, act_size, laci_keys_most_pieces(&keys));
    l->kept_out = p->n_kept ? shape->block * shape->n_heads * shape->d_head * sizeof(float) : 0;
    l->kept_lse = p->n_kept ? shape->block * shape->n_heads * sizeof(float) : 0;
    l->kept_ref = shape->block * p->ref_width * act_size;
    l->counts = p->counts ? 2 * shape->n_layers * sizeof(uint32_t) : 0;
    l->shown_bytes = chosen->settings.sparse.measure ? p->measures.mass_floats * sizeof(float) : 0;
    const size_t plan = (p->plan_rows + 1 + p->plan_cols) * sizeof(uint32_t);
    const size_t bounds =
        p->page ? laci_keys_bounds_bytes(&keys, room->act, p->page, p->int8_bounds) : 0;
    const size_t each =
        p->state_bytes + l->counts + bounds + p->n_kept * (l->kept_out + l->kept_lse + l->kept_ref);
    l->policy_bytes = (p->n_kept ? 2 : 1) * plan + l->shown_bytes + l->n_sequences * each;
    return LAC_OK;
}

/* ------------------------------------------------------------------ rows and buffers */

laci_keys laci_session_keys(const laci_config *config, const laci_session_layout *l)
{
    laci_keys keys = { .n_kept = l->n_kept,
                       .n_kv_heads = (size_t)config->n_kv_heads,
                       .d_head = (size_t)config->d_head,
                       .n_ctx = l->n_ctx };
    laci_keys_cut(&keys, l->block);
    return keys;
}

/* How many rows a pass has: those of a canvas; or of one sequence as many whole blocks as go behind
 * a key cache at once, and a block of every other. */
static void count_rows(laci_session_layout *l, const laci_config *c)
{
    const size_t n = l->n_ctx;
    l->block = c->mask == LAC_MASK_BLOCK_CAUSAL ? (size_t)c->block_size : 0;
    l->n_kept = l->block ? (size_t)c->n_layers : 1;
    l->seq_rows = n;
    if (l->block) l->seq_rows = smaller(larger(CACHE_ROWS / l->block, 1) * l->block, n);
    l->n_pass = l->seq_rows + (l->n_sequences - 1) * smaller(l->block, n);
    l->n_pad = round_up(l->n_pass, LACI_ROW_PAD);
    l->chunk_rows = smaller(l->n_pad, larger(CHUNK_ROWS, round_up(l->block, LACI_ROW_PAD)));
}

lac_status laci_session_lay_out(const laci_session_room *room, laci_chosen *chosen,
                                laci_session_layout *out, lac_error *err)
{
    const laci_config *config = room->config;
    const size_t d = (size_t)config->d_model, d_ff = (size_t)config->d_ff;
    const size_t n_vocab = (size_t)config->n_vocab, n_heads = (size_t)config->n_heads;
    const size_t q = n_heads * (size_t)config->d_head;
    const size_t kv = (size_t)config->n_kv_heads * (size_t)config->d_head;
    const size_t a = laci_act_bytes(room->act), widest = larger(larger(q, d), d_ff);
    laci_session_layout l = { .n_ctx = room->n_ctx, .n_sequences = room->n_sequences };
    count_rows(&l, config);
    l.logit_rows = LOGITS_BYTES / (n_vocab * sizeof(float)) / LACI_ROW_PAD * LACI_ROW_PAD;
    l.logit_rows = smaller(larger(l.logit_rows, LACI_ROW_PAD), l.chunk_rows);
    l.bytes[LACI_BUF_H] = l.n_pass * d * sizeof(float);
    l.bytes[LACI_BUF_Q] = l.bytes[LACI_BUF_O] = l.n_pad * q * a;
    l.bytes[LACI_BUF_X] = l.chunk_rows * widest * a;
    l.bytes[LACI_BUF_Y] = l.chunk_rows * larger(widest, kv) * sizeof(float);
    l.bytes[LACI_BUF_Z] = l.chunk_rows * d_ff * sizeof(float);
    l.bytes[LACI_BUF_TAIL] = l.chunk_rows * d * sizeof(float);
    l.bytes[LACI_BUF_COS] = l.bytes[LACI_BUF_SIN] =
        l.n_ctx * (size_t)config->rope_dim / 2 * sizeof(float);
    l.bytes[LACI_BUF_LOGITS] = l.logit_rows * n_vocab * sizeof(float);
    if (l.block) {
        l.bytes[LACI_BUF_PART] = l.bytes[LACI_BUF_MORE] = l.seq_rows * q * sizeof(float);
        l.bytes[LACI_BUF_PART_LSE] = l.bytes[LACI_BUF_MORE_LSE] =
            l.seq_rows * n_heads * sizeof(float);
    }
    const laci_keys keys = laci_session_keys(config, &l);
    l.kv_bytes = (l.block ? l.n_sequences : 1) * laci_keys_need(&keys, room->act, l.n_ctx);
    l.host_bytes = laci_sequence_carve(&(laci_sequence){ 0 }, NULL, l.n_ctx);
    l.array_bytes = laci_pass_arrays_carve(&(laci_pass_arrays){ 0 }, NULL, &l, n_heads);
    chosen->shape = shape_of(room, &l, chosen);
    lac_status st = add_policy(&l, room, chosen, err);
    if (!st) *out = l;
    return st;
}

lac_status laci_session_plan(const laci_session_room *room, laci_chosen *chosen,
                             laci_session_layout *out, lac_error *err)
{
    lac_status st = choose_policy(chosen, room, err);
    return st ? st : laci_session_lay_out(room, chosen, out, err);
}

laci_scratch_size laci_session_scratch(const lac_model *model, const laci_session_layout *l)
{
    const laci_config *c = &model->config;
    const laci_measure_sizes *m = &l->policy.measures;
    const size_t stats_keys = m->row_page      ? smaller(l->n_ctx, LACI_MASS_PART)
                              : m->mass_floats ? l->n_ctx
                                               : 0;
    return laci_backend_scratch_need(model->be, &(laci_scratch_dims){ .d_model = (size_t)c->d_model,
                                                                      .d_head = (size_t)c->d_head,
                                                                      .n_vocab = (size_t)c->n_vocab,
                                                                      .n_rows = l->chunk_rows,
                                                                      .n_ctx = stats_keys,
                                                                      .stats_block = m->stats_block,
                                                                      .n_pages = m->n_pages,
                                                                      .n_ranked = m->n_ranked });
}
