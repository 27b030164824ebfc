/* test_eval_haystack.c: needles are hidden in any text: without blanks, in other scripts, with one
 * word longer than all else. More haystack is more text, characters stay whole, depths are kept. */
#include "test.h"

#include "base/utf8.h"
#include "eval/eval_canvas.h"

enum { MAX_HAY = 40000 };

static char hay[MAX_HAY];

/* Fills `hay` with repetitions of a piece; returns its length. */
static size_t repeat(const char *piece, size_t n)
{
    const size_t n_piece = strlen(piece);
    size_t at = 0;
    while (at + n_piece <= n) {
        memcpy(hay + at, piece, n_piece);
        at += n_piece;
    }
    return at;
}

static eval_request request_of(size_t n, int index)
{
    return (eval_request){ 1, 512, index, EVAL_STRATIFIED, { hay, n, false } };
}

/* The sample of `size` bytes; its text is well-formed, and the needle is where it says. */
static size_t check_sample(const char *task, size_t n, int index, size_t size)
{
    const eval_request r = request_of(n, index);
    eval_sample s = { .n_refs = 0 };
    assert_true(eval_sample_make(eval_task_find(task), &r, size, &s));
    const size_t length = s.prompt.n, bad = laci_utf8_check(s.prompt.data, length);
    if (bad < length) fail_msg("%s of %zu bytes: a character is cut at %zu", task, size, bad);
    assert_int_equal(s.n_needles, 1);
    const eval_span at = s.needles[0];
    assert_in_range(at.end, at.begin + 1, length);
    if (at.begin && !strchr(" \r\n", s.prompt.data[at.begin - 1]))
        fail_msg("%s of %zu bytes: no blank in front of the needle", task, size);
    eval_sample_free(&s);
    return length;
}

static void more_haystack_is_more_text(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "x", "\xe6\xb0\xb4\xe3\x81\xaf", "\xe6\xb0\xb4\xe3\x80\x82", "\xf0\x9f\x98\x80", "a\r\n",
        " ",
    };
    static const char *const tasks[] = { "niah1", "niah_single_2" };
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
        for (size_t t = 0; t < 2; t++) {
            const size_t n = repeat(pieces[p], 30000);
            size_t last = 0;
            for (size_t size = 400; size < 26000; size = size * 2 + 1) {
                const size_t length = check_sample(tasks[t], n, (int)p, size);
                if (length <= last)
                    fail_msg("%s in '%s': %zu bytes of haystack give %zu of text, fewer gave %zu",
                             tasks[t], pieces[p], size, length, last);
                last = length;
            }
        }
}

/* The asked needle stands at its depth, within a word and the room of other needles. */
static void depths_are_kept_where_there_are_no_blanks(void **state)
{
    (void)state;
    static const char *const tasks[] = { "niah1", "niah_single_2" };
    const size_t n = repeat("\xe6\xb0\xb4\xe3\x81\xaf\xe3\x80\x82", 30000);
    for (size_t t = 0; t < 2; t++)
        for (int depth = 0; depth <= 100; depth += 25) {
            eval_request r = request_of(n, 3);
            r.depth = depth;
            eval_sample s = { .n_refs = 0 };
            assert_true(eval_sample_make(eval_task_find(tasks[t]), &r, 8000, &s));
            const double at = 100.0 * (double)s.needles[0].begin / (double)s.prompt.n;
            if (at < depth - 5 || at > depth + 5)
                fail_msg("%s: depth %d is at %.1f%%", tasks[t], depth, at);
            eval_sample_free(&s);
        }
}

/* A run of letters is one word among others while it is short, and no word when it is long. */
static void one_enormous_word_is_cut(void **state)
{
    (void)state;
    memset(hay, 'x', MAX_HAY);
    for (size_t i = 0; i < MAX_HAY; i += 5)
        if (i < 10000 || i > 30000) hay[i] = ' ';
    size_t last = 0;
    for (size_t size = 1000; size < 30000; size += 1999) {
        const size_t length = check_sample("niah1", MAX_HAY, 0, size);
        assert_true(length > last);
        last = length;
    }
}

/* Texts of a few bytes, whatever they are, are too short and nothing worse. */
static void tiny_haystacks_end(void **state)
{
    (void)state;
    static const char *const texts[] = { "x", " ", "\n", "\xe6\xb0\xb4", "\x80", "a b" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const size_t n = strlen(texts[i]);
        memcpy(hay, texts[i], n);
        for (size_t size = 0; size < 300; size += 7) {
            const eval_request r = request_of(n, (int)i);
            eval_sample s = { .n_refs = 0 };
            assert_true(eval_sample_make(eval_task_find("niah"), &r, size, &s));
            assert_true(eval_sample_make(eval_task_find("niah_single_3"), &r, size, &s));
            assert_true(eval_sample_make(eval_task_find("span"), &r, size + 320, &s));
            eval_sample_free(&s);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_haystack_is_more_text),
        cmocka_unit_test(depths_are_kept_where_there_are_no_blanks),
        cmocka_unit_test(one_enormous_word_is_cut),
        cmocka_unit_test(tiny_haystacks_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
