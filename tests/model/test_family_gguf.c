/* test_family_gguf.c: what a configuration takes from the metadata of a GGUF file. Whole models of
 * two layers are written; each test changes one value of a good one. */
#include "gguf_writer.h"

#include "model/family/family.h"
#include "model/weight_map.h"

enum { LAYERS = 2, D = 8, HEADS = 2, HEAD = 4, FF = 16, ROWS = 12 };

/* What a model file is built from; a test changes one field. */
typedef struct {
    const char *arch, *skip; /* skip: key to leave out */
    uint32_t layers, heads, kv_heads, key_length, value_length, ff, vocab, mask, eos;
    uint32_t n_tokens, n_types, experts, head_array; /* head_array: entries of a per-layer array */
    uint32_t block;
    int shift; /* -1 = no key */
    bool causal, uneven, bias, qk_norm, untied, no_embedding, float_array;
    float eps, theta, factor, old_factor; /* factors 0 = no key */
    bool no_mask;
    int wanted_mask; /* of the caller */
    const char *scaling, *tokenizer;
} model;

static const model good = { .arch = "llada",
                            .layers = LAYERS,
                            .heads = HEADS,
                            .kv_heads = HEADS,
                            .key_length = HEAD,
                            .value_length = HEAD,
                            .ff = FF,
                            .vocab = ROWS,
                            .mask = 5,
                            .eos = 6,
                            .n_tokens = ROWS,
                            .n_types = ROWS,
                            .shift = -1,
                            .untied = true,
                            .eps = 1e-6f,
                            .theta = 5e5f,
                            .scaling = "none",
                            .tokenizer = "gpt2" };

static uint64_t n_pairs;

/* "ARCH.suffix", counted, unless it is to be left out. */
static const char *key_of(const model *m, const char *suffix)
{
    static char key[128];
    snprintf(key, sizeof key, "%s.%s", m->arch, suffix);
    if (m->skip && !strcmp(m->skip, suffix)) snprintf(key, sizeof key, "skipped.%s", suffix);
    n_pairs++;
    return key;
}

static void put_metadata(const model *m)
{
    n_pairs = 0;
    put_text("general.architecture", m->arch), n_pairs++;
    put_text("general.name", "a\ttest"), n_pairs++;
    put_u32(key_of(m, "block_count"), m->layers);
    put_u32(key_of(m, "embedding_length"), D);
    put_u32(key_of(m, "context_length"), 64);
    put_u32(key_of(m, "feed_forward_length"), m->ff);
    put_u32(key_of(m, "attention.head_count"), m->heads);
    if (m->head_array) {
        put_array(key_of(m, "attention.head_count_kv"), m->float_array ? 6 : 5, m->head_array);
        for (uint32_t i = 0; i < m->head_array; i++)
            put_uint(m->kv_heads + (m->uneven ? i : 0), 4);
    } else {
        put_u32(key_of(m, "attention.head_count_kv"), m->kv_heads);
    }
    put_u32(key_of(m, "attention.key_length"), m->key_length);
    put_u32(key_of(m, "attention.value_length"), m->value_length);
    put_f32(key_of(m, "attention.layer_norm_rms_epsilon"), m->eps);
    put_f32(key_of(m, "rope.freq_base"), m->theta);
    put_u32(key_of(m, "vocab_size"), m->vocab);
    put_u32(key_of(m, "expert_count"), m->experts);
    if (m->scaling) put_text(key_of(m, "rope.scaling.type"), m->scaling);
    if (m->factor != 0) put_f32(key_of(m, "rope.scaling.factor"), m->factor);
    if (m->old_factor != 0) put_f32(key_of(m, "rope.scale_linear"), m->old_factor);
    put_key(key_of(m, "attention.causal"), 7), put_uint(m->causal, 1);
    if (m->block) put_u32(key_of(m, "block_size"), m->block);
    if (m->shift >= 0) {
        put_key("diffusion.shift_logits", 7), put_uint((uint64_t)m->shift, 1);
        n_pairs++;
    }
    put_text("tokenizer.ggml.model", m->tokenizer), n_pairs++;
    if (!m->no_mask) put_u32("tokenizer.ggml.mask_token_id", m->mask), n_pairs++;
    put_u32("tokenizer.ggml.eos_token_id", m->eos), n_pairs++;
    put_u32("tokenizer.ggml.eot_token_id", 7), n_pairs++;
    put_array("tokenizer.ggml.tokens", 8, m->n_tokens), n_pairs++;
    for (uint32_t i = 0; i < m->n_tokens; i++)
        put_string("t");
    put_array("tokenizer.ggml.token_type", 5, m->n_types), n_pairs++;
    for (uint32_t i = 0; i < m->n_types; i++)
        put_uint(1, 4);
}

