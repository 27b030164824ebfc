/* test_trace_read.c: plans of a trace come back as they were written, and a trace that was cut,
 * altered or made up is refused with its line named. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include "picture/trace_masks.h"
#include <math.h>
#include <unistd.h>

static char path[64];

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/lacuna_trace_XXXXXX");
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const char *text, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static lac_status read_file(lac_error *err)
{
    masks m;
    cache_view cache;
    trace_facts facts;
    const lac_status st = trace_masks_read(path, &m, &cache, &facts, err);
    if (st) return st;
    masks_free(&m);
    cache_view_free(&cache);
    return LAC_OK;
}

#define HEADER                                                                                 \
    "{\"type\":\"header\",\"model\":\"m\",\"sparse\":\"sparsed\",\"n_prompt\":20,\"steps\":4," \
    "\"n_layers\":1,\"n_heads\":2}\n"
#define SUMMARY "{\"type\":\"summary\"}\n"
#define SIZES                                                                                    \
    "{\"type\":\"plan\",\"step\":0,\"pass\":0,\"layer\":0,\"n_q\":40,\"n_k\":40,\"q_block\":16," \
    "\"k_block\":16,"

/* ------------------------------------------------------------------ there and back */

static bool says_same(const json_out *j)
{
    static const char words[] = "\"kept\":\"same\"";
    for (size_t i = 0; i + sizeof words - 1 <= j->n; i++)
        if (!memcmp(j->data + i, words, sizeof words - 1)) return true;
    return false;
}

/* Three steps of two heads over 40 positions in blocks of 16: a plan, the same, another; the first
 * was measured. Head h row r reads block (r + h + shift) % 3. */
static void what_is_written_is_read(void **state)
{
    (void)state;
    uint32_t row_ptr[7], cols[6];
    float mass[18];
    const float kept[] = { 0.25F, 0.75F };
    trace_plans plans = { 0 };
    json_out j = { .data = NULL };
    masks want, got;
    cache_view cache;
    trace_facts facts;
    assert_true(trace_plans_open(&plans, 1, 2));
    assert_ok(masks_open(&want, 1, 2, 4, NULL));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(HEADER, file);
    for (uint32_t i = 0; i < 7; i++)
        row_ptr[i] = i;
    for (int i = 0; i < 18; i++)
        mass[i] = i % 3 ? 0.0001F * (float)i : 1 - 0.03F * (float)i;
    for (int step = 0; step < 3; step++) {
        for (uint32_t i = 0; i < 6; i++)
            cols[i] = (i % 3 + i / 3 + (step == 2)) % 3;
        const lac_plan_view view = { .step = step,
                                     .n_q = 40,
                                     .n_k = 40,
                                     .q_block = 16,
                                     .k_block = 16,
                                     .n_heads = 2,
                                     .n_rows = 3,
                                     .row_ptr = row_ptr,
                                     .cols = cols,
                                     .density = 1.0 / 3,
                                     .kept_mass = step ? kept : NULL,
                                     .mass = step ? NULL : mass,
                                     .mass_block = 16 };
        assert_ok(masks_add(&want, &view, NULL));
        json_begin_object(&j);
        json_key(&j, "type");
        json_string(&j, "plan");
        trace_plan_put(&plans, &j, &view);
        json_end_object(&j);
        assert_int_equal(says_same(&j), step == 1);
        assert_true(json_write_line(&j, file));
    }
    fputs(SUMMARY, file);
    assert_int_equal(fclose(file), 0);
    assert_ok(trace_masks_read(path, &got, &cache, &facts, NULL));
    assert_int_equal(cache.block, 0);
    assert_string_equal(facts.sparse, "sparsed");
    assert_int_equal(facts.n_prompt, 20);
    assert_int_equal(got.n_frames, 3);
    assert_int_equal(got.cell, want.cell);
    for (int i = 0; i < 3; i++) {
        const masks_frame *a = &want.frames[i], *b = &got.frames[i];
        assert_memory_equal(a->kept, b->kept, 2 * masks_n_cells(&want));
        assert_memory_equal(a->density, b->density, 2 * sizeof(float));
        assert_true(i == 0 || b->kept_mass[1] == 0.75F);
        assert_int_equal(b->has_mass[0], i == 0);
    }
    for (size_t i = 0; i < 2 * masks_n_cells(&want); i++) {
        const double root = sqrt(want.frames[0].mass[i] / 65535.0);
        const double back = sqrt(got.frames[0].mass[i] / 65535.0);
        assert_true(fabs(root - back) < 3.0 / 4095);
    }
    masks_free(&want);
    masks_free(&got);
    trace_plans_free(&plans);
    json_free(&j);
}

