/* test_schedule.c: blocks, steps and quotas against the schedules of the reference
 * (tests/golden/samplers.json), and their laws: every hole is given out, none twice. */
#include "test.h"

#include "base/json.h"
#include "engine/schedule.h"

/* Runs a whole schedule; what each step fixes goes to out, the number of steps is returned. */
static int run_schedule(const laci_schedule *s, int *out, int max)
{
    int n = 0;
    for (int b = 0; b < laci_schedule_n_blocks(s); b++) {
        int begin, end;
        laci_schedule_block(s, b, &begin, &end);
        const int n_steps = laci_schedule_block_steps(s, b);
        int n_open = end - begin;
        for (int i = 0; i < n_steps && n_open; i++) {
            const int quota = laci_schedule_quota(s, i, n_steps, end - begin, n_open);
            assert_in_range(quota, 0, n_open);
            assert_true(n < max);
            out[n++] = quota;
            n_open -= quota;
        }
        assert_int_equal(n_open, 0);
    }
    return n;
}

static void compare(const laci_schedule *s, const laci_jval *want, const char *kind)
{
    static int got[4096];
    const int n = run_schedule(s, got, 4096);
    int i = 0;
    if ((int)laci_json_count(want) != n)
        fail_msg("%s %d/%d/%d: %d steps, reference %zu", kind, s->n_holes, s->block_length,
                 s->steps, n, laci_json_count(want));
    for (const laci_jval *v = laci_json_first(want); v; v = laci_json_next(v), i++)
        if (got[i] != (int)laci_json_number(v))
            fail_msg("%s %d/%d/%d step %d: %d, reference %g", kind, s->n_holes, s->block_length,
                     s->steps, i, got[i], laci_json_number(v));
}

static void schedules_match_the_reference(void **state)
{
    (void)state;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_json *doc;
    assert_ok(laci_json_read(&doc, test_path("tests/golden/samplers.json"), NULL, &mem, NULL));
    const laci_jval *list = laci_json_get(laci_json_root(doc), "schedules");
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        laci_schedule s = { .eps = 1e-3f };
        s.n_holes = (int)laci_json_number(laci_json_get(v, "n_holes"));
        s.block_length = (int)laci_json_number(laci_json_get(v, "block_length"));
        s.steps = (int)laci_json_number(laci_json_get(v, "steps"));
        int b = 0;
        const laci_jval *steps = laci_json_get(v, "block_steps");
        for (const laci_jval *n = laci_json_first(steps); n; n = laci_json_next(n), b++)
            assert_int_equal(laci_schedule_block_steps(&s, b), (int)laci_json_number(n));
        compare(&s, laci_json_get(v, "llada"), "llada");
        s.is_dream = true;
        compare(&s, laci_json_get(v, "dream"), "dream");
        s.may_fix_none = true;
        compare(&s, laci_json_get(v, "dream_zero_step"), "dream as published");
    }
    assert_true(laci_json_count(list) > 10);
    laci_json_free(doc);
}

/* Every shape up to 40 holes: nothing is lost and the plan is never longer than asked. */
static void every_hole_is_given_out(void **state)
{
    (void)state;
    int fixed[64];
    for (int holes = 1; holes <= 40; holes++) {
        for (int block = 1; block <= holes; block++) {
            const int n_blocks = (holes + block - 1) / block;
            for (int steps = n_blocks; steps <= holes; steps++) {
                const laci_schedule s = { .n_holes = holes,
                                          .block_length = block,
                                          .steps = steps,
                                          .is_dream = (holes + steps) % 2,
                                          .eps = 1e-3f };
                int total = 0;
                const int n = run_schedule(&s, fixed, 64);
                for (int i = 0; i < n; i++)
                    total += fixed[i];
                assert_int_equal(total, holes);
                assert_true(n <= steps + n_blocks); /* a block takes at least one step */
            }
        }
    }
}

/* Steps of its own give every block the same, whatever is open in it; a total is spread over what
 * is wanted, and a last block that reaches past it has those of a whole one. */
static void blocks_have_the_steps_they_are_given(void **state)
{
    (void)state;
    laci_schedule s = { .n_holes = 15, .block_length = 8, .lead = 7, .block_steps = 3 };
    assert_int_equal(laci_schedule_n_blocks(&s), 2);
    assert_int_equal(laci_schedule_block_steps(&s, 0), 3);
    assert_int_equal(laci_schedule_quota(&s, 0, 3, 7, 7), 3); /* 8 in three: 3, 3 and 2 */
    assert_int_equal(laci_schedule_quota(&s, 1, 3, 7, 4), 3);
    assert_int_equal(laci_schedule_quota(&s, 2, 3, 7, 1), 1);
    s = (laci_schedule){ .n_holes = 16, .block_length = 8, .steps = 13, .n_wanted = 13 };
    assert_int_equal(laci_schedule_block_steps(&s, 0), 8);
    assert_int_equal(laci_schedule_block_steps(&s, 1), 8);
    s.n_wanted = 0;
    assert_int_equal(laci_schedule_block_steps(&s, 0), 6);
    assert_int_equal(laci_schedule_block_steps(&s, 1), 7);
}

/* What was put off comes on top of what is due next. */
static void deferred_positions_stay_due(void **state)
{
    (void)state;
    const laci_schedule s = { .n_holes = 10, .block_length = 10, .steps = 4, .may_defer = true };
    assert_int_equal(laci_schedule_quota(&s, 0, 4, 10, 10), 3); /* 3, 3, 2, 2 */
    assert_int_equal(laci_schedule_quota(&s, 1, 4, 10, 9), 5);
    assert_int_equal(laci_schedule_quota(&s, 2, 4, 10, 4), 2);
    assert_int_equal(laci_schedule_quota(&s, 3, 4, 10, 3), 3);
    assert_int_equal(laci_schedule_quota(&s, 4, 5, 10, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_match_the_reference),
        cmocka_unit_test(every_hole_is_given_out),
        cmocka_unit_test(blocks_have_the_steps_they_are_given),
        cmocka_unit_test(deferred_positions_stay_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
