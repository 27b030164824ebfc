/* isa.h: which instruction sets this processor and build offer. The environment variable LAC_ISA
 * (ref, avx2, avx512, avx512_bf16, amx) narrows the answer, never widens it. */
#ifndef LACI_KERNELS_ISA_H
#define LACI_KERNELS_ISA_H

#include <stdbool.h>

enum {
    LACI_ISA_AVX2 = 1,        /* AVX2, FMA */
    LACI_ISA_AVX512 = 2,      /* AVX-512 F, BW, DQ, VL */
    LACI_ISA_AVX512_BF16 = 4, /* AVX-512 BF16: native bf16 products */
    LACI_ISA_AMX = 8,         /* AMX tiles of bf16, granted by the system */
};

/* Mask of what may be used; levels are cumulative. */
unsigned laci_isa_detect(void);

/* Whether LAC_ISA names a level: libraries that choose instructions by themselves are then held to
 * it too, so that figures of a level are of that level throughout. */
bool laci_isa_is_narrowed(void);

/* Name of the highest level in a mask: "ref", "avx2", "avx512", "avx512_bf16", "amx". Static
 * string.
 */
const char *laci_isa_name(unsigned isa);

#endif
