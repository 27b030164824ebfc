/* test_json.c: the strict JSON layer. Each rule has inputs that keep it and inputs that break only
 * it; of the latter the status, the offset and a word of the sentence are checked. */
#include "test.h"

#include <math.h>

#include "base/error.h"
#include "base/json.h"

static lac_status parse(const char *text, size_t n, const laci_json_limits *limits, laci_json **doc,
                        lac_error *err)
{
    memset(err, 0, sizeof *err);
    *doc = NULL;
    char *exact = malloc(n ? n : 1); /* no byte to read past the end */
    memcpy(exact, text, n);
    const lac_status st = laci_json_parse(doc, exact, n, "test.json", limits, NULL, err);
    free(exact);
    return st;
}

static void accepts(const char *text)
{
    laci_json *doc;
    lac_error err;
    if (parse(text, strlen(text), NULL, &doc, &err)) fail_msg("%s: %s", text, err.message);
    laci_json_free(doc);
}

static void refuses_n(const char *text, size_t n, const laci_json_limits *limits, uint64_t offset,
                      const char *word)
{
    laci_json *doc;
    lac_error err;
    const lac_status st = parse(text, n, limits, &doc, &err);
    if (st != LAC_EFORMAT) fail_msg("%s: %s, expected EFORMAT", text, lac_status_name(st));
    if (err.offset != offset)
        fail_msg("%s: offset %llu, expected %llu (%s)", text, (unsigned long long)err.offset,
                 (unsigned long long)offset, err.message);
    if (!strstr(err.message, word)) fail_msg("%s: \"%s\" lacks \"%s\"", text, err.message, word);
    if (!strstr(err.message, "test.json")) fail_msg("\"%s\" does not name the text", err.message);
    assert_null(doc);
}

static void refuses(const char *text, uint64_t offset, const char *word)
{
    refuses_n(text, strlen(text), NULL, offset, word);
}

static void grammar_is_exact(void **state)
{
    (void)state;
    accepts("{}");
    accepts(" [ ] \n");
    accepts("{\"a\":[1,2,{\"b\":null}],\"c\":{}}\t\r\n");
    accepts("true");
    accepts("\"x\"");
    accepts("[[],{},[[]]]");
    refuses("", 0, "value is expected");
    refuses("  ", 2, "value is expected");
    refuses("{", 1, "key in quotes");
    refuses("[1,]", 3, "value is expected");
    refuses("[,1]", 1, "value is expected");
    refuses("[1 2]", 3, "','");
    refuses("{\"a\":1,}", 7, "key in quotes");
    refuses("{\"a\" 1}", 5, "':'");
    refuses("{a:1}", 1, "key in quotes");
    refuses("{1:1}", 1, "key in quotes");
    refuses("[1}", 2, "','");
    refuses("{\"a\":1]", 6, "','");
    refuses("{} {}", 3, "nothing may follow");
    refuses("[]]", 2, "nothing may follow");
    refuses("// x\n{}", 0, "value is expected");
    refuses("[1/*x*/]", 2, "','");
    refuses("'a'", 0, "value is expected");
    refuses("\xef\xbb\xbf{}", 0, "value is expected");
    refuses("\f{}", 0, "value is expected");
    refuses("tru", 0, "unknown word");
    refuses("[nul]", 1, "unknown word");
    refuses("nullx", 4, "nothing may follow");
    refuses("NaN", 0, "value is expected");
    refuses("[Infinity]", 1, "value is expected");
    refuses_n("{}\0", 3, NULL, 2, "nothing may follow");
}

static void numbers_are_exact(void **state)
{
    (void)state;
    accepts("[0,-0,1,-1,10,1.5,-0.25,1e6,1E+6,1e-6,123456789012345678901234567890]");
    accepts("1000000000000000019884624838656");
    refuses("01", 1, "nothing may follow");
    refuses("+1", 0, "value is expected");
    refuses(".5", 0, "value is expected");
    refuses("-", 1, "needs a digit");
    refuses("1.", 2, "needs a digit");
    refuses("1.e5", 2, "needs a digit");
    refuses("1e", 2, "needs a digit");
    refuses("1e+", 3, "needs a digit");
    refuses("0x10", 1, "nothing may follow");
    refuses("{\"big\":1e999}", 0, "big");
    refuses("-1e999", 0, "too large");
    char digits[65] = { 0 };
    memset(digits, '7', 63);
    accepts(digits);
    digits[63] = '7';
    refuses(digits, 0, "64 characters");
}

