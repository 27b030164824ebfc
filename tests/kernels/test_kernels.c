/* test_kernels.c: every instruction set this machine has against the plain C definition: odd sizes,
 * unaligned pointers, guard bands around outputs, special values, the bound of kernels.def. The
 * reference itself is checked against a straight double-precision computation. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <math.h>

#include "test.h"

#include "base/rng.h"
#include "kernels/isa.h"
#include "kernels/kernels.h"

enum { GUARD = 16, MAX_N = 4096 };

static const struct {
    const char *name;
    float bound;
} bounds[] = {
#define KERNEL(name, bound, result, arguments) { #name, bound },
#include "kernels/kernels.def"
#undef KERNEL
};

static float bound_of(const char *name)
{
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (!strcmp(bounds[i].name, name)) return bounds[i].bound;
    fail_msg("no kernel %s", name);
    return 0;
}

/* Uniform in [-scale, scale], a function of the seed. */
static void fill(float *x, size_t n, uint64_t seed, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)(2 * laci_rng_unit(seed, i) - 1);
}

/* Largest difference over largest reference; fails on a difference in kind (NaN, infinity). */
static float error_of(const char *what, const float *got, const float *want, size_t n)
{
    float worst = 0, size = 1e-30f;
    for (size_t i = 0; i < n; i++) {
        if (isnan(want[i]) || isnan(got[i]) || isinf(want[i])) {
            if (isnan(want[i]) != isnan(got[i]) || (isinf(want[i]) && got[i] != want[i]))
                fail_msg("%s[%zu]: %g, reference %g", what, i, (double)got[i], (double)want[i]);
            continue;
        }
        if (fabsf(got[i] - want[i]) > worst) worst = fabsf(got[i] - want[i]);
        if (fabsf(want[i]) > size) size = fabsf(want[i]);
    }
    return worst / size;
}

static void check(const char *kernel, const float *got, const float *want, size_t n)
{
    const float error = error_of(kernel, got, want, n);
    if (error > bound_of(kernel))
        fail_msg("%s, %zu values: error %g, bound %g", kernel, n, (double)error,
                 (double)bound_of(kernel));
}

/* Sizes from nothing to three registers of the widest set, and odd ones. */
static const size_t sizes[] = {
    0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 65, 127, 352, 1001
};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static void guards_are_intact(const float *buffer, size_t n)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_true(buffer[i] == 12345.0f);
        assert_true(buffer[GUARD + n + i] == 12345.0f);
    }
}

/* Runs one row kernel of both tables on the same unaligned input and compares. */
typedef void (*row_fn)(const laci_kernels *k, float *out, const float *a, const float *b, size_t n);

static void compare_rows(const char *name, row_fn run, const laci_kernels *fast)
{
    static float a[MAX_N], b[MAX_N], want[MAX_N], got[MAX_N + 2 * GUARD];
    const laci_kernels ref = laci_kernels_ref();
    for (size_t s = 0; s < N_SIZES; s++) {
        const size_t n = sizes[s];
        fill(a, n + 1, 1 + n, 3);
        fill(b, n + 1, 2 + n, 2);
        for (size_t i = 0; i < n + 2 * GUARD; i++)
            got[i] = 12345.0f;
        memset(want, 0, sizeof want);
        memset(got + GUARD, 0, n * sizeof *got);
        run(&ref, want, a + 1, b + 1, n);
        run(fast, got + GUARD, a + 1, b + 1, n);
        check(name, got + GUARD, want, n);
        guards_are_intact(got, n);
    }
}

static void run_rms_norm(const laci_kernels *k, float *out, const float *a, const float *b,
                         size_t n)
{
    k->rms_norm(out, a, b, 1e-6f, n);
}

static void run_swiglu(const laci_kernels *k, float *out, const float *a, const float *b, size_t n)
{
    k->swiglu(out, a, b, n);
}

static void run_relu2(const laci_kernels *k, float *out, const float *a, const float *b, size_t n)
{
    (void)b;
    k->relu2(out, a, n);
}

static void run_add(const laci_kernels *k, float *out, const float *a, const float *b, size_t n)
{
    k->add(out, a, n);
    k->add(out, b, n);
}

static void run_bf16(const laci_kernels *k, float *out, const float *a, const float *b, size_t n)
{
    uint16_t half[MAX_N];
    (void)b;
    k->to_bf16(half, a, n);
    k->from_bf16(out, half, n);
}

