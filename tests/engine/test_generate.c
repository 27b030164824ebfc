/* test_generate.c: whole generations through the public interface: trained models against their
 * golden decodes, exact lengths, infill, end tokens, cancelling, the same tokens at any number of
 * threads, every allocation failing in turn. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/golden.h"
#include "fault.h"

#define NANO test_path("models/nano-f")

static void run(lac_session *session, const int32_t *ids, size_t n, const lac_generate_options *opt,
                lac_result *out)
{
    lac_error err = { 0 };
    if (lac_generate(session, ids, n, opt, out, &err)) fail_msg("%s", err.message);
}

static int copy_file(const char *from, const char *to)
{
    char bytes[4096];
    size_t n;
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    while (in && out && (n = fread(bytes, 1, sizeof bytes, in)) > 0)
        (void)fwrite(bytes, 1, n, out);
    return !in || !out || fclose(in) || fclose(out);
}

static size_t text_ids(const char *text, int32_t *ids)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        ids[i] = (unsigned char)text[i];
    return n;
}

/* ------------------------------------------------------------------ trained models */

static void nano_repeats_its_golden_decodes(void **state)
{
    (void)state;
    lac_model *model;
    lac_session *session;
    golden_session(&model, &session, NANO, LAC_DTYPE_F32, 2, 0);
    laci_json *doc = golden_open(test_path("models/nano-f/golden.json"));
    const laci_jval *list = golden_get(laci_json_root(doc), "greedy_decode");
    int n_cases = 0;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v), n_cases++) {
        static int32_t ids[4096], want[64];
        const size_t n = text_ids(laci_json_string(golden_get(v, "prompt")), ids);
        const size_t n_want = golden_ints(golden_get(v, "output_ids"), want, 64);
        const lac_generate_options opt = { .n_tokens = (int)n_want,
                                           .ignore_eos = true,
                                           .steps = (int)laci_json_number(golden_get(v, "steps")) };
        lac_result result;
        run(session, ids, n, &opt, &result);
        assert_int_equal(result.n_ids, n_want);
        for (size_t i = 0; i < n_want; i++)
            if (result.ids[i] != want[i])
                fail_msg("decode %d, token %zu: %d, golden %d", n_cases, i, result.ids[i], want[i]);
    }
    assert_true(n_cases >= 10);
    laci_json_free(doc);
    lac_session_free(session);
    lac_model_close(model);
}

/* Largest absolute difference of the logit rows of one case of a pilot-style golden file. */
static double pilot_case_error(lac_session *session, const laci_jval *c, float noise, int n_vocab)
{
    static int32_t ids[1024];
    static float logits[1024];
    double worst = 0;
    const size_t n = golden_ints(golden_get(c, "input_ids"), ids, 1024);
    const laci_jval *rows = golden_get(c, "logits");
    for (const laci_jval *r = laci_json_first(rows); r; r = laci_json_next(r)) {
        const int32_t row = (int32_t)laci_json_number(golden_get(r, "position"));
        assert_ok(lac_session_logits(session, ids, n, &row, 1, noise, logits, NULL));
        int i = 0;
        const laci_jval *values = golden_get(r, "values");
        for (const laci_jval *v = laci_json_first(values); v; v = laci_json_next(v), i++) {
            const double error = fabs((double)logits[i] - laci_json_number(v));
            if (!(error <= worst)) worst = error;
        }
        assert_int_equal(i, n_vocab);
    }
    return worst;
}

static void nano_logits_match_double_precision(void **state)
{
    (void)state;
    lac_model *model;
    lac_session *session;
    golden_session(&model, &session, NANO, LAC_DTYPE_F32, 2, 0);
    laci_json *doc = golden_open(test_path("models/nano-f/golden.json"));
    const laci_jval *cases = golden_get(laci_json_root(doc), "cases");
    for (const laci_jval *c = laci_json_first(cases); c; c = laci_json_next(c)) {
        const double error = pilot_case_error(session, c, 0, 272);
        if (!(error <= 1e-3)) fail_msg("logits differ by %g", error);
    }
    laci_json_free(doc);
    lac_session_free(session);
    lac_model_close(model);
}

