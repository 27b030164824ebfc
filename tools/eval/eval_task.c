/* eval_task.c: what makers of both skins share: samples, depths, references, needles put into text
 * and between lines. The list of tasks is eval_tasks.c. */
#include "eval/eval_task.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_WORD = 256 }; /* bytes; longer is no word */

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

/* Whether `at` lies in a run without white space that is longer than words are: in a script that
 * sets no blanks, or in no language at all. Such a run is cut between characters. */
static bool is_in_long_run(const eval_haystack *hay, size_t at)
{
    size_t n = 0;
    for (size_t i = at; i > 0 && n < LONGEST_WORD && !is_blank(hay_byte(hay, i - 1)); i--)
        n++;
    for (size_t i = at; n < LONGEST_WORD && !is_blank(hay_byte(hay, i)); i++)
        n++;
    return n == LONGEST_WORD;
}

/* `at`, or the few bytes before it, not below `least`, where a character of UTF-8 begins. */
static size_t character_before(const eval_haystack *hay, size_t begin, size_t least, size_t at)
{
    for (size_t i = at; i > least && at - i < 4; i--)
        if ((hay_byte(hay, begin + i) & 0xc0) != 0x80) return i;
    return at;
}

/* The end of the last whole word at or before `at`. */
static size_t word_before(const eval_haystack *hay, size_t begin, size_t at)
{
    if (is_in_long_run(hay, begin + at)) return character_before(hay, begin, 0, at);
    while (at && !is_blank(hay_byte(hay, begin + at - 1)))
        at--;
    return at;
}

/* The start of the first whole word, at most `most`. */
static size_t first_word(const eval_haystack *hay, size_t begin, size_t most)
{
    size_t at = 0;
    if (!begin) return 0;
    if (is_in_long_run(hay, begin)) {
        while (at < most && at < 4 && (hay_byte(hay, begin + at) & 0xc0) == 0x80)
            at++;
        return at;
    }
    while (at < most && !is_blank(hay_byte(hay, begin + at - 1)))
        at++;
    return at;
}

/* Whether an ideographic full stop, exclamation or question mark ends in front of `at`. */
static bool is_behind_wide_stop(const eval_haystack *hay, size_t at)
{
    static const char stops[][4] = { "\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f" };
    for (size_t i = 0; at >= 3 && i < sizeof stops / sizeof *stops; i++)
        if (hay_byte(hay, at - 3) == stops[i][0] && hay_byte(hay, at - 2) == stops[i][1] &&
            hay_byte(hay, at - 1) == stops[i][2])
            return true;
    return false;
}

/* The first place at or before `at`, not below `least`, that stands behind white space, or with
 * `sentence` behind the end of a sentence: . ? or !, a closing quote perhaps, white space; or a
 * wide stop. Where there is no white space for long, between two characters. */
static size_t place_before(const eval_haystack *hay, size_t begin, size_t least, size_t at,
                           bool sentence)
{
    const size_t aim = at;
    const bool in_run = is_in_long_run(hay, begin + aim);
    if (in_run && !sentence) return character_before(hay, begin, least, aim);
    for (; at > least; at--) {
        if (sentence && is_behind_wide_stop(hay, begin + at)) return at;
        if (!is_blank(hay_byte(hay, begin + at - 1))) continue;
        if (!sentence) return at;
        size_t i = at - 1;
        while (i > least && is_blank(hay_byte(hay, begin + i - 1)))
            i--;
        if (i > least && strchr("\"')", hay_byte(hay, begin + i - 1))) i--;
        if (i > least && strchr(".?!", hay_byte(hay, begin + i - 1))) return at;
    }
    return in_run ? character_before(hay, begin, least, aim) : least;
}

/* A needle stands apart also where the text has no blank in front of it. */
static void part_from_text(eval_text *text, const char *blank)
{
    if (text->n && !is_blank(text->data[text->n - 1])) eval_text_put(text, blank);
}

void eval_sample_text(eval_sample *sample, const eval_request *request, eval_rng *rng, size_t size,
                      eval_needle *needles, size_t n, eval_places places)
{
    const eval_haystack *hay = &request->haystack;
    const double u = eval_rng_unit(rng);
    const size_t span = hay->may_repeat || size > hay->n ? hay->n : hay->n - size;
    size_t begin = (size_t)(u * (double)span);
    const bool sentence = places == EVAL_AT_SENTENCES;
    const size_t n_words = word_before(hay, begin, size);
    const size_t first = first_word(hay, begin, n_words);
    const char *blank = sentence ? " " : "\n";
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
        if (i == n) break;
        part_from_text(&sample->prompt, blank);
        add_needle(sample, &needles[i], blank, depth);
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
