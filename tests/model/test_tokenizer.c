/* test_tokenizer.c: ids against the goldens of tests/golden/tokenizer (made with the Hugging Face
 * tokenizers library), through every file layout; decoding; refusals; hostile texts and failing
 * memory. Real vocabularies are in test_tokenizer_data.c. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp, strndup, clock_gettime */
#include <limits.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "fault.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/tokenizer.h"

static const char golden[] = "tests/golden/tokenizer/";

/* ------------------------------------------------------------------ fixtures */

static char *read_text(const char *path, size_t *n)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    char *text = NULL;
    lac_error err = { 0 };
    if (laci_file_read(&text, n, path, (size_t)1 << 28, &mem, &err)) fail_msg("%s", err.message);
    return text;
}

static char *read_golden(const char *name, size_t *n)
{
    char below[256];
    snprintf(below, sizeof below, "%s%s", golden, name);
    return read_text(test_path(below), n);
}

static laci_tokenizer *open_text(const char *text, size_t n)
{
    laci_tokenizer *tok = NULL;
    lac_error err = { 0 };
    if (laci_tokenizer_open_json(&tok, text, n, NULL, &err)) fail_msg("%s", err.message);
    return tok;
}

static laci_tokenizer *open_golden(const char *name)
{
    size_t n;
    char *text = read_golden(name, &n);
    laci_tokenizer *tok = open_text(text, n);
    free(text);
    return tok;
}

/* A copy of `text` with the first `from` replaced by `to`. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *hit = strstr(text, from);
    if (!hit) fail_msg("\"%s\" is not in the text", from);
    const size_t n = strlen(text) - strlen(from) + strlen(to);
    char *out = malloc(n + 1);
    assert_non_null(out);
    snprintf(out, n + 1, "%.*s%s%s", (int)(hit - text), text, to, hit + strlen(from));
    return out;
}

static laci_ids encode(const laci_tokenizer *tok, const char *text, size_t n, bool parse_special)
{
    laci_ids ids = { .mem = laci_allocator_or_default(NULL) };
    lac_error err = { 0 };
    if (laci_tokenizer_encode(tok, text, n, parse_special, &ids, &err)) fail_msg("%s", err.message);
    return ids;
}

static void assert_ids(const laci_tokenizer *tok, const char *text, size_t n, bool parse_special,
                       const laci_jval *expected)
{
    laci_ids ids = encode(tok, text, n, parse_special);
    size_t at = 0;
    for (const laci_jval *v = laci_json_first(expected); v; v = laci_json_next(v), at++) {
        const int want = (int)laci_json_number(v), have = at < ids.n ? (int)ids.ids[at] : -1;
        if (want != have)
            fail_msg("id %zu of \"%.*s\" is %d, expected %d", at, (int)(n < 80 ? n : 80), text,
                     have, want);
    }
    if (at != ids.n) fail_msg("\"%.*s\" has %zu ids, expected %zu", (int)n, text, ids.n, at);
    laci_ids_clear(&ids);
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* The bytes of a case: its "text", or `hex` as hexadecimal. Free with free(). */
static char *case_text(const laci_jval *item, const char *hex, size_t *n)
{
    const laci_jval *text = laci_json_get(item, "text"), *digits = laci_json_get(item, hex);
    const char *from = laci_json_string(digits ? digits : text);
    *n = strlen(from) / (digits ? 2 : 1);
    char *out = malloc(*n + 1);
    assert_non_null(out);
    for (size_t i = 0; i < *n; i++)
        out[i] =
            digits ? (char)(hex_digit(from[2 * i]) << 4 | hex_digit(from[2 * i + 1])) : from[i];
    out[*n] = 0;
    return out;
}

static laci_json *read_cases(void)
{
    laci_json *doc = NULL;
    lac_error err = { 0 };
    char below[256];
    snprintf(below, sizeof below, "%scases.json", golden);
    const lac_allocator mem = laci_allocator_or_default(NULL);
    if (laci_json_read(&doc, test_path(below), NULL, &mem, &err)) fail_msg("%s", err.message);
    return doc;
}

