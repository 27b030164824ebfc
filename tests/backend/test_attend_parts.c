/* test_attend_parts.c: attention in parts: probability by key against the definition, merging
 * results over disjoint keys, storing keys and values piece by piece and with what is done to heads
 * on the way. */
#include "backend/attend_check.h"

/* ------------------------------------------------------------------ column_mass */

/* n_batch, n_q, n_k, n_heads, n_kv_heads, d, q_block, k_block, n_patterns, alike */
static const attend_case dense_cases[] = {
    { 1, 1, 1, 1, 1, 8, 1, 1, 1, 1, .density = 1 },
    { 1, 100, 150, 2, 1, 16, 100, 150, 1, 1, .density = 1 },
    { 2, 129, 129, 4, 2, 40, 129, 129, 1, 1, .density = 1 },
    { 1, 64, 700, 2, 2, 128, 64, 700, 1, 1, .density = 1 },
    { 3, 90, 200, 2, 1, 24, 90, 200, 1, 1, .density = 1, .n_keys = true, .valid = true },
    { 2, 200, 333, 2, 1, 16, 200, 333, 1, 1, .density = 1, .limits = true },
};

/* Means of the rows' probabilities over groups [first, first + n) of queries. */
static double *column_means(const attend_rig *r, size_t q_group, size_t first, size_t n)
{
    const size_t n_q = r->n_rows, n_k = r->c.n_k;
    double *out = take(r->c.n_batch * r->c.n_heads * n * n_k, sizeof *out);
    for (size_t i = 0; i < n_lse(r) * n_k; i++) {
        const size_t q = i / n_k % n_q, group = q / q_group, head = i / n_k / n_q;
        const size_t left = n_q - group * q_group;
        if (group < first || group >= first + n) continue;
        out[(head * n + group - first) * n_k + i % n_k] +=
            r->p[i] / (double)(left < q_group ? left : q_group);
    }
    return out;
}

static void check_columns(attend_rig *r, size_t q_group, size_t first, size_t n)
{
    const size_t n_out_values = r->c.n_batch * r->c.n_heads * n * r->c.n_k;
    laci_buf *out = new_floats(r->be, n_out_values);
    laci_backend_column_mass(r->be, &r->a, q_group, first, n, out);
    float *got = read_floats(r->be, out, n_out_values);
    double *want = column_means(r, q_group, first, n);
    char what[400];
    snprintf(what, sizeof what, "columns of groups of %zu from %zu of %s", q_group, first,
             describe(r));
    compare(what, got, want, n_out_values, 2 * bound_of(r));
    free(got), free(want);
    laci_buf_free(r->be, out);
}

static void columns_equal_the_definition(void **state)
{
    (void)state;
    static const size_t groups[] = { 1, 8, 32, 128 };
    for (size_t i = 0; i < 2 * sizeof dense_cases / sizeof dense_cases[0]; i++) {
        attend_rig *r = rig_new(&dense_cases[i / 2], i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 2, 0);
        brute_force(r);
        laci_backend_attend(r->be, &r->plan.plan, &r->a);
        for (size_t j = 0; j < 4; j++) {
            const size_t n = n_blocks(r->n_rows, groups[j]);
            check_columns(r, groups[j], 0, n);
            check_columns(r, groups[j], n / 2, n - n / 2);
            check_columns(r, groups[j], n / 3, 1);
        }
        rig_free(r);
    }
}

/* ------------------------------------------------------------------ merge */

/* Attention over the blocks whose number leaves `rest` when divided by n_sets, into out and lse. */
static void attend_set(attend_rig *r, size_t n_sets, size_t rest, laci_buf *out, laci_buf *lse)
{
    const laci_plan *all = &r->plan.plan;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const size_t n = all->n_heads * all->n_rows;
    laci_plan_store set = { 0 };
    laci_attention a = r->a;
    assert_ok(laci_plan_reserve(&set, n, all->row_ptr[n], &mem, NULL));
    laci_plan_begin(&set, all->q_block, all->k_block, all->n_heads, all->n_rows);
    for (size_t i = 0; i < n; i++) {
        for (uint32_t c = all->row_ptr[i]; c < all->row_ptr[i + 1]; c++)
            if (all->cols[c] % n_sets == rest)
                assert_ok(laci_plan_add(&set, all->cols[c], all->cols[c] + 1, NULL));
        laci_plan_end_row(&set);
    }
    a.out = out;
    a.lse = lse;
    laci_backend_attend(r->be, &set.plan, &a);
    laci_plan_clear(&set);
}