static uint64_t data_at, n_entries;

static void add_tensor(const char *name, uint64_t d0, uint64_t d1)
{
    put_tensor(name, d1 ? 2 : 1, d0, d1, 0, data_at);
    data_at += (4 * d0 * (d1 ? d1 : 1) + 31) / 32 * 32;
    n_entries++;
}

static void add_layer(const model *m, int layer)
{
    static const struct {
        const char *part;
        uint64_t d0, d1;
        int when; /* 0 always, 1 biases, 2 q/k norms */
    } parts[] = {
        { "attn_norm.weight", D, 0, 0 },      { "ffn_norm.weight", D, 0, 0 },
        { "attn_q.weight", D, 8, 0 },         { "attn_k.weight", D, 8, 0 },
        { "attn_v.weight", D, 8, 0 },         { "attn_output.weight", 8, D, 0 },
        { "attn_q.bias", 8, 0, 1 },           { "attn_k.bias", 8, 0, 1 },
        { "attn_v.bias", 8, 0, 1 },           { "attn_q_norm.weight", HEAD, 0, 2 },
        { "attn_k_norm.weight", HEAD, 0, 2 }, { "ffn_gate.weight", D, FF, 0 },
        { "ffn_up.weight", D, FF, 0 },        { "ffn_down.weight", FF, D, 0 },
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[64];
        if ((parts[i].when == 1 && !m->bias) || (parts[i].when == 2 && !m->qk_norm)) continue;
        snprintf(name, sizeof name, "blk.%d.%s", layer, parts[i].part);
        add_tensor(name, parts[i].d0, parts[i].d1);
    }
}

static void build(const model *m)
{
    begin(3, 0, 0);
    put_metadata(m);
    data_at = n_entries = 0;
    add_tensor("token_embd.weight", D, m->no_embedding ? 0 : ROWS); /* a vector, then */
    add_tensor("output_norm.weight", D, 0);
    if (m->untied) add_tensor("output.weight", D, ROWS);
    for (int i = 0; i < LAYERS; i++)
        add_layer(m, i);
    put_data(32, data_at);
    const size_t end = w.n;
    w.n = 8;
    put_uint(n_entries, 8);
    put_uint(n_pairs, 8);
    w.n = end;
}

/* Reads configuration and map of a model file. */
static lac_status read_model(const model *m, laci_config *c, lac_error *err)
{
    laci_gguf *gguf;
    unsigned char *copy;
    build(m);
    if (open_bytes(&gguf, &copy, err)) fail_msg("%s", err->message);
    const laci_config_source src = { .gguf = gguf,
                                     .tensors = laci_gguf_tensors(gguf),
                                     .mask_id = m->wanted_mask };
    lac_status st = laci_config_read(c, &src, err);
    laci_weight_map map = { 0 };
    if (!st) st = laci_weight_map_build(&map, c, laci_family_find(&src), src.tensors, NULL, err);
    laci_weight_map_clear(&map);
    laci_gguf_close(gguf);
    free(copy);
    return st;
}

static void accept_model(const model *m, laci_config *c)
{
    lac_error err;
    if (read_model(m, c, &err)) fail_msg("%s: %s", m->arch, err.message);
}

static void refuse_model(const model *m, lac_status expected, const char *word)
{
    laci_config c;
    lac_error err;
    const lac_status st = read_model(m, &c, &err);
    if (st != expected) fail_msg("\"%s\": %s (%s)", word, lac_status_name(st), err.message);
    if (!strstr(err.message, word)) fail_msg("\"%s\" lacks \"%s\"", err.message, word);
}