static void check_cases(const laci_tokenizer *tok, const char *group)
{
    laci_json *doc = read_cases();
    const laci_jval *cases = laci_json_get(laci_json_root(doc), group);
    assert_true(laci_json_count(cases) >= 40);
    for (const laci_jval *v = laci_json_first(cases); v; v = laci_json_next(v)) {
        size_t n;
        char *text = case_text(v, "hex", &n);
        const laci_jval *plain = laci_json_get(v, "ids");
        const laci_jval *special = laci_json_get(v, "special_ids");
        assert_ids(tok, text, n, false, plain);
        assert_ids(tok, text, n, true, special ? special : plain);
        free(text);
    }
    laci_json_free(doc);
}

/* ------------------------------------------------------------------ goldens */

static void test_golden_json(void **state)
{
    (void)state;
    static const char *const kinds[] = { "bytelevel", "characters" };
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/tokenizer.json", kinds[i]);
        laci_tokenizer *tok = open_golden(name);
        assert_string_equal(laci_tokenizer_kind(tok), "bpe");
        check_cases(tok, kinds[i]);
        laci_tokenizer_close(tok);
    }
}

static void test_golden_patterns(void **state)
{
    (void)state;
    static const char *const patterns[][2] = {
        { "bailing", "\"'(?i:[sdmt]|ll|ve|re)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?+\\\\p{L}+|\\\\p{N}"
                     "| ?[^\\\\s\\\\p{L}\\\\p{N}]++[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]"
                     "|\\\\s+(?!\\\\S)|\\\\s+\"" },
        { "gpt2", "\"'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+"
                  "|\\\\s+(?!\\\\S)|\\\\s+\"" },
        { "gemma", "\"[^\\\\n]+|[\\\\n]+\"" },
    };
    size_t n;
    char *text = read_golden("bytelevel/tokenizer.json", &n);
    const char *begin = strstr(text, "\"(?i:'s");
    const char *end = begin ? strstr(begin, "\"}") : NULL;
    if (!begin || !end) {
        fail_msg("no Qwen pattern in the golden file");
        return;
    }
    char *old = strndup(begin, (size_t)(end - begin) + 1);
    for (int i = 0; i < 3; i++) {
        char *changed = replaced(text, old, patterns[i][1]);
        laci_tokenizer *tok = open_text(changed, strlen(changed));
        laci_json *doc = read_cases();
        const laci_jval *cases = laci_json_get(laci_json_root(doc), patterns[i][0]);
        for (const laci_jval *v = laci_json_first(cases); v; v = laci_json_next(v)) {
            size_t n_text;
            char *sample = case_text(v, "hex", &n_text);
            assert_ids(tok, sample, n_text, false, laci_json_get(v, "ids"));
            free(sample);
        }
        laci_json_free(doc);
        laci_tokenizer_close(tok);
        free(changed);
    }
    free(old);
    free(text);
}

static void test_golden_folder(void **state)
{
    (void)state;
    laci_tokenizer *json = NULL, *files = NULL;
    char below[256];
    snprintf(below, sizeof below, "%sbytelevel", golden);
    assert_ok(laci_tokenizer_open_dir(&json, test_path(below), NULL, NULL));
    check_cases(json, "bytelevel");
    /* The older layout lies in the same folder: read it from a copy without tokenizer.json. */
    char folder[] = "/tmp/lacuna-test-XXXXXX", path[128];
    assert_non_null(mkdtemp(folder));
    static const char *const names[] = { "vocab.json", "merges.txt", "tokenizer_config.json",
                                         "added_tokens.json" };
    for (int i = 0; i < 4; i++) {
        size_t n;
        snprintf(path, sizeof path, "bytelevel/%s", names[i]);
        char *text = read_golden(path, &n);
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        if (i == 1) fputs("\xef\xbb\xbf", file); /* as some editors write it */
        assert_int_equal(fwrite(text, 1, n, file), n);
        fclose(file);
        free(text);
    }
    lac_error err = { 0 };
    if (laci_tokenizer_open_dir(&files, folder, NULL, &err)) fail_msg("%s", err.message);
    check_cases(files, "bytelevel");
    const int mask = laci_tokenizer_find(json, "<|mask|>", 8);
    assert_int_equal(laci_tokenizer_find(files, "<|mask|>", 8), mask); /* both spellings */
    assert_int_equal(laci_tokenizer_find(files, "<MASK>", 6), mask);
    assert_string_equal(laci_tokenizer_piece(files, mask, NULL), "<|mask|>");
    for (long n = 0;; n++) { /* every allocation fails once */
        fault f = { .left = n };
        const lac_allocator mem = fault_allocator(&f);
        laci_tokenizer *tok = NULL;
        const lac_status st = laci_tokenizer_open_dir(&tok, folder, &mem, NULL);
        laci_tokenizer_close(tok);
        assert_int_equal(f.live, 0);
        if (!st) break;
        assert_int_equal(st, LAC_ENOMEM);
        if (n > 100) n += n / 7; /* one per entry of the vocabulary: a sample will do */
    }
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
        if (i == 0) /* no vocab.json, no tokenizer */
            assert_int_equal(laci_tokenizer_open_dir(&files, folder, NULL, &err), LAC_EIO);
    }
    remove(folder);
    laci_tokenizer_close(json);
    laci_tokenizer_close(files);
}

