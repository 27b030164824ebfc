/* report.h: what a run tells its reader: progress while it runs, one line when it ends, or one
 * JSON object. Used by cmd_run.c. */
#ifndef LACUNA_TOOLS_REPORT_H
#define LACUNA_TOOLS_REPORT_H

#include "run/prompt.h"

/* Everything known about a finished run; pointers are borrowed. */
typedef struct {
    const run_options *opt;
    const lac_model_info *info;
    const prompt_ids *prompt;
    const lac_generate_options *resolved;
    const lac_result *result;
    const char *text;   /* generated tokens as text, [n_text] bytes */
    const char *canvas; /* the filled canvas; NULL without --canvas */
    size_t n_text, n_canvas;
    const char *sparse, *sparse_reason;
    int n_ctx, n_threads, n_blocks;
    int n_fixed;            /* positions filled, end tokens included */
    double seconds_outside; /* of result->seconds, spent in drawing and tracing */
} report_run;

/* Rates of a run. Delivered counts the tokens of the text over the whole time, in-step counts all
 * tokens fixed over the time inside forward passes. */
typedef struct {
    double tokens_per_forward, ms_per_step, delivered, in_step;
    double seconds;
} report_rates;
report_rates report_get_rates(const report_run *run);

const char *report_model_name(const run_options *opt, const lac_model_info *info);
const char *report_finish_name(lac_finish finish);

/* One line on stderr. */
void report_summary(const report_run *run);

/* The object of --json on stdout. EXIT_OK or an exit code. */
int report_json(const report_run *run);

/* The line that counts steps, updated in place; only for terminals. */
typedef struct {
    double begin, last; /* seconds */
    int n_holes;
    bool shown;
} report_progress;
void report_progress_step(report_progress *p, const lac_step *step);
void report_progress_end(report_progress *p);

#endif
