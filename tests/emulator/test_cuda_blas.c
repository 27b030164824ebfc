/* test_cuda_blas.c: products of the CUDA backend by a matrix library, which is a stand-in that
 * computes from the descriptors it is given (fake_cublaslt.c): results against double precision,
 * how often the library is asked, what is left behind, and what happens when it is not there, is
 * not what it should be, or fails. On the emulator only. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <dlfcn.h>
#include <math.h>

#include "backend/any_backend.h"
#include "backend/cuda/cuda_blas.h"
#include "base/rng.h"
#include "emulator/device.h"
#include "emulator/fake_cublaslt.h"

typedef struct {
    laci_backend *be;
    laci_linear *linear;
    laci_buf *x, *y;
    size_t n_out, n_in, n_rows;
    bool bf16;
    float *weights, *rows; /* rounded as the backend keeps them */
} rig;

static fake_cublaslt *fake; /* of the library as the backend loads it */

static void read_weights(void *user, size_t row, size_t n_rows, float *out)
{
    const rig *r = user;
    memcpy(out, r->weights + row * r->n_in, n_rows * r->n_in * sizeof *out);
}

static float *random_floats(uint64_t key, size_t n, bool bf16)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(laci_rng_unit(key, i) * 2 - 1);
        if (bf16) x[i] = laci_bf16_to_f32(laci_f32_to_bf16(x[i]));
    }
    return x;
}

static void put_rows(const rig *r)
{
    const size_t n = r->n_rows * r->n_in;
    uint16_t *halves = malloc(n * sizeof *halves);
    for (size_t i = 0; i < n; i++)
        halves[i] = laci_f32_to_bf16(r->rows[i]);
    laci_backend_write(r->be, r->x, 0, r->bf16 ? (void *)halves : (void *)r->rows,
                       n * (r->bf16 ? 2 : 4));
    free(halves);
}

/* A matrix and rows for it, in a backend that stays open between rigs. */
static rig make_rig(laci_backend *be, size_t n_out, size_t n_in, size_t n_rows)
{
    rig r = { .be = be, .n_out = n_out, .n_in = n_in, .n_rows = n_rows };
    r.bf16 = laci_backend_act(be) == LACI_BF16;
    r.weights = random_floats(1, n_out * n_in, r.bf16);
    r.rows = random_floats(2, n_rows * n_in, r.bf16);
    assert_ok(
        laci_linear_new(be, n_out, n_in, (laci_row_source){ read_weights, &r }, &r.linear, NULL));
    assert_ok(laci_buf_new(be, (n_rows + LACI_ROW_PAD) * n_in * 4, "x", &r.x, NULL));
    assert_ok(laci_buf_new(be, (n_rows + LACI_ROW_PAD) * n_out * 4, "y", &r.y, NULL));
    put_rows(&r);
    return r;
}

static void free_rig(rig *r)
{
    laci_linear_free(r->be, r->linear);
    laci_buf_free(r->be, r->x);
    laci_buf_free(r->be, r->y);
    free(r->weights);
    free(r->rows);
}

/* n rows from `first` on against sums in double. */
static void check_product(const rig *r, size_t first, size_t n)
{
    float *got = malloc(n * r->n_out * sizeof *got);
    laci_backend_linear(r->be, r->linear, r->x, first, n, r->y);
    laci_backend_read(r->be, r->y, 0, got, n * r->n_out * sizeof *got);
    for (size_t i = 0; i < n * r->n_out; i++) {
        const float *x = r->rows + (first + i / r->n_out) * r->n_in;
        const float *w = r->weights + i % r->n_out * r->n_in;
        double want = 0;
        for (size_t k = 0; k < r->n_in; k++)
            want += (double)x[k] * (double)w[k];
        if (!(fabs((double)got[i] - want) <= 1e-5 * sqrt((double)r->n_in)))
            fail_msg("%zu x %zu, row %zu of %zu from %zu, column %zu: %g, wanted %g", r->n_out,
                     r->n_in, i / r->n_out, n, first, i % r->n_out, (double)got[i], want);
    }
    free(got);
}

