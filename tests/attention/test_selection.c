/* test_selection.c: SparseD's arithmetic without any attention: options and their ranges, the
 * schedule, how many blocks are kept, where the prompt ends among the blocks, which blocks of a row
 * win, in every published variant. */
#include <math.h>

#include "test.h"

#include "attention/pattern.h"
#include "attention/select.h"
#include "base/rng.h"

static const laci_sparse_model llada = { "llada", false, 32, 128, 8192 };

static laci_sparse resolve(lac_sparse_options opt)
{
    laci_sparse how;
    assert_ok(laci_sparse_resolve(&how, &opt, "sparsed", &llada, NULL));
    return how;
}

static laci_sparse reference(double skip, double select, int block)
{
    return resolve((lac_sparse_options){
        .skip = skip, .select = select, .block = block, .mode = LAC_SPARSED_REFERENCE });
}

/* ------------------------------------------------------------------ options */

static void defaults_and_modes(void **state)
{
    (void)state;
    const laci_sparse d = resolve((lac_sparse_options){ 0 });
    assert_true(d.skip == 0.2 && d.select == 0.3 && d.block == 128 && !d.doubled);
    assert_int_equal(d.boundary, LAC_BOUNDARY_KEEP);
    const laci_sparse r =
        resolve((lac_sparse_options){ .mode = LAC_SPARSED_REFERENCE, .keep = LAC_KEEP_CEIL });
    assert_true(r.doubled);
    assert_int_equal(r.schedule, LAC_SCHEDULE_REFERENCE);
    assert_int_equal(r.isolated, LAC_ISOLATED_REFERENCE);
    assert_int_equal(r.keep, LAC_KEEP_CEIL); /* a variant wins over the mode */
    assert_int_equal(r.ragged, LAC_RAGGED_DILUTED);
    const laci_sparse none = resolve((lac_sparse_options){ .skip = -1, .sink = -1 });
    assert_true(none.skip == 0 && none.sink == 0);
    const laci_sparse_model small = { "dream", true, 28, 128, 1000 };
    laci_sparse how;
    const lac_sparse_options ref = { .mode = LAC_SPARSED_REFERENCE };
    assert_ok(laci_sparse_resolve(&how, NULL, "fidelity", &small, NULL));
    assert_true(how.fidelity == 0.95 && how.block == 32 && how.n_refreshes == 8);
    assert_ok(laci_sparse_resolve(&how, &ref, "sparsed", &small, NULL));
    assert_false(how.doubled); /* Dream scores by sqrt(d) */
}

