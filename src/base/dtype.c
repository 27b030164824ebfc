/* dtype.c: traits and bulk conversion of the element types model files use. */
#include "base/dtype.h"

static const laci_dtype_traits traits[LACI_N_DTYPES] = {
    [LACI_F32] = { "f32", 1, 4 },     [LACI_F16] = { "f16", 1, 2 },
    [LACI_BF16] = { "bf16", 1, 2 },   [LACI_Q8_0] = { "q8_0", 32, 34 },
    [LACI_OTHER] = { "other", 1, 0 },
};

const laci_dtype_traits *laci_dtype_of(laci_dtype type)
{
    return &traits[type];
}

bool laci_dtype_bytes(laci_dtype type, uint64_t n, uint64_t *bytes)
{
    const laci_dtype_traits *t = &traits[type];
    if (!t->block_bytes || n % (uint64_t)t->block) return false;
    const uint64_t blocks = n / (uint64_t)t->block;
    if (blocks > UINT64_MAX / (uint64_t)t->block_bytes) return false;
    *bytes = blocks * (uint64_t)t->block_bytes;
    return true;
}

float laci_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 31u;
    const uint32_t fraction = half & 1023u;
    if (exponent == 31) return laci_bits_to_f32(sign | 0x7f800000u | fraction << 13);
    if (exponent) return laci_bits_to_f32(sign | (exponent + 112u) << 23 | fraction << 13);
    const float small = (float)fraction * 0x1p-24f; /* subnormal or zero, exact */
    return sign ? -small : small;
}

static void q8_0_to_f32(const unsigned char *src, uint64_t n, float *dst)
{
    for (uint64_t block = 0; block < n / 32; block++, src += 34, dst += 32) {
        uint16_t half;
        memcpy(&half, src, sizeof half);
        const float scale = laci_f16_to_f32(half);
        for (int i = 0; i < 32; i++)
            dst[i] = scale * (float)(int8_t)src[2 + i];
    }
}

void laci_dtype_to_f32(laci_dtype type, const void *src, uint64_t n, float *dst)
{
    const unsigned char *bytes = src;
    if (type == LACI_F32) memcpy(dst, src, n * sizeof *dst);
    if (type == LACI_Q8_0) q8_0_to_f32(bytes, n, dst);
    if (type != LACI_F16 && type != LACI_BF16) return;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof half);
        dst[i] = type == LACI_F16 ? laci_f16_to_f32(half) : laci_bf16_to_f32(half);
    }
}
