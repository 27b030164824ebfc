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

/* By bench/generate.sh on the shape of LLaDA-8B: a whole generation under SparseD's defaults takes
 * 3% less than a dense one at 4,096 positions, which is less than runs differ by, 9% at 8,192. The
 * small models of the family "lacuna" have less to gain: there the paper's shortest context with a
 * gain (arXiv 2509.24014). */
size_t laci_auto_crossover(const char *family)
{
    static const threshold table[] = { { "llada", 8192 }, { "dream", 8192 }, { "lacuna", 16384 } };
    return find(table, sizeof table / sizeof *table, family);
}

/* By bench/block.sh on the shape of SDAR-8B: a whole step under losa takes some 8% less than a
 * dense one behind 8,192 keys. docs/policies-blockwise.md has the numbers. */
size_t laci_auto_prefix(const char *family)
{
    static const threshold table[] = { { "sdar", 8192 },
                                       { "fast-dllm", 8192 },
                                       { "lacuna", 8192 } };
    return find(table, sizeof table / sizeof *table, family);
}
