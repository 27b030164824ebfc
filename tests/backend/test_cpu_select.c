/* test_cpu_select.c: selection through the backend against brute force over the keys themselves:
 * pooling, union, pages always kept, ragged ends, two sequences, any number of threads; bounds
 * appended to equal to bounds built at once; ranking of any scores; rows by index. Keys and queries
 * are small integers, so that scores are exact, equal ones common and ties decided by rule. */
#include <math.h>

#include "backend/any_backend.h"

#include "attention/plan.h"
#include "base/rng.h"

enum { N_BATCH = 2, MAX_PAGES = 64 };

typedef struct {
    size_t n_q, n_heads, n_kv_heads, d, page;
    uint32_t n_keys[N_BATCH];
    laci_budget budget;
    bool per_head;
    bool is_i8; /* bounds in int8; every page then has a key of 127, so that they are exact */
} select_case;

typedef struct {
    const select_case *c;
    laci_backend *be;
    lac_dtype dtype;
    laci_kv kv;
    laci_pages pages;
    laci_buf *q;
    size_t n_ctx;
    float *q_host, *k_host; /* [N_BATCH, n_q, n_heads * d], [N_BATCH, n_ctx, n_kv_heads * d] */
} rig;

/* Integers from -3 to 3. */
static float *integers(size_t n, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = floorf(7 * (float)laci_rng_unit(seed, i)) - 3;
    return x;
}

static void put(const rig *r, laci_buf **buf, const float *x, size_t n)
{
    assert_ok(laci_buf_new(r->be, n * 4 + 64, "test", buf, NULL));
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = laci_f32_to_bf16(x[i]);
        if (r->dtype == LAC_DTYPE_BF16) laci_backend_write(r->be, *buf, i * 2, &half, 2);
        if (r->dtype == LAC_DTYPE_F32) laci_backend_write(r->be, *buf, i * 4, &x[i], 4);
    }
}

/* Stores keys [from, end) of a sequence and brings `pages` up to date. */
static void append(const rig *r, const laci_pages *pages, size_t batch, size_t from, size_t end)
{
    const laci_head_op plain = { .n_heads = r->c->n_kv_heads, .d_head = r->c->d };
    const size_t width = r->c->n_kv_heads * r->c->d;
    laci_buf *x;
    assert_ok(laci_buf_new(r->be, (end - from) * width * 4 + 64, "keys", &x, NULL));
    laci_backend_write(r->be, x, 0, r->k_host + (batch * r->n_ctx + from) * width,
                       (end - from) * width * 4);
    laci_backend_store(r->be,
                       &(laci_kv_rows){ &plain, x, end - from, &r->kv, LACI_KEYS, batch, from });
    laci_backend_page_bounds(r->be, &r->kv, pages, batch, from, end);
    laci_buf_free(r->be, x);
}

static rig rig_new(const select_case *c, lac_dtype dtype, int n_threads)
{
    rig r = { .c = c, .dtype = dtype };
    r.n_ctx = (c->n_keys[0] > c->n_keys[1] ? c->n_keys[0] : c->n_keys[1]) + 5;
    const laci_scratch_dims dims = { .d_head = c->d, .n_pages = r.n_ctx / c->page + 1 };
    assert_ok(laci_backend_open(&r.be, backend_name(), dtype, n_threads, NULL, NULL));
    assert_ok(laci_backend_reserve(r.be, laci_backend_scratch_need(r.be, &dims), NULL));
    assert_ok(laci_kv_new(r.be, N_BATCH, r.n_ctx, c->n_kv_heads, c->d, &r.kv, NULL));
    assert_ok(
        (c->is_i8 ? laci_pages_new_i8 : laci_pages_new)(r.be, &r.kv, c->page, &r.pages, NULL));
    r.q_host = integers(N_BATCH * c->n_q * c->n_heads * c->d, 1);
    r.k_host = integers(N_BATCH * r.n_ctx * c->n_kv_heads * c->d, 2);
    for (size_t i = 0; c->is_i8 && i < N_BATCH * r.n_ctx * c->n_kv_heads; i++)
        if (i / c->n_kv_heads % r.n_ctx % c->page == 0) r.k_host[i * c->d] = 127;
    put(&r, &r.q, r.q_host, N_BATCH * c->n_q * c->n_heads * c->d);
    for (size_t batch = 0; batch < N_BATCH; batch++)
        append(&r, &r.pages, batch, 0, c->n_keys[batch]);
    return r;
}

