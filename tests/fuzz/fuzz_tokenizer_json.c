/* fuzz_tokenizer_json.c: a tokenizer.json; behind a NUL byte may follow a text to encode with it.
 */
#include "fuzz/fuzz_there_and_back.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *json = (const char *)data, *end = size ? memchr(json, 0, size) : NULL;
    const size_t n_json = end ? (size_t)(end - json) : size;
    laci_tokenizer *tok = NULL;
    lac_error err = { 0 };
    const lac_status st = laci_tokenizer_open_json(&tok, json, n_json, NULL, &err);
    if (st && (tok || st != err.code || !err.message[0] || strchr(err.message, '\n'))) abort();
    if (st) return 0;
    for (int parse_special = 0; end && parse_special < 2; parse_special++) {
        size_t n = 0;
        free(there_and_back(tok, end + 1, size - n_json - 1, parse_special, &n));
    }
    if (!end) try_texts(tok);
    laci_tokenizer_close(tok);
    return 0;
}
