/* test_attend.c: attention by plan against a brute-force masked softmax in double: dense and sparse
 * plans, grouped heads, ragged ends, active queries, rows without keys, any number of threads. */
#include <math.h>

#include "test.h"

#include "attention/plan.h"
#include "base/rng.h"

typedef struct {
    size_t n_q, n_k, n_heads, n_kv_heads, d;
    size_t q_block, k_block;
    double density;      /* share of blocks kept; 1 = dense */
    bool per_head;       /* heads have patterns of their own */
    bool empty_row;      /* one row keeps nothing */
    size_t active_every; /* 0 = all queries */
} plan_case;

typedef struct {
    laci_backend *be;
    laci_buf *q, *k, *v, *out, *lse;
    float *q_host, *k_host, *v_host;
} rig;

static float *put(laci_backend *be, laci_buf **buf, size_t n, uint64_t seed, lac_dtype dtype)
{
    float *host = malloc(n * sizeof *host);
    assert_ok(laci_buf_new(be, n * 4 + 64, "test", buf, NULL));
    for (size_t i = 0; i < n; i++) {
        host[i] = 4 * (float)laci_rng_unit(seed, i) - 2;
        const uint16_t half = laci_f32_to_bf16(host[i]);
        if (dtype == LAC_DTYPE_BF16) {
            host[i] = laci_bf16_to_f32(half);
            laci_backend_write(be, *buf, i * 2, &half, 2);
        } else {
            laci_backend_write(be, *buf, i * 4, &host[i], 4);
        }
    }
    return host;
}

static bool keeps(const plan_case *c, size_t head, size_t row, size_t col)
{
    if (c->density >= 1) return true;
    if (c->empty_row && row == 1) return false;
    if (col == row % ((c->n_k + c->k_block - 1) / c->k_block)) return true; /* never empty */
    return laci_rng_unit(c->per_head ? 77 + head : 77, row * 1000 + col) < c->density;
}

static void build(laci_plan_store *store, const plan_case *c)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const size_t n_rows = (c->n_q + c->q_block - 1) / c->q_block;
    const size_t n_cols = (c->n_k + c->k_block - 1) / c->k_block;
    const size_t n_heads = c->per_head ? c->n_heads : 1;
    assert_ok(laci_plan_reserve(store, n_heads * n_rows, n_heads * n_rows * n_cols, &mem, NULL));
    laci_plan_begin(store, c->q_block, c->k_block, n_heads, n_rows);
    for (size_t head = 0; head < n_heads; head++) {
        for (size_t row = 0; row < n_rows; row++) {
            for (size_t col = 0; col < n_cols; col++)
                if (keeps(c, head, row, col)) assert_ok(laci_plan_add(store, col, col + 1, NULL));
            laci_plan_end_row(store);
        }
    }
}

/* One query of one head: output [d], log-sum-exp returned. */
static double brute_force(const plan_case *c, const rig *r, size_t head, size_t at, size_t position,
                          double *out)
{
    const size_t kv = head / (c->n_heads / c->n_kv_heads);
    double top = -INFINITY, total = 0;
    double *p = malloc(c->n_k * sizeof *p);
    for (size_t j = 0; j < c->n_k; j++) {
        p[j] = -INFINITY;
        if (!keeps(c, head, position / c->q_block, j / c->k_block)) continue;
        p[j] = 0;
        for (size_t i = 0; i < c->d; i++)
            p[j] += (double)r->q_host[(at * c->n_heads + head) * c->d + i] *
                    (double)r->k_host[(j * c->n_kv_heads + kv) * c->d + i];
        p[j] /= sqrt((double)c->d);
        if (p[j] > top) top = p[j];
    }
    for (size_t i = 0; i < c->d; i++)
        out[i] = 0;
    for (size_t j = 0; j < c->n_k && top > -INFINITY; j++) {
        const double w = exp(p[j] - top);
        total += w;
        for (size_t i = 0; i < c->d; i++)
            out[i] += w * (double)r->v_host[(j * c->n_kv_heads + kv) * c->d + i];
    }
    for (size_t i = 0; i < c->d && total > 0; i++)
        out[i] /= total;
    free(p);
    return top > -INFINITY ? top + log(total) : -INFINITY;
}

static float act_at(const rig *r, size_t i, lac_dtype dtype)
{
    float wide;
    uint16_t half;
    if (dtype == LAC_DTYPE_F32) {
        laci_backend_read(r->be, r->out, i * 4, &wide, 4);
        return wide;
    }
    laci_backend_read(r->be, r->out, i * 2, &half, 2);
    return laci_bf16_to_f32(half);
}

