/* cuda_blas.c: see cuda_blas.h. The few declarations needed of cuBLAS (its v2 API, stable since
 * CUDA 11) stand here, so no header of it is needed to build. Products of f32 stay in f32: the
 * library's default mode uses no tf32. */
#include "backend/cuda/cuda_blas.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>

enum { /* values of cublas_api.h and library_types.h */
       OP_N = 0,
       OP_T = 1,
       TYPE_F32 = 0,
       TYPE_BF16 = 14,
       COMPUTE_F32 = 68,
       ALGO_DEFAULT = -1,
};

typedef int create_fn(void **handle);
typedef int destroy_fn(void *handle);
typedef int product_fn(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha,
                       const void *a, int type_a, int lda, const void *b, int type_b, int ldb,
                       const void *beta, void *c, int type_c, int ldc, int compute, int algo);

struct laci_cu_blas {
    void *library, *handle; /* the library stays loaded: it has work to do when the program ends */
    destroy_fn *destroy;
    product_fn *product;
};

static void *open_library(void)
{
    static const char *const names[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so" };
    const char *chosen = getenv("LAC_CUBLAS");
    void *library = NULL;
    if (chosen) return *chosen ? dlopen(chosen, RTLD_NOW | RTLD_LOCAL) : NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

laci_cu_blas *laci_cu_blas_open(const lac_allocator *mem)
{
    create_fn *create = NULL;
    laci_cu_blas *blas = laci_alloc_zero(mem, sizeof *blas);
    if (!blas) return NULL;
    blas->library = open_library();
    if (blas->library) {
        /* ISO C has no cast from an object to a function pointer; POSIX gives this form. */
        *(void **)&create = dlsym(blas->library, "cublasCreate_v2");
        *(void **)&blas->destroy = dlsym(blas->library, "cublasDestroy_v2");
        *(void **)&blas->product = dlsym(blas->library, "cublasGemmEx");
    }
    if (create && blas->destroy && blas->product && !create(&blas->handle)) return blas;
    blas->handle = NULL;
    laci_cu_blas_close(blas, mem);
    return NULL;
}

void laci_cu_blas_close(laci_cu_blas *blas, const lac_allocator *mem)
{
    if (!blas) return;
    if (blas->handle) (void)blas->destroy(blas->handle);
    laci_release(mem, blas);
}

/* The library is column-major: a row-major [n, n_out] is its [n_out, n], so y^T = w x^T, and w,
 * row-major [n_out, n_in], is its [n_in, n_out], transposed. */
bool laci_cu_blas_product(laci_cu_blas *blas, bool bf16, const void *x, const void *w, float *y,
                          size_t n, size_t n_out, size_t n_in)
{
    const float one = 1, zero = 0;
    const int type = bf16 ? TYPE_BF16 : TYPE_F32;
    if (n > INT_MAX || n_out > INT_MAX || n_in > INT_MAX) return false;
    return !blas->product(blas->handle, OP_T, OP_N, (int)n_out, (int)n, (int)n_in, &one, w, type,
                          (int)n_in, x, type, (int)n_in, &zero, y, TYPE_F32, (int)n_out,
                          COMPUTE_F32, ALGO_DEFAULT);
}
