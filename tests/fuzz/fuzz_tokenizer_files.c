/* fuzz_tokenizer_files.c: the older files of a tokenizer, divided by NUL bytes: vocab.json,
 * merges.txt, tokenizer_config.json, added_tokens.json; a file without bytes is left out. Short
 * texts go through what is accepted. */
#define _GNU_SOURCE /* mkdtemp */
#include "fuzz/fuzz_file.h"
#include "fuzz/fuzz_there_and_back.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "vocab.json", "merges.txt", "tokenizer_config.json",
                                         "added_tokens.json" };
    fuzz_bytes b = { data, data + size };
    laci_tokenizer *tok = NULL;
    lac_error err = { 0 };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n;
        const char *part = fuzz_part(&b, &n);
        if (n)
            (void)fuzz_write(names[i], part, n);
        else
            (void)remove(fuzz_path(names[i]));
    }
    const lac_status st = laci_tokenizer_open_dir(&tok, fuzz_folder, NULL, &err);
    if (st && (tok || st != err.code || !err.message[0] || strchr(err.message, '\n'))) abort();
    if (!st) try_texts(tok);
    laci_tokenizer_close(tok);
    return 0;
}
