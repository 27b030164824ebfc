/* choose.h: from one row of logits to a token, how confident the model is of it, and its
 * log-probability. Plain C for every instruction set: the definition and the implementation are the
 * same file. No allocation, no threads. Sources: LLaDA (arXiv 2502.09992), Dream (2508.15487). */
#ifndef LACI_KERNELS_CHOOSE_H
#define LACI_KERNELS_CHOOSE_H

#include "base/dtype.h"

/* How a token is drawn at temperature > 0; at 0 both take the most probable. */
typedef enum {
    LACI_DRAW_GUMBEL,      /* argmax of logit + T * Gumbel noise (LLaDA) */
    LACI_DRAW_CATEGORICAL, /* from softmax(logit / T) after filters (Dream) */
} laci_draw;

typedef enum {
    LACI_CONFIDENCE_MODEL,   /* probability of the choice, no temperature, no filter (LLaDA) */
    LACI_CONFIDENCE_CHOSEN,  /* its probability under the filtered distribution (maskgit_plus) */
    LACI_CONFIDENCE_MARGIN,  /* best minus second of the filtered distribution */
    LACI_CONFIDENCE_ENTROPY, /* sum p ln(p + 1e-10) of the filtered distribution */
} laci_confidence;

enum { LACI_MAX_FORBIDDEN = 10 };

typedef struct {
    laci_draw draw;
    laci_confidence confidence;
    bool bf16_confidence;              /* LLaDA's published rounding */
    double temperature;                /* >= 0 */
    double top_p;                      /* 0 or 1 = off */
    int top_k;                         /* 0 = off */
    bool top_k_first;                  /* top-p of what top-k leaves (SDAR); else of all (Dream) */
    int n_vocab;                       /* length of a row */
    int n_allowed;                     /* ids from here on are never chosen */
    int forbidden[LACI_MAX_FORBIDDEN]; /* nor are these */
    int n_forbidden;
    const uint32_t *gaps; /* [n_vocab / 32, rounded up] nor are ids whose bit is set: bit id % 32 of
                             word id / 32; NULL = none. Host memory, for the call */
    int unranked[LACI_MAX_FORBIDDEN]; /* may be chosen; confidence is that of a row without them */
    int n_unranked;
} laci_choice_rule;

typedef struct {
    int32_t id;
    float logprob;     /* ln softmax of the row as given, temperature 1, nothing excluded */
    double confidence; /* NaN only if the row is NaN; of an unranked id the least there is */
    bool is_broken;    /* the row as given holds NaN or an infinity: nothing else here counts */
} laci_choice;

/* Chooses from `logits` [n_vocab], which is changed (excluded ids become -INFINITY). `key` is the
 * stream of this position and step (rng.h). `heap` is scratch for n_vocab ids. Ties go to the
 * lowest id. */
laci_choice laci_choose(const laci_choice_rule *rule, float *logits, uint64_t key, int32_t *heap);

#endif