static void rig_free(rig *r)
{
    laci_buf_free(r->be, r->q);
    laci_pages_free(r->be, &r->pages);
    laci_kv_free(r->be, &r->kv);
    laci_backend_close(r->be);
    free(r->q_host), free(r->k_host);
}

/* ------------------------------------------------------------------ brute force */

static double page_score(const rig *r, size_t batch, size_t i, size_t head, size_t p)
{
    const select_case *c = r->c;
    const size_t kv_head = head / (c->n_heads / c->n_kv_heads);
    const size_t end = (p + 1) * c->page < c->n_keys[batch] ? (p + 1) * c->page : c->n_keys[batch];
    double score = 0;
    for (size_t e = 0; e < c->d; e++) {
        const double q = (double)r->q_host[((batch * c->n_q + i) * c->n_heads + head) * c->d + e];
        double most = -INFINITY;
        for (size_t j = p * c->page; j < end; j++) {
            const size_t at = ((batch * r->n_ctx + j) * c->n_kv_heads + kv_head) * c->d + e;
            most = fmax(most, q * (double)r->k_host[at]);
        }
        score += most;
    }
    return score;
}

/* Marks the ids of a list: what is kept, then by score, the lower id of equal ones. */
static size_t mark(bool *marks, const double *scores, size_t n, const laci_budget *budget)
{
    size_t n_ids = 0;
    bool mine[MAX_PAGES] = { false };
    for (size_t i = 0; i < n; i++)
        if (i < budget->keep_first || i + budget->keep_last >= n) mine[i] = true, n_ids++;
    while (n_ids < n && n_ids < budget->n) {
        size_t best = n;
        for (size_t i = 0; i < n; i++)
            if (!mine[i] && (best == n || scores[i] > scores[best])) best = i;
        mine[best] = true, n_ids++;
    }
    for (size_t i = 0; i < n; i++)
        marks[i] = marks[i] || mine[i];
    return n_ids;
}

/* Adds the softmax of a row of scores times scale; they are small enough for any measure. */
static void add_softmax(double *pooled, const double *scores, size_t n, double scale)
{
    double total = 0;
    for (size_t p = 0; p < n; p++)
        total += exp(scale * scores[p]);
    for (size_t p = 0; p < n; p++)
        pooled[p] += exp(scale * scores[p]) / total;
}

/* The pages of list `at` of a sequence in `marks`, what the rows made of them in `pooled`; returns
 * the ids picked before the union. */
static size_t brute_force(const rig *r, laci_pool pool, size_t batch, size_t at, bool *marks,
                          double *pooled)
{
    const select_case *c = r->c;
    const size_t n_group = c->per_head ? 1 : c->n_heads / c->n_kv_heads;
    const size_t n_pages = (c->n_keys[batch] + c->page - 1) / c->page;
    size_t n_picked = 0;
    for (size_t p = 0; p < n_pages; p++)
        pooled[p] = pool == LACI_POOL_MAX ? -INFINITY : 0, marks[p] = false;
    for (size_t row = 0; row < c->n_q * n_group; row++) {
        double scores[MAX_PAGES];
        for (size_t p = 0; p < n_pages; p++)
            scores[p] = page_score(r, batch, row / n_group, at * n_group + row % n_group, p);
        if (pool == LACI_POOL_UNION) n_picked += mark(marks, scores, n_pages, &c->budget);
        if (pool == LACI_POOL_SOFTMAX) add_softmax(pooled, scores, n_pages, 0.125);
        for (size_t p = 0; p < n_pages && pool == LACI_POOL_MAX; p++)
            pooled[p] = fmax(pooled[p], scores[p]);
    }
    if (pool != LACI_POOL_UNION) n_picked = mark(marks, pooled, n_pages, &c->budget);
    return n_picked;
}

/* ------------------------------------------------------------------ pages */

typedef struct {
    uint32_t ids[N_BATCH * 8 * MAX_PAGES], counts[N_BATCH * 8], picked[N_BATCH * 8];
} answer;

static answer ask(const rig *r, laci_pool pool)
{
    answer a;
    memset(&a, 0x5c, sizeof a);
    const laci_id_lists lists = { a.ids, MAX_PAGES, a.counts, a.picked };
    const laci_page_query query = { .q = r->q,
                                    .pages = &r->pages,
                                    .n_batch = N_BATCH,
                                    .n_q = r->c->n_q,
                                    .n_heads = r->c->n_heads,
                                    .n_keys = r->c->n_keys,
                                    .budget = r->c->budget,
                                    .pool = pool,
                                    .scale = 0.125f,
                                    .per_head = r->c->per_head };
    laci_backend_select_pages(r->be, &query, &lists);
    return a;
}

