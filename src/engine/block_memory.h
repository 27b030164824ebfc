/* block_memory.h: what the session of a block-causal model holds beside its buffers: for each
 * sequence the key cache and what a policy that reads part of the prefix remembers, and once what a
 * pass needs while it runs. Sized once; only the caches grow. */
#ifndef LACI_ENGINE_BLOCK_MEMORY_H
#define LACI_ENGINE_BLOCK_MEMORY_H

#include "engine/forward.h"
#include "engine/kv_cache.h"

/* What the attention of one pass over a sequence read. */
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
    int step_chosen;     /* in which pages were last chosen; -1 = none are */
} laci_block_layer;

/* Of one sequence. */
struct laci_block_state {
    laci_kv_cache cache;
    laci_block_stats stats; /* of the last pass */
    void *host;             /* owned, holds the arrays below that do not say otherwise */
    /* Of a policy that reads part of the prefix. */
    laci_pages *pages;       /* [n_layers] bounds of the final keys, owned, or NULL */
    laci_block_layer *layer; /* [n_layers] */
    int32_t *last_ids;       /* [block] input of the step before */
    bool *is_new;            /* [block] ids that differ from it */
    int step, n_tokens;      /* of the active block: steps run, ids that changed */
    laci_buf *counts;        /* u32 [n_layers, 2] what a device read by its own choice, or NULL */
    uint32_t *read;          /* [n_layers, 2] the same, once it is known */
    size_t n_unsettled;      /* reads of this pass that are not in `stats` yet */
};

/* Of all sequences together: nothing here outlives a pass. */
struct laci_block_memory {
    laci_prefix how;
    size_t pass_rows; /* most rows of a pass over one sequence: whole decoding blocks */
    size_t n_rows;    /* most rows of passes over several that run as one */
    /* Partial attention: f32 [n_rows, n_heads * d_head], f32 [n_heads, n_rows] */
    laci_buf *part[2], *part_lse[2];
    laci_buf *x, *q, *o, *y;  /* views: rows of the sequence under way in the session's buffers */
    void *host;               /* owned, holds the arrays below */
    uint32_t *limits;         /* [n_rows] keys a row reads, of the sequence */
    uint32_t *in_piece;       /* [n_rows] the same, of a piece */
    int32_t *rows;            /* [n_rows] rows of a pass, or their positions */
    int32_t *ids, *positions; /* [n_rows] of the rows that run as one */
    int32_t *wanted;          /* [n_rows] positions of the rows the last layer is run for */
    laci_row_part *parts;     /* [n_sequences] whose rows these are */

    /* Of a policy that reads part of the prefix; a block is at most `block` rows. */
    size_t block, list_size, n_lists;
    laci_buf *active_q; /* act [block, n_heads * d_head], or d_model if that is more */
    laci_buf *columns, *piece_columns, *pooled; /* mass of keys and of pages, measured */
    /* Masses of pages by row, piece after piece f32 [n_heads * n_pass, pages of the piece], and
     * what they are measured from; NULL = keys are measured. Views: of one piece. */
    laci_buf *masses, *bases, *piece_masses, *piece_bases;
    laci_plan_store plan, piece_plan;
    int32_t *active;        /* [block] */
    int32_t *lse_at;        /* [n_heads * block] where rows of a partial log-sum-exp belong */
    laci_row_drift *drift;  /* [block] */
    double *change, *size;  /* [block] */
    bool *marks;            /* [list_size] */
    const laci_kv **pieces; /* [LACI_CACHE_PIECES] of a layer under way */
};

/* Most rows of a pass over one sequence, and of passes over so many that run as one: one that may
 * be a chunk of a prompt, the others a block each. */
size_t laci_block_pass_rows(const laci_config *config, size_t n_ctx);
size_t laci_block_all_rows(const laci_config *config, size_t n_ctx, size_t n_sequences);

/* Bytes of a whole cache, and of the memory above without the caches. */
size_t laci_block_cache_need(const laci_config *config, laci_dtype act, size_t n_ctx);
size_t laci_block_bytes(const laci_config *config, laci_dtype act, size_t n_ctx, size_t n_sequences,
                        const laci_prefix *how);

/* Keys of which statistics by page are gathered at once, 0 = none are. */
size_t laci_block_stats_keys(const laci_config *config, size_t n_ctx, const laci_prefix *how);

/* Takes the memory, not yet the caches' pieces, for s->chosen.settings.prefix and the session's
 * sequences. Errors: ENOMEM; then what was taken is freed with the session. */
lac_status laci_block_memory_new(lac_session *s, lac_error *err);
void laci_block_memory_free(lac_session *s);

#endif
