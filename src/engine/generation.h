/* generation.h: one generation under way: what the denoising loop (denoise.c) and the block-wise
 * route (block.c) share. */
#ifndef LACI_ENGINE_GENERATION_H
#define LACI_ENGINE_GENERATION_H

#include "engine/forward.h"

typedef struct {
    lac_session *s;
    const laci_config *config;
    lac_generate_options opt; /* resolved */
    laci_choice_rule rule;
    laci_schedule schedule;
    size_t n; /* canvas length */
    int n_holes, n_left;
    int tail_begin;    /* canvas position from which holes run to the end: text that may end */
    int step, n_steps; /* running number and plan */
    int block;         /* under way */
    int n_candidates;  /* open holes of the active block (or sub-block) in this step */
    bool shift, guided;
    bool stopped, cancelled;
    int forwards;
    double seconds_forward;
    double density_sum; /* over forward passes */
    laci_clock *clock;  /* of block-wise steps, added to; NULL = not timed */
    /* block-wise */
    bool is_blockwise;
    int sub_block; /* positions decided together inside a block; 0 = the block */
    bool has_more; /* the block has open holes after its active sub-block */
    size_t block_begin,
        block_end; /* positions of the active block, holes past the canvas included */
    double seconds_prefill;
    int drafts; /* forward passes of steps, guidance included */
    /* what the last step read beside s->density, and sums over steps */
    double n_active, union_inflation, active_sum, inflation_sum;
    uint64_t bytes_read, bytes_sum;
    int n_selected; /* steps that selected */
} laci_generation;

double laci_generation_now(void);

/* Writes the decision, the first n_fixed of s->candidates, to the canvas and its companions. */
void laci_generation_commit(laci_generation *g, size_t n_fixed);

/* Whether an end token closes the text and nothing before it is open. */
bool laci_generation_has_ended(const laci_generation *g);

/* Calls on_step for holes [begin, end) of the list. */
void laci_generation_report(laci_generation *g, int block, int begin, int end, size_t n_fixed,
                            double seconds);

/* A sink that turns final rows to s->choices, for rows s->rows with streams s->keys; user is the
 * generation. */
lac_status laci_generation_choose(void *user, size_t first, size_t n, lac_error *err);

#endif