static laci_backend *open_with(const char *file, lac_dtype dtype)
{
    laci_backend *be = NULL;
    lac_error err = { 0 };
    setenv("LAC_CUBLAS", file, 1);
    if (laci_backend_open(&be, "cuda", dtype, 1, NULL, &err)) fail_msg("%s", err.message);
    return be;
}

static void reset(void)
{
    *fake = (fake_cublaslt){ .queue = laci_emulator_queue };
}

/* ------------------------------------------------------------------ products */

static void products_are_right(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {
        { 48, 32, 16 }, { 32, 48, 7 }, { 130, 24, 1 }, { 9, 13, 5 }
    };
    for (int bf16 = 0; bf16 < 2; bf16++) {
        reset();
        laci_backend *be = open_with(FAKE_CUBLASLT, bf16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32);
        int n_products = 0;
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            rig r = make_rig(be, shapes[i][0], shapes[i][1], shapes[i][2]);
            check_product(&r, 0, r.n_rows);
            n_products++;
            for (size_t first = 1; first < r.n_rows; first += 2, n_products++)
                check_product(&r, first, r.n_rows - first); /* rows at odd addresses */
            free_rig(&r);
        }
        assert_int_equal(fake->n_products, n_products); /* none by the plain kernel */
        laci_backend_close(be);
        assert_int_equal(fake->n_handles, 0);
        assert_int_equal(fake->n_objects, 0);
    }
}

static void a_shape_is_asked_for_once(void **state)
{
    (void)state;
    reset();
    laci_backend *be = open_with(FAKE_CUBLASLT, LAC_DTYPE_F32);
    rig r = make_rig(be, 16, 64, LACI_CU_BLAS_SHAPES + 1);
    for (int turn = 0; turn < 3; turn++)
        for (size_t n = 1; n <= LACI_CU_BLAS_SHAPES; n++)
            check_product(&r, 0, n);
    assert_int_equal(fake->n_asked, LACI_CU_BLAS_SHAPES);
    assert_int_equal(fake->n_objects, 4 * LACI_CU_BLAS_SHAPES);
    check_product(&r, 1, 1); /* 256 bytes further: the same shape */
    assert_int_equal(fake->n_asked, LACI_CU_BLAS_SHAPES);
    /* One more takes the place of what was not used for longest, 2 rows, and of nothing else. */
    check_product(&r, 0, LACI_CU_BLAS_SHAPES + 1);
    check_product(&r, 0, 1);
    check_product(&r, 0, 3);
    assert_int_equal(fake->n_asked, LACI_CU_BLAS_SHAPES + 1);
    check_product(&r, 0, 2);
    assert_int_equal(fake->n_asked, LACI_CU_BLAS_SHAPES + 2);
    assert_int_equal(fake->n_objects, 4 * LACI_CU_BLAS_SHAPES);
    free_rig(&r);
    laci_backend_close(be);
    assert_int_equal(fake->n_objects, 0);
}

/* In a forward pass that becomes a graph, the library's work is captured with the rest. */
static void products_of_a_pass_are_captured(void **state)
{
    (void)state;
    enum { N_OUT = 48, N_IN = 32, ROWS = 4 };
    float plain[ROWS * N_OUT], got[ROWS * N_OUT];
    assert_int_equal(setenv("LAC_CUDA_GRAPH", "1", 1), 0);
    reset();
    laci_backend *be = open_with(FAKE_CUBLASLT, LAC_DTYPE_BF16);
    rig r = make_rig(be, N_OUT, N_IN, ROWS);
    laci_backend_linear(be, r.linear, r.x, 0, ROWS, r.y);
    laci_backend_read(be, r.y, 0, plain, sizeof plain);
    for (unsigned turn = 0; turn < 3; turn++) {
        const laci_emulator_counts before = laci_emulator_graphs;
        laci_backend_pass_begin(be);
        laci_backend_linear(be, r.linear, r.x, 0, ROWS, r.y);
        laci_backend_add(be, r.y, 0, r.y, ROWS, N_OUT);
        laci_backend_pass_end(be);
        laci_backend_read(be, r.y, 0, got, sizeof got);
        assert_int_equal(laci_emulator_graphs.n_launched - before.n_launched, 1);
        assert_int_equal(laci_emulator_graphs.n_made - before.n_made, turn == 0);
        for (size_t i = 0; i < ROWS * N_OUT; i++)
            if (got[i] != 2 * plain[i])
                fail_msg("%zu: %g, alone %g", i, (double)got[i], (double)plain[i]);
    }
    assert_int_equal(setenv("LAC_CUDA_GRAPH", "0", 1), 0);
    free_rig(&r);
    laci_backend_close(be);
    assert_int_equal(fake->n_objects, 0);
    assert_int_equal(laci_emulator_graphs.n_alive, 0);
}

