/* session.h: all mutable memory of generations, sized once: what each of them changes in sequences,
 * what a pass needs while it runs in buffers that they share. The layout (layout.c) is used twice:
 * to take the memory and to predict it. */
#ifndef LACI_ENGINE_SESSION_H
#define LACI_ENGINE_SESSION_H

#include "attention/policy.h"
#include "engine/keys.h"
#include "engine/sampler.h"
#include "model/model.h"

/* Buffers of the backend; n_pad rows are n_pass rounded up for products, R = chunk_rows. */
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
    /* two parts of attention that are merged: f32 [seq_rows, n_heads * d_head], [n_heads,
     * seq_rows]; these and all that follow are empty where they are not needed */
    LACI_BUF_PART,
    LACI_BUF_PART_LSE,
    LACI_BUF_MORE,
    LACI_BUF_MORE_LSE,
    /* what the policy measures, laci_measures */
    LACI_BUF_MASS,
    LACI_BUF_LATE,
    LACI_BUF_LSE,
    LACI_BUF_COLUMNS,
    LACI_BUF_PAGES,
    LACI_BUF_PROBE_Q,
    LACI_BUF_PROBE_O,
    LACI_BUF_ROW_Q,         /* act [block, ..] queries of the rows that read */
    LACI_BUF_ROW_MASS,      /* masses of pages by row, piece after piece */
    LACI_BUF_ROW_BASE,      /* and what they are measured from */
    LACI_BUF_PIECE_COLUMNS, /* as COLUMNS, of one piece */
    LACI_N_BUFS,
} laci_session_buf;

/* Views: rows of the sequence under way in buffers, and one piece's part of two of them. */
typedef enum {
    LACI_VIEW_X,
    LACI_VIEW_Q,
    LACI_VIEW_O,
    LACI_VIEW_Y,
    LACI_VIEW_MASS,
    LACI_VIEW_BASE,
    LACI_N_VIEWS
} laci_session_view;

typedef struct {
    size_t n_ctx, n_sequences;
    size_t block;      /* positions of a decoding block, whose keys are kept once it is final; 0 =
                          every pass runs a whole canvas */
    size_t n_kept;     /* layers whose keys are kept: all, or 1 that the next overwrites */
    size_t seq_rows;   /* most rows of a sequence in a pass */
    size_t n_pass;     /* most rows of a pass */
    size_t n_pad;      /* these rounded up for products */
    size_t chunk_rows; /* rows that go through the products at once */
    size_t logit_rows; /* rows of one chunk of logits */
    size_t bytes[LACI_N_BUFS];
    size_t kv_bytes;    /* of all keys and values */
    size_t host_bytes;  /* canvas and its companions, of one sequence */
    size_t array_bytes; /* laci_pass_arrays */
    laci_policy_sizes policy;
    size_t kept_out, kept_lse, kept_ref, counts; /* bytes of laci_kept; of what a device tells */
    size_t policy_bytes; /* of states, of what sequences keep, plans and shown masses together */
    size_t shown_bytes;  /* of measured masses for lac_plan_view, 0 = not shown */
} laci_session_layout;

/* The policy a session runs, before it has memory. `shape` points into `settings`. */
typedef struct {
    const laci_policy *policy;
    laci_settings settings;
    laci_shape shape;
    char reason[LACI_REASON];
} laci_chosen;

/* What a session is asked to hold. */
typedef struct {
    const laci_config *config;
    laci_dtype act;
    size_t n_ctx; /* positions of a sequence */
    size_t n_sequences;
    const lac_session_options *opt;
} laci_session_room;

/* Everything about a session that depends on its options. `chosen` must not move afterwards.
 * Errors: as laci_policy_choose. */
lac_status laci_session_plan(const laci_session_room *room, laci_chosen *chosen,
                             laci_session_layout *out, lac_error *err);

/* The same for a policy that is chosen; opt is not looked at. Errors: what the policy says. */
lac_status laci_session_lay_out(const laci_session_room *room, laci_chosen *chosen,
                                laci_session_layout *out, lac_error *err);

/* Keys of a sequence, without pieces. */
laci_keys laci_session_keys(const laci_config *config, const laci_session_layout *layout);

/* Scratch a backend needs for it. */
laci_scratch_size laci_session_scratch(const lac_model *model, const laci_session_layout *layout);

