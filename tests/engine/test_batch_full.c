/* test_batch_full.c: batches of a model that sees whole canvases: every request as alone, bit for
 * bit, whatever its policy, length, seed and guidance; memory as predicted, and none in a step. */
#include "engine/batch_rig.h"

enum { N_CTX = 260 };

static const char nano_f[] = "models/nano-f";

static const request requests[MAX_REQUESTS] = {
    { 200, 1, 0, 0, { .n_tokens = 20, .steps = 9, .ignore_eos = true } },
    { 61, 2, 0, 0, { .n_tokens = 12, .temperature = 0.8f, .seed = 11, .ignore_eos = true } },
    { 0, 3, 1, 0, { .n_tokens = 16, .threshold = 0.05f, .ignore_eos = true } },
    { 150, 4, 2, 4, { .n_tokens = 40, .steps = 20, .ignore_eos = true } },
    { 96, 5, 2, 0, { .n_tokens = 10, .cfg_scale = 0.5f, .ignore_eos = true } },
    { 33, 6, 4, 0, { .n_tokens = 24, .algorithm = LAC_ALGORITHM_RANDOM, .seed = 3, .steps = 8 } },
    { 239, 7, 6, 0, { .n_tokens = 21, .steps = 7, .block_length = 7, .ignore_eos = true } },
    { 128, 8, 9, 0, { .n_tokens = 9, .cfg_scale = 1, .temperature = 1, .seed = 8, .top_k = 9 } },
};

static void every_policy_gives_the_same_in_company(void **state)
{
    (void)state;
    static outcome alone[MAX_REQUESTS], together[MAX_REQUESTS];
    static const char *const names[] = {
        "off:measure=on,block=16",
        "sparsed:block=16,switch=auto,refresh=auto",
        "sparsed:block=16,reset=step,group=kv,measure=on",
        "fidelity:block=16",
        "pulsecol",
        "window:block=16",
        "streaming:block=16",
    };
    for (size_t p = 0; p < sizeof names / sizeof *names; p++) {
        lac_model *model;
        const lac_session_options room = { .n_ctx = N_CTX, .sparse = names[p] };
        open_model(&model, nano_f, p % 2 ? LAC_DTYPE_F32 : LAC_DTYPE_BF16, 1 + (int)p % 2);
        for (size_t i = 0; i < MAX_REQUESTS; i++)
            run_alone(model, &room, &requests[i], &alone[i]);
        (void)run_together(model, &room, requests, MAX_REQUESTS, p % 2 ? 3 : 8, together);
        for (size_t i = 0; i < MAX_REQUESTS; i++)
            check_same(names[p], i, &alone[i], &together[i]);
        lac_model_close(model);
    }
}

static void results_do_not_depend_on_threads(void **state)
{
    (void)state;
    static outcome o[2][MAX_REQUESTS];
    for (int threads = 1; threads <= 2; threads++) {
        lac_model *model;
        const lac_session_options room = { .n_ctx = N_CTX, .sparse = "sparsed:block=16" };
        open_model(&model, nano_f, LAC_DTYPE_BF16, threads);
        (void)run_together(model, &room, requests, MAX_REQUESTS, 4, o[threads - 1]);
        lac_model_close(model);
    }
    for (size_t i = 0; i < MAX_REQUESTS; i++)
        check_same("threads", i, &o[0][i], &o[1][i]);
}

