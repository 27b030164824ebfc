/* eval_text.c: see eval_text.h. The book text is made into an array by CMake (eval_book.h). */
#include "eval/eval_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "eval_book.h"

const char eval_noise_line[] = "The grass is green. The sky is blue. The sun is yellow. "
                               "Here we go. There and back again.";

/* ------------------------------------------------------------------ text */

static bool reserve(eval_text *t, size_t n)
{
    if (t->failed || n > SIZE_MAX / 4 - t->n) {
        t->failed = true;
        return false;
    }
    if (t->n + n + 1 <= t->capacity) return true;
    size_t capacity = t->capacity ? t->capacity : 256;
    while (capacity < t->n + n + 1)
        capacity *= 2;
    char *data = realloc(t->data, capacity);
    if (!data) {
        t->failed = true;
        return false;
    }
    t->data = data;
    t->capacity = capacity;
    return true;
}

void eval_text_insert(eval_text *t, size_t at, const char *bytes, size_t n)
{
    if (!reserve(t, n)) return;
    memmove(t->data + at + n, t->data + at, t->n - at);
    if (n) memcpy(t->data + at, bytes, n);
    t->n += n;
    t->data[t->n] = 0;
}

void eval_text_add(eval_text *t, const char *bytes, size_t n)
{
    eval_text_insert(t, t->n, bytes, n);
}

void eval_text_put(eval_text *t, const char *words)
{
    eval_text_add(t, words, strlen(words));
}

void eval_text_format(eval_text *t, const char *format, ...)
{
    char part[512];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(part, sizeof part, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof part)
        t->failed = true;
    else
        eval_text_add(t, part, (size_t)n);
}

void eval_text_clear(eval_text *t)
{
    t->n = 0;
    if (t->data) t->data[0] = 0;
}

void eval_text_free(eval_text *t)
{
    free(t->data);
    *t = (eval_text){ .data = NULL };
}

/* ------------------------------------------------------------------ random numbers */

eval_rng eval_rng_begin(uint64_t seed, const char *task, int length, int index)
{
    uint64_t key = laci_rng_mix(seed);
    for (const char *c = task; *c; c++)
        key = laci_rng_mix(key ^ (unsigned char)*c);
    key = laci_rng_mix(key ^ ((uint64_t)(uint32_t)length << 32 | (uint32_t)index));
    return (eval_rng){ key, 0 };
}

size_t eval_rng_below(eval_rng *rng, size_t n)
{
    /* Rejection keeps it exactly uniform; fewer than two draws on average. */
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t draw;
    do
        draw = laci_rng_u64(rng->key, rng->counter++);
    while (draw >= limit);
    return (size_t)(draw % n);
}

double eval_rng_unit(eval_rng *rng)
{
    return laci_rng_unit(rng->key, rng->counter++);
}

void eval_rng_shuffle(eval_rng *rng, size_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const size_t at = eval_rng_below(rng, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
}

void eval_letters(eval_rng *rng, char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + eval_rng_below(rng, 26));
    out[n] = 0;
}

eval_haystack eval_haystack_builtin(void)
{
    return (eval_haystack){ (const char *)eval_book, sizeof eval_book, true };
}
