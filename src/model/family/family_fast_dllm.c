/* family_fast_dllm.c: Fast-dLLM v2 (2509.26328): Qwen2.5 networks trained on to block diffusion.
 * Block-causal with blocks of 32; inside a pass row i - 1 predicts token i, so the first token of a
 * block comes with the block before it; a block is decoded in sub-blocks of 8, left to right. */
#include "base/error.h"
#include "model/family/family.h"

enum { MASK_ID = 151665, BLOCK = 32, SUB_BLOCK = 8, MAX_BLOCK = 4096 };

static const char file[] = "config.json";

static int recognise(const laci_config_source *src)
{
    if (src->gguf) return laci_source_has_gguf(src, "fast-dllm") ? 3 : 0;
    if (laci_source_has_architecture(src, "Fast_dLLM_QwenForCausalLM")) return 3;
    if (laci_source_architecture(src)) return 0;
    return laci_source_has_model_type(src, "Fast_dLLM_Qwen") ? 2 : 0;
}

static lac_status read(laci_config *out, const laci_config_source *src, lac_error *err)
{
    out->family = "fast-dllm";
    out->sampler = LACI_SAMPLER_SDAR;
    out->chat_template = "fast-dllm";
    out->mask_id = MASK_ID; /* named by no published configuration */
    out->qkv_bias = true;
    out->shift_logits = true;
    out->mask = LAC_MASK_BLOCK_CAUSAL;
    out->block_size = BLOCK;
    out->sub_block = SUB_BLOCK;
    lac_status st;
    if (src->gguf) {
        st = laci_gguf_read(out, src, "fast-dllm", err);
        if (!st)
            st = laci_gguf_read_int(src->gguf, "fast-dllm", "block_size", false, 1, MAX_BLOCK,
                                    &out->block_size, err);
    } else {
        st = laci_hf_read(out, src, err);
        if (!st)
            st = laci_json_get_int(src->config, "bd_size", false, 1, MAX_BLOCK, &out->block_size,
                                   file, err);
        if (!st)
            st = laci_json_get_int(src->config, "small_block_size", false, 1, MAX_BLOCK,
                                   &out->sub_block, file, err);
        if (!st) st = laci_config_read_ids(out, src, err);
    }
    if (st) return st;
    if (out->block_size % out->sub_block) out->sub_block = out->block_size;
    return LAC_OK;
}

static const laci_weight_names *const layouts[] = { &laci_names_hf, &laci_names_gguf, NULL };

const laci_family laci_family_fast_dllm = { "fast-dllm", recognise, read, layouts };
