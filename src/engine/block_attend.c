/* block_attend.c: see block_attend.h. Pieces of the cache are attended one by one and merged. With
 * a policy, the prefix and the block are two partial results (algorithm: LoSA, arXiv 2604.12056):
 * that of the prefix may be kept from an earlier step for rows that did not change. */
#include "engine/block_attend.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/error.h"

/* ------------------------------------------------------------------ pieces */

static size_t n_heads_of(const laci_block_run_state *c)
{
    return (size_t)c->run.config->n_heads;
}

static size_t width_of(const laci_block_run_state *c)
{
    return n_heads_of(c) * (size_t)c->run.config->d_head;
}

/* Every query reads all keys. */
static laci_plan whole_plan(size_t n_q, size_t n_k)
{
    static const uint32_t row_ptr[2] = { 0, 1 }, cols[1] = { 0 };
    return (laci_plan){
        .q_block = n_q, .k_block = n_k, .n_heads = 1, .n_rows = 1, .row_ptr = row_ptr, .cols = cols
    };
}

/* Pieces of the cache that hold some of keys [0, n_k). */
static size_t count_pieces(const laci_kv_cache *cache, size_t n_k)
{
    size_t n = 0;
    while (n < cache->n_pieces && cache->pieces[n].first < n_k)
        n++;
    return n;
}

/* Keys [0, n_k) that are in the piece. */
static size_t keys_in(const laci_cache_piece *piece, size_t n_k)
{
    return n_k - piece->first < piece->n ? n_k - piece->first : piece->n;
}

static void merge(const laci_block_run_state *c, laci_buf *out, laci_buf *lse,
                  const laci_buf *other, const laci_buf *other_lse, size_t n)
{
    laci_backend_merge(c->run.s->be, out, lse, other, other_lse, 1, n, n_heads_of(c),
                       (size_t)c->run.config->d_head);
}

/* n f32 rows of `x` as activations in O. */
static void to_activations(const laci_block_run_state *c, const laci_buf *x, size_t n)
{
    const laci_head_op plain = { .n_heads = n_heads_of(c),
                                 .d_head = (size_t)c->run.config->d_head };
    laci_backend_heads(c->run.s->be, &plain, x, n, NULL, 0, c->m->o, 0);
}

/* The part of the plan that lies in a piece. */
static lac_status cut_plan(laci_plan_store *out, const laci_plan *plan,
                           const laci_cache_piece *piece, lac_error *err)
{
    const size_t begin = piece->first / plan->k_block;
    const size_t end = (piece->first + piece->n + plan->k_block - 1) / plan->k_block;
    lac_status st = LAC_OK;
    laci_plan_begin(out, plan->q_block, plan->k_block, plan->n_heads, 1);
    for (size_t h = 0; h < plan->n_heads; h++) {
        for (uint32_t i = plan->row_ptr[h]; i < plan->row_ptr[h + 1] && !st; i++)
            if (plan->cols[i] >= begin && plan->cols[i] < end)
                st = laci_plan_add(out, plan->cols[i] - begin, plan->cols[i] - begin + 1, err);
        laci_plan_end_row(out);
    }
    return st;
}

/* n queries over keys [0, n_k), those of `plan` (NULL = all), as f32 with log-sum-exp into `out`;
 * `spare` is for the pieces after the first. */
typedef struct {
    const laci_buf *q;
    size_t n, n_k;
    const laci_plan *plan;
    laci_buf *out, *lse, *spare, *spare_lse;
    bool measures; /* masses of pages are gathered; all keys */
} partial;

/* Views of the masses of piece i, of n rows, and of their bases. */
static void view_masses(const laci_block_run_state *c, size_t i, size_t n)
{
    const laci_block_memory *m = c->m;
    laci_backend *be = c->run.s->be;
    const laci_cache_piece *piece = &c->seq->cache.pieces[i];
    const size_t n_rows = n_heads_of(c) * n;
    assert(piece->first % m->how.page == 0);
    laci_view_set(be, m->piece_masses, m->masses,
                  n_rows * (piece->first / m->how.page) * sizeof(float));
    laci_view_set(be, m->piece_bases, m->bases,
                  n_rows * (piece->first / LACI_MASS_PART + i) * sizeof(float));
}

