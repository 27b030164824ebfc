/* test_cuda_capture.c: operations of a forward pass as CUDA graphs, backend by itself: what is
 * captured and what is not, when graphs are made and when brought up to date, segments, arguments,
 * failures at every step and what is left behind. On the emulator only, which counts. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <math.h>

#include "backend/attend_rig.h"
#include "backend/cuda/cuda_state.h"
#include "emulator/device.h"

enum { ROWS = 4, D = 8, FLOATS = ROWS * D };

typedef struct {
    laci_backend *be;
    laci_buf *x, *y, *sum;
    float sums[FLOATS]; /* what `sum` should hold */
} sums_rig;

static const laci_emulator_counts *const seen = &laci_emulator_graphs;

static laci_backend *open_with(const char *wanted)
{
    laci_backend *be = NULL;
    lac_error err = { 0 };
    assert_int_equal(setenv("LAC_CUDA_GRAPH", wanted, 1), 0);
    if (laci_backend_open(&be, "cuda", LAC_DTYPE_F32, 1, NULL, &err)) fail_msg("%s", err.message);
    return be;
}

static sums_rig sums_new(const char *wanted)
{
    float x[FLOATS];
    sums_rig r = { .be = open_with(wanted) };
    for (size_t i = 0; i < FLOATS; i++)
        x[i] = (float)i;
    assert_ok(laci_buf_new(r.be, sizeof x, "x", &r.x, NULL));
    assert_ok(laci_buf_new(r.be, sizeof x, "y", &r.y, NULL));
    assert_ok(laci_buf_new(r.be, sizeof x, "sums", &r.sum, NULL));
    laci_backend_write(r.be, r.x, 0, x, sizeof x);
    assert_ok(laci_backend_finish(r.be, NULL));
    laci_emulator_graphs = (laci_emulator_counts){ .n_alive = seen->n_alive };
    return r;
}

static void sums_free(sums_rig *r)
{
    laci_buf_free(r->be, r->x);
    laci_buf_free(r->be, r->y);
    laci_buf_free(r->be, r->sum);
    laci_backend_close(r->be);
    assert_int_equal(seen->n_alive, 0);
}

/* sum += rows of x in another order, which depends on `turn`: an operation with an argument and one
 * without. The argument's memory is the caller's again at once. */
