/* forward.h: one transformer pass over the canvas. Knows layers and rows; knows nothing of masks,
 * steps or sampling. Rows whose logits are wanted are the only ones the last layer finishes. */
#ifndef LACI_ENGINE_FORWARD_H
#define LACI_ENGINE_FORWARD_H

#include "engine/layer.h"

/* Rows [first, first + n) of those that a pass wants; `pass` counts passes that run as one. */
typedef struct {
    size_t pass, first, n;
} laci_row_part;

/* Receives final normalised rows, from row 0 of LACI_BUF_X on, act [.., d_model]: those of the
 * parts, one after the other. */
typedef struct {
    lac_status (*take)(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err);
    void *user;
} laci_row_sink;

typedef struct {
    const int32_t *ids; /* [n] token ids, no holes */
    size_t n;
    const int32_t *rows; /* [n_rows] rows wanted, never falling */
    size_t n_rows;
    size_t time_row;    /* row of the noise-level table, for models that have one */
    laci_moment moment; /* layer is filled in by the pass */
    laci_row_sink sink;
    laci_clock *clock;   /* added to; NULL = not timed */
    lac_plan_fn on_plan; /* sees each layer's plan; NULL = none */
    void *user;
} laci_pass;

/* Runs the pass; leaves the density of its plans in s->density and what they kept in s->kept_mass.
 * Errors: what a policy reports. */
lac_status laci_forward(lac_session *s, const laci_pass *pass, lac_error *err);

/* Logits of n <= logit_rows rows of `x` (act, final rows) from row x_row, into `out`. */
void laci_forward_logits(lac_session *s, const laci_buf *x, size_t x_row, size_t n, laci_buf *out);

#endif
