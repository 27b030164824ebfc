/* test_progress.c: what is told while a model loads and while a prompt goes into a key cache, how
 * either is stopped, and the bytes a request will take. */
#include "engine/batch_rig.h"

static const char nano_b[] = "models/nano-b", nano_f[] = "models/nano-f";

typedef struct {
    uint64_t done, total;
    int n, stop_at;
} listener;

static int hear(void *user, uint64_t done, uint64_t total)
{
    listener *l = user;
    assert_true(done > l->done && done <= total && (!l->n || total == l->total));
    l->done = done;
    l->total = total;
    return ++l->n == l->stop_at;
}

static void loading_tells_how_far_it_is(void **state)
{
    (void)state;
    static const char *const paths[] = { nano_b, nano_f, "tests/golden/dream" };
    for (size_t i = 0; i < 3; i++) {
        listener l = { 0 };
        lac_model *model;
        lac_model_info info;
        const lac_model_options how = { .dtype = LAC_DTYPE_F32, .on_progress = hear, .user = &l };
        assert_ok(lac_model_open(&model, test_path(paths[i]), &how, NULL));
        assert_ok(lac_model_get_info(model, &info, NULL));
        assert_true(l.n > info.n_layers && l.done == l.total && l.total >= info.file_bytes);
        lac_model_close(model);
    }
}

static void loading_can_be_stopped(void **state)
{
    (void)state;
    for (int at = 1; at < 20; at += 6) {
        listener l = { .stop_at = at };
        lac_model *model = NULL;
        lac_error err = { 0 };
        counter c = { 0 };
        const lac_allocator mem = counting_allocator(&c);
        const lac_model_options how = {
            .dtype = LAC_DTYPE_F32, .on_progress = hear, .user = &l, .allocator = &mem
        };
        expect(lac_model_open(&model, test_path("tests/golden/llada-olmo"), &how, &err),
               LAC_ECANCELLED, &err, "stopped by the caller");
        assert_null(model);
        assert_int_equal(l.n, at);
        assert_int_equal(c.live, 0);
    }
}

/* 1,100 positions go into the cache in three passes. */
static void prompts_tell_how_far_they_are(void **state)
{
    (void)state;
    enum { N = 1103, N_FINAL = 1088 };
    static int32_t ids[N];
    listener l = { 0 };
    lac_model *model;
    lac_session *session;
    lac_result r;
    const lac_session_options room = { .n_ctx = 1200 };
    lac_generate_options opt = { .n_tokens = 4, .on_prompt = hear, .user = &l };
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    make_prompt(ids, N, 1);
    assert_ok(lac_session_create(&session, model, &room, NULL));
    assert_ok(lac_generate(session, ids, N, &opt, &r, NULL));
    assert_true(l.n == 3 && l.done == N_FINAL && l.total == N_FINAL);
    l = (listener){ .stop_at = 2 };
    assert_int_equal(lac_generate(session, ids, N, &opt, &r, NULL), LAC_ECANCELLED);
    assert_true(l.n == 2 && r.steps == 0 && r.forwards == 2 && r.finish == LAC_FINISH_CANCELLED);
    lac_session_free(session);
    lac_model_close(model);
}

static void a_batch_tells_how_far_prompts_are(void **state)
{
    (void)state;
    static outcome o;
    lac_model *model;
    lac_batch *batch;
    lac_error err = { 0 };
    size_t done = 1, total = 1;
    const lac_session_options room = { .n_ctx = 700 };
    const request q = { 600, 1, 0, 0, { .n_tokens = 4 } };
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    assert_ok(lac_batch_create(&batch, model, &room, 2, NULL));
    const int sequence = add(batch, &q, &o);
    for (size_t i = 0; i < 3; i++) {
        static const size_t want[] = { 0, 512, 592 };
        assert_ok(lac_batch_progress(batch, sequence, &done, &total, NULL));
        assert_true(done == want[i] && total == 592);
        assert_ok(lac_batch_step(batch, NULL, NULL));
    }
    expect(lac_batch_progress(batch, 1, &done, &total, &err), LAC_EINVAL, &err, "sequence 1");
    expect(lac_batch_progress(batch, 0, NULL, &total, &err), LAC_EINVAL, &err, "no place");
    lac_batch_free(batch);
    lac_model_close(model);
}

/* What lac_batch_add takes against what was said: a cache, and the rest of one; guidance. */
static void a_request_takes_what_was_said(void **state)
{
    (void)state;
    enum { BOOKKEEPING = 4096, N_CTX = 9000 };
    static int32_t ids[2][N_CTX];
    static const lac_generate_options plain = { .n_tokens = 40 };
    static const lac_generate_options guided = { .n_tokens = 40, .cfg_scale = 1 };
    static const struct {
        const char *path, *sparse;
        int n_ctx;
        size_t lengths[2];
        const lac_generate_options *opt;
    } cases[] = {
        { nano_b, "off", N_CTX, { 100, 8300 }, &plain },
        { nano_f, "sparsed:block=16", 400, { 100, 300 }, &guided },
        { nano_f, "off", 400, { 100, 300 }, &plain },
    };
    for (size_t i = 0; i < 3; i++) {
        counter c = { 0 };
        lac_model *model;
        lac_batch *batch;
        lac_error err = { 0 };
        const lac_allocator mem = counting_allocator(&c);
        const lac_session_options room = { .n_ctx = cases[i].n_ctx,
                                           .sparse = cases[i].sparse,
                                           .allocator = &mem };
        open_model(&model, cases[i].path, LAC_DTYPE_F32, 1);
        assert_ok(lac_batch_create(&batch, model, &room, 1, NULL));
        for (size_t k = 0; k < 2; k++) {
            const size_t n = cases[i].lengths[k], before = c.live;
            uint64_t bytes;
            int sequence;
            make_prompt(ids[k], n, (unsigned)k);
            assert_ok(lac_batch_add_bytes(batch, ids[k], n, cases[i].opt, &bytes, NULL));
            assert_ok(lac_batch_add(batch, ids[k], n, cases[i].opt, &sequence, NULL));
            const size_t taken = c.live - before;
            if (taken < bytes || taken > bytes + BOOKKEEPING || (!k && (i < 2) != (bytes > 0)))
                fail_msg("%zu, %zu: %zu bytes, not %zu", i, k, taken, (size_t)bytes);
            assert_ok(lac_batch_remove(batch, sequence, NULL));
            assert_ok(lac_batch_add_bytes(batch, ids[k], n, cases[i].opt, &bytes, NULL));
            assert_int_equal(bytes, 0);
        }
        uint64_t bytes;
        expect(
            lac_batch_add_bytes(batch, ids[1], (size_t)cases[i].n_ctx, cases[i].opt, &bytes, &err),
            LAC_ECONTEXT, &err, "the context holds");
        expect(lac_batch_add_bytes(batch, ids[1], 4, NULL, NULL, &err), LAC_EINVAL, &err, "bytes");
        lac_batch_free(batch);
        lac_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_tells_how_far_it_is),
        cmocka_unit_test(loading_can_be_stopped),
        cmocka_unit_test(prompts_tell_how_far_they_are),
        cmocka_unit_test(a_batch_tells_how_far_prompts_are),
        cmocka_unit_test(a_request_takes_what_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
