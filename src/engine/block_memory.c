/* block_memory.c: see block_memory.h. Sizes are in one place, used to take and to predict. */
#include "engine/block_memory.h"

#include <string.h>

#include "base/error.h"

/* MOST_ROWS: rows of a block for each key of a page up to which masses are gathered by row. They
 * then take at most twice what the mass of every key takes. */
enum { PASS_ROWS = 512, GROUP = 128, MOST_ROWS = 4 };

/* Bytes of every part. */
typedef struct {
    size_t rows, block, n_layers, n_slots; /* n_slots: layers that keep results */
    size_t n_sequences, n_lists, list_size, n_list_sets;
    size_t part, part_lse, active_q, columns, pooled, host, plan_cols; /* shared */
    size_t masses, bases;
    size_t kept_o, kept_lse, kept_q, pages, counts, own; /* of each sequence; own: on the host */
} sizes;

size_t laci_block_pass_rows(const laci_config *config, size_t n_ctx)
{
    const size_t block = (size_t)config->block_size;
    const size_t rows = block < PASS_ROWS ? PASS_ROWS / block * block : block;
    return rows < n_ctx ? rows : n_ctx;
}

size_t laci_block_all_rows(const laci_config *config, size_t n_ctx, size_t n_sequences)
{
    const size_t block = (size_t)config->block_size;
    return laci_block_pass_rows(config, n_ctx) +
           (n_sequences - 1) * (block < n_ctx ? block : n_ctx);
}

static laci_kv_cache cache_of(const laci_config *config, size_t n_ctx)
{
    laci_kv_cache cache = { .n_layers = (size_t)config->n_layers,
                            .n_kv_heads = (size_t)config->n_kv_heads,
                            .d_head = (size_t)config->d_head,
                            .n_ctx = n_ctx };
    laci_kv_cache_cut(&cache, (size_t)config->block_size);
    return cache;
}

size_t laci_block_cache_need(const laci_config *config, laci_dtype act, size_t n_ctx)
{
    const laci_kv_cache cache = cache_of(config, n_ctx);
    return laci_kv_cache_need(&cache, act, n_ctx);
}

static bool uses_pages(const laci_prefix *how)
{
    return !how->is_dense && how->rows != LACI_ROWS_NONE && how->selector == LACI_SELECT_PAGES;
}

/* Whether the attention of a dense step gathers the masses of pages on its way. */
static bool gathers(const laci_config *c, const laci_prefix *how)
{
    return !how->is_dense && laci_prefix_measures(how) && how->selector == LACI_SELECT_BLOCKS &&
           (size_t)c->block_size <= MOST_ROWS * how->page;
}

size_t laci_block_stats_keys(const laci_config *config, size_t n_ctx, const laci_prefix *how)
{
    if (!gathers(config, how)) return 0;
    return n_ctx < LACI_MASS_PART ? n_ctx : LACI_MASS_PART;
}

/* The cache as one run of keys, for the size of page bounds. */
static laci_kv whole_kv(const laci_config *c, size_t n_ctx)
{
    return (laci_kv){ .n_batch = 1,
                      .n_kv_heads = (size_t)c->n_kv_heads,
                      .d_head = (size_t)c->d_head,
                      .n_ctx = n_ctx };
}

#define CARVE(field, n)                                                            \
    do {                                                                           \
        m->field = base ? (void *)(base + at) : NULL;                              \
        at += ((n) * sizeof *m->field + LACI_ALIGN - 1) / LACI_ALIGN * LACI_ALIGN; \
    } while (0)

/* Offsets of the host arrays in their one allocation; with `m` NULL only the size. */
static size_t carve_shared(laci_block_memory *m, char *base, const sizes *z, size_t n_heads)
{
    laci_block_memory scratch;
    size_t at = 0;
    if (!m) m = &scratch;
    CARVE(limits, z->rows);
    CARVE(in_piece, z->rows);
    CARVE(rows, z->rows);
    CARVE(ids, z->rows);
    CARVE(positions, z->rows);
    CARVE(wanted, z->rows);
    CARVE(parts, z->n_sequences);
    CARVE(active, z->block);
    CARVE(lse_at, z->block * n_heads);
    CARVE(drift, z->block);
    CARVE(change, z->block);
    CARVE(size, z->block);
    CARVE(marks, z->list_size);
    CARVE(pieces, z->counts ? LACI_CACHE_PIECES : 0);
    return at;
}