static lac_status attend_part(const laci_block_run_state *c, const partial *p, lac_error *err)
{
    const laci_kv_cache *cache = &c->seq->cache;
    const laci_mass_stats stats = { .q_block = 1,
                                    .k_block = c->m->how.page,
                                    .mass = c->m->piece_masses,
                                    .base = c->m->piece_bases };
    const size_t n_pieces = count_pieces(cache, p->n_k);
    lac_status st = LAC_OK;
    for (size_t i = 0; i < n_pieces && !st; i++) {
        const laci_cache_piece *piece = &cache->pieces[i];
        const size_t n_in = keys_in(piece, p->n_k);
        laci_plan plan = whole_plan(p->n, n_in);
        if (p->plan && n_pieces > 1) st = cut_plan(&c->m->piece_plan, p->plan, piece, err);
        if (p->plan) plan = n_pieces > 1 ? c->m->piece_plan.plan : *p->plan;
        laci_attention a = { .q = p->q,
                             .kv = &piece->kv[c->layer],
                             .out = i ? p->spare : p->out,
                             .out_f32 = true,
                             .lse = i ? p->spare_lse : p->lse,
                             .n_q = p->n,
                             .n_k = n_in,
                             .n_heads = n_heads_of(c) };
        if (st) return st;
        if (p->measures) {
            view_masses(c, i, p->n);
            a.stats = &stats;
        }
        laci_layer_attend(&c->run, &plan, &a);
        if (i) merge(c, p->out, p->lse, p->spare, p->spare_lse, p->n);
    }
    return st;
}

/* ------------------------------------------------------------------ everything */

/* Bytes of n keys and values of every KV head. */
static uint64_t kv_bytes(const laci_block_run_state *c, size_t n)
{
    const size_t act = laci_backend_act(c->run.s->be) == LACI_BF16 ? 2 : 4;
    return (uint64_t)n * (size_t)c->run.config->n_kv_heads * (size_t)c->run.config->d_head * 2 *
           act;
}

/* Adds a layer in which n_rows rows read all n_k keys. */
static void account_whole(const laci_block_run_state *c, size_t n_rows, size_t n_k)
{
    laci_block_stats *s = &c->seq->stats;
    s->density += 1;
    s->active += (double)n_rows;
    s->n_layers++;
    s->bytes += kv_bytes(c, n_k);
}

/* Keys that queries at positions [n] read; false when all read the same. */
static bool set_limits(const laci_block_run_state *c, const int32_t *positions, size_t n)
{
    const size_t block = (size_t)c->run.config->block_size, end = c->first + c->n_pass;
    for (size_t i = 0; i < n; i++) {
        const size_t block_end = ((size_t)positions[i] / block + 1) * block;
        c->m->limits[i] = (uint32_t)(block_end < end ? block_end : end);
    }
    return c->n_pass > block;
}

void laci_block_attend_whole(const laci_block_run_state *c, const int32_t *positions, size_t n)
{
    laci_block_memory *m = c->m;
    const size_t n_k = c->first + c->n_pass, n_pieces = count_pieces(&c->seq->cache, n_k);
    const bool is_limited = set_limits(c, positions, n), is_split = n_pieces > 1;
    for (size_t i = 0; i < n_pieces; i++) {
        const laci_cache_piece *piece = &c->seq->cache.pieces[i];
        const size_t n_in = keys_in(piece, n_k), slot = i > 0;
        const laci_plan plan = whole_plan(n, n_in);
        for (size_t r = 0; r < n && is_limited; r++)
            m->in_piece[r] =
                m->limits[r] > piece->first ? m->limits[r] - (uint32_t)piece->first : 0;
        const laci_attention a = {
            .q = c->m->q,
            .kv = &piece->kv[c->layer],
            .out = is_split ? m->part[slot] : c->m->o,
            .out_f32 = is_split,
            .lse = is_split ? m->part_lse[slot] : NULL,
            .n_q = n,
            .n_k = n_in,
            .n_heads = n_heads_of(c),
            .limits = is_limited ? m->in_piece : NULL,
        };
        laci_layer_attend(&c->run, &plan, &a);
        if (slot) merge(c, m->part[0], m->part_lse[0], m->part[1], m->part_lse[1], n);
    }
    if (is_split) to_activations(c, m->part[0], n);
    account_whole(c, n, n_k);
}

