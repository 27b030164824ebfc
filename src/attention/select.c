/* select.c: see select.h. Scores become 64-bit keys, the score above, the block below reversed, so
 * that one comparison gives score and then the lower block. */
#include "attention/select.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

laci_split laci_split_blocks(const laci_sparse *how, size_t prompt_end, size_t n_k)
{
    const size_t b = how->block, n = (n_k + b - 1) / b;
    const size_t floor = prompt_end / b, ceil = (prompt_end + b - 1) / b;
    laci_split s = { .n_blocks = n, .last_keys = n_k - (n - 1) * b };
    switch (how->boundary) {
    case LACI_BOUNDARY_REFERENCE: s.prompt_end = s.late_from = ceil < n - 1 ? ceil : n - 1; break;
    case LACI_BOUNDARY_ALIGNED: s.prompt_end = s.late_from = floor; break;
    case LACI_BOUNDARY_KEEP:
    default:
        s.late_from = ceil;
        s.prompt_end = prompt_end < n_k ? floor : n; /* without generation all is prompt */
        break;
    }
    return s;
}

bool laci_select_needs_late(const laci_sparse *how)
{
    return how->isolated == LACI_ISOLATED_REFERENCE && !(how->fidelity > 0);
}

/* Bits of a non-negative float rise with it; NaN and what should not be there come first. */
static uint64_t key_of(float score, size_t at)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    if (!(score >= 0)) bits = UINT32_MAX;
    return (uint64_t)bits << 32 | (UINT32_MAX - (uint32_t)at);
}

static size_t block_of(uint64_t key)
{
    return UINT32_MAX - (uint32_t)key;
}

static size_t fill_keys(const float *scores, size_t first, size_t end, uint64_t *keys)
{
    for (size_t at = first; at < end; at++)
        keys[at - first] = key_of(scores[at], at);
    return end - first;
}

/* Moves the n largest of n_all keys to the front, 0 < n < n_all: Hoare's selection. */
static void part_largest(uint64_t *keys, size_t n_all, size_t n)
{
    const ptrdiff_t k = (ptrdiff_t)n - 1;
    ptrdiff_t first = 0, last = (ptrdiff_t)n_all - 1;
    while (first < last) {
        const uint64_t pivot = keys[k];
        ptrdiff_t i = first, j = last;
        while (i <= j) {
            while (keys[i] > pivot)
                i++;
            while (keys[j] < pivot)
                j--;
            if (i > j) break;
            const uint64_t swap = keys[i];
            keys[i++] = keys[j];
            keys[j--] = swap;
        }
        if (j < k) first = i;
        if (i > k) last = j;
    }
}

static void set_blocks(const uint64_t *keys, size_t n, uint64_t *bits)
{
    for (size_t i = 0; i < n; i++) {
        const size_t at = block_of(keys[i]);
        bits[at / 64] |= UINT64_C(1) << at % 64;
    }
}

static void take_largest(size_t n_all, size_t n, uint64_t *keys, uint64_t *bits)
{
    if (n && n < n_all) part_largest(keys, n_all, n);
    set_blocks(keys, n < n_all ? n : n_all, bits);
}

void laci_select_top(const float *scores, size_t first, size_t end, size_t n, uint64_t *keys,
                     uint64_t *bits)
{
    take_largest(fill_keys(scores, first, end, keys), n, keys, bits);
}

/* One row under selection. */
typedef struct {
    const laci_sparse *how;
    const laci_split *split;
    uint64_t *keys, *bits;
} selection;

/* The n best of blocks [first, end) by score; a short last block by the score of the keys it has.
 */
static void take_best(const selection *s, const float *scores, size_t first, size_t end, size_t n)
{
    const size_t n_all = fill_keys(scores, first, end, s->keys), last = s->split->n_blocks - 1;
    if (n_all && end > last && s->how->ragged == LACI_RAGGED_FAIR) {
        const float scale = (float)s->how->block / (float)s->split->last_keys;
        s->keys[n_all - 1] = key_of(scores[last] * scale, last);
    }
    take_largest(n_all, n, s->keys, s->bits);
}

static void clear_from(uint64_t *bits, size_t first, size_t n)
{
    for (size_t at = first; at < n; at++)
        bits[at / 64] &= ~(UINT64_C(1) << at % 64);
}

static int larger_first(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* The fewest blocks whose mass reaches the fidelity, what is kept already included, and no more
 * than there may be besides that. */
static void take_mass(const selection *s, const float *mass)
{
    const size_t n = fill_keys(mass, 0, s->split->n_blocks, s->keys);
    size_t left = laci_sparse_n_most(s->how, n);
    double sum = 0;
    for (size_t at = s->split->prompt_end; at < s->split->late_from; at++)
        sum += (double)mass[at];
    qsort(s->keys, n, sizeof *s->keys, larger_first);
    for (size_t i = 0; i < n && left && (i == 0 || !(sum >= s->how->fidelity)); i++) {
        const size_t at = block_of(s->keys[i]);
        if (s->bits[at / 64] >> at % 64 & 1) continue;
        set_blocks(s->keys + i, 1, s->bits);
        sum += (double)mass[at];
        left--;
    }
}

void laci_select_row(const laci_sparse *how, const laci_split *split, const float *mass,
                     const float *late, uint64_t *keys, uint64_t *bits)
{
    const selection s = { how, split, keys, bits };
    const size_t n = split->n_blocks, n_late = n - split->late_from;
    memset(bits, 0, (n + 63) / 64 * sizeof *bits);
    if (how->isolated == LACI_ISOLATED_NONE && !(how->fidelity > 0)) {
        take_best(&s, mass, 0, n, laci_sparse_n_kept(how, n));
        return;
    }
    for (size_t at = split->prompt_end; at < split->late_from; at++)
        bits[at / 64] |= UINT64_C(1) << at % 64;
    if (how->fidelity > 0) {
        take_mass(&s, mass);
    } else if (how->isolated == LACI_ISOLATED_REFERENCE) {
        take_best(&s, mass, 0, n, laci_sparse_n_kept(how, n));
        clear_from(bits, split->late_from, n);
        take_best(&s, late, split->late_from, n, laci_sparse_n_kept(how, n_late));
    } else {
        take_best(&s, mass, 0, split->prompt_end, laci_sparse_n_kept(how, split->prompt_end));
        take_best(&s, mass, split->late_from, n, laci_sparse_n_kept(how, n_late));
    }
}
