/* test_lines.c: files read line by line: marks, ends, limits. */
#include "test.h"

#include "shell/lines.h"

static line_reader reader_of(const char *text, size_t n, size_t limit)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    rewind(file);
    return (line_reader){ .file = file, .limit = limit };
}

static void gives(line_reader *r, const char *text, size_t n)
{
    lac_error err = { .message = "" };
    bool end = true;
    if (line_next(r, &end, &err)) fail_msg("%s", err.message);
    assert_false(end);
    assert_int_equal(r->n, n);
    assert_memory_equal(r->text, text, n);
}

static void ends(line_reader *r)
{
    bool end = false;
    assert_ok(line_next(r, &end, NULL));
    assert_true(end);
    fclose(r->file);
    line_free(r);
}

static void a_mark_in_front_is_passed_over(void **state)
{
    (void)state;
    line_reader r = reader_of("\xef\xbb\xbf{}\r\n\xef\xbb\xbf\n\nx", 13, 100);
    gives(&r, "{}\r", 3);
    assert_int_equal(r.n_whole, 7);
    gives(&r, "\xef\xbb\xbf", 3); /* only in front of the file */
    gives(&r, "", 0);
    assert_int_equal(r.n_whole, 12);
    assert_false(r.is_torn);
    gives(&r, "x", 1);
    assert_true(r.is_torn);
    assert_int_equal(r.n_whole, 12);
    assert_int_equal(r.number, 4);
    ends(&r);
    r = reader_of("\xef\xbb\xbf", 3, 100);
    gives(&r, "", 0);
    ends(&r);
    r = reader_of("", 0, 100);
    ends(&r);
}

static void bytes_of_any_kind_are_a_line(void **state)
{
    (void)state;
    line_reader r = reader_of("a\0b\n\xff\n", 6, 3);
    gives(&r, "a\0b", 3);
    gives(&r, "\xff", 1);
    ends(&r);
}

static void a_line_has_a_limit(void **state)
{
    (void)state;
    enum { LIMIT = 100000 };
    char *text = malloc(LIMIT + 2);
    memset(text, 'x', LIMIT + 2);
    text[LIMIT] = '\n';
    line_reader r = reader_of(text, LIMIT + 1, LIMIT);
    gives(&r, text, LIMIT);
    ends(&r);
    text[LIMIT] = 'x';
    r = reader_of(text, LIMIT + 2, LIMIT);
    lac_error err = { .message = "" };
    bool end;
    assert_int_equal(line_next(&r, &end, &err), LAC_EFORMAT);
    assert_string_equal(err.message, "line 1: longer than 100000 bytes");
    fclose(r.file);
    line_free(&r);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mark_in_front_is_passed_over),
        cmocka_unit_test(bytes_of_any_kind_are_a_line),
        cmocka_unit_test(a_line_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
