/* policy.h: the one interface of attention policies, and their registry. A policy decides which
 * keys are read, and by which rows; it computes no attention: what it needs to know of queries and
 * keys it asks of the backend, or of the pass itself, which measures where the softmax lies on
 * request. One file per policy, one line per policy in policies.def.
 *
 * A plan is about keys [0, n_k) of a sequence, the planned keys. Over a whole canvas these are all
 * keys. Rows of a decoding block that stand behind a key cache have the cache as planned keys; they
 * always read their own block whole, and the engine merges the two results exactly.
 *
 * What the engine calls. Once per session: sizes says what memory to take. Once per generation of a
 * sequence: the state is zeroed and begin is called. Then for each step, pass and layer: rows (or
 * on_device), plan, attention with what was requested, observe, report; and report once more when
 * the pass is over. Reads that no policy is asked for, of prompts and finished blocks, are whole.
 */
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

/* Kinds of models: those that see the whole sequence, and those that decode block by block behind a
 * key cache. */
enum { LACI_FULL = 1, LACI_BLOCKWISE = 2 };

/* What a policy is chosen for. */
typedef struct {
    const char *family;
    unsigned kind; /* LACI_FULL or LACI_BLOCKWISE */
    bool is_dream; /* samples as Dream does */
    size_t n_heads, d_head;
    size_t n_ctx; /* most positions of a sequence */
    size_t block; /* positions of a decoding block; 0 = the model has none */
} laci_policy_model;

/* Dimensions of the attention a policy plans for. */
typedef struct {
    size_t n_layers, n_heads, n_kv_heads, d_head, d_model;
    size_t n_ctx;    /* most positions a generation may have */
    size_t n_passes; /* forward passes of a step: 2 with guidance, else 1 */
    size_t block;    /* rows that have keys of their own beside the planned ones, at most;
                        0 = plans are over whole canvases */
    laci_dtype act;  /* type of queries and keys */
    const laci_sparse
        *sparse; /* resolved options of plans over canvases; live as long as the state */
    const laci_prefix *prefix; /* of plans over a key cache */
} laci_shape;

/* Where the loop stands. */
typedef struct {
    int step, n_steps;
    int layer;
    size_t n_q, n_k; /* rows of the pass, and planned keys [0, n_k). Over a canvas row i is position
                        i, else position n_k + i */
    size_t prompt_end; /* positions from here on are being generated */
    int block;         /* decoding block under way */
    int block_step;    /* steps of it that are done */
    int pass;          /* 0, or 1 for the unguided pass of guidance: it has patterns of its own */
} laci_moment;

/* What one layer's rows keep of planned keys, where they have keys of their own beside them. */
typedef struct {
    laci_buf *out,
        *lse;      /* f32 [block, n_heads * d_head], [n_heads, block]: what each row read last */
    laci_buf *ref; /* act [block, ref_width]: for the policy to fill */
} laci_kept;

/* Buffers that the engine keeps for the measurements of the layer under way, in the sizes that the
 * policy asked for; NULL where it asked for none. Those of pages and of columns behind a key cache
 * are over all planned keys, however many pieces they are in. */
typedef struct {
    laci_buf *mass, *late;         /* f32 [n_heads, n_q_blocks, n_k_blocks]; see laci_mass_stats */
    laci_buf *lse;                 /* f32 [n_heads, n_q] */
    laci_buf *columns;             /* f32, for laci_backend_column_mass */
    laci_buf *pages;               /* f32, masses of pages */
    laci_buf *probe_q, *probe_out; /* act [probe_rows, n_heads * d_head] */
} laci_measures;

/* Sizes of those buffers for the longest context. */
typedef struct {
    size_t mass_floats, late_floats, lse_floats, column_floats, page_floats;
    size_t probe_rows;
    size_t
        stats_block; /* smallest key block of which masses are gathered, 0 = none are asked for */
    size_t row_page; /* keys of the pages that laci_request.pages asks for, 0 = it never does */
    size_t n_pages, n_ranked; /* most pages scored by their bounds, most scores ranked */
} laci_measure_sizes;

/* Memory a policy asks for. */
typedef struct {
    size_t state_bytes;          /* on the host, of each sequence */
    size_t plan_rows, plan_cols; /* rows and entries of the largest plan it writes */
    laci_measure_sizes measures;
    /* Where rows have keys of their own, of each sequence: */
    size_t n_kept;    /* layers with a laci_kept: all, or 1 in turn; 0 = every read is whole */
    size_t ref_width; /* of laci_kept.ref, 0 = there is none */
    size_t page;      /* keys of the pages whose bounds are kept up to date, 0 = none are */
    bool int8_bounds;
    bool input;  /* it looks at laci_plan_input.x */
    bool counts; /* a device may decide: see laci_paged_read.counts */
} laci_policy_sizes;

/* Rows that read planned keys in this layer and step; the others keep what they read before. */
typedef struct {
    const int32_t *rows; /* [n] ascending, of the pass; NULL = all */
    size_t n;
    bool whole; /* instead: every row reads every key in one go, and nothing is kept */
} laci_row_list;

