/* test_config.c: configurations. The published files in the data folder give the values of the
 * model cards or are refused by name; each rule has a configuration that breaks only that rule. */
#include "test.h"

#include <math.h>

#include "base/error.h"
#include "model/family/family.h"
#include "model/files/safetensors.h"
#include "model/weight_map.h"

static laci_json *parse(const char *text)
{
    laci_json *doc = NULL;
    lac_error err;
    if (laci_json_parse(&doc, text, strlen(text), "test", NULL, NULL, &err))
        fail_msg("%s: %s", text, err.message);
    return doc;
}

/* Reads a configuration from texts; `generation` may be NULL. */
static lac_status read_texts(laci_config *out, const char *config, const char *generation,
                             lac_error *err)
{
    laci_json *c = parse(config), *g = generation ? parse(generation) : NULL;
    const laci_config_source src = { .config = laci_json_root(c),
                                     .generation = g ? laci_json_root(g) : NULL };
    memset(err, 0, sizeof *err);
    const lac_status st = laci_config_read(out, &src, err);
    laci_json_free(c);
    laci_json_free(g);
    return st;
}

static void check_refusal(lac_status st, lac_status expected, const lac_error *err,
                          const char *word, const char *what)
{
    if (st != expected)
        fail_msg("%s: %s (%s), expected %s", what, lac_status_name(st), err->message,
                 lac_status_name(expected));
    if (err->code != st) fail_msg("%s: error code %d", what, (int)err->code);
    if (!strstr(err->message, word)) fail_msg("%s: \"%s\" lacks \"%s\"", what, err->message, word);
}

/* `base` with the first `from` replaced by `to`. */
static const char *edited(const char *base, const char *from, const char *to)
{
    static char text[4096];
    const char *at = strstr(base, from);
    if (!at) fail_msg("%s is not in %s", from, base);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - base), base, to, at + strlen(from));
    return text;
}

static const char sdar[] =
    "{\"architectures\":[\"SDARForCausalLM\"],\"model_type\":\"sdar\",\"hidden_size\":64,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,"
    "\"intermediate_size\":96,\"vocab_size\":300,\"max_position_embeddings\":512,"
    "\"rope_theta\":1000000,\"rms_norm_eps\":1e-6,\"block_size\":8,\"mask_token_id\":299,"
    "\"eos_token_id\":1,\"bos_token_id\":2,\"pad_token_id\":3,\"hidden_act\":\"silu\"}";

static const char llada[] =
    "{\"architectures\":[\"LLaDAModelLM\"],\"model_type\":\"llada\",\"d_model\":64,\"n_layers\":2,"
    "\"n_heads\":4,\"n_kv_heads\":4,\"mlp_hidden_size\":96,\"vocab_size\":300,"
    "\"embedding_size\":320,\"max_sequence_length\":128,\"rope_theta\":500000.0,"
    "\"rms_norm_eps\":1e-5,\"mask_token_id\":299,\"eos_token_id\":1,\"layer_norm_type\":\"rms\","
    "\"block_type\":\"llama\",\"activation_type\":\"silu\",\"rope\":true,\"alibi\":false,"
    "\"attention_layer_norm\":false,\"scale_logits\":false,\"include_bias\":false,"
    "\"layer_norm_with_affine\":true}";

static const char lacuna[] =
    "{\"architectures\":[\"LacunaForMaskedDiffusion\"],\"model_type\":\"lacuna\","
    "\"attention\":\"full\",\"block_size\":null,\"hidden_size\":64,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"head_dim\":16,\"intermediate_size\":96,"
    "\"vocab_size\":272,\"max_position_embeddings\":512,\"max_trained_length\":256,"
    "\"rope_theta\":1e5,\"rms_norm_eps\":1e-6,\"qk_norm\":true,\"tokenizer_type\":\"bytes\","
    "\"mask_token_id\":256,\"eos_token_id\":257}";

static void accept_edit(laci_config *c, const char *base, const char *from, const char *to)
{
    lac_error err;
    if (read_texts(c, edited(base, from, to), NULL, &err))
        fail_msg("%s -> %s: %s", from, to, err.message);
}

static void refuse_edit(const char *base, const char *from, const char *to, lac_status expected,
                        const char *word)
{
    laci_config c;
    lac_error err;
    memset(&c, 7, sizeof c);
    const laci_config before = c;
    const lac_status st = read_texts(&c, edited(base, from, to), NULL, &err);
    check_refusal(st, expected, &err, word, to);
    if (memcmp(&before, &c, sizeof c)) fail_msg("%s: the output was written", to);
}

