/* cpu_state.h: what the files of the CPU backend share: its state, its operations, where rows
 * and packed panels lie. Private to backend/. */
#ifndef LACI_BACKEND_CPU_STATE_H
#define LACI_BACKEND_CPU_STATE_H

#include "backend/backend_ops.h"
#include "backend/cpu/cpu_linear.h"
#include "backend/cpu/cpu_team.h"
#include "kernels/kernels.h"

/* Elements below which a loop is not worth waking other threads for. */
enum { PARALLEL_MIN = 8192 };

struct laci_buf {
    void *data; /* aligned, owned unless this is a view */
    size_t n_bytes;
    bool is_view;
};

typedef struct {
    laci_backend base;
    laci_kernels kernels;
    laci_team *team;                        /* owned */
    void *linear_common[LACI_LINEAR_KINDS]; /* what matrices of a kind made here share */
    size_t scratch_stride;                  /* bytes of one thread's scratch */
    char *scratch;                          /* [n_threads, scratch_stride], owned */
    char *shared; /* [shared_bytes] of all threads, owned: inputs of a product */
    size_t shared_bytes;
    double marks[LACI_N_MARKS];
} cpu_backend;

/* The operations. Those that are optional have a prototype here and no body. */
#define OP(shape, result, function, entry, parameters, arguments) \
    result laci_cpu_##entry parameters;
#include "backend/backend_ops.def"

/* Scratch one thread needs for attention, for selection; arguments as in laci_scratch_dims. */
size_t laci_cpu_attend_scratch(size_t d, size_t n_ctx, size_t stats_block);
size_t laci_cpu_select_scratch(size_t d, size_t n_pages, size_t n_ranked);
/* Scratch for products of at most n_rows rows by any matrix made with this backend. */
laci_scratch_size laci_cpu_linear_scratch(const cpu_backend *cpu, size_t n_rows);

static inline cpu_backend *cpu_of(laci_backend *be)
{
    return (cpu_backend *)be;
}

static inline float *floats(const laci_buf *buf, size_t at)
{
    return buf ? (float *)buf->data + at : NULL;
}

static inline size_t act_size(const laci_backend *be)
{
    return laci_act_bytes(be->act);
}

static inline char *act_row(const laci_backend *be, const laci_buf *buf, size_t row, size_t d)
{
    return (char *)buf->data + row * d * act_size(be);
}

static inline void *scratch_of(const cpu_backend *cpu, int thread)
{
    return cpu->scratch ? cpu->scratch + (size_t)thread * cpu->scratch_stride : NULL;
}

/* Runs fn over items [0, n): on all threads where `work`, a number of elements, is worth it. `span`
 * as for laci_team_run: 0 for rows of equal work, 1 where every item is a large piece. */
static inline void spread(laci_backend *be, size_t n, size_t span, size_t work, laci_span_fn *fn,
                          void *job)
{
    if (work > PARALLEL_MIN)
        laci_team_run(cpu_of(be)->team, n, span, fn, job);
    else if (n)
        fn(job, 0, n, 0);
}

/* Writes a row of f32 as activations. */
static inline void put_act(const cpu_backend *cpu, void *out, const float *x, size_t n)
{
    if (cpu->base.act == LACI_BF16)
        cpu->kernels.to_bf16(out, x, n);
    else
        memcpy(out, x, n * sizeof *x);
}

static inline void get_act(const cpu_backend *cpu, float *out, const void *x, size_t n)
{
    if (cpu->base.act == LACI_BF16)
        cpu->kernels.from_bf16(out, x, n);
    else
        memcpy(out, x, n * sizeof *out);
}

/* First panel of keys (or of values) of one head of one sequence. */
static inline char *kv_panels(const laci_backend *be, const laci_kv *kv, laci_kv_part part,
                              size_t batch, size_t kv_head)
{
    const size_t n_panels = (kv->n_ctx + LACI_PANEL - 1) / LACI_PANEL;
    const size_t at = (batch * kv->n_kv_heads + kv_head) * n_panels;
    return part == LACI_KEYS ? (char *)kv->k->data + at * laci_k_panel_bytes(be->act, kv->d_head)
                             : (char *)kv->v->data + at * laci_v_panel_bytes(be->act, kv->d_head);
}

#endif
