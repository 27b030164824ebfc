/* peak.c: which units there are, and how fast each one is. See peak.h. */
#include "bench/peak.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peak_kernels.h"
#include "bench/team.h"
#include "kernels/isa.h"
#ifdef LACI_HAVE_X86
#include <cpuid.h>
#endif

typedef struct {
    const char *name, *dtype;
    double (*run)(size_t n);
} unit_traits;

static const unit_traits units[PEAK_N_UNITS] = {
    [PEAK_F32_PLAIN] = { "f32_plain", "f32", peak_f32_plain },
#ifdef LACI_HAVE_X86
    [PEAK_F32_YMM] = { "f32_fma_ymm", "f32", peak_f32_ymm },
    [PEAK_F32_ZMM] = { "f32_fma_zmm", "f32", peak_f32_zmm },
    [PEAK_BF16_ZMM] = { "bf16_dot_zmm", "bf16", peak_bf16_zmm },
    [PEAK_INT8_ZMM] = { "int8_dot_zmm", "int8", peak_int8_zmm },
    [PEAK_BF16_AMX] = { "bf16_amx", "bf16", peak_bf16_amx },
    [PEAK_INT8_AMX] = { "int8_amx", "int8", peak_int8_amx },
#endif
};

const char *peak_unit_name(peak_unit unit)
{
    return units[unit].name;
}

const char *peak_unit_dtype(peak_unit unit)
{
    return units[unit].dtype;
}

/* ------------------------------------------------------------------ what is here */

#ifdef LACI_HAVE_X86
/* Tiles of bytes, where tiles of bf16 are in use. */
static bool has_int8_tiles(void)
{
    enum { AMX_INT8 = 1 << 25 };
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_INT8);
}
#endif

bool peak_unit_is_here(peak_unit unit)
{
    if (unit == PEAK_F32_PLAIN) return true;
#ifdef LACI_HAVE_X86
    const unsigned isa = laci_isa_detect();
    switch (unit) {
    case PEAK_F32_YMM: return isa & LACI_ISA_AVX2;
    case PEAK_F32_ZMM: return isa & LACI_ISA_AVX512;
    case PEAK_BF16_ZMM: return isa & LACI_ISA_AVX512_BF16;
    case PEAK_INT8_ZMM: return (isa & LACI_ISA_AVX512) && __builtin_cpu_supports("avx512vnni");
    case PEAK_BF16_AMX: return isa & LACI_ISA_AMX;
    case PEAK_INT8_AMX: return (isa & LACI_ISA_AMX) && has_int8_tiles();
    default: break;
    }
#endif
    return false;
}

peak_unit peak_unit_of_kernels(laci_dtype act)
{
    static const struct {
        const char *level;
        peak_unit f32, bf16; /* bf16: stored so; below avx512_bf16 multiplied as f32 */
    } levels[] = {
        { "avx2", PEAK_F32_YMM, PEAK_F32_YMM },
        { "avx512", PEAK_F32_ZMM, PEAK_F32_ZMM },
        { "avx512_bf16", PEAK_F32_ZMM, PEAK_BF16_ZMM },
        { "amx", PEAK_F32_ZMM, PEAK_BF16_AMX },
    };
    const char *level = laci_isa_name(laci_isa_detect());
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (!strcmp(level, levels[i].level))
            return act == LACI_BF16 ? levels[i].bf16 : levels[i].f32;
    return PEAK_F32_PLAIN;
}

peak_unit peak_unit_of_products(laci_dtype act)
{
    static const peak_unit best_first[] = { PEAK_BF16_AMX, PEAK_BF16_ZMM, PEAK_F32_ZMM,
                                            PEAK_F32_YMM };
    for (size_t i = act == LACI_BF16 ? 0 : 2; i < sizeof best_first / sizeof *best_first; i++)
        if (peak_unit_is_here(best_first[i])) return best_first[i];
    return PEAK_F32_PLAIN;
}

/* ------------------------------------------------------------------ arithmetic */

typedef struct {
    double (*run)(size_t n);
    size_t rounds;
    double *ops; /* [n_threads] */
} unit_job;

static void run_unit(void *user, int thread)
{
    const unit_job *job = user;
    job->ops[thread] = job->run(job->rounds);
}

peak_run peak_unit_run(peak_unit unit, int n_threads, size_t rounds)
{
    double *ops = calloc((size_t)n_threads, sizeof *ops);
    if (!ops) return (peak_run){ 0, NAN };
    unit_job job = { units[unit].run, rounds, ops };
    peak_run out = { .seconds = team_time(n_threads, run_unit, &job) };
    for (int i = 0; i < n_threads; i++)
        out.ops += ops[i];
    free(ops);
    return out;
}

size_t peak_unit_rounds(peak_unit unit, double seconds)
{
    size_t rounds = 1000;
    for (int i = 0; i < 30; i++, rounds *= 2) {
        double best = peak_unit_run(unit, 1, rounds).seconds;
        if (!(best > seconds / 4)) continue;
        for (int again = 0; again < 3; again++) /* other programs make one run look long */
            best = fmin(best, peak_unit_run(unit, 1, rounds).seconds);
        return (size_t)((double)rounds * seconds / best) + 1;
    }
    return rounds;
}

double peak_unit_rate(peak_unit unit, int n_threads)
{
    enum { N_RUNS = 15 };
    const size_t rounds = peak_unit_rounds(unit, PEAK_RUN_SECONDS);
    double best = NAN;
    for (int i = 0; i < N_RUNS; i++) {
        const peak_run one = peak_unit_run(unit, n_threads, rounds);
        best = fmax(best, one.ops / one.seconds * 1e-9); /* fmax passes a NaN over */
    }
    return best;
}