static void run_rope(const laci_kernels *k, float *out, const float *a, const float *b, size_t n)
{
    const size_t n_pairs = n / 2;
    float sines[MAX_N];
    for (size_t i = 0; i < n_pairs; i++)
        sines[i] = sqrtf(fabsf(1 - b[i] * b[i]));
    memcpy(out, a, n * sizeof *out);
    k->rope(out, b, sines, n_pairs, false);
    k->rope(out, b, sines, n_pairs, true);
}

static void run_matmul(const laci_kernels *k, float *out, const float *a, const float *b, size_t n)
{
    const size_t n_in = n < 20 ? n : 20;
    if (n < 40) return; /* two rows of n_in inputs, n / 20 columns */
    k->matmul(out, n / 20, a, b, n / 20, 2, n / 20, n_in);
}

static const unsigned levels[] = { 0, LACI_ISA_AVX2, LACI_ISA_AVX2 | LACI_ISA_AVX512 };

static void rows_match_the_reference(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if ((laci_isa_detect() & levels[i]) != levels[i]) continue;
        const laci_kernels fast = laci_kernels_for(levels[i]);
        compare_rows("rms_norm", run_rms_norm, &fast);
        compare_rows("swiglu", run_swiglu, &fast);
        compare_rows("relu2", run_relu2, &fast);
        compare_rows("add", run_add, &fast);
        compare_rows("to_bf16", run_bf16, &fast);
        compare_rows("from_bf16", run_bf16, &fast);
        compare_rows("rope", run_rope, &fast);
        compare_rows("matmul", run_matmul, &fast);
    }
}

/* ------------------------------------------------------------------ attention */

enum { MAX_KEYS = 300, MAX_D = 128 };

typedef struct {
    size_t n_rows, n_keys, d;
    laci_dtype dtype;
    float scale; /* of the inputs: large = peaky softmax */
    bool rising; /* scores rise along the keys, so the maximum keeps moving */
} attend_case;

static float q_data[LACI_ATTEND_ROWS * MAX_D], k_data[MAX_KEYS * MAX_D], v_data[MAX_KEYS * MAX_D];
static uint16_t k_half[MAX_KEYS * MAX_D], v_half[MAX_KEYS * MAX_D];

static void make_attend(const attend_case *c)
{
    fill(q_data, c->n_rows * c->d, 11, c->scale / sqrtf((float)c->d));
    fill(k_data, c->n_keys * c->d, 12, 1);
    fill(v_data, c->n_keys * c->d, 13, 1);
    for (size_t j = 0; c->rising && j < c->n_keys; j++)
        for (size_t i = 0; i < c->d; i++)
            k_data[j * c->d + i] *= 0.02f * (float)j;
    for (size_t i = 0; i < c->n_keys * c->d; i++) {
        k_half[i] = laci_f32_to_bf16(k_data[i]);
        v_half[i] = laci_f32_to_bf16(v_data[i]);
        if (c->dtype != LACI_BF16) continue;
        k_data[i] = laci_bf16_to_f32(k_half[i]);
        v_data[i] = laci_bf16_to_f32(v_half[i]);
    }
}

/* Output [n_rows, d] then log-sum-exp [n_rows] of a kernel fed with the keys in two parts. */
static void run_attend(const laci_kernels *k, const attend_case *c, float *out)
{
    static float acc[LACI_ATTEND_ROWS * MAX_D], top[LACI_ATTEND_ROWS], sum[LACI_ATTEND_ROWS];
    static _Alignas(64) float scratch[LACI_ATTEND_SCRATCH(MAX_D)];
    laci_attend_tile tile = { q_data, c->n_rows, c->d, top, sum, acc, scratch };
    const size_t cut = c->n_keys / 3;
    for (size_t i = 0; i < c->n_rows; i++)
        top[i] = -INFINITY, sum[i] = 0;
    memset(acc, 0, sizeof acc);
    for (int part = 0; part < 2; part++) {
        const size_t first = part ? cut : 0, end = part ? c->n_keys : cut;
        const bool wide = c->dtype == LACI_F32;
        const laci_keys keys = {
            wide ? (const void *)(k_data + first * c->d) : (const void *)(k_half + first * c->d),
            wide ? (const void *)(v_data + first * c->d) : (const void *)(v_half + first * c->d),
            c->d, c->dtype
        };
        k->attend_keys(&tile, &keys, end - first);
    }
    for (size_t i = 0; i < c->n_rows * c->d; i++)
        out[i] = acc[i] / sum[i / c->d];
    for (size_t i = 0; i < c->n_rows; i++)
        out[c->n_rows * c->d + i] = top[i] + logf(sum[i]);
}

