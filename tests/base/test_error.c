/* test_error.c: what sentences are made of: lists of names, whole and cut. */
#include "test.h"

#include "base/error.h"

static void names_become_a_list(void **state)
{
    (void)state;
    static const char *const names[] = { "a", "bc", "def", "g" };
    assert_string_equal(laci_list(names, 0).text, "");
    assert_string_equal(laci_list(names, 1).text, "a");
    assert_string_equal(laci_list(names, 2).text, "a and bc");
    assert_string_equal(laci_list(names, 4).text, "a, bc, def and g");
}

static void long_lists_are_cut(void **state)
{
    (void)state;
    const char *names[200];
    for (size_t i = 0; i < 200; i++)
        names[i] = "seventeen letters";
    const laci_listed listed = laci_list(names, 200);
    assert_int_equal(strlen(listed.text), sizeof listed.text - 1);
    assert_memory_equal(listed.text, "seventeen letters, seventeen", 28);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names_become_a_list),
                                        cmocka_unit_test(long_lists_are_cut) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
