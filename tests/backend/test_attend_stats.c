/* test_attend_stats.c: the pattern statistics of a dense pass against the L x L softmax in double
 * precision: mass by block, the same from some block on, of doubled scores, the mass a plan keeps,
 * of pages over keys in pieces; and that gathering them changes no bit of the output. */
#include "backend/attend_check.h"

typedef struct {
    attend_case c;
    size_t q_block, k_block; /* of the statistics */
    bool doubled;
} stats_case;

/* n_batch, n_q, n_k, n_heads, n_kv_heads, d, q_block, k_block, n_patterns, alike; q_block, k_block
 */
static const stats_case cases[] = {
    { { 1, 70, 70, 2, 2, 16, 70, 70, 1, 1, .density = 1 }, 16, 16, false },
    { { 1, 84, 84, 2, 1, 16, 84, 84, 1, 1, .density = 1 }, 128, 32, false },
    { { 1, 100, 100, 2, 1, 24, 100, 100, 1, 1, .density = 1 }, 32, 32, true },
    { { 1, 128, 128, 1, 1, 32, 128, 128, 1, 1, .density = 1 }, 64, 64, false },
    { { 1, 129, 129, 4, 4, 16, 129, 129, 1, 1, .density = 1 }, 128, 128, false },
    { { 1, 200, 213, 4, 1, 16, 200, 213, 1, 1, .density = 1 }, 32, 16, true },
    { { 2, 40, 300, 8, 2, 40, 40, 300, 1, 1, .density = 1 }, 16, 64, false },
    { { 1, 333, 333, 2, 2, 16, 128, 64, 1, 1, .density = 1 }, 64, 128, true },
    { { 1, 500, 500, 1, 1, 8, 32, 128, 1, 1, .density = 1 }, 16, 128, false },
    { { 1, 1000, 1000, 1, 1, 8, 1000, 1000, 1, 1, .density = 1 }, 128, 128, false },
    { { 3, 90, 222, 2, 1, 16, 90, 222, 1, 1, .density = 1, .n_keys = true }, 32, 32, false },
    { { 2, 96, 230, 2, 1, 128, 96, 230, 1, 1, .density = 1, .limits = true }, 32, 64, true },
    { { 2, 150, 400, 2, 1, 64, 150, 400, 1, 1, .density = 1, .valid = true }, 128, 16, false },
    { { 1, 64, 640, 3, 1, 16, 16, 640, 1, 1, .density = 1 }, 16, 192, false },
    { { 1, 16, 2000, 8, 2, 64, 16, 2000, 1, 1, .density = 1 }, 1, 16, false },
    { { 2, 5, 300, 4, 1, 16, 5, 300, 1, 1, .density = 1, .limits = true }, 1, 64, true },
    { { 2, 70, 333, 2, 1, 32, 70, 333, 1, 1, .density = 1, .n_keys = true }, 1, 32, false },
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* ------------------------------------------------------------------ the definition */

/* Shares of key blocks from `from` on in row i of the rig (over sequences, heads and queries): the
 * softmax there, or that of doubled scores, normalised. */
static void shares(const attend_rig *r, const stats_case *s, size_t i, size_t from, double *out)
{
    double total = 0;
    for (size_t b = 0; b < n_blocks(s->c.n_k, s->k_block); b++)
        out[b] = 0;
    for (size_t j = from * s->k_block; j < s->c.n_k; j++) {
        const double p = r->p[i * s->c.n_k + j], weight = s->doubled ? p * p : p;
        out[j / s->k_block] += weight;
        total += weight;
    }
    for (size_t b = 0; b < n_blocks(s->c.n_k, s->k_block) && total > 0; b++)
        out[b] /= total;
}

/* Means of the shares over query blocks: [n_batch * n_heads, n_q_blocks, n_k_blocks]. */
static double *masses(const attend_rig *r, const stats_case *s, size_t from)
{
    const size_t n_k_blocks = n_blocks(s->c.n_k, s->k_block);
    const size_t n_q_blocks = n_blocks(s->c.n_q, s->q_block);
    double *out = take(s->c.n_batch * s->c.n_heads * n_q_blocks * n_k_blocks, sizeof *out);
    double *row = take(n_k_blocks, sizeof *row);
    for (size_t i = 0; i < n_lse(r); i++) {
        const size_t q = i % s->c.n_q, block = q / s->q_block;
        const size_t left = s->c.n_q - block * s->q_block;
        double *to = out + (i / s->c.n_q * n_q_blocks + block) * n_k_blocks;
        shares(r, s, i, from, row);
        for (size_t b = 0; b < n_k_blocks; b++)
            to[b] += row[b] / (double)(left < s->q_block ? left : s->q_block);
    }
    free(row);
    return out;
}

/* Mass each row keeps under a plan: [n_batch * n_heads, n_q]. */
static double *kept_masses(const attend_rig *r, const stats_case *s, const laci_plan *plan)
{
    double *out = take(n_lse(r), sizeof *out);
    double *row = take(n_blocks(s->c.n_k, s->k_block), sizeof *row);
    bool *kept = take(s->c.n_k, sizeof *kept);
    for (size_t i = 0; i < n_lse(r); i++) {
        const size_t head = i / s->c.n_q;
        kept_keys(plan, &s->c, head / s->c.n_heads, head % s->c.n_heads, i % s->c.n_q, kept);
        shares(r, s, i, 0, row);
        for (size_t b = 0; b < n_blocks(s->c.n_k, s->k_block); b++)
            if (kept[b * s->k_block]) out[i] += row[b];
    }
    free(row), free(kept);
    return out;
}

/* ------------------------------------------------------------------ the backend's */

typedef struct {
    laci_plan_store kept;
    laci_buf *mass, *late, *kept_mass;
    size_t n_mass; /* entries of mass and late */
    laci_mass_stats stats;
} gathered;

static gathered gathered_new(const attend_rig *r, const stats_case *s)
{
    const size_t rows = s->c.n_batch * s->c.n_heads;
    attend_case kept = s->c;
    kept.q_block = s->q_block;
    kept.k_block = s->k_block;
    kept.density = 0.4;
    kept.n_patterns = s->doubled ? s->c.n_heads : rows;
    gathered g = { .kept = make_plan(&kept) };
    g.n_mass = rows * n_blocks(s->c.n_q, s->q_block) * n_blocks(s->c.n_k, s->k_block);
    g.mass = new_floats(r->be, g.n_mass);
    g.late = new_floats(r->be, g.n_mass);
    g.kept_mass = new_floats(r->be, n_lse(r));
    g.stats = (laci_mass_stats){
        .q_block = s->q_block, .k_block = s->k_block, .doubled = s->doubled, .mass = g.mass
    };
    return g;
}

static void gathered_free(const attend_rig *r, gathered *g)
{
    laci_plan_clear(&g->kept);
    laci_buf_free(r->be, g->mass);
    laci_buf_free(r->be, g->late);
    laci_buf_free(r->be, g->kept_mass);
}

static void check_buffer(const char *name, const attend_rig *r, const laci_buf *buf, double *want,
                         size_t n)
{
    char what[400];
    float *got = read_floats(r->be, buf, n);
    snprintf(what, sizeof what, "%s of %s", name, describe(r));
    compare(what, got, want, n, 2 * bound_of(r));
    free(got), free(want);
}

/* The masses of a query block all of whose rows read something add up to 1. */
static void check_totals(const attend_rig *r, const stats_case *s, const gathered *g)
{
    const size_t n_k_blocks = n_blocks(s->c.n_k, s->k_block);
    float *mass = read_floats(r->be, g->mass, g->n_mass);
    for (size_t i = 0; i < g->n_mass && !s->c.limits; i += n_k_blocks) {
        double total = 0;
        for (size_t b = 0; b < n_k_blocks; b++)
            total += (double)mass[i + b];
        if (!(fabs(total - 1) <= 1e-5)) fail_msg("%s: masses add up to %g", describe(r), total);
    }
    free(mass);
}

/* Late masses from the first block, some in the middle, the last and none. */
static void check_late(attend_rig *r, const stats_case *s, gathered *g)
{
    const size_t n = n_blocks(s->c.n_k, s->k_block);
    g->stats.late = g->late;
    for (size_t from = 0; from <= n; from += 1 + n / 5) {
        g->stats.late_from = from;
        laci_backend_attend(r->be, &r->plan.plan, &r->a);
        check_buffer("mass", r, g->mass, masses(r, s, 0), g->n_mass);
        check_buffer("late mass", r, g->late, masses(r, s, from), g->n_mass);
    }
    g->stats.late_from = n - 1;
    laci_backend_attend(r->be, &r->plan.plan, &r->a);
    check_buffer("late mass", r, g->late, masses(r, s, n - 1), g->n_mass);
    g->stats.late = NULL;
}

static void check_stats(const stats_case *s, lac_dtype dtype)
{
    attend_rig *r = rig_new(&s->c, dtype, 2, s->k_block);
    gathered g = gathered_new(r, s);
    brute_force(r);
    r->a.stats = &g.stats;
    laci_backend_attend(r->be, &r->plan.plan, &r->a);
    check_buffer("mass", r, g.mass, masses(r, s, 0), g.n_mass);
    check_totals(r, s, &g);
    check_result(r);
    check_late(r, s, &g);
    g.stats.kept = &g.kept.plan;
    g.stats.kept_mass = g.kept_mass;
    laci_backend_attend(r->be, &r->plan.plan, &r->a);
    check_buffer("mass", r, g.mass, masses(r, s, 0), g.n_mass);
    check_buffer("kept mass", r, g.kept_mass, kept_masses(r, s, &g.kept.plan), n_lse(r));
    gathered_free(r, &g);
    rig_free(r);
}

static void f32_statistics_equal_the_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++)
        check_stats(&cases[i], LAC_DTYPE_F32);
}

