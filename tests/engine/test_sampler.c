/* test_sampler.c: choices and whole mock generations against the published samplers as re-written
 * in tests/reference (tests/golden/samplers.json): same logits and noise, same decisions. Then
 * option ranges. */
#include <math.h>

#include "test.h"

#include "base/json.h"
#include "base/rng.h"
#include "engine/sampler.h"

enum { MAX_VOCAB = 64, MAX_CANVAS = 256, MOCK_LOGITS = 99, MOCK_UNGUIDED = 98 };

static laci_json *golden;
static int n_vocab, mask_id, n_tokens;

static double number(const laci_jval *v, const char *key)
{
    const laci_jval *member = laci_json_get(v, key);
    if (!member) fail_msg("samplers.json: no %s", key);
    return laci_json_is_bool(member) ? (double)laci_json_bool(member) : laci_json_number(member);
}

/* Members that are written only where they are on. */
static bool is_on(const laci_jval *v, const char *key)
{
    return laci_json_get(v, key) && number(v, key) != 0;
}

static const char *name_of(const laci_jval *v, const char *key)
{
    return laci_json_string(laci_json_get(v, key));
}

static int open_golden(void **state)
{
    (void)state;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    lac_error err;
    if (laci_json_read(&golden, test_path("tests/golden/samplers.json"), NULL, &mem, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    n_vocab = (int)number(laci_json_root(golden), "n_vocab");
    mask_id = (int)number(laci_json_root(golden), "mask_id");
    n_tokens = (int)number(laci_json_root(golden), "n_tokens");
    return 0;
}

static int close_golden(void **state)
{
    (void)state;
    laci_json_free(golden);
    return 0;
}

static laci_config config_of(const laci_jval *v)
{
    laci_config config = { .n_vocab = n_vocab, .mask_id = mask_id };
    if (is_on(v, "block_order")) {
        config.mask = LAC_MASK_BLOCK_CAUSAL;
        config.sampler = LACI_SAMPLER_SDAR;
    }
    const laci_jval *eos = laci_json_get(v, "eos_ids");
    for (const laci_jval *e = laci_json_first(eos); e; e = laci_json_next(e))
        config.eos_ids[config.n_eos++] = (int)laci_json_number(e);
    return config;
}

static lac_generate_options choice_options(const laci_jval *v)
{
    return (lac_generate_options){
        .algorithm = (lac_algorithm)lac_algorithm_from_name(name_of(v, "algorithm")),
        .temperature = (float)number(v, "temperature"),
        .top_k = (int)number(v, "top_k"),
        .top_p = (float)number(v, "top_p"),
        .seed = (uint64_t)number(v, "seed"),
        .forbid_eos = number(v, "forbid_eos") != 0,
        .quirks = (unsigned)number(v, "quirks"),
        .logits_eos_inf = is_on(v, "logits_eos_inf"),
        .confidence_eos_eot_inf = is_on(v, "confidence_eos_eot_inf"),
    };
}

/* Row i of the golden rows. */
static void load_row(float *logits, int i)
{
    const laci_jval *row = laci_json_first(laci_json_get(laci_json_root(golden), "rows"));
    while (i--)
        row = laci_json_next(row);
    int n = 0;
    const laci_jval *values = laci_json_get(row, "logits");
    for (const laci_jval *v = laci_json_first(values); v; v = laci_json_next(v))
        logits[n++] = (float)laci_json_number(v);
    const laci_jval *gone = laci_json_get(row, "minus_inf");
    for (const laci_jval *v = laci_json_first(gone); v; v = laci_json_next(v))
        logits[(int)laci_json_number(v)] = -INFINITY;
}

static void close_to(const char *what, const char *where, double got, double want, double bound)
{
    if (isnan(want) ? isnan(got) : fabs(got - want) <= bound * (1 + fabs(want))) return;
    fail_msg("%s, %s: %.12g, reference %.12g", where, what, got, want);
}

static void choices_match_the_reference(void **state)
{
    (void)state;
    float logits[MAX_VOCAB];
    int32_t heap[MAX_VOCAB];
    const laci_jval *list = laci_json_get(laci_json_root(golden), "choices");
    int n = 0;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v), n++) {
        char where[64];
        const laci_config config = config_of(v);
        const lac_generate_options opt = choice_options(v);
        const laci_choice_rule rule = laci_choice_rule_of(&config, n_tokens, NULL, &opt);
        const uint32_t step = (uint32_t)number(v, "step"), at = (uint32_t)number(v, "position");
        load_row(logits, (int)number(v, "row"));
        laci_candidate c = {
            (int32_t)at,
            laci_choose(&rule, logits, laci_rng_key(opt.seed, LACI_RNG_TOKEN, step, at), heap), 0
        };
        laci_rank_candidates(&c, 1, &config, &opt, (int)step);
        snprintf(where, sizeof where, "choice %d (%s)", n, lac_algorithm_name(opt.algorithm));
        if (c.choice.id != (int)number(v, "id"))
            fail_msg("%s: id %d, reference %g", where, c.choice.id, number(v, "id"));
        close_to("confidence", where, c.choice.confidence, number(v, "confidence"), 1e-8);
        close_to("log-probability", where, (double)c.choice.logprob, number(v, "logprob"), 1e-6);
    }
    assert_true(n > 500);
}

