/* counter.h: an allocator that counts, and fails when told to. */
#ifndef LACI_TESTS_ENGINE_COUNTER_H
#define LACI_TESTS_ENGINE_COUNTER_H

#include "test.h"

typedef struct {
    long n_calls; /* allocations asked for */
    long n_live;  /* and not yet released */
    long fail_at; /* this one fails, 0 = none */
} counter;

static inline bool counted(counter *c)
{
    return ++c->n_calls != c->fail_at;
}

static inline void *count_alloc(void *user, size_t size)
{
    counter *c = user;
    void *ptr = counted(c) ? malloc(size) : NULL;
    c->n_live += ptr != NULL;
    return ptr;
}

static inline void *count_resize(void *user, void *ptr, size_t size)
{
    return counted(user) ? realloc(ptr, size) : NULL;
}

static inline void count_release(void *user, void *ptr)
{
    counter *c = user;
    c->n_live--;
    free(ptr);
}

#endif