/* ------------------------------------------------------------------ measuring a dense step */

/* Mass of every prefix key, per query head and group of rows, under the layer's kept log-sum-exp:
 * f32 [n_heads * n_groups, n_keys] in m->columns. */
static void measure_columns(const laci_block_run_state *c, const laci_block_layer *kept,
                            size_t n_groups)
{
    laci_block_memory *m = c->m;
    laci_backend *be = c->run.s->be;
    const size_t n_keys = c->first, n_pieces = count_pieces(&c->seq->cache, n_keys);
    for (size_t i = 0; i < n_pieces; i++) {
        const laci_cache_piece *piece = &c->seq->cache.pieces[i];
        const size_t n_in = keys_in(piece, n_keys);
        laci_buf *const out = n_pieces > 1 ? m->piece_columns : m->columns;
        const laci_attention a = { .q = c->m->q,
                                   .kv = &piece->kv[c->layer],
                                   .lse = kept->lse,
                                   .n_q = c->n_pass,
                                   .n_k = n_in,
                                   .n_heads = n_heads_of(c) };
        laci_backend_column_mass(be, &a, 128, 0, n_groups, out);
        for (size_t row = 0; n_pieces > 1 && row < n_heads_of(c) * n_groups; row++)
            laci_backend_copy(be, m->columns, (row * n_keys + piece->first) * sizeof(float), out,
                              row * n_in * sizeof(float), n_in * sizeof(float));
    }
}

/* Mass of every page of the prefix, per query head: f32 [n_heads, n_pages] in m->pooled, from what
 * attend_part gathered and the layer's kept log-sum-exp over all pieces. */
static void pool_pieces(const laci_block_run_state *c, const laci_block_layer *kept, size_t n_pages)
{
    const laci_block_memory *m = c->m;
    const size_t page = m->how.page, n_pieces = count_pieces(&c->seq->cache, c->first);
    for (size_t i = 0; i < n_pieces; i++) {
        const laci_cache_piece *piece = &c->seq->cache.pieces[i];
        const laci_row_masses rows = { .mass = m->piece_masses,
                                       .base = m->piece_bases,
                                       .lse = kept->lse,
                                       .n_heads = n_heads_of(c),
                                       .n_kv_heads = (size_t)c->run.config->n_kv_heads,
                                       .n_q = c->n_pass,
                                       .n_blocks = (keys_in(piece, c->first) + page - 1) / page,
                                       .k_block = page };
        view_masses(c, i, c->n_pass);
        laci_backend_pool_masses(c->run.s->be, &rows, m->pooled, n_pages, piece->first / page);
    }
}

/* Lists for the rest of the block, from the mass of this step. */
static void select_by_mass(const laci_block_run_state *c, laci_block_layer *own,
                           const laci_block_layer *kept)
{
    laci_block_memory *m = c->m;
    laci_backend *be = c->run.s->be;
    const size_t n_groups = m->masses ? 1 : (c->n_pass + 127) / 128, n_keys = c->first;
    const size_t n_rows = n_heads_of(c) * n_groups;
    laci_ranking ranking = { .scores = m->columns,
                             .n_lists = m->n_lists,
                             .stride = n_keys,
                             .n_pooled = n_rows / m->n_lists,
                             .n = n_keys,
                             .budget = { .n = laci_prefix_budget(&m->how, n_keys, 1) } };
    if (!m->masses) measure_columns(c, kept, n_groups);
    if (m->how.selector == LACI_SELECT_BLOCKS) {
        const size_t page = m->how.page, n_pages = (n_keys + page - 1) / page;
        if (m->masses)
            pool_pieces(c, kept, n_pages);
        else
            laci_backend_pool_columns(be, m->columns, n_rows, n_keys, n_keys, page, m->pooled,
                                      n_pages);
        ranking.scores = m->pooled;
        ranking.stride = ranking.n = n_pages;
        ranking.budget.n = laci_prefix_budget(&m->how, n_keys, page);
    }
    laci_backend_top_k(be, &ranking, &own->lists);
}

