/* lines.h: files that are read line by line, from anybody: no line is longer than a limit, a byte
 * order mark in front of the first is passed over, a torn last line is told from a whole one. */
#ifndef LACUNA_TOOLS_LINES_H
#define LACUNA_TOOLS_LINES_H

#include "lacuna.h"
#include <stdbool.h>
#include <stdio.h>

typedef struct {
    FILE *file;       /* borrowed */
    size_t limit;     /* most bytes of a line */
    const char *text; /* the line without its end; not terminated */
    size_t n;
    size_t number;  /* of the line, from 1 */
    size_t n_whole; /* bytes of the file up to the end of the last whole line */
    bool is_torn;   /* the file ended in this line */
    char *room;     /* owned */
    size_t capacity;
} line_reader;

/* Takes the next line; *end when there is none. Errors: EFORMAT (too long, both numbers), EIO,
 * ENOMEM, naming the line. */
lac_status line_next(line_reader *reader, bool *end, lac_error *err);
void line_free(line_reader *reader);

#endif
