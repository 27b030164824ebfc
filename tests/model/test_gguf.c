/* test_gguf.c: the GGUF container. Files are built with a small writer; each rule has a file that
 * breaks only that rule. Every allocation is made to fail once. */
#define _POSIX_C_SOURCE 200809L
#include "gguf_writer.h"

#include <unistd.h>

#include "fault.h"

/* ------------------------------------------------------------------ opening */

static void refuse_as(lac_status expected, const char *word)
{
    laci_gguf *gguf;
    unsigned char *copy;
    lac_error err;
    const lac_status st = open_bytes(&gguf, &copy, &err);
    if (st != expected) fail_msg("\"%s\": %s (%s)", word, lac_status_name(st), err.message);
    if (!strstr(err.message, word)) fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    assert_null(gguf);
    free(copy);
}

static void refuse(const char *word)
{
    refuse_as(LAC_EFORMAT, word);
}

static void accept(size_t n_tensors)
{
    laci_gguf *gguf;
    unsigned char *copy;
    lac_error err;
    if (open_bytes(&gguf, &copy, &err)) fail_msg("%s", err.message);
    const size_t n = laci_gguf_tensors(gguf)->n_tensors;
    if (n != n_tensors) fail_msg("%zu tensors, expected %zu", n, n_tensors);
    laci_gguf_close(gguf);
    free(copy);
}

static void header_is_checked(void **state)
{
    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        begin(version, 0, 0);
        accept(0);
    }
    begin(3, 0, 0);
    w.n = 23;
    refuse("23 bytes");
    w.n = 0;
    refuse("an empty file");
    begin(3, 0, 0);
    w.bytes[3] = 'X';
    refuse("does not begin with GGUF");
    begin(1, 0, 0);
    refuse_as(LAC_EUNSUPPORTED, "version 1");
    begin(4, 0, 0);
    refuse_as(LAC_EUNSUPPORTED, "version 4");
    begin(0, 0, 0);
    refuse_as(LAC_EUNSUPPORTED, "version 0");
    begin(0x03000000, 0, 0);
    refuse_as(LAC_EUNSUPPORTED, "big-endian");
}

static void counts_are_checked(void **state)
{
    (void)state;
    begin(3, 65537, 0);
    refuse("65537 tensors and 0 keys, limits");
    begin(3, 0, 65537);
    refuse("0 tensors and 65537 keys, limits");
    begin(3, UINT64_MAX, UINT64_MAX);
    refuse("limits");
    begin(3, 1, 0);
    put_data(1, 32);
    refuse("needs 33 bytes");
    begin(3, 0, 1);
    put_data(1, 13);
    refuse("needs 14 bytes");
    begin(3, 0, 65536);
    refuse("needs 917504 bytes");
}

static void keys_are_checked(void **state)
{
    (void)state;
    begin(3, 0, 1);
    put_u32("a.b", 1);
    accept(0);
    begin(3, 0, 1);
    put_u32("", 1);
    put_uint(0, 8);
    refuse("0 bytes, allowed are 1 to 65535");
    begin(3, 0, 1);
    put_uint(1000, 8);
    put("abcdefghij", 10);
    refuse("key needs 1000 bytes");
    begin(3, 0, 1);
    put_uint(UINT64_MAX, 8);
    put("abcdefghij", 10);
    refuse("key needs 18446744073709551615 bytes");
    static const char *const bad[] = { "a\nb", "a\x7f", "a\xff", "\xc0\x80" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(3, 0, 1);
        put_u32(bad[i], 1);
        refuse("printable UTF-8");
    }
    begin(3, 0, 1);
    put_uint(3, 8);
    put("a\0b", 3);
    put_uint(4, 4);
    put_uint(0, 4);
    refuse("NUL");
    begin(3, 0, 3);
    put_u32("same", 1);
    put_u32("other", 1);
    put_f32("same", 2);
    refuse("key same occurs twice");
    static char huge[65537];
    memset(huge, 'k', 65536);
    begin(3, 0, 1);
    put_u32(huge, 1);
    refuse("65536 bytes");
    huge[65535] = 0;
    begin(3, 0, 1);
    put_u32(huge, 1);
    accept(0);
}