/* ------------------------------------------------------------------ the prefix */

static laci_block_layer *kept_of(const laci_block_run_state *c)
{
    return &c->seq->layer[laci_prefix_keeps(&c->m->how) ? c->layer : 0];
}

/* What tells how far rows moved: their queries, or the layer's normalised input; and its width. */
static const laci_buf *moving_of(const laci_block_run_state *c, size_t *width)
{
    const bool by_hidden = c->m->how.by_hidden;
    *width = by_hidden ? c->run.d : width_of(c);
    return by_hidden ? c->m->x : c->m->q;
}

/* All rows have read the prefix just now. */
static void keep_moving(const laci_block_run_state *c, const laci_block_layer *kept)
{
    const size_t act = laci_backend_act(c->run.s->be) == LACI_BF16 ? 2 : 4;
    size_t width;
    const laci_buf *moving = moving_of(c, &width);
    if (kept->q) laci_backend_copy(c->run.s->be, kept->q, 0, moving, 0, c->n_pass * width * act);
}

/* All rows read the whole prefix; queries and results are kept. */
static lac_status read_all(const laci_block_run_state *c, lac_error *err)
{
    laci_block_memory *m = c->m;
    laci_block_layer *own = &c->seq->layer[c->layer], *kept = kept_of(c);
    const partial p = { .q = c->m->q,
                        .n = c->n_pass,
                        .n_k = c->first,
                        .out = kept->o,
                        .lse = kept->lse,
                        .spare = m->part[0],
                        .spare_lse = m->part_lse[0],
                        .measures = m->masses != NULL };
    lac_status st = attend_part(c, &p, err);
    if (st) return st;
    keep_moving(c, kept);
    if (laci_prefix_measures(&m->how)) select_by_mass(c, own, kept);
    own->step_read = c->seq->step;
    own->tokens_read = c->seq->n_tokens;
    account_whole(c, c->n_pass, c->first + c->n_pass);
    return LAC_OK;
}

/* Keys a list of ids holds, of a prefix of n_keys. */
static size_t keys_of_list(const uint32_t *ids, size_t n, size_t k_block, size_t n_keys)
{
    if (!n) return 0;
    const size_t last = (size_t)ids[n - 1] * k_block;
    const size_t in_last = n_keys - last < k_block ? n_keys - last : k_block;
    return (n - 1) * k_block + in_last;
}

/* Keys that the lists of the query heads of one KV head hold together. */
static size_t keys_of_group(laci_block_memory *m, const laci_id_lists *lists, size_t first,
                            size_t n_lists, size_t k_block, size_t n_keys)
{
    if (n_lists == 1)
        return keys_of_list(lists->ids + first * lists->stride, lists->counts[first], k_block,
                            n_keys);
    const size_t n_ids = (n_keys + k_block - 1) / k_block;
    size_t n = 0;
    memset(m->marks, 0, n_ids);
    for (size_t l = first; l < first + n_lists; l++)
        for (size_t i = 0; i < lists->counts[l]; i++)
            m->marks[lists->ids[l * lists->stride + i]] = true;
    for (size_t i = 0; i < n_ids; i++)
        if (m->marks[i]) n += n_keys - i * k_block < k_block ? n_keys - i * k_block : k_block;
    return n;
}

/* Bytes of the bounds of n pages of every KV head. */
static uint64_t bounds_bytes(const laci_block_run_state *c, size_t n)
{
    const size_t d = (size_t)c->run.config->d_head;
    if (!c->m->how.int8_bounds) return kv_bytes(c, n);
    return (uint64_t)n * (size_t)c->run.config->n_kv_heads * (2 * d + sizeof(float));
}

