/* fuzz_tokenizer_text.c: a text through two tokenizers with some merges and added tokens, one of
 * bytes and one of characters, with and without special tokens. Decoding must give a text that
 * encoding and decoding keep (bytes). */
#include "base/file.h"
#include "fuzz/fuzz_there_and_back.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static laci_tokenizer *open_seed(const char *below)
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static laci_tokenizer *bytes, *characters;
    const char *text = (const char *)data;
    if (!bytes) {
        bytes = open_seed("tests/golden/tokenizer/bytelevel/tokenizer.json");
        characters = open_seed("tests/golden/tokenizer/characters/tokenizer.json");
    }
    size_t n_once = 0, n_twice = 0, n_other = 0;
    char *once = there_and_back(bytes, text, size, false, &n_once);
    char *twice = there_and_back(bytes, once ? once : "", n_once, false, &n_twice);
    if (!once || !twice || n_once != n_twice || memcmp(once, twice, n_once) != 0) abort();
    free(once);
    free(twice);
    free(there_and_back(bytes, text, size, true, &n_other));
    free(there_and_back(characters, text, size, true, &n_other));
    return 0;
}
