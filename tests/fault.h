/* fault.h: an allocator that fails from some allocation on, and counts calls and live blocks. */
#ifndef LACI_TESTS_FAULT_H
#define LACI_TESTS_FAULT_H

#include "test.h"

typedef struct {
    long left;    /* allocations that still succeed */
    long live;    /* blocks not yet released */
    long n_calls; /* allocations asked for */
} fault;

enum { FAULT_NEVER = INT32_MAX };

static inline bool fault_allows(fault *f)
{
    f->n_calls++;
    return f->left-- > 0;
}

static inline void *fault_alloc(void *user, size_t size)
{
    fault *f = user;
    void *ptr = fault_allows(f) ? malloc(size) : NULL;
    f->live += ptr != NULL;
    return ptr;
}

static inline void *fault_resize(void *user, void *ptr, size_t size)
{
    return fault_allows(user) ? realloc(ptr, size) : NULL;
}

static inline void fault_release(void *user, void *ptr)
{
    ((fault *)user)->live--;
    free(ptr);
}

static inline lac_allocator fault_allocator(fault *f)
{
    return (lac_allocator){ fault_alloc, fault_resize, fault_release, f };
}

#endif