/* Adds a layer in which n_active rows visited so many (query, key) pairs, and n_read keys were read
 * for them, those of every KV head counted; `by_bounds`: chosen in this step by bounds of pages. */
static void account_read(const laci_block_run_state *c, size_t n_active, double pairs,
                         size_t n_read, size_t k_block, bool by_bounds)
{
    laci_block_memory *m = c->m;
    laci_block_stats *s = &c->seq->stats;
    const size_t n_keys = c->first, n_kv_heads = (size_t)c->run.config->n_kv_heads;
    const double all = (double)c->n_pass * (double)(n_keys + c->n_pass);
    s->density += (pairs + (double)(c->n_pass * c->n_pass)) / all;
    s->active += (double)n_active;
    s->n_layers++;
    s->bytes += kv_bytes(c, c->n_pass) + kv_bytes(c, n_read) / n_kv_heads;
    if (!n_active) return;
    if (by_bounds) s->bytes += bounds_bytes(c, (n_keys + m->how.page - 1) / m->how.page);
    const double budget = (double)laci_prefix_budget(&m->how, n_keys, k_block) * (double)k_block;
    s->inflation += (double)n_read / budget;
    s->n_lists += n_kv_heads;
}

/* The same where the rows read what the layer's lists hold. */
static void account_lists(const laci_block_run_state *c, const laci_block_layer *own,
                          size_t n_active, size_t k_block)
{
    laci_block_memory *m = c->m;
    const laci_id_lists *lists = &own->lists;
    const size_t n_keys = c->first, n_kv_heads = (size_t)c->run.config->n_kv_heads;
    const size_t per_group = m->n_lists ? m->n_lists / n_kv_heads : 0;
    double pairs = 0;
    size_t n_read = 0;
    for (size_t l = 0; l < m->n_lists && n_active; l++)
        pairs +=
            (double)keys_of_list(lists->ids + l * lists->stride, lists->counts[l], k_block, n_keys);
    for (size_t g = 0; g < n_kv_heads && n_active; g++)
        n_read += keys_of_group(m, lists, g * per_group, per_group, k_block, n_keys);
    if (n_active) pairs *= (double)n_active / (double)m->n_lists;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): of a layer that exists */
    const bool is_new = own->step_chosen == c->seq->step;
    account_read(c, n_active, pairs, n_read, k_block,
                 m->how.selector == LACI_SELECT_PAGES && is_new);
}

/* The lists as a plan of n rows: every query head has a row of its own. */
static lac_status write_plan(const laci_block_run_state *c, const laci_id_lists *lists, size_t n,
                             size_t k_block, lac_error *err)
{
    laci_plan_store *out = &c->m->plan;
    const size_t per_list = n_heads_of(c) / c->m->n_lists;
    lac_status st = LAC_OK;
    laci_plan_begin(out, n, k_block, n_heads_of(c), 1);
    for (size_t h = 0; h < n_heads_of(c); h++) {
        const size_t l = h / per_list;
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): lists of a layer that exists */
        const uint32_t *ids = lists->ids + l * lists->stride;
        for (uint32_t i = 0, end; i < lists->counts[l] && !st; i = end) {
            end = i + 1;
            while (end < lists->counts[l] && ids[end] == ids[end - 1] + 1)
                end++;
            st = laci_plan_add(out, ids[i], (size_t)ids[end - 1] + 1, err);
        }
        laci_plan_end_row(out);
    }
    return st;
}

static void show_plan(const laci_block_run_state *c, size_t n_active)
{
    const laci_plan *plan = &c->m->plan.plan;
    if (!c->on_plan) return;
    const lac_plan_view view = { .step = c->gen_step,
                                 .layer = (int)c->layer,
                                 .n_q = (int)n_active,
                                 .n_k = (int)c->first,
                                 .q_block = (int)plan->q_block,
                                 .k_block = (int)plan->k_block,
                                 .n_heads = (int)plan->n_heads,
                                 .n_rows = (int)plan->n_rows,
                                 .row_ptr = plan->row_ptr,
                                 .cols = plan->cols,
                                 .density = laci_plan_density(plan, n_active, c->first),
                                 .active = c->m->active,
                                 .first = (int)c->first };
    c->on_plan(c->user, &view);
}

