/* tokenizer_files.c: the older layout of a tokenizer: vocab.json and merges.txt, with added tokens
 * in tokenizer_config.json and added_tokens.json. These files do not name the normalizer and the
 * pattern; the tokenizer class does, so only classes known to be byte-level BPE are accepted. Where
 * the two files spell an id differently both find it, but only the former is shown and matched. */
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sniff.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

enum {
    MAX_VOCAB = 256 * 1024 * 1024,
    MAX_MERGES = 256 * 1024 * 1024,
    MAX_CONFIG = 16 * 1024 * 1024,
};

static const struct {
    const char *class;
    const char *pattern;
    bool has_nfc;
} known_classes[] = {
    { "Qwen2Tokenizer", laci_pattern_qwen, true },
    { "Qwen2TokenizerFast", laci_pattern_qwen, true },
    { "DreamTokenizer", laci_pattern_qwen, true },
    { "GPT2Tokenizer", laci_pattern_gpt2, false },
    { "GPT2TokenizerFast", laci_pattern_gpt2, false },
};

/* A folder while it is read; any document may be NULL. */
typedef struct {
    lac_allocator mem;
    const char *path;
    laci_json *vocab, *config, *added;
    char *merges;
    size_t n_merges;
} folder;

/* ------------------------------------------------------------------ reading */

/* Reads folder/name; leaves *out NULL when the file is absent and may be. */
static lac_status read_json(const folder *f, const char *name, size_t limit, bool required,
                            laci_json **out, lac_error *err)
{
    char *path = laci_path_join(&f->mem, f->path, name);
    if (!path) return laci_fail_memory(err, "a path", strlen(f->path));
    const laci_json_limits limits = { .max_bytes = limit, .is_loose = true };
    lac_status st = LAC_OK;
    if (required || laci_file_exists(path)) st = laci_json_read(out, path, &limits, &f->mem, err);
    laci_release(&f->mem, path);
    return st;
}

static lac_status read_merges(folder *f, lac_error *err)
{
    char *path = laci_path_join(&f->mem, f->path, "merges.txt");
    if (!path) return laci_fail_memory(err, "a path", strlen(f->path));
    lac_status st = laci_file_read(&f->merges, &f->n_merges, path, MAX_MERGES, &f->mem, err);
    laci_release(&f->mem, path);
    const char *other = st ? NULL : laci_sniff(f->merges, f->n_merges);
    if (other) st = laci_fail(err, LAC_EFORMAT, 0, "merges.txt is %s, not a list of merges", other);
    return st;
}

static lac_status read_folder(folder *f, lac_error *err)
{
    lac_status st = read_json(f, "vocab.json", MAX_VOCAB, false, &f->vocab, err);
    if (!st && !f->vocab)
        st = laci_fail(err, LAC_EIO, 0, "%s has neither tokenizer.json nor vocab.json", f->path);
    if (!st) st = read_merges(f, err);
    if (!st) st = read_json(f, "tokenizer_config.json", MAX_CONFIG, true, &f->config, err);
    if (!st) st = read_json(f, "added_tokens.json", MAX_CONFIG, false, &f->added, err);
    return st;
}

static void free_folder(folder *f)
{
    laci_json_free(f->vocab);
    laci_json_free(f->config);
    laci_json_free(f->added);
    laci_release(&f->mem, f->merges);
}

/* ------------------------------------------------------------------ filling */

static lac_status add_class(laci_tokenizer *tok, const laci_json *config, lac_error *err)
{
    const char *class = "";
    bool add_prefix_space = false;
    const laci_jval *root = laci_json_root(config);
    static const char what[] = "tokenizer_config.json";
    lac_status st = laci_json_get_string(root, "tokenizer_class", true, &class, what, err);
    if (!st) st = laci_json_get_bool(root, "add_prefix_space", false, &add_prefix_space, what, err);
    if (st) return st;
    for (size_t i = 0; i < sizeof known_classes / sizeof known_classes[0]; i++) {
        if (strcmp(class, known_classes[i].class) != 0) continue;
        tok->is_byte_level = true;
        if (known_classes[i].has_nfc)
            st = laci_add_normalizer(tok, LACI_NORMALIZE_NFC, "", "", err);
        if (!st && add_prefix_space)
            st = laci_add_normalizer(tok, LACI_NORMALIZE_PREFIX_SPACE, "", " ", err);
        return st ? st : laci_pretokenizer_add_regex(tok->pre, known_classes[i].pattern, err);
    }
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "%s: unknown tokenizer_class \"%s\"", what,
                     laci_quote(class, strlen(class)).text);
}

static lac_status add_vocab(laci_tokenizer *tok, const laci_json *vocab, lac_error *err)
{
    const laci_jval *root = laci_json_root(vocab);
    if (!laci_json_is_object(root))
        return laci_fail(err, LAC_EFORMAT, 0, "vocab.json: not an object");
    lac_status st = LAC_OK;
    for (const laci_jval *v = laci_json_first(root); v && !st; v = laci_json_next(v)) {
        const char *text = laci_json_key(v);
        int64_t id;
        if (!laci_json_integer(v, &id))
            return laci_fail(err, LAC_EFORMAT, 0, "vocab.json: the id of \"%s\" is not an integer",
                             laci_quote(text, strlen(text)).text);
        st = laci_add_vocab(tok, text, strlen(text), id, err);
    }
    return st;
}

