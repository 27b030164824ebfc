/* test_replay.c: the logits a step shows, and replayed trajectories: a run that repeats its own
 * decisions is the same run, other decisions are obeyed, and what makes no sense is refused. */
#include <math.h>

#include "engine/golden.h"

#define NANO test_path("models/nano-f")

enum { N_NEW = 8, N_MOST = 256, N_VOCAB = 272 };

static const char prompt[] = "lamp: 1234\nriver: 8051\nstone: 7777\nWhat is river? ";

/* What one run showed. */
typedef struct {
    float logits[N_NEW * N_NEW * N_VOCAB];
    int32_t position[N_NEW * N_NEW];
    int step[N_NEW * N_NEW];
    size_t n;
} seen;

static void on_logits(void *user, const lac_logits_view *view)
{
    seen *s = user;
    assert_int_equal(view->n_vocab, N_VOCAB);
    for (int i = 0; i < view->n_rows; i++, s->n++) {
        assert_true(s->n < N_NEW * N_NEW);
        s->step[s->n] = view->step;
        s->position[s->n] = view->position[i];
        memcpy(s->logits + s->n * N_VOCAB, view->logits + i * N_VOCAB, N_VOCAB * sizeof(float));
    }
}

static size_t canvas_of(int32_t *ids)
{
    for (size_t i = 0; i < sizeof prompt - 1; i++)
        ids[i] = (unsigned char)prompt[i];
    return sizeof prompt - 1;
}

static void run(lac_session *session, const lac_generate_options *opt, lac_result *out)
{
    int32_t ids[N_MOST];
    lac_error err = { 0 };
    if (lac_generate(session, ids, canvas_of(ids), opt, out, &err)) fail_msg("%s", err.message);
}

/* A run copied out of the session. */
typedef struct {
    int32_t canvas[N_MOST], steps[N_MOST];
    float logprobs[N_NEW + 1];
    size_t n, n_ids;
} trajectory;

static void keep(const lac_result *r, trajectory *t)
{
    t->n = r->n_canvas;
    t->n_ids = r->n_ids;
    memcpy(t->canvas, r->canvas, r->n_canvas * sizeof *t->canvas);
    for (size_t i = 0; i < r->n_canvas; i++)
        t->steps[i] = -1;
    for (size_t i = 0; i < r->n_ids; i++)
        t->steps[r->position[i]] = r->step_map[i];
    memcpy(t->logprobs, r->logprobs, r->n_ids * sizeof *t->logprobs);
}

static lac_generate_options options_of(const trajectory *t, seen *s)
{
    return (lac_generate_options){ .n_tokens = N_NEW,
                                   .ignore_eos = true,
                                   .on_logits = s ? on_logits : NULL,
                                   .user = s,
                                   .replay_ids = t ? t->canvas : NULL,
                                   .replay_steps = t ? t->steps : NULL,
                                   .n_replay = t ? t->n : 0 };
}

static void a_run_replayed_is_the_same_run(void **state)
{
    (void)state;
    static seen first, second;
    static trajectory t;
    lac_model *model;
    lac_session *session;
    lac_result r;
    golden_session(&model, &session, NANO, LAC_DTYPE_F32, 2, 0);
    first.n = second.n = 0;
    lac_generate_options opt = options_of(NULL, &first);
    run(session, &opt, &r);
    keep(&r, &t);
    assert_int_equal(first.n, N_NEW * (N_NEW + 1) / 2);
    opt = options_of(&t, &second);
    run(session, &opt, &r);
    assert_int_equal(r.n_ids, t.n_ids);
    assert_memory_equal(r.canvas, t.canvas, t.n * sizeof *t.canvas);
    assert_memory_equal(r.logprobs, t.logprobs, t.n_ids * sizeof *t.logprobs);
    for (size_t i = 0; i < r.n_ids; i++)
        assert_int_equal(r.step_map[i], t.steps[r.position[i]]);
    assert_int_equal(first.n, second.n);
    assert_memory_equal(&first, &second, sizeof first);
    lac_session_free(session);
    lac_model_close(model);
}

/* At temperature 0 a position takes the best allowed token of the row that was shown; the rows of
 * the first step are those of lac_session_logits. */
static void rows_shown_are_what_was_decided_from(void **state)
{
    (void)state;
    static seen s;
    static trajectory t;
    lac_model *model;
    lac_session *session;
    lac_result r;
    int32_t ids[N_MOST], rows[N_NEW];
    static float logits[N_NEW * N_VOCAB];
    lac_error err = { 0 };
    golden_session(&model, &session, NANO, LAC_DTYPE_F32, 2, 0);
    s.n = 0;
    const lac_generate_options opt = options_of(NULL, &s);
    run(session, &opt, &r);
    keep(&r, &t);
    for (size_t i = 0; i < s.n; i++) {
        const float *row = s.logits + i * N_VOCAB;
        int best = 0;
        for (int v = 1; v < 260; v++)
            if (v != 256 && row[v] > row[best]) best = v;
        if (t.steps[s.position[i]] == s.step[i]) assert_int_equal(t.canvas[s.position[i]], best);
    }
    const size_t n = canvas_of(ids);
    for (int i = 0; i < N_NEW; i++) {
        ids[n + (size_t)i] = LAC_HOLE;
        rows[i] = (int32_t)n + i;
    }
    if (lac_session_logits(session, ids, n + N_NEW, rows, N_NEW, 0, logits, &err))
        fail_msg("%s", err.message);
    assert_memory_equal(logits, s.logits, sizeof logits);
    lac_session_free(session);
    lac_model_close(model);
}

