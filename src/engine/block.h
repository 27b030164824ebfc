/* block.h: the block-wise route of a generation: prompt into the key cache, one decoding block at a
 * time behind it, finished blocks into the cache by a clean pass. Called by the denoising loop.
 * Sources: SDAR (arXiv 2510.06303), Fast-dLLM v2 (2509.26328), block diffusion (2503.09573). */
#ifndef LACI_ENGINE_BLOCK_H
#define LACI_ENGINE_BLOCK_H

#include "engine/generation.h"

/* The first three do little or nothing for models that see the whole canvas.
 *
 * Checks that the options and the canvas, which is laid, suit block-wise decoding. Errors: EINVAL.
 */
lac_status laci_block_check(const laci_generation *g, lac_error *err);

/* Says which rows steps run, takes the cache for the complete blocks of the prompt, and takes over
 * what the cache holds of them: g->n_reused positions at most. Errors: ENOMEM. */
lac_status laci_block_begin(laci_generation *g, lac_error *err);

/* What later generations of the same sequence may take over: laci_sequence.n_kept. */
void laci_block_keep(const laci_generation *g);

/* Positions of whole blocks that a sequence has kept of these ids. */
size_t laci_block_count_same(const lac_session *s, const laci_sequence *seq, const int32_t *ids,
                             size_t n_ids);

/* Makes the block under way the active one. Errors: ENOMEM. */
lac_status laci_block_enter(laci_generation *g, lac_error *err);

/* Number of rows of the pass of the next turn. */
size_t laci_block_next_rows(const laci_generation *g);

/* Rows of the next turn where it is not a step: a chunk of the prompt, or a finished block. Where
 * the last of them predicts the first token of the next block it is wanted, as the only candidate.
 */
laci_rows laci_block_store(laci_generation *g);

/* All rows from position 0 on: one pass over a canvas, as many passes as it takes through the key
 * cache of a sequence. Stops early once a watched pass has found something. */
lac_status laci_block_passes(lac_session *s, const laci_rows *rows, laci_row_sink sink,
                             lac_error *err);

/* Rows that the pass of this turn reads, and everything before, as the model reads them. Asks for
 * the row that decides `position`. */
laci_rows laci_block_read(laci_generation *g, int32_t position);

#endif
