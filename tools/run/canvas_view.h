/* canvas_view.h: the canvas resolving before the reader's eyes (--visual). On a terminal it is
 * redrawn in place; elsewhere it becomes a few plain lines, worth keeping in a log. Draws on
 * stderr; reads nothing but what the step callback offers. */
#ifndef LACUNA_TOOLS_CANVAS_VIEW_H
#define LACUNA_TOOLS_CANVAS_VIEW_H

#include "lacuna.h"

typedef struct canvas_view canvas_view;

typedef struct {
    const lac_model *model; /* for the pieces; outlives the view */
    int eos_id;             /* shown as one small mark, -1 = none */
    bool color;             /* false: no colour and no dimming */
    int delay_ms;           /* show each step at least this long */
} canvas_view_options;

/* NULL when out of memory. */
canvas_view *canvas_view_open(const canvas_view_options *opt);

/* Shows one step. Never fails: without memory the picture is incomplete. */
void canvas_view_step(canvas_view *view, const lac_step *step);

/* Leaves the last picture on the terminal, restores what was changed, frees. NULL allowed. */
void canvas_view_close(canvas_view *view);

#endif