/* The public lac_session_create for n_sequences that are generated side by side. */
lac_status laci_session_new(lac_session **out, const lac_model *model,
                            const lac_session_options *opt, size_t n_sequences, lac_error *err);

/* The public lac_session_plan_memory for as many. */
lac_status laci_session_plan_memory(const lac_model *model, const lac_session_options *opt,
                                    size_t n_sequences, lac_memory_plan *out, lac_error *err);

/* Rows [first, first + n) of those that a pass wants; `pass` counts passes that run as one. */
typedef struct {
    size_t pass, first, n;
} laci_row_part;

/* What a pass that is repeated to find numbers that are not finite looks for: engine/watch.h. */
typedef struct laci_watch laci_watch;

/* What one generation changes: the canvas and its companions, [n_ctx] each, one allocation; its
 * keys; what the policy remembers of it. */
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
    uint64_t *keys; /* of random choices */
    laci_choice *choices;
    laci_candidate *candidates;
    int32_t *out_ids, *out_position, *out_step; /* the result, cut */
    float *out_logprob;
    laci_keys
        kv; /* its keys and values; canvases, which run one after the other, share the first's */
    size_t n_kept; /* of positions from 0 on, as the canvas has them, the keys are final and may be
                      taken over by the next generation */
    void *policy_state;
    size_t state_bytes, n_passes; /* of the state, and passes of a step it has room for */
    laci_kept *kept;              /* [layout.policy.n_kept] */
    laci_buf *counts;      /* u32 [n_layers, 2] what a device read by its own choice, or NULL */
    laci_read_stats stats; /* of the last pass */
} laci_sequence;

/* Prepares the policy for a generation of n_passes forward passes a step. Takes memory for its
 * second pass the first time. Errors: ENOMEM, what the policy reports. */
lac_status laci_session_begin(lac_session *s, laci_sequence *seq, size_t n_passes, lac_error *err);

/* Host memory of a pass. */
typedef struct {
    void *host;               /* owned */
    uint32_t *limits;         /* [n_pass] keys a row reads, of the sequence */
    uint32_t *in_piece;       /* [n_pass] the same, of a piece */
    int32_t *ids, *positions; /* [n_pass] of the rows that run as one */
    int32_t *wanted;          /* [chunk_rows] positions of the rows the last layer is run for */
    int32_t *rows;            /* [chunk_rows] where these are among all */
    laci_row_part *parts;     /* [n_sequences] whose rows they are */
    int32_t *lse_at;          /* [block * n_heads] where rows of a partial log-sum-exp belong */
    const laci_kv **pieces;   /* [LACI_KEY_PIECES] of the layer under way */
} laci_pass_arrays;

/* Sets the pointers to arrays in `memory`, which is aligned to LACI_ALIGN; NULL = only counts the
 * bytes. */
size_t laci_pass_arrays_carve(laci_pass_arrays *a, void *memory, const laci_session_layout *layout,
                              size_t n_heads);
size_t laci_sequence_carve(laci_sequence *s, void *memory, size_t n_ctx);

struct lac_session {
    lac_allocator mem;
    const lac_model *model;
    laci_backend *be;
    unsigned quirks; /* as it was created with */
    laci_session_layout layout;
    laci_buf *buf[LACI_N_BUFS];
    laci_buf *view[LACI_N_VIEWS];
    laci_pass_arrays arrays;
    laci_buf *guide_rows;   /* act: unguided rows of a step, only while guidance is on */
    laci_buf *guide_logits; /* f32 [logit_rows, n_vocab], likewise */
    size_t guide_capacity;  /* rows guide_rows holds */
    float *seen_logits;     /* [logit_rows, n_vocab] for the caller, once asked for */

    laci_chosen chosen;
    const laci_policy *policy;    /* chosen.policy */
    laci_plan_store plan;         /* of the layer under way; kept while the sequence is the same */
    laci_plan_store piece_plan;   /* what of it lies in a piece of the keys */
    const laci_sequence *planned; /* whose plan that is */
    float *shown;                 /* copy of measured masses for lac_plan_view; NULL = not shown */

    laci_sequence *seq; /* [layout.n_sequences] owned; lac_generate uses the first */
    bool is_running;    /* lac_generate: a callback may be under way */
    laci_watch *watch;  /* of the pass under way; NULL = none */
};

#endif
