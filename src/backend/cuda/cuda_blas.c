/* cuda_blas.c: see cuda_blas.h. The few declarations needed of cuBLASLt (stable since CUDA 11)
 * stand here, so no header of it is needed to build. The library's sums of split products are
 * restricted to partial sums in the workspace that a separate pass adds up: those made in place
 * are added in the order in which blocks arrive. */
#include "backend/cuda/cuda_blas.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { /* values of cublasLt.h, cublas_api.h and library_types.h */
       OP_N = 0,
       OP_T = 1,
       TYPE_F32 = 0,
       TYPE_BF16 = 14,
       COMPUTE_F32 = 68,
       DESC_TRANSA = 3,
       DESC_TRANSB = 4,
       PREF_WORKSPACE = 1,
       PREF_REDUCTION = 3,
       PREF_ALIGN_A = 5, /* and of B, C, D: the three after it */
       REDUCTION_COMPUTE_TYPE = 2,
       MOST_ALIGNED = 256,
};

typedef struct {
    uint64_t data[8];
} algorithm;

typedef struct {
    algorithm algo;
    size_t workspace_bytes;
    int state; /* 0: the rest holds */
    float waves;
    int reserved[4];
} heuristic;

/* What is used of the library; every function returns 0 or an error. */
typedef struct {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_new)(void **desc, int compute, int scale_type);
    int (*desc_free)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t n);
    int (*layout_new)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t lead);
    int (*layout_free)(void *layout);
    int (*pref_new)(void **pref);
    int (*pref_free)(void *pref);
    int (*pref_set)(void *pref, int attribute, const void *value, size_t n);
    int (*choose)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *pref,
                  int wanted, heuristic *out, int *n_out);
    int (*multiply)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                    const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                    void *d, void *d_layout, const algorithm *algo, void *workspace,
                    size_t workspace_bytes, void *stream);
} functions;

/* What the library's answer depends on. Alignments in bytes, of x, w and y. */
typedef struct {
    size_t n, n_out, n_in;
    uint32_t align[3];
    bool bf16;
} shape;

typedef struct {
    shape of;
    uint64_t used;          /* when, by the count of products; 0 = nothing is kept here */
    void *desc, *w, *x, *y; /* y: of the result, which is also what would be added to it */
    algorithm algo;
    bool is_possible;
} way;

struct laci_cu_blas {
    void *library, *handle; /* the library stays loaded: it has work to do when the program ends */
    functions call;
    way ways[LACI_CU_BLAS_SHAPES];
    uint64_t n_products;
};

/* ------------------------------------------------------------------ loading */

/* ISO C has no cast from an object to a function pointer; copying the bits is what POSIX makes
 * valid. */
