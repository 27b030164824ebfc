/* made_model.h: models of published shapes with random weights, made in memory: what a forward pass
 * costs depends on the shape alone. No tokenizer: such a model computes, it does not generate. */
#ifndef LACUNA_BENCH_MADE_MODEL_H
#define LACUNA_BENCH_MADE_MODEL_H

#include "engine/pass.h"

enum { N_MADE_SHAPES = 4 };

/* "llada-8b", "dream-7b", "sdar-8b", "nano". */
extern const char *const made_shape_names[N_MADE_SHAPES];

typedef struct {
    int shape; /* index of the name */
    int n_layers, n_ctx, n_threads;
    laci_dtype dtype;
    const char *backend; /* NULL = cpu */
    int n_vocab;         /* rows of embedding and head; 0 = 256 */
    int block_size;      /* block-causal, in decoding blocks of this; 0 = every key is seen */
} made_options;

/* What the published model of a shape has, and random weights need not. */
int made_shape_layers(int shape);
int made_shape_vocab(int shape);

/* Configuration and backend, no weights: enough for lac_model_plan_memory. Close with
 * lac_model_close, filled or not. Errors: ENOMEM. */
lac_status made_model_new(lac_model **out, const made_options *opt, lac_error *err);

/* Makes the weights: matrices that keep the size of what passes through them, norms of one. The
 * embedding has few rows and the head as many: looking up costs the same.
 * Errors: ENOMEM, EINTERNAL. */
lac_status made_model_fill(lac_model *model, uint64_t seed, lac_error *err);

/* Random ids on the whole canvas of a sequence of a session. */
void made_canvas(const lac_session *session, laci_sequence *seq, uint64_t seed);

/* Milliseconds of the logits of n_rows rows, for the whole vocabulary of the shape: as many rows
 * and ids as there is room for, scaled. What is in LACI_BUF_X does not matter. */
double made_time_head(lac_session *session, int shape, size_t n_rows);

/* The sink of a pass whose logits nobody wants. */
lac_status made_drop_rows(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err);

#endif
