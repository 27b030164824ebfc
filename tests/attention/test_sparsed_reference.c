/* test_sparsed_reference.c: SparseD's published selection and the attention it leads to, against an
 * independent implementation in double precision (tests/reference/make_sparsed.py): the policy in
 * `reference` mode, fed by the statistics of a dense pass. Blocks of equal mass may differ, so
 * masks are compared by the mass they keep. */
#include <math.h>

#include "backend/attend_rig.h"
#include "engine/golden.h"
#include "request.h"

#include "attention/policy.h"

enum { N_STEPS = 8 };

/* One case under way. */
typedef struct {
    attend_rig *rig;
    laci_sparse sparse;
    laci_shape shape;
    laci_read_stats stats;
    const laci_policy *policy;
    void *state;
    laci_plan_store plan;
    laci_measures measures;
    laci_moment at;
} bench;

static size_t number(const laci_jval *c, const char *key)
{
    return (size_t)laci_json_number(golden_get(c, key));
}

static void begin(bench *b, const laci_jval *c)
{
    const size_t n = number(c, "length"), block = number(c, "block");
    const bool is_llada = !strcmp(laci_json_string(golden_get(c, "scoring")), "llada");
    const attend_case a = { .n_batch = 1,
                            .n_q = n,
                            .n_k = n,
                            .n_heads = number(c, "n_heads"),
                            .n_kv_heads = number(c, "n_kv_heads"),
                            .d = number(c, "d"),
                            .q_block = n,
                            .k_block = n,
                            .n_patterns = 1,
                            .density = 1 };
    const char *request = text_of("sparsed:mode=reference,skip=0,select=%.17g,block=%zu",
                                  laci_json_number(golden_get(c, "select")), block);
    const laci_policy_model model = { .kind = LACI_FULL,
                                      .family = is_llada ? "llada" : "dream",
                                      .is_dream = !is_llada,
                                      .n_heads = a.n_heads,
                                      .d_head = a.d,
                                      .n_ctx = n };
    char reason[LACI_REASON];
    laci_settings settings;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_policy_sizes sizes;
    *b = (bench){ .at = {
                      .n_steps = N_STEPS, .n_q = n, .n_k = n, .prompt_end = number(c, "prompt") } };
    assert_ok(laci_policy_choose(&b->policy, &settings, request, &model, reason, NULL));
    b->sparse = settings.sparse;
    assert_int_equal(b->sparse.doubled, is_llada);
    b->shape = (laci_shape){ .n_layers = 1,
                             .n_heads = a.n_heads,
                             .n_kv_heads = a.n_kv_heads,
                             .d_head = a.d,
                             .n_ctx = n,
                             .n_passes = 1,
                             .sparse = &b->sparse };
    b->rig = rig_new(&a, LAC_DTYPE_F32, 2, block);
    assert_ok(b->policy->sizes(&b->shape, &sizes, NULL));
    b->state = take(sizes.state_bytes, 1);
    assert_ok(b->policy->begin(b->state, &b->shape, NULL));
    assert_ok(laci_plan_reserve(&b->plan, sizes.plan_rows, sizes.plan_cols, &mem, NULL));
    b->measures.mass = new_floats(b->rig->be, sizes.measures.mass_floats);
    b->measures.late = new_floats(b->rig->be, sizes.measures.late_floats);
}

static void end(bench *b)
{
    laci_buf_free(b->rig->be, b->measures.mass);
    laci_buf_free(b->rig->be, b->measures.late);
    laci_plan_clear(&b->plan);
    rig_free(b->rig);
    free(b->state);
}

