/* dtype.h: element types, their sizes and names, and scalar conversions. Kernels may include it;
 * it includes nothing of ours. */
#ifndef LACI_BASE_DTYPE_H
#define LACI_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    LACI_F32,
    LACI_F16,
    LACI_BF16,
    LACI_Q8_0,  /* 32 elements: f16 scale, 32 x i8 */
    LACI_OTHER, /* known by name or number, not readable here */
    LACI_N_DTYPES,
} laci_dtype;

typedef struct {
    const char *name; /* as printed: "f32", "q8_0" */
    int block;        /* elements per block */
    int block_bytes;  /* bytes per block, 0 = unreadable */
} laci_dtype_traits;

const laci_dtype_traits *laci_dtype_of(laci_dtype type);

/* Bytes of one activation: f32 or bf16. */
static inline size_t laci_act_bytes(laci_dtype type)
{
    return type == LACI_BF16 ? 2 : 4;
}

/* Bytes of n elements; false when n is not a multiple of the block or the size overflows. */
bool laci_dtype_bytes(laci_dtype type, uint64_t n, uint64_t *bytes);

/* Converts n elements (a multiple of the block) to f32. `src` needs no alignment. Every product is
 * rounded on its own, so the result equals the reference of the format bit for bit. */
void laci_dtype_to_f32(laci_dtype type, const void *src, uint64_t n, float *dst);

static inline float laci_bits_to_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t laci_f32_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float laci_bf16_to_f32(uint16_t half)
{
    return laci_bits_to_f32((uint32_t)half << 16);
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t laci_f32_to_bf16(float value)
{
    uint32_t bits = laci_f32_to_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return (uint16_t)(bits >> 16);
}

float laci_f16_to_f32(uint16_t half);

#endif