static void sizes_are_checked(void **state)
{
    (void)state;
    laci_config c;
    accept_edit(&c, sdar, "1e-6", "1e-6");
    assert_int_equal(c.n_layers, 2);
    int n_parts = 0; /* of a layer with q/k norm and without biases */
    for (int part = 0; part < LACI_N_LAYER_WEIGHTS; part++)
        n_parts += laci_config_uses(&c, (laci_weight)part);
    assert_int_equal(n_parts, 11);
    static const char *const keys[][2] = {
        { "\"hidden_size\":64", "hidden_size" },
        { "\"num_hidden_layers\":2", "num_hidden_layers" },
        { "\"num_attention_heads\":4", "num_attention_heads" },
        { "\"num_key_value_heads\":2", "num_key_value_heads" },
        { "\"head_dim\":32", "head_dim" },
        { "\"intermediate_size\":96", "intermediate_size" },
        { "\"vocab_size\":300", "vocab_size" },
        { "\"max_position_embeddings\":512", "max_position_embeddings" },
        { "\"block_size\":8", "block_size" },
    };
    static const char *const values[] = { "0", "-1", "1.5", "\"4\"", "99999999", "[4]", "true" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            char to[128];
            snprintf(to, sizeof to, "\"%s\":%s", keys[i][1], values[k]);
            refuse_edit(sdar, keys[i][0], to, LAC_EFORMAT, keys[i][1]);
        }
    }
    static const char *const required[] = { "hidden_size",         "num_hidden_layers",
                                            "num_attention_heads", "intermediate_size",
                                            "vocab_size",          "max_position_embeddings",
                                            "rope_theta",          "rms_norm_eps" };
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        char to[128];
        snprintf(to, sizeof to, "x%s", required[i]);
        refuse_edit(sdar, required[i], to, LAC_EFORMAT, "missing");
    }
    refuse_edit(sdar, "\"num_hidden_layers\":2", "\"num_hidden_layers\":1025", LAC_EFORMAT,
                "1 to 1024");
    refuse_edit(sdar, "\"hidden_size\":64", "\"hidden_size\":65537", LAC_EFORMAT, "65536");
    refuse_edit(sdar, "\"vocab_size\":300", "\"vocab_size\":16777217", LAC_EFORMAT, "16777216");
}

static void heads_and_rope_are_checked(void **state)
{
    (void)state;
    refuse_edit(sdar, "\"num_key_value_heads\":2", "\"num_key_value_heads\":3", LAC_EFORMAT,
                "4 heads cannot share 3");
    refuse_edit(sdar, "\"head_dim\":32", "\"head_dim\":31", LAC_EFORMAT, "even");
    refuse_edit(sdar, "\"head_dim\":32", "\"head_dim\":4096", LAC_EFORMAT, "head size is 4096");
    refuse_edit(sdar, "\"head_dim\":32", "\"rotary_dim\":32", LAC_EFORMAT, "rotary_dim");
    refuse_edit(sdar, "\"rope_theta\":1000000", "\"rope_theta\":0.5", LAC_EFORMAT, "rope_theta");
    refuse_edit(sdar, "\"rope_theta\":1000000", "\"rope_theta\":\"x\"", LAC_EFORMAT, "rope_theta");
    refuse_edit(sdar, "\"rms_norm_eps\":1e-6", "\"rms_norm_eps\":0", LAC_EFORMAT, "rms_norm_eps");
    refuse_edit(sdar, "\"head_dim\":32", "\"head_dim\":32,\"partial_rotary_factor\":0.3",
                LAC_EFORMAT, "partial_rotary_factor");
    refuse_edit(sdar, "\"head_dim\":32",
                "\"head_dim\":32,\"partial_rotary_factor\":0.5,\"rotary_dim\":8", LAC_EFORMAT,
                "rotary_dim is 8");
    refuse_edit(sdar, "\"head_dim\":32", "\"head_dim\":32,\"rotary_dim\":7", LAC_EFORMAT,
                "7 dimensions rotate");
}

