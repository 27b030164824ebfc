/* kernels_avx512.c: kernels for AVX-512 (F, BW, DQ, VL). Built with its own flags; static functions
 * and one fill function, so that no instruction leaks into other files. */
#define PAIRS 0
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
#define v_mac(sum, a, b) v_fma(a, b, sum)
#include "kernels/attend_simd.h"
#include "kernels/mass_simd.h"
#include "kernels/select_simd.h"

#include "kernels/rows_simd.h"

void laci_kernels_fill_avx512(laci_kernels *table)
{
    table->attend_f32 = attend_f32;
    table->attend_bf16 = attend_bf16;
    table->column_mass_f32 = column_mass_f32;
    table->column_mass_bf16 = column_mass_bf16;
    fill_mass(table);
    fill_rows(table);
    fill_select(table);
}
