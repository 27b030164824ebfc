/* eval_compact.c: the tasks in a short grammar that models of a million parameters learn: keys are
 * nouns, values four digits, questions a few words. `kv` and `niah` are what models/nano-f was
 * trained on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/eval_task.h"

enum { MAX_KEYS = 8, CUE = 16, COPIED = 8, MIN_CUT = 8, MAX_CUT = 16 };

/* n distinct nouns, n <= MAX_KEYS. */
static void draw_keys(eval_rng *rng, const char **keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool taken;
        do {
            taken = false;
            keys[i] = eval_noun(eval_rng_below(rng, eval_n_nouns()));
            for (size_t k = 0; k < i; k++)
                taken |= keys[k] == keys[i];
        } while (taken);
    }
}

/* n distinct values of 4 digits: a distractor must not hold the answer. */
static void draw_values(eval_rng *rng, char (*values)[8], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool taken;
        do {
            taken = false;
            snprintf(values[i], sizeof values[i], "%04d", (int)eval_rng_below(rng, 10000));
            for (size_t k = 0; k < i; k++)
                taken |= strcmp(values[k], values[i]) == 0;
        } while (taken);
    }
}

/* ------------------------------------------------------------------ key and value */

/* Every line is a key. Nouns first; past their number, nine letters that are no noun: three drawn
 * ones and six that count. */
static void make_kv(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const size_t n_nouns = eval_n_nouns();
    size_t *order = malloc(n_nouns * sizeof *order);
    if (!order) {
        out->prompt.failed = true;
        return;
    }
    eval_rng_shuffle(&rng, order, n_nouns);
    const double depth = eval_depth(r, &rng);
    const size_t asked = depth >= 1 ? size - 1 : (size_t)(depth * (double)size);
    char key[EVAL_WORD_MAX], asked_key[EVAL_WORD_MAX] = "", value[8], asked_value[8] = "";
    for (size_t i = 0; i < size; i++) {
        if (i < n_nouns) {
            snprintf(key, sizeof key, "%s", eval_noun(order[i]));
        } else {
            eval_letters(&rng, key, 9);
            for (size_t k = 3, count = i - n_nouns; k < 9; k++, count /= 26)
                key[k] = (char)('a' + count % 26);
        }
        snprintf(value, sizeof value, "%04d", (int)eval_rng_below(&rng, 10000));
        const size_t begin = out->prompt.n;
        eval_text_format(&out->prompt, "%s: %s", key, value);
        if (i == asked) {
            out->needles[out->n_needles++] = (eval_span){ begin, out->prompt.n };
            out->depth = (double)i / (double)size;
            snprintf(asked_key, sizeof asked_key, "%s", key);
            snprintf(asked_value, sizeof asked_value, "%s", value);
        }
        eval_text_put(&out->prompt, "\n");
    }
    free(order);
    eval_sample_question(out, "What is %s? ", asked_key);
    eval_sample_ref(out, asked_value);
}

/* n_keys keys of n_values lines each, hidden in text; the first n_queries keys are asked for. */
static void make_niah(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const size_t n_keys = (size_t)task->n_keys, n_values = (size_t)task->n_values;
    const size_t n_queries = (size_t)task->n_queries, n = n_keys * n_values;
    const char *keys[MAX_KEYS] = { NULL };
    char values[MAX_KEYS][8] = { "" };
    eval_needle needles[MAX_KEYS];
    draw_keys(&rng, keys, n_keys);
    draw_values(&rng, values, n);
    for (size_t i = 0; i < n; i++) {
        needles[i].is_answer = i / n_values < n_queries;
        needles[i].depth = i ? eval_rng_unit(&rng) : eval_depth(r, &rng);
        snprintf(needles[i].text, sizeof needles[i].text, "%s: %s", keys[i / n_values], values[i]);
    }
    eval_sample_text(out, r, &rng, size, needles, n, EVAL_AT_WORDS);
    if (n_queries == 1)
        eval_sample_question(out, n_values == 1 ? "What is %s? " : "What are %s? ", keys[0]);
    else
        eval_sample_question(out, "What are %s %s %s %s? ", keys[0], keys[1], keys[2], keys[3]);
    if (n_values == 1)
        for (size_t i = 0; i < n_queries; i++)
            eval_sample_ref(out, values[i]);
    else /* in the order they appear, which is that of the sorted needles */
        for (size_t i = 0; i < n; i++)
            eval_sample_ref(out, strstr(needles[i].text, ": ") + 2);
}

