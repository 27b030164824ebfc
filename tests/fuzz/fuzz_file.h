/* fuzz_file.h: for targets that read files by name: inputs under a name of the process's own, and
 * messages to nobody. */
#ifndef LACI_TESTS_FUZZ_FILE_H
#define LACI_TESTS_FUZZ_FILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char fuzz_folder[64];

static inline void fuzz_remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", fuzz_folder);
    (void)!system(command);
}

/* Path of a file in a folder that goes when the process ends; in one of four static buffers. */
static inline const char *fuzz_path(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    if (!fuzz_folder[0]) {
        snprintf(fuzz_folder, sizeof fuzz_folder, "/tmp/lacuna-fuzz-XXXXXX");
        if (!mkdtemp(fuzz_folder)) abort();
        atexit(fuzz_remove_folder);
    }
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", fuzz_folder, name);
    return path;
}

static inline const char *fuzz_write(const char *name, const void *data, size_t n)
{
    const char *path = fuzz_path(name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, n, file) != n || fclose(file)) abort();
    return path;
}

/* What the program says goes to a file nobody reads; sanitizers write to the descriptor itself. */
static inline void fuzz_be_quiet(void)
{
    static FILE *nobody;
    if (nobody) return;
    nobody = fopen("/dev/null", "w");
    if (!nobody) abort();
    stderr = nobody;
}

/* The next bytes of an input as a small number below n; 0 at its end. */
typedef struct {
    const uint8_t *at, *end;
} fuzz_bytes;

static inline unsigned fuzz_next(fuzz_bytes *b, unsigned n)
{
    return b->at < b->end ? *b->at++ % n : 0;
}

/* The next part of an input, up to a NUL byte or its end. */
static inline const char *fuzz_part(fuzz_bytes *b, size_t *n)
{
    const char *part = (const char *)b->at;
    const uint8_t *nul = b->at < b->end ? memchr(b->at, 0, (size_t)(b->end - b->at)) : NULL;
    *n = (size_t)((nul ? nul : b->end) - b->at);
    b->at = nul ? nul + 1 : b->end;
    return part;
}

#endif
