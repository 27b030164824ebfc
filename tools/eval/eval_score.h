/* eval_score.h: is an answer right: RULER's substring rules and exact match; and what a number of
 * answers says: intervals of paired differences. Pure functions. */
#ifndef LACUNA_TOOLS_EVAL_SCORE_H
#define LACUNA_TOOLS_EVAL_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Share of the references that occur in the output, or with `part` 1 if any does. Case of ASCII
 * letters does not count; control characters of the output are line breaks. [0, 1] */
double eval_score(const char *output, size_t n, const char *const *refs, size_t n_refs, bool part);

/* Whether the output is the expected answer and nothing else. White space at both ends aside, runs
 * of white space and commas count as one blank. */
bool eval_is_exact(const char *output, size_t n, const char *expected, size_t n_expected);

/* Share of equal tokens of two answers, the end of each counting as one token. [0, 1] */
double eval_agreement(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b);

typedef struct {
    double mean, low, high; /* 95% interval */
    int n_up, n_down;       /* pairs whose difference is above and below zero */
    double p;               /* exact McNemar test of n_up against n_down, two-sided */
} eval_paired;

/* The mean of n >= 1 paired differences, each in [-1, 1]. The interval is a seeded percentile
 * bootstrap; where all pairs are equal, the exact binomial bound of a change that never showed. */
eval_paired eval_paired_of(const double *differences, size_t n, uint64_t seed);

#endif