static void check_shakespeare_decode(lac_session *session, const laci_jval *v)
{
    static int32_t ids[512], want[512], fixed[512], got[512];
    const size_t n_all = golden_ints(golden_get(v, "output_ids"), want, 512);
    const size_t n_steps = golden_ints(golden_get(v, "tokens_fixed_per_step"), fixed, 512);
    const size_t n_prefix = (size_t)laci_json_number(golden_get(v, "prefix_length"));
    const lac_generate_options opt = {
        .n_tokens = (int)(n_all - n_prefix),
        .block_length = (int)(n_all - n_prefix),
        .threshold = (float)laci_json_number(golden_get(v, "threshold")),
    };
    lac_result result;
    memcpy(ids, want, n_prefix * sizeof *ids);
    run(session, ids, n_prefix, &opt, &result);
    assert_int_equal(result.steps, n_steps);
    memset(got, 0, sizeof got);
    for (size_t i = 0; i < result.n_ids; i++) {
        assert_int_equal(result.ids[i], want[n_prefix + i]);
        got[result.step_map[i]]++;
    }
    assert_memory_equal(got, fixed, n_steps * sizeof *got);
}

/* A real model of another architecture, where its files lie beside the tree. */
static void shakespeare_matches_its_golden(void **state)
{
    (void)state;
    if (!test_data("tiny-dlm-shakespeare/model.safetensors")) {
        printf("skipped: no tiny-dlm-shakespeare beside the source tree\n");
        skip();
    }
    lac_model *model;
    lac_session *session;
    golden_session(&model, &session, test_path("../shared/data/tiny-dlm-shakespeare"),
                   LAC_DTYPE_F32, 2, 512);
    laci_json *doc = golden_open(test_data("tiny-dlm-shakespeare/golden.json"));
    const laci_jval *cases = golden_get(laci_json_root(doc), "cases");
    for (const laci_jval *c = laci_json_first(cases); c; c = laci_json_next(c)) {
        const float t = (float)laci_json_number(golden_get(c, "t"));
        const double error = pilot_case_error(session, c, t / 127.0f, 128);
        if (!(error <= 1e-3)) fail_msg("logits differ by %g", error);
    }
    const laci_jval *decodes = golden_get(laci_json_root(doc), "greedy_decode");
    for (const laci_jval *v = laci_json_first(decodes); v; v = laci_json_next(v))
        check_shakespeare_decode(session, v);
    laci_json_free(doc);
    lac_session_free(session);
    lac_model_close(model);
}

/* ------------------------------------------------------------------ promises */

/* One model for the tests below, small enough to run often. */
static lac_model *small_model;
static lac_session *small_session;

static int open_small(void **state)
{
    (void)state;
    golden_session(&small_model, &small_session, NANO, LAC_DTYPE_F32, 2, 256);
    return 0;
}

static int close_small(void **state)
{
    (void)state;
    lac_session_free(small_session);
    lac_model_close(small_model);
    return 0;
}

static void lengths_are_exact(void **state)
{
    (void)state;
    int32_t ids[256];
    const size_t n = text_ids("There was once a ", ids);
    for (int n_tokens = 1; n_tokens <= 70; n_tokens += 23) {
        for (int block = 0; block <= 40; block += 13) {
            const lac_generate_options opt = { .n_tokens = n_tokens,
                                               .block_length = block,
                                               .ignore_eos = true };
            lac_result r;
            run(small_session, ids, n, &opt, &r);
            assert_int_equal(r.n_ids, n_tokens);
            assert_int_equal(r.n_canvas, n + (size_t)n_tokens);
            assert_int_equal(r.finish, LAC_FINISH_LENGTH);
            for (int i = 0; i < n_tokens; i++) {
                assert_int_equal(r.position[i], (int)n + i);
                assert_in_range(r.step_map[i], 0, r.steps - 1);
                assert_true(r.logprobs[i] <= 0);
                assert_int_not_equal(r.ids[i], 256); /* the mask token is never chosen */
            }
        }
    }
}

