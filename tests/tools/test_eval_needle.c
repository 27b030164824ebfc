/* test_eval_needle.c: a test of the tests: the bundled model answers kv and niah, no longer does
 * once no query may read the blocks that hold the needle, and still does when as many other blocks
 * are taken away. A task that a model passes without seeing the needle would measure nothing. */
#include "attention/policy.h"
#include "engine/golden.h"
#include "engine/session.h"
#include "eval/eval_canvas.h"
#include "eval/eval_score.h"
#include "request.h"

enum { CTX = 512, BLOCK = 32, N_SAMPLES = 10 };

/* Key blocks that no query reads. */
static size_t hidden_begin, hidden_end;

static lac_status begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)state, (void)shape, (void)err;
    return LAC_OK;
}

static lac_status hide(void *state, laci_backend *be, const laci_moment *at,
                       const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    (void)state, (void)be, (void)in;
    const size_t n = (at->n_k + BLOCK - 1) / BLOCK;
    lac_status st = LAC_OK;
    laci_plan_begin(out, BLOCK, BLOCK, 1, n);
    for (size_t row = 0; row < n && !st; row++) {
        if (hidden_begin > 0) st = laci_plan_add(out, 0, hidden_begin, err);
        if (!st && hidden_end < n) st = laci_plan_add(out, hidden_end, n, err);
        laci_plan_end_row(out);
    }
    return st;
}

static const laci_policy hiding = { .name = "hiding", .begin = begin, .plan = hide };

/* Exact answers of N_SAMPLES; `how` 0 hides nothing, 1 the needle, 2 as many blocks elsewhere. */
static int n_right(const lac_model *model, lac_session *session, const char *task, int how)
{
    const eval_encoding encoding = { .model = model };
    const lac_generate_options one_step = { .steps = 1 };
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    int n = 0;
    for (int i = 0; i < N_SAMPLES; i++) {
        const eval_request r = { 1, CTX, i, EVAL_STRATIFIED, eval_haystack_builtin() };
        lac_error err = { 0 };
        lac_result result;
        char *text;
        size_t n_text;
        assert_int_equal(eval_canvas_fit(&c, &s, &encoding, eval_task_find(task), &r), 0);
        hidden_begin = (size_t)c.needles[0].begin / BLOCK;
        hidden_end = (size_t)(c.needles[0].end - 1) / BLOCK + 1;
        const size_t shift = hidden_begin < 6 ? hidden_end : (size_t)-2;
        if (how == 2) hidden_begin += shift, hidden_end += shift;
        if (how == 0) hidden_end = hidden_begin;
        if (lac_generate(session, c.ids, c.n, &one_step, &result, &err))
            fail_msg("%s", err.message);
        if (lac_model_decode(model, result.ids, result.n_ids, false, &text, &n_text, &err))
            fail_msg("%s", err.message);
        n += eval_is_exact(text, n_text, s.answer.data, s.answer.n);
        lac_model_free_text(model, text);
    }
    eval_sample_free(&s);
    eval_canvas_free(&c);
    return n;
}

static void answers_need_the_needle(void **state)
{
    (void)state;
    lac_model *model;
    lac_session *session;
    lac_error err = { 0 };
    const lac_model_options open = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
    const lac_session_options room = { .n_ctx = CTX, .sparse = text_of("window:block=%d", BLOCK) };
    if (lac_model_open(&model, test_path("models/nano-f"), &open, &err))
        fail_msg("%s", err.message);
    if (lac_session_create(&session, model, &room, &err)) fail_msg("%s", err.message);
    session->policy = &hiding; /* a plan with room for every block is there already */
    static const char *const tasks[] = { "kv", "niah" };
    for (size_t t = 0; t < 2; t++) {
        assert_true(n_right(model, session, tasks[t], 0) >= N_SAMPLES - 1);
        assert_true(n_right(model, session, tasks[t], 1) == 0);
        assert_true(n_right(model, session, tasks[t], 2) >= N_SAMPLES - 3);
    }
    lac_session_free(session);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(answers_need_the_needle) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
