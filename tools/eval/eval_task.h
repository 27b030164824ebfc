/* eval_task.h: the tasks of `lacuna eval` and the samples they make. A sample is a pure function of
 * (seed, task, length, index, size): its size is how much haystack it holds and is found by the
 * caller, who alone knows how many tokens a text has. Two skins: RULER's wording (arXiv 2404.06654)
 * and a compact one for small models. */
#ifndef LACUNA_TOOLS_EVAL_TASK_H
#define LACUNA_TOOLS_EVAL_TASK_H

#include "eval/eval_text.h"

enum { EVAL_MAX_REFS = 10, EVAL_MAX_NEEDLES = 8, EVAL_STRATIFIED = -1 };

/* Bytes [begin, end) of the prompt. */
typedef struct {
    size_t begin, end;
} eval_span;

typedef struct {
    eval_text prompt; /* all that is given, up to the answer or its prefix */
    eval_text prefix; /* what the answer begins with, behind a chat template's marker */
    eval_text suffix; /* given text behind the answer; empty but for span */
    eval_text answer; /* the whole answer, for exact match */
    eval_text refs[EVAL_MAX_REFS]; /* strings that score */
    size_t n_refs;
    eval_span needles[EVAL_MAX_NEEDLES]; /* where the answer stands in the prompt, ascending */
    size_t n_needles;
    eval_span question;
    double depth; /* of the first needle: 0 to 1, NAN without one */
} eval_sample;

typedef struct {
    uint64_t seed;
    int ctx, index;
    int depth; /* percent at which the asked needle stands; EVAL_STRATIFIED: ten bins in turn */
    eval_haystack haystack;
} eval_request;

typedef struct eval_task eval_task;
struct eval_task {
    const char *name, *about;
    int reserved;    /* response tokens */
    bool part;       /* any reference scores in full; else the share that occurs */
    bool fits_slot;  /* the answer fills its slot: as many tokens as it has, no end marker */
    bool uses_text;  /* hides its needles in book text: size counts bytes of it */
    size_t min_size; /* least haystack that makes sense */
    /* Keys, values of each, queries; chains and hops. What they mean is the maker's business. */
    int n_keys, n_values, n_queries;
    int flavour;
    void (*make)(const eval_task *task, const eval_request *request, size_t size, eval_sample *out);
};

extern const eval_task eval_compact_tasks[], eval_ruler_tasks[];
extern const size_t eval_n_compact_tasks, eval_n_ruler_tasks;

/* By name; NULL when there is none. */
const eval_task *eval_task_find(const char *name);
size_t eval_n_tasks(void);
const eval_task *eval_task_at(size_t i);

/* Makes a sample into `out`, whose memory is used again. False when memory ran out. */
bool eval_sample_make(const eval_task *task, const eval_request *request, size_t size,
                      eval_sample *out);
void eval_sample_free(eval_sample *sample);

/* ------------------------------------------------------------------ for the makers */

/* Depth of the asked needle, 0 to 1. */
double eval_depth(const eval_request *request, eval_rng *rng);
/* Adds a reference, and to the answer, separated by a blank. */
void eval_sample_ref(eval_sample *sample, const char *text);
/* Adds the question, or its part before the prefix, and notes where it stands. */
void eval_sample_question(eval_sample *sample, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A line or sentence and where it goes. */
typedef struct {
    char text[160];
    double depth;   /* 0 to 1 */
    bool is_answer; /* its range is recorded */
} eval_needle;

typedef enum {
    EVAL_AT_WORDS,     /* behind white space */
    EVAL_AT_SENTENCES, /* behind the end of a sentence */
} eval_places;

/* Adds `size` bytes of the haystack, whole words, with needles at their depths. Sorts them. */
void eval_sample_text(eval_sample *sample, const eval_request *request, eval_rng *rng, size_t size,
                      eval_needle *needles, size_t n, eval_places places);

/* Adds n_lines lines, needles among them at distinct places in their order; `line` writes the i-th
 * of the others. Depths are taken from the needles and sorted among themselves. */
typedef void (*eval_line_fn)(void *user, size_t i, eval_text *out);
void eval_sample_lines(eval_sample *sample, size_t n_lines, eval_line_fn line, void *user,
                       eval_needle *needles, size_t n);

#endif
