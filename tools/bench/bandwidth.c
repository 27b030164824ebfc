/* bandwidth.c: the part of peak.h about memory: how fast each level of cache, and the memory behind
 * them, is read and written in order by all threads together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "bench/peak.h"
#include "bench/peak_kernels.h"
#include "bench/team.h"

struct peak_bandwidth {
    void (*read)(const void *data, size_t n_bytes);
    void (*write)(void *data, size_t n_bytes);
    unsigned char *data; /* [n_threads, n_bytes] owned */
    size_t n_bytes;      /* of one thread */
    size_t n_passes;     /* of one run */
    int n_threads;
    bool writes;
};

const char *peak_level_name(peak_level level, bool write)
{
    static const char *const names[2][PEAK_N_LEVELS] = {
        { "read_l1", "read_l2", "read_l3", "read_memory" },
        { "write_l1", "write_l2", "write_l3", "write_memory" },
    };
    return names[write][level];
}

/* Bytes of one thread: well inside the level and well outside the one below. */
static size_t bytes_of(peak_level level, int n_threads)
{
    size_t n = uncached_bytes() / (size_t)n_threads;
    if (level == PEAK_L1) n = cache_bytes(1) / 2;
    if (level == PEAK_L2) n = cache_bytes(2) / 2;
    if (level == PEAK_L3) {
        const size_t share = cache_bytes(3) / 2 / (size_t)n_threads, wanted = 4 * cache_bytes(2);
        n = share < wanted ? share : wanted;
    }
    return n < 4096 ? 4096 : n / 4096 * 4096;
}

/* Each thread fills its own part, so that the pages lie near it. */
static void fill(void *user, int thread)
{
    peak_bandwidth *b = user;
    memset(b->data + (size_t)thread * b->n_bytes, thread + 1, b->n_bytes);
}

static void pass(void *user, int thread)
{
    peak_bandwidth *b = user;
    unsigned char *data = b->data + (size_t)thread * b->n_bytes;
    for (size_t i = 0; i < b->n_passes; i++) {
        if (b->writes)
            b->write(data, b->n_bytes);
        else
            b->read(data, b->n_bytes);
    }
}

static void choose_kernels(peak_bandwidth *b)
{
    b->read = peak_read_plain;
    b->write = peak_write_plain;
#ifdef LACI_HAVE_X86
    if (peak_unit_is_here(PEAK_F32_ZMM)) {
        b->read = peak_read_zmm;
        b->write = peak_write_zmm;
    } else if (peak_unit_is_here(PEAK_F32_YMM)) {
        b->read = peak_read_ymm;
        b->write = peak_write_ymm;
    }
#endif
}

peak_bandwidth *peak_bandwidth_open(peak_level level, bool write, int n_threads)
{
    enum { RUN_BYTES = 256 << 20 }; /* of one thread: some milliseconds */
    peak_bandwidth *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->n_bytes = bytes_of(level, n_threads);
    b->n_threads = n_threads;
    b->writes = write;
    b->n_passes = level == PEAK_MEMORY ? 1 : RUN_BYTES / b->n_bytes + 1;
    b->data = large_alloc((size_t)n_threads * b->n_bytes);
    choose_kernels(b);
    if (b->data && !isnan(team_time(n_threads, fill, b))) return b;
    peak_bandwidth_close(b);
    return NULL;
}

size_t peak_bandwidth_bytes(const peak_bandwidth *b)
{
    return (size_t)b->n_threads * b->n_bytes;
}

peak_run peak_bandwidth_run(peak_bandwidth *b)
{
    const double bytes = (double)b->n_passes * (double)peak_bandwidth_bytes(b);
    return (peak_run){ bytes, team_time(b->n_threads, pass, b) };
}

void peak_bandwidth_close(peak_bandwidth *b)
{
    if (!b) return;
    free(b->data);
    free(b);
}
