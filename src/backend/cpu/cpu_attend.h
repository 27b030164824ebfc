/* cpu_attend.h: attention over packed keys on the CPU: obeys plans, gathers statistics, merges
 * partial results. Entries of the CPU backend's table; see backend.h for what each does. */
#ifndef LACI_BACKEND_CPU_ATTEND_H
#define LACI_BACKEND_CPU_ATTEND_H

#include "backend/backend.h"

void laci_cpu_attend(laci_backend *be, const laci_plan *plan, const laci_attention *a);
void laci_cpu_column_mass(laci_backend *be, const laci_attention *a, size_t q_group, size_t first,
                          size_t n_groups, laci_buf *out);
void laci_cpu_merge(laci_backend *be, laci_buf *out, laci_buf *lse, const laci_buf *other,
                    const laci_buf *other_lse, size_t n_batch, size_t n_q, size_t n_heads,
                    size_t d_head);

/* Scratch one thread needs; n_ctx and stats_block as in laci_scratch_dims. */
size_t laci_cpu_attend_scratch(size_t d, size_t n_ctx, size_t stats_block);

#endif
