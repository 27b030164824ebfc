/* block.h: the block-wise route of a generation: prompt into the key cache, one decoding block at a
 * time behind it, finished blocks into the cache by a clean pass. Called by the denoising loop.
 * Sources: SDAR (arXiv 2510.06303), Fast-dLLM v2 (2509.26328), block diffusion (2503.09573). */
#ifndef LACI_ENGINE_BLOCK_H
#define LACI_ENGINE_BLOCK_H

#include "engine/generation.h"

/* Checks that the options and the canvas, which is laid, suit block-wise decoding.
 * Errors: EINVAL. */
lac_status laci_block_check(const laci_generation *g, lac_error *err);

/* Puts the complete blocks of the prompt into the cache. Errors: ENOMEM. */
lac_status laci_block_prefill(laci_generation *g, lac_error *err);

/* Makes holes [begin, end) of the list the active block. Where the model's first row of a block
 * predicts its second token, the first token came with the block before; it is fixed here, as a
 * step of its own. Errors: ENOMEM. */
lac_status laci_block_enter(laci_generation *g, int block, int begin, int end, lac_error *err);

/* Logits of s->rows over the active block, into `sink`. */
lac_status laci_block_run(laci_generation *g, laci_row_sink sink, lac_error *err);

/* Puts the finished block into the cache. */
lac_status laci_block_commit(laci_generation *g, lac_error *err);

/* Every position of `ids` under the block-causal mask, for rows wanted anywhere. */
lac_status laci_block_logits(lac_session *s, const int32_t *ids, size_t n, const int32_t *rows,
                             size_t n_rows, laci_row_sink sink, lac_error *err);

#endif
