/* kernels_avx2.c: kernels for AVX2 with FMA. Built with its own flags; static functions and one
 * fill function, so that no instruction leaks into other files. */
#include <immintrin.h>

#define PAIRS 0
#define LANES 8
#define BIG_ROWS 6
#define TILE_VECS 2
#define SMALL_CASES(CALL)             \
    case 1: CALL(1, TILE_VECS) break; \
    case 2: CALL(2, TILE_VECS) break; \
    case 3: CALL(3, TILE_VECS) break; \
    case 4: CALL(4, TILE_VECS) break; \
    case 5: CALL(5, TILE_VECS) break;

typedef __m256 vec;
#define v_load(x) _mm256_loadu_ps(x)
#define v_store(x, v) _mm256_storeu_ps(x, v)
#define v_set1(x) _mm256_set1_ps(x)
#define v_zero() _mm256_setzero_ps()
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_fms(a, b, c) _mm256_fmsub_ps(a, b, c)
#define v_mac(sum, a, b) v_fma(a, b, sum)
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_div(a, b) _mm256_div_ps(a, b)
#define v_abs(v) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v)
#define v_if_negative(v, a, b) _mm256_blendv_ps(b, a, v)
#define v_and(a, b) _mm256_and_ps(a, b)
#define v_signs() _mm256_castsi256_ps(_mm256_set1_epi32(-1))
#define v_all_negative(v) (_mm256_movemask_ps(v) == 0xff)
#define v_exponent(v) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23))
#define v_low_half(x)    \
    _mm256_castsi256_ps( \
        _mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(x)), 16))
#define v_high_half(x)                                                                           \
    _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)(x)), \
                                         _mm256_set1_epi32((int)0xffff0000)))

static inline float v_max_lanes(vec v)
{
    const __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}

static inline float v_add_lanes(vec v)
{
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

/* Lane i = sum of the lanes of a[i]. */
static inline vec v_add_each(const vec a[LANES])
{
    vec four[2];
    for (int i = 0; i < 2; i++) {
        const vec *x = a + 4 * i;
        four[i] = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
    }
    return _mm256_add_ps(_mm256_permute2f128_ps(four[0], four[1], 0x20),
                         _mm256_permute2f128_ps(four[0], four[1], 0x31));
}
#include "kernels/attend_simd.h"
#include "kernels/mass_simd.h"
#include "kernels/select_simd.h"

#include "kernels/rows_simd.h"

void laci_kernels_fill_avx2(laci_kernels *table)
{
    table->attend_f32 = attend_f32;
    table->attend_bf16 = attend_bf16;
    table->column_mass_f32 = column_mass_f32;
    table->column_mass_bf16 = column_mass_bf16;
    fill_mass(table);
    fill_rows(table);
    fill_select(table);
}
