/* vec_avx512.h: the vector operations attend_simd.h and select_simd.h are written in, for AVX-512.
 * Included by the AVX-512 files only. */
#include <immintrin.h>

#define LANES 16

typedef __m512 vec;
#define v_load(x) _mm512_loadu_ps(x)
#define v_store(x, v) _mm512_storeu_ps(x, v)
#define v_set1(x) _mm512_set1_ps(x)
#define v_zero() _mm512_setzero_ps()
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_fms(a, b, c) _mm512_fmsub_ps(a, b, c)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_and(a, b) _mm512_and_ps(a, b)
#define v_signs() _mm512_castsi512_ps(_mm512_set1_epi32(-1))
#define v_all_negative(v) (_mm512_movepi32_mask(_mm512_castps_si512(v)) == 0xffff)
#define v_exponent(v) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23))
#define v_low_half(x) \
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512((const void *)(x)), 16))
#define v_high_half(x)                                                          \
    _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512((const void *)(x)), \
                                         _mm512_set1_epi32((int)0xffff0000)))
#define v_max_lanes(v) _mm512_reduce_max_ps(v)
#define v_add_lanes(v) _mm512_reduce_add_ps(v)
