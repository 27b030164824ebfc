/* test_top_k.c: pooling of scores and the k largest, every instruction set this machine has against
 * the rules themselves: sizes from nothing on, unaligned, guard bands, NaN, infinities, denormals,
 * ties.
 * --bench times the same. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include "kernels/checkasm.h"

static const size_t sizes[] = { 0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 512, 1001 };
enum { N_SIZES = sizeof sizes / sizeof sizes[0], MAX_N = 1024, N_KINDS = 7 };

/* n numbers of one of N_KINDS sorts: plain, equal, few distinct, rising, falling, odd values, all
 * minus infinity. */
static void make_numbers(float *x, size_t n, size_t kind)
{
    static const float odd[] = { NAN,    INFINITY, -INFINITY, 0.0f,  -0.0f,
                                 1e-40f, -1e-40f,  3e38f,     -3e38f };
    fill(x, n, 31 + n, 8);
    for (size_t i = 0; i < n; i++) {
        if (kind == 1) x[i] = -2.5f;
        if (kind == 2) x[i] = (float)(int)x[i];
        if (kind == 3) x[i] = (float)i * 0.25f - 9;
        if (kind == 4) x[i] = 7 - (float)i * 0.25f;
        if (kind == 5 && i % 3 == 1) x[i] = odd[i / 3 % (sizeof odd / sizeof odd[0])];
        if (kind == 5 && i == 4) x[i] = low_nan();
        if (kind == 6) x[i] = -INFINITY;
    }
}

static double hot(float x) /* NaN counts as +infinity */
{
    return isnan(x) ? (double)INFINITY : (double)x;
}

static void check_pool(const laci_kernels *k, size_t n, size_t kind)
{
    float x[MAX_N], into[MAX_N];
    double want[MAX_N], top = -INFINITY, total = 0;
    guarded out = guarded_new(n * 4, 4), in = guarded_new(n * 4, 8);
    float *got = out.data;
    make_numbers(x, n, kind);
    make_numbers(into, n, kind == 5 ? 5 : 0);
    memcpy(got, into, n * 4);
    k->pool_max(got, x, n);
    for (size_t i = 0; i < n; i++)
        assert_true((double)got[i] == fmax(hot(into[i]), hot(x[i])));
    guarded_check(&out, n * 4, "pool_max");
    for (size_t i = 0; i < n; i++)
        if (hot(x[i]) < (double)INFINITY) top = fmax(top, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        if (hot(x[i]) < (double)INFINITY && x[i] > -INFINITY)
            total += exp(0.3 * ((double)x[i] - top));
    for (size_t i = 0; i < n; i++) {
        got[i] = 0.5f;
        want[i] = x[i] > -INFINITY ? 0.5 + exp(0.3 * ((double)x[i] - top)) / total : 0.5;
        if (hot(x[i]) == (double)INFINITY) want[i] = (double)INFINITY;
    }
    memcpy(in.data, x, n * 4);
    k->pool_softmax(got, in.data, 0.3f, n);
    const double error = error_of("pool_softmax", got, want, n);
    if (error > (double)bound_of("pool_softmax")) fail_msg("n %zu kind %zu: %g", n, kind, error);
    guarded_check(&out, n * 4, "pool_softmax");
    guarded_check(&in, n * 4, "pool_softmax's input");
    guarded_free(&out), guarded_free(&in);
}

static void pools_match_brute_force(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (size_t l = 0; l < n_levels; l++)
        for (size_t i = 0; i < N_SIZES && IS_NEW(levels, l, pool_max); i++)
            for (size_t kind = 0; kind < N_KINDS; kind++)
                check_pool(&levels[l].table, sizes[i], kind);
}

/* ------------------------------------------------------------------ the k largest */

/* By the rule itself: chosen is who has fewer than k before it, larger or equal and earlier. */
static void check_top(const laci_kernels *kernels, size_t n, size_t k, size_t kind)
{
    float x[MAX_N + 1];
    const size_t n_want = k < n ? k : n, n_whole = (n + 15) / 16 * 16;
    guarded ids = guarded_new(n_want * 4, 4), scratch = guarded_new(n_whole * 4, 4);
    const uint32_t *got = ids.data;
    size_t at = 0;
    make_numbers(x + 1, n, kind);
    assert_int_equal(kernels->top_k(ids.data, x + 1, n, k, scratch.data), n_want);
    for (size_t i = 0; i < n; i++) {
        size_t n_before = 0;
        for (size_t j = 0; j < n; j++)
            n_before += hot(x[1 + j]) > hot(x[1 + i]) || (hot(x[1 + j]) == hot(x[1 + i]) && j < i);
        if (n_before >= k) continue;
        assert_true(at < n_want);
        if (got[at] != i) fail_msg("n %zu k %zu kind %zu: id %u, want %zu", n, k, kind, got[at], i);
        at++;
    }
    assert_int_equal(at, n_want);
    guarded_check(&ids, n_want * 4, "top_k");
    guarded_check(&scratch, n_whole * 4, "top_k's scratch");
    guarded_free(&ids), guarded_free(&scratch);
}

static void check_tops(const laci_kernels *kernels)
{
    for (size_t i = 0; i < N_SIZES; i++) {
        const size_t n = sizes[i], counts[] = { 0, 1, 2, n / 10, n / 2, n ? n - 1 : 0, n, n + 5 };
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
            for (size_t kind = 0; kind < N_KINDS; kind++)
                check_top(kernels, n, counts[c], kind);
    }
}

static void the_k_largest_are_those(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n = get_levels(levels);
    for (size_t i = 0; i < n; i++)
        if (IS_NEW(levels, i, top_k)) check_tops(&levels[i].table);
}

/* ------------------------------------------------------------------ --bench */

typedef struct {
    float x[8192], out[8192];
    uint32_t ids[8192];
    int32_t scratch[8192];
    size_t n;
} bench_data;

static void time_pool_max(const laci_kernels *k, void *user)
{
    bench_data *b = user;
    k->pool_max(b->out, b->x, b->n);
}

/* Fresh scores each time: the kernel overwrites them. */
static void time_pool_softmax(const laci_kernels *k, void *user)
{
    bench_data *b = user;
    memcpy(b->ids, b->x, b->n * sizeof *b->x);
    k->pool_softmax(b->out, (float *)b->ids, 0.1f, b->n);
}

static void time_top(const laci_kernels *k, void *user)
{
    bench_data *b = user;
    k->top_k(b->ids, b->x, b->n, b->n / 10, b->scratch);
}

static int bench(void)
{
    static bench_data b;
    static const size_t lengths[] = { 512, 2048, 8192 };
    fill(b.x, 8192, 1, 30);
    for (size_t i = 0; i < 3; i++) {
        char what[3][64];
        b.n = lengths[i];
        snprintf(what[0], sizeof what[0], "pool_max, %zu", b.n);
        snprintf(what[1], sizeof what[1], "pool_softmax, %zu", b.n);
        snprintf(what[2], sizeof what[2], "top_k, %zu of %zu", b.n / 10, b.n);
        const bench_case cases[] = {
            { what[0], offsetof(laci_kernels, pool_max), time_pool_max, &b, 0 },
            { what[1], offsetof(laci_kernels, pool_softmax), time_pool_softmax, &b, 0 },
            { what[2], offsetof(laci_kernels, top_k), time_top, &b, 0 },
        };
        for (size_t c = 0; c < 3; c++)
            bench_kernel(&cases[c]);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_match_brute_force),
        cmocka_unit_test(the_k_largest_are_those),
    };
    if (argc > 1 && !strcmp(argv[1], "--bench")) return bench();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
