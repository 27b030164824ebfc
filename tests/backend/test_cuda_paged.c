/* test_cuda_paged.c: a read of pages in which the device decides alone, against the same read by
 * the operations it is made of, with the host in between: rows picked, pages, results, what is kept
 * for the next comparison, and counts, all bit for bit. A backend that has none says so and does
 * nothing. */
#include "backend/any_backend.h"

#include "attention/prefix.h"
#include "base/rng.h"

enum { MOST_PIECES = 3 };

typedef struct {
    size_t n_q, n_heads, n_kv_heads, d, page, n_keys, budget;
    size_t cuts[MOST_PIECES]; /* where pieces after the first begin, 0 = no more */
    double wanted, min_change;
    size_t n_new; /* rows from the second on that are new */
    bool all, keeps;
    laci_pool pool;
    bool is_given; /* the lists are given, not chosen */
} read_case;

typedef struct {
    const read_case *c;
    laci_backend *be;
    lac_dtype dtype;
    size_t width, n_pieces;
    laci_kv kv[MOST_PIECES];
    laci_pages pages;
    laci_buf *q, *ref, *out, *lse, *spare, *spare_lse, *counts;
    bool *is_new;
} rig;

static size_t act_bytes(const rig *r)
{
    return r->dtype == LAC_DTYPE_BF16 ? 2 : 4;
}

static laci_buf *new_buf(laci_backend *be, size_t n_bytes)
{
    laci_buf *buf = NULL;
    assert_ok(laci_buf_new(be, n_bytes, "a test", &buf, NULL));
    return buf;
}

static float random_at(uint64_t key, size_t i)
{
    return (float)(laci_rng_unit(key, i) * 2 - 1);
}

static void put_floats(const rig *r, laci_buf *buf, uint64_t key, size_t n, bool act)
{
    float *x = malloc(n * sizeof *x);
    uint16_t *halves = malloc(n * sizeof *halves);
    const bool is_half = act && r->dtype == LAC_DTYPE_BF16;
    for (size_t i = 0; i < n; i++) {
        x[i] = random_at(key, i);
        halves[i] = laci_f32_to_bf16(x[i]);
    }
    laci_backend_write(r->be, buf, 0, is_half ? (void *)halves : (void *)x, n * (is_half ? 2 : 4));
    free(x);
    free(halves);
}

/* Piece i, from `first` on: keys and values, and bounds of its pages. */
static void make_piece(rig *r, size_t i, size_t first, size_t end)
{
    const read_case *c = r->c;
    const size_t n = end - first, width = c->n_kv_heads * c->d;
    const laci_head_op op = { .n_heads = c->n_kv_heads, .d_head = c->d };
    laci_buf *x = new_buf(r->be, n * width * sizeof(float));
    assert_ok(laci_kv_new(r->be, 1, n, c->n_kv_heads, c->d, &r->kv[i], NULL));
    r->kv[i].first = first;
    for (int part = LACI_KEYS; part <= LACI_VALUES; part++) {
        put_floats(r, x, 100 + 10 * i + (size_t)part, n * width, false);
        laci_backend_store(r->be,
                           &(laci_kv_rows){ &op, x, n, &r->kv[i], (laci_kv_part)part, 0, first });
    }
    laci_backend_page_bounds(r->be, &r->kv[i], &r->pages, 0, first, end);
    laci_buf_free(r->be, x);
}