static void add_rows(sums_rig *r, size_t turn)
{
    int32_t rows[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = (int32_t)((i + turn) % ROWS);
    laci_backend_gather(r->be, r->x, rows, ROWS, D, r->y);
    for (size_t i = 0; i < FLOATS; i++)
        r->sums[i] += (float)((size_t)rows[i / D] * D + i % D);
    memset(rows, 0, sizeof rows);
    laci_backend_add(r->be, r->sum, 0, r->y, ROWS, D);
}

static void check_sums(sums_rig *r)
{
    float got[FLOATS];
    laci_backend_read(r->be, r->sum, 0, got, sizeof got);
    for (size_t i = 0; i < FLOATS; i++)
        if (got[i] != r->sums[i])
            fail_msg("element %zu is %g, wanted %g", i, (double)got[i], (double)r->sums[i]);
}

/* One pass of n additions. */
static void run_pass(sums_rig *r, size_t n, size_t turn)
{
    laci_backend_pass_begin(r->be);
    for (size_t i = 0; i < n; i++)
        add_rows(r, turn + i);
    laci_backend_pass_end(r->be);
}

static void passes_that_are_alike_share_a_graph(void **state)
{
    (void)state;
    sums_rig r = sums_new("1");
    const cuda_backend *cuda = (const cuda_backend *)r.be;
    size_t at = 0;
    for (size_t turn = 0; turn < 5; turn++) {
        run_pass(&r, 3, turn);
        assert_true(!turn || cuda->ring.at == at); /* arguments lie where they lay */
        at = cuda->ring.at;
        check_sums(&r);
    }
    assert_int_equal(seen->n_begun, 5);
    assert_int_equal(seen->n_launched, 5);
    assert_int_equal(seen->n_made, 1);
    assert_int_equal(seen->n_updated, 4);
    assert_int_equal(cuda->graphs.n_launched, seen->n_launched);
    assert_int_equal(cuda->graphs.n_made, seen->n_made);
    assert_int_equal(cuda->graphs.n_updated, seen->n_updated);
    sums_free(&r);
}

/* Nothing of a pass has run before somebody asks, and several passes may be under way. */
static void results_come_when_they_are_read(void **state)
{
    (void)state;
    sums_rig r = sums_new("1");
    const unsigned waits = laci_emulator_waits;
    run_pass(&r, 1, 0);
    for (size_t turn = 1; turn < 4; turn++)
        run_pass(&r, 2, turn);
    assert_int_equal(laci_emulator_busy(), 1);
    assert_int_equal(laci_emulator_waits, waits);
    check_sums(&r);
    assert_int_equal(laci_emulator_busy(), 0);
    sums_free(&r);
}

static void other_operations_make_another_graph(void **state)
{
    (void)state;
    sums_rig r = sums_new("1");
    run_pass(&r, 2, 0);
    run_pass(&r, 2, 0);
    const laci_emulator_counts before = *seen;
    for (size_t turn = 0; turn < 2; turn++) { /* as many, in another order */
        laci_backend_pass_begin(r.be);
        laci_backend_add(r.be, r.y, 0, r.x, ROWS, D);
        add_rows(&r, turn);
        laci_backend_add(r.be, r.y, 0, r.x, ROWS, D);
        laci_backend_pass_end(r.be);
    }
    check_sums(&r);
    assert_int_equal(seen->n_refused - before.n_refused, 1);
    assert_int_equal(seen->n_made - before.n_made, 1);
    assert_int_equal(seen->n_updated - before.n_updated, 1);
    run_pass(&r, 1, 0); /* fewer: the other one is kept */
    run_pass(&r, 2, 0);
    assert_int_equal(seen->n_refused - before.n_refused, 2);
    assert_int_equal(seen->n_made - before.n_made, 3);
    check_sums(&r);
    sums_free(&r);
}

/* What waits or takes memory in the middle ends a segment; each has a graph of its own. */
static void waits_end_a_segment(void **state)
{
    (void)state;
    sums_rig r = sums_new("1");
    for (size_t turn = 0; turn < 4; turn++) {
        const laci_emulator_counts before = *seen;
        laci_buf *more = NULL;
        double change[ROWS], size[ROWS];
        laci_backend_pass_begin(r.be);
        add_rows(&r, turn);
        check_sums(&r);
        add_rows(&r, turn + 1);
        laci_backend_row_changes(r.be, r.x, r.y, ROWS, D, change, size);
        for (size_t i = 0; i < ROWS; i++) { /* y is x, so many rows further */
            const double apart = (double)((i + turn + 1) % ROWS) - (double)i;
            assert_true(change[i] == apart * apart * D * D * D);
        }
        add_rows(&r, turn + 1);
        assert_ok(laci_buf_new(r.be, 64, "more", &more, NULL));
        laci_backend_mark(r.be, 0);
        add_rows(&r, turn + 2);
        laci_buf_free(r.be, more);
        laci_backend_mark(r.be, 1);
        add_rows(&r, turn + 3);
        laci_backend_pass_end(r.be);
        assert_true(laci_backend_between(r.be, 0, 1) >= 0);
        check_sums(&r);
        if (turn < 2) continue;
        assert_int_equal(seen->n_launched - before.n_launched, 5);
        assert_int_equal(seen->n_updated - before.n_updated, 5);
        assert_int_equal(seen->n_made, before.n_made);
    }
    sums_free(&r);
}

/* A pass of n operations, each of which copies one number to y; what y then holds is checked. */
static void copy_numbers(sums_rig *r, size_t n, size_t turn)
{
    float want[FLOATS], got[FLOATS];
    laci_backend_read(r->be, r->y, 0, want, sizeof want);
    laci_backend_pass_begin(r->be);
    for (size_t i = 0; i < n; i++) {
        const size_t to = i % FLOATS, from = (i * (turn + 1) + i / FLOATS) % FLOATS;
        laci_backend_copy(r->be, r->y, to * sizeof *want, r->x, from * sizeof *want, sizeof *want);
        want[to] = (float)from;
    }
    laci_backend_pass_end(r->be);
    laci_backend_read(r->be, r->y, 0, got, sizeof got);
    for (size_t i = 0; i < FLOATS; i++)
        if (got[i] != want[i])
            fail_msg("%zu of %zu copies: %g, wanted %g", i, n, (double)got[i], (double)want[i]);
}

/* Long passes are cut, and what is beyond the last segment is started at once. */
static void long_passes_are_cut(void **state)
{
    (void)state;
    const size_t beyond = (LACI_CU_SEGMENTS + 2) * LACI_CU_SEGMENT_OPS;
    sums_rig r = sums_new("1");
    copy_numbers(&r, 3 * LACI_CU_SEGMENT_OPS + 1, 0);
    assert_int_equal(seen->n_launched, 4);
    laci_emulator_counts before = *seen;
    copy_numbers(&r, beyond, 0);
    assert_int_equal(seen->n_launched - before.n_launched, LACI_CU_SEGMENTS);
    assert_int_equal(seen->n_begun - before.n_begun, LACI_CU_SEGMENTS);
    before = *seen;
    copy_numbers(&r, beyond, 1);
    assert_int_equal(seen->n_made, before.n_made);
    /* more kinds of passes than there are places: what was not used for longest goes */
    for (size_t n = 1; n <= LACI_CU_EXECS; n++)
        copy_numbers(&r, n + n / LACI_CU_SEGMENT_OPS, n);
    assert_int_equal(seen->n_alive, LACI_CU_EXECS + 1);
    before = *seen;
    copy_numbers(&r, 2, 0);
    copy_numbers(&r, LACI_CU_SEGMENT_OPS - 1, 0);
    assert_int_equal(seen->n_made, before.n_made);
    sums_free(&r);
}

/* Arguments of a pass that fill their ring several times over. */
static void the_ring_may_come_round(void **state)
{
    (void)state;
    enum { MANY = 60000, BUFS = 9 };
    static float numbers[MANY], got[MANY];
    for (int graphs = 0; graphs < 2; graphs++) {
        sums_rig r = sums_new(graphs ? "1" : "0");
        laci_buf *wide[BUFS];
        for (size_t i = 0; i < BUFS; i++)
            assert_ok(laci_buf_new(r.be, sizeof got, "numbers", &wide[i], NULL));
        for (size_t turn = 0; turn < 2; turn++) {
            laci_backend_pass_begin(r.be);
            for (size_t i = 0; i < BUFS; i++) {
                for (size_t k = 0; k < MANY; k++)
                    numbers[k] = (float)(k * (i + 2) + turn);
                laci_backend_write(r.be, wide[i], 0, numbers, sizeof numbers);
                add_rows(&r, turn);
            }
            laci_backend_pass_end(r.be);
            for (size_t i = 0; i < BUFS; i++) {
                laci_backend_read(r.be, wide[i], 0, got, sizeof got);
                for (size_t k = 0; k < MANY; k++)
                    if (got[k] != (float)(k * (i + 2) + turn))
                        fail_msg("buffer %zu, number %zu: %g", i, k, (double)got[k]);
            }
            check_sums(&r);
        }
        for (size_t i = 0; i < BUFS; i++)
            laci_buf_free(r.be, wide[i]);
        sums_free(&r);
    }
}

/* The first attention of a backend takes scratch, which waits, between the arguments it puts. */
static void arguments_outlive_a_wait(void **state)
{
    (void)state;
    const attend_case c = { 1, 6, 700, 2, 1, 16, 6, 700, 1, 1, .density = 1 };
    const size_t n_floats = c.n_q * c.n_heads * c.d,
                 n_mass = c.n_heads * c.n_q * ((c.n_k + 63) / 64);
    for (int graphs = 0; graphs < 2; graphs++) {
        float *out[2], *mass[2];
        assert_int_equal(setenv("LAC_CUDA_GRAPH", graphs ? "1" : "0", 1), 0);
        attend_rig *r = rig_new(&c, LAC_DTYPE_F32, 1, 64);
        const laci_mass_stats stats = { .q_block = 1,
                                        .k_block = 64,
                                        .mass = new_floats(r->be, n_mass) };
        r->a.stats = &stats;
        assert_ok(laci_backend_finish(r->be, NULL)); /* the first argument is the ring's first */
        for (int turn = 0; turn < 2; turn++) {
            laci_backend_pass_begin(r->be);
            laci_backend_attend(r->be, &r->plan.plan, &r->a);
            laci_backend_pass_end(r->be);
            out[turn] = read_floats(r->be, r->out, n_floats);
            mass[turn] = read_floats(r->be, stats.mass, n_mass);
        }
        assert_true(!isnan(out[0][0]) && !isnan(mass[0][0]));
        assert_memory_equal(out[0], out[1], n_floats * sizeof *out[0]);
        assert_memory_equal(mass[0], mass[1], n_mass * sizeof *mass[0]);
        for (int turn = 0; turn < 2; turn++)
            free(out[turn]), free(mass[turn]);
        laci_buf_free(r->be, stats.mass);
        rig_free(r);
    }
}

static void nothing_is_captured_unasked(void **state)
{
    (void)state;
    static const char *const off[] = { "0", "" };
    for (size_t i = 0; i < 2; i++) {
        sums_rig r = sums_new(off[i]);
        run_pass(&r, 3, 0);
        check_sums(&r);
        assert_int_equal(seen->n_begun, 0);
        sums_free(&r);
    }
    sums_rig r = sums_new("1");
    add_rows(&r, 0); /* outside of a pass */
    add_rows(&r, 1);
    check_sums(&r);
    assert_int_equal(seen->n_begun, 0);
    laci_backend_pass_begin(r.be); /* nor is nothing launched */
    laci_backend_pass_end(r.be);
    laci_backend_pass_begin(r.be);
    laci_backend_add(r.be, r.sum, 0, r.x, 0, D);
    laci_backend_pass_end(r.be);
    assert_int_equal(seen->n_launched, 0);
    sums_free(&r);
}

static void values_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = { "2", "yes", "-1", "01", " 1" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lac_error err = { 0 };
        laci_backend *be = NULL;
        assert_int_equal(setenv("LAC_CUDA_GRAPH", wrong[i], 1), 0);
        assert_int_equal(laci_backend_open(&be, "cuda", LAC_DTYPE_F32, 1, NULL, &err), LAC_EINVAL);
        if (!strstr(err.message, "it is 0 or 1")) fail_msg("%s: \"%s\"", wrong[i], err.message);
        assert_null(be);
    }
    assert_int_equal(setenv("LAC_CUDA_GRAPH", "1", 1), 0);
}