/* An id in a gap of the vocabulary counts as one whose logit is minus infinity, whatever the rule;
 * only the log-probability is still that of the row as given. */
static void gaps_have_no_probability(void **state)
{
    (void)state;
    enum { N = 100, TRIES = 40 };
    uint32_t gaps[(N + 31) / 32] = { 0 };
    int32_t heap[N];
    int n_changed = 0;
    for (int id = 0; id < N; id++)
        if (id % 3 != 1 || id == 31 || id == 97) gaps[id / 32] |= UINT32_C(1) << id % 32;
    for (int i = 0; i < TRIES * 16; i++) {
        laci_choice_rule rule = { .draw = i % 2 ? LACI_DRAW_GUMBEL : LACI_DRAW_CATEGORICAL,
                                  .confidence = (laci_confidence)(i / 2 % 4),
                                  .temperature = i / 8 % 2 ? 1.5 : 0,
                                  .top_k = i % 3 ? 0 : 5,
                                  .top_p = i % 5 ? 0 : 0.8,
                                  .n_vocab = N,
                                  .n_allowed = N };
        const uint64_t key = laci_rng_key((uint64_t)i, LACI_RNG_TOKEN, 0, 0);
        float whole[N], holed[N], free_row[N];
        for (int id = 0; id < N; id++) {
            whole[id] = free_row[id] = (float)(6 * laci_rng_unit(key, (uint64_t)id + N));
            holed[id] = gaps[id / 32] >> id % 32 & 1 ? -INFINITY : whole[id];
        }
        const laci_choice want = laci_choose(&rule, holed, key, heap);
        n_changed += laci_choose(&rule, free_row, key, heap).id != want.id;
        rule.gaps = gaps;
        const laci_choice got = laci_choose(&rule, whole, key, heap);
        if (got.id != want.id || got.confidence != want.confidence || got.id % 3 != 1)
            fail_msg("try %d: id %d (%g), with logits of -inf %d (%g)", i, got.id, got.confidence,
                     want.id, want.confidence);
        assert_true(got.logprob < want.logprob);
    }
    assert_true(n_changed > TRIES * 4); /* else the gaps were never wanted */
}

static void padding_quirk_lifts_gaps(void **state)
{
    (void)state;
    const uint32_t gaps[2] = { 7, 0 };
    const laci_config config = { .n_vocab = n_vocab, .mask_id = mask_id };
    lac_generate_options opt = { .algorithm = LAC_ALGORITHM_LOW_CONFIDENCE };
    assert_ptr_equal(laci_choice_rule_of(&config, n_tokens, gaps, &opt).gaps, gaps);
    opt.quirks = LAC_QUIRK_SAMPLE_PADDING;
    assert_null(laci_choice_rule_of(&config, n_tokens, gaps, &opt).gaps);
}

/* ------------------------------------------------------------------ whole mock generations */

typedef struct {
    lac_generate_options opt;
    laci_config config;
    laci_schedule schedule;
    float scale;
    int holes[MAX_CANVAS], n_holes;
    int32_t ids[MAX_CANVAS], steps[MAX_CANVAS]; /* by canvas position; -1 = open */
    float logprobs[MAX_CANVAS];
    int step, n_wanted, end; /* holes in front of `end` that are open and wanted */
} mock;

