/* test_dtype.c: conversions against definitions written from the formats' fields, over every 16-bit
 * value, and Q8_0 against blocks of the format's reference, bit for bit. */
#include "test.h"

#include <math.h>

#include "base/dtype.h"
#include "base/json.h"

/* sign * fraction * 2^exponent, from the fields of a small float. */
static double defined_value(unsigned bits, int n_exponent, int n_fraction)
{
    const int bias = (1 << (n_exponent - 1)) - 1;
    const unsigned fraction = bits & ((1u << n_fraction) - 1);
    const int exponent = (int)(bits >> n_fraction) & ((1 << n_exponent) - 1);
    const double sign = bits >> (n_exponent + n_fraction) ? -1.0 : 1.0;
    if (exponent == (1 << n_exponent) - 1) return fraction ? (double)NAN : sign * (double)INFINITY;
    const double whole =
        exponent ? 1.0 + ldexp(fraction, -n_fraction) : ldexp(fraction, -n_fraction);
    return sign * ldexp(whole, (exponent ? exponent : 1) - bias);
}

static void check_value(const char *name, unsigned bits, double value, double expected)
{
    const bool same =
        isnan(expected) ? isnan(value) : value == expected && signbit(value) == signbit(expected);
    if (!same) fail_msg("%s %04x is %.17g, expected %.17g", name, bits, value, expected);
}

static void every_f16_and_bf16_is_exact(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++) {
        const uint16_t half = (uint16_t)bits;
        float one;
        check_value("f16", bits, (double)laci_f16_to_f32(half), defined_value(bits, 5, 10));
        check_value("bf16", bits, (double)laci_bf16_to_f32(half), defined_value(bits, 8, 7));
        laci_dtype_to_f32(LACI_F16, &half, 1, &one);
        check_value("f16 in bulk", bits, (double)one, defined_value(bits, 5, 10));
        laci_dtype_to_f32(LACI_BF16, &half, 1, &one);
        check_value("bf16 in bulk", bits, (double)one, defined_value(bits, 8, 7));
    }
}

/* The nearer of the two bf16 neighbours toward and away from zero, the even one on a tie. The
 * neighbour of the largest finite value counts as 2^128, which is how infinity is reached. */
static uint16_t defined_bf16(uint32_t bits)
{
    const uint16_t low = (uint16_t)(bits >> 16);
    const uint16_t high = (uint16_t)(low + 1);
    const double value = fabs((double)laci_bits_to_f32(bits));
    const double below = fabs(defined_value(low, 8, 7));
    double above = fabs(defined_value(high, 8, 7));
    if (isinf(above)) above = 0x1p128;
    if (value - below < above - value) return low;
    if (value - below > above - value) return high;
    return low & 1 ? high : low;
}

static void f32_rounds_to_nearest_bf16(void **state)
{
    (void)state;
    static const uint32_t tails[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff };
    for (uint32_t top = 0; top < 65536; top++) {
        for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
            const uint32_t bits = top << 16 | tails[i];
            const float value = laci_bits_to_f32(bits);
            const uint16_t got = laci_f32_to_bf16(value);
            if (isnan(value)) {
                if (!isnan(laci_bf16_to_f32(got))) fail_msg("NaN %08x becomes %04x", bits, got);
                continue;
            }
            const uint16_t expected = isinf(value) ? (uint16_t)top : defined_bf16(bits);
            if (got != expected) fail_msg("%08x becomes %04x, expected %04x", bits, got, expected);
        }
    }
}

static void sizes_are_checked(void **state)
{
    (void)state;
    static const struct {
        laci_dtype type;
        uint64_t n, bytes;
        bool fits;
    } cases[] = {
        { LACI_F32, 3, 12, true },
        { LACI_F16, 0, 0, true },
        { LACI_BF16, 5, 10, true },
        { LACI_Q8_0, 64, 68, true },
        { LACI_Q8_0, 63, 0, false },
        { LACI_Q8_0, 0, 0, true },
        { LACI_OTHER, 32, 0, false },
        { LACI_F32, UINT64_MAX / 4, UINT64_MAX / 4 * 4, true },
        { LACI_F32, UINT64_MAX / 4 + 1, 0, false },
        { LACI_Q8_0, UINT64_MAX / 32 * 32, 0, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t bytes = 77;
        const bool fits = laci_dtype_bytes(cases[i].type, cases[i].n, &bytes);
        if (fits != cases[i].fits || bytes != (fits ? cases[i].bytes : 77))
            fail_msg("case %zu: %d, %llu bytes", i, fits, (unsigned long long)bytes);
    }
    assert_string_equal(laci_dtype_of(LACI_Q8_0)->name, "q8_0");
}

/* All 256 quants under three scales, at an odd address. */
static void q8_0_follows_its_definition(void **state)
{
    (void)state;
    static const uint16_t scales[] = { 0x3c00, 0xb555, 0x0001 };
    unsigned char bytes[1 + 8 * 34];
    float out[256];
    for (size_t s = 0; s < 3; s++) {
        for (int i = 0; i < 256; i++) {
            unsigned char *block = bytes + 1 + i / 32 * 34;
            block[0] = (unsigned char)scales[s];
            block[1] = (unsigned char)(scales[s] >> 8);
            block[2 + i % 32] = (unsigned char)i;
        }
        laci_dtype_to_f32(LACI_Q8_0, bytes + 1, 256, out);
        for (int i = 0; i < 256; i++) {
            const float expected =
                (float)(defined_value(scales[s], 5, 10) * (double)(i < 128 ? i : i - 256));
            if (out[i] != expected)
                fail_msg("quant %d: %g, expected %g", i, (double)out[i], (double)expected);
        }
    }
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static size_t read_hex(const char *text, unsigned char *out, size_t size)
{
    size_t n = 0;
    for (; text[2 * n] && n < size; n++)
        out[n] = (unsigned char)(hex_digit(text[2 * n]) << 4 | hex_digit(text[2 * n + 1]));
    return n;
}

static void q8_0_equals_the_reference(void **state)
{
    (void)state;
    const char *path = test_data("derived/dequant-golden.json");
    if (!path) skip();
    laci_json *doc = NULL;
    lac_error err;
    assert_ok(laci_json_read(&doc, path, NULL, NULL, &err));
    int n_blocks = 0;
    for (const laci_jval *v = laci_json_first(laci_json_root(doc)); v; v = laci_json_next(v)) {
        if (strcmp(laci_json_string(laci_json_get(v, "type")), "q8_0") != 0) continue;
        unsigned char block[34], expected[128];
        float out[32];
        assert_int_equal(read_hex(laci_json_string(laci_json_get(v, "hex")), block, 34), 34);
        assert_int_equal(read_hex(laci_json_string(laci_json_get(v, "f32_le_hex")), expected, 128),
                         128);
        laci_dtype_to_f32(LACI_Q8_0, block, 32, out);
        for (int i = 0; i < 32; i++) {
            uint32_t bits = 0;
            for (int k = 3; k >= 0; k--)
                bits = bits << 8 | expected[4 * i + k];
            if (laci_f32_to_bits(out[i]) != bits)
                fail_msg("block %d, element %d: %08x, expected %08x", n_blocks, i,
                         laci_f32_to_bits(out[i]), bits);
        }
        n_blocks++;
    }
    laci_json_free(doc);
    assert_in_range(n_blocks, 1, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_and_bf16_is_exact),
        cmocka_unit_test(f32_rounds_to_nearest_bf16),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(q8_0_follows_its_definition),
        cmocka_unit_test(q8_0_equals_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
