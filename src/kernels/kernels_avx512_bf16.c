/* kernels_avx512_bf16.c: attention for AVX-512 BF16: products of bf16 pairs with f32 sums. Built
 * with its own flags; static functions and one fill function, so that no instruction leaks out. */
#define PAIRS 1
#define BIG_ROWS 6
#define TILE_VECS 4
#define SMALL_CASES(CALL)             \
    case 1: CALL(1, TILE_VECS) break; \
    case 2: CALL(2, TILE_VECS) break; \
    case 3: CALL(3, TILE_VECS) break; \
    case 4: CALL(4, TILE_VECS) break; \
    case 5:                           \
        CALL(5, TILE_VECS) break;
#include "kernels/vec_avx512.h"
#include "kernels/vec_bf16.h"

#include "kernels/attend_simd.h"

void laci_kernels_fill_avx512_bf16(laci_kernels *table)
{
    table->attend_bf16 = attend_bf16;
    table->column_mass_bf16 = column_mass_bf16;
}
