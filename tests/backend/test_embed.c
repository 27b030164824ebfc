/* test_embed.c: the rows of an embedding: ids of the table, and ids it does not have, in whose
 * place a row of the table is read. */
#include "backend/any_backend.h"

enum { N_TABLE = 7, D = 5, N = 6 };

static const int32_t strange[N] = { -1, 3, N_TABLE, INT32_MAX, INT32_MIN, 6 };

/* Number c of row r of the table; exact in bf16. */
static float entry(size_t r, size_t c)
{
    return (float)(r * D + c);
}

static laci_buf *new_table(laci_backend *be)
{
    laci_buf *buf = NULL;
    float x[N_TABLE * D];
    uint16_t half[N_TABLE * D];
    const bool is_f32 = laci_backend_act(be) == LACI_F32;
    for (size_t i = 0; i < N_TABLE * D; i++) {
        x[i] = entry(i / D, i % D);
        half[i] = laci_f32_to_bf16(x[i]);
    }
    assert_ok(laci_buf_new(be, sizeof x, "table", &buf, NULL));
    laci_backend_write(be, buf, 0, is_f32 ? (void *)x : (void *)half,
                       is_f32 ? sizeof x : sizeof half);
    return buf;
}

static void check_dtype(lac_dtype dtype)
{
    laci_backend *be = NULL;
    laci_buf *out = NULL;
    float x[N * D];
    assert_ok(laci_backend_open(&be, backend_name(), dtype, 2, NULL, NULL));
    laci_buf *table = new_table(be);
    assert_ok(laci_buf_new(be, sizeof x, "rows", &out, NULL));
    const laci_embedding e = { .table = table, .d = D, .n_rows = N_TABLE, .stand_in = 2 };
    laci_backend_embed(be, &e, strange, N, out);
    laci_backend_read(be, out, 0, x, sizeof x);
    for (size_t i = 0; i < N * D; i++) {
        const bool is_known = strange[i / D] >= 0 && strange[i / D] < N_TABLE;
        const float want = entry(is_known ? (size_t)strange[i / D] : 2, i % D);
        if (!(x[i] == want))
            fail_msg("id %d: number %zu is %g, not %g", strange[i / D], i % D, (double)x[i],
                     (double)want);
    }
    laci_buf_free(be, table);
    laci_buf_free(be, out);
    laci_backend_close(be);
}

static void ids_outside_the_table_read_the_stand_in(void **state)
{
    (void)state;
    check_dtype(LAC_DTYPE_F32);
    check_dtype(LAC_DTYPE_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(ids_outside_the_table_read_the_stand_in) };
    run_on_backend(tests);
}