static void absent_keys_have_defaults(void **state)
{
    (void)state;
    laci_config c;
    accept_edit(&c, sdar, "\"head_dim\":32,", "");
    assert_int_equal(c.d_head, 16);
    refuse_edit(sdar,
                "\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
                "\"num_key_value_heads\":2,\"head_dim\":32",
                "\"hidden_size\":66,\"num_hidden_layers\":2,\"num_attention_heads\":4", LAC_EFORMAT,
                "66 is no multiple of num_attention_heads 4");
    accept_edit(&c, sdar, "\"bos_token_id\":2", "\"_name_or_path\":\"org/na\\tme\"");
    assert_string_equal(c.name, "org/na?me");
    accept_edit(&c, sdar, "\"num_key_value_heads\":2,", "");
    assert_int_equal(c.n_kv_heads, 4);
    accept_edit(&c, sdar, "\"block_size\":8,", "");
    assert_int_equal(c.block_size, 4);
    accept_edit(&c, sdar, "\"block_size\":8", "\"block_size\":null");
    assert_int_equal(c.block_size, 4);
    accept_edit(&c, sdar, "\"head_dim\":32", "\"head_dim\":32,\"partial_rotary_factor\":0.5");
    assert_int_equal(c.rope_dim, 16);
    accept_edit(&c, sdar, "\"rope_theta\":1000000",
                "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":2e4}");
    assert_true(c.rope_theta == 2e4);
    accept_edit(&c, sdar, "\"eos_token_id\":1", "\"eos_token_id\":[1,5,1]");
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.eos_ids[1], 5);
    refuse_edit(sdar, "\"mask_token_id\":299,", "", LAC_EFORMAT, "151669, is past the 300 rows");
}

static void ids_are_checked(void **state)
{
    (void)state;
    refuse_edit(sdar, "\"mask_token_id\":299", "\"mask_token_id\":300", LAC_EFORMAT,
                "mask token id is 300, the embedding has 300");
    refuse_edit(sdar, "\"mask_token_id\":299", "\"mask_token_id\":-1", LAC_EFORMAT,
                "mask_token_id");
    refuse_edit(sdar, "\"mask_token_id\":299", "\"mask_token_id\":1", LAC_EFORMAT, "both");
    refuse_edit(sdar, "\"eos_token_id\":1", "\"eos_token_id\":300", LAC_EFORMAT, "end token id");
    refuse_edit(sdar, "\"eos_token_id\":1", "\"eos_token_id\":\"x\"", LAC_EFORMAT, "eos_token_id");
    refuse_edit(sdar, "\"eos_token_id\":1", "\"eos_token_id\":[-2]", LAC_EFORMAT, "eos_token_id");
    refuse_edit(sdar, "\"eos_token_id\":1", "\"eos_token_id\":[1,2,3,4,5,6,7,8,9]", LAC_EFORMAT,
                "more than 8");
    refuse_edit(sdar, "\"bos_token_id\":2", "\"bos_token_id\":300", LAC_EFORMAT, "begin token");
    refuse_edit(sdar, "\"pad_token_id\":3", "\"pad_token_id\":300", LAC_EFORMAT, "padding token");
    laci_config c;
    lac_error err;
    assert_ok(read_texts(
        &c, sdar, "{\"mask_token_id\":null,\"eos_token_id\":[7,1],\"bos_token_id\":9}", &err));
    assert_int_equal(c.mask_id, 299);
    assert_int_equal(c.bos_id, 9);
    assert_int_equal(c.pad_id, 3);
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.eos_ids[0], 1);
    assert_int_equal(c.eos_ids[1], 7);
    assert_int_equal(read_texts(&c, "[1]", NULL, &err), LAC_EFORMAT);
    assert_int_equal(read_texts(&c, sdar, "3", &err), LAC_EFORMAT);
}

static void features_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const on[][2] = {
        { "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}", "rope_scaling" },
        { "\"use_sliding_window\":true", "use_sliding_window" },
        { "\"layer_types\":[\"sliding_attention\"]", "layer_types" },
        { "\"attention_bias\":true", "attention_bias" },
        { "\"qkv_bias\":true", "qkv_bias" },
        { "\"clip_qkv\":8", "clip_qkv" },
        { "\"quantization_config\":{\"bits\":4}", "quantization_config" },
        { "\"num_experts\":8", "num_experts" },
        { "\"alibi\":true", "alibi" },
        { "\"attention_layer_norm\":true", "attention_layer_norm" },
        { "\"scale_logits\":true", "scale_logits" },
        { "\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":1e4}", "yarn" },
    };
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        char to[256];
        snprintf(to, sizeof to, "\"bos_token_id\":2,%s", on[i][0]);
        refuse_edit(sdar, "\"bos_token_id\":2", to, LAC_EUNSUPPORTED, on[i][1]);
    }
    refuse_edit(sdar, "\"silu\"", "\"gelu\"", LAC_EUNSUPPORTED, "hidden_act");
    laci_config c;
    accept_edit(&c, sdar, "\"bos_token_id\":2",
                "\"rope_scaling\":false,\"sliding_window\":4096,\"use_sliding_window\":false,"
                "\"quantization_config\":null,\"clip_qkv\":null,\"alibi\":false,"
                "\"layer_types\":[\"full_attention\"],\"num_experts\":null");
    accept_edit(&c, sdar, "\"bos_token_id\":2", "\"rope_scaling\":{},\"sliding_window\":false");
    accept_edit(&c, sdar, "\"bos_token_id\":2", "\"sliding_window\":4096");
    accept_edit(&c, sdar, "\"bos_token_id\":2",
                "\"sliding_window\":4096,\"use_sliding_window\":null");
}

