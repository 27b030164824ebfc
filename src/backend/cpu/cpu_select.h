/* cpu_select.h: selection on the CPU: bounds and scores of pages, the k largest, rows by index.
 * Entries of the CPU backend's table; see backend.h for what each does. */
#ifndef LACI_BACKEND_CPU_SELECT_H
#define LACI_BACKEND_CPU_SELECT_H

#include "backend/backend.h"

lac_status laci_cpu_pages_new(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                              lac_error *err);
lac_status laci_cpu_pages_new_i8(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                                 lac_error *err);
void laci_cpu_page_bounds(laci_backend *be, const laci_kv *kv, const laci_pages *pages,
                          size_t batch, size_t from, size_t n_keys);
void laci_cpu_select_pages(laci_backend *be, const laci_page_query *query,
                           const laci_id_lists *lists);
void laci_cpu_top_k(laci_backend *be, const laci_ranking *ranking, const laci_id_lists *lists);
void laci_cpu_gather_rows(laci_backend *be, laci_dtype type, const laci_buf *x, const int32_t *rows,
                          size_t n, size_t d, laci_buf *out);
void laci_cpu_scatter_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                           const int32_t *rows, size_t n, size_t d, laci_buf *out);

/* Scratch one thread needs; n_pages and n_ranked as in laci_scratch_dims. */
size_t laci_cpu_select_scratch(size_t d, size_t n_pages, size_t n_ranked);

#endif