/* ------------------------------------------------------------------ GGUF */

typedef struct {
    unsigned char *data;
    size_t n, max;
} bytes;

static void put(bytes *b, const void *from, size_t n)
{
    if (b->n + n > b->max) {
        b->max = 2 * (b->n + n);
        b->data = realloc(b->data, b->max);
        assert_non_null(b->data);
    }
    memcpy(b->data + b->n, from, n);
    b->n += n;
}

static void put_u32(bytes *b, uint32_t value)
{
    put(b, &value, 4);
}

static void put_u64(bytes *b, uint64_t value)
{
    put(b, &value, 8);
}

static void put_string(bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static void put_pair(bytes *b, const char *key, const char *value)
{
    put_string(b, key);
    put_u32(b, 8);
    put_string(b, value);
}

static void put_array(bytes *b, const char *key, uint32_t type, uint64_t n)
{
    put_string(b, key);
    put_u32(b, 9);
    put_u32(b, type);
    put_u64(b, n);
}

/* The byte-level golden as GGUF metadata, with two unused ids behind the last one. */
static bytes make_gguf(const laci_jval *root, const char *pre)
{
    static const char *texts[2048];
    int32_t types[2048];
    const laci_jval *model = laci_json_get(root, "model");
    uint32_t n_tokens = 0;
    for (uint32_t i = 0; i < 2048; i++)
        types[i] = 5;
    const laci_jval *v = laci_json_first(laci_json_get(model, "vocab"));
    for (; v; v = laci_json_next(v), n_tokens++) {
        const int id = (int)laci_json_number(v);
        texts[id] = laci_json_key(v);
        types[id] = 1;
    }
    v = laci_json_first(laci_json_get(root, "added_tokens"));
    for (; v; v = laci_json_next(v)) {
        const int id = (int)laci_json_number(laci_json_get(v, "id"));
        texts[id] = laci_json_string(laci_json_get(v, "content"));
        types[id] = laci_json_bool(laci_json_get(v, "special")) ? 3 : 4;
        n_tokens = (uint32_t)id + 1;
    }
    bytes b = { 0 };
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, 0);
    put_u64(&b, 6);
    put_pair(&b, "general.architecture", "dream");
    put_pair(&b, "tokenizer.ggml.model", "gpt2");
    put_pair(&b, "tokenizer.ggml.pre", pre);
    put_array(&b, "tokenizer.ggml.tokens", 8, n_tokens + 2);
    for (uint32_t i = 0; i < n_tokens + 2; i++)
        put_string(&b, types[i] == 5 ? "[PAD]" : texts[i]);
    put_array(&b, "tokenizer.ggml.token_type", 5, n_tokens + 2);
    put(&b, types, ((size_t)n_tokens + 2) * sizeof *types);
    const laci_jval *merges = laci_json_get(model, "merges");
    put_array(&b, "tokenizer.ggml.merges", 8, laci_json_count(merges));
    for (v = laci_json_first(merges); v; v = laci_json_next(v)) {
        char line[256];
        const laci_jval *left = laci_json_first(v);
        snprintf(line, sizeof line, "%s %s", laci_json_string(left),
                 laci_json_string(laci_json_next(left)));
        put_string(&b, line);
    }
    return b;
}

static lac_status open_gguf(laci_tokenizer **tok, const bytes *b, const lac_allocator *mem,
                            lac_error *err)
{
    laci_gguf *gguf = NULL;
    lac_status st = laci_gguf_open_bytes(&gguf, b->data, b->n, "test.gguf", mem, err);
    if (!st) st = laci_tokenizer_open_gguf(tok, gguf, mem, err);
    laci_gguf_close(gguf);
    return st;
}

