/* knobs.c: see knobs.h. */
#include "attention/knobs.h"

#include <assert.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KNOBS = 64, VALUE_TEXT = 64, NAMES_TEXT = 320 };

/* A part of the text. */
typedef struct {
    const char *at;
    size_t n;
} piece;

/* ------------------------------------------------------------------ values */

static bool is_word(const piece *p, const char *word)
{
    return strlen(word) == p->n && !memcmp(word, p->at, p->n);
}

/* Number of the word among words separated by '|', from 1 on; 0 when it is none of them. */
static int find_word(const char *words, const piece *p)
{
    int i = 1;
    for (const char *at = words; *at; i++) {
        const size_t n = strcspn(at, "|");
        if (n == p->n && !memcmp(at, p->at, n)) return i;
        at += n + (at[n] == '|');
    }
    return 0;
}

/* A decimal number, whatever the locale of the program: digits, one point, an exponent. */
static bool read_number(const piece *p, double *out)
{
    char copy[VALUE_TEXT];
    char *end;
    if (!p->n || p->n >= sizeof copy) return false;
    memcpy(copy, p->at, p->n);
    copy[p->n] = 0;
    if (copy[strspn(copy, "+-.0123456789eE")]) return false;
    char *point = strchr(copy, '.');
    if (point) *point = *localeconv()->decimal_point;
    *out = strtod(copy, &end);
    return end == copy + p->n && end != copy && isfinite(*out);
}

static bool is_in_range(const laci_knob *k, double x)
{
    switch (k->kind) {
    case LACI_KNOB_PART: return x > 0 && x <= 1;
    case LACI_KNOB_LESS: return x >= 0 && x < 1;
    case LACI_KNOB_NUMBER: return x >= 0 && x <= k->max;
    case LACI_KNOB_AMOUNT: return x > 0 && (x < 1 || (x == floor(x) && x <= k->max));
    case LACI_KNOB_COUNT: return x >= k->min && x <= k->max && x == floor(x);
    default: return true;
    }
}

/* Stores a value in the field of its knob; false when it is none that may be. */
static bool store(void *settings, const laci_knob *k, const piece *value)
{
    char *field = (char *)settings + k->at;
    const int word = k->words ? find_word(k->words, value) : 0;
    double x = 0;
    if (k->words && !word) return false;
    if (k->kind == LACI_KNOB_CHOICE) {
        memcpy(field, &word, sizeof word);
        return true;
    }
    if (k->kind == LACI_KNOB_EITHER) {
        const bool is_second = word == 2;
        memcpy(field, &is_second, sizeof is_second);
        return true;
    }
    if (!read_number(value, &x) || !is_in_range(k, x)) return false;
    if (k->kind == LACI_KNOB_COUNT || k->kind == LACI_KNOB_SIZE) {
        const size_t n = (size_t)x;
        memcpy(field, &n, sizeof n);
    } else {
        memcpy(field, &x, sizeof x);
    }
    return true;
}

/* Leaves the field to the policy. */
static void clear(void *settings, const laci_knob *k)
{
    const size_t count = LACI_KNOB_AUTO;
    char *field = (char *)settings + k->at;
    if (k->kind == LACI_KNOB_COUNT)
        memcpy(field, &count, sizeof count);
    else
        memset(field, 0,
               k->kind == LACI_KNOB_CHOICE ? sizeof(int)
               : k->kind == LACI_KNOB_SIZE ? sizeof(size_t)
                                           : sizeof(double));
}

static bool set(void *settings, const laci_knob *k, const piece *value)
{
    if (!k->means || !is_word(value, "auto")) return store(settings, k, value);
    clear(settings, k);
    return true;
}

void laci_knobs_default(void *settings, const laci_knob *knobs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const piece value = { knobs[i].normal, strlen(knobs[i].normal) };
        const bool is_valid = set(settings, &knobs[i], &value);
        assert(is_valid && "a default is no value of its knob");
        (void)is_valid;
    }
}

/* ------------------------------------------------------------------ texts */

/* Writes words "a|b|c" as "a, b or c". */
static void list_words(const char *words, char *out, size_t size)
{
    size_t n = 0;
    for (const char *at = words; *at && n < size;) {
        const size_t length = strcspn(at, "|");
        const bool is_last = !at[length], is_first = at == words;
        n += (size_t)snprintf(out + n, size - n, "%s%.*s",
                              is_first  ? ""
                              : is_last ? " or "
                                        : ", ",
                              (int)length, at);
        at += length + !is_last;
    }
}