static void strings_are_exact(void **state)
{
    (void)state;
    accepts("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDE00\"");
    accepts("\"\xc3\xa4\xf0\x9f\x98\x80\"");
    refuses("\"abc", 4, "not closed");
    refuses("\"a\nb\"", 2, "control character");
    refuses_n("\"a\0b\"", 5, NULL, 2, "control character");
    refuses("\"a\\", 2, "cut off");
    refuses("\"\\x41\"", 1, "unknown escape");
    refuses("\"\\u12g4\"", 1, "four hexadecimal");
    refuses("\"\\u12", 1, "four hexadecimal");
    refuses("\"\\u0000\"", 1, "NUL");
    refuses("\"\\uD800\"", 1, "lone high");
    refuses("\"\\uD800\\n\"", 1, "lone high");
    refuses("\"\\uD800\\uD800\"", 1, "lone high");
    refuses("\"\\uDC00\"", 1, "lone low");
    refuses("\"\xff\"", 1, "UTF-8");
    refuses("\"\xc0\x80\"", 1, "UTF-8");
    refuses("\"\xed\xa0\x80\"", 1, "UTF-8");
    refuses("\"\xe2\x82\"", 1, "UTF-8");
    laci_json *doc;
    lac_error err;
    const char text[] = "\"\\uD83D\\uDE00\\u00e4\"";
    assert_ok(parse(text, strlen(text), NULL, &doc, &err));
    assert_string_equal(laci_json_string(laci_json_root(doc)), "\xf0\x9f\x98\x80\xc3\xa4");
    laci_json_free(doc);
}

static void repeated_keys_are_found_after_unescaping(void **state)
{
    (void)state;
    accepts("{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":2}]}");
    refuses("{\"a\":1,\"a\":2}", 7, "\"a\" occurs twice");
    refuses("{\"ab\":1,\"c\":[0,{}],\"\\u0061b\":2}", 19, "\"ab\" occurs twice");
    refuses("[1,{\"x\":{\"longer than eight 1\":1,\"longer than eight 1\":2}}]", 33,
            "occurs twice");
    refuses("{\"a\\n\":1,\"a\\n\":2}", 9, "\"a?\" occurs twice");
    refuses("{\"\":1,\"\":2}", 6, "\"\" occurs twice");
    accepts("{\"longer than eight 1\":1,\"longer than eight 2\":2}");
}

static void limits_hold(void **state)
{
    (void)state;
    char deep[512];
    for (int depth = 64; depth <= 65; depth++) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        deep[2 * depth] = 0;
        if (depth == 64)
            accepts(deep);
        else
            refuses(deep, 64, "deeper than 64");
    }
    const laci_json_limits shallow = { .max_depth = 2 };
    refuses_n("[[[]]]", 6, &shallow, 2, "deeper than 2");
    const laci_json_limits small = { .max_bytes = 5 };
    refuses_n("[1,23]", 6, &small, 0, "6 bytes, limit 5");
    const laci_json_limits few = { .max_nodes = 3 };
    laci_json *doc;
    lac_error err;
    assert_ok(parse("[1,2]", 5, &few, &doc, &err));
    laci_json_free(doc);
    refuses_n("[1,2,3]", 7, &few, 5, "more than 3 values");
    refuses_n("{\"a\":1,\"b\":2}", 13, &few, 7, "more than 3 values");
}

static void *counted_alloc(void *user, size_t size)
{
    (void)size;
    int *left = user;
    return (*left)-- > 0 ? malloc(size) : NULL;
}
static void *counted_resize(void *user, void *ptr, size_t size)
{
    int *left = user;
    return (*left)-- > 0 ? realloc(ptr, size) : NULL;
}
static void counted_release(void *user, void *ptr)
{
    (void)user;
    free(ptr);
}

