/* test_linear.c: matrix products of the CPU backend: against double precision, the same bits for a
 * row whatever rows it is computed with, at any number of threads, and by as many as asked for;
 * matrices of every kind of the build side by side. */
#include <math.h>

#include "backend/any_backend.h"

#include "backend/cpu/cpu_linear.h"
#include "backend/tasks.h"
#include "base/rng.h"

typedef struct {
    size_t n_out, n_in, n_rows;
} product;

static float *weights; /* [n_out, n_in] of the current product */
static size_t weights_in;

static void read_weights(void *user, size_t row, size_t n_rows, float *out)
{
    (void)user;
    memcpy(out, weights + row * weights_in, n_rows * weights_in * sizeof *out);
}

static float rounded(float x, lac_dtype dtype)
{
    return dtype == LAC_DTYPE_BF16 ? laci_bf16_to_f32(laci_f32_to_bf16(x)) : x;
}

typedef struct {
    laci_backend *be;
    laci_linear *linear;
    laci_buf *x, *y;
} rig;

/* A backend with one matrix and room for the rows. */
static rig make_rig(const product *p, lac_dtype dtype, int n_threads)
{
    rig r = { 0 };
    lac_error err;
    const size_t act = dtype == LAC_DTYPE_BF16 ? 2 : 4;
    weights_in = p->n_in;
    assert_ok(laci_backend_open(&r.be, backend_name(), dtype, n_threads, NULL, &err));
    assert_ok(laci_linear_new(r.be, p->n_out, p->n_in, (laci_row_source){ read_weights, NULL },
                              &r.linear, &err));
    const laci_scratch_dims dims = { .d_model = p->n_in, .d_head = 8, .n_vocab = 8 };
    assert_ok(laci_backend_reserve(r.be, laci_backend_scratch_need(r.be, &dims), &err));
    assert_ok(laci_buf_new(r.be, (p->n_rows + LACI_ROW_PAD) * p->n_in * act, "x", &r.x, &err));
    assert_ok(laci_buf_new(r.be, (p->n_rows + LACI_ROW_PAD) * p->n_out * 4, "y", &r.y, &err));
    return r;
}

static void free_rig(rig *r)
{
    laci_linear_free(r->be, r->linear);
    laci_buf_free(r->be, r->x);
    laci_buf_free(r->be, r->y);
    laci_backend_close(r->be);
}

static void put_rows(const rig *r, const float *x, size_t n, lac_dtype dtype)
{
    if (dtype == LAC_DTYPE_F32) {
        laci_backend_write(r->be, r->x, 0, x, n * sizeof *x);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = laci_f32_to_bf16(x[i]);
        laci_backend_write(r->be, r->x, i * sizeof half, &half, sizeof half);
    }
}

static void check_against_double(const product *p, const float *x, const float *y, lac_dtype dtype)
{
    double error = 0, size = 0;
    for (size_t m = 0; m < p->n_rows; m += 7) {
        for (size_t o = 0; o < p->n_out; o += 13) {
            double want = 0;
            for (size_t i = 0; i < p->n_in; i++)
                want += (double)rounded(x[m * p->n_in + i], dtype) *
                        (double)rounded(weights[o * p->n_in + i], dtype);
            error += pow(want - (double)y[m * p->n_out + o], 2);
            size += want * want;
        }
    }
    if (!(sqrt(error / size) < 2e-6))
        fail_msg("%zu x %zu x %zu: relative error %g", p->n_rows, p->n_in, p->n_out,
                 sqrt(error / size));
}

static void check_product(const product *p, lac_dtype dtype)
{
    const size_t n_x = p->n_rows * p->n_in, n_y = p->n_rows * p->n_out;
    float *x = malloc(n_x * sizeof *x), *y = malloc(n_y * sizeof *y),
          *part = malloc(n_y * sizeof *y);
    weights = malloc(p->n_out * p->n_in * sizeof *weights);
    for (size_t i = 0; i < n_x; i++)
        x[i] = (float)laci_rng_unit(1, i) - 0.5f;
    for (size_t i = 0; i < p->n_out * p->n_in; i++)
        weights[i] = (float)laci_rng_unit(2, i) - 0.5f;
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        rig r = make_rig(p, dtype, n_threads);
        put_rows(&r, x, n_x, dtype);
        laci_backend_linear(r.be, r.linear, r.x, 0, p->n_rows, r.y);
        laci_backend_read(r.be, r.y, 0, n_threads == 1 ? y : part, n_y * sizeof *y);
        if (n_threads > 1) assert_memory_equal(y, part, n_y * sizeof *y);
        const bool stand_alone = laci_backend_rows_stand_alone(r.be);
        for (size_t n = 1; n < p->n_rows && stand_alone;
             n += p->n_rows / 13 + 1) { /* rows alone, in smaller company */
            laci_backend_linear(r.be, r.linear, r.x, 0, n, r.y);
            laci_backend_read(r.be, r.y, 0, part, n * p->n_out * sizeof *y);
            assert_memory_equal(y, part, n * p->n_out * sizeof *y);
        }
        for (size_t first = 1; first < p->n_rows && stand_alone;
             first += p->n_rows / 20 + 1) { /* and elsewhere in the product */
            const size_t n = p->n_rows - first < 16 ? p->n_rows - first : 16;
            laci_backend_linear(r.be, r.linear, r.x, first, n, r.y);
            laci_backend_read(r.be, r.y, 0, part, n * p->n_out * sizeof *y);
            assert_memory_equal(y + first * p->n_out, part, n * p->n_out * sizeof *y);
        }
        free_rig(&r);
    }
    check_against_double(p, x, y, dtype);
    free(x), free(y), free(part), free(weights);
}

