/* test_cuda_waits.c: how often a step waits for the device. Behind a key cache, rows and pages are
 * chosen on the device, so the number does not grow with the layers; a caller who watches plans
 * needs them on the host and waits in every layer, for the same tokens and the same statistics. On
 * the emulator only, which counts. */
#include "emulator/device.h"
#include "request.h"

#include "lacuna.h"

enum { MOST_STEPS = 64, N_TOKENS = 14 };

static const char prompt[] = "One of the special magic numbers for garden is: 4417. "
                             "What is the number for garden? ";

/* One generation: what each step reported, and how often the device was waited for. */
typedef struct {
    lac_step steps[MOST_STEPS];
    unsigned waits[MOST_STEPS], last; /* last: the device's count at the end of the step before */
    size_t n_steps, n_plans;
    int32_t ids[N_TOKENS];
} run;

static int see_step(void *user, const lac_step *step)
{
    run *r = user;
    assert_true(r->n_steps < MOST_STEPS);
    r->steps[r->n_steps] = *step;
    r->waits[r->n_steps++] = laci_emulator_waits - r->last;
    r->last = laci_emulator_waits;
    return 0;
}

static void see_plan(void *user, const lac_plan_view *plan)
{
    (void)plan;
    ((run *)user)->n_plans++;
}

static lac_session *open_session(lac_model **model, const char *sparse)
{
    const lac_model_options opt = { .dtype = LAC_DTYPE_F32, .backend = "cuda" };
    const lac_session_options room = { .n_ctx = 160, .sparse = sparse };
    lac_session *session = NULL;
    lac_error err = { 0 };
    if (lac_model_open(model, test_path("models/nano-b"), &opt, &err) ||
        lac_session_create(&session, *model, &room, &err))
        fail_msg("%s", err.message);
    return session;
}

static void generate(lac_session *session, bool is_watched, run *out)
{
    int32_t ids[sizeof prompt];
    lac_result result;
    *out = (run){ .last = laci_emulator_waits };
    const lac_generate_options opt = { .n_tokens = N_TOKENS,
                                       .threshold = 0.7f,
                                       .ignore_eos = true,
                                       .on_step = see_step,
                                       .on_plan = is_watched ? see_plan : NULL,
                                       .user = out };
    for (size_t i = 0; prompt[i]; i++)
        ids[i] = (unsigned char)prompt[i];
    assert_ok(lac_generate(session, ids, strlen(prompt), &opt, &result, NULL));
    assert_int_equal(result.n_ids, N_TOKENS);
    memcpy(out->ids, result.ids, sizeof out->ids);
}

static double apart(double a, double b)
{
    return a > b ? a - b : b - a;
}

static void compare_steps(const run *a, const run *b)
{
    double least = 1;
    assert_int_equal(a->n_steps, b->n_steps);
    assert_memory_equal(a->ids, b->ids, sizeof a->ids);
    for (size_t i = 0; i < a->n_steps; i++) {
        const lac_step *x = &a->steps[i], *y = &b->steps[i];
        assert_int_equal(x->bytes_read, y->bytes_read);
        assert_true(apart(x->density, y->density) < 1e-12);
        assert_true(apart(x->n_active, y->n_active) < 1e-12);
        assert_true(apart(x->union_inflation, y->union_inflation) < 1e-12);
        least = x->density < least ? x->density : least;
    }
    assert_true(least < 0.9);
}

static void waits_do_not_grow_with_layers(void **state)
{
    (void)state;
    static const struct {
        const char *sparse;
        bool waits; /* in every layer all the same */
    } cases[] = {
        { "losa:budget=64,active=5,min-prefix=0,page=16", false },
        { "quest:budget=32,min-prefix=0,page=32", false },
        { "losa:budget=0.3,active=0.5,min-prefix=0,page=16,selector=pages,drift=hidden,"
          "first-step=sparse",
          false },
        { "losa:budget=48,active=5,min-prefix=0,page=16,refresh-drift=9", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static run alone, watched;
        lac_model *model;
        lac_model_info info;
        lac_session *session = open_session(&model, cases[i].sparse);
        assert_ok(lac_model_get_info(model, &info, NULL));
        generate(session, true, &watched);
        generate(session, false, &alone); /* memory of every shape is taken here */
        generate(session, false, &alone);
        assert_true(watched.n_plans > 0 && info.n_layers >= 4);
        compare_steps(&alone, &watched);
        for (size_t s = 0; s < alone.n_steps; s++) {
            const bool is_first = !strstr(cases[i].sparse, "first-step=sparse") &&
                                  !strncmp(cases[i].sparse, "losa", 4) &&
                                  (!s || alone.steps[s].block != alone.steps[s - 1].block);
            /* the step that measures chooses pages for the block, in every layer */
            const unsigned most = cases[i].waits || is_first ? 1000 : 2;
            if (alone.waits[s] > most)
                fail_msg("case %zu, step %zu waits %u times", i, s, alone.waits[s]);
            if (!is_first && watched.waits[s] < (unsigned)info.n_layers)
                fail_msg("case %zu, step %zu waits %u times for who watches", i, s,
                         watched.waits[s]);
        }
        lac_session_free(session);
        lac_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_do_not_grow_with_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
