/* peak.h: the peak resident size of one generation against what the memory plan predicted before
 * any weight was loaded. Each use is a process of its own, so that nothing else raised the peak. */
#ifndef LACI_TESTS_ENGINE_PEAK_H
#define LACI_TESTS_ENGINE_PEAK_H

#include <math.h>
#include <sys/resource.h>

#include "engine/golden.h"
#include "request.h"
#include "sanitized.h"

static inline double peak_bytes(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return 1024.0 * (double)usage.ru_maxrss;
}

/* Fills 32 holes at the end of 4,096 positions, in `steps` steps. */
static inline void peak_is_what_was_predicted(const char *sparse, int steps)
{
#if UNDER_ASAN
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
    static const char how[] = "block=16,mode=reference";
    const lac_session_options room = { .n_ctx = N_CTX,
                                       .n_threads = 2,
                                       .sparse = request_of(sparse, false, how) };
    for (int i = 0; i < N_CTX; i++)
        ids[i] = 'a' + i % 26;
    assert_ok(lac_model_open(&model, test_path("models/nano-f"), &card, NULL));
    assert_ok(lac_session_plan_memory(model, &room, &plan, NULL));
    lac_model_close(model);
    const lac_model_options whole = { .n_threads = 2 };
    assert_ok(lac_model_open(&model, test_path("models/nano-f"), &whole, NULL));
    assert_ok(lac_session_create(&session, model, &room, NULL));
    const lac_generate_options opt = { .n_tokens = 32, .steps = steps, .ignore_eos = true };
    assert_ok(lac_generate(session, ids, N_CTX - 32, &opt, &r, NULL));
    const double peak = peak_bytes(), predicted = (double)plan.bytes_total;
    printf("peak %.0f bytes, predicted %.0f (%+.1f%%)\n", peak, predicted,
           100 * (peak / predicted - 1));
    if (fabs(peak - predicted) > 0.1 * predicted)
        fail_msg("peak %.0f, predicted %.0f", peak, predicted);
    lac_session_free(session);
    lac_model_close(model);
}

#endif