static rig make_rig(const read_case *c, lac_dtype dtype)
{
    rig r = { .c = c, .dtype = dtype, .width = c->n_heads * c->d };
    const size_t act = dtype == LAC_DTYPE_BF16 ? 2 : 4, n_lse = c->n_q * c->n_heads * 4;
    assert_ok(laci_backend_open(&r.be, backend_name(), dtype, 1, NULL, NULL));
    const laci_kv whole = {
        .n_batch = 1, .n_kv_heads = c->n_kv_heads, .d_head = c->d, .n_ctx = c->n_keys
    };
    assert_ok(laci_pages_new(r.be, &whole, c->page, &r.pages, NULL));
    for (size_t first = 0, end; first < c->n_keys; first = end) {
        const size_t cut = r.n_pieces + 1 < MOST_PIECES ? c->cuts[r.n_pieces] : 0;
        end = cut ? cut : c->n_keys;
        make_piece(&r, r.n_pieces++, first, end);
    }
    r.q = new_buf(r.be, c->n_q * r.width * act);
    r.ref = new_buf(r.be, c->n_q * r.width * act);
    r.out = new_buf(r.be, c->n_q * r.width * 4);
    r.lse = new_buf(r.be, n_lse);
    r.spare = new_buf(r.be, c->n_q * r.width * 4);
    r.spare_lse = new_buf(r.be, n_lse);
    r.counts = new_buf(r.be, 16);
    put_floats(&r, r.q, 1, c->n_q * r.width, true);
    put_floats(&r, r.ref, 2, c->n_q * r.width, true);
    put_floats(&r, r.out, 3, c->n_q * r.width, false);
    put_floats(&r, r.lse, 4, c->n_q * c->n_heads, false);
    r.is_new = calloc(c->n_q, sizeof *r.is_new);
    for (size_t i = 0; i < c->n_new; i++)
        r.is_new[1 + i] = true;
    return r;
}

static void free_rig(rig *r)
{
    laci_buf *const bufs[] = { r->q, r->ref, r->out, r->lse, r->spare, r->spare_lse, r->counts };
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        laci_buf_free(r->be, bufs[i]);
    for (size_t i = 0; i < r->n_pieces; i++)
        laci_kv_free(r->be, &r->kv[i]);
    laci_pages_free(r->be, &r->pages);
    laci_backend_close(r->be);
    free(r->is_new);
}

static laci_budget budget_of(const read_case *c)
{
    return (laci_budget){ c->budget, c->budget > 1, c->budget > 2 };
}

static laci_prefix rule_of(const read_case *c)
{
    return (laci_prefix){ .rows = c->all ? LACI_ROWS_ALL : LACI_ROWS_CHANGED,
                          .active = c->wanted,
                          .min_change = c->min_change };
}

/* Lists of different lengths, some pages of each piece. */
static void give_lists(const read_case *c, const laci_id_lists *lists)
{
    for (size_t l = 0; l < c->n_kv_heads; l++) {
        size_t n = 0;
        for (uint32_t i = 0; i < lists->stride; i++)
            if ((i * 7 + l) % (3 + l) == 0) lists->ids[l * lists->stride + n++] = i;
        lists->counts[l] = (uint32_t)n;
    }
}

/* ------------------------------------------------------------------ by the device */

static bool read_by_device(const rig *r)
{
    const read_case *c = r->c;
    const laci_prefix rule = rule_of(c);
    const laci_kv *const pieces[MOST_PIECES] = { &r->kv[0], &r->kv[1], &r->kv[2] };
    const size_t stride = (c->n_keys + c->page - 1) / c->page;
    uint32_t *ids = calloc(c->n_kv_heads * (stride + 1), sizeof *ids);
    const laci_id_lists lists = { ids, stride, ids + c->n_kv_heads * stride, NULL };
    give_lists(c, &lists);
    const laci_paged_read read = { .q = r->q,
                                   .n_q = c->n_q,
                                   .n_heads = c->n_heads,
                                   .x = r->q,
                                   .ref = c->keeps ? r->ref : NULL,
                                   .width = r->width,
                                   .all = c->all,
                                   .is_new = r->is_new,
                                   .n_wanted = laci_prefix_wanted(&rule, c->n_q),
                                   .min_change = c->min_change,
                                   .lists = c->is_given ? &lists : NULL,
                                   .pages = c->is_given ? NULL : &r->pages,
                                   .page = c->page,
                                   .budget = budget_of(c),
                                   .pool = c->pool,
                                   .scale = 0.125f,
                                   .pieces = pieces,
                                   .n_pieces = r->n_pieces,
                                   .n_keys = c->n_keys,
                                   .out = r->out,
                                   .lse = r->lse,
                                   .spare = r->spare,
                                   .spare_lse = r->spare_lse,
                                   .counts = r->counts,
                                   .count_at = 1 };
    const bool is_done = laci_backend_paged_read(r->be, &read);
    free(ids);
    return is_done;
}

