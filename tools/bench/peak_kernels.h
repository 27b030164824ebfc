/* peak_kernels.h: loops that do nothing but keep one unit of the processor busy, one file per
 * instruction set, each built with its own flags; peak.c decides which may run here.
 *
 * Arithmetic: `n` rounds of independent chains, enough of them to hide the latency of the unit;
 * returns the operations done, a multiplication and an addition counting as two.
 * Memory: one pass over n_bytes, a multiple of 512, aligned to 64. */
#ifndef LACUNA_BENCH_PEAK_KERNELS_H
#define LACUNA_BENCH_PEAK_KERNELS_H

#include <stddef.h>

enum { PEAK_CHUNK = 512 };

double peak_f32_plain(size_t n);
void peak_read_plain(const void *data, size_t n_bytes);
void peak_write_plain(void *data, size_t n_bytes);

#ifdef LACI_HAVE_X86
double peak_f32_ymm(size_t n);
void peak_read_ymm(const void *data, size_t n_bytes);
void peak_write_ymm(void *data, size_t n_bytes);

double peak_f32_zmm(size_t n);
double peak_bf16_zmm(size_t n);
double peak_int8_zmm(size_t n);
void peak_read_zmm(const void *data, size_t n_bytes);
void peak_write_zmm(void *data, size_t n_bytes);

/* The caller has been granted the tile registers. */
double peak_bf16_amx(size_t n);
double peak_int8_amx(size_t n);
#endif

#endif
