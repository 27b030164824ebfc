/* cuda_blas.h: matrix products by cuBLASLt, loaded when the backend opens, so that the program
 * needs no library of CUDA to start. How a shape is multiplied is asked of the library once and
 * kept. The only file that knows cuBLASLt is cuda_blas.c. */
#ifndef LACI_BACKEND_CUDA_BLAS_H
#define LACI_BACKEND_CUDA_BLAS_H

#include "backend/cuda/cuda_api.h"
#include "base/alloc.h"

/* Shapes that are kept, and device memory that products may use: what NVIDIA advises for compute
 * capability 9.0. */
enum { LACI_CU_BLAS_SHAPES = 64, LACI_CU_BLAS_BYTES = 32 << 20 };

typedef struct laci_cu_blas laci_cu_blas;

/* *out is NULL when the library is not installed or does not start, and the plain product is to do.
 * LAC_CUBLAS names a file to load in its place; empty = none. Errors: ENOMEM; EINVAL when
 * LAC_CUBLAS names what cannot be loaded, is no cuBLASLt, or does not start. */
lac_status laci_cu_blas_open(laci_cu_blas **out, const lac_allocator *mem, lac_error *err);
void laci_cu_blas_close(laci_cu_blas *blas, const lac_allocator *mem);

typedef enum {
    LACI_CU_BLAS_DONE,
    LACI_CU_BLAS_NO_WAY, /* the library has none for this shape: the plain product is to do */
    LACI_CU_BLAS_FAILED,
} laci_cu_blas_result;

/* Queues the product on the stream; `workspace` is LACI_CU_BLAS_BYTES on the device, a
 * multiple of 256. Products of f32 stay in f32. The same shape at addresses of the same alignment
 * is always summed in the same order. */
laci_cu_blas_result laci_cu_blas_product(laci_cu_blas *blas, const laci_cu_product *p,
                                         void *workspace, void *stream);

#endif
