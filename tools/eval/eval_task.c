/* eval_task.c: the list of tasks, and what makers of both skins share: depths, references, needles
 * put into text and between lines. */
#include "eval/eval_task.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

size_t eval_n_tasks(void)
{
    return eval_n_compact_tasks + eval_n_ruler_tasks;
}

const eval_task *eval_task_at(size_t i)
{
    return i < eval_n_compact_tasks ? &eval_compact_tasks[i]
                                    : &eval_ruler_tasks[i - eval_n_compact_tasks];
}

const eval_task *eval_task_find(const char *name)
{
    for (size_t i = 0; i < eval_n_tasks(); i++)
        if (!strcmp(eval_task_at(i)->name, name)) return eval_task_at(i);
    return NULL;
}

/* ------------------------------------------------------------------ samples */

static bool has_failed(const eval_sample *s)
{
    bool failed = s->prompt.failed || s->prefix.failed || s->suffix.failed || s->answer.failed;
    for (size_t i = 0; i < EVAL_MAX_REFS; i++)
        failed |= s->refs[i].failed;
    return failed;
}

bool eval_sample_make(const eval_task *task, const eval_request *request, size_t size,
                      eval_sample *out)
{
    eval_text_clear(&out->prompt);
    eval_text_clear(&out->prefix);
    eval_text_clear(&out->suffix);
    eval_text_clear(&out->answer);
    out->n_refs = out->n_needles = 0;
    out->question = (eval_span){ 0, 0 };
    out->depth = NAN;
    task->make(task, request, size, out);
    return !has_failed(out);
}

void eval_sample_free(eval_sample *s)
{
    eval_text_free(&s->prompt);
    eval_text_free(&s->prefix);
    eval_text_free(&s->suffix);
    eval_text_free(&s->answer);
    for (size_t i = 0; i < EVAL_MAX_REFS; i++)
        eval_text_free(&s->refs[i]);
    *s = (eval_sample){ .n_refs = 0 };
}

double eval_depth(const eval_request *request, eval_rng *rng)
{
    const double u = eval_rng_unit(rng);
    /* Random depths would over-sample the middle and starve the ends, which decide about windows.
     */
    return request->depth == EVAL_STRATIFIED ? ((double)(request->index % 10) + u) / 10
                                             : (double)request->depth / 100;
}

void eval_sample_ref(eval_sample *sample, const char *text)
{
    if (sample->n_refs == EVAL_MAX_REFS) return;
    eval_text *ref = &sample->refs[sample->n_refs];
    eval_text_clear(ref);
    eval_text_put(ref, text);
    if (sample->n_refs++) eval_text_put(&sample->answer, " ");
    eval_text_put(&sample->answer, text);
}

void eval_sample_question(eval_sample *sample, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sample->question.begin = sample->prompt.n;
    if (n < 0 || (size_t)n >= sizeof text)
        sample->prompt.failed = true;
    else
        eval_text_add(&sample->prompt, text, (size_t)n);
    sample->question.end = sample->prompt.n;
}

/* ------------------------------------------------------------------ needles */

/* By depth; a stable insertion sort: there are few. */
static void sort_needles(eval_needle *needles, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const eval_needle moved = needles[i];
        size_t at = i;
        for (; at > 0 && needles[at - 1].depth > moved.depth; at--)
            needles[at] = needles[at - 1];
        needles[at] = moved;
    }
}

/* Adds a needle and notes its range; `n_after` bytes at its end are not part of it. */
static void add_needle(eval_sample *s, const eval_needle *needle, const char *after, double depth)
{
    const size_t begin = s->prompt.n;
    eval_text_put(&s->prompt, needle->text);
    if (needle->is_answer && s->n_needles < EVAL_MAX_NEEDLES) {
        s->needles[s->n_needles++] = (eval_span){ begin, s->prompt.n };
        if (isnan(s->depth)) s->depth = depth;
    }
    eval_text_put(&s->prompt, after);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static char hay_byte(const eval_haystack *hay, size_t at)
{
    return hay->data[at % hay->n];
}

/* The first place at or before `at`, not below `least`, that stands behind white space, or with
 * `sentence` behind the end of a sentence: . ? or !, a closing quote perhaps, white space. */
static size_t place_before(const eval_haystack *hay, size_t begin, size_t least, size_t at,
                           bool sentence)
{
    for (; at > least; at--) {
        if (!is_blank(hay_byte(hay, begin + at - 1))) continue;
        if (!sentence) return at;
        size_t i = at - 1;
        while (i > least && is_blank(hay_byte(hay, begin + i - 1)))
            i--;
        if (i > least && strchr("\"')", hay_byte(hay, begin + i - 1))) i--;
        if (i > least && strchr(".?!", hay_byte(hay, begin + i - 1))) return at;
    }
    return least;
}

void eval_sample_text(eval_sample *sample, const eval_request *request, eval_rng *rng, size_t size,
                      eval_needle *needles, size_t n, eval_places places)
{
    const eval_haystack *hay = &request->haystack;
    const double u = eval_rng_unit(rng);
    const size_t span = hay->may_repeat || size > hay->n ? hay->n : hay->n - size;
    size_t begin = (size_t)(u * (double)span);
    const bool sentence = places == EVAL_AT_SENTENCES;
    size_t n_words = size; /* up to the last whole word */
    while (n_words && !is_blank(hay_byte(hay, begin + n_words - 1)))
        n_words--;
    size_t first = 0; /* from the first whole word */
    while (begin && first < n_words && !is_blank(hay_byte(hay, begin + first - 1)))
        first++;
    size_t at = first;
    sort_needles(needles, n);
    for (size_t i = 0; i <= n; i++) {
        const double depth = i < n ? needles[i].depth : 1;
        const size_t aim = first + (size_t)(depth * (double)(n_words - first));
        const size_t end = i < n ? place_before(hay, begin, at, aim, sentence) : n_words;
        for (; at < end; at++) {
            const char c = hay_byte(hay, begin + at);
            eval_text_add(&sample->prompt, &c, 1);
        }
        if (i < n) add_needle(sample, &needles[i], sentence ? " " : "\n", depth);
    }
    if (sample->prompt.n && is_blank(sample->prompt.data[sample->prompt.n - 1])) sample->prompt.n--;
    eval_text_put(&sample->prompt, "\n");
}

void eval_sample_lines(eval_sample *sample, size_t n_lines, eval_line_fn line, void *user,
                       eval_needle *needles, size_t n)
{
    size_t done = 0;
    sort_needles(needles, n);
    for (size_t i = 0; i < n_lines + n; i++) {
        /* Needle k goes in front of line floor(depth * (lines + 1)), later ones never before it. */
        const bool is_due =
            done < n && i >= (size_t)(needles[done].depth * (double)(n_lines + 1)) + done;
        if (is_due || i - done >= n_lines) {
            add_needle(sample, &needles[done], "\n", needles[done].depth);
            done++;
        } else {
            line(user, i - done, &sample->prompt);
            eval_text_put(&sample->prompt, "\n");
        }
    }
}