static void bf16_statistics_equal_the_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++)
        check_stats(&cases[i], LAC_DTYPE_BF16);
}

/* Key tails of every kind: whatever is read without statistics in another way shows here. */
static void statistics_change_no_bit(void **state)
{
    (void)state;
    for (size_t n_k = 60; n_k < 330; n_k += 9) {
        for (int part = 0; part < 2; part++) {
            const bool by_row = n_k % 3 == 0;
            const stats_case s = { { .n_batch = 1,
                                     .n_q = by_row ? 12 : 33,
                                     .n_k = n_k,
                                     .n_heads = 2,
                                     .n_kv_heads = 1,
                                     .d = 16,
                                     .q_block = by_row ? 12 : 33,
                                     .k_block = n_k,
                                     .n_patterns = 1,
                                     .density = 1,
                                     .limits = n_k % 2 },
                                   by_row ? 1 : 16,
                                   n_k % 4 < 2 ? 16 : 64,
                                   n_k % 5 == 0 };
            attend_rig *r = rig_new(&s.c, part ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 1, s.k_block);
            gathered g = gathered_new(r, &s);
            laci_backend_attend(r->be, &r->plan.plan, &r->a);
            float *want = read_out(r), *want_lse = read_floats(r->be, r->lse, n_lse(r));
            r->a.stats = &g.stats;
            if (by_row) g.stats.base = g.late, g.stats.doubled = false;
            laci_backend_attend(r->be, &r->plan.plan, &r->a);
            float *got = read_out(r), *got_lse = read_floats(r->be, r->lse, n_lse(r));
            compare_bits(describe(r), want, got, n_out(r));
            compare_bits(describe(r), want_lse, got_lse, n_lse(r));
            free(want), free(want_lse), free(got), free(got_lse);
            gathered_free(r, &g);
            rig_free(r);
        }
    }
}