/* GGUF metadata holds no flags of added tokens: only texts without them are compared. */
static void test_golden_gguf(void **state)
{
    (void)state;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    size_t n;
    char *text = read_golden("bytelevel/tokenizer.json", &n);
    laci_json *doc = NULL;
    assert_ok(laci_json_parse(&doc, text, n, "golden", NULL, &mem, NULL));
    laci_tokenizer *json = open_text(text, n), *tok = NULL;
    bytes b = make_gguf(laci_json_root(doc), "qwen2");
    lac_error err = { 0 };
    if (open_gguf(&tok, &b, &mem, &err)) fail_msg("%s", err.message);
    assert_int_equal(laci_tokenizer_n_tokens(tok), laci_tokenizer_n_tokens(json));
    laci_json *cases = read_cases();
    const laci_jval *v = laci_json_first(laci_json_get(laci_json_root(cases), "bytelevel"));
    for (; v; v = laci_json_next(v)) {
        size_t n_text;
        char *sample = case_text(v, "hex", &n_text);
        assert_ids(tok, sample, n_text, false, laci_json_get(v, "ids"));
        free(sample);
    }
    for (int id = 0; id < laci_tokenizer_n_tokens(tok); id++) {
        assert_string_equal(laci_tokenizer_piece(tok, id, NULL),
                            laci_tokenizer_piece(json, id, NULL));
        assert_int_equal(laci_tokenizer_is_special(tok, id), laci_tokenizer_is_special(json, id));
    }
    laci_tokenizer_close(tok);
    free(b.data);
    b = make_gguf(laci_json_root(doc), "llama-bpe");
    assert_int_equal(open_gguf(&tok, &b, &mem, &err), LAC_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "llama-bpe"));
    free(b.data);
    laci_json_free(cases);
    laci_json_free(doc);
    laci_tokenizer_close(json);
    free(text);
}

/* ------------------------------------------------------------------ decoding */

static void assert_decoded(const laci_tokenizer *tok, const laci_ids *ids, bool keep_special,
                           const char *want, size_t n_want)
{
    char *text = NULL;
    size_t n;
    assert_ok(laci_tokenizer_decode(tok, ids->ids, ids->n, keep_special, NULL, &text, &n, NULL));
    if (n != n_want || memcmp(text, want, n) != 0)
        fail_msg("decoded \"%s\", expected \"%.*s\"", text, (int)n_want, want);
    assert_int_equal(text[n], 0);
    free(text);
}

static void check_decode(const laci_tokenizer *tok, const char *group)
{
    laci_json *doc = read_cases();
    const laci_jval *cases = laci_json_get(laci_json_root(doc), group);
    assert_true(laci_json_count(cases) >= 100);
    for (const laci_jval *v = laci_json_first(cases); v; v = laci_json_next(v)) {
        laci_ids ids = { .mem = laci_allocator_or_default(NULL) };
        const laci_jval *id = laci_json_first(laci_json_get(v, "ids"));
        for (; id; id = laci_json_next(id))
            assert_ok(laci_ids_push(&ids, (int32_t)laci_json_number(id), NULL));
        size_t n;
        char *want = case_text(v, "hex", &n);
        assert_decoded(tok, &ids, false, want, n);
        free(want);
        want = case_text(v, "kept", &n);
        assert_decoded(tok, &ids, true, want, n);
        free(want);
        laci_ids_clear(&ids);
    }
    laci_json_free(doc);
}

/* Byte-level text comes back as it went in, composed and repaired. */
static void test_decode(void **state)
{
    (void)state;
    laci_tokenizer *tok = open_golden("characters/tokenizer.json");
    check_decode(tok, "characters decode");
    laci_tokenizer_close(tok);
    tok = open_golden("bytelevel/tokenizer.json");
    check_decode(tok, "bytelevel decode");
    static const char *const texts[] = { "",          "a",
                                         " \n\t x  ", "na\xC3\xAFve \xE4\xB8\xAD",
                                         "\x01\x7F",  "<|im_end|>" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        laci_ids ids = encode(tok, texts[i], strlen(texts[i]), false);
        assert_decoded(tok, &ids, false, texts[i], strlen(texts[i]));
        laci_ids_clear(&ids);
    }
    laci_ids ids = encode(tok, "a\xFFz", 3, false);
    assert_decoded(tok, &ids, false, "a\xEF\xBF\xBDz", 5);
    laci_ids_clear(&ids);
    const int32_t bad[] = { 3, laci_tokenizer_n_tokens(tok), -1 };
    char *text = NULL;
    size_t n;
    assert_int_equal(laci_tokenizer_decode(tok, bad, 2, true, NULL, &text, &n, NULL), LAC_EINVAL);
    assert_int_equal(laci_tokenizer_decode(tok, bad + 2, 1, true, NULL, &text, &n, NULL),
                     LAC_EINVAL);
    assert_null(text);
    laci_tokenizer_close(tok);
}

