/* out_file.h: files the program writes for later: beside the target and renamed at the end, so that
 * an earlier file survives a run that fails; in place where the target is a pipe or a device. Write
 * errors are looked for once, at the end. What two files of one command line may not be to each
 * other is refused before anything is opened. */
#ifndef LACUNA_TOOLS_OUT_FILE_H
#define LACUNA_TOOLS_OUT_FILE_H

#include "base/new_file.h"
#include <stdbool.h>
#include <stdio.h>

/* Zeroed is closed. */
typedef struct {
    const char *what, *path; /* "trace" and its name, for messages; borrowed */
    laci_new_file target;
    FILE *file;
} out_file;

/* A file of the command line. */
typedef struct {
    const char *flag; /* "--trace" */
    const char *path; /* NULL: not given */
    bool is_stream;   /* input: - is standard input; output: - is standard output */
} named_file;

/* EXIT_OK; EXIT_USAGE, after a message, when an output is "-" and may not be, is standard output or
 * standard error, is one of the inputs or of the files in an input folder, or is another output. */
int out_file_compare(const named_file *outputs, size_t n_outputs, const named_file *inputs,
                     size_t n_inputs);

/* Says whether `path` can be written, without changing it. EXIT_OK, or EXIT_RUN after a message. */
int out_file_check(const char *path, const char *what);

/* EXIT_OK, or an exit code after a message. */
int out_file_open(out_file *out, const char *path, const char *what);

/* Renames the finished file into place, or drops it when `keep` is false. `sound` false: something
 * was lost already. EXIT_OK, or EXIT_RUN after a message when anything was lost. */
int out_file_close(out_file *out, bool keep, bool sound);

#endif
