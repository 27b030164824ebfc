/* sparse.h: the options of sparse policies after their defaults are filled in, and SparseD's
 * schedule (arXiv 2509.24014). Policies read this; only sparse.c reads the public struct. */
#ifndef LACI_ATTENTION_SPARSE_H
#define LACI_ATTENTION_SPARSE_H

#include "lacuna.h"

typedef struct {
    double skip, select;
    double fidelity; /* 0 = off */
    double most;     /* with fidelity: share of the blocks that a row of blocks keeps at most */
    size_t block;
    lac_sparse_schedule schedule;
    lac_sparse_isolated isolated;
    lac_sparse_keep keep;
    lac_sparse_boundary boundary;
    lac_sparse_ragged ragged;
    bool doubled;      /* rank by the softmax of doubled scores */
    bool reset_blocks; /* measure again in each decoding block */
    bool reset_steps;  /* in each step, in a pass of its own */
    bool per_kv;       /* one pattern for the heads of a KV head */
    bool auto_switch, auto_refresh;
    size_t window; /* 0 = by select */
    size_t sink;   /* SIZE_MAX = by select */
    int n_refreshes;
    bool measure; /* show the masses that are measured; dense measures every pass */
    size_t min_n; /* canvases shorter than this stay dense */
} laci_sparse;

/* What the defaults depend on. */
typedef struct {
    const char *family;
    bool is_dream; /* samples as Dream does */
    size_t n_heads, d_head, n_ctx;
} laci_sparse_model;

/* Fills defaults and checks ranges; `opt` may be NULL. Errors: EINVAL naming option, value and
 * range; EUNSUPPORTED for a score scale the statistics cannot give. */
lac_status laci_sparse_resolve(laci_sparse *out, const lac_sparse_options *opt, const char *policy,
                               const laci_sparse_model *model, lac_error *err);

/* Dense steps of a generation of n_steps before the first sparse one; the last of them measures.
 * n_steps or more: there is no sparse step and nothing is measured. */
int laci_sparse_n_dense(const laci_sparse *how, int n_steps);

/* How many of n blocks the keep rule keeps: 0 for none, else 1 to n. */
size_t laci_sparse_n_kept(const laci_sparse *how, size_t n);

/* Most of n blocks that a row keeps under fidelity, those always kept aside: 1 to n. */
size_t laci_sparse_n_most(const laci_sparse *how, size_t n);

#endif
