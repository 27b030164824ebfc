/* lines.c: see lines.h. */
#include "shell/lines.h"

#include "base/error.h"
#include "base/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static lac_status grow(line_reader *r, lac_error *err)
{
    if (r->capacity >= r->limit)
        return laci_fail(err, LAC_EFORMAT, 0, "line %zu: longer than %zu bytes", r->number,
                         r->limit);
    size_t larger = r->capacity ? 2 * r->capacity : 1 << 16;
    if (larger > r->limit) larger = r->limit;
    char *room = realloc(r->room, larger);
    if (!room) return laci_fail_memory(err, "a line", larger);
    r->room = room;
    r->capacity = larger;
    return LAC_OK;
}

lac_status line_next(line_reader *r, bool *end, lac_error *err)
{
    size_t n = 0;
    int c;
    errno = 0;
    r->number++;
    while ((c = getc(r->file)) != EOF && c != '\n') {
        if (n == r->capacity) {
            const lac_status st = grow(r, err);
            if (st) return st;
        }
        r->room[n++] = (char)c;
    }
    if (ferror(r->file))
        return laci_fail(err, LAC_EIO, 0, "line %zu: cannot read: %s", r->number,
                         strerror(errno ? errno : EIO));
    const size_t bom = r->number == 1 && n ? laci_utf8_bom(r->room, n) : 0;
    r->text = r->room ? r->room + bom : "";
    r->n = n - bom;
    r->is_torn = c == EOF;
    if (c != EOF) r->n_whole += n + 1;
    *end = c == EOF && n == 0;
    return LAC_OK;
}

void line_free(line_reader *r)
{
    free(r->room);
    *r = (line_reader){ .file = NULL };
}
