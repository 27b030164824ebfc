/* kv_cache.c: see kv_cache.h. */
#include "engine/kv_cache.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"

enum { FIRST_PIECE = 8192, PANEL = 64, LARGEST = 4 };

static size_t greatest_divisor(size_t a, size_t b)
{
    while (b) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void laci_kv_cache_cut(laci_kv_cache *cache, size_t block_size)
{
    cache->unit = PANEL / greatest_divisor(PANEL, block_size) * block_size;
    cache->first_end = (FIRST_PIECE + cache->unit - 1) / cache->unit * cache->unit;
}

/* End of a piece that begins at `first`: sizes 1, 1, 2, 4, 4, 4 ... of first_end. */
static size_t end_of(const laci_kv_cache *cache, size_t first)
{
    size_t n = first > cache->first_end ? first : cache->first_end;
    if (n > LARGEST * cache->first_end) n = LARGEST * cache->first_end;
    return cache->n_ctx - first < n ? cache->n_ctx : first + n;
}

size_t laci_kv_cache_most_pieces(const laci_kv_cache *cache)
{
    /* 1, 1, 2, then 4 each of a first piece of one unit */
    const size_t n = cache->n_ctx / (LARGEST * cache->unit) + 3;
    return n < LACI_CACHE_PIECES ? n : LACI_CACHE_PIECES;
}

static size_t held(const laci_kv_cache *cache)
{
    if (!cache->n_pieces) return 0;
    const laci_cache_piece *last = &cache->pieces[cache->n_pieces - 1];
    return last->first + last->n;
}

static void free_piece(laci_kv_cache *cache, laci_cache_piece *piece)
{
    for (size_t i = 0; piece->kv && i < cache->n_layers; i++)
        laci_kv_free(cache->be, &piece->kv[i]);
    laci_release(laci_backend_allocator(cache->be), piece->kv);
    *piece = (laci_cache_piece){ 0 };
}

static lac_status add_piece(laci_kv_cache *cache, lac_error *err)
{
    const lac_allocator *mem = laci_backend_allocator(cache->be);
    const size_t first = held(cache), n = end_of(cache, first) - first;
    laci_cache_piece piece = { .first = first, .n = n };
    piece.kv = laci_alloc_zero(mem, cache->n_layers * sizeof *piece.kv);
    lac_status st =
        piece.kv ? LAC_OK
                 : laci_fail_memory(err, "the key cache", cache->n_layers * sizeof *piece.kv);
    for (size_t i = 0; i < cache->n_layers && !st; i++) {
        st = laci_kv_new(cache->be, 1, n, cache->n_kv_heads, cache->d_head, &piece.kv[i], err);
        if (!st) piece.kv[i].first = first;
    }
    if (st)
        free_piece(cache, &piece);
    else
        cache->pieces[cache->n_pieces++] = piece;
    return st;
}

lac_status laci_kv_cache_reserve(laci_kv_cache *cache, size_t n, lac_error *err)
{
    lac_status st = LAC_OK;
    if (n > cache->n_ctx)
        return laci_fail(err, LAC_ECONTEXT, 0, "%zu positions: the key cache has room for %zu", n,
                         cache->n_ctx);
    if (!cache->pieces) {
        const size_t size = LACI_CACHE_PIECES * sizeof *cache->pieces;
        cache->pieces = laci_alloc_zero(laci_backend_allocator(cache->be), size);
        if (!cache->pieces) return laci_fail_memory(err, "the key cache", size);
    }
    while (held(cache) < n && !st) {
        if (cache->n_pieces == LACI_CACHE_PIECES)
            return laci_fail(err, LAC_ECONTEXT, 0, "%zu positions: the key cache holds %zu", n,
                             held(cache));
        st = add_piece(cache, err);
    }
    return st;
}

void laci_kv_cache_clear(laci_kv_cache *cache)
{
    for (size_t i = 0; i < cache->n_pieces; i++)
        free_piece(cache, &cache->pieces[i]);
    if (cache->be) laci_release(laci_backend_allocator(cache->be), cache->pieces);
    cache->pieces = NULL;
    cache->n_pieces = 0;
}

void laci_kv_cache_wipe(laci_kv_cache *cache)
{
    for (size_t i = 0; i < cache->n_pieces; i++)
        for (size_t layer = 0; layer < cache->n_layers; layer++) {
            laci_backend_clear(cache->be, cache->pieces[i].kv[layer].k);
            laci_backend_clear(cache->be, cache->pieces[i].kv[layer].v);
        }
}

static const laci_cache_piece *piece_at(const laci_kv_cache *cache, size_t position)
{
    size_t i = 0;
    while (i + 1 < cache->n_pieces && cache->pieces[i + 1].first <= position)
        i++;
    return &cache->pieces[i];
}

size_t laci_kv_cache_piece_end(const laci_kv_cache *cache, size_t position)
{
    const laci_cache_piece *piece = piece_at(cache, position);
    return piece->first + piece->n;
}

size_t laci_kv_cache_need(const laci_kv_cache *cache, laci_dtype act, size_t n)
{
    size_t bytes = 0;
    for (size_t first = 0, end; first < n; first = end) {
        end = end_of(cache, first);
        bytes +=
            cache->n_layers * laci_kv_bytes(act, 1, end - first, cache->n_kv_heads, cache->d_head);
    }
    return bytes;
}

size_t laci_kv_cache_bytes(const laci_kv_cache *cache)
{
    return laci_kv_cache_need(cache, laci_backend_act(cache->be), held(cache));
}

void laci_kv_cache_store(laci_kv_cache *cache, size_t layer, const laci_head_op *op,
                         laci_kv_part part, const laci_buf *x, size_t n, size_t first)
{
    const laci_cache_piece *piece = piece_at(cache, first);
    assert(first >= piece->first && first + n <= piece->first + piece->n);
    laci_backend_store(cache->be, op, x, n, &piece->kv[layer], part, 0, first);
}