/* The active rows' results go where the block's rows are kept. */
static void put_active(const laci_block_run_state *c, const laci_block_layer *kept, size_t n_active)
{
    laci_block_memory *m = c->m;
    laci_backend *be = c->run.s->be;
    for (size_t h = 0; h < n_heads_of(c); h++)
        for (size_t i = 0; i < n_active; i++)
            m->lse_at[h * n_active + i] = (int32_t)(h * c->n_pass) + m->active[i];
    laci_backend_scatter_rows(be, LACI_F32, m->part[1], m->active, n_active, width_of(c), kept->o);
    laci_backend_scatter_rows(be, LACI_F32, m->part_lse[1], m->lse_at, n_active * n_heads_of(c), 1,
                              kept->lse);
    if (!kept->q) return;
    size_t width;
    const laci_buf *moving = moving_of(c, &width);
    const laci_dtype act = laci_backend_act(be);
    if (m->how.by_hidden)
        laci_backend_gather_rows(be, act, moving, m->active, n_active, width, m->active_q);
    laci_backend_scatter_rows(be, act, m->active_q, m->active, n_active, width, kept->q);
}

/* Pages for the active rows, whose queries are `q`, unless those of an earlier step still serve.
 * What shall serve later steps is chosen for all rows of the block: others will be active then. */
static void choose_pages(const laci_block_run_state *c, laci_block_layer *own, const laci_buf *q,
                         size_t n_active)
{
    const laci_block_memory *m = c->m;
    const int every = (int)m->how.select_every, step = c->seq->step;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a layer that exists */
    if (own->step_chosen >= 0 && step - own->step_chosen < every) return;
    const uint32_t n_keys = (uint32_t)c->first;
    const size_t n_pages = laci_prefix_budget(&m->how, c->first, m->how.page);
    const laci_page_query query = { .q = every > 1 ? m->q : q,
                                    .pages = &c->seq->pages[c->layer],
                                    .n_batch = 1,
                                    .n_q = every > 1 ? c->n_pass : n_active,
                                    .n_heads = n_heads_of(c),
                                    .n_keys = &n_keys,
                                    .budget = { n_pages, n_pages > 1, n_pages > 2 },
                                    .pool = m->how.pooled ? LACI_POOL_SOFTMAX : LACI_POOL_UNION,
                                    .scale = 1 / sqrtf((float)c->run.config->d_head),
                                    .per_head = m->how.per_head };
    laci_backend_select_pages(c->run.s->be, &query, &own->lists);
    own->step_chosen = step;
}

/* The rows in m->active read what is selected for them. */
static lac_status read_some(const laci_block_run_state *c, size_t n_active, lac_error *err)
{
    laci_block_memory *m = c->m;
    laci_backend *be = c->run.s->be;
    laci_block_layer *own = &c->seq->layer[c->layer], *kept = kept_of(c);
    const bool is_all = n_active == c->n_pass;
    const size_t k_block = m->how.selector == LACI_SELECT_COLUMNS ? 1 : m->how.page;
    if (!n_active) {
        account_lists(c, own, 0, k_block);
        return LAC_OK;
    }
    if (!is_all)
        laci_backend_gather_rows(be, laci_backend_act(be), c->m->q, m->active, n_active,
                                 width_of(c), m->active_q);
    const laci_buf *q = is_all ? c->m->q : m->active_q;
    if (m->how.selector == LACI_SELECT_PAGES) choose_pages(c, own, q, n_active);
    lac_status st = write_plan(c, &own->lists, n_active, k_block, err);
    if (st) return st;
    const partial p = { .q = q,
                        .n = n_active,
                        .n_k = c->first,
                        .plan = &m->plan.plan,
                        .out = is_all ? kept->o : m->part[1],
                        .lse = is_all ? kept->lse : m->part_lse[1],
                        .spare = m->part[0],
                        .spare_lse = m->part_lse[0] };
    st = attend_part(c, &p, err);
    if (st) return st;
    if (is_all)
        keep_moving(c, kept);
    else
        put_active(c, kept, n_active);
    account_lists(c, own, n_active, k_block);
    show_plan(c, n_active);
    return LAC_OK;
}

