/* peak_avx2.c: the units that AVX2 and FMA reach, in 256-bit registers. Built with its own flags.
 */
#include <immintrin.h>

#include "bench/peak_kernels.h"

/* Hides a register from the optimiser: equal chains are not merged, loads not dropped. */
#define OPAQUE(value) __asm__ volatile("" : "+x"(value))
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

double peak_f32_ymm(size_t n)
{
    __m256 x = _mm256_set1_ps(0.75f), y = _mm256_set1_ps(1e-3f);
    OPAQUE(x);
    OPAQUE(y);
#define BEGIN(i)                       \
    __m256 sum##i = _mm256_set1_ps(i); \
    OPAQUE(sum##i);
#define STEP(i) sum##i = _mm256_fmadd_ps(x, y, sum##i);
#define END(i) OPAQUE(sum##i);
    TWELVE(BEGIN)
    for (size_t round = 0; round < n; round++) {
        TWELVE(STEP)
    }
    TWELVE(END)
#undef BEGIN
#undef STEP
#undef END
    return (double)n * 12 * 8 * 2;
}

void peak_read_ymm(const void *data, size_t n_bytes)
{
    const char *at = data;
#define LOAD(i)                                                                 \
    {                                                                           \
        __m256i value = _mm256_load_si256((const void *)(at + (size_t)(i)*32)); \
        OPAQUE(value);                                                          \
    }
    for (const char *end = at + n_bytes; at < end; at += 256) {
        EIGHT(LOAD)
    }
#undef LOAD
}

void peak_write_ymm(void *data, size_t n_bytes)
{
    char *at = data;
    __m256i value = _mm256_set1_epi32(1);
    OPAQUE(value);
#define STORE(i) _mm256_store_si256((void *)(at + (size_t)(i)*32), value);
    for (const char *end = at + n_bytes; at < end; at += 256) {
        EIGHT(STORE)
    }
#undef STORE
    __asm__ volatile("" ::: "memory");
}
