/* kv_cache.h: keys and values of one sequence, of every layer, in pieces that are taken as the
 * sequence grows: what is written is packed once and never moves. Where pieces begin depends on
 * positions alone, so a sequence gives the same bits however it came to its length. */
#ifndef LACI_ENGINE_KV_CACHE_H
#define LACI_ENGINE_KV_CACHE_H

#include "backend/backend.h"

enum { LACI_CACHE_PIECES = 1024 };

/* Positions [kv[i].first, kv[i].first + kv[i].n_ctx) of the sequence, layer by layer. */
typedef struct {
    size_t first, n;
    laci_kv *kv; /* [n_layers] owned */
} laci_cache_piece;

/* Zero the struct, fill the dimensions, then reserve. */
typedef struct {
    laci_backend *be;
    size_t n_layers, n_kv_heads, d_head;
    size_t n_ctx;     /* most positions it may come to hold */
    size_t unit;      /* pieces begin at multiples of this: of 64 and of the decoding block */
    size_t first_end; /* where the first piece ends; the next ones double up to four times this */
    laci_cache_piece *pieces; /* [LACI_CACHE_PIECES] owned */
    size_t n_pieces;
} laci_kv_cache;

/* Sets `unit` and `first_end` for decoding blocks of this size. */
void laci_kv_cache_cut(laci_kv_cache *cache, size_t block_size);

/* No fewer pieces than n_ctx positions take, wherever the first one ends. */
size_t laci_kv_cache_most_pieces(const laci_kv_cache *cache);

/* Takes the pieces positions [0, n) need; those it has stay where they are. Errors: ECONTEXT,
 * ENOMEM: then it holds what it held. */
lac_status laci_kv_cache_reserve(laci_kv_cache *cache, size_t n, lac_error *err);
void laci_kv_cache_clear(laci_kv_cache *cache);

/* Makes all keys and values zero: what lies past the keys of a pass must be finite, since it is
 * multiplied by probabilities of zero. */
void laci_kv_cache_wipe(laci_kv_cache *cache);

/* End of the piece that holds this position: stores do not cross it. */
size_t laci_kv_cache_piece_end(const laci_kv_cache *cache, size_t position);

/* Bytes of the pieces held. */
size_t laci_kv_cache_bytes(const laci_kv_cache *cache);
/* Bytes a cache of `n` positions takes. */
size_t laci_kv_cache_need(const laci_kv_cache *cache, laci_dtype act, size_t n);

/* Rows x f32 [n, n_kv_heads * d_head] as keys (or values) of a layer at positions [first, first +
 * n), all within one reserved piece. x is overwritten. */
void laci_kv_cache_store(laci_kv_cache *cache, size_t layer, const laci_head_op *op,
                         laci_kv_part part, const laci_buf *x, size_t n, size_t first);

#endif