static void infill_keeps_what_is_given(void **state)
{
    (void)state;
    int32_t ids[256];
    const size_t n = text_ids("The quick brown fox jumps over the lazy dog.", ids);
    const size_t holes[] = { 0, 5, 6, 20, 43 };
    for (size_t i = 0; i < 5; i++)
        ids[holes[i]] = LAC_HOLE;
    lac_result r;
    run(small_session, ids, n, NULL, &r);
    assert_int_equal(r.n_canvas, n);
    assert_int_equal(r.finish == LAC_FINISH_LENGTH ? r.n_ids : 5, 5);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] != LAC_HOLE)
            assert_int_equal(r.canvas[i], ids[i]);
        else
            assert_in_range(r.canvas[i], 0, 259);
    }
    for (size_t i = 0; i < r.n_ids; i++)
        assert_int_equal(r.position[i], (int)holes[i]);
}

/* The published samplers fill every mask of a sequence, given ones too. */
static void given_mask_tokens_are_holes(void **state)
{
    (void)state;
    static int32_t ids[64], by_hole[64];
    lac_model_info info;
    lac_result result;
    assert_ok(lac_model_get_info(small_model, &info, NULL));
    size_t n = text_ids("the lamp", ids);
    ids[3] = ids[5] = LAC_HOLE;
    for (int n_tokens = 0; n_tokens <= 6; n_tokens += 3) {
        const lac_generate_options opt = { .n_tokens = n_tokens, .ignore_eos = true };
        run(small_session, ids, n, &opt, &result);
        const size_t n_ids = result.n_ids, n_canvas = result.n_canvas;
        assert_int_equal(n_ids, 2 + n_tokens);
        memcpy(by_hole, result.canvas, n_canvas * sizeof *by_hole);
        int32_t masked[64];
        for (size_t i = 0; i < n; i++)
            masked[i] = ids[i] == LAC_HOLE && i == 3 ? info.mask_id : ids[i];
        run(small_session, masked, n, &opt, &result);
        assert_int_equal(result.n_ids, n_ids);
        assert_memory_equal(result.canvas, by_hole, n_canvas * sizeof *by_hole);
        masked[5] = info.mask_id;
        run(small_session, masked, n, &opt, &result);
        assert_int_equal(result.n_ids, n_ids);
        assert_memory_equal(result.canvas, by_hole, n_canvas * sizeof *by_hole);
    }
}

static void every_sampler_is_deterministic(void **state)
{
    (void)state;
    int32_t ids[256], first[64];
    const size_t n = text_ids("The old man said that ", ids);
    for (int threads = 1; threads <= 3; threads += 2) {
        lac_session *session;
        const lac_session_options session_opt = { .n_ctx = 128, .n_threads = threads };
        assert_ok(lac_session_create(&session, small_model, &session_opt, NULL));
        for (int a = LAC_ALGORITHM_LOW_CONFIDENCE; a <= LAC_ALGORITHM_ENTROPY; a++) {
            const lac_generate_options opt = { .n_tokens = 24,
                                               .steps = 12,
                                               .seed = 7,
                                               .temperature = 0.8f,
                                               .top_p = 0.9f,
                                               .top_k = 40,
                                               .algorithm = (lac_algorithm)a,
                                               .ignore_eos = true };
            lac_result r;
            run(small_session, ids, n, &opt, &r);
            assert_int_equal(r.n_ids, 24);
            memcpy(first, r.ids, 24 * sizeof *first);
            run(session, ids, n, &opt, &r);
            assert_memory_equal(first, r.ids, 24 * sizeof *first);
        }
        lac_session_free(session);
    }
}

static void guidance_of_zero_changes_nothing_and_more_does(void **state)
{
    (void)state;
    int32_t ids[256], plain[16];
    const size_t n = text_ids("apple: 1234\nbread: 5678\nWhat is apple? ", ids);
    lac_generate_options opt = { .n_tokens = 16, .ignore_eos = true, .steps = 8 };
    lac_result r;
    run(small_session, ids, n, &opt, &r);
    assert_int_equal(r.forwards, 8);
    memcpy(plain, r.ids, sizeof plain);
    opt.cfg_scale = 1.5f;
    run(small_session, ids, n, &opt, &r);
    assert_int_equal(r.forwards, 16);
    opt.cfg_scale = 0;
    run(small_session, ids, n, &opt, &r);
    assert_memory_equal(plain, r.ids, sizeof plain);
}

