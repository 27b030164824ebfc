/* test_block.c: block-wise decoding behind a key cache: decodes of the PyTorch reference token for
 * token, every step of a cached decode against a pass over everything under the mask of training,
 * caches of one piece and of many, prompts of every kind, and memory that runs out midway. */
#include <math.h>

#include "engine/golden.h"
#include "engine/pass.h"
#include "fault.h"

enum { MAX_IDS = 512, N_VOCAB = 272, BLOCK = 16 };

static const char nano_b[] = "models/nano-b";

/* ------------------------------------------------------------------ the reference's decodes */

/* A number that is written where it is not 0. */
static double number_of(const laci_jval *c, const char *key)
{
    const laci_jval *v = laci_json_get(c, key);
    if (!v) return 0;
    return laci_json_is_bool(v) ? (double)laci_json_bool(v) : laci_json_number(v);
}

static lac_generate_options options_of(const laci_jval *c)
{
    const laci_jval *algorithm = laci_json_get(c, "algorithm");
    const int found = algorithm ? lac_algorithm_from_name(laci_json_string(algorithm)) : 0;
    return (lac_generate_options){
        .n_tokens = (int)number_of(c, "n_new"),
        .algorithm = (lac_algorithm)found,
        .threshold = (float)number_of(c, "threshold"),
        .temperature = (float)number_of(c, "temperature"),
        .top_k = (int)number_of(c, "top_k"),
        .top_p = (float)number_of(c, "top_p"),
        .seed = (uint64_t)number_of(c, "seed"),
        .block_steps = (int)number_of(c, "block_steps"),
        .cut_last_block = number_of(c, "cut") > 0,
        .ignore_eos = true,
    };
}

static void check_decode(lac_session *session, const char *name, const laci_jval *c)
{
    int32_t prompt[MAX_IDS], want[MAX_IDS], steps[MAX_IDS];
    lac_error err = { 0 };
    lac_result r;
    const size_t n_prompt = golden_ints(golden_get(c, "prompt"), prompt, MAX_IDS);
    const size_t n = golden_ints(golden_get(c, "ids"), want, MAX_IDS);
    (void)golden_ints(golden_get(c, "step_map"), steps, MAX_IDS);
    const lac_generate_options opt = options_of(c);
    if (lac_generate(session, prompt, n_prompt, &opt, &r, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.n_ids, n);
    assert_int_equal(r.n_canvas, n_prompt + n);
    if (laci_json_get(c, "n_steps")) assert_int_equal(r.steps, number_of(c, "n_steps"));
    for (size_t i = 0; i < n; i++)
        if (r.ids[i] != want[i] || r.step_map[i] != steps[i])
            fail_msg("%s, prompt of %zu, threshold %g, token %zu: id %d at step %d, not %d at %d",
                     name, n_prompt, (double)opt.threshold, i, r.ids[i], r.step_map[i], want[i],
                     steps[i]);
}

static void decodes_match_the_reference(void **state)
{
    (void)state;
    static const char *const names[] = { "sdar", "fast-dllm" };
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        lac_model *model;
        lac_session *session;
        size_t n_cases = 0;
        snprintf(path, sizeof path, "tests/golden/%s", names[i]);
        golden_session(&model, &session, test_path(path), LAC_DTYPE_F32, 2, 128);
        snprintf(path, sizeof path, "tests/golden/%s/decode.json", names[i]);
        laci_json *doc = golden_open(test_path(path));
        const laci_jval *cases = golden_get(laci_json_root(doc), "cases");
        for (const laci_jval *c = laci_json_first(cases); c; c = laci_json_next(c), n_cases++)
            check_decode(session, names[i], c);
        assert_true(n_cases >= 11);
        laci_json_free(doc);
        lac_session_free(session);
        lac_model_close(model);
    }
}

/* ------------------------------------------------------------------ cached against whole */

/* Some text with repeats, so that attention has something to find. */
static void fill_prompt(int32_t *ids, size_t n)
{
    static const char text[] = "lamp: 3141\ngarden: 2718\nriver: 1618\nIt was a cold morning. ";
    for (size_t i = 0; i < n; i++)
        ids[i] = text[(i + i / 97) % (sizeof text - 1)];
}

