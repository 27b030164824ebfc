/* eval_canvas.c: see eval_canvas.h. Ranges are found by looking for the bytes of a needle in the
 * bytes of the tokens, so any tokenizer and chat template will do; where a tokenizer rewrites text
 * a range stays unknown. */
#include "eval/eval_canvas.h"

#include <stdlib.h>
#include <string.h>

#include "shell/console.h"

static int append(eval_canvas *c, const int32_t *ids, size_t n)
{
    if (c->n + n > c->capacity) {
        const size_t capacity = (c->n + n) * 2;
        int32_t *larger = realloc(c->ids, capacity * sizeof *larger);
        if (!larger) return console_fail(EXIT_MEMORY, "out of memory for a sample");
        c->ids = larger;
        c->capacity = capacity;
    }
    if (n) memcpy(c->ids + c->n, ids, n * sizeof *ids);
    c->n += n;
    return EXIT_OK;
}

static int append_text(eval_canvas *c, const lac_model *model, const char *text, size_t n)
{
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lac_error err = { .message = "" };
    if (!n) return EXIT_OK;
    const lac_status st = lac_model_encode(model, text, n, NULL, &ids, &n_ids, &err);
    if (st) return console_fail_status(st, &err);
    const int code = append(c, ids, n_ids);
    lac_model_free_ids(model, ids);
    return code;
}

static int append_prompt(eval_canvas *c, const eval_encoding *how, const eval_sample *s)
{
    const lac_chat_message message = { "user", s->prompt.data };
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lac_error err = { .message = "" };
    if (how->chat_template && !strcmp(how->chat_template, "none"))
        return append_text(c, how->model, s->prompt.data, s->prompt.n);
    const lac_status st =
        lac_model_encode_chat(how->model, how->chat_template, &message, 1, &ids, &n_ids, &err);
    if (st) return console_fail_status(st, &err);
    const int code = append(c, ids, n_ids);
    lac_model_free_ids(how->model, ids);
    return code;
}

static int append_holes(eval_canvas *c, int n)
{
    const int32_t hole = LAC_HOLE;
    int code = EXIT_OK;
    c->response.begin = (int)c->n;
    for (int i = 0; i < n && !code; i++)
        code = append(c, &hole, 1);
    c->response.end = (int)c->n;
    return code;
}

/* ------------------------------------------------------------------ ranges */

/* The tokens in front of the response as one text, with the byte each begins at. */
typedef struct {
    eval_text text;
    size_t *begin; /* [n + 1] */
    size_t n;
} pieces;

static bool pieces_of(pieces *p, const lac_model *model, const eval_canvas *c)
{
    p->n = (size_t)c->response.begin;
    p->begin = malloc((p->n + 1) * sizeof *p->begin);
    if (!p->begin) return false;
    for (size_t i = 0; i < p->n; i++) {
        size_t n_piece = 0;
        const char *piece = lac_model_piece(model, c->ids[i], &n_piece);
        p->begin[i] = p->text.n;
        eval_text_add(&p->text, piece, n_piece);
    }
    p->begin[p->n] = p->text.n;
    return !p->text.failed;
}

static eval_range range_of(const pieces *p, size_t begin, size_t end)
{
    eval_range range = { -1, -1 };
    for (size_t i = 0; i < p->n; i++) {
        if (p->begin[i + 1] > begin && range.begin < 0) range.begin = (int)i;
        if (p->begin[i] < end) range.end = (int)i + 1;
    }
    return range;
}

/* Tokens that hold bytes of `span` of the prompt. A chat template puts the prompt behind a header,
 * a tokenizer may add a token in front: the offset between the two texts is looked for. */
static eval_range find_span(const pieces *p, const eval_sample *s, eval_span span, size_t from)
{
    const size_t n = span.end - span.begin;
    for (size_t at = from; p->text.data && n && at + n <= p->text.n; at++)
        if (!memcmp(p->text.data + at, s->prompt.data + span.begin, n))
            return range_of(p, at, at + n);
    return (eval_range){ -1, -1 };
}

static int note_ranges(eval_canvas *c, const eval_encoding *how, const eval_sample *s)
{
    pieces p = { .n = 0 };
    if (!pieces_of(&p, how->model, c)) {
        eval_text_free(&p.text);
        free(p.begin);
        return console_fail(EXIT_MEMORY, "out of memory for a sample");
    }
    c->n_needles = s->n_needles;
    for (size_t i = 0; i < s->n_needles; i++) /* never in front of where it stands in the prompt */
        c->needles[i] = find_span(&p, s, s->needles[i], s->needles[i].begin);
    c->question = find_span(&p, s, s->question, s->question.begin);
    eval_text_free(&p.text);
    free(p.begin);
    return EXIT_OK;
}

