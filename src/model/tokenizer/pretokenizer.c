/* pretokenizer.c: splitting by PCRE2, compiled to machine code where the system allows it. The only
 * file that knows PCRE2. Patterns are kept in two spellings: as tokenizer files write them, and as
 * PCRE2 must see them to mean the same; white space is spelled out because PCRE2's \s also takes
 * U+180E, which is no white space in Unicode. Matching takes linear time on each of them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/pretokenizer.h"

#include <pcre2.h>
#include <string.h>

#include "base/error.h"

enum { MAX_STEPS = 8, MAX_STRING = 256 };

#define SPACES                                                                           \
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
    "\\x{202f}\\x{205f}\\x{3000}"

const char laci_pattern_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                                 "|\\s+(?!\\S)|\\s+";
const char laci_pattern_qwen[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char laci_pattern_bailing[] =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
static const char pattern_gemma[] = "[^\\n]+|[\\n]+";

static const struct {
    const char *spelled; /* in tokenizer files */
    const char *meant;   /* for PCRE2; (?!\S) becomes "white space or the end follows" */
} known_patterns[] = {
    { laci_pattern_qwen, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                         "| ?[^" SPACES "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACES "]*[\\r\\n]+|[" SPACES
                         "]+(?![^" SPACES "])|[" SPACES "]+" },
    { laci_pattern_bailing, "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                            "| ?[^" SPACES "\\p{L}\\p{N}]++[\\r\\n]*|[" SPACES "]*[\\r\\n]|[" SPACES
                            "]+(?![^" SPACES "])|[" SPACES "]+" },
    { laci_pattern_gpt2, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES
                         "\\p{L}\\p{N}]+|[" SPACES "]+(?![^" SPACES "])|[" SPACES "]+" },
    { pattern_gemma, pattern_gemma },
};

/* A step is a pattern, or a string when `code` is NULL. */
typedef struct {
    pcre2_code *code;
    bool is_compiled; /* to machine code */
    char *string;
    size_t n_string;
    bool to_previous;
} split_step;

struct laci_pretokenizer {
    lac_allocator mem;
    bool has_failed; /* an allocation of PCRE2 while steps were added */
    split_step steps[MAX_STEPS];
    int n_steps;
};

struct laci_split_work {
    lac_allocator mem;
    pcre2_general_context *general;
    pcre2_match_context *limits;
    pcre2_match_data *matches[MAX_STEPS];
};

/* ------------------------------------------------------------------ steps */

/* Memory for compiled patterns; `user` is the pre-tokenizer, which outlives them. */
static void *pattern_alloc(size_t size, void *user)
{
    laci_pretokenizer *pre = user;
    void *ptr = laci_alloc(&pre->mem, size);
    if (!ptr) pre->has_failed = true;
    return ptr;
}

static void pattern_release(void *ptr, void *user)
{
    laci_pretokenizer *pre = user;
    laci_release(&pre->mem, ptr);
}

lac_status laci_pretokenizer_create(laci_pretokenizer **out, const lac_allocator *mem,
                                    lac_error *err)
{
    laci_pretokenizer *pre = laci_alloc_zero(mem, sizeof *pre);
    if (!pre) return laci_fail_memory(err, "the pre-tokenizer", sizeof *pre);
    pre->mem = *mem;
    *out = pre;
    return LAC_OK;
}

void laci_pretokenizer_free(laci_pretokenizer *pre)
{
    if (!pre) return;
    for (int i = 0; i < pre->n_steps; i++) {
        pcre2_code_free(pre->steps[i].code);
        laci_release(&pre->mem, pre->steps[i].string);
    }
    const lac_allocator mem = pre->mem;
    laci_release(&mem, pre);
}

static lac_status check_room(const laci_pretokenizer *pre, lac_error *err)
{
    if (pre->n_steps < MAX_STEPS) return LAC_OK;
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "pre-tokenizer has more than %d steps", MAX_STEPS);
}