/* Follows a generation and repeats each of its steps without a cache. */
typedef struct {
    lac_session *whole;
    int32_t before[MAX_IDS]; /* the canvas as the step saw it */
    size_t n_before;
    int n_compared;
    double worst;
} follower;

static double probability(const float *logits, int32_t id)
{
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < N_VOCAB; i++)
        if (i != 256 && i < 272 && logits[i] > top) top = (double)logits[i];
    for (int i = 0; i < N_VOCAB; i++)
        if (i != 256) sum += exp((double)logits[i] - top);
    return exp((double)logits[id] - top) / sum;
}

static int follow(void *user, const lac_step *step)
{
    static float logits[N_VOCAB];
    follower *f = user;
    const int end = (step->block_begin / BLOCK + 1) * BLOCK;
    for (int i = step->n_canvas; i < end; i++)
        f->before[i] = LAC_HOLE;
    for (int32_t at = step->block_begin; at < step->block_end; at++) {
        if (isnan(step->confidence[at])) continue;
        const bool is_fixed = step->step_map[at] == step->step;
        const int32_t id = is_fixed ? step->canvas[at] : step->candidate[at];
        assert_ok(lac_session_logits(f->whole, f->before, (size_t)end, &at, 1, 0, logits, NULL));
        const double error = fabs(probability(logits, id) - (double)step->confidence[at]);
        if (!(error <= f->worst)) f->worst = error;
        f->n_compared++;
    }
    memcpy(f->before, step->canvas, (size_t)step->n_canvas * sizeof *f->before);
    return 0;
}

static void check_cached(lac_session *session, lac_session *whole, size_t n_prompt, int n_new)
{
    static int32_t prompt[MAX_IDS];
    static follower f;
    lac_result r;
    lac_error err = { 0 };
    f = (follower){ .whole = whole };
    fill_prompt(prompt, n_prompt);
    memcpy(f.before, prompt, n_prompt * sizeof *prompt);
    for (int i = 0; i < n_new; i++)
        f.before[n_prompt + (size_t)i] = LAC_HOLE;
    const lac_generate_options opt = {
        .n_tokens = n_new, .ignore_eos = true, .cut_last_block = true, .on_step = follow, .user = &f
    };
    if (lac_generate(session, prompt, n_prompt, &opt, &r, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.n_ids, n_new);
    assert_true(f.n_compared >= n_new);
    if (!(f.worst <= 1e-4)) fail_msg("prompt of %zu: a confidence is off by %g", n_prompt, f.worst);
}

/* Prompts that end inside a block and on a border, none at all; one piece of cache, and many. */
static void cached_steps_equal_whole_passes(void **state)
{
    (void)state;
    static const size_t prompts[] = { 37, 32, 0, 15, 208, 240 };
    for (int is_cut = 0; is_cut < 2; is_cut++) {
        lac_model *model;
        lac_session *session, *whole;
        const lac_session_options room = { .n_ctx = 320 };
        golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_F32, 2, 320);
        assert_ok(lac_session_create(&whole, model, &room, NULL));
        if (is_cut) session->seq->kv.first_end = 64;
        for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
            check_cached(session, whole, prompts[i], 35);
        assert_int_equal(session->seq->kv.n_pieces, is_cut ? 4 : 1);
        lac_session_free(whole);
        lac_session_free(session);
        lac_model_close(model);
    }
}

/* Borders of pieces depend on positions, so bits do not depend on how a session grew. */
static void bits_do_not_depend_on_threads_or_growth(void **state)
{
    (void)state;
    enum { N_PROMPT = 200, N_NEW = 40 };
    static int32_t prompt[N_PROMPT], ids[N_NEW];
    static float logprobs[N_NEW];
    fill_prompt(prompt, N_PROMPT);
    for (int i = 0; i < 4; i++) {
        lac_model *model;
        lac_session *session;
        lac_result r;
        const lac_generate_options opt = { .n_tokens = N_NEW, .temperature = 0.7f, .seed = 3 };
        golden_session(&model, &session, test_path(nano_b), i < 3 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                       i % 3 + 1, 256);
        session->seq->kv.first_end = 64;
        if (i == 1) assert_ok(laci_keys_reserve(&session->seq->kv, 256, NULL));
        assert_ok(lac_generate(session, prompt, N_PROMPT, &opt, &r, NULL));
        if (!i) memcpy(ids, r.ids, r.n_ids * sizeof *ids);
        if (!i) memcpy(logprobs, r.logprobs, r.n_ids * sizeof *logprobs);
        if (i < 3) assert_memory_equal(ids, r.ids, r.n_ids * sizeof *ids);
        if (i < 3) assert_memory_equal(logprobs, r.logprobs, r.n_ids * sizeof *logprobs);
        lac_session_free(session);
        lac_model_close(model);
    }
}

