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
 * the same name and type once it has finished them, and the backend that made them is closed last.
 */
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

/* Keys and values of n_batch sequences, in the backend's own packed layout. */
typedef struct {
    laci_buf *k, *v; /* owned */
    size_t n_batch, n_kv_heads, d_head;
    size_t n_ctx; /* keys there is room for, of each sequence */
    size_t first; /* position of the first of them, a multiple of 64, where a sequence is cut into
                     pieces: laci_backend_store and laci_backend_page_bounds count positions of the
                     sequence, attention counts keys of the piece */
} laci_kv;

enum { LACI_MASS_PART = 4096 /* keys whose masses have a base of their own, see there */ };

/* What a dense pass can tell about where the softmax lies (algorithms.md 11), at next to no cost.
 * Needs a plan of all queries under which every one reads every key block, and whose rows begin
 * where query blocks begin. Blocks: q_block divides 128, k_block is 16, 32 or a multiple of 64. The
 * mass of a block is the share of a row's softmax in it, averaged over the rows of a query block:
 * the masses of a query block add up to 1. */
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

/* Opens a backend by name: "cpu" (or NULL), "cuda" or "cuda:N" for device N, "auto" for a CUDA
 * device where there is one and the CPU elsewhere. n_threads 0 = all cores of this process. dtype
 * AUTO takes bf16 where the device multiplies it natively. Errors: EINVAL (unknown name), ENOMEM.
 */
lac_status laci_backend_open(laci_backend **out, const char *name, lac_dtype dtype, int n_threads,
                             const lac_allocator *mem, lac_error *err);
void laci_backend_close(laci_backend *be);
laci_dtype laci_backend_act(const laci_backend *be);
int laci_backend_threads(const laci_backend *be);
/* Whether a row of a product has the same bits whatever rows are computed with it. */
bool laci_backend_rows_stand_alone(const laci_backend *be);
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

/* Makes all of a buffer zero, as it was when new. */
void laci_backend_clear(laci_backend *be, laci_buf *buf);

/* A buffer without memory of its own: once set it is what `of` holds from byte `offset` on. Free it
 * with laci_buf_free. Errors: ENOMEM. */
lac_status laci_view_new(laci_backend *be, laci_buf **out, lac_error *err);
void laci_view_set(laci_backend *be, laci_buf *view, const laci_buf *of, size_t offset);

/* Room for the keys and values of n_batch sequences of n_ctx positions. Errors: ENOMEM. */
lac_status laci_kv_new(laci_backend *be, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                       size_t d_head, laci_kv *out, lac_error *err);
void laci_kv_free(laci_backend *be, laci_kv *kv);
/* Bytes laci_kv_new takes, keys and values together, for activations of type `act`. */
size_t laci_kv_bytes(laci_dtype act, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                     size_t d_head);

/* Weights. Errors: ENOMEM, EINTERNAL. */
lac_status laci_linear_new(laci_backend *be, size_t n_out, size_t n_in, laci_row_source source,
                           laci_linear **out, lac_error *err);
void laci_linear_free(laci_backend *be, laci_linear *linear);
/* Bytes a matrix takes once packed, for the memory plan. */
size_t laci_linear_bytes(laci_backend *be, size_t n_out, size_t n_in);

/* --- operations; `row` arguments are first rows within a buffer --- */

/* out f32 [n, d] = table[ids] (act [n_rows, d]), plus row `time_row` of time_table if that is not
 * NULL, then normalised if norm is not NULL. No id leads outside the table. */
