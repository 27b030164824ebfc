/* test_template.c: which built-in chat template a text of Jinja is taken for. The texts here are
 * shortened: they hold the markers and the sentences by which templates are told apart. */
#include "test.h"

#include "model/template.h"

#define TURN "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}"
#define TOOLS "'# Tools\\nYou are provided with function signatures within <tools>'"
#define HEADERS                                                                                \
    "{{ bos_token }}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content" \
    " | trim + '<|eot_id|>' }}"

/* `wanted` is "no template" where the text is none of the built-in ones. */
static void expect(const char *text, const char *first, const char *wanted)
{
    const char *got = laci_template_recognise(text, strlen(text), first);
    if (!got) got = "no template";
    if (strcmp(got, wanted)) fail_msg("%s: taken for %s, expected %s", text, got, wanted);
}

static void templates_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
    } known[] = {
        { HEADERS, "llada" },
        { "system\\nYou are a helpful assistant." TURN TOOLS, "dream" },
        { "You are Qwen, created by Alibaba Cloud. You are a helpful assistant." TURN TOOLS,
          "fast-dllm" },
        { TURN TOOLS "content.split('</think>')[-1]", "sdar" },
        { "'<role>' + r + '</role>' + c + '<|role_end|>' 'detailed thinking ' + x", "llada2" },
        { TURN, "chatml" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t j = 0; j < sizeof known / sizeof *known; j++)
            if (!(i == 3 && j == 5)) /* plain ChatML holds for SDAR's too, but is tried behind it */
                expect(known[i].text, known[j].name, known[i].name);
    expect(known[3].text, "none", "sdar");
}

static void others_are_not(void **state)
{
    (void)state;
    expect("", "dream", "no template");
    expect("[INST] {{ m.content }} [/INST]", "dream", "no template");
    expect("You are a pirate." TURN, "dream", "no template"); /* another system text */
    expect("You are a helpful assistant. You are terse." TURN, "dream", "no template");
    expect(TURN "<|vision_start|>", "dream", "no template");      /* another marker */
    expect("'<|im_start|>' + m.content", "dream", "no template"); /* one marker missing */
    expect("<|start_header_id|>{{ m.content }}<|end_header_id|><|eot_id|>", "llada", "no template");
    expect("<|begin_of_text|>" HEADERS, "llada", "no template");
}

static const char *settled(const char *own, const laci_template_source *src, int n_warnings)
{
    laci_config config = { .chat_template = own };
    laci_warnings warnings = { .n = 0 };
    laci_template_settle(&config, src, &warnings);
    assert_int_equal(warnings.n, n_warnings);
    if (n_warnings) assert_int_equal(warnings.items[0].topic, LAC_WARNING_TEMPLATE);
    return config.chat_template;
}

static void files_settle_the_template(void **state)
{
    (void)state;
    const char other[] = "[INST]", plain[] = TURN;
    const laci_template_source silent = { .is_told = false }, absent = { .is_told = true };
    const laci_template_source strange = { true, other, sizeof other - 1 };
    const laci_template_source known = { true, plain, sizeof plain - 1 };
    assert_string_equal(settled("dream", &silent, 0), "dream");
    assert_string_equal(settled("dream", &absent, 1), "none");
    assert_string_equal(settled("dream", &strange, 1), "dream");
    assert_string_equal(settled("dream", &known, 0), "chatml");
    assert_string_equal(settled("none", &silent, 0), "none");
    assert_string_equal(settled("none", &absent, 0), "none");
    assert_string_equal(settled("none", &strange, 1), "none");
    assert_string_equal(settled("none", &known, 0), "chatml");
}

static void warnings_are_bounded(void **state)
{
    (void)state;
    laci_warnings list = { .n = 0 };
    for (int i = 0; i < 2 * LACI_MAX_WARNINGS; i++)
        laci_warn(&list, LAC_WARNING_HEAD, "%d%0600d", i, 0);
    assert_int_equal(list.n, LACI_MAX_WARNINGS);
    assert_int_equal(strlen(list.items[LACI_MAX_WARNINGS - 1].text), LACI_WARNING_TEXT - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_told_apart),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(files_settle_the_template),
        cmocka_unit_test(warnings_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
