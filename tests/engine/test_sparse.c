/* test_sparse.c: sparse policies inside whole generations: the two laws (a full budget is dense, a
 * plan is valid), the schedule, guidance, decoding blocks, lengths that are no multiple of a block,
 * and what is reported. */
#include <math.h>

#include "engine/golden.h"
#include "request.h"

#include "attention/plan.h"

static lac_model *model;

static int open_model(void **state)
{
    (void)state;
    const lac_model_options opt = { .dtype = LAC_DTYPE_F32, .n_threads = 2 };
    return lac_model_open(&model, test_path("models/nano-f"), &opt, NULL);
}

static int close_model(void **state)
{
    (void)state;
    lac_model_close(model);
    return 0;
}

/* What the plans of a generation looked like. */
typedef struct {
    int n_plans, n_sparse;
    int first_sparse; /* step, -1 = none */
    int n_passes;     /* that had a sparse plan, as bits */
    double least_kept, least_density;
    uint64_t hash[2]; /* of the first sparse plan of layer 0, by pass */
    bool changed;     /* a later plan of layer 0 is not that one */
} watch;

static uint64_t hash_of(const lac_plan_view *v)
{
    const size_t n_rows = (size_t)v->n_heads * (size_t)v->n_rows;
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < v->row_ptr[n_rows]; i++)
        h = (h ^ v->cols[i]) * 1099511628211u;
    for (size_t i = 0; i <= n_rows; i++)
        h = (h ^ v->row_ptr[i]) * 1099511628211u;
    return h;
}

static void on_plan(void *user, const lac_plan_view *v)
{
    watch *w = user;
    const laci_plan plan = { .q_block = (size_t)v->q_block,
                             .k_block = (size_t)v->k_block,
                             .n_heads = (size_t)v->n_heads,
                             .n_rows = (size_t)v->n_rows,
                             .row_ptr = v->row_ptr,
                             .cols = v->cols };
    lac_error err = { 0 };
    if (laci_plan_validate(&plan, (size_t)v->n_q, (size_t)v->n_k, 4, &err))
        fail_msg("step %d layer %d: %s", v->step, v->layer, err.message);
    const double density = laci_plan_density(&plan, (size_t)v->n_q, (size_t)v->n_k);
    assert_float_equal((float)density, (float)v->density, 1e-6f);
    if (density < w->least_density) w->least_density = density;
    w->n_plans++;
    for (int h = 0; v->kept_mass && h < v->n_heads; h++) {
        assert_true(v->kept_mass[h] > 0 && v->kept_mass[h] < 1.0001f);
        if ((double)v->kept_mass[h] < w->least_kept) w->least_kept = (double)v->kept_mass[h];
    }
    if (v->n_heads == 1) return;
    w->n_sparse++;
    w->n_passes |= 1 << v->pass;
    if (w->first_sparse < 0) w->first_sparse = v->step;
    if (v->layer) return;
    if (!w->hash[v->pass]) w->hash[v->pass] = hash_of(v);
    if (w->hash[v->pass] != hash_of(v)) w->changed = true;
}

/* A generation of 16 tokens that ends a canvas of n, in 16 steps. */
typedef struct {
    const char *sparse, *how; /* knobs that the policy has count; NULL = none */
    int n, block_length;
    float cfg;
} run_case;

enum { N_NEW = 16 };

static watch run(const run_case *c, int32_t *ids, float *logprobs, lac_result *result)
{
    lac_session *session;
    lac_error err = { 0 };
    watch w = { .first_sparse = -1, .least_kept = 1, .least_density = 1 };
    int32_t prompt[2048];
    for (int i = 0; i < c->n; i++)
        prompt[i] = "the small garden behind a river had 17 lamps. "[i % 46];
    const lac_session_options opt = { .n_ctx = c->n,
                                      .sparse =
                                          request_of(c->sparse, false, c->how ? c->how : "") };
    if (lac_session_create(&session, model, &opt, &err)) fail_msg("%s", err.message);
    const lac_generate_options how = { .n_tokens = N_NEW,
                                       .block_length = c->block_length,
                                       .cfg_scale = c->cfg,
                                       .ignore_eos = true,
                                       .on_plan = on_plan,
                                       .user = &w };
    if (lac_generate(session, prompt, (size_t)(c->n - N_NEW), &how, result, &err))
        fail_msg("%s", err.message);
    assert_int_equal(result->n_ids, N_NEW);
    memcpy(ids, result->ids, N_NEW * sizeof *ids);
    memcpy(logprobs, result->logprobs, N_NEW * sizeof *logprobs);
    lac_session_free(session);
    return w;
}

/* ------------------------------------------------------------------ the laws */

static const int lengths[] = { 48, 130, 256, 512 };

