/* cpu_rows.h: what block-wise decoding asks of rows and columns on the CPU. Private to backend/. */
#ifndef LACI_BACKEND_CPU_ROWS_H
#define LACI_BACKEND_CPU_ROWS_H

#include "backend/backend_ops.h"

void laci_cpu_row_changes(laci_backend *be, const laci_buf *x, const laci_buf *ref, size_t n,
                          size_t d, double *change, double *size);
void laci_cpu_pool_columns(laci_backend *be, const laci_buf *x, size_t n_rows, size_t stride,
                           size_t n, size_t page, laci_buf *out, size_t out_stride);
void laci_cpu_pool_masses(laci_backend *be, const laci_row_masses *rows, laci_buf *out,
                          size_t stride, size_t first);

#endif
