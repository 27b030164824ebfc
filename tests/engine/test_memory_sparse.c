/* test_memory_sparse.c: the memory plan of a SparseD generation holds: statistics, patterns, plans.
 */
#include "engine/peak.h"

static void sparsed_takes_what_was_predicted(void **state)
{
    (void)state;
    peak_is_what_was_predicted("sparsed", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sparsed_takes_what_was_predicted) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