/* One leaves, one is cancelled, one comes later: the rest is as alone. */
static void the_others_do_not_notice_who_leaves(void **state)
{
    (void)state;
    static outcome alone[2], o[4];
    lac_model *model;
    lac_batch *batch;
    lac_result r;
    lac_error err = { 0 };
    int running = 0;
    const lac_session_options room = { .n_ctx = N_CTX, .sparse = "sparsed:block=16" };
    open_model(&model, nano_f, LAC_DTYPE_F32, 2);
    run_alone(model, &room, &requests[0], &alone[0]);
    run_alone(model, &room, &requests[4], &alone[1]);
    assert_ok(lac_batch_create(&batch, model, &room, 3, NULL));
    const int removed = add(batch, &requests[3], &o[0]), stays = add(batch, &requests[0], &o[1]);
    const int cancelled = add(batch, &requests[6], &o[2]);
    for (int t = 0; t < 3; t++)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_int_equal(running, 3);
    assert_ok(lac_batch_remove(batch, removed, NULL));
    assert_ok(lac_batch_cancel(batch, cancelled, NULL));
    assert_int_equal(lac_batch_result(batch, cancelled, &r, &err), LAC_ECANCELLED);
    assert_true(r.steps == 3 && r.n_ids > 0);
    const int next = add(batch, &requests[4], &o[3]);
    assert_int_equal(next, removed);
    while (running)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_ok(lac_batch_result(batch, stays, &r, NULL));
    keep(&o[1], LAC_OK, &r);
    assert_ok(lac_batch_keep(batch, stays, NULL)); /* there is nothing to keep, and it is gone */
    assert_false(lac_batch_is_done(batch, stays));
    assert_ok(lac_batch_result(batch, next, &r, NULL));
    keep(&o[3], LAC_OK, &r);
    check_same("stays", 0, &alone[0], &o[1]);
    check_same("comes later", 1, &alone[1], &o[3]);
    lac_batch_free(batch);
    lac_model_close(model);
}

static size_t bytes_of(const lac_model *model, const char *sparse, int n, lac_memory_plan *plan)
{
    counter c = { 0 };
    const lac_allocator mem = counting_allocator(&c);
    const lac_session_options room = { .n_ctx = N_CTX, .sparse = sparse, .allocator = &mem };
    lac_batch *batch;
    assert_ok(lac_batch_plan_memory(model, &room, n, plan, NULL));
    assert_ok(lac_batch_create(&batch, model, &room, n, NULL));
    const size_t live = c.live;
    lac_batch_free(batch);
    assert_int_equal(c.live, 0);
    return live;
}

/* A sequence more takes its canvas and what its policy remembers, and no keys. */
static void a_sequence_more_takes_what_was_predicted(void **state)
{
    (void)state;
    enum { MORE = 7, OWN_STRUCTS = 8192 /* of a generation, and what aligns its arrays */ };
    static const char *const names[] = { "off", "sparsed:block=16", "pulsecol" };
    lac_model *model;
    open_model(&model, nano_f, LAC_DTYPE_F32, 1);
    for (size_t i = 0; i < 3; i++) {
        lac_memory_plan one, all;
        const size_t a = bytes_of(model, names[i], 1, &one);
        const size_t b = bytes_of(model, names[i], 1 + MORE, &all);
        const size_t predicted = all.bytes_workspace - one.bytes_workspace;
        assert_int_equal(one.bytes_kv, all.bytes_kv);
        if (b - a < predicted || b - a > predicted + MORE * OWN_STRUCTS)
            fail_msg("%s: %zu bytes more, predicted %zu", names[i], b - a, predicted);
    }
    lac_model_close(model);
}

/* Guidance takes what it needs when a request is added. */
static void steps_take_nothing(void **state)
{
    (void)state;
    static outcome o[2];
    counter c = { 0 };
    const lac_allocator mem = counting_allocator(&c);
    const lac_session_options room = { .n_ctx = N_CTX, .sparse = "sparsed", .allocator = &mem };
    lac_model *model;
    lac_batch *batch;
    int running = 1;
    open_model(&model, nano_f, LAC_DTYPE_F32, 1);
    assert_ok(lac_batch_create(&batch, model, &room, 2, NULL));
    (void)add(batch, &requests[0], &o[0]);
    (void)add(batch, &requests[4], &o[1]);
    const size_t n_calls = c.n_calls;
    assert_true(n_calls > 10);
    while (running)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_int_equal(c.n_calls, n_calls);
    lac_batch_free(batch);
    assert_int_equal(c.live, 0);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_policy_gives_the_same_in_company),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(the_others_do_not_notice_who_leaves),
        cmocka_unit_test(a_sequence_more_takes_what_was_predicted),
        cmocka_unit_test(steps_take_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