static lac_status compile(laci_pretokenizer *pre, const char *pattern, split_step *out,
                          lac_error *err)
{
    pcre2_general_context *general =
        pcre2_general_context_create(pattern_alloc, pattern_release, pre);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    int problem = 0;
    PCRE2_SIZE at = 0;
    *out = (split_step){ 0 };
    if (context)
        out->code =
            pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &problem, &at, context);
    /* A system may forbid generated code; matching is then interpreted, with the same result. */
    if (out->code) out->is_compiled = !pcre2_jit_compile(out->code, PCRE2_JIT_COMPLETE);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (out->code && !pre->has_failed) return LAC_OK;
    pcre2_code_free(out->code);
    if (pre->has_failed) return laci_fail_memory(err, "a compiled pattern", strlen(pattern));
    return laci_fail(err, LAC_EINTERNAL, 0, "PCRE2 refuses a pattern at %zu with error %d", at,
                     problem);
}

lac_status laci_pretokenizer_add_regex(laci_pretokenizer *pre, const char *pattern, lac_error *err)
{
    lac_status st = check_room(pre, err);
    if (st) return st;
    for (size_t i = 0; i < sizeof known_patterns / sizeof known_patterns[0]; i++) {
        if (strcmp(pattern, known_patterns[i].spelled) != 0) continue;
        st = compile(pre, known_patterns[i].meant, &pre->steps[pre->n_steps], err);
        if (!st) pre->n_steps++;
        return st;
    }
    return laci_fail(err, LAC_EUNSUPPORTED, 0, "unknown pre-tokenizer pattern \"%s\"",
                     laci_quote(pattern, strlen(pattern)).text);
}

lac_status laci_pretokenizer_add_string(laci_pretokenizer *pre, const char *string,
                                        bool to_previous, lac_error *err)
{
    lac_status st = check_room(pre, err);
    if (st) return st;
    const size_t n = strlen(string);
    if (!n || n > MAX_STRING)
        return laci_fail(err, LAC_EFORMAT, 0, "string to split at has %zu bytes, allowed 1 to %d",
                         n, MAX_STRING);
    char *copy = laci_copy_string(&pre->mem, string, n);
    if (!copy) return laci_fail_memory(err, "a string to split at", n + 1);
    pre->steps[pre->n_steps++] =
        (split_step){ .string = copy, .n_string = n, .to_previous = to_previous };
    return LAC_OK;
}

int laci_pretokenizer_n_steps(const laci_pretokenizer *pre)
{
    return pre->n_steps;
}

/* ------------------------------------------------------------------ scratch */

static void *work_alloc(size_t size, void *user)
{
    return laci_alloc(user, size);
}

static void work_release(void *ptr, void *user)
{
    laci_release(user, ptr);
}

lac_status laci_split_begin(laci_split_work **out, const laci_pretokenizer *pre, lac_error *err)
{
    laci_split_work *work = laci_alloc_zero(&pre->mem, sizeof *work);
    if (!work) return laci_fail_memory(err, "splitting", sizeof *work);
    work->mem = pre->mem;
    work->general = pcre2_general_context_create(work_alloc, work_release, &work->mem);
    if (!work->general) goto fail;
    work->limits = pcre2_match_context_create(work->general);
    if (!work->limits) goto fail;
    /* The patterns are linear; the limits would only cut off long runs. */
    (void)pcre2_set_match_limit(work->limits, UINT32_MAX);
    (void)pcre2_set_heap_limit(work->limits, UINT32_MAX);
    for (int i = 0; i < pre->n_steps; i++) {
        if (!pre->steps[i].code) continue;
        work->matches[i] = pcre2_match_data_create(1, work->general);
        if (!work->matches[i]) goto fail;
    }
    *out = work;
    return LAC_OK;
fail:
    laci_split_end(work);
    return laci_fail_memory(err, "splitting", sizeof *work);
}

