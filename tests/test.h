/* test.h: what every test shares: cmocka with its includes, and paths to test data. */
#ifndef LACI_TESTS_TEST_H
#define LACI_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lacuna.h"

/* Path below the root of the source tree, in one of four static buffers. */
static inline const char *test_path(const char *relative)
{
    static char paths[4][1024];
    static unsigned next;
    char *path = paths[next++ % 4];
    const char *root = getenv("LACUNA_TEST_ROOT");
    snprintf(path, sizeof paths[0], "%s/%s", root ? root : ".", relative);
    return path;
}

/* Path in the optional data folder that may lie beside the source tree; NULL when it is absent. */
static inline const char *test_data(const char *relative)
{
    char below[960];
    snprintf(below, sizeof below, "../shared/data/%s", relative);
    const char *path = test_path(below);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fclose(file);
    return path;
}

/* Fails with the error's sentence unless the status is LAC_OK. */
#define assert_ok(expression)                                                   \
    do {                                                                        \
        const lac_status status_ = (expression);                                \
        if (status_) fail_msg("%s: %s", #expression, lac_status_name(status_)); \
    } while (0)

#endif