static void llada_switches_are_checked(void **state)
{
    (void)state;
    laci_config c;
    accept_edit(&c, llada, "1e-5", "1e-5");
    assert_int_equal(c.n_vocab, 320);
    assert_int_equal(c.d_head, 16);
    assert_string_equal(c.chat_template, "llada");
    accept_edit(&c, llada, "\"n_kv_heads\":4", "\"n_kv_heads\":null");
    assert_int_equal(c.n_kv_heads, 4);
    static const char *const edits[][3] = {
        { "\"alibi\":false", "\"alibi\":true", "alibi" },
        { "\"attention_layer_norm\":false", "\"attention_layer_norm\":true",
          "attention_layer_norm" },
        { "\"scale_logits\":false", "\"scale_logits\":true", "scale_logits" },
        { "\"include_bias\":false", "\"include_bias\":true", "include_bias" },
        { "\"include_bias\":false", "\"include_qkv_bias\":true", "include_qkv_bias" },
        { "\"include_bias\":false", "\"input_emb_norm\":true", "input_emb_norm" },
        { "\"rope\":true", "\"rope\":false", "rope" },
        { "\"layer_norm_with_affine\":true", "\"layer_norm_with_affine\":false",
          "layer_norm_with_affine" },
        { "\"rms\"", "\"low_precision\"", "layer_norm_type" },
        { "\"llama\"", "\"sequential\"", "block_type" },
        { "\"silu\"", "\"swiglu\"", "activation_type" },
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++)
        refuse_edit(llada, edits[i][0], edits[i][1], LAC_EUNSUPPORTED, edits[i][2]);
    refuse_edit(llada, "\"d_model\":64", "\"d_model\":66", LAC_EFORMAT, "no multiple");
}

static void lacuna_keys_are_checked(void **state)
{
    (void)state;
    laci_config c;
    accept_edit(&c, lacuna, "\"full\"", "\"full\"");
    assert_int_equal(c.mask, LAC_MASK_FULL);
    assert_int_equal(c.qk_norm, LACI_QK_NORM_BEFORE_ROPE);
    assert_int_equal(c.n_ctx, 512);
    assert_int_equal(c.n_ctx_train, 256);
    assert_string_equal(c.tokenizer, "bytes");
    accept_edit(&c, lacuna, "\"full\",\"block_size\":null", "\"block_causal\",\"block_size\":16");
    assert_int_equal(c.mask, LAC_MASK_BLOCK_CAUSAL);
    assert_int_equal(c.block_size, 16);
    accept_edit(&c, lacuna, "\"qk_norm\":true", "\"qk_norm\":\"per head, before RoPE\"");
    assert_int_equal(c.qk_norm, LACI_QK_NORM_BEFORE_ROPE);
    accept_edit(&c, lacuna, "\"qk_norm\":true,", "");
    assert_int_equal(c.qk_norm, LACI_QK_NORM_NONE);
    accept_edit(&c, lacuna, "\"tokenizer_type\":\"bytes\",", "");
    assert_string_equal(c.tokenizer, "auto");
    accept_edit(&c, lacuna, "\"bytes\"", "\"ascii\"");
    assert_string_equal(c.tokenizer, "ascii");
    refuse_edit(lacuna, "\"full\"", "\"block_causal\"", LAC_EFORMAT, "block_size");
    refuse_edit(lacuna, "\"full\"", "\"causal\"", LAC_EUNSUPPORTED, "attention");
    refuse_edit(lacuna, "\"qk_norm\":true", "\"qk_norm\":\"after\"", LAC_EUNSUPPORTED, "qk_norm");
    refuse_edit(lacuna, "\"bytes\"", "\"sentencepiece\"", LAC_EUNSUPPORTED, "tokenizer_type");
}

