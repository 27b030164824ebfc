/* measure.c: see measure.h. */
#define _DEFAULT_SOURCE /* madvise, sizes of caches */
#include "bench/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/machine.h"

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

instant instant_now(void)
{
    return (instant){ seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_PROCESS_CPUTIME_ID) };
}

void samples_put(samples *s, instant duration)
{
    if (s->n >= MAX_REPEATS) return;
    s->wall[s->n] = duration.wall;
    s->cpu[s->n++] = duration.cpu;
}

void samples_add(samples *s, instant start)
{
    const instant end = instant_now();
    samples_put(s, (instant){ end.wall - start.wall, end.cpu - start.cpu });
}

/* ------------------------------------------------------------------ statistics */

double samples_best(const samples *s)
{
    double best = s->n ? s->wall[0] : NAN;
    for (size_t i = 1; i < s->n; i++)
        if (s->wall[i] < best) best = s->wall[i];
    return best;
}

double samples_worst(const samples *s)
{
    double worst = s->n ? s->wall[0] : NAN;
    for (size_t i = 1; i < s->n; i++)
        if (s->wall[i] > worst) worst = s->wall[i];
    return worst;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median_of(double *values, size_t n)
{
    if (!n) return NAN;
    qsort(values, n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

double samples_median(const samples *s)
{
    double values[MAX_REPEATS];
    memcpy(values, s->wall, s->n * sizeof *values);
    return median_of(values, s->n);
}

double samples_cpu(const samples *s)
{
    double values[MAX_REPEATS];
    memcpy(values, s->cpu, s->n * sizeof *values);
    return median_of(values, s->n);
}

double samples_ratio(const samples *a, const samples *b)
{
    double values[MAX_REPEATS];
    const size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++)
        values[i] = a->wall[i] / b->wall[i];
    return median_of(values, n);
}

/* ------------------------------------------------------------------ caches */

size_t cache_bytes(int level)
{
    static const size_t usual[] = { 32 << 10, 1 << 20, 16 << 20 };
    long n = 0;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static const int names[] = { _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE,
                                 _SC_LEVEL3_CACHE_SIZE };
    n = sysconf(names[level - 1]);
#endif
    return n > 0 ? (size_t)n : usual[level - 1];
}

size_t uncached_bytes(void)
{
    const size_t least = (size_t)256 << 20, most = (size_t)1 << 30, twice = 2 * cache_bytes(3);
    const size_t wanted = twice < least ? least : twice > most ? most : twice;
    const uint64_t share = laci_machine_memory() / 4;
    return wanted < share ? wanted : (size_t)share;
}

void *large_alloc(size_t n_bytes)
{
    const size_t page = (size_t)2 << 20;
    void *data = NULL;
    if (posix_memalign(&data, n_bytes < page ? 4096 : page, n_bytes)) return NULL;
#ifdef MADV_HUGEPAGE
    if (n_bytes >= page) (void)madvise(data, n_bytes / page * page, MADV_HUGEPAGE);
#endif
    return data;
}