static void later_tokens_are_never_seen(void **state)
{
    (void)state;
    enum { N = 96, AT = 47 };
    static int32_t ids[N];
    static float want[N_VOCAB], got[N_VOCAB];
    const int32_t row = AT, next = AT + 1;
    lac_model *model;
    lac_session *session;
    golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_BF16, 2, N);
    fill_prompt(ids, N);
    assert_ok(lac_session_logits(session, ids, N, &row, 1, 0, want, NULL));
    for (int i = AT + 1; i < N; i++)
        ids[i] = 'z';
    assert_ok(lac_session_logits(session, ids, N, &row, 1, 0, got, NULL));
    assert_memory_equal(want, got, sizeof want);
    ids[AT - 3] = 'z'; /* of the same block: seen */
    assert_ok(lac_session_logits(session, ids, N, &row, 1, 0, got, NULL));
    assert_memory_not_equal(want, got, sizeof want);
    assert_ok(lac_session_logits(session, ids, N, &next, 1, 0, got, NULL));
    lac_session_free(session);
    lac_model_close(model);
}

/* ------------------------------------------------------------------ refusals and edges */

static void refuse(lac_session *session, const int32_t *ids, size_t n,
                   const lac_generate_options *opt, lac_status want, const char *words)
{
    lac_error err = { 0 };
    lac_result r;
    assert_int_equal(lac_generate(session, ids, n, opt, &r, &err), want);
    if (!strstr(err.message, words)) fail_msg("\"%s\" lacks \"%s\"", err.message, words);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static int32_t ids[128];
    lac_model *model;
    lac_session *session;
    golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_F32, 1, 100);
    fill_prompt(ids, 128);
    refuse(session, ids, 20, &(lac_generate_options){ .block_length = 8 }, LAC_EINVAL,
           "block_length is 8: this model decodes in blocks of 16");
    refuse(session, ids, 90, &(lac_generate_options){ .n_tokens = 11 }, LAC_ECONTEXT, "100");
    refuse(session, ids, 20, &(lac_generate_options){ .n_tokens = 8, .cfg_scale = 1 }, LAC_EINVAL,
           "guidance");
    refuse(session, ids, 20,
           &(lac_generate_options){ .n_tokens = 8, .algorithm = LAC_ALGORITHM_ORIGIN }, LAC_EINVAL,
           "origin");
    ids[10] = LAC_HOLE;
    refuse(session, ids, 20, &(lac_generate_options){ .n_tokens = 8 }, LAC_EINVAL,
           "a token is given at position 19 behind the hole at 10");
    ids[10] = 'x';
    lac_result r; /* the last block is cut by the context, and the session still works */
    assert_ok(lac_generate(
        session, ids, 90, &(lac_generate_options){ .n_tokens = 10, .ignore_eos = true }, &r, NULL));
    assert_int_equal(r.n_ids, 10);
    lac_session_free(session);
    lac_model_close(model);
}

/* What a step says of positions that were asked for. */
typedef struct {
    int n_fixed, n_steps, n_canvas, n_seen;
} account;

static int note_step(void *user, const lac_step *step)
{
    account *a = user;
    int n = 0, n_open = 0;
    for (int i = 0; i < step->n_canvas; i++) {
        n += step->step_map[i] == step->step;
        n_open += step->canvas[i] == LAC_HOLE;
    }
    assert_int_equal(step->n_fixed, n);
    assert_int_equal(step->n_left, n_open);
    assert_true(step->block_begin < step->block_end && step->block_end <= step->n_canvas);
    a->n_fixed += step->n_fixed;
    a->n_canvas = step->n_canvas;
    a->n_steps++;
    return 0;
}