static void products_are_right_and_reproducible(void **state)
{
    (void)state;
    static const product products[] = {
        { 1, 1, 1 },         { 3, 5, 2 },       { 64, 32, 16 },    { 352, 128, 40 },
        { 272, 130, 129 },   { 64, 64, 90 },    { 1100, 64, 33 },  { 96, 2200, 150 },
        { 1030, 1500, 130 }, { 40, 1030, 530 }, { 1030, 20, 600 }, /* more than one group of rows */
    };
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        check_product(&products[i], LAC_DTYPE_F32);
        check_product(&products[i], LAC_DTYPE_BF16);
    }
}

/* The library underneath has threads of its own. They must not appear, neither while weights are
 * packed nor in products; the environment of this test asks it for three. */
static void as_many_threads_as_asked_for(void **state)
{
    (void)state;
    static const product p = { 700, 2200, 300 };
    static const int threads[] = { 1, 2, 4 };
    const int before = n_tasks();
    if (before < 0) skip(); /* no /proc */
    weights = calloc(p.n_out * p.n_in, sizeof *weights);
    assert_non_null(weights);
    for (int act = 0; act < 2; act++)
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
            rig r = make_rig(&p, act ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, threads[i]);
            assert_tasks(before + threads[i] - 1);
            laci_backend_linear(r.be, r.linear, r.x, 0, p.n_rows, r.y);
            laci_backend_linear(r.be, r.linear, r.x, 0, 1, r.y);
            assert_tasks(before + threads[i] - 1);
            free_rig(&r);
            assert_tasks(before);
        }
    free(weights);
}

/* All slabs of n rows of x, which are of type act and padded, by a matrix that shares `common`. */
static void multiply_alone(const laci_linear *linear, const void *common, void *x, size_t n,
                           float *y)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const laci_linear_kind *kind = linear->kind;
    const laci_scratch_size need =
        common ? kind->scratch_need(common, n) : (laci_scratch_size){ 0 };
    char *scratch = laci_alloc_aligned(&mem, need.per_thread);
    char *packed = laci_alloc_aligned(&mem, need.shared);
    if (linear->packs) kind->pack(linear, x, n, packed);
    for (size_t slab = 0; slab < linear->n_slabs; slab++)
        assert_true(kind->slab(linear, linear->packs ? packed : x, n, slab, y, scratch));
    laci_release_aligned(&mem, scratch);
    laci_release_aligned(&mem, packed);
}

static void check_kinds(const product *p, laci_dtype act)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const size_t n_pad = (p->n_rows + LACI_ROW_PAD - 1) / LACI_ROW_PAD * LACI_ROW_PAD;
    const lac_dtype dtype = act == LACI_BF16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32;
    void *common[LACI_LINEAR_KINDS] = { NULL };
    laci_linear *linear[LACI_LINEAR_KINDS] = { NULL };
    float *x = calloc(n_pad * p->n_in, sizeof *x), *y = malloc(n_pad * p->n_out * sizeof *y);
    void *rows = laci_alloc_aligned(&mem, n_pad * p->n_in * sizeof(float));
    weights = malloc(p->n_out * p->n_in * sizeof *weights);
    weights_in = p->n_in;
    for (size_t i = 0; i < p->n_rows * p->n_in; i++)
        x[i] = (float)laci_rng_unit(3, i) - 0.5f;
    for (size_t i = 0; i < p->n_out * p->n_in; i++)
        weights[i] = (float)laci_rng_unit(4, i) - 0.5f;
    for (size_t i = 0; i < n_pad * p->n_in; i++) {
        if (act == LACI_BF16)
            ((uint16_t *)rows)[i] = laci_f32_to_bf16(x[i]);
        else
            ((float *)rows)[i] = x[i];
    }
    laci_team *team = NULL;
    lac_error err;
    assert_ok(laci_team_open(&team, 2, &mem, &err));
    for (size_t i = 0; i < LACI_LINEAR_KINDS && laci_linear_kinds[i]; i++) {
        const laci_linear_maker maker = { &common[i], team, act, mem };
        assert_ok(laci_linear_kinds[i]->make(&linear[i], &maker, p->n_out, p->n_in,
                                             (laci_row_source){ read_weights, NULL }, &err));
    }
    for (size_t i = 0; i < LACI_LINEAR_KINDS && linear[i]; i++) {
        assert_ptr_equal(linear[i]->kind, laci_linear_kinds[i]);
        multiply_alone(linear[i], common[i], rows, p->n_rows, y);
        check_against_double(p, x, y, dtype);
    }
    for (size_t i = 0; i < LACI_LINEAR_KINDS && linear[i]; i++) {
        linear[i]->kind->free(linear[i], &mem);
        if (common[i]) laci_linear_kinds[i]->free_common(common[i], &mem);
    }
    laci_team_close(team);
    laci_release_aligned(&mem, rows);
    free(x), free(y), free(weights);
}

static void kinds_live_side_by_side(void **state)
{
    (void)state;
    static const product products[] = { { 3, 5, 2 }, { 96, 2200, 100 }, { 1030, 70, 128 } };
#ifdef LACI_HAVE_ONEDNN
    assert_ptr_equal(laci_linear_kinds[0], &laci_linear_onednn);
    assert_ptr_equal(laci_linear_kinds[1], &laci_linear_plain);
#else
    assert_ptr_equal(laci_linear_kinds[0], &laci_linear_plain);
    assert_null(laci_linear_kinds[1]);
#endif
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        check_kinds(&products[i], LACI_F32);
        check_kinds(&products[i], LACI_BF16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(products_are_right_and_reproducible),
                                        cmocka_unit_test(as_many_threads_as_asked_for),
                                        cmocka_unit_test(kinds_live_side_by_side) };
    run_on_backend(tests);
}
