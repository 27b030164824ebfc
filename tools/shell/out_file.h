/* out_file.h: files the program writes for later: beside the target and renamed at the end, so that
 * an earlier file survives a run that fails; in place where the target is a pipe or a device. Write
 * errors are looked for once, at the end. */
#ifndef LACUNA_TOOLS_OUT_FILE_H
#define LACUNA_TOOLS_OUT_FILE_H

#include <stdbool.h>
#include <stdio.h>

/* Zeroed is closed. */
typedef struct {
    const char *what, *path; /* "trace" and its name, for messages; borrowed */
    char *part;              /* path with ".tmp"; NULL: written in place */
    FILE *file;
} out_file;

/* Says whether `path` can be written, without changing it. EXIT_OK, or EXIT_RUN after a message. */
int out_file_check(const char *path, const char *what);

/* EXIT_OK, or an exit code after a message. */
int out_file_open(out_file *out, const char *path, const char *what);

/* Renames the finished file into place, or drops it when `keep` is false. `sound` false: something
 * was lost already. EXIT_OK, or EXIT_RUN after a message when anything was lost. */
int out_file_close(out_file *out, bool keep, bool sound);

#endif
