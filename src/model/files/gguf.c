/* gguf.c: reads GGUF versions 2 and 3, little-endian, in one file or in shards. A cursor passes
 * once over the header; every read is checked against the file, every count against the bytes left
 * before memory is taken for it. Keys and tensor spans are then sorted to find repetitions,
 * overlaps and gaps. Values stay where they lie in the file; the getters read them. */
#include "model/files/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/sniff.h"
#include "base/utf8.h"

enum {
    MAX_TENSORS = 65536,
    MAX_PAIRS = 65536,
    MIN_PAIR = 14,   /* bytes of the smallest key-value pair */
    MIN_TENSOR = 33, /* bytes of the smallest tensor entry */
    MAX_KEY = 65535,
    MAX_NAME = 63,
    MAX_DIMS = 4,
    MAX_ARRAY = 1 << 30,
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,
    MAX_ALIGNMENT = 65536,
    MAX_SHARDS = 1024,
};

static const uint64_t max_dim = (uint64_t)1 << 40;
// clang-format off
/* Value types of the format. */
enum { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64,
       T_F64, N_TYPES };
static const struct {
    const char *name;
    unsigned size; /* bytes, 0 = varies */
} value_types[N_TYPES] = {
    { "u8", 1 },  { "i8", 1 },   { "u16", 2 },    { "i16", 2 },   { "u32", 4 }, { "i32", 4 },
    { "f32", 4 }, { "bool", 1 }, { "string", 0 }, { "array", 0 }, { "u64", 8 }, { "i64", 8 },
    { "f64", 8 },
};

/* Tensor types by id. Types that cannot be read here are listed too: their spans are checked and
 * they can be refused by name. Ids without a name were retired. */
static const struct {
    const char *name;
    unsigned block, bytes; /* elements and bytes of a block */
} tensor_types[] = {
    [0] = { "f32", 1, 4 }, [1] = { "f16", 1, 2 }, [2] = { "q4_0", 32, 18 },
    [3] = { "q4_1", 32, 20 }, [6] = { "q5_0", 32, 22 }, [7] = { "q5_1", 32, 24 },
    [8] = { "q8_0", 32, 34 }, [9] = { "q8_1", 32, 36 }, [10] = { "q2_k", 256, 84 },
    [11] = { "q3_k", 256, 110 }, [12] = { "q4_k", 256, 144 }, [13] = { "q5_k", 256, 176 },
    [14] = { "q6_k", 256, 210 }, [15] = { "q8_k", 256, 292 }, [16] = { "iq2_xxs", 256, 66 },
    [17] = { "iq2_xs", 256, 74 }, [18] = { "iq3_xxs", 256, 98 }, [19] = { "iq1_s", 256, 50 },
    [20] = { "iq4_nl", 32, 18 }, [21] = { "iq3_s", 256, 110 }, [22] = { "iq2_s", 256, 82 },
    [23] = { "iq4_xs", 256, 136 }, [24] = { "i8", 1, 1 }, [25] = { "i16", 1, 2 },
    [26] = { "i32", 1, 4 }, [27] = { "i64", 1, 8 }, [28] = { "f64", 1, 8 },
    [29] = { "iq1_m", 256, 56 }, [30] = { "bf16", 1, 2 }, [34] = { "tq1_0", 256, 54 },
    [35] = { "tq2_0", 256, 66 }, [39] = { "mxfp4", 32, 17 }, [40] = { "nvfp4", 64, 36 },
    [41] = { "q1_0", 128, 18 }, [42] = { "q2_0", 64, 18 },
};
enum { N_TENSOR_TYPES = sizeof tensor_types / sizeof *tensor_types };
// clang-format on

/* One key and where its value lies. */
typedef struct {
    const char *key; /* in the file, not terminated */
    size_t n_key;
    uint32_t type;
    laci_gguf_array array;      /* of a T_ARRAY */
    const unsigned char *value; /* of all others; a string's length comes first */
} pair;

typedef struct {
    pair *pairs; /* [n] ascending by key */
    size_t n;
} metadata;

struct laci_gguf {
    lac_allocator mem;
    laci_tensor_dir dir;
    metadata meta; /* of the only or first file */
};

/* One file while it is read. */
typedef struct {
    const unsigned char *data;
    size_t size, at;
    const char *name; /* of the file, for errors */
    lac_error *err;
} cursor;

/* ------------------------------------------------------------------ bytes */