static void mock_logits(const mock *m, uint32_t purpose, int position, float *out)
{
    const uint64_t key = laci_rng_key(m->opt.seed, purpose, (uint32_t)m->step, (uint32_t)position);
    for (int v = 0; v < n_vocab; v++)
        out[v] = (float)((double)m->scale * (laci_rng_unit(key, (uint64_t)v) - 0.5));
}

static laci_choice mock_choose(const mock *m, const laci_choice_rule *rule, int position)
{
    float logits[MAX_VOCAB], other[MAX_VOCAB];
    int32_t heap[MAX_VOCAB];
    mock_logits(m, MOCK_LOGITS, position, logits);
    if (m->opt.cfg_scale > 0) {
        mock_logits(m, MOCK_UNGUIDED, position, other);
        for (int v = 0; v < n_vocab; v++)
            logits[v] = other[v] + (m->opt.cfg_scale + 1.0f) * (logits[v] - other[v]);
    }
    const uint64_t key =
        laci_rng_key(m->opt.seed, LACI_RNG_TOKEN, (uint32_t)m->step, (uint32_t)position);
    return laci_choose(rule, logits, key, heap);
}

static void mock_block(mock *m, int b, const laci_choice_rule *rule)
{
    int begin, end;
    laci_schedule_block(&m->schedule, b, &begin, &end);
    const int n_steps = laci_schedule_block_steps(&m->schedule, b);
    for (int i = 0, n_open = end - begin; n_open && m->n_wanted; i++, m->step++) {
        if (i >= n_steps && !m->schedule.may_defer) break;
        laci_candidate candidates[MAX_CANVAS];
        size_t n = 0;
        for (int h = begin; h < end; h++)
            if (m->ids[m->holes[h]] < 0)
                candidates[n++] =
                    (laci_candidate){ m->holes[h], mock_choose(m, rule, m->holes[h]), 0 };
        const int quota = laci_schedule_quota(&m->schedule, i, n_steps, end - begin, n_open);
        laci_rank_candidates(candidates, n, &m->config, &m->opt, m->step);
        const size_t n_fixed =
            laci_decide(candidates, n, (size_t)quota,
                        laci_schedule_chance(&m->schedule, i, n_steps), &m->opt, m->step);
        for (size_t c = 0; c < n_fixed; c++) {
            m->ids[candidates[c].position] = candidates[c].choice.id;
            m->steps[candidates[c].position] = m->step;
            m->logprobs[candidates[c].position] = candidates[c].choice.logprob;
            m->n_wanted -= candidates[c].position < m->end;
        }
        n_open -= (int)n_fixed;
    }
}

static void mock_open(mock *m, const laci_jval *v)
{
    *m = (mock){ .opt = choice_options(v), .config = config_of(v), .end = MAX_CANVAS };
    m->opt.steps = (int)number(v, "steps");
    m->opt.block_length = (int)number(v, "block_length");
    m->opt.threshold = (float)number(v, "threshold");
    m->opt.alg_temp = (float)number(v, "alg_temp");
    m->opt.eps = (float)number(v, "eps");
    m->opt.cfg_scale = (float)number(v, "cfg_scale");
    m->opt.late_eos = number(v, "late_eos") != 0;
    m->scale = (float)number(v, "logit_scale");
    const laci_jval *holes = laci_json_get(v, "holes");
    for (const laci_jval *h = laci_json_first(holes); h; h = laci_json_next(h))
        m->holes[m->n_holes++] = (int)laci_json_number(h);
    for (int i = 0; i < MAX_CANVAS; i++)
        m->ids[i] = m->steps[i] = -1;
    m->n_wanted = m->n_holes;
    m->schedule =
        (laci_schedule){ .n_holes = m->n_holes,
                         .block_length = m->opt.block_length,
                         .steps = m->opt.steps,
                         .is_dream = laci_algorithm_is_dream(m->opt.algorithm),
                         .may_fix_none = (m->opt.quirks & LAC_QUIRK_ZERO_STEP) != 0,
                         .eps = m->opt.eps,
                         .may_defer = m->opt.algorithm == LAC_ALGORITHM_CONFIDENCE_THRESHOLD };
}

