/* trace.c: writing the trace. Write errors are looked for once, at the end: a full disk must not
 * stop a run whose text can still be printed. */
#include "run/trace.h"

#include "shell/console.h"
#include "shell/out_file.h"
#include <stdlib.h>

struct trace {
    out_file out;
    json_out line;
    trace_plans plans;
};

static void trace_free(trace *t)
{
    json_free(&t->line);
    trace_plans_free(&t->plans);
    free(t);
}

int trace_check(const char *path)
{
    return out_file_check(path, "trace");
}

int trace_open(trace **out, const char *path)
{
    trace *t = calloc(1, sizeof *t);
    if (!t) return console_fail(EXIT_MEMORY, "out of memory for the trace");
    const int code = out_file_open(&t->out, path, "trace");
    if (code) {
        trace_free(t);
        return code;
    }
    *out = t;
    return EXIT_OK;
}

int trace_open_plans(trace *t, int n_layers, int n_heads)
{
    if (trace_plans_open(&t->plans, n_layers, n_heads)) return EXIT_OK;
    return console_fail(EXIT_MEMORY, "out of memory for the trace");
}

json_out *trace_begin_line(trace *t, const char *type)
{
    json_begin_object(&t->line);
    json_key(&t->line, "type");
    json_string(&t->line, type);
    return &t->line;
}

void trace_end_line(trace *t)
{
    json_end_object(&t->line);
    json_write_line(&t->line, t->out.file);
}

static void put_token(json_out *j, int position, int32_t id, float confidence)
{
    json_begin_object(j);
    json_key(j, "pos");
    json_int(j, position);
    json_key(j, "id");
    json_int(j, id);
    json_key(j, "conf");
    json_float(j, confidence);
    json_end_object(j);
}

/* What was read behind a key cache. */
static void put_cache(json_out *j, const lac_step *step)
{
    json_key(j, "union_inflation");
    json_double(j, step->union_inflation);
    json_key(j, "n_active");
    json_double(j, step->n_active);
    json_key(j, "bytes_read");
    json_uint(j, step->bytes_read);
}

void trace_step(trace *t, const lac_step *step)
{
    json_out *j = trace_begin_line(t, "step");
    json_key(j, "step");
    json_int(j, step->step);
    json_key(j, "block");
    json_int(j, step->block);
    json_key(j, "span");
    json_begin_array(j);
    json_int(j, step->block_begin);
    json_int(j, step->block_end);
    json_end_array(j);
    json_key(j, "n_fixed");
    json_int(j, step->n_fixed);
    json_key(j, "n_left");
    json_int(j, step->n_left);
    json_key(j, "fixed");
    json_begin_array(j);
    for (int p = 0; p < step->n_canvas; p++)
        if (step->canvas[p] != LAC_HOLE && step->step_map[p] == step->step)
            put_token(j, p, step->canvas[p], step->confidence[p]);
    json_end_array(j);
    json_key(j, "open");
    json_begin_array(j);
    for (int p = 0; p < step->n_canvas; p++)
        if (step->canvas[p] == LAC_HOLE && step->candidate[p] >= 0)
            put_token(j, p, step->candidate[p], step->confidence[p]);
    json_end_array(j);
    json_key(j, "ms");
    json_double(j, 1e3 * step->seconds);
    json_key(j, "density");
    json_double(j, step->density);
    if (step->bytes_read) put_cache(j, step);
    trace_end_line(t);
}

void trace_plan(trace *t, const lac_plan_view *plan)
{
    trace_plan_put(&t->plans, trace_begin_line(t, "plan"), plan);
    trace_end_line(t);
}

int trace_close(trace *t, bool keep)
{
    if (!t) return EXIT_OK;
    const int code = out_file_close(&t->out, keep, !t->line.failed);
    trace_free(t);
    return code;
}
