/* attend.h: the structures attention kernels share: packed panels of keys, a tile of query rows,
 * the pattern statistics. Layouts are drawn in docs/kernels.md; kernels_ref.c is their definition.
 *
 * A panel holds 64 keys (lanes) of one KV head.
 *   f32   K [d][64]: channel c of key j at c * 64 + j.       V [64][d16]: key j at j * d16
 *   bf16  K [d / 2][64] pairs: channels 2c, 2c + 1 of key j side by side in one 32-bit word
 *         V [32][d16] pairs: word row 16 g + i holds keys 32 g + i (low half), 32 g + 16 + i (high)
 * with d16 = d rounded up to 16; channels past d are zero. Lanes never written must hold finite
 * numbers: their probability is 0, and 0 times NaN would show.
 *
 * Scores are in powers of two: tile.scale = log2(e) / sqrt(d). */
#ifndef LACI_KERNELS_ATTEND_H
#define LACI_KERNELS_ATTEND_H

#include "base/dtype.h"

enum {
    LACI_PANEL = 64,         /* keys of a panel */
    LACI_TILE_ROWS = 128,    /* most query rows of a tile */
    LACI_CHUNK = 8,          /* panels whose probabilities a kernel may hold at once */
    LACI_MAX_D_HEAD = 1024,  /* largest head size; a multiple of 8 */
    LACI_ROWS_IN_FLIGHT = 16 /* rows after the last of q and acc that must be readable */
};

static inline size_t laci_d16(size_t d)
{
    return (d + 15) / 16 * 16;
}

static inline size_t laci_k_panel_bytes(laci_dtype dtype, size_t d)
{
    return LACI_PANEL * d * laci_act_bytes(dtype);
}

static inline size_t laci_v_panel_bytes(laci_dtype dtype, size_t d)
{
    return LACI_PANEL * laci_d16(d) * laci_act_bytes(dtype);
}

typedef struct {
    const void *k, *v;         /* packed, aligned to 64 bytes */
    uint64_t lanes;            /* bit j: lane j holds a key that counts */
    uint32_t first;            /* lane j is the key at position first + j ... */
    const uint32_t *positions; /* ... unless positions [64] say otherwise */
} laci_panel;

/* Rows under way through the keys. Start with max = -INFINITY, sum = 0, acc = 0; at the end output
 * = acc / sum and the log-sum-exp in powers of two is max + log2(sum). sum = 0: no key was read. */
typedef struct {
    size_t n_rows, d;
    const void *q; /* f32 or bf16 [n_rows, d], not scaled, aligned to 64 bytes */
    float scale;
    const uint32_t *limits; /* [n_rows] a row reads keys at positions below its limit; NULL = all */
    float *max;             /* [n_rows], any number the scores are measured from, not the largest */
    float *sum;             /* [n_rows] of 2^(score - max) */
    float *acc;             /* [n_rows, d16], aligned to 64 bytes */
    void *scratch;          /* laci_tile_scratch(d) bytes, aligned to 64 bytes */
    /* Pattern statistics, NULL = none: for each panel and row, the sums of 2^(score - max) over
     * every `step` keys (16, 32 or 64) and the max they are measured from. Rows lie side by side;
     * those past n_rows hold anything. */
    float *sums;     /* [n_panels * 64 / step, LACI_TILE_ROWS] */
    float *sums_max; /* [n_panels, LACI_TILE_ROWS] */
    float *squares;  /* like sums, of the square: the softmax of doubled scores; NULL = none */
    size_t panel_at; /* panels already written; advanced by the kernel */
    size_t step;
} laci_tile;

/* Bytes, enough for every instruction set: the rows again, a panel as f32, probabilities of all
 * rows against LACI_CHUNK panels, scores and sums of a few rows. */
static inline size_t laci_tile_scratch(size_t d)
{
    const size_t rows = LACI_TILE_ROWS + LACI_ROWS_IN_FLIGHT, d32 = (d + 31) / 32 * 32;
    const size_t panel = LACI_PANEL;
    const size_t floats =
        rows * d32 + panel * 2 * d32 + rows * (panel * LACI_CHUNK / 2 + 16) + panel * 96 + 16 * d32;
    return floats * sizeof(float);
}

/* Statistics of a finished tile. */
typedef struct {
    const float *sums, *sums_max; /* as in laci_tile; sums may be its squares */
    const float *max;             /* [n_rows] of the finished tile */
    size_t n_panels;              /* panels written */
    size_t step;                  /* keys of one sum */
    size_t block;                 /* keys of a block: a multiple of step */
    size_t n_blocks;              /* the last may be shorter */
    bool squared;                 /* sums are of squares */
} laci_mass;

typedef struct {
    void *k, *v;                 /* the panel to fill */
    const void *k_from, *v_from; /* panels of the head, in order of positions */
    laci_dtype dtype;
    size_t d;
} laci_gather;

#endif
