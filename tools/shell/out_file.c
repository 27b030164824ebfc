/* out_file.c: see out_file.h. */
#define _POSIX_C_SOURCE 200809L
#include "shell/out_file.h"

#include "shell/console.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_special_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

static char *part_name(const char *path)
{
    const size_t n = strlen(path);
    char *part = malloc(n + 5);
    if (!part) return NULL;
    memcpy(part, path, n);
    memcpy(part + n, ".tmp", 5);
    return part;
}

static int fail_path(const char *what, const char *path)
{
    return console_fail(EXIT_RUN, "cannot write %s %s: %s", what, path,
                        errno ? strerror(errno) : "write error");
}

int out_file_check(const char *path, const char *what)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        return fail_path(what, path);
    }
    if (is_special_file(path)) return access(path, W_OK) == 0 ? EXIT_OK : fail_path(what, path);
    if (access(path, F_OK) == 0 && access(path, W_OK) != 0) return fail_path(what, path);
    out_file out = { .file = NULL };
    const int code = out_file_open(&out, path, what);
    return code ? code : out_file_close(&out, false, true);
}

int out_file_open(out_file *out, const char *path, const char *what)
{
    out_file o = { .what = what, .path = path };
    const bool in_place = is_special_file(path);
    if (!in_place && !(o.part = part_name(path)))
        return console_fail(EXIT_MEMORY, "out of memory for the %s", what);
    errno = 0;
    o.file = fopen(in_place ? path : o.part, "wb");
    if (!o.file) {
        free(o.part);
        return fail_path(what, path);
    }
    *out = o;
    return EXIT_OK;
}

int out_file_close(out_file *out, bool keep, bool sound)
{
    if (!out->file) return EXIT_OK;
    errno = 0;
    if (ferror(out->file)) sound = false;
    if (fflush(out->file) != 0) sound = false;
    const int flush_errno = errno;
    if (fclose(out->file) != 0) sound = false;
    if (flush_errno) errno = flush_errno;
    int code = EXIT_OK;
    if (keep && !sound) code = fail_path(out->what, out->path);
    if (out->part && keep && sound && rename(out->part, out->path) != 0) {
        code = fail_path(out->what, out->path);
        sound = false;
    }
    if (out->part && !(keep && sound)) unlink(out->part);
    free(out->part);
    *out = (out_file){ .what = NULL };
    return code;
}
