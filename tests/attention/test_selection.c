/* test_selection.c: SparseD's arithmetic without any attention: knobs and their ranges, the
 * schedule, how many blocks are kept, where the prompt ends among the blocks, which blocks of a row
 * win, in every published variant. */
#include <math.h>

#include "request.h"

#include "attention/pattern.h"
#include "attention/policy.h"
#include "attention/select.h"
#include "base/rng.h"

static const laci_policy_model llada = {
    .kind = LACI_FULL, .family = "llada", .n_heads = 32, .d_head = 128, .n_ctx = 8192
};

static lac_status choose(const char *request, const laci_policy_model *model, laci_sparse *out,
                         lac_error *err)
{
    char reason[LACI_REASON];
    const laci_policy *policy;
    laci_settings settings;
    lac_status st = laci_policy_choose(&policy, &settings, request, model, reason, err);
    if (!st) *out = settings.sparse;
    return st;
}

/* sparsed with these knobs. */
static laci_sparse resolve(const char *knobs)
{
    laci_sparse how;
    assert_ok(choose(text_of("sparsed:%s", knobs), &llada, &how, NULL));
    return how;
}

/* ------------------------------------------------------------------ knobs */

static void defaults_and_modes(void **state)
{
    (void)state;
    const laci_sparse d = resolve("");
    assert_true(d.skip == 0.2 && d.select == 0.3 && d.block == 128 && !d.doubled);
    assert_int_equal(d.boundary, LACI_BOUNDARY_KEEP);
    const laci_sparse r = resolve("mode=reference,keep=ceil");
    assert_true(r.doubled);
    assert_int_equal(r.schedule, LACI_SCHEDULE_REFERENCE);
    assert_int_equal(r.isolated, LACI_ISOLATED_REFERENCE);
    assert_int_equal(r.keep, LACI_KEEP_CEIL); /* a variant wins over the mode */
    assert_int_equal(r.ragged, LACI_RAGGED_DILUTED);
    assert_true(resolve("skip=0").skip == 0);
    const laci_policy_model small = { .kind = LACI_FULL,
                                      .family = "dream",
                                      .is_dream = true,
                                      .n_heads = 28,
                                      .d_head = 128,
                                      .n_ctx = 1000 };
    laci_sparse how = { .skip = 0 };
    assert_ok(choose("streaming:sink=0", &small, &how, NULL));
    assert_true(how.sink == 0 && how.window == 0);
    assert_ok(choose("pulsecol", &small, &how, NULL));
    assert_int_equal(how.n_refreshes, 8);
    assert_ok(choose("fidelity", &small, &how, NULL));
    assert_true(how.fidelity == 0.95 && how.most == 1 && how.block == 32);
    assert_ok(choose("fidelity:select=0.1", &small, &how, NULL));
    assert_true(how.fidelity == 0.95 && how.most == 0.1);
    assert_ok(choose("sparsed:mode=reference", &small, &how, NULL));
    assert_false(how.doubled); /* Dream scores by sqrt(d) */
    assert_int_equal(how.block, 128);
}

