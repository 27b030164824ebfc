/* family.c: the registry of model families, the tensor names several of them share, and the shape
 * each part of a network must have. What a family reads from its configuration is in family_x.c. */
#include "model/family/family.h"

#include <string.h>

#include "base/error.h"

#define FAMILY(name) extern const laci_family laci_family_##name;
#include "model/family/families.def"
#undef FAMILY

const laci_weight_names laci_names_hf = { {
    [LACI_W_ATTN_NORM] = "model.layers.%d.input_layernorm.weight",
    [LACI_W_Q] = "model.layers.%d.self_attn.q_proj.weight",
    [LACI_W_K] = "model.layers.%d.self_attn.k_proj.weight",
    [LACI_W_V] = "model.layers.%d.self_attn.v_proj.weight",
    [LACI_W_O] = "model.layers.%d.self_attn.o_proj.weight",
    [LACI_W_Q_BIAS] = "model.layers.%d.self_attn.q_proj.bias",
    [LACI_W_K_BIAS] = "model.layers.%d.self_attn.k_proj.bias",
    [LACI_W_V_BIAS] = "model.layers.%d.self_attn.v_proj.bias",
    [LACI_W_Q_NORM] = "model.layers.%d.self_attn.q_norm.weight",
    [LACI_W_K_NORM] = "model.layers.%d.self_attn.k_norm.weight",
    [LACI_W_FFN_NORM] = "model.layers.%d.post_attention_layernorm.weight",
    [LACI_W_GATE] = "model.layers.%d.mlp.gate_proj.weight",
    [LACI_W_UP] = "model.layers.%d.mlp.up_proj.weight",
    [LACI_W_DOWN] = "model.layers.%d.mlp.down_proj.weight",
    [LACI_W_EMBED] = "model.embed_tokens.weight",
    [LACI_W_NORM] = "model.norm.weight",
    [LACI_W_HEAD] = "lm_head.weight",
} };

const laci_weight_names laci_names_gguf = { {
    [LACI_W_ATTN_NORM] = "blk.%d.attn_norm.weight",
    [LACI_W_Q] = "blk.%d.attn_q.weight",
    [LACI_W_K] = "blk.%d.attn_k.weight",
    [LACI_W_V] = "blk.%d.attn_v.weight",
    [LACI_W_O] = "blk.%d.attn_output.weight",
    [LACI_W_Q_BIAS] = "blk.%d.attn_q.bias",
    [LACI_W_K_BIAS] = "blk.%d.attn_k.bias",
    [LACI_W_V_BIAS] = "blk.%d.attn_v.bias",
    [LACI_W_Q_NORM] = "blk.%d.attn_q_norm.weight",
    [LACI_W_K_NORM] = "blk.%d.attn_k_norm.weight",
    [LACI_W_FFN_NORM] = "blk.%d.ffn_norm.weight",
    [LACI_W_GATE] = "blk.%d.ffn_gate.weight",
    [LACI_W_UP] = "blk.%d.ffn_up.weight",
    [LACI_W_DOWN] = "blk.%d.ffn_down.weight",
    [LACI_W_EMBED] = "token_embd.weight",
    [LACI_W_NORM] = "output_norm.weight",
    [LACI_W_HEAD] = "output.weight",
} };

const laci_family *const *laci_families(void)
{
    static const laci_family *const list[] = {
#define FAMILY(name) &laci_family_##name,
#include "model/family/families.def"
#undef FAMILY
        NULL
    };
    return list;
}

const laci_family *laci_family_find(const laci_config_source *src)
{
    const laci_family *best = NULL;
    int surest = 0;
    for (const laci_family *const *f = laci_families(); *f; f++) {
        const int sure = (*f)->recognise(src);
        if (sure <= surest) continue;
        surest = sure;
        best = *f;
    }
    return best;
}

const laci_weight_names *laci_family_layout(const laci_family *family, const laci_tensor_dir *dir)
{
    for (const laci_weight_names *const *layout = family->layouts; *layout; layout++)
        if (laci_tensor_find(dir, (*layout)->name[LACI_W_EMBED])) return *layout;
    return NULL;
}