void laci_knob_range(const laci_knob *k, char out[LACI_KNOB_TEXT])
{
    char text[LACI_KNOB_TEXT] = "";
    switch (k->kind) {
    case LACI_KNOB_PART: (void)snprintf(text, sizeof text, "a share above 0 and at most 1"); break;
    case LACI_KNOB_LESS: (void)snprintf(text, sizeof text, "a share from 0 to below 1"); break;
    case LACI_KNOB_NUMBER:
        (void)snprintf(text, sizeof text, "a number from 0 to %g", k->max);
        break;
    case LACI_KNOB_AMOUNT:
        (void)snprintf(text, sizeof text,
                       "a whole number from 1 to %.0f or a share above 0 and below 1", k->max);
        break;
    case LACI_KNOB_COUNT:
        (void)snprintf(text, sizeof text, "a whole number from %.0f to %.0f", k->min, k->max);
        break;
    default: list_words(k->words, text, sizeof text);
    }
    memcpy(out, text, sizeof text);
}

const char *laci_knob_default(const laci_knob *k)
{
    return !strcmp(k->normal, "auto") ? k->means : k->normal;
}

/* "it has a, b, c", or that it has none. */
static void list_knobs(const laci_knob *knobs, size_t n, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, n ? "it has " : "it has none");
    for (size_t i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", knobs[i].name);
}

/* ------------------------------------------------------------------ reading */

static bool is_name(const laci_knob *k, const piece *name)
{
    if (strlen(k->name) != name->n) return false;
    for (size_t i = 0; i < name->n; i++)
        if ((name->at[i] == '_' ? '-' : name->at[i]) != k->name[i]) return false;
    return true;
}

static size_t find(const laci_knob *knobs, size_t n, const piece *name)
{
    size_t i = 0;
    while (i < n && !is_name(&knobs[i], name))
        i++;
    return i;
}

/* Cuts the next "name=value" off the text at *at; `name` is what stands before '='. */
static piece next_piece(const char *text, size_t length, size_t *at, piece *name)
{
    const char *comma = memchr(text + *at, ',', length - *at);
    const piece p = { text + *at, comma ? (size_t)(comma - text) - *at : length - *at };
    const char *equals = memchr(p.at, '=', p.n);
    *name = (piece){ p.at, equals ? (size_t)(equals - p.at) : p.n };
    *at += p.n + (comma != NULL);
    return p;
}

bool laci_knobs_have(const laci_knob *knobs, size_t n, const char *text, size_t length)
{
    piece name;
    for (size_t at = 0; at < length;) {
        (void)next_piece(text, length, &at, &name);
        if (find(knobs, n, &name) == n) return false;
    }
    return true;
}

lac_status laci_knobs_read(void *settings, const laci_knob *knobs, size_t n, const char *policy,
                           const char *text, size_t length, lac_error *err)
{
    bool seen[MAX_KNOBS] = { false };
    char names[NAMES_TEXT], range[LACI_KNOB_TEXT];
    assert(n <= MAX_KNOBS);
    for (size_t at = 0; at < length;) {
        piece name;
        const piece p = next_piece(text, length, &at, &name);
        const size_t i = find(knobs, n, &name);
        const laci_knob *k = &knobs[i];
        if (i == n) {
            list_knobs(knobs, n, names, sizeof names);
            return laci_fail(err, LAC_EINVAL, 0, "the attention policy %s has no knob \"%s\": %s",
                             policy, laci_quote(name.at, name.n).text, names);
        }
        if (name.n == p.n)
            return laci_fail(err, LAC_EINVAL, 0, "knob %s of %s: no value; write %s=VALUE", k->name,
                             policy, k->name);
        if (seen[i])
            return laci_fail(err, LAC_EINVAL, 0, "knob %s of %s: given twice", k->name, policy);
        seen[i] = true;
        const piece value = { p.at + name.n + 1, p.n - name.n - 1 };
        if (set(settings, k, &value)) continue;
        laci_knob_range(k, range);
        return laci_fail(err, LAC_EINVAL, 0, "knob %s of %s: '%s' is not %s", k->name, policy,
                         laci_quote(value.at, value.n).text, range);
    }
    return LAC_OK;
}
