/* block_forward.h: one transformer pass over rows behind a key cache, for block-causal models. The
 * rows' own keys and values are stored at their positions first, so a pass over an unfinished block
 * leaves a draft that the next pass overwrites. Knows nothing of masks, steps or sampling. */
#ifndef LACI_ENGINE_BLOCK_FORWARD_H
#define LACI_ENGINE_BLOCK_FORWARD_H

#include "engine/block_memory.h"
#include "engine/forward.h"

typedef struct {
    const int32_t *ids; /* [n] token ids, no holes */
    size_t first, n;    /* their positions: [first, first + n), from a block border, n <= pass_rows,
                           within one piece of the cache; everything before is in the cache */
    const int32_t *rows; /* [n_rows] positions whose logits are wanted, never falling */
    size_t n_rows;
    laci_row_sink sink; /* as in laci_pass; gets rows from first_row on */
    size_t first_row;
    bool is_draft;       /* an unfinished block: the session's policy decides what is read */
    laci_clock *clock;   /* added to; NULL = not timed */
    lac_plan_fn on_plan; /* sees each layer's selection; NULL = none */
    void *user;
    int step; /* of the generation, for on_plan */
} laci_block_pass;

/* Runs the pass; leaves what attention read in s->block->stats. Row i sees everything before its
 * block and its whole block, as far as the pass goes. Errors: what the sink reports, EINTERNAL. */
lac_status laci_block_forward(lac_session *s, const laci_block_pass *pass, lac_error *err);

#endif
