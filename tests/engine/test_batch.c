/* test_batch.c: generations side by side against the same requests alone: ids, steps, every logit
 * and every statistic bit for bit, whoever joins or leaves, under every policy; what a batch
 * refuses, and memory that runs out. */
#include "engine/batch_rig.h"

enum { N_REQUESTS = 5, N_CTX = 700 };

static const char nano_b[] = "models/nano-b";

/* ------------------------------------------------------------------ equal to alone */

/* Short prompts for the models of random weights. */
static const request small[N_REQUESTS] = {
    { 21, 1, 0, 0, { .n_tokens = 30, .ignore_eos = true } },
    { 64, 2, 0, 0, { .n_tokens = 17, .temperature = 0.8f, .seed = 11, .ignore_eos = true } },
    { 0, 3, 3, 0, { .n_tokens = 33, .threshold = 0.05f, .ignore_eos = true } },
    { 7, 4, 5, 9, { .n_tokens = 40, .algorithm = LAC_ALGORITHM_SEQUENTIAL } },
    { 48, 5, 40, 0, { .n_tokens = 25, .algorithm = LAC_ALGORITHM_ENTROPY_BOUNDED, .seed = 2 } },
};

/* Prompts of several chunks, on a border of a block and inside one, and none. */
static const request large[N_REQUESTS] = {
    { 600, 1, 0, 0, { .n_tokens = 37, .ignore_eos = true } },
    { 208, 2, 0, 0, { .n_tokens = 40, .temperature = 0.7f, .seed = 3, .ignore_eos = true } },
    { 0, 3, 1, 0, { .n_tokens = 20, .algorithm = LAC_ALGORITHM_RANDOM, .seed = 5 } },
    { 531, 4, 6, 0, { .n_tokens = 50, .threshold = 0.6f, .ignore_eos = true } },
    { 100, 5, 20, 13, { .n_tokens = 60, .steps = 31, .ignore_eos = true } },
};

/* How many requests share a batch with room for how many. */
typedef struct {
    size_t n;
    int width;
} share;

static void compare(const lac_model *model, const lac_session_options *room, const request *q,
                    const share *cases, size_t n_cases, const char *what)
{
    static outcome alone[N_REQUESTS], together[N_REQUESTS];
    int n_alone = 0;
    for (size_t i = 0; i < N_REQUESTS; i++) {
        run_alone(model, room, &q[i], &alone[i]);
        n_alone += alone[i].r.forwards;
    }
    for (size_t c = 0; c < n_cases; c++) {
        const int n_steps = run_together(model, room, q, cases[c].n, cases[c].width, together);
        for (size_t i = 0; i < cases[c].n; i++)
            check_same(what, i, &alone[i], &together[i]);
        if (cases[c].width > 1) assert_true(n_steps < n_alone);
    }
}

static void small_models_give_the_same_in_company(void **state)
{
    (void)state;
    static const char *const paths[] = { "tests/golden/sdar", "tests/golden/fast-dllm" };
    static const share cases[] = { { 1, 1 }, { 2, 2 }, { 5, 5 }, { 5, 2 } };
    static const char sparse[] = "losa:budget=16,min-prefix=0,active=2";
    for (int i = 0; i < 4; i++) {
        lac_model *model;
        const lac_session_options room = { .n_ctx = 128, .sparse = i % 2 ? sparse : "off" };
        open_model(&model, paths[i / 2], LAC_DTYPE_F32, i % 2 + 1);
        compare(model, &room, small, cases, 4, paths[i / 2]);
        lac_model_close(model);
    }
}

static void every_policy_gives_the_same_in_company(void **state)
{
    (void)state;
    static const char *const names[] = {
        "off",
        "losa:budget=48,min-prefix=0",
        "quest:budget=48,min-prefix=0",
        "mage:budget=48,min-prefix=0",
        "flashblock:min-prefix=0",
        "sparsed:budget=48,min-prefix=0",
        "losa:budget=48,min-prefix=0,drift=hidden,page-bounds=int8",
        "quest:budget=48,min-prefix=0,group=kv,select-every=3",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lac_model *model;
        const lac_session_options room = { .n_ctx = N_CTX, .sparse = names[i] };
        open_model(&model, nano_b, i % 2 ? LAC_DTYPE_F32 : LAC_DTYPE_BF16, 1);
        compare(model, &room, large, &(share){ N_REQUESTS, (int)(i % 2) + 3 }, 1, names[i]);
        lac_model_close(model);
    }
}