static void values_are_checked(void **state)
{
    (void)state;
    begin(3, 0, 1);
    put_key("k", 13);
    put_uint(0, 8);
    refuse("value type 13");
    begin(3, 0, 1);
    put_key("k", 7);
    put_uint(2, 1);
    refuse("bool 2");
    begin(3, 0, 1);
    put_key("k", 10);
    put_uint(0, 7);
    refuse("value needs 8 bytes");
    begin(3, 0, 1);
    put_key("k", 8);
    put_uint(2, 8);
    put("x", 1);
    refuse("string needs 2 bytes");
    begin(3, 0, 1);
    put_array("k", 9, 1);
    put_data(1, 16);
    refuse("array of arrays");
    begin(3, 0, 1);
    put_array("k", 77, 1);
    refuse("value type 77");
    begin(3, 0, 1);
    put_array("k", 0, (1 << 30) + 1);
    refuse("1073741825 elements, limit 1073741824");
    begin(3, 0, 1);
    put_array("k", 4, 3);
    put_uint(0, 8);
    put_uint(0, 3);
    refuse("array needs 12 bytes");
    begin(3, 0, 1);
    put_array("k", 8, 3);
    put_uint(0, 8);
    put_uint(0, 8);
    refuse("array needs 24 bytes");
    begin(3, 0, 1);
    put_array("k", 8, 2);
    put_string("abc");
    put_uint(9, 8);
    put("12345", 5);
    refuse("string in an array needs 9 bytes");
    begin(3, 0, 1);
    put_array("k", 7, 3);
    put("\0\1\2", 3);
    refuse("bool 2");
}

static void alignment_is_checked(void **state)
{
    (void)state;
    static const uint32_t bad[] = { 0, 1, 4, 24, 131072, 0x80000000u };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(3, 0, 1);
        put_u32("general.alignment", bad[i]);
        refuse("general.alignment is");
    }
    begin(3, 0, 1);
    put_key("general.alignment", 10);
    put_uint(32, 8);
    refuse("general.alignment is of type u64, expected u32");
    static const uint32_t good[] = { 8, 32, 65536 };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        begin(3, 1, 1);
        put_u32("general.alignment", good[i]);
        put_tensor("w", 1, 2, 0, 0, 0);
        put_data(good[i], 8);
        accept(1);
    }
}

static void tensor_entries_are_checked(void **state)
{
    (void)state;
    static const char name64[] = "0123456789012345678901234567890123456789012345678901234567890123";
    begin(3, 1, 0);
    put_tensor(name64 + 1, 1, 1, 0, 0, 0);
    put_data(32, 4);
    accept(1);
    begin(3, 1, 0);
    put_tensor(name64, 1, 1, 0, 0, 0);
    put_data(32, 4);
    refuse("64 bytes, allowed are 1 to 63");
    begin(3, 1, 0);
    put_tensor("a\tb", 1, 1, 0, 0, 0);
    put_data(32, 4);
    refuse("printable");
    begin(3, 2, 0);
    put_tensor("same", 1, 1, 0, 0, 0);
    put_tensor("same", 1, 1, 0, 0, 32);
    put_data(32, 36);
    refuse("tensor same occurs twice");
    for (int n_dims = 0; n_dims <= 5; n_dims += 5) {
        begin(3, 1, 0);
        put_tensor("w", n_dims, 1, 1, 0, 0);
        put_data(32, 36);
        refuse(n_dims ? "5 dimensions, allowed are 1 to 4" : "0 dimensions");
    }
    begin(3, 1, 0);
    put_tensor("w", 2, 4, 0, 0, 0);
    put_data(32, 4);
    refuse("dimension 1 of tensor w is 0");
    begin(3, 1, 0);
    put_tensor("w", 1, ((uint64_t)1 << 40) + 1, 0, 0, 0);
    put_data(32, 4);
    refuse("1099511627777");
    begin(3, 1, 0);
    put_tensor("w", 2, (uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0);
    put_data(32, 4);
    refuse("exceeds 64 bits");
    begin(3, 1, 0);
    put_tensor("w", 2, (uint64_t)1 << 40, (uint64_t)1 << 23, 0, 0);
    put_data(32, 4);
    refuse("size of tensor w exceeds 64 bits");
    begin(3, 1, 0);
    put_tensor("w", 2, 33, 32, 8, 0);
    put_data(32, 34 * 33);
    refuse("33 elements, type q8_0 needs a multiple of 32");
    static const unsigned unknown[] = { 4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, 0xffffffffu };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        begin(3, 1, 0);
        put_tensor("w", 1, 256, 0, unknown[i], 0);
        put_data(32, 1024);
        refuse_as(LAC_EUNSUPPORTED, "does not know");
    }
}

