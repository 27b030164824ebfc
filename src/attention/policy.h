/* policy.h: the interface of attention policies and their registry. A policy decides which keys are
 * read; it computes no attention: what it needs to know of queries and keys it asks of the backend,
 * or of the pass itself, which measures where the softmax lies on request. One file per policy, one
 * line per policy in policies.def.
 *
 * The engine's side of the contract. Once per session: state_size, plan_size and measures say what
 * memory to take. Once per generation: the state is zeroed and begin is called. Then for each
 * step, pass and layer: plan, attention with what was requested, observe. */
#ifndef LACI_ATTENTION_POLICY_H
#define LACI_ATTENTION_POLICY_H

#include "attention/plan.h"
#include "attention/prefix.h"
#include "attention/sparse.h"

/* What a policy runs with: its knobs, read and completed. */
typedef struct {
    laci_sparse sparse; /* of policies for full-sequence models */
    laci_prefix prefix; /* of policies behind a key cache */
} laci_settings;

/* What a policy is chosen for. */
typedef struct {
    const char *family;
    bool is_blockwise; /* decodes block by block behind a key cache */
    bool is_dream;     /* samples as Dream does */
    size_t n_heads, d_head;
    size_t n_ctx; /* most positions of a sequence */
    size_t block; /* positions of a decoding block; 0 = the model has none */
} laci_policy_model;

/* Dimensions of the attention a policy plans for. */
typedef struct {
    size_t n_layers, n_heads, n_kv_heads, d_head;
    size_t n_ctx;              /* most positions a generation may have */
    size_t n_passes;           /* forward passes of a step: 2 with guidance, else 1 */
    const laci_sparse *sparse; /* resolved options; live as long as the state */
} laci_shape;

/* Where the loop stands. */
typedef struct {
    int step, n_steps;
    int layer;
    size_t n_q, n_k;   /* query positions [0, n_q) see keys [0, n_k) */
    size_t prompt_end; /* positions from here on are being generated */
    int block;         /* decoding block under way */
    int pass;          /* 0, or 1 for the unguided pass of guidance: it has patterns of its own */
} laci_moment;

/* Buffers the engine keeps for the measurements of one layer, in the sizes that `measures` gave;
 * NULL where it gave none. */
typedef struct {
    laci_buf *mass, *late;         /* f32 [n_heads, n_q_blocks, n_k_blocks]; see laci_mass_stats */
    laci_buf *lse;                 /* f32 [n_heads, n_q] */
    laci_buf *columns;             /* f32, for laci_backend_column_mass */
    laci_buf *probe_q, *probe_out; /* act [probe_rows, n_heads * d_head] */
} laci_measures;

/* Sizes of those buffers for the longest context. */
typedef struct {
    size_t mass_floats, late_floats, lse_floats, column_floats;
    size_t probe_rows;
    size_t stats_block; /* smallest k_block of statistics, 0 = none are asked for */
} laci_measure_sizes;

/* What a policy wants measured in the pass it plans; zeroed by the engine before. */
typedef struct {
    bool stats;                    /* fill `mass` (the plan is dense, with rows of mass.q_block) */
    bool lse;                      /* measures->lse */
    bool rehearsal;                /* the pass is for what it measures alone: plan is called once
                                      more behind it, and the attention of that plan counts */
    laci_mass_stats mass;          /* buffers from laci_measures */
    size_t probe_begin, probe_end; /* queries [begin, end), begin a multiple of 16, that are also
                                      run densely, apart: mass is theirs. end 0 = none. Not in the
                                      last layer, where only wanted queries exist */
} laci_request;

/* What a policy may look at when it plans a layer: this step's queries, act, and keys (the last
 * layer has its queries only where measurement was requested), and where to put requests. */
typedef struct {
    const laci_buf *q;
    const laci_kv *kv;
    const laci_measures *measures;
    laci_request *request;
    bool is_last; /* the model's last layer */
} laci_plan_input;

