/* prompt.c: from flags to ids. A document and a prompt become one user message; a canvas is plain
 * text cut at its hole marks. */
#include "run/prompt.h"

#include "base/utf8.h"
#include "shell/console.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INPUT = 1 << 28, MAX_HOLES = 1 << 24 };

/* ------------------------------------------------------------------ texts */

static int no_memory(const char *what)
{
    return console_fail(EXIT_MEMORY, "out of memory for %s", what);
}

/* Reads until end of file; pipes and terminals have no size to ask for. */
static int read_stream(input_text *out, FILE *in, const char *name)
{
    size_t capacity = 1 << 16, n = 0;
    char *data = malloc(capacity);
    if (!data) return no_memory(name);
    for (;;) {
        const size_t got = fread(data + n, 1, capacity - 1 - n, in);
        n += got;
        if (n < capacity - 1) break;
        char *larger = capacity < MAX_INPUT ? realloc(data, 2 * capacity) : NULL;
        if (!larger) {
            free(data);
            if (capacity < MAX_INPUT) return no_memory(name);
            return console_fail(EXIT_RUN, "%s is larger than the limit of %d bytes", name,
                                MAX_INPUT);
        }
        data = larger;
        capacity *= 2;
    }
    if (ferror(in)) {
        free(data);
        return console_fail(EXIT_RUN, "cannot read %s: %s", name, strerror(errno));
    }
    data[n] = 0;
    *out = (input_text){ data, n };
    return EXIT_OK;
}

int input_read(input_text *out, const char *path)
{
    if (strcmp(path, "-") == 0) return read_stream(out, stdin, "standard input");
    FILE *in = fopen(path, "rb");
    if (!in) return console_fail(EXIT_RUN, "cannot open %s: %s", path, strerror(errno));
    const int code = read_stream(out, in, path);
    fclose(in);
    return code;
}

int input_read_text(input_text *out, const char *path)
{
    const int code = input_read(out, path);
    const size_t n = code ? 0 : laci_utf8_bom(out->data, out->n);
    if (!n) return code;
    out->n -= n;
    memmove(out->data, out->data + n, out->n + 1);
    return code;
}

void input_free(input_text *text)
{
    free(text->data);
    *text = (input_text){ .data = NULL };
}

/* Appends `tail` to the text, after a line break when the text does not end in one. */
static int append_line(input_text *text, const char *tail)
{
    const size_t n_tail = strlen(tail);
    char *data = realloc(text->data, text->n + n_tail + 2);
    if (!data) return no_memory("the prompt");
    if (text->n && data[text->n - 1] != '\n') data[text->n++] = '\n';
    memcpy(data + text->n, tail, n_tail + 1);
    text->data = data;
    text->n += n_tail;
    return EXIT_OK;
}

/* ------------------------------------------------------------------ hole marks */

/* Length of the hole mark at text[0..n), 0 when there is none; *count = holes it stands for, -1
 * when the number in it is not usable. */
static size_t match_hole(const char *text, size_t n, const char *hole, int64_t *count)
{
    static const char prefix[] = "[MASK";
    *count = 1;
    if (hole) {
        const size_t n_hole = strlen(hole);
        return n >= n_hole && memcmp(text, hole, n_hole) == 0 ? n_hole : 0;
    }
    const size_t n_prefix = sizeof prefix - 1;
    if (n <= n_prefix || memcmp(text, prefix, n_prefix) != 0) return 0;
    if (text[n_prefix] == ']') return n_prefix + 1;
    if (text[n_prefix] != '*') return 0;
    const size_t digits = strspn(text + n_prefix + 1, "0123456789");
    const size_t size = n_prefix + 1 + digits + 1;
    if (digits == 0 || size > n || text[size - 1] != ']') return 0;
    char number[24] = "";
    if (digits < sizeof number) memcpy(number, text + n_prefix + 1, digits);
    if (!args_read_int(number, 1, MAX_HOLES, count)) *count = -1;
    return size;
}

static int fail_no_hole(const run_options *opt)
{
    return console_fail(EXIT_USAGE, "--canvas: the text has no hole; mark holes with %s",
                        opt->hole ? opt->hole : "[MASK]");
}

