/* eval_report.h: from records to rows, one per task, length, depth and policy, and the rows as a
 * table for people, markdown, CSV, JSON lines or a chart. */
#ifndef LACUNA_TOOLS_EVAL_REPORT_H
#define LACUNA_TOOLS_EVAL_REPORT_H

#include <stdio.h>

#include "eval/eval_record.h"
#include "eval/eval_score.h"

typedef struct {
    const char *task, *policy;
    int ctx, depth, samples;
    eval_figures mean;  /* kl_worst is the largest */
    eval_paired paired; /* score against dense on the same samples; n_up wins, n_down losses */
} eval_row;

typedef struct {
    eval_row *rows; /* [n] */
    size_t n;
} eval_table;

/* What the rows range over. */
typedef struct {
    const char *const *tasks, *const *policies; /* policies[0] is dense */
    size_t n_tasks, n_policies;
    const int *ctx, *depths;
    size_t n_ctx, n_depths;
    int samples;
    uint64_t seed; /* of the bootstrap */
} eval_grid;

/* EXIT_OK or an exit code after a message. Strings are borrowed from the grid. */
int eval_table_make(eval_table *out, const eval_grid *grid, const eval_records *records);
void eval_table_free(eval_table *table);

typedef enum { EVAL_TABLE, EVAL_MARKDOWN, EVAL_CSV, EVAL_JSON } eval_format;
int eval_table_write(const eval_table *table, eval_format format, FILE *out);

/* Score over length, a panel per task, a line per policy, as SVG. */
int eval_chart_write(const eval_table *table, const char *path);

#endif