static void no_memory_is_reported(void **state)
{
    (void)state;
    lac_status st = LAC_ENOMEM;
    int n = 0;
    for (; st && n < 10; n++) {
        int left = n;
        const lac_allocator mem = { counted_alloc, counted_resize, counted_release, &left };
        laci_json *doc = NULL;
        st = laci_json_parse(&doc, "{\"a\":1,\"b\":2}", 13, "x", NULL, &mem, NULL);
        if (st && st != LAC_ENOMEM) fail_msg("allocation %d: %s", n, lac_status_name(st));
        laci_json_free(doc);
    }
    assert_int_equal(st, LAC_OK);
    assert_in_range(n, 3, 9);
}

static void members_are_typed(void **state)
{
    (void)state;
    const char text[] =
        "{\"i\":3,\"f\":1.5,\"e\":1e6,\"b\":true,\"s\":\"x\",\"n\":null,\"h\":9007199254740993,"
        "\"big\":3000000000,\"a\":[4,5]}";
    laci_json *doc;
    lac_error err;
    assert_ok(parse(text, strlen(text), NULL, &doc, &err));
    const laci_jval *root = laci_json_root(doc);
    int i = 7;
    assert_ok(laci_json_get_int(root, "i", true, 1, 9, &i, "c", &err));
    assert_int_equal(i, 3);
    assert_ok(laci_json_get_int(root, "e", true, 1, 1000000, &i, "c", &err));
    assert_int_equal(i, 1000000);
    i = 7;
    assert_ok(laci_json_get_int(root, "n", false, 1, 9, &i, "c", &err));
    assert_ok(laci_json_get_int(root, "absent", false, 1, 9, &i, "c", &err));
    assert_int_equal(i, 7);
    static const struct {
        const char *key, *word;
    } bad[] = { { "n", "\"n\" is null" },
                { "absent", "\"absent\" is missing" },
                { "f", "not an integer" },
                { "s", "not an integer" },
                { "e", "is 1000000, allowed are 1 to 9" },
                { "h", "" },
                { "big", "3000000000" } };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        const lac_status st = laci_json_get_int(root, bad[k].key, true, 1, 9, &i, "c", &err);
        if (st != LAC_EFORMAT) fail_msg("%s: %s", bad[k].key, lac_status_name(st));
        if (!strstr(err.message, bad[k].word)) fail_msg("%s lacks %s", err.message, bad[k].word);
        assert_int_equal(i, 7);
    }
    double f = 0;
    bool b = false;
    const char *s = NULL;
    assert_ok(laci_json_get_float(root, "f", true, 0, 2, &f, "c", &err));
    assert_true(f == 1.5);
    assert_int_equal(laci_json_get_float(root, "e", true, 0, 2, &f, "c", &err), LAC_EFORMAT);
    assert_int_equal(laci_json_get_float(root, "s", true, 0, 2, &f, "c", &err), LAC_EFORMAT);
    assert_ok(laci_json_get_bool(root, "b", true, &b, "c", &err));
    assert_true(b);
    assert_int_equal(laci_json_get_bool(root, "i", true, &b, "c", &err), LAC_EFORMAT);
    assert_ok(laci_json_get_string(root, "s", true, &s, "c", &err));
    assert_string_equal(s, "x");
    assert_int_equal(laci_json_get_string(root, "a", true, &s, "c", &err), LAC_EFORMAT);
    const laci_jval *array = laci_json_get(root, "a");
    assert_int_equal(laci_json_count(array), 2);
    int64_t big;
    assert_true(laci_json_integer(laci_json_next(laci_json_first(array)), &big));
    assert_int_equal(big, 5);
    assert_string_equal(laci_json_key(laci_json_first(root)), "i");
    assert_null(laci_json_first(laci_json_get(root, "s")));
    assert_false(laci_json_is_object(NULL) || laci_json_is_array(NULL) || laci_json_is_null(NULL));
    assert_null(laci_json_get(NULL, "x"));
    laci_json_free(doc);
}

