/* family_llada.c: LLaDA-8B and LLaDA-1.5 (2502.09992, 2505.19223) with the key and tensor names of
 * their release, the same network under Llama's names (LLaDA-V), and GGUF files of architecture
 * `llada`. Full bidirectional attention, no shift. */
#include <string.h>

#include "base/error.h"
#include "model/family/family.h"
#include "model/rope.h"

enum { MASK_ID = 126336, BOS_ID = 126080, EOS_ID = 126081, EOT_ID = 126348 };

static const char file[] = "config.json";

static const laci_weight_names names_llada = { {
    [LACI_W_ATTN_NORM] = "model.transformer.blocks.%d.attn_norm.weight",
    [LACI_W_Q] = "model.transformer.blocks.%d.q_proj.weight",
    [LACI_W_K] = "model.transformer.blocks.%d.k_proj.weight",
    [LACI_W_V] = "model.transformer.blocks.%d.v_proj.weight",
    [LACI_W_O] = "model.transformer.blocks.%d.attn_out.weight",
    [LACI_W_FFN_NORM] = "model.transformer.blocks.%d.ff_norm.weight",
    [LACI_W_GATE] = "model.transformer.blocks.%d.ff_proj.weight",
    [LACI_W_UP] = "model.transformer.blocks.%d.up_proj.weight",
    [LACI_W_DOWN] = "model.transformer.blocks.%d.ff_out.weight",
    [LACI_W_EMBED] = "model.transformer.wte.weight",
    [LACI_W_NORM] = "model.transformer.ln_f.weight",
    [LACI_W_HEAD] = "model.transformer.ff_out.weight", /* not a layer's ff_out */
} };

static bool has_own_keys(const laci_jval *v)
{
    return laci_json_get(v, "d_model") && laci_json_get(v, "n_layers") &&
           laci_json_get(v, "mlp_hidden_size");
}

static int recognise(const laci_config_source *src)
{
    if (src->gguf) return laci_source_has_gguf(src, "llada") ? 3 : 0;
    if (laci_source_has_architecture(src, "LLaDAModelLM")) return 3;
    if (laci_source_architecture(src)) return 0;
    if (laci_source_has_model_type(src, "llada") || has_own_keys(src->config)) return 2;
    return src->config && laci_source_has_tensor(src, names_llada.name[LACI_W_EMBED]) ? 1 : 0;
}

/* Switches of the release's own code whose other setting is another network. */
static lac_status check_switches(const laci_jval *v, lac_error *err)
{
    static const struct {
        const char *key;
        bool wanted;
    } switches[] = { { "rope", true }, { "layer_norm_with_affine", true } };
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        bool value = switches[i].wanted;
        lac_status st = laci_json_get_bool(v, switches[i].key, false, &value, file, err);
        if (st) return st;
        if (value != switches[i].wanted)
            return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s: \"%s\" is %s, which is not implemented",
                             file, switches[i].key, value ? "true" : "false");
    }
    static const struct {
        const char *key, *wanted;
    } texts[] = { { "layer_norm_type", "rms" }, { "block_type", "llama" } };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *value = texts[i].wanted;
        lac_status st = laci_json_get_string(v, texts[i].key, false, &value, file, err);
        if (st) return st;
        if (strcmp(value, texts[i].wanted))
            return laci_fail(err, LAC_EUNSUPPORTED, 0,
                             "%s: \"%s\" is not \"%s\", which is not "
                             "implemented",
                             file, texts[i].key, texts[i].wanted);
    }
    return LAC_OK;
}

/* The release's own key names. */
static lac_status read_own(laci_config *out, const laci_config_source *src, lac_error *err)
{
    const laci_jval *v = src->config;
    const struct {
        const char *key;
        int max, *value;
    } sizes[] = {
        { "d_model", 65536, &out->d_model },      { "n_layers", 1024, &out->n_layers },
        { "n_heads", 65536, &out->n_heads },      { "mlp_hidden_size", 1 << 18, &out->d_ff },
        { "vocab_size", 1 << 24, &out->n_vocab }, { "max_sequence_length", 1 << 24, &out->n_ctx },
    };
    lac_status st = laci_hf_refuse_features(out, v, err);
    if (!st) st = check_switches(v, err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !st; i++)
        st = laci_json_get_int(v, sizes[i].key, true, 1, sizes[i].max, sizes[i].value, file, err);
    if (st) return st;
    out->n_kv_heads = out->n_heads;
    st = laci_json_get_int(v, "n_kv_heads", false, 1, 65536, &out->n_kv_heads, file, err);
    if (!st) /* the rows of the embedding, when it says so */
        st = laci_json_get_int(v, "embedding_size", false, 1, 1 << 24, &out->n_vocab, file, err);
    if (!st) st = laci_json_get_float(v, "rms_norm_eps", true, 1e-12, 1, &out->norm_eps, file, err);
    if (!st) st = laci_json_get_bool(v, "weight_tying", false, &out->tied, file, err);
    if (!st && out->d_model % out->n_heads)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: d_model %d is no multiple of n_heads %d", file,
                         out->d_model, out->n_heads);
    if (st) return st;
    out->d_head = out->d_model / out->n_heads;
    return laci_rope_read(out, src, err);
}

/* Ids of the published vocabulary. Its chat models end a turn with <|eot_id|>, which no
 * configuration names; LLaDA-V names a begin id of another model's vocabulary. */
static void settle_ids(laci_config *out)
{
    if (out->bos_id >= out->n_vocab) out->bos_id = BOS_ID < out->n_vocab ? BOS_ID : -1;
    const bool is_published = out->mask_id == MASK_ID && out->n_eos && out->eos_ids[0] == EOS_ID;
    if (is_published && EOT_ID < out->n_vocab) laci_config_add_eos(out, EOT_ID);
}

static lac_status read(laci_config *out, const laci_config_source *src, lac_error *err)
{
    out->family = "llada";
    out->sampler = LACI_SAMPLER_LLADA;
    out->chat_template = "llada";
    out->mask_id = MASK_ID;
    lac_status st;
    if (src->gguf) {
        out->rope_layout = LACI_ROPE_ADJACENT; /* rows of Q and K are permuted in these files */
        st = laci_gguf_read(out, src, "llada", err);
    } else {
        st = has_own_keys(src->config) ? read_own(out, src, err) : laci_hf_read(out, src, err);
        if (!st) st = laci_config_read_ids(out, src, err);
    }
    if (!st) settle_ids(out);
    return st;
}

static const laci_weight_names *const layouts[] = { &names_llada, &laci_names_hf, &laci_names_gguf,
                                                    NULL };

const laci_family laci_family_llada = { "llada", recognise, read, layouts };