static const char tiny[] =
    "{\"vocab_size\":128,\"tokenizer\":\"id = ASCII code\",\"mask_token_id\":0,\"n_layer\":1,"
    "\"n_head\":2,\"head_dim\":4,\"n_embd\":8,\"mlp_dim\":16,\"rope_theta\":10000,"
    "\"mlp_activation\":\"relu squared\",\"norm\":\"RMSNorm without weights\","
    "\"qk_norm\":\"RMSNorm over head_dim, after RoPE, without weights\",\"diffusion_steps\":8,"
    "\"rope_layout\":\"half split: y1 = x1*cos + x2*sin, y2 = -x1*sin + x2*cos\","
    "\"attention_scale\":\"1/sqrt(head_dim)\",\"train_sequence_len\":16,"
    "\"time_embedding\":\"table row t added to every token embedding, then RMSNorm\"}";

static void tiny_dlm_words_are_compared(void **state)
{
    (void)state;
    laci_config c;
    accept_edit(&c, tiny, "10000", "10000.0");
    assert_int_equal(c.n_ctx, 32);
    assert_int_equal(c.n_ctx_train, 16);
    refuse_edit(tiny, "relu squared", "gelu", LAC_EUNSUPPORTED, "mlp_activation");
    refuse_edit(tiny, "RMSNorm without", "RMSNorm with", LAC_EUNSUPPORTED, "\"norm\"");
    refuse_edit(tiny, "after RoPE", "before RoPE", LAC_EUNSUPPORTED, "qk_norm");
    refuse_edit(tiny, "y1 = x1*cos + x2", "y1 = x1*cos - x2", LAC_EUNSUPPORTED, "rope_layout");
    refuse_edit(tiny, "\"relu squared\"", "null", LAC_EFORMAT, "mlp_activation");
    refuse_edit(tiny, "\"mlp_dim\":16", "\"mlp_dim\":0", LAC_EFORMAT, "mlp_dim");
}

/* Rules that no reader lets a file break, for families to come. */
static void checks_hold_without_a_reader(void **state)
{
    (void)state;
    laci_config good;
    lac_error err;
    accept_edit(&good, sdar, "1e-6", "1e-6");
    assert_ok(laci_config_check(&good, &err));
    laci_config c = good;
    c.n_heads = 65536, c.n_kv_heads = 2;
    check_refusal(laci_config_check(&c, &err), LAC_EFORMAT, &err, "exceed a width", "heads");
    c = good;
    c.n_time_steps = -1;
    check_refusal(laci_config_check(&c, &err), LAC_EFORMAT, &err, "noise levels is -1", "time");
    c = good;
    c.block_size = 4097;
    check_refusal(laci_config_check(&c, &err), LAC_EFORMAT, &err, "block size is 4097", "block");
    c = good;
    c.mask = LAC_MASK_FULL;
    check_refusal(laci_config_check(&c, &err), LAC_EFORMAT, &err, "allowed are 0 to 0", "block");
    c = good;
    c.mask_id = -1;
    check_refusal(laci_config_check(&c, &err), LAC_EFORMAT, &err, "no mask token", "mask");
    c = good;
    c.rope_theta = (double)INFINITY;
    check_refusal(laci_config_check(&c, &err), LAC_EFORMAT, &err, "theta", "theta");
    c = good;
    c.norm_eps = (double)NAN;
    check_refusal(laci_config_check(&c, &err), LAC_EFORMAT, &err, "epsilon", "epsilon");
}

static void other_families_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\"}", "Qwen3" },
        { "{\"architectures\":[\"LlamaForCausalLM\"]}", "Llama" },
        { "{\"model_type\":\"qwen2\"}", "Qwen2" },
        { "{\"architectures\":[\"LLaDAMoEModelLM\"],\"model_type\":\"llada\"}", "LLaDA-MoE" },
        { "{\"model_type\":\"llada\",\"num_experts\":64,\"expert_intermediate_size\":8}",
          "LLaDA-MoE" },
        { "{\"architectures\":[\"DreamForCausalLM\"],\"model_type\":\"Dream\",\"block_size\":32}",
          "DreamReasoner" },
        { "{\"architectures\":[\"DreamModel\"],\"block_size\":32}", "DreamReasoner" },
        { "{\"architectures\":[\"SDARMoeForCausalLM\"]}", "SDAR-MoE" },
        { "{\"architectures\":[\"Other\\nModel\"]}", "Other?Model" },
        { "{}", "no architecture" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        laci_config c;
        lac_error err;
        const lac_status st = read_texts(&c, cases[i][0], NULL, &err);
        check_refusal(st, LAC_EUNSUPPORTED, &err, cases[i][1], cases[i][0]);
    }
}

/* ------------------------------------------------------------------ published files */