static void results_do_not_depend_on_threads(void **state)
{
    (void)state;
    static outcome one[N_REQUESTS], two[N_REQUESTS];
    static const char sparse[] = "losa:budget=48,min-prefix=0";
    for (int threads = 1; threads <= 2; threads++) {
        lac_model *model;
        const lac_session_options room = { .n_ctx = N_CTX, .sparse = sparse };
        open_model(&model, nano_b, LAC_DTYPE_BF16, threads);
        (void)run_together(model, &room, large, N_REQUESTS, 4, threads == 1 ? one : two);
        lac_model_close(model);
    }
    for (size_t i = 0; i < N_REQUESTS; i++)
        check_same("threads", i, &one[i], &two[i]);
}

/* Who leaves in the middle, by being removed or cancelled, is not missed; their numbers and caches
 * serve the next. */
static void the_others_do_not_notice_who_leaves(void **state)
{
    (void)state;
    static outcome alone[2], o[4];
    lac_model *model;
    lac_batch *batch;
    lac_result r;
    lac_error err = { 0 };
    int running = 0;
    const lac_session_options room = { .n_ctx = N_CTX };
    open_model(&model, nano_b, LAC_DTYPE_BF16, 2);
    run_alone(model, &room, &large[1], &alone[0]);
    run_alone(model, &room, &large[3], &alone[1]);
    assert_ok(lac_batch_create(&batch, model, &room, 3, NULL));
    const int removed = add(batch, &large[0], &o[0]), stays = add(batch, &large[1], &o[1]);
    const int cancelled = add(batch, &large[4], &o[2]);
    for (int t = 0; t < 12; t++)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_int_equal(running, 3);
    assert_ok(lac_batch_remove(batch, removed, NULL));
    assert_ok(lac_batch_cancel(batch, cancelled, NULL));
    assert_true(lac_batch_is_done(batch, cancelled));
    assert_int_equal(lac_batch_result(batch, cancelled, &r, &err), LAC_ECANCELLED);
    assert_int_equal(r.finish, LAC_FINISH_CANCELLED);
    assert_true(r.n_ids > 0 && r.n_ids < 60 && r.steps > 0);
    const int next = add(batch, &large[3], &o[3]);
    assert_int_equal(next, removed);
    while (running)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_ok(lac_batch_result(batch, stays, &r, NULL));
    keep(&o[1], LAC_OK, &r);
    assert_ok(lac_batch_result(batch, next, &r, NULL));
    keep(&o[3], LAC_OK, &r);
    check_same("stays", 1, &alone[0], &o[1]);
    check_same("comes after", 3, &alone[1], &o[3]);
    assert_ok(lac_batch_cancel(batch, stays, NULL)); /* done already: as it was */
    assert_ok(lac_batch_result(batch, stays, &r, NULL));
    assert_ok(lac_batch_step(batch, &running, NULL)); /* nobody left: nothing happens */
    assert_int_equal(running, 0);
    lac_batch_free(batch);
    lac_model_close(model);
}

/* ------------------------------------------------------------------ refusals */