static void note_logits(void *user, const lac_logits_view *v)
{
    account *a = user;
    for (int i = 0; i < v->n_rows; i++)
        a->n_seen += v->position[i];
    assert_true(v->n_rows > 0);
}

/* A request that ends inside a block comes to the beginning of the one that ends with the block,
 * and tells only of what was asked for. */
static void a_last_block_is_denoised_whole(void **state)
{
    (void)state;
    static const char *const names[] = { "tests/golden/sdar", "tests/golden/fast-dllm" };
    static const lac_generate_options how[] = {
        { .threshold = 0.02f },
        { .temperature = 0.8f, .seed = 4 },
        { .block_steps = 2 },
        { .algorithm = LAC_ALGORITHM_CONFIDENCE_THRESHOLD, .threshold = 0.03f, .block_steps = 2 },
    };
    enum { N_PROMPT = 13 };
    for (size_t i = 0; i < 2 * sizeof how / sizeof *how; i++) {
        lac_model *model;
        lac_session *session;
        int32_t prompt[N_PROMPT], ids[64], steps[64];
        float logprobs[64];
        lac_result r;
        golden_session(&model, &session, test_path(names[i % 2]), LAC_DTYPE_F32, 1, 64);
        const int block = model->config.block_size, whole = 32 - N_PROMPT;
        fill_prompt(prompt, N_PROMPT);
        lac_generate_options opt = how[i / 2];
        opt.ignore_eos = true;
        opt.n_tokens = whole;
        assert_ok(lac_generate(session, prompt, N_PROMPT, &opt, &r, NULL));
        memcpy(ids, r.ids, sizeof *ids * (size_t)whole);
        memcpy(steps, r.step_map, sizeof *steps * (size_t)whole);
        memcpy(logprobs, r.logprobs, sizeof *logprobs * (size_t)whole);
        for (int n = whole - block + 1; n < whole; n++) {
            account a = { 0 };
            opt.n_tokens = n;
            opt.on_step = note_step;
            opt.on_logits = note_logits;
            opt.user = &a;
            assert_ok(lac_generate(session, prompt, N_PROMPT, &opt, &r, NULL));
            assert_int_equal(r.n_ids, n);
            assert_int_equal(r.finish, LAC_FINISH_LENGTH);
            assert_memory_equal(ids, r.ids, sizeof *ids * (size_t)n);
            assert_memory_equal(steps, r.step_map, sizeof *steps * (size_t)n);
            assert_memory_equal(logprobs, r.logprobs, sizeof *logprobs * (size_t)n);
            assert_int_equal(a.n_fixed, n);
            assert_int_equal(a.n_canvas, N_PROMPT + n);
            assert_int_equal(a.n_steps, r.steps);
            int last = 0;
            for (int k = 0; k < n; k++)
                last = steps[k] > last ? steps[k] : last;
            assert_int_equal(r.steps, last + 1); /* nothing is run for what nobody asked for */
        }
        lac_session_free(session);
        lac_model_close(model);
    }
}

/* The context may end inside the block: then the block ends there. */
static void a_last_block_ends_with_the_context(void **state)
{
    (void)state;
    static int32_t ids[64], first[16];
    fill_prompt(ids, 64);
    for (int i = 0; i < 2; i++) {
        lac_model *model;
        lac_session *session;
        lac_result r;
        const lac_generate_options opt = { .n_tokens = 6,
                                           .cut_last_block = i == 1,
                                           .ignore_eos = true };
        golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_F32, 1, 38);
        assert_ok(lac_generate(session, ids, 32, &opt, &r, NULL));
        assert_int_equal(r.n_ids, 6);
        if (i) assert_memory_equal(first, r.ids, sizeof *first * 6);
        memcpy(first, r.ids, sizeof *first * 6);
        lac_session_free(session);
        lac_model_close(model);
    }
}

