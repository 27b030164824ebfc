/* select.h: the structures and layouts selection kernels share: bounds of pages of keys and their
 * scores. kernels_ref.c is their definition; which pages to choose from is the caller's affair.
 *
 * A page is 16, 32 or 64 neighbouring keys of one KV head. Its bounds are the largest and the
 * smallest of its keys, channel by channel; a bounds panel holds those of 64 pages (lanes).
 *   f32   [d][2][64]: channel c of page j: largest at 128 c + j, smallest 64 after it
 *   bf16  [d][64] words: largest in the low half, smallest in the high half
 *   int8  f32 [64] units, then [d][2][64] whole numbers: of channel c of page j the largest at
 *         128 c + j, the smallest 64 after it, in units of the page
 * In f32 and bf16 bounds have the type of the keys, so nothing is rounded; in int8 they are rounded
 * outwards, by less than a unit, 1/127 of the page's largest magnitude. A channel in which some key
 * is NaN has the bounds +-infinity, a page without keys largest -LACI_NO_KEYS and smallest
 * LACI_NO_KEYS: finite, because a query channel may be 0 and 0 times infinity is NaN. In int8 a
 * page with an infinite bound has a unit of NaN. */
#ifndef LACI_KERNELS_SELECT_H
#define LACI_KERNELS_SELECT_H

#include "kernels/attend.h"

#define LACI_NO_KEYS 3.38953139e38f /* the largest bf16 */

static inline size_t laci_bounds_panel_bytes(laci_dtype dtype, size_t d)
{
    return 2 * laci_k_panel_bytes(dtype, d);
}

static inline size_t laci_bounds_panel_bytes_i8(size_t d)
{
    return LACI_PANEL * (sizeof(float) + 2 * d);
}

enum { LACI_SCORE_ROWS = 32 }; /* most query rows scored at once */

/* Scores of pages: for each row and page, an upper bound of the product of the row with any key of
 * the page (QUEST, docs/algorithms.md 3): the sum over channels of q * largest, or q * smallest
 * where q is negative. Not divided by sqrt(d), which changes no order. Only the rounding of the f32
 * sum can put a score below a product. A page with an infinite bound may score NaN. */
typedef struct {
    float *scores;      /* [n_rows, stride], of which [n_rows, 64 * n_panels] is written */
    size_t stride;      /* at least 64 * n_panels */
    const void *q;      /* [n_rows, d], of the type of the bounds; f32 for int8 ones */
    const void *bounds; /* n_panels bounds panels of one head */
    size_t n_rows, n_panels, d;
    void *scratch; /* laci_score_scratch(d) bytes, aligned to 64 bytes */
} laci_page_scores;

static inline size_t laci_score_scratch(size_t d)
{
    return LACI_SCORE_ROWS * laci_d16(d) *
           sizeof(float); /* the rows once more, as a kernel likes them */
}

#endif
