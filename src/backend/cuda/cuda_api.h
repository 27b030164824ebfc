/* cuda_api.h: the border between the CUDA backend's host logic (C) and what runs on the device
 * (cu_*.cu). Plain C structures and one table of functions; nothing of the rest of the library, so
 * that nvcc sees no C11 header. The table is filled by the .cu files, compiled by nvcc for a GPU
 * or, in the tests, by a C++ compiler for the emulator: host logic and kernels are the same
 * sources.
 *
 * Pointers in argument structures are device memory. "act" is f32 or bf16 (member `bf16`). Every
 * function queues work on the stream it is given and returns at once, unless it says otherwise;
 * those that return int return 0 or an error code for `explain`. Each backend object has a stream
 * of its own, which nothing orders with those of others. */
#ifndef LACI_BACKEND_CUDA_API_H
#define LACI_BACKEND_CUDA_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* laci_gpu_... for a device, laci_emulated_... in the emulator. */
#ifdef LACI_CU_EMULATED
#define LACI_CU_NAME(name) laci_emulated_##name
#else
#define LACI_CU_NAME(name) laci_gpu_##name
#endif

enum {
    LACI_CU_TILE = 64,      /* keys of a tile, and lanes of a step of statistics at most */
    LACI_CU_ROWS = 128,     /* most query rows of a job */
    LACI_CU_MMA_D = 256,    /* largest head size of the tensor-core kernel */
    LACI_CU_WHOLE = 0xff,   /* k_shift where blocks are no power of two */
    LACI_CU_FORBIDDEN = 10, /* most ids that a choice excludes by name */
    /* Queries of a sequence up to which tiles are cut into parts, most parts of a tile, and least
     * lanes of a part. */
    LACI_CU_FEW_QUERIES = 128,
    LACI_CU_MOST_PARTS = 32,
    LACI_CU_SHORTEST_PART = 256,
};

typedef struct {
    char name[256];
    int major, minor;    /* compute capability */
    int n_sm;            /* multiprocessors */
    size_t shared_bytes; /* most shared memory of a block */
    size_t free_bytes, total_bytes;
    bool emulated; /* no device: the emulator of the tests */
} laci_cu_info;

#define LACI_CU_NO_KEY 0xffffffffu /* position of a lane that holds no key */

/* ---- attention ---- */

/* One tile of query rows against one run of lanes. A plan row is a list of key blocks; lane i of it
 * is the key cols[i / k_block] * k_block + i % k_block. Row h * n + i of the tile is query begin +
 * i of head head + h. */
typedef struct {
    uint32_t batch, head, n_heads;
    uint32_t begin, n;
    uint32_t cols;       /* first entry of the plan row in cols */
    uint32_t first, end; /* lanes [first, end); first is a multiple of LACI_CU_TILE */
    uint32_t full_end;   /* lanes below are below the limit of every row */
    int32_t slot;        /* of the partial results; -1 = the job is alone: final results */
    uint32_t stats_row;  /* of row 0 in the statistics */
} laci_cu_job;

typedef struct {
    const void *q;     /* act [n_batch, n_q, n_heads, d] */
    const void *k, *v; /* act [n_batch, n_kv_heads, ctx, d] and [.., v_stride] */
    void *out;         /* act or f32 [n_batch, n_q, n_heads, d] */
    float *lse;        /* [n_batch, n_heads, n_q] or NULL */
    const laci_cu_job *jobs;
    const uint32_t *cols;
    const uint32_t *limits;     /* [n_batch, n_q] or NULL */
    const uint64_t *valid;      /* [n_batch, words] or NULL */
    float *partial;             /* [slots, LACI_CU_ROWS, d] */
    float *partial_lse;         /* [slots, LACI_CU_ROWS] in powers of two */
    float *stats;               /* [rows, n_steps] log2 of the sums of p; NULL = none */
    float scale;                /* log2(e) / sqrt(d) */
    uint32_t n_jobs, most_rows; /* most_rows: of a job */
    uint32_t n_batch, n_q, n_k, n_heads, n_kv_heads, d, v_stride, words;
    uint32_t k_block, k_shift; /* k_shift: its logarithm, or LACI_CU_WHOLE */
    uint32_t n_steps, step;    /* keys of a step of statistics: 16, 32 or 64 */
    uint64_t ctx;              /* keys there is room for */
    const uint32_t *rows;      /* query i is row rows[i] of q, out and lse; NULL = i */
    uint32_t first_key;        /* position of key 0, where cols count keys of the sequence */
    bool bf16, out_f32;
    bool squared; /* statistics of p^2: the softmax of doubled scores */
} laci_cu_attend;

