/* trace.h: the record of a run as lines of JSON (--trace): a header, one line per step, a summary.
 * Written beside the target and renamed at the end, so that an earlier trace survives a run that
 * fails. */
#ifndef LACUNA_TOOLS_TRACE_H
#define LACUNA_TOOLS_TRACE_H

#include "picture/trace_masks.h"

typedef struct trace trace;

/* Says whether `path` can be written, without changing it. EXIT_OK, or EXIT_RUN after a message. */
int trace_check(const char *path);

/* Starts a trace. `path` must outlive it. EXIT_OK, or an exit code after a message. */
int trace_open(trace **out, const char *path);

/* The line under construction; a caller adds members between begin and end. */
json_out *trace_begin_line(trace *t, const char *type);
void trace_end_line(trace *t);

void trace_step(trace *t, const lac_step *step);

/* Plans: opened once, for a model of so many layers and heads; then a line each. */
int trace_open_plans(trace *t, int n_layers, int n_heads);
void trace_plan(trace *t, const lac_plan_view *plan);

/* Renames the finished trace into place, or drops it when `keep` is false, and frees. EXIT_OK, or
 * EXIT_RUN after a message when anything was lost. NULL allowed. */
int trace_close(trace *t, bool keep);

#endif
