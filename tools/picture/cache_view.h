/* cache_view.h: what a run behind a key cache read, step by step: which rows of its blocks read the
 * prefix, which keys they read, how far the rows' choices lay apart. Pooled so that memory stays
 * bounded; fed from a run under way or from a trace; drawn as SVG, as a page, or as a table. */
#ifndef LACUNA_TOOLS_CACHE_VIEW_H
#define LACUNA_TOOLS_CACHE_VIEW_H

#include "lacuna.h"

enum {
    CACHE_VIEW_STEPS = 256,   /* that are kept; of more, every second, third... is */
    CACHE_VIEW_COLUMNS = 128, /* positions, and keys, are pooled to as many */
};

/* What one step says of itself. */
typedef struct {
    int step;
    int begin; /* of its decoding block */
    double union_inflation, n_active, density, bytes_read;
} cache_view_step;

typedef struct {
    int n_layers, n_heads, n_canvas, block;
    int stride;                  /* every stride-th step is kept */
    int first, cell, n_columns;  /* positions from `first` on, so many a column */
    int key_cell, n_key_columns; /* keys from 0 on */
    cache_view_step *steps;      /* [CACHE_VIEW_STEPS] */
    float *active;               /* [CACHE_VIEW_STEPS, CACHE_VIEW_COLUMNS] share of layers */
    float *read;                 /* the same of keys, share of layers and heads */
    int n_steps;
    /* of the step under way */
    int n_plans;
    double n_rows; /* that its plans name */
} cache_view;

/* Of a run of n_steps that generates from n_prompt on. Errors: EINVAL, ENOMEM. */
lac_status cache_view_open(cache_view *v, const cache_view *sizes, int n_prompt, int n_steps,
                           lac_error *err);
void cache_view_free(cache_view *v);

/* A layer's plan; then, after those of a step, the step. Errors: EINVAL. */
lac_status cache_view_add_plan(cache_view *v, const lac_plan_view *plan, lac_error *err);
lac_status cache_view_add_step(cache_view *v, const cache_view_step *step, lac_error *err);

/* Whether the end of the name is one of those below: EXIT_OK, or an exit code after a message. */
int cache_view_check_name(const char *path);

/* Writes .svg, .html or .csv, by the end of the name. EXIT_OK, or an exit code after a message. */
int cache_view_write(const cache_view *v, const char *path, const char *title);

#endif
