/* template.c: see template.h. */
#include "model/template.h"

#include <string.h>

enum { MAX_MARKS = 6 };

/* What a template of this name holds. */
static const struct fingerprint {
    const char *name;
    const char *all_of[MAX_MARKS]; /* texts that it must contain */
    const char *marks[MAX_MARKS];  /* markers <|...|> that it may contain */
    const char *system;            /* sentences put in front where no system text is given */
} fingerprints[] = {
    { "llada",
      { "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "trim" },
      { "<|startoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
        "<|endoftext|>" },
      NULL },
    { "dream",
      { "<|im_start|>", "<|im_end|>" },
      { "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|beginoftext|>" },
      "You are a helpful assistant." },
    { "sdar",
      { "<|im_start|>", "<|im_end|>", "</think>" },
      { "<|im_start|>", "<|im_end|>", "<|endoftext|>" },
      NULL },
    { "fast-dllm",
      { "<|im_start|>", "<|im_end|>" },
      { "<|im_start|>", "<|im_end|>", "<|endoftext|>" },
      "You are Qwen, created by Alibaba Cloud. You are a helpful assistant." },
    { "llada2",
      { "<role>", "</role>", "<|role_end|>", "detailed thinking" },
      { "<|role_end|>", "<|startoftext|>", "<|endoftext|>" },
      NULL },
    { "chatml",
      { "<|im_start|>", "<|im_end|>" },
      { "<|im_start|>", "<|im_end|>", "<|endoftext|>" },
      NULL },
};
enum { N_FINGERPRINTS = sizeof fingerprints / sizeof *fingerprints };

/* First place of `word` at or behind `from`, n when there is none. */
static size_t find(const char *text, size_t n, size_t from, const char *word)
{
    const size_t n_word = strlen(word);
    for (size_t i = from; i + n_word <= n; i++)
        if (!memcmp(text + i, word, n_word)) return i;
    return n;
}

static bool is_at(const char *text, size_t n, size_t at, const char *word)
{
    const size_t n_word = strlen(word);
    return n - at >= n_word && !memcmp(text + at, word, n_word);
}

/* Every <|...|> is one of the template's own. */
static bool has_own_marks(const struct fingerprint *f, const char *text, size_t n)
{
    for (size_t at = find(text, n, 0, "<|"); at < n; at = find(text, n, at + 2, "<|")) {
        bool known = false;
        for (int i = 0; i < MAX_MARKS && f->marks[i]; i++)
            known |= is_at(text, n, at, f->marks[i]);
        if (!known) return false;
    }
    return true;
}

/* Every "You are ..." is of the template's own system text, or of the instructions for tools, and
 * its system text is there. */
static bool has_own_system(const struct fingerprint *f, const char *text, size_t n)
{
    static const char start[] = "You are ", tools[] = "You are provided with function signatures";
    if (f->system && find(text, n, 0, f->system) == n) return false;
    for (size_t at = find(text, n, 0, start); at < n;) {
        if (f->system && is_at(text, n, at, f->system))
            at += strlen(f->system);
        else if (is_at(text, n, at, tools))
            at += sizeof tools - 1;
        else
            return false;
        at = find(text, n, at, start);
    }
    return true;
}

static bool fits(const struct fingerprint *f, const char *text, size_t n)
{
    for (int i = 0; i < MAX_MARKS && f->all_of[i]; i++)
        if (find(text, n, 0, f->all_of[i]) == n) return false;
    return has_own_marks(f, text, n) && has_own_system(f, text, n);
}

const char *laci_template_recognise(const char *text, size_t n, const char *first)
{
    for (int i = 0; i < N_FINGERPRINTS; i++)
        if (!strcmp(fingerprints[i].name, first) && fits(&fingerprints[i], text, n))
            return fingerprints[i].name;
    for (int i = 0; i < N_FINGERPRINTS; i++)
        if (fits(&fingerprints[i], text, n)) return fingerprints[i].name;
    return NULL;
}

void laci_template_settle(laci_config *config, const laci_template_source *src,
                          laci_warnings *warnings)
{
    if (!src->is_told) return;
    const bool has_own = strcmp(config->chat_template, "none") != 0;
    if (!src->text) {
        if (has_own)
            laci_warn(warnings, LAC_WARNING_TEMPLATE,
                      "the files hold no chat template, as those of base models: a prompt stays "
                      "plain text unless a template such as %s is named",
                      config->chat_template);
        config->chat_template = "none";
        return;
    }
    const char *name = laci_template_recognise(src->text, src->n, config->chat_template);
    if (name)
        config->chat_template = name;
    else if (has_own)
        laci_warn(warnings, LAC_WARNING_TEMPLATE,
                  "the chat template of the files is not the built-in %s, which is used all the "
                  "same; another can be named",
                  config->chat_template);
    else
        laci_warn(warnings, LAC_WARNING_TEMPLATE,
                  "the chat template of the files is not known: a prompt stays plain text unless a "
                  "template is named");
}