/* Bytes of 256 elements for every type id of the format. */
static void every_published_type_has_its_size(void **state)
{
    (void)state;
    static const struct {
        unsigned id, n_bytes;
        const char *name;
    } types[] = {
        { 0, 1024, "f32" },    { 1, 512, "f16" },     { 2, 144, "q4_0" },    { 3, 160, "q4_1" },
        { 6, 176, "q5_0" },    { 7, 192, "q5_1" },    { 8, 272, "q8_0" },    { 9, 288, "q8_1" },
        { 10, 84, "q2_k" },    { 11, 110, "q3_k" },   { 12, 144, "q4_k" },   { 13, 176, "q5_k" },
        { 14, 210, "q6_k" },   { 15, 292, "q8_k" },   { 16, 66, "iq2_xxs" }, { 17, 74, "iq2_xs" },
        { 18, 98, "iq3_xxs" }, { 19, 50, "iq1_s" },   { 20, 144, "iq4_nl" }, { 21, 110, "iq3_s" },
        { 22, 82, "iq2_s" },   { 23, 136, "iq4_xs" }, { 24, 256, "i8" },     { 25, 512, "i16" },
        { 26, 1024, "i32" },   { 27, 2048, "i64" },   { 28, 2048, "f64" },   { 29, 56, "iq1_m" },
        { 30, 512, "bf16" },   { 34, 54, "tq1_0" },   { 35, 66, "tq2_0" },   { 39, 136, "mxfp4" },
        { 40, 144, "nvfp4" },  { 41, 36, "q1_0" },    { 42, 72, "q2_0" },
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        laci_gguf *gguf;
        unsigned char *copy;
        lac_error err;
        begin(3, 1, 0);
        put_tensor("w", 1, 256, 0, types[i].id, 0);
        put_data(32, types[i].n_bytes);
        if (open_bytes(&gguf, &copy, &err)) fail_msg("%s", err.message);
        const laci_tensor *t = laci_tensor_find(laci_gguf_tensors(gguf), "w");
        if (t->n_bytes != types[i].n_bytes || strcmp(t->dtype_name, types[i].name))
            fail_msg("%s: %llu bytes, expected %s with %u", t->dtype_name,
                     (unsigned long long)t->n_bytes, types[i].name, types[i].n_bytes);
        const bool is_readable = t->dtype != LACI_OTHER;
        const unsigned id = types[i].id;
        assert_int_equal(is_readable, id == 0 || id == 1 || id == 8 || id == 30);
        if (is_readable) assert_string_equal(laci_dtype_of(t->dtype)->name, t->dtype_name);
        laci_gguf_close(gguf);
        free(copy);
        w.n--;
        refuse("the data section has");
    }
}