static void bad_knobs_are_named_with_their_range(void **state)
{
    (void)state;
    static const struct {
        const char *request, *message;
    } cases[] = {
        { "sparsed:skip=1", "knob skip of sparsed: '1' is not a share from 0 to below 1" },
        { "sparsed:skip=nan", "knob skip of sparsed: 'nan' is not a share from 0 to below 1" },
        { "sparsed:select=1.5", "'1.5' is not a share above 0 and at most 1" },
        { "sparsed:select=-0.1", "'-0.1' is not a share above 0 and at most 1" },
        { "sparsed:select=", "'' is not a share above 0 and at most 1" },
        { "sparsed:select=0.3x", "'0.3x' is not a share above 0 and at most 1" },
        { "sparsed:fidelity=2", "'2' is not a share above 0 and at most 1" },
        { "sparsed:block=48", "'48' is not 16, 32, 64 or 128" },
        { "window:window=-4", "'-4' is not a whole number from 1 to 16777216" },
        { "window:window=2.5", "'2.5' is not a whole number from 1 to 16777216" },
        { "sparsed:keep=9", "'9' is not ceil or reference" },
        { "sparsed:keep", "knob keep of sparsed: no value; write keep=VALUE" },
        { "sparsed:skip=0.1,skip=0.2", "knob skip of sparsed: given twice" },
        { "sparsed:skip=0.1,,select=1", "sparsed has no knob \"\": it has skip, select" },
        { "sparsed:select=\n0.3", "'\\x0a0.3' is not" },
        { "window:budget=0.5", "window has no knob \"budget\": it has window, select, block" },
        { "window:skip=0.5", "window has no knob \"skip\": it has window, select, block" },
        { "off:select=0.5", "dense has no knob \"select\": it has measure, block" },
        { "losa", "attention policy \"losa\": llada sees the whole sequence and can run auto, off, "
                  "dense, sparsed, fidelity, pulsecol, window, streaming" },
        { "every", "unknown attention policy \"every\"" },
        { "", "unknown attention policy \"\"" },
        { "auto:budget=0.5", "sparsed has no knob \"budget\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        laci_sparse how;
        lac_error err = { 0 };
        assert_int_equal(choose(cases[i].request, &llada, &how, &err), LAC_EINVAL);
        if (!strstr(err.message, cases[i].message))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].request, err.message, cases[i].message);
    }
    const laci_policy_model odd = {
        .kind = LACI_FULL, .family = "llada", .n_heads = 4, .d_head = 32, .n_ctx = 100
    };
    laci_sparse how;
    assert_int_equal(choose("sparsed:score=sqrt_h", &odd, &how, NULL), LAC_EUNSUPPORTED);
}

/* Every default is a value of its knob, and typing it changes nothing. */
static void defaults_can_be_typed(void **state)
{
    (void)state;
    for (size_t p = 0; laci_policy_at(p); p++) {
        const laci_policy *policy = laci_policy_at(p);
        laci_settings without, with;
        memset(&without, 0, sizeof without);
        laci_knobs_default(&without, policy->knobs, policy->n_knobs);
        for (size_t k = 0; k < policy->n_knobs; k++) {
            const char *text = text_of("%s=%s", policy->knobs[k].name, policy->knobs[k].normal);
            memcpy(&with, &without, sizeof with);
            assert_ok(laci_knobs_read(&with, policy->knobs, policy->n_knobs, policy->name, text,
                                      strlen(text), NULL));
            assert_memory_equal(&with, &without, sizeof with);
            assert_true(laci_knob_default(&policy->knobs[k]) && policy->knobs[k].help);
        }
        assert_true(policy->about && policy->models);
    }
}

/* Underscores are hyphens, and the order of knobs is free. */
static void spellings_that_mean_the_same(void **state)
{
    (void)state;
    const laci_policy_model sdar = {
        .family = "sdar", .kind = LACI_BLOCKWISE, .n_ctx = 4096, .block = 16
    };
    static const char *const requests[] = { "losa:min-prefix=7,page=16",
                                            "losa:page=16,min_prefix=7" };
    laci_settings s[2];
    char reason[LACI_REASON];
    const laci_policy *policy;
    for (int i = 0; i < 2; i++)
        assert_ok(laci_policy_choose(&policy, &s[i], requests[i], &sdar, reason, NULL));
    assert_int_equal(s[0].prefix.min_prefix, 7);
    assert_memory_equal(&s[0].prefix, &s[1].prefix, sizeof s[0].prefix);
}

/* ------------------------------------------------------------------ how many */

