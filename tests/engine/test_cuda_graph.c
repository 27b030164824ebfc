/* test_cuda_graph.c: generations whose forward passes run as CUDA graphs, against the same ones
 * whose operations are started one by one: the same bits, under every policy, alone and in a batch;
 * and that steps which are alike share their executable graphs. On the device that LAC_TEST_BACKEND
 * names; without it there is nothing to compare. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "backend/cuda/cuda_state.h"
#include "engine/session.h"
#include "request.h"

enum { MOST_STEPS = 64, MOST_TOKENS = 64 };

static const char full[] = "models/nano-f", causal[] = "models/nano-b";
static const char prompt[] = "One of the special magic numbers for garden is: 4417. "
                             "What is the number for garden? ";

typedef struct {
    const char *model, *policy;
    const char *knobs; /* those that the policy has count; NULL = none */
    size_t piece;      /* keys of the first piece of the cache, 0 = as ever */
    lac_dtype dtype;   /* 0 = f32 */
    lac_generate_options opt;
} setting;

/* What a generation gave, and what was launched, made and updated in each of its steps. */
typedef struct {
    int32_t ids[MOST_TOKENS];
    float logprobs[MOST_TOKENS];
    size_t n_ids;
    const cuda_backend *cuda;
    laci_cu_graphs before;
    uint64_t launched[MOST_STEPS], made[MOST_STEPS], updated[MOST_STEPS];
    int block[MOST_STEPS];
    size_t n_steps;
} run;

static const char *backend(void)
{
    return getenv("LAC_TEST_BACKEND");
}

/* Whole canvases are computed in every step: of the prompt its end is enough. */
static size_t prompt_ids(const setting *how, int32_t *ids)
{
    const char *text = how->model == full ? strstr(prompt, "What") : prompt;
    for (size_t i = 0; text[i]; i++)
        ids[i] = (unsigned char)text[i];
    return strlen(text);
}

static bool open_model(const setting *how, bool graphs, lac_model **model, lac_error *err)
{
    const lac_model_options opt = { .dtype = how->dtype ? how->dtype : LAC_DTYPE_F32,
                                    .n_threads = 1,
                                    .backend = backend() };
    assert_int_equal(setenv("LAC_CUDA_GRAPH", graphs ? "1" : "0", 1), 0);
    return !lac_model_open(model, test_path(how->model), &opt, err);
}

static lac_session *open_session(const setting *how, bool graphs, lac_model **model)
{
    const lac_session_options room = { .n_ctx = 160,
                                       .sparse = request_of(how->policy, how->model == causal,
                                                            how->knobs ? how->knobs : "") };
    lac_session *session = NULL;
    lac_error err = { 0 };
    if (!open_model(how, graphs, model, &err) || lac_session_create(&session, *model, &room, &err))
        fail_msg("%s", err.message);
    if (how->piece) session->seq->kv.first_end = how->piece;
    return session;
}

static int see_step(void *user, const lac_step *step)
{
    run *r = user;
    const laci_cu_graphs *now = &r->cuda->graphs;
    const size_t i = r->n_steps++;
    assert_true(i < MOST_STEPS);
    r->launched[i] = now->n_launched - r->before.n_launched;
    r->made[i] = now->n_made - r->before.n_made;
    r->updated[i] = now->n_updated - r->before.n_updated;
    r->block[i] = step->block;
    r->before = *now;
    return 0;
}

static void keep(run *out, const lac_result *result)
{
    assert_true(result->n_ids <= MOST_TOKENS);
    out->n_ids = result->n_ids;
    memcpy(out->ids, result->ids, result->n_ids * sizeof *out->ids);
    memcpy(out->logprobs, result->logprobs, result->n_ids * sizeof *out->logprobs);
}

static void generate(lac_session *session, const setting *how, run *out)
{
    int32_t ids[sizeof prompt];
    lac_result result;
    lac_error err = { 0 };
    lac_generate_options opt = how->opt;
    memset(out, 0, sizeof *out);
    out->cuda = (const cuda_backend *)session->be;
    out->before = out->cuda->graphs;
    opt.ignore_eos = true;
    opt.on_step = see_step;
    opt.user = out;
    if (lac_generate(session, ids, prompt_ids(how, ids), &opt, &result, &err))
        fail_msg("%s", err.message);
    keep(out, &result);
}

static void compare(const run *want, const run *got, const char *what, size_t i)
{
    assert_int_equal(want->n_ids, got->n_ids);
    for (size_t k = 0; k < want->n_ids; k++) {
        if (want->ids[k] != got->ids[k])
            fail_msg("%s %zu, token %zu: %d, without graphs %d", what, i, k, got->ids[k],
                     want->ids[k]);
        if (memcmp(&want->logprobs[k], &got->logprobs[k], sizeof(float)) != 0)
            fail_msg("%s %zu, token %zu: log-probability %.9g, without graphs %.9g", what, i, k,
                     (double)got->logprobs[k], (double)want->logprobs[k]);
    }
}