static void spans_are_checked(void **state)
{
    (void)state;
    static const struct {
        uint64_t at[2];
        size_t n_data;
        const char *word; /* NULL = good */
    } cases[] = {
        { { 0, 32 }, 40, NULL },
        { { 32, 0 }, 40, NULL },
        { { 0, 32 }, 71, NULL }, /* padding behind the last */
        { { 0, 33 }, 72, "not a multiple of 32" },
        { { 0, 32 }, 39, "tensor b has 8 bytes at offset 32, the data section has 39" },
        { { 0, UINT64_MAX - 31 }, 40, "the data section has 40" },
        { { 0, (uint64_t)1 << 62 }, 40, "the data section has 40" },
        { { 0, 0 }, 40, "overlaps" },
        { { 0, 64 }, 72, "gap of 56 bytes before tensor b, padding would be 24" },
        { { 32, 64 }, 72, "gap of 32 bytes before tensor a" },
        { { 0, 32 }, 72, "32 bytes follow the last tensor" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(3, 2, 0);
        put_tensor("a", 1, 2, 0, 0, cases[i].at[0]);
        put_tensor("b", 1, 2, 0, 0, cases[i].at[1]);
        put_data(32, cases[i].n_data);
        if (cases[i].word)
            refuse(cases[i].word);
        else
            accept(2);
    }
    begin(3, 2, 0); /* a longer tensor that reaches into the next */
    put_tensor("a", 1, 9, 0, 0, 0);
    put_tensor("b", 1, 2, 0, 0, 32);
    put_data(32, 64);
    refuse("tensor b at offset 32 overlaps a, which ends at 36");
    begin(3, 1, 0); /* no data section at all */
    put_tensor("a", 1, 2, 0, 0, 0);
    refuse("the data section has 0");
}

/* Every prefix of a good file fails cleanly. */
static void every_truncation_is_refused(void **state)
{
    (void)state;
    begin(3, 1, 3);
    put_array("arr", 8, 2);
    put_string("one");
    put_string("two");
    put_text("text", "value");
    put_f32("f", 1);
    put_tensor("w", 2, 2, 2, 0, 0);
    put_data(32, 16);
    accept(1);
    const size_t whole = w.n;
    for (size_t n = 0; n < whole; n++) {
        laci_gguf *gguf;
        unsigned char *copy;
        lac_error err;
        w.n = n;
        const lac_status st = open_bytes(&gguf, &copy, &err);
        if (st != LAC_EFORMAT) fail_msg("%zu of %zu bytes: %s", n, whole, lac_status_name(st));
        free(copy);
    }
}

static void getters_are_typed(void **state)
{
    (void)state;
    laci_gguf *gguf;
    unsigned char *copy;
    lac_error err;
    begin(3, 0, 14);
    put_key("u8", 0), put_uint(200, 1);
    put_key("i8", 1), put_uint(0xff, 1);
    put_key("u16", 2), put_uint(65535, 2);
    put_key("i16", 3), put_uint(0x8000, 2);
    put_u32("u32", 4000000000u);
    put_key("i32", 5), put_uint(0xfffffffe, 4);
    put_key("u64", 10), put_uint(UINT64_MAX, 8);
    put_key("i64", 11), put_uint((uint64_t)1 << 63, 8);
    put_f32("f32", 1.5f);
    put_key("f64", 12), put_uint(0x3ff8000000000000, 8);
    put_f32("inf", (float)1e300 * 10);
    put_key("yes", 7), put_uint(1, 1);
    put_text("text", "hello");
    put_array("ints", 5, 2), put_uint(0xffffffff, 4), put_uint(7, 4);
    if (open_bytes(&gguf, &copy, &err)) fail_msg("%s", err.message);
    static const struct {
        const char *key;
        int64_t value;
    } ints[] = { { "u8", 200 },         { "i8", -1 },  { "u16", 65535 },    { "i16", -32768 },
                 { "u32", 4000000000 }, { "i32", -2 }, { "i64", INT64_MIN } };
    bool found;
    int64_t i = 0;
    for (size_t k = 0; k < sizeof ints / sizeof *ints; k++) {
        assert_ok(laci_gguf_int(gguf, ints[k].key, &i, &found, &err));
        if (!found || i != ints[k].value) fail_msg("%s is %lld", ints[k].key, (long long)i);
    }
    assert_int_equal(laci_gguf_int(gguf, "u64", &i, &found, &err), LAC_EFORMAT);
    assert_int_equal(laci_gguf_int(gguf, "f32", &i, &found, &err), LAC_EFORMAT);
    assert_int_equal(laci_gguf_int(gguf, "yes", &i, &found, &err), LAC_EFORMAT);
    assert_non_null(strstr(err.message, "key yes is of type bool, expected an integer"));
    assert_ok(laci_gguf_int(gguf, "absent", &i, &found, &err));
    assert_false(found);
    double f = 0;
    assert_ok(laci_gguf_float(gguf, "f64", &f, &found, &err));
    assert_true(f == 1.5);
    assert_int_equal(laci_gguf_float(gguf, "inf", &f, &found, &err), LAC_EFORMAT);
    assert_int_equal(laci_gguf_float(gguf, "u8", &f, &found, &err), LAC_EFORMAT);
    bool yes = false;
    assert_ok(laci_gguf_bool(gguf, "yes", &yes, &found, &err));
    assert_true(yes);
    assert_int_equal(laci_gguf_bool(gguf, "u8", &yes, &found, &err), LAC_EFORMAT);
    const char *text;
    size_t n;
    assert_ok(laci_gguf_string(gguf, "text", &text, &n, &found, &err));
    assert_int_equal(n, 5);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(laci_gguf_string(gguf, "u8", &text, &n, &found, &err), LAC_EFORMAT);
    laci_gguf_array a;
    assert_ok(laci_gguf_get_array(gguf, "ints", &a, &found, &err));
    assert_false(laci_gguf_next_string(&a, &text, &n));
    assert_false(laci_gguf_next_float(&a, &f));
    assert_true(laci_gguf_next_int(&a, &i) && i == -1);
    assert_true(laci_gguf_next_int(&a, &i) && i == 7);
    assert_false(laci_gguf_next_int(&a, &i));
    assert_int_equal(laci_gguf_get_array(gguf, "u8", &a, &found, &err), LAC_EFORMAT);
    laci_gguf_close(gguf);
    free(copy);
}

static void arrays_are_walked_in_order(void **state)
{
    (void)state;
    laci_gguf *gguf;
    unsigned char *copy;
    lac_error err;
    begin(3, 0, 4);
    put_array("strings", 8, 3), put_string("one"), put_string(""), put_string("three");
    put_array("floats", 6, 2), put_uint(0x3f800000, 4), put_uint(0xc0000000, 4);
    put_array("wide", 10, 1), put_uint(1234567890123, 8);
    put_array("none", 8, 0);
    if (open_bytes(&gguf, &copy, &err)) fail_msg("%s", err.message);
    laci_gguf_array a;
    bool found;
    const char *text;
    size_t n;
    static const char *const expected[] = { "one", "", "three" };
    assert_ok(laci_gguf_get_array(gguf, "strings", &a, &found, &err));
    for (size_t i = 0; i < 3; i++) {
        assert_true(laci_gguf_next_string(&a, &text, &n));
        assert_int_equal(n, strlen(expected[i]));
        assert_memory_equal(text, expected[i], n);
    }
    assert_false(laci_gguf_next_string(&a, &text, &n));
    double f = 0;
    int64_t i = 0;
    assert_ok(laci_gguf_get_array(gguf, "floats", &a, &found, &err));
    assert_true(laci_gguf_next_float(&a, &f) && f == 1);
    assert_true(laci_gguf_next_float(&a, &f) && f == -2);
    assert_false(laci_gguf_next_float(&a, &f));
    assert_ok(laci_gguf_get_array(gguf, "wide", &a, &found, &err));
    assert_true(laci_gguf_next_int(&a, &i) && i == 1234567890123);
    assert_ok(laci_gguf_get_array(gguf, "none", &a, &found, &err));
    assert_true(found && !a.left && !laci_gguf_next_string(&a, &text, &n));
    laci_gguf_close(gguf);
    free(copy);
}

/* ------------------------------------------------------------------ files and shards */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lacuna-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c) */
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void save(const char *name)
{
    FILE *file = fopen(path_of(name), "wb");
    if (!file || fwrite(w.bytes, 1, w.n, file) != w.n) fail_msg("cannot write %s", name);
    fclose(file);
}

