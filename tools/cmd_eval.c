/* cmd_eval.c: `lacuna eval`. Samples are made, or read, one after the other; each is run under
 * every policy, dense first; rows are counted when all are done. Whatever can be refused is refused
 * with the model's card alone. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/machine.h"
#include "base/rng.h"
#include "commands.h"
#include "eval/eval_data.h"
#include "eval/eval_options.h"
#include "run/prompt.h"
#include "run/run_options.h"
#include "shell/console.h"
#include "shell/interrupt.h"
#include "shell/out_file.h"

/* Zeroed is valid; eval_end frees what there is. */
typedef struct {
    eval_options opt;
    args_store store;
    input_text haystack; /* of --haystack */
    eval_data data;
    lac_model *card, *model;
    lac_model_info info;
    eval_records records;
    eval_run *run;
    eval_sample sample;
    eval_canvas canvas;
    eval_text output;
    int n_ctx; /* longest canvas */
    size_t n_jobs, n_skipped;
    double begin, shown; /* seconds */
    bool show;           /* the line that is updated in place */
} eval_state;

/* One sample to run. */
typedef struct {
    const eval_task *task;
    eval_datum *datum; /* NULL = to be made */
    eval_request request;
} job;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ samples */

static eval_haystack haystack_of(const eval_state *s)
{
    if (!s->opt.haystack) return eval_haystack_builtin();
    return (eval_haystack){ s->haystack.data, s->haystack.n, false };
}

/* The i-th sample: tasks outermost, then lengths, depths, samples. */
static job job_at(const eval_state *s, size_t i)
{
    const eval_options *o = &s->opt;
    if (o->data) {
        eval_datum *d = &s->data.all[i];
        return (job){ &d->task, d, { .ctx = d->ctx, .index = d->index, .depth = EVAL_STRATIFIED } };
    }
    job j = { .request = { .seed = o->generate.seed, .haystack = haystack_of(s) } };
    j.request.index = (int)(i % (size_t)o->samples);
    i /= (size_t)o->samples;
    j.request.depth = o->depths[i % o->n_depths];
    i /= o->n_depths;
    j.request.ctx = o->ctx[i % o->n_ctx];
    j.task = o->tasks[i / o->n_ctx];
    return j;
}

/* The sample of a job, made into s->sample or read from the file, and its canvas. */
static int take_sample(eval_state *s, const lac_model *model, const job *j,
                       const eval_sample **sample)
{
    const eval_encoding how = { model, s->opt.chat_template, s->opt.gen_tokens };
    int n_response = 0;
    if (!j->datum) {
        *sample = &s->sample;
        return eval_canvas_fit(&s->canvas, &s->sample, &how, j->task, &j->request);
    }
    *sample = &j->datum->sample;
    int code = eval_canvas_response(&n_response, &how, j->task, *sample);
    if (!code) code = eval_canvas_encode(&s->canvas, &how, *sample, n_response);
    return code;
}

/* Longer samples than the model's context need a flag that makes room for them. */
static int check_lengths(const eval_state *s)
{
    if (s->n_ctx > s->info.n_ctx && !model_flags_rope(&s->opt.files))
        return console_fail(EXIT_USAGE,
                            "%s %d positions, the model has %d; --rope-scale or --rope-freq-base "
                            "allows more",
                            s->opt.data ? "--data: a sample takes" : "--ctx asks for", s->n_ctx,
                            s->info.n_ctx);
    if (s->opt.quiet) return EXIT_OK;
    if (s->n_ctx > s->info.n_ctx)
        console_warn("%d positions are more than the %d of the model; expect worse answers",
                     s->n_ctx, s->info.n_ctx);
    else if (s->n_ctx > s->info.n_ctx_train)
        console_warn("%d positions are more than the %d the model was trained on; expect worse "
                     "answers",
                     s->n_ctx, s->info.n_ctx_train);
    return EXIT_OK;
}

