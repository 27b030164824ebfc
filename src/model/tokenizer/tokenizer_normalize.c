/* tokenizer_normalize.c: the normalizers of a tokenizer. Canonical composition (NFC) leaves
 * stretches that cannot change alone and recomposes the rest, using the character tables of
 * utf8proc. Marks are ordered here, not there: its ordering takes quadratic time on long runs of
 * marks. */
#include <string.h>
#include <utf8proc.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

enum {
    FIRST_UNSTABLE = 0x300, /* all below are composed and never combine backwards */
    MAX_DECOMPOSED = 8,     /* code points of one character; 4 in Unicode so far */
    MAX_GROWTH = 16,        /* times a text may grow, */
    MIN_BOUND = 1 << 20,    /* and bytes besides */
    SHORT_RUN = 32          /* marks up to which insertion beats counting */
};

/* ------------------------------------------------------------------ canonical composition */

/* True when the character keeps its form and never combines with one before it. May say false for
 * a character that is stable: the stretch around it is then looked at closely. */
static bool is_stable(uint32_t code)
{
    if (code < FIRST_UNSTABLE) return true;
    if (code >= 0x4E00 && code <= 0x9FFF) return true; /* unified ideographs */
    if (code >= 0xAC00 && code <= 0xD7A3) return true; /* Hangul syllables */
    if ((code >= 0x1160 && code <= 0x11FF) || (code >= 0x16D40 && code <= 0x16D7F))
        return false; /* vowels and finals that combine though they are letters */
    const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code);
    if (property->combining_class || property->category == UTF8PROC_CATEGORY_MN ||
        property->category == UTF8PROC_CATEGORY_MC || property->category == UTF8PROC_CATEGORY_ME)
        return false;
    return property->decomp_seqindex == UINT16_MAX || property->decomp_type != 0;
}

static int combining_class(int32_t code)
{
    return utf8proc_get_property(code)->combining_class;
}

/* Orders a run of marks by class, keeping the order of equals. `spare` has room for as many. */
static void order_run(int32_t *codes, size_t n, int32_t *spare)
{
    if (n <= SHORT_RUN) {
        for (size_t i = 1; i < n; i++) {
            const int32_t code = codes[i];
            size_t at = i;
            for (; at && combining_class(codes[at - 1]) > combining_class(code); at--)
                codes[at] = codes[at - 1];
            codes[at] = code;
        }
        return;
    }
    size_t begin[257] = { 0 };
    for (size_t i = 0; i < n; i++)
        begin[combining_class(codes[i]) + 1]++;
    for (int class = 0; class < 256; class ++)
        begin[class + 1] += begin[class];
    for (size_t i = 0; i < n; i++)
        spare[begin[combining_class(codes[i])]++] = codes[i];
    memcpy(codes, spare, n * sizeof *codes);
}

static void order_marks(int32_t *codes, size_t n, int32_t *spare)
{
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin; end < n && combining_class(codes[end]); end++)
            ;
        if (end - begin > 1) order_run(codes + begin, end - begin, spare);
        if (end == begin) end++;
    }
}

/* Decomposes text[0..n) into work->codes; the array has as much room again behind the result. */
static lac_status decompose(laci_normalize_work *work, const char *text, size_t n, size_t *n_codes,
                            lac_error *err)
{
    size_t used = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        at += laci_utf8_next(text + at, n - at, &code);
        if (used + MAX_DECOMPOSED > work->n_codes_max / 2) {
            const size_t room = 4 * (used + MAX_DECOMPOSED);
            int32_t *codes = laci_resize_array(&work->mem, work->codes, room, sizeof *codes);
            if (!codes) return laci_fail_memory(err, "composing text", room * sizeof *codes);
            work->codes = codes;
            work->n_codes_max = room;
        }
        const utf8proc_ssize_t length =
            utf8proc_decompose_char((utf8proc_int32_t)code, work->codes + used, MAX_DECOMPOSED,
                                    UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, NULL);
        if (length < 0 || length > MAX_DECOMPOSED)
            return laci_fail(err, LAC_EINTERNAL, at,
                             "U+%04X decomposes to %ld characters, limit %d", (unsigned)code,
                             (long)length, MAX_DECOMPOSED);
        used += (size_t)length;
    }
    *n_codes = used;
    return LAC_OK;
}