/* ------------------------------------------------------------------ refusals */

static void a_made_up_trace_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "", "without a summary" },
        { "no trace\n", "line 1" },
        { "[1]\n", "line 1: not an object" },
        { SUMMARY, "begins with one header" },
        { HEADER SUMMARY, "holds no plans" },
        { HEADER HEADER SUMMARY, "line 2: a trace begins with one header" },
        { "{\"type\":\"header\"}\n" SUMMARY, "n_layers" },
        { HEADER SIZES "\"kept\":[\"824\",\"824\"]}\n", "after line 2 without a summary" },
        { HEADER SIZES "\"kept\":\"same\"}\n" SUMMARY, "line 2: the same plan" },
        { HEADER SIZES "\"kept\":[\"82\",\"824\"]}\n" SUMMARY, "2 hex digits of 3" },
        { HEADER SIZES "\"kept\":[\"82x\",\"824\"]}\n" SUMMARY, "2 hex digits of 3" },
        { HEADER SIZES "\"kept\":[\"821\",\"824\"]}\n" SUMMARY, "key block 3, there are 3" },
        { HEADER SIZES "\"kept\":[\"824\",\"824\",\"824\"]}\n" SUMMARY, "1 or 2 heads" },
        { HEADER SIZES "\"kept\":[]}\n" SUMMARY, "1 or 2 heads" },
        { HEADER SIZES "\"kept\":[824,\"824\"]}\n" SUMMARY, "0 hex digits of 3" },
        { HEADER SIZES "\"kept\":7}\n" SUMMARY, "neither" },
        { HEADER SIZES "\"x\":7}\n" SUMMARY, "neither" },
        { HEADER SIZES "\"kept\":[\"824\"],\"mass\":[\"000\"]}\n" SUMMARY, "mass_block" },
        { HEADER SIZES "\"kept\":[\"824\"],\"mass_block\":0,\"mass\":[]}\n" SUMMARY, "mass_block" },
        { HEADER SIZES "\"kept\":[\"824\"],\"mass_block\":64,\"mass\":[\"000\"]}\n" SUMMARY,
          "list of 2 heads" },
        { HEADER SIZES "\"kept\":[\"824\"],\"mass_block\":64,\"mass\":[\"000\",\"00\"]}\n" SUMMARY,
          "2 hex digits of 3" },
        { HEADER SIZES "\"kept\":[\"824\"],\"mass_block\":1,\"mass\":[\"000\",\"00\"]}\n" SUMMARY,
          "3 hex digits of 4800" },
        { HEADER SIZES "\"kept_mass\":[1],\"kept\":[\"824\"]}\n" SUMMARY, "kept_mass" },
        { HEADER SIZES "\"kept_mass\":[1,\"x\"],\"kept\":[\"824\"]}\n" SUMMARY, "kept_mass" },
        { HEADER SIZES "\"kept\":[\"824\"]}\n" SIZES "\"kept\":\"same\"}\n" SUMMARY,
          "line 3: two plans" },
        { HEADER "{\"type\":\"plan\",\"step\":-1}\n" SUMMARY, "step" },
        { HEADER "{\"type\":\"plan\",\"step\":1e9}\n" SUMMARY, "step" },
        { HEADER "{\"type\":\"plan\",\"step\":0,\"pass\":0,\"layer\":1}\n" SUMMARY, "layer" },
        { HEADER "{\"type\":\"plan\",\"step\":0,\"pass\":0,\"layer\":0,\"n_q\":16777216,"
                 "\"n_k\":16777216,\"q_block\":1,\"k_block\":1,\"kept\":[\"0\"]}\n" SUMMARY,
          "are more than" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lac_error err = { 0 };
        write_file(cases[i].text, strlen(cases[i].text));
        const lac_status st = read_file(&err);
        if (st != LAC_EFORMAT || !strstr(err.message, cases[i].says))
            fail_msg("case %zu: %s: wanted \"%s\"", i, err.message, cases[i].says);
        if (!strstr(err.message, path)) fail_msg("case %zu does not name the file", i);
    }
    lac_error err = { 0 };
    masks m;
    cache_view cache;
    trace_facts facts;
    assert_int_equal(trace_masks_read("/no/such/file", &m, &cache, &facts, &err), LAC_EIO);
    assert_int_equal(trace_masks_read("/tmp", &m, &cache, &facts, &err), LAC_EIO);
}

