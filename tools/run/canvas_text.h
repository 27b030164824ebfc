/* canvas_text.h: from canvas positions to lines of a given width. Joins the bytes of neighbouring
 * tokens into characters, shows what a terminal might obey, colours each character by the step
 * that fixed it. Used by canvas_view.c only. */
#ifndef LACUNA_TOOLS_CANVAS_TEXT_H
#define LACUNA_TOOLS_CANVAS_TEXT_H

#include "lacuna.h"

/* How a character is drawn. From STYLE_RAMP on: fixed, early to late. */
enum { STYLE_PLAIN = 0, STYLE_DIM = 1, STYLE_HOLE = 2, STYLE_RAMP = 3, N_RAMP = 12 };

typedef struct {
    const lac_model *model;
    int eos_id;
    bool color, utf8;
    int width;     /* columns of a line */
    bool one_line; /* never break, stop at the width instead */
    bool full;     /* one_line: the width is used up */
    /* finished lines, each with its own escape sequences, NUL-terminated */
    char *text;
    size_t n_text, capacity;
    size_t *line; /* [n_lines] offsets into text */
    size_t n_lines, line_capacity;
    int column, style;
    bool line_open, failed;
    /* bytes of a character that is not complete yet, and its style */
    char carry[4];
    size_t n_carry;
    int carry_style;
    bool carry_soft;
} canvas_text;

/* Empties the text, keeping its memory. */
void canvas_text_clear(canvas_text *t);
void canvas_text_free(canvas_text *t);

/* Adds one canvas position as it stands after `step`. */
void canvas_text_position(canvas_text *t, const lac_step *step, int position);
/* Adds program text (no control characters) in a style, for marks between parts. */
void canvas_text_words(canvas_text *t, const char *words, int style);
/* Ends the current line, if one is open. */
void canvas_text_end_line(canvas_text *t);

/* Escape sequence that starts a style; "" without colour. */
const char *canvas_style(const canvas_text *t, int style);
/* Ramp style of a step. */
int canvas_ramp(int step, int n_steps);

#endif
