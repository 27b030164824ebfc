/* test_cuda_errors.c: what the CUDA backend says when something is missing: no device, a device
 * that is not there, names that are none, device memory that ends at any allocation; and that a
 * failure during an operation reaches the caller as NaN, not as an old number. On the emulator
 * only. */
#include <math.h>

#include "backend/any_backend.h"
#include "backend/cuda/cuda_state.h"
#include "emulator/device.h"

static void check_name(const char *name, const char *said)
{
    lac_error err = { 0 };
    laci_backend *be = NULL;
    assert_int_equal(laci_backend_open(&be, name, LAC_DTYPE_F32, 1, NULL, &err), LAC_EINVAL);
    if (!strstr(err.message, said)) fail_msg("%s: \"%s\"", name, err.message);
    assert_null(be);
}

static void names_are_checked(void **state)
{
    (void)state;
    check_name("gpu", "unknown backend \"gpu\"");
    check_name("cuda:", "a device is cuda:0 to cuda:1023");
    check_name("cuda:x", "a device is cuda:0 to cuda:1023");
    check_name("cuda:-1", "a device is cuda:0 to cuda:1023");
    check_name("cuda:99999999999999999999", "a device is cuda:0 to cuda:1023");
    check_name("cuda:1", "no CUDA device 1: this machine has 1");
}

static void no_device_is_one_sentence(void **state)
{
    (void)state;
    laci_backend *be = NULL;
    laci_emulator_devices = 0;
    check_name("cuda", "no CUDA device: no CUDA-capable device is detected; --backend cpu");
    assert_ok(laci_backend_open(&be, "auto", LAC_DTYPE_F32, 1, NULL, NULL));
    assert_string_equal(laci_backend_name(be), "cpu");
    laci_backend_close(be);
    laci_emulator_devices = 1;
    assert_ok(laci_backend_open(&be, "auto", LAC_DTYPE_AUTO, 1, NULL, NULL));
    assert_string_equal(laci_backend_name(be), "cuda:0");
    assert_int_equal(laci_backend_act(be), LACI_BF16);
    laci_backend_close(be);
}

/* Opening and creating a session with the n-th allocation on the device refused. */
static void refused_memory_is_reported(void **state)
{
    (void)state;
    const lac_model_options opt = { .dtype = LAC_DTYPE_F32, .backend = "cuda" };
    int n_failed = 0;
    for (int n = 0; n < 400; n += 1 + n / 8) {
        lac_error err = { 0 };
        lac_model *model = NULL;
        lac_session *session = NULL;
        laci_emulator_allocations_left = n;
        lac_status st = lac_model_open(&model, test_path("models/nano-f"), &opt, &err);
        if (!st) st = lac_session_create(&session, model, NULL, &err);
        laci_emulator_allocations_left = -1;
        lac_session_free(session);
        lac_model_close(model);
        if (!st) break;
        n_failed++;
        if (st != LAC_ENOMEM && st != LAC_EINTERNAL) fail_msg("%d: %s", n, err.message);
        assert_true(strlen(err.message) > 20);
    }
    assert_true(n_failed > 5);
}

/* A failure in the middle of work: what is read back is NaN, and stays so. */
static void failures_are_not_numbers(void **state)
{
    (void)state;
    laci_backend *be = NULL;
    laci_buf *x = NULL, *y = NULL;
    float got[8] = { 0 };
    const int32_t rows[2] = { 1, 0 };
    assert_ok(laci_backend_open(&be, "cuda", LAC_DTYPE_F32, 1, NULL, NULL));
    assert_ok(laci_buf_new(be, sizeof got, "x", &x, NULL));
    assert_ok(laci_buf_new(be, sizeof got, "y", &y, NULL));
    laci_emulator_allocations_left = 0;
    laci_backend_gather(be, x, rows, 2, 4, y); /* needs memory for its arguments */
    laci_emulator_allocations_left = -1;
    laci_backend_read(be, y, 0, got, sizeof got);
    for (size_t i = 0; i < 8; i++)
        assert_true(isnan(got[i]));
    laci_backend_gather(be, x, rows, 2, 4, y);
    laci_backend_read(be, y, 0, got, sizeof got);
    assert_true(isnan(got[0]));
    laci_buf_free(be, x);
    laci_buf_free(be, y);
    laci_backend_close(be);
}

/* The same for a read that the device decides, whichever allocation is refused. */
static void refused_reads_are_not_numbers(void **state)
{
    (void)state;
    enum { N = 64, D = 8, ROWS = 2, FLOATS = ROWS * D };
    bool was_read = false;
    for (int n = 0; n < 20 && !was_read; n++) {
        laci_backend *be = NULL;
        laci_kv kv;
        laci_pages pages;
        laci_buf *bufs[6]; /* queries, results, their log-sum-exps, both again, counts */
        float got[FLOATS] = { 0 };
        assert_ok(laci_backend_open(&be, "cuda", LAC_DTYPE_F32, 1, NULL, NULL));
        assert_ok(laci_kv_new(be, 1, N, 1, D, &kv, NULL));
        assert_ok(laci_pages_new(be, &kv, 16, &pages, NULL));
        for (size_t i = 0; i < 6; i++)
            assert_ok(laci_buf_new(be, sizeof got, "a test", &bufs[i], NULL));
        const laci_kv *const piece = &kv;
        const laci_paged_read read = { .q = bufs[0],
                                       .n_q = ROWS,
                                       .n_heads = 1,
                                       .all = true,
                                       .pages = &pages,
                                       .page = 16,
                                       .budget = { .n = 2 },
                                       .pool = LACI_POOL_UNION,
                                       .pieces = &piece,
                                       .n_pieces = 1,
                                       .n_keys = N,
                                       .out = bufs[1],
                                       .lse = bufs[2],
                                       .spare = bufs[3],
                                       .spare_lse = bufs[4],
                                       .counts = bufs[5] };
        laci_backend_page_bounds(be, &kv, &pages, 0, 0, N);
        laci_emulator_allocations_left = n;
        assert_true(laci_backend_paged_read(be, &read));
        laci_emulator_allocations_left = -1;
        laci_backend_read(be, bufs[1], 0, got, sizeof got);
        was_read = !isnan(got[0]); /* values are 0, and so is their mean */
        for (size_t i = 0; i < FLOATS; i++)
            assert_true(was_read ? got[i] == 0 : isnan(got[i]));
        assert_true(n > 0 || !was_read);
        for (size_t i = 0; i < 6; i++)
            laci_buf_free(be, bufs[i]);
        laci_pages_free(be, &pages);
        laci_kv_free(be, &kv);
        laci_backend_close(be);
    }
    assert_true(was_read);
}

/* The backend's table has an entry for every operation there is. */
static void no_operation_is_missing(void **state)
{
    (void)state;
    typedef void (*entry)(void);
    laci_backend *be = NULL;
    entry entries[sizeof(laci_backend_ops) / sizeof(entry)];
    assert_ok(laci_backend_open(&be, "cuda", LAC_DTYPE_F32, 1, NULL, NULL));
    memcpy(entries, be->ops, sizeof entries);
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        if (!entries[i]) fail_msg("entry %zu of the table is empty", i);
    laci_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(no_device_is_one_sentence),
        cmocka_unit_test(refused_memory_is_reported),
        cmocka_unit_test(no_operation_is_missing),
        cmocka_unit_test(failures_are_not_numbers),
        cmocka_unit_test(refused_reads_are_not_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
