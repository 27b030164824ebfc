/* plan.h: building, checking and measuring plans: which keys each group of queries reads. A policy
 * writes a plan, laci_backend_attend obeys it, neither knows the other. The structure itself is in
 * backend/backend.h; this file owns its memory. */
#ifndef LACI_ATTENTION_PLAN_H
#define LACI_ATTENTION_PLAN_H

#include "backend/backend.h"

/* A plan with storage that only grows at reserve: rewriting it allocates nothing. */
typedef struct {
    laci_plan plan; /* what a backend reads; points into the storage below */
    lac_allocator mem;
    uint32_t *row_ptr; /* owned, [row_capacity + 1] */
    uint32_t *cols;    /* owned, [col_capacity] */
    size_t row_capacity, col_capacity;
    size_t n_written; /* rows ended so far */
} laci_plan_store;

/* Takes room for `n_rows` rows over all heads and `n_cols` entries. Keeps nothing of the old plan.
 * Errors: ENOMEM. */
lac_status laci_plan_reserve(laci_plan_store *store, size_t n_rows, size_t n_cols,
                             const lac_allocator *mem, lac_error *err);
void laci_plan_clear(laci_plan_store *store);

/* Starts a new plan over all queries; rows are then written head by head, in order. */
void laci_plan_begin(laci_plan_store *store, size_t q_block, size_t k_block, size_t n_heads,
                     size_t n_rows);
/* Adds key blocks [first, end) to the row being written; ids must ascend within a row.
 * Errors: EINTERNAL when the reserve was too small. */
lac_status laci_plan_add(laci_plan_store *store, size_t first, size_t end, lac_error *err);
/* Ends the row being written. */
void laci_plan_end_row(laci_plan_store *store);

/* Restricts the plan to some queries: [n] ascending positions, borrowed; NULL = all. */
void laci_plan_set_active(laci_plan_store *store, const int32_t *active, size_t n);

/* Checks the second law of policies: ids in range, ascending and unique, no empty row for an active
 * query, every row written. A plan has 1 pattern, n_heads, or n_heads for each sequence of a batch.
 * Errors: EINTERNAL naming head, row and id. */
lac_status laci_plan_validate(const laci_plan *plan, size_t n_q, size_t n_k, size_t n_heads,
                              lac_error *err);

/* Visited over total (query, key) pairs, counted on tokens: ragged ends count what they hold. */
double laci_plan_density(const laci_plan *plan, size_t n_q, size_t n_k);

#endif
