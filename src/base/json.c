/* json.c: see json.h. A text passes three gates: our own scanner checks every byte (grammar, UTF-8,
 * escapes, limits) without recursion; cJSON then builds the tree, which it can no longer refuse
 * nor misread; the tree is walked once for repeated keys and numbers beyond double. cJSON is
 * lenient (comments of white space, lone surrogates, byte order marks), so the scanner is the
 * authority. Tree nodes come from malloc: cJSON's allocator is process-wide and stays untouched. */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sniff.h"
#include "base/utf8.h"

enum {
    MAX_DEPTH = 64,
    MAX_NUMBER = 63, /* cJSON copies a number into 64 bytes */
    DEFAULT_BYTES = 16 * 1024 * 1024,
    DEFAULT_NODES = 8 * 1000 * 1000,
};

struct laci_json {
    lac_allocator mem;
    cJSON *root;
};

/* ------------------------------------------------------------------ scanner */

typedef struct {
    const char *text;
    size_t n, at;
    const char *what;
    laci_json_limits limits;
    size_t n_nodes;
    int depth;
    bool is_object[MAX_DEPTH]; /* kind of each open container */
    bool is_fresh;             /* the innermost container has no element yet */
    size_t n_values;           /* values met; the root is number 1 */
    size_t n_words;            /* numbers met that JSON cannot write */
    size_t key_at;             /* where the last key began */
    size_t wanted, wanted_at;  /* number of a value, and where its key was found */
    lac_error *err;
} scanner;

static lac_status scan_fail(const scanner *s, const char *problem)
{
    if (s->at >= s->n)
        return laci_fail(s->err, LAC_EFORMAT, s->at, "%s: ends at byte %zu: %s", s->what, s->at,
                         problem);
    return laci_fail(s->err, LAC_EFORMAT, s->at, "%s: byte %zu (0x%02x): %s", s->what, s->at,
                     (unsigned)(unsigned char)s->text[s->at], problem);
}

/* The next byte, -1 at the end. */
static int peek(const scanner *s)
{
    return s->at < s->n ? (unsigned char)s->text[s->at] : -1;
}

