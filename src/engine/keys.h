/* keys.h: keys and values of one sequence, in pieces that are taken as the sequence grows: what is
 * written is packed once and never moves. Where pieces begin depends on positions alone, so a
 * sequence gives the same bits however it came to its length. A store keeps every layer, or one
 * that the next layer overwrites. */
#ifndef LACI_ENGINE_KEYS_H
#define LACI_ENGINE_KEYS_H

#include "backend/backend.h"

enum { LACI_KEY_PIECES = 1024 };

/* Positions [first, first + n) of the sequence. */
typedef struct {
    size_t first, n;
    laci_kv *kv; /* [n_kept] owned */
} laci_key_piece;

/* Zero the struct, fill the dimensions, then reserve. */
typedef struct {
    laci_backend *be;
    size_t n_kept; /* layers that are kept; 1 = a layer is overwritten by the next */
    size_t n_kv_heads, d_head;
    size_t n_ctx;     /* most positions it may come to hold */
    size_t unit;      /* pieces begin at multiples of this: of 64 and of the decoding block */
    size_t first_end; /* where the first piece ends; the next ones double up to four times this */
    laci_key_piece *pieces; /* [laci_keys_most_pieces] owned */
    size_t n_pieces;
    laci_pages *pages; /* [n_kept] owned: bounds of pages of the final keys, NULL = none are kept */
} laci_keys;

/* Sets `unit` and `first_end` for decoding blocks of this size; 0 = there is one piece. */
void laci_keys_cut(laci_keys *keys, size_t block_size);

/* No fewer pieces than n_ctx positions take, wherever the first one ends. */
size_t laci_keys_most_pieces(const laci_keys *keys);

/* Takes the pieces that positions [0, n) need; those it has stay where they are. Errors: ECONTEXT,
 * ENOMEM: then it holds what it held. */
lac_status laci_keys_reserve(laci_keys *keys, size_t n, lac_error *err);
void laci_keys_clear(laci_keys *keys);

/* Makes all keys and values zero: what lies past the keys of a pass must be finite, since it is
 * multiplied by probabilities of zero. */
void laci_keys_wipe(laci_keys *keys);

/* Keeps bounds of pages of `page` keys of every layer, over n_ctx positions. Errors: ENOMEM, what
 * laci_pages_new says. */
lac_status laci_keys_keep_bounds(laci_keys *keys, size_t page, bool is_i8, lac_error *err);
/* Bytes of these. */
size_t laci_keys_bounds_bytes(const laci_keys *keys, laci_dtype act, size_t page, bool is_i8);

/* End of the piece that holds this position: stores do not cross it. */
size_t laci_keys_piece_end(const laci_keys *keys, size_t position);

/* Bytes of the pieces held, and of those that `n` positions take. */
size_t laci_keys_bytes(const laci_keys *keys);
size_t laci_keys_need(const laci_keys *keys, laci_dtype act, size_t n);

/* The keys and values of a layer in one piece. */
static inline laci_kv *laci_keys_of(const laci_keys *keys, const laci_key_piece *piece,
                                    size_t layer)
{
    return &piece->kv[keys->n_kept > 1 ? layer : 0];
}

/* Pieces that hold some of keys [0, n_keys). */
size_t laci_keys_count_pieces(const laci_keys *keys, size_t n_keys);

/* Keys [0, n_keys) that are in the piece. */
static inline size_t laci_keys_in(const laci_key_piece *piece, size_t n_keys)
{
    return n_keys - piece->first < piece->n ? n_keys - piece->first : piece->n;
}

/* Rows x f32 [n, n_kv_heads * d_head] as keys (or values) of a layer at positions [first, first +
 * n), all within one reserved piece. x is overwritten. */
void laci_keys_store(laci_keys *keys, size_t layer, const laci_head_op *op, laci_kv_part part,
                     const laci_buf *x, size_t n, size_t first);

/* Brings the bounds of pages up to date, where they are kept: positions [first, first + n) of a
 * layer, within one piece, are stored and final. */
void laci_keys_update_bounds(laci_keys *keys, size_t layer, size_t first, size_t n);

#endif