/* The same statistics, bit for bit, at any number of threads. */
static void threads_change_no_statistic(void **state)
{
    (void)state;
    static const int threads[] = { 1, 2, 5 };
    for (size_t i = 0; i < N_CASES; i += 3) {
        float *want = NULL;
        for (size_t j = 0; j < 3; j++) {
            attend_rig *r = rig_new(&cases[i].c, LAC_DTYPE_BF16, threads[j], cases[i].k_block);
            gathered g = gathered_new(r, &cases[i]);
            r->a.stats = &g.stats;
            laci_backend_attend(r->be, &r->plan.plan, &r->a);
            float *got = read_floats(r->be, g.mass, g.n_mass);
            if (want) compare_bits(describe(r), want, got, g.n_mass);
            if (want) free(got);
            if (!want) want = got;
            gathered_free(r, &g);
            rig_free(r);
        }
        free(want);
    }
}

/* ------------------------------------------------------------------ keys in pieces */

enum { N_PIECES = 3 };

/* The keys of a rig once more, cut where a cache might cut them, and what is measured of them. */
typedef struct {
    attend_rig *r;
    size_t page, begin[N_PIECES + 1];
    laci_kv kv[N_PIECES];
    laci_buf *out, *lse, *masses[N_PIECES], *bases[N_PIECES], *pooled;
} cut_rig;