/* Merging the parts of one tile: slots [slot, slot + n_slots). */
typedef struct {
    uint32_t batch, head, n_heads, begin, n, slot, n_slots;
} laci_cu_parts;

/* From statistics to masses: row r of the statistics is row first_row + r of [n_batch, n_heads,
 * n_q]; one block of the grid makes one query block. */
typedef struct {
    const float *sums;     /* [rows, n_steps] in logarithms */
    const uint32_t *items; /* [n_items, 3]: first row (global), rows, first row of the statistics */
    float *mass, *late;    /* [patterns, n_q_blocks, n_blocks]; late may be NULL */
    float *kept_mass;      /* [patterns, n_q] or NULL */
    float *base;           /* [patterns, n_q, n_parts] the log-sum-exp, or NULL */
    const uint32_t *kept_row_ptr, *kept_cols;
    uint32_t n_items, n_q, n_heads, q_block, n_q_blocks, n_blocks, per_block, n_steps, late_from;
    uint32_t kept_patterns, kept_rows; /* of the kept plan */
    uint32_t n_parts, share;           /* share: rows that read the same keys; by row only */
} laci_cu_mass;

typedef struct {
    const void *q, *k;
    const float *lse;                /* [n_batch, n_heads, n_q] */
    const uint32_t *n_keys, *limits; /* [n_batch]; [n_batch, n_q] or NULL */
    const uint64_t *valid;
    float *out; /* [n_batch * n_heads, n_groups, n_k] */
    float scale;
    uint32_t n_batch, n_q, n_k, n_heads, n_kv_heads, d, words, q_group, first, n_groups;
    uint64_t ctx;
    bool bf16;
} laci_cu_columns;

typedef struct {
    float *out, *lse;
    const float *other, *other_lse;
    uint32_t n_rows, n_q, n_heads, d; /* n_rows = n_batch * n_q * n_heads */
    const uint32_t *picks; /* queries picks[1], picks[2].. alone, picks[0] of them; NULL = all */
} laci_cu_merge;

/* ---- rows ---- */

typedef struct {
    const void *table;   /* act [n_vocab, d] */
    const float *time;   /* [d] or NULL */
    const float *weight; /* of the norm, or NULL */
    const int32_t *ids;
    float *out;
    float eps;
    uint32_t n, d;
    uint32_t n_rows, stand_in; /* ids from n_rows on are read as this one */
    bool normed, bf16;
} laci_cu_embed;

typedef struct {
    const float *x;      /* from its first row */
    const int32_t *rows; /* or NULL: row i */
    const float *weight;
    void *out;
    float eps;
    uint32_t n, d;
    bool bf16;
} laci_cu_norm;

/* Rows of `bytes` bytes, a multiple of 2: out[i] = x[rows[i]], or out[rows[i]] = x[i]. */
typedef struct {
    const void *x;
    const int32_t *rows;
    void *out;
    uint32_t n;
    size_t bytes;
    bool scatter;
} laci_cu_move;

/* sums [n, 2]: of the squared difference of rows x and ref act [n, d], and of the squared ref. */
typedef struct {
    const void *x, *ref;
    double *sums;
    uint32_t n, d;
    bool bf16;
} laci_cu_changes;