/* ------------------------------------------------------------------ chains and counts */

static void put_noise(void *user, size_t i, eval_text *out)
{
    (void)user, (void)i;
    eval_text_put(out, eval_noise_line);
}

/* n_values hops in each of n_keys chains; chain 0 is asked for. Names are two capital letters. */
static void make_vt(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    enum { N_LETTERS = 26, N_PAIRS = N_LETTERS * N_LETTERS, MAX_STATEMENTS = 12 };
    const size_t n_chains = (size_t)task->n_keys, n_names = (size_t)task->n_values + 1;
    size_t order[N_PAIRS];
    char values[MAX_KEYS][8], names[MAX_STATEMENTS][3];
    eval_needle needles[MAX_STATEMENTS];
    eval_rng_shuffle(&rng, order, N_PAIRS);
    draw_values(&rng, values, n_chains);
    for (size_t c = 0, i = 0; c < n_chains; c++) {
        double depth = 0; /* each statement lies behind the one before: a step into what is left */
        for (size_t k = 0; k < n_names; k++, i++) {
            const char name[3] = { (char)('A' + order[i] / N_LETTERS),
                                   (char)('A' + order[i] % N_LETTERS), 0 };
            memcpy(names[i], name, sizeof name);
            depth += eval_rng_unit(&rng) * (1 - depth) * 2 / (double)(n_names - k + 1);
            if (k == 0 && c == 0 && r->depth != EVAL_STRATIFIED) depth = r->depth / 100.0;
            needles[i] = (eval_needle){ .depth = depth, .is_answer = c == 0 };
            snprintf(needles[i].text, sizeof needles[i].text, "%s = %s", name,
                     k ? names[i - 1] : values[c]);
        }
    }
    eval_sample_lines(out, size, put_noise, NULL, needles, n_chains * n_names);
    eval_sample_question(out, "Which are %s? ", values[0]);
    for (size_t k = 0; k < n_names; k++)
        eval_sample_ref(out, names[k]);
}

/* Words of three letters: three occur 8, 4 and 2 times `size`, six more `size` times each. */
static void make_fwe(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    enum { N_WORDS = 9, N_LETTERS = 26 };
    static const size_t counts[N_WORDS] = { 8, 4, 2, 1, 1, 1, 1, 1, 1 };
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const size_t n = 20 * size;
    size_t *order = malloc(n * sizeof *order);
    char words[N_WORDS][4];
    if (!order) {
        out->prompt.failed = true;
        return;
    }
    for (size_t i = 0; i < N_WORDS; i++) { /* distinct: the first letters are */
        eval_letters(&rng, words[i], 3);
        bool taken;
        do {
            taken = false;
            for (size_t k = 0; k < i; k++)
                taken |= words[k][0] == words[i][0];
            if (taken) words[i][0] = (char)('a' + eval_rng_below(&rng, N_LETTERS));
        } while (taken);
    }
    eval_rng_shuffle(&rng, order, n);
    for (size_t i = 0; i < n; i++) {
        size_t word = 0, left = order[i];
        while (left >= counts[word] * size)
            left -= counts[word++] * size;
        eval_text_format(&out->prompt, "%s%s", i ? " " : "", words[word]);
    }
    free(order);
    eval_text_put(&out->prompt, "\n");
    eval_sample_question(out, "Top 3? ");
    for (size_t i = 0; i < 3; i++)
        eval_sample_ref(out, words[i]);
}

/* ------------------------------------------------------------------ copies */

/* A long random string, a line break, a piece of it again: what follows is asked for. */
static void make_copy(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const double depth = eval_depth(r, &rng);
    char letter[2];
    for (size_t i = 0; i < size; i++) {
        eval_letters(&rng, letter, 1);
        eval_text_add(&out->prompt, letter, 1);
    }
    const size_t at = (size_t)(depth * (double)(size - CUE - COPIED));
    char piece[CUE + COPIED + 1];
    if (out->prompt.failed) return;
    memcpy(piece, out->prompt.data + at, CUE + COPIED);
    piece[CUE + COPIED] = 0;
    out->needles[out->n_needles++] = (eval_span){ at, at + CUE + COPIED };
    out->depth = depth;
    eval_text_put(&out->prompt, "\n");
    eval_sample_question(out, "%.*s", CUE, piece);
    eval_sample_ref(out, piece + CUE);
}