/* ------------------------------------------------------------------ by the host */

static size_t pick(const rig *r, int32_t *active)
{
    const read_case *c = r->c;
    const laci_prefix rule = rule_of(c);
    double *change = calloc(c->n_q, sizeof *change), *size = calloc(c->n_q, sizeof *size);
    laci_row_drift *drift = calloc(c->n_q, sizeof *drift);
    if (!c->all) laci_backend_row_changes(r->be, r->q, r->ref, c->n_q, r->width, change, size);
    for (size_t i = 0; i < c->n_q; i++)
        drift[i] = (laci_row_drift){ change[i], size[i], r->is_new[i] };
    const size_t n = laci_prefix_pick(&rule, drift, c->n_q, active);
    free(change);
    free(size);
    free(drift);
    return n;
}

/* A list for every query head, those of its KV head, of what lies in a piece. */
static void plan_piece(laci_plan_store *plan, const rig *r, const laci_id_lists *lists, size_t n,
                       const laci_kv *kv)
{
    const size_t page = r->c->page, group = r->c->n_heads / r->c->n_kv_heads;
    const size_t begin = kv->first / page, end = (kv->first + kv->n_ctx + page - 1) / page;
    laci_plan_begin(plan, n, page, r->c->n_heads, 1);
    for (size_t h = 0; h < r->c->n_heads; h++) {
        const uint32_t *ids = lists->ids + h / group * lists->stride;
        for (size_t i = 0; i < lists->counts[h / group]; i++)
            if (ids[i] >= begin && ids[i] < end)
                assert_ok(laci_plan_add(plan, ids[i] - begin, ids[i] - begin + 1, NULL));
        laci_plan_end_row(plan);
    }
}

/* What the counts must be. */
static void count(const rig *r, const laci_id_lists *lists, size_t n_active, uint32_t counts[2])
{
    const size_t page = r->c->page;
    counts[0] = (uint32_t)n_active;
    counts[1] = 0;
    for (size_t l = 0; n_active && l < r->c->n_kv_heads; l++)
        for (size_t i = 0; i < lists->counts[l]; i++) {
            const size_t first = lists->ids[l * lists->stride + i] * page;
            counts[1] += (uint32_t)(r->c->n_keys - first < page ? r->c->n_keys - first : page);
        }
}

/* The active rows' results in rows of their own, then where they belong. */
static void attend_active(const rig *r, const laci_id_lists *lists, const int32_t *active, size_t n)
{
    const read_case *c = r->c;
    const laci_dtype act = laci_backend_act(r->be);
    laci_plan_store plan = { 0 };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    int32_t *lse_at = calloc(n * c->n_heads, sizeof *lse_at);
    laci_buf *q = new_buf(r->be, n * r->width * 4);
    laci_buf *part[2], *part_lse[2];
    for (int i = 0; i < 2; i++) {
        part[i] = new_buf(r->be, n * r->width * 4);
        part_lse[i] = new_buf(r->be, n * c->n_heads * 4);
    }
    assert_ok(laci_plan_reserve(&plan, c->n_heads, c->n_heads * lists->stride, &mem, NULL));
    laci_backend_gather_rows(r->be, act, r->q, active, n, r->width, q);
    for (size_t i = 0; i < r->n_pieces; i++) {
        const laci_attention a = { .q = q,
                                   .kv = &r->kv[i],
                                   .out = part[i > 0],
                                   .out_f32 = true,
                                   .lse = part_lse[i > 0],
                                   .n_q = n,
                                   .n_k = r->kv[i].n_ctx,
                                   .n_heads = c->n_heads };
        plan_piece(&plan, r, lists, n, &r->kv[i]);
        laci_backend_attend(r->be, &plan.plan, &a);
        if (i)
            laci_backend_merge(r->be, &(laci_merge){ part[0], part_lse[0], part[1], part_lse[1], 1,
                                                     n, c->n_heads, c->d });
    }
    for (size_t h = 0; h < c->n_heads; h++)
        for (size_t i = 0; i < n; i++)
            lse_at[h * n + i] = (int32_t)(h * c->n_q) + active[i];
    laci_backend_scatter_rows(r->be, LACI_F32, part[0], active, n, r->width, r->out);
    laci_backend_scatter_rows(r->be, LACI_F32, part_lse[0], lse_at, n * c->n_heads, 1, r->lse);
    if (c->keeps) laci_backend_scatter_rows(r->be, act, q, active, n, r->width, r->ref);
    laci_buf_free(r->be, q);
    for (int i = 0; i < 2; i++) {
        laci_buf_free(r->be, part[i]);
        laci_buf_free(r->be, part_lse[i]);
    }
    laci_plan_clear(&plan);
    free(lse_at);
}