static void what_cannot_be_a_batch_is_refused(void **state)
{
    (void)state;
    lac_model *model;
    lac_batch *batch = NULL;
    lac_memory_plan one, four;
    lac_error err = { 0 };
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    lac_session_options room = { .n_ctx = N_CTX };
    expect(lac_batch_create(&batch, model, &room, 0, &err), LAC_EINVAL, &err, "0 sequences: 1 to");
    expect(lac_batch_create(&batch, model, &room, 1025, &err), LAC_EINVAL, &err, "1025");
    expect(lac_batch_create(&batch, NULL, &room, 1, &err), LAC_EINVAL, &err, "no model");
    expect(lac_batch_create(NULL, model, &room, 1, &err), LAC_EINVAL, &err, "no model");
    assert_ok(lac_batch_plan_memory(model, &room, 1, &one, NULL));
    assert_ok(lac_batch_plan_memory(model, &room, 4, &four, NULL));
    assert_int_equal(four.bytes_kv, 4 * one.bytes_kv);
    assert_true(four.bytes_workspace > one.bytes_workspace);
    room.max_bytes = four.bytes_total - 1;
    expect(lac_batch_create(&batch, model, &room, 4, &err), LAC_ENOMEM, &err, "limit");
    room.max_bytes = 0;
    room.n_ctx = 1 << 30;
    expect(lac_batch_create(&batch, model, &room, 4, &err), LAC_ECONTEXT, &err, "context");
    assert_null(batch);
    lac_batch_free(NULL);
    assert_false(lac_batch_is_done(NULL, 0));
    lac_model_close(model);
}

/* Tries to change the batch from inside a step. */
static int meddle(void *user, const lac_step *step)
{
    lac_batch *batch = *(lac_batch **)user;
    const lac_generate_options opt = { .n_tokens = 4 };
    lac_error err = { 0 };
    lac_result r;
    int sequence;
    (void)step;
    expect(lac_batch_step(batch, NULL, &err), LAC_EINVAL, &err, "callback");
    expect(lac_batch_add(batch, NULL, 0, &opt, &sequence, &err), LAC_EINVAL, &err, "callback");
    expect(lac_batch_remove(batch, 0, &err), LAC_EINVAL, &err, "callback");
    expect(lac_batch_cancel(batch, 0, &err), LAC_EINVAL, &err, "callback");
    expect(lac_batch_result(batch, 0, &r, &err), LAC_EINVAL, &err, "callback");
    return 0;
}

static void bad_requests_leave_the_batch_as_it_was(void **state)
{
    (void)state;
    static int32_t ids[N_CTX + 1];
    static outcome alone, o;
    lac_model *model;
    lac_batch *batch;
    lac_result r;
    lac_error err = { 0 };
    int sequence = -1, running = 1;
    const lac_session_options room = { .n_ctx = N_CTX };
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    run_alone(model, &room, &large[1], &alone);
    make_prompt(ids, N_CTX + 1, 0);
    assert_ok(lac_batch_create(&batch, model, &room, 2, NULL));
    assert_int_equal(add(batch, &large[1], &o), 0);
    expect(lac_batch_add(batch, ids, N_CTX + 1, NULL, &sequence, &err), LAC_ECONTEXT, &err, "700");
    const lac_generate_options guided = { .n_tokens = 8, .cfg_scale = 1 };
    expect(lac_batch_add(batch, ids, 20, &guided, &sequence, &err), LAC_EINVAL, &err, "guidance");
    const lac_generate_options cold = { .n_tokens = 8, .temperature = -1 };
    expect(lac_batch_add(batch, ids, 20, &cold, &sequence, &err), LAC_EINVAL, &err, "temperature");
    expect(lac_batch_add(batch, NULL, 20, NULL, &sequence, &err), LAC_EINVAL, &err, "no ids");
    expect(lac_batch_add(batch, ids, 20, NULL, NULL, &err), LAC_EINVAL, &err, "no place");
    expect(lac_batch_add(NULL, ids, 20, NULL, &sequence, &err), LAC_EINVAL, &err, "no batch");
    ids[5] = 100000;
    expect(lac_batch_add(batch, ids, 20, NULL, &sequence, &err), LAC_EINVAL, &err, "100000");
    ids[5] = 'x';
    assert_int_equal(sequence, -1);
    expect(lac_batch_result(batch, 0, &r, &err), LAC_EINVAL, &err, "not done");
    expect(lac_batch_result(batch, 1, &r, &err), LAC_EINVAL, &err, "sequence 1");
    expect(lac_batch_remove(batch, -1, &err), LAC_EINVAL, &err, "sequence -1");
    expect(lac_batch_cancel(batch, 2, &err), LAC_EINVAL, &err, "sequence 2");
    expect(lac_batch_step(NULL, &running, &err), LAC_EINVAL, &err, "no batch");
    const lac_generate_options opt = { .n_tokens = 9, .on_step = meddle, .user = &batch };
    assert_ok(lac_batch_add(batch, ids, 20, &opt, &sequence, NULL));
    assert_int_equal(sequence, 1);
    expect(lac_batch_add(batch, ids, 20, NULL, &sequence, &err), LAC_EINVAL, &err, "room for 2");
    while (running)
        assert_ok(lac_batch_step(batch, &running, NULL));
    expect(lac_batch_result(batch, 0, NULL, &err), LAC_EINVAL, &err, "no place");
    const lac_status st = lac_batch_result(batch, 0, &r, NULL);
    keep(&o, st, &r);
    check_same("after refusals", 1, &alone, &o);
    lac_batch_free(batch);
    lac_model_close(model);
}

