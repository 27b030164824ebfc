/* masks.h: what the attention plans of a run looked like, step by step, pooled so that memory stays
 * bounded whatever the model and the context: per layer and head a square grid of cells, each with
 * the share of its query-key pairs that was read and, where it was measured, the share of the
 * softmax that lies in it. Fed from a run under way or from a trace; drawn by masks_out.h. */
#ifndef LACUNA_TOOLS_MASKS_H
#define LACUNA_TOOLS_MASKS_H

#include "lacuna.h"

enum {
    MASKS_MAX_GRID = 64,    /* cells a side */
    MASKS_MAX_FRAMES = 256, /* steps that are kept; of more, every second, third... is */
    MASKS_MAX_HEADS = 1 << 13,
};

/* One step. Heads are counted over all layers: head h of layer l is l * n_heads + h. */
typedef struct {
    int step;
    uint8_t *kept;  /* [heads, grid, grid] share of pairs that was read, 255 = all */
    uint16_t *mass; /* [heads, grid, grid] mean share of the softmax of the cell's queries, 65535 =
                       all; NULL = no layer was measured */
    bool *has_mass; /* [n_layers] */
    bool *has_plan; /* [n_layers] */
    float *density; /* [heads] of the plan, exact */
    float *kept_mass; /* [heads] when the plan was made, NAN = not known */
} masks_frame;

typedef struct {
    int n_layers, n_heads;
    int n_q, n_k;   /* 0 until the first plan */
    int cell, grid; /* positions of a cell, cells a side; set with n_q */
    int stride;     /* every stride-th step is kept */
    masks_frame *frames;
    int n_frames, max_frames;
    float *scratch; /* [grid, grid] */
} masks;

/* Starts an empty record of a run of n_steps. Errors: EINVAL, ENOMEM. */
lac_status masks_open(masks *m, int n_layers, int n_heads, int n_steps, lac_error *err);
void masks_free(masks *m);

/* Adds one layer of one step; steps never fall. Other passes than the first are left out. The view
 * is valid (plan ids in range). Errors: EINVAL for sizes that do not fit the record, ENOMEM. */
lac_status masks_add(masks *m, const lac_plan_view *view, lac_error *err);

/* Heads of all layers; cells of one head. */
static inline size_t masks_n_heads(const masks *m)
{
    return (size_t)m->n_layers * (size_t)m->n_heads;
}
static inline size_t masks_n_cells(const masks *m)
{
    return (size_t)m->grid * (size_t)m->grid;
}

#endif
