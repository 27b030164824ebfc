/* choose.c: see choose.h. Filters keep a prefix of the ids sorted by falling logit (ties: lower id
 * first), so "is kept" is one comparison with the last id kept. The sorted prefix comes off a heap:
 * no full sort of a large vocabulary, no allocation. */
#include "kernels/choose.h"

#include <math.h>

#include "base/rng.h"

/* What the filters leave: ids at or before (logit, id) in the order, all if `id` is -1. */
typedef struct {
    float logit;
    int32_t id;
} cut;

static bool is_before(const float *logits, int32_t a, int32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static bool is_kept(const float *logits, int32_t id, cut last)
{
    if (logits[id] == -INFINITY) return false;
    if (last.id < 0) return true;
    return logits[id] > last.logit || (logits[id] == last.logit && id <= last.id);
}

static void sift_down(const float *logits, int32_t *heap, size_t n, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && is_before(logits, heap[child + 1], heap[child])) child++;
        if (!is_before(logits, heap[child], heap[at])) return;
        const int32_t moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
        at = child;
    }
}

static float row_max(const float *logits, int n)
{
    float top = -INFINITY;
    for (int i = 0; i < n; i++)
        top = logits[i] > top ? logits[i] : top;
    return top;
}

/* The same of a row as given; whether it holds a number that is not finite shows on the way. */
static float survey(const float *logits, int n, bool *is_broken)
{
    float top = -INFINITY;
    int n_odd = 0;
    for (int i = 0; i < n; i++) {
        top = logits[i] > top ? logits[i] : top;
        n_odd += !isfinite(logits[i]);
    }
    *is_broken = n_odd > 0;
    return top;
}

/* Sum of exp((logit - top) / temperature) over the kept ids. */
static double mass_of(const float *logits, int n, float top, double temperature, cut last)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (is_kept(logits, i, last)) sum += exp(((double)logits[i] - (double)top) / temperature);
    return sum;
}

static int lowest_bit(uint32_t bits)
{
    int at = 0;
    while (!(bits >> at & 1))
        at++;
    return at;
}

static void remove_ids(const int *ids, int n, float *logits, int n_vocab)
{
    for (int i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < n_vocab) logits[ids[i]] = -INFINITY;
}

static void exclude(const laci_choice_rule *rule, float *logits)
{
    for (int i = rule->n_allowed; i < rule->n_vocab; i++)
        logits[i] = -INFINITY;
    for (int word = 0; rule->gaps && word * 32 < rule->n_vocab; word++)
        for (uint32_t bits = rule->gaps[word]; bits; bits &= bits - 1)
            logits[word * 32 + lowest_bit(bits)] = -INFINITY;
    remove_ids(rule->forbidden, rule->n_forbidden, logits, rule->n_vocab);
}

/* The first of n ids of a heap, which is taken off and kept where the heap ended. */
static int32_t take_first(const float *logits, int32_t *heap, size_t *n)
{
    const int32_t first = heap[0];
    heap[0] = heap[--*n];
    heap[*n] = first;
    sift_down(logits, heap, *n, 0);
    return first;
}

/* An id stays while the mass before it is at most top_p of all mass, and at most top_k ids stay.
 * All is what top-k leaves where it comes first, as in SDAR, and the whole row where it comes last,
 * as in Dream. */
static cut filter(const laci_choice_rule *rule, const float *logits, float top, double temperature,
                  int32_t *heap)
{
    const bool by_mass = rule->top_p > 0 && rule->top_p < 1;
    cut last = { 0, -1 };
    if (!by_mass && rule->top_k <= 0) return last;
    size_t n = 0;
    for (int i = 0; i < rule->n_vocab; i++)
        if (logits[i] > -INFINITY) heap[n++] = i;
    for (size_t i = n / 2; i-- > 0;)
        sift_down(logits, heap, n, i);
    const size_t n_all = n;
    const bool by_rest = by_mass && rule->top_k_first && rule->top_k > 0;
    double total = by_mass && !by_rest ? mass_of(logits, rule->n_vocab, top, temperature, last) : 1;
    if (by_rest) total = 0;
    for (int i = 0; by_rest && n && i < rule->top_k; i++) {
        const float logit = logits[take_first(logits, heap, &n)];
        total += exp(((double)logit - (double)top) / temperature);
    }
    double before = 0;
    size_t kept = 0;
    for (; kept < n_all; kept++) {
        if (rule->top_k > 0 && kept >= (size_t)rule->top_k) break;
        if (kept && by_mass && before / total > rule->top_p) break;
        const int32_t id = by_rest ? heap[n_all - 1 - kept] : take_first(logits, heap, &n);
        last = (cut){ logits[id], id };
        if (by_mass) before += exp(((double)last.logit - (double)top) / temperature);
    }
    return last;
}

/* Most probable id; the lowest of equals. -1 when no id may be chosen. */
static int32_t best_of(const float *logits, int n)
{
    int32_t best = -1;
    for (int i = 0; i < n; i++)
        if (logits[i] > -INFINITY && (best < 0 || logits[i] > logits[best])) best = i;
    return best;
}

