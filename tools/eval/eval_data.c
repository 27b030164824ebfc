/* eval_data.c: see eval_data.h. */
#include "eval/eval_data.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "shell/console.h"
#include "shell/json_out.h"
#include "shell/lines.h"

enum { DEFAULT_RESPONSE = 128, MAX_SAMPLES = 100000, MAX_LENGTH = 1 << 24, MAX_LINE = 1 << 24 };

/* ------------------------------------------------------------------ reading */

static int fail_line(const char *path, size_t number, const char *what)
{
    return console_fail(EXIT_USAGE, "--data: line %zu of %s: %s", number, path, what);
}

/* The rule and the response length go by the name, where it is one of ours. */
static void set_task(eval_datum *d, const char *name)
{
    const eval_task *known = eval_task_find(name);
    snprintf(d->name, sizeof d->name, "%s", name);
    d->task = (eval_task){ .about = "from a file",
                           .reserved = known ? known->reserved : DEFAULT_RESPONSE,
                           .fits_slot = known && known->fits_slot,
                           .part = !strncmp(name, "qa", 2) };
}

static const char *read_text(const laci_jval *v, const char *key, const char *otherwise)
{
    const laci_jval *text = laci_json_get(v, key);
    return laci_json_is_string(text) ? laci_json_string(text) : otherwise;
}

static const char *read_refs(const laci_jval *outputs, eval_sample *s)
{
    if (!laci_json_is_array(outputs) || !laci_json_count(outputs))
        return "outputs is no list of strings";
    if (laci_json_count(outputs) > EVAL_MAX_REFS) return "outputs holds more than 10 strings";
    for (const laci_jval *v = laci_json_first(outputs); v; v = laci_json_next(v)) {
        if (!laci_json_is_string(v) || !*laci_json_string(v))
            return "outputs is no list of strings";
        eval_sample_ref(s, laci_json_string(v));
    }
    return NULL;
}

/* NULL, or what is wrong with the object. */
static const char *read_datum(const laci_jval *v, eval_datum *d)
{
    const char *input = read_text(v, "input", NULL);
    const char *name = read_text(v, "task", "data");
    int64_t ctx = 0;
    if (!laci_json_is_object(v)) return "not an object";
    if (!input || !*input) return "no input";
    if (!*name || strlen(name) >= EVAL_NAME_MAX || strpbrk(name, "\"<>&,|\n\r\t"))
        return "a task name that cannot be printed";
    if (laci_json_get(v, "ctx") && !laci_json_integer(laci_json_get(v, "ctx"), &ctx))
        return "ctx is no whole number";
    if (ctx < 0 || ctx > MAX_LENGTH) return "ctx is out of range";
    set_task(d, name);
    d->ctx = (int)ctx;
    d->sample.depth = NAN;
    eval_text_put(&d->sample.prompt, input);
    eval_text_put(&d->sample.prefix, read_text(v, "answer_prefix", ""));
    return read_refs(laci_json_get(v, "outputs"), &d->sample);
}

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r", text[i]) || !text[i]) return false;
    return true;
}

static int push(eval_data *data, size_t *capacity, const eval_datum *d)
{
    if (!data->all || data->n == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 32;
        eval_datum *all = realloc(data->all, *capacity * sizeof *all);
        if (!all) return console_fail(EXIT_MEMORY, "out of memory for %zu samples", *capacity);
        data->all = all;
    }
    data->all[data->n++] = *d;
    return EXIT_OK;
}

static int read_line(eval_data *data, size_t *capacity, const char *path, size_t number,
                     const char *line, size_t n)
{
    laci_json *doc = NULL;
    lac_error err = { .message = "" };
    eval_datum d = { .index = (int)data->n }; /* joined files repeat their own */
    if (laci_json_parse(&doc, line, n, "the object", NULL, NULL, &err))
        return fail_line(path, number, err.message);
    const char *wrong = read_datum(laci_json_root(doc), &d);
    laci_json_free(doc);
    int code = wrong ? fail_line(path, number, wrong) : push(data, capacity, &d);
    if (code) eval_sample_free(&d.sample);
    return code;
}

static int read_lines(eval_data *data, const char *path, FILE *file)
{
    line_reader lines = { .file = file, .limit = MAX_LINE };
    lac_error err = { .message = "" };
    size_t capacity = 0;
    int code = EXIT_OK;
    while (!code) {
        bool end = false;
        if (line_next(&lines, &end, &err))
            code = console_fail(err.code == LAC_ENOMEM ? EXIT_MEMORY : EXIT_USAGE,
                                "--data: %s of %s", err.message, path);
        if (code || end) break;
        if (is_blank(lines.text, lines.n)) continue;
        if (data->n == MAX_SAMPLES)
            code = fail_line(path, lines.number, "more than 100000 samples");
        else
            code = read_line(data, &capacity, path, lines.number, lines.text, lines.n);
    }
    line_free(&lines);
    return code;
}

int eval_data_read(eval_data *out, const char *path)
{
    eval_data data = { .n = 0 };
    const bool is_stdin = !strcmp(path, "-");
    errno = 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (!file) return console_fail(EXIT_USAGE, "--data: cannot read %s: %s", path, strerror(errno));
    int code = read_lines(&data, path, file);
    if (!is_stdin) fclose(file);
    if (!code && !data.n) code = console_fail(EXIT_USAGE, "--data: %s holds no samples", path);
    if (code) {
        eval_data_free(&data);
        return code;
    }
    for (size_t i = 0; i < data.n; i++)
        data.all[i].task.name = data.all[i].name; /* now that they no longer move */
    *out = data;
    return EXIT_OK;
}

void eval_data_free(eval_data *data)
{
    for (size_t i = 0; i < data->n; i++)
        eval_sample_free(&data->all[i].sample);
    free(data->all);
    *data = (eval_data){ .all = NULL };
}

/* ------------------------------------------------------------------ writing */

bool eval_data_write(FILE *out, const eval_task *task, const eval_request *request,
                     const eval_sample *sample, const eval_canvas *canvas)
{
    json_out j = { .data = NULL };
    json_begin_object(&j);
    json_key(&j, "index");
    json_int(&j, request->index);
    json_key(&j, "input");
    json_text(&j, sample->prompt.data, sample->prompt.n);
    json_key(&j, "outputs");
    json_begin_array(&j);
    for (size_t i = 0; i < sample->n_refs; i++)
        json_text(&j, sample->refs[i].data, sample->refs[i].n);
    json_end_array(&j);
    json_key(&j, "length");
    json_uint(&j, canvas->n);
    json_key(&j, "length_w_model_temp"); /* the template is counted already */
    json_uint(&j, canvas->n);
    json_key(&j, "answer_prefix");
    json_text(&j, sample->prefix.n ? sample->prefix.data : "", sample->prefix.n);
    if (canvas->n_needles) {
        json_key(&j, "token_position_answer");
        json_int(&j, canvas->needles[0].begin);
    }
    json_key(&j, "task");
    json_string(&j, task->name);
    json_key(&j, "ctx");
    json_int(&j, request->ctx);
    json_end_object(&j);
    const bool sound = json_write_line(&j, out);
    json_free(&j);
    return sound;
}
