/* policy.h: the interface of attention policies and their registry. A policy decides which keys are
 * read; it computes no attention and touches no floats: what it needs to know of queries and keys
 * it asks of the backend. One file per policy, one line per policy in policies.def.
 *
 * The engine's side of the contract, once per generation: state of state_size bytes is zeroed,
 * begin is called, then for each step and layer: plan, attention, observe. */
#ifndef LACI_ATTENTION_POLICY_H
#define LACI_ATTENTION_POLICY_H

#include "attention/plan.h"

/* Dimensions of the attention a policy plans for. */
typedef struct {
    size_t n_layers, n_heads, n_kv_heads, d_head;
    size_t n_ctx; /* most positions a generation may have */
} laci_shape;

/* Where the loop stands. */
typedef struct {
    int step, n_steps;
    int layer;
    size_t n_q, n_k;   /* query positions [0, n_q) see keys [0, n_k) */
    size_t prompt_end; /* positions from here on are being generated */
} laci_moment;

/* What a policy may look at when it plans a layer: this step's queries, act, and keys. */
typedef struct {
    const laci_buf *q;
    const laci_kv *kv;
} laci_plan_input;

typedef struct {
    const char *name; /* as typed after --sparse */
    size_t (*state_size)(const laci_shape *shape);
    lac_status (*begin)(void *state, const laci_shape *shape, lac_error *err);
    /* Rows and entries of the largest plan it will write, for the reserve. */
    void (*plan_size)(const laci_shape *shape, size_t *n_rows, size_t *n_cols);
    /* Before attention. `out` keeps this layer's last plan, so leaving it alone reuses it. */
    lac_status (*plan)(void *state, laci_backend *be, const laci_moment *at,
                       const laci_plan_input *in, laci_plan_store *out, lac_error *err);
    /* After attention; may be NULL. `lse` is f32 [n_heads, n_q], or NULL. */
    lac_status (*observe)(void *state, laci_backend *be, const laci_moment *at,
                          const laci_plan *plan, const laci_buf *lse, lac_error *err);
    bool plan_per_layer; /* layers have plans of their own; else all share one */
} laci_policy;

/* By name; NULL when there is none. "off" is an alias of "dense". */
const laci_policy *laci_policy_find(const char *name);

/* Comma-separated names for error messages. Static string. */
const char *laci_policy_names(void);

/* The policy for a request (NULL or "auto", or a name), and one line why.
 * Errors: EINVAL naming the policies there are. */
lac_status laci_policy_choose(const laci_policy **out, const char *request, const char **reason,
                              lac_error *err);

#endif
