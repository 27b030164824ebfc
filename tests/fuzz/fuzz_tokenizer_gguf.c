/* fuzz_tokenizer_gguf.c: the metadata of a GGUF file as a tokenizer, and short texts through what
 * is accepted. */
#include "fuzz/fuzz_there_and_back.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    laci_gguf *gguf = NULL;
    laci_tokenizer *tok = NULL;
    lac_error err = { 0 };
    if (laci_gguf_open_bytes(&gguf, data, size, "fuzz", NULL, NULL)) return 0;
    const lac_status st = laci_tokenizer_open_gguf(&tok, gguf, NULL, &err);
    if (st && (tok || st != err.code || !err.message[0] || strchr(err.message, '\n'))) abort();
    if (!st) try_texts(tok);
    laci_tokenizer_close(tok);
    laci_gguf_close(gguf);
    return 0;
}