/* The softmax is not exact: there the list must hold as many, and none worse than what it leaves.
 */
static void check_answer(const rig *r, laci_pool pool, const answer *a)
{
    const size_t n_lists = r->c->per_head ? r->c->n_heads : r->c->n_kv_heads;
    for (size_t list = 0; list < N_BATCH * n_lists; list++) {
        const size_t batch = list / n_lists;
        const size_t n_pages = (r->c->n_keys[batch] + r->c->page - 1) / r->c->page;
        const uint32_t *ids = a->ids + list * MAX_PAGES;
        bool want[MAX_PAGES], got[MAX_PAGES] = { false };
        double pooled[MAX_PAGES], least = INFINITY, left = -INFINITY;
        const size_t n_picked = brute_force(r, pool, batch, list % n_lists, want, pooled);
        size_t n_want = 0;
        for (size_t i = 0; i < a->counts[list]; i++) {
            assert_true(ids[i] < n_pages && (i == 0 || ids[i] > ids[i - 1]));
            got[ids[i]] = true;
        }
        for (size_t p = 0; p < n_pages; p++) {
            const bool is_kept =
                p < r->c->budget.keep_first || p + r->c->budget.keep_last >= n_pages;
            if (pool == LACI_POOL_SOFTMAX ? is_kept && !got[p] : got[p] != want[p])
                fail_msg("list %zu, pool %d: page %zu is %d, want %d", list, (int)pool, p, got[p],
                         want[p]);
            if (got[p] && !is_kept) least = fmin(least, pooled[p]);
            if (!got[p]) left = fmax(left, pooled[p]);
            n_want += want[p];
        }
        if (pool == LACI_POOL_SOFTMAX) assert_true(least >= left * (1 - 1e-5));
        assert_int_equal(a->counts[list], n_want);
        assert_int_equal(a->picked[list], n_picked);
    }
}

static const select_case cases[] = {
    { 1, 1, 1, 8, 16, { 1, 40 }, { 1, 0, 0 }, false, false },
    { 5, 4, 2, 32, 16, { 250, 333 }, { 4, 1, 1 }, false, false },
    { 5, 8, 2, 64, 32, { 64, 1000 }, { 6, 1, 1 }, false, false },
    { 3, 4, 2, 40, 64, { 500, 129 }, { 3, 0, 1 }, true, false },
    { 20, 8, 2, 16, 16, { 700, 650 }, { 9, 2, 3 }, false, false },
    { 4, 4, 4, 24, 16, { 90, 800 }, { 6, 0, 0 }, false, false },
    { 2, 2, 1, 16, 32, { 0, 200 }, { 2, 1, 2 }, false, false },
};

static void lists_equal_brute_force(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int pool = LACI_POOL_MAX; pool <= LACI_POOL_SOFTMAX; pool++) {
            for (int t = 0; t < 2; t++) {
                const lac_dtype dtype = t ? LAC_DTYPE_BF16 : LAC_DTYPE_F32;
                answer first;
                for (int n_threads = 1; n_threads <= 3; n_threads++) {
                    rig r = rig_new(&cases[i], dtype, n_threads);
                    const answer a = ask(&r, (laci_pool)pool);
                    check_answer(&r, (laci_pool)pool, &a);
                    if (n_threads == 1) first = a;
                    assert_memory_equal(&a, &first, sizeof a);
                    rig_free(&r);
                }
            }
        }
    }
}

static void int8_bounds_choose_the_same_where_they_are_exact(void **state)
{
    (void)state;
    static const select_case small[] = {
        { 5, 4, 2, 32, 16, { 250, 333 }, { 4, 1, 1 }, false, true },
        { 3, 4, 2, 40, 64, { 500, 129 }, { 3, 0, 1 }, true, true },
        { 20, 8, 2, 16, 16, { 700, 650 }, { 9, 2, 3 }, false, true },
    };
    rig probe = rig_new(&cases[0], LAC_DTYPE_F32, 1);
    laci_pages pages = { 0 };
    const lac_status st = laci_pages_new_i8(probe.be, &probe.kv, 16, &pages, NULL);
    laci_pages_free(probe.be, &pages);
    rig_free(&probe);
    if (st == LAC_EUNSUPPORTED) skip();
    assert_ok(st);
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        for (int t = 0; t < 4; t++) {
            rig r = rig_new(&small[i], t % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, t / 2 + 1);
            const answer a = ask(&r, LACI_POOL_UNION);
            check_answer(&r, LACI_POOL_UNION, &a);
            const size_t n = laci_pages_bytes_i8(&r.kv, small[i].page);
            assert_true(2 * n < laci_pages_bytes(LACI_F32, &r.kv, small[i].page));
            rig_free(&r);
        }
    }
}