/* ------------------------------------------------------------------ behind a key cache */

#define BLOCK_HEADER(block)                                                                     \
    "{\"type\":\"header\",\"model\":\"m\",\"sparse\":\"losa\",\"n_prompt\":36,\"steps\":4,\"n_" \
    "canvas\":70,"                                                                              \
    "\"block_size\":" block ",\"n_layers\":2,\"n_heads\":2}\n"
#define BLOCK_PLAN(layer, n_q, first, active)                                               \
    "{\"type\":\"plan\",\"step\":1,\"pass\":0,\"layer\":" layer ",\"n_q\":" n_q             \
    ",\"n_k\":32,\"q_block\":" n_q ",\"k_block\":16,\"first\":" first ",\"active\":" active \
    ",\"kept\":[\"4\",\"c\"]}\n"
#define BLOCK_STEP(step, span, rows, bytes)               \
    "{\"type\":\"step\",\"step\":" step ",\"span\":" span \
    ",\"density\":0.5,\"union_inflation\":1.5,"           \
    "\"n_active\":" rows ",\"bytes_read\":" bytes "}\n"

/* Step 0 reads everything in both layers; in step 1 layer 0 reads some keys for rows 4 and 6 and
 * layer 1 nothing, which the mean of one row says. */
static void what_was_read_of_a_cache_comes_back(void **state)
{
    (void)state;
    static const char text[] = BLOCK_HEADER("16") BLOCK_STEP("0", "[36,48]", "16", "4096")
        BLOCK_PLAN("0", "2", "32", "[4,6]") BLOCK_STEP("1", "[36,48]", "1", "100") SUMMARY;
    masks m;
    cache_view v;
    trace_facts facts;
    write_file(text, sizeof text - 1);
    assert_ok(trace_masks_read(path, &m, &v, &facts, NULL));
    assert_int_equal(v.block, 16);
    assert_int_equal(v.n_steps, 2);
    assert_int_equal(v.first, 32);
    assert_int_equal(v.cell, 1);
    assert_int_equal(v.n_columns, 48); /* to the end of the block that holds position 69 */
    assert_int_equal(v.steps[0].begin, 32);
    assert_true(v.steps[1].union_inflation == 1.5 && v.steps[1].bytes_read == 100);
    for (int c = 0; c < v.n_columns; c++) {
        const float second = v.active[CACHE_VIEW_COLUMNS + c];
        assert_true(v.active[c] == (c < 16 ? 1 : 0));
        assert_true(second == (c == 4 || c == 6 ? 0.5F : 0));
    }
    assert_int_equal(v.key_cell, 1);
    for (int c = 0; c < v.n_key_columns; c++) {
        const float second = v.read[CACHE_VIEW_COLUMNS + c];
        assert_true(v.read[c] == (c < 32 ? 1 : 0));
        assert_true(second == (c < 16 ? 0.25F : c < 32 ? 0.5F : 0));
    }
    masks_free(&m);
    cache_view_free(&v);
}

