/* generation.h: one generation under way, as a sequence of turns: each prepares a forward pass,
 * waits for it and draws the conclusions. Turns of several generations may share one forward pass;
 * none knows of the others. The denoising loop (denoise.c) and the block-wise route (block.c) share
 * it. */
#ifndef LACI_ENGINE_GENERATION_H
#define LACI_ENGINE_GENERATION_H

#include "engine/pass.h"

/* What the next forward pass is for. */
typedef enum {
    LACI_TURN_PREFILL, /* a chunk of the prompt goes into the key cache */
    LACI_TURN_STEP,    /* open holes of the active block are proposed and decided */
    LACI_TURN_COMMIT,  /* the finished block goes into the key cache */
    LACI_TURN_DONE,    /* nothing */
} laci_turn;

typedef struct {
    lac_session *s;
    laci_sequence *seq; /* of s; what this generation changes */
    const laci_config *config;
    lac_generate_options opt; /* resolved */
    laci_choice_rule rule;
    laci_schedule schedule;
    laci_turn turn;
    lac_status status; /* why it ended early, with the error */
    lac_error error;
    size_t n;          /* canvas length, and the rest of the last block where it is denoised too */
    size_t n_shown;    /* canvas length as asked for: what callers see */
    int n_holes;       /* of n */
    int n_left;        /* open ones of n_shown */
    int tail_begin;    /* canvas position from which holes run to the end: text that may end */
    int step, n_steps; /* running number and plan */
    int block;         /* under way */
    int hole_begin, hole_end;      /* its holes, by index into the list of holes */
    int block_step, n_block_steps; /* its own number and plan */
    int n_candidates;              /* open holes of the active block (or sub-block) in this step */
    bool shift, guided;
    bool stopped, cancelled;
    int broken;          /* candidate of this turn whose logits are not finite, -1 = none */
    bool is_head_broken; /* what its logits were made of was finite */
    int forwards;
    double start, seconds; /* clock at the beginning; of the whole, once done */
    double seconds_forward;
    double density, kept_mass; /* of the last pass */
    double density_sum;        /* over forward passes */
    /* block-wise */
    int sub_block;             /* positions decided together inside a block; 0 = the block */
    bool has_more;             /* the block has open holes outside the sub-blocks of this step */
    size_t first_row, end_row; /* positions that a step runs: the canvas, or the active block, holes
                                  past the canvas included */
    size_t n_stored, n_prompt; /* positions in the cache, and to be there before the first step */
    size_t n_reused;           /* of these there before the generation */
    double seconds_prefill;
    int drafts; /* forward passes of steps, guidance included */
    /* what the last step read beside its density, and sums over steps */
    double n_active, union_inflation, active_sum, inflation_sum;
    uint64_t bytes_read, bytes_sum;
    int n_selected; /* steps that selected */
} laci_generation;

/* Lays the canvas of a generation in `seq` and takes what memory it still needs, up to the first
 * block's. Errors: EINVAL, ECONTEXT, ENOMEM. */
lac_status laci_generation_begin(laci_generation *g, lac_session *s, laci_sequence *seq,
                                 const int32_t *ids, size_t n_ids, const lac_generate_options *opt,
                                 lac_error *err);

/* Bytes that laci_generation_begin takes for a request of n_holes holes in all, besides its key
 * cache. Errors: what the policy says. */
lac_status laci_generation_bytes(const lac_session *s, const laci_sequence *seq, size_t n_holes,
                                 const lac_generate_options *opt, uint64_t *bytes, lac_error *err);

/* One turn of each of n generations of one session, none of them done, in one forward pass; block-
 * wise ones those in LACI_TURN_STEP first. What fails ends the generation it concerns.
 *
 *   rows   [n] room for what their passes run
 */
void laci_generation_turn(laci_generation *const *g, size_t n, laci_rows *rows);

/* Ends a generation where it stands, unless it is done. */
void laci_generation_cancel(laci_generation *g);

/* Outcome of a generation that is done; the result also on ECANCELLED. */
lac_status laci_generation_outcome(const laci_generation *g, lac_result *result, lac_error *err);

double laci_generation_now(void);

/* Rows of the pass of the next turn; candidates of a step are listed already. */
laci_rows laci_generation_rows(laci_generation *g);

/* Takes note of what a pass read. Waits for a device that did not tell. */
void laci_generation_note(laci_generation *g, const laci_rows *rows);

#endif