typedef struct {
    const char *file, *generation; /* generation may be NULL */
    const char *family;            /* NULL: refused, and `word` is in the sentence */
    const char *word;
    int n_layers, d_model, n_heads, n_kv_heads, d_ff, n_vocab, n_ctx, block, mask_id, bos_id;
    int eos[3]; /* 0 ends */
} published;

static const published files[] = {
    { "reconstructed/llada-8b-instruct.config.json",
      NULL,
      "llada",
      "",
      32,
      4096,
      32,
      32,
      12288,
      126464,
      4096,
      0,
      126336,
      -1,
      { 126081, 126348 } },
    { "llada-v/config.json",
      "llada-v/generation_config.json",
      "llada",
      "",
      32,
      4096,
      32,
      32,
      12288,
      126464,
      16384,
      0,
      126336,
      126080,
      { 126081, 126348 } },
    { "llada-v/config.json",
      NULL,
      "llada",
      "",
      32,
      4096,
      32,
      32,
      12288,
      126464,
      16384,
      0,
      126336,
      126080,
      { 126081, 126348 } },
    { "reconstructed/dream-v0-instruct-7b.config.json",
      "reconstructed/dream-v0-instruct-7b.generation_config.json",
      "dream",
      "",
      28,
      3584,
      28,
      4,
      18944,
      152064,
      131072,
      0,
      151666,
      151643,
      { 151643 } },
    { "reconstructed/diffucoder-7b-instruct.config.json",
      NULL,
      "dream",
      "",
      28,
      3584,
      28,
      4,
      18944,
      152064,
      131072,
      0,
      151666,
      151643,
      { 151643 } },
    { "reconstructed/dream-coder-v0-instruct-7b.config.json",
      NULL,
      "dream",
      "",
      28,
      3584,
      28,
      4,
      18944,
      152064,
      32768,
      0,
      151666,
      151665,
      { 151643 } },
    { "sdar-4b-chat/config.json",
      "sdar-4b-chat/generation_config.json",
      "sdar",
      "",
      36,
      2560,
      32,
      8,
      9728,
      151936,
      32768,
      4,
      151669,
      151643,
      { 151643, 151645 } },
    { "reconstructed/sdar-4b-chat-hub.config.json",
      NULL,
      "sdar",
      "",
      36,
      2560,
      32,
      8,
      9728,
      151936,
      32768,
      4,
      151669,
      151643,
      { 151643 } },
    { "sdar-8b-chat/config.json",
      NULL,
      "sdar",
      "",
      36,
      4096,
      32,
      8,
      12288,
      151936,
      32768,
      4,
      151669,
      151643,
      { 151643 } },
    { "reconstructed/sdar-1.7b-chat.config.json",
      NULL,
      "sdar",
      "",
      28,
      2048,
      16,
      8,
      6144,
      151936,
      32768,
      4,
      151669,
      151643,
      { 151643 } },
    { .file = "reconstructed/sdar-30b-a3b-chat.config.json", .word = "SDAR-MoE" },
    { .file = "reconstructed/rnd1-base-0910.config.json", .word = "RND1" },
    { .file = "reconstructed/llada2.1-mini.config.json", .word = "LLaDA2" },
    { .file = "llada2.0-mini/config.json", .word = "LLaDA2" },
    { .file = "llada2.0-flash/config.json", .word = "LLaDA2" },
    { .file = "reconstructed/llada-moe-7b-a1b.config.json", .word = "LLaDA-MoE" },
    { "reconstructed/fast-dllm-v2-1.5b.config.json",
      NULL,
      "fast-dllm",
      "",
      28,
      1536,
      12,
      2,
      8960,
      151936,
      32768,
      32,
      151665,
      151643,
      { 151645 } },
    { "reconstructed/fast-dllm-v2-7b.config.json",
      NULL,
      "fast-dllm",
      "",
      28,
      3584,
      28,
      4,
      18944,
      152064,
      32768,
      32,
      151665,
      151643,
      { 151645 } },
    { .file = "reconstructed/diffusiongemma-26b-a4b-it.config.json", .word = "DiffusionGemma" },
    { .file = "reconstructed/diffusiongemma-tiny.config.json", .word = "DiffusionGemma" },
};

static void expect_int(const char *file, const char *what, int value, int expected)
{
    if (value != expected) fail_msg("%s: %s is %d, expected %d", file, what, value, expected);
}

