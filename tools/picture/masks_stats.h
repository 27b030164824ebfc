/* masks_stats.h: what a record of masks says: how alike patterns are over steps and between heads,
 * what they keep, and how far from the diagonal the softmax lies. A pattern is what a head's plan
 * read in a step or, in a layer that was measured, the cells that hold most of the softmax: of each
 * row of cells the best `select` share. Works on the cells of the record, so it is exact where a
 * cell is a block, and a cell that is read in part counts in part. */
#ifndef LACUNA_TOOLS_MASKS_STATS_H
#define LACUNA_TOOLS_MASKS_STATS_H

#include "picture/masks.h"

enum {
    MASKS_MAX_COMPARED = 64, /* steps that are compared */
    MASKS_MAX_PAIRED = 512,  /* heads that are: pairs grow with their square */
};

/* Everything a picture, a page or a table shows. Matrices are [n, n]; NAN = not known. */
typedef struct {
    double select;
    int n_steps;          /* frames that are compared, of m->n_frames evenly */
    int *frame;           /* [n_steps] which */
    float *step_likeness; /* [n_steps, n_steps] mean over heads of the Jaccard index */
    float *retained; /* [n_steps, n_steps] mass that the pattern of row's step holds in column's
                        step, mean over measured heads */
    int n_paired, paired_stride; /* heads that are compared with each other: 0, stride, ... */
    float *head_likeness; /* [n_paired, n_paired] Jaccard index, mean over the compared steps */
    float *own_likeness;  /* [heads] Jaccard index of neighbouring compared steps, mean */
    float *density;       /* [heads] mean over steps */
    float *kept_mass;     /* [heads] mean over steps that know it */
    float *held;          /* [heads] mass of the pattern in its own step, measured layers */
    float *mass_at;       /* [grid] mass at this distance from the diagonal, in cells, mean over
                             queries, heads and measured steps */
    float *read_at;       /* [grid] share of pairs at this distance that are read */
    uint8_t *patterns;    /* [n_steps, heads, grid, grid] as masks_frame.kept */
} masks_stats;

/* `select` in (0, 1]. Errors: EINVAL for an empty record, ENOMEM. */
lac_status masks_stats_make(masks_stats *out, const masks *m, double select, lac_error *err);
void masks_stats_free(masks_stats *s);

/* For each head, what the patterns of run `a` hold of the softmax of run `b`, and what b's own
 * hold: means over the compared steps, NAN where b's layer was not measured. Both [heads]. Errors:
 * EINVAL where the runs differ in heads, positions or steps. */
lac_status masks_stats_cross(const masks_stats *a, const masks *m_a, const masks_stats *b,
                             const masks *m_b, float *cross, float *own, lac_error *err);

/* Sum of smaller over sum of larger values; 1 for two empty patterns. */
double masks_jaccard(const uint8_t *a, const uint8_t *b, size_t n);

/* Of each row of a [n_rows, n_cols] grid with row stride `stride`, marks the ceil(n_cols * select)
 * cells of largest mass with 255 and clears the others; of equal ones the first. */
void masks_choose(const uint16_t *mass, int n_rows, int n_cols, int stride, double select,
                  uint8_t *out);

#endif
