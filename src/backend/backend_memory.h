/* backend_memory.h: opening a backend, its memory, weight matrices and scratch, and the clock of
 * its work. For those who create and free: model/ and the engine's sessions. backend.h has the
 * conventions, backend_ops.def the contract of each operation. */
#ifndef LACI_BACKEND_MEMORY_H
#define LACI_BACKEND_MEMORY_H

#include "base/alloc.h"
#include "base/dtype.h"

enum { LACI_ROW_PAD = 16, LACI_N_MARKS = 4 };

typedef struct laci_backend laci_backend;
typedef struct laci_buf laci_buf;       /* memory of the backend */
typedef struct laci_linear laci_linear; /* a weight matrix in the backend's own layout */

/* Opens a backend by name: "cpu" (or NULL), "cuda" or "cuda:N" for device N, "auto" for a CUDA
 * device where there is one and the CPU elsewhere. n_threads 0 = all cores of this process. dtype
 * AUTO takes bf16 where the device multiplies it natively. Errors: EINVAL (unknown name), ENOMEM.
 */
lac_status laci_backend_open(laci_backend **out, const char *name, lac_dtype dtype, int n_threads,
                             const lac_allocator *mem, lac_error *err);
laci_dtype laci_backend_act(const laci_backend *be);
int laci_backend_threads(const laci_backend *be);
/* Whether a row of a product has the same bits whatever rows are computed with it. */
bool laci_backend_rows_stand_alone(const laci_backend *be);
const lac_allocator *laci_backend_allocator(const laci_backend *be);
const char *laci_backend_name(const laci_backend *be);
/* Writes one line about the machine and libraries: instruction set, matrix products. */
void laci_backend_describe(char *out, size_t size);

/* Delivers rows [row, row + n_rows) of a weight matrix as f32, so that files are decoded tile by
 * tile. */
typedef struct {
    void (*read)(void *user, size_t row, size_t n_rows, float *out);
    void *user;
} laci_row_source;

/* What scratch depends on. */
typedef struct {
    size_t d_model, d_head, n_vocab;
    size_t n_rows;      /* most rows of a product; 0 = any number */
    size_t n_ctx;       /* keys of the longest pass that gathers statistics, 0 = none does; no more
                           than LACI_MASS_PART where they have a base */
    size_t stats_block; /* smallest k_block of such a pass */
    size_t n_pages;     /* most pages of a sequence that laci_backend_select_pages scores */
    size_t n_ranked;    /* most scores of a row that laci_backend_top_k ranks */
} laci_scratch_dims;
typedef struct {
    size_t per_thread, shared; /* bytes */
} laci_scratch_size;

#define LACI_PROTOTYPE(shape, result, function, entry, parameters, arguments) \
    result function parameters;
#define MEMORY_OP LACI_PROTOTYPE
#include "backend/backend_ops.def"

#endif
