/* test_eval_tasks.c: properties every sample must have, for every task at several lengths: the
 * answer stands where the ranges say, once; nothing else holds it; the length is kept and nearly
 * used up; the same seed gives the same bytes and another index others. */
#include <math.h>

#include "engine/golden.h"
#include "eval/eval_canvas.h"
#include "eval/eval_score.h"

#define NANO test_path("models/nano-f")

static lac_model *model;

static int open_model(void **state)
{
    (void)state;
    lac_error err = { 0 };
    const lac_model_options card = { .card_only = true };
    return lac_model_open(&model, NANO, &card, &err) != LAC_OK;
}

static int close_model(void **state)
{
    (void)state;
    lac_model_close(model);
    return 0;
}

static eval_request request_of(int ctx, int index, int depth)
{
    return (eval_request){
        .seed = 7, .ctx = ctx, .index = index, .depth = depth, .haystack = eval_haystack_builtin()
    };
}

static eval_encoding bytes_of_model(void)
{
    return (eval_encoding){ .model = model };
}

/* Shortest power of two at which every task has a sample, for one token a byte. */
static int least_ctx(const eval_task *task)
{
    return task->make == eval_task_find("cwe")->make ? 8192 : 1024;
}

static size_t count(const eval_text *text, const char *words)
{
    size_t n = 0;
    for (const char *at = text->data; (at = strstr(at, words)); at++)
        n++;
    return n;
}

static void fit(eval_canvas *c, eval_sample *s, const eval_task *task, const eval_request *r)
{
    const eval_encoding how = bytes_of_model();
    if (eval_canvas_fit(c, s, &how, task, r)) fail_msg("%s at %d", task->name, r->ctx);
}

/* ------------------------------------------------------------------ every task */