static void save_shard(const char *name, int no, int count, int total, const char *tensor)
{
    begin(3, 1, 3);
    put_key("split.no", 2), put_uint((uint64_t)no, 2);
    put_key("split.count", 2), put_uint((uint64_t)count, 2);
    put_key("split.tensors.count", 5), put_uint((uint64_t)total, 4);
    put_tensor(tensor, 1, 2, 0, 0, 0);
    put_data(32, 8);
    save(name);
}

static void refuse_path(const char *name, lac_status expected, const char *word)
{
    laci_gguf *gguf = NULL;
    lac_error err = { LAC_OK, 0, "" };
    const lac_status st = laci_gguf_open(&gguf, path_of(name), NULL, &err);
    if (st != expected) fail_msg("%s: %s (%s)", name, lac_status_name(st), err.message);
    if (!strstr(err.message, word)) fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    assert_null(gguf);
}

static void shards_are_joined(void **state)
{
    (void)state;
    laci_gguf *gguf = NULL;
    lac_error err;
    save_shard("m-00001-of-00002.gguf", 0, 2, 2, "a");
    refuse_path("m-00001-of-00002.gguf", LAC_EIO, "00002-of-00002");
    save_shard("m-00002-of-00002.gguf", 1, 2, 2, "b");
    if (laci_gguf_open(&gguf, path_of("m-00001-of-00002.gguf"), NULL, &err))
        fail_msg("%s", err.message);
    const laci_tensor_dir *dir = laci_gguf_tensors(gguf);
    assert_int_equal(dir->n_tensors, 2);
    assert_int_equal(dir->n_files, 2);
    assert_int_equal(laci_tensor_find(dir, "b")->file, 1);
    laci_gguf_close(gguf);
    refuse_path("m-00002-of-00002.gguf", LAC_EINVAL, "shard 2 of 2");
    refuse_path("absent.gguf", LAC_EIO, "absent.gguf");
    save_shard("m-00002-of-00002.gguf", 1, 2, 2, "a");
    refuse_path("m-00001-of-00002.gguf", LAC_EFORMAT, "tensor a occurs twice");
    save_shard("m-00002-of-00002.gguf", 0, 2, 2, "b");
    refuse_path("m-00001-of-00002.gguf", LAC_EFORMAT, "split.no 0 and split.count 2");
    save_shard("m-00002-of-00002.gguf", 1, 3, 2, "b");
    refuse_path("m-00001-of-00002.gguf", LAC_EFORMAT, "split.count 3");
    save_shard("m-00002-of-00002.gguf", 1, 2, 2, "b");
    save_shard("m-00001-of-00002.gguf", 0, 2, 3, "a");
    refuse_path("m-00001-of-00002.gguf", LAC_EFORMAT, "split.tensors.count is 3");
    save_shard("alone.gguf", 0, 2, 2, "a");
    refuse_path("alone.gguf", LAC_EFORMAT, "split.count 2");
    save_shard("m-00001-of-00000.gguf", 0, 2, 2, "a");
    refuse_path("m-00001-of-00000.gguf", LAC_EFORMAT, "0 shards");
    refuse_path("m-00001-of-99999.gguf", LAC_EFORMAT, "99999 shards");
}

