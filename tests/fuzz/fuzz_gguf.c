/* fuzz_gguf.c: one GGUF file: container, then configuration, then the map of its weights, as
 * opening a model does. Every tensor of an accepted file is read whole and every array walked. */
#include <stdlib.h>
#include <string.h>

#include "model/family/family.h"
#include "model/weight_map.h"

static unsigned touch(const laci_tensor_dir *dir)
{
    unsigned sum = 0;
    for (size_t i = 0; i < dir->n_tensors; i++) {
        const laci_tensor *t = &dir->tensors[i];
        if (laci_tensor_find(dir, t->name) != t) abort();
        for (uint64_t at = 0; at < t->n_bytes; at++)
            sum += ((const unsigned char *)t->data)[at];
    }
    return sum;
}

/* Walks the arrays a tokenizer would walk. */
static unsigned walk_arrays(const laci_gguf *gguf)
{
    static const char *const keys[] = { "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                        "tokenizer.ggml.scores", "tokenizer.ggml.merges" };
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        laci_gguf_array a;
        bool found;
        if (laci_gguf_get_array(gguf, keys[i], &a, &found, NULL) || !found) continue;
        const char *text;
        size_t n;
        int64_t whole;
        double real;
        while (laci_gguf_next_string(&a, &text, &n))
            for (size_t k = 0; k < n; k++)
                sum += (unsigned char)text[k];
        while (laci_gguf_next_int(&a, &whole))
            sum += (unsigned)(whole & 1);
        while (laci_gguf_next_float(&a, &real))
            sum += real > 0;
    }
    return sum;
}

static void read_model(const laci_gguf *gguf)
{
    const laci_config_source src = { .gguf = gguf, .tensors = laci_gguf_tensors(gguf) };
    laci_config config;
    laci_weight_map map = { 0 };
    lac_error err = { LAC_OK, 0, "" };
    if (laci_config_read(&config, &src, &err)) {
        if (!err.code || !err.message[0] || strchr(err.message, '\n')) abort();
        return;
    }
    const laci_family *family = laci_family_find(&src);
    if (!family || laci_config_check(&config, NULL)) abort();
    (void)laci_weight_map_build(&map, &config, family, src.tensors, NULL, &err);
    laci_weight_map_clear(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static volatile unsigned sink;
    laci_gguf *gguf = NULL;
    lac_error err = { LAC_OK, 0, "" };
    const lac_status st = laci_gguf_open_bytes(&gguf, data, size, "fuzz", NULL, &err);
    if (st) {
        if (st != err.code || !err.message[0] || strchr(err.message, '\n')) abort();
        return 0;
    }
    sink = touch(laci_gguf_tensors(gguf)) + walk_arrays(gguf);
    (void)sink;
    read_model(gguf);
    laci_gguf_close(gguf);
    return 0;
}
