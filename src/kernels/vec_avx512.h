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
#define v_div(a, b) _mm512_div_ps(a, b)
#define v_abs(v) _mm512_abs_ps(v)
#define v_if_negative(v, a, b) \
    _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(v)), b, a)
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

/* Lane i = sum of the lanes of a[i]. */
static inline vec v_add_each(const vec a[LANES])
{
    vec four[4];
    for (int i = 0; i < 4; i++) {
        const vec *x = a + 4 * i;
        const vec low =
            _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
        const vec high =
            _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
        four[i] =
            _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
    }
    const vec a8 = _mm512_add_ps(_mm512_shuffle_f32x4(four[0], four[1], 0x88),
                                 _mm512_shuffle_f32x4(four[0], four[1], 0xdd));
    const vec b8 = _mm512_add_ps(_mm512_shuffle_f32x4(four[2], four[3], 0x88),
                                 _mm512_shuffle_f32x4(four[2], four[3], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(a8, b8, 0x88), _mm512_shuffle_f32x4(a8, b8, 0xdd));
}

/* Rows become columns. */
static inline void v_transpose(vec x[LANES])
{
    vec a[LANES], b[LANES];
    for (int i = 0; i < LANES; i += 2) {
        a[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4) /* b[i + c], part l of four: column 4 l + c of rows i... */
        for (int c = 0; c < 2; c++) {
            b[i + 2 * c] = _mm512_shuffle_ps(a[i + c], a[i + c + 2], 0x44);
            b[i + 2 * c + 1] = _mm512_shuffle_ps(a[i + c], a[i + c + 2], 0xee);
        }
    for (int c = 0; c < 4; c++) {
        const vec even = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88);
        const vec odd = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
        const vec even2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88);
        const vec odd2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
        x[c] = _mm512_shuffle_f32x4(even, even2, 0x88);
        x[8 + c] = _mm512_shuffle_f32x4(even, even2, 0xdd);
        x[4 + c] = _mm512_shuffle_f32x4(odd, odd2, 0x88);
        x[12 + c] = _mm512_shuffle_f32x4(odd, odd2, 0xdd);
    }
}