static void skip_space(scanner *s)
{
    while (s->at < s->n) {
        const char c = s->text[s->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return;
        s->at++;
    }
}

/* Reads the four digits behind \u. */
static bool scan_hex4(const scanner *s, size_t at, unsigned *out)
{
    if (s->n - at < 4) return false;
    unsigned value = 0;
    for (size_t i = at; i < at + 4; i++) {
        const char c = s->text[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (unsigned)((c | 32) - 'a') + 10;
        else
            return false;
        value = value * 16 + digit;
    }
    *out = value;
    return true;
}

/* At a backslash: checks the escape and passes over it, both halves of a surrogate pair at once. */
static lac_status scan_escape(scanner *s)
{
    const size_t next = s->at + 1;
    if (next >= s->n) return scan_fail(s, "escape is cut off");
    const char kind = s->text[next];
    if (kind != 'u') {
        if (!kind || !strchr("\"\\/bfnrt", kind)) return scan_fail(s, "unknown escape");
        s->at += 2;
        return LAC_OK;
    }
    unsigned code, low;
    if (!scan_hex4(s, next + 1, &code)) return scan_fail(s, "\\u needs four hexadecimal digits");
    if (!code) return scan_fail(s, "\\u0000 (NUL) in a string is not supported");
    if (code >= 0xdc00 && code <= 0xdfff) return scan_fail(s, "lone low surrogate");
    s->at += 6;
    if (code < 0xd800 || code > 0xdbff) return LAC_OK;
    const bool paired = s->n - s->at >= 6 && s->text[s->at] == '\\' && s->text[s->at + 1] == 'u' &&
                        scan_hex4(s, s->at + 2, &low) && low >= 0xdc00 && low <= 0xdfff;
    if (!paired) {
        s->at -= 6;
        return scan_fail(s, "lone high surrogate");
    }
    s->at += 6;
    return LAC_OK;
}

static lac_status scan_string(scanner *s)
{
    s->at++;
    while (s->at < s->n) {
        const unsigned char c = (unsigned char)s->text[s->at];
        if (c == '"') {
            s->at++;
            return LAC_OK;
        }
        if (c < 0x20) return scan_fail(s, "control character in a string");
        if (c == '\\') {
            lac_status st = scan_escape(s);
            if (st) return st;
            continue;
        }
        uint32_t code;
        const size_t length = c < 0x80 ? 1 : laci_utf8_next(s->text + s->at, s->n - s->at, &code);
        if (!length) return scan_fail(s, "invalid UTF-8");
        s->at += length;
    }
    return scan_fail(s, "string is not closed");
}

/* Passes over digits; false when there is none. */
static bool scan_digits(scanner *s)
{
    const size_t begin = s->at;
    while (s->at < s->n && s->text[s->at] >= '0' && s->text[s->at] <= '9')
        s->at++;
    return s->at > begin;
}

static lac_status scan_number(scanner *s)
{
    const size_t begin = s->at;
    if (peek(s) == '-') s->at++;
    if (peek(s) == '0') {
        s->at++;
    } else if (!scan_digits(s)) {
        return scan_fail(s, "a number needs a digit here");
    }
    if (peek(s) == '.') {
        s->at++;
        if (!scan_digits(s)) return scan_fail(s, "a number needs a digit here");
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') s->at++;
        if (!scan_digits(s)) return scan_fail(s, "a number needs a digit here");
    }
    if (s->at - begin <= MAX_NUMBER) return LAC_OK;
    return laci_fail(s->err, LAC_EFORMAT, begin,
                     "%s: number of %zu characters at byte %zu, limit %d", s->what, s->at - begin,
                     begin, MAX_NUMBER);
}

static lac_status scan_word(scanner *s, const char *word)
{
    const size_t n = strlen(word);
    if (s->n - s->at < n || memcmp(s->text + s->at, word, n)) return scan_fail(s, "unknown word");
    s->at += n;
    return LAC_OK;
}

/* Numbers that Python writes and JSON does not know. */
static const char *const loose_words[] = { "NaN", "Infinity", "-Infinity" };

/* Length of such a number at `at`, 0 when there is none or it may not be there. */
static size_t loose_word(const scanner *s, size_t at)
{
    for (size_t i = 0; s->limits.is_loose && i < sizeof loose_words / sizeof *loose_words; i++) {
        const size_t n = strlen(loose_words[i]);
        if (s->n - at >= n && !memcmp(s->text + at, loose_words[i], n)) return n;
    }
    return 0;
}

static lac_status scan_open(scanner *s, bool is_object)
{
    if (s->depth == s->limits.max_depth)
        return laci_fail(s->err, LAC_EFORMAT, s->at, "%s: nesting deeper than %d at byte %zu",
                         s->what, s->limits.max_depth, s->at);
    s->is_object[s->depth++] = is_object;
    s->is_fresh = true;
    s->at++;
    return LAC_OK;
}

static lac_status scan_count(scanner *s)
{
    if (s->n_nodes++ < s->limits.max_nodes) return LAC_OK;
    return laci_fail(s->err, LAC_EFORMAT, s->at, "%s: more than %zu values and keys at byte %zu",
                     s->what, s->limits.max_nodes, s->at);
}

/* A scalar is passed over whole; of a container only the opening bracket. */
static lac_status scan_value(scanner *s)
{
    lac_status st = scan_count(s);
    if (st) return st;
    if (++s->n_values == s->wanted) s->wanted_at = s->key_at;
    const int c = peek(s);
    if (c == '{') return scan_open(s, true);
    if (c == '[') return scan_open(s, false);
    s->is_fresh = false;
    if (c == '"') return scan_string(s);
    if (c == 't') return scan_word(s, "true");
    if (c == 'f') return scan_word(s, "false");
    if (c == 'n') return scan_word(s, "null");
    const size_t n_word = loose_word(s, s->at);
    s->at += n_word;
    s->n_words += n_word > 0;
    if (n_word) return LAC_OK;
    if (c == '-' || (c >= '0' && c <= '9')) return scan_number(s);
    return scan_fail(s, "a value is expected here");
}

static lac_status scan_key(scanner *s)
{
    lac_status st = scan_count(s);
    if (st) return st;
    s->key_at = s->at;
    if (peek(s) != '"') return scan_fail(s, "a key in quotes is expected here");
    st = scan_string(s);
    if (st) return st;
    skip_space(s);
    if (peek(s) != ':') return scan_fail(s, "':' is expected here");
    s->at++;
    skip_space(s);
    return LAC_OK;
}

/* Inside a container: passes over its end or over one more element. */
static lac_status scan_step(scanner *s)
{
    skip_space(s);
    const bool is_object = s->is_object[s->depth - 1];
    if (peek(s) == (is_object ? '}' : ']')) {
        s->depth--;
        s->at++;
        s->is_fresh = false;
        return LAC_OK;
    }
    if (!s->is_fresh) {
        if (peek(s) != ',') return scan_fail(s, "',' or the end of the container is expected here");
        s->at++;
        skip_space(s);
    }
    lac_status st = is_object ? scan_key(s) : LAC_OK;
    return st ? st : scan_value(s);
}

static lac_status scan_document(scanner *s)
{
    if (s->limits.is_loose && s->n >= 3 && !memcmp(s->text, "\xef\xbb\xbf", 3)) s->at = 3;
    skip_space(s);
    lac_status st = scan_value(s);
    while (!st && s->depth)
        st = scan_step(s);
    if (st) return st;
    skip_space(s);
    return s->at == s->n ? LAC_OK : scan_fail(s, "nothing may follow the document");
}

/* ------------------------------------------------------------------ walk over the tree */

/* Values in document order, parents before children: the order in which the scanner numbers. */
typedef struct {
    const cJSON *at;
    const cJSON *open[MAX_DEPTH];
    int depth;
} walker;

static const cJSON *walk_next(walker *w)
{
    if (w->at->child) {
        w->open[w->depth++] = w->at;
        return w->at = w->at->child;
    }
    while (w->at && !w->at->next)
        w->at = w->depth ? w->open[--w->depth] : NULL;
    if (w->at) w->at = w->at->next;
    return w->at;
}

/* One member of an object under comparison: the head of its key decides most comparisons. */
typedef struct {
    uint64_t head; /* first 8 bytes of the key, big-endian */
    const cJSON *member;
} key_entry;

static uint64_t key_head(const char *key)
{
    uint64_t head = 0;
    for (int shift = 56; shift >= 0 && *key; shift -= 8, key++)
        head |= (uint64_t)(unsigned char)*key << shift;
    return head;
}

static int compare_keys(const void *left, const void *right)
{
    const key_entry *a = left, *b = right;
    if (a->head != b->head) return a->head < b->head ? -1 : 1;
    return strcmp(a->member->string, b->member->string);
}

typedef struct {
    lac_allocator mem;
    key_entry *entries; /* [capacity] */
    size_t capacity;
} key_table;

/* Makes room for n entries. */
static bool key_table_reserve(key_table *keys, size_t n)
{
    if (n <= keys->capacity) return true;
    const size_t capacity = n < 64 ? 64 : n;
    key_entry *grown = laci_resize_array(&keys->mem, keys->entries, capacity, sizeof *grown);
    if (!grown) return false;
    keys->entries = grown;
    keys->capacity = capacity;
    return true;
}

/* Finds two members with one key; twice[0] stays NULL when there are none. */
static lac_status find_repeated(const cJSON *object, key_table *keys, const cJSON *twice[2],
                                lac_error *err)
{
    const size_t n = laci_json_count(object);
    if (n < 2) return LAC_OK;
    if (!key_table_reserve(keys, n))
        return laci_fail_memory(err, "JSON keys", n * sizeof(key_entry));
    size_t i = 0;
    for (const cJSON *member = object->child; member; member = member->next)
        keys->entries[i++] = (key_entry){ key_head(member->string), member };
    qsort(keys->entries, n, sizeof *keys->entries, compare_keys);
    for (i = 1; i < n; i++) {
        if (compare_keys(&keys->entries[i - 1], &keys->entries[i])) continue;
        twice[0] = keys->entries[i - 1].member;
        twice[1] = keys->entries[i].member;
        return LAC_OK;
    }
    return LAC_OK;
}

/* Number of whichever of two values comes last. */
static size_t number_of(const cJSON *root, const cJSON *a, const cJSON *b)
{
    walker w = { .at = root };
    size_t number = 1, last = 0;
    for (const cJSON *v = root; v; v = walk_next(&w), number++)
        if (v == a || v == b) last = number;
    return last;
}

/* Reports a value of the tree at its place in the text, which a second scan finds. */
static lac_status fail_at_key(const scanner *scanned, size_t number, const char *key)
{
    scanner s = { .text = scanned->text,
                  .n = scanned->n,
                  .limits = scanned->limits,
                  .what = scanned->what,
                  .wanted = number };
    (void)scan_document(&s);
    char plain[LACI_PLAIN];
    laci_plain_text(key, strlen(key), plain);
    return laci_fail(scanned->err, LAC_EFORMAT, s.wanted_at,
                     "%s: key \"%s\" occurs twice in one object, again at byte %zu", s.what, plain,
                     s.wanted_at);
}

static lac_status fail_infinite(const scanner *scanned, const cJSON *v)
{
    char plain[LACI_PLAIN];
    const char *key = v->string ? v->string : "(in an array)";
    return laci_fail(scanned->err, LAC_EFORMAT, 0, "%s: a number is too large for a double: %s",
                     scanned->what, laci_plain_text(key, strlen(key), plain));
}

/* What only the finished tree can tell: repeated keys, numbers that became infinite. */
static lac_status check_tree(const cJSON *root, const scanner *scanned, const lac_allocator *mem)
{
    key_table keys = { .mem = *mem };
    walker w = { .at = root };
    lac_status st = LAC_OK;
    for (const cJSON *v = root; v && !st; v = walk_next(&w)) {
        const cJSON *twice[2] = { NULL, NULL };
        if (cJSON_IsNumber(v) && !isfinite(v->valuedouble)) st = fail_infinite(scanned, v);
        if (cJSON_IsObject(v)) st = find_repeated(v, &keys, twice, scanned->err);
        if (twice[0])
            st = fail_at_key(scanned, number_of(root, twice[0], twice[1]), twice[0]->string);
    }
    laci_release(mem, keys.entries);
    return st;
}

/* ------------------------------------------------------------------ documents */

static laci_json_limits fill_limits(const laci_json_limits *given)
{
    laci_json_limits limits = given ? *given : (laci_json_limits){ 0 };
    if (!limits.max_bytes) limits.max_bytes = DEFAULT_BYTES;
    if (!limits.max_nodes) limits.max_nodes = DEFAULT_NODES;
    if (limits.max_depth <= 0 || limits.max_depth > MAX_DEPTH) limits.max_depth = MAX_DEPTH;
    return limits;
}

/* A copy in which numbers that cJSON does not know are strings of the same length, which no key
 * wants: "N" for NaN. What lies in strings stays, for the scanner passes over strings. */
static char *copy_without_words(const scanner *scanned, const lac_allocator *mem)
{
    char *copy = laci_copy_string(mem, scanned->text, scanned->n);
    bool in_string = false;
    for (size_t i = 0; copy && i < scanned->n; i++) {
        const size_t n = in_string ? 0 : loose_word(scanned, i);
        if (n) {
            copy[i] = copy[i + n - 1] = '"';
            i += n - 1;
        } else if (in_string && copy[i] == '\\') {
            i++;
        } else if (copy[i] == '"') {
            in_string = !in_string;
        }
    }
    return copy;
}

/* cJSON notes the place of the last error in a static of its own on every parse. Nobody reads it
 * here, but two models may be opened at once, so parses take turns. */
static cJSON *parse_tree(const char *text, size_t n)
{
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&turn);
    cJSON *root = cJSON_ParseWithLengthOpts(text, n, NULL, false);
    pthread_mutex_unlock(&turn);
    return root;
}

lac_status laci_json_parse(laci_json **out, const char *text, size_t n, const char *what,
                           const laci_json_limits *limits, const lac_allocator *mem, lac_error *err)
{
    const lac_allocator heap = laci_allocator_or_default(mem);
    scanner s = { .text = text, .n = n, .what = what, .limits = fill_limits(limits), .err = err };
    if (n > s.limits.max_bytes)
        return laci_fail(err, LAC_EFORMAT, 0, "%s has %zu bytes, limit %zu", what, n,
                         s.limits.max_bytes);
    lac_status st = scan_document(&s);
    const char *other = st && s.limits.is_loose ? laci_sniff(text, n) : NULL;
    if (other) st = laci_fail(err, LAC_EFORMAT, 0, "%s is %s, not JSON", what, other);
    if (st) return st;
    laci_json *doc = laci_alloc_zero(&heap, sizeof *doc);
    if (!doc) return laci_fail_memory(err, what, sizeof *doc);
    doc->mem = heap;
    char *copy = s.n_words ? copy_without_words(&s, &heap) : NULL;
    if (copy || !s.n_words) doc->root = parse_tree(copy ? copy : text, n);
    laci_release(&heap, copy);
    st = doc->root ? check_tree(doc->root, &s, &heap)
                   : laci_fail_memory(err, what, s.n_nodes * sizeof(cJSON));
    if (st) goto fail;
    *out = doc;
    return LAC_OK;
fail:
    laci_json_free(doc);
    return st;
}

/* The last part of a path, to name a file in errors. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

lac_status laci_json_read(laci_json **out, const char *path, const laci_json_limits *limits,
                          const lac_allocator *mem, lac_error *err)
{
    const lac_allocator heap = laci_allocator_or_default(mem);
    char *text;
    size_t n;
    lac_status st = laci_file_read(&text, &n, path, fill_limits(limits).max_bytes, &heap, err);
    if (st) return st;
    st = laci_json_parse(out, text, n, base_name(path), limits, &heap, err);
    laci_release(&heap, text);
    return st;
}

void laci_json_free(laci_json *doc)
{
    if (!doc) return;
    cJSON_Delete(doc->root); /* recursion is bounded by MAX_DEPTH */
    const lac_allocator mem = doc->mem;
    laci_release(&mem, doc);
}