static void other_decisions_are_obeyed(void **state)
{
    (void)state;
    static trajectory t;
    lac_model *model;
    lac_session *session;
    lac_result r;
    golden_session(&model, &session, NANO, LAC_DTYPE_F32, 2, 0);
    const size_t n = sizeof prompt - 1;
    t.n = n + N_NEW;
    for (size_t i = 0; i < t.n; i++) {
        t.canvas[i] = i < n ? prompt[i] : 'a' + (int)(i - n);
        t.steps[i] = i < n ? -1 : (int)(i - n) / 2; /* two positions a step, from the left */
    }
    t.steps[n + 7] = 99; /* a step that never comes */
    const lac_generate_options opt = options_of(&t, NULL);
    run(session, &opt, &r);
    assert_int_equal(r.n_ids, N_NEW - 1);
    for (size_t i = 0; i < r.n_ids; i++) {
        assert_int_equal(r.ids[i], 'a' + (int)i);
        assert_int_equal(r.step_map[i], (int)i / 2);
    }
    assert_int_equal(r.canvas[n + 7], LAC_HOLE);
    assert_true(isnan(r.logprobs[0])); /* the model's own choice is a digit */
    lac_session_free(session);
    lac_model_close(model);
}

/* Of a last block only what was asked for is replayed, steps behind the last included. */
static void a_run_that_ends_inside_a_block_replayed_is_the_same_run(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        lac_generate_options opt;
    } cases[] = {
        { "tests/golden/sdar", { .block_steps = 2 } },
        { "tests/golden/sdar",
          { .algorithm = LAC_ALGORITHM_CONFIDENCE_THRESHOLD, .block_steps = 1 } },
        { "tests/golden/fast-dllm", { .threshold = 0.05f } },
        { "tests/golden/dream", { .algorithm = LAC_ALGORITHM_CONFIDENCE_THRESHOLD, .steps = 2 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static trajectory t;
        lac_model *model;
        lac_session *session;
        lac_result r;
        golden_session(&model, &session, test_path(cases[i].model), LAC_DTYPE_F32, 1, 64);
        lac_generate_options opt = cases[i].opt;
        opt.n_tokens = N_NEW + 1;
        opt.ignore_eos = true;
        const int32_t ids[] = { 9, 8, 7, 6, 5, 4 };
        assert_ok(lac_generate(session, ids, 6, &opt, &r, NULL));
        keep(&r, &t);
        const int steps = r.steps;
        assert_int_equal(t.n_ids, N_NEW + 1);
        opt.replay_ids = t.canvas;
        opt.replay_steps = t.steps;
        opt.n_replay = t.n;
        assert_ok(lac_generate(session, ids, 6, &opt, &r, NULL));
        assert_int_equal(r.n_ids, t.n_ids);
        assert_int_equal(r.steps, steps);
        assert_memory_equal(r.canvas, t.canvas, t.n * sizeof *t.canvas);
        assert_memory_equal(r.logprobs, t.logprobs, t.n_ids * sizeof *t.logprobs);
        for (size_t k = 0; k < t.n; k++) /* of a step that never comes nothing is waited for */
            if (t.steps[k] >= 0) t.steps[k] = 9999;
        assert_ok(lac_generate(session, ids, 6, &opt, &r, NULL));
        lac_session_free(session);
        lac_model_close(model);
    }
}

static void senseless_replays_are_refused(void **state)
{
    (void)state;
    static trajectory t;
    lac_model *model;
    lac_session *session;
    lac_result r = { .n_ids = 77 };
    int32_t ids[N_MOST];
    golden_session(&model, &session, NANO, LAC_DTYPE_F32, 1, 0);
    const size_t n = canvas_of(ids);
    memset(&t, 0, sizeof t);
    for (int c = 0; c < 4; c++) {
        lac_error err = { 0 };
        t.n = n + N_NEW;
        t.canvas[3] = 0;
        lac_generate_options opt = options_of(&t, NULL);
        if (c == 0) opt.n_replay--;
        if (c == 1) opt.replay_ids = NULL;
        if (c == 2) opt.replay_steps = NULL;
        if (c == 3) t.canvas[3] = 9999;
        assert_int_equal(lac_generate(session, ids, n, &opt, &r, &err), LAC_EINVAL);
        assert_non_null(strstr(err.message, "replay"));
        assert_int_equal(r.n_ids, 77);
    }
    lac_session_free(session);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_replayed_is_the_same_run),
        cmocka_unit_test(rows_shown_are_what_was_decided_from),
        cmocka_unit_test(other_decisions_are_obeyed),
        cmocka_unit_test(a_run_that_ends_inside_a_block_replayed_is_the_same_run),
        cmocka_unit_test(senseless_replays_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