/* What laci_json_get did not find, and what is of another kind, is no value rather than a fault. */
static void nothing_and_other_kinds_have_no_value(void **state)
{
    (void)state;
    const char text[] = "{\"i\":3,\"b\":true,\"s\":\"x\",\"n\":null,\"a\":[],\"o\":{}}";
    static const char *const keys[] = { "absent", "i", "b", "s", "n", "a", "o" };
    laci_json *doc;
    lac_error err;
    int64_t whole = 7;
    assert_ok(parse(text, strlen(text), NULL, &doc, &err));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const laci_jval *v = laci_json_get(laci_json_root(doc), keys[i]);
        if ((laci_json_string(v) != NULL) != (*keys[i] == 's')) fail_msg("string of %s", keys[i]);
        if (isnan(laci_json_number(v)) != (*keys[i] != 'i')) fail_msg("number of %s", keys[i]);
        if (laci_json_bool(v) != (*keys[i] == 'b')) fail_msg("bool of %s", keys[i]);
        if (laci_json_integer(v, &whole) != (*keys[i] == 'i')) fail_msg("integer of %s", keys[i]);
        assert_int_equal(laci_json_count(v), 0);
        assert_null(laci_json_first(v));
        assert_null(laci_json_get(v, "x"));
    }
    assert_int_equal(whole, 3);
    assert_null(laci_json_next(NULL));
    assert_null(laci_json_key(NULL));
    laci_json_free(doc);
}

/* Files of people: what Python and editors put in passes where the caller allows it, and nowhere
 * else. */
static void loose_files_are_taken(void **state)
{
    (void)state;
    static const char text[] =
        "\xef\xbb\xbf{\"a\":NaN,\"b\":[Infinity,-Infinity,1],\"c\":\"\\\"NaN\",\"d\":2}";
    const laci_json_limits loose = { .is_loose = true };
    laci_json *doc;
    lac_error err;
    refuses(text, 0, "value is expected");
    refuses(text + 3, 5, "value is expected");
    assert_ok(parse(text, sizeof text - 1, &loose, &doc, &err));
    const laci_jval *root = laci_json_root(doc);
    double x = 7;
    int i = 7;
    assert_ok(laci_json_get_int(root, "d", true, 0, 9, &i, "t", &err));
    assert_int_equal(i, 2);
    assert_string_equal(laci_json_string(laci_json_get(root, "c")), "\"NaN");
    assert_int_equal(laci_json_count(laci_json_get(root, "b")), 3);
    /* a key that is used still needs a number */
    assert_int_equal(laci_json_get_float(root, "a", false, 0, 1, &x, "t", &err), LAC_EFORMAT);
    laci_json_free(doc);
    refuses_n("{\"a\":nan}", 9, &loose, 5, "unknown word");
    refuses_n("{\"a\":NaNo}", 10, &loose, 8, "',' or the end");
    refuses_n("{\"a\":-Inf}", 10, &loose, 6, "digit");
    refuses_n("{NaN:1}", 7, &loose, 1, "key in quotes");
}

/* Many keys and an 8 MB string: a quadratic check would be far over the test's time limit. */
static void wide_objects_are_fast(void **state)
{
    (void)state;
    const size_t n_keys = 400000;
    char *text = malloc(n_keys * 24 + 16);
    size_t at = 0;
    text[at++] = '{';
    for (size_t i = 0; i < n_keys; i++)
        at += (size_t)sprintf(text + at, "%s\"key%zu\":%zu", i ? "," : "", (i * 7919) % n_keys, i);
    text[at++] = '}';
    laci_json *doc;
    lac_error err;
    assert_ok(parse(text, at, NULL, &doc, &err));
    assert_int_equal(laci_json_count(laci_json_root(doc)), n_keys);
    laci_json_free(doc);
    free(text);
}

static void files_are_read(void **state)
{
    (void)state;
    laci_json *doc = NULL;
    lac_error err;
    assert_int_equal(laci_json_read(&doc, "/nonexistent/x.json", NULL, NULL, &err), LAC_EIO);
    const char *path = test_data("nano-pilot/config.json");
    if (!path) return;
    assert_ok(laci_json_read(&doc, path, NULL, NULL, &err));
    assert_true(laci_json_is_object(laci_json_root(doc)));
    laci_json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar_is_exact),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(strings_are_exact),
        cmocka_unit_test(repeated_keys_are_found_after_unescaping),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(no_memory_is_reported),
        cmocka_unit_test(members_are_typed),
        cmocka_unit_test(nothing_and_other_kinds_have_no_value),
        cmocka_unit_test(loose_files_are_taken),
        cmocka_unit_test(wide_objects_are_fast),
        cmocka_unit_test(files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