/* What a policy sees after attention: the plan that was obeyed and what was measured. */
typedef struct {
    const laci_plan *plan;
    const laci_request *request; /* as plan left it; its buffers are filled */
    const laci_measures *measures;
    const laci_attention *attention; /* arguments of the pass; NULL in a last layer that was run
                                        for the wanted queries only */
} laci_observation;

/* Kinds of models a policy runs on. */
enum { LACI_FULL = 1, LACI_BLOCKWISE = 2 };

typedef struct {
    const char *name;  /* as typed after --sparse */
    const char *about; /* one sentence for people */
    unsigned models;   /* LACI_FULL, LACI_BLOCKWISE or both */
    const laci_knob *knobs;
    size_t n_knobs;
    const laci_prefix *preset; /* what the settings hold before the knobs are read; NULL = zeros */
    /* Fills in what "auto" means for this model and checks what goes together. Errors: EINVAL,
     * EUNSUPPORTED. NULL = nothing to do. */
    lac_status (*complete)(laci_settings *settings, const laci_policy_model *model, lac_error *err);
    size_t (*state_size)(const laci_shape *shape);
    lac_status (*begin)(void *state, const laci_shape *shape, lac_error *err);
    /* Rows and entries of the largest plan it will write, for the reserve. */
    void (*plan_size)(const laci_shape *shape, size_t *n_rows, size_t *n_cols);
    /* Before attention. `out` keeps this layer's last plan, so leaving it alone reuses it. */
    lac_status (*plan)(void *state, laci_backend *be, const laci_moment *at,
                       const laci_plan_input *in, laci_plan_store *out, lac_error *err);
    /* After attention; may be NULL. */
    lac_status (*observe)(void *state, laci_backend *be, const laci_moment *at,
                          const laci_observation *seen, lac_error *err);
    bool plan_per_layer; /* layers have plans of their own; else all share one */
    /* Memory for measurements; NULL = it asks for none. `out` is zeroed. */
    void (*measures)(const laci_shape *shape, laci_measure_sizes *out);
    /* Mass [n_heads] that each head of the layer kept when the plan in force was made; NULL where
     * it is not known. The function may be NULL. */
    const float *(*kept)(const void *state, const laci_moment *at);
} laci_policy;

/* Offset of a field for a knob's `at`. */
#define LACI_AT(field) offsetof(laci_settings, field)

extern const laci_policy laci_policy_dense;

/* The i-th policy of policies.def; NULL past the last. */
const laci_policy *laci_policy_at(size_t i);

/* The policy of a name for models of these kinds; NULL when there is none. "off" is an alias of
 * "dense". */
const laci_policy *laci_policy_find(const char *name, size_t n_name, unsigned models);

/* The policy for a request, NULL or "NAME[:knob=value,...]", with its settings complete, and one
 * line why. "auto" takes the knobs of the policy it would choose at great length. Errors: EINVAL
 * naming the policies the model can run, or a knob and its range; EUNSUPPORTED. */
enum { LACI_REASON = 192 };
lac_status laci_policy_choose(const laci_policy **out, laci_settings *settings, const char *request,
                              const laci_policy_model *model, char reason[LACI_REASON],
                              lac_error *err);

/* Whether a policy for some kind of model takes the request. Errors: EINVAL. */
lac_status laci_policy_check(const char *request, lac_error *err);

/* Settings of the selection alone, for a pattern that is made outside a generation: those knobs of
 * sparsed that say which blocks are kept. `text` may be NULL. Errors: as laci_policy_choose. */
lac_status laci_pattern_settings(laci_settings *settings, const char *text,
                                 const laci_policy_model *model, lac_error *err);

/* A plan under which every query reads every key, in rows of q_block; left alone where it is there
 * already. Errors: EINTERNAL. */
lac_status laci_plan_dense(laci_plan_store *out, size_t n_q, size_t n_k, size_t q_block,
                           lac_error *err);

#endif