/* out [n_rows, out_stride] = sums of every `page` neighbours of x [n_rows, stride], n of a row. */
typedef struct {
    const float *x;
    float *out;
    size_t stride, out_stride;
    uint32_t n_rows, n, page;
} laci_cu_page_sums;

/* Masses by row [n_heads / group, n, group, n_q] with their bases [n_heads, n_q, n_parts] to means
 * over the queries of each head: out [n_heads, stride] from `first` on. */
typedef struct {
    const float *mass, *base, *lse; /* lse [n_heads, n_q] */
    float *out;
    size_t stride, first;
    uint32_t n_heads, group, n_q, n, per_part, n_parts;
} laci_cu_masses;

/* Bias, norm, rotation of x in place, then as act to out [n, n_heads, d]; or with `keys`, to rows
 * [first_row, +n) of the cache of one sequence [n_heads, ctx, stride]. */
typedef struct {
    float *x;
    const float *bias, *weight, *cosines, *sines;
    const int32_t *positions; /* or NULL: first_position + i */
    void *out;
    float eps;
    uint32_t n, n_heads, d, rope_dim, stride;
    uint64_t first_position, first_row, ctx;
    bool norm_before, norm_after, adjacent, keys, bf16;
} laci_cu_heads;

/* y f32 [n, n_out] = x act [n, n_in] times w act [n_out, n_in]: where no library multiplies. */
typedef struct {
    const void *x, *w;
    float *y;
    uint32_t n, n_out, n_in;
    bool bf16;
} laci_cu_product;

typedef struct {
    const float *gate, *up; /* gate NULL: relu(up)^2 */
    void *out;
    size_t n; /* elements */
    bool bf16;
} laci_cu_mlp;

/* x += y, or with `guide`: x = y + (scale + 1) * (x - y). */
typedef struct {
    float *x;
    const float *y;
    size_t n;
    float scale;
    bool guide;
} laci_cu_add;

/* What a choice's confidence is; laci_confidence has the same order. */
enum { LACI_CU_MODEL, LACI_CU_CHOSEN, LACI_CU_MARGIN, LACI_CU_ENTROPY };

/* Choices by rule (laci_choice_rule), a row each. */
typedef struct {
    const float *logits; /* [n, n_vocab] */
    const uint64_t *keys;
    int32_t *ids;    /* [n]; -1 = nothing to choose from */
    int32_t *broken; /* [n] whether the row holds NaN or an infinity */
    double *numbers; /* [n, 2]: log-probability, confidence */
    double temperature, top_p;
    uint32_t n, n_vocab, n_allowed, n_forbidden, top_k, confidence;
    int32_t forbidden[LACI_CU_FORBIDDEN], unranked[LACI_CU_FORBIDDEN];
    uint32_t n_unranked;
    const uint32_t *gaps; /* bit id % 32 of word id / 32: never chosen; NULL = none */
    bool categorical, bf16_confidence, top_k_first;
} laci_cu_choose;

/* ---- selection ---- */

/* Bounds of pages [first, end): act [n_kv_heads, n_pages, 2, d], largest then smallest. k and
 * bounds are those of one sequence; its keys before first_key are not in k, those from n_keys on do
 * not count. */
typedef struct {
    const void *k;
    void *bounds;
    uint32_t n_kv_heads, d, page, first, end, first_key, n_keys, n_pages;
    uint64_t ctx;
    bool bf16;
} laci_cu_bounds;

/* scores f32 [n_lists, n_rows, stride]; row r of a list is query r / n_group of head r % n_group of
 * the list. n_items [n_lists] pages each. */
typedef struct {
    const void *q, *bounds;
    const uint32_t *n_items;
    float *scores;
    uint32_t n_lists, n_rows, stride, lists_per_batch, n_group, group_of_kv;
    uint32_t n_q, n_heads, n_kv_heads, d, n_pages;
    const uint32_t *picks; /* query i is picks[1 + i], picks[0] of them count; NULL = all of them */
    bool bf16;
} laci_cu_scores;