/* Lengths of samples from a file, where it does not say: that of the longest. */
static int measure_data(eval_state *s)
{
    const eval_sample *sample;
    int longest = 0;
    s->n_jobs = s->data.n;
    for (size_t i = 0; i < s->n_jobs; i++) {
        const job j = job_at(s, i);
        const int code = take_sample(s, s->card, &j, &sample);
        if (code) return code;
        if ((int)s->canvas.n > longest) longest = (int)s->canvas.n;
    }
    for (size_t i = 0; i < s->n_jobs; i++)
        if (!s->data.all[i].ctx) s->data.all[i].ctx = longest;
    s->n_ctx = longest;
    return check_lengths(s);
}

/* Makes the first sample of every cell: what is too small or too short is found before anything
 * runs. */
static int try_cells(eval_state *s)
{
    const eval_options *o = &s->opt;
    const eval_sample *sample;
    const size_t samples = (size_t)o->samples;
    s->n_jobs = o->n_tasks * o->n_ctx * o->n_depths * samples;
    for (size_t i = 0; i < o->n_ctx; i++)
        if (o->ctx[i] > s->n_ctx) s->n_ctx = o->ctx[i];
    int code = check_lengths(s);
    for (size_t i = 0; i < s->n_jobs && !code; i += samples * o->n_depths) {
        const job j = job_at(s, i);
        code = take_sample(s, s->card, &j, &sample);
    }
    return code;
}

static int write_samples(eval_state *s, FILE *out)
{
    const eval_sample *sample;
    int code = EXIT_OK;
    for (size_t i = 0; i < s->n_jobs && !code; i++) {
        const job j = job_at(s, i);
        code = take_sample(s, s->card, &j, &sample);
        if (!code && sample->suffix.n)
            code = console_fail(EXIT_USAGE,
                                "--export: the answer of %s stands inside the text, which RULER's "
                                "files cannot say",
                                j.task->name);
        if (!code && !eval_data_write(out, j.task, &j.request, sample, &s->canvas))
            code = console_fail(EXIT_MEMORY, "out of memory for a sample");
    }
    return code;
}

static int export_samples(eval_state *s)
{
    out_file out = { .file = NULL };
    int code;
    if (!strcmp(s->opt.export_path, "-")) {
        code = write_samples(s, stdout);
        return code ? code : console_flush_stdout();
    }
    code = out_file_open(&out, s->opt.export_path, "samples");
    if (code) return code;
    code = write_samples(s, out.file);
    const int closed = out_file_close(&out, !code, true);
    return code ? code : closed;
}

/* ------------------------------------------------------------------ setting out */

static uint64_t hash_of(const char *data, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++)
        hash = laci_rng_mix(hash ^ (unsigned char)data[i]);
    return hash;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

enum { N_SETTINGS = 9 };

/* What a record depends on beside its own task, length, depth, index and policy. */
static void settings_of(const eval_state *s, eval_setting out[N_SETTINGS])
{
    const eval_options *o = &s->opt;
    const lac_generate_options *g = &o->generate;
    const size_t size = sizeof out->value;
    static const char *const flags[N_SETTINGS] = {
        "model",      "dtype",         "seed",     "steps",         "block-length",
        "gen-tokens", "chat-template", "haystack", "sparse-options"
    };
    for (size_t i = 0; i < N_SETTINGS; i++)
        out[i].flag = flags[i];
    snprintf(out[0].value, size, "%.60s, %" PRIu64 " parameters in %" PRIu64 " bytes",
             base_name(o->model), s->info.n_params, s->info.file_bytes);
    const size_t n_model = strlen(out[0].value);
    if (model_flags_rope(&o->files))
        snprintf(out[0].value + n_model, size - n_model, ", rotation base %g, scale %g",
                 s->info.rope_base, s->info.rope_scale);
    snprintf(out[1].value, size, "%s", dtype_name(s->info.dtype));
    snprintf(out[2].value, size, "%" PRIu64, g->seed);
    if (g->block_steps)
        snprintf(out[3].value, size, "%d a block", g->block_steps);
    else
        snprintf(out[3].value, size, g->steps ? "%d" : "default", g->steps);
    snprintf(out[4].value, size, g->block_length ? "%d" : "default", g->block_length);
    snprintf(out[5].value, size, o->gen_tokens ? "%d" : "default", o->gen_tokens);
    snprintf(out[6].value, size, "%s", o->chat_template ? o->chat_template : "auto");
    snprintf(out[8].value, size, "%.*s", (int)size - 1, o->knobs);
    const eval_haystack hay = haystack_of(s);
    uint64_t hash = hash_of(hay.data, hay.n);
    for (size_t i = 0; i < s->data.n; i++)
        hash ^= hash_of(s->data.all[i].sample.prompt.data, s->data.all[i].sample.prompt.n);
    const char *name = o->data ? o->data : o->haystack;
    snprintf(out[7].value, size, "%.80s, %016" PRIx64, name ? base_name(name) : "built-in", hash);
}

