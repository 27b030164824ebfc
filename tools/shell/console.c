/* console.c: messages, exit codes and safe text. Nothing here allocates, so that the message about
 * missing memory can always be printed. */
#define _POSIX_C_SOURCE 200809L
#include "shell/console.h"

#include "base/utf8.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *command_name = "lacuna";

void console_begin(const char *command)
{
    command_name = command;
}

const char *console_command(void)
{
    return command_name;
}

__attribute__((format(printf, 2, 0))) static void put_message(const char *label, const char *format,
                                                              va_list args)
{
    char text[2 * LAC_ERROR_MAX];
    vsnprintf(text, sizeof text, format, args);
    fflush(stdout);
    fprintf(stderr, "%s: %s", command_name, label);
    console_put_safe(stderr, text, strlen(text), false);
    fputc('\n', stderr);
}

int console_fail(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put_message("", format, args);
    va_end(args);
    return code;
}

void console_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put_message("warning: ", format, args);
    va_end(args);
}

void console_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put_message("", format, args);
    va_end(args);
}

int console_exit_code(lac_status status)
{
    switch (status) {
    case LAC_OK: return EXIT_OK;
    case LAC_EINVAL:
    case LAC_ECONTEXT: return EXIT_USAGE;
    case LAC_EFORMAT:
    case LAC_EUNSUPPORTED: return EXIT_MODEL;
    case LAC_ENOMEM: return EXIT_MEMORY;
    case LAC_EIO:
    case LAC_ECANCELLED:
    case LAC_EINTERNAL:
    case LAC_ENOTFINITE: return EXIT_RUN;
    }
    return EXIT_RUN;
}

int console_fail_status(lac_status status, const lac_error *err)
{
    const char *message = err->message[0] ? err->message : lac_status_name(status);
    if (err->offset)
        console_fail(0, "%s (at byte %" PRIu64 ")", message, err->offset);
    else
        console_fail(0, "%s", message);
    return console_exit_code(status);
}

int console_open_model(lac_model **out, const char *path, const lac_model_options *opt)
{
    lac_error err = { .message = "" };
    const lac_status st = lac_model_open(out, path, opt, &err);
    if (!st) return EXIT_OK;
    const int code = console_fail_status(st, &err);
    return st == LAC_EIO ? EXIT_MODEL : code;
}

static bool has_warning(const lac_model *model, const char *text)
{
    const char *own;
    for (size_t i = 0; model && (own = lac_model_warning(model, i, NULL)); i++)
        if (!strcmp(own, text)) return true;
    return false;
}

void console_warn_model(const lac_model *model, const lac_model *before, unsigned skipped)
{
    const char *text;
    lac_warning_topic topic;
    for (size_t i = 0; (text = lac_model_warning(model, i, &topic)); i++)
        if (!(skipped & 1u << topic) && !has_warning(before, text)) console_warn("%s", text);
}

bool console_is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c || code == 0x200e ||
           code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

void console_put_safe(FILE *out, const char *text, size_t n, bool keep_lines)
{
    for (size_t i = 0; i < n;) {
        uint32_t code = 0;
        const size_t size = laci_utf8_next(text + i, n - i, &code);
        if (size == 0) {
            fprintf(out, "\\x%02x", (unsigned char)text[i++]);
            continue;
        }
        if (keep_lines && (code == '\n' || code == '\t'))
            fputc((int)code, out);
        else if (code == '\n')
            fputs("\\n", out);
        else if (console_is_control(code))
            fprintf(out, code < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)code);
        else
            fwrite(text + i, 1, size, out);
        i += size;
    }
}

void console_put_text(FILE *out, const char *text, size_t n)
{
    if (console_is_tty(out))
        console_put_safe(out, text, n, true);
    else
        fwrite(text, 1, n, out);
}

int console_flush_stdout(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return EXIT_OK;
    return console_fail(EXIT_RUN, "cannot write to standard output: %s",
                        errno ? strerror(errno) : "write error");
}

bool console_is_tty(FILE *stream)
{
    return isatty(fileno(stream)) == 1;
}

static int size_from_environment(const char *name, int otherwise)
{
    const char *text = getenv(name);
    const long value = text ? strtol(text, NULL, 10) : 0;
    return value > 0 && value < 10000 ? (int)value : otherwise;
}

void console_window(FILE *stream, int *columns, int *rows)
{
    struct winsize size = { 0 };
    const bool known = ioctl(fileno(stream), TIOCGWINSZ, &size) == 0;
    *columns = known && size.ws_col ? size.ws_col : size_from_environment("COLUMNS", 80);
    *rows = known && size.ws_row ? size.ws_row : size_from_environment("LINES", 24);
}

bool console_is_utf8(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strstr(value, "UTF-8") || strstr(value, "utf8");
    }
    return false;
}
