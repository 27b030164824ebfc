/* prefix.h: which part of a key cache the rows of a decoding block read: policies of block-wise
 * models. Each is a choice of rows to recompute, of a selector of keys, and of when all is read
 * again; prefix.c names the combinations. Attention of the rows among themselves is
 * always whole. prefix_policy.c runs them.
 * Sources: QUEST (arXiv 2406.10774), MAGE (2602.14209), FlashBlock (2602.05305), LoSA (2604.12056),
 * SparseD (2509.24014). */
#ifndef LACI_ATTENTION_PREFIX_H
#define LACI_ATTENTION_PREFIX_H

#include "attention/plan.h"

/* Rows that read the prefix in a step; the others keep what they read before. */
typedef enum {
    LACI_ROWS_ALL,
    LACI_ROWS_CHANGED, /* those whose queries moved most since they last read, and new ids */
    LACI_ROWS_NONE,
} laci_prefix_rows;

typedef enum {
    LACI_SELECT_PAGES = 1, /* pages by an upper bound, anew every select_every steps */
    LACI_SELECT_COLUMNS,   /* keys by mass in the block's first step, per KV head */
    LACI_SELECT_BLOCKS,    /* pages by mass in the block's first step, per KV head or query head */
} laci_prefix_selector;

/* A policy with its settings complete. */
typedef struct {
    bool is_dense; /* everything is read */
    laci_prefix_rows rows;
    int selector;          /* laci_prefix_selector */
    int group;             /* what has a list of its own: 1 a query head, 2 a KV head, 0 = as the
                              policy and its selector have it; per_head and pooled follow from it */
    bool per_head;         /* pages, blocks: a list for each query head, not each KV head */
    bool pooled;           /* pages: the rows of a list choose together, by the sum over rows of the
                              softmax of their bounds; else each its own, and all read the union */
    size_t select_every;   /* pages: steps a list serves, at least 1. 1: it is made for the active
                              rows; above, for all rows of the block */
    bool dense_first;      /* the first step of a block reads everything */
    bool by_hidden;        /* rows move by the layer's input, else by their queries */
    double budget;         /* keys of a row: a count, or below 1 a share of the prefix */
    double active;         /* rows recomputed: a count, or below 1 a share of the block */
    double min_change;     /* rows that moved by less than this share of their size keep what they
                              have; 0 = none do for that */
    size_t page;           /* keys of a page: 16, 32 or 64 */
    bool int8_bounds;      /* bounds of pages are rounded outwards to int8 */
    size_t first_layers;   /* layers before this one read everything */
    size_t min_prefix;     /* prefixes up to this length are read whole */
    size_t refresh_steps;  /* all rows read everything again after so many steps, 0 = never */
    size_t refresh_tokens; /* or after so many new ids, 0 = never */
    double refresh_drift;  /* or when the rows that were kept moved by more than this share, 0 =
                              never */
} laci_prefix;

/* Whether rows keep results over steps; whether a dense step must be measured. */
bool laci_prefix_keeps(const laci_prefix *p);
bool laci_prefix_measures(const laci_prefix *p);

/* Keys of a row's budget for a prefix of n_keys, at most n_keys; in units of `unit` keys, rounded
 * up. */
size_t laci_prefix_budget(const laci_prefix *p, size_t n_keys, size_t unit);
/* Most entries a list of ids may have for n_ctx keys. */
size_t laci_prefix_list_size(const laci_prefix *p, size_t n_ctx);

/* Where the loop stands in one layer. */
typedef struct {
    size_t layer;
    int step;         /* of the block, from 0 */
    size_t n_keys;    /* of the prefix */
    int steps_since;  /* since this layer last read everything */
    int tokens_since; /* ids that changed since then */
} laci_prefix_moment;

typedef enum {
    LACI_PREFIX_WHOLE,  /* read everything and remember nothing */
    LACI_PREFIX_DENSE,  /* read everything, and remember or measure it */
    LACI_PREFIX_SPARSE, /* read what is selected, for the rows chosen */
} laci_prefix_mode;

laci_prefix_mode laci_prefix_decide(const laci_prefix *p, const laci_prefix_moment *at);

/* How far a row's query moved since it last read the prefix. */
typedef struct {
    double change, size; /* sums over heads and channels: squared difference, squared reference */
    bool is_new;         /* its id differs from the step before */
} laci_row_drift;

/* How many rows of n to recompute, new ones included, as long as so many moved. */
size_t laci_prefix_wanted(const laci_prefix *p, size_t n);
/* Writes the rows to recompute, ascending, and returns how many: every new one, then those that
 * moved most until there are as many as asked (ties: the lower row). */
size_t laci_prefix_pick(const laci_prefix *p, const laci_row_drift *drift, size_t n,
                        int32_t *active);
/* Whether the rows that are not active moved so far that all shall read everything. */
bool laci_prefix_has_drifted(const laci_prefix *p, const laci_row_drift *drift, size_t n,
                             const int32_t *active, size_t n_active);

#endif