static uint64_t read_uint(const unsigned char *at, unsigned n)
{
    uint64_t value = 0;
    while (n-- > 0)
        value = value << 8 | at[n];
    return value;
}

/* Passes over n bytes; NULL when the file ends before them. */
static const unsigned char *take(cursor *c, uint64_t n)
{
    if (n > c->size - c->at) return NULL;
    const unsigned char *at = c->data + c->at;
    c->at += (size_t)n;
    return at;
}

static lac_status fail_short(const cursor *c, const char *what, uint64_t n)
{
    return laci_fail(c->err, LAC_EFORMAT, c->at,
                     "%s: %s needs %llu bytes at offset %zu, file has %zu left", c->name, what,
                     (unsigned long long)n, c->at, c->size - c->at);
}

static lac_status take_uint(cursor *c, const char *what, unsigned n, uint64_t *out)
{
    const unsigned char *at = take(c, n);
    if (!at) return fail_short(c, what, n);
    *out = read_uint(at, n);
    return LAC_OK;
}

/* A string: length, then bytes, not terminated. */
static lac_status take_string(cursor *c, const char *what, const char **out, size_t *n)
{
    uint64_t length = 0;
    lac_status st = take_uint(c, what, 8, &length);
    if (st) return st;
    const unsigned char *at = take(c, length);
    if (!at) return fail_short(c, what, length);
    *out = (const char *)at;
    *n = (size_t)length;
    return LAC_OK;
}

/* A key or tensor name: of the allowed length, valid UTF-8, and printable, since errors quote it.
 */
static lac_status take_name(cursor *c, const char *what, size_t limit, const char **out, size_t *n)
{
    const size_t begin = c->at;
    lac_status st = take_string(c, what, out, n);
    if (st) return st;
    if (!*n || *n > limit)
        return laci_fail(c->err, LAC_EFORMAT, begin,
                         "%s: %s at offset %zu has %zu bytes, allowed are 1 to %zu", c->name, what,
                         begin, *n, limit);
    bool is_plain = laci_utf8_check(*out, *n) == *n;
    for (size_t i = 0; i < *n; i++)
        if ((unsigned char)(*out)[i] < 0x20 || (*out)[i] == 0x7f || laci_is_c1(*out + i, *n - i))
            is_plain = false;
    if (is_plain) return LAC_OK;
    return laci_fail(c->err, LAC_EFORMAT, begin,
                     "%s: %s at offset %zu is not printable UTF-8 (NUL and controls are refused)",
                     c->name, what, begin);
}

/* ------------------------------------------------------------------ metadata */

static lac_status fail_value_type(const cursor *c, const pair *p, uint32_t type)
{
    return laci_fail(c->err, LAC_EFORMAT, c->at,
                     "%s: key %.*s has value type %u, known are 0 to %d", c->name,
                     (int)(p->n_key > 200 ? 200 : p->n_key), p->key, type, N_TYPES - 1);
}

static lac_status check_bools(const cursor *c, const pair *p, const unsigned char *at, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (at[i] > 1)
            return laci_fail(c->err, LAC_EFORMAT, (uint64_t)(at + i - c->data),
                             "%s: key %.*s holds bool %u, allowed are 0 and 1", c->name,
                             (int)(p->n_key > 200 ? 200 : p->n_key), p->key, at[i]);
    return LAC_OK;
}

/* Element type, count, elements; strings are walked, so that later walks need no checks. */
static lac_status take_array(cursor *c, pair *p)
{
    uint64_t type = 0, n = 0;
    lac_status st = take_uint(c, "array type", 4, &type);
    if (!st) st = take_uint(c, "array length", 8, &n);
    if (st) return st;
    if (type >= N_TYPES) return fail_value_type(c, p, (uint32_t)type);
    const int n_key = (int)(p->n_key > 200 ? 200 : p->n_key);
    if (type == T_ARRAY)
        return laci_fail(c->err, LAC_EFORMAT, c->at, "%s: key %.*s is an array of arrays", c->name,
                         n_key, p->key);
    if (n > MAX_ARRAY)
        return laci_fail(c->err, LAC_EFORMAT, c->at, "%s: key %.*s has %llu elements, limit %d",
                         c->name, n_key, p->key, (unsigned long long)n, MAX_ARRAY);
    const unsigned size = type == T_STRING ? 8 : value_types[type].size;
    if (n * size > c->size - c->at) return fail_short(c, "array", n * size);
    p->array = (laci_gguf_array){ c->data + c->at, n, (uint32_t)type };
    if (type == T_BOOL) st = check_bools(c, p, p->array.at, n);
    if (type != T_STRING) (void)take(c, n * size);
    for (uint64_t i = 0; i < n && type == T_STRING && !st; i++) {
        const char *text;
        size_t n_text;
        st = take_string(c, "string in an array", &text, &n_text);
    }
    return st;
}

