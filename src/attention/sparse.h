/* sparse.h: the settings of policies for full-sequence models, and what they mean in numbers:
 * SparseD's schedule and budgets (arXiv 2509.24014). */
#ifndef LACI_ATTENTION_SPARSE_H
#define LACI_ATTENTION_SPARSE_H

#include "attention/knobs.h"

/* Variants of SparseD; 0 = what the mode says. Numbers are those of the words in the knobs. */
typedef enum {
    LACI_MODE_DEFAULT = 1, /* the paper, and a block that holds the prompt's end is kept */
    LACI_MODE_PAPER,       /* arXiv 2509.24014 as written */
    LACI_MODE_REFERENCE,   /* as the published code does it, its slips included */
} laci_sparsed_mode;
typedef enum {
    LACI_SCHEDULE_PAPER = 1, /* max(1, int(steps * skip)) dense steps, the last one measures */
    LACI_SCHEDULE_REFERENCE, /* int(steps * skip) + 2 */
} laci_schedule_rule;
typedef enum {
    LACI_ISOLATED_PAPER = 1, /* the best prompt blocks, and the best generation blocks */
    LACI_ISOLATED_REFERENCE, /* the best of all, generation ones replaced by the best under a
                                softmax over generation keys alone */
    LACI_ISOLATED_NONE,      /* the best of all */
} laci_isolated_rule;
typedef enum {
    LACI_KEEP_CEIL = 1,  /* ceil(n * select) */
    LACI_KEEP_REFERENCE, /* int(n * select) + 1 */
} laci_keep_rule;
typedef enum {
    LACI_BOUNDARY_KEEP = 1,  /* always read */
    LACI_BOUNDARY_ALIGNED,   /* a generation block */
    LACI_BOUNDARY_REFERENCE, /* a prompt block, unless it is the last of all */
} laci_boundary_rule;
typedef enum {
    LACI_SCORE_SQRT_D = 1, /* pattern from the softmax that attention computes */
    LACI_SCORE_SQRT_H,     /* LLaDA's published code: scores over sqrt(n_heads) */
} laci_score_rule;
typedef enum {
    LACI_RAGGED_FAIR = 1, /* a short last block is ranked by the mass of a key it has */
    LACI_RAGGED_DILUTED,  /* by the mass of a key as if it were full */
} laci_ragged_rule;
typedef enum {
    LACI_RESET_GENERATION = 1, /* one pattern for the whole generation */
    LACI_RESET_BLOCK,          /* measured again in the first step of each decoding block */
    LACI_RESET_STEP,           /* in every step, by a dense pass beside the sparse one: slower than
                                  dense, to judge what keeping a pattern costs in quality */
} laci_reset_rule;

/* Settings of policies for full-sequence models. */
typedef struct {
    double skip, select;
    double fidelity; /* 0 = off */
    double most;     /* with fidelity: share of the blocks that a row of blocks keeps at most */
    size_t block;
    int mode, schedule, isolated, keep, boundary, score, ragged, reset; /* of the enums above */
    bool doubled; /* rank by the softmax of doubled scores */
    bool per_kv;  /* one pattern for the heads of a KV head */
    bool auto_switch, auto_refresh;
    size_t window; /* 0 = by select */
    size_t sink;   /* LACI_KNOB_AUTO = by select */
    size_t n_refreshes;
    bool measure; /* show the masses that are measured; dense measures every pass */
    size_t min_n; /* canvases shorter than this stay dense */
} laci_sparse;

/* Keys and queries of a block by default, for contexts of n_ctx positions. */
size_t laci_sparse_block(size_t n_ctx);

/* Dense steps of a generation of n_steps before the first sparse one; the last of them measures.
 * n_steps or more: there is no sparse step and nothing is measured. */
int laci_sparse_n_dense(const laci_sparse *how, int n_steps);

/* How many of n blocks the keep rule keeps: 0 for none, else 1 to n. */
size_t laci_sparse_n_kept(const laci_sparse *how, size_t n);

/* Most of n blocks that a row keeps under fidelity, those always kept aside: 1 to n. */
size_t laci_sparse_n_most(const laci_sparse *how, size_t n);

#endif
