/* tokenizer_json.c: reads a tokenizer.json of the Hugging Face layout. Every component is accepted
 * by name or refused by name: a tokenizer that is read almost right gives almost right ids.
 * Sections that do not change ids (truncation, padding, post_processor) are ignored; models of this
 * family take their begin token from the chat template. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "model/tokenizer/tokenizer_parts.h"

enum { MAX_JSON = 256 * 1024 * 1024, MAX_COMPONENTS = 32 };

static const char what[] = "tokenizer.json";

/* ------------------------------------------------------------------ components */

static lac_status unknown(const char *section, const char *name, lac_error *err)
{
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s: unknown %s \"%s\"", what, section,
                     laci_quote(name, strlen(name)).text);
}

typedef lac_status (*component_fn)(laci_tokenizer *tok, const char *type, const laci_jval *v,
                                   lac_error *err);

/* Calls `fn` with a component, or with each member of a Sequence in order. Sequences inside
 * sequences are refused: no published tokenizer has them. */
static lac_status each_component(laci_tokenizer *tok, const laci_jval *root, const char *section,
                                 const char *list, component_fn fn, lac_error *err)
{
    const laci_jval *v = laci_json_get(root, section);
    if (!v || laci_json_is_null(v)) return LAC_OK;
    if (!laci_json_is_object(v))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: %s is not an object", what, section);
    const char *type = "";
    lac_status st = laci_json_get_string(v, "type", true, &type, what, err);
    if (st) return st;
    if (strcmp(type, "Sequence") != 0) return fn(tok, type, v, err);
    const laci_jval *members = laci_json_get(v, list);
    if (!laci_json_is_array(members) || laci_json_count(members) > MAX_COMPONENTS)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: %s.%s is not an array of at most %d", what,
                         section, list, MAX_COMPONENTS);
    for (const laci_jval *m = laci_json_first(members); m && !st; m = laci_json_next(m)) {
        st = laci_json_get_string(m, "type", true, &type, what, err);
        if (!st) st = fn(tok, type, m, err);
    }
    return st;
}

/* The string of a pattern {"String": ...}, NULL when it is a regular expression, whose text is then
 * in *regex. */
static lac_status get_pattern(const laci_jval *v, const char **string, const char **regex,
                              lac_error *err)
{
    const laci_jval *pattern = laci_json_get(v, "pattern");
    *string = *regex = NULL;
    if (!laci_json_is_object(pattern))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: a component without pattern", what);
    lac_status st = laci_json_get_string(pattern, "String", false, string, what, err);
    if (!st && !*string) st = laci_json_get_string(pattern, "Regex", true, regex, what, err);
    return st;
}

static lac_status add_normalizer(laci_tokenizer *tok, const char *type, const laci_jval *v,
                                 lac_error *err)
{
    if (!strcmp(type, "NFC")) return laci_add_normalizer(tok, LACI_NORMALIZE_NFC, "", "", err);
    const char *from = "", *to = "", *regex = NULL;
    if (!strcmp(type, "Prepend")) {
        lac_status st = laci_json_get_string(v, "prepend", true, &to, what, err);
        return st ? st : laci_add_normalizer(tok, LACI_NORMALIZE_PREPEND, "", to, err);
    }
    if (strcmp(type, "Replace") != 0) return unknown("normalizer", type, err);
    lac_status st = get_pattern(v, &from, &regex, err);
    if (!st && regex) return unknown("normalizer Replace with regex", regex, err);
    if (!st) st = laci_json_get_string(v, "content", true, &to, what, err);
    return st ? st : laci_add_normalizer(tok, LACI_NORMALIZE_REPLACE, from, to, err);
}

/* ------------------------------------------------------------------ pre-tokenizer */

