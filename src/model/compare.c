/* compare.c: see compare.h. */
#include "model/compare.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/head.h"
#include "model/mask.h"
#include "model/template.h"

enum { MAX_FILE = 16 * 1024 * 1024 };

/* What a folder says beside its configuration; members are NULL when absent. */
typedef struct {
    laci_json *tokenizer; /* tokenizer_config.json */
    laci_json *template;  /* chat_template.json */
    char *jinja;          /* chat_template.jinja [n_jinja] */
    size_t n_jinja;
} beside;

static lac_status read_jinja(beside *b, const char *folder, const lac_allocator *mem,
                             lac_error *err)
{
    char *path = laci_path_join(mem, folder, "chat_template.jinja");
    if (!path) return laci_fail_memory(err, "a path", strlen(folder));
    lac_status st = LAC_OK;
    if (laci_file_exists(path))
        st = laci_file_read(&b->jinja, &b->n_jinja, path, MAX_FILE, mem, err);
    laci_release(mem, path);
    return st;
}

static lac_status read_beside(beside *b, const char *folder, const lac_allocator *mem,
                              lac_error *err)
{
    lac_status st =
        laci_read_json(&b->tokenizer, folder, "tokenizer_config.json", MAX_FILE, mem, err);
    if (!st) st = laci_read_json(&b->template, folder, "chat_template.json", MAX_FILE, mem, err);
    return st ? st : read_jinja(b, folder, mem, err);
}

static void free_beside(beside *b, const lac_allocator *mem)
{
    laci_json_free(b->tokenizer);
    laci_json_free(b->template);
    laci_release(mem, b->jinja);
}

static const laci_jval *member(const laci_json *doc, const char *key)
{
    return doc ? laci_json_get(laci_json_root(doc), key) : NULL;
}

/* A template is a string, or a list of templates with names, of which "default" is meant. */
static const char *template_text(const laci_jval *v)
{
    if (laci_json_is_string(v)) return laci_json_string(v);
    const char *first = NULL;
    for (const laci_jval *item = laci_json_is_array(v) ? laci_json_first(v) : NULL; item;
         item = laci_json_next(item)) {
        const laci_jval *name = laci_json_get(item, "name"),
                        *text = laci_json_get(item, "template");
        if (!laci_json_is_string(text)) continue;
        if (laci_json_is_string(name) && !strcmp(laci_json_string(name), "default"))
            return laci_json_string(text);
        if (!first) first = laci_json_string(text);
    }
    return first;
}

/* chat_template.jinja comes before chat_template.json, and that before tokenizer_config.json. */
static laci_template_source template_of(const beside *b)
{
    laci_template_source src = { .is_told = b->tokenizer || b->template || b->jinja };
    const char *text = template_text(member(b->template, "chat_template"));
    if (!text) text = template_text(member(b->tokenizer, "chat_template"));
    src.text = b->jinja && b->n_jinja ? b->jinja : text;
    src.n = src.text == b->jinja ? b->n_jinja : text ? strlen(text) : 0;
    if (!src.n) src.text = NULL;
    return src;
}

/* mask_token is the text, or an added token with the text as its content. */
static const char *declared_mask(const beside *b)
{
    const laci_jval *v = member(b->tokenizer, "mask_token");
    if (laci_json_is_object(v)) v = laci_json_get(v, "content");
    return laci_json_is_string(v) && *laci_json_string(v) ? laci_json_string(v) : NULL;
}

static lac_status compare_gguf(lac_model *m, lac_error *err)
{
    laci_template_source src = { .is_told = true };
    bool found = false;
    lac_status st =
        laci_gguf_string(m->gguf, "tokenizer.chat_template", &src.text, &src.n, &found, err);
    if (st) return st;
    if (!src.n) src.text = NULL;
    laci_template_settle(&m->config, &src, &m->warnings);
    laci_mask_check(&m->config, m->tokenizer, NULL, &m->warnings);
    return LAC_OK;
}

lac_status laci_compare_files(lac_model *m, const char *path, bool whole, lac_error *err)
{
    if (m->gguf) return compare_gguf(m, err);
    beside b = { NULL, NULL, NULL, 0 };
    lac_status st = read_beside(&b, path, &m->mem, err);
    if (!st) {
        const laci_template_source src = template_of(&b);
        laci_template_settle(&m->config, &src, &m->warnings);
        laci_mask_check(&m->config, m->tokenizer, declared_mask(&b), &m->warnings);
        laci_head_settle(&m->config, m->family, laci_model_tensors(m), whole, &m->warnings);
    }
    free_beside(&b, &m->mem);
    return st;
}
