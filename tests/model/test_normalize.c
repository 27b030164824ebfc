/* test_normalize.c: how far normalizers may make a text grow, and that messages about what a
 * tokenizer file holds are one line that a terminal may be shown. */
#include "test.h"

#include "base/error.h"
#include "base/json.h"
#include "model/tokenizer/tokenizer_parts.h"

static laci_normalizer replace_a(size_t n)
{
    laci_normalizer step = { .kind = LACI_NORMALIZE_REPLACE, .n_from = 1, .n_to = n, .from = "a" };
    memset(step.to, 'a', n);
    return step;
}

static lac_status normalize(const laci_normalizer *steps, int n_steps, const char *text, size_t n,
                            size_t *n_out, lac_error *err)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_normalize_work work;
    const char *out;
    laci_normalize_work_init(&work, &mem);
    const lac_status st = laci_normalize(steps, n_steps, &work, text, n, &out, n_out, err);
    laci_normalize_work_clear(&work);
    return st;
}

static void growth_is_bounded(void **state)
{
    (void)state;
    laci_normalizer steps[LACI_MAX_NORMALIZERS];
    for (int i = 0; i < LACI_MAX_NORMALIZERS; i++)
        steps[i] = replace_a(8);
    size_t n = 0;
    lac_error err = { .message = "" };
    assert_ok(normalize(steps, 6, "a", 1, &n, &err)); /* 256 KiB of a letter: within the least */
    assert_int_equal(n, 1 << 18);
    assert_int_equal(normalize(steps, 7, "a", 1, &n, &err), LAC_EFORMAT);
    assert_non_null(strstr(err.message, "more than 1048592 bytes of a text of 1"));
    assert_int_equal(normalize(steps, LACI_MAX_NORMALIZERS, "aaaa", 4, &n, &err), LAC_EFORMAT);
    enum { LONG = 1 << 20 };
    char *text = malloc(LONG);
    memset(text, 'a', LONG);
    steps[0] = replace_a(16);
    assert_ok(normalize(steps, 1, text, LONG, &n, &err));
    assert_int_equal(n, 16 * LONG);
    steps[0] = replace_a(18);
    assert_int_equal(normalize(steps, 1, text, LONG, &n, &err), LAC_EFORMAT);
    free(text);
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f) return false;
    return true;
}

static void patterns_are_quoted(void **state)
{
    (void)state;
    static const char *const patterns[] = { "\x1b[31m\n", "\302\23331m", "\xe2\x80\xae", "(" };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_pretokenizer *pre = NULL;
    assert_ok(laci_pretokenizer_create(&pre, &mem, NULL));
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        lac_error err = { .message = "" };
        assert_int_equal(laci_pretokenizer_add_regex(pre, patterns[i], &err), LAC_EUNSUPPORTED);
        assert_non_null(strstr(err.message, "unknown pre-tokenizer pattern"));
        if (!is_printable(err.message)) fail_msg("pattern %zu is shown raw", i);
    }
    laci_pretokenizer_free(pre);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_is_bounded),
        cmocka_unit_test(patterns_are_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
