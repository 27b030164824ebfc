/* block_forward.c: see block_forward.h. Attention over a cache of several pieces is one partial
 * result for each, merged exactly by log-sum-exp. */
#include "engine/block_forward.h"

#include <string.h>

#include "base/error.h"

enum { PASS_ROWS = 512 };

/* ------------------------------------------------------------------ memory */

size_t laci_block_pass_rows(const laci_config *config, size_t n_ctx)
{
    const size_t block = (size_t)config->block_size;
    const size_t rows = block < PASS_ROWS ? PASS_ROWS / block * block : block;
    return rows < n_ctx ? rows : n_ctx;
}

static size_t width_of(const laci_config *config)
{
    return (size_t)config->n_heads * (size_t)config->d_head;
}

size_t laci_block_bytes(const laci_config *config, size_t n_ctx)
{
    const size_t rows = laci_block_pass_rows(config, n_ctx);
    const size_t partial = rows * (width_of(config) + (size_t)config->n_heads) * sizeof(float);
    return 2 * partial + 3 * rows * sizeof(int32_t);
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

lac_status laci_block_memory_new(lac_session *s, lac_error *err)
{
    const laci_config *c = &s->model->config;
    laci_block_memory *m = laci_alloc_zero(&s->mem, sizeof *m);
    if (!m) return laci_fail_memory(err, "a key cache", sizeof *m);
    s->block = m;
    m->cache = cache_of(c, s->layout.n_ctx);
    m->cache.be = s->be;
    m->pass_rows = laci_block_pass_rows(c, s->layout.n_ctx);
    lac_status st = LAC_OK;
    for (int i = 0; i < 2 && !st; i++) {
        st = laci_buf_new(s->be, m->pass_rows * width_of(c) * sizeof(float), "attention output",
                          &m->part[i], err);
        if (!st)
            st = laci_buf_new(s->be, m->pass_rows * (size_t)c->n_heads * sizeof(float),
                              "attention output", &m->part_lse[i], err);
    }
    if (st) return st;
    m->host = laci_alloc_array(&s->mem, 3 * m->pass_rows, sizeof(int32_t));
    if (!m->host) return laci_fail_memory(err, "rows", 3 * m->pass_rows * sizeof(int32_t));
    m->limits = m->host;
    m->in_piece = m->limits + m->pass_rows;
    m->rows = (int32_t *)(void *)(m->in_piece + m->pass_rows);
    return LAC_OK;
}

void laci_block_memory_free(lac_session *s)
{
    laci_block_memory *m = s->block;
    if (!m) return;
    laci_kv_cache_clear(&m->cache);
    for (int i = 0; i < 2; i++) {
        laci_buf_free(s->be, m->part[i]);
        laci_buf_free(s->be, m->part_lse[i]);
    }
    laci_release(&s->mem, m->host);
    laci_release(&s->mem, m);
    s->block = NULL;
}

/* ------------------------------------------------------------------ attention */

typedef struct {
    laci_layer_run run;
    laci_block_memory *m;
    const laci_block_pass *pass;
    size_t layer;
} context;

/* Keys that queries at positions [n] read; false when all read the same. */
static bool set_limits(const context *c, const int32_t *positions, size_t n)
{
    const size_t block = (size_t)c->run.config->block_size, end = c->pass->first + c->pass->n;
    for (size_t i = 0; i < n; i++) {
        const size_t block_end = ((size_t)positions[i] / block + 1) * block;
        c->m->limits[i] = (uint32_t)(block_end < end ? block_end : end);
    }
    return c->pass->n > block;
}

/* Every query reads all keys. */
static laci_plan whole_plan(size_t n_q, size_t n_k)
{
    static const uint32_t row_ptr[2] = { 0, 1 }, cols[1] = { 0 };
    return (laci_plan){
        .q_block = n_q, .k_block = n_k, .n_heads = 1, .n_rows = 1, .row_ptr = row_ptr, .cols = cols
    };
}

/* n f32 rows of `x` as activations in O. */
static void to_activations(const context *c, const laci_buf *x, size_t n)
{
    const laci_head_op plain = { .n_heads = (size_t)c->run.config->n_heads,
                                 .d_head = (size_t)c->run.config->d_head };
    laci_backend_heads(c->run.s->be, &plain, x, n, NULL, 0, c->run.buf[LACI_BUF_O], 0);
}

/* Attention of n queries in Q over keys [0, n_k) into O. */
static void attend_whole(const context *c, size_t n, size_t n_k, bool is_limited)
{
    const laci_config *config = c->run.config;
    laci_block_memory *m = c->m;
    const bool is_split = m->cache.n_pieces > 1 && m->cache.pieces[1].first < n_k;
    size_t n_parts = 0;
    for (size_t i = 0; i < m->cache.n_pieces && m->cache.pieces[i].first < n_k; i++) {
        const laci_cache_piece *piece = &m->cache.pieces[i];
        const size_t n_in = n_k - piece->first < piece->n ? n_k - piece->first : piece->n;
        const laci_plan plan = whole_plan(n, n_in);
        const size_t slot = n_parts++ > 0;
        for (size_t r = 0; r < n && is_limited; r++)
            m->in_piece[r] =
                m->limits[r] > piece->first ? m->limits[r] - (uint32_t)piece->first : 0;
        const laci_attention a = {
            .q = c->run.buf[LACI_BUF_Q],
            .kv = &piece->kv[c->layer],
            .out = is_split ? m->part[slot] : c->run.buf[LACI_BUF_O],
            .out_f32 = is_split,
            .lse = is_split ? m->part_lse[slot] : NULL,
            .n_q = n,
            .n_k = n_in,
            .n_heads = (size_t)config->n_heads,
            .limits = is_limited ? m->in_piece : NULL,
        };
        laci_layer_attend(&c->run, &plan, &a);
        if (slot)
            laci_backend_merge(c->run.s->be, m->part[0], m->part_lse[0], m->part[1], m->part_lse[1],
                               1, n, (size_t)config->n_heads, (size_t)config->d_head);
    }
    if (is_split) to_activations(c, m->part[0], n);
}

/* ------------------------------------------------------------------ layers */

/* Keys and values of all rows; leaves the normalised rows in X. */
static void store_rows(const context *c)
{
    const laci_layer_run *r = &c->run;
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    const laci_head_op k_op = laci_layer_key_op(r), v_op = laci_layer_value_op(r);
    laci_buf *x = r->buf[LACI_BUF_X], *y = r->buf[LACI_BUF_Y];
    const size_t n = c->pass->n, first = c->pass->first;
    laci_backend_norm(r->s->be, r->buf[LACI_BUF_H], 0, NULL, n, r->d, &norm, x, 0);
    laci_layer_multiply(r, r->layer->k, x, 0, n, y);
    laci_kv_cache_store(&c->m->cache, c->layer, &k_op, LACI_KEYS, y, n, first);
    laci_layer_multiply(r, r->layer->v, x, 0, n, y);
    laci_kv_cache_store(&c->m->cache, c->layer, &v_op, LACI_VALUES, y, n, first);
}

static void run_layer(const context *c)
{
    const size_t n = c->pass->n;
    store_rows(c);
    laci_layer_queries(&c->run, n, NULL, c->pass->first, 0);
    for (size_t i = 0; i < n; i++)
        c->m->rows[i] = (int32_t)(c->pass->first + i);
    attend_whole(c, n, c->pass->first + n, set_limits(c, c->m->rows, n));
    laci_layer_finish(&c->run, c->run.buf[LACI_BUF_O], 0, c->run.buf[LACI_BUF_H], 0, n);
}

/* The last layer and the final norm, for the wanted rows only. */
static lac_status run_last_layer(const context *c, lac_error *err)
{
    const laci_layer_run *r = &c->run;
    laci_backend *be = r->s->be;
    laci_buf *x = r->buf[LACI_BUF_X], *tail = r->buf[LACI_BUF_TAIL];
    const laci_norm norm = laci_layer_norm(r, r->layer->attn_norm);
    const laci_norm final = laci_layer_norm(r, r->s->model->weights.norm);
    lac_status st = LAC_OK;
    store_rows(c);
    for (size_t at = 0, n; at < c->pass->n_rows && !st; at += n) {
        const int32_t *positions = c->pass->rows + at;
        n = c->pass->n_rows - at < c->m->pass_rows ? c->pass->n_rows - at : c->m->pass_rows;
        for (size_t i = 0; i < n; i++)
            c->m->rows[i] = positions[i] - (int32_t)c->pass->first;
        laci_backend_gather(be, r->buf[LACI_BUF_H], c->m->rows, n, r->d, tail);
        laci_backend_norm(be, tail, 0, NULL, n, r->d, &norm, x, 0);
        laci_layer_queries(r, n, positions, 0, 0);
        attend_whole(c, n, c->pass->first + c->pass->n, set_limits(c, positions, n));
        laci_layer_finish(r, r->buf[LACI_BUF_O], 0, tail, 0, n);
        laci_backend_norm(be, tail, 0, NULL, n, r->d, &final, x, 0);
        st = c->pass->sink.take(c->pass->sink.user, c->pass->first_row + at, n, err);
    }
    return st;
}

lac_status laci_block_forward(lac_session *s, const laci_block_pass *pass, lac_error *err)
{
    const laci_weights *w = &s->model->weights;
    context c = { .run = laci_layer_begin(s, pass->clock), .m = s->block, .pass = pass };
    const size_t n_layers = (size_t)s->model->config.n_layers;
    laci_layer_embed(&c.run, pass->ids, pass->n, 0);
    for (c.layer = 0; c.layer < n_layers; c.layer++) {
        c.run.layer = &w->layers[c.layer];
        if (c.layer + 1 == n_layers) return run_last_layer(&c, err);
        run_layer(&c);
    }
    return LAC_OK;
}