/* Appends the composition of a stretch that nothing outside combines with. */
static lac_status compose(laci_normalize_work *work, const char *text, size_t n, laci_bytes *out,
                          lac_error *err)
{
    size_t n_codes = 0;
    lac_status st = decompose(work, text, n, &n_codes, err);
    if (st) return st;
    order_marks(work->codes, n_codes, work->codes + n_codes);
    const utf8proc_ssize_t n_composed = utf8proc_normalize_utf32(
        work->codes, (utf8proc_ssize_t)n_codes, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (n_composed < 0)
        return laci_fail(err, LAC_EINTERNAL, 0, "composing %zu characters failed: error %ld",
                         n_codes, (long)n_composed);
    for (utf8proc_ssize_t i = 0; i < n_composed; i++) {
        char sequence[4];
        const size_t length = laci_utf8_put((uint32_t)work->codes[i], sequence);
        st = laci_bytes_append(out, sequence, length, err);
        if (st) return st;
    }
    return LAC_OK;
}

/* Finds the next stretch that must be recomposed: a stable character and the unstable ones behind
 * it. *begin == n when there is none. */
static void next_unstable(const char *text, size_t n, size_t from, size_t *begin, size_t *end)
{
    size_t last = from, at = from;
    bool is_inside = false;
    while (at < n) {
        if ((unsigned char)text[at] < 0xCC) { /* below U+0300: stable */
            if (is_inside) break;
            last = at;
            at += (unsigned char)text[at] < 0x80 ? 1 : 2;
            continue;
        }
        uint32_t code = 0;
        const size_t length = laci_utf8_next(text + at, n - at, &code);
        if (is_stable(code)) {
            if (is_inside) break;
            last = at;
        } else {
            is_inside = true;
        }
        at += length;
    }
    *begin = is_inside ? last : n;
    *end = at;
}

lac_status laci_nfc(laci_normalize_work *work, const char *text, size_t n, laci_bytes *out,
                    bool *is_same, lac_error *err)
{
    size_t copied = 0, begin, end;
    next_unstable(text, n, 0, &begin, &end);
    *is_same = begin == n;
    if (*is_same) return LAC_OK;
    while (begin < n) {
        lac_status st = laci_bytes_append(out, text + copied, begin - copied, err);
        if (!st) st = compose(work, text + begin, end - begin, out, err);
        if (st) return st;
        copied = end;
        next_unstable(text, n, copied, &begin, &end);
    }
    return laci_bytes_append(out, text + copied, n - copied, err);
}

/* ------------------------------------------------------------------ the other steps */

/* Published normalizers grow a text by less than four. Steps that multiply it, one after the other,
 * would make gigabytes of a letter. */
static lac_status check_growth(const laci_normalize_work *work, size_t n, lac_error *err)
{
    const size_t most = work->n_given * MAX_GROWTH + MIN_BOUND;
    if (n <= most) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0,
                     "tokenizer: its normalizers make more than %zu bytes of a text of %zu", most,
                     work->n_given);
}

static lac_status replace(const laci_normalizer *step, const laci_normalize_work *work,
                          const char *text, size_t n, laci_bytes *out, lac_error *err)
{
    size_t copied = 0;
    for (size_t at = 0; n - at >= step->n_from; at++) {
        const char *hit = memchr(text + at, step->from[0], n - at - step->n_from + 1);
        if (!hit) break;
        at = (size_t)(hit - text);
        if (memcmp(hit, step->from, step->n_from) != 0) continue;
        lac_status st = laci_bytes_append(out, text + copied, at - copied, err);
        if (!st) st = laci_bytes_append(out, step->to, step->n_to, err);
        if (!st) st = check_growth(work, out->n, err);
        if (st) return st;
        copied = at + step->n_from;
        at = copied - 1;
    }
    return laci_bytes_append(out, text + copied, n - copied, err);
}

/* Applies one step to a text that is not empty; `is_same` as in laci_nfc(). */
static lac_status apply(const laci_normalizer *step, laci_normalize_work *work, const char *text,
                        size_t n, laci_bytes *out, bool *is_same, lac_error *err)
{
    *is_same = false;
    if (step->kind == LACI_NORMALIZE_NFC) return laci_nfc(work, text, n, out, is_same, err);
    if (step->kind == LACI_NORMALIZE_REPLACE) return replace(step, work, text, n, out, err);
    *is_same = step->kind == LACI_NORMALIZE_PREFIX_SPACE && text[0] == ' ';
    if (*is_same) return LAC_OK;
    lac_status st = laci_bytes_append(out, step->to, step->n_to, err);
    return st ? st : laci_bytes_append(out, text, n, err);
}

lac_status laci_normalize(const laci_normalizer *steps, int n_steps, laci_normalize_work *work,
                          const char *text, size_t n, const char **out, size_t *n_out,
                          lac_error *err)
{
    work->n_given = n;
    for (int i = 0; i < n_steps && n; i++) {
        laci_bytes *next = &work->text[text == work->text[0].data]; /* not the one being read */
        next->n = 0;
        bool is_same;
        lac_status st = apply(&steps[i], work, text, n, next, &is_same, err);
        if (!st && !is_same) st = check_growth(work, next->n, err);
        if (st) return st;
        if (is_same) continue;
        text = next->data;
        n = next->n;
    }
    *out = text;
    *n_out = n;
    return LAC_OK;
}

void laci_normalize_work_init(laci_normalize_work *work, const lac_allocator *mem)
{
    *work = (laci_normalize_work){ .mem = *mem };
    work->text[0].mem = work->text[1].mem = *mem;
}

void laci_normalize_work_clear(laci_normalize_work *work)
{
    laci_bytes_clear(&work->text[0]);
    laci_bytes_clear(&work->text[1]);
    laci_release(&work->mem, work->codes);
    work->codes = NULL;
    work->n_codes_max = 0;
}