/* A policy copies lists into a plan; the plan is valid. */
static void lists_make_a_valid_plan(void **state)
{
    (void)state;
    const select_case *c = &cases[1];
    rig r = rig_new(c, LAC_DTYPE_F32, 2);
    const answer a = ask(&r, LACI_POOL_UNION);
    laci_plan_store store = { 0 };
    assert_ok(laci_plan_reserve(&store, c->n_heads, c->n_heads * MAX_PAGES,
                                laci_backend_allocator(r.be), NULL));
    laci_plan_begin(&store, c->n_q, c->page, c->n_heads, 1);
    for (size_t head = 0; head < c->n_heads; head++) {
        const size_t list = head / (c->n_heads / c->n_kv_heads);
        for (size_t i = 0; i < a.counts[list]; i++) {
            const size_t id = a.ids[list * MAX_PAGES + i];
            assert_ok(laci_plan_add(&store, id, id + 1, NULL));
        }
        laci_plan_end_row(&store);
    }
    assert_ok(laci_plan_validate(&store.plan, c->n_q, c->n_keys[0], c->n_heads, NULL));
    laci_plan_clear(&store);
    rig_free(&r);
}

static void appended_bounds_equal_those_built_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int t = 0; t < 2; t++) {
            rig r = rig_new(&cases[i], t ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 2);
            const size_t n = laci_pages_bytes(laci_backend_act(r.be), &r.kv, cases[i].page);
            char *once = malloc(n), *steps = malloc(n);
            laci_pages pages;
            assert_ok(laci_pages_new(r.be, &r.kv, cases[i].page, &pages, NULL));
            for (size_t batch = 0; batch < N_BATCH; batch++)
                for (size_t from = 0, end; from < cases[i].n_keys[batch]; from = end) {
                    end = from + 37 < cases[i].n_keys[batch] ? from + 37 : cases[i].n_keys[batch];
                    append(&r, &pages, batch, from, end);
                }
            laci_backend_read(r.be, r.pages.bounds, 0, once, n);
            laci_backend_read(r.be, pages.bounds, 0, steps, n);
            assert_memory_equal(once, steps, n);
            laci_pages_free(r.be, &pages);
            free(once), free(steps);
            rig_free(&r);
        }
    }
}

/* A sequence cut into pieces of 64 keys, each told of the whole, against one piece. */
static void bounds_of_pieces_equal_the_whole(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) {
        const select_case *c = &cases[1];
        rig r = rig_new(c, t ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 2);
        const laci_kv whole = r.kv;
        const size_t n = laci_pages_bytes(laci_backend_act(r.be), &r.kv, c->page);
        char *one = malloc(n), *many = malloc(n);
        laci_pages pages;
        assert_ok(laci_pages_new(r.be, &r.kv, c->page, &pages, NULL));
        assert_true(c->n_keys[0] > 128);
        for (size_t first = 0; first < r.n_ctx; first += 64) {
            assert_ok(laci_kv_new(r.be, N_BATCH, 64, c->n_kv_heads, c->d, &r.kv, NULL));
            r.kv.first = first;
            for (size_t batch = 0; batch < N_BATCH; batch++) {
                const size_t n_keys = c->n_keys[batch];
                if (first >= n_keys) continue;
                append(&r, &pages, batch, first, first + 64 < n_keys ? first + 64 : n_keys);
                laci_backend_page_bounds(r.be, &r.kv, &pages, batch, 0, n_keys);
            }
            laci_kv_free(r.be, &r.kv);
        }
        r.kv = whole;
        laci_backend_read(r.be, r.pages.bounds, 0, one, n);
        laci_backend_read(r.be, pages.bounds, 0, many, n);
        assert_memory_equal(one, many, n);
        laci_pages_free(r.be, &pages);
        free(one), free(many);
        rig_free(&r);
    }
}

static void odd_pages_are_refused(void **state)
{
    (void)state;
    rig r = rig_new(&cases[0], LAC_DTYPE_F32, 1);
    laci_pages pages = { 0 };
    assert_int_equal(laci_pages_new(r.be, &r.kv, 48, &pages, NULL), LAC_EINVAL);
    assert_null(pages.bounds);
    rig_free(&r);
}

/* ------------------------------------------------------------------ any scores, any rows */

