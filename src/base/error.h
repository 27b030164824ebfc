/* error.h: fills a lac_error and returns its code. Used by every file that can fail. */
#ifndef LACI_BASE_ERROR_H
#define LACI_BASE_ERROR_H

#include "lacuna.h"

/* Writes code, byte offset (0 = none) and the formatted sentence to `err` (NULL allowed) and
 * returns `code`, so that callers can write `return laci_fail(...)`. */
lac_status laci_fail(lac_error *err, lac_status code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The one sentence for "no memory": names what was wanted and how many bytes. */
lac_status laci_fail_memory(lac_error *err, const char *what, size_t size);

/* Puts "prefix: " in front of the message of a filled error; returns its code. For callers that
 * know the file name while the callee did not. */
lac_status laci_fail_prefix(lac_error *err, lac_status code, const char *prefix);

#endif