static void mock_compare(const mock *m, const laci_jval *v)
{
    const char *name = name_of(v, "name");
    const laci_jval *id = laci_json_first(laci_json_get(v, "ids"));
    const laci_jval *step = laci_json_first(laci_json_get(v, "step_map"));
    const laci_jval *logprob = laci_json_first(laci_json_get(v, "logprobs"));
    for (int h = 0; h < m->n_holes; h++) {
        const int at = m->holes[h];
        if (m->ids[at] != (int)laci_json_number(id) || m->steps[at] != (int)laci_json_number(step))
            fail_msg("%s, position %d: id %d at step %d, reference %g at %g", name, at, m->ids[at],
                     m->steps[at], laci_json_number(id), laci_json_number(step));
        close_to("log-probability", name, (double)m->logprobs[at], laci_json_number(logprob), 1e-5);
        id = laci_json_next(id), step = laci_json_next(step), logprob = laci_json_next(logprob);
    }
    assert_int_equal(m->step, (int)number(v, "n_steps"));
}

static void generations_match_the_reference(void **state)
{
    (void)state;
    int n = 0;
    const laci_jval *list = laci_json_get(laci_json_root(golden), "generations");
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v), n++) {
        static mock m;
        mock_open(&m, v);
        const laci_choice_rule rule = laci_choice_rule_of(&m.config, n_tokens, NULL, &m.opt);
        for (int b = 0; b < laci_schedule_n_blocks(&m.schedule); b++)
            mock_block(&m, b, &rule);
        mock_compare(&m, v);
    }
    assert_true(n > 40);
}

/* A block-wise model's: whole blocks, of which the last one may reach past what is wanted. */
static void mock_open_blocks(mock *m, const laci_jval *v)
{
    const int n_prompt = (int)number(v, "n_prompt"), n_new = (int)number(v, "n_new");
    const int block = (int)number(v, "block");
    *m = (mock){ .opt = choice_options(v), .config = config_of(v), .n_wanted = n_new };
    m->opt.threshold = (float)number(v, "threshold");
    m->scale = (float)number(v, "logit_scale");
    m->end = n_prompt + n_new;
    const int end = (m->end + block - 1) / block * block;
    for (int p = n_prompt; p < end; p++)
        m->holes[m->n_holes++] = p;
    for (int i = 0; i < MAX_CANVAS; i++)
        m->ids[i] = m->steps[i] = -1;
    m->schedule = (laci_schedule){ .n_holes = m->n_holes,
                                   .block_length = block,
                                   .lead = block - n_prompt % block,
                                   .n_wanted = n_new,
                                   .block_steps = (int)number(v, "block_steps") };
}

static void block_generations_match_the_reference(void **state)
{
    (void)state;
    int n = 0;
    const laci_jval *list = laci_json_get(laci_json_root(golden), "block_generations");
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v), n++) {
        static mock m;
        mock_open_blocks(&m, v);
        const laci_choice_rule rule = laci_choice_rule_of(&m.config, n_tokens, NULL, &m.opt);
        for (int b = 0; b < laci_schedule_n_blocks(&m.schedule); b++)
            mock_block(&m, b, &rule);
        const laci_jval *id = laci_json_first(laci_json_get(v, "ids"));
        const laci_jval *step = laci_json_first(laci_json_get(v, "step_map"));
        for (int p = m.holes[0]; p < m.end; p++) {
            if (m.ids[p] != (int)laci_json_number(id) || m.steps[p] != (int)laci_json_number(step))
                fail_msg("%s, position %d: id %d at step %d, reference %g at %g",
                         name_of(v, "name"), p, m.ids[p], m.steps[p], laci_json_number(id),
                         laci_json_number(step));
            id = laci_json_next(id), step = laci_json_next(step);
        }
        assert_int_equal(m.step, (int)number(v, "n_steps"));
    }
    assert_true(n >= 14);
}

