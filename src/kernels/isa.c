/* isa.c: asks the processor once per call; cheap enough to hold no state. */
#include "kernels/isa.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned mask;
} levels[] = {
    { "ref", 0 },
    { "avx2", LACI_ISA_AVX2 },
    { "avx512", LACI_ISA_AVX2 | LACI_ISA_AVX512 },
    { "avx512_bf16", LACI_ISA_AVX2 | LACI_ISA_AVX512 | LACI_ISA_AVX512_BF16 },
};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

static unsigned hardware(void)
{
    unsigned isa = 0;
#ifdef LACI_HAVE_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    isa |= LACI_ISA_AVX2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return isa;
    isa |= LACI_ISA_AVX512;
    if (__builtin_cpu_supports("avx512bf16")) isa |= LACI_ISA_AVX512_BF16;
#endif
    return isa;
}

unsigned laci_isa_detect(void)
{
    const unsigned isa = hardware();
    const char *wanted = getenv("LAC_ISA");
    for (int i = 0; wanted && i < N_LEVELS; i++)
        if (!strcmp(wanted, levels[i].name)) return isa & levels[i].mask;
    return isa;
}

const char *laci_isa_name(unsigned isa)
{
    const char *name = levels[0].name;
    for (int i = 0; i < N_LEVELS; i++)
        if ((isa & levels[i].mask) == levels[i].mask) name = levels[i].name;
    return name;
}
