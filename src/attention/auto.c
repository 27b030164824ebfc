/* auto.c: see auto.h. The lengths come from `lacuna bench` and whole generations on two cores with
 * AVX-512 BF16: the shortest context at which SparseD at its default options, measuring step
 * included, was faster than dense. docs/policies.md says how to measure them again. */
#include "attention/auto.h"

#include <string.h>

static const struct {
    const char *family;
    size_t n_ctx;
} crossover[] = {
    { "llada", 4096 },
    { "dream", 4096 },
    { "lacuna", 4096 },
};

size_t laci_auto_crossover(const char *family)
{
    for (size_t i = 0; i < sizeof crossover / sizeof crossover[0]; i++)
        if (!strcmp(crossover[i].family, family)) return crossover[i].n_ctx;
    return SIZE_MAX;
}
