/* kernels.h: the table of CPU kernels and the structures they share. A table is filled for an
 * instruction set by value, so a test can hold two at once. No kernel allocates, starts a thread or
 * knows a policy. kernels_ref.c is the definition of every entry. */
#ifndef LACI_KERNELS_KERNELS_H
#define LACI_KERNELS_KERNELS_H

#include "kernels/attend.h"
#include "kernels/select.h"

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
void laci_kernels_fill_avx512_bf16(laci_kernels *table);
void laci_kernels_fill_amx(laci_kernels *table);
#endif

#endif