static lac_status add_byte_level(laci_tokenizer *tok, const laci_jval *v, bool is_first,
                                 lac_error *err)
{
    bool add_prefix_space = false, use_regex = true;
    lac_status st = laci_json_get_bool(v, "add_prefix_space", true, &add_prefix_space, what, err);
    if (!st) st = laci_json_get_bool(v, "use_regex", false, &use_regex, what, err);
    if (st) return st;
    if (add_prefix_space && !is_first) return unknown("ByteLevel option", "add_prefix_space", err);
    tok->is_byte_level = true;
    if (add_prefix_space) st = laci_add_normalizer(tok, LACI_NORMALIZE_PREFIX_SPACE, "", " ", err);
    if (!st && use_regex) st = laci_pretokenizer_add_regex(tok->pre, laci_pattern_gpt2, err);
    return st;
}

static lac_status add_pre_tokenizer(laci_tokenizer *tok, const char *type, const laci_jval *v,
                                    lac_error *err)
{
    if (tok->is_byte_level) return unknown("pre_tokenizer behind ByteLevel", type, err);
    if (!strcmp(type, "ByteLevel")) {
        return add_byte_level(tok, v, !laci_pretokenizer_n_steps(tok->pre), err);
    }
    if (strcmp(type, "Split") != 0) return unknown("pre_tokenizer", type, err);
    const char *string = NULL, *regex = NULL, *behavior = "";
    bool is_inverted = false;
    lac_status st = get_pattern(v, &string, &regex, err);
    if (!st) st = laci_json_get_string(v, "behavior", true, &behavior, what, err);
    if (!st) st = laci_json_get_bool(v, "invert", false, &is_inverted, what, err);
    if (st) return st;
    if (is_inverted) return unknown("Split option", "invert", err);
    const bool is_isolated = !strcmp(behavior, "Isolated");
    if (!is_isolated && (regex || strcmp(behavior, "MergedWithPrevious") != 0))
        return unknown("Split behavior", behavior, err);
    if (regex) return laci_pretokenizer_add_regex(tok->pre, regex, err);
    return laci_pretokenizer_add_string(tok->pre, string, !is_isolated, err);
}

/* ------------------------------------------------------------------ decoder */

static lac_status add_strip(laci_decoder *decoder, const laci_jval *v, lac_error *err)
{
    const char *content = "";
    lac_status st = laci_json_get_string(v, "content", true, &content, what, err);
    if (!st) st = laci_json_get_int(v, "start", true, 0, 1 << 20, &decoder->strip_begin, what, err);
    if (!st) st = laci_json_get_int(v, "stop", true, 0, 1 << 20, &decoder->strip_end, what, err);
    if (st) return st;
    if (strlen(content) != 1 || (unsigned char)content[0] >= 0x80)
        return unknown("decoder Strip of", content, err);
    decoder->strip = content[0];
    return LAC_OK;
}

/* Steps must come in the order Replace, ByteFallback, Fuse, Strip: their effect depends on it. */
static lac_status add_decoder(laci_tokenizer *tok, const char *type, const laci_jval *v,
                              lac_error *err)
{
    static const char *const order[] = { "Replace", "ByteFallback", "Fuse", "Strip" };
    laci_decoder *decoder = &tok->decoder;
    if (!strcmp(type, "ByteLevel") && tok->is_byte_level && !decoder->n_steps) {
        decoder->n_steps = 4; /* nothing may follow */
        return LAC_OK;
    }
    int at = 0;
    while (at < 4 && (at < decoder->n_steps || strcmp(type, order[at]) != 0))
        at++;
    if (at == 4 || tok->is_byte_level) return unknown("decoder, or its place,", type, err);
    if (at == 3 && !decoder->is_fused) return unknown("decoder without Fuse before it", type, err);
    decoder->n_steps = at + 1;
    if (at == 1) decoder->bytes_one_by_one = true;
    if (at == 2) decoder->is_fused = true;
    if (at == 3) return add_strip(decoder, v, err);
    if (at != 0) return LAC_OK;
    const char *from = "", *to = "", *regex = NULL;
    lac_status st = get_pattern(v, &from, &regex, err);
    if (!st && regex) return unknown("decoder Replace with regex", regex, err);
    if (!st) st = laci_json_get_string(v, "content", true, &to, what, err);
    return st ? st : laci_set_normalizer(&decoder->replace, LACI_NORMALIZE_REPLACE, from, to, err);
}

