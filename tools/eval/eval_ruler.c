/* eval_ruler.c: RULER's tasks in its own wording (arXiv 2404.06654): needles, variable tracking,
 * common and frequent words. What differs: every shuffle belongs to the sample's own stream, words
 * come from our own lists, and below 2,048 tokens variable tracking has no worked example. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/eval_task.h"

enum { HAY_NOISE = 1, HAY_TEXT, HAY_NEEDLES };
enum { OF_NUMBERS = 0, OF_UUID_VALUES = 16, OF_UUID_KEYS = 32, HAY_MASK = 15 };
enum { EXAMPLE_FROM = 2048, CWE_FULL_FROM = 4096, N_COMMON = 10, MAX_NEEDLES = 4 };

/* ------------------------------------------------------------------ needles */

static void draw_uuid(eval_rng *rng, char out[40])
{
    unsigned part[8];
    for (size_t i = 0; i < 8; i++)
        part[i] = (unsigned)eval_rng_below(rng, 0x10000);
    snprintf(out, 40, "%04x%04x-%04x-%04x-%04x-%04x%04x%04x", part[0], part[1], part[2],
             (part[3] & 0x0fffu) | 0x4000u, (part[4] & 0x3fffu) | 0x8000u, part[5], part[6],
             part[7]);
}

static void draw_key(eval_rng *rng, int flavour, char out[40])
{
    if (flavour & OF_UUID_KEYS)
        draw_uuid(rng, out);
    else
        snprintf(out, 40, "%s-%s", eval_adjective(eval_rng_below(rng, eval_n_adjectives())),
                 eval_noun(eval_rng_below(rng, eval_n_nouns())));
}

static void draw_value(eval_rng *rng, int flavour, char out[40])
{
    if (flavour & OF_UUID_VALUES)
        draw_uuid(rng, out);
    else
        snprintf(out, 40, "%d", 1000000 + (int)eval_rng_below(rng, 9000000));
}

static const char *type_of(int flavour)
{
    return flavour & OF_UUID_VALUES ? "uuids" : "numbers";
}

/* Distractor sentences with keys that are none of the asked ones. */
typedef struct {
    eval_rng *rng;
    int flavour;
    char (*keys)[40]; /* [n_keys] */
    size_t n_keys;
} distractors;

static void put_line(void *user, size_t i, eval_text *out)
{
    (void)i;
    const distractors *d = user;
    char key[40], value[40];
    if ((d->flavour & HAY_MASK) == HAY_NOISE) {
        eval_text_put(out, eval_noise_line);
        return;
    }
    bool taken;
    do {
        taken = false;
        draw_key(d->rng, d->flavour, key);
        for (size_t k = 0; k < d->n_keys; k++)
            taken |= strcmp(d->keys[k], key) == 0;
    } while (taken);
    draw_value(d->rng, d->flavour, value);
    eval_text_format(out, "One of the special magic %s for %s is: %s.", type_of(d->flavour), key,
                     value);
}

/* With one query of one value the frame is in the singular: "A special magic number is hidden". */
static void put_frame(eval_sample *out, const char *types, bool single)
{
    eval_text_format(&out->prompt,
                     single ? "A special magic %.*s is hidden within the following text. Make sure "
                              "to memorize it. I will quiz you about the %.*s afterwards.\n"
                            : "Some special magic %.*s are hidden within the following text. Make "
                              "sure to memorize it. I will quiz you about the %.*s afterwards.\n",
                     (int)strlen(types) - single, types, (int)strlen(types) - single, types);
}

static void put_quiz(eval_sample *out, const char *types, bool single, const char *query)
{
    const int n = (int)strlen(types) - single;
    eval_sample_question(out,
                         single ? "What is the special magic %.*s for %s mentioned in the provided "
                                  "text?"
                                : "What are all the special magic %.*s for %s mentioned in the "
                                  "provided text?",
                         n, types, query);
    eval_text_format(&out->prefix,
                     single ? " The special magic %.*s for %s mentioned in the provided text is"
                            : " The special magic %.*s for %s mentioned in the provided text are",
                     n, types, query);
}

