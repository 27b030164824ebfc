/* test_exercise.c: a policy that is one file and one line runs like those of the library: chosen by
 * its name and knobs, under both laws, alone, with guidance and in a batch, its statistics and
 * plans reported. */
#include <math.h>

#include "attention/plan.h"
#include "engine/batch_rig.h"

enum { N_CTX = 200 };

static const char nano_f[] = "models/nano-f";

static void its_name_and_knobs_are_known(void **state)
{
    (void)state;
    lac_model *full, *blockwise;
    lac_session *session = NULL;
    lac_error err = { 0 };
    lac_session_options room = { .n_ctx = N_CTX, .sparse = "strided:stride=3" };
    open_model(&full, nano_f, LAC_DTYPE_F32, 1);
    open_model(&blockwise, "models/nano-b", LAC_DTYPE_F32, 1);
    assert_ok(lac_session_create(&session, full, &room, NULL));
    assert_string_equal(lac_session_sparse(session), "strided");
    lac_session_free(session);
    expect(lac_session_create(&session, blockwise, &room, &err), LAC_EINVAL, &err, "losa, quest");
    room.sparse = "strided:select=0.5";
    expect(lac_session_create(&session, full, &room, &err), LAC_EINVAL, &err, "stride, block");
    room.sparse = "stripes";
    expect(lac_session_create(&session, full, &room, &err), LAC_EINVAL, &err, "strided");
    lac_model_close(blockwise);
    lac_model_close(full);
}

static void check_plan(void *user, const lac_plan_view *v)
{
    int *n_plans = user;
    lac_error err = { 0 };
    const laci_plan plan = { .q_block = (size_t)v->q_block,
                             .k_block = (size_t)v->k_block,
                             .n_heads = (size_t)v->n_heads,
                             .n_rows = (size_t)v->n_rows,
                             .row_ptr = v->row_ptr,
                             .cols = v->cols };
    if (laci_plan_validate(&plan, (size_t)v->n_q, (size_t)v->n_k, 1, &err))
        fail_msg("%s", err.message);
    (*n_plans)++;
}

static lac_result run(const lac_model *model, const char *sparse, int32_t *ids, float *logprobs,
                      int *n_plans)
{
    int32_t prompt[150];
    lac_session *session;
    lac_result r;
    const lac_session_options room = { .n_ctx = N_CTX, .sparse = sparse };
    const lac_generate_options opt = {
        .n_tokens = 30, .steps = 10, .ignore_eos = true, .on_plan = check_plan, .user = n_plans
    };
    make_prompt(prompt, 150, 1);
    assert_ok(lac_session_create(&session, model, &room, NULL));
    assert_ok(lac_generate(session, prompt, 150, &opt, &r, NULL));
    assert_int_equal(r.n_ids, 30);
    memcpy(ids, r.ids, 30 * sizeof *ids);
    memcpy(logprobs, r.logprobs, 30 * sizeof *logprobs);
    lac_session_free(session);
    return r;
}

static void it_keeps_both_laws(void **state)
{
    (void)state;
    int32_t want[30], got[30];
    float a[30], b[30];
    int n_plans = 0;
    lac_model *model;
    open_model(&model, nano_f, LAC_DTYPE_F32, 2);
    (void)run(model, "off", want, a, &n_plans);
    const lac_result whole = run(model, "strided:stride=1", got, b, &n_plans);
    assert_true(whole.density >= 1 && whole.kept_mass >= 1);
    assert_memory_equal(want, got, sizeof want);
    for (size_t i = 0; i < 30; i++)
        assert_true(fabsf(a[i] - b[i]) < 1e-4f);
    n_plans = 0;
    const lac_result part = run(model, "strided", got, b, &n_plans);
    assert_true(part.density > 0.2 && part.density < 0.8 && isnan(part.kept_mass));
    assert_int_equal(n_plans, 4 * part.forwards);
    lac_model_close(model);
}

/* Canvases of one length whose prompts end in other blocks have plans of their own. */
static void a_batch_gives_the_same(void **state)
{
    (void)state;
    static outcome alone[4], together[4];
    static const request requests[] = {
        { 150, 1, 0, 0, { .n_tokens = 10, .ignore_eos = true } },
        { 60, 2, 0, 0, { .n_tokens = 100, .steps = 9, .ignore_eos = true } },
        { 20, 3, 1, 0, { .n_tokens = 140, .steps = 7, .cfg_scale = 1, .ignore_eos = true } },
        { 90, 4, 2, 0, { .n_tokens = 20, .seed = 5, .temperature = 1 } },
    };
    lac_model *model;
    const lac_session_options room = { .n_ctx = N_CTX, .sparse = "strided" };
    open_model(&model, nano_f, LAC_DTYPE_F32, 1);
    for (size_t i = 0; i < 4; i++)
        run_alone(model, &room, &requests[i], &alone[i]);
    (void)run_together(model, &room, requests, 4, 3, together);
    for (size_t i = 0; i < 4; i++)
        check_same("strided", i, &alone[i], &together[i]);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_name_and_knobs_are_known),
        cmocka_unit_test(it_keeps_both_laws),
        cmocka_unit_test(a_batch_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
