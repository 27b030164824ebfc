/* arena.h: several arrays in one piece of memory. One function takes them in order from an arena:
 * without memory the arena only measures, with memory of that size it hands out addresses. So what
 * is allocated and what is predicted cannot differ.
 *
 *     static size_t lay_out(thing *t, void *memory, size_t n)
 *     {
 *         laci_arena arena = { memory, 0 };
 *         LACI_TAKE(&arena, t->ids, n);
 *         LACI_TAKE(&arena, t->scores, 2 * n);
 *         return arena.used;
 *     }
 */
#ifndef LACI_BASE_ARENA_H
#define LACI_BASE_ARENA_H

#include "base/alloc.h"

typedef struct {
    char *memory; /* aligned to LACI_ALIGN, of the size that measuring gave; NULL = measure */
    size_t used;  /* bytes so far; SIZE_MAX, which no allocator has, once a size has overflowed */
} laci_arena;

/* Room for n elements of `size` bytes, aligned to LACI_ALIGN and not initialised; NULL while
 * measuring. Sizes are checked while measuring: there is no memory for those that do not fit. */
static inline void *laci_arena_take(laci_arena *arena, size_t n, size_t size)
{
    const size_t at = arena->used, most = SIZE_MAX - (LACI_ALIGN - 1);
    const bool fits = arena->memory || (at <= most && (!size || n <= (most - at) / size));
    arena->used = fits ? (at + n * size + LACI_ALIGN - 1) / LACI_ALIGN * LACI_ALIGN : SIZE_MAX;
    return arena->memory ? arena->memory + at : NULL;
}

/* Sets `pointer` to room for n of what it points to. */
#define LACI_TAKE(arena, pointer, n) ((pointer) = laci_arena_take((arena), (n), sizeof *(pointer)))

#endif