typedef struct {
    const laci_buf *table, *time_table;
    size_t d, time_row;
    const laci_norm *norm;
    size_t n_rows;    /* of the table */
    int32_t stand_in; /* below n_rows: read in place of an id that the table does not have */
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

/* Keys (or values) of rows x f32 [n, n_kv_heads * d_head], treated like laci_backend_heads does and
 * packed as positions [row, row + n) of sequence `batch`, all of them in this piece. x is
 * overwritten. */
typedef enum { LACI_KEYS, LACI_VALUES } laci_kv_part;
void laci_backend_store(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                        const laci_kv *kv, laci_kv_part part, size_t batch, size_t row);

/* Attention of every query over the keys its plan row lists. */
void laci_backend_attend(laci_backend *be, const laci_plan *plan, const laci_attention *a);

/* out f32 [n_batch * n_heads, n_groups, n_k] = mean softmax probability of each key over the
 * queries of each group of `q_group` (a divisor of 128) neighbouring queries, from group `first`
 * on, under a dense pass whose log-sum-exp is a->lse. Keys a row does not read have probability 0.
 */
void laci_backend_column_mass(laci_backend *be, const laci_attention *a, size_t q_group,
                              size_t first, size_t n_groups, laci_buf *out);

/* out, lse = exact merge of two partial results over disjoint keys: out f32 [n_batch, n_q, n_heads
 * * d_head], lse f32 [n_batch, n_heads, n_q]. */
void laci_backend_merge(laci_backend *be, laci_buf *out, laci_buf *lse, const laci_buf *other,
                        const laci_buf *other_lse, size_t n_batch, size_t n_q, size_t n_heads,
                        size_t d_head);

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

/* --- selection: which pages of keys, which keys, which rows --- */

/* Bounds of the keys of pages: for each sequence, KV head and channel the largest and smallest of
 * every `page` neighbouring keys (algorithms.md 3), in the backend's own layout. */
typedef struct {
    laci_buf *bounds;                          /* owned */
    size_t page;                               /* keys of a page: 16, 32 or 64 */
    size_t n_batch, n_kv_heads, d_head, n_ctx; /* as in the laci_kv they describe */
    bool is_i8;                                /* rounded outwards to int8, else as the keys */
} laci_pages;

/* Room for the bounds of the keys of `kv`. Errors: EINVAL (page), ENOMEM. */
lac_status laci_pages_new(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                          lac_error *err);
void laci_pages_free(laci_backend *be, laci_pages *pages);
/* Bytes laci_pages_new takes, for activations of type `act`. */
size_t laci_pages_bytes(laci_dtype act, const laci_kv *kv, size_t page);
/* The same with bounds in int8, rounded outwards: no score falls below that of exact bounds but by
 * rounding of the sum. Errors of the first also: EUNSUPPORTED (a device that has none). */
lac_status laci_pages_new_i8(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                             lac_error *err);
size_t laci_pages_bytes_i8(const laci_kv *kv, size_t page);

/* Brings the bounds of sequence `batch` up to date: it now holds n_keys keys, and those before
 * `from` are the same as the last time. Of a sequence cut into pieces, what lies in this one. */
void laci_backend_page_bounds(laci_backend *be, const laci_kv *kv, const laci_pages *pages,
                              size_t batch, size_t from, size_t n_keys);

/* How many ids make a list, and which are in it whatever their score: so many at either end. */
typedef struct {
    size_t n; /* of a list, those always kept included; at least as many as are always kept */
    size_t keep_first, keep_last;
} laci_budget;

/* Host memory that receives lists of ids, each ascending and unique, as a plan wants them. */
typedef struct {
    uint32_t *ids;    /* [n_lists, stride] */
    size_t stride;    /* ids a list has room for; as many as it is chosen from are always enough */
    uint32_t *counts; /* [n_lists] */
    /* [n_lists] sizes of the rows' own lists before their union, added up: the union reads n_rows *
     * counts / picked times what one row asked for. counts where rows share one list. NULL = not
     * wanted. */
    uint32_t *picked;
} laci_id_lists;

/* What the rows that share a list make of their scores (modes of algorithms.md 3.2). */
typedef enum {
    LACI_POOL_MAX,     /* a page counts as much as for the row that wants it most (b) */
    LACI_POOL_UNION,   /* every row picks its own; the list is the union (a) */
    LACI_POOL_SOFTMAX, /* mean over rows of the softmax of a row's scores (c) */
} laci_pool;

/* Pages the queries want to read, by an upper bound of their products with the keys (QUEST). A
 * score that is NaN or +infinity ranks before all others, so what is odd is read; of equal scores
 * the lower page. Rows that share a list: all queries of a sequence, of the query heads of one KV
 * head. `lists` [n_batch, n_kv_heads], or [n_batch, n_heads] if per_head. */
typedef struct {
    const laci_buf *q; /* act [n_batch, n_q, n_heads * d_head], rotated like the keys */
    const laci_pages *pages;
    size_t n_batch, n_q, n_heads;
    const uint32_t *n_keys; /* host [n_batch] keys to choose from; 0 = an empty list */
    laci_budget budget;     /* in pages; under LACI_POOL_UNION of each row's own list */
    laci_pool pool;
    float scale;   /* of scores under LACI_POOL_SOFTMAX: 1 / sqrt(d_head) */
    bool per_head; /* a list for each query head, not each KV head */
} laci_page_query;

void laci_backend_select_pages(laci_backend *be, const laci_page_query *query,
                               const laci_id_lists *lists);

/* The largest scores of each list, which may be any statistic of attention: key blocks by mass,
 * keys by column mass. Ranks as laci_backend_select_pages does. */
typedef struct {
    const laci_buf *scores; /* f32 [n_lists, n_pooled, stride] */
    size_t n_lists, stride;
    size_t n_pooled; /* rows whose sum is ranked; 0 = 1 */
    size_t n;        /* scores of a row to choose from */
    laci_budget budget;
} laci_ranking;
void laci_backend_top_k(laci_backend *be, const laci_ranking *ranking, const laci_id_lists *lists);

/* out [n, d] = rows of x by index (host), and rows of out by index = x [n, d]; both of `type`, f32
 * or bf16. Indices of a scatter are unique. */
void laci_backend_gather_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                              const int32_t *rows, size_t n, size_t d, laci_buf *out);
void laci_backend_scatter_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                               const int32_t *rows, size_t n, size_t d, laci_buf *out);

