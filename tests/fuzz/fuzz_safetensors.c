/* fuzz_safetensors.c: one safetensors file. What the parser accepts must keep its promises: names
 * that can be found again, spans inside the buffer, and bytes that can all be read. */
#include <stdlib.h>
#include <string.h>

#include "model/files/safetensors.h"

/* Sums the tensors' bytes, so that a span outside the input is a read the sanitizer sees. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    laci_tensor_dir dir = { .mem = laci_allocator_or_default(NULL) };
    lac_error err = { LAC_OK, 0, "" };
    const lac_status st = laci_safetensors_parse(&dir, data, size, -1, "fuzz", &err);
    if (st != LAC_OK && (st != err.code || !err.message[0] || strchr(err.message, '\n'))) abort();
    const char *twice;
    static volatile unsigned sink;
    if (st == LAC_OK) {
        if (!laci_tensor_sort(&dir, &twice)) abort(); /* the header repeats no name */
        sink = touch(&dir);
    }
    (void)sink;
    laci_tensor_dir_clear(&dir);
    return 0;
}