/* Every way of choosing fills every hole, in the steps it was given. */
static void samplers_fill_every_hole(void **state)
{
    (void)state;
    static int32_t ids[64];
    static const lac_generate_options cases[] = {
        { .algorithm = LAC_ALGORITHM_SEQUENTIAL },
        { .algorithm = LAC_ALGORITHM_ENTROPY_BOUNDED },
        { .algorithm = LAC_ALGORITHM_ENTROPY_BOUNDED, .entropy_bound = 5 },
        { .algorithm = LAC_ALGORITHM_RANDOM, .temperature = 1, .seed = 5 },
        { .threshold = 0.6f },
        { .steps = 9 },
        { .steps = 1 },
    };
    lac_model *model;
    lac_session *session;
    golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_F32, 2, 128);
    fill_prompt(ids, 64);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lac_result r;
        lac_error err = { 0 };
        lac_generate_options opt = cases[i];
        opt.n_tokens = 40;
        opt.ignore_eos = true;
        const bool too_few = opt.steps == 1;
        const lac_status st = lac_generate(session, ids, 53, &opt, &r, &err);
        assert_int_equal(st, too_few ? LAC_EINVAL : LAC_OK);
        if (too_few) continue;
        assert_int_equal(r.n_ids, 40);
        for (size_t k = 1; k < r.n_ids && opt.algorithm == LAC_ALGORITHM_SEQUENTIAL; k++)
            assert_true(r.step_map[k] == r.step_map[k - 1] + 1);
        if (opt.steps) assert_int_equal(r.steps, opt.steps);
        if (i == 2) assert_true(r.steps < 20); /* several a step */
    }
    lac_session_free(session);
    lac_model_close(model);
}

/* An end token closes the text: nothing after it is in the result, no block is run after it. */
static void an_end_token_ends_the_run(void **state)
{
    (void)state;
    static const char text[] = "lamp: 3141\ngarden: 2718\nriver: 1618\nWhat is garden? ";
    static int32_t ids[sizeof text];
    lac_model *model;
    lac_session *session;
    lac_result r;
    golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_F32, 2, 256);
    for (size_t i = 0; i + 1 < sizeof text; i++)
        ids[i] = text[i];
    assert_ok(lac_generate(session, ids, sizeof text - 1,
                           &(lac_generate_options){ .n_tokens = 100 }, &r, NULL));
    assert_int_equal(r.finish, LAC_FINISH_STOP);
    assert_int_equal(r.n_ids, 4);
    assert_int_equal(r.ids[0], '2');
    assert_int_equal(r.ids[3], '8');
    assert_true(r.steps <= 2 * BLOCK);
    assert_true(r.seconds_prefill > 0 && r.seconds_prefill <= r.seconds);
    lac_session_free(session);
    lac_model_close(model);
}

/* ------------------------------------------------------------------ memory */

static void the_cache_takes_what_was_predicted(void **state)
{
    (void)state;
    lac_model *model;
    lac_session *session;
    lac_memory_plan plan;
    golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_BF16, 1, 12345);
    assert_ok(lac_model_plan_memory(model, 12345, 1, &plan, NULL));
    assert_int_equal(session->seq->kv.n_pieces, 0);
    assert_ok(laci_keys_reserve(&session->seq->kv, 12345, NULL));
    assert_int_equal(session->seq->kv.n_pieces, 2);
    assert_int_equal(laci_keys_bytes(&session->seq->kv), plan.bytes_kv);
    /* 4 layers, 4 heads of 32, keys and values, bf16, panels of 64 */
    assert_int_equal(plan.bytes_kv, 4 * 4 * 32 * 2 * 2 * ((12345 + 63) / 64 * 64));
    lac_error err = { 0 };
    assert_int_equal(laci_keys_reserve(&session->seq->kv, 12346, &err), LAC_ECONTEXT);
    lac_session_free(session);
    lac_model_close(model);
}

