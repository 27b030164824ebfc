/* auto.c: see auto.h. Not measured here yet: 16,384 is the shortest context at which the paper
 * (arXiv 2509.24014) reports a gain, and below it the paper reports none. docs/policies.md says how
 * to measure. */
#include "attention/auto.h"

#include <string.h>

static const struct {
    const char *family;
    size_t n_ctx;
} crossover[] = {
    { "llada", 16384 },
    { "dream", 16384 },
    { "lacuna", 16384 },
};

size_t laci_auto_crossover(const char *family)
{
    for (size_t i = 0; i < sizeof crossover / sizeof crossover[0]; i++)
        if (!strcmp(crossover[i].family, family)) return crossover[i].n_ctx;
    return SIZE_MAX;
}
