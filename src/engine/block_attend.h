/* block_attend.h: attention of rows behind a key cache: everything in one call, or in the parts a
 * policy chose, merged exactly by log-sum-exp. */
#ifndef LACI_ENGINE_BLOCK_ATTEND_H
#define LACI_ENGINE_BLOCK_ATTEND_H

#include "engine/block_memory.h"
#include "engine/layer.h"

/* One sequence in one layer: rows at positions [first, first + n_pass) or some of them; keys up to
 * first + n_pass are stored. Queries are in the view m->q, what comes out goes into m->o. */
typedef struct {
    laci_layer_run run;
    laci_block_memory *m;
    laci_block_state *seq;
    size_t layer;
    size_t first, n_pass;
    lac_plan_fn on_plan; /* sees what a policy selects; NULL = none */
    void *user;
    int gen_step; /* of the generation, for on_plan */
} laci_block_run_state;

/* n queries at `positions` (host), over everything up to the end of their blocks. */
void laci_block_attend_whole(const laci_block_run_state *c, const int32_t *positions, size_t n);

/* All rows of the active block, as the policy decides. Errors: EINTERNAL. */
lac_status laci_block_attend_draft(const laci_block_run_state *c, lac_error *err);

/* Completes the statistics of the pass over c->seq, whose last rows are [first, first + n_pass), by
 * what a device kept to itself. Waits for it. */
void laci_block_settle(const laci_block_run_state *c);

/* Bounds of the pages that final keys of this pass are in. */
void laci_block_update_pages(const laci_block_run_state *c);

#endif