/* Entropy has no floor: an end token that counts for nothing lies below every other. */
static void an_unranked_choice_is_the_least_confident(void **state)
{
    (void)state;
    const laci_config config = { .n_vocab = 4, .mask_id = 3, .eos_ids = { 1 }, .n_eos = 1 };
    const lac_generate_options opt = { .algorithm = LAC_ALGORITHM_ENTROPY,
                                       .confidence_eos_eot_inf = true };
    const laci_choice_rule rule = laci_choice_rule_of(&config, 4, NULL, &opt);
    float row[] = { 0, 9, 0, 0 }, other[] = { 2, 1, 2, 0 };
    int32_t heap[4];
    const laci_choice end = laci_choose(&rule, row, 0, heap);
    const laci_choice not_end = laci_choose(&rule, other, 0, heap);
    assert_int_equal(end.id, 1);
    assert_true(end.confidence == -INFINITY);
    assert_true(fabs((double)end.logprob + log1p(3 * exp(-9))) < 1e-6);
    assert_int_equal(not_end.id, 0);
    assert_true(fabs(not_end.confidence - log(0.5)) < 1e-9); /* two that are equal */
}

static void noise_matches_the_reference(void **state)
{
    (void)state;
    const laci_jval *list = laci_json_get(laci_json_root(golden), "rng");
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        const uint64_t seed = strtoull(name_of(v, "seed"), NULL, 0);
        const uint64_t counter = strtoull(name_of(v, "counter"), NULL, 0);
        const uint64_t key =
            laci_rng_key(seed, (uint32_t)number(v, "purpose"), (uint32_t)number(v, "step"),
                         (uint32_t)number(v, "position"));
        assert_true(key == strtoull(name_of(v, "key"), NULL, 0));
        assert_true(laci_rng_u64(key, counter) == strtoull(name_of(v, "u64"), NULL, 0));
        assert_true(fabs(laci_rng_unit(key, counter) - number(v, "unit")) < 1e-15);
    }
}

/* ------------------------------------------------------------------ options */

static void refused(lac_generate_options opt, const char *sentence)
{
    const laci_config config = { .family = "llada", .sampler = LACI_SAMPLER_LLADA };
    lac_error err = { 0 };
    assert_int_equal(laci_options_resolve(&config, 0, &opt, &err), LAC_EINVAL);
    if (!strstr(err.message, sentence)) fail_msg("\"%s\" lacks \"%s\"", err.message, sentence);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    refused((lac_generate_options){ .n_tokens = 8, .block_steps = 2 }, "block_steps is 2");
    refused((lac_generate_options){ .n_tokens = 8, .block_steps = -2 }, "block_steps is -2");
    refused((lac_generate_options){ .n_tokens = 64, .steps = 1 }, "1 steps for 2 blocks");
    refused((lac_generate_options){ .n_tokens = -1 }, "n_tokens is -1");
    refused((lac_generate_options){ .temperature = -0.5f }, "temperature is -0.5");
    refused((lac_generate_options){ .temperature = NAN }, "temperature is nan");
    refused((lac_generate_options){ .top_p = 1.5f }, "top_p is 1.5");
    refused((lac_generate_options){ .top_k = -2 }, "top_k is -2");
    refused((lac_generate_options){ .algorithm = (lac_algorithm)99 }, "unknown algorithm 99");
    refused((lac_generate_options){ .algorithm = (lac_algorithm)10 }, "unknown algorithm 10");
    refused((lac_generate_options){ .algorithm = LAC_ALGORITHM_ENTROPY, .threshold = 0.5f },
            "threshold 0.5 with algorithm entropy");
}

static void zero_means_default(void **state)
{
    (void)state;
    laci_config config = { .sampler = LACI_SAMPLER_LLADA };
    lac_generate_options opt = { 0 };
    assert_ok(laci_options_resolve(&config, 0, &opt, NULL));
    assert_int_equal(opt.n_tokens, 128);
    assert_int_equal(opt.steps, 128);
    assert_int_equal(opt.block_length, 32);
    assert_int_equal(opt.algorithm, LAC_ALGORITHM_LOW_CONFIDENCE);
    opt = (lac_generate_options){ 0 };
    config.sampler = LACI_SAMPLER_DREAM;
    assert_ok(laci_options_resolve(&config, 5, &opt, NULL));
    assert_int_equal(opt.n_tokens, 0);
    assert_int_equal(opt.steps, 5);
    assert_int_equal(opt.block_length, 5);
    assert_int_equal(opt.algorithm, LAC_ALGORITHM_ENTROPY);
}

