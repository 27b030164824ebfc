/* attn_problem.h: one attention problem with random queries, keys and values in a backend, and the
 * same numbers on the host, where brute force in double precision says what is right. */
#ifndef LACUNA_BENCH_ATTN_PROBLEM_H
#define LACUNA_BENCH_ATTN_PROBLEM_H

#include "attention/plan.h"

typedef enum {
    SCORES_RANDOM, /* normal */
    SCORES_PEAKY,  /* queries six times as long: the softmax lies on few keys */
    SCORES_RISING, /* scores rise along the keys, so that the largest so far keeps moving */
    N_SCORES,
} attn_scores;

typedef struct {
    laci_dtype dtype; /* of queries, keys and values */
    bool out_f32;     /* outputs in f32, else of dtype */
    size_t n_q, n_k, n_heads, n_kv_heads, d_head;
    size_t stats_block; /* key block of pattern statistics, 0 = none will be asked for */
    attn_scores scores;
    uint64_t seed;
    int n_threads;
    const char *backend; /* NULL = cpu */
} attn_shape;

typedef struct {
    attn_shape shape;
    laci_backend *be;
    laci_kv kv;
    laci_buf *q, *out;
    float *q_host, *k_host, *v_host; /* [n, heads, d_head], rounded to dtype; owned */
    double pack_seconds;             /* for all keys and values into the packed layout */
} attn_problem;

/* Bytes a problem takes. */
double attn_problem_bytes(const attn_shape *shape);

/* A problem that failed to open may be closed. Errors: ENOMEM. */
lac_status attn_problem_open(attn_problem *p, const attn_shape *shape, lac_error *err);
void attn_problem_close(attn_problem *p);

/* The first n_q queries over the keys of `plan`. */
void attn_problem_run(const attn_problem *p, const laci_plan *plan, size_t n_q,
                      const laci_mass_stats *stats);

/* Error of the outputs of the last run against brute force over the same plan, on rows spread over
 * heads and queries: relative to the length of the right answer, and the largest difference. NaN
 * when there is no memory. */
typedef struct {
    double rel_l2, max_abs;
} attn_error;
attn_error attn_problem_check(const attn_problem *p, const laci_plan *plan, size_t n_q);

/* 4 * d for every pair of a query and a key it reads, over all heads. */
double attn_flops(const attn_shape *shape, size_t n_q, double density);

/* Plans. Dense: as the engine's own, one block. Random: every query block of every head reads
 * `density` of the key blocks, at least one; `group` neighbouring heads read the same ones. */
lac_status attn_plan_dense(laci_plan_store *out, size_t n_q, size_t n_k, lac_error *err);
typedef struct {
    size_t q_block, k_block, n_q, n_k, n_heads, group;
    double density;
    uint64_t seed;
} random_plan;
lac_status attn_plan_random(laci_plan_store *out, const random_plan *how, lac_error *err);

#endif