static bool find(void *library, const char *name, void *function)
{
    void *const found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

/* The name of a function that the library lacks; NULL when it has all. */
static const char *find_all(void *library, functions *f)
{
    const struct {
        const char *name;
        void *to;
    } wanted[] = {
        { "cublasLtCreate", &f->create },
        { "cublasLtDestroy", &f->destroy },
        { "cublasLtMatmulDescCreate", &f->desc_new },
        { "cublasLtMatmulDescDestroy", &f->desc_free },
        { "cublasLtMatmulDescSetAttribute", &f->desc_set },
        { "cublasLtMatrixLayoutCreate", &f->layout_new },
        { "cublasLtMatrixLayoutDestroy", &f->layout_free },
        { "cublasLtMatmulPreferenceCreate", &f->pref_new },
        { "cublasLtMatmulPreferenceDestroy", &f->pref_free },
        { "cublasLtMatmulPreferenceSetAttribute", &f->pref_set },
        { "cublasLtMatmulAlgoGetHeuristic", &f->choose },
        { "cublasLtMatmul", &f->multiply },
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!find(library, wanted[i].name, wanted[i].to)) return wanted[i].name;
    return NULL;
}

static void *open_library(const char *chosen)
{
    static const char *const names[] = { "libcublasLt.so.13", "libcublasLt.so.12",
                                         "libcublasLt.so" };
    void *library = chosen ? dlopen(chosen, RTLD_NOW | RTLD_LOCAL) : NULL;
    for (size_t i = 0; !chosen && i < sizeof names / sizeof names[0] && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

/* Fills `blas`; one sentence when that fails. */
static lac_status start(laci_cu_blas *blas, const char *chosen, lac_error *err)
{
    const char *name = chosen ? chosen : "libcublasLt.so";
    blas->library = open_library(chosen);
    if (!blas->library)
        return laci_fail(err, LAC_EINVAL, 0, "LAC_CUBLAS: \"%s\" cannot be loaded: %s", name,
                         dlerror());
    const char *missing = find_all(blas->library, &blas->call);
    if (missing)
        return laci_fail(err, LAC_EINVAL, 0, "LAC_CUBLAS: \"%s\" is no cuBLASLt: it lacks %s", name,
                         missing);
    const int code = blas->call.create(&blas->handle);
    if (code) {
        blas->handle = NULL;
        return laci_fail(err, LAC_EINVAL, 0, "LAC_CUBLAS: \"%s\" does not start (status %d)", name,
                         code);
    }
    return LAC_OK;
}

lac_status laci_cu_blas_open(laci_cu_blas **out, const lac_allocator *mem, lac_error *err)
{
    const char *chosen = getenv("LAC_CUBLAS");
    *out = NULL;
    if (chosen && !*chosen) return LAC_OK;
    laci_cu_blas *blas = laci_alloc_zero(mem, sizeof *blas);
    if (!blas) return laci_fail_memory(err, "the state of a matrix library", sizeof *blas);
    const lac_status st = start(blas, chosen, chosen ? err : NULL);
    if (!st) {
        *out = blas;
        return LAC_OK;
    }
    laci_release(mem, blas);
    return chosen ? st : LAC_OK;
}

/* ------------------------------------------------------------------ ways */

static void forget(const functions *call, way *w)
{
    if (w->y) (void)call->layout_free(w->y);
    if (w->x) (void)call->layout_free(w->x);
    if (w->w) (void)call->layout_free(w->w);
    if (w->desc) (void)call->desc_free(w->desc);
    *w = (way){ 0 };
}

void laci_cu_blas_close(laci_cu_blas *blas, const lac_allocator *mem)
{
    if (!blas) return;
    for (size_t i = 0; i < LACI_CU_BLAS_SHAPES; i++)
        forget(&blas->call, &blas->ways[i]);
    (void)blas->call.destroy(blas->handle);
    laci_release(mem, blas);
}

static uint32_t alignment_of(const void *p)
{
    const uintptr_t at = (uintptr_t)p | MOST_ALIGNED;
    return (uint32_t)(at & (~at + 1));
}

static bool same_shape(const shape *a, const shape *b)
{
    return a->n == b->n && a->n_out == b->n_out && a->n_in == b->n_in && a->bf16 == b->bf16 &&
           !memcmp(a->align, b->align, sizeof a->align);
}

/* The library is column-major: a row-major [n, n_out] is its [n_out, n], so y^T = w x^T, and w,
 * row-major [n_out, n_in], is its [n_in, n_out], transposed. */
static bool describe(const functions *call, way *w)
{
    const shape *s = &w->of;
    const int type = s->bf16 ? TYPE_BF16 : TYPE_F32;
    const int32_t turned = OP_T, as_is = OP_N;
    return !call->desc_new(&w->desc, COMPUTE_F32, TYPE_F32) &&
           !call->desc_set(w->desc, DESC_TRANSA, &turned, sizeof turned) &&
           !call->desc_set(w->desc, DESC_TRANSB, &as_is, sizeof as_is) &&
           !call->layout_new(&w->w, type, s->n_in, s->n_out, (int64_t)s->n_in) &&
           !call->layout_new(&w->x, type, s->n_in, s->n, (int64_t)s->n_in) &&
           !call->layout_new(&w->y, TYPE_F32, s->n_out, s->n, (int64_t)s->n_out);
}

static bool set_preferences(const functions *call, void *pref, const shape *s)
{
    const uint64_t bytes = LACI_CU_BLAS_BYTES;
    const uint32_t reduction = REDUCTION_COMPUTE_TYPE;
    const uint32_t align[4] = { s->align[1], s->align[0], s->align[2], s->align[2] };
    bool is_set = !call->pref_set(pref, PREF_WORKSPACE, &bytes, sizeof bytes) &&
                  !call->pref_set(pref, PREF_REDUCTION, &reduction, sizeof reduction);
    for (int i = 0; i < 4 && is_set; i++)
        is_set = !call->pref_set(pref, PREF_ALIGN_A + i, &align[i], sizeof align[i]);
    return is_set;
}

/* Asks the library how to multiply; the answer, also that it cannot, is kept. False when it could
 * not be asked. */
static bool ask(laci_cu_blas *blas, way *w)
{
    const functions *call = &blas->call;
    heuristic found = { .state = -1 };
    int n_found = 0;
    void *pref = NULL;
    if (!describe(call, w) || call->pref_new(&pref)) return false;
    const bool is_set = set_preferences(call, pref, &w->of);
    const int code = is_set ? call->choose(blas->handle, w->desc, w->w, w->x, w->y, w->y, pref, 1,
                                           &found, &n_found)
                            : -1;
    (void)call->pref_free(pref);
    w->is_possible =
        !code && n_found > 0 && !found.state && found.workspace_bytes <= LACI_CU_BLAS_BYTES;
    w->algo = found.algo;
    return is_set;
}

/* The way for a shape: the one kept, or a new one in place of that not used for longest. NULL when
 * the library fails. */
static way *way_of(laci_cu_blas *blas, const shape *s)
{
    way *oldest = &blas->ways[0];
    blas->n_products++;
    for (size_t i = 0; i < LACI_CU_BLAS_SHAPES; i++) {
        way *w = &blas->ways[i];
        if (w->used && same_shape(&w->of, s)) {
            w->used = blas->n_products;
            return w;
        }
        if (w->used < oldest->used) oldest = w;
    }
    forget(&blas->call, oldest);
    oldest->of = *s;
    if (!ask(blas, oldest)) {
        forget(&blas->call, oldest);
        return NULL;
    }
    oldest->used = blas->n_products;
    return oldest;
}

laci_cu_blas_result laci_cu_blas_product(laci_cu_blas *blas, const laci_cu_product *p,
                                         void *workspace, void *stream)
{
    const float one = 1, zero = 0;
    const shape s = { p->n,
                      p->n_out,
                      p->n_in,
                      { alignment_of(p->x), alignment_of(p->w), alignment_of(p->y) },
                      p->bf16 };
    const way *w = way_of(blas, &s);
    if (!w) return LACI_CU_BLAS_FAILED;
    if (!w->is_possible) return LACI_CU_BLAS_NO_WAY;
    const int code =
        blas->call.multiply(blas->handle, w->desc, &one, p->w, w->w, p->x, w->x, &zero, p->y, w->y,
                            p->y, w->y, &w->algo, workspace, LACI_CU_BLAS_BYTES, stream);
    return code ? LACI_CU_BLAS_FAILED : LACI_CU_BLAS_DONE;
}
