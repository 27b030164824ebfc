/* rows.c: see rows.h. */
#include "bench/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/isa.h"
#include "shell/console.h"
#include "shell/json_out.h"

static row_field *field_of(bench_row *row, const char *key)
{
    for (size_t i = 0; i < row->n; i++)
        if (!strcmp(row->fields[i].key, key)) return &row->fields[i];
    if (row->n < MAX_FIELDS) row->n++; /* the last one is overwritten should there ever be more */
    row->fields[row->n - 1] = (row_field){ .key = key };
    return &row->fields[row->n - 1];
}

bench_row row_of(const char *test)
{
    static const char *const keys[] = {
        "test",         "ctx",
        "n_q",          "n_heads",
        "n_kv_heads",   "d_head",
        "dtype",        "threads",
        "isa",          "block",
        "density",      "policy",
        "seconds_best", "seconds_median",
        "gflops",       "peak_gflops",
        "peak_share",   "vs_dense",
        "rel_l2",       "max_abs",
    };
    bench_row row = { .n = 0 };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        row_none(&row, keys[i]);
    row_text(&row, "test", test);
    row_text(&row, "isa", laci_isa_name(laci_isa_detect()));
    return row;
}

void row_text(bench_row *row, const char *key, const char *text)
{
    row_field *field = field_of(row, key);
    field->kind = FIELD_TEXT;
    field->text = text;
}

void row_count(bench_row *row, const char *key, size_t value)
{
    row_field *field = field_of(row, key);
    field->kind = FIELD_COUNT;
    field->number = (double)value;
}

void row_real(bench_row *row, const char *key, double value)
{
    row_field *field = field_of(row, key);
    field->kind = isfinite(value) ? FIELD_REAL : FIELD_NONE;
    field->number = value;
}

void row_none(bench_row *row, const char *key)
{
    field_of(row, key)->kind = FIELD_NONE;
}

void row_time(bench_row *row, const samples *s)
{
    row_real(row, "seconds_best", samples_best(s));
    row_real(row, "seconds_median", samples_median(s));
    row_real(row, "seconds_max", samples_worst(s));
    row_real(row, "spread", (samples_worst(s) - samples_best(s)) / samples_median(s));
    row_real(row, "cpu_seconds", samples_cpu(s));
    row_count(row, "repeats", s->n);
}

void row_speed(bench_row *row, const samples *s, double flops, double peak_gflops,
               const char *peak_unit)
{
    const double gflops = flops / samples_best(s) * 1e-9;
    row_real(row, "gflops", gflops);
    row_real(row, "peak_gflops", peak_gflops);
    row_real(row, "peak_share", gflops / peak_gflops);
    row_text(row, "peak_unit", peak_unit);
}

/* ------------------------------------------------------------------ text of a value */

enum { VALUE_TEXT = 64 };

/* Seven digits: more than any measurement means. */
static void value_text(const row_field *field, int digits, char out[VALUE_TEXT])
{
    out[0] = 0;
    if (field->kind == FIELD_TEXT) snprintf(out, VALUE_TEXT, "%s", field->text);
    if (field->kind == FIELD_COUNT) snprintf(out, VALUE_TEXT, "%.0f", field->number);
    if (field->kind == FIELD_REAL) snprintf(out, VALUE_TEXT, "%.*g", digits, field->number);
}

static void print_json(rows_out *out, const bench_row *row)
{
    char text[VALUE_TEXT];
    json_out j = { .data = NULL };
    json_begin_object(&j);
    for (size_t i = 0; i < row->n; i++) {
        const row_field *field = &row->fields[i];
        json_key(&j, field->key);
        value_text(field, 7, text);
        if (field->kind == FIELD_NONE || field->kind == FIELD_TEXT)
            json_string(&j, field->kind == FIELD_TEXT ? field->text : NULL);
        else
            json_double(&j, strtod(text, NULL));
    }
    json_end_object(&j);
    if (!json_write_line(&j, stdout)) out->failed = true;
    json_free(&j);
}

static void print_csv(const bench_row *row, bool with_header)
{
    char text[VALUE_TEXT];
    for (size_t i = 0; with_header && i < row->n; i++)
        printf("%s%s", i ? "," : "", row->fields[i].key);
    if (with_header) putchar('\n');
    for (size_t i = 0; i < row->n; i++) {
        value_text(&row->fields[i], 7, text);
        printf("%s%s", i ? "," : "", text);
    }
    putchar('\n');
}

