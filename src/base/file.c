/* file.c: POSIX mapping and reading of files. */
#define _DEFAULT_SOURCE /* madvise */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

/* Why a file cannot be opened; of a link that leads nowhere, where it points. */
static lac_status fail_open(const char *path, int reason, lac_error *err)
{
    char target[256];
    const ssize_t n = reason == ENOENT ? readlink(path, target, sizeof target - 1) : -1;
    if (n < 0) return laci_fail(err, LAC_EIO, 0, "cannot open %s: %s", path, strerror(reason));
    target[n] = 0;
    return laci_fail(err, LAC_EIO, 0, "cannot open %s: it is a link to %s, which does not exist",
                     path, target);
}

/* Opens a regular file for reading and takes its size. A pipe is not waited for: it is refused, and
 * so is what has no size. */
static lac_status open_regular(int *fd, size_t *size, const char *path, lac_error *err)
{
    const int handle = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (handle < 0) return fail_open(path, errno, err);
    struct stat info;
    lac_status st = LAC_OK;
    if (fstat(handle, &info)) {
        st = laci_fail(err, LAC_EIO, 0, "cannot read %s: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        st =
            laci_fail(err, LAC_EIO, 0, "%s is %s, not a regular file", path, kind_of(info.st_mode));
    }
    if (st) {
        close(handle);
        return st;
    }
    *fd = handle;
    *size = (size_t)info.st_size;
    return LAC_OK;
}

lac_status laci_file_map(laci_file *out, const char *path, lac_error *err)
{
    int fd = -1;
    laci_file file = { NULL, 0 };
    lac_status st = open_regular(&fd, &file.size, path, err);
    if (st) return st;
    if (file.size) {
        void *data = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            st = laci_fail(err, errno == ENOMEM ? LAC_ENOMEM : LAC_EIO, 0, "cannot map %s: %s",
                           path, strerror(errno));
        else
            file.data = data;
    }
    close(fd);
    if (!st) *out = file;
    return st;
}

void laci_file_unmap(laci_file *file)
{
    if (file->data) munmap((void *)(uintptr_t)file->data, file->size);
    *file = (laci_file){ NULL, 0 };
}

void laci_file_forget(const laci_file *file, size_t begin, size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!file->data || begin > file->size || size > file->size - begin) return;
    const size_t first = (begin + page - 1) / page * page; /* only pages wholly inside */
    const size_t last = (begin + size) / page * page;
    if (last > first)
        (void)madvise((void *)(uintptr_t)(file->data + first), last - first, MADV_DONTNEED);
}

/* Reads exactly `size` bytes. */
static bool read_all(int fd, char *text, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = read(fd, text + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

lac_status laci_file_read(char **out, size_t *n, const char *path, size_t limit,
                          const lac_allocator *mem, lac_error *err)
{
    int fd = -1;
    size_t size = 0;
    lac_status st = open_regular(&fd, &size, path, err);
    if (st) return st;
    char *text = NULL;
    if (size > limit)
        st = laci_fail(err, LAC_EFORMAT, 0, "%s has %zu bytes, limit %zu", path, size, limit);
    if (!st && !(text = laci_alloc(mem, size + 1))) st = laci_fail_memory(err, path, size + 1);
    if (!st && !read_all(fd, text, size))
        st = laci_fail(err, LAC_EIO, 0, "cannot read %zu bytes of %s", size, path);
    close(fd);
    if (st) {
        laci_release(mem, text);
        return st;
    }
    text[size] = 0;
    *out = text;
    *n = size;
    return LAC_OK;
}

bool laci_file_exists(const char *path)
{
    struct stat info;
    return !lstat(path, &info);
}

bool laci_path_is_dir(const char *path)
{
    struct stat info;
    return !stat(path, &info) && S_ISDIR(info.st_mode);
}

char *laci_path_join(const lac_allocator *mem, const char *dir, const char *name)
{
    const size_t n = strlen(dir) + strlen(name) + 2;
    char *path = laci_alloc(mem, n);
    if (path) (void)snprintf(path, n, "%s/%s", dir, name);
    return path;
}
