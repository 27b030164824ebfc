/* sampler.c: see sampler.h. */
#include "engine/sampler.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

static const struct {
    const char *name;
    lac_algorithm algorithm;
} algorithms[] = {
    { "low_confidence", LAC_ALGORITHM_LOW_CONFIDENCE },
    { "random", LAC_ALGORITHM_RANDOM },
    { "origin", LAC_ALGORITHM_ORIGIN },
    { "maskgit_plus", LAC_ALGORITHM_MASKGIT_PLUS },
    { "topk_margin", LAC_ALGORITHM_TOPK_MARGIN },
    { "entropy", LAC_ALGORITHM_ENTROPY },
    { "sequential", LAC_ALGORITHM_SEQUENTIAL },
    { "entropy_bounded", LAC_ALGORITHM_ENTROPY_BOUNDED },
    { "confidence_threshold", LAC_ALGORITHM_CONFIDENCE_THRESHOLD },
};
enum { N_ALGORITHMS = sizeof algorithms / sizeof algorithms[0], DEFAULT_TOKENS = 128 };

static const float ENTROPY_BOUND = 0.35f; /* SDAR's own */
static const float THRESHOLD = 0.9f;      /* Fast-dLLM's own, of its confidence_threshold */

const char *lac_algorithm_name(lac_algorithm algorithm)
{
    for (size_t i = 0; i < N_ALGORITHMS; i++)
        if (algorithms[i].algorithm == algorithm) return algorithms[i].name;
    return "default";
}

int lac_algorithm_from_name(const char *name)
{
    for (size_t i = 0; name && i < N_ALGORITHMS; i++)
        if (!strcmp(algorithms[i].name, name)) return (int)algorithms[i].algorithm;
    return -1;
}

bool laci_algorithm_is_dream(lac_algorithm algorithm)
{
    return algorithm >= LAC_ALGORITHM_ORIGIN && algorithm <= LAC_ALGORITHM_ENTROPY;
}

/* ------------------------------------------------------------------ options */

/* Real-valued options with their ranges, both ends allowed; NaN is in no range. */
static lac_status check_reals(const lac_generate_options *opt, lac_error *err)
{
    const struct {
        const char *name;
        float value, min, max;
    } reals[] = {
        { "temperature", opt->temperature, 0, LAC_MAX_TEMPERATURE },
        { "top_p", opt->top_p, 0, 1 },
        { "threshold", opt->threshold, 0, 1 },
        { "alg_temp", opt->alg_temp, 0, LAC_MAX_TEMPERATURE },
        { "eps", opt->eps, 0, (float)LAC_MAX_EPS },
        { "cfg_scale", opt->cfg_scale, 0, LAC_MAX_CFG_SCALE },
        { "entropy_bound", opt->entropy_bound, 0, LAC_MAX_ENTROPY_BOUND },
    };
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        if (!(reals[i].value >= reals[i].min && reals[i].value <= reals[i].max))
            return laci_fail(err, LAC_EINVAL, 0, "%s is %g: must lie in %g to %g", reals[i].name,
                             (double)reals[i].value, (double)reals[i].min, (double)reals[i].max);
    return LAC_OK;
}

static lac_status check_counts(const lac_generate_options *opt, lac_error *err)
{
    const struct {
        const char *name;
        int value;
    } counts[] = { { "n_tokens", opt->n_tokens },
                   { "steps", opt->steps },
                   { "block_steps", opt->block_steps },
                   { "block_length", opt->block_length },
                   { "top_k", opt->top_k } };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i].value < 0)
            return laci_fail(err, LAC_EINVAL, 0, "%s is %d: must not be negative", counts[i].name,
                             counts[i].value);
    if (opt->algorithm < LAC_ALGORITHM_DEFAULT ||
        opt->algorithm > LAC_ALGORITHM_CONFIDENCE_THRESHOLD)
        return laci_fail(err, LAC_EINVAL, 0, "unknown algorithm %d", (int)opt->algorithm);
    return LAC_OK;
}

