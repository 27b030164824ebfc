/* test_forward.c: logits of every family and container against the PyTorch reference in double
 * precision (tests/golden/, made by tests/reference): f32 within 1e-4 relative, bf16 the same top
 * token in 99% of the masked positions, the same bits at any number of threads. */
#include <math.h>

#include "engine/golden.h"

enum { MAX_IDS = 1024 };

typedef struct {
    const char *model;    /* below tests/golden */
    const char *expected; /* folder of its expected.json */
} family_case;

static const family_case families[] = {
    { "llada-olmo", "llada-olmo" },
    { "llada-llama", "llada-olmo" },
    { "llada-gguf/model-f32.gguf", "llada-olmo" },
    { "dream", "dream" },
    { "dream-gguf/model-f16.gguf", "dream" },
    { "qwen3", "qwen3" },
    { "qwen3-q8/model-q8_0.gguf", "qwen3-q8" },
    { "sdar", "sdar" },
    { "fast-dllm", "fast-dllm" },
    { "tiny-dlm-random", "tiny-dlm-random" },
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static const char *below_golden(const char *name, const char *file)
{
    static char path[2][256];
    static int next;
    next = !next;
    snprintf(path[next], sizeof path[0], "tests/golden/%s%s", name, file);
    return test_path(path[next]);
}

/* Largest error over largest value of one row. */
static double row_error(const float *got, const laci_jval *want)
{
    double worst = 0, size = 0;
    size_t i = 0;
    for (const laci_jval *v = laci_json_first(want); v; v = laci_json_next(v), i++) {
        const double x = laci_json_number(v);
        if (fabs(x) > size) size = fabs(x);
        if (!(fabs((double)got[i] - x) <= worst)) worst = fabs((double)got[i] - x);
    }
    return worst / size;
}

static double case_noise(const laci_jval *c)
{
    const laci_jval *noise = laci_json_get(c, "noise");
    return noise ? laci_json_number(noise) : 0;
}

/* Worst relative error of a case's rows. */
static double case_error(lac_session *session, const laci_jval *c, int n_vocab)
{
    int32_t ids[MAX_IDS], rows[MAX_IDS];
    lac_error err = { 0 };
    const size_t n = golden_ints(golden_get(c, "ids"), ids, MAX_IDS);
    const size_t n_rows = golden_ints(golden_get(c, "rows"), rows, MAX_IDS);
    float *logits = malloc(n_rows * (size_t)n_vocab * sizeof *logits);
    if (lac_session_logits(session, ids, n, rows, n_rows, (float)case_noise(c), logits, &err))
        fail_msg("%s", err.message);
    double worst = 0;
    size_t row = 0;
    const laci_jval *want = golden_get(c, "logits");
    for (const laci_jval *v = laci_json_first(want); v; v = laci_json_next(v), row++) {
        const double error = row_error(logits + row * (size_t)n_vocab, v);
        if (!(error <= worst)) worst = error;
    }
    assert_int_equal(row, n_rows);
    free(logits);
    return worst;
}

static void logits_match_in_f32(void **state)
{
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        lac_model *model;
        lac_session *session;
        golden_session(&model, &session, below_golden(families[i].model, ""), LAC_DTYPE_F32, 2, 0);
        laci_json *doc = golden_open(below_golden(families[i].expected, "/expected.json"));
        const int n_vocab = (int)laci_json_number(golden_get(laci_json_root(doc), "n_vocab"));
        const laci_jval *cases = golden_get(laci_json_root(doc), "cases");
        for (const laci_jval *c = laci_json_first(cases); c; c = laci_json_next(c)) {
            const double error = case_error(session, c, n_vocab);
            if (!(error <= 1e-4))
                fail_msg("%s, %s: relative error %g", families[i].model,
                         laci_json_string(golden_get(c, "name")), error);
        }
        laci_json_free(doc);
        lac_session_free(session);
        lac_model_close(model);
    }
}

