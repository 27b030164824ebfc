/* keys.c: see keys.h. */
#include "engine/keys.h"

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

void laci_keys_cut(laci_keys *keys, size_t block_size)
{
    if (!block_size) {
        keys->unit = PANEL;
        keys->first_end = keys->n_ctx;
        return;
    }
    keys->unit = PANEL / greatest_divisor(PANEL, block_size) * block_size;
    keys->first_end = (FIRST_PIECE + keys->unit - 1) / keys->unit * keys->unit;
}

/* End of a piece that begins at `first`: sizes 1, 1, 2, 4, 4, 4 ... of first_end. */
static size_t end_of(const laci_keys *keys, size_t first)
{
    size_t n = first > keys->first_end ? first : keys->first_end;
    if (n > LARGEST * keys->first_end) n = LARGEST * keys->first_end;
    return keys->n_ctx - first < n ? keys->n_ctx : first + n;
}

size_t laci_keys_most_pieces(const laci_keys *keys)
{
    /* 1, 1, 2, then 4 each of a first piece of one unit */
    const size_t n = keys->n_ctx / (LARGEST * keys->unit) + 3;
    return n < LACI_KEY_PIECES ? n : LACI_KEY_PIECES;
}

static size_t held(const laci_keys *keys)
{
    if (!keys->n_pieces) return 0;
    const laci_key_piece *last = &keys->pieces[keys->n_pieces - 1];
    return last->first + last->n;
}

static void free_piece(laci_keys *keys, laci_key_piece *piece)
{
    for (size_t i = 0; piece->kv && i < keys->n_kept; i++)
        laci_kv_free(keys->be, &piece->kv[i]);
    laci_release(laci_backend_allocator(keys->be), piece->kv);
    *piece = (laci_key_piece){ 0 };
}

static lac_status add_piece(laci_keys *keys, lac_error *err)
{
    const lac_allocator *mem = laci_backend_allocator(keys->be);
    const size_t first = held(keys), n = end_of(keys, first) - first;
    laci_key_piece piece = { .first = first, .n = n };
    piece.kv = laci_alloc_zero(mem, keys->n_kept * sizeof *piece.kv);
    lac_status st =
        piece.kv ? LAC_OK : laci_fail_memory(err, "the key cache", keys->n_kept * sizeof *piece.kv);
    for (size_t i = 0; i < keys->n_kept && !st; i++) {
        st = laci_kv_new(keys->be, 1, n, keys->n_kv_heads, keys->d_head, &piece.kv[i], err);
        if (!st) piece.kv[i].first = first;
    }
    if (st)
        free_piece(keys, &piece);
    else
        keys->pieces[keys->n_pieces++] = piece;
    return st;
}

lac_status laci_keys_reserve(laci_keys *keys, size_t n, lac_error *err)
{
    lac_status st = LAC_OK;
    if (n > keys->n_ctx)
        return laci_fail(err, LAC_ECONTEXT, 0, "%zu positions: the key cache has room for %zu", n,
                         keys->n_ctx);
    if (!keys->pieces) {
        const size_t size = laci_keys_most_pieces(keys) * sizeof *keys->pieces;
        keys->pieces = laci_alloc_zero(laci_backend_allocator(keys->be), size);
        if (!keys->pieces) return laci_fail_memory(err, "the key cache", size);
    }
    while (held(keys) < n && !st) {
        if (keys->n_pieces == laci_keys_most_pieces(keys))
            return laci_fail(err, LAC_ECONTEXT, 0, "%zu positions: the key cache holds %zu", n,
                             held(keys));
        st = add_piece(keys, err);
    }
    return st;
}

void laci_keys_clear(laci_keys *keys)
{
    for (size_t i = 0; i < keys->n_pieces; i++)
        free_piece(keys, &keys->pieces[i]);
    for (size_t i = 0; keys->pages && i < keys->n_kept; i++)
        laci_pages_free(keys->be, &keys->pages[i]);
    if (keys->be) laci_release(laci_backend_allocator(keys->be), keys->pieces);
    if (keys->be) laci_release(laci_backend_allocator(keys->be), keys->pages);
    keys->pieces = NULL;
    keys->pages = NULL;
    keys->n_pieces = 0;
}

