/* device.h: what benchmarks need of a backend that is not the CPU: its peak, its memory, time on
 * its own clock. With the CPU's backend all of it is that of peak.h and measure.h. */
#ifndef LACUNA_BENCH_DEVICE_H
#define LACUNA_BENCH_DEVICE_H

#include "backend/backend.h"
#include "bench/measure.h"
#include "bench/peak.h"

/* The flag of benchmarks that run on any backend, for a table with AT. */
#define BENCH_BACKEND_FLAG(field)                                                        \
    {                                                                                    \
        ARGS_TEXT, "backend", 0, "NAME", field, 0, 0, NULL,                              \
            "cpu, cuda or cuda:N; times are then the device's own, the peak is that of " \
            "a product of the matrix library in the same run (default cpu)"              \
    }

bool device_is_cpu(const laci_backend *be);

/* 1e9 operations a second: the CPU's unit, or a large product on the device. 0 when there is no
 * memory for it. */
double device_peak(laci_backend *be, peak_unit unit, int n_threads);
const char *device_peak_name(const laci_backend *be, peak_unit unit);

/* Memory that no cache holds: reading it measures bandwidth and pushes all else out. */
typedef struct {
    laci_backend *be;
    peak_bandwidth *host; /* of the CPU */
    laci_buf *from, *to;  /* of a device */
} device_memory;

/* Errors: ENOMEM. Close even after a failure. */
lac_status device_memory_open(device_memory *m, laci_backend *be, int n_threads, lac_error *err);
void device_memory_close(device_memory *m);
double device_memory_rate(const device_memory *m); /* 1e9 bytes a second */

/* Adds the time between two marks of the backend; processor time is counted from `start`. */
void device_add(samples *s, instant start, laci_backend *be, unsigned from, unsigned to);

#endif