/* Algorithms whose order is not that of a probability, so that no threshold fits it. */
static bool has_no_probability(lac_algorithm algorithm)
{
    return algorithm == LAC_ALGORITHM_ENTROPY || algorithm == LAC_ALGORITHM_SEQUENTIAL ||
           algorithm == LAC_ALGORITHM_ENTROPY_BOUNDED;
}

/* Steps of n holes: a total, or so many a block. A resolved total stays what it is when it is
 * resolved again. Steps above the holes fix nothing, or less at once. */
static lac_status resolve_steps(const laci_config *config, int n, lac_generate_options *o,
                                lac_error *err)
{
    const int n_blocks = (n - 1) / o->block_length + 1;
    const int64_t of_blocks = (int64_t)o->block_steps * n_blocks;
    if (o->block_steps && !config->block_size)
        return laci_fail(err, LAC_EINVAL, 0,
                         "block_steps is %d: %s does not decode in blocks of its own, where steps "
                         "is the number of all",
                         o->block_steps, config->family);
    if (of_blocks > INT32_MAX)
        return laci_fail(err, LAC_EINVAL, 0, "%d steps a block in %d blocks: at most %d in all",
                         o->block_steps, n_blocks, INT32_MAX);
    if (o->block_steps && o->steps && o->steps != of_blocks)
        return laci_fail(err, LAC_EINVAL, 0, "steps %d and %d block_steps: only one can be given",
                         o->steps, o->block_steps);
    if (!o->steps) o->steps = o->block_steps ? (int)of_blocks : n;
    if (o->steps < n_blocks)
        return laci_fail(err, LAC_EINVAL, 0,
                         "%d steps for %d blocks of %d tokens: a block takes at least one",
                         o->steps, n_blocks, o->block_length);
    return LAC_OK;
}

lac_status laci_options_resolve(const laci_config *config, size_t n_holes,
                                lac_generate_options *opt, lac_error *err)
{
    lac_generate_options o = *opt;
    lac_status st = check_counts(&o, err);
    if (!st) st = check_reals(&o, err);
    if (st) return st;
    if (!n_holes && !o.n_tokens) o.n_tokens = DEFAULT_TOKENS;
    const size_t total = n_holes + (size_t)o.n_tokens;
    if (total > INT32_MAX)
        return laci_fail(err, LAC_EINVAL, 0, "%zu tokens to fill: at most %d", total, INT32_MAX);
    const int n = (int)total;
    const bool dream_family = config->sampler == LACI_SAMPLER_DREAM;
    if (!o.algorithm && dream_family)
        o.algorithm = o.threshold > 0 ? LAC_ALGORITHM_MASKGIT_PLUS : LAC_ALGORITHM_ENTROPY;
    if (!o.algorithm) o.algorithm = LAC_ALGORITHM_LOW_CONFIDENCE;
    if (o.threshold > 0 && has_no_probability(o.algorithm))
        return laci_fail(err, LAC_EINVAL, 0,
                         "threshold %g with algorithm %s: its confidences are no probabilities",
                         (double)o.threshold, lac_algorithm_name(o.algorithm));
    if (config->block_size && o.block_length && o.block_length != config->block_size)
        return laci_fail(err, LAC_EINVAL, 0,
                         "block_length is %d: this model decodes in blocks of %d", o.block_length,
                         config->block_size);
    if (config->block_size) o.block_length = config->block_size;
    if (!o.block_length) o.block_length = dream_family || n < 32 ? n : 32;
    if (o.block_length > n && !config->block_size) o.block_length = n;
    if (o.eps == 0) o.eps = 1e-3f;
    if (o.entropy_bound == 0) o.entropy_bound = ENTROPY_BOUND;
    if (o.algorithm == LAC_ALGORITHM_CONFIDENCE_THRESHOLD && o.threshold == 0)
        o.threshold = THRESHOLD;
    st = resolve_steps(config, n, &o, err);
    if (!st) *opt = o;
    return st;
}