/* ------------------------------------------------------------------ fixed alphabets */

static void test_alphabets(void **state)
{
    (void)state;
    laci_tokenizer *tok = NULL;
    assert_ok(laci_tokenizer_open_bytes(&tok, 272, NULL, NULL));
    assert_string_equal(laci_tokenizer_kind(tok), "bytes");
    assert_int_equal(laci_tokenizer_n_tokens(tok), 260);
    assert_int_equal(laci_tokenizer_find(tok, "<|mask|>", 8), 256);
    assert_string_equal(laci_tokenizer_piece(tok, 257, NULL), "<|eos|>");
    assert_true(laci_tokenizer_is_special(tok, 258));
    assert_false(laci_tokenizer_is_special(tok, 65));
    assert_string_equal(laci_tokenizer_piece(tok, 265, NULL), "");
    laci_ids ids = encode(tok, "A\xFF<|eos|>", 9, true);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.ids[1], 255); /* kept, not repaired */
    assert_int_equal(ids.ids[2], 257);
    laci_ids_push(&ids, 271, NULL); /* padding decodes to nothing */
    assert_decoded(tok, &ids, false, "A\xEF\xBF\xBD", 4);
    laci_ids_clear(&ids);
    ids = encode(tok, "<|eos|>", 7, false);
    assert_int_equal(ids.n, 7);
    laci_ids_clear(&ids);
    laci_tokenizer_close(tok);
    assert_ok(laci_tokenizer_open_ascii(&tok, 128, NULL, NULL));
    ids = encode(tok, "A\xC3\xA9z", 4, false);
    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.ids[0], 65);
    assert_int_equal(ids.ids[2], 127);
    laci_ids_clear(&ids);
    laci_tokenizer_close(tok);
    assert_int_equal(laci_tokenizer_open_bytes(&tok, 255, NULL, NULL), LAC_EINVAL);
    assert_int_equal(laci_tokenizer_open_ascii(&tok, 100, NULL, NULL), LAC_EINVAL);
}

/* ------------------------------------------------------------------ merging */

