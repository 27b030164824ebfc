/* config.h: hyper-parameters of a model, read from config.json and generation_config.json or from
 * GGUF metadata by the family that recognises it. What the engine does not implement is refused
 * here, by name. */
#ifndef LACI_MODEL_CONFIG_H
#define LACI_MODEL_CONFIG_H

#include "base/json.h"
#include "model/files/gguf.h"
#include "model/files/tensors.h"

/* How queries and keys are normalised per head. */
typedef enum {
    LACI_QK_NORM_NONE,
    LACI_QK_NORM_BEFORE_ROPE, /* RMSNorm with a weight [d_head] (Qwen3) */
    LACI_QK_NORM_AFTER_ROPE,  /* RMSNorm without weight (tiny-dlm) */
} laci_qk_norm;

typedef enum {
    LACI_ROPE_HALF,     /* pairs (i, i + r/2) */
    LACI_ROPE_ADJACENT, /* pairs (2i, 2i + 1) */
} laci_rope_layout;

typedef enum {
    LACI_MLP_SWIGLU, /* down(silu(gate x) * up x) */
    LACI_MLP_RELU2,  /* down(relu(up x)^2) */
} laci_mlp;

/* The sampler a family was published with. */
typedef enum { LACI_SAMPLER_LLADA, LACI_SAMPLER_DREAM, LACI_SAMPLER_SDAR } laci_sampler;

enum { LACI_MAX_EOS = 8, LACI_MAX_CTX = 1 << 24 };

typedef struct {
    const char *family; /* static: "llada", "dream", "sdar", "fast-dllm", "lacuna", "tiny-dlm" */
    char name[128];     /* what the file calls itself, "" when it says nothing */
    int n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff;
    int n_vocab;     /* embedding rows */
    int n_ctx;       /* longest position the file allows */
    int n_ctx_train; /* trained length when stated, else n_ctx */
    double rope_theta, norm_eps;
    double rope_scale; /* positions are divided by it, 1 = as they are */
    int rope_dim;      /* dimensions that rotate, <= d_head, even */
    laci_rope_layout rope_layout;
    int rope_sign; /* +1, or -1 when the model rotates the other way */
    laci_qk_norm qk_norm;
    laci_mlp mlp;
    bool qkv_bias;     /* q, k, v have biases */
    bool norm_weights; /* RMSNorms carry weights */
    bool embed_norm;   /* RMSNorm right after the embedding */
    int n_time_steps;  /* rows of the noise-level table, 0 = no time input */
    bool tied;         /* head = embedding */
    lac_mask_kind mask;
    int block_size; /* of a block-causal model, 0 otherwise */
    int sub_block;  /* positions of a block decided before the next ones, 0 = the block */
    bool shift_logits;
    laci_sampler sampler;
    int mask_id, bos_id, pad_id; /* -1 = none */
    int eos_ids[LACI_MAX_EOS];   /* ids that end a text; the first is the end token */
    int n_eos;
    const char *chat_template; /* static name, "none" when there is none */
    const char *tokenizer;     /* "auto" = from its files, "bytes", "ascii" */
} laci_config;

/* What the caller wants in place of the file's rotation; zeroed = what the file says. */
typedef struct {
    lac_rope_scaling scaling;
    double scale, base;
} laci_rope_wish;

/* Everything a family may look at. Members are NULL when absent. */
typedef struct {
    const laci_jval *config;     /* config.json */
    const laci_jval *generation; /* generation_config.json */
    const laci_gguf *gguf;
    const laci_tensor_dir *tensors;
    laci_rope_wish rope;
    int mask_id; /* the caller's, 0 = the file's */
} laci_config_source;

/* Finds the family (architecture, then keys, then tensor names) and fills the config, checked
 * against every rule of range and support. Errors: EFORMAT, EUNSUPPORTED naming what is missing. */
lac_status laci_config_read(laci_config *out, const laci_config_source *src, lac_error *err);

/* Range and consistency checks shared by all families. */
lac_status laci_config_check(const laci_config *config, lac_error *err);

/* Reads DIR/name if it exists, as people write files; *out stays NULL when it does not. */
lac_status laci_read_json(laci_json **out, const char *dir, const char *name, size_t max_bytes,
                          const lac_allocator *mem, lac_error *err);

#endif