laci_choice_rule laci_choice_rule_of(const laci_config *config, int n_tokens, const uint32_t *gaps,
                                     const lac_generate_options *opt)
{
    static const laci_confidence confidence_of[] = {
        [LAC_ALGORITHM_LOW_CONFIDENCE] = LACI_CONFIDENCE_MODEL,
        [LAC_ALGORITHM_RANDOM] = LACI_CONFIDENCE_MODEL,
        [LAC_ALGORITHM_ORIGIN] = LACI_CONFIDENCE_CHOSEN,
        [LAC_ALGORITHM_MASKGIT_PLUS] = LACI_CONFIDENCE_CHOSEN,
        [LAC_ALGORITHM_TOPK_MARGIN] = LACI_CONFIDENCE_MARGIN,
        [LAC_ALGORITHM_ENTROPY] = LACI_CONFIDENCE_ENTROPY,
        [LAC_ALGORITHM_SEQUENTIAL] = LACI_CONFIDENCE_CHOSEN,
        [LAC_ALGORITHM_ENTROPY_BOUNDED] = LACI_CONFIDENCE_ENTROPY,
        [LAC_ALGORITHM_CONFIDENCE_THRESHOLD] = LACI_CONFIDENCE_CHOSEN,
    };
    /* SDAR samples and judges as Dream does, by the filtered distribution; LLaDA by the
     * whole one. */
    const bool is_sdar = config->sampler == LACI_SAMPLER_SDAR;
    const bool is_plain = confidence_of[opt->algorithm] == LACI_CONFIDENCE_MODEL;
    const bool is_dream = laci_algorithm_is_dream(opt->algorithm) ||
                          opt->algorithm == LAC_ALGORITHM_CONFIDENCE_THRESHOLD;
    laci_choice_rule rule = {
        .draw = is_sdar || is_dream ? LACI_DRAW_CATEGORICAL : LACI_DRAW_GUMBEL,
        .confidence = is_sdar && is_plain ? LACI_CONFIDENCE_CHOSEN : confidence_of[opt->algorithm],
        .bf16_confidence = (opt->quirks & LAC_QUIRK_BF16_CONFIDENCE) != 0,
        .temperature = (double)opt->temperature,
        .top_p = (double)opt->top_p,
        .top_k = opt->top_k,
        .top_k_first = config->mask == LAC_MASK_BLOCK_CAUSAL,
        .n_vocab = config->n_vocab,
        .n_allowed = opt->quirks & LAC_QUIRK_SAMPLE_PADDING ? config->n_vocab : n_tokens,
        .gaps = opt->quirks & LAC_QUIRK_SAMPLE_PADDING ? NULL : gaps,
    };
    if (!(opt->quirks & LAC_QUIRK_SAMPLE_MASK))
        rule.forbidden[rule.n_forbidden++] = config->mask_id;
    const int n_hidden = opt->forbid_eos ? config->n_eos : opt->logits_eos_inf ? 1 : 0;
    for (int i = 0; i < n_hidden && i < config->n_eos; i++)
        rule.forbidden[rule.n_forbidden++] = config->eos_ids[i];
    /* Published, the logit of the first end token is removed from a copy that nobody reads, but at
     * temperature 0, where the copy is the row itself. */
    const bool is_alias = opt->quirks & LAC_QUIRK_EOS_ALIAS && opt->temperature > 0;
    for (int i = is_alias ? 1 : 0; opt->confidence_eos_eot_inf && i < config->n_eos; i++)
        rule.unranked[rule.n_unranked++] = config->eos_ids[i];
    return rule;
}

/* ------------------------------------------------------------------ decisions */

/* Gumbel noise of a position's stream: its largest values are a draw without replacement. */
static double gumbel(uint64_t seed, uint32_t purpose, int step, int32_t position)
{
    const uint64_t key = laci_rng_key(seed, purpose, (uint32_t)step, (uint32_t)position);
    return -log(-log(laci_rng_unit(key, 0)));
}

static bool is_late(int32_t id, const laci_config *config, const lac_generate_options *opt)
{
    for (int i = 0; opt->late_eos && i < config->n_eos; i++)
        if (config->eos_ids[i] == id) return true;
    return false;
}

