/* test_memory.c: the memory plan of a dense generation holds. */
#include "engine/peak.h"

static void dense_takes_what_was_predicted(void **state)
{
    (void)state;
    peak_is_what_was_predicted("off", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(dense_takes_what_was_predicted) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
