/* lacuna_attention.h: attention alone, for programs that make their own queries, keys and values.
 * lacuna.h has the conventions, status and errors.
 *
 *   lac_attention_options room = { .n_k = 4096, .n_heads = 8, .d_head = 64 };
 *   lac_attention_create(&attention, &room, &err);
 *   lac_attention_set_kv(attention, &kv, &err);                keys and values, copied
 *   lac_attention_build(attention, &call, NULL, &plan, &err);  dense, and sees which keys matter
 *   lac_attention_run(attention, &call, plan, &err);           reads what the plan lists
 *
 * Copyright (c) The Lacuna authors. Licensed under the Apache License 2.0. */
#ifndef LACUNA_ATTENTION_H
#define LACUNA_ATTENTION_H

#include "lacuna.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Attention alone, for programs that make their own queries, keys and values: dense or under a plan
 * that says which key blocks each head reads, the plan built as SparseD builds it inside one dense
 * pass. docs/attention-api.md tells how the calls follow each other and what they cost. */
typedef struct lac_attention lac_attention; /* memory and threads; one thread at a time */
typedef struct lac_plan lac_plan;           /* immutable; any thread; outlives its attention */

typedef struct {
    int n_batch;     /* sequences of a call, exactly; 0 = 1 */
    int n_q, n_k;    /* most queries and keys of a sequence; n_q 0 = n_k */
    int n_heads;     /* query heads */
    int n_kv_heads;  /* a divisor of n_heads; 0 = n_heads */
    int d_head;      /* a multiple of 8, at most 1024; scores are scaled by 1 / sqrt(d_head) */
    lac_dtype dtype; /* of queries, keys and values: f32 or bf16; AUTO = f32 */
    int n_threads;   /* 0 = all cores this process may use */
    const lac_allocator *allocator; /* copied; NULL = malloc */
} lac_attention_options;

/* Takes all memory that lac_attention_set_kv and lac_attention_run need: they take none. Free with
 * lac_attention_free(). Errors: EINVAL, ENOMEM. */
LAC_API lac_status lac_attention_create(lac_attention **out, const lac_attention_options *opt,
                                        lac_error *err);
LAC_API void lac_attention_free(lac_attention *attention);

/* Where element i of head h of row r of sequence b lies: at b * batch + h * head + r * row + i, in
 * elements. All zero = [n_batch, rows, heads, d_head] without gaps. */
typedef struct {
    size_t batch, head, row;
} lac_strides;

/* Keys and values of n rows, from row `begin` of every sequence on. They are copied, into the
 * layout that attention reads; rows before `begin` stay as an earlier call left them, so a cache
 * grows by its new rows only. Afterwards a sequence has begin + n keys.
 *
 *   k, v   of the dtype of the handle; n_kv_heads heads
 *
 * Errors: EINVAL. */
typedef struct {
    const void *k, *v;
    lac_strides k_strides, v_strides;
    int begin, n;
} lac_attention_kv;
LAC_API lac_status lac_attention_set_kv(lac_attention *attention, const lac_attention_kv *kv,
                                        lac_error *err);

/* Queries against the keys that are set. Arrays are read or written during the call only. */
typedef struct {
    const void *q; /* of the dtype of the handle; n_heads heads */
    lac_strides q_strides;
    int n_q;
    void *out; /* of the dtype of the handle, or f32 */
    lac_strides out_strides;
    bool out_f32;
    float *lse;             /* [n_batch, n_heads, n_q] receives log(sum(exp(scores))) over the keys
                               that were read, natural; NULL = not wanted */
    const uint32_t *limits; /* [n_batch, n_q] the query reads keys below; NULL = all */
    const uint64_t *valid;  /* [n_batch, ceil(n_k / 64)] bit j of word w says whether key 64 w + j
                               counts, n_k the keys that are set; NULL = all do. Keys that do
                               not count must be finite all the same */
} lac_attention_call;

/* Attention over the keys `plan` lists, or over all where it is NULL. A query that is left without
 * a key gives zeros, and a log-sum-exp of minus infinity. A plan of one sequence serves every
 * sequence of a batch. Errors: EINVAL (an argument, or a plan of other dimensions). */
LAC_API lac_status lac_attention_run(lac_attention *attention, const lac_attention_call *call,
                                     const lac_plan *plan, lac_error *err);

/* How lac_attention_build chooses; when to build and when to run sparse is the caller's. */
typedef struct {
    const char
        *knobs;   /* of the policy sparsed: "select=0.3,block=64"; select, fidelity, block, group,
                     mode, isolated, keep, boundary, score and ragged. NULL = defaults */
    int n_prompt; /* keys before this one are the prompt, whose blocks are chosen apart from those
                     that are being generated; 0 = there is none */
} lac_plan_options;

/* Dense attention that also measures where the softmax of each head lies, and makes a plan of it;
 * output and log-sum-exp as lac_attention_run without a plan gives them. Takes memory, for the time
 * of the call and for the plan. Free with lac_plan_free().
 * Errors: EINVAL, ENOMEM, EUNSUPPORTED (score scale, or more than 2^32 entries).
 * Source: SparseD (arXiv 2509.24014). */
LAC_API lac_status lac_attention_build(lac_attention *attention, const lac_attention_call *call,
                                       const lac_plan_options *opt, lac_plan **out, lac_error *err);
LAC_API void lac_plan_free(lac_plan *plan);

/* What a plan says. Arrays live as long as the plan. Pattern p = sequence * n_heads + head; its row
 * r covers queries [r * block, ..) and lists key blocks cols[row_ptr[p * n_rows + r]] to
 * row_ptr[.. + 1], ascending. Density does not know of key limits and validity. */
typedef struct {
    int n_batch, n_heads, n_q, n_k;
    int block; /* queries and keys of a block */
    int n_rows;
    int n_prompt;
    double density;   /* visited over total (query, key) pairs */
    double kept_mass; /* share of the softmax the plan kept when it was made, mean over patterns */
    const float *pattern_density, *pattern_kept; /* [n_batch * n_heads] the same of each */
    const uint32_t *row_ptr, *cols;
} lac_plan_info;
LAC_API lac_status lac_plan_get_info(const lac_plan *plan, lac_plan_info *out, lac_error *err);

/* A plan as bytes: little endian, versioned, with a checksum (docs/attention-api.md). Writing needs
 * room for lac_plan_bytes(). Reading takes exactly the bytes of one plan and checks all of them:
 * what it accepts is safe to run. Files appear whole or not at all.
 * Errors of reading: EFORMAT, EUNSUPPORTED (another version), ENOMEM; of files, EIO too. */
LAC_API size_t lac_plan_bytes(const lac_plan *plan);
LAC_API lac_status lac_plan_write(const lac_plan *plan, void *data, size_t n_bytes, lac_error *err);
LAC_API lac_status lac_plan_read(lac_plan **out, const void *data, size_t n_bytes,
                                 const lac_allocator *allocator, lac_error *err);
LAC_API lac_status lac_plan_save(const lac_plan *plan, const char *path, lac_error *err);
LAC_API lac_status lac_plan_load(lac_plan **out, const char *path, const lac_allocator *allocator,
                                 lac_error *err);

#ifdef __cplusplus
}
#endif
#endif
