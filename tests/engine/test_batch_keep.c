/* test_batch_keep.c: key caches that outlive their request: one that begins with the same blocks of
 * prompt and answer takes them over and gives the same bits as a fresh run, page bounds included.
 */
#include "engine/batch_rig.h"

enum { N_CTX = 700, BLOCK = 16, N_PROMPT = 331, N_ANSWER = 60, MOST = N_PROMPT + N_ANSWER + 40 };

static const char nano_b[] = "models/nano-b";

/* A request of these ids, 40 new tokens, alone. */
static void ask_alone(const lac_model *model, const lac_session_options *room, const int32_t *ids,
                      size_t n, outcome *o)
{
    const request q = { .opt = { .n_tokens = 40, .ignore_eos = true } };
    lac_session *session;
    lac_result r;
    const lac_generate_options opt = watch(&q, o);
    assert_ok(lac_session_create(&session, model, room, NULL));
    assert_ok(lac_generate(session, ids, n, &opt, &r, NULL));
    assert_int_equal(r.n_reused, 0);
    keep(o, LAC_OK, &r);
    lac_session_free(session);
}

/* The same in a batch, which then keeps it; returns the number it had. */
static int ask(lac_batch *batch, const int32_t *ids, size_t n, outcome *o)
{
    const request q = { .opt = { .n_tokens = 40, .ignore_eos = true } };
    lac_result r;
    int sequence = -1, running = 1;
    const lac_generate_options opt = watch(&q, o);
    assert_ok(lac_batch_add(batch, ids, n, &opt, &sequence, NULL));
    while (running)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_ok(lac_batch_result(batch, sequence, &r, NULL));
    keep(o, LAC_OK, &r);
    assert_ok(lac_batch_keep(batch, sequence, NULL));
    return sequence;
}

/* A prompt, what the model answers, and a question behind it. */
static size_t make_turns(const lac_model *model, const lac_session_options *room, int32_t *ids)
{
    lac_session *session;
    lac_result r;
    const lac_generate_options opt = { .n_tokens = N_ANSWER, .ignore_eos = true };
    make_prompt(ids, N_PROMPT, 1);
    assert_ok(lac_session_create(&session, model, room, NULL));
    assert_ok(lac_generate(session, ids, N_PROMPT, &opt, &r, NULL));
    memcpy(ids + N_PROMPT, r.ids, N_ANSWER * sizeof *ids);
    make_prompt(ids + N_PROMPT + N_ANSWER, 40, 5);
    lac_session_free(session);
    return N_PROMPT + N_ANSWER + 40;
}

/* Turn two behind turn one: the prompt and all but the last blocks of the answer are there. Then
 * less of it, which ends inside pages of the policy; then another question. */
static void check_turns(const lac_model *model, const char *sparse, size_t block)
{
    static int32_t ids[MOST];
    static outcome alone, o;
    lac_batch *batch;
    const lac_session_options room = { .n_ctx = N_CTX, .sparse = sparse };
    const size_t n = make_turns(model, &room, ids);
    const request first = { N_PROMPT, 1, 0, 0, { .n_tokens = N_ANSWER, .ignore_eos = true } };
    lac_result r;
    int running = 1;
    assert_ok(lac_batch_create(&batch, model, &room, 2, NULL));
    const int one = add(batch, &first, &o);
    while (running)
        assert_ok(lac_batch_step(batch, &running, NULL));
    assert_ok(lac_batch_result(batch, one, &r, NULL));
    assert_memory_equal(r.ids, ids + N_PROMPT, N_ANSWER * sizeof *ids);
    assert_ok(lac_batch_keep(batch, one, NULL));
    const size_t lengths[] = { n, N_PROMPT - 30, N_PROMPT - 100, n - 3 };
    for (size_t i = 0; i < 4; i++) {
        ask_alone(model, &room, ids, lengths[i], &alone);
        assert_int_equal(ask(batch, ids, lengths[i], &o), one);
        check_same(sparse, i, &alone, &o);
        const size_t n_kept = i == 0   ? (N_PROMPT + N_ANSWER - 1) / block * block
                              : i == 3 ? lengths[2] / block * block
                                       : lengths[i] / block * block;
        assert_true(o.r.n_reused <= n_kept && o.r.n_reused + 2 * block > n_kept);
    }
    lac_batch_free(batch);
}

static void the_second_turn_begins_behind_the_first(void **state)
{
    (void)state;
    static const char *const names[] = {
        "off",
        "quest:budget=48,min-prefix=0",
        "losa:budget=48,min-prefix=0,selector=pages,page=64,page-bounds=int8",
        "losa:budget=48,min-prefix=0",
    };
    for (size_t i = 0; i < 4; i++) {
        lac_model *model;
        open_model(&model, nano_b, i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32, 1 + (int)i / 2);
        check_turns(model, names[i], BLOCK);
        lac_model_close(model);
    }
}

