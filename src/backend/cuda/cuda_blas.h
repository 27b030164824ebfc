/* cuda_blas.h: matrix products by cuBLAS, loaded when the backend opens, so that the program needs
 * no library of CUDA to start. The only file that knows cuBLAS is cuda_blas.c. */
#ifndef LACI_BACKEND_CUDA_BLAS_H
#define LACI_BACKEND_CUDA_BLAS_H

#include "base/alloc.h"

typedef struct laci_cu_blas laci_cu_blas;

/* NULL when the library is not installed or fails to start. LAC_CUBLAS names a file to load in its
 * place; empty = none, the plain product. */
laci_cu_blas *laci_cu_blas_open(const lac_allocator *mem);
void laci_cu_blas_close(laci_cu_blas *blas, const lac_allocator *mem);

/* y f32 [n, n_out] = x [n, n_in] times w [n_out, n_in], both bf16 or both f32, on the default
 * stream. False when the library fails. */
bool laci_cu_blas_product(laci_cu_blas *blas, bool bf16, const void *x, const void *w, float *y,
                          size_t n, size_t n_out, size_t n_in);

#endif
