/* alloc.h: the allocator hook, overflow-checked sizes, and aligned tensor memory. All memory of
 * the library passes through here, so that tests can make any allocation fail. */
#ifndef LACI_BASE_ALLOC_H
#define LACI_BASE_ALLOC_H

#include "lacuna.h"

/* The caller's allocator, or malloc's when `mem` is NULL or zeroed. */
lac_allocator laci_allocator_or_default(const lac_allocator *mem);

/* Sets *out = a * b; false, and *out untouched, when it does not fit. */
bool laci_mul_size(size_t a, size_t b, size_t *out);
/* Sets *out = a + b; false, and *out untouched, when it does not fit. */
bool laci_add_size(size_t a, size_t b, size_t *out);

/* `mem` is never NULL below. A size of 0 returns a valid pointer. Release accepts NULL. */
void *laci_alloc(const lac_allocator *mem, size_t size);
void *laci_alloc_zero(const lac_allocator *mem, size_t size);
/* n * size with the product checked; NULL on overflow. */
void *laci_alloc_array(const lac_allocator *mem, size_t n, size_t size);
void *laci_resize_array(const lac_allocator *mem, void *ptr, size_t n, size_t size);
void laci_release(const lac_allocator *mem, void *ptr);
char *laci_copy_string(const lac_allocator *mem, const char *text, size_t n);

/* Whether the system would give this process `size` more bytes of addresses now, and stacks for
 * n_threads more threads. Libraries that we call, and the one that starts threads, end the process
 * where it would not; who asks before them can report it instead. */
bool laci_has_room(size_t size, size_t n_threads);

/* 64-byte aligned memory for tensors; uninitialised. Free with laci_release_aligned(). */
enum { LACI_ALIGN = 64 };
void *laci_alloc_aligned(const lac_allocator *mem, size_t size);
void laci_release_aligned(const lac_allocator *mem, void *ptr);

#endif