/* The second generation of a session finds all memory taken; one model is enough to show it. */
static void generations_have_the_same_bits(void **state)
{
    (void)state;
    static const lac_generate_options greedy = { .n_tokens = 4, .steps = 4 };
    static const lac_generate_options noisy = { .n_tokens = 4, .temperature = 0.8f };
    static const lac_generate_options guided = { .n_tokens = 2, .cfg_scale = 1 };
    static const lac_generate_options blocks = { .n_tokens = 20, .threshold = 0.7f };
    static const char whole[] = "skip=0.25,select=0.4,block=16";
    static const char some[] = "budget=48,active=5,min-prefix=0";
    const setting settings[] = {
        { .model = full, .policy = "off", .opt = greedy },
        { .model = full, .policy = "off", .opt = noisy, .dtype = LAC_DTYPE_BF16 },
        { .model = full, .policy = "off", .opt = guided },
        { .model = full, .policy = "sparsed", .opt = greedy, .knobs = whole },
        { .model = causal, .policy = "off", .opt = blocks, .piece = 64 },
        { .model = causal, .policy = "losa", .opt = blocks, .knobs = some, .piece = 64 },
        { .model = causal, .policy = "quest", .opt = blocks, .knobs = some },
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        static run want, got;
        lac_model *model[2];
        lac_session *plain = open_session(&settings[i], false, &model[0]);
        lac_session *captured = open_session(&settings[i], true, &model[1]);
        generate(plain, &settings[i], &want);
        for (int turn = 0; turn < (i ? 1 : 2); turn++) {
            generate(captured, &settings[i], &got);
            compare(&want, &got, settings[i].policy, i);
            assert_int_equal(want.before.n_launched, 0);
            for (size_t s = 0; s < got.n_steps; s++)
                assert_true(got.launched[s] > 0);
        }
        lac_session_free(plain);
        lac_session_free(captured);
        lac_model_close(model[0]);
        lac_model_close(model[1]);
    }
}

/* Two sequences that take turns: their passes are unlike, and use the same graphs. */
static void run_batch(bool graphs, const setting *how, run out[2])
{
    const lac_session_options room = { .n_ctx = 160,
                                       .sparse = request_of(how->policy, how->model == causal,
                                                            how->knobs ? how->knobs : "") };
    int32_t ids[sizeof prompt];
    lac_error err = { 0 };
    lac_model *model;
    lac_batch *batch = NULL;
    int n_running = 1, sequence[2];
    if (!open_model(how, graphs, &model, &err) || lac_batch_create(&batch, model, &room, 2, &err))
        fail_msg("%s", err.message);
    const size_t n = prompt_ids(how, ids);
    for (int i = 0; i < 2; i++) {
        lac_generate_options opt = how->opt;
        opt.ignore_eos = true;
        opt.n_tokens -= 5 * i;
        assert_ok(lac_batch_add(batch, ids + 20 * i, n - 20 * (size_t)i, &opt, &sequence[i], NULL));
    }
    while (n_running)
        assert_ok(lac_batch_step(batch, &n_running, NULL));
    for (int i = 0; i < 2; i++) {
        lac_result result;
        assert_ok(lac_batch_result(batch, sequence[i], &result, NULL));
        keep(&out[i], &result);
    }
    lac_batch_free(batch);
    lac_model_close(model);
}

static void batches_have_the_same_bits(void **state)
{
    (void)state;
    static run want[2], got[2];
    const setting how = { .model = causal,
                          .policy = "losa",
                          .knobs = "budget=48,active=5,min-prefix=0",
                          .opt = { .n_tokens = 16, .threshold = 0.7f } };
    run_batch(false, &how, want);
    run_batch(true, &how, got);
    for (size_t i = 0; i < 2; i++)
        compare(&want[i], &got[i], "sequence", i);
}

/* The first step takes memory, which breaks it up; the second makes the graphs of all others. */
static void steps_that_are_alike_make_none(void **state)
{
    (void)state;
    static run r;
    const setting how = { .model = full, .policy = "off", .opt = { .n_tokens = 6 } };
    lac_model *model;
    lac_session *session = open_session(&how, true, &model);
    generate(session, &how, &r);
    assert_int_equal(r.n_steps, 6);
    assert_true(r.made[0] > 0 && r.launched[0] > 0);
    for (size_t i = 2; i < r.n_steps && r.cuda->info.emulated; i++) {
        assert_int_equal(r.launched[i], r.launched[1]);
        assert_int_equal(r.updated[i], r.launched[i]);
        assert_int_equal(r.made[i], 0);
    }
    lac_session_free(session);
    lac_model_close(model);
}

/* Behind a cache whose prefix grows from block to block: once there was a block with its end, none
 * is made. */
static void a_growing_prefix_makes_none(void **state)
{
    (void)state;
    static run r;
    static const char *const policies[] = { "off", "quest" };
    for (size_t p = 0; p < 2; p++) {
        const setting how = { .model = causal,
                              .policy = policies[p],
                              .knobs = "budget=32,min-prefix=0,page=32",
                              .opt = { .n_tokens = 44, .threshold = 0.6f } };
        lac_model *model;
        lac_session *session = open_session(&how, true, &model);
        size_t n = 0;
        generate(session, &how, &r);
        for (size_t i = 0; i < r.n_steps && r.cuda->info.emulated; i++) {
            if (r.block[i] < 2) continue;
            if (r.made[i]) fail_msg("%s, step %zu makes %d", policies[p], i, (int)r.made[i]);
            assert_true(r.updated[i] > 0 && r.updated[i] == r.launched[i]);
            n++;
        }
        assert_true(n > 1 || !r.cuda->info.emulated);
        lac_session_free(session);
        lac_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generations_have_the_same_bits),
        cmocka_unit_test(batches_have_the_same_bits),
        cmocka_unit_test(steps_that_are_alike_make_none),
        cmocka_unit_test(a_growing_prefix_makes_none),
    };
    const setting how = { .model = full };
    lac_error err = { .message = "no LAC_TEST_BACKEND to run on" };
    lac_model *model;
    if (!backend() || !strcmp(backend(), "cpu") || !open_model(&how, false, &model, &err)) {
        printf("skipped: %s\n", err.message);
        return 77;
    }
    lac_model_close(model);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