/* The definition: merge the pair of lowest rank, leftmost first, until none is left. */
static size_t merge_slowly(const laci_bpe *bpe, int32_t *ids, size_t n)
{
    for (;;) {
        const laci_bpe_pair *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const laci_bpe_pair *pair = laci_bpe_find(bpe, ids[i], ids[i + 1]);
            if (!pair || (best && pair->rank >= best->rank)) continue;
            best = pair;
            at = i;
        }
        if (!best) return n;
        ids[at] = best->product;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

/* Random merges over three letters, pieces around the length where the method changes. */
static void test_merge(void **state)
{
    (void)state;
    enum { N_TOKENS = 400, N_PIECES = 3000 };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_bpe bpe = { 0 };
    assert_ok(laci_bpe_init(&bpe, N_TOKENS, &mem, NULL));
    srand(5);
    for (int32_t id = 3, tries = 0; id < N_TOKENS && tries < 100000; tries++)
        if (laci_bpe_add(&bpe, rand() % id, rand() % id, id - 3, id)) id++;
    laci_bpe_work work = { .mem = mem };
    for (int i = 0; i < N_PIECES; i++) {
        int32_t want[300];
        size_t n = 1 + (size_t)(rand() % (i % 10 ? 40 : 300));
        assert_ok(laci_bpe_reserve(&work, n, NULL));
        for (size_t k = 0; k < n; k++)
            want[k] = work.symbols[k] = rand() % 3;
        assert_ok(laci_bpe_merge(&bpe, &work, NULL));
        n = merge_slowly(&bpe, want, n);
        assert_int_equal(work.n_symbols, n);
        assert_memory_equal(work.symbols, want, n * sizeof *want);
    }
    laci_bpe_work_clear(&work);
    laci_bpe_clear(&bpe);
}

/* ------------------------------------------------------------------ refusals */

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to; /* change of the byte-level golden */
        lac_status code;
        const char *named; /* in the message */
    } cases[] = {
        { "\"NFC\"", "\"NFKC\"", LAC_EUNSUPPORTED, "NFKC" },
        { "\"Split\"", "\"Digits\"", LAC_EUNSUPPORTED, "Digits" },
        { "\\\\p{N}| ?", "\\\\p{N}{1,3}| ?", LAC_EUNSUPPORTED, "{1,3}" },
        { "\"Isolated\"", "\"Removed\"", LAC_EUNSUPPORTED, "Removed" },
        { "\"invert\":false", "\"invert\":true", LAC_EUNSUPPORTED, "invert" },
        { "\"type\":\"BPE\"", "\"type\":\"Unigram\"", LAC_EUNSUPPORTED, "Unigram" },
        { "\"dropout\":null", "\"dropout\":0.1", LAC_EUNSUPPORTED, "dropout" },
        { "\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"CTC\"", LAC_EUNSUPPORTED,
          "CTC" },
        { "\"!\":0", "\"!\":1", LAC_EFORMAT, "id 1 has two tokens" },
        { "\"!\":0", "\"!\":-1", LAC_EFORMAT, "-1" },
        { "\"!\":0", "\"!\":16777216", LAC_EFORMAT, "16777216" },
        { "\"!\":0", "\"!\":\"0\"", LAC_EFORMAT, "integer" },
        { "\"\xC3\xBF\":187,", "", LAC_EFORMAT, "byte 0xff" },
        { "\"merges\":[", "\"merges\":[\"ab\",", LAC_EFORMAT, "no space" },
        { "\"merges\":[", "\"merges\":[\"! ~\",", LAC_EFORMAT, "merge 0" },
        { "\"merges\":[", "\"merges\":[[\"a\"],", LAC_EFORMAT, "merge 0" },
        { "\"merges\":[", "\"merges\":[[\"h\",\"e\"],", LAC_EFORMAT, "occurs twice" },
        { "\"content\":\"<|im_start|>\"", "\"content\":\"\"", LAC_EFORMAT, "0 bytes" },
        { "\"content\":\"<|im_start|>\"", "\"content\":\"<|im_end|>\"", LAC_EFORMAT, "two ids" },
        { "{\"version\"", "{\"model\":null,\"version\"", LAC_EFORMAT, "model" },
        { "\"vocab\":{", "\"vocab\":[{", LAC_EFORMAT, "" },
    };
    size_t n;
    char *text = read_golden("bytelevel/tokenizer.json", &n);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *changed = replaced(text, cases[i].from, cases[i].to);
        laci_tokenizer *tok = NULL;
        lac_error err = { 0 };
        const lac_status st = laci_tokenizer_open_json(&tok, changed, strlen(changed), NULL, &err);
        if (st != cases[i].code || err.code != st || !strstr(err.message, cases[i].named))
            fail_msg("case %zu (%s): %s: %s", i, cases[i].to, lac_status_name(st), err.message);
        assert_null(tok);
        free(changed);
    }
    for (size_t cut = 0; cut < n - 2; cut += 997) { /* truncated files */
        laci_tokenizer *tok = NULL;
        assert_int_equal(laci_tokenizer_open_json(&tok, text, cut, NULL, NULL), LAC_EFORMAT);
    }
    free(text);
}

/* ------------------------------------------------------------------ failing memory */

static void test_failing_memory(void **state)
{
    (void)state;
    static const char *const kinds[] = { "bytelevel/tokenizer.json", "characters/tokenizer.json" };
    for (int i = 0; i < 2; i++) {
        size_t n;
        char *text = read_golden(kinds[i], &n);
        long n_failed = 0;
        for (long at = 0;; at += 1 + at / 40) { /* at first each allocation, then a sample */
            fault f = { .left = at };
            const lac_allocator mem = fault_allocator(&f);
            laci_tokenizer *tok = NULL;
            const lac_status st = laci_tokenizer_open_json(&tok, text, n, &mem, NULL);
            laci_tokenizer_close(tok);
            assert_int_equal(f.live, 0);
            if (!st) break;
            assert_int_equal(st, LAC_ENOMEM);
            assert_null(tok);
            n_failed++;
        }
        assert_true(n_failed > 50);
        free(text);
    }
}

