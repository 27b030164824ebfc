/* fake_cublaslt.h: what the stand-in of cuBLASLt counts, and how a test makes it refuse. */
#ifndef LACI_TESTS_FAKE_CUBLASLT_H
#define LACI_TESTS_FAKE_CUBLASLT_H

#include <stdbool.h>

typedef struct {
    int n_handles, n_objects; /* alive: handles; descriptors, layouts and preferences */
    int n_asked, n_products;  /* calls of the heuristic; products made */
    bool refuses_create, refuses_objects, refuses_product; /* with an error */
    bool knows_no_way;                                     /* for any shape */
} fake_cublaslt;

/* The library exports one as "fake_cublaslt_state". */

#endif