static void families_read_gguf(void **state)
{
    (void)state;
    laci_config c;
    model m = good;
    accept_model(&m, &c);
    assert_string_equal(c.family, "llada");
    assert_string_equal(c.name, "a?test");
    assert_int_equal(c.rope_layout, LACI_ROPE_ADJACENT);
    assert_int_equal(c.n_layers, LAYERS);
    assert_int_equal(c.n_vocab, ROWS);
    assert_int_equal(c.mask_id, 5);
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.eos_ids[0], 6);
    assert_false(c.shift_logits || c.tied);
    assert_true(c.rope_theta == 5e5);
    m.untied = false;
    m.head_array = LAYERS;
    accept_model(&m, &c);
    assert_true(c.tied);
    m.skip = "rope.freq_base";
    accept_model(&m, &c);
    assert_true(c.rope_theta == 1e4);

    m = good;
    m.arch = "dream";
    m.bias = true;
    accept_model(&m, &c);
    assert_true(c.shift_logits && c.qkv_bias);
    assert_int_equal(c.rope_layout, LACI_ROPE_HALF);
    m.shift = 0;
    accept_model(&m, &c);
    assert_false(c.shift_logits);

    m = good;
    m.arch = "sdar";
    m.qk_norm = true;
    accept_model(&m, &c);
    assert_int_equal(c.mask, LAC_MASK_BLOCK_CAUSAL);
    assert_int_equal(c.block_size, 4);
    m.block = 16;
    accept_model(&m, &c);
    assert_int_equal(c.block_size, 16);

    m = good;
    m.arch = "lacuna";
    m.tokenizer = "bytes";
    accept_model(&m, &c);
    assert_int_equal(c.mask, LAC_MASK_FULL);
    assert_int_equal(c.qk_norm, LACI_QK_NORM_NONE);
    assert_string_equal(c.tokenizer, "bytes");
    m.qk_norm = true;
    m.block = 16;
    accept_model(&m, &c);
    assert_int_equal(c.mask, LAC_MASK_BLOCK_CAUSAL);
    assert_int_equal(c.qk_norm, LACI_QK_NORM_BEFORE_ROPE);
}

static void required_keys_are_required(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "block_count",         "embedding_length",     "context_length",
        "feed_forward_length", "attention.head_count", "attention.layer_norm_rms_epsilon"
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        model m = good;
        char word[96];
        m.skip = keys[i];
        snprintf(word, sizeof word, "key llada.%s is missing", keys[i]);
        refuse_model(&m, LAC_EFORMAT, word);
    }
}

#define CHANGED(field, value, status, word) \
    do {                                    \
        model m_ = good;                    \
        m_.field = (value);                 \
        refuse_model(&m_, status, word);    \
    } while (0)

static void values_are_consistent(void **state)
{
    (void)state;
    CHANGED(layers, 0, LAC_EFORMAT, "llada.block_count is 0");
    CHANGED(layers, 1025, LAC_EFORMAT, "1 to 1024");
    CHANGED(layers, 3, LAC_EFORMAT, "blk.2.attn_norm.weight [8] is missing");
    CHANGED(layers, 1, LAC_EFORMAT, "blk.1.");
    CHANGED(heads, 0, LAC_EFORMAT, "head_count is 0");
    CHANGED(kv_heads, 3, LAC_EFORMAT, "2 heads cannot share 3");
    CHANGED(kv_heads, 1, LAC_EFORMAT, "blk.0.attn_k.weight has shape [8, 8], expected [4, 8]");
    CHANGED(key_length, 2, LAC_EUNSUPPORTED, "keys have 2 dimensions and values 4");
    CHANGED(ff, 32, LAC_EFORMAT, "ffn_gate.weight has shape [16, 8], expected [32, 8]");
    CHANGED(vocab, 13, LAC_EFORMAT, "vocab_size is 13, the embedding has 12");
    CHANGED(eps, (float)1e300 * 10, LAC_EFORMAT, "not finite");
    CHANGED(eps, 0.0f, LAC_EFORMAT, "epsilon is 0");
    CHANGED(theta, 0.0f, LAC_EFORMAT, "theta is 0");
    CHANGED(mask, 12, LAC_EFORMAT, "special token id 12");
    CHANGED(eos, 99, LAC_EFORMAT, "special token id 99");
    CHANGED(eos, 5, LAC_EFORMAT, "both the mask and an end");
    CHANGED(n_tokens, 0, LAC_EFORMAT, "tokens has 0 entries");
    CHANGED(n_tokens, 13, LAC_EFORMAT, "tokens has 13 entries, the embedding 12");
    CHANGED(n_types, 11, LAC_EFORMAT, "token_type has 11 entries, tokenizer.ggml.tokens 12");
    CHANGED(head_array, 3, LAC_EFORMAT, "3 entries, llada.block_count is 2");
    CHANGED(experts, 8, LAC_EUNSUPPORTED, "expert_count is 8");
    CHANGED(causal, true, LAC_EUNSUPPORTED, "attention.causal");
    CHANGED(scaling, "yarn", LAC_EUNSUPPORTED, "yarn");
    CHANGED(bias, true, LAC_EFORMAT, "no part of this network");
    model m = good;
    m.head_array = LAYERS;
    m.uneven = true;
    refuse_model(&m, LAC_EUNSUPPORTED, "layers that differ");
    m.float_array = true;
    refuse_model(&m, LAC_EFORMAT, "head_count_kv is not an array of integers");
    CHANGED(no_embedding, true, LAC_EFORMAT, "token_embd.weight is missing or not a matrix");
}

