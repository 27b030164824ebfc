/* test_not_finite.c: one NaN or infinity among the weights ends a run in the first step whose
 * logits it reaches, and the error names the layer it is in; every family, whole canvases, blocks
 * and batches, both types. */
#define _DEFAULT_SOURCE /* mkdtemp */
#include "engine/damage.h"

enum { N_PROMPT = 16, N_NEW = 8, N_CTX = 64, MAX_VOCAB = 400 };

/* A family: a matrix of one of its layers, and its output matrix where that is its own. */
typedef struct {
    const char *path, *down, *head;
    int layer, n_layers, d_model;
} family;

static const family families[] = {
    { "models/nano-f", "model.layers.2.mlp.down_proj.weight", "lm_head.weight", 2, 4, 128 },
    { "models/nano-b", "model.layers.1.mlp.down_proj.weight", "lm_head.weight", 1, 4, 128 },
    { "tests/golden/llada-olmo", "model.transformer.blocks.0.ff_out.weight",
      "model.transformer.ff_out.weight", 0, 2, 64 },
    { "tests/golden/dream", "model.layers.1.mlp.down_proj.weight", "lm_head.weight", 1, 3, 64 },
    { "tests/golden/sdar", "model.layers.1.mlp.down_proj.weight", "lm_head.weight", 1, 2, 64 },
    { "tests/golden/tiny-dlm-random", "blocks.1.mlp.c_proj.weight", "output_head.weight", 1, 2,
      32 },
    { "tests/golden/fast-dllm", "model.layers.0.mlp.down_proj.weight", NULL, 0, 2, 64 },
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static void fill_prompt(int32_t *ids)
{
    for (int i = 0; i < N_PROMPT; i++)
        ids[i] = 40 + i;
}

static void check_error(const family *f, lac_status st, const lac_error *err, const char *words)
{
    if (st != LAC_ENOTFINITE || !strstr(err->message, words) || !strstr(err->message, "position"))
        fail_msg("%s: %s, '%s' does not say '%s'", f->path, lac_status_name(st), err->message,
                 words);
}

static int no_step(void *user, const lac_step *step)
{
    (void)user;
    fail_msg("step %d was taken with logits that are not finite", step->step);
    return 0;
}

/* A generation and a single pass both end with the same words, twice: the session stays usable. */
static void check_session(const family *f, lac_session *session, float cfg_scale, const char *words)
{
    static float logits[MAX_VOCAB];
    const int32_t row = 5;
    int32_t ids[N_PROMPT];
    lac_generate_options how = { .n_tokens = N_NEW, .cfg_scale = cfg_scale, .on_step = no_step };
    fill_prompt(ids);
    for (int twice = 0; twice < 2; twice++) {
        lac_result r = { .n_ids = 77 };
        lac_error err = { 0 };
        check_error(f, lac_generate(session, ids, N_PROMPT, &how, &r, &err), &err, words);
        assert_non_null(strstr(err.message, "in step 0"));
        assert_int_equal(r.n_ids, 77);
        err = (lac_error){ 0 };
        check_error(f, lac_session_logits(session, ids, N_PROMPT, &row, 1, 0, logits, &err), &err,
                    words);
        assert_non_null(strstr(err.message, "position 5"));
    }
}

static void check_damage(const family *f, const char *tensor, size_t at, float value,
                         const char *words)
{
    const damaged d = damage(f->path, tensor, at, value);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        const lac_model_options how = { .dtype = bf16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                                        .n_threads = 2 };
        const lac_session_options room = { .n_ctx = N_CTX };
        lac_model *model;
        lac_session *session;
        lac_model_info info;
        lac_error err = { 0 };
        if (lac_model_open(&model, d.folder, &how, &err)) fail_msg("%s", err.message);
        assert_ok(lac_model_get_info(model, &info, NULL));
        assert_ok(lac_session_create(&session, model, &room, NULL));
        check_session(f, session, 0, words);
        if (info.mask == LAC_MASK_FULL) check_session(f, session, 1.5f, words);
        lac_session_free(session);
        lac_model_close(model);
    }
    damage_remove(&d);
}