/* 131,072 positions, a few at a time: what is there stays where it is. */
static void a_long_cache_grows_without_moving(void **state)
{
    (void)state;
    enum { N = 131072, STEP = 1000 };
    lac_model *model;
    lac_session *session;
    golden_session(&model, &session, test_path(nano_b), LAC_DTYPE_BF16, 1, 64);
    const laci_kv *places[LACI_KEY_PIECES];
    laci_keys keys = { .be = session->be, .n_kept = 2, .n_kv_heads = 1, .d_head = 16, .n_ctx = N };
    size_t n_before = 0;
    laci_keys_cut(&keys, BLOCK);
    for (size_t n = STEP; n < N + STEP; n += STEP) {
        const size_t end = n < N ? n : N;
        assert_ok(laci_keys_reserve(&keys, end, NULL));
        for (size_t i = 0; i < n_before; i++)
            assert_ptr_equal(keys.pieces[i].kv, places[i]);
        for (; n_before < keys.n_pieces; n_before++)
            places[n_before] = keys.pieces[n_before].kv;
        const laci_key_piece *last = &keys.pieces[n_before - 1];
        const size_t held = last->first + last->n;
        assert_true(held >= end && last->first < end); /* no piece before it is needed */
        assert_int_equal(laci_keys_bytes(&keys), held * 2 * 2 * 16 * 2);
    }
    assert_int_equal(laci_keys_bytes(&keys), laci_keys_need(&keys, LACI_BF16, N));
    assert_true(keys.n_pieces > 4);
    laci_keys_clear(&keys);
    lac_session_free(session);
    lac_model_close(model);
}

/* Growth that fails reports it and leaves a session that answers as before. */
static void memory_that_runs_out_midway(void **state)
{
    (void)state;
    enum { N_PROMPT = 120, N_NEW = 100 };
    static int32_t prompt[N_PROMPT], want[N_NEW];
    lac_model *model;
    fill_prompt(prompt, N_PROMPT);
    const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
    assert_ok(lac_model_open(&model, test_path(nano_b), &how, NULL));
    const lac_generate_options opt = { .n_tokens = N_NEW, .ignore_eos = true };
    bool has_failed = true;
    for (long n = 0; has_failed; n++) {
        fault f = { .left = FAULT_NEVER };
        const lac_allocator mem = fault_allocator(&f);
        const lac_session_options room = { .n_ctx = 256, .allocator = &mem };
        lac_session *session;
        lac_result r;
        lac_error err = { 0 };
        assert_ok(lac_session_create(&session, model, &room, NULL));
        session->seq->kv.first_end = 64;
        f.left = n;
        const lac_status st = lac_generate(session, prompt, N_PROMPT, &opt, &r, &err);
        has_failed = st != LAC_OK;
        if (has_failed) assert_int_equal(st, LAC_ENOMEM);
        if (has_failed) assert_non_null(strstr(err.message, "bytes"));
        f.left = FAULT_NEVER;
        assert_ok(lac_generate(session, prompt, N_PROMPT, &opt, &r, NULL));
        if (!n) memcpy(want, r.ids, sizeof want);
        assert_memory_equal(want, r.ids, sizeof want);
        lac_session_free(session);
        assert_int_equal(f.live, 0);
        assert_true(n < 1000);
    }
    lac_model_close(model);
}

static void a_session_that_cannot_be_made_leaves_nothing(void **state)
{
    (void)state;
    lac_model *model;
    const lac_model_options how = { .n_threads = 1 };
    assert_ok(lac_model_open(&model, test_path(nano_b), &how, NULL));
    lac_status st = LAC_ENOMEM;
    for (long n = 0; st; n++) {
        fault f = { .left = n };
        const lac_allocator mem = fault_allocator(&f);
        const lac_session_options room = { .n_ctx = 256, .allocator = &mem };
        lac_session *session = NULL;
        st = lac_session_create(&session, model, &room, NULL);
        if (st) assert_int_equal(st, LAC_ENOMEM);
        if (st) assert_null(session);
        lac_session_free(session);
        assert_int_equal(f.live, 0);
        assert_true(n < 1000);
    }
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_match_the_reference),
        cmocka_unit_test(cached_steps_equal_whole_passes),
        cmocka_unit_test(bits_do_not_depend_on_threads_or_growth),
        cmocka_unit_test(later_tokens_are_never_seen),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_last_block_is_denoised_whole),
        cmocka_unit_test(a_last_block_ends_with_the_context),
        cmocka_unit_test(samplers_fill_every_hole),
        cmocka_unit_test(an_end_token_ends_the_run),
        cmocka_unit_test(the_cache_takes_what_was_predicted),
        cmocka_unit_test(a_long_cache_grows_without_moving),
        cmocka_unit_test(memory_that_runs_out_midway),
        cmocka_unit_test(a_session_that_cannot_be_made_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
