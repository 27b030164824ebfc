/* tokenizer_gguf.c: reads a tokenizer from GGUF metadata (tokenizer.ggml.*). Only byte-level BPE
 * ("gpt2"), whose pre-tokenizer is known by name. Control and user-defined tokens are the added
 * tokens; unused ones ("[PAD151670]") are holes that fill the vocabulary up to the embedding rows.
 */
#include <string.h>

#include "base/error.h"
#include "model/tokenizer/tokenizer_parts.h"

/* Values of tokenizer.ggml.token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

static const struct {
    const char *pre;
    const char *pattern;
    bool has_nfc;
} known_pre[] = {
    { "qwen2", laci_pattern_qwen, true },          { "llada-moe", laci_pattern_bailing, false },
    { "bailingmoe", laci_pattern_bailing, false }, { "bailingmoe2", laci_pattern_bailing, false },
    { "gpt-2", laci_pattern_gpt2, false },         { "default", laci_pattern_gpt2, false },
};

static lac_status get_name(const laci_gguf *gguf, const char *key, const char **text, size_t *n,
                           lac_error *err)
{
    bool found = false;
    *text = "";
    *n = 0;
    lac_status st = laci_gguf_string(gguf, key, text, n, &found, err);
    if (st || found) return st;
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s is missing", key);
}

static lac_status add_pre(laci_tokenizer *tok, const laci_gguf *gguf, lac_error *err)
{
    static const char model_key[] = "tokenizer.ggml.model", pre_key[] = "tokenizer.ggml.pre";
    const char *name;
    size_t n;
    lac_status st = get_name(gguf, model_key, &name, &n, err);
    if (st) return st;
    if (n != 4 || memcmp(name, "gpt2", 4) != 0)
        return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s is \"%s\", known is \"gpt2\"", model_key,
                         laci_quote(name, n).text);
    st = get_name(gguf, pre_key, &name, &n, err);
    if (st) return st;
    tok->is_byte_level = true;
    for (size_t i = 0; i < sizeof known_pre / sizeof known_pre[0]; i++) {
        if (n != strlen(known_pre[i].pre) || memcmp(name, known_pre[i].pre, n) != 0) continue;
        if (known_pre[i].has_nfc) st = laci_add_normalizer(tok, LACI_NORMALIZE_NFC, "", "", err);
        return st ? st : laci_pretokenizer_add_regex(tok->pre, known_pre[i].pattern, err);
    }
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s is \"%s\", which is unknown", pre_key,
                     laci_quote(name, n).text);
}

/* An array that must be there. */
static lac_status get_array(const laci_gguf *gguf, const char *key, laci_gguf_array *out,
                            lac_error *err)
{
    bool found = false;
    lac_status st = laci_gguf_get_array(gguf, key, out, &found, err);
    if (st || found) return st;
    return laci_fail(err, LAC_EFORMAT, 0, "%s is missing", key);
}

/* One token; added ones are kept for later, as merges must not use them. */
static lac_status add_token(laci_tokenizer *tok, int64_t id, int64_t type, const char *text,
                            size_t n, lac_error *err)
{
    const laci_added_info info = {
        .id = id, .text = text, .n_text = n, .special = type == TYPE_CONTROL
    };
    switch (type) {
    case TYPE_NORMAL:
    case TYPE_UNKNOWN: return laci_add_vocab(tok, text, n, id, err);
    case TYPE_CONTROL:
    case TYPE_USER_DEFINED: return laci_add_added(tok, &info, false, err);
    case TYPE_UNUSED: return LAC_OK;
    default:
        return laci_fail(err, LAC_EUNSUPPORTED, 0, "token %lld has type %lld, known are 1 to 5",
                         (long long)id, (long long)type);
    }
}

static lac_status add_tokens(laci_tokenizer *tok, const laci_gguf *gguf, lac_error *err)
{
    static const char key[] = "tokenizer.ggml.tokens";
    laci_gguf_array texts, types;
    bool has_types = false;
    lac_status st = get_array(gguf, key, &texts, err);
    if (!st) st = laci_gguf_get_array(gguf, "tokenizer.ggml.token_type", &types, &has_types, err);
    if (st) return st;
    if (has_types && types.left != texts.left)
        return laci_fail(err, LAC_EFORMAT, 0, "%llu tokens but %llu token types",
                         (unsigned long long)texts.left, (unsigned long long)types.left);
    const uint64_t n_tokens = texts.left;
    for (uint64_t id = 0; id < n_tokens && !st; id++) {
        const char *text;
        size_t n;
        int64_t type = TYPE_NORMAL;
        if (!laci_gguf_next_string(&texts, &text, &n) ||
            (has_types && !laci_gguf_next_int(&types, &type)))
            return laci_fail(err, LAC_EFORMAT, 0, "%s or its types have another type at %llu", key,
                             (unsigned long long)id);
        st = add_token(tok, (int64_t)id, type, text, n, err);
    }
    return st;
}

static lac_status add_merges(laci_tokenizer *tok, const laci_gguf *gguf, lac_error *err)
{
    static const char key[] = "tokenizer.ggml.merges";
    laci_gguf_array merges;
    lac_status st = get_array(gguf, key, &merges, err);
    if (st) return st;
    const uint64_t n_merges = merges.left;
    if (n_merges >= LACI_NO_RANK)
        return laci_fail(err, LAC_EFORMAT, 0, "%s has %llu entries, limit %d", key,
                         (unsigned long long)n_merges, LACI_NO_RANK - 1);
    st = laci_bpe_init(&tok->bpe, (size_t)n_merges, &tok->mem, err);
    for (size_t index = 0; index < n_merges && !st; index++) {
        const char *line;
        size_t n;
        if (!laci_gguf_next_string(&merges, &line, &n))
            return laci_fail(err, LAC_EFORMAT, 0, "%s: entry %zu is not a string", key, index);
        st = laci_add_merge_line(tok, index, line, n, err);
    }
    return st;
}

lac_status laci_tokenizer_open_gguf(laci_tokenizer **out, const laci_gguf *gguf,
                                    const lac_allocator *mem, lac_error *err)
{
    laci_tokenizer *tok = NULL;
    lac_status st = laci_tokenizer_create(&tok, "bpe", mem, err);
    if (!st) st = add_pre(tok, gguf, err);
    if (!st) st = add_tokens(tok, gguf, err);
    if (!st) st = add_merges(tok, gguf, err);
    if (!st) st = laci_tokenizer_finish(tok, err);
    if (st) {
        laci_tokenizer_close(tok);
        return st;
    }
    *out = tok;
    return LAC_OK;
}