/* Disjoint sets of keys, some rows without any in one of them or in all, merged: one pass over all.
 */
static void check_merge(const attend_case *c, lac_dtype dtype, size_t n_sets)
{
    attend_rig *r = rig_new(c, dtype, 2, 0);
    laci_buf *out = new_floats(r->be, n_out(r)), *lse = new_floats(r->be, n_lse(r));
    laci_backend_attend(r->be, &r->plan.plan, &r->a);
    float *once = read_out(r), *once_lse = read_floats(r->be, r->lse, n_lse(r));
    attend_set(r, n_sets, 0, r->out, r->lse);
    for (size_t set = 1; set < n_sets; set++) {
        attend_set(r, n_sets, set, out, lse);
        laci_backend_merge(r->be, &(laci_merge){ r->out, r->lse, out, lse, c->n_batch, r->n_rows,
                                                 c->n_heads, c->d });
    }
    brute_force(r);
    check_result(r);
    float *merged = read_out(r), *merged_lse = read_floats(r->be, r->lse, n_lse(r));
    for (size_t i = 0; i < n_out(r); i++)
        r->want[i] = (double)once[i];
    for (size_t i = 0; i < n_lse(r); i++)
        r->want_lse[i] = (double)once_lse[i];
    const double bound = dtype == LAC_DTYPE_F32 ? 2e-6 : 1e-2; /* two passes and their merging */
    compare(describe(r), merged, r->want, n_out(r), bound);
    compare(describe(r), merged_lse, r->want_lse, n_lse(r), bound);
    free(once), free(once_lse), free(merged), free(merged_lse);
    laci_buf_free(r->be, out);
    laci_buf_free(r->be, lse);
    rig_free(r);
}

static void merged_sets_equal_one_pass(void **state)
{
    (void)state;
    static const attend_case merge_cases[] = {
        { 1, 70, 200, 2, 1, 16, 16, 16, 1, 1, .density = 1 },
        { 2, 100, 290, 4, 2, 40, 32, 64, 4, 1, .density = 0.4, .empty_rows = true },
        { 3, 40, 150, 2, 2, 128, 1, 7, 2, 1, .density = 0.1, .n_keys = true, .limits = true },
    };
    for (size_t i = 0; i < 12; i++)
        check_merge(&merge_cases[i / 4], i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 2 + i / 2 % 2);
}

/* ------------------------------------------------------------------ store */

/* Rows [begin, end) of a piece; pieces may overwrite earlier ones. */
typedef struct {
    size_t begin, end;
} piece;

static void pieces_equal_the_whole(void **state)
{
    (void)state;
    static const piece pieces[] = { { 0, 10 },    { 10, 64 },  { 64, 200 },
                                    { 199, 200 }, { 37, 150 }, { 128, 192 } };
    static const attend_case c = { 2, 50, 200, 4, 2, 24, 50, 200, 1, 1, .density = 1 };
    for (int part = 0; part < 4; part++) {
        attend_rig *r = rig_new(&c, part & 1 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, part & 2 ? 3 : 1, 0);
        laci_backend_attend(r->be, &r->plan.plan, &r->a);
        float *want = read_out(r);
        laci_kv_free(r->be, &r->kv);
        assert_ok(laci_kv_new(r->be, c.n_batch, c.n_k, c.n_kv_heads, c.d, &r->kv, NULL));
        for (size_t i = 0; i < 2 * sizeof pieces / sizeof pieces[0]; i++) {
            const piece *p = &pieces[i / 2];
            store_rows(r, LACI_KEYS, r->k_host, i % 2, p->begin, p->end);
            store_rows(r, LACI_VALUES, r->v_host, i % 2, p->begin, p->end);
        }
        laci_backend_attend(r->be, &r->plan.plan, &r->a);
        float *got = read_out(r);
        compare_bits(describe(r), want, got, n_out(r));
        free(want), free(got);
        rig_free(r);
    }
}

/* Keys treated on their way into the cache: bias, norm, rotation, as laci_backend_heads treats
 * them. */
typedef struct {
    laci_buf *bias, *weight, *cosines, *sines;
    laci_head_op op;
} treatment;

