/* eval_score.c: see eval_score.h. Rules: RULER (arXiv 2404.06654, its string_match_all and
 * string_match_part); the exact test is McNemar's on discordant pairs (Biometrika 1947). */
#include "eval/eval_score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { N_RESAMPLES = 2000 };

static unsigned char lower(char c)
{
    if ((unsigned char)c < 0x20) return '\n';
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool occurs(const char *output, size_t n, const char *ref)
{
    const size_t n_ref = strlen(ref);
    for (size_t at = 0; n_ref && at + n_ref <= n; at++) {
        size_t i = 0;
        while (i < n_ref && lower(output[at + i]) == lower(ref[i]))
            i++;
        if (i == n_ref) return true;
    }
    return false;
}

double eval_score(const char *output, size_t n, const char *const *refs, size_t n_refs, bool part)
{
    size_t n_found = 0;
    for (size_t i = 0; i < n_refs; i++)
        n_found += occurs(output, n, refs[i]);
    if (part) return n_found > 0;
    return n_refs ? (double)n_found / (double)n_refs : 0;
}

static bool is_gap(char c)
{
    return (unsigned char)c <= ' ' || c == ',';
}

/* Next byte with gaps folded to one blank, -1 at the end; a gap at the end is not there. */
static int next_folded(const char *text, size_t n, size_t *at)
{
    if (*at < n && !is_gap(text[*at])) return (unsigned char)text[(*at)++];
    while (*at < n && is_gap(text[*at]))
        (*at)++;
    return *at < n ? ' ' : -1;
}

bool eval_is_exact(const char *output, size_t n, const char *expected, size_t n_expected)
{
    size_t a = 0, b = 0;
    while (a < n && is_gap(output[a]))
        a++;
    while (b < n_expected && is_gap(expected[b]))
        b++;
    for (;;) {
        const int x = next_folded(output, n, &a), y = next_folded(expected, n_expected, &b);
        if (x != y) return false;
        if (x < 0) return true;
    }
}

double eval_agreement(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    const size_t n_short = n_a < n_b ? n_a : n_b, n_long = n_a < n_b ? n_b : n_a;
    size_t n_equal = n_a == n_b; /* the end */
    for (size_t i = 0; i < n_short; i++)
        n_equal += a[i] == b[i];
    return (double)n_equal / (double)(n_long + 1);
}

/* ------------------------------------------------------------------ intervals */

/* Two-sided: twice the chance of min(up, down) or fewer heads in up + down throws. */
static double mcnemar(int n_up, int n_down)
{
    const int n = n_up + n_down, least = n_up < n_down ? n_up : n_down;
    double sum = 0;
    for (int k = 0; k <= least; k++)
        sum += exp(lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) - n * log(2.0));
    return fmin(1, 2 * sum);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bootstrap(eval_paired *out, const double *differences, size_t n, uint64_t seed)
{
    double means[N_RESAMPLES];
    for (size_t i = 0; i < N_RESAMPLES; i++) {
        double sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += differences[laci_rng_u64(laci_rng_mix(seed), i * n + k) % n];
        means[i] = sum / (double)n;
    }
    qsort(means, N_RESAMPLES, sizeof *means, compare);
    out->low = means[N_RESAMPLES * 25 / 1000];
    out->high = means[N_RESAMPLES * 975 / 1000 - 1];
}

eval_paired eval_paired_of(const double *differences, size_t n, uint64_t seed)
{
    eval_paired out = { .mean = 0 };
    for (size_t i = 0; i < n; i++) {
        out.mean += differences[i] / (double)n;
        out.n_up += differences[i] > 0;
        out.n_down += differences[i] < 0;
    }
    out.p = mcnemar(out.n_up, out.n_down);
    if (out.n_up + out.n_down) {
        bootstrap(&out, differences, n, seed);
    } else { /* Clopper and Pearson for none in n */
        out.high = 1 - pow(0.025, 1 / (double)n);
        out.low = -out.high;
    }
    return out;
}
