/* test_rope.c: how positions become angles, in every place and spelling a configuration may say it:
 * the same meaning gives the same configuration, what is not computed is refused by name. */
#include <math.h>

#include "test.h"

#include "base/json.h"
#include "model/rope.h"

/* Reads a configuration of an SDAR model with these members in place of its rope_theta. */
static lac_status read_members(laci_config *out, const char *members, const laci_rope_wish *wish,
                               lac_error *err)
{
    char text[2048];
    snprintf(text, sizeof text,
             "{\"architectures\":[\"SDARForCausalLM\"],\"hidden_size\":64,\"num_hidden_layers\":2,"
             "\"num_attention_heads\":4,\"head_dim\":32,\"intermediate_size\":96,"
             "\"vocab_size\":300,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-6,"
             "\"mask_token_id\":299,%s}",
             members);
    laci_json *doc;
    *err = (lac_error){ .message = "" };
    if (laci_json_parse(&doc, text, strlen(text), "test", NULL, NULL, err))
        fail_msg("%s: %s", members, err->message);
    laci_config_source src = { .config = laci_json_root(doc) };
    if (wish) src.rope = *wish;
    const lac_status st = laci_config_read(out, &src, err);
    laci_json_free(doc);
    return st;
}

static void expect(const char *members, double theta, double scale, int rope_dim)
{
    laci_config c = { 0 };
    lac_error err;
    if (read_members(&c, members, NULL, &err)) fail_msg("%s: %s", members, err.message);
    if (c.rope_theta != theta || c.rope_scale != scale || c.rope_dim != rope_dim)
        fail_msg("%s: base %g, scale %g, %d dimensions, expected %g, %g, %d", members, c.rope_theta,
                 c.rope_scale, c.rope_dim, theta, scale, rope_dim);
}

static void refuse(const char *members, lac_status expected, const char *word, const char *word2)
{
    laci_config c = { 0 };
    lac_error err;
    const lac_status st = read_members(&c, members, NULL, &err);
    if (st != expected)
        fail_msg("%s: %s (%s), expected %s", members, lac_status_name(st), err.message,
                 lac_status_name(expected));
    if (!strstr(err.message, word) || !strstr(err.message, word2))
        fail_msg("%s: \"%s\" lacks \"%s\" or \"%s\"", members, err.message, word, word2);
}

#define THETA "\"rope_theta\":1e6"

static void no_scaling_in_every_spelling(void **state)
{
    (void)state;
    static const char *const same[] = {
        THETA,
        THETA ",\"rope_scaling\":null",
        THETA ",\"rope_scaling\":false,\"rope_parameters\":null",
        THETA ",\"rope_scaling\":{}",
        THETA ",\"rope_scaling\":{\"rope_type\":\"default\"}",
        THETA ",\"rope_scaling\":{\"type\":\"default\"}",
        THETA ",\"rope_scaling\":{\"type\":\"default\",\"factor\":1.0}",
        THETA ",\"rope_scaling\":{\"factor\":null}",
        THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":1}",
        THETA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":1.0,\"beta_fast\":32,"
              "\"original_max_position_embeddings\":512}",
        "\"rope_parameters\":{" THETA "}",
        "\"rope_parameters\":{" THETA ",\"rope_type\":\"default\",\"partial_rotary_factor\":1}",
        "\"rope_theta\":5,\"rope_parameters\":{" THETA ",\"type\":\"default\"}", /* inside wins */
        "\"rope_parameters\":{\"full_attention\":{" THETA ",\"rope_type\":\"default\"}}",
        "\"layer_types\":[\"full_attention\"],\"rope_parameters\":{\"full_attention\":{" THETA "},"
        "\"sliding_attention\":{\"rope_theta\":1e4}}",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        expect(same[i], 1e6, 1, 32);
}

static void linear_in_every_spelling(void **state)
{
    (void)state;
    static const char *const same[] = {
        THETA ",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":4.0}",
        THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}",
        THETA ",\"rope_scaling\":{\"type\":\"yarn\",\"rope_type\":\"linear\",\"factor\":4}",
        "\"rope_parameters\":{" THETA ",\"type\":\"linear\",\"factor\":4}",
        THETA ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4}",
        /* rope_scaling stands in place of rope_parameters */
        THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4},"
              "\"rope_parameters\":{\"rope_theta\":3,\"rope_type\":\"yarn\",\"factor\":2}",
        "\"rope_parameters\":{\"full_attention\":{" THETA ",\"type\":\"linear\",\"factor\":4}}",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        expect(same[i], 1e6, 4, 32);
}

static void shares_inside_and_outside(void **state)
{
    (void)state;
    expect(THETA ",\"partial_rotary_factor\":0.5", 1e6, 1, 16);
    expect("\"rope_parameters\":{" THETA ",\"partial_rotary_factor\":0.5}", 1e6, 1, 16);
    expect("\"partial_rotary_factor\":0.25,\"rope_parameters\":{" THETA
           ",\"partial_rotary_factor\":0.5}",
           1e6, 1, 16);
    expect(THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,"
                 "\"partial_rotary_factor\":0.5}",
           1e6, 2, 16);
}

