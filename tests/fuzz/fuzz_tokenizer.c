/* fuzz_tokenizer.c: arbitrary tokenizer.json files, and arbitrary texts through the golden
 * tokenizers. The first byte chooses:
 *
 *   'j'  the rest is a tokenizer.json; behind a NUL byte may follow a text to encode with it
 *   else the rest is a text for the golden tokenizers, with and without special tokens; decoding
 *        must give a text that encoding and decoding keep (byte-level model) */
#include "base/file.h"
#include "model/tokenizer/tokenizer.h"
#include "test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static laci_tokenizer *open_golden(const char *below)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_tokenizer *tok = NULL;
    char *text = NULL;
    size_t n;
    if (laci_file_read(&text, &n, test_path(below), (size_t)1 << 24, &mem, NULL) ||
        laci_tokenizer_open_json(&tok, text, n, NULL, NULL)) {
        fprintf(stderr, "cannot open %s: is LACUNA_TEST_ROOT set?\n", below);
        abort();
    }
    free(text);
    return tok;
}

/* Encodes and decodes; the text is freed by the caller. */
static char *there_and_back(const laci_tokenizer *tok, const char *text, size_t n,
                            bool parse_special, size_t *n_back)
{
    laci_ids ids = { .mem = laci_allocator_or_default(NULL) };
    lac_error err = { 0 };
    char *back = NULL;
    lac_status st = laci_tokenizer_encode(tok, text, n, parse_special, &ids, &err);
    if (!st) st = laci_tokenizer_decode(tok, ids.ids, ids.n, true, NULL, &back, n_back, &err);
    if (st) {
        fprintf(stderr, "%s: %s\n", lac_status_name(st), err.message);
        if (st != LAC_EINVAL) abort(); /* a normalizer may make a text too long */
    }
    laci_ids_clear(&ids);
    return back;
}

static void fuzz_json(const char *data, size_t size)
{
    const char *end = memchr(data, 0, size);
    const size_t n_json = end ? (size_t)(end - data) : size;
    const char *text = end ? end + 1 : "The e\xCC\x81 <s> 12";
    const size_t n_text = end ? size - n_json - 1 : strlen(text);
    laci_tokenizer *tok = NULL;
    if (laci_tokenizer_open_json(&tok, data, n_json, NULL, NULL)) return;
    size_t n;
    for (int parse_special = 0; parse_special < 2; parse_special++)
        free(there_and_back(tok, text, n_text, parse_special, &n));
    laci_tokenizer_close(tok);
}

static void fuzz_text(const char *text, size_t n)
{
    static laci_tokenizer *byte_level, *characters;
    if (!byte_level) {
        byte_level = open_golden("tests/golden/tokenizer/bytelevel/tokenizer.json");
        characters = open_golden("tests/golden/tokenizer/characters/tokenizer.json");
    }
    size_t n_once = 0, n_twice = 0, n_other;
    char *once = there_and_back(byte_level, text, n, false, &n_once);
    char *twice = there_and_back(byte_level, once ? once : "", n_once, false, &n_twice);
    if (!once || !twice || n_once != n_twice || memcmp(once, twice, n_once) != 0) abort();
    free(once);
    free(twice);
    free(there_and_back(byte_level, text, n, true, &n_other));
    free(there_and_back(characters, text, n, true, &n_other));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    const char *rest = (const char *)data + 1;
    if (data[0] == 'j')
        fuzz_json(rest, size - 1);
    else
        fuzz_text(rest, size - 1);
    return 0;
}