/* ------------------------------------------------------------------ parts */

bool laci_config_uses(const laci_config *config, laci_weight part)
{
    switch (part) {
    case LACI_W_ATTN_NORM:
    case LACI_W_FFN_NORM:
    case LACI_W_NORM: return config->norm_weights;
    case LACI_W_Q_BIAS:
    case LACI_W_K_BIAS:
    case LACI_W_V_BIAS: return config->qkv_bias;
    case LACI_W_Q_NORM:
    case LACI_W_K_NORM: return config->qk_norm == LACI_QK_NORM_BEFORE_ROPE;
    case LACI_W_GATE: return config->mlp == LACI_MLP_SWIGLU;
    case LACI_W_TIME: return config->n_time_steps > 0;
    case LACI_W_HEAD: return !config->tied;
    default: return part < LACI_N_WEIGHTS;
    }
}

int laci_weight_shape(const laci_config *config, laci_weight part, uint64_t shape[2])
{
    const uint64_t d = (uint64_t)config->d_model, d_ff = (uint64_t)config->d_ff;
    const uint64_t d_head = (uint64_t)config->d_head, n_vocab = (uint64_t)config->n_vocab;
    const uint64_t q = (uint64_t)config->n_heads * d_head;
    const uint64_t kv = (uint64_t)config->n_kv_heads * d_head;
    const struct {
        uint64_t rows, columns; /* columns 0 = a vector */
    } shapes[LACI_N_WEIGHTS] = {
        [LACI_W_ATTN_NORM] = { d, 0 },   [LACI_W_Q] = { q, d },
        [LACI_W_K] = { kv, d },          [LACI_W_V] = { kv, d },
        [LACI_W_O] = { d, q },           [LACI_W_Q_BIAS] = { q, 0 },
        [LACI_W_K_BIAS] = { kv, 0 },     [LACI_W_V_BIAS] = { kv, 0 },
        [LACI_W_Q_NORM] = { d_head, 0 }, [LACI_W_K_NORM] = { d_head, 0 },
        [LACI_W_FFN_NORM] = { d, 0 },    [LACI_W_GATE] = { d_ff, d },
        [LACI_W_UP] = { d_ff, d },       [LACI_W_DOWN] = { d, d_ff },
        [LACI_W_EMBED] = { n_vocab, d }, [LACI_W_TIME] = { (uint64_t)config->n_time_steps, d },
        [LACI_W_NORM] = { d, 0 },        [LACI_W_HEAD] = { n_vocab, d },
    };
    shape[0] = shapes[part].rows;
    shape[1] = shapes[part].columns;
    return shapes[part].columns ? 2 : 1;
}

/* ------------------------------------------------------------------ help for recognise() */

const char *laci_source_architecture(const laci_config_source *src)
{
    const laci_jval *first = laci_json_first(laci_json_get(src->config, "architectures"));
    return laci_json_is_string(first) ? laci_json_string(first) : NULL;
}

bool laci_source_has_architecture(const laci_config_source *src, const char *name)
{
    const char *architecture = laci_source_architecture(src);
    return architecture && !strcmp(architecture, name);
}

bool laci_source_has_model_type(const laci_config_source *src, const char *name)
{
    const laci_jval *type = laci_json_get(src->config, "model_type");
    return laci_json_is_string(type) && !strcmp(laci_json_string(type), name);
}

bool laci_source_has_gguf(const laci_config_source *src, const char *name)
{
    const char *text = NULL;
    size_t n = 0;
    bool found = false;
    if (!src->gguf) return false;
    const lac_status st =
        laci_gguf_string(src->gguf, "general.architecture", &text, &n, &found, NULL);
    return !st && found && n == strlen(name) && !memcmp(text, name, n);
}

bool laci_source_has_tensor(const laci_config_source *src, const char *name)
{
    return src->tensors && laci_tensor_find(src->tensors, name);
}