static size_t carve_own(laci_block_state *m, char *base, const sizes *z)
{
    laci_block_state scratch;
    size_t at = 0;
    if (!m) m = &scratch;
    CARVE(last_ids, z->block);
    CARVE(is_new, z->block);
    CARVE(read, z->counts / sizeof *m->read);
    CARVE(layer, z->n_layers);
    if (base) memset(m->layer, 0, z->n_layers * sizeof *m->layer);
    for (size_t i = 0; i < z->n_list_sets; i++) {
        const size_t n = z->n_lists * z->list_size;
        uint32_t *const ids = base ? (uint32_t *)(void *)(base + at) : NULL;
        if (ids)
            m->layer[i].lists = (laci_id_lists){ ids, z->list_size, ids + n, ids + n + z->n_lists };
        at += (n + 2 * z->n_lists) * sizeof(uint32_t);
    }
    return at;
}
#undef CARVE

/* What measuring a dense step needs. */
static void add_measures(sizes *z, const laci_config *c, size_t n_ctx, const laci_prefix *how)
{
    const size_t n_heads = (size_t)c->n_heads, n_pages = (n_ctx + how->page - 1) / how->page;
    const size_t n_rows = n_heads * ((z->block + GROUP - 1) / GROUP);
    const laci_kv_cache cache = cache_of(c, n_ctx);
    if (gathers(c, how)) {
        const size_t n_parts = n_ctx / LACI_MASS_PART + laci_kv_cache_most_pieces(&cache);
        z->masses = n_heads * z->block * n_pages * sizeof(float);
        z->bases = n_heads * z->block * n_parts * sizeof(float);
        z->pooled = n_heads * n_pages * sizeof(float);
        return;
    }
    z->columns = n_rows * n_ctx * sizeof(float);
    if (how->selector == LACI_SELECT_BLOCKS) z->pooled = n_rows * n_pages * sizeof(float);
}

/* What only a policy that reads part of the prefix needs. */
static void add_policy(sizes *z, const laci_config *c, laci_dtype act, size_t n_ctx,
                       const laci_prefix *how)
{
    const size_t n_heads = (size_t)c->n_heads, n_kv_heads = (size_t)c->n_kv_heads;
    const size_t width = n_heads * (size_t)c->d_head, a = act == LACI_BF16 ? 2 : 4;
    const size_t n_pass = laci_block_pass_rows(c, n_ctx);
    z->block = (size_t)c->block_size < n_pass ? (size_t)c->block_size : n_pass;
    z->n_slots = laci_prefix_keeps(how) ? z->n_layers : 1;
    z->kept_o = z->block * width * sizeof(float);
    z->kept_lse = z->block * n_heads * sizeof(float);
    const size_t moved = how->by_hidden ? (size_t)c->d_model : width;
    z->kept_q = laci_prefix_keeps(how) ? z->block * moved * a : 0;
    z->active_q = z->block * (moved > width ? moved : width) * a;
    z->list_size = laci_prefix_list_size(how, n_ctx);
    z->n_lists = how->selector != LACI_SELECT_COLUMNS && how->per_head ? n_heads : n_kv_heads;
    z->n_list_sets = z->n_layers;
    z->plan_cols = n_heads * z->list_size;
    if (laci_prefix_measures(how)) add_measures(z, c, n_ctx, how);
    if (how->rows != LACI_ROWS_NONE && how->selector != LACI_SELECT_COLUMNS)
        z->counts = 2 * z->n_layers * sizeof(uint32_t);
    if (uses_pages(how)) {
        const laci_kv kv = whole_kv(c, n_ctx);
        z->pages = how->int8_bounds ? laci_pages_bytes_i8(&kv, how->page)
                                    : laci_pages_bytes(act, &kv, how->page);
    }
}