static int count_holes(prompt_texts *texts, const run_options *opt)
{
    const input_text *canvas = &texts->canvas;
    for (size_t i = 0; i < canvas->n;) {
        int64_t count = 0;
        const size_t n = match_hole(canvas->data + i, canvas->n - i, opt->hole, &count);
        if (count < 0)
            return console_fail(EXIT_USAGE, "--canvas: %.*s must stand for 1 to %d holes", (int)n,
                                canvas->data + i, MAX_HOLES);
        if (n) texts->n_holes += (size_t)count;
        if (texts->n_holes > MAX_HOLES)
            return console_fail(EXIT_USAGE, "--canvas: more than %d holes", MAX_HOLES);
        i += n ? n : 1;
    }
    const size_t n_holes = texts->n_holes + (size_t)opt->generate.n_tokens;
    if (opt->parse_special) return EXIT_OK; /* the mask token is a hole too: counted as ids */
    if (n_holes == 0) return fail_no_hole(opt);
    return EXIT_OK;
}

int prompt_read(prompt_texts *out, const run_options *opt)
{
    int code = EXIT_OK;
    if (opt->file) code = input_read_text(&out->document, opt->file);
    if (!code && opt->prompt) code = append_line(&out->document, opt->prompt);
    if (!code && opt->canvas) code = input_read_text(&out->canvas, opt->canvas);
    if (!code && opt->canvas) code = count_holes(out, opt);
    return code;
}

void prompt_free(prompt_texts *texts)
{
    input_free(&texts->document);
    input_free(&texts->canvas);
}

/* ------------------------------------------------------------------ ids */

static int reserve_ids(prompt_ids *out, size_t n)
{
    if (n <= out->capacity - out->n) return EXIT_OK;
    const size_t capacity = (out->n + n) * 2;
    int32_t *ids = realloc(out->ids, capacity * sizeof *ids);
    if (!ids) return no_memory("the prompt");
    out->ids = ids;
    out->capacity = capacity;
    return EXIT_OK;
}

static int append_ids(prompt_ids *out, const int32_t *ids, size_t n)
{
    const int code = reserve_ids(out, n);
    if (code || n == 0) return code;
    memcpy(out->ids + out->n, ids, n * sizeof *ids);
    out->n += n;
    return EXIT_OK;
}

static int append_holes(prompt_ids *out, int64_t n)
{
    const int code = reserve_ids(out, (size_t)n);
    for (int64_t i = 0; !code && i < n; i++)
        out->ids[out->n++] = LAC_HOLE;
    return code;
}

static int append_text(prompt_ids *out, const lac_model *model, const char *text, size_t n,
                       bool parse_special)
{
    if (n == 0) return EXIT_OK;
    const lac_encode_options how = { .parse_special = parse_special };
    lac_error err = { .message = "" };
    int32_t *ids = NULL;
    size_t n_ids = 0;
    const lac_status st = lac_model_encode(model, text, n, &how, &ids, &n_ids, &err);
    if (st) return console_fail_status(st, &err);
    const int code = append_ids(out, ids, n_ids);
    lac_model_free_ids(model, ids);
    return code;
}

static int append_chat(prompt_ids *out, const prompt_texts *texts, const run_options *opt,
                       const lac_model *model)
{
    const input_text *document = &texts->document;
    const char *nul = document->data ? memchr(document->data, 0, document->n) : NULL;
    if (nul)
        return console_fail(EXIT_USAGE,
                            "the document has a NUL byte at %td, which chat template %s cannot "
                            "carry; use --chat-template none",
                            nul - document->data, out->chat_template);
    lac_chat_message messages[2];
    size_t n = 0;
    if (opt->system) messages[n++] = (lac_chat_message){ "system", opt->system };
    messages[n++] = (lac_chat_message){ "user", document->data ? document->data : "" };
    lac_error err = { .message = "" };
    int32_t *ids = NULL;
    size_t n_ids = 0;
    const lac_status st =
        lac_model_encode_chat(model, opt->chat_template, messages, n, &ids, &n_ids, &err);
    if (st) return console_fail_status(st, &err);
    const int code = append_ids(out, ids, n_ids);
    lac_model_free_ids(model, ids);
    return code;
}

/* The bare text: instructions, document and prompt on lines of their own. */
static int append_bare(prompt_ids *out, const prompt_texts *texts, const run_options *opt,
                       const lac_model *model)
{
    int code = EXIT_OK;
    const bool special = opt->parse_special;
    if (opt->system) code = append_text(out, model, opt->system, strlen(opt->system), special);
    if (!code && opt->system && texts->document.n) code = append_text(out, model, "\n", 1, false);
    if (!code) code = append_text(out, model, texts->document.data, texts->document.n, special);
    return code;
}

