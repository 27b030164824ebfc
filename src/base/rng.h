/* rng.h: counter-based random numbers. A number is a pure function of a key and a counter, so a
 * draw does not depend on what was drawn before it, on threads or on batch order. Kernels may
 * include it. The mixer is the finaliser of splitmix64 (Steele, Lea, Flood 2014), applied to key
 * and counter in turn. */
#ifndef LACI_BASE_RNG_H
#define LACI_BASE_RNG_H

#include <stdint.h>

static inline uint64_t laci_rng_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Purposes keep streams apart that share seed, position and step. */
enum { LACI_RNG_TOKEN = 1, LACI_RNG_ORDER = 2, LACI_RNG_FLIP = 3, LACI_RNG_PICK = 4 };

/* Key of the stream for one canvas position at one step. */
static inline uint64_t laci_rng_key(uint64_t seed, uint32_t purpose, uint32_t step,
                                    uint32_t position)
{
    const uint64_t key = laci_rng_mix(seed ^ laci_rng_mix(purpose));
    return laci_rng_mix(key ^ ((uint64_t)step << 32 | position));
}

/* The counter-th number of a stream. */
static inline uint64_t laci_rng_u64(uint64_t key, uint64_t counter)
{
    return laci_rng_mix(key ^ laci_rng_mix(counter));
}

/* Uniform in the open interval (0, 1): (n + 0.5) / 2^52 with n in 0 .. 2^52 - 1, exact, so
 * the logarithm is always finite and below zero. */
static inline double laci_rng_unit(uint64_t key, uint64_t counter)
{
    const uint64_t n = laci_rng_u64(key, counter) >> 12; /* 52 bits, so that n + 0.5 is exact */
    return ((double)n + 0.5) * 0x1p-52;
}

#endif
