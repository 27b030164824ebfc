/* test_callbacks.c: what a callback may do while its generation runs: the session itself refuses,
 * says why and is not disturbed; other sessions of the model may be used. */
#include "engine/golden.h"

enum { N_PROMPT = 10, N_NEW = 20, N_CTX = 64, MAX_VOCAB = 400 };

/* Where the session is used from inside. */
typedef enum { IN_NOTHING, IN_STEP, IN_PLAN, IN_LOGITS } place;

typedef struct {
    lac_session *session, *other;
    place from;
    int n_tried;
} intruder;

static void fill_prompt(int32_t *ids)
{
    for (int i = 0; i < N_PROMPT; i++)
        ids[i] = 50 + i;
}

/* Every public function that runs a session, from inside one of its callbacks. */
static void intrude(intruder *in)
{
    static float logits[MAX_VOCAB];
    const lac_generate_options how = { .n_tokens = 3 };
    const int32_t row = 2;
    int32_t ids[N_PROMPT];
    lac_result r = { .n_ids = 77 };
    lac_error err = { 0 };
    fill_prompt(ids);
    logits[0] = 5;
    assert_int_equal(lac_generate(in->session, ids, N_PROMPT, &how, &r, &err), LAC_EINVAL);
    assert_non_null(strstr(err.message, "callback"));
    assert_int_equal(r.n_ids, 77);
    err = (lac_error){ 0 };
    assert_int_equal(lac_session_logits(in->session, ids, N_PROMPT, &row, 1, 0, logits, &err),
                     LAC_EINVAL);
    assert_non_null(strstr(err.message, "callback"));
    assert_true(logits[0] == 5);
    if (!in->n_tried++) {
        assert_ok(lac_generate(in->other, ids, N_PROMPT, &how, &r, NULL));
        assert_ok(lac_session_logits(in->other, ids, N_PROMPT, &row, 1, 0, logits, NULL));
    }
}

static int on_step(void *user, const lac_step *step)
{
    intruder *in = user;
    (void)step;
    if (in->from == IN_STEP) intrude(in);
    return 0;
}

static void on_plan(void *user, const lac_plan_view *plan)
{
    intruder *in = user;
    (void)plan;
    if (in->from == IN_PLAN) intrude(in);
}

static void on_logits(void *user, const lac_logits_view *view)
{
    intruder *in = user;
    (void)view;
    if (in->from == IN_LOGITS) intrude(in);
}

/* The ids of a run whose session is used from `from`. */
static void run(intruder *in, place from, int32_t out[N_NEW])
{
    int32_t ids[N_PROMPT];
    lac_result r;
    lac_error err = { 0 };
    const lac_generate_options how = { .n_tokens = N_NEW,
                                       .ignore_eos = true,
                                       .on_step = on_step,
                                       .on_plan = on_plan,
                                       .on_logits = on_logits,
                                       .user = in };
    fill_prompt(ids);
    in->from = from;
    in->n_tried = 0;
    if (lac_generate(in->session, ids, N_PROMPT, &how, &r, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.n_ids, N_NEW);
    memcpy(out, r.ids, N_NEW * sizeof *out);
    assert_true(from == IN_NOTHING || in->n_tried > 0);
}

static void a_running_session_refuses_its_own_callbacks(void **state)
{
    (void)state;
    static const struct {
        const char *path, *sparse;
        place places[3];
        int n_places;
    } cases[] = {
        { "models/nano-f", "sparsed", { IN_STEP, IN_PLAN, IN_LOGITS }, 3 },
        { "models/nano-b", "off", { IN_STEP, IN_LOGITS }, 2 },
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const lac_session_options room = { .n_ctx = N_CTX, .sparse = cases[c].sparse };
        const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
        int32_t undisturbed[N_NEW], ids[N_NEW];
        lac_model *model;
        intruder in = { 0 };
        assert_ok(lac_model_open(&model, test_path(cases[c].path), &how, NULL));
        assert_ok(lac_session_create(&in.session, model, &room, NULL));
        assert_ok(lac_session_create(&in.other, model, &room, NULL));
        run(&in, IN_NOTHING, undisturbed);
        for (int p = 0; p < cases[c].n_places; p++) {
            run(&in, cases[c].places[p], ids);
            assert_memory_equal(ids, undisturbed, sizeof ids);
        }
        lac_session_free(in.other);
        lac_session_free(in.session);
        lac_model_close(model);
    }
}

/* A run that was refused or stopped leaves the session free for the next. */
static void a_session_is_free_after_any_end(void **state)
{
    (void)state;
    lac_model *model;
    lac_session *session;
    lac_result r;
    int32_t ids[N_PROMPT];
    const lac_generate_options bad = { .n_tokens = N_CTX + 1 }, good = { .n_tokens = 4 };
    golden_session(&model, &session, test_path("models/nano-f"), LAC_DTYPE_F32, 1, N_CTX);
    fill_prompt(ids);
    assert_int_equal(lac_generate(session, ids, N_PROMPT, &bad, &r, NULL), LAC_ECONTEXT);
    assert_ok(lac_generate(session, ids, N_PROMPT, &good, &r, NULL));
    lac_session_free(session);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_session_refuses_its_own_callbacks),
        cmocka_unit_test(a_session_is_free_after_any_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
