/* test_memory.c: the peak resident size of a generation against what the memory plan predicted
 * before any weight was loaded. A process of its own, so that nothing else has raised the peak. */
#include <math.h>
#include <sys/resource.h>

#include "engine/golden.h"

static double peak_bytes(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return 1024.0 * (double)usage.ru_maxrss;
}

static void peak_is_what_was_predicted(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    printf("skipped: sanitizers keep memory of their own\n");
    skip();
#endif
    enum { N_CTX = 4096 };
    static int32_t ids[N_CTX];
    lac_model *model;
    lac_memory_plan plan;
    lac_session *session;
    lac_result r;
    const lac_model_options card = { .card_only = true, .n_threads = 2 };
    for (int i = 0; i < N_CTX; i++)
        ids[i] = 'a' + i % 26;
    assert_ok(lac_model_open(&model, test_path("models/nano-f"), &card, NULL));
    assert_ok(lac_model_plan_memory(model, N_CTX, 2, &plan, NULL));
    lac_model_close(model);
    golden_session(&model, &session, test_path("models/nano-f"), LAC_DTYPE_AUTO, 2, N_CTX);
    const lac_generate_options opt = { .n_tokens = 32, .steps = 1 };
    assert_ok(lac_generate(session, ids, N_CTX - 32, &opt, &r, NULL));
    const double peak = peak_bytes(), predicted = (double)plan.bytes_total;
    printf("peak %.0f bytes, predicted %.0f (%+.1f%%)\n", peak, predicted,
           100 * (peak / predicted - 1));
    if (fabs(peak - predicted) > 0.1 * predicted)
        fail_msg("peak %.0f, predicted %.0f", peak, predicted);
    lac_session_free(session);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(peak_is_what_was_predicted) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
