/* family_qwen3.c: two families with the layers of Qwen3 (Q and K normalised per head before RoPE).
 * SDAR and TraDo (2510.06303, 2509.06949) are block-causal. The small models that come with this
 * program say in their config.json which attention they use and read bytes. */
#include <string.h>

#include "base/error.h"
#include "model/family/family.h"

enum { SDAR_MASK_ID = 151669, SDAR_BLOCK = 4, MAX_BLOCK = 4096, MAX_CTX = 1 << 24 };

static const char file[] = "config.json";
static const char bytes_in_words[] = "ids 0..255 are the bytes";

static const laci_weight_names *const layouts[] = { &laci_names_hf, &laci_names_gguf, NULL };

/* ------------------------------------------------------------------ sdar */

static int recognise_sdar(const laci_config_source *src)
{
    if (src->gguf) return laci_source_has_gguf(src, "sdar") ? 3 : 0;
    if (laci_source_has_architecture(src, "SDARForCausalLM")) return 3;
    if (laci_source_architecture(src)) return 0;
    return laci_source_has_model_type(src, "sdar") ? 2 : 0;
}

static lac_status read_sdar(laci_config *out, const laci_config_source *src, lac_error *err)
{
    out->family = "sdar";
    out->sampler = LACI_SAMPLER_SDAR;
    out->chat_template = "sdar";
    out->mask_id = SDAR_MASK_ID;
    out->qk_norm = LACI_QK_NORM_BEFORE_ROPE;
    out->mask = LAC_MASK_BLOCK_CAUSAL;
    out->block_size = SDAR_BLOCK; /* published files may name neither block nor mask */
    if (src->gguf) {
        lac_status st = laci_gguf_read(out, src, "sdar", err);
        if (st) return st;
        return laci_gguf_read_int(src->gguf, "sdar", "block_size", false, 1, MAX_BLOCK,
                                  &out->block_size, err);
    }
    lac_status st = laci_hf_read(out, src, err);
    if (!st)
        st = laci_json_get_int(src->config, "block_size", false, 1, MAX_BLOCK, &out->block_size,
                               file, err);
    return st ? st : laci_config_read_ids(out, src, err);
}

const laci_family laci_family_sdar = { "sdar", recognise_sdar, read_sdar, layouts };

/* ------------------------------------------------------------------ lacuna */

static const char *text_of(const laci_jval *v, const char *key)
{
    const laci_jval *text = laci_json_get(v, key);
    return laci_json_is_string(text) ? laci_json_string(text) : NULL;
}

/* Early models have no architecture of their own but say in words how they read bytes. */
static bool reads_bytes_in_words(const laci_jval *v)
{
    const char *text = text_of(v, "tokenizer");
    return text && !strcmp(text, bytes_in_words);
}

static int recognise_lacuna(const laci_config_source *src)
{
    if (src->gguf) return laci_source_has_gguf(src, "lacuna") ? 3 : 0;
    if (laci_source_has_architecture(src, "LacunaForMaskedDiffusion")) return 3;
    if (text_of(src->config, "attention") && reads_bytes_in_words(src->config)) return 3;
    if (laci_source_architecture(src)) return 0;
    return laci_source_has_model_type(src, "lacuna") ? 2 : 0;
}

static lac_status refuse_text(const char *key, const char *text, lac_error *err)
{
    char plain[LACI_PLAIN];
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s: \"%s\" is \"%s\", which is not implemented",
                     file, key, laci_plain_text(text, strlen(text), plain));
}

/* "attention" and "block_size". */
static lac_status read_attention(laci_config *out, const laci_jval *v, lac_error *err)
{
    const char *text = "full";
    lac_status st = laci_json_get_string(v, "attention", false, &text, file, err);
    if (st) return st;
    if (!strcmp(text, "full")) return LAC_OK;
    if (strcmp(text, "block_causal") && strcmp(text, "block-causal"))
        return refuse_text("attention", text, err);
    out->mask = LAC_MASK_BLOCK_CAUSAL;
    out->sampler = LACI_SAMPLER_SDAR;
    return laci_json_get_int(v, "block_size", true, 1, MAX_BLOCK, &out->block_size, file, err);
}

/* "qk_norm": true, false, or in words; "tokenizer_type": a kind, absent when there are files. */
static lac_status read_kinds(laci_config *out, const laci_jval *v, lac_error *err)
{
    bool has_norm = false;
    const char *norm = text_of(v, "qk_norm");
    if (norm && strcmp(norm, "per head, before RoPE")) return refuse_text("qk_norm", norm, err);
    if (norm) has_norm = true;
    lac_status st = norm ? LAC_OK : laci_json_get_bool(v, "qk_norm", false, &has_norm, file, err);
    if (has_norm) out->qk_norm = LACI_QK_NORM_BEFORE_ROPE;
    const char *kind = reads_bytes_in_words(v) ? "bytes" : "bpe";
    if (!st) st = laci_json_get_string(v, "tokenizer_type", false, &kind, file, err);
    if (st) return st;
    if (!strcmp(kind, "bytes"))
        out->tokenizer = "bytes";
    else if (!strcmp(kind, "ascii"))
        out->tokenizer = "ascii";
    else if (strcmp(kind, "bpe"))
        return refuse_text("tokenizer_type", kind, err);
    return LAC_OK;
}

static lac_status read_lacuna_gguf(laci_config *out, const laci_config_source *src, lac_error *err)
{
    lac_status st = laci_gguf_read(out, src, "lacuna", err);
    if (!st)
        st = laci_gguf_read_int(src->gguf, "lacuna", "block_size", false, 0, MAX_BLOCK,
                                &out->block_size, err);
    if (st) return st;
    if (out->block_size) {
        out->mask = LAC_MASK_BLOCK_CAUSAL;
        out->sampler = LACI_SAMPLER_SDAR;
    }
    if (laci_source_has_tensor(src, "blk.0.attn_q_norm.weight"))
        out->qk_norm = LACI_QK_NORM_BEFORE_ROPE;
    return LAC_OK;
}

static lac_status read_lacuna(laci_config *out, const laci_config_source *src, lac_error *err)
{
    const laci_jval *v = src->config;
    out->family = "lacuna";
    out->sampler = LACI_SAMPLER_LLADA;
    if (src->gguf) return read_lacuna_gguf(out, src, err);
    int n_train = 0;
    lac_status st =
        laci_json_get_int(v, "max_trained_length", false, 1, MAX_CTX, &n_train, file, err);
    if (st) return st;
    out->n_ctx = n_train; /* holds where max_position_embeddings is missing */
    st = laci_hf_read(out, src, err);
    if (n_train) out->n_ctx_train = n_train;
    if (!st) st = read_attention(out, v, err);
    if (!st) st = read_kinds(out, v, err);
    return st ? st : laci_config_read_ids(out, src, err);
}

const laci_family laci_family_lacuna = { "lacuna", recognise_lacuna, read_lacuna, layouts };