/* ------------------------------------------------------------------ failures */

/* A pass of two segments in which something is refused: NaN, an error, and nothing left. */
static void check_failure(int refused, bool is_warm)
{
    float got[FLOATS] = { 0 };
    lac_error err = { 0 };
    sums_rig r = sums_new("1");
    if (is_warm) run_pass(&r, 3, 0);
    laci_emulator_refuses = refused;
    laci_backend_pass_begin(r.be);
    add_rows(&r, 0);
    add_rows(&r, 1);
    laci_backend_read(r.be, r.sum, 0, got, sizeof got);
    add_rows(&r, 2);
    laci_backend_pass_end(r.be);
    laci_emulator_refuses = 0;
    for (size_t i = 0; i < FLOATS; i++)
        assert_true(isnan(got[i]));
    run_pass(&r, 2, 0);
    laci_backend_read(r.be, r.sum, 0, got, sizeof got);
    assert_true(isnan(got[0]));
    assert_int_equal(laci_backend_finish(r.be, &err), LAC_EINTERNAL);
    if (!strstr(err.message, "unknown error")) fail_msg("%s", err.message);
    sums_free(&r);
}

static void failures_are_not_numbers(void **state)
{
    (void)state;
    static const int refused[] = { LACI_REFUSE_BEGIN, LACI_REFUSE_END, LACI_REFUSE_EXEC,
                                   LACI_REFUSE_LAUNCH };
    lac_error err = { 0 };
    laci_backend *be = NULL;
    for (size_t i = 0; i < 4; i++) {
        check_failure(refused[i], false);
        check_failure(refused[i], true);
    }
    laci_emulator_refuses = LACI_REFUSE_STREAM;
    assert_int_equal(laci_backend_open(&be, "cuda", LAC_DTYPE_F32, 1, NULL, &err), LAC_EINVAL);
    laci_emulator_refuses = 0;
    if (!strstr(err.message, "cannot be used")) fail_msg("%s", err.message);
    assert_int_equal(seen->n_alive, 0);
}