/* One step of the one layer, as the engine runs it. */
static void step(bench *b, int number_of_step, bool measured)
{
    laci_request request = { 0 };
    laci_attention a = b->rig->a;
    const laci_plan_input in = {
        .q = a.q, .measures = &b->measures, .request = &request, .is_last = true
    };
    b->at.step = number_of_step;
    assert_ok(b->policy->plan(b->state, b->rig->be, &b->at, &in, &b->plan, NULL));
    assert_ok(laci_plan_validate(&b->plan.plan, a.n_q, a.n_k, a.n_heads, NULL));
    assert_int_equal(request.stats, measured);
    if (measured) a.stats = &request.mass;
    laci_backend_attend(b->rig->be, &b->plan.plan, &a);
    const laci_observation seen = { .in = &in, .plan = &b->plan.plan, .attention = &a };
    assert_ok(b->policy->observe(b->state, b->rig->be, &b->at, &seen, NULL));
    b->policy->report(b->state, b->rig->be, &b->at, &seen, NULL, &b->stats);
}

/* Blocks that differ from the golden mask; they are few, and keep as much. */
static void check_masks(const bench *b, const laci_jval *c)
{
    const laci_plan *plan = &b->plan.plan;
    const size_t n = plan->n_rows;
    const float *kept = b->stats.head_kept;
    const laci_jval *mask = laci_json_first(golden_get(c, "mask"));
    const laci_jval *want = laci_json_first(golden_get(c, "kept"));
    for (size_t head = 0; head < plan->n_heads; head++) {
        const char *bits = laci_json_string(mask);
        size_t n_kept = 0, n_same = 0;
        for (size_t i = 0; i < n * n; i++)
            n_kept += bits[i] == '1';
        for (size_t row = 0; row < n; row++) {
            const size_t at = head * n + row;
            for (uint32_t i = plan->row_ptr[at]; i < plan->row_ptr[at + 1]; i++)
                n_same += bits[row * n + plan->cols[i]] == '1';
        }
        assert_int_equal(plan->row_ptr[(head + 1) * n] - plan->row_ptr[head * n], n_kept);
        if (n_same * 100 < n_kept * 99)
            fail_msg("head %zu: %zu of %zu blocks are the same", head, n_same, n_kept);
        if (!(fabs((double)kept[head] - laci_json_number(want)) < 1e-5))
            fail_msg("head %zu keeps %.7f, golden %.7f", head, (double)kept[head],
                     laci_json_number(want));
        mask = laci_json_next(mask);
        want = laci_json_next(want);
    }
}

static void check_output(const bench *b, const laci_jval *c)
{
    const size_t n_heads = b->shape.n_heads, d = b->shape.d_head;
    float *out = read_out(b->rig);
    double error = 0, size = 0;
    const laci_jval *v = laci_json_first(golden_get(c, "out"));
    for (size_t head = 0; head < n_heads; head++) {
        for (const laci_jval *r = laci_json_first(golden_get(c, "rows")); r;
             r = laci_json_next(r)) {
            const size_t row = (size_t)laci_json_number(r);
            for (size_t i = 0; i < d; i++, v = laci_json_next(v)) {
                const double want = laci_json_number(v);
                const double got = (double)out[(row * n_heads + head) * d + i];
                error += (got - want) * (got - want);
                size += want * want;
            }
        }
    }
    free(out);
    if (!(sqrt(error / size) < 1e-4)) fail_msg("output: relative error %g", sqrt(error / size));
}

static void reference_mode_is_the_published_code(void **state)
{
    (void)state;
    int n_cases = 0;
    laci_json *doc = golden_open(test_path("tests/golden/sparsed.json"));
    const laci_jval *list = golden_get(laci_json_root(doc), "cases");
    for (const laci_jval *c = laci_json_first(list); c; c = laci_json_next(c), n_cases++) {
        bench b;
        begin(&b, c);
        step(&b, 0, false); /* skip 0 leaves two dense steps; the second measures */
        step(&b, 1, true);
        step(&b, 2, false);
        check_masks(&b, c);
        check_output(&b, c);
        end(&b);
    }
    assert_true(n_cases >= 9);
    laci_json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(reference_mode_is_the_published_code) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