static void check_values(const published *p, const laci_config *c)
{
    if (strcmp(c->family, p->family)) fail_msg("%s: family %s", p->file, c->family);
    expect_int(p->file, "layers", c->n_layers, p->n_layers);
    expect_int(p->file, "width", c->d_model, p->d_model);
    expect_int(p->file, "heads", c->n_heads, p->n_heads);
    expect_int(p->file, "key heads", c->n_kv_heads, p->n_kv_heads);
    expect_int(p->file, "head size", c->d_head, 128);
    expect_int(p->file, "rotating", c->rope_dim, 128);
    expect_int(p->file, "feed-forward", c->d_ff, p->d_ff);
    expect_int(p->file, "rows", c->n_vocab, p->n_vocab);
    expect_int(p->file, "context", c->n_ctx, p->n_ctx);
    expect_int(p->file, "block", c->block_size, p->block);
    expect_int(p->file, "mask pattern", (int)c->mask, p->block ? 1 : 0);
    expect_int(p->file, "mask id", c->mask_id, p->mask_id);
    expect_int(p->file, "begin id", c->bos_id, p->bos_id);
    const bool is_dream = !strcmp(p->family, "dream"), is_sdar = !strcmp(p->family, "sdar");
    const bool is_fast = !strcmp(p->family, "fast-dllm");
    expect_int(p->file, "shift", c->shift_logits, is_dream || is_fast);
    expect_int(p->file, "biases", c->qkv_bias, is_dream || is_fast);
    expect_int(p->file, "sub-block", c->sub_block, is_fast ? 8 : 0);
    expect_int(p->file, "qk norm", (int)c->qk_norm, is_sdar ? 1 : 0);
    expect_int(p->file, "tied", c->tied, is_fast && p->d_model == 1536);
    expect_int(p->file, "rope layout", (int)c->rope_layout, LACI_ROPE_HALF);
    const bool is_llada = !is_dream && !is_sdar && !is_fast;
    if (c->rope_theta != (is_llada ? 5e5 : 1e6)) fail_msg("%s: theta %g", p->file, c->rope_theta);
    if (c->norm_eps != (is_llada ? 1e-5 : 1e-6)) fail_msg("%s: eps %g", p->file, c->norm_eps);
    int n_eos = 0;
    while (n_eos < 3 && p->eos[n_eos])
        n_eos++;
    expect_int(p->file, "end ids", c->n_eos, n_eos);
    for (int i = 0; i < n_eos; i++)
        expect_int(p->file, "end id", c->eos_ids[i], p->eos[i]);
}

static void published_files_load_or_are_named(void **state)
{
    (void)state;
    int n_read = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const published *p = &files[i];
        const char *path = test_data(p->file);
        if (!path) continue;
        laci_json *config = NULL, *generation = NULL;
        lac_error err;
        assert_ok(laci_json_read(&config, path, NULL, NULL, &err));
        if (p->generation)
            assert_ok(laci_json_read(&generation, test_data(p->generation), NULL, NULL, &err));
        const laci_config_source src = { .config = laci_json_root(config),
                                         .generation =
                                             generation ? laci_json_root(generation) : NULL };
        laci_config c;
        const lac_status st = laci_config_read(&c, &src, &err);
        if (!p->family)
            check_refusal(st, LAC_EUNSUPPORTED, &err, p->word, p->file);
        else if (st)
            fail_msg("%s: %s", p->file, err.message);
        else
            check_values(p, &c);
        laci_json_free(config);
        laci_json_free(generation);
        n_read++;
    }
    if (!n_read) skip();
}

/* Opens a whole folder: configuration, tensors, map. False when there is no config.json. */
static bool open_folder(const char *path, laci_config *c, uint64_t *n_params)
{
    if (!path || !laci_file_exists(path)) return false;
    laci_json *config = NULL;
    lac_error err;
    laci_tensor_dir dir = { 0 };
    laci_weight_map map = { 0 };
    assert_ok(laci_json_read(&config, path, NULL, NULL, &err));
    char parent[1024];
    snprintf(parent, sizeof parent, "%.*s", (int)(strlen(path) - strlen("/config.json")), path);
    if (laci_safetensors_open(&dir, parent, NULL, &err)) fail_msg("%s", err.message);
    const laci_config_source src = { .config = laci_json_root(config), .tensors = &dir };
    if (laci_config_read(c, &src, &err)) fail_msg("%s: %s", path, err.message);
    if (laci_weight_map_build(&map, c, laci_family_find(&src), &dir, NULL, &err))
        fail_msg("%s: %s", path, err.message);
    *n_params = map.n_params;
    assert_true(map.uses[LACI_F32] && !map.uses[LACI_BF16]);
    laci_weight_map_clear(&map);
    laci_tensor_dir_clear(&dir);
    laci_json_free(config);
    return true;
}

