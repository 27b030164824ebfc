/* kernels.c: fills the kernel table, weakest instruction set first. */
#include "kernels/kernels.h"

#include "kernels/isa.h"

laci_kernels laci_kernels_for(unsigned isa)
{
    laci_kernels table = laci_kernels_ref();
#ifdef LACI_HAVE_X86
    if (isa & LACI_ISA_AVX2) laci_kernels_fill_avx2(&table);
    if (isa & LACI_ISA_AVX512) laci_kernels_fill_avx512(&table);
    if (isa & LACI_ISA_AVX512_BF16) laci_kernels_fill_avx512_bf16(&table);
    if (isa & LACI_ISA_AMX) laci_kernels_fill_amx(&table);
#else
    (void)isa;
#endif
    return table;
}