/* ------------------------------------------------------------------ model */

static lac_status require_empty(const laci_jval *model, const char *key, lac_error *err)
{
    const laci_jval *v = laci_json_get(model, key);
    if (!v || laci_json_is_null(v)) return LAC_OK;
    if (laci_json_is_string(v) && !laci_json_string(v)[0]) return LAC_OK;
    if (laci_json_is_number(v) && laci_json_number(v) == 0) return LAC_OK; /* dropout of 0.0 */
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s: model.%s is set", what, key);
}

static lac_status add_vocab(laci_tokenizer *tok, const laci_jval *model, lac_error *err)
{
    const laci_jval *vocab = laci_json_get(model, "vocab");
    if (!laci_json_is_object(vocab))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: model.vocab is not an object", what);
    lac_status st = LAC_OK;
    for (const laci_jval *v = laci_json_first(vocab); v && !st; v = laci_json_next(v)) {
        const char *text = laci_json_key(v);
        int64_t id;
        if (!laci_json_integer(v, &id))
            return laci_fail(err, LAC_EFORMAT, 0, "%s: the id of \"%s\" is not an integer", what,
                             laci_quote(text, strlen(text)).text);
        st = laci_add_vocab(tok, text, strlen(text), id, err);
    }
    return st;
}

/* One merge: "a b", or ["a", "b"]. */
static lac_status add_merge(laci_tokenizer *tok, size_t index, const laci_jval *v, lac_error *err)
{
    if (laci_json_is_string(v)) {
        const char *line = laci_json_string(v);
        return laci_add_merge_line(tok, index, line, strlen(line), err);
    }
    const laci_jval *left = laci_json_is_array(v) ? laci_json_first(v) : NULL;
    const laci_jval *right = left ? laci_json_next(left) : NULL;
    if (!laci_json_is_string(left) || !laci_json_is_string(right) || laci_json_next(right))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: merge %zu is neither a string nor two", what,
                         index);
    const char *a = laci_json_string(left), *b = laci_json_string(right);
    return laci_add_merge(tok, index, a, strlen(a), b, strlen(b), err);
}

static lac_status add_merges(laci_tokenizer *tok, const laci_jval *model, lac_error *err)
{
    const laci_jval *merges = laci_json_get(model, "merges");
    const size_t n = laci_json_count(merges);
    const bool is_empty_object = laci_json_is_object(merges) && !n; /* some writers do that */
    if (!laci_json_is_array(merges) && !is_empty_object)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: model.merges is not an array", what);
    lac_status st = laci_bpe_init(&tok->bpe, n, &tok->mem, err);
    size_t index = 0;
    for (const laci_jval *v = laci_json_first(merges); v && !st; v = laci_json_next(v))
        st = add_merge(tok, index++, v, err);
    return st;
}

static lac_status set_unknown(laci_tokenizer *tok, const laci_jval *model, lac_error *err)
{
    const char *unk = NULL;
    lac_status st = laci_json_get_string(model, "unk_token", false, &unk, what, err);
    if (st || !unk || tok->is_byte_level) return st;
    tok->unk_id = laci_vocab_find(&tok->vocab, unk, strlen(unk));
    if (tok->unk_id >= 0) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "%s: unk_token \"%s\" is not in the vocabulary", what,
                     laci_quote(unk, strlen(unk)).text);
}