static void draw_needles(const eval_task *task, const eval_request *r, eval_rng *rng,
                         char (*keys)[40], char (*values)[40], eval_needle *needles)
{
    const size_t n_values = (size_t)task->n_values, n = (size_t)task->n_keys * n_values;
    const distractors own = { rng, task->flavour & ~HAY_MASK, keys, 0 };
    for (size_t i = 0; i < (size_t)task->n_keys; i++) {
        bool taken;
        do {
            taken = false;
            draw_key(rng, own.flavour, keys[i]);
            for (size_t k = 0; k < i; k++)
                taken |= strcmp(keys[k], keys[i]) == 0;
        } while (taken);
    }
    for (size_t i = 0; i < n; i++) {
        draw_value(rng, task->flavour, values[i]);
        needles[i].is_answer = i / n_values < (size_t)task->n_queries;
        needles[i].depth = i ? eval_rng_unit(rng) : eval_depth(r, rng);
        snprintf(needles[i].text, sizeof needles[i].text,
                 "One of the special magic %s for %s is: %s.", type_of(task->flavour),
                 keys[i / n_values], values[i]);
    }
}

static void make_niah(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const size_t n_keys = (size_t)task->n_keys, n = n_keys * (size_t)task->n_values;
    const size_t n_queries = (size_t)task->n_queries;
    const bool single = n_queries * (size_t)task->n_values == 1;
    const char *types = type_of(task->flavour);
    char keys[MAX_NEEDLES][40], values[MAX_NEEDLES][40], query[200];
    eval_needle needles[MAX_NEEDLES];
    draw_needles(task, r, &rng, keys, values, needles);
    put_frame(out, types, single);
    distractors d = { &rng, task->flavour, keys, n_keys };
    if ((task->flavour & HAY_MASK) == HAY_TEXT)
        eval_sample_text(out, r, &rng, size, needles, n, EVAL_AT_SENTENCES);
    else
        eval_sample_lines(out, size, put_line, &d, needles, n);
    if (n_queries == 1)
        snprintf(query, sizeof query, "%s", keys[0]);
    else
        snprintf(query, sizeof query, "%s, %s, %s, and %s", keys[0], keys[1], keys[2], keys[3]);
    put_quiz(out, types, single, query);
    for (size_t i = 0; i < n_queries * (size_t)task->n_values; i++)
        eval_sample_ref(out, values[i]);
}

/* ------------------------------------------------------------------ variable tracking */

enum { N_HOPS = 4, N_NAMES = N_HOPS + 1 };

static void put_noise(void *user, size_t i, eval_text *out)
{
    (void)user, (void)i;
    eval_text_put(out, eval_noise_line);
}

/* The task text up to its answer; names of `n_letters` capitals, n_lines of noise. */
static void put_chain(eval_sample *out, eval_rng *rng, size_t n_letters, size_t n_lines,
                      double first_depth, char (*names)[8], int *value)
{
    eval_needle needles[N_NAMES];
    double depth = first_depth;
    *value = 10000 + (int)eval_rng_below(rng, 89999);
    for (size_t i = 0; i < N_NAMES; i++) {
        bool taken;
        do {
            taken = false;
            eval_letters(rng, names[i], n_letters);
            for (char *c = names[i]; *c; c++)
                *c = (char)(*c - 'a' + 'A');
            for (size_t k = 0; k < i; k++)
                taken |= strcmp(names[k], names[i]) == 0;
        } while (taken);
        if (i) depth += eval_rng_unit(rng) * (1 - depth) * 2 / (double)(N_NAMES - i + 1);
        needles[i] = (eval_needle){ .depth = depth, .is_answer = true };
        if (i)
            snprintf(needles[i].text, sizeof needles[i].text, "VAR %s = VAR %s ", names[i],
                     names[i - 1]);
        else
            snprintf(needles[i].text, sizeof needles[i].text, "VAR %s = %d", names[i], *value);
    }
    eval_text_put(&out->prompt, "Memorize and track the chain(s) of variable assignment hidden in "
                                "the following text.\n\n");
    eval_sample_lines(out, n_lines, put_noise, NULL, needles, N_NAMES);
    eval_sample_question(out,
                         "Question: Find all variables that are assigned the value %d in the text "
                         "above.",
                         *value);
}

static void put_chain_prefix(eval_text *out, int value)
{
    eval_text_format(out,
                     " Answer: According to the chain(s) of variable assignment in the text above, "
                     "%d variables are assigned the value %d, they are: ",
                     N_NAMES, value);
}