/* ------------------------------------------------------------------ failures */

static void what_it_cannot_the_plain_product_does(void **state)
{
    (void)state;
    reset();
    laci_backend *be = open_with(FAKE_CUBLASLT, LAC_DTYPE_BF16);
    rig r = make_rig(be, 24, 32, 4);
    fake->knows_no_way = true;
    check_product(&r, 0, 4);
    check_product(&r, 0, 4);
    assert_int_equal(fake->n_asked, 1); /* that it cannot is kept as well */
    assert_int_equal(fake->n_products, 0);
    free_rig(&r);
    laci_backend_close(be);
    assert_int_equal(fake->n_objects, 0);
}

/* A library that fails: NaN, not what was there before. */
static void check_failure(bool *refuses)
{
    reset();
    laci_backend *be = open_with(FAKE_CUBLASLT, LAC_DTYPE_F32);
    rig r = make_rig(be, 24, 32, 4);
    float got[24] = { 0 };
    *refuses = true;
    laci_backend_linear(be, r.linear, r.x, 0, 1, r.y);
    laci_backend_read(be, r.y, 0, got, sizeof got);
    for (size_t i = 0; i < 24; i++)
        assert_true(isnan(got[i]));
    assert_int_equal(fake->n_products, 0);
    free_rig(&r);
    laci_backend_close(be);
    assert_int_equal(fake->n_objects, 0);
}

static void failures_are_not_numbers(void **state)
{
    (void)state;
    check_failure(&fake->refuses_product);
    check_failure(&fake->refuses_objects);
}

static void check_refused(const char *file, const char *said)
{
    lac_error err = { 0 };
    laci_backend *be = NULL;
    setenv("LAC_CUBLAS", file, 1);
    assert_int_equal(laci_backend_open(&be, "cuda", LAC_DTYPE_F32, 1, NULL, &err), LAC_EINVAL);
    if (!strstr(err.message, said)) fail_msg("%s: \"%s\"", file, err.message);
    assert_null(be);
}

static void a_named_library_must_load(void **state)
{
    (void)state;
    reset();
    check_refused("/nowhere/libcublasLt.so", "\"/nowhere/libcublasLt.so\" cannot be loaded");
    check_refused("libm.so.6", "\"libm.so.6\" is no cuBLASLt: it lacks cublasLtCreate");
    fake->refuses_create = true;
    check_refused(FAKE_CUBLASLT, "does not start (status 1)");
    assert_int_equal(fake->n_handles, 0);
    laci_backend *be = open_with("", LAC_DTYPE_F32); /* none: the plain product */
    rig r = make_rig(be, 24, 32, 4);
    check_product(&r, 0, 4);
    free_rig(&r);
    laci_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(a_shape_is_asked_for_once),
        cmocka_unit_test(products_of_a_pass_are_captured),
        cmocka_unit_test(what_it_cannot_the_plain_product_does),
        cmocka_unit_test(failures_are_not_numbers),
        cmocka_unit_test(a_named_library_must_load),
    };
    void *library = dlopen(FAKE_CUBLASLT, RTLD_NOW | RTLD_LOCAL);
    if (library) fake = dlsym(library, "fake_cublaslt_state");
    if (!fake) {
        fprintf(stderr, "%s: %s\n", FAKE_CUBLASLT, dlerror());
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