static sizes sizes_of(const laci_config *c, laci_dtype act, size_t n_ctx, size_t n_sequences,
                      const laci_prefix *how)
{
    const size_t n_heads = (size_t)c->n_heads, width = n_heads * (size_t)c->d_head;
    sizes z = { .rows = laci_block_all_rows(c, n_ctx, n_sequences),
                .n_layers = (size_t)c->n_layers,
                .n_sequences = n_sequences };
    z.part = z.rows * width * sizeof(float);
    z.part_lse = z.rows * n_heads * sizeof(float);
    if (!how->is_dense) add_policy(&z, c, act, n_ctx, how);
    z.host = carve_shared(NULL, NULL, &z, n_heads);
    z.own = carve_own(NULL, NULL, &z);
    return z;
}

size_t laci_block_bytes(const laci_config *config, laci_dtype act, size_t n_ctx, size_t n_sequences,
                        const laci_prefix *how)
{
    const sizes z = sizes_of(config, act, n_ctx, n_sequences, how);
    const size_t n_heads = (size_t)config->n_heads;
    const size_t shared = 2 * (z.part + z.part_lse) + z.active_q + 2 * z.columns + z.pooled +
                          z.masses + z.bases + z.host +
                          2 * (z.plan_cols + n_heads + 1) * sizeof(uint32_t);
    const size_t each =
        z.n_slots * (z.kept_o + z.kept_lse + z.kept_q) + z.n_layers * z.pages + z.counts + z.own;
    return shared + n_sequences * each;
}

/* A buffer of the session, unless its size is 0. */
static lac_status take(lac_session *s, size_t size, const char *what, laci_buf **out,
                       lac_error *err)
{
    return size ? laci_buf_new(s->be, size, what, out, err) : LAC_OK;
}

static const char attention[] = "attention of a block";

/* What a policy that reads part of the prefix needs while a pass runs. */
static lac_status make_policy(lac_session *s, const sizes *z, lac_error *err)
{
    static const char stats[] = "pattern statistics";
    laci_block_memory *m = s->block;
    const size_t n_heads = (size_t)s->model->config.n_heads;
    lac_status st = take(s, z->active_q, attention, &m->active_q, err);
    if (!st) st = take(s, z->columns, stats, &m->columns, err);
    if (!st) st = take(s, z->columns, stats, &m->piece_columns, err);
    if (!st) st = take(s, z->pooled, stats, &m->pooled, err);
    if (!st) st = take(s, z->masses, stats, &m->masses, err);
    if (!st) st = take(s, z->bases, stats, &m->bases, err);
    if (!st && m->masses) st = laci_view_new(s->be, &m->piece_masses, err);
    if (!st && m->masses) st = laci_view_new(s->be, &m->piece_bases, err);
    if (!st) st = laci_plan_reserve(&m->plan, n_heads, z->plan_cols, &s->mem, err);
    if (!st) st = laci_plan_reserve(&m->piece_plan, n_heads, z->plan_cols, &s->mem, err);
    return st;
}

/* What one sequence keeps of the prefix, and bounds of its pages. */
static lac_status make_kept(lac_session *s, laci_block_state *b, const sizes *z, lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t i = 0; i < z->n_slots && !st; i++) {
        st = take(s, z->kept_o, attention, &b->layer[i].o, err);
        if (!st) st = take(s, z->kept_lse, attention, &b->layer[i].lse, err);
        if (!st) st = take(s, z->kept_q, attention, &b->layer[i].q, err);
    }
    if (!st) st = take(s, z->counts, attention, &b->counts, err);
    if (st || !z->pages) return st;
    b->pages = laci_alloc_zero(&s->mem, z->n_layers * sizeof *b->pages);
    if (!b->pages) return laci_fail_memory(err, "page bounds", z->n_layers * sizeof *b->pages);
    const laci_kv kv = whole_kv(&s->model->config, s->layout.n_ctx);
    for (size_t i = 0; i < z->n_layers && !st; i++)
        st = (s->block->how.int8_bounds ? laci_pages_new_i8 : laci_pages_new)(
            s->be, &kv, s->block->how.page, &b->pages[i], err);
    return st;
}