static void a_layer_is_named(void **state)
{
    (void)state;
    static const float values[] = { NAN, INFINITY };
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const family *f = &families[i];
        char words[64];
        snprintf(words, sizeof words, "begin in layer %d of 0 to %d", f->layer, f->n_layers - 1);
        for (size_t v = 0; v < 2; v++)
            check_damage(f, f->down, 37, values[v], words);
    }
}

/* One number in one row: one logit of each position. Of the two signs one makes it -inf. */
static void one_row_of_the_output_matrix_is_found(void **state)
{
    (void)state;
    static const float values[] = { INFINITY, -INFINITY, NAN };
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const family *f = &families[i];
        for (size_t v = 0; v < 3 && f->head; v++)
            check_damage(f, f->head, (size_t)(70 * f->d_model + 3), values[v], "the output matrix");
    }
}

static void the_embedding_and_the_final_norm_are_told_apart(void **state)
{
    (void)state;
    const family *f = &families[0], *b = &families[1];
    check_damage(f, "model.embed_tokens.weight", 45 * 128 + 1, NAN, "in the embedding");
    check_damage(b, "model.embed_tokens.weight", 45 * 128 + 1, INFINITY, "in the embedding");
    check_damage(f, "model.norm.weight", 9, NAN, "in the final norm");
    check_damage(b, "model.norm.weight", 9, INFINITY, "in the final norm");
}

/* ------------------------------------------------------------------ policies, steps, batches */

static void every_policy_ends_the_same_way(void **state)
{
    (void)state;
    static const struct {
        int family;
        const char *name;
    } policies[] = {
        { 0, "sparsed:block=16,skip=0" },
        { 0, "fidelity:block=16,skip=0" },
        { 0, "pulsecol:block=16" },
        { 0, "window:block=16" },
        { 0, "streaming:block=16" },
        { 1, "losa:budget=20,page=16,min-prefix=0" },
        { 1, "quest:budget=20,min-prefix=0" },
        { 1, "mage:budget=20,min-prefix=0" },
        { 1, "sparsed:budget=20,min-prefix=0" },
        { 1, "flashblock:min-prefix=0" },
    };
    damaged d[2];
    lac_model *models[2];
    for (int i = 0; i < 2; i++) {
        d[i] = damage(families[i].path, families[i].down, 37, NAN);
        const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
        assert_ok(lac_model_open(&models[i], d[i].folder, &how, NULL));
    }
    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++) {
        const family *f = &families[policies[p].family];
        const lac_session_options room = { .n_ctx = 192, .sparse = policies[p].name };
        const lac_generate_options how = { .n_tokens = 20 };
        int32_t ids[150];
        lac_session *session;
        lac_result r;
        lac_error err = { 0 };
        for (int i = 0; i < 150; i++)
            ids[i] = 33 + i % 60;
        if (lac_session_create(&session, models[policies[p].family], &room, &err))
            fail_msg("%s: %s", policies[p].name, err.message);
        check_error(f, lac_generate(session, ids, 150, &how, &r, &err), &err, "in layer");
        lac_session_free(session);
    }
    for (int i = 0; i < 2; i++) {
        lac_model_close(models[i]);
        damage_remove(&d[i]);
    }
}

/* Token 90 breaks what reads it. It is fixed by step 2, so step 3 is the first to see it. */
static void the_first_step_that_shows_it_is_named(void **state)
{
    (void)state;
    enum { N = N_PROMPT + N_NEW };
    const damaged d = damage("models/nano-f", "model.embed_tokens.weight", 90 * 128, NAN);
    int32_t ids[N], steps[N];
    lac_model *model;
    lac_session *session;
    lac_result r;
    lac_error err = { 0 };
    golden_session(&model, &session, d.folder, LAC_DTYPE_F32, 1, N_CTX);
    fill_prompt(ids);
    for (int i = 0; i < N; i++) {
        steps[i] = i - N_PROMPT;
        if (i >= N_PROMPT) ids[i] = steps[i] == 2 ? 90 : 65;
    }
    const lac_generate_options how = {
        .n_tokens = N_NEW, .replay_ids = ids, .replay_steps = steps, .n_replay = N
    };
    check_error(&families[0], lac_generate(session, ids, N_PROMPT, &how, &r, &err), &err,
                "in the embedding");
    if (!strstr(err.message, "position 19 in step 3")) fail_msg("%s", err.message);
    lac_session_free(session);
    lac_model_close(model);
    damage_remove(&d);
}

