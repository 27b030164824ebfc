/* utf8.h: checking, decoding and repairing UTF-8. No tables; classes and normalisation live with
 * the tokenizer. */
#ifndef LACI_BASE_UTF8_H
#define LACI_BASE_UTF8_H

#include "base/alloc.h"

/* Length in bytes of the well-formed sequence at text[0..n), 0 when there is none (n == 0, an
 * overlong form, a surrogate, a value above U+10FFFF, a truncated sequence). */
size_t laci_utf8_next(const char *text, size_t n, uint32_t *code);

/* Offset of the first ill-formed byte, n when all is well. */
size_t laci_utf8_check(const char *text, size_t n);

/* Whether a control character of the second set, U+0080 to U+009F, begins at text[0..n): a terminal
 * may take U+009B for an escape. */
bool laci_is_c1(const char *text, size_t n);

/* Bytes of the byte order mark that editors put in front of a text: 3, or 0 without one. */
size_t laci_utf8_bom(const char *text, size_t n);

/* Writes `code` (a Unicode scalar value) to out[0..4), returns the length. */
size_t laci_utf8_put(uint32_t code, char out[4]);

/* Copies text with each maximal ill-formed part replaced by U+FFFD (as the Unicode standard
 * recommends). Free *out with laci_release(). Errors: ENOMEM. */
lac_status laci_utf8_repair(char **out, size_t *n_out, const char *text, size_t n,
                            const lac_allocator *mem, lac_error *err);

/* Copies n bytes of foreign text for use in an error: one line of printable ASCII with '?' for
 * every other byte, cut to fit. Returns `out`. */
enum { LACI_PLAIN = 64 };
const char *laci_plain_text(const char *text, size_t n, char out[LACI_PLAIN]);

#endif
