/* session.h: all mutable memory of generations, sized once: what each of them changes in sequences,
 * what a pass needs while it runs in buffers that they share. The layout below is used twice: to
 * take the memory and to predict it. */
#ifndef LACI_ENGINE_SESSION_H
#define LACI_ENGINE_SESSION_H

#include "attention/policy.h"
#include "engine/sampler.h"
#include "model/model.h"

/* Buffers of the backend; n_pass rows are those of the longest pass: n_ctx, or of a block-causal
 * model some blocks; n_pad rows are these rounded up for products, R = chunk_rows. */
typedef enum {
    LACI_BUF_H,      /* f32 [n_pass, d_model] residual stream */
    LACI_BUF_Q,      /* act [n_pad, n_heads * d_head] */
    LACI_BUF_O,      /* act [n_pad, n_heads * d_head] attention output */
    LACI_BUF_X,      /* act [R, widest input of a product] */
    LACI_BUF_Y,      /* f32 [R, widest output of a layer's product] */
    LACI_BUF_Z,      /* f32 [R, d_ff] */
    LACI_BUF_TAIL,   /* f32 [R, d_model] residual of the rows whose logits are wanted */
    LACI_BUF_COS,    /* f32 [n_ctx, rope_dim / 2] */
    LACI_BUF_SIN,    /* f32 [n_ctx, rope_dim / 2] */
    LACI_BUF_LOGITS, /* f32 [logit_rows, n_vocab] */
    /* what the policy measures, laci_measures; empty where it measures nothing */
    LACI_BUF_MASS,
    LACI_BUF_LATE,
    LACI_BUF_LSE,
    LACI_BUF_COLUMNS,
    LACI_BUF_PROBE_Q,
    LACI_BUF_PROBE_O,
    LACI_N_BUFS,
} laci_session_buf;

typedef struct {
    size_t n_ctx, n_sequences, n_pass, n_pad;
    size_t chunk_rows; /* rows of one pass through the products */
    size_t logit_rows; /* rows of one chunk of logits */
    size_t bytes[LACI_N_BUFS];
    size_t kv_bytes;    /* keys and values: of one layer, or of all caches */
    size_t host_bytes;  /* canvas and its companions, of one sequence */
    size_t block_bytes; /* laci_block_memory and every laci_block_state, of a block-causal model */
    /* of the attention policy */
    size_t state_bytes;          /* for one pass */
    size_t n_plans;              /* as many as layers, or 1 where all share one */
    size_t plan_rows, plan_cols; /* room of each */
    size_t policy_bytes;         /* state, plans and shown masses together */
    size_t shown_bytes;          /* of measured masses for lac_plan_view, 0 = not shown */
    size_t n_pages, n_ranked;    /* most pages scored and scores ranked behind a key cache */
    size_t stats_keys;           /* of which statistics are gathered at once, 0 = none are */
    size_t stats_block;          /* smallest key block of those */
} laci_session_layout;

/* The policy a session runs, before it has memory. `shape` points into `settings`. */
typedef struct {
    const laci_policy *asked; /* what was chosen */
    const laci_policy
        *policy; /* what plans whole canvases: the same, or dense behind a key cache */
    laci_settings settings;
    laci_shape shape;
    char reason[LACI_REASON];
} laci_chosen;

/* What a session is asked to hold. */
typedef struct {
    const laci_config *config;
    laci_dtype act;
    size_t n_ctx;       /* positions of a sequence */
    size_t n_sequences; /* more than 1 only of block-causal models */
    const lac_session_options *opt;
} laci_session_room;

/* Everything about a session that depends on its options. `chosen` must not move afterwards.
 * Errors: as laci_policy_choose. */
lac_status laci_session_plan(const laci_session_room *room, laci_chosen *chosen,
                             laci_session_layout *out, lac_error *err);

/* The public lac_session_create for n_sequences that are generated side by side. */
lac_status laci_session_new(lac_session **out, const lac_model *model,
                            const lac_session_options *opt, size_t n_sequences, lac_error *err);

/* The public lac_session_plan_memory for as many. */
lac_status laci_session_plan_memory(const lac_model *model, const lac_session_options *opt,
                                    size_t n_sequences, lac_memory_plan *out, lac_error *err);

/* Prepares the policy for a generation of n_passes forward passes a step. Takes memory for its
 * second pass the first time. Errors: ENOMEM, what the policy reports. */
lac_status laci_session_begin(lac_session *s, size_t n_passes, lac_error *err);

/* What a block-causal model's session and its sequences have beside: engine/block_memory.h. */
typedef struct laci_block_memory laci_block_memory;
typedef struct laci_block_state laci_block_state;

/* What a pass that is repeated to find numbers that are not finite looks for: engine/watch.h. */
typedef struct laci_watch laci_watch;

/* What one generation changes: the canvas and its companions, [n_ctx] each, one allocation. */
typedef struct {
    void *host;
    int32_t *canvas;   /* ids, LAC_HOLE where open */
    int32_t *input;    /* ids with the mask token in the holes */
    int32_t *unguided; /* the same with the given positions masked too */
    int32_t *holes;    /* positions to fill, ascending */
    int32_t *step_map, *proposed;
    int32_t *rows;          /* rows of logits a step asks for */
    int32_t *seen_position; /* of the logits handed to the caller */
    float *confidence, *logprob;
    uint64_t *keys;
    laci_choice *choices;
    laci_candidate *candidates;
    int32_t *out_ids, *out_position, *out_step; /* the result, cut */
    float *out_logprob;
    laci_block_state *block; /* owned; NULL for models that see the whole canvas */
} laci_sequence;

struct lac_session {
    lac_allocator mem;
    const lac_model *model;
    laci_backend *be;
    unsigned quirks; /* as it was created with */
    laci_session_layout layout;
    laci_buf *buf[LACI_N_BUFS];
    laci_block_memory *block; /* owned; NULL for models that see the whole canvas */
    laci_kv kv;               /* of the layer under way; none behind a key cache */
    laci_buf *guide_rows;     /* act: unguided rows of a step, only while guidance is on */
    laci_buf *guide_logits;   /* f32 [logit_rows, n_vocab], likewise */
    size_t guide_capacity;    /* rows guide_rows holds */
    float *seen_logits;       /* [logit_rows, n_vocab] for the caller, once asked for */

    laci_chosen chosen;
    const laci_policy *policy; /* chosen.policy */
    void *policy_state;
    size_t n_passes;        /* the state has room for */
    laci_plan_store *plans; /* [n_layers], or [1] where all layers share one */
    size_t n_plans;
    float *shown;     /* copy of measured masses for lac_plan_view; NULL = not shown */
    double density;   /* visited over total pairs of the last pass, mean over layers */
    double kept_mass; /* of the softmax under the plans of the last pass, NAN = not known */

    laci_sequence *seq; /* [layout.n_sequences] owned; lac_generate uses the first */
    bool is_running;    /* lac_generate: a callback may be under way */
    laci_watch *watch;  /* of the pass under way; NULL = none */
};

#endif
