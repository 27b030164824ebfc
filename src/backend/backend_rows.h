/* backend_rows.h: operations that treat rows one by one: embedding, norms, products, rotation, the
 * feed-forward part, the choice of tokens. For those who run a network: engine/. backend.h has the
 * conventions, backend_ops.def the contract of each operation. */
#ifndef LACI_BACKEND_ROWS_H
#define LACI_BACKEND_ROWS_H

#include "backend/backend_memory.h"
#include "kernels/choose.h"

/* RMSNorm of a row: weight [n] or NULL. */
typedef struct {
    const laci_buf *weight;
    float eps;
} laci_norm;

/* Rows to normalise: out act rows from out_row = norm of rows of x f32 [.., d]. `rows` (host, may
 * be NULL) gathers: row i of the output comes from row rows[i] of x, else from row x_row + i. */
typedef struct {
    const laci_buf *x;
    size_t x_row;
    const int32_t *rows;
    size_t n, d;
    laci_norm norm;
    laci_buf *out;
    size_t out_row;
} laci_norm_rows;

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

/* Rows whose heads are treated: out act rows from out_row = bias, norm and rotation of x f32
 * [n, n_heads * d_head]; position of row i is positions[i] (host) or first_position + i. */
typedef struct {
    const laci_head_op *op;
    const laci_buf *x;
    size_t n;
    const int32_t *positions; /* NULL = they follow each other */
    size_t first_position;
    laci_buf *out;
    size_t out_row;
} laci_head_rows;

/* An embedding: row ids[i] of the table, act [n_rows, d], plus row `time_row` of time_table if that
 * is not NULL, then normalised if norm is not NULL. No id leads outside the table. */
typedef struct {
    const laci_buf *table, *time_table;
    size_t d, time_row;
    const laci_norm *norm;
    size_t n_rows;    /* of the table */
    int32_t stand_in; /* below n_rows: read in place of an id that the table does not have */
} laci_embedding;

#define ROWS_OP LACI_PROTOTYPE
#include "backend/backend_ops.def"

#endif
