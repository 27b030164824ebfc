/* utf8.c: see utf8.h. One decoder serves all four functions; it also knows how long the ill-formed
 * part is, which repairing needs. Only well-formed sequences of the Unicode standard (table 3-7)
 * pass: no overlong forms, no surrogates, nothing above U+10FFFF. */
#include "base/utf8.h"

#include <string.h>

#include "base/error.h"

/* Allowed range of the second byte, and how many bytes follow the first; 0 = no first byte. */
static int first_byte(unsigned char byte, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (byte == 0xe0) *low = 0xa0;  /* shorter form exists */
    if (byte == 0xed) *high = 0x9f; /* surrogates */
    if (byte == 0xf0) *low = 0x90;  /* shorter form exists */
    if (byte == 0xf4) *high = 0x8f; /* above U+10FFFF */
    if (byte >= 0xc2 && byte <= 0xdf) return 1;
    if (byte >= 0xe0 && byte <= 0xef) return 2;
    if (byte >= 0xf0 && byte <= 0xf4) return 3;
    return 0;
}

/* Decodes at text[0..n), n > 0. Returns the length when well-formed; else 0, and *n_bad receives
 * the length of the maximal part to replace. */
static size_t decode(const char *text, size_t n, uint32_t *code, size_t *n_bad)
{
    const unsigned char *bytes = (const unsigned char *)text;
    *n_bad = 1;
    if (bytes[0] < 0x80) {
        *code = bytes[0];
        return 1;
    }
    unsigned char low, high;
    const int n_more = first_byte(bytes[0], &low, &high);
    if (!n_more) return 0;
    uint32_t value = bytes[0] & (0x3fu >> n_more);
    for (int i = 1; i <= n_more; i++) {
        if ((size_t)i >= n || bytes[i] < low || bytes[i] > high) return 0;
        value = value << 6 | (bytes[i] & 0x3fu);
        *n_bad = (size_t)i + 1;
        low = 0x80;
        high = 0xbf;
    }
    *code = value;
    return (size_t)n_more + 1;
}

size_t laci_utf8_next(const char *text, size_t n, uint32_t *code)
{
    size_t n_bad;
    return n ? decode(text, n, code, &n_bad) : 0;
}

size_t laci_utf8_check(const char *text, size_t n)
{
    size_t at = 0;
    while (at < n) {
        uint32_t code;
        const size_t length = laci_utf8_next(text + at, n - at, &code);
        if (!length) break;
        at += length;
    }
    return at;
}

bool laci_is_c1(const char *text, size_t n)
{
    return n >= 2 && text[0] == '\xc2' && (unsigned char)text[1] < 0xa0;
}

size_t laci_utf8_bom(const char *text, size_t n)
{
    return n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
}

size_t laci_utf8_put(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    const int n_more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t marks[4] = { 0, 0xc0, 0xe0, 0xf0 };
    for (int i = n_more; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80u | (code & 0x3fu));
    out[0] = (char)(marks[n_more] | code);
    return (size_t)n_more + 1;
}

/* One pass of repairing; `out` NULL only counts. Returns the length of the result. */
static size_t repair(char *out, const char *text, size_t n)
{
    static const char replacement[3] = { '\xef', '\xbf', '\xbd' };
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        size_t n_bad;
        const size_t length = decode(text + at, n - at, &code, &n_bad);
        const char *from = length ? text + at : replacement;
        const size_t n_from = length ? length : sizeof replacement;
        if (out) memcpy(out + n_out, from, n_from);
        n_out += n_from;
        at += length ? length : n_bad;
    }
    return n_out;
}

lac_status laci_utf8_repair(char **out, size_t *n_out, const char *text, size_t n,
                            const lac_allocator *mem, lac_error *err)
{
    if (n > SIZE_MAX / 3 - 1) return laci_fail_memory(err, "repaired text", n);
    const size_t size = repair(NULL, text, n);
    char *copy = laci_alloc(mem, size + 1);
    if (!copy) return laci_fail_memory(err, "repaired text", size + 1);
    repair(copy, text, n);
    copy[size] = 0;
    *out = copy;
    *n_out = size;
    return LAC_OK;
}

const char *laci_plain_text(const char *text, size_t n, char out[LACI_PLAIN])
{
    if (n > LACI_PLAIN - 1) n = LACI_PLAIN - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    out[n] = 0;
    return out;
}
