/* error.h: fills a lac_error and returns its code. Used by every file that can fail. */
#ifndef LACI_BASE_ERROR_H
#define LACI_BASE_ERROR_H

#include "lacuna.h"

/* Writes code, byte offset (0 = none) and the formatted sentence to `err` (NULL allowed). */
void laci_report(lac_error *err, lac_status code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same, with the value of `code`, so that callers write `return laci_fail(...)`; a macro, so
 * that a reader of the caller, man or tool, sees which status it is. `code` has no side effects. */
#define laci_fail(err, code, ...) (laci_report(err, code, __VA_ARGS__), (code))

/* The one sentence for "no memory": names what was wanted and how many bytes. */
static inline lac_status laci_fail_memory(lac_error *err, const char *what, size_t size)
{
    return laci_fail(err, LAC_ENOMEM, 0, "no memory for %s (%zu bytes)", what, size);
}

/* Puts "prefix: " in front of the message of a filled error; returns its code. For callers that
 * know the file name while the callee did not. */
lac_status laci_fail_prefix(lac_error *err, lac_status code, const char *prefix);

/* A text fit for an error message: printable ASCII, the rest as \xNN, cut when long. */
typedef struct {
    char text[72];
} laci_quoted;
laci_quoted laci_quote(const char *text, size_t n);

/* n names as "a, b and c" for a sentence, cut when long. */
typedef struct {
    char text[160];
} laci_listed;
laci_listed laci_list(const char *const *names, size_t n);

#endif
