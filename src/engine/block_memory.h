/* block_memory.h: what the session of a block-causal model holds beside its buffers: the key cache,
 * partial attention, and what a policy that reads part of the prefix remembers. Sized once; only
 * the cache grows. */
#ifndef LACI_ENGINE_BLOCK_MEMORY_H
#define LACI_ENGINE_BLOCK_MEMORY_H

#include "engine/kv_cache.h"
#include "engine/session.h"

/* What the attention of one pass read. */
typedef struct {
    double density;   /* sum over layers of visited over total (query, key) pairs */
    double inflation; /* sum over lists of the union's size over a row's own budget */
    double active;    /* sum over layers of rows that read the prefix */
    size_t n_layers, n_lists;
    uint64_t bytes; /* keys, values and page bounds */
} laci_block_stats;

/* What one layer remembers of the active block; [0] alone where rows keep nothing. */
typedef struct {
    laci_buf *o, *lse;   /* prefix attention: f32 [block, n_heads * d_head], [n_heads, block] */
    laci_buf *q;         /* act [block, n_heads * d_head] queries these came from, or with
                            how.by_hidden [block, d_model] inputs of the layer */
    laci_id_lists lists; /* selected ids; memory owned by the host array */
    int step_read;       /* step of the block in which it last read everything */
    int tokens_read;     /* n_tokens then */
} laci_block_layer;

struct laci_block_memory {
    laci_prefix how;
    laci_kv_cache cache;
    size_t pass_rows; /* most rows of a pass: whole decoding blocks */
    /* Partial attention: f32 [pass_rows, n_heads * d_head], f32 [n_heads, pass_rows] */
    laci_buf *part[2], *part_lse[2];
    void *host;         /* owned, holds the arrays below */
    uint32_t *limits;   /* [pass_rows] keys a row reads, of the sequence */
    uint32_t *in_piece; /* [pass_rows] the same, of a piece */
    int32_t *rows;      /* [pass_rows] rows of a pass, or their positions */

    /* Of a policy that reads part of the prefix; a block is at most `block` rows. */
    size_t block, list_size, n_lists;
    laci_pages *pages;       /* [n_layers] bounds of the final keys, or NULL */
    laci_block_layer *layer; /* [n_layers] */
    laci_buf *active_q;      /* act [block, n_heads * d_head], or d_model if that is more */
    laci_buf *columns, *piece_columns, *pooled; /* mass of keys and of pages, measured */
    laci_plan_store plan, piece_plan;
    int32_t *active;       /* [block] */
    int32_t *lse_at;       /* [n_heads * block] where rows of a partial log-sum-exp belong */
    laci_row_drift *drift; /* [block] */
    double *change, *size; /* [block] */
    int32_t *last_ids;     /* [block] input of the step before */
    bool *is_new;          /* [block] ids that differ from it */
    bool *marks;           /* [list_size] */
    int step, n_tokens;    /* of the active block: steps run, ids that changed */
    laci_block_stats stats;
};

/* Rows of a pass, bytes of the whole cache, and of the memory above without it. */
size_t laci_block_pass_rows(const laci_config *config, size_t n_ctx);
size_t laci_block_cache_need(const laci_config *config, laci_dtype act, size_t n_ctx);
size_t laci_block_bytes(const laci_config *config, laci_dtype act, size_t n_ctx,
                        const laci_prefix *how);

/* Takes the memory, not yet the cache's pieces, for s->chosen.prefix. Errors: ENOMEM; then what was
 * taken is freed with the session. */
lac_status laci_block_memory_new(lac_session *s, lac_error *err);
void laci_block_memory_free(lac_session *s);

#endif
