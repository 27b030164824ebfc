/* out_file.c: see out_file.h. */
#define _POSIX_C_SOURCE 200809L
#include "shell/out_file.h"

#include "shell/console.h"
#include "shell/interrupt.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail_path(const char *what, const char *path)
{
    return console_fail(EXIT_RUN, "cannot write %s %s: %s", what, path,
                        errno ? strerror(errno) : "write error");
}

static int fail_open(lac_status st, const char *path, const char *what)
{
    if (st == LAC_ENOMEM) return console_fail(EXIT_MEMORY, "out of memory for the %s", what);
    return fail_path(what, path);
}

/* The file and its entry among what a signal removes. */
static lac_status open_guarded(laci_new_file *out, const char *path)
{
    interrupt_hold();
    const lac_status st = laci_new_file_open(out, path, NULL, NULL);
    const int reason = errno;
    if (!st) interrupt_guard(out->part);
    interrupt_release();
    errno = reason;
    return st;
}

static lac_status close_guarded(laci_new_file *file, bool keep)
{
    lac_status st = LAC_OK;
    interrupt_hold();
    interrupt_forget(file->part);
    errno = 0;
    if (keep)
        st = laci_new_file_commit(file, NULL);
    else
        laci_new_file_drop(file);
    const int reason = errno;
    interrupt_release();
    errno = reason;
    return st;
}

/* Pipes and devices are asked, not opened: a pipe's reader may come later. */
int out_file_check(const char *path, const char *what)
{
    struct stat info;
    if (!stat(path, &info) && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return access(path, W_OK) == 0 ? EXIT_OK : fail_path(what, path);
    laci_new_file file;
    const lac_status st = open_guarded(&file, path);
    if (st) return fail_open(st, path, what);
    (void)close_guarded(&file, false);
    return EXIT_OK;
}

int out_file_open(out_file *out, const char *path, const char *what)
{
    out_file o = { .what = what, .path = path };
    const lac_status st = open_guarded(&o.target, path);
    if (st) return fail_open(st, path, what);
    const int fd = fcntl(o.target.fd, F_DUPFD_CLOEXEC, 3);
    o.file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (o.file) {
        *out = o;
        return EXIT_OK;
    }
    const int reason = errno;
    if (fd >= 0) (void)close(fd);
    (void)close_guarded(&o.target, false);
    errno = reason;
    return fail_path(what, path);
}

int out_file_close(out_file *out, bool keep, bool sound)
{
    if (!out->file) return EXIT_OK;
    errno = 0;
    const bool has_failed = ferror(out->file) != 0;
    if (has_failed || fflush(out->file) != 0) sound = false;
    /* The stream has forgotten why; the next byte fails for the same reason, most likely. */
    if (has_failed) (void)laci_new_file_write(&out->target, "\n", 1, NULL);
    int reason = errno;
    if (fclose(out->file) != 0) sound = false;
    if (!reason) reason = errno;
    if (close_guarded(&out->target, keep && sound)) {
        sound = false;
        reason = errno;
    }
    errno = reason;
    const int code = keep && !sound ? fail_path(out->what, out->path) : EXIT_OK;
    *out = (out_file){ .what = NULL };
    return code;
}