/* Positions of a session: a block-wise model denoises its last block whole, where it has room. */
static int room_of(const eval_state *s)
{
    const int block = s->info.block_size ? s->info.block_size : 1;
    const int room = (s->n_ctx + block - 1) / block * block;
    const int most = s->n_ctx > s->info.n_ctx ? s->n_ctx : s->info.n_ctx;
    return room < most ? room : most;
}

static eval_run_options run_options_of(const eval_state *s)
{
    return (eval_run_options){ .model = s->model,
                               .n_ctx = room_of(s),
                               .allow_longer = s->n_ctx > s->info.n_ctx,
                               .n_threads = s->opt.n_threads,
                               .generate = s->opt.generate,
                               .policies = s->opt.policies,
                               .n_policies = s->opt.n_policies,
                               .sparse = s->opt.sparse };
}

/* Weights once, a session for each policy. Finds policies that do not exist too. */
static int check_memory(const eval_state *s)
{
    const eval_run_options run = run_options_of(s);
    uint64_t need = 0;
    for (size_t p = 0; p < run.n_policies; p++) {
        lac_error err = { .message = "" };
        lac_memory_plan plan;
        const lac_session_options room = eval_run_room(&run, p);
        const lac_status st = lac_session_plan_memory(s->card, &room, &plan, &err);
        if (st)
            return console_fail_status(st, &err) == EXIT_MODEL ? EXIT_USAGE : console_exit_code(st);
        need += p ? plan.bytes_kv + plan.bytes_workspace : plan.bytes_total;
    }
    const uint64_t limit = s->opt.max_memory ? s->opt.max_memory : laci_machine_memory();
    if (need <= limit) return EXIT_OK;
    return console_fail(EXIT_MEMORY,
                        "%zu policies at %d tokens would take %.1f MiB and %.1f MiB are allowed; a "
                        "shorter --ctx or --sparse takes less",
                        run.n_policies, s->n_ctx, (double)need / 1048576, (double)limit / 1048576);
}

/* What may be hidden in: text. A NUL byte would end it for the chat templates. */
static int read_haystack(eval_state *s)
{
    input_text *const hay = &s->haystack;
    const int code = input_read_text(hay, s->opt.haystack);
    if (code) return code;
    if (!hay->n) return console_fail(EXIT_USAGE, "--haystack: %s is empty", s->opt.haystack);
    const char *nul = memchr(hay->data, 0, hay->n);
    if (!nul) return EXIT_OK;
    return console_fail(EXIT_USAGE, "--haystack: %s is no text: byte %td of %zu is NUL",
                        s->opt.haystack, nul - hay->data, hay->n);
}

/* With a template named, the files' does not matter. */
static unsigned idle_topics(const eval_state *s)
{
    return s->opt.chat_template ? 1u << LAC_WARNING_TEMPLATE : 0;
}

static int prepare(eval_state *s)
{
    lac_model_options card = { .dtype = s->opt.dtype,
                               .n_threads = s->opt.n_threads,
                               .card_only = true };
    lac_error err = { .message = "" };
    int code = model_flags_read(&s->opt.files, &card);
    if (code != ARGS_GO_ON) return code;
    code = s->opt.haystack ? read_haystack(s) : EXIT_OK;
    if (!code && s->opt.data) code = eval_data_read(&s->data, s->opt.data);
    if (!code) code = console_open_model(&s->card, s->opt.model, &card);
    if (code) return code;
    const lac_status st = lac_model_get_info(s->card, &s->info, &err);
    if (st) return console_fail_status(st, &err);
    console_warn_model(s->card, NULL, idle_topics(s));
    steps_settle(s->opt.denoising_steps, &s->info, &s->opt.generate);
    code = s->opt.data ? measure_data(s) : try_cells(s);
    if (!code && !s->opt.export_path) code = check_memory(s);
    return code;
}

