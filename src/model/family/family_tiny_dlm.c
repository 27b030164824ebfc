/* family_tiny_dlm.c: the small character-level masked diffusion model of the tiny-diffusion line:
 * RMSNorms without weights, also behind the embedding; a table of noise levels added to it; squared
 * ReLU; Q and K rotated the other way and normalised afterwards. Its config.json was written for
 * tests and describes the network partly in words, which are compared as they stand. */
#include <string.h>

#include "base/error.h"
#include "model/family/family.h"
#include "model/rope.h"

static const char file[] = "config.json";

static const laci_weight_names names_tiny_dlm = { {
    [LACI_W_Q] = "blocks.%d.attn.c_q.weight",
    [LACI_W_K] = "blocks.%d.attn.c_k.weight",
    [LACI_W_V] = "blocks.%d.attn.c_v.weight",
    [LACI_W_O] = "blocks.%d.attn.c_proj.weight",
    [LACI_W_UP] = "blocks.%d.mlp.c_fc.weight",
    [LACI_W_DOWN] = "blocks.%d.mlp.c_proj.weight",
    [LACI_W_EMBED] = "token_emb.weight",
    [LACI_W_TIME] = "time_emb.weight",
    [LACI_W_HEAD] = "output_head.weight",
} };

static int recognise(const laci_config_source *src)
{
    static const char *const keys[] = { "n_layer", "n_head",          "n_embd",
                                        "mlp_dim", "diffusion_steps", "time_embedding" };
    if (src->gguf || laci_source_architecture(src)) return 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!laci_json_get(src->config, keys[i])) return 0;
    return 2;
}

/* The parts described in words must read as this code computes them. */
static lac_status check_words(const laci_jval *v, lac_error *err)
{
    static const struct {
        const char *key, *start;
    } words[] = {
        { "mlp_activation", "relu squared" },
        { "norm", "RMSNorm without weights" },
        { "qk_norm", "RMSNorm over head_dim, after RoPE, without weights" },
        { "rope_layout", "half split: y1 = x1*cos + x2*sin, y2 = -x1*sin + x2*cos" },
        { "attention_scale", "1/sqrt(head_dim)" },
        { "time_embedding", "table row t added to every token embedding, then RMSNorm" },
        { "tokenizer", "id = ASCII code" },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *text = NULL;
        lac_status st = laci_json_get_string(v, words[i].key, true, &text, file, err);
        if (st) return st;
        if (strncmp(text, words[i].start, strlen(words[i].start)))
            return laci_fail(err, LAC_EUNSUPPORTED, 0,
                             "%s: \"%s\" does not begin with \"%s\", which alone is implemented",
                             file, words[i].key, words[i].start);
    }
    return LAC_OK;
}

static lac_status read(laci_config *out, const laci_config_source *src, lac_error *err)
{
    const laci_jval *v = src->config;
    const struct {
        const char *key;
        int max, *value;
    } sizes[] = {
        { "n_layer", 1024, &out->n_layers },
        { "n_head", 65536, &out->n_heads },
        { "head_dim", 65536, &out->d_head },
        { "n_embd", 65536, &out->d_model },
        { "mlp_dim", 1 << 18, &out->d_ff },
        { "vocab_size", 1 << 24, &out->n_vocab },
        { "diffusion_steps", 65536, &out->n_time_steps },
        { "train_sequence_len", 1 << 24, &out->n_ctx_train },
    };
    out->family = "tiny-dlm";
    out->sampler = LACI_SAMPLER_LLADA;
    out->tokenizer = "ascii";
    out->norm_weights = false;
    out->embed_norm = true;
    out->mlp = LACI_MLP_RELU2;
    out->qk_norm = LACI_QK_NORM_AFTER_ROPE;
    out->rope_sign = -1;
    out->norm_eps = 0x1p-23; /* in words in the file: 1.1920929e-07 */
    lac_status st = check_words(v, err);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !st; i++)
        st = laci_json_get_int(v, sizes[i].key, true, 1, sizes[i].max, sizes[i].value, file, err);
    if (!st) st = laci_rope_read(out, src, err);
    if (!st) st = laci_json_get_bool(v, "tied_embeddings", false, &out->tied, file, err);
    if (st) return st;
    out->n_kv_heads = out->n_heads;
    out->n_ctx = 2 * out->n_ctx_train; /* checked to hold up at twice the trained length */
    return laci_config_read_ids(out, src, err);
}

static const laci_weight_names *const layouts[] = { &names_tiny_dlm, NULL };

const laci_family laci_family_tiny_dlm = { "tiny-dlm", recognise, read, layouts };
