/* isa.c: asks the processor once per call; cheap enough to hold no state. */
#define _DEFAULT_SOURCE /* syscall */
#include "kernels/isa.h"

#include <stdlib.h>
#include <string.h>
#if defined(LACI_HAVE_X86) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const struct {
    const char *name;
    unsigned mask;
} levels[] = {
    { "ref", 0 },
    { "avx2", LACI_ISA_AVX2 },
    { "avx512", LACI_ISA_AVX2 | LACI_ISA_AVX512 },
    { "avx512_bf16", LACI_ISA_AVX2 | LACI_ISA_AVX512 | LACI_ISA_AVX512_BF16 },
    { "amx", LACI_ISA_AVX2 | LACI_ISA_AVX512 | LACI_ISA_AVX512_BF16 | LACI_ISA_AMX },
};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

#ifdef LACI_HAVE_X86
/* AMX tiles with bf16 products, and the system's leave to use them: the tile registers are 8 KB
 * that a thread saves only if its process asked. */
static bool has_amx(void)
{
#ifdef __linux__
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    if ((d & (AMX_BF16 | AMX_TILE)) != (AMX_BF16 | AMX_TILE)) return false;
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return false;
#endif
}
#endif

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
    if (!__builtin_cpu_supports("avx512bf16")) return isa;
    isa |= LACI_ISA_AVX512_BF16;
    if (has_amx()) isa |= LACI_ISA_AMX;
#endif
    return isa;
}

/* The level LAC_ISA names, -1 = none. */
static int wanted_level(void)
{
    const char *wanted = getenv("LAC_ISA");
    for (int i = 0; wanted && i < N_LEVELS; i++)
        if (!strcmp(wanted, levels[i].name)) return i;
    return -1;
}

unsigned laci_isa_detect(void)
{
    const int level = wanted_level();
    return level < 0 ? hardware() : hardware() & levels[level].mask;
}

bool laci_isa_is_narrowed(void)
{
    return wanted_level() >= 0;
}

const char *laci_isa_name(unsigned isa)
{
    const char *name = levels[0].name;
    for (int i = 0; i < N_LEVELS; i++)
        if ((isa & levels[i].mask) == levels[i].mask) name = levels[i].name;
    return name;
}