/* Memory that ends in the middle of a pass, at any allocation. */
static void refused_memory_is_not_a_number(void **state)
{
    (void)state;
    bool is_enough = false;
    for (int n = 0; n < 8 && !is_enough; n++) {
        float got[FLOATS] = { 0 };
        double change[ROWS], size[ROWS];
        sums_rig r = sums_new("1");
        laci_backend *be = r.be;
        laci_emulator_allocations_left = n;
        laci_backend_pass_begin(be);
        add_rows(&r, 1);
        laci_backend_row_changes(be, r.x, r.y, ROWS, D, change, size);
        add_rows(&r, 2);
        laci_backend_pass_end(be);
        laci_emulator_allocations_left = -1;
        laci_backend_read(be, r.sum, 0, got, sizeof got);
        is_enough = !isnan(got[0]);
        if (is_enough) check_sums(&r);
        assert_true(is_enough == !isnan(got[FLOATS - 1]));
        assert_true(is_enough == !laci_backend_finish(be, NULL));
        sums_free(&r);
    }
    assert_true(is_enough);
}

/* What a model holds is there before a session asks: streams know nothing of each other. */
static void a_model_has_finished_when_it_is_open(void **state)
{
    (void)state;
    const lac_model_options opt = { .dtype = LAC_DTYPE_F32, .backend = "cuda" };
    lac_model *model = NULL;
    assert_ok(lac_model_open(&model, test_path("models/nano-f"), &opt, NULL));
    assert_int_equal(laci_emulator_busy(), 0);
    lac_model_close(model);
    assert_int_equal(seen->n_alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_that_are_alike_share_a_graph),
        cmocka_unit_test(results_come_when_they_are_read),
        cmocka_unit_test(other_operations_make_another_graph),
        cmocka_unit_test(waits_end_a_segment),
        cmocka_unit_test(long_passes_are_cut),
        cmocka_unit_test(the_ring_may_come_round),
        cmocka_unit_test(arguments_outlive_a_wait),
        cmocka_unit_test(nothing_is_captured_unasked),
        cmocka_unit_test(values_are_checked),
        cmocka_unit_test(failures_are_not_numbers),
        cmocka_unit_test(refused_memory_is_not_a_number),
        cmocka_unit_test(a_model_has_finished_when_it_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
