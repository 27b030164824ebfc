/* vec_bf16.h: what AVX-512 BF16 adds to vec_avx512.h: products of pairs, and packing probabilities
 * into pairs. */

/* sum += a.low * b.low + a.high * b.high in every 32-bit lane */
#define v_mac(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))

/* Words of two vectors of numbers >= 0, rounded to nearest; ties go up. */
static inline vec v_pair(vec low, vec high)
{
    const __m512i half = _mm512_set1_epi32(0x8000), mask = _mm512_set1_epi32((int)0xffff0000);
    const __m512i a = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(low), half), 16);
    const __m512i b = _mm512_add_epi32(_mm512_castps_si512(high), half);
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(a, b, mask, 0xf8)); /* a | (b & mask) */
}
