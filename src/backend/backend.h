/* backend.h: where tensors live and who runs operations. An interface of buffers, weights and about
 * fifteen operations; the CPU fills it in backend_cpu.c, another device in a folder of its own.
 * Callers in model/, attention/ and engine/ see nothing else of a device.
 *
 * Conventions. Buffers are row-major; rows are counted, not bytes. "act" is the backend's type for
 * activations and keys (f32, or bf16 with f32 accumulation). Arrays passed by pointer are host
 * memory and copied before the call returns. Operations run in order; laci_backend_read waits for
 * them. Inputs and outputs of linear need room for rows rounded up to LACI_ROW_PAD. No operation
 * allocates. Results do not depend on the number of threads: work is split over output elements,
 * never over a sum.
 *
 * A backend object is one stream of work with its own scratch: one thread at a time. A model opens
 * one to create its weights, each session opens one to run; weights made by one are read by all of
 * the same name and type, and the backend that made them is closed last. */
#ifndef LACI_BACKEND_BACKEND_H
#define LACI_BACKEND_BACKEND_H

#include "base/alloc.h"
#include "base/dtype.h"
#include "kernels/choose.h"

enum { LACI_ROW_PAD = 16 };

typedef struct laci_backend laci_backend;
typedef struct laci_buf laci_buf;       /* memory of the backend */
typedef struct laci_linear laci_linear; /* a weight matrix in the backend's own layout */

/* Delivers rows [row, row + n_rows) of a weight matrix as f32, so that files are decoded tile by
 * tile. */
typedef struct {
    void (*read)(void *user, size_t row, size_t n_rows, float *out);
    void *user;
} laci_row_source;

/* RMSNorm of a row: weight [n] or NULL. */
typedef struct {
    const laci_buf *weight;
    float eps;
} laci_norm;

/* Per-head treatment of query or key rows on their way from a product to the cache. */
typedef struct {
    size_t n_heads, d_head;
    const laci_buf *bias;         /* [n_heads * d_head], NULL = none */
    bool norm_before, norm_after; /* RMSNorm over the head, before or after rotation */
    laci_norm norm;
    const laci_buf *cosines, *sines; /* [n_ctx, rope_dim / 2]; NULL = no rotation (values) */
    size_t rope_dim;
    bool rope_adjacent;
} laci_head_op;

/* Which keys each group of queries reads, in one layer: block rows in CSR form. Filled by
 * attention/plan.c; see there for the rules. The arrays are host memory of the plan's owner. */
typedef struct {
    size_t q_block, k_block; /* tokens per row and per column; k_block 1 = single keys */
    size_t n_heads, n_rows;  /* n_heads 1 = one pattern shared by all heads */
    const uint32_t *row_ptr; /* [n_heads * n_rows + 1] offsets into cols */
    const uint32_t *cols;    /* key-block ids; within a row ascending and unique */
    const int32_t *active;   /* [n_active] query positions to compute, never falling; NULL = all */
    size_t n_active;
} laci_plan;

typedef struct {
    const laci_buf *q; /* act [n_q, n_heads * d_head]; row i is query position active[i], or i */
    const laci_buf *k, *v; /* act [n_k, n_kv_heads * d_head] */
    laci_buf *out;         /* act [n_q, n_heads * d_head] */
    laci_buf *lse;         /* f32 [n_heads, n_q] natural log-sum-exp, NULL = not wanted */
    size_t n_q, n_k;
    size_t n_heads, n_kv_heads, d_head;
} laci_attention;

/* Opens a backend by name (NULL = "cpu"). n_threads 0 = all cores of this process. dtype AUTO takes
 * bf16 where the device multiplies it natively. Errors: EINVAL (unknown name), ENOMEM. */
lac_status laci_backend_open(laci_backend **out, const char *name, lac_dtype dtype, int n_threads,
                             const lac_allocator *mem, lac_error *err);
void laci_backend_close(laci_backend *be);
laci_dtype laci_backend_act(const laci_backend *be);
int laci_backend_threads(const laci_backend *be);
const lac_allocator *laci_backend_allocator(const laci_backend *be);
const char *laci_backend_name(const laci_backend *be);
/* Writes one line about the machine and libraries: instruction set, matrix products. */
void laci_backend_describe(char *out, size_t size);