static int open_run(eval_state *s)
{
    eval_setting settings[N_SETTINGS];
    lac_model_options how = { .dtype = s->opt.dtype, .n_threads = s->opt.n_threads };
    (void)model_flags_read(&s->opt.files, &how); /* read before, with the card */
    settings_of(s, settings);
    int code = s->opt.svg ? out_file_check(s->opt.svg, "chart") : EXIT_OK;
    if (!code) code = console_open_model(&s->model, s->opt.model, &how);
    if (code) return code;
    console_warn_model(s->model, s->card, idle_topics(s));
    const eval_run_options run = run_options_of(s);
    code = eval_run_open(&s->run, &run);
    if (code) return code;
    return eval_records_open(&s->records, s->opt.out, s->opt.resume, settings, N_SETTINGS);
}

/* ------------------------------------------------------------------ running */

static void clear_progress(eval_state *s)
{
    if (s->show && s->shown > 0) fputs("\r\x1b[K", stderr);
}

/* In place on a terminal, ten times a second at most; elsewhere a line as each cell ends. */
static void show_progress(eval_state *s, size_t done)
{
    const job j = job_at(s, done - 1);
    const double t = now(), run = (double)(done - s->n_skipped);
    if (s->show && (t - s->shown > 0.1 || done == s->n_jobs)) {
        const double left = run > 0 ? (t - s->begin) / run * (double)(s->n_jobs - done) : 0;
        fprintf(stderr, "\r%s at %d tokens: %zu of %zu samples, %.0f s left\x1b[K", j.task->name,
                j.request.ctx, done, s->n_jobs, left);
        fflush(stderr);
        s->shown = t;
    }
    if (s->show || s->opt.quiet || s->opt.data) return;
    if (done % ((size_t)s->opt.samples * s->opt.n_depths) == 0)
        console_note("%s at %d tokens: done, %zu of %zu samples", j.task->name, j.request.ctx, done,
                     s->n_jobs);
}

static bool is_known(const eval_state *s, const eval_record *like)
{
    return eval_records_find(&s->records, like) != NULL;
}

/* Every policy of one job that is not in the records yet. */
static int run_job(eval_state *s, const job *j)
{
    const eval_options *o = &s->opt;
    eval_record record = { .ctx = j->request.ctx,
                           .index = j->request.index,
                           .depth = j->request.depth };
    const eval_sample *sample;
    size_t last = o->n_policies; /* one past the last policy that is missing */
    snprintf(record.task, sizeof record.task, "%s", j->task->name);
    while (last > 0) {
        snprintf(record.policy, sizeof record.policy, "%s", o->policies[last - 1]);
        if (!is_known(s, &record)) break;
        last--;
    }
    if (!last) return s->n_skipped++, EXIT_OK;
    int code = take_sample(s, s->model, j, &sample);
    if (!code) eval_run_sample(s->run, j->task, sample, &s->canvas);
    for (size_t p = 0; p < last && !code; p++) {
        snprintf(record.policy, sizeof record.policy, "%s", o->policies[p]);
        const bool known = is_known(s, &record);
        if (known && p > 0) continue; /* the dense run is needed to compare with */
        code = eval_run_policy(s->run, p, &record.figures, &s->output, &record.has_failed);
        if (!code && !known)
            code = eval_records_add(&s->records, &record, sample, &s->canvas, &s->output);
    }
    return code;
}

static int run_all(eval_state *s)
{
    int code = EXIT_OK;
    size_t done = 0;
    s->begin = now();
    s->show = !s->opt.quiet && console_is_tty(stderr);
    interrupt_cooperate(true);
    for (; done < s->n_jobs && !code; done++) {
        const job j = job_at(s, done);
        code = run_job(s, &j);
        if (!code) show_progress(s, done + 1);
        if (!code && interrupt_signal()) code = 128 + interrupt_signal();
    }
    interrupt_cooperate(false);
    clear_progress(s);
    const int closed = eval_records_close(&s->records);
    if (code > 128 && s->opt.out)
        console_note("stopped after %zu of %zu samples; --resume --out %s goes on", done - 1,
                     s->n_jobs, s->opt.out);
    return code ? code : closed;
}

