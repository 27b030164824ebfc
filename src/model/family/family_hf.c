/* family_hf.c: config.json as Llama and Qwen derivatives write it. Several families share these
 * keys. A key that would change the arithmetic and is not implemented is refused by name; keys that
 * only matter to training or to other software are not looked at. */
#include <string.h>

#include "base/error.h"
#include "model/family/family.h"
#include "model/rope.h"

static const char file[] = "config.json";

enum {
    MAX_LAYERS = 1024,
    MAX_WIDTH = 65536,
    MAX_FF = 1 << 18,
    MAX_VOCAB = 1 << 24,
    MAX_CTX = 1 << 24
};

static lac_status refuse(const char *key, const char *problem, lac_error *err)
{
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s: \"%s\" %s, which is not implemented", file, key,
                     problem);
}

/* Absent, null, false, 0 and {} all mean "not in use". */
static bool is_off(const laci_jval *v)
{
    if (!v || laci_json_is_null(v)) return true;
    if (laci_json_is_bool(v)) return !laci_json_bool(v);
    if (laci_json_is_number(v)) return laci_json_number(v) == 0;
    return (laci_json_is_object(v) || laci_json_is_array(v)) && !laci_json_first(v);
}

static lac_status check_text(const laci_jval *v, const char *key, const char *wanted,
                             lac_error *err)
{
    const char *text = wanted;
    lac_status st = laci_json_get_string(v, key, false, &text, file, err);
    if (st || !strcmp(text, wanted)) return st;
    char plain[LACI_PLAIN];
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s: \"%s\" is \"%s\", only \"%s\" is implemented",
                     file, key, laci_plain_text(text, strlen(text), plain), wanted);
}

/* A window is in use where use_sliding_window says so, whatever its size says: the published
 * configuration classes of these families have it off unless it is named. */
static lac_status check_window(const laci_jval *v, lac_error *err)
{
    if (!is_off(laci_json_get(v, "use_sliding_window")))
        return refuse("use_sliding_window", "is on", err);
    const laci_jval *types = laci_json_get(v, "layer_types");
    for (const laci_jval *t = laci_json_first(types); t; t = laci_json_next(t))
        if (!laci_json_is_string(t) || strcmp(laci_json_string(t), "full_attention"))
            return refuse("layer_types", "has layers other than full_attention", err);
    return LAC_OK;
}

lac_status laci_hf_refuse_features(const laci_config *config, const laci_jval *v, lac_error *err)
{
    static const char *const off[] = {
        "alibi",
        "attention_layer_norm",
        "scale_logits",
        "clip_qkv",
        "input_emb_norm",
        "bias_for_layer_norm",
        "include_bias",
        "use_bias",
        "mlp_bias",
        "quantization_config",
        "use_mrope",
        "num_experts",
        "n_routed_experts",
        "num_local_experts",
        "multi_query_attention",
        "norm_head",
        "norm_softmax",
        "final_logit_softcapping",
    };
    static const char *const bias[] = { "attention_bias", "qkv_bias", "use_qkv_bias",
                                        "include_qkv_bias" };
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (!is_off(laci_json_get(v, off[i]))) return refuse(off[i], "is on", err);
    for (size_t i = 0; i < sizeof bias / sizeof *bias && !config->qkv_bias; i++)
        if (!is_off(laci_json_get(v, bias[i]))) return refuse(bias[i], "is on", err);
    lac_status st = check_window(v, err);
    if (!st) st = check_text(v, "hidden_act", "silu", err);
    if (!st) st = check_text(v, "activation_type", "silu", err);
    return st;
}

static lac_status read_head_dim(laci_config *out, const laci_jval *v, lac_error *err)
{
    out->d_head = out->d_model / out->n_heads;
    const laci_jval *given = laci_json_get(v, "head_dim");
    if ((!given || laci_json_is_null(given)) && out->d_model % out->n_heads)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%s: hidden_size %d is no multiple of num_attention_heads %d and head_dim "
                         "is missing",
                         file, out->d_model, out->n_heads);
    return laci_json_get_int(v, "head_dim", false, 2, MAX_WIDTH, &out->d_head, file, err);
}

static void read_name(laci_config *out, const laci_jval *v)
{
    const char *name = NULL;
    if (laci_json_get_string(v, "_name_or_path", false, &name, file, NULL) || !name)
        (void)laci_json_get_string(v, "name", false, &name, file, NULL);
    if (!name) return;
    char plain[LACI_PLAIN];
    laci_plain_text(name, strlen(name), plain);
    memcpy(out->name, plain, sizeof plain);
}

lac_status laci_hf_read(laci_config *out, const laci_config_source *src, lac_error *err)
{
    const laci_jval *v = src->config;
    const struct {
        const char *key;
        int max, *value;
        bool required;
    } sizes[] = {
        { "hidden_size", MAX_WIDTH, &out->d_model, true },
        { "num_hidden_layers", MAX_LAYERS, &out->n_layers, true },
        { "num_attention_heads", MAX_WIDTH, &out->n_heads, true },
        { "intermediate_size", MAX_FF, &out->d_ff, true },
        { "vocab_size", MAX_VOCAB, &out->n_vocab, true },
        { "max_position_embeddings", MAX_CTX, &out->n_ctx, !out->n_ctx },
    };
    read_name(out, v);
    lac_status st = laci_hf_refuse_features(out, v, err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !st; i++)
        st = laci_json_get_int(v, sizes[i].key, sizes[i].required, 1, sizes[i].max, sizes[i].value,
                               file, err);
    if (st) return st;
    out->n_kv_heads = out->n_heads;
    st = laci_json_get_int(v, "num_key_value_heads", false, 1, MAX_WIDTH, &out->n_kv_heads, file,
                           err);
    if (!st) st = read_head_dim(out, v, err);
    if (!st) st = laci_rope_read(out, src, err);
    if (!st) st = laci_json_get_float(v, "rms_norm_eps", true, 1e-12, 1, &out->norm_eps, file, err);
    out->tied = laci_source_has_tensor(src, laci_names_hf.name[LACI_W_EMBED]) &&
                !laci_source_has_tensor(src, laci_names_hf.name[LACI_W_HEAD]);
    if (!st) st = laci_json_get_bool(v, "tie_word_embeddings", false, &out->tied, file, err);
    return st;
}
