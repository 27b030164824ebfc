/* family_refused.c: model families that are known but not implemented. They are recognised so that
 * they are refused by name, instead of being run with the arithmetic of a family that looks alike.
 */
#include <string.h>

#include "base/error.h"
#include "model/family/family.h"

/* The families there are, for a sentence. */
static laci_listed implemented(void)
{
    enum { MOST = 32 };
    const char *names[MOST];
    size_t n = 0;
    for (const laci_family *const *f = laci_families(); *f && n < MOST; f++)
        names[n++] = (*f)->name;
    return laci_list(names, n);
}

static const char moe_hint[] = "it is a mixture of experts; use a dense model";
static const char causal_hint[] = "it is autoregressive, and this program runs diffusion models";

/* NULL matches nothing. `keys` are config.json keys that together also mean this family. */
static const struct refusal {
    const char *name, *architecture, *model_type, *gguf, *hint, *keys[2];
} refusals[] = {
    { "LLaDA-MoE",
      "LLaDAMoEModelLM",
      NULL,
      "llada-moe",
      moe_hint,
      { "expert_intermediate_size", "num_experts" } },
    { "LLaDA2", "LLaDA2MoeModelLM", "llada2_moe", "llada2", moe_hint, { NULL } },
    { "LLaDA2", NULL, "llada2_moe_veomni", "bailingmoe2", moe_hint, { NULL } },
    { "SDAR-MoE", "SDARMoeForCausalLM", "sdar_moe", "sdar-moe", moe_hint, { NULL } },
    { "RND1", "RND1LM", "rnd1", "rnd1", moe_hint, { NULL } },
    { "DiffusionGemma",
      "DiffusionGemmaForBlockDiffusion",
      "diffusion_gemma",
      "diffusion-gemma",
      "it denoises a canvas behind a causal encoder",
      { NULL } },
    { "DreamReasoner",
      "DreamForCausalLM",
      NULL,
      NULL,
      "it decodes blocks without shift, unlike Dream",
      { NULL } },
    { "diffuse",
      NULL,
      NULL,
      "diffuse",
      "convert the original checkpoint again, with its tokenizer",
      { NULL } },
    { "Llama", "LlamaForCausalLM", "llama", "llama", causal_hint, { NULL } },
    { "Mistral", "MistralForCausalLM", "mistral", NULL, causal_hint, { NULL } },
    { "Qwen2", "Qwen2ForCausalLM", "qwen2", "qwen2", causal_hint, { NULL } },
    { "Qwen2-MoE", "Qwen2MoeForCausalLM", "qwen2_moe", "qwen2moe", causal_hint, { NULL } },
    { "Qwen3", "Qwen3ForCausalLM", "qwen3", "qwen3", causal_hint, { NULL } },
    { "Qwen3-MoE", "Qwen3MoeForCausalLM", "qwen3_moe", "qwen3moe", causal_hint, { NULL } },
    { "GPT-2", "GPT2LMHeadModel", "gpt2", "gpt2", causal_hint, { NULL } },
};

/* By architecture where there is one, for model_type is not unique. */
static bool matches(const struct refusal *r, const laci_config_source *src)
{
    if (src->gguf) return r->gguf && laci_source_has_gguf(src, r->gguf);
    if (r->architecture && laci_source_has_architecture(src, r->architecture)) return true;
    if (laci_source_architecture(src)) return false;
    if (r->model_type && laci_source_has_model_type(src, r->model_type)) return true;
    return r->keys[0] && laci_json_get(src->config, r->keys[0]) &&
           laci_json_get(src->config, r->keys[1]);
}

lac_status laci_family_refuse(const laci_config_source *src, lac_error *err)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (matches(&refusals[i], src))
            return laci_fail(
                err, LAC_EUNSUPPORTED, 0,
                "model family %s is not implemented in this version: %s; implemented are %s",
                refusals[i].name, refusals[i].hint, implemented().text);
    return LAC_OK;
}

lac_status laci_family_unknown(const laci_config_source *src, lac_error *err)
{
    char plain[LACI_PLAIN];
    const char *text = laci_source_architecture(src);
    size_t n = text ? strlen(text) : 0;
    bool found;
    if (src->gguf) {
        lac_status st = laci_gguf_string(src->gguf, "general.architecture", &text, &n, &found, err);
        if (st) return st;
        if (!found) return laci_fail(err, LAC_EFORMAT, 0, "key general.architecture is missing");
    }
    if (!n)
        return laci_fail(
            err, LAC_EUNSUPPORTED, 0,
            "config.json names no architecture and its keys fit no family; implemented are %s",
            implemented().text);
    return laci_fail(err, LAC_EUNSUPPORTED, 0,
                     "model family %s is not implemented in this version; implemented are %s",
                     laci_plain_text(text, n, plain), implemented().text);
}
