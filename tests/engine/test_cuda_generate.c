/* test_cuda_generate.c: the bundled models on another backend against the CPU in f32: the same
 * tokens, greedy, with noise and with guidance, under every policy, with whole passes and behind a
 * key cache of one piece and of several; logits close. Without LAC_TEST_BACKEND there is nothing to
 * compare. */
#include <math.h>

#include "engine/session.h"
#include "request.h"

static const char prompt[] = "One of the special magic numbers for garden is: 4417. "
                             "What is the number for garden? ";

static const char *backend(void)
{
    return getenv("LAC_TEST_BACKEND");
}

/* How a model is run. */
typedef struct {
    const char *model, *policy;
    const char *knobs; /* those that the policy has count; NULL = none */
    size_t piece;      /* keys of the first piece of the cache, 0 = as ever */
} setting;

static const setting plain = { .model = "models/nano-f", .policy = "off" };

/* Opens the model on a backend; false when it cannot be had. */
static bool open_on(const char *name, const setting *how, lac_model **model, lac_session **session,
                    lac_error *err)
{
    const lac_model_options opt = { .dtype = LAC_DTYPE_F32, .n_threads = 2, .backend = name };
    const lac_session_options room = { .n_ctx = 160,
                                       .sparse =
                                           request_of(how->policy, !strstr(how->model, "nano-f"),
                                                      how->knobs ? how->knobs : "") };
    if (lac_model_open(model, test_path(how->model), &opt, err)) return false;
    if (lac_session_create(session, *model, &room, err)) fail_msg("%s", err->message);
    if (how->piece) (*session)->seq->kv.first_end = how->piece;
    return true;
}

static size_t prompt_ids(int32_t *ids)
{
    for (size_t i = 0; prompt[i]; i++)
        ids[i] = (unsigned char)prompt[i];
    return strlen(prompt);
}

static size_t generate_on(const char *name, const setting *how, const lac_generate_options *opt,
                          int32_t *out)
{
    lac_error err = { 0 };
    lac_model *model;
    lac_session *session;
    lac_result result;
    int32_t ids[sizeof prompt];
    if (!open_on(name, how, &model, &session, &err)) fail_msg("%s", err.message);
    if (lac_generate(session, ids, prompt_ids(ids), opt, &result, &err))
        fail_msg("%s", err.message);
    memcpy(out, result.ids, result.n_ids * sizeof *out);
    const size_t n = result.n_ids;
    lac_session_free(session);
    lac_model_close(model);
    return n;
}

static void compare_tokens(const setting *how, const lac_generate_options *opt, size_t i)
{
    int32_t want[64], got[64];
    const size_t n = generate_on("cpu", how, opt, want);
    assert_int_equal(n, opt->n_tokens);
    assert_int_equal(generate_on(backend(), how, opt, got), n);
    for (size_t k = 0; k < n; k++)
        if (want[k] != got[k])
            fail_msg("%s, %s, case %zu, token %zu: %d, the CPU has %d", how->model, how->policy, i,
                     k, got[k], want[k]);
}

static void tokens_equal_the_cpus(void **state)
{
    (void)state;
    static const lac_generate_options options[] = {
        { .n_tokens = 8, .steps = 8, .ignore_eos = true },
        { .n_tokens = 6, .steps = 3, .ignore_eos = true, .temperature = 0.8f, .seed = 5 },
        { .n_tokens = 4, .steps = 2, .ignore_eos = true, .cfg_scale = 1 },
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        compare_tokens(&plain, &options[i], i);
}

static void policies_equal_the_cpus(void **state)
{
    (void)state;
    static const char *const policies[] = { "sparsed", "fidelity", "window", "streaming",
                                            "pulsecol" };
    const lac_generate_options opt = { .n_tokens = 4, .steps = 4, .ignore_eos = true };
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        const setting how = { .model = "models/nano-f",
                              .policy = policies[i],
                              .knobs = "skip=0.25,select=0.4,block=16" };
        compare_tokens(&how, &opt, i);
    }
}

/* Six blocks of prompt, then one and a half are decided; pages of 16 keys, budgets below the
 * prefix. */
static void blocks_equal_the_cpus(void **state)
{
    (void)state;
    static const char *const policies[] = {
        "off", "quest", "losa", "mage", "flashblock", "sparsed"
    };
    const lac_generate_options opt = { .n_tokens = 20, .threshold = 0.7f, .ignore_eos = true };
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        setting how = { .model = "models/nano-b",
                        .policy = policies[i],
                        .knobs = "budget=48,active=5,min-prefix=0",
                        .piece = i % 2 ? 64 : 0 };
        compare_tokens(&how, &opt, i);
        how.piece = i % 2 ? 0 : 64;
        compare_tokens(&how, &opt, i);
    }
}

static void logits_equal_the_cpus(void **state)
{
    (void)state;
    enum { ROWS = 3 };
    lac_error err = { 0 };
    static float logits[2][ROWS * 1024];
    const int32_t rows[ROWS] = { 0, 17, 60 };
    int n_vocab = 0;
    for (int i = 0; i < 2; i++) {
        lac_model *model;
        lac_session *session;
        lac_model_info info;
        int32_t ids[sizeof prompt];
        if (!open_on(i ? backend() : "cpu", &plain, &model, &session, &err))
            fail_msg("%s", err.message);
        assert_ok(lac_model_get_info(model, &info, NULL));
        n_vocab = info.n_vocab;
        assert_true(n_vocab <= 1024);
        assert_ok(
            lac_session_logits(session, ids, prompt_ids(ids), rows, ROWS, 0.5f, logits[i], NULL));
        lac_session_free(session);
        lac_model_close(model);
    }
    for (int i = 0; i < ROWS * n_vocab; i++)
        if (!(fabs((double)logits[0][i] - (double)logits[1][i]) < 2e-3))
            fail_msg("logit %d is %g, the CPU has %g", i, (double)logits[1][i],
                     (double)logits[0][i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_equal_the_cpus),
        cmocka_unit_test(policies_equal_the_cpus),
        cmocka_unit_test(blocks_equal_the_cpus),
        cmocka_unit_test(logits_equal_the_cpus),
    };
    lac_error err = { .message = "no LAC_TEST_BACKEND to compare with" };
    lac_model *model;
    lac_session *session;
    if (!backend() || !open_on(backend(), &plain, &model, &session, &err)) {
        printf("skipped: %s\n", err.message);
        return 77;
    }
    lac_session_free(session);
    lac_model_close(model);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
