/* new_file.c: see new_file.h. */
#define _DEFAULT_SOURCE /* getentropy */
#include "base/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/rng.h"

enum {
    MAX_LINKS = 40,
    MAX_TRIES = 100,
    MAX_STEM = 200,  /* of the file's name that the temporary one repeats; a name may have 255 */
    SUFFIX_ROOM = 32 /* ".0123456789abcdef.tmp" and its end */
};

static lac_status fail_write(lac_error *err, const char *path)
{
    const int reason = errno;
    laci_report(err, LAC_EIO, 0, "cannot write %s: %s", path,
                reason ? strerror(reason) : "write error");
    errno = reason;
    return LAC_EIO;
}

/* ------------------------------------------------------------------ names */

/* Bytes of the folder in front of the last part of a path, its slash included. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* What a link at `path` says, as a path from here; NULL when there is no memory. */
static char *join_link(const lac_allocator *mem, const char *path, const char *link, size_t n)
{
    const size_t n_folder = link[0] == '/' ? 0 : folder_length(path);
    char *out = laci_alloc(mem, n_folder + n + 1);
    if (!out) return NULL;
    memcpy(out, path, n_folder);
    memcpy(out + n_folder, link, n);
    out[n_folder + n] = 0;
    return out;
}

/* The path with links of its last part followed, also into nothing; NULL with errno set. */
static char *follow_links(const lac_allocator *mem, const char *path)
{
    char *at = laci_copy_string(mem, path, strlen(path)), link[PATH_MAX];
    for (int i = 0; at; i++) {
        const ssize_t n = readlink(at, link, sizeof link);
        if (n < 0) return at; /* no link, or not there */
        char *next = NULL;
        if (i < MAX_LINKS && n < (ssize_t)sizeof link)
            next = join_link(mem, at, link, (size_t)n);
        else
            errno = ELOOP;
        laci_release(mem, at);
        at = next;
    }
    return NULL;
}

static uint64_t draw_number(int attempt)
{
    uint64_t number;
    if (!getentropy(&number, sizeof number)) return number;
    struct timespec t; /* an open that finds the name taken draws again */
    clock_gettime(CLOCK_REALTIME, &t);
    number = laci_rng_mix((uint64_t)t.tv_sec ^ laci_rng_mix((uint64_t)t.tv_nsec));
    return laci_rng_mix(number ^ ((uint64_t)getpid() << 32 | (uint32_t)attempt));
}

/* ------------------------------------------------------------------ opening */

/* A file of a name nobody has, beside the target. */
static int create_part(laci_new_file *f, mode_t mode)
{
    const size_t n_folder = folder_length(f->target);
    const char *name = f->target + n_folder;
    const size_t n_name = strlen(name), n_stem = n_name < MAX_STEM ? n_name : MAX_STEM;
    const size_t n = n_folder + n_stem;
    memcpy(f->part, f->target, n);
    for (int i = 0; i < MAX_TRIES; i++) {
        (void)snprintf(f->part + n, SUFFIX_ROOM, ".%016" PRIx64 ".tmp", draw_number(i));
        const int fd = open(f->part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

/* Owner and mode of the file that will be replaced. Who may not give files away keeps them. */
static bool keep_mode(int fd, const struct stat *older)
{
    struct stat info;
    if (fstat(fd, &info)) return false;
    if (info.st_uid != older->st_uid || info.st_gid != older->st_gid)
        (void)!fchown(fd, older->st_uid, older->st_gid);
    return !fchmod(fd, older->st_mode & 07777);
}

/* Opens what a rename would replace by a file: pipes and devices. */
static lac_status open_in_place(laci_new_file *f, const char *path, lac_error *err)
{
    f->target = laci_copy_string(&f->mem, path, strlen(path));
    if (!f->target) return laci_fail_memory(err, path, strlen(path));
    f->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return f->fd < 0 ? fail_write(err, path) : LAC_OK;
}

static lac_status open_part(laci_new_file *f, const char *path, const struct stat *older,
                            lac_error *err)
{
    struct stat there;
    if (older && access(path, W_OK)) return fail_write(err, path);
    errno = 0;
    f->target = follow_links(&f->mem, path);
    if (!f->target && errno == ELOOP) return fail_write(err, path);
    if (f->target) f->part = laci_alloc(&f->mem, strlen(f->target) + SUFFIX_ROOM);
    if (!f->target || !f->part) return laci_fail_memory(err, path, strlen(path) + SUFFIX_ROOM);
    /* A link of /proc says where a file was, which may be gone or another by now. */
    if (older && (stat(f->target, &there) || there.st_ino != older->st_ino ||
                  there.st_dev != older->st_dev)) {
        errno = ENOENT;
        return fail_write(err, path);
    }
    f->fd = create_part(f, older ? S_IRUSR | S_IWUSR : 0666);
    if (f->fd < 0) return fail_write(err, path);
    if (!older || keep_mode(f->fd, older)) return LAC_OK;
    const lac_status st = fail_write(err, path);
    (void)unlink(f->part);
    return st;
}

lac_status laci_new_file_open(laci_new_file *out, const char *path, const lac_allocator *mem,
                              lac_error *err)
{
    laci_new_file f = { .mem = laci_allocator_or_default(mem), .fd = -1 };
    struct stat info;
    errno = 0;
    const bool exists = !stat(path, &info);
    lac_status st;
    if (exists && S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        st = fail_write(err, path);
    } else if (exists && !S_ISREG(info.st_mode)) {
        st = open_in_place(&f, path, err);
    } else {
        st = open_part(&f, path, exists ? &info : NULL, err);
    }
    if (!st) {
        f.is_open = true;
        *out = f;
        return LAC_OK;
    }
    const int reason = errno;
    if (f.fd >= 0) close(f.fd);
    laci_release(&f.mem, f.target);
    laci_release(&f.mem, f.part);
    errno = reason;
    return st;
}

/* ------------------------------------------------------------------ writing and closing */

lac_status laci_new_file_write(const laci_new_file *file, const void *data, size_t n,
                               lac_error *err)
{
    const char *at = data;
    while (n) {
        const ssize_t done = write(file->fd, at, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_write(err, file->target);
        at += done;
        n -= (size_t)done;
    }
    return LAC_OK;
}

static void release(laci_new_file *f)
{
    const lac_allocator mem = f->mem;
    laci_release(&mem, f->target);
    laci_release(&mem, f->part);
    *f = (laci_new_file){ .is_open = false };
}

/* Some file systems cannot be asked to. */
static bool sync_file(int fd)
{
    return !fsync(fd) || errno == EINVAL || errno == ENOSYS;
}

lac_status laci_new_file_commit(laci_new_file *f, lac_error *err)
{
    errno = 0;
    bool sound = !f->part || sync_file(f->fd); /* a name before its bytes is a torn file */
    int reason = errno;
    if (close(f->fd) && sound) {
        sound = false;
        reason = errno;
    }
    if (sound && f->part && rename(f->part, f->target)) {
        sound = false;
        reason = errno;
    }
    if (!sound && f->part) (void)unlink(f->part);
    errno = reason;
    const lac_status st = sound ? LAC_OK : fail_write(err, f->target);
    release(f);
    errno = sound ? 0 : reason;
    return st;
}

void laci_new_file_drop(laci_new_file *f)
{
    if (!f->is_open) return;
    (void)close(f->fd);
    if (f->part) (void)unlink(f->part);
    release(f);
}