static size_t read_by_host(const rig *r, uint32_t counts[2])
{
    const read_case *c = r->c;
    const size_t stride = (c->n_keys + c->page - 1) / c->page;
    int32_t *active = calloc(c->n_q, sizeof *active);
    uint32_t *ids = calloc(c->n_kv_heads * (stride + 1), sizeof *ids);
    const laci_id_lists lists = { ids, stride, ids + c->n_kv_heads * stride, NULL };
    const uint32_t n_keys = (uint32_t)c->n_keys;
    const size_t n = pick(r, active);
    counts[0] = counts[1] = 0;
    if (n) {
        laci_buf *q = new_buf(r->be, n * r->width * 4);
        laci_backend_gather_rows(r->be, laci_backend_act(r->be), r->q, active, n, r->width, q);
        const laci_page_query query = { .q = q,
                                        .pages = &r->pages,
                                        .n_batch = 1,
                                        .n_q = n,
                                        .n_heads = c->n_heads,
                                        .n_keys = &n_keys,
                                        .budget = budget_of(c),
                                        .pool = c->pool,
                                        .scale = 0.125f };
        if (c->is_given)
            give_lists(c, &lists);
        else
            laci_backend_select_pages(r->be, &query, &lists);
        attend_active(r, &lists, active, n);
        count(r, &lists, n, counts);
        laci_buf_free(r->be, q);
    }
    free(active);
    free(ids);
    return n;
}

/* ------------------------------------------------------------------ both */

static void compare(const rig *a, const rig *b, laci_buf *x, laci_buf *y, size_t n_bytes,
                    const char *what)
{
    uint32_t *got = malloc(n_bytes), *want = malloc(n_bytes);
    laci_backend_read(a->be, x, 0, got, n_bytes);
    laci_backend_read(b->be, y, 0, want, n_bytes);
    for (size_t i = 0; i < n_bytes / 4; i++)
        if (got[i] != want[i])
            fail_msg("%zu queries, %zu/%zu heads of %zu, %zu keys, %s: word %zu is %08x, the "
                     "host's is %08x",
                     a->c->n_q, a->c->n_heads, a->c->n_kv_heads, a->c->d, a->c->n_keys, what, i,
                     got[i], want[i]);
    free(got);
    free(want);
}

static void check(const read_case *c, lac_dtype dtype, size_t least, size_t most)
{
    rig a = make_rig(c, dtype), b = make_rig(c, dtype);
    uint32_t counts[4] = { 0 }, want[2];
    assert_true(read_by_device(&a));
    const size_t n = read_by_host(&b, want);
    if (n < least || n > most) fail_msg("%zu rows read, wanted %zu to %zu", n, least, most);
    laci_backend_read(a.be, a.counts, 0, counts, sizeof counts);
    assert_int_equal(counts[0] | counts[1], 0); /* another read's pair */
    assert_int_equal(counts[2], want[0]);
    assert_int_equal(counts[3], want[1]);
    compare(&a, &b, a.out, b.out, c->n_q * a.width * 4, "results");
    compare(&a, &b, a.lse, b.lse, c->n_q * c->n_heads * 4, "log-sum-exps");
    compare(&a, &b, a.ref, b.ref, c->n_q * a.width * act_bytes(&a), "references");
    free_rig(&a);
    free_rig(&b);
}

