/* kernels_avx512.c: kernels for AVX-512 (F, BW, DQ, VL). Built with its own flags; static functions
 * and one fill function, so that no instruction leaks into other files. */
#define LANES 16
#define ROW_TILE 6
#include "kernels/attend_simd.h"

void laci_kernels_fill_avx512(laci_kernels *table)
{
    table->attend_keys = attend_keys;
}
