/* auto.c: see auto.h. */
#include "attention/auto.h"

#include <string.h>

typedef struct {
    const char *family;
    size_t length;
} threshold;

static size_t find(const threshold *table, size_t n, const char *family)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(table[i].family, family)) return table[i].length;
    return SIZE_MAX;
}

/* Not measured here yet: 16,384 is the shortest context at which the paper (arXiv 2509.24014)
 * reports a gain, and below it the paper reports none. docs/policies.md says how to measure. */
size_t laci_auto_crossover(const char *family)
{
    static const threshold table[] = { { "llada", 16384 },
                                       { "dream", 16384 },
                                       { "lacuna", 16384 } };
    return find(table, sizeof table / sizeof *table, family);
}

/* By `lacuna bench block` with default budget: attention under losa costs as much as dense between
 * 1,024 and 2,048 keys on the shape of SDAR-8B, between 2,048 and 4,096 on nano-b's, and a whole
 * step a tenth less than dense at 8,192, where also unions of 20 unlike rows cost no more than a
 * fortieth of a step. docs/policies-blockwise.md has the numbers. */
size_t laci_auto_prefix(const char *family)
{
    static const threshold table[] = { { "sdar", 8192 },
                                       { "fast-dllm", 8192 },
                                       { "lacuna", 8192 } };
    return find(table, sizeof table / sizeof *table, family);
}