const laci_jval *laci_json_root(const laci_json *doc)
{
    return doc->root;
}

/* ------------------------------------------------------------------ values */

bool laci_json_is_object(const laci_jval *v)
{
    return cJSON_IsObject(v);
}

bool laci_json_is_array(const laci_jval *v)
{
    return cJSON_IsArray(v);
}

bool laci_json_is_string(const laci_jval *v)
{
    return cJSON_IsString(v);
}

bool laci_json_is_number(const laci_jval *v)
{
    return cJSON_IsNumber(v);
}

bool laci_json_is_bool(const laci_jval *v)
{
    return cJSON_IsBool(v);
}

bool laci_json_is_null(const laci_jval *v)
{
    return cJSON_IsNull(v);
}

const laci_jval *laci_json_first(const laci_jval *v)
{
    return cJSON_IsObject(v) || cJSON_IsArray(v) ? v->child : NULL;
}

const laci_jval *laci_json_next(const laci_jval *v)
{
    return v ? v->next : NULL;
}

const char *laci_json_key(const laci_jval *v)
{
    return v ? v->string : NULL;
}

size_t laci_json_count(const laci_jval *v)
{
    size_t n = 0;
    for (const laci_jval *item = laci_json_first(v); item; item = item->next)
        n++;
    return n;
}