/* ------------------------------------------------------------------ rows */

static void add_number(int *list, size_t *n, int value)
{
    for (size_t i = 0; i < *n; i++)
        if (list[i] == value) return;
    list[(*n)++] = value;
}

static void add_name(const char **list, size_t *n, const char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(list[i], name)) return;
    list[(*n)++] = name;
}

static int write_rows(eval_state *s, const eval_grid *grid)
{
    eval_table table = { .n = 0 };
    int code = eval_table_make(&table, grid, &s->records);
    if (!code) code = eval_table_write(&table, s->opt.format, stdout);
    if (!code) code = console_flush_stdout();
    if (!code && s->opt.svg) code = eval_chart_write(&table, s->opt.svg);
    eval_table_free(&table);
    return code;
}

static int report(eval_state *s)
{
    const eval_options *o = &s->opt;
    const size_t n = o->data ? s->data.n : EVAL_MAX_TASKS + EVAL_MAX_LIST;
    const char **tasks = malloc(n * sizeof *tasks);
    int *ctx = malloc(n * sizeof *ctx);
    eval_grid grid = { .tasks = tasks,
                       .policies = o->policies,
                       .n_policies = o->n_policies,
                       .ctx = ctx,
                       .depths = o->data ? (const int[]){ EVAL_STRATIFIED } : o->depths,
                       .n_depths = o->data ? 1 : o->n_depths,
                       .samples = o->data ? (int)s->data.n : o->samples,
                       .seed = o->generate.seed };
    int code = EXIT_OK;
    if (!tasks || !ctx) {
        code = console_fail(EXIT_MEMORY, "out of memory for the rows");
    } else {
        for (size_t i = 0; o->data && i < s->data.n; i++) {
            add_name(tasks, &grid.n_tasks, s->data.all[i].name);
            add_number(ctx, &grid.n_ctx, s->data.all[i].ctx);
        }
        for (size_t i = 0; !o->data && i < o->n_tasks; i++)
            add_name(tasks, &grid.n_tasks, o->tasks[i]->name);
        for (size_t i = 0; !o->data && i < o->n_ctx; i++)
            add_number(ctx, &grid.n_ctx, o->ctx[i]);
        code = write_rows(s, &grid);
    }
    free(tasks);
    free(ctx);
    return code;
}

/* Runs that failed, in this call or the one it goes on with, are no success. */
static int count_failed(const eval_state *s)
{
    size_t n_failed = 0;
    for (size_t i = 0; i < s->records.n; i++)
        n_failed += s->records.all[i].has_failed;
    if (!n_failed) return EXIT_OK;
    return console_fail(EXIT_RUN, "%zu of %zu runs failed: their logits are not finite", n_failed,
                        s->records.n);
}

static void eval_end(eval_state *s)
{
    eval_run_close(s->run);
    lac_model_close(s->model);
    lac_model_close(s->card);
    eval_records_free(&s->records);
    eval_data_free(&s->data);
    eval_sample_free(&s->sample);
    eval_canvas_free(&s->canvas);
    eval_text_free(&s->output);
    input_free(&s->haystack);
    args_free(&s->store);
}

int cmd_eval(int argc, char **argv)
{
    eval_state s = { .n_ctx = 0 };
    int code = eval_options_parse(&s.opt, &s.store, argc, argv);
    if (code != ARGS_GO_ON) {
        args_free(&s.store);
        return code;
    }
    interrupt_install();
    code = prepare(&s);
    if (!code && s.opt.export_path) {
        code = export_samples(&s);
    } else if (!code) {
        code = open_run(&s);
        if (!code) code = run_all(&s);
        if (!code) code = report(&s);
        if (!code) code = count_failed(&s);
    }
    eval_end(&s);
    return code;
}