static void small_models_open_whole(void **state)
{
    (void)state;
    laci_config c;
    uint64_t n = 0;
    if (!open_folder(test_data("nano-pilot/config.json"), &c, &n)) skip();
    assert_string_equal(c.family, "lacuna");
    assert_string_equal(c.tokenizer, "bytes");
    assert_int_equal(c.mask, LAC_MASK_FULL);
    assert_int_equal(c.n_ctx, 1024);
    assert_int_equal(n, 873856);
    if (open_folder(test_data("nano-pilot-b/config.json"), &c, &n)) {
        assert_string_equal(c.family, "lacuna");
        assert_int_equal(c.block_size, 16);
        assert_int_equal(c.sampler, LACI_SAMPLER_SDAR);
    }
    if (open_folder(test_data("tiny-dlm-shakespeare/config.json"), &c, &n)) {
        assert_string_equal(c.family, "tiny-dlm");
        assert_string_equal(c.tokenizer, "ascii");
        assert_int_equal(c.rope_sign, -1);
        assert_int_equal(c.qk_norm, LACI_QK_NORM_AFTER_ROPE);
        assert_int_equal(c.mlp, LACI_MLP_RELU2);
        assert_int_equal(c.n_time_steps, 128);
        assert_true(c.embed_norm && !c.norm_weights && !c.tied);
        assert_int_equal(c.mask_id, 0);
        assert_int_equal(c.n_eos, 0);
        assert_int_equal(n, 1032192);
    }
}

static void bundled_models_open_whole(void **state)
{
    (void)state;
    static const char *const paths[] = { "models/nano-f/config.json", "models/nano-b/config.json" };
    int n_open = 0;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        laci_config c;
        uint64_t n = 0;
        if (!open_folder(test_path(paths[i]), &c, &n)) continue;
        assert_string_equal(c.family, "lacuna");
        assert_string_equal(c.tokenizer, "bytes");
        assert_int_equal(c.mask, i ? LAC_MASK_BLOCK_CAUSAL : LAC_MASK_FULL);
        assert_in_range(n, 1, 1 << 30);
        n_open++;
    }
    if (!n_open) skip();
}

/* Parameters and bytes that follow from the published configurations. */
static void shape_arithmetic_matches_published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int n_tensors;
        uint64_t n_params;
    } models[] = {
        { "sdar-4b-chat/config.json", 399, 4411424256 },
        { "sdar-8b-chat/config.json", 399, 8190735360 },
        { "reconstructed/sdar-1.7b-chat.config.json", 311, 2031739904 },
        { "llada-v/config.json", 291, 8015581184 },
        { "reconstructed/llada-8b-instruct.config.json", 291, 8015581184 },
        { "reconstructed/dream-v0-instruct-7b.config.json", 339, 7615616512 },
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *path = test_data(models[i].file);
        if (!path) continue;
        laci_json *config = NULL;
        lac_error err;
        laci_config c;
        assert_ok(laci_json_read(&config, path, NULL, NULL, &err));
        const laci_config_source src = { .config = laci_json_root(config) };
        assert_ok(laci_config_read(&c, &src, &err));
        uint64_t n_params = 0;
        int n_tensors = 0;
        for (int part = 0; part < LACI_N_WEIGHTS; part++) {
            uint64_t shape[2];
            if (!laci_config_uses(&c, (laci_weight)part)) continue;
            const int n_dims = laci_weight_shape(&c, (laci_weight)part, shape);
            const int times = part < LACI_N_LAYER_WEIGHTS ? c.n_layers : 1;
            n_tensors += times;
            n_params += (uint64_t)times * shape[0] * (n_dims == 2 ? shape[1] : 1);
        }
        expect_int(models[i].file, "tensors", n_tensors, models[i].n_tensors);
        if (n_params != models[i].n_params)
            fail_msg("%s: %llu parameters, expected %llu", models[i].file,
                     (unsigned long long)n_params, (unsigned long long)models[i].n_params);
        laci_json_free(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(heads_and_rope_are_checked),
        cmocka_unit_test(absent_keys_have_defaults),
        cmocka_unit_test(ids_are_checked),
        cmocka_unit_test(features_are_refused_by_name),
        cmocka_unit_test(llada_switches_are_checked),
        cmocka_unit_test(lacuna_keys_are_checked),
        cmocka_unit_test(tiny_dlm_words_are_compared),
        cmocka_unit_test(checks_hold_without_a_reader),
        cmocka_unit_test(other_families_are_refused_by_name),
        cmocka_unit_test(published_files_load_or_are_named),
        cmocka_unit_test(small_models_open_whole),
        cmocka_unit_test(bundled_models_open_whole),
        cmocka_unit_test(shape_arithmetic_matches_published_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
