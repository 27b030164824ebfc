/* test_thousand_steps.c: a run of a thousand steps takes nothing from the allocator after its first
 * step. Slow, so apart from the other generations. */
#include "fault.h"
#include "request.h"
#include "sanitized.h"

typedef struct {
    const fault *count;
    long n_before; /* allocations before the loop; negative = take it at the first callback */
    int n_steps;
} loop_watch;

static int watch_allocations(void *user, const lac_step *step)
{
    loop_watch *w = user;
    (void)step;
    if (w->n_before < 0) w->n_before = w->count->n_calls;
    assert_int_equal(w->count->n_calls, w->n_before);
    w->n_steps++;
    return 0;
}

/* A thousand steps take nothing from the allocator, guidance included. */
static void the_loop_allocates_nothing(void **state)
{
    (void)state;
#if defined(LACI_HAVE_ONEDNN) && !UNDER_ASAN
    enum { N_STEPS = 1000 };
#else
    enum { N_STEPS = 40 }; /* plain C products and sanitizers are slow; the promise is the same */
#endif
    lac_model *model;
    fault count = { .left = FAULT_NEVER };
    loop_watch w = { .count = &count };
    lac_session *session;
    int32_t ids[] = { 'O', 'n', 'c', 'e', ' ' };
    const lac_allocator mem = fault_allocator(&count);
    const lac_session_options session_opt = { .n_ctx = N_STEPS + 5, .allocator = &mem };
    lac_generate_options opt = { .n_tokens = N_STEPS,
                                 .steps = N_STEPS,
                                 .ignore_eos = true,
                                 .on_step = watch_allocations,
                                 .user = &w };
    lac_result r;
    assert_ok(lac_model_open(&model, test_path("models/nano-f"), NULL, NULL));
    assert_ok(lac_session_create(&session, model, &session_opt, NULL));
    w.n_before = count.n_calls;
    assert_ok(lac_generate(session, ids, 5, &opt, &r, NULL));
    assert_int_equal(w.n_steps, N_STEPS);
    w.n_before = -1; /* guidance takes its buffers when a generation begins */
    opt.cfg_scale = 1;
    opt.n_tokens = opt.steps = 8;
    opt.temperature = 1;
    opt.top_p = 0.9f;
    assert_ok(lac_generate(session, ids, 5, &opt, &r, NULL));
    lac_session_free(session);
    lac_model_close(model);
    assert_int_equal(count.live, 0);
}

/* Nor do the steps of sparse policies: those that measure, those that refresh, both passes of
 * guidance. */
static void sparse_steps_allocate_nothing(void **state)
{
    (void)state;
    static const char *const policies[] = { "sparsed", "fidelity", "pulsecol", "window",
                                            "streaming" };
    lac_model *model;
    int32_t ids[150];
    for (int i = 0; i < 150; i++)
        ids[i] = 'a' + i % 26;
    assert_ok(lac_model_open(&model, test_path("models/nano-f"), NULL, NULL));
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        fault count = { .left = FAULT_NEVER };
        loop_watch w = { .count = &count, .n_before = -1 };
        const lac_allocator mem = fault_allocator(&count);
        static const char how[] = "block=16,switch=auto,refresh=auto";
        const lac_session_options session_opt = { .n_ctx = 174,
                                                  .allocator = &mem,
                                                  .sparse = request_of(policies[i], false, how) };
        const lac_generate_options opt = { .n_tokens = 24,
                                           .cfg_scale = (float)(i % 2),
                                           .ignore_eos = true,
                                           .on_step = watch_allocations,
                                           .user = &w };
        lac_session *session;
        lac_result r;
        assert_ok(lac_session_create(&session, model, &session_opt, NULL));
        assert_ok(lac_generate(session, ids, 150, &opt, &r, NULL));
        assert_int_equal(w.n_steps, 24);
        lac_session_free(session);
        assert_int_equal(count.live, 0);
    }
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_loop_allocates_nothing),
                                        cmocka_unit_test(sparse_steps_allocate_nothing) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