static void compare(const plan_case *c, const rig *r, const int32_t *active, size_t n,
                    lac_dtype dtype)
{
    double *want = malloc(c->d * sizeof *want);
    const double bound = dtype == LAC_DTYPE_F32 ? 2e-5 : 1.6e-2; /* bf16 output: half a unit at 2 */
    for (size_t head = 0; head < c->n_heads; head++) {
        for (size_t at = 0; at < n; at++) {
            const size_t position = active ? (size_t)active[at] : at;
            const double lse = brute_force(c, r, head, at, position, want);
            float got_lse;
            laci_backend_read(r->be, r->lse, (head * n + at) * 4, &got_lse, 4);
            if (isinf(lse) ? got_lse != -INFINITY : fabs(lse - (double)got_lse) > 1e-4)
                fail_msg("head %zu query %zu: log-sum-exp %g, want %g", head, at, (double)got_lse,
                         lse);
            for (size_t i = 0; i < c->d; i++) {
                const float got = act_at(r, (at * c->n_heads + head) * c->d + i, dtype);
                if (!(fabs((double)got - want[i]) <= bound))
                    fail_msg("head %zu query %zu: %g, want %g", head, at, (double)got, want[i]);
            }
        }
    }
    free(want);
}

static void check_case(const plan_case *c, lac_dtype dtype, int n_threads)
{
    rig r = { 0 };
    int32_t active[512];
    size_t n = c->n_q;
    laci_plan_store store = { 0 };
    for (size_t i = n = 0; c->active_every && i < c->n_q; i += c->active_every)
        active[n++] = (int32_t)i;
    if (!c->active_every) n = c->n_q;
    assert_ok(laci_backend_open(&r.be, "cpu", dtype, n_threads, NULL, NULL));
    assert_ok(laci_backend_reserve(r.be, laci_backend_scratch_need(r.be, 8, c->d, 8), NULL));
    r.q_host = put(r.be, &r.q, n * c->n_heads * c->d, 1, dtype);
    r.k_host = put(r.be, &r.k, c->n_k * c->n_kv_heads * c->d, 2, dtype);
    r.v_host = put(r.be, &r.v, c->n_k * c->n_kv_heads * c->d, 3, dtype);
    assert_ok(laci_buf_new(r.be, n * c->n_heads * c->d * 4, "out", &r.out, NULL));
    assert_ok(laci_buf_new(r.be, n * c->n_heads * 4, "lse", &r.lse, NULL));
    build(&store, c);
    if (c->active_every) laci_plan_set_active(&store, active, n);
    if (!c->empty_row) assert_ok(laci_plan_validate(&store.plan, c->n_q, c->n_k, c->n_heads, NULL));
    const laci_attention a = { r.q, r.k,    r.v,        r.out,         r.lse,
                               n,   c->n_k, c->n_heads, c->n_kv_heads, c->d };
    laci_backend_attend(r.be, &store.plan, &a);
    compare(c, &r, c->active_every ? active : NULL, n, dtype);
    laci_plan_clear(&store);
    laci_buf *bufs[] = { r.q, r.k, r.v, r.out, r.lse };
    for (size_t i = 0; i < 5; i++)
        laci_buf_free(r.be, bufs[i]);
    laci_backend_close(r.be);
    free(r.q_host), free(r.k_host), free(r.v_host);
}

static void plans_equal_brute_force(void **state)
{
    (void)state;
    static const plan_case cases[] = {
        { 1, 1, 1, 1, 8, 1, 1, 1, false, false, 0 },
        { 130, 130, 2, 2, 32, 130, 130, 1, false, false, 0 },
        { 130, 130, 4, 2, 16, 130, 130, 1, false, false, 7 },
        { 200, 200, 4, 2, 32, 32, 16, 0.3, true, false, 0 },
        { 200, 333, 2, 1, 40, 64, 64, 0.4, false, false, 0 },
        { 150, 150, 2, 2, 16, 16, 1, 0.1, true, false, 0 },
        { 150, 150, 2, 1, 64, 32, 32, 0.5, true, true, 3 },
        { 96, 96, 3, 1, 24, 16, 128, 0.9, false, false, 5 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_case(&cases[i], LAC_DTYPE_F32, 1);
        check_case(&cases[i], LAC_DTYPE_F32, 3);
        check_case(&cases[i], LAC_DTYPE_BF16, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(plans_equal_brute_force) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