static lac_status add_model(laci_tokenizer *tok, const laci_jval *root, lac_error *err)
{
    const laci_jval *model = laci_json_get(root, "model");
    if (!laci_json_is_object(model))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: model is not an object", what);
    const char *type = "BPE";
    lac_status st = laci_json_get_string(model, "type", false, &type, what, err);
    if (!st && strcmp(type, "BPE") != 0) return unknown("model", type, err);
    static const char *const unset[] = { "dropout", "continuing_subword_prefix",
                                         "end_of_word_suffix" };
    for (size_t i = 0; i < sizeof unset / sizeof unset[0] && !st; i++)
        st = require_empty(model, unset[i], err);
    if (!st) st = laci_json_get_bool(model, "byte_fallback", false, &tok->byte_fallback, what, err);
    if (!st) st = laci_json_get_bool(model, "fuse_unk", false, &tok->fuse_unk, what, err);
    if (!st) st = laci_json_get_bool(model, "ignore_merges", false, &tok->ignore_merges, what, err);
    if (!st) st = add_vocab(tok, model, err);
    if (!st) st = add_merges(tok, model, err);
    return st ? st : set_unknown(tok, model, err);
}

/* ------------------------------------------------------------------ added tokens */

static lac_status add_added(laci_tokenizer *tok, const laci_jval *v, lac_error *err)
{
    laci_added_info info = { .id = -1, .text = "" };
    const laci_jval *id = laci_json_get(v, "id");
    if (!laci_json_integer(id, &info.id))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: an added token without integer id", what);
    lac_status st = laci_json_get_string(v, "content", true, &info.text, what, err);
    info.n_text = strlen(info.text);
    if (!st) st = laci_added_flags(&info, v, what, err);
    return st ? st : laci_add_added(tok, &info, false, err);
}

static lac_status add_all_added(laci_tokenizer *tok, const laci_jval *root, lac_error *err)
{
    const laci_jval *list = laci_json_get(root, "added_tokens");
    if (list && !laci_json_is_null(list) && !laci_json_is_array(list))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: added_tokens is not an array", what);
    lac_status st = LAC_OK;
    for (const laci_jval *v = laci_json_first(list); v && !st; v = laci_json_next(v))
        st = add_added(tok, v, err);
    return st;
}

lac_status laci_added_flags(laci_added_info *info, const laci_jval *v, const char *file,
                            lac_error *err)
{
    lac_status st = laci_json_get_bool(v, "special", false, &info->special, file, err);
    info->normalized = !info->special; /* what an absent flag means */
    if (!st) st = laci_json_get_bool(v, "normalized", false, &info->normalized, file, err);
    if (!st) st = laci_json_get_bool(v, "single_word", false, &info->single_word, file, err);
    if (!st) st = laci_json_get_bool(v, "lstrip", false, &info->lstrip, file, err);
    if (!st) st = laci_json_get_bool(v, "rstrip", false, &info->rstrip, file, err);
    return st;
}

/* ------------------------------------------------------------------ the file */

static lac_status fill(laci_tokenizer *tok, const laci_jval *root, lac_error *err)
{
    lac_status st = each_component(tok, root, "normalizer", "normalizers", add_normalizer, err);
    if (!st)
        st = each_component(tok, root, "pre_tokenizer", "pretokenizers", add_pre_tokenizer, err);
    if (!st) st = each_component(tok, root, "decoder", "decoders", add_decoder, err);
    if (!st) st = add_model(tok, root, err);
    if (!st) st = add_all_added(tok, root, err);
    return st ? st : laci_tokenizer_finish(tok, err);
}

lac_status laci_tokenizer_open_json(laci_tokenizer **out, const char *text, size_t n,
                                    const lac_allocator *mem, lac_error *err)
{
    const lac_allocator chosen = laci_allocator_or_default(mem);
    const laci_json_limits limits = { .max_bytes = MAX_JSON, .is_loose = true };
    laci_json *doc = NULL;
    laci_tokenizer *tok = NULL;
    lac_status st = laci_json_parse(&doc, text, n, what, &limits, &chosen, err);
    if (!st && !laci_json_is_object(laci_json_root(doc)))
        st = laci_fail(err, LAC_EFORMAT, 0, "%s: not an object", what);
    if (!st) st = laci_tokenizer_create(&tok, "bpe", &chosen, err);
    if (!st) st = fill(tok, laci_json_root(doc), err);
    laci_json_free(doc);
    if (st) {
        laci_tokenizer_close(tok);
        return st;
    }
    *out = tok;
    return LAC_OK;
}
