/* made_prefix.c: see made_prefix.h. Rows are stretches of one pool of numbers, each from a place of
 * its own: drawing every number would take longer than what is measured. */
#include "bench/made_prefix.h"

#include <math.h>

#include "base/error.h"
#include "bench/inputs.h"

enum { POOL = 1 << 20, UNIT = 64 };

typedef struct {
    lac_session *s;
    laci_sequence *seq;
    const float *pool; /* [POOL + width] */
    float *rows;       /* [chunk_rows, width] */
    size_t n_heads, d_head;
    double agreement;
    uint64_t seed;
} prefix_maker;

static double scale_of(const prefix_maker *m, size_t layer, size_t position, size_t head)
{
    const uint64_t key = laci_rng_key(m->seed, INPUT_SCALE, (uint32_t)layer, (uint32_t)head);
    return exp(m->agreement * (double)input_normal(key, position / UNIT));
}

/* n rows from position `first`, into m->rows. */
static void make_rows(const prefix_maker *m, size_t layer, laci_kv_part part, size_t first,
                      size_t n)
{
    const bool is_key = part == LACI_KEYS;
    const uint64_t key = laci_rng_key(m->seed, is_key ? INPUT_K : INPUT_V, (uint32_t)layer, 0);
    for (size_t row = 0; row < n; row++) {
        const float *from = m->pool + laci_rng_u64(key, first + row) % POOL;
        for (size_t h = 0; h < m->n_heads; h++) {
            const float scale = is_key ? (float)scale_of(m, layer, first + row, h) : 1;
            float *out = m->rows + (row * m->n_heads + h) * m->d_head;
            for (size_t i = 0; i < m->d_head; i++)
                out[i] = scale * from[h * m->d_head + i];
        }
    }
}

static void fill_layer(const prefix_maker *m, size_t layer, size_t n)
{
    lac_session *s = m->s;
    laci_keys *keys = &m->seq->kv;
    const laci_head_op plain = { .n_heads = m->n_heads, .d_head = m->d_head };
    laci_buf *y = s->buf[LACI_BUF_Y];
    for (size_t first = 0, n_now; first < n; first += n_now) {
        const size_t end = laci_keys_piece_end(keys, first);
        n_now = end < n ? end - first : n - first;
        if (n_now > s->layout.chunk_rows) n_now = s->layout.chunk_rows;
        for (int part = 0; part < 2; part++) {
            make_rows(m, layer, part ? LACI_VALUES : LACI_KEYS, first, n_now);
            laci_backend_write(s->be, y, 0, m->rows,
                               n_now * m->n_heads * m->d_head * sizeof *m->rows);
            laci_keys_store(keys, layer, &plain, part ? LACI_VALUES : LACI_KEYS, y, n_now, first);
        }
    }
}

lac_status made_prefix_fill(lac_session *s, laci_sequence *seq, size_t n, double agreement,
                            uint64_t seed, lac_error *err)
{
    const laci_config *c = &s->model->config;
    const size_t width = (size_t)c->n_kv_heads * (size_t)c->d_head;
    const uint64_t key = laci_rng_key(seed, INPUT_X, 0, 0);
    lac_status st = laci_keys_reserve(&seq->kv, s->layout.n_ctx, err);
    if (st) return st;
    float *pool = laci_alloc_array(&s->mem, POOL + width, sizeof *pool);
    float *rows = laci_alloc_array(&s->mem, s->layout.chunk_rows * width, sizeof *rows);
    const prefix_maker m = { .s = s,
                             .seq = seq,
                             .pool = pool,
                             .rows = rows,
                             .n_heads = (size_t)c->n_kv_heads,
                             .d_head = (size_t)c->d_head,
                             .agreement = agreement,
                             .seed = seed };
    if (pool && rows) {
        for (size_t i = 0; i < POOL + width; i++)
            pool[i] = input_normal(key, i);
        for (size_t layer = 0; layer < (size_t)c->n_layers; layer++)
            fill_layer(&m, layer, n);
    } else {
        st = laci_fail_memory(err, "a made prefix", (POOL + width) * sizeof *pool);
    }
    laci_release(&s->mem, pool);
    laci_release(&s->mem, rows);
    return st;
}

void made_prefix_lend(lac_session *s, laci_sequence *seq, const laci_sequence *owner, size_t n)
{
    laci_keys *keys = &seq->kv;
    laci_pages *const pages = keys->pages;
    *keys = owner->kv;
    keys->pages = pages;
    for (size_t i = 0; pages && i < keys->n_pieces; i++)
        for (size_t layer = 0; layer < keys->n_kept; layer++)
            laci_backend_page_bounds(s->be, &keys->pieces[i].kv[layer], &pages[layer], 0, 0, n);
}

void made_prefix_return(laci_sequence *seq)
{
    seq->kv.pieces = NULL;
    seq->kv.n_pieces = 0;
}