/* After a run that failed the session gives what a new one gives: nothing of it is left in the rows
 * that a shorter pass does not write. */
static void nothing_is_left_of_a_run_that_failed(void **state)
{
    (void)state;
    static float want[MAX_VOCAB], got[MAX_VOCAB];
    for (int f = 0; f < 2; f++) {
        const damaged d =
            damage(families[f].path, "model.embed_tokens.weight", 90 * 128, f ? NAN : INFINITY);
        const lac_generate_options how = { .n_tokens = N_NEW };
        const lac_session_options room = { .n_ctx = N_CTX };
        int32_t ids[N_PROMPT];
        const int32_t row = 4;
        lac_model *model;
        lac_session *session;
        lac_result r;
        golden_session(&model, &session, d.folder, LAC_DTYPE_F32, 1, N_CTX);
        fill_prompt(ids);
        assert_ok(lac_session_logits(session, ids, 6, &row, 1, 0, want, NULL));
        lac_session_free(session);
        assert_ok(lac_session_create(&session, model, &room, NULL));
        ids[N_PROMPT - 1] = 90;
        assert_int_equal(lac_generate(session, ids, N_PROMPT, &how, &r, NULL), LAC_ENOTFINITE);
        assert_ok(lac_session_logits(session, ids, 6, &row, 1, 0, got, NULL));
        assert_memory_equal(got, want, sizeof got);
        assert_int_equal(lac_session_logits(session, ids, N_PROMPT, &row, 1, 0, got, NULL),
                         LAC_ENOTFINITE);
        assert_ok(lac_session_logits(session, ids, 6, &row, 1, 0, got, NULL));
        assert_memory_equal(got, want, sizeof got);
        lac_session_free(session);
        lac_model_close(model);
        damage_remove(&d);
    }
}

/* Of three sequences one has the token that breaks: it alone fails, the others notice nothing. */
static void of_a_batch_one_sequence_fails(void **state)
{
    (void)state;
    const damaged d = damage("models/nano-b", "model.embed_tokens.weight", 90 * 128, INFINITY);
    const lac_session_options room = { .n_ctx = N_CTX };
    const lac_generate_options how = { .n_tokens = 20, .ignore_eos = true };
    int32_t good[N_PROMPT], bad[N_PROMPT], want[20];
    lac_model *model;
    lac_session *session;
    lac_batch *batch;
    lac_result r;
    lac_error err = { 0 };
    int number[3], n_running = 1;
    golden_session(&model, &session, d.folder, LAC_DTYPE_F32, 2, N_CTX);
    fill_prompt(good);
    fill_prompt(bad);
    bad[3] = 90;
    assert_ok(lac_generate(session, good, N_PROMPT, &how, &r, NULL));
    assert_int_equal(r.n_ids, 20);
    memcpy(want, r.ids, sizeof want);
    lac_session_free(session);
    assert_ok(lac_batch_create(&batch, model, &room, 3, NULL));
    for (int i = 0; i < 3; i++)
        assert_ok(lac_batch_add(batch, i == 1 ? bad : good, N_PROMPT, &how, &number[i], NULL));
    while (n_running)
        assert_ok(lac_batch_step(batch, &n_running, NULL));
    check_error(&families[1], lac_batch_result(batch, number[1], &r, &err), &err,
                "in the embedding");
    for (int i = 0; i < 3; i += 2) {
        assert_ok(lac_batch_result(batch, number[i], &r, NULL));
        assert_int_equal(r.n_ids, 20);
        assert_memory_equal(r.ids, want, sizeof want);
    }
    lac_batch_free(batch);
    lac_model_close(model);
    damage_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_is_named),
        cmocka_unit_test(one_row_of_the_output_matrix_is_found),
        cmocka_unit_test(the_embedding_and_the_final_norm_are_told_apart),
        cmocka_unit_test(every_policy_ends_the_same_way),
        cmocka_unit_test(the_first_step_that_shows_it_is_named),
        cmocka_unit_test(nothing_is_left_of_a_run_that_failed),
        cmocka_unit_test(of_a_batch_one_sequence_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
