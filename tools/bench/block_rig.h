/* block_rig.h: sequences of a made model, each in the middle of a decoding block behind a long
 * prefix, stepped by the engine's own block-wise route under one policy. Everything `lacuna bench
 * block` needs to know of the engine is behind this. */
#ifndef LACUNA_BENCH_BLOCK_RIG_H
#define LACUNA_BENCH_BLOCK_RIG_H

#include "bench/measure.h"
#include "engine/session.h"

typedef struct block_rig block_rig;

typedef struct {
    const lac_model *model;         /* block-causal, made */
    const lac_session_options *how; /* n_ctx: the prefix and one block */
    size_t batch, prefix;
    double agreement; /* of the keys that are made, see made_prefix.h */
    uint64_t seed;
    const block_rig *owner; /* whose caches are read, and which outlives this one; NULL = its own */
} block_rig_options;

/* Errors: ENOMEM, what a session reports. */
lac_status block_rig_open(block_rig **out, const block_rig_options *opt, lac_error *err);
void block_rig_close(block_rig *rig);

/* A block begins in every sequence: random ids, nothing remembered. */
lac_status block_rig_begin(block_rig *rig, lac_error *err);

/* The id at a position of every block becomes another, `by` further on, 1 to n_vocab - 1. */
void block_rig_change(block_rig *rig, size_t position, int32_t by);

/* One step of every sequence, in one pass: bytes of all together, means of the rest. */
typedef struct {
    instant time;     /* seconds */
    double attention; /* seconds between queries and attention output */
    double density, rows_read;
    double inflation; /* NAN where nothing was selected */
    double bytes;
} block_rig_step;

/* Calls `before` ahead of the forward pass, not timed. Final rows are kept when `rows` is not
 * NULL: f32 [batch, block, d_model]. */
lac_status block_rig_run(block_rig *rig, void (*before)(void *user), void *user, float *rows,
                         block_rig_step *out, lac_error *err);

/* What time and memory of other parts can be asked of. */
lac_session *block_rig_session(const block_rig *rig);
const laci_prefix *block_rig_policy(const block_rig *rig);

/* Bytes of a sequence in a model of so many layers: its cache, and what the policy takes beside. */
void block_rig_bytes(const block_rig *rig, int n_layers, size_t *cache, size_t *policy);

#endif
