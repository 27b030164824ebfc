/* options.c: see options.h. */
#include "bench/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/machine.h"
#include "shell/console.h"

/* The next part of a list, up to a comma, copied; false when it is too long. */
static bool next_part(const char **at, char *out, size_t n_out)
{
    const size_t n = strcspn(*at, ",");
    if (n >= n_out) return false;
    memcpy(out, *at, n);
    out[n] = 0;
    *at += n + ((*at)[n] == ',');
    return true;
}

/* "16," ends in an empty part, which next_part cannot see. */
static bool ends_in_comma(const char *text)
{
    const size_t n = strlen(text);
    return n && text[n - 1] == ',';
}

int list_read(number_list *out, const char *flag, const char *text, bool whole, double min,
              double max)
{
    char part[64];
    const char *at = text;
    out->n = 0;
    bool sound = !ends_in_comma(text);
    while (sound && out->n < MAX_LIST && (*at || !out->n)) {
        int64_t number = 0;
        double value = 0;
        sound = next_part(&at, part, sizeof part);
        if (sound && whole) sound = args_read_int(part, (int64_t)min, (int64_t)max, &number);
        if (sound && !whole) sound = args_read_float(part, min, max, &value);
        out->values[out->n++] = whole ? (double)number : value;
    }
    if (sound && !*at) return EXIT_OK;
    if (sound)
        return console_fail(EXIT_USAGE, "%s: '%s' names more than %d values", flag, text, MAX_LIST);
    return console_fail(EXIT_USAGE, "%s: '%s' is not a list of %s from %.10g to %.10g", flag, text,
                        whole ? "whole numbers" : "numbers", min, max);
}

int threads_read(number_list *out, const bench_options *opt)
{
    if (opt->threads) return list_read(out, "--threads", opt->threads, true, 1, 1024);
    *out = (number_list){ .values = { laci_machine_threads() }, .n = 1 };
    return EXIT_OK;
}

int dtypes_read(dtype_list *out, const char *text)
{
    char part[64];
    const char *at = text;
    out->n = 0;
    bool sound = !ends_in_comma(text);
    while (sound && (*at || !out->n)) {
        sound = next_part(&at, part, sizeof part) && out->n < 2;
        const bool is_f32 = !strcmp(part, "f32");
        if (!sound || (!is_f32 && strcmp(part, "bf16") != 0))
            sound = false;
        else
            out->values[out->n++] = is_f32 ? LACI_F32 : LACI_BF16;
    }
    if (sound) return EXIT_OK;
    return console_fail(EXIT_USAGE, "--dtype: '%s' is not one or two of f32, bf16", text);
}

int choice_read(int *out, const char *flag, const char *text, const char *const *names, size_t n)
{
    char all[128] = "";
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(text, names[i])) {
            *out = (int)i;
            return EXIT_OK;
        }
        const size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    }
    return console_fail(EXIT_USAGE, "%s: '%s' is not one of %s", flag, text, all);
}

int choices_read(choice_list *out, const char *flag, const char *text, const char *const *names,
                 size_t n)
{
    char part[64];
    const char *at = text;
    int code = EXIT_OK;
    out->n = 0;
    if (ends_in_comma(text)) return choice_read(&out->values[0], flag, "", names, n);
    while (!code && (*at || !out->n)) {
        if (out->n == MAX_LIST || !next_part(&at, part, sizeof part))
            return console_fail(EXIT_USAGE, "%s: '%s' is not a list of at most %d names", flag,
                                text, MAX_LIST);
        code = choice_read(&out->values[out->n++], flag, part, names, n);
    }
    return code;
}

int format_read(rows_format *out, const bench_options *opt)
{
    if (opt->json && opt->csv)
        return console_fail(EXIT_USAGE, "--json and --csv: one format at a time");
    *out = opt->json ? ROWS_JSON : opt->csv ? ROWS_CSV : ROWS_TABLE;
    return EXIT_OK;
}

void bench_progress(const bench_options *opt, const char *format, ...)
{
    char text[256];
    va_list args;
    if (opt->quiet) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    console_note("%s", text);
}

int memory_check(double n_bytes)
{
    const double limit = (double)laci_machine_memory();
    if (n_bytes <= limit) return EXIT_OK;
    return console_fail(EXIT_MEMORY, "this would take %.1f MiB and %.1f MiB are there",
                        n_bytes / 1048576, limit / 1048576);
}