static void check_ranking(size_t n_lists, size_t n_pooled, size_t n, laci_budget budget,
                          int n_threads)
{
    const size_t stride = n + 3, n_rows = n_pooled ? n_pooled : 1;
    float *x = integers(n_lists * n_rows * stride, 3);
    uint32_t *ids = malloc(n_lists * MAX_PAGES * sizeof *ids), counts[16];
    laci_backend *be;
    laci_buf *buf;
    const laci_scratch_dims dims = { .d_head = 8, .n_ranked = n };
    assert_ok(laci_backend_open(&be, backend_name(), LAC_DTYPE_BF16, n_threads, NULL, NULL));
    assert_ok(laci_backend_reserve(be, laci_backend_scratch_need(be, &dims), NULL));
    assert_ok(laci_buf_new(be, n_lists * n_rows * stride * 4, "scores", &buf, NULL));
    laci_backend_write(be, buf, 0, x, n_lists * n_rows * stride * 4);
    const laci_ranking ranking = { buf, n_lists, stride, n_pooled, n, budget };
    const laci_id_lists lists = { ids, MAX_PAGES, counts, NULL };
    laci_backend_top_k(be, &ranking, &lists);
    for (size_t list = 0; list < n_lists; list++) {
        double sums[MAX_PAGES] = { 0 };
        bool want[MAX_PAGES] = { false };
        for (size_t i = 0; i < n_rows * n; i++)
            sums[i % n] += (double)x[(list * n_rows + i / n) * stride + i % n];
        const size_t n_want = mark(want, sums, n, &budget);
        assert_int_equal(counts[list], n_want);
        for (size_t i = 0; i < n_want; i++) {
            const uint32_t id = ids[list * MAX_PAGES + i];
            assert_true(id < n && want[id] && (i == 0 || id > ids[list * MAX_PAGES + i - 1]));
        }
    }
    laci_buf_free(be, buf);
    laci_backend_close(be);
    free(x), free(ids);
}

static void rankings_equal_brute_force(void **state)
{
    (void)state;
    check_ranking(1, 0, 1, (laci_budget){ 1, 0, 0 }, 1);
    check_ranking(8, 1, 50, (laci_budget){ 7, 0, 0 }, 2);
    check_ranking(3, 4, 64, (laci_budget){ 10, 2, 1 }, 3);
    check_ranking(5, 2, 17, (laci_budget){ 40, 1, 1 }, 2);
}

static void rows_go_there_and_back(void **state)
{
    (void)state;
    enum { N = 9, D = 24, PICKED = 4 };
    static const int32_t rows[PICKED] = { 7, 0, 3, 8 };
    laci_backend *be;
    assert_ok(laci_backend_open(&be, backend_name(), LAC_DTYPE_F32, 2, NULL, NULL));
    for (int t = 0; t < 2; t++) {
        const laci_dtype type = t ? LACI_BF16 : LACI_F32;
        const size_t bytes = D * (t ? 2 : 4);
        unsigned char from[N * D * 4], few[N * D * 4], back[N * D * 4], want[N * D * 4] = { 0 };
        laci_buf *bufs[3];
        for (size_t i = 0; i < sizeof from; i++)
            from[i] = (unsigned char)(i * 7 + 1);
        for (size_t i = 0; i < 3; i++)
            assert_ok(laci_buf_new(be, sizeof from, "rows", &bufs[i], NULL));
        laci_backend_write(be, bufs[0], 0, from, sizeof from);
        laci_backend_gather_rows(be, type, bufs[0], rows, PICKED, D, bufs[1]);
        laci_backend_scatter_rows(be, type, bufs[1], rows, PICKED, D, bufs[2]);
        laci_backend_read(be, bufs[1], 0, few, sizeof few);
        laci_backend_read(be, bufs[2], 0, back, sizeof back);
        for (size_t i = 0; i < PICKED; i++) {
            const size_t at = (size_t)rows[i] * bytes;
            assert_memory_equal(few + i * bytes, from + at, bytes);
            memcpy(want + at, from + at, bytes);
        }
        assert_memory_equal(back, want, sizeof back); /* and no row beside them */
        for (size_t i = 0; i < 3; i++)
            laci_buf_free(be, bufs[i]);
    }
    laci_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_equal_brute_force),
        cmocka_unit_test(int8_bounds_choose_the_same_where_they_are_exact),
        cmocka_unit_test(lists_make_a_valid_plan),
        cmocka_unit_test(appended_bounds_equal_those_built_at_once),
        cmocka_unit_test(bounds_of_pieces_equal_the_whole),
        cmocka_unit_test(odd_pages_are_refused),
        cmocka_unit_test(rankings_equal_brute_force),
        cmocka_unit_test(rows_go_there_and_back),
    };
    run_on_backend(tests);
}