static void lengths_are_kept_and_used(void **state)
{
    (void)state;
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (size_t t = 0; t < eval_n_tasks(); t++) {
        const eval_task *task = eval_task_at(t);
        for (int ctx = least_ctx(task); ctx <= 8192; ctx = ctx * 2 - 37) {
            const eval_request r = request_of(ctx, (int)t, EVAL_STRATIFIED);
            fit(&c, &s, task, &r);
            /* a line, a word or a percent of one more copy of a list */
            const int unit = 128 + ctx / 16;
            if ((int)c.n > ctx || (int)c.n < ctx - unit)
                fail_msg("%s: %zu tokens for %d", task->name, c.n, ctx);
            const int n_response = c.response.end - c.response.begin;
            assert_int_equal(n_response, task->fits_slot ? (int)s.answer.n : task->reserved);
        }
    }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

static void answers_stand_in_the_context(void **state)
{
    (void)state;
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (size_t t = 0; t < eval_n_tasks(); t++) {
        const eval_task *task = eval_task_at(t);
        for (int i = 0; i < 10; i++) {
            const eval_request r = request_of(least_ctx(task), i, EVAL_STRATIFIED);
            fit(&c, &s, task, &r);
            assert_true(s.n_refs > 0);
            for (size_t k = 0; k < s.n_refs; k++)
                if (!count(&s.prompt, s.refs[k].data))
                    fail_msg("%s %d: %s is not there", task->name, i, s.refs[k].data);
            const char *answer = s.answer.data;
            assert_true(eval_is_exact(answer, s.answer.n, answer, s.answer.n));
        }
    }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

/* A byte tokenizer: a range of tokens is the bytes themselves. */
static void ranges_hold_needles(void **state)
{
    (void)state;
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (size_t t = 0; t < eval_n_tasks(); t++) {
        const eval_task *task = eval_task_at(t);
        const eval_request r = request_of(least_ctx(task), 3, EVAL_STRATIFIED);
        fit(&c, &s, task, &r);
        assert_int_equal(c.n_needles, s.n_needles);
        for (size_t k = 0; k < s.n_needles; k++) {
            assert_int_equal(c.needles[k].begin, s.needles[k].begin);
            assert_int_equal(c.needles[k].end, s.needles[k].end);
            assert_true(s.needles[k].begin < s.needles[k].end);
            assert_true(c.needles[k].end <= c.question.begin);
        }
        assert_int_equal(c.question.begin, s.question.begin);
        assert_int_equal(c.question.end, s.question.end);
        assert_true(c.question.end <= c.response.begin);
        for (int at = c.response.begin; at < c.response.end; at++)
            assert_int_equal(c.ids[at], LAC_HOLE);
    }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

static void equal_seeds_give_equal_bytes(void **state)
{
    (void)state;
    eval_sample a = { .n_refs = 0 }, b = { .n_refs = 0 };
    for (size_t t = 0; t < eval_n_tasks(); t++) {
        const eval_task *task = eval_task_at(t);
        const eval_request r = request_of(4096, 5, EVAL_STRATIFIED);
        eval_request other = r;
        const size_t size = 400;
        assert_true(eval_sample_make(task, &r, size, &a));
        other.index = 6;
        assert_true(eval_sample_make(task, &other, size, &b));
        assert_string_not_equal(a.prompt.data, b.prompt.data);
        other = r;
        other.seed = 8;
        assert_true(eval_sample_make(task, &other, size, &b));
        assert_string_not_equal(a.prompt.data, b.prompt.data);
        assert_true(eval_sample_make(task, &r, size, &b));
        assert_string_equal(a.prompt.data, b.prompt.data);
        assert_string_equal(a.answer.data, b.answer.data);
    }
    eval_sample_free(&a);
    eval_sample_free(&b);
}

/* Bytes must not change between versions and machines: results would no longer compare. */
static void samples_are_the_same_everywhere(void **state)
{
    (void)state;
    eval_sample s = { .n_refs = 0 };
    const eval_request r = request_of(512, 0, EVAL_STRATIFIED);
    assert_true(eval_sample_make(eval_task_find("kv"), &r, 3, &s));
    assert_string_equal(s.prompt.data, "pilot: 4742\ncompass: 8696\nhill: 4946\nWhat is pilot? ");
    eval_sample_free(&s);
}

/* ------------------------------------------------------------------ needles */

static bool is_word_start(const eval_text *text, const char *at)
{
    return at == text->data || at[-1] == '\n' || at[-1] == ' ';
}

/* Lines "key: " of a prompt with this key. */
static size_t count_keys(const eval_text *text, const char *key, size_t n_key)
{
    size_t n = 0;
    for (const char *at = text->data; (at = strchr(at, ':')); at++)
        n += (size_t)(at - text->data) >= n_key && !strncmp(at - n_key, key, n_key) &&
             is_word_start(text, at - n_key);
    return n;
}

static void no_distractor_shares_the_key(void **state)
{
    (void)state;
    static const char *const tasks[] = { "kv", "niah", "niah1", "multiquery" };
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++)
        for (int i = 0; i < 20; i++) {
            const eval_request r = request_of(t ? 2048 : 8192, i, EVAL_STRATIFIED);
            fit(&c, &s, eval_task_find(tasks[t]), &r);
            for (size_t k = 0; k < s.n_needles; k++) {
                const char *needle = s.prompt.data + s.needles[k].begin;
                const size_t n_key = strcspn(needle, ":");
                assert_int_equal(count_keys(&s.prompt, needle, n_key), 1);
            }
        }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

static void rulers_needles_stand_once(void **state)
{
    (void)state;
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (size_t t = 0; t < eval_n_ruler_tasks; t++) {
        const eval_task *task = &eval_ruler_tasks[t];
        if (strncmp(task->name, "niah", 4) != 0) continue;
        for (int i = 0; i < 10; i++) {
            const eval_request r = request_of(4096, i, EVAL_STRATIFIED);
            fit(&c, &s, task, &r);
            assert_int_equal(s.n_needles, (size_t)task->n_queries * (size_t)task->n_values);
            for (size_t k = 0; k < s.n_needles; k++) {
                char needle[200], key[200];
                const eval_span at = s.needles[k];
                snprintf(needle, sizeof needle, "%.*s", (int)(at.end - at.begin),
                         s.prompt.data + at.begin);
                assert_int_equal(count(&s.prompt, needle), 1);
                const char *begin = strstr(needle, " for "), *end = strstr(needle, " is: ");
                assert_non_null(begin);
                assert_non_null(end);
                snprintf(key, sizeof key, "%.*s is: ", (int)(end - begin), begin);
                assert_int_equal(count(&s.prompt, key), task->n_values);
            }
        }
    }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

static void needles_stand_at_the_depth_asked_for(void **state)
{
    (void)state;
    static const char *const tasks[] = {
        "kv", "niah1", "copy", "niah_single_1", "niah_single_2", "niah_multikey_2"
    };
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++)
        for (int depth = 0; depth <= 100; depth += 25) {
            const eval_request r = request_of(4096, 0, depth);
            fit(&c, &s, eval_task_find(tasks[t]), &r);
            const double at = (double)s.needles[0].begin / (double)s.question.begin;
            if (fabs(at - depth / 100.0) > 0.08)
                fail_msg("%s: at %.2f, asked for %d%%", tasks[t], at, depth);
        }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

static void depths_take_turns_in_ten_bins(void **state)
{
    (void)state;
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (int i = 0; i < 20; i++) {
        const eval_request r = request_of(2048, i, EVAL_STRATIFIED);
        fit(&c, &s, eval_task_find("niah1"), &r);
        assert_int_equal((int)(s.depth * 10), i % 10);
    }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

/* Chains: each name is assigned from the one before, further up. */
static void chains_are_in_order(void **state)
{
    (void)state;
    static const char *const tasks[] = { "vt", "ruler_vt" };
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (size_t t = 0; t < 2; t++)
        for (int i = 0; i < 10; i++) {
            const eval_request r = request_of(4096, i, EVAL_STRATIFIED);
            fit(&c, &s, eval_task_find(tasks[t]), &r);
            assert_int_equal(s.n_needles, s.n_refs);
            for (size_t k = 0; k < s.n_needles; k++) {
                const char *line = s.prompt.data + s.needles[k].begin;
                const char *name = t ? line + strlen("VAR ") : line;
                assert_int_equal(strncmp(name, s.refs[k].data, s.refs[k].n), 0);
                if (k) assert_true(s.needles[k].begin >= s.needles[k - 1].end);
            }
        }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

static void frequent_words_are_most_frequent(void **state)
{
    (void)state;
    eval_sample s = { .n_refs = 0 };
    eval_canvas c = { .n = 0 };
    for (int i = 0; i < 5; i++) {
        const eval_request r = request_of(2048, i, EVAL_STRATIFIED);
        fit(&c, &s, eval_task_find("ruler_fwe"), &r);
        assert_int_equal(s.n_refs, 3);
        size_t last = SIZE_MAX;
        for (size_t k = 0; k < 3; k++) {
            const size_t n = count(&s.prompt, s.refs[k].data);
            assert_true(n < last);
            last = n;
        }
        /* every other word is rarer than the third */
        for (const char *at = strstr(s.prompt.data, "words. ") + 7; *at && *at != '\n';) {
            char word[16];
            const size_t n = strcspn(at, " \n");
            snprintf(word, sizeof word, "%.*s", (int)n, at);
            bool is_ref = word[0] == '.';
            for (size_t k = 0; k < 3; k++)
                is_ref |= !strcmp(word, s.refs[k].data);
            if (!is_ref) assert_true(count(&s.prompt, word) < last);
            at += n + (at[n] == ' ');
        }
    }
    eval_sample_free(&s);
    eval_canvas_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_kept_and_used),
        cmocka_unit_test(answers_stand_in_the_context),
        cmocka_unit_test(ranges_hold_needles),
        cmocka_unit_test(equal_seeds_give_equal_bytes),
        cmocka_unit_test(samples_are_the_same_everywhere),
        cmocka_unit_test(no_distractor_shares_the_key),
        cmocka_unit_test(rulers_needles_stand_once),
        cmocka_unit_test(needles_stand_at_the_depth_asked_for),
        cmocka_unit_test(depths_take_turns_in_ten_bins),
        cmocka_unit_test(chains_are_in_order),
        cmocka_unit_test(frequent_words_are_most_frequent),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
