/* peak_avx512.c: the units of AVX-512: multiply-add of f32, and the dot products of bf16 pairs and
 * of groups of four bytes. Built with its own flags; each function needs its own feature. */
#include <immintrin.h>

#include "bench/peak_kernels.h"

/* Hides a register from the optimiser: equal chains are not merged, loads not dropped. */
#define OPAQUE(value) __asm__ volatile("" : "+v"(value))
#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define CHAINS(X) EIGHT(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19)
enum { N_CHAINS = 20 };

double peak_f32_zmm(size_t n)
{
    __m512 x = _mm512_set1_ps(0.75f), y = _mm512_set1_ps(1e-3f);
    OPAQUE(x);
    OPAQUE(y);
#define BEGIN(i)                       \
    __m512 sum##i = _mm512_set1_ps(i); \
    OPAQUE(sum##i);
#define STEP(i) sum##i = _mm512_fmadd_ps(x, y, sum##i);
#define END(i) OPAQUE(sum##i);
    CHAINS(BEGIN)
    for (size_t round = 0; round < n; round++) {
        CHAINS(STEP)
    }
    CHAINS(END)
#undef STEP
    return (double)n * N_CHAINS * 16 * 2;
}

double peak_bf16_zmm(size_t n)
{
    __m512i x_pairs = _mm512_set1_epi16(0x3f40), y_pairs = _mm512_set1_epi16(0x3a83); /* as above */
    OPAQUE(x_pairs);
    OPAQUE(y_pairs);
    const __m512bh x = (__m512bh)x_pairs, y = (__m512bh)y_pairs;
#define STEP(i) sum##i = _mm512_dpbf16_ps(sum##i, x, y);
    CHAINS(BEGIN)
    for (size_t round = 0; round < n; round++) {
        CHAINS(STEP)
    }
    CHAINS(END)
#undef BEGIN
#undef STEP
    return (double)n * N_CHAINS * 32 * 2;
}

double peak_int8_zmm(size_t n)
{
    __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-2);
    OPAQUE(x);
    OPAQUE(y);
#define BEGIN(i)                           \
    __m512i sum##i = _mm512_set1_epi32(i); \
    OPAQUE(sum##i);
#define STEP(i) sum##i = _mm512_dpbusd_epi32(sum##i, x, y);
    CHAINS(BEGIN)
    for (size_t round = 0; round < n; round++) {
        CHAINS(STEP)
    }
    CHAINS(END)
#undef BEGIN
#undef STEP
#undef END
    return (double)n * N_CHAINS * 64 * 2;
}

void peak_read_zmm(const void *data, size_t n_bytes)
{
    const char *at = data;
#define LOAD(i)                                                 \
    {                                                           \
        __m512i value = _mm512_load_si512(at + (size_t)(i)*64); \
        OPAQUE(value);                                          \
    }
    for (const char *end = at + n_bytes; at < end; at += 512) {
        EIGHT(LOAD)
    }
#undef LOAD
}

void peak_write_zmm(void *data, size_t n_bytes)
{
    char *at = data;
    __m512i value = _mm512_set1_epi32(1);
    OPAQUE(value);
#define STORE(i) _mm512_store_si512(at + (size_t)(i)*64, value);
    for (const char *end = at + n_bytes; at < end; at += 512) {
        EIGHT(STORE)
    }
#undef STORE
    __asm__ volatile("" ::: "memory");
}