void laci_keys_wipe(laci_keys *keys)
{
    for (size_t i = 0; i < keys->n_pieces; i++)
        for (size_t layer = 0; layer < keys->n_kept; layer++) {
            laci_backend_clear(keys->be, keys->pieces[i].kv[layer].k);
            laci_backend_clear(keys->be, keys->pieces[i].kv[layer].v);
        }
}

/* ------------------------------------------------------------------ bounds of pages */

/* All positions as one run of keys. */
static laci_kv whole(const laci_keys *keys)
{
    return (laci_kv){
        .n_batch = 1, .n_kv_heads = keys->n_kv_heads, .d_head = keys->d_head, .n_ctx = keys->n_ctx
    };
}

lac_status laci_keys_keep_bounds(laci_keys *keys, size_t page, bool is_i8, lac_error *err)
{
    const laci_kv kv = whole(keys);
    lac_status st = LAC_OK;
    keys->pages =
        laci_alloc_zero(laci_backend_allocator(keys->be), keys->n_kept * sizeof *keys->pages);
    if (!keys->pages)
        return laci_fail_memory(err, "page bounds", keys->n_kept * sizeof *keys->pages);
    for (size_t i = 0; i < keys->n_kept && !st; i++)
        st =
            (is_i8 ? laci_pages_new_i8 : laci_pages_new)(keys->be, &kv, page, &keys->pages[i], err);
    return st;
}

size_t laci_keys_bounds_bytes(const laci_keys *keys, laci_dtype act, size_t page, bool is_i8)
{
    const laci_kv kv = whole(keys);
    return keys->n_kept *
           (is_i8 ? laci_pages_bytes_i8(&kv, page) : laci_pages_bytes(act, &kv, page));
}

/* ------------------------------------------------------------------ positions */

size_t laci_keys_count_pieces(const laci_keys *keys, size_t n_keys)
{
    size_t n = 0;
    while (n < keys->n_pieces && keys->pieces[n].first < n_keys)
        n++;
    return n;
}

static const laci_key_piece *piece_at(const laci_keys *keys, size_t position)
{
    size_t i = 0;
    while (i + 1 < keys->n_pieces && keys->pieces[i + 1].first <= position)
        i++;
    return &keys->pieces[i];
}

size_t laci_keys_piece_end(const laci_keys *keys, size_t position)
{
    const laci_key_piece *piece = piece_at(keys, position);
    return piece->first + piece->n;
}

size_t laci_keys_need(const laci_keys *keys, laci_dtype act, size_t n)
{
    size_t bytes = 0;
    for (size_t first = 0, end; first < n; first = end) {
        end = end_of(keys, first);
        bytes += keys->n_kept * laci_kv_bytes(act, 1, end - first, keys->n_kv_heads, keys->d_head);
    }
    return bytes;
}

size_t laci_keys_bytes(const laci_keys *keys)
{
    return laci_keys_need(keys, laci_backend_act(keys->be), held(keys));
}

void laci_keys_store(laci_keys *keys, size_t layer, const laci_head_op *op, laci_kv_part part,
                     const laci_buf *x, size_t n, size_t first)
{
    const laci_key_piece *piece = piece_at(keys, first);
    assert(first >= piece->first && first + n <= piece->first + piece->n);
    const laci_kv_rows rows = {
        .op = op, .x = x, .n = n, .kv = laci_keys_of(keys, piece, layer), .part = part, .row = first
    };
    laci_backend_store(keys->be, &rows);
}

void laci_keys_update_bounds(laci_keys *keys, size_t layer, size_t first, size_t n)
{
    if (!keys->pages) return;
    laci_backend_page_bounds(keys->be, laci_keys_of(keys, piece_at(keys, first), layer),
                             &keys->pages[layer], 0, first, first + n);
}
