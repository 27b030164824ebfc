/* new_file.h: writing a file whole or not at all: beside the target under a name of its own,
 * renamed when all is written and on the disk. An older file keeps its mode and lives until then.
 * Pipes and devices have nothing to rename and are written in place. Used by lac_plan_save and the
 * program. */
#ifndef LACI_BASE_NEW_FILE_H
#define LACI_BASE_NEW_FILE_H

#include "base/alloc.h"

typedef struct {
    lac_allocator mem;
    char *target; /* where the path leads, links of its last part followed */
    char *part;   /* the temporary name; NULL: written in place */
    int fd;       /* of the open file */
    bool is_open; /* zeroed is closed */
} laci_new_file;

/* Creates the temporary file, which nobody else uses and no link can stand for. Errors: EIO with
 * errno set, ENOMEM. */
lac_status laci_new_file_open(laci_new_file *out, const char *path, const lac_allocator *mem,
                              lac_error *err);
lac_status laci_new_file_write(const laci_new_file *file, const void *data, size_t n,
                               lac_error *err);
/* Puts the file in place, or leaves nothing behind. Closed either way. Errors: EIO with errno set.
 */
lac_status laci_new_file_commit(laci_new_file *file, lac_error *err);
/* Leaves nothing behind; no effect on a closed one. */
void laci_new_file_drop(laci_new_file *file);

#endif