/* Steps a block and steps in all are one number said in two ways, and resolving changes nothing
 * that is resolved. */
static void steps_are_counted_in_one_way(void **state)
{
    (void)state;
    const laci_config config = { .family = "sdar",
                                 .sampler = LACI_SAMPLER_SDAR,
                                 .mask = LAC_MASK_BLOCK_CAUSAL,
                                 .block_size = 4 };
    lac_error err = { 0 };
    lac_generate_options opt = { .n_tokens = 10, .block_steps = 2 };
    assert_ok(laci_options_resolve(&config, 0, &opt, &err));
    assert_int_equal(opt.steps, 6); /* three blocks */
    assert_ok(laci_options_resolve(&config, 0, &opt, &err));
    assert_int_equal(opt.steps, 6);
    opt.steps = 10;
    assert_int_equal(laci_options_resolve(&config, 0, &opt, &err), LAC_EINVAL);
    if (!strstr(err.message, "steps 10 and 2 block_steps")) fail_msg("\"%s\"", err.message);
    opt = (lac_generate_options){ .n_tokens = INT32_MAX, .block_steps = 8 };
    assert_int_equal(laci_options_resolve(&config, 0, &opt, &err), LAC_EINVAL);
    opt = (lac_generate_options){ .n_tokens = 10, .steps = 512 };
    assert_ok(laci_options_resolve(&config, 0, &opt, &err));
    assert_int_equal(opt.steps, 512);
}

static void fast_dllms_threshold_is_the_default(void **state)
{
    (void)state;
    const laci_config config = { .sampler = LACI_SAMPLER_DREAM };
    lac_generate_options opt = { .algorithm = LAC_ALGORITHM_CONFIDENCE_THRESHOLD };
    assert_ok(laci_options_resolve(&config, 5, &opt, NULL));
    assert_true(opt.threshold == 0.9f);
    opt.threshold = 0.25f;
    assert_ok(laci_options_resolve(&config, 5, &opt, NULL));
    assert_true(opt.threshold == 0.25f);
}

/* A number that is not finite shows wherever it stands in the row, under every rule, also where no
 * token may be chosen; ids that the rule forbids do not count as such. */
static void rows_that_are_not_finite_are_told(void **state)
{
    (void)state;
    enum { N = 50 };
    static const float odd[] = { NAN, INFINITY, -INFINITY };
    static const int places[] = { 0, 7, 30, 45, 49 };
    const laci_choice_rule rules[] = {
        { .n_vocab = N, .n_allowed = 45, .forbidden = { 7 }, .n_forbidden = 1 },
        { .n_vocab = N, .n_allowed = 45, .temperature = 1, .forbidden = { 7 }, .n_forbidden = 1 },
        { .n_vocab = N,
          .n_allowed = 45,
          .forbidden = { 7 },
          .n_forbidden = 1,
          .temperature = 1,
          .top_k = 5,
          .top_p = 0.9,
          .draw = LACI_DRAW_CATEGORICAL,
          .confidence = LACI_CONFIDENCE_MARGIN },
    };
    float logits[N];
    int32_t heap[N];
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++)
        for (size_t p = 0; p <= sizeof places / sizeof places[0]; p++)
            for (size_t v = 0; v < 3; v++) {
                const bool is_odd = p < sizeof places / sizeof places[0];
                for (int i = 0; i < N; i++)
                    logits[i] = (float)(i % 11) - 3;
                if (is_odd) logits[places[p]] = odd[v];
                assert_int_equal(laci_choose(&rules[r], logits, 1, heap).is_broken, is_odd);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_are_not_finite_are_told),
        cmocka_unit_test(noise_matches_the_reference),
        cmocka_unit_test(choices_match_the_reference),
        cmocka_unit_test(gaps_have_no_probability),
        cmocka_unit_test(padding_quirk_lifts_gaps),
        cmocka_unit_test(generations_match_the_reference),
        cmocka_unit_test(block_generations_match_the_reference),
        cmocka_unit_test(an_unranked_choice_is_the_least_confident),
        cmocka_unit_test(steps_are_counted_in_one_way),
        cmocka_unit_test(fast_dllms_threshold_is_the_default),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(zero_means_default),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
