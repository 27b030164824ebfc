/* kernels.h: the table of CPU kernels and the structures they share. A table is filled for an
 * instruction set by value, so a test can hold two at once. No kernel allocates, starts a thread or
 * knows a policy. kernels_ref.c is the definition of every entry. */
#ifndef LACI_KERNELS_KERNELS_H
#define LACI_KERNELS_KERNELS_H

#include "base/dtype.h"

/* Keys and values of one KV head, in positions' order. */
typedef struct {
    const void *k, *v; /* first key and value, [n_keys, d] with the stride below */
    size_t stride;     /* elements from one key to the next */
    laci_dtype dtype;  /* LACI_F32 or LACI_BF16 */
} laci_keys;

/* Rows of one head under way through the keys (FlashAttention's recurrence, algorithms 4.1).
 * Start with max = -INFINITY, sum = 0, acc = 0; at the end output = acc / sum and the log-sum-exp
 * is max + ln(sum); sum = 0 means no key was read: output 0, log-sum-exp -INFINITY. */
typedef struct {
    const float *q; /* [n_rows, d] already multiplied by 1/sqrt(d) */
    size_t n_rows;  /* at most LACI_ATTEND_ROWS */
    size_t d;       /* a multiple of 8 */
    float *max;     /* [n_rows] */
    float *sum;     /* [n_rows] */
    float *acc;     /* [n_rows, d] */
    float *scratch; /* LACI_ATTEND_SCRATCH(d) floats, 64-byte aligned */
} laci_attend_tile;

enum { LACI_ATTEND_ROWS = 64, LACI_ATTEND_PANEL = 64, LACI_MAX_D_HEAD = 1024 };
/* K panel transposed, V panel, scores. */
#define LACI_ATTEND_SCRATCH(d) \
    (2 * (size_t)LACI_ATTEND_PANEL * (d) + (size_t)LACI_ATTEND_ROWS * LACI_ATTEND_PANEL)

typedef struct {
#define KERNEL(name, bound, result, arguments) result(*name) arguments;
#include "kernels/kernels.def"
#undef KERNEL
} laci_kernels;

/* The table for an instruction set mask (isa.h): the reference overwritten by what is faster. */
laci_kernels laci_kernels_for(unsigned isa);

laci_kernels laci_kernels_ref(void);
#ifdef LACI_HAVE_X86
void laci_kernels_fill_avx2(laci_kernels *table);
void laci_kernels_fill_avx512(laci_kernels *table);
#endif

#endif
