/* inputs.h: random numbers in bulk, each a pure function of a key and its place (base/rng.h), so
 * that a check can make any of them again. */
#ifndef LACUNA_BENCH_INPUTS_H
#define LACUNA_BENCH_INPUTS_H

#include "base/dtype.h"
#include "base/rng.h"

/* Streams of one seed. */
enum { INPUT_Q = 101, INPUT_K, INPUT_V, INPUT_X, INPUT_WEIGHT, INPUT_PLAN, INPUT_IDS, INPUT_SCALE };

/* Mean 0, variance 1: the sum of four uniform numbers, near enough to normal and far cheaper. */
static inline float input_normal(uint64_t key, uint64_t i)
{
    const uint64_t u = laci_rng_u64(key, i);
    const uint32_t sum =
        (uint32_t)((u & 0xffff) + (u >> 16 & 0xffff) + (u >> 32 & 0xffff) + (u >> 48));
    return ((float)sum - 131070.0f) * (1.7320508f / 65536.0f);
}

/* The value an activation of this type holds. */
static inline float input_rounded(laci_dtype type, float x)
{
    return type == LACI_BF16 ? laci_bf16_to_f32(laci_f32_to_bf16(x)) : x;
}

#endif
