/* checkasm.h: what the tests of kernels share, in the manner of dav1d's checkasm: the levels of
 * instruction sets this machine has, the bounds of kernels.def, seeded input, buffers between guard
 * bands, and a stop watch for --bench. A test that includes this defines _POSIX_C_SOURCE 200809L.
 */
#ifndef LACI_TESTS_CHECKASM_H
#define LACI_TESTS_CHECKASM_H

#include <math.h>
#include <time.h>

#include "sanitized.h"
#include "test.h"

#include "base/rng.h"
#include "kernels/isa.h"
#include "kernels/kernels.h"

/* ------------------------------------------------------------------ levels and bounds */

enum { MAX_LEVELS = 9 };

typedef struct {
    const char *name;
    laci_kernels table;
} level;

/* Tables from plain C up to the best this machine has (LAC_ISA narrows), weakest first. */
static inline size_t get_levels(level levels[MAX_LEVELS])
{
    const unsigned best = laci_isa_detect();
    unsigned isa = 0;
    size_t n = 0;
    levels[n++] = (level){ laci_isa_name(0), laci_kernels_ref() };
    for (unsigned bit = 1; bit <= best && n < MAX_LEVELS; bit <<= 1) {
        if (!(best & bit)) continue;
        isa |= bit;
        levels[n++] = (level){ laci_isa_name(isa), laci_kernels_for(isa) };
    }
    return n;
}

/* Whether level i has a kernel of its own; `at` is its offset in the table. The plain one counts.
 */
static inline bool is_new(const level *levels, size_t i, size_t at)
{
    const char *table = (const char *)&levels[i].table;
    return i == 0 || memcmp(table + at, (const char *)&levels[i - 1].table + at, sizeof(void *));
}

#define IS_NEW(levels, i, kernel) is_new(levels, i, offsetof(laci_kernels, kernel))

static inline float bound_of(const char *name)
{
    static const struct {
        const char *name;
        float bound;
    } bounds[] = {
#define KERNEL(name, bound, result, arguments) { #name, bound },
#include "kernels/kernels.def"
#undef KERNEL
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (!strcmp(bounds[i].name, name)) return bounds[i].bound;
    fail_msg("no kernel %s", name);
    return 0;
}

/* ------------------------------------------------------------------ input */

/* Uniform in [-scale, scale], a function of the seed. */
static inline void fill(float *x, size_t n, uint64_t seed, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)(2 * laci_rng_unit(seed, i) - 1);
}

/* A NaN whose payload is all in the low bits: cut to 16 bits it would be an infinity. */
static inline float low_nan(void)
{
    return laci_bits_to_f32(0x7f800001u);
}

/* Largest difference over largest reference; fails on a difference in kind (NaN, infinity). */
static inline double error_of(const char *what, const float *got, const double *want, size_t n)
{
    double worst = 0, size = 1e-30;
    for (size_t i = 0; i < n; i++) {
        if (isnan(want[i]) || isnan(got[i]) || isinf(want[i]) || isinf(got[i])) {
            if (isnan(want[i]) != isnan(got[i]) || (!isnan(want[i]) && (double)got[i] != want[i]))
                fail_msg("%s[%zu]: %g, want %g", what, i, (double)got[i], want[i]);
            continue;
        }
        if (fabs((double)got[i] - want[i]) > worst) worst = fabs((double)got[i] - want[i]);
        if (fabs(want[i]) > size) size = fabs(want[i]);
    }
    return worst / size;
}

/* Sizes that an allocation of 0 rows would make 0. */
static inline void *take(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert_non_null(p);
    return p;
}

/* ------------------------------------------------------------------ guard bands */

/* Bytes of a band. The address sanitizer has bands of its own and sees reads as well: there the
 * buffer ends where its allocation ends. */
enum { BAND = 64, BAND_AFTER = UNDER_ASAN ? 0 : BAND };

typedef struct {
    unsigned char *base; /* owned */
    void *data;          /* `skew` bytes past a multiple of 64 */
    size_t n_before, n;
} guarded;

/* n bytes, all 0x5c as the bands: finite as any type. */
static inline guarded guarded_new(size_t n, size_t skew)
{
    guarded g = { .n_before = BAND + skew, .n = n };
    void *base = NULL;
    assert_int_equal(posix_memalign(&base, 64, g.n_before + n + BAND_AFTER), 0);
    g.base = base;
    g.data = g.base + g.n_before;
    memset(g.base, 0x5c, g.n_before + n + BAND_AFTER);
    return g;
}

/* Fails when a byte was written before the first, or from byte `n_used` on. */
static inline void guarded_check(const guarded *g, size_t n_used, const char *what)
{
    for (size_t i = 0; i < g->n_before; i++)
        if (g->base[i] != 0x5c) fail_msg("%s: byte %zu before it was written", what, i);
    for (size_t i = n_used; i < g->n + BAND_AFTER; i++)
        if (g->base[g->n_before + i] != 0x5c)
            fail_msg("%s of %zu bytes: byte %zu was written", what, n_used, i);
}

static inline void guarded_free(guarded *g)
{
    free(g->base);
    *g = (guarded){ 0 };
}

/* ------------------------------------------------------------------ --bench */

/* One kernel at one size. flop 0 = only the time is printed. */
typedef struct {
    const char *what;
    size_t at; /* offset in the table */
    void (*run)(const laci_kernels *k, void *user);
    void *user;
    double flop;
} bench_case;

static inline double now_ns(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds of a call: the best of eight rounds of about ten milliseconds. */
static inline double time_call(const laci_kernels *k, const bench_case *c)
{
    double start = now_ns(), best = INFINITY;
    c->run(k, c->user);
    const size_t n = 1 + (size_t)(1e7 / (now_ns() - start + 1));
    for (int round = 0; round < 8; round++) {
        start = now_ns();
        for (size_t i = 0; i < n; i++)
            c->run(k, c->user);
        const double each = (now_ns() - start) / (double)n;
        if (each < best) best = each;
    }
    return best;
}

/* Prints a line for every level that has this kernel of its own. */
static inline void bench_kernel(const bench_case *c)
{
    level levels[MAX_LEVELS];
    const size_t n = get_levels(levels);
    double plain = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_new(levels, i, c->at)) continue;
        const double ns = time_call(&levels[i].table, c);
        char rate[32] = "";
        if (i == 0) plain = ns;
        if (c->flop > 0) snprintf(rate, sizeof rate, "%.1f GFLOP/s", c->flop / ns);
        printf("%-44s %-12s %12.0f ns %16s %7.1fx\n", c->what, levels[i].name, ns, rate,
               plain / ns);
    }
}

#endif