void laci_split_end(laci_split_work *work)
{
    if (!work) return;
    for (int i = 0; i < MAX_STEPS; i++)
        pcre2_match_data_free(work->matches[i]);
    pcre2_match_context_free(work->limits);
    pcre2_general_context_free(work->general);
    const lac_allocator mem = work->mem;
    laci_release(&mem, work);
}

/* ------------------------------------------------------------------ splitting */

typedef struct {
    const laci_pretokenizer *pre;
    laci_split_work *work;
    laci_piece_fn fn;
    void *user;
    lac_error *err;
} splitter;

static lac_status split_from(const splitter *s, int at, const char *text, size_t n);

/* Hands a piece to the next step, or out. */
static lac_status pass_on(const splitter *s, int at, const char *text, size_t n)
{
    if (!n) return LAC_OK;
    if (at + 1 < s->pre->n_steps) return split_from(s, at + 1, text, n);
    return s->fn(s->user, text, n, s->err);
}

/* The next match at or behind `from`; *begin = n when there is none. */
static lac_status next_match(const splitter *s, int at, const char *text, size_t n, size_t from,
                             size_t *begin, size_t *end)
{
    const split_step *step = &s->pre->steps[at];
    pcre2_match_data *match = s->work->matches[at];
    const int rc = step->is_compiled ? pcre2_jit_match(step->code, (PCRE2_SPTR)text, n, from, 0,
                                                       match, s->work->limits)
                                     : pcre2_match(step->code, (PCRE2_SPTR)text, n, from,
                                                   PCRE2_NO_UTF_CHECK, match, s->work->limits);
    *begin = *end = n;
    if (rc == PCRE2_ERROR_NOMATCH) return LAC_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return laci_fail_memory(s->err, "matching", n);
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(match);
    if (rc < 0 || range[1] <= range[0] || range[0] < from)
        return laci_fail(s->err, LAC_EINTERNAL, from, "PCRE2 failed at byte %zu of %zu: error %d",
                         from, n, rc);
    *begin = range[0];
    *end = range[1];
    return LAC_OK;
}

static lac_status split_regex(const splitter *s, int at, const char *text, size_t n)
{
    for (size_t from = 0, begin, end; from < n; from = end) {
        lac_status st = next_match(s, at, text, n, from, &begin, &end);
        if (!st) st = pass_on(s, at, text + from, begin - from);
        if (!st) st = pass_on(s, at, text + begin, end - begin);
        if (st) return st;
    }
    return LAC_OK;
}

/* Offset of the next occurrence of the step's string, n when there is none. */
static size_t find_string(const split_step *step, const char *text, size_t n, size_t from)
{
    while (n - from >= step->n_string) {
        const char *hit = memchr(text + from, step->string[0], n - from - step->n_string + 1);
        if (!hit) break;
        from = (size_t)(hit - text);
        if (!memcmp(hit, step->string, step->n_string)) return from;
        from++;
    }
    return n;
}

static lac_status split_string(const splitter *s, int at, const char *text, size_t n)
{
    const split_step *step = &s->pre->steps[at];
    for (size_t from = 0, end; from < n; from = end) {
        const size_t begin = find_string(step, text, n, from);
        end = begin < n ? begin + step->n_string : n;
        const size_t cut = step->to_previous ? end : begin;
        lac_status st = pass_on(s, at, text + from, cut - from);
        if (!st) st = pass_on(s, at, text + cut, end - cut);
        if (st) return st;
    }
    return LAC_OK;
}

/* Recursion is as deep as there are steps. */
static lac_status split_from(const splitter *s, int at, const char *text, size_t n)
{
    return s->pre->steps[at].code ? split_regex(s, at, text, n) : split_string(s, at, text, n);
}

lac_status laci_split(const laci_pretokenizer *pre, laci_split_work *work, const char *text,
                      size_t n, laci_piece_fn fn, void *user, lac_error *err)
{
    const splitter s = { pre, work, fn, user, err };
    if (!n) return LAC_OK;
    return pre->n_steps ? split_from(&s, 0, text, n) : fn(user, text, n, err);
}
