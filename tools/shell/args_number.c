/* args_number.c: strict reading of numbers, words in lists, and the guess at a mistyped word. */
#include "shell/args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool args_read_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
    const char *digits = *text == '-' ? text + 1 : text;
    if (!isdigit((unsigned char)*digits)) return false;
    char *end = NULL;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno || *end || value < min || value > max) return false;
    *out = value;
    return true;
}

bool args_read_float(const char *text, double min, double max, double *out)
{
    /* strtod alone would also take blanks, "nan", "inf" and hexadecimal. */
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
    char *end = NULL;
    errno = 0;
    const double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < min || value > max) return false;
    *out = value;
    return true;
}

bool args_is_listed(const char *list, const char *name, size_t n)
{
    while (*list) {
        list += strspn(list, ", ");
        const size_t n_item = strcspn(list, ", ");
        if (n_item && n_item == n && strncmp(list, name, n) == 0) return true;
        list += n_item;
    }
    return false;
}

enum { MAX_WORD = 32 };

/* Edit distance, a swap of neighbours counting as one; words longer than MAX_WORD are far from
 * all. */
static size_t distance(const char *a, const char *b)
{
    const size_t n_a = strlen(a), n_b = strlen(b);
    if (n_a > MAX_WORD || n_b > MAX_WORD) return SIZE_MAX;
    size_t d[MAX_WORD + 1][MAX_WORD + 1];
    for (size_t i = 0; i <= n_a; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= n_b; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            const bool swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swap && d[i - 2][j - 2] + 1 < best) best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n_a][n_b];
}

const char *args_nearest(const char *word, const char *const *candidates, size_t n_candidates)
{
    const char *nearest = NULL;
    size_t best = strlen(word) < 5 ? 2 : 3; /* exclusive: one slip in a short word, two in a long */
    for (size_t i = 0; i < n_candidates; i++) {
        const size_t d = distance(word, candidates[i]);
        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }
    for (size_t i = 0; !nearest && i < n_candidates && strlen(word) >= 3; i++)
        if (candidates[i] && strncmp(word, candidates[i], strlen(word)) == 0)
            nearest = candidates[i];
    return nearest;
}