/* ------------------------------------------------------------------ memory */

static void a_batch_that_cannot_be_made_leaves_nothing(void **state)
{
    (void)state;
    lac_model *model;
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    lac_status st = LAC_ENOMEM;
    for (long n = 0; st; n++) {
        fault f = { .left = n };
        const lac_allocator mem = fault_allocator(&f);
        const lac_session_options room = { .n_ctx = 256, .sparse = "losa", .allocator = &mem };
        lac_batch *batch = NULL;
        st = lac_batch_create(&batch, model, &room, 3, NULL);
        if (st) assert_int_equal(st, LAC_ENOMEM);
        if (st) assert_null(batch);
        lac_batch_free(batch);
        assert_int_equal(f.live, 0);
        assert_true(n < 2000);
    }
    lac_model_close(model);
}

/* A request whose cache cannot be taken is refused and can be made again; steps take nothing. */
static void memory_that_runs_out_concerns_the_newcomer(void **state)
{
    (void)state;
    static outcome alone[2], o[2];
    static int32_t prompt[MAX_PROMPT];
    lac_model *model;
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    fault f = { .left = FAULT_NEVER };
    const lac_allocator mem = fault_allocator(&f);
    const lac_session_options room = { .n_ctx = N_CTX, .allocator = &mem };
    lac_batch *batch;
    lac_result r;
    lac_error err = { 0 };
    for (size_t i = 0; i < 2; i++)
        run_alone(model, &room, &large[i], &alone[i]);
    assert_ok(lac_batch_create(&batch, model, &room, 2, NULL));
    const int first = add(batch, &large[0], &o[0]);
    for (int t = 0; t < 9; t++)
        assert_ok(lac_batch_step(batch, NULL, NULL));
    const lac_generate_options opt = watch(&large[1], &o[1]);
    make_prompt(prompt, large[1].n_prompt, large[1].variant);
    int second = -1, n_failed = -1;
    lac_status st = LAC_ENOMEM;
    for (long n = 0; st; n++, n_failed++) {
        f.left = n;
        st = lac_batch_add(batch, prompt, large[1].n_prompt, &opt, &second, &err);
        f.left = FAULT_NEVER;
        if (st) assert_int_equal(st, LAC_ENOMEM);
        assert_ok(lac_batch_step(batch, NULL, NULL));
        assert_true(n < 100);
    }
    assert_true(n_failed > 4); /* pieces of every layer */
    const long n_calls = f.n_calls;
    int running = 1;
    while (running)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_int_equal(f.n_calls, n_calls);
    assert_ok(lac_batch_result(batch, first, &r, NULL));
    keep(&o[0], LAC_OK, &r);
    assert_ok(lac_batch_result(batch, second, &r, NULL));
    keep(&o[1], LAC_OK, &r);
    for (size_t i = 0; i < 2; i++)
        check_same("memory", i, &alone[i], &o[i]);
    lac_batch_free(batch);
    assert_int_equal(f.live, 0);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_models_give_the_same_in_company),
        cmocka_unit_test(every_policy_gives_the_same_in_company),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(the_others_do_not_notice_who_leaves),
        cmocka_unit_test(what_cannot_be_a_batch_is_refused),
        cmocka_unit_test(bad_requests_leave_the_batch_as_it_was),
        cmocka_unit_test(a_batch_that_cannot_be_made_leaves_nothing),
        cmocka_unit_test(memory_that_runs_out_concerns_the_newcomer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
