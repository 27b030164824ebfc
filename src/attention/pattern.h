/* pattern.h: which key blocks each query block reads, as bits: what a policy keeps between steps. A
 * plan is written from it before each layer: bits are 32 times smaller, and there is one plan. */
#ifndef LACI_ATTENTION_PATTERN_H
#define LACI_ATTENTION_PATTERN_H

#include "attention/plan.h"

typedef struct {
    size_t n_patterns; /* heads, or KV heads */
    size_t n_rows, n_cols;
    uint64_t *bits; /* [n_patterns, n_rows, laci_pattern_words(n_cols)], borrowed */
} laci_pattern;

static inline size_t laci_pattern_words(size_t n_cols)
{
    return (n_cols + 63) / 64;
}

static inline uint64_t *laci_pattern_row(const laci_pattern *p, size_t pattern, size_t row)
{
    return p->bits + (pattern * p->n_rows + row) * laci_pattern_words(p->n_cols);
}

static inline bool laci_pattern_has(const uint64_t *row, size_t col)
{
    return row[col / 64] >> col % 64 & 1;
}

static inline void laci_pattern_set(uint64_t *row, size_t col)
{
    row[col / 64] |= UINT64_C(1) << col % 64;
}

/* Sum of `mass` [n_cols] over the columns a row reads. */
double laci_pattern_kept(const uint64_t *row, const float *mass, size_t n_cols);

/* Writes the plan of n_heads heads; neighbouring heads share a pattern where there are fewer.
 * Errors: EINTERNAL when the plan's reserve is too small. */
lac_status laci_pattern_write(const laci_pattern *p, size_t n_heads, size_t q_block, size_t k_block,
                              laci_plan_store *out, lac_error *err);

#endif
