/* file.h: read-only mapping of a whole file and bounds-checked slices of it. The size is taken
 * once at open; a file that shrinks while mapped raises SIGBUS, which no check here can prevent. */
#ifndef LACI_BASE_FILE_H
#define LACI_BASE_FILE_H

#include "base/alloc.h"

typedef struct {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
} laci_file;

/* Maps a regular file. Errors: EIO naming path and reason, ENOMEM (no address space). */
lac_status laci_file_map(laci_file *out, const char *path, lac_error *err);
void laci_file_unmap(laci_file *file);

/* Tells the system that bytes [begin, begin + size) will not be read again soon, so that pages of
 * weights already packed do not count as resident. */
void laci_file_forget(const laci_file *file, size_t begin, size_t size);

/* Reads a whole file of at most `limit` bytes into memory of `mem`, NUL behind it.
 * Errors: EIO, EFORMAT (larger than the limit; both numbers), ENOMEM. */
lac_status laci_file_read(char **out, size_t *n, const char *path, size_t limit,
                          const lac_allocator *mem, lac_error *err);

/* Whether something of this name is there, be it a link that leads nowhere or a file that may not
 * be read: opening it then says what is wrong. */
bool laci_file_exists(const char *path);
bool laci_path_is_dir(const char *path);

/* "dir/name" in memory of `mem`; NULL when out of memory. */
char *laci_path_join(const lac_allocator *mem, const char *dir, const char *name);

#endif