/* How far rows x act [n, d] are from ref act [n, d]: sums of the squared difference and of the
 * squared reference, into host [n] each. */
void laci_backend_row_changes(laci_backend *be, const laci_buf *x, const laci_buf *ref, size_t n,
                              size_t d, double *change, double *size);

/* Attention over pages of a key cache in which the device alone decides: which rows read, by how
 * far they moved since they last read, and which pages, as laci_backend_select_pages does for
 * these rows, unless the lists are given. Rows that do not read keep what they have, so nothing
 * waits for the host. */
typedef struct {
    const laci_buf *q; /* act [n_q, n_heads * d_head] of one sequence */
    size_t n_q, n_heads;
    const laci_buf *x; /* act [n_q, width] what moves */
    laci_buf *ref;     /* the same when a row last read: rows that read are copied there; NULL = not
                          kept, then all rows read */
    size_t width;
    bool all;                   /* every row reads, else the new ones, */
    const bool *is_new;         /* host [n_q], and those that moved most, */
    size_t n_wanted;            /* until there are so many, */
    double min_change;          /* none that moved by less than this share of its size */
    const laci_id_lists *lists; /* a list for each KV head; NULL = chosen as follows */
    const laci_pages *pages;
    laci_budget budget; /* in pages; a list for each KV head */
    laci_pool pool;
    float scale;                  /* of scores under LACI_POOL_SOFTMAX */
    size_t page;                  /* keys of a page */
    const laci_kv *const *pieces; /* [n_pieces] of the sequence, ascending; the first begins it */
    size_t n_pieces, n_keys;      /* keys to choose from, of the sequence */
    laci_buf *out, *lse;          /* f32 [n_q, n_heads * d_head], [n_heads, n_q]; in place */
    laci_buf *spare, *spare_lse;  /* the same sizes */
    laci_buf *counts; /* pair `count_at` of u32 becomes: rows that read, and keys that the KV heads
                         read for them, added up */
    size_t count_at;
} laci_paged_read;
/* False, and nothing is done, on a device that has none: the caller decides by the operations
 * above. */
bool laci_backend_paged_read(laci_backend *be, const laci_paged_read *read);

/* out f32 [n_rows, out_stride]: sums of every `page` neighbouring values of x f32 [n_rows, stride],
 * of which n count; the last page may be shorter. */
void laci_backend_pool_columns(laci_backend *be, const laci_buf *x, size_t n_rows, size_t stride,
                               size_t n, size_t page, laci_buf *out, size_t out_stride);

/* out f32 [n_heads, stride] from block `first` on = mean over the queries of a head of the softmax
 * in each block, from what laci_mass_stats gathered by row with a base over some of the keys, under
 * the log-sum-exp f32 [n_heads, n_q] over all of them. Parts in which a row has no keys count 0. */
typedef struct {
    const laci_buf *mass, *base, *lse;
    size_t n_heads, n_kv_heads, n_q, n_blocks, k_block;
} laci_row_masses;
void laci_backend_pool_masses(laci_backend *be, const laci_row_masses *rows, laci_buf *out,
                              size_t stride, size_t first);

/* Scratch to run a network of these dimensions whose matrices `weights` made, and taking it before
 * the loop. Errors: ENOMEM. */
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
laci_scratch_size laci_backend_scratch_need(const laci_backend *weights,
                                            const laci_scratch_dims *dims);
lac_status laci_backend_reserve(laci_backend *be, laci_scratch_size size, lac_error *err);

/* Waits until all that was queued is done: other backends may then read it. Errors: EINTERNAL (the
 * device has failed). */
lac_status laci_backend_finish(laci_backend *be, lac_error *err);

/* Brackets around the operations of a forward pass, whose order a device may know from the pass
 * before. In between it may keep them back until something of theirs is read, or the pass ends. */
void laci_backend_pass_begin(laci_backend *be);
void laci_backend_pass_end(laci_backend *be);

/* Time on the backend's own clock, for measuring: mark i is the moment when all work queued so far
 * is done; between two marks lie so many seconds, once both have passed. */
enum { LACI_N_MARKS = 4 };
void laci_backend_mark(laci_backend *be, unsigned i);
double laci_backend_between(laci_backend *be, unsigned from, unsigned to);

/* Resident bytes the libraries underneath add once products are compiled and threads run; measured,
 * for the memory plan. */
size_t laci_backend_runtime_bytes(const laci_backend *be);

#endif