/* Book text, then one stretch of it quoted again with a few bytes cut out of its middle. The cut
 * lies between blanks, so that a tokenizer sees the same words. */
static void make_span(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    enum { AROUND = 40 };
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const double depth = eval_depth(r, &rng);
    eval_sample_text(out, r, &rng, size, NULL, 0, EVAL_AT_WORDS);
    const char *text = out->prompt.data;
    const size_t n = out->prompt.n;
    if (out->prompt.failed || n < (size_t)4 * AROUND) return;
    /* The first run of whole words of allowed length at or behind the depth, else before it. */
    const size_t room = n - (size_t)2 * AROUND - MAX_CUT - 2;
    const size_t aim = AROUND + (size_t)(depth * (double)room);
    size_t begin = 0, end = 0;
    for (size_t i = 0; i < room && !end; i++) {
        const size_t at = AROUND + (aim - AROUND + i) % (room ? room : 1);
        if (text[at - 1] != ' ' || text[at] == ' ') continue;
        for (size_t k = MIN_CUT; k <= MAX_CUT; k++)
            if (text[at + k] == ' ' && text[at + k - 1] != ' ') end = at + k;
        if (memchr(text + at, '\n', MAX_CUT + 1)) end = 0;
        begin = at;
    }
    if (!end) return; /* no words of that length: refused as a sample without an answer */
    size_t from = begin - AROUND, past = end + AROUND; /* not inside a character */
    while (from < begin && (text[from] & 0xc0) == 0x80)
        from++;
    while (past > end && (text[past] & 0xc0) == 0x80)
        past--;
    char before[AROUND + 1], cut[MAX_CUT + 1], after[AROUND + 1];
    snprintf(before, sizeof before, "%.*s", (int)(begin - from), text + from);
    snprintf(cut, sizeof cut, "%.*s", (int)(end - begin), text + begin);
    snprintf(after, sizeof after, "%.*s", (int)(past - end), text + end);
    out->needles[out->n_needles++] = (eval_span){ from, past };
    out->depth = (double)begin / (double)n;
    eval_sample_question(out, "%s", before);
    eval_text_put(&out->suffix, after);
    eval_sample_ref(out, cut);
}

/* ------------------------------------------------------------------ the list */

const eval_task eval_compact_tasks[] = {
    { .name = "kv",
      .about = "every line a key: the value of one",
      .reserved = 8,
      .min_size = 2,
      .make = make_kv },
    { .name = "niah",
      .about = "four keys hidden in text: the value of one",
      .reserved = 8,
      .uses_text = true,
      .n_keys = 4,
      .n_values = 1,
      .n_queries = 1,
      .make = make_niah },
    { .name = "niah1",
      .about = "one key hidden in text",
      .reserved = 8,
      .uses_text = true,
      .n_keys = 1,
      .n_values = 1,
      .n_queries = 1,
      .make = make_niah },
    { .name = "multivalue",
      .about = "one key on four lines: all its values",
      .reserved = 32,
      .uses_text = true,
      .n_keys = 1,
      .n_values = 4,
      .n_queries = 1,
      .make = make_niah },
    { .name = "multiquery",
      .about = "four keys, all asked for",
      .reserved = 32,
      .uses_text = true,
      .n_keys = 4,
      .n_values = 1,
      .n_queries = 4,
      .make = make_niah },
    { .name = "vt",
      .about = "two chains of assignments between noise: the names of one",
      .reserved = 16,
      .min_size = 1,
      .n_keys = 2,
      .n_values = 2,
      .make = make_vt },
    { .name = "fwe",
      .about = "coded words: the three most frequent",
      .reserved = 16,
      .min_size = 1,
      .make = make_fwe },
    { .name = "copy",
      .about = "a piece of a random string again: how it goes on",
      .reserved = COPIED,
      .fits_slot = true,
      .min_size = CUE + COPIED,
      .make = make_copy },
    { .name = "span",
      .about = "a line of the text quoted with words cut out: the words",
      .reserved = MAX_CUT,
      .fits_slot = true,
      .uses_text = true,
      .min_size = 320,
      .make = make_span },
};
const size_t eval_n_compact_tasks = sizeof eval_compact_tasks / sizeof *eval_compact_tasks;