void laci_rank_candidates(laci_candidate *candidates, size_t n, const laci_config *config,
                          const lac_generate_options *opt, int step)
{
    for (size_t i = 0; i < n; i++) {
        laci_candidate *c = &candidates[i];
        if (opt->algorithm == LAC_ALGORITHM_RANDOM) {
            const uint64_t key =
                laci_rng_key(opt->seed, LACI_RNG_ORDER, (uint32_t)step, (uint32_t)c->position);
            c->choice.confidence = laci_rng_unit(key, 0);
        }
        c->rank = opt->algorithm == LAC_ALGORITHM_SEQUENTIAL ? -(double)c->position
                                                             : c->choice.confidence;
        if (opt->alg_temp > 0 && opt->threshold <= 0 && laci_algorithm_is_dream(opt->algorithm))
            c->rank = c->rank / (double)opt->alg_temp +
                      gumbel(opt->seed, LACI_RNG_PICK, step, c->position);
        if (isnan(c->rank) || is_late(c->choice.id, config, opt)) c->rank = -INFINITY;
    }
}

static bool comes_first(const laci_candidate *a, const laci_candidate *b)
{
    return a->rank > b->rank || (a->rank == b->rank && a->position < b->position);
}

static void sift_down(laci_candidate *c, size_t n, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && comes_first(&c[child], &c[child + 1])) child++;
        if (!comes_first(&c[at], &c[child])) return;
        const laci_candidate moved = c[at];
        c[at] = c[child];
        c[child] = moved;
        at = child;
    }
}

/* Best first. A heap sort: in place, no allocation, no worst case. */
static void sort_candidates(laci_candidate *c, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(c, n, i);
    for (size_t left = n; left-- > 1;) {
        const laci_candidate last = c[0];
        c[0] = c[left];
        c[left] = last;
        sift_down(c, left, 0);
    }
}

/* Dream's `origin`: each position flips on its own. Marks by rank: 1 flips, 0 does not. */
static size_t flip(laci_candidate *candidates, size_t n, double chance,
                   const lac_generate_options *opt, int step)
{
    size_t n_flips = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t key = laci_rng_key(opt->seed, LACI_RNG_FLIP, (uint32_t)step,
                                          (uint32_t)candidates[i].position);
        const bool flips = chance >= 1 || laci_rng_unit(key, 0) < chance;
        candidates[i].rank = flips;
        n_flips += flips;
    }
    sort_candidates(candidates, n);
    return n_flips;
}

/* Lowest entropies first, while those before stay within the bound together; at least one. The
 * rank is minus the entropy. */
static size_t within_entropy(const laci_candidate *candidates, size_t n, double bound)
{
    double sum = 0;
    size_t n_fixed = 0;
    while (n_fixed < n && (sum -= candidates[n_fixed].rank) <= bound)
        n_fixed++;
    return n_fixed ? n_fixed : n > 0;
}

size_t laci_decide(laci_candidate *candidates, size_t n, size_t quota, double chance,
                   const lac_generate_options *opt, int step)
{
    if (opt->algorithm == LAC_ALGORITHM_ORIGIN && opt->threshold <= 0)
        return flip(candidates, n, chance, opt, step);
    sort_candidates(candidates, n);
    if (opt->algorithm == LAC_ALGORITHM_ENTROPY_BOUNDED) {
        const size_t n_fixed = within_entropy(candidates, n, (double)opt->entropy_bound);
        return n_fixed < quota ? quota : n_fixed;
    }
    if (opt->threshold <= 0) return quota < n ? quota : n;
    size_t n_fixed = quota > 0 ? quota : 1;
    /* Fast-dLLM's loop for Dream: of those that are due, the ones below the threshold wait. */
    if (opt->algorithm == LAC_ALGORITHM_CONFIDENCE_THRESHOLD) {
        n = n_fixed < n ? n_fixed : n;
        n_fixed = 1;
    }
    while (n_fixed < n && candidates[n_fixed].rank >= (double)opt->threshold)
        n_fixed++;
    return n_fixed < n ? n_fixed : n;
}