const laci_jval *laci_json_get(const laci_jval *v, const char *key)
{
    if (!cJSON_IsObject(v)) return NULL;
    for (const cJSON *member = v->child; member; member = member->next)
        if (!strcmp(member->string, key)) return member;
    return NULL;
}

const char *laci_json_string(const laci_jval *v)
{
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

double laci_json_number(const laci_jval *v)
{
    return cJSON_IsNumber(v) ? v->valuedouble : NAN;
}

bool laci_json_bool(const laci_jval *v)
{
    return cJSON_IsTrue(v);
}

bool laci_json_integer(const laci_jval *v, int64_t *out)
{
    if (!cJSON_IsNumber(v)) return false;
    const double value = v->valuedouble;
    if (!(fabs(value) <= 0x1p53) || value != floor(value)) return false;
    *out = (int64_t)value;
    return true;
}

/* ------------------------------------------------------------------ typed members */

/* The member, NULL (and LAC_OK) when it is absent or null and may be. */
static lac_status find_member(const laci_jval **out, const laci_jval *object, const char *key,
                              bool required, const char *what, lac_error *err)
{
    *out = laci_json_get(object, key);
    if (*out && !cJSON_IsNull(*out)) return LAC_OK;
    const bool is_null = *out != NULL;
    *out = NULL;
    if (!required) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "%s: key \"%s\" is %s", what, key,
                     is_null ? "null" : "missing");
}