static lac_status take_pair(cursor *c, pair *p)
{
    uint64_t type = 0;
    lac_status st = take_name(c, "key", MAX_KEY, &p->key, &p->n_key);
    if (!st) st = take_uint(c, "value type", 4, &type);
    if (st) return st;
    if (type >= N_TYPES) return fail_value_type(c, p, (uint32_t)type);
    p->type = (uint32_t)type;
    p->value = c->data + c->at;
    if (type == T_ARRAY) return take_array(c, p);
    if (type == T_STRING) {
        const char *text;
        size_t n;
        return take_string(c, "string", &text, &n);
    }
    if (!take(c, value_types[type].size)) return fail_short(c, "value", value_types[type].size);
    return type == T_BOOL ? check_bools(c, p, p->value, 1) : LAC_OK;
}

/* By bytes, the shorter first. */
static int compare_key(const char *a, size_t n_a, const char *b, size_t n_b)
{
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order ? order : (n_a > n_b) - (n_a < n_b);
}

static int compare_pairs(const void *left_pair, const void *right_pair)
{
    const pair *a = left_pair, *b = right_pair;
    return compare_key(a->key, a->n_key, b->key, b->n_key);
}

/* Reads n pairs into meta, sorted; the caller frees meta->pairs, also on failure. */
static lac_status take_metadata(cursor *c, uint64_t n, metadata *meta, const lac_allocator *mem)
{
    if (!(meta->pairs = laci_alloc_array(mem, (size_t)n, sizeof *meta->pairs)))
        return laci_fail_memory(c->err, "metadata", (size_t)n * sizeof *meta->pairs);
    for (meta->n = 0; meta->n < n; meta->n++) {
        meta->pairs[meta->n] = (pair){ 0 };
        lac_status st = take_pair(c, &meta->pairs[meta->n]);
        if (st) return st;
    }
    if (n) qsort(meta->pairs, meta->n, sizeof *meta->pairs, compare_pairs);
    for (size_t i = 1; i < meta->n; i++) {
        const pair *p = &meta->pairs[i];
        if (compare_pairs(p - 1, p)) continue;
        return laci_fail(c->err, LAC_EFORMAT, (uint64_t)((const unsigned char *)p->key - c->data),
                         "%s: key %.*s occurs twice", c->name,
                         (int)(p->n_key > 200 ? 200 : p->n_key), p->key);
    }
    return LAC_OK;
}