static void other_architectures_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        { "llada-moe", "LLaDA-MoE" }, { "rnd1", "RND1" },   { "diffusion-gemma", "DiffusionGemma" },

        { "diffuse", "diffuse" },     { "qwen3", "Qwen3" }, { "bailingmoe2", "LLaDA2" },
        { "mamba", "mamba" }
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHANGED(arch, names[i][0], LAC_EUNSUPPORTED, names[i][1]);
    laci_config c;
    lac_error err;
    laci_gguf *gguf;
    unsigned char *copy;
    begin(3, 0, 0);
    assert_ok(open_bytes(&gguf, &copy, &err));
    const laci_config_source src = { .gguf = gguf, .tensors = laci_gguf_tensors(gguf) };
    assert_int_equal(laci_config_read(&c, &src, &err), LAC_EFORMAT);
    assert_non_null(strstr(err.message, "general.architecture is missing"));
    laci_gguf_close(gguf);
    free(copy);
}

/* llama.cpp scales linearly by a factor that stands alone, under its old name too. */
static void rope_scaling_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        float factor, old_factor;
        double scale; /* 0 = refused */
    } cases[] = {
        { NULL, 0, 0, 1 },     { NULL, 4, 0, 4 },       { NULL, 0, 4, 4 },      { "none", 4, 0, 1 },
        { "linear", 4, 0, 4 }, { "linear", 0, 0, 1 },   { "linear", 1, 0, 1 },  { "yarn", 1, 0, 1 },
        { "yarn", 4, 0, 0 },   { "longrope", 0, 0, 0 }, { "dynamic", 2, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model m = good;
        laci_config c = { 0 };
        lac_error err = { .message = "" };
        m.scaling = cases[i].type;
        m.factor = cases[i].factor;
        m.old_factor = cases[i].old_factor;
        const lac_status st = read_model(&m, &c, &err);
        if (cases[i].scale > 0 ? st || c.rope_scale != cases[i].scale
                               : st != LAC_EUNSUPPORTED || !strstr(err.message, cases[i].type))
            fail_msg("case %zu: %s (%s), scale %g", i, lac_status_name(st), err.message,
                     c.rope_scale);
    }
}

static void a_missing_mask_is_named(void **state)
{
    (void)state;
    model m = good;
    laci_config c = { 0 };
    lac_error err = { .message = "" };
    m.no_mask = true;
    assert_int_equal(read_model(&m, &c, &err), LAC_EFORMAT);
    if (!strstr(err.message, "tokenizer.ggml.mask_token_id is missing") ||
        !strstr(err.message, "126336"))
        fail_msg("%s", err.message);
    m.wanted_mask = 3;
    assert_ok(read_model(&m, &c, &err));
    assert_int_equal(c.mask_id, 3);
    m.no_mask = false;
    assert_ok(read_model(&m, &c, &err)); /* in place of the file's */
    assert_int_equal(c.mask_id, 3);
    m.wanted_mask = ROWS;
    assert_int_equal(read_model(&m, &c, &err), LAC_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_read_gguf),
        cmocka_unit_test(required_keys_are_required),
        cmocka_unit_test(values_are_consistent),
        cmocka_unit_test(other_architectures_are_refused_by_name),
        cmocka_unit_test(rope_scaling_is_read),
        cmocka_unit_test(a_missing_mask_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
