/* plan_rows.h: how a backend reads a plan: which pattern a head has, which queries a plan row
 * holds, whether two rows list the same keys, how many heads fit a tile. Arithmetic that every
 * device's attention begins with. Private to backend/. */
#ifndef LACI_BACKEND_PLAN_ROWS_H
#define LACI_BACKEND_PLAN_ROWS_H

#include <string.h>

#include "backend/backend.h"

/* Index of row `row` of the pattern of a head of a sequence; n_heads is the layer's. */
static inline size_t laci_plan_row_of(const laci_plan *plan, size_t n_heads, size_t batch,
                                      size_t head, size_t row)
{
    size_t pattern = 0;
    if (plan->n_heads > 1) pattern = plan->n_heads > n_heads ? batch * n_heads + head : head;
    return pattern * plan->n_rows + row;
}

/* Whether two rows list the same blocks. */
static inline bool laci_plan_same_keys(const laci_plan *plan, size_t a, size_t b)
{
    const size_t n = plan->row_ptr[a + 1] - plan->row_ptr[a];
    return a == b || (plan->row_ptr[b + 1] - plan->row_ptr[b] == n &&
                      !memcmp(plan->cols + plan->row_ptr[a], plan->cols + plan->row_ptr[b],
                              n * sizeof *plan->cols));
}

/* Index of the first of n_q queries at or after a position. */
static inline size_t laci_plan_first_query(const laci_plan *plan, size_t n_q, size_t position)
{
    if (!plan->active) return position < n_q ? position : n_q;
    size_t begin = 0, end = plan->n_active;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if ((size_t)plan->active[middle] < position)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Heads of a KV group that fit one tile of most_rows with n queries each: a divisor of the group.
 */
static inline size_t laci_heads_per_tile(const laci_attention *a, size_t n, size_t most_rows)
{
    const size_t group = a->n_heads / a->kv->n_kv_heads;
    for (size_t heads = group; heads > 1; heads--)
        if (group % heads == 0 && heads * n <= most_rows) return heads;
    return 1;
}

#endif
