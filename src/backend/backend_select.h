/* backend_select.h: selection: which pages of keys, which keys, which rows. For policies that
 * choose by content, and for those who run them. backend.h has the conventions, backend_ops.def the
 * contract of each operation. */
#ifndef LACI_BACKEND_SELECT_H
#define LACI_BACKEND_SELECT_H

#include "backend/backend_attend.h"

/* Bounds of the keys of pages: for each sequence, KV head and channel the largest and smallest of
 * every `page` neighbouring keys (docs/algorithms.md 3), in the backend's own layout. */
typedef struct {
    laci_buf *bounds;                          /* owned */
    size_t page;                               /* keys of a page: 16, 32 or 64 */
    size_t n_batch, n_kv_heads, d_head, n_ctx; /* as in the laci_kv they describe */
    bool is_i8;                                /* rounded outwards to int8, else as the keys */
} laci_pages;

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

/* What the rows that share a list make of their scores (modes of docs/algorithms.md 3). */
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

/* The largest scores of each list, which may be any statistic of attention: key blocks by mass,
 * keys by column mass. Ranks as laci_backend_select_pages does. */
typedef struct {
    const laci_buf *scores; /* f32 [n_lists, n_pooled, stride] */
    size_t n_lists, stride;
    size_t n_pooled; /* rows whose sum is ranked; 0 = 1 */
    size_t n;        /* scores of a row to choose from */
    laci_budget budget;
} laci_ranking;

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

void laci_pages_free(laci_backend *be, laci_pages *pages);
/* Bytes laci_pages_new takes, for activations of type `act`, and laci_pages_new_i8. */
size_t laci_pages_bytes(laci_dtype act, const laci_kv *kv, size_t page);
size_t laci_pages_bytes_i8(const laci_kv *kv, size_t page);

#define SELECT_OP LACI_PROTOTYPE
#include "backend/backend_ops.def"

#endif
