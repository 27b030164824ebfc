/* select.h: from the mass of key blocks to those that are kept: SparseD's selection (arXiv
 * 2509.24014) in its published variants, and the selection by fidelity. Pure: rows of numbers in,
 * bits out; the policies, the tests and callers with attention of their own share it. */
#ifndef LACI_ATTENTION_SELECT_H
#define LACI_ATTENTION_SELECT_H

#include "attention/sparse.h"

/* Where the prompt ends among the key blocks: the prompt side is [0, prompt_end), the generation
 * side [late_from, n_blocks); a block between them is always kept. */
typedef struct {
    size_t n_blocks, prompt_end, late_from;
    size_t last_keys; /* keys of the last block */
} laci_split;

/* `prompt_end` in keys, at most n_k; n_k at least 1. */
laci_split laci_split_blocks(const laci_sparse *how, size_t prompt_end, size_t n_k);

/* Whether laci_select_row reads `late`: the mass under a softmax over blocks from late_from on. */
bool laci_select_needs_late(const laci_sparse *how);

/* Sets the bits of the key blocks one query block keeps: at least one. `mass` and `late` [n_blocks]
 * are shares of the softmax, NaN counting as the largest; of equal ones the lower block wins.
 * `keys` is scratch [n_blocks]; `bits` is cleared first. */
void laci_select_row(const laci_sparse *how, const laci_split *split, const float *mass,
                     const float *late, uint64_t *keys, uint64_t *bits);

/* Sets the bits of the n largest of scores [first, end). */
void laci_select_top(const float *scores, size_t first, size_t end, size_t n, uint64_t *keys,
                     uint64_t *bits);

#endif
