/* select_amx.h: page scores by AMX tiles, for bf16 bounds. Included by the AMX file alone, after
 * its tile set-up. Static functions only.
 *
 * A word of bounds holds the largest and the smallest key of one channel; against the word (q or 0,
 * 0 or q) the tile product adds the one that q points to, so bounds are multiplied as they lie in
 * memory. The other bound times 0 is NaN where it is infinite, which the definition allows. */
#include <stdatomic.h>

#include "kernels/select.h"

enum { SCORE_TILE = 16 }; /* rows of a tile, its columns of 32 bits, channels of one product */

typedef struct {
    const uint32_t *q;      /* words [LACI_SCORE_ROWS][d16], zero past the rows and channels */
    const uint32_t *bounds; /* words [d][64] of the panel */
    const uint32_t *tail;   /* [16][64] its last 16 channels, zero past d */
    float *sums;            /* [LACI_SCORE_ROWS][64] */
    size_t d;
} score_panel_job;

/* Sums of both tiles of rows against 32 pages from lane `at` on. */
static void score_pages_amx(const score_panel_job *job, size_t at)
{
    const size_t d16 = laci_d16(job->d);
    const uint32_t *q = job->q;
    float *sums = job->sums + at, *second = sums + (size_t)SCORE_TILE * LACI_PANEL;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t c = 0; c < d16; c += SCORE_TILE) {
        const uint32_t *pages = c + SCORE_TILE <= job->d ? job->bounds + c * LACI_PANEL : job->tail;
        _tile_loadd(4, q + c, d16 * 4);
        _tile_loadd(6, pages + at, LACI_PANEL * 4);
        _tile_loadd(7, pages + at + SCORE_TILE, LACI_PANEL * 4);
        _tile_loadd(5, q + SCORE_TILE * d16 + c, d16 * 4);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, LACI_PANEL * 4);
    _tile_stored(1, sums + SCORE_TILE, LACI_PANEL * 4);
    _tile_stored(2, second, LACI_PANEL * 4);
    _tile_stored(3, second + SCORE_TILE, LACI_PANEL * 4);
}

/* Each half of the queries in its half of a word, by its sign. */
static void split_queries(uint32_t *words, const laci_page_scores *s)
{
    const size_t d16 = laci_d16(s->d);
    memset(words, 0, laci_score_scratch(s->d));
    for (size_t row = 0; row < s->n_rows; row++) {
        const uint16_t *q = (const uint16_t *)s->q + row * s->d;
        for (size_t c = 0; c < s->d; c++)
            words[row * d16 + c] = (uint32_t)q[c] << (q[c] >> 15 ? 16 : 0);
    }
}

static void page_scores_amx(const laci_page_scores *s)
{
    _Alignas(64) float sums[LACI_SCORE_ROWS * LACI_PANEL];
    _Alignas(64) uint32_t tail[SCORE_TILE * LACI_PANEL] = { 0 };
    const size_t n_tail = s->d % SCORE_TILE;
    split_queries(s->scratch, s);
    _tile_loadconfig(&tile_config); /* eight tiles of 16 rows of 64 bytes */
    for (size_t panel = 0; panel < s->n_panels; panel++) {
        const uint32_t *bounds = (const uint32_t *)s->bounds + panel * s->d * LACI_PANEL;
        const score_panel_job job = { s->scratch, bounds, tail, sums, s->d };
        memcpy(tail, bounds + (s->d - n_tail) * LACI_PANEL, n_tail * LACI_PANEL * sizeof *tail);
        /* Some compilers do not know that a tile load reads memory. */
        atomic_signal_fence(memory_order_seq_cst);
        score_pages_amx(&job, 0);
        score_pages_amx(&job, LACI_PANEL / 2);
        for (size_t row = 0; row < s->n_rows; row++)
            memcpy(s->scores + row * s->stride + panel * LACI_PANEL, sums + row * LACI_PANEL,
                   LACI_PANEL * sizeof *sums);
    }
    _tile_release();
}