static int32_t draw_gumbel(const laci_choice_rule *rule, const float *logits, cut last,
                           uint64_t key)
{
    int32_t best = -1;
    double best_score = -INFINITY;
    for (int i = 0; i < rule->n_vocab; i++) {
        if (!is_kept(logits, i, last)) continue;
        const double noise = -log(-log(laci_rng_unit(key, (uint64_t)i)));
        const double score = (double)logits[i] + rule->temperature * noise;
        if (best < 0 || score > best_score) best = i, best_score = score;
    }
    return best;
}

/* First id, in id order, whose running probability exceeds the draw. */
static int32_t draw_categorical(const laci_choice_rule *rule, const float *logits, float top,
                                double mass, cut last, uint64_t key)
{
    const double target = laci_rng_unit(key, 0) * mass;
    double running = 0;
    int32_t fallback = -1;
    for (int i = 0; i < rule->n_vocab; i++) {
        if (!is_kept(logits, i, last)) continue;
        const double weight = exp(((double)logits[i] - (double)top) / rule->temperature);
        running += weight;
        if (weight > 0) fallback = i;
        if (running > target) return i;
    }
    return fallback;
}

/* The probability as a bf16 softmax of bf16 logits yields it. */
static double bf16_probability(const float *logits, int n, int32_t id)
{
    double sum = 0;
    const float top = laci_bf16_to_f32(laci_f32_to_bf16(row_max(logits, n)));
    for (int i = 0; i < n; i++)
        sum += exp((double)laci_bf16_to_f32(laci_f32_to_bf16(logits[i])) - (double)top);
    const double own = exp((double)laci_bf16_to_f32(laci_f32_to_bf16(logits[id])) - (double)top);
    return (double)laci_bf16_to_f32(laci_f32_to_bf16((float)(own / sum)));
}

/* Probabilities of the two best ids of the filtered distribution, best minus second. */
static double margin_of(const float *logits, int n, float top, double temperature, double mass,
                        cut last)
{
    float second = -INFINITY;
    bool seen_best = false;
    for (int i = 0; i < n; i++) {
        if (!is_kept(logits, i, last)) continue;
        if (logits[i] == top && !seen_best)
            seen_best = true;
        else if (logits[i] > second)
            second = logits[i];
    }
    return (1.0 - exp(((double)second - (double)top) / temperature)) / mass;
}

static double entropy_of(const float *logits, int n, float top, double temperature, double mass,
                         cut last)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        if (!is_kept(logits, i, last)) continue;
        const double p = exp(((double)logits[i] - (double)top) / temperature) / mass;
        sum += p * log(p + 1e-10);
    }
    return sum;
}

static double confidence_of(const laci_choice_rule *rule, float *logits, float top,
                            double temperature, cut last, int32_t id)
{
    const cut all = { 0, -1 };
    const int n = rule->n_vocab;
    for (int i = 0; i < rule->n_unranked; i++)
        if (rule->unranked[i] == id)
            return rule->confidence == LACI_CONFIDENCE_ENTROPY ? -INFINITY : 0;
    if (rule->n_unranked) {
        remove_ids(rule->unranked, rule->n_unranked, logits, n);
        top = row_max(logits, n);
    }
    if (rule->confidence == LACI_CONFIDENCE_MODEL) {
        if (rule->bf16_confidence) return bf16_probability(logits, n, id);
        return exp((double)logits[id] - (double)top) / mass_of(logits, n, top, 1, all);
    }
    const double mass = mass_of(logits, n, top, temperature, last);
    if (rule->confidence == LACI_CONFIDENCE_MARGIN)
        return margin_of(logits, n, top, temperature, mass, last);
    if (rule->confidence == LACI_CONFIDENCE_ENTROPY)
        return entropy_of(logits, n, top, temperature, mass, last);
    return exp(((double)logits[id] - (double)top) / temperature) / mass;
}

laci_choice laci_choose(const laci_choice_rule *rule, float *logits, uint64_t key, int32_t *heap)
{
    const cut all = { 0, -1 };
    bool is_broken;
    const float whole_top = survey(logits, rule->n_vocab, &is_broken);
    const double whole = mass_of(logits, rule->n_vocab, whole_top, 1, all);
    /* The chosen logit survives exclusion, so its log-probability can be taken afterwards. */
    exclude(rule, logits);
    const float top = row_max(logits, rule->n_vocab);
    const double temperature = rule->temperature > 0 ? rule->temperature : 1;
    const cut last = filter(rule, logits, top, temperature, heap);
    int32_t id;
    if (rule->temperature <= 0) {
        id = best_of(logits, rule->n_vocab);
    } else if (rule->draw == LACI_DRAW_GUMBEL) {
        id = draw_gumbel(rule, logits, last, key);
    } else {
        const double mass = mass_of(logits, rule->n_vocab, top, temperature, last);
        id = draw_categorical(rule, logits, top, mass, last, key);
    }
    if (id < 0) return (laci_choice){ 0, NAN, NAN, is_broken }; /* none allowed is a number */
    const double logprob = (double)logits[id] - (double)whole_top - log(whole);
    return (laci_choice){
        .id = id,
        .logprob = (float)logprob,
        .confidence = confidence_of(rule, logits, top, temperature, last, id),
        .is_broken = is_broken,
    };
}
