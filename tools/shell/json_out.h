/* json_out.h: writing JSON into a growing buffer. Commas are placed by the writer; the caller
 * keeps begin and end paired. Used by --json of every command and by the trace. */
#ifndef LACUNA_TOOLS_JSON_OUT_H
#define LACUNA_TOOLS_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Zeroed is empty. After a failed allocation `failed` is set and nothing more is written. */
typedef struct {
    char *data; /* not terminated */
    size_t n, capacity;
    bool failed;
    bool need_comma;
} json_out;

void json_begin_object(json_out *j);
void json_end_object(json_out *j);
void json_begin_array(json_out *j);
void json_end_array(json_out *j);
void json_key(json_out *j, const char *key);

/* Values. Bytes that are not UTF-8 become U+FFFD; control characters are escaped. NULL = null. */
void json_string(json_out *j, const char *text);
void json_text(json_out *j, const char *text, size_t n);
void json_int(json_out *j, int64_t value);
void json_uint(json_out *j, uint64_t value);
void json_bool(json_out *j, bool value);
/* The fewest digits that read back as the same value; NaN and infinities become null. */
void json_float(json_out *j, float value);
void json_double(json_out *j, double value);

/* Writes the buffer and a newline to `out` and empties it; write errors stay in ferror(out).
 * False when memory ran out earlier. */
bool json_write_line(json_out *j, FILE *out);
void json_free(json_out *j);

#endif