static void a_full_budget_is_dense(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        int32_t want[N_NEW], got[N_NEW];
        float want_p[N_NEW], got_p[N_NEW];
        lac_result r;
        run(&(run_case){ .sparse = "off", .n = lengths[i] }, want, want_p, &r);
        assert_float_equal((float)r.kept_mass, 1, 0);
        for (int policy = 0; policy < 5; policy++) {
            const run_case c = {
                .sparse = (const char *const[]){ "sparsed", "sparsed", "window", "streaming",
                                                 "pulsecol" }[policy],
                .how = policy % 2 ? "select=1,skip=0,block=16,mode=reference"
                                  : "select=1,skip=0,block=32",
                .n = lengths[i],
            };
            const watch w = run(&c, got, got_p, &r);
            assert_float_equal((float)w.least_density, 1, 0);
            for (int t = 0; t < N_NEW; t++) {
                assert_int_equal(got[t], want[t]);
                assert_float_equal(got_p[t], want_p[t], 2e-4f);
            }
        }
    }
}

static void plans_are_valid_at_every_length_and_block(void **state)
{
    (void)state;
    static const int blocks[] = { 16, 32, 64, 128 };
    static const char *const names[] = { "sparsed", "fidelity", "window", "streaming", "pulsecol" };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t j = 0; j < 20; j++) {
            int32_t ids[N_NEW];
            float p[N_NEW];
            lac_result r;
            const run_case c = { .sparse = names[j / 4],
                                 .how = text_of("block=%d,mode=%s", blocks[j % 4],
                                                i % 2 ? "reference" : "default"),
                                 .n = lengths[i] };
            const watch w = run(&c, ids, p, &r);
            assert_true(w.n_plans > 0);
            assert_true(lengths[i] < 4 * blocks[j % 4] || w.least_density < 0.9);
        }
    }
}

/* ------------------------------------------------------------------ when */

static watch run_sparsed(const char *how, float cfg, int block_length)
{
    int32_t ids[N_NEW];
    float p[N_NEW];
    lac_result r;
    return run(&(run_case){ "sparsed", text_of("block=16%s%s", *how ? "," : "", how), 300,
                            block_length, cfg },
               ids, p, &r);
}

static void dense_steps_are_as_scheduled(void **state)
{
    (void)state;
    watch w = run_sparsed("skip=0.25", 0, 0);
    assert_int_equal(w.first_sparse, 4);
    assert_false(w.changed);
    w = run_sparsed("skip=0", 0, 0);
    assert_int_equal(w.first_sparse, 1);
    w = run_sparsed("skip=0.25,schedule=reference", 0, 0);
    assert_int_equal(w.first_sparse, 6);
    w = run_sparsed("skip=0.99,schedule=reference", 0, 0);
    assert_int_equal(w.first_sparse, -1);
}

static void patterns_outlive_decoding_blocks_unless_reset(void **state)
{
    (void)state;
    watch w = run_sparsed("skip=0.1", 0, 4);
    assert_int_equal(w.first_sparse, 1);
    assert_false(w.changed);
    assert_int_equal(w.n_sparse, 4 * 15);
    w = run_sparsed("skip=0.1,reset=block", 0, 4);
    assert_true(w.changed);
    assert_int_equal(w.n_sparse, 4 * 12);
    w = run_sparsed("skip=0.1,reset=step", 0, 4);
    assert_int_equal(w.first_sparse, 1);
    assert_true(w.changed);
    assert_int_equal(w.n_sparse, 4 * 15);
}

static void each_pass_of_guidance_has_its_own_pattern(void **state)
{
    (void)state;
    const watch w = run_sparsed("", 1, 0);
    assert_int_equal(w.n_passes, 3);
    assert_false(w.changed);
    assert_true(w.hash[0] != w.hash[1]);
}

/* ------------------------------------------------------------------ what is reported */

static void kept_mass_and_density_are_reported(void **state)
{
    (void)state;
    int32_t ids[N_NEW];
    float p[N_NEW];
    lac_result r;
    const run_case c = { .sparse = "fidelity", .how = "fidelity=0.9,block=16", .n = 512 };
    const watch w = run(&c, ids, p, &r);
    assert_true(r.kept_mass >= 0.9 && r.kept_mass <= 1);
    assert_true(w.least_kept >= 0.9);
    assert_true(r.density < 1);
    run(&(run_case){ .sparse = "window", .n = 512 }, ids, p, &r);
    assert_true(isnan(r.kept_mass));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_budget_is_dense),
        cmocka_unit_test(plans_are_valid_at_every_length_and_block),
        cmocka_unit_test(dense_steps_are_as_scheduled),
        cmocka_unit_test(patterns_outlive_decoding_blocks_unless_reset),
        cmocka_unit_test(each_pass_of_guidance_has_its_own_pattern),
        cmocka_unit_test(kept_mass_and_density_are_reported),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
