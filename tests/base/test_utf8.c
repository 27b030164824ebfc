/* test_utf8.c: checking, decoding and repairing UTF-8 against a definition written from the ranges
 * of the Unicode standard, over every code point and every two-byte start. */
#include "test.h"

#include "base/utf8.h"

/* Every scalar value survives put and next; every surrogate and everything above is refused. */
static void every_code_point_round_trips(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        if (code >= 0xd800 && code <= 0xdfff) continue;
        char bytes[4];
        uint32_t back = ~code;
        const size_t n = laci_utf8_put(code, bytes);
        const size_t expected = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        if (n != expected || laci_utf8_next(bytes, n, &back) != n || back != code)
            fail_msg("U+%04X: put %zu bytes, read back U+%04X", code, n, back);
        if (n > 1 && laci_utf8_next(bytes, n - 1, &back)) fail_msg("U+%04X cut short passes", code);
    }
}

/* Straight-line definition: decode loosely, then refuse what is not shortest form or scalar. */
static size_t defined_length(const unsigned char *b, size_t n)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t length = b[0] < 0x80       ? 1
                    : b[0] >> 5 == 6  ? 2
                    : b[0] >> 4 == 14 ? 3
                    : b[0] >> 3 == 30 ? 4
                                      : 0;
    if (length <= 1) return length;
    if (length > n) return 0;
    uint32_t code = b[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (b[i] >> 6 != 2) return 0;
        code = code << 6 | (b[i] & 63u);
    }
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
    return length;
}

static void three_byte_starts_agree_with_definition(void **state)
{
    (void)state;
    static const unsigned char last[] = { 0x00, 0x7f, 0x80, 0xbf, 0xc0 };
    for (unsigned i = 0; i < 1u << 24; i += 1) {
        for (size_t k = 0; k < sizeof last; k += i % 97 ? sizeof last : 1) {
            const unsigned char b[4] = { (unsigned char)(i >> 16), (unsigned char)(i >> 8),
                                         (unsigned char)i, last[k] };
            uint32_t code;
            const size_t n = laci_utf8_next((const char *)b, 4, &code);
            if (n != defined_length(b, 4))
                fail_msg("%02x %02x %02x %02x: %zu, defined %zu", b[0], b[1], b[2], b[3], n,
                         defined_length(b, 4));
        }
    }
}

static void check_finds_first_bad_byte(void **state)
{
    (void)state;
    assert_int_equal(laci_utf8_check("abc", 3), 3);
    assert_int_equal(laci_utf8_check("", 0), 0);
    assert_int_equal(laci_utf8_check("ab\xffz", 4), 2);
    assert_int_equal(laci_utf8_check("\xc3\xa4\xe2\x82", 4), 2);
    assert_int_equal(laci_utf8_check("\xed\xa0\x80", 3), 0);
    assert_int_equal(laci_utf8_check("\xc0\x80", 2), 0);
    uint32_t code = 7;
    assert_int_equal(laci_utf8_next("", 0, &code), 0);
}

/* The examples of the Unicode standard, section 3.9: one replacement per maximal subpart. */
static void repair_replaces_maximal_parts(void **state)
{
    (void)state;
#define FFFD "\xef\xbf\xbd"
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "plain", "plain" },
        { "", "" },
        { "\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A" },
        { "\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A" },
        { "\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B" },
        { "\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", FFFD FFFD FFFD FFFD "A" },
        { "\xc3\xa4\xf0\x9f\x98\x80\xf0\x9f\x98", "\xc3\xa4\xf0\x9f\x98\x80" FFFD },
    };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = NULL;
        size_t n = 0;
        assert_ok(laci_utf8_repair(&out, &n, cases[i].in, strlen(cases[i].in), &mem, NULL));
        assert_string_equal(out, cases[i].out);
        assert_int_equal(n, strlen(cases[i].out));
        assert_int_equal(laci_utf8_check(out, n), n);
        laci_release(&mem, out);
    }
}

static void *no_memory(void *user, size_t size)
{
    (void)user, (void)size;
    return NULL;
}
static void *no_more_memory(void *user, void *ptr, size_t size)
{
    (void)user, (void)ptr, (void)size;
    return NULL;
}
static void release_nothing(void *user, void *ptr)
{
    (void)user, (void)ptr;
}

static void repair_reports_no_memory(void **state)
{
    (void)state;
    const lac_allocator mem = { no_memory, no_more_memory, release_nothing, NULL };
    char *out = NULL;
    size_t n = 99;
    lac_error err;
    assert_int_equal(laci_utf8_repair(&out, &n, "abc", 3, &mem, &err), LAC_ENOMEM);
    assert_null(out);
    assert_int_equal(n, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_round_trips),
        cmocka_unit_test(three_byte_starts_agree_with_definition),
        cmocka_unit_test(check_finds_first_bad_byte),
        cmocka_unit_test(repair_replaces_maximal_parts),
        cmocka_unit_test(repair_reports_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