static int append_canvas(prompt_ids *out, const input_text *canvas, const run_options *opt,
                         const lac_model *model)
{
    size_t begin = 0;
    int code = EXIT_OK;
    for (size_t i = 0; !code && i < canvas->n;) {
        int64_t count = 0;
        const size_t n = match_hole(canvas->data + i, canvas->n - i, opt->hole, &count);
        if (n) {
            code = append_text(out, model, canvas->data + begin, i - begin, opt->parse_special);
            if (!code) code = append_holes(out, count);
            begin = i + n;
        }
        i += n ? n : 1;
    }
    if (code) return code;
    return append_text(out, model, canvas->data + begin, canvas->n - begin, opt->parse_special);
}

/* One line for each text that the tokenizer cannot take as it is. Byte tokenizers take all. */
static void warn_repairs(const char *what, const char *text, size_t n, const char *tokenizer)
{
    if (!text || strcmp(tokenizer, "bytes") == 0) return;
    if (strcmp(tokenizer, "ascii") == 0) {
        size_t i = 0;
        while (i < n && (unsigned char)text[i] < 0x80)
            i++;
        if (i < n)
            console_warn("%s leaves ASCII at byte %zu; this model reads all such bytes as one "
                         "unknown character",
                         what, i);
        return;
    }
    const size_t bad = laci_utf8_check(text, n);
    if (bad < n)
        console_warn("%s is not UTF-8 from byte %zu on; such bytes were replaced by U+FFFD", what,
                     bad);
}

/* Whether a text has `word` in it; texts may hold NUL. */
static bool has_word(const char *text, size_t n, const char *word, size_t n_word)
{
    for (size_t i = 0; n_word && i + n_word <= n; i++)
        if (memcmp(text + i, word, n_word) == 0) return true;
    return false;
}

/* Masks that people write into a prompt are text there unless asked; one line says where they would
 * be holes. */
static void say_masks_are_text(const prompt_texts *texts, const run_options *opt,
                               const lac_model *model, const lac_model_info *info)
{
    size_t n_piece = 0;
    const char *piece = lac_model_piece(model, info->mask_id, &n_piece);
    const input_text *t = &texts->document;
    if (opt->quiet || !t->data) return;
    if (!opt->parse_special && has_word(t->data, t->n, piece, n_piece))
        console_warn("%.*s in the prompt is text; --parse-special makes it a hole, and --canvas "
                     "reads [MASK]",
                     (int)n_piece, piece);
    else if (has_word(t->data, t->n, "[MASK]", 6))
        console_warn("[MASK] in the prompt is text; it is a hole in the text of --canvas");
}

/* The mask token is a hole wherever it stands, as it is for the library. */
static void make_holes(prompt_ids *out, int mask_id)
{
    out->n_holes = 0;
    for (size_t i = 0; i < out->n; i++) {
        if (out->ids[i] == mask_id) out->ids[i] = LAC_HOLE;
        out->n_holes += out->ids[i] == LAC_HOLE;
    }
}

int prompt_encode(prompt_ids *out, const prompt_texts *texts, const run_options *opt,
                  const lac_model *model, const lac_model_info *info)
{
    warn_repairs("the prompt", texts->document.data, texts->document.n, info->tokenizer);
    warn_repairs("the canvas", texts->canvas.data, texts->canvas.n, info->tokenizer);
    if (opt->system)
        warn_repairs("the system prompt", opt->system, strlen(opt->system), info->tokenizer);
    say_masks_are_text(texts, opt, model, info);
    out->chat_template = opt->chat_template ? opt->chat_template : info->chat_template;
    if (opt->parse_special) out->chat_template = "none";
    const bool has_message = texts->document.data || opt->system;
    const bool bare = strcmp(out->chat_template, "none") == 0;
    int code = EXIT_OK;
    if (has_message && bare)
        code = append_bare(out, texts, opt, model);
    else if (has_message)
        code = append_chat(out, texts, opt, model);
    out->n_before = out->n;
    if (!code && opt->canvas) code = append_canvas(out, &texts->canvas, opt, model);
    if (code) return code;
    make_holes(out, info->mask_id);
    if (opt->canvas && out->n_holes + (size_t)opt->generate.n_tokens == 0) return fail_no_hole(opt);
    if (opt->adds_nothing && !out->n_holes)
        return console_fail(EXIT_USAGE, "-n 0 leaves nothing to generate: the text has no hole");
    out->has_text_around = opt->canvas || out->n_holes;
    if (!opt->canvas) out->n_before = out->n_holes ? 0 : out->n;
    return EXIT_OK;
}

void prompt_ids_free(prompt_ids *ids)
{
    free(ids->ids);
    *ids = (prompt_ids){ .ids = NULL };
}
