/* test_measure.c: the knob measure: masses come with the plans of passes that measure,
 * are shares of a softmax, and cost the output nothing. */
#include <math.h>

#include "engine/golden.h"
#include "request.h"

enum { N_NEW = 8, N = 130, BLOCK = 32, N_BLOCKS = 5, N_HEADS = 4, N_LAYERS = 4 };

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

typedef struct {
    int n_measured[N_NEW]; /* layers of each step with masses */
    double least_row, most_row;
    double kept;  /* of the last plan with patterns, from the masses of the step that made it */
    double shown; /* the same as the policy says */
    float mass[N_LAYERS][N_HEADS * N_BLOCKS * N_BLOCKS];
} watch;

/* Mass that head 0 keeps by the masses of the step that measured, mean over its queries. */
static double kept_by(const lac_plan_view *v, const float *mass)
{
    double sum = 0;
    for (int row = 0; row < v->n_rows; row++) {
        const int left = v->n_q - row * BLOCK;
        double kept = 0;
        for (uint32_t i = v->row_ptr[row]; i < v->row_ptr[row + 1]; i++)
            kept += (double)mass[row * N_BLOCKS + (int)v->cols[i]];
        sum += kept * (left < BLOCK ? left : BLOCK);
    }
    return sum / v->n_q;
}

static void on_plan(void *user, const lac_plan_view *v)
{
    watch *w = user;
    if (v->mass) {
        assert_int_equal(v->mass_block, BLOCK);
        w->n_measured[v->step]++;
        memcpy(w->mass[v->layer], v->mass, sizeof w->mass[0]);
        for (int row = 0; row < N_HEADS * N_BLOCKS; row++) {
            double sum = 0;
            for (int col = 0; col < N_BLOCKS; col++)
                sum += (double)v->mass[row * N_BLOCKS + col];
            w->least_row = fmin(w->least_row, sum);
            w->most_row = fmax(w->most_row, sum);
        }
    }
    if (v->n_heads == 1 || !v->kept_mass) return;
    w->kept = kept_by(v, w->mass[v->layer]);
    w->shown = (double)v->kept_mass[0];
    assert_true(fabs(w->kept - w->shown) < 1e-4);
}

static void run(const char *policy, bool measure, watch *w, int32_t *ids)
{
    lac_session *session;
    lac_error err = { 0 };
    lac_result result;
    int32_t prompt[N];
    *w = (watch){ .least_row = 1, .most_row = 1 };
    for (int i = 0; i < N; i++)
        prompt[i] = "the small garden behind a river had 17 lamps. "[i % 46];
    const char *knobs = text_of("block=%d,skip=0.25,measure=%s", BLOCK, measure ? "on" : "off");
    const lac_session_options opt = { .n_ctx = N, .sparse = request_of(policy, false, knobs) };
    if (lac_session_create(&session, model, &opt, &err)) fail_msg("%s", err.message);
    const lac_generate_options generate = {
        .n_tokens = N_NEW, .ignore_eos = true, .on_plan = on_plan, .user = w
    };
    if (lac_generate(session, prompt, N - N_NEW, &generate, &result, &err))
        fail_msg("%s", err.message);
    memcpy(ids, result.ids, N_NEW * sizeof *ids);
    lac_session_free(session);
}

static watch seen; /* large */

static void dense_measures_every_step(void **state)
{
    (void)state;
    int32_t want[N_NEW], got[N_NEW];
    run("off", false, &seen, want);
    for (int step = 0; step < N_NEW; step++)
        assert_int_equal(seen.n_measured[step], 0);
    run("off", true, &seen, got);
    for (int step = 0; step < N_NEW; step++)
        assert_int_equal(seen.n_measured[step], N_LAYERS);
    if (!(seen.least_row > 1 - 1e-4 && seen.most_row < 1 + 1e-4))
        fail_msg("rows hold %g to %g of the softmax", seen.least_row, seen.most_row);
    assert_memory_equal(got, want, sizeof got);
}

static void sparsed_shows_what_it_measures(void **state)
{
    (void)state;
    int32_t got[N_NEW];
    run("sparsed", true, &seen, got);
    for (int step = 0; step < N_NEW; step++) /* a quarter of 8 steps is dense, the last measures */
        assert_int_equal(seen.n_measured[step], step == 1 ? N_LAYERS : 0);
    assert_true(seen.kept > 0 && seen.shown > 0);
    run("window", true, &seen, got);
    for (int step = 0; step < N_NEW; step++)
        assert_int_equal(seen.n_measured[step], 0);
}

static void its_memory_is_planned(void **state)
{
    (void)state;
    lac_memory_plan without, with;
    lac_session_options opt = { .n_ctx = N, .sparse = text_of("off:block=%d", BLOCK) };
    assert_ok(lac_session_plan_memory(model, &opt, &without, NULL));
    opt.sparse = text_of("off:block=%d,measure=on", BLOCK);
    assert_ok(lac_session_plan_memory(model, &opt, &with, NULL));
    assert_true(with.bytes_workspace >= without.bytes_workspace + 2 * sizeof seen.mass[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_measures_every_step),
        cmocka_unit_test(sparsed_shows_what_it_measures),
        cmocka_unit_test(its_memory_is_planned),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