static void check_both(const read_case *c, size_t least, size_t most)
{
    if (is_cpu()) {
        rig r = make_rig(c, LAC_DTYPE_F32);
        assert_false(read_by_device(&r));
        free_rig(&r);
        return;
    }
    check(c, LAC_DTYPE_F32, least, most);
    check(c, LAC_DTYPE_BF16, least, most);
}

static const read_case usual = { .n_q = 16,
                                 .n_heads = 4,
                                 .n_kv_heads = 2,
                                 .d = 64,
                                 .page = 16,
                                 .n_keys = 203,
                                 .budget = 4,
                                 .wanted = 5,
                                 .n_new = 2,
                                 .keeps = true,
                                 .pool = LACI_POOL_UNION };

static void rows_that_moved_most_read(void **state)
{
    (void)state;
    check_both(&usual, 5, 5);
    read_case c = usual;
    c.wanted = 0.5, c.page = 32;
    check_both(&c, 8, 8);
    c.n_new = 12, c.page = 64; /* more are new than are wanted */
    check_both(&c, 12, 12);
    c = usual;
    c.pool = LACI_POOL_SOFTMAX; /* a list the rows make together */
    check_both(&c, 5, 5);
    c.pool = LACI_POOL_MAX;
    check_both(&c, 5, 5);
    c.pool = LACI_POOL_UNION;
    c.min_change = 2.1; /* of random vectors about twice the size */
    c.wanted = 16;
    check_both(&c, 3, 15);
}

static void all_or_no_rows_read(void **state)
{
    (void)state;
    read_case c = usual;
    c.all = true;
    check_both(&c, 16, 16);
    c.keeps = false;
    c.n_q = 1;
    c.n_new = 0;
    check_both(&c, 1, 1);
    c = usual;
    c.n_new = 0;
    c.min_change = 1e6; /* nobody moved that far: everything stays as it is */
    check_both(&c, 0, 0);
    c.pool = LACI_POOL_SOFTMAX;
    check_both(&c, 0, 0);
}

static void pieces_and_parts_are_merged(void **state)
{
    (void)state;
    read_case c = usual;
    c.cuts[0] = 64, c.cuts[1] = 128;
    check_both(&c, 5, 5);
    c.budget = 1; /* some pieces hold nothing of a list */
    c.wanted = 1, c.n_new = 0;
    check_both(&c, 1, 1);
    c = usual;
    c.n_keys = 700, c.budget = 40; /* parts of 256 lanes */
    check_both(&c, 5, 5);
    c.cuts[0] = 640;
    check_both(&c, 5, 5);
    c.page = 64, c.budget = 8; /* whole tiles: the kernel of compute capability 9.0 takes them */
    check_both(&c, 5, 5);
}

static void tiles_are_cut_by_rows(void **state)
{
    (void)state;
    read_case c = usual;
    c.n_keys = 90;
    c.n_q = 72, c.n_heads = 4, c.n_kv_heads = 1, c.wanted = 50; /* a head of 50 rows a tile */
    check_both(&c, 50, 50);
    c.n_q = 140, c.wanted = 131, c.n_heads = 2; /* more queries than are cut into parts */
    check_both(&c, 131, 131);
    c.d = 256, c.n_q = 70, c.wanted = 66;
    check_both(&c, 66, 66);
}

static void given_lists_are_read(void **state)
{
    (void)state;
    read_case c = usual;
    c.is_given = true;
    check_both(&c, 5, 5);
    c.cuts[0] = 64, c.cuts[1] = 128;
    check_both(&c, 5, 5);
    c.n_keys = 700, c.page = 64;
    check_both(&c, 5, 5);
    c.n_new = 0, c.min_change = 1e6;
    check_both(&c, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_moved_most_read),   cmocka_unit_test(all_or_no_rows_read),
        cmocka_unit_test(pieces_and_parts_are_merged), cmocka_unit_test(tiles_are_cut_by_rows),
        cmocka_unit_test(given_lists_are_read),
    };
    run_on_backend(tests);
}
