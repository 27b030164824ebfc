/* peak_plain.c: what plain C reaches as this compiler builds it: the yardstick of the reference
 * kernels, and of processors that have no file of their own here. */
#include <stdint.h>

#include "bench/peak_kernels.h"

/* Hides a value from the optimiser. */
#define OPAQUE(value) __asm__ volatile("" : "+m"(value))

double peak_f32_plain(size_t n)
{
    enum { CHAINS = 32 }; /* a compiler makes vectors of them */
    float sums[CHAINS] = { 0 }, factor = 0.75f, term = 1e-3f;
    OPAQUE(sums);
    OPAQUE(factor);
    OPAQUE(term);
    for (size_t round = 0; round < n; round++)
        for (int i = 0; i < CHAINS; i++)
            sums[i] = sums[i] * factor + term;
    OPAQUE(sums);
    return (double)n * CHAINS * 2;
}

void peak_read_plain(const void *data, size_t n_bytes)
{
    const uint64_t *words = data;
    uint64_t all[8] = { 0 };
    for (size_t i = 0; i < n_bytes / sizeof *words; i += 8)
        for (size_t k = 0; k < 8; k++)
            all[k] |= words[i + k];
    OPAQUE(all);
}

void peak_write_plain(void *data, size_t n_bytes)
{
    uint64_t *words = data, value = 1;
    OPAQUE(value);
    for (size_t i = 0; i < n_bytes / sizeof *words; i++)
        words[i] = value;
    __asm__ volatile("" ::: "memory");
}