int eval_canvas_encode(eval_canvas *out, const eval_encoding *how, const eval_sample *sample,
                       int n_response)
{
    out->n = out->n_needles = 0;
    int code = append_prompt(out, how, sample);
    if (!code) code = append_text(out, how->model, sample->prefix.data, sample->prefix.n);
    if (!code) code = append_holes(out, n_response);
    if (!code) code = append_text(out, how->model, sample->suffix.data, sample->suffix.n);
    return code;
}

int eval_canvas_response(int *out, const eval_encoding *how, const eval_task *task,
                         const eval_sample *sample)
{
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lac_error err = { .message = "" };
    *out = how->gen_tokens ? how->gen_tokens : task->reserved;
    if (!task->fits_slot) return EXIT_OK;
    const lac_status st = lac_model_encode(how->model, sample->answer.data, sample->answer.n, NULL,
                                           &ids, &n_ids, &err);
    if (st) return console_fail_status(st, &err);
    *out = (int)n_ids;
    lac_model_free_ids(how->model, ids);
    return EXIT_OK;
}

/* ------------------------------------------------------------------ length */

/* Everything one attempt at a size needs. */
typedef struct {
    eval_canvas *canvas;
    eval_sample *sample;
    const eval_encoding *how;
    const eval_task *task;
    const eval_request *request;
} attempt;

/* Makes the sample of `size` units; *fits tells whether it keeps the length. */
static int try_size(const attempt *a, size_t size, bool *fits)
{
    int n_response = 0;
    if (!eval_sample_make(a->task, a->request, size, a->sample))
        return console_fail(EXIT_MEMORY, "out of memory for a sample of %d tokens",
                            a->request->ctx);
    if (!a->sample->answer.n)
        return console_fail(EXIT_USAGE, "%s: the haystack has no words that could be cut out of it",
                            a->task->name);
    int code = eval_canvas_response(&n_response, a->how, a->task, a->sample);
    if (!code) code = eval_canvas_encode(a->canvas, a->how, a->sample, n_response);
    *fits = a->canvas->n <= (size_t)a->request->ctx;
    return code;
}

/* A text that would have to be repeated is too short; how often tells how much. What adds no tokens
 * however often it is repeated would be tried for ever. */
static int check_growth(const attempt *a, size_t size)
{
    const eval_haystack *hay = &a->request->haystack;
    if (!a->task->uses_text || hay->may_repeat || size / 64 <= (size_t)a->request->ctx ||
        size / 2 <= hay->n)
        return EXIT_OK;
    return console_fail(EXIT_USAGE,
                        "--haystack: the text has %zu bytes, and %s at --ctx %d takes more than "
                        "%zu of them",
                        hay->n, a->task->name, a->request->ctx, size / 2);
}

static int check_haystack(const attempt *a, size_t size)
{
    const eval_haystack *hay = &a->request->haystack;
    if (!a->task->uses_text || hay->may_repeat || size <= hay->n) return EXIT_OK;
    return console_fail(EXIT_USAGE,
                        "--haystack: the text has %zu bytes, and %s at --ctx %d takes %zu", hay->n,
                        a->task->name, a->request->ctx, size);
}

int eval_canvas_fit(eval_canvas *out, eval_sample *sample, const eval_encoding *how,
                    const eval_task *task, const eval_request *request)
{
    const attempt a = { out, sample, how, task, request };
    size_t least = task->min_size, most = least + 16;
    bool fits = false;
    int code = try_size(&a, least, &fits);
    if (!code && !fits)
        code = console_fail(EXIT_USAGE,
                            "--ctx %d is too small for %s: its shortest sample has %zu "
                            "tokens",
                            request->ctx, task->name, out->n);
    while (!code && fits) { /* `least` fits; until `most` does not */
        code = check_growth(&a, most);
        if (!code) code = try_size(&a, most, &fits);
        if (!code && fits) {
            least = most;
            most *= 2;
        }
    }
    while (!code && most - least > 1) {
        const size_t middle = least + (most - least) / 2;
        code = try_size(&a, middle, &fits);
        if (fits)
            least = middle;
        else
            most = middle;
    }
    /* Texts of two sizes need not be nested, so the last word is the last attempt's. */
    for (fits = false; !code && !fits; least--) {
        code = try_size(&a, least, &fits);
        if (code || fits || least == task->min_size) break;
    }
    if (!code) code = check_haystack(&a, least);
    return code ? code : note_ranges(out, how, sample);
}

void eval_canvas_free(eval_canvas *canvas)
{
    free(canvas->ids);
    *canvas = (eval_canvas){ .ids = NULL };
}
