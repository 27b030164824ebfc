/* backend_ops.h: the function table a device fills, from backend_ops.def. Private to backend/. */
#ifndef LACI_BACKEND_BACKEND_OPS_H
#define LACI_BACKEND_BACKEND_OPS_H

#include "backend/backend.h"

typedef struct {
#define OP(shape, result, function, entry, parameters, arguments) result(*entry) parameters;
#include "backend/backend_ops.def"
} laci_backend_ops;

/* First member of every device's own structure. */
struct laci_backend {
    const laci_backend_ops *ops;
    const char *name;
    laci_dtype act;
    int n_threads;
    bool rows_stand_alone;
    lac_allocator mem;
};

lac_status laci_backend_cpu_open(laci_backend **out, lac_dtype dtype, int n_threads,
                                 const lac_allocator *mem, lac_error *err);

/* CUDA (cuda/cuda_open.c): whether this build has it, and whether a device is there. Names are
 * "cuda" and "cuda:N". Errors of opening: EINVAL (no device, no driver, not built, not that many),
 * ENOMEM. */
bool laci_backend_cuda_built(void);
bool laci_backend_cuda_present(void);
lac_status laci_backend_cuda_open(laci_backend **out, const char *name, lac_dtype dtype,
                                  const lac_allocator *mem, lac_error *err);

#endif