static const pair *find_pair(const metadata *meta, const char *key)
{
    const size_t n_key = strlen(key);
    size_t begin = 0, end = meta->n;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        const pair *p = &meta->pairs[middle];
        const int order = compare_key(p->key, p->n_key, key, n_key);
        if (!order) return p;
        if (order < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

static lac_status fail_type(const pair *p, const char *key, const char *wanted, lac_error *err)
{
    return laci_fail(err, LAC_EFORMAT, 0, "key %s is of type %s, expected %s", key,
                     value_types[p->type].name, wanted);
}

/* Any integer or bool; false when the type is another or the value exceeds int64_t. */
static bool decode_int(uint32_t type, const unsigned char *at, int64_t *out)
{
    if (type == T_BOOL || type == T_U8 || type == T_U16 || type == T_U32) {
        *out = (int64_t)read_uint(at, value_types[type].size);
        return true;
    }
    if (type == T_U64) {
        const uint64_t value = read_uint(at, 8);
        if (value > INT64_MAX) return false;
        *out = (int64_t)value;
        return true;
    }
    if (type != T_I8 && type != T_I16 && type != T_I32 && type != T_I64) return false;
    const unsigned bits = 8 * value_types[type].size;
    const uint64_t sign = (uint64_t)1 << (bits - 1);
    const uint64_t value = read_uint(at, bits / 8);
    *out = value & sign ? (int64_t)(value - sign) - (int64_t)(sign - 1) - 1 : (int64_t)value;
    return true;
}

static bool decode_float(uint32_t type, const unsigned char *at, double *out)
{
    if (type == T_F32) {
        *out = (double)laci_bits_to_f32((uint32_t)read_uint(at, 4));
        return true;
    }
    if (type != T_F64) return false;
    const uint64_t bits = read_uint(at, 8);
    memcpy(out, &bits, sizeof *out);
    return true;
}

static lac_status get_int(const metadata *meta, const char *key, int64_t *out, bool *found,
                          lac_error *err)
{
    const pair *p = find_pair(meta, key);
    *found = p != NULL;
    if (!p) return LAC_OK;
    if (p->type == T_BOOL || !decode_int(p->type, p->value, out))
        return fail_type(p, key, "an integer of at most 63 bits", err);
    return LAC_OK;
}

/* ------------------------------------------------------------------ tensors */

static lac_status take_dims(cursor *c, const char *name, laci_tensor *t)
{
    uint64_t n = 0;
    lac_status st = take_uint(c, "number of dimensions", 4, &n);
    if (st) return st;
    if (n < 1 || n > MAX_DIMS)
        return laci_fail(c->err, LAC_EFORMAT, c->at - 4,
                         "%s: tensor %s has %llu dimensions, allowed are 1 to %d", c->name, name,
                         (unsigned long long)n, MAX_DIMS);
    t->n_dims = (int)n;
    t->n_elements = 1;
    for (int i = 0; i < t->n_dims; i++) {
        uint64_t size = 0;
        st = take_uint(c, "dimension", 8, &size);
        if (st) return st;
        if (size < 1 || size > max_dim)
            return laci_fail(c->err, LAC_EFORMAT, c->at - 8,
                             "%s: dimension %d of tensor %s is %llu, allowed are 1 to %llu",
                             c->name, i, name, (unsigned long long)size,
                             (unsigned long long)max_dim);
        if (t->n_elements > UINT64_MAX / size)
            return laci_fail(c->err, LAC_EFORMAT, c->at - 8,
                             "%s: the product of the dimensions of tensor %s exceeds 64 bits",
                             c->name, name);
        t->n_elements *= size;
        t->shape[t->n_dims - 1 - i] = size; /* the file's order is fastest first */
    }
    return LAC_OK;
}

/* What this build reads has the format's own name; everything else is LACI_OTHER. */
static laci_dtype dtype_of(const char *name)
{
    int type = 0;
    while (type < LACI_OTHER && strcmp(laci_dtype_of((laci_dtype)type)->name, name))
        type++;
    return (laci_dtype)type;
}

static lac_status take_type(cursor *c, const char *name, laci_tensor *t)
{
    uint64_t id = 0;
    lac_status st = take_uint(c, "tensor type", 4, &id);
    if (st) return st;
    if (id >= N_TENSOR_TYPES || !tensor_types[id].name)
        return laci_fail(c->err, LAC_EUNSUPPORTED, c->at - 4,
                         "%s: tensor %s has type id %llu, which this version does not know",
                         c->name, name, (unsigned long long)id);
    const uint64_t row = t->shape[t->n_dims - 1];
    const unsigned block = tensor_types[id].block, bytes = tensor_types[id].bytes;
    if (row % block)
        return laci_fail(c->err, LAC_EFORMAT, c->at - 4,
                         "%s: rows of tensor %s have %llu elements, type %s needs a multiple of %u",
                         c->name, name, (unsigned long long)row, tensor_types[id].name, block);
    if (t->n_elements / block > UINT64_MAX / bytes)
        return laci_fail(c->err, LAC_EFORMAT, c->at - 4, "%s: size of tensor %s exceeds 64 bits",
                         c->name, name);
    t->dtype = dtype_of(tensor_types[id].name);
    t->dtype_name = tensor_types[id].name;
    t->n_bytes = t->n_elements / block * bytes;
    return LAC_OK;
}

/* Reads one entry; its offset goes to *offset, since the data section is not known yet. */
static lac_status take_tensor(cursor *c, laci_tensor_dir *dir, int file, uint64_t *offset)
{
    const char *text;
    size_t n;
    char name[MAX_NAME + 1];
    lac_status st = take_name(c, "tensor name", MAX_NAME, &text, &n);
    if (st) return st;
    memcpy(name, text, n);
    name[n] = 0;
    laci_tensor t = { .file = file };
    st = take_dims(c, name, &t);
    if (!st) st = take_type(c, name, &t);
    if (!st) st = take_uint(c, "tensor offset", 8, offset);
    if (st) return st;
    if (!laci_tensor_append(dir, &t, name, n))
        return laci_fail_memory(c->err, "the tensor directory", sizeof t);
    return LAC_OK;
}

static lac_status read_alignment(const cursor *c, const metadata *meta, uint64_t *out)
{
    const pair *p = find_pair(meta, "general.alignment");
    *out = DEFAULT_ALIGNMENT;
    if (!p) return LAC_OK;
    if (p->type != T_U32) return fail_type(p, "general.alignment", "u32", c->err);
    *out = read_uint(p->value, 4);
    if (*out >= MIN_ALIGNMENT && *out <= MAX_ALIGNMENT && !(*out & (*out - 1))) return LAC_OK;
    return laci_fail(c->err, LAC_EFORMAT, (uint64_t)(p->value - c->data),
                     "%s: general.alignment is %llu, allowed are powers of two from %d to %d",
                     c->name, (unsigned long long)*out, MIN_ALIGNMENT, MAX_ALIGNMENT);
}

/* The data section of one file and the entries that point into it. */
typedef struct {
    const cursor *c;
    laci_tensor *tensors; /* [n] of this file */
    uint64_t *offsets;    /* [n] relative to the section */
    size_t n;
    uint64_t begin, size, alignment;
} section;

/* Checks each span on its own and sets the data pointers. */
static lac_status place_tensors(const section *s)
{
    const cursor *c = s->c;
    for (size_t i = 0; i < s->n; i++) {
        laci_tensor *t = &s->tensors[i];
        const uint64_t offset = s->offsets[i];
        if (offset % s->alignment)
            return laci_fail(c->err, LAC_EFORMAT, offset,
                             "%s: tensor %s at offset %llu, which is not a multiple of %llu",
                             c->name, t->name, (unsigned long long)offset,
                             (unsigned long long)s->alignment);
        if (offset > s->size || t->n_bytes > s->size - offset)
            return laci_fail(
                c->err, LAC_EFORMAT, offset,
                "%s: tensor %s has %llu bytes at offset %llu, the data section has %llu", c->name,
                t->name, (unsigned long long)t->n_bytes, (unsigned long long)offset,
                (unsigned long long)s->size);
        t->data = c->data + s->begin + offset;
    }
    return LAC_OK;
}

static int compare_places(const void *left_place, const void *right_place)
{
    const laci_tensor *const *a = left_place, *const *b = right_place;
    const uintptr_t at_a = (uintptr_t)(*a)->data, at_b = (uintptr_t)(*b)->data;
    return (at_a > at_b) - (at_a < at_b);
}

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* Spans in order of place must neither overlap nor leave more than padding between them, and no
 * more than padding may follow the last. */
static lac_status check_order(const section *s, const laci_tensor **order)
{
    const cursor *c = s->c;
    uint64_t end = 0;
    for (size_t i = 0; i < s->n; i++) {
        const uint64_t at = (uint64_t)((const unsigned char *)order[i]->data - c->data) - s->begin;
        if (at < end)
            return laci_fail(c->err, LAC_EFORMAT, s->begin + at,
                             "%s: tensor %s at offset %llu overlaps %s, which ends at %llu",
                             c->name, order[i]->name, (unsigned long long)at, order[i - 1]->name,
                             (unsigned long long)end);
        if (at != align_up(end, s->alignment))
            return laci_fail(c->err, LAC_EFORMAT, s->begin + at,
                             "%s: gap of %llu bytes before tensor %s, padding would be %llu",
                             c->name, (unsigned long long)(at - end), order[i]->name,
                             (unsigned long long)(align_up(end, s->alignment) - end));
        end = at + order[i]->n_bytes;
    }
    if (s->size - end < s->alignment) return LAC_OK;
    return laci_fail(c->err, LAC_EFORMAT, s->begin + end,
                     "%s: %llu bytes follow the last tensor, padding is at most %llu", c->name,
                     (unsigned long long)(s->size - end), (unsigned long long)s->alignment - 1);
}

static lac_status check_section(const section *s, const lac_allocator *mem)
{
    lac_status st = place_tensors(s);
    if (st) return st;
    const laci_tensor **order = laci_alloc_array(mem, s->n, sizeof *order);
    if (!order) return laci_fail_memory(s->c->err, "tensor spans", s->n * sizeof *order);
    for (size_t i = 0; i < s->n; i++)
        order[i] = &s->tensors[i];
    if (s->n) qsort(order, s->n, sizeof *order, compare_places);
    st = check_order(s, order);
    laci_release(mem, order);
    return st;
}

/* Reads n tensor entries and checks their spans. */
static lac_status take_tensors(cursor *c, uint64_t n, const metadata *meta, laci_tensor_dir *dir,
                               int file)
{
    section s = { .c = c, .n = (size_t)n };
    const size_t first = dir->n_tensors;
    if (!(s.offsets = laci_alloc_array(&dir->mem, s.n, sizeof *s.offsets)))
        return laci_fail_memory(c->err, "tensor offsets", s.n * sizeof *s.offsets);
    lac_status st = read_alignment(c, meta, &s.alignment);
    for (size_t i = 0; i < s.n && !st; i++)
        st = take_tensor(c, dir, file, &s.offsets[i]);
    if (!st) {
        s.tensors = dir->tensors ? dir->tensors + first : NULL;
        s.begin = align_up(c->at, s.alignment);
        s.size = s.begin < c->size ? c->size - s.begin : 0;
        st = check_section(&s, &dir->mem);
    }
    laci_release(&dir->mem, s.offsets);
    return st;
}

/* ------------------------------------------------------------------ files */

static lac_status take_header(cursor *c, uint64_t *n_tensors, uint64_t *n_pairs)
{
    const bool is_gguf = c->size >= 4 && !memcmp(c->data, "GGUF", 4);
    const char *other = is_gguf ? NULL : laci_sniff_binary(c->data, c->size);
    if (other)
        return laci_fail(c->err, LAC_EFORMAT, 0, "%s is %s, not a GGUF file", c->name, other);
    if (c->size < 24)
        return laci_fail(c->err, LAC_EFORMAT, 0, "%s: file has %zu bytes, GGUF needs at least 24",
                         c->name, c->size);
    if (memcmp(take(c, 4), "GGUF", 4))
        return laci_fail(c->err, LAC_EFORMAT, 0, "%s: the file does not begin with GGUF", c->name);
    uint64_t version = 0;
    (void)take_uint(c, "version", 4, &version);
    if (version && !(version & 0xffff))
        return laci_fail(c->err, LAC_EUNSUPPORTED, 4, "%s: big-endian GGUF is not supported",
                         c->name);
    if (version != 2 && version != 3)
        return laci_fail(c->err, LAC_EUNSUPPORTED, 4,
                         "%s: GGUF version %llu is not supported, known are 2 and 3", c->name,
                         (unsigned long long)version);
    (void)take_uint(c, "tensor count", 8, n_tensors);
    (void)take_uint(c, "key count", 8, n_pairs);
    if (*n_tensors > MAX_TENSORS || *n_pairs > MAX_PAIRS)
        return laci_fail(
            c->err, LAC_EFORMAT, 8, "%s: %llu tensors and %llu keys, limits are %d and %d", c->name,
            (unsigned long long)*n_tensors, (unsigned long long)*n_pairs, MAX_TENSORS, MAX_PAIRS);
    const uint64_t least = *n_tensors * MIN_TENSOR + *n_pairs * MIN_PAIR;
    return least <= c->size - c->at ? LAC_OK : fail_short(c, "what the counts promise", least);
}

/* One whole file. `meta` is the caller's to free, also on failure. */
static lac_status read_file(cursor *c, laci_tensor_dir *dir, int file, metadata *meta)
{
    uint64_t n_tensors = 0, n_pairs = 0;
    lac_status st = take_header(c, &n_tensors, &n_pairs);
    if (!st) st = take_metadata(c, n_pairs, meta, &dir->mem);
    if (!st) st = take_tensors(c, n_tensors, meta, dir, file);
    return st;
}

/* Sorts the finished directory and compares it with what the first file promises. */
static lac_status check_whole(laci_gguf *gguf, const char *name, lac_error *err)
{
    const char *twice;
    if (!laci_tensor_sort(&gguf->dir, &twice))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: tensor %s occurs twice", name, twice);
    int64_t n = 0;
    bool found;
    lac_status st = get_int(&gguf->meta, "split.tensors.count", &n, &found, err);
    if (st) return laci_fail_prefix(err, st, name);
    if (!found || (uint64_t)n == gguf->dir.n_tensors) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "%s: split.tensors.count is %lld, the shards hold %zu",
                     name, (long long)n, gguf->dir.n_tensors);
}

/* Hands the object over, or frees it when anything failed. */
static lac_status finish(laci_gguf **out, laci_gguf *gguf, lac_status st, const char *name,
                         lac_error *err)
{
    if (!st) st = check_whole(gguf, name, err);
    if (st)
        laci_gguf_close(gguf);
    else
        *out = gguf;
    return st;
}

static lac_status create(laci_gguf **out, const lac_allocator *mem, lac_error *err)
{
    const lac_allocator heap = laci_allocator_or_default(mem);
    laci_gguf *gguf = laci_alloc_zero(&heap, sizeof *gguf);
    if (!gguf) return laci_fail_memory(err, "a GGUF file", sizeof *gguf);
    gguf->mem = heap;
    gguf->dir.mem = heap;
    *out = gguf;
    return LAC_OK;
}

/* Number `no` of `count` shards must say so itself; a file alone may say nothing or 0 or 1. */
static lac_status check_split(const cursor *c, const metadata *meta, int no, int count)
{
    int64_t own_no = no, own_count = count > 1 ? -1 : count;
    bool found;
    lac_status st = get_int(meta, "split.no", &own_no, &found, c->err);
    if (!st) st = get_int(meta, "split.count", &own_count, &found, c->err);
    if (st) return laci_fail_prefix(c->err, st, c->name);
    if (count == 1 && !own_count) own_count = 1;
    if (own_no == no && own_count == count) return LAC_OK;
    return laci_fail(c->err, LAC_EFORMAT, 0,
                     "%s: split.no %lld and split.count %lld, its name says shard %d of %d",
                     c->name, (long long)own_no, (long long)own_count, no, count);
}

lac_status laci_gguf_open_bytes(laci_gguf **out, const unsigned char *data, size_t size,
                                const char *name, const lac_allocator *mem, lac_error *err)
{
    laci_gguf *gguf = NULL;
    lac_status st = create(&gguf, mem, err);
    if (st) return st;
    cursor c = { data, size, 0, name, err };
    st = read_file(&c, &gguf->dir, -1, &gguf->meta);
    if (!st) st = check_split(&c, &gguf->meta, 0, 1);
    return finish(out, gguf, st, name, err);
}

/* Reads "-00001-of-0000N.gguf" at the end of a path. False when the name is of no such form. */
static bool parse_shard_name(const char *path, size_t *n_stem, int *no, int *count)
{
    enum { TAIL = 20 }; /* -00001-of-00002.gguf */
    const size_t n = strlen(path);
    if (n < TAIL) return false;
    const char *tail = path + n - TAIL;
    if (tail[0] != '-' || memcmp(tail + 6, "-of-", 4) || strcmp(tail + 15, ".gguf")) return false;
    *no = *count = 0;
    for (int i = 0; i < 5; i++) {
        const char a = tail[1 + i], b = tail[10 + i];
        if (a < '0' || a > '9' || b < '0' || b > '9') return false;
        *no = *no * 10 + (a - '0');
        *count = *count * 10 + (b - '0');
    }
    *n_stem = n - TAIL;
    return true;
}

/* Maps and reads one shard; the metadata of all but the first is only checked. */
static lac_status add_shard(laci_gguf *gguf, const char *path, int no, int count, lac_error *err)
{
    laci_tensor_dir *dir = &gguf->dir;
    lac_status st = laci_tensor_dir_map(dir, path, err);
    if (st) return st;
    const int file = (int)dir->n_files - 1;
    cursor c = { dir->files[file].data, dir->files[file].size, 0, dir->file_names[file], err };
    metadata meta = { NULL, 0 };
    st = read_file(&c, dir, file, &meta);
    if (!st) st = check_split(&c, &meta, no, count);
    if (!st && !no) {
        gguf->meta = meta;
        return LAC_OK;
    }
    laci_release(&gguf->mem, meta.pairs);
    return st;
}

static lac_status add_shards(laci_gguf *gguf, const char *path, lac_error *err)
{
    size_t n_stem = 0;
    int no = 1, count = 1;
    if (!parse_shard_name(path, &n_stem, &no, &count)) return add_shard(gguf, path, 0, 1, err);
    if (no != 1)
        return laci_fail(err, LAC_EINVAL, 0, "%s is shard %d of %d: open the first", path, no,
                         count);
    if (count < 1 || count > MAX_SHARDS)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: %d shards, allowed are 1 to %d", path, count,
                         MAX_SHARDS);
    const size_t size = strlen(path) + 1;
    char *name = laci_alloc(&gguf->mem, size);
    if (!name) return laci_fail_memory(err, "a file name", size);
    memcpy(name, path, n_stem);
    lac_status st = LAC_OK;
    for (int i = 0; i < count && !st; i++) {
        (void)snprintf(name + n_stem, size - n_stem, "-%05d-of-%05d.gguf", i + 1, count);
        st = add_shard(gguf, name, i, count, err);
    }
    laci_release(&gguf->mem, name);
    return st;
}

