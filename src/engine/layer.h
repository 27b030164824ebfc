/* layer.h: the parts of a transformer layer that every forward pass shares: embedding, products,
 * norms, queries, and what follows attention. Which keys attention reads is the affair of attend.h.
 */
#ifndef LACI_ENGINE_LAYER_H
#define LACI_ENGINE_LAYER_H

#include "engine/session.h"

/* Seconds a pass spent by part, until the calls returned; for benchmarks. */
typedef struct {
    double linear, attention; /* products of weights; attention without packing its keys */
    double behind_cache;      /* of rows behind a key cache: choosing, reading, merging, together */
} laci_clock;

/* What every step of a layer needs at hand. */
typedef struct {
    lac_session *s;
    const laci_config *config;
    const laci_layer *layer; /* the one under way */
    laci_buf *const *buf;    /* of the session */
    laci_clock *clock;       /* added to; NULL = not timed */
    size_t d, d_ff;
} laci_layer_run;

laci_layer_run laci_layer_begin(lac_session *s, laci_clock *clock);

/* Seconds of a steady clock; 0 in a pass that is not timed. */
double laci_layer_now(const laci_layer_run *c);

/* Rows [0, n) of X = norm with `weight` (NULL = none) of rows x_row.. of x f32 [.., d_model]. */
void laci_layer_norm(const laci_layer_run *c, const laci_buf *weight, const laci_buf *x,
                     size_t x_row, size_t n);

/* y f32 = n rows of x act from x_row, times the matrix. */
void laci_layer_multiply(const laci_layer_run *c, const laci_linear *matrix, const laci_buf *x,
                         size_t x_row, size_t n, laci_buf *y);

void laci_layer_attend(const laci_layer_run *c, const laci_plan *plan, const laci_attention *a);

/* Rotation and normalisation of keys; values. */
laci_head_op laci_layer_key_op(const laci_layer_run *c);
laci_head_op laci_layer_value_op(const laci_layer_run *c);

/* Queries of n rows already normalised in X, into rows out_row.. of Q. Row i is at positions[i]
 * (host), or first + i. */
void laci_layer_queries(const laci_layer_run *c, size_t n, const int32_t *positions, size_t first,
                        size_t out_row);

/* The two parts of a layer that follow attention, each of which ends in a sum into rows h_row.. of
 * `h` [.., d_model]: the output product of n rows from row o_row of `o`, and norm and feed-forward
 * part of n rows of `h`. */
void laci_layer_attention_output(const laci_layer_run *c, const laci_buf *o, size_t o_row,
                                 laci_buf *h, size_t h_row, size_t n);
void laci_layer_feed_forward(const laci_layer_run *c, laci_buf *h, size_t h_row, size_t n);

/* Both, one after the other. */
void laci_layer_finish(const laci_layer_run *c, const laci_buf *o, size_t o_row, laci_buf *h,
                       size_t h_row, size_t n);

/* Rows [0, n) of H. Every id of every pass goes through here; one outside the table is a mistake of
 * the caller, and is read as the mask. */
void laci_layer_embed(const laci_layer_run *c, const int32_t *ids, size_t n, size_t time_row);

#endif