/* Counts masked positions whose top token is the reference's. */
static void count_agreement(lac_session *session, const laci_jval *c, int n_vocab, int *n_same,
                            int *n_all)
{
    int32_t ids[MAX_IDS], rows[MAX_IDS], want[MAX_IDS];
    lac_error err = { 0 };
    const size_t n = golden_ints(golden_get(c, "ids"), ids, MAX_IDS);
    const size_t n_rows = golden_ints(golden_get(c, "masked"), rows, MAX_IDS);
    (void)golden_ints(golden_get(c, "argmax"), want, MAX_IDS);
    float *logits = malloc((n_rows + 1) * (size_t)n_vocab * sizeof *logits);
    if (n_rows &&
        lac_session_logits(session, ids, n, rows, n_rows, (float)case_noise(c), logits, &err))
        fail_msg("%s", err.message);
    for (size_t r = 0; r < n_rows; r++) {
        int best = 0;
        for (int v = 1; v < n_vocab; v++)
            if (logits[r * (size_t)n_vocab + (size_t)v] >
                logits[r * (size_t)n_vocab + (size_t)best])
                best = v;
        *n_same += best == want[r];
        *n_all += 1;
    }
    free(logits);
}

static void top_tokens_agree_in_bf16(void **state)
{
    (void)state;
    int n_same = 0, n_all = 0;
    for (int i = 0; i < N_FAMILIES; i++) {
        lac_model *model;
        lac_session *session;
        golden_session(&model, &session, below_golden(families[i].model, ""), LAC_DTYPE_BF16, 2, 0);
        laci_json *doc = golden_open(below_golden(families[i].expected, "/expected.json"));
        const int n_vocab = (int)laci_json_number(golden_get(laci_json_root(doc), "n_vocab"));
        const laci_jval *cases = golden_get(laci_json_root(doc), "cases");
        for (const laci_jval *c = laci_json_first(cases); c; c = laci_json_next(c))
            count_agreement(session, c, n_vocab, &n_same, &n_all);
        laci_json_free(doc);
        lac_session_free(session);
        lac_model_close(model);
    }
    printf("bf16 agrees with double precision on %d of %d top tokens\n", n_same, n_all);
    assert_true(n_all > 400);
    if (n_same * 100 < n_all * 99) fail_msg("%d of %d agree", n_same, n_all);
}

/* A trained model: the same pass at 1, 2 and 5 threads, and alone or among more rows, bit for bit.
 */
static void bits_do_not_depend_on_threads_or_rows(void **state)
{
    (void)state;
    enum { N = 700, N_VOCAB = 272 };
    static int32_t ids[N], rows[N];
    static float want[N * N_VOCAB], got[N * N_VOCAB];
    static const lac_dtype dtypes[] = { LAC_DTYPE_F32, LAC_DTYPE_BF16 };
    for (int i = 0; i < N; i++)
        ids[i] = i % 7 ? 'a' + i * 31 % 26 : LAC_HOLE, rows[i] = i;
    for (int d = 0; d < 2; d++) {
        for (int n_threads = 1; n_threads <= 5; n_threads += 1 + (n_threads > 1) * 2) {
            lac_model *model;
            lac_session *session;
            golden_session(&model, &session, test_path("models/nano-f"), dtypes[d], n_threads, N);
            float *out = n_threads == 1 ? want : got;
            assert_ok(lac_session_logits(session, ids, N, rows, N, 0, out, NULL));
            if (n_threads > 1) assert_memory_equal(want, got, sizeof want);
            assert_ok(lac_session_logits(session, ids, N, rows + 601, 1, 0, got, NULL));
            assert_memory_equal(want + 601 * N_VOCAB, got, N_VOCAB * sizeof *got);
            lac_session_free(session);
            lac_model_close(model);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_match_in_f32),
        cmocka_unit_test(top_tokens_agree_in_bf16),
        cmocka_unit_test(bits_do_not_depend_on_threads_or_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
