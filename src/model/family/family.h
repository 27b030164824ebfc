/* family.h: what makes one model family different from another, as data. A new family is one file
 * family_x.c with one laci_family in it, and its name in families.def. */
#ifndef LACI_MODEL_FAMILY_H
#define LACI_MODEL_FAMILY_H

#include "base/utf8.h"
#include "model/config.h"

/* Tensors a network may have. Layer tensors come first. */
typedef enum {
    LACI_W_ATTN_NORM, /* [d_model] */
    LACI_W_Q,         /* [n_heads * d_head, d_model] */
    LACI_W_K,         /* [n_kv_heads * d_head, d_model] */
    LACI_W_V,         /* [n_kv_heads * d_head, d_model] */
    LACI_W_O,         /* [d_model, n_heads * d_head] */
    LACI_W_Q_BIAS,    /* [n_heads * d_head] */
    LACI_W_K_BIAS,    /* [n_kv_heads * d_head] */
    LACI_W_V_BIAS,    /* [n_kv_heads * d_head] */
    LACI_W_Q_NORM,    /* [d_head] */
    LACI_W_K_NORM,    /* [d_head] */
    LACI_W_FFN_NORM,  /* [d_model] */
    LACI_W_GATE,      /* [d_ff, d_model], SwiGLU only */
    LACI_W_UP,        /* [d_ff, d_model] */
    LACI_W_DOWN,      /* [d_model, d_ff] */
    LACI_N_LAYER_WEIGHTS,
    LACI_W_EMBED = LACI_N_LAYER_WEIGHTS, /* [n_vocab, d_model] */
    LACI_W_TIME,                         /* [n_time_steps, d_model] */
    LACI_W_NORM,                         /* [d_model] */
    LACI_W_HEAD,                         /* [n_vocab, d_model], absent when tied */
    LACI_N_WEIGHTS,
} laci_weight;

/* Names of the tensors in one layout; layer names contain one %d. NULL = not in this layout. */
typedef struct {
    const char *name[LACI_N_WEIGHTS];
} laci_weight_names;

typedef struct {
    const char *name;
    /* How sure this family is that the source is one of its own: 0 no, 1 by tensor names, 2 by
     * keys, 3 by architecture. The surest family wins; ties go to the earlier in families.def. */
    int (*recognise)(const laci_config_source *src);
    lac_status (*read)(laci_config *out, const laci_config_source *src, lac_error *err);
    /* Layouts to try in order; the first whose embedding tensor exists is the file's. NULL ends. */
    const laci_weight_names *const *layouts;
} laci_family;

/* NULL-terminated list in the order of families.def. */
const laci_family *const *laci_families(void);
const laci_family *laci_family_find(const laci_config_source *src);

/* LAC_OK unless the source is of a family that is known and not implemented, or plainly of another
 * kind: then EUNSUPPORTED with its name and a hint. */
lac_status laci_family_refuse(const laci_config_source *src, lac_error *err);
/* The same refusal for a source that no family recognises. */
lac_status laci_family_unknown(const laci_config_source *src, lac_error *err);

/* The layout the files use; NULL when none fits. */
const laci_weight_names *laci_family_layout(const laci_family *family, const laci_tensor_dir *dir);

/* Whether a network of this configuration has the part, and the part's shape: returns the number
 * of dimensions, 1 or 2. */
bool laci_config_uses(const laci_config *config, laci_weight part);
int laci_weight_shape(const laci_config *config, laci_weight part, uint64_t shape[2]);

/* Layouts shared by several families. */
extern const laci_weight_names laci_names_hf;   /* model.layers.N.self_attn.q_proj.weight ... */
extern const laci_weight_names laci_names_gguf; /* blk.N.attn_q.weight ... */

/* ------------------------------------------------------------------ help for recognise() */

/* architectures[0] of config.json; NULL when there is none. */
const char *laci_source_architecture(const laci_config_source *src);
bool laci_source_has_architecture(const laci_config_source *src, const char *name);
/* model_type of config.json, or general.architecture of a GGUF file, is exactly `name`. */
bool laci_source_has_model_type(const laci_config_source *src, const char *name);
bool laci_source_has_gguf(const laci_config_source *src, const char *name);
bool laci_source_has_tensor(const laci_config_source *src, const char *name);

/* ------------------------------------------------------------------ help for read() */

/* config.json with the key names of Llama and Qwen: dimensions, RoPE, context, tying; refuses
 * what is not implemented (laci_hf_refuse_features). Ids are read by laci_config_read_ids. */
lac_status laci_hf_read(laci_config *out, const laci_config_source *src, lac_error *err);
/* EUNSUPPORTED naming the key when config.json asks for something no family here computes. Biases
 * of q, k, v are accepted if config->qkv_bias. */
lac_status laci_hf_refuse_features(const laci_config *config, const laci_jval *v, lac_error *err);

/* Mask, begin, pad and end ids of config.json and generation_config.json. What neither names keeps
 * its preset; end ids are the union in the order config.json, generation_config.json. */
lac_status laci_config_read_ids(laci_config *out, const laci_config_source *src, lac_error *err);
/* Adds an end id unless it is listed or the list is full. */
void laci_config_add_eos(laci_config *config, int id);

/* Everything of a GGUF file of this architecture: dimensions, RoPE, ids, sizes of the tokenizer
 * arrays. */
lac_status laci_gguf_read(laci_config *out, const laci_config_source *src, const char *arch,
                          lac_error *err);
/* ARCH.suffix as an integer in min..max; absent leaves *out untouched unless `required`. */
lac_status laci_gguf_read_int(const laci_gguf *gguf, const char *arch, const char *suffix,
                              bool required, int64_t min, int64_t max, int *out, lac_error *err);

#endif
