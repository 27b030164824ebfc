/* report.c: rates, the summary line, the JSON object, the progress line. */
#define _POSIX_C_SOURCE 200809L
#include "run/report.h"

#include "shell/console.h"
#include "shell/json_out.h"
#include <string.h>
#include <time.h>

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

report_rates report_get_rates(const report_run *run)
{
    const lac_result *r = run->result;
    double seconds = r->seconds - run->seconds_outside;
    if (seconds < r->seconds_forward) seconds = r->seconds_forward;
    return (report_rates){
        .tokens_per_forward = ratio(run->n_fixed, r->forwards),
        .ms_per_step = 1e3 * ratio(seconds, r->steps),
        .delivered = ratio((double)r->n_ids, seconds),
        .in_step = ratio(run->n_fixed, r->seconds_forward),
        .seconds = seconds,
    };
}

const char *report_model_name(const run_options *opt, const lac_model_info *info)
{
    if (info->name[0]) return info->name;
    const char *slash = strrchr(opt->model, '/');
    return slash && slash[1] ? slash + 1 : opt->model;
}

const char *report_finish_name(lac_finish finish)
{
    return finish == LAC_FINISH_STOP     ? "stop"
           : finish == LAC_FINISH_LENGTH ? "length"
                                         : "cancelled";
}

void report_summary(const report_run *run)
{
    const report_rates rates = report_get_rates(run);
    const lac_result *r = run->result;
    console_note("%s (%s, %s, %d thread%s), %s, %d block%s of %d, %d step%s, sparse %s (%s); "
                 "%zu tokens, %s, %.3g s: %.2f tokens/forward, %.3g ms/step, %.4g tokens/s "
                 "delivered, %.4g in-step",
                 report_model_name(run->opt, run->info), run->info->architecture,
                 dtype_name(run->info->dtype), run->n_threads, run->n_threads == 1 ? "" : "s",
                 lac_algorithm_name(run->resolved->algorithm), run->n_blocks,
                 run->n_blocks == 1 ? "" : "s", run->resolved->block_length, r->steps,
                 r->steps == 1 ? "" : "s", run->sparse, run->sparse_reason, r->n_ids,
                 report_finish_name(r->finish), rates.seconds, rates.tokens_per_forward,
                 rates.ms_per_step, rates.delivered, rates.in_step);
}

/* ------------------------------------------------------------------ JSON */

static void put_named_int(json_out *j, const char *key, int64_t value)
{
    json_key(j, key);
    json_int(j, value);
}

static void put_named_double(json_out *j, const char *key, double value)
{
    json_key(j, key);
    json_double(j, value);
}

static void put_named_string(json_out *j, const char *key, const char *value)
{
    json_key(j, key);
    json_string(j, value);
}

static void put_ids(json_out *j, const char *key, const int32_t *ids, size_t n)
{
    json_key(j, key);
    json_begin_array(j);
    for (size_t i = 0; i < n; i++)
        json_int(j, ids[i]);
    json_end_array(j);
}

static void put_result(json_out *j, const report_run *run)
{
    const lac_result *r = run->result;
    const report_rates rates = report_get_rates(run);
    json_key(j, "text");
    json_text(j, run->text, run->n_text);
    put_ids(j, "ids", r->ids, r->n_ids);
    put_ids(j, "step_map", r->step_map, r->n_ids);
    json_key(j, "logprobs");
    json_begin_array(j);
    for (size_t i = 0; i < r->n_ids; i++)
        json_float(j, r->logprobs[i]);
    json_end_array(j);
    put_named_string(j, "finish_reason", report_finish_name(r->finish));
    put_named_int(j, "steps", r->steps);
    put_named_double(j, "tokens_per_forward", rates.tokens_per_forward);
    put_named_double(j, "ms_per_step", rates.ms_per_step);
    put_named_string(j, "sparse", run->sparse);
    json_key(j, "seed");
    json_uint(j, run->resolved->seed);
    put_named_int(j, "forwards", r->forwards);
    put_named_double(j, "seconds", rates.seconds);
    put_named_double(j, "density", r->density);
    put_named_double(j, "kept_mass", r->kept_mass);
    if (run->info->mask != LAC_MASK_BLOCK_CAUSAL) return;
    put_named_double(j, "union_inflation", r->union_inflation);
    put_named_double(j, "n_active", r->n_active);
    json_key(j, "bytes_read");
    json_uint(j, r->bytes_read);
    put_named_double(j, "seconds_prefill", r->seconds_prefill);
}

int report_json(const report_run *run)
{
    json_out out = { .data = NULL };
    json_out *j = &out;
    json_begin_object(j);
    put_result(j, run);
    put_named_string(j, "model", report_model_name(run->opt, run->info));
    put_named_string(j, "family", run->info->architecture);
    put_named_string(j, "algorithm", lac_algorithm_name(run->resolved->algorithm));
    put_named_int(j, "block_length", run->resolved->block_length);
    put_named_int(j, "n_prompt", (int64_t)(run->prompt->n - run->prompt->n_holes));
    put_named_int(j, "n_ctx", run->n_ctx);
    put_named_string(j, "dtype", dtype_name(run->info->dtype));
    put_named_int(j, "threads", run->n_threads);
    if (run->canvas) {
        json_key(j, "canvas_text");
        json_text(j, run->canvas, run->n_canvas);
    }
    json_end_object(j);
    const bool sound = json_write_line(j, stdout);
    json_free(j);
    return sound ? EXIT_OK : console_fail(EXIT_MEMORY, "out of memory for the JSON output");
}

/* ------------------------------------------------------------------ progress */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void report_progress_step(report_progress *p, const lac_step *step)
{
    const double time = now();
    if (p->n_holes == 0) {
        p->n_holes = step->n_fixed + step->n_left;
        p->begin = time - step->seconds;
    }
    if (time - p->last < 0.1) return;
    p->last = time;
    p->shown = true;
    const int done = p->n_holes - step->n_left;
    const double elapsed = time - p->begin;
    const double left = elapsed / (step->step + 1) * (step->n_steps - step->step - 1);
    fprintf(stderr, "\rstep %d/%d  fixed %d/%d  %.1f tokens/s  %d:%02d left\x1b[K", step->step + 1,
            step->n_steps, done, p->n_holes, ratio(done, elapsed), (int)left / 60, (int)left % 60);
    fflush(stderr);
}

void report_progress_end(report_progress *p)
{
    if (p->shown) fputs("\r\x1b[K", stderr);
    p->shown = false;
}
