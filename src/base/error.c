/* error.c: formats one sentence into a caller's lac_error. Holds no state. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void laci_report(lac_error *err, lac_status code, uint64_t offset, const char *format, ...)
{
    if (!err) return;
    err->code = code;
    err->offset = offset;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
}

lac_status laci_fail_prefix(lac_error *err, lac_status code, const char *prefix)
{
    if (!err) return code;
    char copy[LAC_ERROR_MAX];
    memcpy(copy, err->message, sizeof copy);
    const int n = snprintf(err->message, sizeof err->message, "%s: ", prefix);
    if (n < 0 || n >= LAC_ERROR_MAX) return code; /* the prefix alone fills the sentence */
    const size_t room = sizeof err->message - (size_t)n - 1;
    memcpy(err->message + n, copy, room);
    err->message[sizeof err->message - 1] = 0;
    return code;
}

const char *lac_status_name(lac_status status)
{
    switch (status) {
    case LAC_OK: return "OK";
    case LAC_EINVAL: return "EINVAL";
    case LAC_ENOMEM: return "ENOMEM";
    case LAC_EIO: return "EIO";
    case LAC_EFORMAT: return "EFORMAT";
    case LAC_EUNSUPPORTED: return "EUNSUPPORTED";
    case LAC_ECONTEXT: return "ECONTEXT";
    case LAC_ECANCELLED: return "ECANCELLED";
    case LAC_EINTERNAL: return "EINTERNAL";
    case LAC_ENOTFINITE: return "ENOTFINITE";
    }
    return "unknown";
}

laci_quoted laci_quote(const char *text, size_t n)
{
    laci_quoted quoted;
    size_t used = 0, at = 0;
    for (; at < n && used + 8 < sizeof quoted.text; at++) {
        const unsigned char byte = (unsigned char)text[at];
        if (byte >= 0x20 && byte < 0x7F)
            quoted.text[used++] = (char)byte;
        else
            used += (size_t)snprintf(quoted.text + used, 5, "\\x%02x", (unsigned)byte);
    }
    (void)snprintf(quoted.text + used, sizeof quoted.text - used, "%s", at < n ? "..." : "");
    return quoted;
}

laci_listed laci_list(const char *const *names, size_t n)
{
    laci_listed out = { "" };
    size_t at = 0;
    for (size_t i = 0; i < n && at < sizeof out.text; i++) {
        const char *before = i == 0 ? "" : i + 1 < n ? ", " : " and ";
        const int wanted = snprintf(out.text + at, sizeof out.text - at, "%s%s", before, names[i]);
        at += wanted > 0 ? (size_t)wanted : 0;
    }
    return out;
}