static treatment treatment_new(const attend_rig *r, size_t n_ctx)
{
    const attend_case *c = &r->c;
    const size_t n_pairs = c->d / 4, width = c->n_kv_heads * c->d;
    treatment t = { .bias = new_floats(r->be, width), .weight = new_floats(r->be, c->d) };
    t.cosines = new_floats(r->be, n_ctx * n_pairs);
    t.sines = new_floats(r->be, n_ctx * n_pairs);
    for (size_t i = 0; i < width; i++) {
        const float x = (float)laci_rng_unit(8, i);
        laci_backend_write(r->be, t.bias, i * 4, &x, 4);
        if (i < c->d) laci_backend_write(r->be, t.weight, i * 4, &x, 4);
    }
    for (size_t i = 0; i < n_ctx * n_pairs; i++) {
        const float cosine = cosf(0.1f * (float)i), sine = sinf(0.1f * (float)i);
        laci_backend_write(r->be, t.cosines, i * 4, &cosine, 4);
        laci_backend_write(r->be, t.sines, i * 4, &sine, 4);
    }
    t.op = (laci_head_op){ .n_heads = c->n_kv_heads,
                           .d_head = c->d,
                           .bias = t.bias,
                           .norm_before = true,
                           .norm = { t.weight, 1e-6f },
                           .cosines = t.cosines,
                           .sines = t.sines,
                           .rope_dim = 2 * n_pairs };
    return t;
}

static void treatment_free(const attend_rig *r, treatment *t)
{
    laci_buf_free(r->be, t->bias);
    laci_buf_free(r->be, t->weight);
    laci_buf_free(r->be, t->cosines);
    laci_buf_free(r->be, t->sines);
}

/* Rows of x through laci_backend_heads: `host` becomes what activations hold of them. */
static void treat(const attend_rig *r, const treatment *t, laci_buf *x, size_t n, float *host)
{
    const size_t width = r->c.n_kv_heads * r->c.d;
    laci_buf *act = NULL;
    assert_ok(laci_buf_new(r->be, (n + LACI_ROW_PAD) * width * sizeof(float), "act", &act, NULL));
    laci_backend_write(r->be, x, 0, host, n * width * sizeof *host);
    laci_backend_heads(r->be, &(laci_head_rows){ &t->op, x, n, NULL, 0, act, 0 });
    for (size_t i = 0; i < n * width; i++) {
        uint16_t half;
        if (r->dtype == LAC_DTYPE_BF16) {
            laci_backend_read(r->be, act, i * 2, &half, 2);
            host[i] = laci_bf16_to_f32(half);
        } else {
            laci_backend_read(r->be, act, i * 4, &host[i], 4);
        }
    }
    laci_buf_free(r->be, act);
}

static void stored_keys_are_treated_like_heads(void **state)
{
    (void)state;
    static const attend_case c = { 1, 50, 150, 4, 2, 24, 50, 150, 1, 1, .density = 1 };
    for (int part = 0; part < 2; part++) {
        attend_rig *r = rig_new(&c, part ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 2, 0);
        const size_t width = c.n_kv_heads * c.d, rest = (c.n_k - 70) * width * sizeof(float);
        treatment t = treatment_new(r, c.n_k);
        laci_buf *x = new_floats(r->be, (c.n_k + LACI_ROW_PAD) * width);
        laci_backend_write(r->be, x, 0, r->k_host, 70 * width * sizeof(float));
        laci_backend_store(r->be, &(laci_kv_rows){ &t.op, x, 70, &r->kv, LACI_KEYS, 0, 0 });
        laci_backend_write(r->be, x, 0, r->k_host + 70 * width, rest);
        laci_backend_store(r->be,
                           &(laci_kv_rows){ &t.op, x, c.n_k - 70, &r->kv, LACI_KEYS, 0, 70 });
        laci_backend_attend(r->be, &r->plan.plan, &r->a);
        float *got = read_out(r);
        treat(r, &t, x, c.n_k, r->k_host);
        brute_force(r);
        check_result(r);
        store_rows(r, LACI_KEYS, r->k_host, 0, 0, c.n_k);
        laci_backend_attend(r->be, &r->plan.plan, &r->a);
        float *want = read_out(r);
        compare_bits(describe(r), want, got, n_out(r));
        free(want), free(got);
        laci_buf_free(r->be, x);
        treatment_free(r, &t);
        rig_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_equal_the_definition),
        cmocka_unit_test(merged_sets_equal_one_pass),
        cmocka_unit_test(pieces_equal_the_whole),
        cmocka_unit_test(stored_keys_are_treated_like_heads),
    };
    run_on_backend(tests);
}
