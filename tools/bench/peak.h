/* peak.h: what this processor can do at most: arithmetic by instruction unit, and bandwidth by
 * level of memory. Every rate of a benchmark is a share of one of these, measured in the same
 * process. */
#ifndef LACUNA_BENCH_PEAK_H
#define LACUNA_BENCH_PEAK_H

#include <stdbool.h>

#include "base/dtype.h"

typedef enum {
    PEAK_F32_PLAIN, /* C, as compiled */
    PEAK_F32_YMM,   /* multiply-add */
    PEAK_F32_ZMM,
    PEAK_BF16_ZMM, /* dot products of pairs */
    PEAK_INT8_ZMM, /* dot products of fours */
    PEAK_BF16_AMX, /* tiles */
    PEAK_INT8_AMX,
    PEAK_N_UNITS,
} peak_unit;

const char *peak_unit_name(peak_unit unit);
const char *peak_unit_dtype(peak_unit unit);

/* Whether the unit is here, in this build, and not ruled out by LAC_ISA. */
bool peak_unit_is_here(peak_unit unit);

/* The unit that does the arithmetic of this library's kernels for activations of type `act`, at the
 * instruction set in use (kernels/isa.h). */
peak_unit peak_unit_of_kernels(laci_dtype act);
/* The fastest unit that matrix products of such activations could use. */
peak_unit peak_unit_of_products(laci_dtype act);

/* One run of `rounds` rounds on each of n_threads threads: operations done and seconds taken. NaN
 * seconds when the threads cannot be had. */
typedef struct {
    double ops, seconds;
} peak_run;
peak_run peak_unit_run(peak_unit unit, int n_threads, size_t rounds);
/* Short, so that some run is not interrupted on a machine with other work. */
#define PEAK_RUN_SECONDS 2e-3
/* Rounds that take about `seconds`. */
size_t peak_unit_rounds(peak_unit unit, double seconds);

/* Best of some short runs, in 1e9 operations a second over all threads; NaN like above. */
double peak_unit_rate(peak_unit unit, int n_threads);

typedef enum { PEAK_L1, PEAK_L2, PEAK_L3, PEAK_MEMORY, PEAK_N_LEVELS } peak_level;

const char *peak_level_name(peak_level level, bool write);

/* Threads each with a buffer of its own. A run over PEAK_MEMORY also leaves nothing else in the
 * caches. */
typedef struct peak_bandwidth peak_bandwidth;
/* NULL: no memory or no threads. */
peak_bandwidth *peak_bandwidth_open(peak_level level, bool write, int n_threads);
size_t peak_bandwidth_bytes(const peak_bandwidth *b); /* of all buffers */
peak_run peak_bandwidth_run(peak_bandwidth *b);       /* ops: bytes read or written */
void peak_bandwidth_close(peak_bandwidth *b);

#endif