/* The next line that holds a merge; false at the end. The first line may begin with a byte order
 * mark and name a version. */
static bool next_merge(const char *text, size_t n, size_t *at, const char **line, size_t *n_line)
{
    static const char version[] = "#version";
    const size_t first = n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
    if (*at < first) *at = first;
    while (*at < n) {
        const char *begin = text + *at;
        const char *end = memchr(begin, '\n', n - *at);
        const bool is_first = *at == first;
        size_t length = end ? (size_t)(end - begin) : n - *at;
        *at += length + (end ? 1 : 0);
        if (length && begin[length - 1] == '\r') length--;
        if (!length) continue;
        if (is_first && length >= 8 && !memcmp(begin, version, 8)) continue;
        *line = begin;
        *n_line = length;
        return true;
    }
    return false;
}

static lac_status add_merges(laci_tokenizer *tok, const char *text, size_t n, lac_error *err)
{
    const char *line;
    size_t n_line, n_merges = 0, at = 0;
    const size_t mark = laci_utf8_bom(text, n);
    text += mark;
    n -= mark;
    while (next_merge(text, n, &at, &line, &n_line))
        n_merges++;
    lac_status st = laci_bpe_init(&tok->bpe, n_merges, &tok->mem, err);
    at = 0;
    for (size_t index = 0; !st && next_merge(text, n, &at, &line, &n_line); index++)
        st = laci_add_merge_line(tok, index, line, n_line, err);
    return st;
}

/* added_tokens_decoder: decimal id -> {content, flags}. */
static lac_status add_decoder(laci_tokenizer *tok, const laci_json *config, lac_error *err)
{
    static const char what[] = "tokenizer_config.json";
    const laci_jval *list = laci_json_get(laci_json_root(config), "added_tokens_decoder");
    lac_status st = LAC_OK;
    for (const laci_jval *v = laci_json_first(list); v && !st; v = laci_json_next(v)) {
        laci_added_info info = { .id = 0, .text = "" };
        const char *key = laci_json_is_object(list) ? laci_json_key(v) : "";
        const size_t n_digits = strspn(key, "0123456789");
        if (!n_digits || n_digits > 9 || key[n_digits])
            return laci_fail(err, LAC_EFORMAT, 0, "%s: added token key \"%s\" is not an id", what,
                             laci_quote(key, strlen(key)).text);
        for (size_t i = 0; i < n_digits; i++)
            info.id = 10 * info.id + (key[i] - '0');
        st = laci_json_get_string(v, "content", true, &info.text, what, err);
        if (!st) st = laci_added_flags(&info, v, what, err);
        info.n_text = strlen(info.text);
        if (!st) st = laci_add_added(tok, &info, true, err);
    }
    return st;
}

/* added_tokens.json: content -> id, without flags. For an id that tokenizer_config.json has too it
 * adds at most a second name, as the published loader ignores the file then. */
static lac_status add_added(laci_tokenizer *tok, const laci_json *added, lac_error *err)
{
    if (!added) return LAC_OK;
    const laci_jval *root = laci_json_root(added);
    lac_status st = LAC_OK;
    for (const laci_jval *v = laci_json_first(root); v && !st; v = laci_json_next(v)) {
        laci_added_info info = { .text = laci_json_is_object(root) ? laci_json_key(v) : "" };
        info.n_text = strlen(info.text);
        if (!laci_json_integer(v, &info.id))
            return laci_fail(err, LAC_EFORMAT, 0, "added_tokens.json: \"%s\" has no integer id",
                             laci_quote(info.text, info.n_text).text);
        st = laci_add_added(tok, &info, true, err);
    }
    return st;
}

static lac_status fill(laci_tokenizer *tok, const folder *f, lac_error *err)
{
    lac_status st = add_class(tok, f->config, err);
    if (!st) st = add_vocab(tok, f->vocab, err);
    if (!st) st = add_merges(tok, f->merges, f->n_merges, err);
    if (!st) st = add_decoder(tok, f->config, err);
    if (!st) st = add_added(tok, f->added, err);
    return st ? st : laci_tokenizer_finish(tok, err);
}

lac_status laci_tokenizer_open_files(laci_tokenizer **out, const char *path,
                                     const lac_allocator *mem, lac_error *err)
{
    folder f = { .mem = laci_allocator_or_default(mem), .path = path };
    laci_tokenizer *tok = NULL;
    lac_status st = read_folder(&f, err);
    if (!st) st = laci_tokenizer_create(&tok, "bpe", &f.mem, err);
    if (!st) {
        st = fill(tok, &f, err);
        if (st) laci_fail_prefix(err, st, path);
    }
    free_folder(&f);
    if (st) {
        laci_tokenizer_close(tok);
        return st;
    }
    *out = tok;
    return LAC_OK;
}