void rows_add(rows_out *out, const bench_row *row)
{
    if (out->format == ROWS_JSON) print_json(out, row);
    if (out->format == ROWS_CSV) print_csv(row, out->n == 0);
    if (out->format == ROWS_TABLE) {
        bench_row *rows = realloc(out->rows, (out->n + 1) * sizeof *rows);
        if (rows) {
            out->rows = rows;
            out->rows[out->n] = *row;
        } else {
            out->failed = true;
            return;
        }
    }
    out->n++;
    fflush(stdout); /* a long list is read while it grows */
}

/* ------------------------------------------------------------------ the table */

/* Value of a key in a row, as text of the table; "" where there is none. */
static void cell_text(const bench_row *row, const char *key, char out[VALUE_TEXT])
{
    out[0] = 0;
    for (size_t i = 0; i < row->n; i++)
        if (!strcmp(row->fields[i].key, key)) value_text(&row->fields[i], 4, out);
}

/* Left to JSON and CSV, so that the table fits a screen. */
static bool is_for_machines(const char *key)
{
    static const char *const keys[] = {
        "test",          "seconds_best",       "seconds_max",        "cpu_seconds",
        "max_abs",       "peak_gflops",        "ms_attention_best",  "ms_step_best",
        "ms_step_dense", "ms_attention_dense", "ms_attention_first", "ms_step_first",
        "cache_bytes",   "policy_bytes",       "peak_memory_bytes",  "composed",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

/* Width of a column; 0 when it has no value. *is_constant: the same value in all of several rows.
 */
static int column_width(const rows_out *out, const char *key, bool *is_constant)
{
    char text[VALUE_TEXT], first[VALUE_TEXT];
    size_t widest = 0;
    *is_constant = out->n > 1;
    cell_text(&out->rows[0], key, first);
    for (size_t i = 0; i < out->n; i++) {
        cell_text(&out->rows[i], key, text);
        if (strlen(text) > widest) widest = strlen(text);
        if (strcmp(text, first) != 0) *is_constant = false;
    }
    if (!widest) return 0;
    return (int)(strlen(key) > widest ? strlen(key) : widest);
}

/* One line that names what all rows share. */
static void print_shared(const rows_out *out)
{
    char text[VALUE_TEXT];
    const bench_row *row = &out->rows[0];
    bool is_constant;
    cell_text(row, "test", text);
    printf("%s", text);
    for (size_t i = 0; i < row->n; i++) {
        const char *key = row->fields[i].key;
        if (is_for_machines(key) || !column_width(out, key, &is_constant) || !is_constant) continue;
        cell_text(row, key, text);
        printf(", %s %s", key, text);
    }
    printf("\n\n");
}

/* Line -1 is the head, line -2 the rule below it. */
static void print_line(const rows_out *out, int line)
{
    char text[VALUE_TEXT];
    const bench_row *row = &out->rows[0];
    for (size_t i = 0; i < row->n; i++) {
        const char *key = row->fields[i].key;
        bool is_constant;
        const int width = column_width(out, key, &is_constant);
        if (is_for_machines(key) || !width || is_constant) continue;
        if (line >= 0) cell_text(&out->rows[line], key, text);
        if (line == -2)
            printf("|%.*s:", width + 1, "------------------------------------------------------");
        else
            printf("| %*s ", width, line < 0 ? key : text);
    }
    printf("|\n");
}

/* A single row reads better downwards. */
static void print_single(const bench_row *row)
{
    char text[VALUE_TEXT];
    printf("| %-14s | %-14s |\n|:---------------|---------------:|\n", "key", "value");
    for (size_t i = 0; i < row->n; i++) {
        cell_text(row, row->fields[i].key, text);
        if (*text) printf("| %-14s | %14s |\n", row->fields[i].key, text);
    }
}

int rows_end(rows_out *out)
{
    if (out->format == ROWS_TABLE && out->n == 1) print_single(&out->rows[0]);
    if (out->format == ROWS_TABLE && out->n > 1) {
        print_shared(out);
        print_line(out, -1);
        print_line(out, -2);
        for (size_t i = 0; i < out->n; i++)
            print_line(out, (int)i);
    }
    const bool failed = out->failed;
    free(out->rows);
    *out = (rows_out){ .format = out->format };
    if (failed) return console_fail(EXIT_MEMORY, "out of memory for the results");
    return console_flush_stdout();
}
