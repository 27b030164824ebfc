/* kernels_avx2.c: kernels for AVX2 with FMA. Built with its own flags; static functions and one
 * fill function, so that no instruction leaks into other files. */
#define LANES 8
#define ROW_TILE 1
#include "kernels/attend_simd.h"

void laci_kernels_fill_avx2(laci_kernels *table)
{
    table->attend_keys = attend_keys;
}