static void other_kinds_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const kinds[] = { "dynamic", "yarn",         "llama3", "longrope",
                                         "su",      "proportional", "mrope",  "ntk" };
    static const char *const places[] = { "rope_scaling", "rope_parameters" };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds * 4; i++) {
        char members[256];
        snprintf(members, sizeof members, THETA ",\"%s\":{\"%s\":\"%s\",\"factor\":8}",
                 places[i % 2], i / 2 % 2 ? "type" : "rope_type", kinds[i / 4]);
        refuse(members, LAC_EUNSUPPORTED, kinds[i / 4], "factor 8");
    }
    refuse(THETA ",\"rope_scaling\":{\"factor\":8}", LAC_EUNSUPPORTED, "rope_scaling", "factor 8");
    refuse(THETA ",\"rope_scaling\":{\"type\":\"default\",\"mrope_section\":[1]}", LAC_EUNSUPPORTED,
           "rope_scaling", "mrope_section");
    refuse(THETA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":1,\"attention_factor\":2}",
           LAC_EUNSUPPORTED, "rope_scaling", "attention_factor");
    refuse("\"rope_parameters\":{\"full_attention\":{" THETA "},\"sliding_attention\":{" THETA "}}",
           LAC_EUNSUPPORTED, "sliding_attention", "layer_types");
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    refuse(THETA ",\"rope_scaling\":{\"type\":\"linear\"}", LAC_EFORMAT, "linear", "factor");
    refuse(THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}", LAC_EFORMAT, "0.5", "");
    refuse(THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":\"4\"}", LAC_EFORMAT, "factor",
           "");
    refuse(THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":-4}", LAC_EFORMAT, "factor",
           "");
    refuse(THETA ",\"rope_scaling\":{\"type\":3}", LAC_EFORMAT, "type", "");
    refuse(THETA ",\"rope_scaling\":true", LAC_EFORMAT, "rope_scaling", "object");
    refuse(THETA ",\"rope_scaling\":2", LAC_EFORMAT, "rope_scaling", "object");
    refuse(THETA ",\"rope_parameters\":[1]", LAC_EFORMAT, "rope_parameters", "object");
    refuse("\"rope_parameters\":{\"full_attention\":3}", LAC_EFORMAT, "full_attention", "object");
    refuse("\"rope_parameters\":{\"rope_type\":\"default\"}", LAC_EFORMAT, "rope_theta", "");
    refuse("\"rope_parameters\":{\"rope_theta\":0.5}", LAC_EFORMAT, "rope_theta", "");
}

static void the_caller_comes_first(void **state)
{
    (void)state;
    static const char yarn[] = THETA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":8}";
    const struct {
        laci_rope_wish wish;
        double theta, scale;
    } cases[] = {
        { { LAC_ROPE_SCALING_NONE, 0, 0 }, 1e6, 1 },
        { { LAC_ROPE_SCALING_LINEAR, 2, 0 }, 1e6, 2 },
        { { LAC_ROPE_SCALING_AUTO, 0.5, 0 }, 1e6, 0.5 },
        { { LAC_ROPE_SCALING_NONE, 1, 7e7 }, 7e7, 1 },
    };
    laci_config c = { 0 };
    lac_error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(laci_rope_check_wish(&cases[i].wish, &err));
        if (read_members(&c, yarn, &cases[i].wish, &err)) fail_msg("%zu: %s", i, err.message);
        assert_true(c.rope_theta == cases[i].theta && c.rope_scale == cases[i].scale);
    }
    /* a base alone leaves the scaling to the file */
    const laci_rope_wish base = { .base = 5e7 };
    assert_int_equal(read_members(&c, yarn, &base, &err), LAC_EUNSUPPORTED);
    assert_ok(read_members(&c, THETA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}", &base,
                           &err));
    assert_true(c.rope_theta == 5e7 && c.rope_scale == 4);
    const laci_rope_wish wrong[] = {
        { (lac_rope_scaling)3, 0, 0 },
        { LAC_ROPE_SCALING_NONE, 2, 0 },
        { LAC_ROPE_SCALING_LINEAR, 0, 0 },
        { LAC_ROPE_SCALING_AUTO, -1, 0 },
        { LAC_ROPE_SCALING_AUTO, 5000, 0 },
        { LAC_ROPE_SCALING_AUTO, 0, 0.5 },
        { LAC_ROPE_SCALING_AUTO, 0, -1 },
        { LAC_ROPE_SCALING_AUTO, (double)NAN, 0 },
        { LAC_ROPE_SCALING_AUTO, 0, (double)NAN },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(laci_rope_check_wish(&wrong[i], &err), LAC_EINVAL);
}

/* Values worked out from the published definition: theta^(-2i/r) over the factor. */
static void frequencies_are_those_published(void **state)
{
    (void)state;
    const laci_config c = { .rope_theta = 1e4, .rope_scale = 4, .rope_dim = 128 };
    const struct {
        size_t pair;
        double value;
    } wanted[] = { { 0, 0.25 }, { 1, 0.21649108084001634 }, { 32, 0.0025 } };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const double got = laci_rope_frequency(&c, wanted[i].pair);
        if (fabs(got - wanted[i].value) > 1e-14 * wanted[i].value)
            fail_msg("pair %zu: %.17g, expected %.17g", wanted[i].pair, got, wanted[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_scaling_in_every_spelling),
        cmocka_unit_test(linear_in_every_spelling),
        cmocka_unit_test(shares_inside_and_outside),
        cmocka_unit_test(other_kinds_are_refused_by_name),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(the_caller_comes_first),
        cmocka_unit_test(frequencies_are_those_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