static void bad_options_are_named_with_their_range(void **state)
{
    (void)state;
    const struct {
        lac_sparse_options opt;
        const char *message;
    } cases[] = {
        { { .skip = 1 }, "skip 1: a share of the steps from 0 to below 1 (negative = none)" },
        { { .skip = NAN }, "skip nan: a share of the steps from 0 to below 1 (negative = none)" },
        { { .select = 1.5 }, "select 1.5: a share of the keys above 0 and at most 1" },
        { { .select = -0.1 }, "select -0.1: a share of the keys above 0 and at most 1" },
        { { .fidelity = 2 }, "fidelity 2: a share of the mass from 0 to 1" },
        { { .block = 48 }, "a sparse block of 48: 16, 32, 64 or 128" },
        { { .window = -4 }, "a window of -4 keys: at least 1, or 0 for the default" },
        { { .keep = (lac_sparse_keep)9 }, "keep rule 9: 0 to 2" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        laci_sparse how;
        lac_error err = { 0 };
        assert_int_equal(laci_sparse_resolve(&how, &cases[i].opt, "sparsed", &llada, &err),
                         LAC_EINVAL);
        assert_string_equal(err.message, cases[i].message);
    }
    const laci_sparse_model odd = { "llada", false, 4, 32, 100 };
    const lac_sparse_options opt = { .score = LAC_SCORE_SQRT_H };
    laci_sparse how;
    assert_int_equal(laci_sparse_resolve(&how, &opt, "sparsed", &odd, NULL), LAC_EUNSUPPORTED);
}

/* ------------------------------------------------------------------ how many */

static void dense_steps_are_as_published(void **state)
{
    (void)state;
    const struct {
        int n_steps;
        double skip;
        int reference, paper;
    } cases[] = {
        { 128, 0.2, 27, 25 }, { 1024, 0.2, 206, 204 }, { 32, 0.2, 8, 6 }, { 8, 0.2, 3, 1 },
        { 128, -1, 2, 1 },    { 100, 0.29, 30, 28 }, /* 0.29 * 100 is below 29 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const laci_sparse r = reference(cases[i].skip, 0, 0);
        const laci_sparse p = resolve((lac_sparse_options){ .skip = cases[i].skip });
        assert_int_equal(laci_sparse_n_dense(&r, cases[i].n_steps), cases[i].reference);
        assert_int_equal(laci_sparse_n_dense(&p, cases[i].n_steps), cases[i].paper);
    }
}

static void counts_are_as_published(void **state)
{
    (void)state;
    const laci_sparse r = reference(0, 0.3, 0), full = reference(0, 1, 0);
    const laci_sparse c = resolve((lac_sparse_options){ .select = 0.3 });
    const laci_sparse seven = resolve((lac_sparse_options){ .select = 0.07 });
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

static laci_split split(lac_sparse_boundary boundary, size_t prompt_end, size_t n)
{
    const laci_sparse how = resolve((lac_sparse_options){ .block = 128, .boundary = boundary });
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
    expect_split(split(LAC_BOUNDARY_REFERENCE, 3900, 4028), 31, 31, 60);
    expect_split(split(LAC_BOUNDARY_ALIGNED, 3900, 4028), 30, 30, 60);
    expect_split(split(LAC_BOUNDARY_KEEP, 3900, 4028), 30, 31, 60);
    /* on a border all agree */
    expect_split(split(LAC_BOUNDARY_REFERENCE, 3840, 3968), 30, 30, 128);
    expect_split(split(LAC_BOUNDARY_ALIGNED, 3840, 3968), 30, 30, 128);
    expect_split(split(LAC_BOUNDARY_KEEP, 3840, 3968), 30, 30, 128);
    /* everything generated lies in the last block */
    expect_split(split(LAC_BOUNDARY_REFERENCE, 1000, 1020), 7, 7, 124);
    expect_split(split(LAC_BOUNDARY_KEEP, 1000, 1020), 7, 8, 124);
    /* one block; no prompt; nothing generated */
    expect_split(split(LAC_BOUNDARY_REFERENCE, 50, 90), 0, 0, 90);
    expect_split(split(LAC_BOUNDARY_KEEP, 50, 90), 0, 1, 90);
    expect_split(split(LAC_BOUNDARY_KEEP, 0, 300), 0, 0, 44);
    expect_split(split(LAC_BOUNDARY_REFERENCE, 300, 300), 2, 2, 44);
    expect_split(split(LAC_BOUNDARY_KEEP, 300, 300), 3, 3, 44);
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
        const bool scaled = at == n - 1 && how->ragged == LAC_RAGGED_FAIR;
        const float scale = scaled ? (float)how->block / (float)s->last_keys : 1;
        score[at] = (double)(mass[at] * scale);
        late_score[at] = (double)(late[at] * scale);
    }
    if (how->isolated == LAC_ISOLATED_NONE) {
        best_by_sorting(score, 0, n, laci_sparse_n_kept(how, n), kept);
        return;
    }
    if (how->isolated == LAC_ISOLATED_REFERENCE) {
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
    for (int v = 0; v < 54; v++) {
        const laci_sparse how =
            resolve((lac_sparse_options){ .block = 16,
                                          .select = v % 2 ? 0.3 : 0.07,
                                          .isolated = (lac_sparse_isolated)(1 + v % 3),
                                          .boundary = (lac_sparse_boundary)(1 + v / 3 % 3),
                                          .keep = (lac_sparse_keep)(1 + v / 9 % 2),
                                          .ragged = (lac_sparse_ragged)(1 + v / 18 % 2) });
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
        const laci_sparse how = resolve((lac_sparse_options){
            .block = 16, .fidelity = cases[i].fidelity, .select = cases[i].select });
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
        cmocka_unit_test(bad_options_are_named_with_their_range),
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
