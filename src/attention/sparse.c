/* sparse.c: see sparse.h. */
#include "attention/sparse.h"

#include <math.h>

enum { LONG_CTX = 4096, LONG_BLOCK = 128, SHORT_BLOCK = 32 };

size_t laci_sparse_block(size_t n_ctx)
{
    return n_ctx >= LONG_CTX ? LONG_BLOCK : SHORT_BLOCK;
}

int laci_sparse_n_dense(const laci_sparse *how, int n_steps)
{
    const int share = (int)(n_steps * how->skip);
    if (how->schedule == LACI_SCHEDULE_REFERENCE) return share + 2;
    return share > 1 ? share : 1;
}

/* ceil forgives what the product of two decimals is too large by: 0.07 * 100 is 7.000000000001 */
static size_t ceil_share(double share, size_t n)
{
    return (size_t)ceil((double)n * share - 1e-9);
}

static size_t at_least_one(size_t k, size_t n)
{
    if (k > n) return n;
    return k || !n ? k : 1;
}

size_t laci_sparse_n_kept(const laci_sparse *how, size_t n)
{
    const bool reference = how->keep == LACI_KEEP_REFERENCE;
    return at_least_one(
        reference ? (size_t)((double)n * how->select) + 1 : ceil_share(how->select, n), n);
}

size_t laci_sparse_n_most(const laci_sparse *how, size_t n)
{
    return at_least_one(ceil_share(how->most, n), n);
}
