/* canvas_text.c: characters, widths and colours of the canvas view. Widths come from utf8proc and
 * not from the C library, whose tables follow the locale. */
#include "run/canvas_text.h"

#include "base/utf8.h"
#include "shell/console.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* From blue (fixed early) over green to red (late); bright enough on dark and on light. */
static const unsigned char ramp[N_RAMP] = { 33, 39, 38, 37, 36, 35, 71, 107, 143, 179, 209, 203 };

/* ------------------------------------------------------------------ growing buffers */

static void put_bytes(canvas_text *t, const char *bytes, size_t n)
{
    if (t->failed || n == 0) return;
    if (n > t->capacity - t->n_text) {
        const size_t capacity = 2 * t->capacity + n + 4096;
        char *text = realloc(t->text, capacity);
        if (!text) {
            t->failed = true;
            return;
        }
        t->text = text;
        t->capacity = capacity;
    }
    memcpy(t->text + t->n_text, bytes, n);
    t->n_text += n;
}

static void put_string(canvas_text *t, const char *text)
{
    put_bytes(t, text, strlen(text));
}

static void open_line(canvas_text *t)
{
    if (t->n_lines == t->line_capacity) {
        const size_t capacity = 2 * t->line_capacity + 64;
        size_t *line = realloc(t->line, capacity * sizeof *line);
        if (!line) {
            t->failed = true;
            return;
        }
        t->line = line;
        t->line_capacity = capacity;
    }
    t->line[t->n_lines++] = t->n_text;
    t->line_open = true;
    t->column = 0;
    t->style = STYLE_PLAIN;
}

void canvas_text_clear(canvas_text *t)
{
    t->n_text = t->n_lines = t->n_carry = 0;
    t->line_open = t->full = t->failed = false;
}

void canvas_text_free(canvas_text *t)
{
    free(t->text);
    free(t->line);
    *t = (canvas_text){ .text = NULL };
}

/* ------------------------------------------------------------------ styles */

int canvas_ramp(int step, int n_steps)
{
    if (n_steps < 2 || step <= 0) return STYLE_RAMP;
    const int at = (int)((int64_t)step * (N_RAMP - 1) / (n_steps - 1));
    return STYLE_RAMP + (at < N_RAMP ? at : N_RAMP - 1);
}

const char *canvas_style(const canvas_text *t, int style)
{
    static char sequence[N_RAMP][16];
    if (!t->color) return "";
    if (style == STYLE_PLAIN) return "\x1b[0m";
    if (style == STYLE_DIM || style == STYLE_HOLE) return "\x1b[0;2m";
    char *text = sequence[style - STYLE_RAMP];
    snprintf(text, sizeof sequence[0], "\x1b[0;38;5;%dm", ramp[style - STYLE_RAMP]);
    return text;
}

/* ------------------------------------------------------------------ characters */

void canvas_text_end_line(canvas_text *t)
{
    if (!t->line_open) return;
    if (t->style != STYLE_PLAIN) put_string(t, canvas_style(t, STYLE_PLAIN));
    put_bytes(t, "", 1);
    t->line_open = false;
}

/* One glyph of known width; breaks the line before it when it does not fit. */
static void put_glyph(canvas_text *t, const char *bytes, size_t n, int width, int style)
{
    if (t->full) return;
    if (t->line_open && t->column + width > t->width) {
        if (t->one_line) {
            t->full = true;
            return;
        }
        canvas_text_end_line(t);
    }
    if (!t->line_open) open_line(t);
    if (style != t->style) put_string(t, canvas_style(t, style));
    t->style = style;
    put_bytes(t, bytes, n);
    t->column += width;
}

static void put_mark(canvas_text *t, const char *unicode, const char *ascii, int style)
{
    if (t->utf8)
        put_glyph(t, unicode, strlen(unicode), 1, style);
    else
        put_glyph(t, ascii, strlen(ascii), (int)strlen(ascii), style);
}

/* A character a terminal might obey, made visible. A fixed newline also breaks the line; a `soft`
 * one (a candidate) does not, or the picture would jump at every step. */
static void put_control(canvas_text *t, uint32_t code, int style, bool soft)
{
    char text[16];
    if (code == '\n') {
        put_mark(t, "⏎", "\\n", style);
        if (!soft && !t->one_line) canvas_text_end_line(t);
    } else if (code == '\t') {
        put_mark(t, "⇥", "\\t", style);
    } else {
        const char *format = code < 0x80 ? "\\x%02x" : "\\u%04x";
        const int n = snprintf(text, sizeof text, format, (unsigned)code);
        put_glyph(t, text, (size_t)n, n, style);
    }
}

static void put_code(canvas_text *t, uint32_t code, const char *bytes, size_t n, int style,
                     bool soft)
{
    if (console_is_control(code)) {
        put_control(t, code, style, soft);
        return;
    }
    const int width = utf8proc_charwidth((utf8proc_int32_t)code);
    if (width > 0 || t->column > 0) put_glyph(t, bytes, n, width > 0 ? width : 0, style);
}

static void flush_carry(canvas_text *t)
{
    for (size_t i = 0; i < t->n_carry; i++)
        put_mark(t, "\xef\xbf\xbd", "?", t->carry_style);
    t->n_carry = 0;
}

/* Bytes that a sequence beginning with `lead` needs; 1 for what begins none. */
static size_t sequence_length(unsigned char lead)
{
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
}

/* Adds one byte. A character may spread over several tokens; it takes the style of its first. */
static void put_byte(canvas_text *t, char byte, int style, bool soft)
{
    const bool continues = ((unsigned char)byte & 0xc0) == 0x80;
    if (t->n_carry && !continues) flush_carry(t);
    if (t->n_carry == 0) {
        t->carry_style = style;
        t->carry_soft = soft;
    }
    t->carry[t->n_carry++] = byte;
    uint32_t code = 0;
    const size_t n = laci_utf8_next(t->carry, t->n_carry, &code);
    if (n) {
        t->n_carry = 0;
        put_code(t, code, t->carry, n, t->carry_style, t->carry_soft);
    } else if (t->n_carry >= sequence_length((unsigned char)t->carry[0])) {
        flush_carry(t);
    }
}

void canvas_text_words(canvas_text *t, const char *words, int style)
{
    flush_carry(t);
    for (; *words; words++)
        put_glyph(t, words, 1, 1, style);
}

void canvas_text_position(canvas_text *t, const lac_step *step, int position)
{
    int32_t id = step->canvas[position];
    int style = STYLE_PLAIN;
    const bool is_open = id == LAC_HOLE;
    if (is_open) {
        /* without dimming a candidate would look like a fixed token */
        id = t->color ? step->candidate[position] : -1;
        style = STYLE_DIM;
    } else if (step->step_map[position] >= 0) {
        style = canvas_ramp(step->step_map[position], step->n_steps);
    }
    size_t n = 0;
    const char *piece = id >= 0 ? lac_model_piece(t->model, id, &n) : NULL;
    if (id >= 0 && id == t->eos_id) {
        flush_carry(t);
        put_mark(t, "∎", "$", style);
    } else if (!piece || n == 0) {
        flush_carry(t);
        put_mark(t, is_open ? "░" : "·", is_open ? "_" : ".", is_open ? STYLE_HOLE : style);
    } else {
        for (size_t i = 0; i < n; i++)
            put_byte(t, piece[i], style, is_open);
    }
}
