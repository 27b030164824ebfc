/* test_kernels.c: the kernels of rows, every instruction set this machine has against the plain C
 * definition: odd sizes, unaligned pointers, guard bands around outputs, the bound of kernels.def;
 * merging against double precision. Attention has files of its own beside this one. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign, setenv */
#include "kernels/checkasm.h"

enum { MAX_N = 1024 }; /* more than any size below */

static void check(const char *kernel, const float *got, const float *want, size_t n)
{
    static double wide[MAX_N];
    for (size_t i = 0; i < n; i++)
        wide[i] = (double)want[i];
    const double error = error_of(kernel, got, wide, n);
    if (error > (double)bound_of(kernel))
        fail_msg("%s, %zu values: error %g, bound %g", kernel, n, error, (double)bound_of(kernel));
}

/* Sizes from nothing to three registers of the widest set, and odd ones. */
static const size_t sizes[] = {
    0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 65, 127, 352, 1001
};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

/* Runs one row kernel of both tables on the same unaligned input and compares. */
typedef void (*row_fn)(const laci_kernels *k, float *out, const float *a, const float *b, size_t n);

static void compare_rows(const char *name, row_fn run, const laci_kernels *fast)
{
    static float a[MAX_N], b[MAX_N], want[MAX_N];
    const laci_kernels ref = laci_kernels_ref();
    for (size_t s = 0; s < N_SIZES; s++) {
        const size_t n = sizes[s];
        guarded got = guarded_new(n * sizeof(float), 4);
        fill(a, MAX_N, 1 + n, 3);
        fill(b, MAX_N, 2 + n, 2);
        memset(want, 0, sizeof want);
        memset(got.data, 0, n * sizeof(float));
        run(&ref, want, a + 1, b + 1, n);
        run(fast, got.data, a + 1, b + 1, n);
        check(name, got.data, want, n);
        guarded_check(&got, n * sizeof(float), name);
        guarded_free(&got);
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

static void run_scale(const laci_kernels *k, float *out, const float *a, const float *b, size_t n)
{
    memcpy(out, a, n * sizeof *out);
    k->scale(out, b[0], n);
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

static void rows_match_the_reference(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        row_fn run;
        size_t at;
    } rows[] = {
#define ROW(name, run) { #name, run, offsetof(laci_kernels, name) }
        ROW(rms_norm, run_rms_norm), ROW(swiglu, run_swiglu), ROW(relu2, run_relu2),
        ROW(add, run_add),           ROW(scale, run_scale),   ROW(to_bf16, run_bf16),
        ROW(from_bf16, run_bf16),    ROW(rope, run_rope),     ROW(matmul, run_matmul),
#undef ROW
    };
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (size_t l = 0; l < n_levels; l++)
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            if (is_new(levels, l, rows[i].at))
                compare_rows(rows[i].name, rows[i].run, &levels[l].table);
}

/* ------------------------------------------------------------------ merging */

/* The definition in double (docs/algorithms.md 4). */
static void merge_in_double(double *out, double *lse, const float *a, double a_lse, const float *b,
                            double b_lse, size_t d)
{
    const double top = a_lse > b_lse ? a_lse : b_lse;
    const double wa = a_lse == -INFINITY ? 0 : exp(a_lse - top);
    const double wb = b_lse == -INFINITY ? 0 : exp(b_lse - top);
    for (size_t c = 0; c < d; c++)
        out[c] = wa + wb == 0 ? 0 : (wa * (double)a[c] + wb * (double)b[c]) / (wa + wb);
    *lse = wa + wb == 0 ? -INFINITY : top + log(wa + wb);
}

static void check_merge(const level *l, size_t d, float a_lse, float b_lse)
{
    static float a[MAX_N], b[MAX_N];
    double want[MAX_N], want_lse;
    float lse = a_lse;
    char what[100];
    guarded out = guarded_new(d * sizeof(float), 4);
    snprintf(what, sizeof what, "merge %s of %g and %g, d %zu", l->name, (double)a_lse,
             (double)b_lse, d);
    fill(a, d, d, 1);
    fill(b + 1, d, d + 1, 1);
    if (a_lse == -INFINITY) memset(a, 0, sizeof a); /* what a row without keys gives */
    if (b_lse == -INFINITY) memset(b, 0, sizeof b);
    memcpy(out.data, a, d * sizeof *a);
    l->table.merge(out.data, &lse, b + 1, b_lse, d);
    guarded_check(&out, out.n, what);
    merge_in_double(want, &want_lse, a, (double)a_lse, b + 1, (double)b_lse, d);
    const double bound = (double)bound_of("merge"), error = error_of(what, out.data, want, d);
    if (error > bound) fail_msg("%s: error %g, bound %g", what, error, bound);
    (void)error_of(what, &lse, &want_lse, 1);
    if (fabs((double)lse - want_lse) > bound * fmax(1, fabs(want_lse)))
        fail_msg("%s: log-sum-exp %g, want %g", what, (double)lse, want_lse);
    if (b_lse == -INFINITY) assert_memory_equal(out.data, a, d * sizeof *a);
    if (a_lse == -INFINITY) assert_memory_equal(out.data, b + 1, d * sizeof *b);
    if (a_lse == -INFINITY || b_lse == -INFINITY) assert_true(lse == fmaxf(a_lse, b_lse));
    guarded_free(&out);
}

static void merging_is_exact(void **state)
{
    (void)state;
    static const float pairs[][2] = {
        { 0, 0 },
        { 3, -2 },
        { -2, 3 },
        { 1e4f, 10001 },
        { -500, 500 },
        { 500, -500 },
        { -1e30f, 1e30f },
        { -INFINITY, 1.5f },
        { 1.5f, -INFINITY },
        { -INFINITY, -INFINITY },
        { -1000, -1001 },
        { NAN, 0 },
        { 0, NAN },
    };
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (size_t l = 0; l < n_levels; l++)
        for (size_t i = 0; IS_NEW(levels, l, merge) && i < sizeof pairs / sizeof pairs[0]; i++)
            for (size_t s = 1; s < N_SIZES; s++)
                check_merge(&levels[l], sizes[s], pairs[i][0], pairs[i][1]);
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
        cmocka_unit_test(merging_is_exact),
        cmocka_unit_test(isa_can_be_narrowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
