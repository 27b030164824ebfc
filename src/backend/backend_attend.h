/* backend_attend.h: plans, packed keys and values, attention under a plan and what it can measure.
 * For those who attend and those who decide what is read: attention/ and engine/. backend.h has the
 * conventions, backend_ops.def the contract of each operation. */
#ifndef LACI_BACKEND_ATTEND_H
#define LACI_BACKEND_ATTEND_H

#include "backend/backend_rows.h"

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

/* Keys and values of n_batch sequences, in the backend's own packed layout. */
typedef struct {
    laci_buf *k, *v; /* owned */
    size_t n_batch, n_kv_heads, d_head;
    size_t n_ctx; /* keys there is room for, of each sequence */
    size_t first; /* position of the first of them, a multiple of 64, where a sequence is cut into
                     pieces: laci_backend_store and laci_backend_page_bounds count positions of the
                     sequence, attention counts keys of the piece */
} laci_kv;

typedef enum { LACI_KEYS, LACI_VALUES } laci_kv_part;

/* Rows to store: x f32 [n, n_kv_heads * d_head], treated like laci_backend_heads does and packed as
 * positions [row, row + n) of sequence `batch`, all of them in this piece. */
typedef struct {
    const laci_head_op *op;
    const laci_buf *x;
    size_t n;
    const laci_kv *kv;
    laci_kv_part part;
    size_t batch, row;
} laci_kv_rows;

enum { LACI_MASS_PART = 4096 /* keys whose masses have a base of their own, see there */ };

/* What a dense pass can tell about where the softmax lies (docs/algorithms.md 5), at next to no
 * cost. Needs a plan of all queries under which every one reads every key block, and whose rows
 * begin where query blocks begin. Blocks: q_block divides 128, k_block is 16, 32 or a multiple
 * of 64. The mass of a block is the share of a row's softmax in it, averaged over the rows of a
 * query block: the masses of a query block add up to 1. */
typedef struct {
    size_t q_block, k_block;
    bool doubled;   /* softmax of doubled scores: LLaDA's published scoring at 32 heads of 128 */
    laci_buf *mass; /* f32 [n_batch * n_heads, n_q_blocks, n_k_blocks] */
    laci_buf *late; /* the same, normalised over key blocks from late_from on; NULL = not wanted */
    size_t late_from;
    const laci_plan *kept; /* a plan with the same q_block and k_block, or NULL */
    laci_buf *kept_mass;   /* f32 [n_batch, n_heads, n_q] mass each row keeps under `kept` */
    /* Asks for rows one by one, ready for laci_backend_pool_masses, at less cost: q_block is 1,
     * k_block divides LACI_MASS_PART, neither `late`, `kept` nor `doubled` is set, no sequence has
     * fewer keys. The mass of row r in a block is then a sum of exp(score - base[r, part]) over its
     * keys, where LACI_MASS_PART keys make a part: f32 [n_batch, n_heads, n_q, n_parts]. Rows that
     * share keys lie side by side: mass is [n_batch, n_kv_heads, n_k_blocks, heads of a KV head,
     * n_q]. */
    laci_buf *base;
} laci_mass_stats;

/* Attention of n_batch sequences. Row i of q is query position active[i] of the plan, or i. A plan
 * has 1, n_heads or n_batch * n_heads patterns. */
typedef struct {
    const laci_buf *q; /* act [n_batch, n_q, n_heads * d_head] */
    const laci_kv *kv;
    laci_buf *out;          /* [n_batch, n_q, n_heads * d_head], act or f32 */
    bool out_f32;           /* for partial results that will be merged */
    laci_buf *lse;          /* f32 [n_batch, n_heads, n_q] natural log-sum-exp, NULL = not wanted */
    size_t n_batch;         /* 0 = 1 */
    size_t n_q, n_k;        /* of each sequence */
    size_t n_heads;         /* query heads; a multiple of kv->n_kv_heads */
    const uint32_t *n_keys; /* host [n_batch] keys of each sequence, <= n_k; NULL = n_k */
    const uint32_t *limits; /* host [n_batch, n_q] row reads keys below; NULL = all */
    const uint64_t *valid;  /* host [n_batch, ceil(n_k / 64)] bit j of word w: key 64 w + j counts;
                               NULL = all */
    const laci_mass_stats *stats; /* NULL = none, at no cost */
} laci_attention;

/* Two partial results over disjoint keys: out f32 [n_batch, n_q, n_heads * d_head] and lse f32
 * [n_batch, n_heads, n_q] become the merge of themselves and the others. */
typedef struct {
    laci_buf *out, *lse;
    const laci_buf *other, *other_lse;
    size_t n_batch, n_q, n_heads, d_head;
} laci_merge;

/* Columns to pool: out f32 [n_rows, out_stride] = sums of every `page` neighbouring values of x f32
 * [n_rows, stride], of which n count; the last page may be shorter. */
typedef struct {
    const laci_buf *x;
    size_t n_rows, stride, n, page;
    laci_buf *out;
    size_t out_stride;
} laci_column_pages;

/* What laci_mass_stats gathered by row with a base over some of the keys, and the log-sum-exp f32
 * [n_heads, n_q] over all of them. */
typedef struct {
    const laci_buf *mass, *base, *lse;
    size_t n_heads, n_kv_heads, n_q, n_blocks, k_block;
} laci_row_masses;

/* Frees keys and values; what is empty is left alone. */
void laci_kv_free(laci_backend *be, laci_kv *kv);
/* Bytes laci_kv_new takes, keys and values together, for activations of type `act`. */
size_t laci_kv_bytes(laci_dtype act, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                     size_t d_head);

#define ATTEND_OP LACI_PROTOTYPE
#include "backend/backend_ops.def"

#endif