static lac_status make_state(lac_session *s, laci_sequence *seq, const sizes *z, lac_error *err)
{
    laci_block_state *b = laci_alloc_zero(&s->mem, sizeof *b);
    if (!b) return laci_fail_memory(err, "a key cache", sizeof *b);
    seq->block = b;
    b->cache = cache_of(&s->model->config, s->layout.n_ctx);
    b->cache.be = s->be;
    b->host = laci_alloc_aligned(&s->mem, z->own);
    if (!b->host) return laci_fail_memory(err, "rows of a block", z->own);
    (void)carve_own(b, b->host, z);
    return make_kept(s, b, z, err);
}

lac_status laci_block_memory_new(lac_session *s, lac_error *err)
{
    const laci_config *c = &s->model->config;
    const laci_prefix *how = &s->chosen.settings.prefix;
    const size_t n_ctx = s->layout.n_ctx, n_sequences = s->layout.n_sequences;
    const sizes z = sizes_of(c, laci_backend_act(s->be), n_ctx, n_sequences, how);
    laci_block_memory *m = laci_alloc_zero(&s->mem, sizeof *m);
    if (!m) return laci_fail_memory(err, "a key cache", sizeof *m);
    s->block = m;
    m->how = *how;
    m->pass_rows = laci_block_pass_rows(c, n_ctx);
    m->n_rows = z.rows;
    m->block = z.block;
    m->list_size = z.list_size;
    m->n_lists = z.n_lists;
    m->host = laci_alloc_aligned(&s->mem, z.host);
    if (!m->host) return laci_fail_memory(err, "rows of a block", z.host);
    (void)carve_shared(m, m->host, &z, (size_t)c->n_heads);
    laci_buf **const views[] = { &m->x, &m->q, &m->o, &m->y };
    lac_status st = LAC_OK;
    for (size_t i = 0; i < 4 && !st; i++)
        st = laci_view_new(s->be, views[i], err);
    for (int i = 0; i < 2 && !st; i++) {
        st = take(s, z.part, "attention output", &m->part[i], err);
        if (!st) st = take(s, z.part_lse, "attention output", &m->part_lse[i], err);
    }
    if (!st && !how->is_dense) st = make_policy(s, &z, err);
    for (size_t i = 0; i < n_sequences && !st; i++)
        st = make_state(s, &s->seq[i], &z, err);
    return st;
}

static void free_state(lac_session *s, laci_sequence *seq)
{
    laci_block_state *b = seq->block;
    if (!b) return;
    const size_t n_layers = b->cache.n_layers;
    laci_kv_cache_clear(&b->cache);
    for (size_t i = 0; b->host && i < n_layers; i++) {
        laci_buf_free(s->be, b->layer[i].o);
        laci_buf_free(s->be, b->layer[i].lse);
        laci_buf_free(s->be, b->layer[i].q);
    }
    for (size_t i = 0; b->pages && i < n_layers; i++)
        laci_pages_free(s->be, &b->pages[i]);
    laci_buf_free(s->be, b->counts);
    laci_release(&s->mem, b->pages);
    laci_release_aligned(&s->mem, b->host);
    laci_release(&s->mem, b);
    seq->block = NULL;
}

void laci_block_memory_free(lac_session *s)
{
    laci_block_memory *m = s->block;
    for (size_t i = 0; s->seq && i < s->layout.n_sequences; i++)
        free_state(s, &s->seq[i]);
    if (!m) return;
    laci_buf *const buffers[] = { m->part[0],
                                  m->part[1],
                                  m->part_lse[0],
                                  m->part_lse[1],
                                  m->active_q,
                                  m->columns,
                                  m->piece_columns,
                                  m->pooled,
                                  m->x,
                                  m->q,
                                  m->o,
                                  m->y,
                                  m->masses,
                                  m->bases,
                                  m->piece_masses,
                                  m->piece_bases };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        laci_buf_free(s->be, buffers[i]);
    laci_plan_clear(&m->plan);
    laci_plan_clear(&m->piece_plan);
    laci_release_aligned(&s->mem, m->host);
    laci_release(&s->mem, m);
    s->block = NULL;
}
