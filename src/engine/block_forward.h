/* block_forward.h: one transformer pass over rows behind a key cache, for block-causal models. The
 * rows' own keys and values are stored at their positions first, so a pass over an unfinished block
 * leaves a draft that the next pass overwrites. Knows nothing of masks, steps or sampling. */
#ifndef LACI_ENGINE_BLOCK_FORWARD_H
#define LACI_ENGINE_BLOCK_FORWARD_H

#include "engine/forward.h"
#include "engine/kv_cache.h"

/* Everything a block-causal session has beyond the buffers of a session. */
struct laci_block_memory {
    laci_kv_cache cache;
    size_t pass_rows; /* most rows of a pass: whole decoding blocks */
    /* Partial attention: f32 [pass_rows, n_heads * d_head], f32 [n_heads, pass_rows]; [0] adds up
     */
    laci_buf *part[2], *part_lse[2];
    void *host;         /* owned, holds the arrays below: [pass_rows] each */
    uint32_t *limits;   /* keys a row reads, of the sequence */
    uint32_t *in_piece; /* the same, of a piece */
    int32_t *rows;      /* rows of a pass, or their positions */
};

/* Rows of a pass, and bytes of the memory above without the cache. */
size_t laci_block_pass_rows(const laci_config *config, size_t n_ctx);
size_t laci_block_bytes(const laci_config *config, size_t n_ctx);
/* Bytes of the whole cache. */
size_t laci_block_cache_need(const laci_config *config, laci_dtype act, size_t n_ctx);

/* Takes the memory, not yet the cache's pieces. Errors: ENOMEM. */
lac_status laci_block_memory_new(lac_session *s, lac_error *err);
void laci_block_memory_free(lac_session *s);

typedef struct {
    const int32_t *ids; /* [n] token ids, no holes */
    size_t first, n;    /* their positions: [first, first + n), from a block border, n <= pass_rows,
                           within one piece of the cache; everything before is in the cache */
    const int32_t *rows; /* [n_rows] positions whose logits are wanted, never falling */
    size_t n_rows;
    laci_row_sink sink; /* as in laci_pass; gets rows from first_row on */
    size_t first_row;
    laci_clock *clock; /* added to; NULL = not timed */
} laci_block_pass;

/* Runs the pass. Row i sees everything before its block and its whole block, as far as the pass
 * goes. Errors: what the sink reports. */
lac_status laci_block_forward(lac_session *s, const laci_block_pass *pass, lac_error *err);

#endif
