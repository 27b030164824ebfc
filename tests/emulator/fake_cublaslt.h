/* fake_cublaslt.h: what the stand-in of cuBLASLt counts, and how a test makes it refuse. */
#ifndef LACI_TESTS_FAKE_CUBLASLT_H
#define LACI_TESTS_FAKE_CUBLASLT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    int n_handles, n_objects; /* alive: handles; descriptors, layouts and preferences */
    int n_asked, n_products;  /* calls of the heuristic; products made */
    bool refuses_create, refuses_objects, refuses_product; /* with an error */
    bool knows_no_way;                                     /* for any shape */
    /* Queues work on a stream; the test sets it, since the device is the program's. */
    void (*queue)(void *stream, void (*run)(const void *job), const void *job, size_t n);
} fake_cublaslt;

/* The library exports one as "fake_cublaslt_state". */

#endif