/* Memory. `what` names it in errors. */
lac_status laci_buf_new(laci_backend *be, size_t n_bytes, const char *what, laci_buf **out,
                        lac_error *err);
void laci_buf_free(laci_backend *be, laci_buf *buf);
void laci_backend_write(laci_backend *be, laci_buf *buf, size_t offset, const void *src, size_t n);
void laci_backend_read(laci_backend *be, const laci_buf *buf, size_t offset, void *dst, size_t n);
void laci_backend_copy(laci_backend *be, laci_buf *out, size_t out_offset, const laci_buf *in,
                       size_t in_offset, size_t n);

/* Weights. Errors: ENOMEM, EINTERNAL. */
lac_status laci_linear_new(laci_backend *be, size_t n_out, size_t n_in, laci_row_source source,
                           laci_linear **out, lac_error *err);
void laci_linear_free(laci_backend *be, laci_linear *linear);
/* Bytes a matrix takes once packed, for the memory plan. */
size_t laci_linear_bytes(laci_backend *be, size_t n_out, size_t n_in);

/* --- operations; `row` arguments are first rows within a buffer --- */

/* out f32 [n, d] = table[ids] (act [n_vocab, d]), plus row `time_row` of time_table if that is not
 * NULL, then normalised if norm is not NULL. */
typedef struct {
    const laci_buf *table, *time_table;
    size_t d, time_row;
    const laci_norm *norm;
} laci_embedding;
void laci_backend_embed(laci_backend *be, const laci_embedding *embedding, const int32_t *ids,
                        size_t n, laci_buf *out);

/* out act rows from out_row = norm of rows of x f32 [.., d]. `rows` (host, may be NULL) gathers:
 * row i of the output comes from row rows[i] of x, else from row x_row + i. */
void laci_backend_norm(laci_backend *be, const laci_buf *x, size_t x_row, const int32_t *rows,
                       size_t n, size_t d, const laci_norm *norm, laci_buf *out, size_t out_row);

/* out f32 [n, d] = rows of x f32 by index (host). */
void laci_backend_gather(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n,
                         size_t d, laci_buf *out);

/* out f32 [n, n_out] = x act [n, n_in] from row x_row, times the matrix. */
void laci_backend_linear(laci_backend *be, const laci_linear *linear, const laci_buf *x,
                         size_t x_row, size_t n, laci_buf *out);

/* out act rows from out_row = bias, norm and rotation of x f32 [n, n_heads * d_head]; position of
 * row i is positions[i] (host) or first_position + i. */
void laci_backend_heads(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                        const int32_t *positions, size_t first_position, laci_buf *out,
                        size_t out_row);

/* Attention of every query over the keys its plan row lists. */
void laci_backend_attend(laci_backend *be, const laci_plan *plan, const laci_attention *a);

/* out act [n, d] = swiglu(gate, up), or relu(up)^2 where gate is NULL; both f32. */
void laci_backend_mlp(laci_backend *be, const laci_buf *gate, const laci_buf *up, size_t n,
                      size_t d, laci_buf *out);

/* sum f32 rows from sum_row += x f32 [n, d]. */
void laci_backend_add(laci_backend *be, laci_buf *sum, size_t sum_row, const laci_buf *x, size_t n,
                      size_t d);

/* cond f32 [n, d] = uncond + (scale + 1) * (cond - uncond): classifier-free guidance. */
void laci_backend_guide(laci_backend *be, laci_buf *cond, const laci_buf *uncond, size_t n,
                        size_t d, float scale);

/* Chooses a token for each row of logits f32 [n, n_vocab] from row `row` (kernels/choose.h); keys
 * are host, one stream per row; choices are host. The rows are overwritten. */
void laci_backend_choose(laci_backend *be, const laci_choice_rule *rule, laci_buf *logits,
                         size_t row, size_t n, const uint64_t *keys, laci_choice *out);

/* Scratch one thread needs to run a network of these dimensions whose matrices `weights` made; and
 * taking it, for every thread, before the loop. Errors: ENOMEM. */
size_t laci_backend_scratch_need(const laci_backend *weights, size_t d_model, size_t d_head,
                                 size_t n_vocab);
lac_status laci_backend_reserve(laci_backend *be, size_t bytes_per_thread, lac_error *err);

/* Resident bytes the libraries underneath add once products are compiled and threads run; measured,
 * for the memory plan. */
size_t laci_backend_runtime_bytes(const laci_backend *be);

#endif