/* What a policy wants measured in the read it plans; zeroed by the engine before. */
typedef struct {
    bool all;       /* every planned key is read, and there is no plan (not over a canvas) */
    bool stats;     /* fill `mass` (the plan is dense, with rows of mass.q_block) */
    bool lse;       /* measures->lse */
    bool pages;     /* measures->pages [n_heads, n_pages]: mass of every page of row_page keys, mean
                       over the rows, all of which read all keys */
    bool columns;   /* measures->columns [n_heads, groups of 128 rows, n_k]: of every key */
    bool rehearsal; /* the pass is for what it measures alone: plan is called once more behind it,
                       and the attention of that plan counts */
    laci_mass_stats mass;          /* buffers from laci_measures */
    size_t probe_begin, probe_end; /* queries [begin, end), begin a multiple of 16, that are also
                                      run densely, apart: mass is theirs. end 0 = none. Not in the
                                      last layer, where only wanted queries exist */
} laci_request;

/* What a policy may look at before attention in a layer (the last layer of a canvas has its queries
 * only where measurement was requested), and where to put requests. */
typedef struct {
    const laci_buf *q;  /* act [n_q, n_heads * d_head] queries of all rows */
    const laci_buf *x;  /* act [n_q, d_model] normalised input of the layer; NULL = not asked for */
    const int32_t *ids; /* [n_q] of the rows */
    const laci_kept *kept; /* of this layer, NULL = none */
    const laci_pages *pages;
    const laci_measures *measures;
    laci_request *request;
    bool is_last; /* the model's last layer */
    /* From plan on: the rows that read, and their queries one after the other. */
    laci_row_list rows;
    const laci_buf *row_q;
    laci_buf *spare; /* act [block, the larger of d_model and n_heads * d_head], for the policy */
} laci_plan_input;

/* What a policy sees after attention. */
typedef struct {
    const laci_plan_input *in;       /* its request as plan left it; buffers are filled */
    const laci_plan *plan;           /* that was obeyed; NULL = all planned keys, or no row read */
    const laci_attention *attention; /* arguments of a pass over a canvas */
    bool by_device;                  /* the device decided, and what it read is not known yet */
} laci_observation;

/* What the attention of a pass read: sums over layers. */
typedef struct {
    double density;   /* visited over total (query, key) pairs */
    double kept;      /* share of the softmax that was read, as far as known when plans were made */
    double inflation; /* over lists: keys read for the rows of a list over the budget of one row */
    double active;    /* rows that read planned keys, where they have keys of their own */
    size_t n_layers, n_lists;
    uint64_t bytes;         /* keys, values and page bounds, where a policy counts them */
    double layer_density;   /* of the layer added last, where a canvas was planned */
    const float *head_kept; /* [n_heads] what it kept; NULL = not known */
} laci_read_stats;

/* Functions that may be NULL say so. */
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
    lac_status (*sizes)(const laci_shape *shape, laci_policy_sizes *out, lac_error *err);
    lac_status (*begin)(void *state, const laci_shape *shape, lac_error *err);
    /* Before the plan, where rows have keys of their own. NULL = every read is whole. */
    lac_status (*rows)(void *state, laci_backend *be, const laci_moment *at,
                       const laci_plan_input *in, laci_row_list *out, lac_error *err);
    /* Which keys the rows read, unless there are none. `out` keeps the sequence's last plan, so
     * leaving it alone reuses it. */
    lac_status (*plan)(void *state, laci_backend *be, const laci_moment *at,
                       const laci_plan_input *in, laci_plan_store *out, lac_error *err);
    /* After attention of all rows that read, but not in a last layer that is run for wanted rows
     * alone; may be NULL. */
    lac_status (*observe)(void *state, laci_backend *be, const laci_moment *at,
                          const laci_observation *seen, lac_error *err);
    /* In place of all of these: fills in what a device needs to decide and read by itself, but for
     * queries, pieces and buffers; false = the host decides in this layer. May be NULL. */
    bool (*on_device)(void *state, const laci_moment *at, const laci_plan_input *in,
                      laci_paged_read *out);
    /* Adds what a layer read; with `seen` NULL, after the pass, what the device did not tell
     * before, from `counts`: it waits for it. NULL = what the plan says, and kept mass is not
     * known. */
    void (*report)(void *state, laci_backend *be, const laci_moment *at,
                   const laci_observation *seen, const laci_buf *counts, laci_read_stats *sum);
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

/* Adds a layer in which n_rows rows read n_k keys whole, or the plan of a canvas, which kept so
 * much of the softmax of each head (NULL = not known). */
void laci_read_whole(laci_read_stats *sum, const laci_shape *shape, size_t n_rows, size_t n_k);
void laci_read_planned(laci_read_stats *sum, const laci_shape *shape, const laci_moment *at,
                       const laci_plan *plan, const float *kept);

/* The same as means over layers, and over lists where there are any. */
laci_read_stats laci_read_means(const laci_read_stats *sum);

/* Bytes of the keys and values of n positions of a layer. */
uint64_t laci_read_bytes(const laci_shape *shape, size_t n);

#endif
