/* fuzz_there_and_back.h: a text through a tokenizer and back, for the targets that make one. */
#ifndef LACI_TESTS_FUZZ_THERE_AND_BACK_H
#define LACI_TESTS_FUZZ_THERE_AND_BACK_H

#include "model/tokenizer/tokenizer.h"
#include "test.h"

/* Encodes and decodes; the text is freed by the caller. */
static inline char *there_and_back(const laci_tokenizer *tok, const char *text, size_t n,
                                   bool parse_special, size_t *n_back)
{
    laci_ids ids = { .mem = laci_allocator_or_default(NULL) };
    lac_error err = { 0 };
    char *back = NULL;
    lac_status st = laci_tokenizer_encode(tok, text, n, parse_special, &ids, &err);
    for (size_t i = 0; i < ids.n; i++)
        if (ids.ids[i] < 0 || ids.ids[i] >= laci_tokenizer_n_tokens(tok)) abort();
    if (!st) st = laci_tokenizer_decode(tok, ids.ids, ids.n, true, NULL, &back, n_back, &err);
    if (st) {
        fprintf(stderr, "%s: %s\n", lac_status_name(st), err.message);
        if (st != LAC_EINVAL) abort(); /* a normalizer may make a text too long */
    }
    laci_ids_clear(&ids);
    return back;
}

/* The same of short texts, for a tokenizer that has just been read. */
static inline void try_texts(const laci_tokenizer *tok)
{
    static const char *const texts[] = { "", "The e\xCC\x81 <s> 12",
                                         "ab aab  ba\n\xF0\x9F\x8C\x8A" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (int parse_special = 0; parse_special < 2; parse_special++) {
            size_t n = 0;
            free(there_and_back(tok, texts[i], strlen(texts[i]), parse_special, &n));
        }
}

#endif