static void dense_steps_are_as_published(void **state)
{
    (void)state;
    const struct {
        int n_steps;
        const char *skip;
        int reference, paper;
    } cases[] = {
        { 128, "0.2", 27, 25 }, { 1024, "0.2", 206, 204 }, { 32, "0.2", 8, 6 }, { 8, "0.2", 3, 1 },
        { 128, "0", 2, 1 },     { 100, "0.29", 30, 28 }, /* 0.29 * 100 is below 29 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const laci_sparse r = resolve(text_of("mode=reference,skip=%s", cases[i].skip));
        const laci_sparse p = resolve(text_of("skip=%s", cases[i].skip));
        assert_int_equal(laci_sparse_n_dense(&r, cases[i].n_steps), cases[i].reference);
        assert_int_equal(laci_sparse_n_dense(&p, cases[i].n_steps), cases[i].paper);
    }
}

static void counts_are_as_published(void **state)
{
    (void)state;
    const laci_sparse r = resolve("mode=reference,select=0.3");
    const laci_sparse full = resolve("mode=reference,select=1");
    const laci_sparse c = resolve("select=0.3");
    const laci_sparse seven = resolve("select=0.07");
    assert_int_equal(laci_sparse_n_kept(&r, 32), 10);
    assert_int_equal(laci_sparse_n_kept(&c, 32), 10);
    assert_int_equal(laci_sparse_n_kept(&r, 10), 4);
    assert_int_equal(laci_sparse_n_kept(&c, 10), 3);
    assert_int_equal(laci_sparse_n_kept(&r, 1), 1);
    assert_int_equal(laci_sparse_n_kept(&c, 1), 1);
    assert_int_equal(laci_sparse_n_kept(&r, 0), 0);
    assert_int_equal(laci_sparse_n_kept(&c, 0), 0);
    assert_int_equal(laci_sparse_n_kept(&full, 7), 7); /* int(n) + 1 is more than there are */
    assert_int_equal(laci_sparse_n_kept(&seven, 100), 7);
}

static laci_split split(const char *boundary, size_t prompt_end, size_t n)
{
    const laci_sparse how = resolve(text_of("block=128,boundary=%s", boundary));
    return laci_split_blocks(&how, prompt_end, n);
}

static void expect_split(laci_split s, size_t prompt_end, size_t late_from, size_t last_keys)
{
    assert_int_equal(s.prompt_end, prompt_end);
    assert_int_equal(s.late_from, late_from);
    assert_int_equal(s.last_keys, last_keys);
}

static void the_prompt_ends_where_the_boundary_says(void **state)
{
    (void)state;
    /* block 30 = [3840, 3968) holds 60 prompt and 68 generated positions of 4028 */
    expect_split(split("reference", 3900, 4028), 31, 31, 60);
    expect_split(split("aligned", 3900, 4028), 30, 30, 60);
    expect_split(split("keep", 3900, 4028), 30, 31, 60);
    /* on a border all agree */
    expect_split(split("reference", 3840, 3968), 30, 30, 128);
    expect_split(split("aligned", 3840, 3968), 30, 30, 128);
    expect_split(split("keep", 3840, 3968), 30, 30, 128);
    /* everything generated lies in the last block */
    expect_split(split("reference", 1000, 1020), 7, 7, 124);
    expect_split(split("keep", 1000, 1020), 7, 8, 124);
    /* one block; no prompt; nothing generated */
    expect_split(split("reference", 50, 90), 0, 0, 90);
    expect_split(split("keep", 50, 90), 0, 1, 90);
    expect_split(split("keep", 0, 300), 0, 0, 44);
    expect_split(split("reference", 300, 300), 2, 2, 44);
    expect_split(split("keep", 300, 300), 3, 3, 44);
}

/* ------------------------------------------------------------------ which */

enum { MAX_BLOCKS = 300 };

/* The n best of [first, end) by definition: score, then the lower block. */
static void best_by_sorting(const double *score, size_t first, size_t end, size_t n, bool *kept)
{
    for (; n > 0; n--) {
        size_t best = end;
        for (size_t at = first; at < end; at++)
            if (!kept[at] && (best == end || score[at] > score[best])) best = at;
        if (best < end) kept[best] = true;
    }
}

static void make_masses(uint64_t seed, size_t n, float *mass, float *late)
{
    for (size_t at = 0; at < n; at++) {
        mass[at] = (float)(laci_rng_u64(seed, at) % 40) / 1000; /* many ties */
        late[at] = (float)laci_rng_unit(seed + 1, at);
    }
}

/* The whole selection once more, as the specification words it. */
static void define(const laci_sparse *how, const laci_split *s, const float *mass,
                   const float *late, bool *kept)
{
    double score[MAX_BLOCKS], late_score[MAX_BLOCKS];
    const size_t n = s->n_blocks;
    memset(kept, 0, n * sizeof *kept);
    for (size_t at = 0; at < n; at++) {
        const bool scaled = at == n - 1 && how->ragged == LACI_RAGGED_FAIR;
        const float scale = scaled ? (float)how->block / (float)s->last_keys : 1;
        score[at] = (double)(mass[at] * scale);
        late_score[at] = (double)(late[at] * scale);
    }
    if (how->isolated == LACI_ISOLATED_NONE) {
        best_by_sorting(score, 0, n, laci_sparse_n_kept(how, n), kept);
        return;
    }
    if (how->isolated == LACI_ISOLATED_REFERENCE) {
        best_by_sorting(score, 0, n, laci_sparse_n_kept(how, n), kept);
        for (size_t at = s->late_from; at < n; at++)
            kept[at] = false;
        best_by_sorting(late_score, s->late_from, n, laci_sparse_n_kept(how, n - s->late_from),
                        kept);
    } else {
        best_by_sorting(score, 0, s->prompt_end, laci_sparse_n_kept(how, s->prompt_end), kept);
        best_by_sorting(score, s->late_from, n, laci_sparse_n_kept(how, n - s->late_from), kept);
    }
    for (size_t at = s->prompt_end; at < s->late_from; at++)
        kept[at] = true;
}

static void check_row(const laci_sparse *how, size_t prompt_end, size_t n_k, uint64_t seed)
{
    float mass[MAX_BLOCKS], late[MAX_BLOCKS];
    uint64_t keys[MAX_BLOCKS], bits[MAX_BLOCKS / 64 + 1];
    bool kept[MAX_BLOCKS];
    const laci_split s = laci_split_blocks(how, prompt_end, n_k);
    size_t n = 0;
    make_masses(seed, s.n_blocks, mass, late);
    laci_select_row(how, &s, mass, late, keys, bits);
    define(how, &s, mass, late, kept);
    for (size_t at = 0; at < s.n_blocks; at++) {
        n += kept[at];
        if (laci_pattern_has(bits, at) != kept[at])
            fail_msg("seed %d, %zu of %zu keys are prompt: block %zu of %zu", (int)seed, prompt_end,
                     n_k, at, s.n_blocks);
    }
    assert_true(n > 0);
}

static void rows_keep_what_the_definition_keeps(void **state)
{
    (void)state;
    static const char *const isolated[] = { "paper", "reference", "none" };
    static const char *const boundary[] = { "keep", "aligned", "reference" };
    static const char *const keep[] = { "ceil", "reference" }, *const ragged[] = { "fair",
                                                                                   "diluted" };
    for (int v = 0; v < 54; v++) {
        const laci_sparse how = resolve(text_of(
            "block=16,select=%s,isolated=%s,boundary=%s,keep=%s,ragged=%s", v % 2 ? "0.3" : "0.07",
            isolated[v % 3], boundary[v / 3 % 3], keep[v / 9 % 2], ragged[v / 18 % 2]));
        for (uint64_t seed = 0; seed < 12; seed++) {
            const size_t n_k = 1 + laci_rng_u64(seed, 1000) % (MAX_BLOCKS * 16 - 1);
            const size_t prompt_end = laci_rng_u64(seed, 1001) % (n_k + 1);
            check_row(&how, prompt_end, n_k, seed);
            check_row(&how, n_k, n_k, seed);
            check_row(&how, 0, n_k, seed);
        }
    }
}

static void fidelity_keeps_the_fewest_blocks(void **state)
{
    (void)state;
    const float mass[] = { 0.05f, 0.4f, 0.01f, 0.3f, 0.04f, 0.2f };
    const struct {
        double fidelity, select;
        uint64_t bits;
    } cases[] = { { 0.3, 0, 0x02 | 0x10 },
                  { 0.44, 0, 0x02 | 0x10 },
                  { 0.5, 0, 0x0a | 0x10 },
                  { 0.9, 0, 0x2a | 0x10 },
                  { 0.97, 0, 0x2b | 0x10 },
                  { 1, 0, 0x3f },
                  { 1, 1, 0x3f },
                  { 1, 0.5, 0x2a | 0x10 },
                  { 1, 0.51, 0x2b | 0x10 },
                  { 0.97, 0.3, 0x0a | 0x10 },
                  { 0.97, 0.01, 0x02 | 0x10 },
                  { 0.3, 0.5, 0x02 | 0x10 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t keys[6], bits[1];
        const char *limit = cases[i].select > 0 ? text_of(",select=%g", cases[i].select) : "";
        const laci_sparse how =
            resolve(text_of("block=16,fidelity=%g%s", cases[i].fidelity, limit));
        const laci_split s = laci_split_blocks(&how, 70, 96); /* block 4 holds the boundary */
        laci_select_row(&how, &s, mass, NULL, keys, bits);
        if (bits[0] != cases[i].bits)
            fail_msg("fidelity %g, select %g: blocks %llx, expected %llx", cases[i].fidelity,
                     cases[i].select, (unsigned long long)bits[0],
                     (unsigned long long)cases[i].bits);
    }
}

static void what_is_not_a_number_is_read(void **state)
{
    (void)state;
    const float mass[] = { 0.1f, NAN, 0.5f, -1.0f, 0.2f };
    uint64_t keys[5], bits[1] = { 0 };
    laci_select_top(mass, 0, 5, 2, keys, bits);
    assert_int_equal(bits[0], 1u << 1 | 1u << 3);
    bits[0] = 0;
    laci_select_top(mass, 2, 5, 9, keys, bits);
    assert_int_equal(bits[0], 0x1c);
}

static void patterns_become_plans(void **state)
{
    (void)state;
    uint64_t bits[2 * 2 * 2] = { 0 };
    const laci_pattern p = { .n_patterns = 2, .n_rows = 2, .n_cols = 70, .bits = bits };
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_plan_store store = { 0 };
    static const size_t cols[][3] = { { 0, 1, 69 }, { 63, 64, 65 }, { 2, 4, 6 }, { 67, 68, 69 } };
    for (size_t row = 0; row < 4; row++)
        for (size_t i = 0; i < 3; i++)
            laci_pattern_set(laci_pattern_row(&p, row / 2, row % 2), cols[row][i]);
    assert_ok(laci_plan_reserve(&store, 8, 24, &mem, NULL));
    assert_ok(laci_pattern_write(&p, 4, 16, 16, &store, NULL)); /* two heads share a pattern */
    assert_ok(laci_plan_validate(&store.plan, 32, 1120, 4, NULL));
    for (size_t i = 0; i < 24; i++) {
        const size_t head = i / 6, row = i / 3 % 2;
        assert_int_equal(store.cols[i], cols[head / 2 * 2 + row][i % 3]);
    }
    laci_plan_clear(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_modes),
        cmocka_unit_test(bad_knobs_are_named_with_their_range),
        cmocka_unit_test(defaults_can_be_typed),
        cmocka_unit_test(spellings_that_mean_the_same),
        cmocka_unit_test(dense_steps_are_as_published),
        cmocka_unit_test(counts_are_as_published),
        cmocka_unit_test(the_prompt_ends_where_the_boundary_says),
        cmocka_unit_test(rows_keep_what_the_definition_keeps),
        cmocka_unit_test(fidelity_keeps_the_fewest_blocks),
        cmocka_unit_test(what_is_not_a_number_is_read),
        cmocka_unit_test(patterns_become_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