static void make_vt(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    char names[N_NAMES][8];
    int value;
    if (r->ctx >= EXAMPLE_FROM) {
        put_chain(out, &rng, 3, 3, 0, names, &value);
        put_chain_prefix(&out->prompt, value);
        for (size_t i = 0; i < N_NAMES; i++)
            eval_text_format(&out->prompt, "%s%s", names[i], i + 1 < N_NAMES ? " " : "\n");
        out->n_needles = 0;
        out->depth = 0;
    }
    /* The first statement lies in the first half, so that the chain has room behind it. */
    const double depth = r->depth == EVAL_STRATIFIED ? eval_depth(r, &rng) / 2 : r->depth / 100.0;
    put_chain(out, &rng, 5, size, depth, names, &value);
    out->depth = depth;
    put_chain_prefix(&out->prefix, value);
    for (size_t i = 0; i < N_NAMES; i++)
        eval_sample_ref(out, names[i]);
}

/* ------------------------------------------------------------------ words */

/* Word `i` of a shuffled pool: nouns and adjectives, then coined ones: nine letters that count. */
static void pool_word(const size_t *order, size_t n_pool, size_t i, char out[EVAL_WORD_MAX])
{
    if (i < n_pool) {
        const size_t at = order[i];
        snprintf(out, EVAL_WORD_MAX, "%s",
                 at < eval_n_nouns() ? eval_noun(at) : eval_adjective(at - eval_n_nouns()));
        return;
    }
    static const char syllables[] = "balodimetuvanorisekupilegamoheru"; /* 16 of two letters */
    size_t count = i - n_pool;
    for (size_t k = 0; k < 10; k += 2, count /= 16) {
        out[k] = syllables[2 * (count % 16)];
        out[k + 1] = syllables[2 * (count % 16) + 1];
    }
    out[10] = 0;
}

typedef struct {
    const size_t *pool;
    size_t n_pool, first, n_words, n_often, n_rarely;
} word_list;

/* A numbered list: ten words n_often times, the others n_rarely times, shuffled. */
static void put_list(eval_sample *out, eval_rng *rng, const word_list *w)
{
    char word[EVAL_WORD_MAX];
    const size_t n = N_COMMON * w->n_often + (w->n_words - N_COMMON) * w->n_rarely;
    size_t *order = malloc(n * sizeof *order);
    if (!order) {
        out->prompt.failed = true;
        return;
    }
    eval_rng_shuffle(rng, order, n);
    eval_text_put(&out->prompt, "Below is a numbered list of words. In these words, some appear "
                                "more often than others. Memorize the ones that appear most "
                                "often.\n");
    for (size_t i = 0; i < n; i++) {
        const size_t often = N_COMMON * w->n_often;
        const size_t at =
            order[i] < often ? order[i] / w->n_often : N_COMMON + (order[i] - often) / w->n_rarely;
        pool_word(w->pool, w->n_pool, w->first + at, word);
        eval_text_format(&out->prompt, "%s%zu. %s", i ? " " : "", i + 1, word);
    }
    free(order);
    eval_text_put(&out->prompt, "\n");
    eval_sample_question(out, "Question: What are the 10 most common words in the above list?");
}

static const char cwe_prefix[] =
    " Answer: The top 10 words that appear most often in the list are:";

static void make_cwe(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const bool full = r->ctx >= CWE_FULL_FROM;
    const size_t n_pool = eval_n_nouns() + eval_n_adjectives();
    size_t *pool = malloc(n_pool * sizeof *pool);
    char word[EVAL_WORD_MAX];
    if (!pool) {
        out->prompt.failed = true;
        return;
    }
    eval_rng_shuffle(&rng, pool, n_pool);
    const word_list example = { pool, n_pool, 0, full ? 40 : 20, full ? 10 : 3, full ? 3 : 1 };
    const word_list list = { pool, n_pool, example.n_words, size, full ? 30 : 6, full ? 3 : 1 };
    put_list(out, &rng, &example);
    eval_text_put(&out->prompt, cwe_prefix);
    for (size_t i = 0; i < N_COMMON; i++) {
        pool_word(pool, n_pool, i, word);
        eval_text_format(&out->prompt, " %zu. %s", i + 1, word);
    }
    eval_text_put(&out->prompt, "\n");
    put_list(out, &rng, &list);
    eval_text_put(&out->prefix, cwe_prefix);
    for (size_t i = 0; i < N_COMMON; i++) {
        pool_word(pool, n_pool, list.first + i, word);
        eval_sample_ref(out, word);
    }
    free(pool);
}

/* Coded words: six letters each; rank 1 is noise. */
typedef char coded_word[8];

