/* eval_text.h: small parts of the evaluation that tasks share: a growing text, a stream of random
 * numbers that belongs to one sample, words to draw from and the book text that needles hide in. */
#ifndef LACUNA_TOOLS_EVAL_TEXT_H
#define LACUNA_TOOLS_EVAL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed is empty. After a failed allocation `failed` is set and nothing more is added. */
typedef struct {
    char *data; /* NUL behind the last byte once anything was added */
    size_t n, capacity;
    bool failed;
} eval_text;

void eval_text_add(eval_text *t, const char *bytes, size_t n);
void eval_text_put(eval_text *t, const char *words);
void eval_text_format(eval_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Inserts at byte `at`. */
void eval_text_insert(eval_text *t, size_t at, const char *bytes, size_t n);
void eval_text_clear(eval_text *t); /* keeps its memory */
void eval_text_free(eval_text *t);

/* One stream for each (seed, task, length, index): any sample can be made again alone. */
typedef struct {
    uint64_t key, counter;
} eval_rng;

eval_rng eval_rng_begin(uint64_t seed, const char *task, int length, int index);
/* Uniform in [0, n), n > 0. */
size_t eval_rng_below(eval_rng *rng, size_t n);
/* Uniform in (0, 1). */
double eval_rng_unit(eval_rng *rng);
/* Puts 0 .. n-1 into `order` in random order. */
void eval_rng_shuffle(eval_rng *rng, size_t *order, size_t n);

enum { EVAL_WORD_MAX = 32 };

/* Nouns of 3 to 8 letters and adjectives, all distinct, lower case. */
size_t eval_n_nouns(void);
const char *eval_noun(size_t i);
size_t eval_n_adjectives(void);
const char *eval_adjective(size_t i);
/* n random lower-case letters and a NUL. */
void eval_letters(eval_rng *rng, char *out, size_t n);

/* Text to hide needles in. */
typedef struct {
    const char *data;
    size_t n;
    bool may_repeat; /* the built-in text starts again at its end; a text of the user's does not */
} eval_haystack;

/* Chapters I to IV of The Railway Children by Edith Nesbit, 1905: in the public domain. */
eval_haystack eval_haystack_builtin(void);

/* The line RULER calls noise, without its line break. */
extern const char eval_noise_line[];

#endif