lac_status laci_json_get_int(const laci_jval *object, const char *key, bool required, int64_t min,
                             int64_t max, int *out, const char *what, lac_error *err)
{
    const laci_jval *v;
    lac_status st = find_member(&v, object, key, required, what, err);
    if (st || !v) return st;
    int64_t value;
    if (!laci_json_integer(v, &value))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is not an integer", what, key);
    if (value < min || value > max || value < INT32_MIN || value > INT32_MAX)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is %lld, allowed are %lld to %lld", what,
                         key, (long long)value, (long long)min, (long long)max);
    *out = (int)value;
    return LAC_OK;
}

lac_status laci_json_get_float(const laci_jval *object, const char *key, bool required, double min,
                               double max, double *out, const char *what, lac_error *err)
{
    const laci_jval *v;
    lac_status st = find_member(&v, object, key, required, what, err);
    if (st || !v) return st;
    if (!cJSON_IsNumber(v))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is not a number", what, key);
    if (!(v->valuedouble >= min && v->valuedouble <= max))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is %g, allowed are %g to %g", what, key,
                         v->valuedouble, min, max);
    *out = v->valuedouble;
    return LAC_OK;
}

lac_status laci_json_get_bool(const laci_jval *object, const char *key, bool required, bool *out,
                              const char *what, lac_error *err)
{
    const laci_jval *v;
    lac_status st = find_member(&v, object, key, required, what, err);
    if (st || !v) return st;
    if (!cJSON_IsBool(v))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is neither true nor false", what, key);
    *out = cJSON_IsTrue(v);
    return LAC_OK;
}

lac_status laci_json_get_string(const laci_jval *object, const char *key, bool required,
                                const char **out, const char *what, lac_error *err)
{
    const laci_jval *v;
    lac_status st = find_member(&v, object, key, required, what, err);
    if (st || !v) return st;
    if (!cJSON_IsString(v))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is not a string", what, key);
    *out = v->valuestring;
    return LAC_OK;
}
