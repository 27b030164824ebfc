/* block.h: the block-wise route of a generation: prompt into the key cache, one decoding block at a
 * time behind it, finished blocks into the cache by a clean pass. Called by the denoising loop.
 * Sources: SDAR (arXiv 2510.06303), Fast-dLLM v2 (2509.26328), block diffusion (2503.09573). */
#ifndef LACI_ENGINE_BLOCK_H
#define LACI_ENGINE_BLOCK_H

#include "engine/generation.h"

/* Checks that the options and the canvas, which is laid, suit block-wise decoding.
 * Errors: EINVAL. */
lac_status laci_block_check(const laci_generation *g, lac_error *err);

/* Takes the cache for the complete blocks of the prompt. Errors: ENOMEM. */
lac_status laci_block_begin(laci_generation *g, lac_error *err);

/* Makes the block under way the active one. Where the model's first row of a block predicts its
 * second token, the first token came with the block before; it is fixed here, as a step of its own.
 * Errors: ENOMEM. */
lac_status laci_block_enter(laci_generation *g, lac_error *err);

/* Rows of the pass of the next turn. */
size_t laci_block_next_rows(const laci_generation *g);

/* The pass of the next turn; a step's rows are chosen already. */
laci_block_pass laci_block_next(laci_generation *g);

/* Takes note of what the pass of a step read. */
void laci_block_take(laci_generation *g);

/* Every position of `ids` under the block-causal mask, for rows wanted anywhere, through the cache
 * of `seq`. Stops early once a watched pass has found something. */
typedef struct {
    const int32_t *ids, *rows; /* [n], [n_rows] */
    size_t n, n_rows;
} laci_block_text;
lac_status laci_block_logits(lac_session *s, laci_sequence *seq, const laci_block_text *text,
                             laci_row_sink sink, lac_error *err);

/* Positions that the pass of this turn reads, and everything before, as the model reads them. Asks
 * for the row that decides `position`. */
laci_block_text laci_block_read(laci_generation *g, int32_t position);

#endif