/* Rows to recompute, into m->active; SIZE_MAX when all shall read everything. */
static size_t pick_rows(const laci_block_run_state *c)
{
    laci_block_memory *m = c->m;
    const laci_block_layer *kept = kept_of(c);
    const bool is_first = !c->seq->step; /* nothing is kept yet */
    const bool compares = m->how.rows == LACI_ROWS_CHANGED && !is_first;
    size_t width;
    const laci_buf *moving = moving_of(c, &width);
    if (compares)
        laci_backend_row_changes(c->run.s->be, moving, kept->q, c->n_pass, width, m->change,
                                 m->size);
    for (size_t i = 0; i < c->n_pass; i++)
        m->drift[i] = (laci_row_drift){ .is_new = is_first || c->seq->is_new[i] };
    for (size_t i = 0; compares && i < c->n_pass; i++) {
        m->drift[i].change = m->change[i];
        m->drift[i].size = m->size[i];
    }
    const size_t n = laci_prefix_pick(&m->how, m->drift, c->n_pass, m->active);
    return laci_prefix_has_drifted(&m->how, m->drift, c->n_pass, m->active, n) ? SIZE_MAX : n;
}

/* ------------------------------------------------------------------ without the host */

/* Whether nothing but the results of a read is wanted of it. */
static bool is_unseen(const laci_block_run_state *c)
{
    const laci_prefix *how = &c->m->how;
    return how->rows != LACI_ROWS_NONE && how->selector != LACI_SELECT_COLUMNS && !how->per_head &&
           how->select_every <= 1 && !(how->refresh_drift > 0) && !c->on_plan;
}

/* Picks rows and pages and reads them on a device that does so by itself; false where it does not.
 * What was read is known when laci_block_settle has asked. */
static bool read_by_device(const laci_block_run_state *c)
{
    laci_block_memory *m = c->m;
    const laci_block_layer *kept = kept_of(c);
    const size_t n_pieces = count_pieces(&c->seq->cache, c->first);
    const size_t n_pages = laci_prefix_budget(&m->how, c->first, m->how.page);
    const bool by_mass = m->how.selector == LACI_SELECT_BLOCKS;
    size_t width;
    const laci_buf *moving = moving_of(c, &width);
    for (size_t i = 0; i < n_pieces; i++)
        m->pieces[i] = &c->seq->cache.pieces[i].kv[c->layer];
    const laci_paged_read read = {
        .q = m->q,
        .n_q = c->n_pass,
        .n_heads = n_heads_of(c),
        .x = moving,
        .ref = kept->q,
        .width = width,
        .all = m->how.rows == LACI_ROWS_ALL || !c->seq->step,
        .is_new = c->seq->is_new,
        .n_wanted = laci_prefix_wanted(&m->how, c->n_pass),
        .min_change = m->how.min_change,
        .lists = by_mass ? &c->seq->layer[c->layer].lists : NULL,
        .pages = by_mass ? NULL : &c->seq->pages[c->layer],
        .page = m->how.page,
        .budget = { n_pages, n_pages > 1, n_pages > 2 },
        .pool = m->how.pooled ? LACI_POOL_SOFTMAX : LACI_POOL_UNION,
        .scale = 1 / sqrtf((float)c->run.config->d_head),
        .pieces = m->pieces,
        .n_pieces = n_pieces,
        .n_keys = c->first,
        .out = kept->o,
        .lse = kept->lse,
        .spare = m->part[0],
        .spare_lse = m->part_lse[0],
        .counts = c->seq->counts,
        .count_at = c->seq->n_unsettled,
    };
    const double start = laci_layer_now(&c->run);
    if (!laci_backend_paged_read(c->run.s->be, &read)) return false;
    if (c->run.clock) c->run.clock->attention += laci_layer_now(&c->run) - start;
    c->seq->n_unsettled++;
    return true;
}

