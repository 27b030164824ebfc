/* golden.h: reading expected.json and golden.json files in engine tests. */
#ifndef LACI_TESTS_ENGINE_GOLDEN_H
#define LACI_TESTS_ENGINE_GOLDEN_H

#include "test.h"

#include "base/json.h"

static inline laci_json *golden_open(const char *path)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_json *doc = NULL;
    lac_error err = { 0 };
    if (laci_json_read(&doc, path, NULL, &mem, &err)) fail_msg("%s", err.message);
    return doc;
}

/* Member that must be there. */
static inline const laci_jval *golden_get(const laci_jval *v, const char *key)
{
    const laci_jval *member = laci_json_get(v, key);
    if (!member) fail_msg("golden file: no member %s", key);
    return member;
}

/* Array of integers; returns its length, at most `max`. */
static inline size_t golden_ints(const laci_jval *list, int32_t *out, size_t max)
{
    size_t n = 0;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        assert_true(n < max);
        out[n++] = (int32_t)laci_json_number(v);
    }
    return n;
}

/* Opens a model and a session for it, or fails with the sentence. */
static inline void golden_session(lac_model **model, lac_session **session, const char *path,
                                  lac_dtype dtype, int n_threads, int n_ctx)
{
    lac_error err = { 0 };
    const lac_model_options opt = { .dtype = dtype, .n_threads = n_threads };
    if (lac_model_open(model, path, &opt, &err)) fail_msg("%s", err.message);
    const lac_session_options session_opt = { .n_ctx = n_ctx };
    if (lac_session_create(session, *model, &session_opt, &err)) fail_msg("%s", err.message);
}

#endif
