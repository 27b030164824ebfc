/* fake_cublaslt.c: a stand-in for cuBLASLt, built as a library of its own and loaded by the CUDA
 * backend as the real one is. It computes products plainly from the descriptors alone, written
 * after the library's documentation: column-major, operations, leading dimensions, types. It
 * refuses what the real one may: a way asked for other shapes, addresses less aligned than was
 * promised, a workspace that is too small, sums in place, the default stream. */
#include "emulator/fake_cublaslt.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"

enum { SUCCESS = 0, INVALID = 7, FAILED = 13, UNSUPPORTED = 15, WORKSPACE = 1 << 20 };

typedef struct {
    int compute, scale_type;
    int32_t op[2]; /* of A and B: 0 as it is, 1 transposed */
} desc;

typedef struct {
    int type; /* 0 = f32, 14 = bf16 */
    uint64_t rows, cols;
    int64_t lead;
} layout;

typedef struct {
    uint64_t workspace;
    uint32_t reductions, align[4];
} pref;

typedef struct { /* 64 bytes, the caller's to copy */
    uint64_t magic, m, n, k;
    uint32_t align[4], unused[4];
} algo;

typedef struct {
    algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} result;

_Static_assert(sizeof(algo) == 64 && sizeof(result) == 96, "sizes of the library's structures");

fake_cublaslt fake_cublaslt_state;

static int make(void **out, const void *from, size_t n)
{
    if (fake_cublaslt_state.refuses_objects) return FAILED;
    *out = malloc(n);
    if (!*out) return FAILED;
    memcpy(*out, from, n);
    fake_cublaslt_state.n_objects++;
    return SUCCESS;
}

static int drop(void *object)
{
    free(object);
    fake_cublaslt_state.n_objects--;
    return SUCCESS;
}

int cublasLtCreate(void **handle)
{
    if (fake_cublaslt_state.refuses_create) return 1;
    *handle = &fake_cublaslt_state;
    fake_cublaslt_state.n_handles++;
    return SUCCESS;
}

int cublasLtDestroy(void *handle)
{
    fake_cublaslt_state.n_handles--;
    return handle == &fake_cublaslt_state ? SUCCESS : INVALID;
}

int cublasLtMatmulDescCreate(void **out, int compute, int scale_type)
{
    const desc d = { compute, scale_type, { 0, 0 } };
    return make(out, &d, sizeof d);
}

int cublasLtMatmulDescDestroy(void *d)
{
    return drop(d);
}

int cublasLtMatmulDescSetAttribute(void *d, int attribute, const void *value, size_t n)
{
    if (n != sizeof(int32_t) || attribute < 3 || attribute > 4) return INVALID;
    memcpy(&((desc *)d)->op[attribute - 3], value, n);
    return SUCCESS;
}

int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t cols, int64_t lead)
{
    const layout l = { type, rows, cols, lead };
    return lead < (int64_t)rows ? INVALID : make(out, &l, sizeof l);
}

int cublasLtMatrixLayoutDestroy(void *l)
{
    return drop(l);
}

int cublasLtMatmulPreferenceCreate(void **out)
{
    const pref p = { 0, 7, { 256, 256, 256, 256 } };
    return make(out, &p, sizeof p);
}

int cublasLtMatmulPreferenceDestroy(void *p)
{
    return drop(p);
}

int cublasLtMatmulPreferenceSetAttribute(void *to, int attribute, const void *value, size_t n)
{
    pref *p = to;
    if (attribute == 1 && n == 8)
        memcpy(&p->workspace, value, n);
    else if (attribute == 3 && n == 4)
        memcpy(&p->reductions, value, n);
    else if (attribute >= 5 && attribute <= 8 && n == 4)
        memcpy(&p->align[attribute - 5], value, n);
    else
        return INVALID;
    return SUCCESS;
}