/* The last row of a prompt proposes the first token of the answer: its block runs again. */
static void a_row_whose_proposal_is_wanted_runs(void **state)
{
    (void)state;
    enum { N = 64 };
    static int32_t ids[N + 8];
    static outcome alone, o;
    lac_model *model;
    lac_batch *batch;
    const lac_session_options room = { .n_ctx = 128 };
    lac_model_info info;
    open_model(&model, "tests/golden/fast-dllm", LAC_DTYPE_F32, 1);
    assert_ok(lac_model_get_info(model, &info, NULL));
    const size_t block = (size_t)info.block_size;
    make_prompt(ids, N + 8, 2);
    assert_ok(lac_batch_create(&batch, model, &room, 2, NULL));
    for (size_t n = N; n <= N + 3; n += 3) {
        ask_alone(model, &room, ids, n, &alone);
        for (int again = 0; again < 2; again++) {
            (void)ask(batch, ids, n, &o);
            check_same("fast-dllm", n, &alone, &o);
        }
        assert_int_equal(o.r.n_reused, n / block * block - (n % block ? 0 : block));
    }
    lac_batch_free(batch);
    lac_model_close(model);
}

/* Who shares nothing takes an empty place first, then what was kept first; what is removed is not
 * kept. */
static void kept_caches_give_way(void **state)
{
    (void)state;
    enum { N = 100 };
    static int32_t ids[4][N];
    static outcome o;
    lac_model *model;
    lac_batch *batch;
    const lac_session_options room = { .n_ctx = 256 };
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    for (unsigned i = 0; i < 4; i++)
        make_prompt(ids[i], N, i + 1);
    assert_ok(lac_batch_create(&batch, model, &room, 3, NULL));
    assert_int_equal(ask(batch, ids[0], N, &o), 0);
    assert_int_equal(ask(batch, ids[1], N, &o), 1);
    assert_int_equal(ask(batch, ids[0], N, &o), 0);
    assert_int_equal(o.r.n_reused, N / BLOCK * BLOCK);
    assert_int_equal(ask(batch, ids[2], N, &o), 2);
    assert_int_equal(o.r.n_reused, 0);
    assert_int_equal(ask(batch, ids[3], N, &o), 1); /* 0 was kept again after 1 */
    assert_int_equal(ask(batch, ids[1], N, &o), 0);
    assert_int_equal(o.r.n_reused, 0);
    const request same = { N, 3, 0, 0, { .n_tokens = 4 } };
    const int last = add(batch, &same, &o);
    assert_int_equal(last, 2);
    assert_ok(lac_batch_remove(batch, last, NULL));
    assert_int_equal(ask(batch, ids[2], N, &o), 2);
    assert_int_equal(o.r.n_reused, 0);
    lac_batch_free(batch);
    lac_model_close(model);
}

static void only_what_is_done_is_kept(void **state)
{
    (void)state;
    static outcome o;
    lac_model *model;
    lac_batch *batch;
    lac_error err = { 0 };
    const lac_session_options room = { .n_ctx = 256 };
    const request q = { 100, 1, 0, 0, { .n_tokens = 20 } };
    open_model(&model, nano_b, LAC_DTYPE_F32, 1);
    assert_ok(lac_batch_create(&batch, model, &room, 1, NULL));
    const int sequence = add(batch, &q, &o);
    expect(lac_batch_keep(batch, sequence, &err), LAC_EINVAL, &err, "not done");
    expect(lac_batch_keep(batch, 1, &err), LAC_EINVAL, &err, "sequence 1");
    expect(lac_batch_keep(NULL, 0, &err), LAC_EINVAL, &err, "no batch");
    assert_ok(lac_batch_step(batch, NULL, NULL));
    assert_ok(lac_batch_cancel(batch, sequence, NULL)); /* its prompt is in the cache */
    assert_ok(lac_batch_keep(batch, sequence, NULL));
    expect(lac_batch_keep(batch, sequence, &err), LAC_EINVAL, &err, "sequence 0");
    static int32_t ids[100];
    make_prompt(ids, 100, 1);
    (void)ask(batch, ids, 100, &o);
    assert_int_equal(o.r.n_reused, 96);
    lac_batch_free(batch);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_turn_begins_behind_the_first),
        cmocka_unit_test(a_row_whose_proposal_is_wanted_runs),
        cmocka_unit_test(kept_caches_give_way),
        cmocka_unit_test(only_what_is_done_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
