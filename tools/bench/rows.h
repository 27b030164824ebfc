/* rows.h: results of benchmarks: rows of named values, printed as JSON or CSV line by line, or at
 * the end as a Markdown table. Every row begins with the same keys, in this order:
 *
 *   test ctx n_q n_heads n_kv_heads d_head dtype threads isa block density policy seconds_best
 *   seconds_median gflops peak_gflops peak_share vs_dense rel_l2 max_abs
 *
 * A value that has no meaning for a row is null (JSON) or empty. Further keys follow. */
#ifndef LACUNA_BENCH_ROWS_H
#define LACUNA_BENCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/measure.h"

enum { MAX_FIELDS = 64 };

typedef struct {
    const char *key; /* static */
    enum { FIELD_NONE, FIELD_TEXT, FIELD_COUNT, FIELD_REAL } kind;
    const char *text; /* static */
    double number;
} row_field;

typedef struct {
    row_field fields[MAX_FIELDS];
    size_t n;
} bench_row;

/* Only the keys above, all without a value but `test`, and `isa`: the level of the kernels in use.
 */
bench_row row_of(const char *test);

/* Sets a value; a new key goes to the end. NaN is no value. */
void row_text(bench_row *row, const char *key, const char *text);
void row_count(bench_row *row, const char *key, size_t value);
void row_real(bench_row *row, const char *key, double value);
/* A key without a value, so that rows of one table have the same keys. */
void row_none(bench_row *row, const char *key);

/* seconds_best and seconds_median, then seconds_max, spread (of max and best, over the median),
 * cpu_seconds and repeats. */
void row_time(bench_row *row, const samples *s);
/* gflops (of the best repeat), peak_gflops, peak_share, then peak_unit. */
void row_speed(bench_row *row, const samples *s, double flops, double peak_gflops,
               const char *peak_unit);

typedef enum { ROWS_TABLE, ROWS_JSON, ROWS_CSV } rows_format;

/* Zeroed is an empty table. */
typedef struct {
    rows_format format;
    bench_row *rows; /* owned; of ROWS_TABLE only */
    size_t n;
    bool failed; /* out of memory */
} rows_out;

void rows_add(rows_out *out, const bench_row *row);
/* Prints what is left, frees the rows. Returns an exit code. */
int rows_end(rows_out *out);

#endif