static void text_stops_at_the_end_token(void **state)
{
    (void)state;
    int32_t ids[256];
    const size_t n =
        text_ids("shame: 2977\nwafer: 4976\nfinal: 6718\nicon: 8735\nWhat is wafer? ", ids);
    lac_generate_options opt = { .n_tokens = 64, .block_length = 8 };
    lac_result r;
    run(small_session, ids, n, &opt, &r);
    assert_int_equal(r.finish, LAC_FINISH_STOP);
    assert_int_equal(r.n_ids, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(r.ids[i], "4976"[i]);
    assert_true(r.steps <= 8); /* the blocks after the end were not run */
    opt.forbid_eos = true;
    run(small_session, ids, n, &opt, &r);
    assert_int_equal(r.n_ids, 64);
    for (size_t i = 0; i < 64; i++)
        assert_int_not_equal(r.ids[i], 257);
}

typedef struct {
    int n_calls, stop_after;
    int n_left;
} watcher;

static int watch(void *user, const lac_step *step)
{
    watcher *w = user;
    int n_open = 0;
    for (int i = 0; i < step->n_canvas; i++) {
        n_open += step->canvas[i] == LAC_HOLE;
        if (step->canvas[i] == LAC_HOLE) assert_int_equal(step->step_map[i], -1);
        if (step->candidate[i] >= 0) assert_int_equal(step->canvas[i], LAC_HOLE);
    }
    assert_int_equal(n_open, step->n_left);
    assert_true(step->density == 1); /* counted from the plan: dense visits every pair */
    assert_int_equal(step->step, w->n_calls);
    if (w->n_calls) assert_int_equal(w->n_left - step->n_fixed, step->n_left);
    w->n_left = step->n_left;
    return ++w->n_calls == w->stop_after;
}

static void callbacks_see_each_step_and_may_stop(void **state)
{
    (void)state;
    int32_t ids[256];
    const size_t n = text_ids("Once upon a time ", ids);
    watcher w = { .stop_after = 5 };
    const lac_generate_options opt = {
        .n_tokens = 20, .ignore_eos = true, .on_step = watch, .user = &w
    };
    lac_result r;
    lac_error err;
    assert_int_equal(lac_generate(small_session, ids, n, &opt, &r, &err), LAC_ECANCELLED);
    assert_string_equal(err.message, "stopped by the caller after 5 of 20 steps");
    assert_int_equal(r.finish, LAC_FINISH_CANCELLED);
    assert_int_equal(r.n_ids, 5);
    assert_int_equal(w.n_calls, 5);
    w = (watcher){ 0 };
    run(small_session, ids, n, &opt, &r); /* the session stays usable */
    assert_int_equal(w.n_calls, 20);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    lac_error err = { 0 };
    lac_result r;
    int32_t ids[300] = { 'a', 'b', 999 };
    const lac_generate_options opt = { .n_tokens = 8 };
    assert_int_equal(lac_generate(small_session, ids, 3, &opt, &r, &err), LAC_EINVAL);
    assert_string_equal(err.message, "id 999 at position 2: the model has 260 tokens");
    ids[2] = 'c';
    assert_int_equal(lac_generate(small_session, ids, 250, &opt, &r, &err), LAC_ECONTEXT);
    assert_string_equal(err.message,
                        "250 prompt and 8 new tokens do not fit: the context holds 256");
    assert_int_equal(lac_generate(small_session, NULL, 3, &opt, &r, &err), LAC_EINVAL);
    lac_session *session;
    const lac_session_options too_long = { .n_ctx = 1000000 };
    assert_int_equal(lac_session_create(&session, small_model, &too_long, &err), LAC_ECONTEXT);
    assert_string_equal(err.message, "a context of 1000000: the model allows 1 to 16384");
    const lac_session_options unknown = { .sparse = "sparsedd" };
    assert_int_equal(lac_session_create(&session, small_model, &unknown, &err), LAC_EINVAL);
    const lac_session_options little = { .n_ctx = 256, .max_bytes = 1000 };
    assert_int_equal(lac_session_create(&session, small_model, &little, &err), LAC_ENOMEM);
}

/* ------------------------------------------------------------------ memory */

/* Every allocation of opening, creating and generating fails once: a clean error, no leak. */
/* A folder that lacks something describes what it has; what it lacks is refused by name. */
static void parts_of_a_model_are_refused_by_name(void **state)
{
    (void)state;
    const lac_model_options how = { .card_only = true, .partial = true };
    char folder[] = "/tmp/lacuna-part-XXXXXX", path[64];
    lac_error err = { 0 };
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(copy_file(test_path("tests/golden/dream/config.json"), path), 0);
    lac_model *card = NULL;
    assert_int_equal(lac_model_open(&card, folder, &(lac_model_options){ .card_only = true }, &err),
                     LAC_EIO);
    assert_ok(lac_model_open(&card, folder, &how, &err));
    lac_model_info info;
    assert_ok(lac_model_get_info(card, &info, &err));
    assert_string_equal(info.tokenizer, "");
    assert_int_equal(info.n_tokens, 0);
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n = 0;
    const lac_chat_message message = { "user", "x" };
    assert_int_equal(lac_model_encode(card, "x", 1, NULL, &ids, &n, &err), LAC_EINVAL);
    assert_non_null(strstr(err.message, "tokenizer"));
    assert_int_equal(lac_model_encode_chat(card, NULL, &message, 1, &ids, &n, &err), LAC_EINVAL);
    assert_int_equal(lac_model_decode(card, &(int32_t){ 1 }, 1, false, &text, &n, &err),
                     LAC_EINVAL);
    assert_string_equal(lac_model_piece(card, 1, &n), "");
    lac_memory_plan plan;
    assert_ok(lac_model_plan_memory(card, 0, 1, &plan, &err));
    lac_session *session = NULL;
    assert_int_equal(lac_session_create(&session, card, NULL, &err), LAC_EINVAL);
    lac_model_close(card);
    (void)remove(path);
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(copy_file(test_path("tests/golden/dream/tokenizer.json"), path), 0);
    assert_ok(lac_model_open(&card, folder, &how, &err));
    assert_ok(lac_model_encode(card, "x", 1, NULL, &ids, &n, &err));
    lac_model_free_ids(card, ids);
    assert_int_equal(lac_model_plan_memory(card, 0, 1, &plan, &err), LAC_EINVAL);
    assert_non_null(strstr(err.message, "config.json"));
    lac_model_close(card);
    (void)remove(path);
    (void)rmdir(folder);
}

static void failing_allocations_are_survived(void **state)
{
    (void)state;
    static const char *const models[] = { "models/nano-f", "tests/golden/dream-gguf/model-f16.gguf",
                                          "tests/golden/llada-llama" };
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        bool done = false;
        for (long n = 1; !done; n += n < 200 ? 1 : 37) {
            fault count = { .left = n - 1 };
            const lac_allocator mem = fault_allocator(&count);
            const lac_model_options opt = { .allocator = &mem, .n_threads = 1 };
            const lac_session_options session_opt = { .n_ctx = 32,
                                                      .sparse = m ? "off" : "sparsed" };
            const lac_generate_options generate_opt = { .n_tokens = 4, .cfg_scale = 1 };
            const int32_t ids[] = { 65, 66, 67 };
            lac_model *model = NULL;
            lac_session *session = NULL;
            lac_result r;
            lac_error err = { 0 };
            lac_status st = lac_model_open(&model, test_path(models[m]), &opt, &err);
            if (!st) st = lac_session_create(&session, model, &session_opt, &err);
            if (!st) st = lac_generate(session, ids, 3, &generate_opt, &r, &err);
            if (st && st != LAC_ENOMEM)
                fail_msg("%s, allocation %ld: %s: %s", models[m], n, lac_status_name(st),
                         err.message);
            done = count.n_calls < n;
            if (done) assert_ok(st);
            lac_session_free(session);
            lac_model_close(model);
            assert_int_equal(count.live, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nano_repeats_its_golden_decodes),
        cmocka_unit_test(nano_logits_match_double_precision),
        cmocka_unit_test(shakespeare_matches_its_golden),
        cmocka_unit_test(lengths_are_exact),
        cmocka_unit_test(infill_keeps_what_is_given),
        cmocka_unit_test(given_mask_tokens_are_holes),
        cmocka_unit_test(every_sampler_is_deterministic),
        cmocka_unit_test(guidance_of_zero_changes_nothing_and_more_does),
        cmocka_unit_test(text_stops_at_the_end_token),
        cmocka_unit_test(callbacks_see_each_step_and_may_stop),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(parts_of_a_model_are_refused_by_name),
        cmocka_unit_test(failing_allocations_are_survived),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
