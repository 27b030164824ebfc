/* measure.h: time as benchmarks take it: wall clock and processor time of the process side by side,
 * repeats kept one by one so that best, median, spread and paired ratios can be told; sizes of
 * caches. */
#ifndef LACUNA_BENCH_MEASURE_H
#define LACUNA_BENCH_MEASURE_H

#include <stddef.h>

enum { MAX_REPEATS = 256 };

/* A moment, in seconds. */
typedef struct {
    double wall, cpu; /* cpu: of all threads of the process */
} instant;

instant instant_now(void);

/* Durations of repeats. Zeroed is empty; repeats past MAX_REPEATS are dropped. */
typedef struct {
    double wall[MAX_REPEATS], cpu[MAX_REPEATS];
    size_t n;
} samples;

/* Adds a duration, or the time since `start`. */
void samples_put(samples *s, instant duration);
void samples_add(samples *s, instant start);

/* Of the wall clock; NaN when there are none. */
double samples_best(const samples *s);
double samples_worst(const samples *s);
double samples_median(const samples *s);
double samples_cpu(const samples *s); /* median of processor time */

/* Median of a.wall[i] / b.wall[i]: the i-th repeats of both ran one after the other, so what slows
 * the machine slows both. */
double samples_ratio(const samples *a, const samples *b);

/* Median of n values; NaN when n is 0. Sorts them. */
double median_of(double *values, size_t n);

/* Bytes of one level of cache of a core, 1 to 3; a usual size where the system does not say. */
size_t cache_bytes(int level);
/* Bytes that no cache holds: twice the last level, 256 MiB to 1 GiB, a quarter of memory at most.
 */
size_t uncached_bytes(void);

/* Memory in large pages where the system gives them; not filled. NULL when there is none. Free with
 * free(). */
void *large_alloc(size_t n_bytes);

#endif
