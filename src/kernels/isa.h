/* isa.h: which instruction sets this processor and build offer. The environment variable LAC_ISA
 * (ref, avx2, avx512, avx512_bf16) narrows the answer, never widens it. */
#ifndef LACI_KERNELS_ISA_H
#define LACI_KERNELS_ISA_H

enum {
    LACI_ISA_AVX2 = 1,        /* AVX2, FMA */
    LACI_ISA_AVX512 = 2,      /* AVX-512 F, BW, DQ, VL */
    LACI_ISA_AVX512_BF16 = 4, /* AVX-512 BF16: native bf16 products */
};

/* Mask of what may be used; levels are cumulative. */
unsigned laci_isa_detect(void);

/* Name of the highest level in a mask: "ref", "avx2", "avx512", "avx512_bf16". Static string. */
const char *laci_isa_name(unsigned isa);

#endif