static cut_rig cut_new(attend_rig *r, size_t page)
{
    cut_rig c = { .r = r, .page = page, .begin = { 0, 64, 320, r->c.n_k } };
    const laci_kv whole = r->kv;
    for (size_t i = 0; i < N_PIECES; i++) {
        const size_t n = c.begin[i + 1] - c.begin[i];
        assert_ok(laci_kv_new(r->be, 1, n, r->c.n_kv_heads, r->c.d, &c.kv[i], NULL));
        c.kv[i].first = c.begin[i];
        r->kv = c.kv[i];
        store_rows(r, LACI_KEYS, r->k_host, 0, c.begin[i], c.begin[i + 1]);
        store_rows(r, LACI_VALUES, r->v_host, 0, c.begin[i], c.begin[i + 1]);
        c.masses[i] = new_floats(r->be, n_lse(r) * n_blocks(n, page));
        c.bases[i] = new_floats(r->be, n_lse(r) * n_blocks(n, LACI_MASS_PART));
    }
    r->kv = whole;
    c.out = new_floats(r->be, n_out(r));
    c.lse = new_floats(r->be, n_lse(r));
    c.pooled = new_floats(r->be, r->c.n_heads * n_blocks(r->c.n_k, page));
    return c;
}

static void cut_free(cut_rig *c)
{
    for (size_t i = 0; i < N_PIECES; i++) {
        laci_kv_free(c->r->be, &c->kv[i]);
        laci_buf_free(c->r->be, c->masses[i]);
        laci_buf_free(c->r->be, c->bases[i]);
    }
    laci_buf_free(c->r->be, c->out);
    laci_buf_free(c->r->be, c->lse);
    laci_buf_free(c->r->be, c->pooled);
}

/* Attention piece by piece, merged into r->out and r->lse; and the pages' masses. */
static void measure_pieces(cut_rig *c)
{
    attend_rig *r = c->r;
    const size_t n_q = r->c.n_q, n_heads = r->c.n_heads;
    uint32_t *limits = take(n_q, sizeof *limits);
    const uint32_t row_ptr[2] = { 0, 1 }, cols[1] = { 0 };
    for (size_t i = 0; i < N_PIECES; i++) {
        const size_t n = c->begin[i + 1] - c->begin[i];
        const laci_plan plan = { n_q, n, 1, 1, row_ptr, cols, NULL, 0 };
        const laci_mass_stats stats = {
            .q_block = 1, .k_block = c->page, .mass = c->masses[i], .base = c->bases[i]
        };
        laci_attention a = r->a;
        for (size_t q = 0; q < n_q; q++)
            limits[q] = r->limits[q] > c->begin[i] ? r->limits[q] - (uint32_t)c->begin[i] : 0;
        a.kv = &c->kv[i], a.n_k = n, a.limits = limits, a.stats = &stats;
        if (i) a.out = c->out, a.lse = c->lse;
        laci_backend_attend(r->be, &plan, &a);
        if (i)
            laci_backend_merge(
                r->be, &(laci_merge){ r->out, r->lse, c->out, c->lse, 1, n_q, n_heads, r->c.d });
    }
    for (size_t i = 0; i < N_PIECES; i++) {
        const laci_row_masses rows = { .mass = c->masses[i],
                                       .base = c->bases[i],
                                       .lse = r->lse,
                                       .n_heads = n_heads,
                                       .n_kv_heads = r->c.n_kv_heads,
                                       .n_q = n_q,
                                       .n_blocks = n_blocks(c->begin[i + 1] - c->begin[i], c->page),
                                       .k_block = c->page };
        laci_backend_pool_masses(r->be, &rows, c->pooled, n_blocks(r->c.n_k, c->page),
                                 c->begin[i] / c->page);
    }
    free(limits);
}