static void a_bad_trace_of_a_cache_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { BLOCK_HEADER("-1") SUMMARY, "block_size" },
        { BLOCK_HEADER("70000") SUMMARY, "block_size" },
        { BLOCK_HEADER("16") SUMMARY, "no plans" },
        { BLOCK_HEADER("16") BLOCK_PLAN("0", "2", "32", "[4]") SUMMARY, "line 2: \"active\"" },
        { BLOCK_HEADER("16") BLOCK_PLAN("0", "2", "32", "[4,16]") SUMMARY, "outside 0 to 15" },
        { BLOCK_HEADER("16") BLOCK_PLAN("0", "2", "32", "[4,-1]") SUMMARY, "outside 0 to 15" },
        { BLOCK_HEADER("16") BLOCK_PLAN("0", "1", "32", "5") SUMMARY, "\"active\"" },
        { BLOCK_HEADER("16") BLOCK_PLAN("0", "1", "16", "[5]") SUMMARY, "position 16" },
        { BLOCK_HEADER("16") BLOCK_PLAN("0", "1", "72", "[15]") SUMMARY, "position 72" },
        { BLOCK_HEADER("16") BLOCK_STEP("0", "[36,48]", "-1", "5") SUMMARY, "\"n_active\"" },
        { BLOCK_HEADER("16") BLOCK_STEP("0", "[36,48]", "1", "\"x\"") SUMMARY, "\"bytes_read\"" },
        { BLOCK_HEADER("16") BLOCK_STEP("0", "7", "1", "5") SUMMARY, "\"span\"" },
        { BLOCK_HEADER("16") BLOCK_STEP("0", "[700,710]", "1", "5") SUMMARY, "position 688" },
        { BLOCK_HEADER("16") BLOCK_STEP("0", "[3,10]", "1", "5") SUMMARY, "position 0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lac_error err = { 0 };
        write_file(cases[i].text, strlen(cases[i].text));
        const lac_status st = read_file(&err);
        if (st != LAC_EFORMAT || !strstr(err.message, cases[i].says))
            fail_msg("case %zu: %s: wanted \"%s\"", i, err.message, cases[i].says);
    }
}

static const char good[] =
    HEADER "{\"type\":\"step\",\"step\":0}\n" SIZES
           "\"kept_mass\":[0.5,null],\"kept\":[\"824\",\"ece\"],\"mass_block\":32,\"mass\":"
           "[\"fff000000fff\",\"800800800800\"]}\n" SUMMARY;

static void a_trace_cut_short_is_refused(void **state)
{
    (void)state;
    lac_error err = { 0 };
    write_file(good, sizeof good - 1);
    if (read_file(&err)) fail_msg("%s", err.message);
    for (size_t n = 0; n < sizeof good - 2; n++) { /* the last line end is not missed */
        write_file(good, n);
        if (read_file(&err) != LAC_EFORMAT) fail_msg("cut after %zu bytes", n);
    }
}

static void an_altered_trace_does_no_harm(void **state)
{
    (void)state;
    static char text[sizeof good];
    static const char bytes[] = { '0', '9', '-', '"', 'f', ']', '{', '\n', 0, (char)0xff };
    for (size_t at = 0; at < sizeof good - 1; at++)
        for (size_t b = 0; b < sizeof bytes; b++) {
            lac_error err = { 0 };
            memcpy(text, good, sizeof good);
            text[at] = bytes[b];
            write_file(text, sizeof good - 1);
            const lac_status st = read_file(&err);
            if (st && st != LAC_EFORMAT) fail_msg("byte %zu: %s", at, err.message);
            if (st && !*err.message) fail_msg("byte %zu: no message", at);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_made_up_trace_is_refused),
        cmocka_unit_test(a_trace_cut_short_is_refused),
        cmocka_unit_test(an_altered_trace_does_no_harm),
        cmocka_unit_test(what_was_read_of_a_cache_comes_back),
        cmocka_unit_test(a_bad_trace_of_a_cache_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