static void every_failed_allocation_is_clean(void **state)
{
    (void)state;
    save_shard("m-00001-of-00002.gguf", 0, 2, 2, "a");
    save_shard("m-00002-of-00002.gguf", 1, 2, 2, "b");
    lac_status st = LAC_ENOMEM;
    int n = 0;
    for (; st && n < 200; n++) {
        fault b = { .left = n };
        const lac_allocator mem = fault_allocator(&b);
        laci_gguf *gguf = NULL;
        lac_error err = { LAC_OK, 0, "" };
        st = laci_gguf_open(&gguf, path_of("m-00001-of-00002.gguf"), &mem, &err);
        if (st && (st != LAC_ENOMEM || gguf))
            fail_msg("allocation %d: %s (%s)", n, lac_status_name(st), err.message);
        laci_gguf_close(gguf);
        if (b.live) fail_msg("allocation %d: %ld blocks leaked", n, b.live);
    }
    assert_int_equal(st, LAC_OK);
    assert_in_range(n, 10, 199);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_is_checked),
        cmocka_unit_test(counts_are_checked),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(values_are_checked),
        cmocka_unit_test(alignment_is_checked),
        cmocka_unit_test(tensor_entries_are_checked),
        cmocka_unit_test(every_published_type_has_its_size),
        cmocka_unit_test(spans_are_checked),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(getters_are_typed),
        cmocka_unit_test(arrays_are_walked_in_order),
        IN_FOLDER(shards_are_joined),
        IN_FOLDER(every_failed_allocation_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