void laci_block_settle(const laci_block_run_state *c)
{
    laci_block_state *seq = c->seq;
    const size_t n = seq->n_unsettled, n_kv_heads = (size_t)c->run.config->n_kv_heads;
    if (!n) return;
    laci_backend_read(c->run.s->be, seq->counts, 0, seq->read, 2 * n * sizeof *seq->read);
    for (size_t i = 0; i < n; i++) {
        const size_t n_active = seq->read[2 * i], n_read = seq->read[2 * i + 1];
        const double pairs = (double)n_read * (double)n_active / (double)n_kv_heads;
        account_read(c, n_active, pairs, n_read, c->m->how.page,
                     c->m->how.selector == LACI_SELECT_PAGES);
    }
    seq->n_unsettled = 0;
}

/* ------------------------------------------------------------------ prefix and block together */

/* The block's rows among themselves, merged with what they keep of the prefix. */
static lac_status add_block(const laci_block_run_state *c, lac_error *err)
{
    laci_block_memory *m = c->m;
    const laci_block_layer *kept = kept_of(c);
    const laci_kv_cache *cache = &c->seq->cache;
    const laci_cache_piece *piece = &cache->pieces[count_pieces(cache, c->first + 1) - 1];
    const size_t block = (size_t)c->run.config->block_size, n = c->n_pass;
    const uint32_t row_ptr[2] = { 0, 1 }, col = (uint32_t)((c->first - piece->first) / block);
    const laci_plan plan = {
        .q_block = n, .k_block = block, .n_heads = 1, .n_rows = 1, .row_ptr = row_ptr, .cols = &col
    };
    const laci_attention a = { .q = c->m->q,
                               .kv = &piece->kv[c->layer],
                               .out = m->part[0],
                               .out_f32 = true,
                               .lse = m->part_lse[0],
                               .n_q = n,
                               .n_k = c->first - piece->first + n,
                               .n_heads = n_heads_of(c) };
    (void)err;
    laci_layer_attend(&c->run, &plan, &a);
    merge(c, m->part[0], m->part_lse[0], kept->o, kept->lse, n);
    to_activations(c, m->part[0], n);
    return LAC_OK;
}

lac_status laci_block_attend_draft(const laci_block_run_state *c, lac_error *err)
{
    laci_block_memory *m = c->m;
    const laci_block_layer *own = m->how.is_dense ? NULL : &c->seq->layer[c->layer];
    const laci_prefix_moment at = { .layer = c->layer,
                                    .step = c->seq->step,
                                    .n_keys = c->first,
                                    .steps_since = own ? c->seq->step - own->step_read : 0,
                                    .tokens_since = own ? c->seq->n_tokens - own->tokens_read : 0 };
    const laci_prefix_mode mode = laci_prefix_decide(&m->how, &at);
    if (mode == LACI_PREFIX_WHOLE) {
        for (size_t i = 0; i < c->n_pass; i++)
            m->rows[i] = (int32_t)(c->first + i);
        laci_block_attend_whole(c, m->rows, c->n_pass);
        return LAC_OK;
    }
    if (mode == LACI_PREFIX_SPARSE && is_unseen(c) && read_by_device(c)) return add_block(c, err);
    const size_t n_active = mode == LACI_PREFIX_DENSE ? SIZE_MAX : pick_rows(c);
    lac_status st = n_active == SIZE_MAX ? read_all(c, err) : read_some(c, n_active, err);
    return st ? st : add_block(c, err);
}

void laci_block_update_pages(const laci_block_run_state *c)
{
    const laci_kv_cache *cache = &c->seq->cache;
    if (!c->seq->pages) return;
    const laci_cache_piece *piece = &cache->pieces[count_pieces(cache, c->first + 1) - 1];
    laci_backend_page_bounds(c->run.s->be, &piece->kv[c->layer], &c->seq->pages[c->layer], 0,
                             c->first, c->first + c->n_pass);
}
