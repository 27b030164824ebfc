/* saved_plan.h: lac_plan, a plan that outlives the pass that made it: bits, the CSR form that is
 * run, and what each pattern kept. Made by attention.c from masses, by plan_file.c from bytes. */
#ifndef LACI_ATTENTION_SAVED_PLAN_H
#define LACI_ATTENTION_SAVED_PLAN_H

#include "attention/pattern.h"
#include "lacuna_attention.h"

enum {
    LACI_PLAN_MAX_TOKENS = 1 << 24, /* queries or keys of a sequence */
    LACI_PLAN_MAX_HEADS = 1 << 16,  /* and sequences of a batch */
};

/* Sequences, query heads, queries, keys, tokens of a block; keys before n_prompt are the prompt. */
typedef struct {
    size_t n_batch, n_heads, n_q, n_k, block, n_prompt;
} laci_plan_dims;

struct lac_plan {
    lac_allocator mem;
    laci_plan_dims dims;
    laci_pattern pattern; /* n_batch * n_heads patterns */
    uint64_t *bits;       /* owned */
    float *kept;          /* owned, [n_patterns] */
    float *density;       /* owned, [n_patterns] */
    double total_density;
    laci_plan_store store;
};

/* Room for a plan of these dimensions, in range, that keeps nothing yet. Free with lac_plan_free.
 * Errors: ENOMEM. */
lac_status laci_saved_plan_new(lac_plan **out, const laci_plan_dims *dims, const lac_allocator *mem,
                               lac_error *err);

/* Makes the form that is run from the bits, none of which may lie past the last key block, and
 * checks it. Errors: ENOMEM, EUNSUPPORTED (more than 2^32 entries), EINTERNAL (an empty row). */
lac_status laci_saved_plan_finish(lac_plan *plan, lac_error *err);

#endif
