/* any_backend.h: tests of the backend run against the one that LAC_TEST_BACKEND names ("cpu" when
 * it is not set): the CPU, a CUDA device, or its emulator, which programs linked with it know as
 * "cuda".
 */
#ifndef LACI_TESTS_ANY_BACKEND_H
#define LACI_TESTS_ANY_BACKEND_H

#include "test.h"

#include "backend/backend.h"

enum { TEST_SKIPPED = 77 };

static inline const char *backend_name(void)
{
    const char *name = getenv("LAC_TEST_BACKEND");
    return name ? name : "cpu";
}

static inline bool is_cpu(void)
{
    return !strcmp(backend_name(), "cpu");
}

/* Runs the tests, or says in one line that there is no such device here. */
#define run_on_backend(tests)                                                         \
    do {                                                                              \
        lac_error err_;                                                               \
        laci_backend *be_ = NULL;                                                     \
        if (laci_backend_open(&be_, backend_name(), LAC_DTYPE_F32, 1, NULL, &err_)) { \
            printf("skipped: %s\n", err_.message);                                    \
            return TEST_SKIPPED;                                                      \
        }                                                                             \
        laci_backend_close(be_);                                                      \
        return cmocka_run_group_tests(tests, NULL, NULL);                             \
    } while (0)

#endif
