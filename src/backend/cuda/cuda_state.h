/* cuda_state.h: what the host files of the CUDA backend share: its state, its buffers, argument
 * memory and scratch on the device. Private to backend/cuda/. */
#ifndef LACI_BACKEND_CUDA_STATE_H
#define LACI_BACKEND_CUDA_STATE_H

#include "backend/backend_ops.h"
#include "backend/cuda/cuda_api.h"
#include "backend/cuda/cuda_blas.h"

struct laci_buf {
    char *data; /* device memory, owned unless this is a view */
    size_t n_bytes;
    bool is_view;
};

/* Host arguments on their way to the device: a ring in pinned memory and its image on the device,
 * the same offsets in both. */
typedef struct {
    char *host, *device; /* [size] */
    size_t size, at;
    size_t sent;     /* arguments of captured work begin here: not copied yet */
    bool is_at_rest; /* nothing was put since the host last waited: no copy reads `host` */
} laci_cu_ring;

/* Device or pinned memory that only grows. */
typedef struct {
    char *data;
    size_t size;
} laci_cu_scratch;

/* Graphs of forward passes (cuda_graph.c): as many executable ones are kept, as many segments of a
 * pass have one, the rest being started at once, and a segment has at most so many operations. */
enum { LACI_CU_EXECS = 64, LACI_CU_SEGMENTS = 32, LACI_CU_SEGMENT_OPS = 64 };

typedef struct {
    void *exec; /* NULL: a free place */
    unsigned segment;
    size_t n_nodes;
    uint64_t used; /* when, by the count of launches */
} laci_cu_exec;

typedef struct {
    bool is_wanted;                 /* LAC_CUDA_GRAPH */
    bool in_pass;                   /* a forward pass is under way, and graphs are wanted */
    bool is_open;                   /* what is queued is captured */
    unsigned segment, n_operations; /* number of the next segment; operations begun in this one */
    laci_cu_exec execs[LACI_CU_EXECS];
    uint64_t n_launched, n_made, n_updated; /* so far: segments, instantiations, updates */
} laci_cu_graphs;

typedef struct {
    laci_backend base;
    char name[16]; /* "cuda:0" */
    laci_cu_api api;
    laci_cu_info info;
    int device;
    void *stream;       /* of all work, owned */
    bool wgmma;         /* attention by wgmma where it can (LAC_CUDA_ATTEND) */
    laci_cu_blas *blas; /* NULL: the plain product */
    laci_cu_ring ring;
    laci_cu_graphs graphs;
    laci_cu_scratch scratch;   /* of one operation */
    laci_cu_scratch stats;     /* statistics of attention */
    laci_cu_scratch workspace; /* of matrix products */
    laci_cu_scratch results;   /* pinned: lists and choices on their way to the host */
    void *jobs;                /* host memory for lists of jobs, owned */
    size_t jobs_size;
    size_t stats_bytes;        /* statistics gathered at once take about so much */
    void *marks[LACI_N_MARKS]; /* events, made when first used */
    int failed;                /* first error of the device; results are NaN from then on */
} cuda_backend;

static inline cuda_backend *cuda_of(laci_backend *be)
{
    return (cuda_backend *)be;
}

static inline bool is_bf16(const laci_backend *be)
{
    return be->act == LACI_BF16;
}

static inline float *floats_at(const laci_buf *buf, size_t at)
{
    return buf ? (float *)(void *)buf->data + at : NULL;
}

static inline char *acts_at(const laci_backend *be, const laci_buf *buf, size_t at)
{
    return buf->data + at * laci_act_bytes(be->act);
}

/* Keys a head has room for: whole panels, so that sizes are those of laci_kv_bytes. */
static inline size_t kv_room(const laci_kv *kv)
{
    return (kv->n_ctx + 63) / 64 * 64;
}

/* Channels from one value row to the next. */
static inline size_t v_stride(size_t d)
{
    return (d + 15) / 16 * 16;
}

static inline size_t kv_at(const laci_kv *kv, size_t batch)
{
    return batch * kv->n_kv_heads * kv_room(kv);
}

/* Notes an error of the device; later ones do not replace it. */
static inline void laci_cuda_note(cuda_backend *cuda, int code)
{
    if (code && !cuda->failed) cuda->failed = code;
}

/* In cuda_graph.c. Makes the backend's device current for this thread; every operation begins with
 * it. Within a forward pass its work may be captured. */
cuda_backend *laci_cuda_enter(laci_backend *be);
/* The same for what is no queued work: memory, events. What was captured is launched. */
cuda_backend *laci_cuda_at_once(laci_backend *be);
/* Ends the segment, if one is open, and launches it. */
void laci_cuda_flush(cuda_backend *cuda);
void laci_cuda_free_graphs(cuda_backend *cuda);

/* Waits for all work; what was captured is launched. Noted when it fails. */
void laci_cuda_wait(cuda_backend *cuda);

/* Makes room for arguments of one operation: n_bytes in n_arrays. Copies made before may be lost,
 * so an operation calls it once, before the first laci_cuda_put. After a wait the ring begins
 * anew: the arguments of steps that are alike lie in the same places. */
void laci_cuda_room(cuda_backend *cuda, size_t n_bytes, size_t n_arrays);
/* A copy on the device of n bytes of host memory, valid for the work queued up to the next
 * laci_cuda_room; NULL for NULL, or when the device has failed. */
void *laci_cuda_put(cuda_backend *cuda, const void *src, size_t n);
/* Both, for operations with one array. */
void *laci_cuda_put_one(cuda_backend *cuda, const void *src, size_t n);
/* Scratch of at least n bytes; NULL when the device fails. What it held is lost. */
char *laci_cuda_scratch(cuda_backend *cuda, laci_cu_scratch *scratch, size_t n);
/* Host memory of at least n bytes for lists of one operation; NULL when there is none, which counts
 * as a failure. What it held is lost. */
void *laci_cuda_host(cuda_backend *cuda, size_t n);
/* Copies n bytes from the device to `dst` and waits; bytes of ones after a failure. */
void laci_cuda_get(cuda_backend *cuda, void *dst, const void *src, size_t n);

/* The operations, the optional ones too. */
#define OP(shape, result, function, entry, parameters, arguments) \
    result laci_cuda_##entry parameters;
#include "backend/backend_ops.def"

/* Opens the backend on a device of `api`. */
lac_status laci_cuda_open_on(laci_backend **out, const laci_cu_api *api, int device,
                             lac_dtype dtype, const lac_allocator *mem, lac_error *err);

#endif
