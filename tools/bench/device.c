/* device.c: see device.h. */
#include "bench/device.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

enum { PEAK_ROWS = 8192, PEAK_WIDTH = 4096, PEAK_REPEATS = 10, COPY_BYTES = 512 << 20 };

bool device_is_cpu(const laci_backend *be)
{
    return !strcmp(laci_backend_name(be), "cpu");
}

const char *device_peak_name(const laci_backend *be, peak_unit unit)
{
    return device_is_cpu(be) ? peak_unit_name(unit) : "product";
}

/* ------------------------------------------------------------------ peak */

/* Not zeros: those draw less power and run faster. */
static void read_weights(void *user, size_t row, size_t n_rows, float *out)
{
    (void)user;
    for (size_t i = 0; i < n_rows * PEAK_WIDTH; i++)
        out[i] = (float)laci_rng_unit(row, i) - 0.5f;
}

static void write_rows(laci_backend *be, laci_buf *x)
{
    float row[PEAK_WIDTH];
    uint16_t half[PEAK_WIDTH];
    const bool is_bf16 = laci_backend_act(be) == LACI_BF16;
    const size_t bytes = is_bf16 ? sizeof half : sizeof row;
    for (size_t i = 0; i < PEAK_ROWS; i++) {
        read_weights(NULL, PEAK_WIDTH + i, 1, row);
        for (size_t k = 0; k < PEAK_WIDTH; k++)
            half[k] = laci_f32_to_bf16(row[k]);
        laci_backend_write(be, x, i * bytes, is_bf16 ? (const void *)half : row, bytes);
    }
}

static double product_rate(laci_backend *be, const laci_linear *w, laci_buf *x, laci_buf *y)
{
    double best = INFINITY;
    write_rows(be, x);
    for (int i = -2; i < PEAK_REPEATS; i++) {
        laci_backend_mark(be, 0);
        laci_backend_linear(be, w, x, 0, PEAK_ROWS, y);
        laci_backend_mark(be, 1);
        const double seconds = laci_backend_between(be, 0, 1);
        if (i >= 0) best = fmin(best, seconds);
    }
    return 2.0 * PEAK_ROWS * PEAK_WIDTH * PEAK_WIDTH / best * 1e-9;
}

double device_peak(laci_backend *be, peak_unit unit, int n_threads)
{
    laci_linear *w = NULL;
    laci_buf *x = NULL, *y = NULL;
    double rate = 0;
    if (device_is_cpu(be)) return peak_unit_rate(unit, n_threads);
    const size_t n = (size_t)PEAK_ROWS * PEAK_WIDTH;
    lac_status st = laci_linear_new(be, PEAK_WIDTH, PEAK_WIDTH,
                                    (laci_row_source){ read_weights, NULL }, &w, NULL);
    if (!st) st = laci_buf_new(be, n * sizeof(float), "peak", &x, NULL);
    if (!st) st = laci_buf_new(be, n * sizeof(float), "peak", &y, NULL);
    if (!st) rate = product_rate(be, w, x, y);
    laci_linear_free(be, w);
    laci_buf_free(be, x);
    laci_buf_free(be, y);
    return rate;
}

/* ------------------------------------------------------------------ memory */

lac_status device_memory_open(device_memory *m, laci_backend *be, int n_threads, lac_error *err)
{
    *m = (device_memory){ .be = be };
    if (device_is_cpu(be)) {
        m->host = peak_bandwidth_open(PEAK_MEMORY, false, n_threads);
        return m->host ? LAC_OK : laci_fail_memory(err, "measuring memory", uncached_bytes());
    }
    lac_status st = laci_buf_new(be, COPY_BYTES, "measuring memory", &m->from, err);
    if (!st) st = laci_buf_new(be, COPY_BYTES, "measuring memory", &m->to, err);
    return st;
}

void device_memory_close(device_memory *m)
{
    peak_bandwidth_close(m->host);
    if (m->be) {
        laci_buf_free(m->be, m->from);
        laci_buf_free(m->be, m->to);
    }
}

double device_memory_rate(const device_memory *m)
{
    if (m->host) {
        const peak_run one = peak_bandwidth_run(m->host);
        return one.ops / one.seconds * 1e-9;
    }
    laci_backend_mark(m->be, 0);
    laci_backend_copy(m->be, m->to, 0, m->from, 0, COPY_BYTES);
    laci_backend_mark(m->be, 1);
    return 2.0 * COPY_BYTES / laci_backend_between(m->be, 0, 1) * 1e-9; /* read and written */
}

void device_add(samples *s, instant start, laci_backend *be, unsigned from, unsigned to)
{
    const double seconds = laci_backend_between(be, from, to);
    if (s->n >= MAX_REPEATS) return;
    samples_add(s, start);
    s->wall[s->n - 1] = seconds;
}