static void draw_coded(eval_rng *rng, coded_word *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool taken;
        do {
            taken = false;
            eval_letters(rng, words[i], 6);
            for (size_t k = 0; k < i && !taken; k++)
                taken = memcmp(words[k], words[i], 6) == 0;
        } while (taken);
    }
    snprintf(words[0], sizeof words[0], "...");
}

/* Rank k occurs floor(size k^-2 / zeta(2)) times. */
static void make_fwe(const eval_task *task, const eval_request *r, size_t size, eval_sample *out)
{
    static const double zeta_2 = 1.6449340668482264;
    eval_rng rng = eval_rng_begin(r->seed, task->name, r->ctx, r->index);
    const size_t n_words = r->ctx >= 550 ? (size_t)(r->ctx - 50) / 50 : 10;
    coded_word *words = malloc(n_words * sizeof *words);
    size_t *count = calloc(n_words, sizeof *count), n = 0;
    for (size_t k = 0; count && k < n_words; k++) {
        count[k] = (size_t)((double)size / ((double)((k + 1) * (k + 1)) * zeta_2));
        n += count[k];
    }
    size_t *order = malloc((n + 1) * sizeof *order);
    if (!words || !count || !order) {
        out->prompt.failed = true;
    } else {
        draw_coded(&rng, words, n_words);
        eval_rng_shuffle(&rng, order, n);
        eval_text_put(&out->prompt,
                      "Read the following coded text and track the frequency of each coded word. "
                      "Find the three most frequently appeared coded words. ");
        for (size_t i = 0; i < n; i++) {
            size_t k = 0, left = order[i];
            while (k + 1 < n_words && left >= count[k])
                left -= count[k++];
            eval_text_format(&out->prompt, "%s%s", i ? " " : "", words[k]);
        }
        eval_text_put(&out->prompt, "\n");
        eval_sample_question(out, "Question: Do not provide any explanation. Please ignore the "
                                  "dots '....'. What are the three most frequently appeared words "
                                  "in the above coded text?");
        eval_text_put(&out->prefix, " Answer: According to the coded text above, the three most "
                                    "frequently appeared words are:");
        for (size_t k = 1; k <= 3; k++)
            eval_sample_ref(out, words[k]);
    }
    free(words);
    free(count);
    free(order);
}

/* ------------------------------------------------------------------ the list */

#define NIAH(id, words, keys, values, queries, hay, of)                                  \
    {                                                                                    \
        .name = id, .about = words, .reserved = 128, .n_keys = keys, .n_values = values, \
        .n_queries = queries, .flavour = (hay) | (of), .uses_text = (hay) == HAY_TEXT,   \
        .make = make_niah                                                                \
    }

/* clang-format off */
const eval_task eval_ruler_tasks[] = {
    NIAH("niah_single_1", "RULER: one number in noise", 1, 1, 1, HAY_NOISE, OF_NUMBERS),
    NIAH("niah_single_2", "RULER: one number in text", 1, 1, 1, HAY_TEXT, OF_NUMBERS),
    NIAH("niah_single_3", "RULER: one uuid in text", 1, 1, 1, HAY_TEXT, OF_UUID_VALUES),
    NIAH("niah_multikey_1", "RULER: four keys in text, one asked for", 4, 1, 1, HAY_TEXT,
         OF_NUMBERS),
    NIAH("niah_multikey_2", "RULER: a haystack of needles", 1, 1, 1, HAY_NEEDLES, OF_NUMBERS),
    NIAH("niah_multikey_3", "RULER: a haystack of needles, uuid to uuid", 1, 1, 1, HAY_NEEDLES,
         OF_UUID_KEYS | OF_UUID_VALUES),
    NIAH("niah_multivalue", "RULER: four values of one key", 1, 4, 1, HAY_TEXT, OF_NUMBERS),
    NIAH("niah_multiquery", "RULER: four keys, all asked for", 4, 1, 4, HAY_TEXT, OF_NUMBERS),
    { .name = "ruler_vt", .about = "RULER: variable tracking, 4 hops", .reserved = 30,
      .min_size = 1, .make = make_vt },
    { .name = "cwe", .about = "RULER: the ten most common words of a list", .reserved = 120,
      .min_size = N_COMMON + 2, .make = make_cwe },
    /* below 80 the fourth and fifth words may occur equally often */
    { .name = "ruler_fwe", .about = "RULER: the three most frequent coded words", .reserved = 50,
      .min_size = 80, .make = make_fwe },
};
/* clang-format on */
const size_t eval_n_ruler_tasks = sizeof eval_ruler_tasks / sizeof *eval_ruler_tasks;
