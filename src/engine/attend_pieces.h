/* attend_pieces.h: attention of rows over a key store that is cut into pieces: piece by piece,
 * merged exactly by log-sum-exp, with what is to be measured put together over all pieces. It obeys
 * plans and decides nothing. */
#ifndef LACI_ENGINE_ATTEND_PIECES_H
#define LACI_ENGINE_ATTEND_PIECES_H

#include "engine/layer.h"

/* The keys of a sequence in the layer under way. */
typedef struct {
    const laci_layer_run *run;
    const laci_keys *keys;
    size_t layer;
} laci_pieces;

/* n queries over keys [0, n_keys): those that `plan` names, NULL = all. */
typedef struct {
    const laci_buf *q;
    size_t n, n_keys;
    const laci_plan *plan;
    laci_buf *out, *lse; /* f32 [n, n_heads * d_head], [n_heads, n]; neither is LACI_BUF_PART */
    size_t row_page;     /* masses of pages of this many keys are gathered by row, 0 = none */
} laci_pieces_read;

/* Errors: EINTERNAL. */
lac_status laci_pieces_attend(const laci_pieces *p, const laci_pieces_read *read, lac_error *err);

/* n queries over all of keys [0, n_keys), as activations: out act [n, n_heads * d_head].
 *
 *   limits   host [n]: row i reads keys below limits[i]; NULL = all
 */
void laci_pieces_attend_whole(const laci_pieces *p, const laci_buf *q, size_t n, size_t n_keys,
                              const uint32_t *limits, laci_buf *out);

/* n queries of a decoding block over the block's own keys, from position `first` on, merged with
 * what they kept of the keys before: out act [n, n_heads * d_head]. */
void laci_pieces_attend_own(const laci_pieces *p, const laci_buf *q, size_t n, size_t first,
                            const laci_kept *kept, laci_buf *out);

/* Mean over n rows of the mass of every page of keys [0, n_keys), from what laci_pieces_attend
 * gathered and the log-sum-exp f32 [n_heads, n] over all pieces: out f32 [n_heads, n_pages]. */
void laci_pieces_pool(const laci_pieces *p, const laci_buf *lse, size_t n, size_t n_keys,
                      size_t row_page, laci_buf *out);

/* Mean over every 128 of n rows of the mass of every key: out f32 [n_heads, n_groups, n_keys]. */
void laci_pieces_columns(const laci_pieces *p, const laci_buf *q, laci_buf *lse, size_t n,
                         size_t n_keys, laci_buf *out);

#endif
