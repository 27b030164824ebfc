/* fuzz_prompt.c: texts of a run: the first byte holds switches, then come, divided by NUL bytes, a
 * canvas or a document, a prompt, and what marks a hole. They become ids for the bytes of one
 * bundled model and for a tokenizer with merges; ids must be ones the model has, or holes. */
#define _GNU_SOURCE /* mkdtemp */
#include "fuzz/fuzz_file.h"
#include "run/prompt.h"
#include "test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const lac_model *open_card(const char *below)
{
    const lac_model_options how = { .card_only = true };
    lac_model *model = NULL;
    if (lac_model_open(&model, test_path(below), &how, NULL)) {
        fprintf(stderr, "cannot open %s: is LACUNA_TEST_ROOT set?\n", below);
        abort();
    }
    return model;
}

static void encode(const prompt_texts *texts, const run_options *opt, const lac_model *model)
{
    lac_model_info info;
    prompt_ids ids = { .n = 0 };
    size_t n_holes = 0;
    if (lac_model_get_info(model, &info, NULL)) abort();
    if (!prompt_encode(&ids, texts, opt, model, &info)) {
        for (size_t i = 0; i < ids.n; i++) {
            if (ids.ids[i] != LAC_HOLE && (ids.ids[i] < 0 || ids.ids[i] >= info.n_tokens)) abort();
            n_holes += ids.ids[i] == LAC_HOLE;
        }
        if (n_holes != ids.n_holes || ids.n_before > ids.n) abort();
    }
    prompt_ids_free(&ids);
}

/* A copy with a NUL behind it, as the command line gives it. */
static char *text_of(fuzz_bytes *b)
{
    size_t n;
    const char *part = fuzz_part(b, &n);
    char *text = malloc(n + 1);
    if (!text) abort();
    if (n) memcpy(text, part, n);
    text[n] = 0;
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const lac_model *models[2];
    if (!models[0]) {
        models[0] = open_card("models/nano-f");
        models[1] = open_card("tests/golden/dream");
    }
    if (!size) return 0;
    fuzz_be_quiet();
    fuzz_bytes b = { data + 1, data + size };
    size_t n;
    const char *part = fuzz_part(&b, &n);
    const char *path = fuzz_write("text", part, n);
    char *prompt = text_of(&b), *hole = text_of(&b);
    const bool is_canvas = data[0] & 1, has_hole = data[0] & 2 && *hole;
    const run_options opt = { .canvas = is_canvas ? path : NULL,
                              .file = is_canvas ? NULL : path,
                              .prompt = data[0] & 4 ? prompt : NULL,
                              .hole = has_hole ? hole : NULL,
                              .chat_template = data[0] & 8 ? "none" : NULL,
                              .parse_special = data[0] & 16,
                              .quiet = true };
    prompt_texts texts = { .n_holes = 0 };
    if (!prompt_read(&texts, &opt))
        for (int i = 0; i < 2; i++)
            encode(&texts, &opt, models[i]);
    prompt_free(&texts);
    free(prompt);
    free(hole);
    return 0;
}