/* pooled [n_lists, stride] from scores [n_lists, n_rows, row_stride]. */
typedef struct {
    const float *scores;
    const uint32_t *n_items;
    float *pooled;
    uint32_t n_lists, n_rows, stride, row_stride;
    float scale;
    int mode;              /* 0 largest, 1 mean softmax, 2 sum */
    const uint32_t *picks; /* the first picks[0] * n_group rows count; NULL = all */
    uint32_t n_group;
} laci_cu_pool;

/* Marks in marks [n_lists, stride] what each of n_rows rows of a list picks; picked [n_lists] adds
 * up how many. Both are zero before. */
typedef struct {
    const float *scores; /* [n_lists, n_rows, stride] */
    const uint32_t *n_items;
    uint8_t *marks;
    uint32_t *picked;
    uint32_t n_lists, n_rows, stride;
    uint32_t n, keep_first, keep_last; /* the budget */
    const uint32_t *picks;             /* the first picks[0] * n_group rows count; NULL = all */
    uint32_t n_group;
} laci_cu_top;

/* ids [n_lists, stride], counts [n_lists] of what is marked, ascending. */
typedef struct {
    const uint8_t *marks;
    const uint32_t *n_items;
    uint32_t *ids, *counts;
    uint32_t n_lists, stride;
} laci_cu_compact;

/* ---- reads of pages of which the host knows nothing ---- */

/* picks [1 + n]: how many rows read, and which, ascending: all, or the new ones and of the others
 * those that changed most until there are n_wanted, none by less than min_change of its size. */
typedef struct {
    const double *sums;    /* [n, 2] of laci_cu_changes; NULL = all */
    const uint8_t *is_new; /* [n] */
    uint32_t *picks;
    double min_change;
    uint32_t n, n_wanted;
} laci_cu_pick;

/* Rows of `bytes` bytes, a multiple of 2, of x to the same rows of out: those picked. */
typedef struct {
    const void *x;
    const uint32_t *picks;
    void *out;
    uint32_t n; /* rows at most */
    size_t bytes;
} laci_cu_keep;

/* Jobs and parts from lists on the device: tile t is heads [t / row_tiles * tile_heads, +) and the
 * picked queries [t % row_tiles * tile_rows, +); it has n_parts jobs and slots. Those not needed
 * hold no rows. Lists [n_lists, stride] hold pages of the sequence, of which pages [first_page,
 * end_page), keys below n_keys, are in the piece to be read. */
typedef struct {
    const uint32_t *ids, *counts, *picks;
    laci_cu_job *jobs;    /* [n_tiles, n_parts] */
    laci_cu_parts *parts; /* [n_tiles] */
    uint32_t *read;       /* [2]: rows picked, keys of all lists; NULL = not wanted */
    uint32_t n_lists, stride, n_heads, n_tiles, row_tiles, tile_heads, tile_rows, n_parts;
    uint32_t page, first_page, end_page, n_keys;
    uint32_t n_all_keys; /* of the sequence, for `read` */
} laci_cu_list_jobs;

/* ---- the table ---- */