/* Whether the descriptors fit each other; m, n, k of the product. */
static bool fits(const desc *d, const layout *a, const layout *b, const layout *c, const layout *to,
                 algo *out)
{
    const bool turned_a = d->op[0] == 1, turned_b = d->op[1] == 1;
    out->m = turned_a ? a->cols : a->rows;
    out->k = turned_a ? a->rows : a->cols;
    out->n = turned_b ? b->rows : b->cols;
    return d->compute == 68 && d->scale_type == 0 && a->type == b->type &&
           (a->type == 0 || a->type == 14) && c->type == 0 && to->type == 0 &&
           (turned_b ? b->cols : b->rows) == out->k && c->rows == out->m && c->cols == out->n &&
           to->rows == out->m && to->cols == out->n;
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, void *d, void *a, void *b, void *c, void *to,
                                   void *preference, int wanted, result *out, int *n_out)
{
    const pref *p = preference;
    algo found = { .magic = 0x1ac };
    fake_cublaslt_state.n_asked++;
    *n_out = 0;
    if (handle != &fake_cublaslt_state || wanted < 1) return INVALID;
    if (!fits(d, a, b, c, to, &found)) return INVALID;
    if (fake_cublaslt_state.knows_no_way) return UNSUPPORTED;
    if ((p->reductions & 1) || p->workspace < WORKSPACE) return UNSUPPORTED; /* 1 = in place */
    memcpy(found.align, p->align, sizeof found.align);
    *out = (result){ .algo = found, .workspace = WORKSPACE, .state = SUCCESS, .waves = 1 };
    *n_out = 1;
    return SUCCESS;
}

static float element(const void *matrix, const layout *l, uint64_t row, uint64_t col)
{
    const uint64_t at = col * (uint64_t)l->lead + row;
    return l->type == 14 ? laci_bf16_to_f32(((const uint16_t *)matrix)[at])
                         : ((const float *)matrix)[at];
}

static bool is_aligned(const void *p, uint32_t to)
{
    return (uintptr_t)p % to == 0;
}

/* One product, when the stream comes to it. */
typedef struct {
    layout a_layout, b_layout, c_layout, to_layout;
    const void *a, *b, *c;
    void *to, *workspace;
    size_t workspace_bytes;
    uint64_t m, n, k;
    int32_t op[2];
    float by, keep;
} product;

static void multiply(const void *job)
{
    product p;
    memcpy(&p, job, sizeof p);
    memset(p.workspace, 0xff, p.workspace_bytes); /* nobody keeps anything there */
    for (uint64_t j = 0; j < p.n; j++)
        for (uint64_t i = 0; i < p.m; i++) {
            double sum = 0;
            for (uint64_t k = 0; k < p.k; k++)
                sum += (double)(p.op[0] == 1 ? element(p.a, &p.a_layout, k, i)
                                             : element(p.a, &p.a_layout, i, k)) *
                       (double)(p.op[1] == 1 ? element(p.b, &p.b_layout, j, k)
                                             : element(p.b, &p.b_layout, k, j));
            const float old = p.keep != 0 ? p.keep * element(p.c, &p.c_layout, i, j) : 0;
            ((float *)p.to)[j * (uint64_t)p.to_layout.lead + i] = p.by * (float)sum + old;
        }
}

int cublasLtMatmul(void *handle, void *d, const void *alpha, const void *a, void *a_layout,
                   const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                   void *to, void *to_layout, const algo *way, void *workspace,
                   size_t workspace_bytes, void *stream)
{
    const layout *la = a_layout, *lb = b_layout, *lc = c_layout, *lto = to_layout;
    const int32_t *op = ((const desc *)d)->op;
    algo is;
    if (fake_cublaslt_state.refuses_product || !fake_cublaslt_state.queue) return FAILED;
    if (handle != &fake_cublaslt_state || !stream || !way || way->magic != 0x1ac) return INVALID;
    if (!fits(d, la, lb, lc, lto, &is) || is.m != way->m || is.n != way->n || is.k != way->k)
        return INVALID;
    if (!is_aligned(a, way->align[0]) || !is_aligned(b, way->align[1]) ||
        !is_aligned(c, way->align[2]) || !is_aligned(to, way->align[3]))
        return INVALID;
    if (!workspace || !is_aligned(workspace, 256) || workspace_bytes < WORKSPACE) return INVALID;
    const product p = { .a_layout = *la,
                        .b_layout = *lb,
                        .c_layout = *lc,
                        .to_layout = *lto,
                        .a = a,
                        .b = b,
                        .c = c,
                        .to = to,
                        .workspace = workspace,
                        .workspace_bytes = workspace_bytes,
                        .m = is.m,
                        .n = is.n,
                        .k = is.k,
                        .op = { op[0], op[1] },
                        .by = *(const float *)alpha,
                        .keep = *(const float *)beta };
    fake_cublaslt_state.queue(stream, multiply, &p, sizeof p);
    fake_cublaslt_state.n_products++;
    return SUCCESS;
}