/* Encoding and decoding a text that needs every kind of scratch. */
static void test_failing_encode(void **state)
{
    (void)state;
    size_t n_json, n = 0;
    char *json = read_golden("bytelevel/tokenizer.json", &n_json), *text = malloc(8192);
    for (int i = 0; i < 100; i++)
        n += (size_t)sprintf(text + n, "The words e\xCC\x81\xCC\xA3 <|im_end|>\xFF %050d", i);
    memset(text + n, 'a', 100);
    fault f = { .left = LONG_MAX };
    const lac_allocator mem = fault_allocator(&f);
    laci_tokenizer *tok = NULL;
    assert_ok(laci_tokenizer_open_json(&tok, json, n_json, &mem, NULL));
    const long live = f.live;
    for (long at = 0, ended = 0; !ended; at++) {
        laci_ids ids = { .mem = mem };
        char *back = NULL;
        size_t n_back;
        f.left = at;
        lac_error err = { 0 };
        lac_status st = laci_tokenizer_encode(tok, text, n + 100, true, &ids, &err);
        if (st) assert_int_equal(ids.n, 0);
        if (!st) st = laci_tokenizer_decode(tok, ids.ids, ids.n, true, &mem, &back, &n_back, &err);
        if (st && st != LAC_ENOMEM) fail_msg("%s", err.message);
        if (st) assert_int_equal(err.code, LAC_ENOMEM);
        laci_release(&mem, back);
        laci_ids_clear(&ids);
        assert_int_equal(f.live, live);
        ended = !st;
        assert_true(at < 200);
    }
    laci_tokenizer_close(tok);
    assert_int_equal(f.live, 0);
    free(text);
    free(json);
}

/* ------------------------------------------------------------------ hostile texts */

static void fill_pattern(char *text, size_t n, const char *pattern)
{
    const size_t n_pattern = strlen(pattern);
    for (size_t i = 0; i < n; i++)
        text[i] = pattern[i % n_pattern];
}

/* A megabyte in one piece must take about a second, not hours; sanitizers slow it down. */
static void check_hostile(const laci_tokenizer *tok)
{
    enum { N = 1 << 20 };
    static const char *const patterns[] = {
        "a",
        " ",
        "\n",
        "\r\n",
        "ab",
        "1",
        "-",
        "\xE4\xB8\xAD",
        "e\xCC\x81",
        " \xC2\xA0",
        "\xCC\x81\xCC\xA3\xCC\xB4", /* marks in the wrong order */
        "\xF0\x9F\x98\x80",
        "\xFF",
        "the",
        "<|im_",
        "<|im_end|>",
        "'s",
        "\xE1\x84\x80\xE1\x85\xA1",
    };
    char *text = malloc(N);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        fill_pattern(text, N, patterns[i]);
        for (int parse_special = 0; parse_special < 2; parse_special++) {
            struct timespec begin, end;
            clock_gettime(CLOCK_MONOTONIC, &begin);
            laci_ids ids = encode(tok, text, N, parse_special);
            clock_gettime(CLOCK_MONOTONIC, &end);
            const double seconds =
                (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
            assert_true(ids.n > 0);
            if (seconds > 1) print_message("pattern %zu takes %.2f s\n", i, seconds);
            if (seconds > 20) fail_msg("pattern %zu takes %.2f s", i, seconds);
            laci_ids_clear(&ids);
        }
    }
    free(text);
}

static void test_hostile(void **state)
{
    (void)state;
    static const char *const kinds[] = { "bytelevel/tokenizer.json", "characters/tokenizer.json" };
    for (int i = 0; i < 2; i++) {
        laci_tokenizer *tok = open_golden(kinds[i]);
        check_hostile(tok);
        laci_tokenizer_close(tok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_json),    cmocka_unit_test(test_golden_patterns),
        cmocka_unit_test(test_golden_folder),  cmocka_unit_test(test_golden_gguf),
        cmocka_unit_test(test_decode),         cmocka_unit_test(test_alphabets),
        cmocka_unit_test(test_merge),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_failing_memory), cmocka_unit_test(test_failing_encode),
        cmocka_unit_test(test_hostile),

    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