typedef struct {
    /* the device */
    int (*count)(int *n);
    int (*info)(int device, laci_cu_info *out);
    int (*use)(int device); /* for the calling thread */
    const char *(*explain)(int code);
    int (*last_error)(void);   /* of the launches since the last call */
    int (*sync)(void *stream); /* waits */
    int (*alloc)(void **p, size_t n);
    void (*release)(void *p);
    int (*host_alloc)(void **p, size_t n); /* pinned */
    void (*host_release)(void *p);
    int (*copy)(void *stream, void *to, const void *from, size_t n); /* any side to any side */
    int (*fill)(void *stream, void *p, int byte, size_t n);
    int (*event_new)(void **event);
    void (*event_free)(void *event);
    int (*event_record)(void *event, void *stream);
    int (*event_ms)(float *ms, void *from, void *to); /* waits for `to` */
    int (*stream_new)(void **stream);
    void (*stream_free)(void *stream);
    /* What is queued from capture_begin on is kept back: capture_end makes it a graph of n_nodes
     * operations, NULL on an error. An exec runs a graph on a stream as often as wanted;
     * exec_update gives it the arguments of another graph of the same operations, or returns false,
     * and then it is of no more use. Both are freed by the caller, an exec also while it runs. */
    int (*capture_begin)(void *stream);
    int (*capture_end)(void *stream, void **graph, size_t *n_nodes);
    void (*graph_free)(void *graph);
    int (*exec_new)(void **exec, void *graph);
    bool (*exec_update)(void *exec, void *graph);
    int (*exec_launch)(void *exec, void *stream);
    void (*exec_free)(void *exec);
    /* kernels */
    void (*embed)(void *stream, const laci_cu_embed *a);
    void (*norm)(void *stream, const laci_cu_norm *a);
    void (*move)(void *stream, const laci_cu_move *a);
    void (*changes)(void *stream, const laci_cu_changes *a);
    void (*page_sums)(void *stream, const laci_cu_page_sums *a);
    void (*masses)(void *stream, const laci_cu_masses *a);
    void (*heads)(void *stream, const laci_cu_heads *a);
    void (*product)(void *stream, const laci_cu_product *a);
    void (*mlp)(void *stream, const laci_cu_mlp *a);
    void (*add)(void *stream, const laci_cu_add *a);
    void (*choose)(void *stream, const laci_cu_choose *a);
    void (*attend_plain)(void *stream, const laci_cu_attend *a);
    void (*attend_mma)(void *stream, const laci_cu_attend *a); /* bf16, d <= LACI_CU_MMA_D */
    size_t (*mma_shared)(uint32_t d, uint32_t most_rows);      /* bytes it needs of a block */
    /* bf16, d <= LACI_CU_MMA_D, lanes in runs of 64 neighbouring keys that begin at multiples of
     * 64; compute capability 9.0 and has_wgmma only. Returns 0 or an error code. */
    int (*attend_wgmma)(void *stream, const laci_cu_attend *a);
    bool (*has_wgmma)(void); /* the driver has what it needs */
    size_t (*wgmma_shared)(uint32_t d);
    void (*combine)(void *stream, const laci_cu_attend *a, const laci_cu_parts *parts, uint32_t n);
    void (*mass)(void *stream, const laci_cu_mass *a);
    void (*columns)(void *stream, const laci_cu_columns *a);
    void (*merge)(void *stream, const laci_cu_merge *a);
    void (*bounds)(void *stream, const laci_cu_bounds *a);
    void (*scores)(void *stream, const laci_cu_scores *a);
    void (*pool)(void *stream, const laci_cu_pool *a);
    void (*top)(void *stream, const laci_cu_top *a);
    void (*compact)(void *stream, const laci_cu_compact *a);
    void (*pick)(void *stream, const laci_cu_pick *a);
    void (*keep)(void *stream, const laci_cu_keep *a);
    void (*list_jobs)(void *stream, const laci_cu_list_jobs *a);
} laci_cu_api;

/* Each .cu file fills its part. */
void LACI_CU_NAME(fill_runtime)(laci_cu_api *api);
void LACI_CU_NAME(fill_rows)(laci_cu_api *api);
void LACI_CU_NAME(fill_choose)(laci_cu_api *api);
void LACI_CU_NAME(fill_attend)(laci_cu_api *api);
void LACI_CU_NAME(fill_attend_sm90)(laci_cu_api *api);
void LACI_CU_NAME(fill_select)(laci_cu_api *api);
void LACI_CU_NAME(fill_paged)(laci_cu_api *api);

#ifdef __cplusplus
}
#endif

#endif
