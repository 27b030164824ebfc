/* test_arena.c: arrays from one arena: measured size and taken size agree, arrays are aligned and
 * disjoint, sizes that do not fit are refused while measuring. */
#include "test.h"

#include "base/arena.h"

typedef struct {
    uint8_t *bytes;
    double *numbers;
    uint16_t *none;
    int32_t *ids;
} arrays;

static size_t lay_out(arrays *a, void *memory, size_t n)
{
    laci_arena arena = { memory, 0 };
    LACI_TAKE(&arena, a->bytes, n);
    LACI_TAKE(&arena, a->numbers, 2 * n);
    LACI_TAKE(&arena, a->none, 0);
    LACI_TAKE(&arena, a->ids, n + 1);
    return arena.used;
}

static void arrays_are_aligned_and_disjoint(void **state)
{
    (void)state;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    static const size_t counts[] = { 0, 1, 3, 64, 65, 1000 };
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        const size_t n = counts[c];
        arrays a;
        const size_t size = lay_out(&a, NULL, n);
        assert_null(a.bytes);
        assert_null(a.numbers);
        assert_null(a.ids);
        char *memory = laci_alloc_aligned(&mem, size);
        assert_int_equal(lay_out(&a, memory, n), size);
        const char *const begin[] = { (char *)a.bytes, (char *)a.numbers, (char *)a.none,
                                      (char *)a.ids, memory + size };
        const size_t bytes[] = { n, 2 * n * sizeof(double), 0, (n + 1) * sizeof(int32_t) };
        assert_ptr_equal(begin[0], memory);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal((uintptr_t)begin[i] % LACI_ALIGN, 0);
            assert_true(begin[i] + bytes[i] <= begin[i + 1]);
        }
        laci_release_aligned(&mem, memory);
    }
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const size_t too_many[] = { SIZE_MAX, SIZE_MAX / sizeof(double) + 1,
                                       SIZE_MAX / sizeof(double), SIZE_MAX / sizeof(double) - 6 };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    for (size_t i = 0; i < sizeof too_many / sizeof too_many[0]; i++) {
        laci_arena arena = { NULL, 0 };
        double *numbers;
        uint8_t *more;
        LACI_TAKE(&arena, numbers, too_many[i]);
        assert_int_equal(arena.used, SIZE_MAX);
        LACI_TAKE(&arena, more, 1); /* and it stays so */
        assert_int_equal(arena.used, SIZE_MAX);
        assert_null(numbers);
        assert_null(more);
        assert_null(laci_alloc_aligned(&mem, arena.used));
    }
    laci_arena full = { NULL, 0 };
    uint8_t *bytes;
    LACI_TAKE(&full, bytes, SIZE_MAX - 2 * LACI_ALIGN); /* the largest size there is */
    assert_true(full.used < SIZE_MAX);
    LACI_TAKE(&full, bytes, 2 * LACI_ALIGN); /* together too much */
    assert_int_equal(full.used, SIZE_MAX);
    assert_null(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_are_aligned_and_disjoint),
        cmocka_unit_test(sizes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