/* The definition: softmax over all keys in double. */
static void brute_force(const attend_case *c, float *out)
{
    static double p[MAX_KEYS];
    for (size_t r = 0; r < c->n_rows; r++) {
        double top = -INFINITY, total = 0;
        for (size_t j = 0; j < c->n_keys; j++) {
            p[j] = 0;
            for (size_t i = 0; i < c->d; i++)
                p[j] += (double)q_data[r * c->d + i] * (double)k_data[j * c->d + i];
            if (p[j] > top) top = p[j];
        }
        for (size_t j = 0; j < c->n_keys; j++)
            total += p[j] = exp(p[j] - top);
        for (size_t i = 0; i < c->d; i++) {
            double sum = 0;
            for (size_t j = 0; j < c->n_keys; j++)
                sum += p[j] * (double)v_data[j * c->d + i];
            out[r * c->d + i] = (float)(sum / total);
        }
        out[c->n_rows * c->d + r] = (float)(top + log(total));
    }
}

static void attention_matches_double_precision(void **state)
{
    (void)state;
    static float want[LACI_ATTEND_ROWS * (MAX_D + 1)], got[LACI_ATTEND_ROWS * (MAX_D + 1)];
    static const attend_case cases[] = {
        { 1, 3, 8, LACI_F32, 1, false },        { 7, 64, 32, LACI_F32, 4, false },
        { 64, 300, 64, LACI_F32, 4, false },    { 13, 129, 40, LACI_BF16, 4, false },
        { 64, 200, 128, LACI_BF16, 30, false }, { 5, 300, 128, LACI_F32, 30, true },
        { 6, 299, 16, LACI_BF16, 8, true },     { 2, 65, 80, LACI_F32, 200, false },
    };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if ((laci_isa_detect() & levels[i]) != levels[i]) continue;
        const laci_kernels k = laci_kernels_for(levels[i]);
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            const size_t n = cases[c].n_rows * cases[c].d;
            make_attend(&cases[c]);
            brute_force(&cases[c], want);
            run_attend(&k, &cases[c], got);
            const float error = error_of("attention", got, want, n);
            const float lse_error = error_of("log-sum-exp", got + n, want + n, cases[c].n_rows);
            /* A score of size s carries an error of s units in the last place into its exponential.
             */
            if (error > bound_of("attend_keys") + 3e-7f * cases[c].scale || lse_error > 1e-6f)
                fail_msg("level %zu case %zu: error %g, log-sum-exp %g", i, c, (double)error,
                         (double)lse_error);
        }
    }
}

/* A NaN among the keys must reach the output; a row without keys stays empty. */
static void attention_shows_nan(void **state)
{
    (void)state;
    static float got[LACI_ATTEND_ROWS * (MAX_D + 1)];
    const attend_case c = { 8, 70, 16, LACI_F32, 1, false };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if ((laci_isa_detect() & levels[i]) != levels[i]) continue;
        const laci_kernels k = laci_kernels_for(levels[i]);
        make_attend(&c);
        k_data[66 * c.d + 3] = NAN;
        run_attend(&k, &c, got);
        for (size_t j = 0; j < c.n_rows * c.d; j++)
            assert_true(isnan(got[j]));
        float top = -INFINITY, sum = 0, acc[16] = { 0 };
        laci_attend_tile tile = { q_data, 1, 16, &top, &sum, acc, NULL };
        const laci_keys none = { k_data, v_data, 16, LACI_F32 };
        k.attend_keys(&tile, &none, 0);
        assert_true(sum == 0 && top == -INFINITY);
    }
}

static void isa_can_be_narrowed(void **state)
{
    (void)state;
    setenv("LAC_ISA", "ref", 1);
    assert_int_equal(laci_isa_detect(), 0);
    assert_string_equal(laci_isa_name(0), "ref");
    setenv("LAC_ISA", "avx2", 1);
    assert_int_equal(laci_isa_detect() & ~(unsigned)LACI_ISA_AVX2, 0);
    unsetenv("LAC_ISA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_match_the_reference),
        cmocka_unit_test(attention_matches_double_precision),
        cmocka_unit_test(attention_shows_nan),
        cmocka_unit_test(isa_can_be_narrowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
