/* json_out.c: the JSON writer. Numbers are printed in the C locale: the program never sets
 * another. */
#include "shell/json_out.h"

#include "base/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(json_out *j, size_t n)
{
    if (j->failed) return false;
    if (n <= j->capacity - j->n) return true;
    size_t capacity = j->capacity ? j->capacity : 256;
    while (capacity - j->n < n) {
        if (capacity > SIZE_MAX / 2) {
            j->failed = true;
            return false;
        }
        capacity *= 2;
    }
    char *data = realloc(j->data, capacity);
    if (!data) {
        j->failed = true;
        return false;
    }
    j->data = data;
    j->capacity = capacity;
    return true;
}

static void put(json_out *j, const char *bytes, size_t n)
{
    if (!reserve(j, n)) return;
    memcpy(j->data + j->n, bytes, n);
    j->n += n;
}

static void put_value(json_out *j, const char *text)
{
    if (j->need_comma) put(j, ",", 1);
    put(j, text, strlen(text));
    j->need_comma = true;
}

static void begin(json_out *j, const char *bracket)
{
    put_value(j, bracket);
    j->need_comma = false;
}

static void end(json_out *j, const char *bracket)
{
    put(j, bracket, 1);
    j->need_comma = true;
}

void json_begin_object(json_out *j)
{
    begin(j, "{");
}

void json_end_object(json_out *j)
{
    end(j, "}");
}

void json_begin_array(json_out *j)
{
    begin(j, "[");
}

void json_end_array(json_out *j)
{
    end(j, "]");
}

void json_key(json_out *j, const char *key)
{
    json_string(j, key);
    put(j, ":", 1);
    j->need_comma = false;
}

void json_string(json_out *j, const char *text)
{
    if (text)
        json_text(j, text, strlen(text));
    else
        put_value(j, "null");
}

/* One Unicode scalar value inside a string. C1 controls are legal JSON but not safe to print. */
static void put_code(json_out *j, uint32_t code, const char *bytes, size_t n)
{
    char escaped[8];
    const char *shorthand = NULL;
    switch (code) {
    case '"': shorthand = "\\\""; break;
    case '\\': shorthand = "\\\\"; break;
    case '\n': shorthand = "\\n"; break;
    case '\r': shorthand = "\\r"; break;
    case '\t': shorthand = "\\t"; break;
    default: break;
    }
    if (shorthand) {
        put(j, shorthand, 2);
    } else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
        const int size = snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)code);
        put(j, escaped, (size_t)size);
    } else {
        put(j, bytes, n);
    }
}

void json_text(json_out *j, const char *text, size_t n)
{
    put_value(j, "\"");
    for (size_t i = 0; i < n;) {
        uint32_t code = 0;
        const size_t size = laci_utf8_next(text + i, n - i, &code);
        if (size)
            put_code(j, code, text + i, size);
        else
            put(j, "\xef\xbf\xbd", 3);
        i += size ? size : 1;
    }
    put(j, "\"", 1);
}

void json_int(json_out *j, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    put_value(j, text);
}

void json_uint(json_out *j, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    put_value(j, text);
}

void json_bool(json_out *j, bool value)
{
    put_value(j, value ? "true" : "false");
}

void json_float(json_out *j, float value)
{
    char text[32] = "null";
    for (int digits = 6; isfinite(value) && digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    put_value(j, text);
}

void json_double(json_out *j, double value)
{
    char text[32] = "null";
    for (int digits = 15; isfinite(value) && digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    put_value(j, text);
}

bool json_write_line(json_out *j, FILE *out)
{
    put(j, "\n", 1);
    const bool sound = !j->failed;
    if (sound) fwrite(j->data, 1, j->n, out);
    j->n = 0;
    j->need_comma = false;
    return sound;
}

void json_free(json_out *j)
{
    free(j->data);
    *j = (json_out){ .data = NULL };
}
