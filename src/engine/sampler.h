/* sampler.h: from candidates to decisions: the choice rule the options stand for, and which open
 * positions a step fixes. No model, no memory of its own.
 * Sources: LLaDA (arXiv 2502.09992), Dream (2508.15487), threshold decoding (2505.22618). */
#ifndef LACI_ENGINE_SAMPLER_H
#define LACI_ENGINE_SAMPLER_H

#include "backend/backend_rows.h"
#include "engine/schedule.h"
#include "model/config.h"

/* Fills zero fields and checks ranges; `n_holes` counts the holes among the ids, before
 * opt->n_tokens. Errors: EINVAL naming the option, its value and its range. */
lac_status laci_options_resolve(const laci_config *config, size_t n_holes,
                                lac_generate_options *opt, lac_error *err);

/* The per-row rule for resolved options. `n_tokens` is the tokenizer's size, `gaps` the ids below
 * it that no token has (laci_choice_rule). */
laci_choice_rule laci_choice_rule_of(const laci_config *config, int n_tokens, const uint32_t *gaps,
                                     const lac_generate_options *opt);

/* Whether a family's own sampler is Dream's: its schedule and its noise. */
bool laci_algorithm_is_dream(lac_algorithm algorithm);

/* One open position of the active block and what the model proposes for it. */
typedef struct {
    int32_t position; /* on the canvas */
    laci_choice choice;
    double rank; /* order of being fixed: higher first, ties to the lower position */
} laci_candidate;

/* Replaces what the algorithm does not take from the model: random order, late end tokens, noise on
 * the order; fills `rank`. */
void laci_rank_candidates(laci_candidate *candidates, size_t n, const laci_config *config,
                          const lac_generate_options *opt, int step);

/* Sorts the candidates so that those this step fixes come first and returns how many they are:
 * `quota` by rank, or more where the threshold allows, or those that flip (`origin`). */
size_t laci_decide(laci_candidate *candidates, size_t n, size_t quota, double chance,
                   const lac_generate_options *opt, int step);

#endif