lac_status laci_gguf_open(laci_gguf **out, const char *path, const lac_allocator *mem,
                          lac_error *err)
{
    laci_gguf *gguf = NULL;
    lac_status st = create(&gguf, mem, err);
    if (st) return st;
    st = add_shards(gguf, path, err);
    return finish(out, gguf, st, path, err);
}

void laci_gguf_close(laci_gguf *gguf)
{
    if (!gguf) return;
    const lac_allocator mem = gguf->mem;
    laci_release(&mem, gguf->meta.pairs);
    laci_tensor_dir_clear(&gguf->dir);
    laci_release(&mem, gguf);
}

/* ------------------------------------------------------------------ getters */

const laci_tensor_dir *laci_gguf_tensors(const laci_gguf *gguf)
{
    return &gguf->dir;
}

lac_status laci_gguf_int(const laci_gguf *gguf, const char *key, int64_t *out, bool *found,
                         lac_error *err)
{
    return get_int(&gguf->meta, key, out, found, err);
}

lac_status laci_gguf_float(const laci_gguf *gguf, const char *key, double *out, bool *found,
                           lac_error *err)
{
    double value;
    const pair *p = find_pair(&gguf->meta, key);
    if (!(*found = p != NULL)) return LAC_OK;
    if (!decode_float(p->type, p->value, &value)) return fail_type(p, key, "f32 or f64", err);
    if (!isfinite(value))
        return laci_fail(err, LAC_EFORMAT, 0, "key %s is %g, which is not finite", key, value);
    *out = value;
    return LAC_OK;
}

