/* block_forward.h: transformer passes over rows behind key caches, for block-causal models: one, or
 * one each over several sequences, whose rows go through the products together. The rows' own keys
 * and values are stored at their positions first, so a pass over an unfinished block leaves a draft
 * that the next pass overwrites. Knows nothing of masks, steps or sampling. */
#ifndef LACI_ENGINE_BLOCK_FORWARD_H
#define LACI_ENGINE_BLOCK_FORWARD_H

#include "engine/block_memory.h"
#include "engine/forward.h"

typedef struct {
    laci_block_state *seq; /* whose cache; no two passes that run as one share it */
    const int32_t *ids;    /* [n] token ids, no holes */
    size_t first, n;       /* their positions: [first, first + n), from a block border, n <=
                              pass_rows, within one piece of the cache; everything before is in the
                              cache */
    const int32_t *rows;   /* [n_rows] positions whose logits are wanted, never falling */
    size_t n_rows;
    size_t first_row;    /* what the sink counts n_rows from */
    bool is_draft;       /* an unfinished block: the session's policy decides what is read */
    lac_plan_fn on_plan; /* sees each layer's selection; NULL = none */
    void *user;
    int step; /* of the generation, for on_plan */
} laci_block_pass;

/* Runs n_passes passes, of together at most s->block->n_rows rows, drafts first; leaves what
 * attention read in the sequences' stats. Row i of a sequence sees everything before its block and
 * its whole block, as far as the pass goes. No pass's results depend on the others.
 *
 *   clock   added to; NULL = not timed
 *
 * Errors: what the sink reports, EINTERNAL. */
lac_status laci_block_forward(lac_session *s, const laci_block_pass *passes, size_t n_passes,
                              laci_row_sink sink, laci_clock *clock, lac_error *err);

#endif
