/* alloc.c: see alloc.h. The aligned variant keeps the original pointer just before the block. */
#define _DEFAULT_SOURCE /* madvise */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>
#include <sys/resource.h>

enum { LARGE_PAGE = 2 << 20, WORTH_LARGE_PAGES = 4 * LARGE_PAGE };

static void *libc_alloc(void *user, size_t size)
{
    (void)user;
    return malloc(size);
}

static void *libc_resize(void *user, void *ptr, size_t size)
{
    (void)user;
    return realloc(ptr, size);
}

static void libc_release(void *user, void *ptr)
{
    (void)user;
    free(ptr);
}

lac_allocator laci_allocator_or_default(const lac_allocator *mem)
{
    if (mem && mem->alloc && mem->resize && mem->release) return *mem;
    return (lac_allocator){ libc_alloc, libc_resize, libc_release, NULL };
}

bool laci_mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}

bool laci_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}

void *laci_alloc(const lac_allocator *mem, size_t size)
{
    return mem->alloc(mem->user, size ? size : 1);
}

void *laci_alloc_zero(const lac_allocator *mem, size_t size)
{
    void *ptr = laci_alloc(mem, size);
    if (ptr) memset(ptr, 0, size);
    return ptr;
}

void *laci_alloc_array(const lac_allocator *mem, size_t n, size_t size)
{
    size_t total;
    return laci_mul_size(n, size, &total) ? laci_alloc(mem, total) : NULL;
}

void *laci_resize_array(const lac_allocator *mem, void *ptr, size_t n, size_t size)
{
    size_t total;
    if (!laci_mul_size(n, size, &total)) return NULL;
    if (!ptr) return laci_alloc(mem, total);
    return mem->resize(mem->user, ptr, total ? total : 1);
}

void laci_release(const lac_allocator *mem, void *ptr)
{
    if (ptr) mem->release(mem->user, ptr);
}

char *laci_copy_string(const lac_allocator *mem, const char *text, size_t n)
{
    size_t size;
    if (!laci_add_size(n, 1, &size)) return NULL;
    char *copy = laci_alloc(mem, size);
    if (!copy) return NULL;
    if (n) memcpy(copy, text, n);
    copy[n] = 0;
    return copy;
}

/* Asks for large pages inside a block of `size` bytes: only whole ones, so that nothing beyond the
 * block becomes resident. A hint; tensors are read in long runs, which small pages cut short. */
static void ask_large_pages(char *block, size_t size)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (size < WORTH_LARGE_PAGES) return;
    const size_t skip = (LARGE_PAGE - (uintptr_t)block % LARGE_PAGE) % LARGE_PAGE;
    (void)madvise(block + skip, (size - skip) / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#else
    (void)block, (void)size;
#endif
}

void *laci_alloc_aligned(const lac_allocator *mem, size_t size)
{
    size_t total;
    if (!laci_add_size(size, LACI_ALIGN + sizeof(void *), &total)) return NULL;
    char *raw = laci_alloc(mem, total);
    if (!raw) return NULL;
    uintptr_t start = (uintptr_t)raw + sizeof(void *);
    char *block = raw + sizeof(void *) + (LACI_ALIGN - start % LACI_ALIGN) % LACI_ALIGN;
    memcpy(block - sizeof(void *), &raw, sizeof raw);
    ask_large_pages(block, size);
    return block;
}

void laci_release_aligned(const lac_allocator *mem, void *ptr)
{
    if (!ptr) return;
    void *raw;
    memcpy(&raw, (char *)ptr - sizeof(void *), sizeof raw);
    laci_release(mem, raw);
}

/* Of a new thread; the limit of the first one's stack, or 8 MiB. */
static size_t stack_bytes(void)
{
    enum { USUAL = 8 << 20 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) || limit.rlim_cur == RLIM_INFINITY) return USUAL;
    return (size_t)limit.rlim_cur + (1 << 16); /* its guard, and what else it needs */
}

bool laci_has_room(size_t size, size_t n_threads)
{
    size_t stacks, all;
    if (!laci_mul_size(n_threads, stack_bytes(), &stacks) || !laci_add_size(size, stacks, &all))
        return false;
    void *room =
        mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return false;
    (void)munmap(room, all); /* no page of it was touched */
    return true;
}