/* The same by a second pass over all keys. */
static float *measure_columns(const cut_rig *c)
{
    const attend_rig *r = c->r;
    const size_t n = r->c.n_heads * n_blocks(r->c.n_k, c->page);
    laci_buf *columns = new_floats(r->be, r->c.n_heads * r->c.n_k);
    laci_backend_column_mass(r->be, &r->a, 128, 0, 1, columns);
    laci_backend_pool_columns(r->be, &(laci_column_pages){ columns, r->c.n_heads, r->c.n_k,
                                                           r->c.n_k, c->page, c->pooled,
                                                           n_blocks(r->c.n_k, c->page) });
    float *out = read_floats(r->be, c->pooled, n);
    laci_buf_free(r->be, columns);
    return out;
}

/* Means over queries of the softmax in each page: [n_heads, n_pages]. */
static double *page_means(const attend_rig *r, size_t page)
{
    const size_t n_k = r->c.n_k, n_pages = n_blocks(n_k, page);
    double *out = take(r->c.n_heads * n_pages, sizeof *out);
    for (size_t i = 0; i < n_lse(r) * n_k; i++)
        out[i / n_k / r->c.n_q * n_pages + i % n_k / page] += r->p[i] / (double)r->c.n_q;
    return out;
}

/* Behind pieces, the last of three parts with half a page: against the definition, and the pass by
 * key. Some rows read nothing of the last pieces, and one nothing at all. */
static void masses_of_pieces_equal_the_definition(void **state)
{
    (void)state;
    static const attend_case wide = { 1, 16,           1001,          4, 2, 32, 16, 1001, 1,
                                      1, .density = 1, .limits = true };
    for (size_t i = 0; i < 6; i++) {
        const size_t page = (size_t)16 << i / 2, n = 4 * n_blocks(wide.n_k, page);
        float *before = NULL;
        for (int threads = 1; threads < 4; threads += 2) {
            attend_rig *r = rig_new(&wide, i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, threads, page);
            for (size_t q = 0; q < wide.n_q; q++)
                r->limits[q] = q == 3 ? 0 : q % 4 == 1 ? 200 : UINT32_MAX;
            brute_force(r);
            cut_rig c = cut_new(r, page);
            measure_pieces(&c);
            check_result(r);
            float *got = read_floats(r->be, c.pooled, n), *other = measure_columns(&c);
            double *want = page_means(r, page);
            compare(describe(r), got, want, n, 2 * bound_of(r));
            compare(describe(r), other, want, n, 2 * bound_of(r));
            if (before) compare_bits(describe(r), before, got, n);
            free(before), free(other), free(want);
            before = got;
            cut_free(&c);
            rig_free(r);
        }
        free(before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_statistics_equal_the_definition),
        cmocka_unit_test(bf16_statistics_equal_the_definition),
        cmocka_unit_test(statistics_change_no_bit),
        cmocka_unit_test(threads_change_no_statistic),
        cmocka_unit_test(masses_of_pieces_equal_the_definition),
    };
    run_on_backend(tests);
}
