/* family_dream.c: Dream, DiffuCoder and Dream-Coder (2508.15487, 2506.20639, 2509.01142): Qwen2.5
 * networks with full bidirectional attention. The logits are shifted: row i - 1 predicts token i,
 * inherited from the causal model they were trained from. */
#include "base/error.h"
#include "model/family/family.h"

/* Dream-v0 and DiffuCoder keep the 131072 positions of the model they came from, but were trained
 * on 2048. */
enum { MASK_ID = 151666, INHERITED_CTX = 131072, TRAINED_CTX = 2048 };

static int recognise(const laci_config_source *src)
{
    if (src->gguf) return laci_source_has_gguf(src, "dream") ? 3 : 0;
    if (laci_source_has_architecture(src, "DreamModel")) return 3;
    if (laci_source_architecture(src)) return 0;
    return laci_source_has_model_type(src, "Dream") ? 2 : 0;
}

static lac_status read(laci_config *out, const laci_config_source *src, lac_error *err)
{
    out->family = "dream";
    out->sampler = LACI_SAMPLER_DREAM;
    out->chat_template = "dream";
    out->mask_id = MASK_ID;
    out->qkv_bias = true;
    out->shift_logits = true; /* a GGUF file may say otherwise, and is believed */
    if (src->gguf) return laci_gguf_read(out, src, "dream", err);
    const laci_jval *block = laci_json_get(src->config, "block_size");
    if (block && !laci_json_is_null(block))
        return laci_fail(err, LAC_EUNSUPPORTED, 0,
                         "model family DreamReasoner (Dream with a block_size) is not implemented "
                         "in this version");
    lac_status st = laci_hf_read(out, src, err);
    if (!st && out->n_ctx == INHERITED_CTX) out->n_ctx_train = TRAINED_CTX;
    return st ? st : laci_config_read_ids(out, src, err);
}

static const laci_weight_names *const layouts[] = { &laci_names_hf, &laci_names_gguf, NULL };

const laci_family laci_family_dream = { "dream", recognise, read, layouts };