lac_status laci_gguf_bool(const laci_gguf *gguf, const char *key, bool *out, bool *found,
                          lac_error *err)
{
    const pair *p = find_pair(&gguf->meta, key);
    if (!(*found = p != NULL)) return LAC_OK;
    if (p->type != T_BOOL) return fail_type(p, key, "bool", err);
    *out = *p->value != 0;
    return LAC_OK;
}

lac_status laci_gguf_string(const laci_gguf *gguf, const char *key, const char **out, size_t *n,
                            bool *found, lac_error *err)
{
    const pair *p = find_pair(&gguf->meta, key);
    if (!(*found = p != NULL)) return LAC_OK;
    if (p->type != T_STRING) return fail_type(p, key, "string", err);
    *n = (size_t)read_uint(p->value, 8);
    *out = (const char *)p->value + 8;
    return LAC_OK;
}

lac_status laci_gguf_get_array(const laci_gguf *gguf, const char *key, laci_gguf_array *out,
                               bool *found, lac_error *err)
{
    const pair *p = find_pair(&gguf->meta, key);
    if (!(*found = p != NULL)) return LAC_OK;
    if (p->type != T_ARRAY) return fail_type(p, key, "array", err);
    *out = p->array;
    return LAC_OK;
}

bool laci_gguf_next_string(laci_gguf_array *a, const char **out, size_t *n)
{
    if (!a->left || a->type != T_STRING) return false;
    *n = (size_t)read_uint(a->at, 8);
    *out = (const char *)a->at + 8;
    a->at += 8 + *n;
    a->left--;
    return true;
}

bool laci_gguf_next_int(laci_gguf_array *a, int64_t *out)
{
    if (!a->left || a->type >= N_TYPES || !decode_int(a->type, a->at, out)) return false;
    a->at += value_types[a->type].size;
    a->left--;
    return true;
}

bool laci_gguf_next_float(laci_gguf_array *a, double *out)
{
    if (!a->left || a->type >= N_TYPES || !decode_float(a->type, a->at, out)) return false;
    a->at += value_types[a->type].size;
    a->left--;
    return true;
}
