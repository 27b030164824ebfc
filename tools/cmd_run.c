/* cmd_run.c: `lacuna run`. Everything that can be refused is refused with the model's card alone,
 * before weights are loaded; then one session, one generation, and what came out of it. */
#define _POSIX_C_SOURCE 200809L
#include "base/machine.h"
#include "commands.h"
#include "picture/cache_view.h"
#include "picture/masks_out.h"
#include "run/canvas_view.h"
#include "run/report.h"
#include "run/trace.h"
#include "shell/console.h"
#include "shell/interrupt.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One run from flags to result. Zeroed is valid; run_end frees what there is. */
typedef struct {
    run_options opt;
    args_store store;
    prompt_texts texts;
    prompt_ids prompt;
    lac_model *card, *model; /* card: without weights, closed once the weights are there */
    lac_model_info info;
    lac_memory_plan plan;
    lac_session *session;
    lac_generate_options generate; /* resolved */
    int n_ctx;
    canvas_view *view;
    trace *trace;
    masks masks;      /* of --masks */
    cache_view cache; /* in its place, of a block-wise model */
    lac_error masks_error;
    report_progress progress;
    bool show_progress;
    int n_fixed, n_blocks;
    double seconds_outside;
    char *text, *canvas; /* what was generated, and the filled canvas */
    size_t n_text, n_canvas;
} run_state;

/* ------------------------------------------------------------------ before the weights */

static int check_context(run_state *s)
{
    const size_t n_new = (size_t)s->generate.n_tokens;
    const size_t n_prompt = s->prompt.n;
    const int limit = s->opt.n_ctx ? s->opt.n_ctx : s->info.n_ctx;
    if (n_prompt + n_new > (size_t)limit)
        return console_fail(EXIT_USAGE,
                            "the prompt of %zu tokens and %zu new ones do not fit into a context "
                            "of %d%s",
                            n_prompt, n_new, limit,
                            s->opt.n_ctx ? "" : "; a larger --ctx-size allows more");
    size_t n_ctx = n_prompt + n_new;
    if (s->info.block_size > 0) { /* room for whole blocks */
        const size_t block = (size_t)s->info.block_size;
        n_ctx = (n_ctx + block - 1) / block * block;
    }
    s->n_ctx = s->opt.n_ctx ? s->opt.n_ctx : n_ctx < (size_t)limit ? (int)n_ctx : limit;
    if (s->opt.quiet) return EXIT_OK;
    if (s->n_ctx > s->info.n_ctx)
        console_warn("a context of %d is more than the %d positions of the model; expect worse "
                     "answers%s",
                     s->n_ctx, s->info.n_ctx,
                     model_flags_rope(&s->opt.files) ? ""
                                                     : ", or set --rope-scale or --rope-freq-base");
    else if (n_prompt + n_new > (size_t)s->info.n_ctx_train)
        console_warn("%zu positions are more than the %d the model was trained on; expect worse "
                     "answers",
                     n_prompt + n_new, s->info.n_ctx_train);
    return EXIT_OK;
}

static lac_session_options session_options(const run_state *s)
{
    return (lac_session_options){ .n_ctx = s->n_ctx,
                                  .n_threads = s->opt.n_threads,
                                  .sparse = s->opt.sparse,
                                  .allow_longer = s->n_ctx > s->info.n_ctx,
                                  .quirks = s->generate.quirks };
}

/* Steps the run may take: more than it plans where what is put off needs them, and where the last
 * block is denoised past the canvas or the first one is open in part. */
static int most_steps(const run_state *s)
{
    const lac_generate_options *g = &s->generate;
    const int64_t n_holes = (int64_t)s->prompt.n_holes + g->n_tokens;
    int64_t most = (int64_t)g->steps + g->block_steps;
    most += 2 * (int64_t)s->info.block_size;
    if (g->algorithm == LAC_ALGORITHM_CONFIDENCE_THRESHOLD) most += n_holes;
    return most < INT32_MAX ? (int)most : INT32_MAX;
}

static int fail_session(lac_status st, const lac_error *err)
{
    console_fail_status(st, err);
    /* what is unsupported here is the policy asked for, not the model */
    return st == LAC_EUNSUPPORTED ? EXIT_USAGE : console_exit_code(st);
}

static int check_memory(run_state *s)
{
    lac_error err = { .message = "" };
    const lac_session_options room = session_options(s);
    const lac_status st = lac_session_plan_memory(s->card, &room, &s->plan, &err);
    if (st) return fail_session(st, &err);
    const uint64_t limit = s->opt.max_memory ? s->opt.max_memory : laci_machine_memory();
    if (s->plan.bytes_total > limit)
        return console_fail(EXIT_MEMORY,
                            "the run would take %.1f MiB (weights %.1f) and %.1f MiB are allowed; "
                            "a smaller -n or --ctx-size takes less",
                            (double)s->plan.bytes_total / 1048576,
                            (double)s->plan.bytes_weights / 1048576, (double)limit / 1048576);
    return EXIT_OK;
}

/* Completes the options for this model, then compares them with the prompt. */
static int check_options(run_state *s)
{
    s->generate = s->opt.generate;
    if (s->opt.algorithm_is_confidence)
        s->generate.algorithm = strcmp(s->info.architecture, "dream") == 0
                                    ? LAC_ALGORITHM_MASKGIT_PLUS
                                    : LAC_ALGORITHM_LOW_CONFIDENCE;
    steps_settle(s->opt.denoising_steps, &s->info, &s->generate);
    lac_error err = { .message = "" };
    lac_status st = lac_generate_resolve(s->card, s->prompt.n_holes, &s->generate, &err);
    if (st) return console_fail_status(st, &err);
    const int code = check_context(s);
    return code ? code : check_memory(s);
}

static void say_choices(const run_state *s)
{
    const lac_generate_options *g = &s->generate;
    const double mib = 1.0 / 1048576;
    console_note("%s", lac_build_info());
    console_note("%s: %s, %d layers, context %d, tokenizer %s", s->opt.model, s->info.architecture,
                 s->info.n_layers, s->info.n_ctx, s->info.tokenizer);
    console_note("prompt of %zu tokens (%zu holes), chat template %s, context %d", s->prompt.n,
                 s->prompt.n_holes, s->prompt.chat_template, s->n_ctx);
    console_note("--n-predict %d --steps %d --block-length %d --algorithm %s --temp %g --top-k %d "
                 "--top-p %g --threshold %g --cfg-scale %g --seed %" PRIu64,
                 g->n_tokens, g->steps, g->block_length, lac_algorithm_name(g->algorithm),
                 (double)g->temperature, g->top_k, (double)g->top_p, (double)g->threshold,
                 (double)g->cfg_scale, g->seed);
    console_note("memory %.1f MiB: weights %.1f, keys and values %.1f, workspace %.1f, program "
                 "%.1f",
                 (double)s->plan.bytes_total * mib, (double)s->plan.bytes_weights * mib,
                 (double)s->plan.bytes_kv * mib, (double)s->plan.bytes_workspace * mib,
                 (double)s->plan.bytes_runtime * mib);
}

/* Without a message to render, or with a template named, the files' template does not matter. */
static unsigned idle_topics(const run_state *s)
{
    const bool renders = s->texts.document.data || s->opt.system;
    return renders && !s->opt.chat_template && !s->opt.parse_special ? 0
                                                                     : 1u << LAC_WARNING_TEMPLATE;
}

static int prepare(run_state *s)
{
    int code = s->opt.trace ? trace_check(s->opt.trace) : EXIT_OK;
    if (!code && s->opt.masks) code = masks_check_path(s->opt.masks);
    if (!code) code = prompt_read(&s->texts, &s->opt);
    if (code) return code;
    lac_model_options card = { .dtype = s->opt.dtype,
                               .n_threads = s->opt.n_threads,
                               .card_only = true,
                               .backend = s->opt.where.name };
    code = model_flags_read(&s->opt.files, &card);
    if (code != ARGS_GO_ON) return code;
    code = console_open_model(&s->card, s->opt.model, &card);
    if (code) return code;
    lac_error err = { .message = "" };
    const lac_status st = lac_model_get_info(s->card, &s->info, &err);
    if (st) return console_fail_status(st, &err);
    console_warn_model(s->card, NULL, idle_topics(s));
    code = prompt_encode(&s->prompt, &s->texts, &s->opt, s->card, &s->info);
    if (!code) code = check_options(s);
    if (!code && s->opt.verbose) say_choices(s);
    return code;
}

/* ------------------------------------------------------------------ the weights */

static int load(run_state *s)
{
    const bool tell = s->show_progress && s->plan.bytes_weights > UINT64_C(200) << 20;
    if (tell)
        fprintf(stderr, "loading %.1f MiB of weights\x1b[K",
                (double)s->plan.bytes_weights / 1048576);
    lac_model_options how = { .dtype = s->opt.dtype,
                              .n_threads = s->opt.n_threads,
                              .backend = s->opt.where.name };
    (void)model_flags_read(&s->opt.files, &how); /* read before, with the card */
    const int code = console_open_model(&s->model, s->opt.model, &how);
    if (tell) fputs("\r\x1b[K", stderr);
    if (code) return code;
    console_warn_model(s->model, s->card, idle_topics(s));
    lac_error err = { .message = "" };
    lac_status st = lac_model_get_info(s->model, &s->info, &err);
    if (st) return console_fail_status(st, &err);
    if (!s->opt.chat_template && !s->opt.parse_special)
        s->prompt.chat_template = s->info.chat_template; /* the card's string goes with the card */
    const lac_session_options room = session_options(s);
    st = lac_session_create(&s->session, s->model, &room, &err);
    return st ? fail_session(st, &err) : EXIT_OK;
}

/* ------------------------------------------------------------------ the loop */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What a step read of the key cache, for the picture. */
static void see_cache(run_state *s, const lac_step *step)
{
    const cache_view_step seen = { .step = step->step,
                                   .begin =
                                       step->block_begin / s->info.block_size * s->info.block_size,
                                   .union_inflation = step->union_inflation,
                                   .n_active = step->n_active,
                                   .density = step->density,
                                   .bytes_read = (double)step->bytes_read };
    cache_view_add_step(&s->cache, &seen, &s->masks_error);
}

static int on_step(void *user, const lac_step *step)
{
    run_state *s = user;
    const double begin = now();
    s->n_fixed += step->n_fixed;
    s->n_blocks = step->n_blocks;
    if (s->trace) trace_step(s->trace, step);
    if (s->opt.masks && step->bytes_read && !s->masks_error.code) see_cache(s, step);
    if (s->view)
        canvas_view_step(s->view, step);
    else if (s->show_progress)
        report_progress_step(&s->progress, step);
    s->seconds_outside += now() - begin;
    return interrupt_signal() != 0;
}

static void on_plan(void *user, const lac_plan_view *plan)
{
    run_state *s = user;
    const double begin = now();
    if (s->opt.trace_masks) trace_plan(s->trace, plan);
    if (s->opt.masks && !s->masks_error.code && plan->active)
        cache_view_add_plan(&s->cache, plan, &s->masks_error);
    else if (s->opt.masks && !s->masks_error.code)
        masks_add(&s->masks, plan, &s->masks_error);
    s->seconds_outside += now() - begin;
}

static void trace_header(const run_state *s)
{
    const lac_generate_options *g = &s->generate;
    json_out *j = trace_begin_line(s->trace, "header");
    const struct {
        const char *key, *value;
    } texts[] = {
        { "version", lac_version() },
        { "model", report_model_name(&s->opt, &s->info) },
        { "family", s->info.architecture },
        { "dtype", dtype_name(s->info.dtype) },
        { "chat_template", s->prompt.chat_template },
        { "algorithm", lac_algorithm_name(g->algorithm) },
        { "sparse", lac_session_sparse(s->session) },
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_key(j, texts[i].key);
        json_string(j, texts[i].value);
    }
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {
        { "n_prompt", (int64_t)(s->prompt.n - s->prompt.n_holes) },
        { "n_canvas", (int64_t)s->prompt.n + g->n_tokens },
        { "n_holes", (int64_t)s->prompt.n_holes + g->n_tokens },
        { "n_ctx", s->n_ctx },
        { "n_layers", s->info.n_layers },
        { "n_heads", s->info.n_heads },
        { "steps", g->steps },
        { "most_steps", most_steps(s) },
        { "block_steps", g->block_steps },
        { "block_length", g->block_length },
        { "block_size", s->info.block_size },
        { "cut_last_block", g->cut_last_block },
        { "top_k", g->top_k },
        { "quirks", g->quirks },
        { "ignore_eos", g->ignore_eos },
        { "forbid_eos", g->forbid_eos },
        { "late_eos", g->late_eos },
        { "logits_eos_inf", g->logits_eos_inf },
        { "confidence_eos_eot_inf", g->confidence_eos_eot_inf },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        json_key(j, counts[i].key);
        json_int(j, counts[i].value);
    }
    const struct {
        const char *key;
        float value;
    } reals[] = {
        { "temp", g->temperature },  { "top_p", g->top_p }, { "threshold", g->threshold },
        { "alg_temp", g->alg_temp }, { "eps", g->eps },     { "cfg_scale", g->cfg_scale },
    };
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        json_key(j, reals[i].key);
        json_float(j, reals[i].value);
    }
    json_key(j, "seed");
    json_uint(j, g->seed);
    trace_end_line(s->trace);
}

static void trace_summary(const run_state *s, const lac_result *r)
{
    json_out *j = trace_begin_line(s->trace, "summary");
    json_key(j, "finish_reason");
    json_string(j, report_finish_name(r->finish));
    json_key(j, "steps");
    json_int(j, r->steps);
    json_key(j, "forwards");
    json_int(j, r->forwards);
    json_key(j, "n_ids");
    json_int(j, (int64_t)r->n_ids);
    json_key(j, "seconds");
    json_double(j, r->seconds - s->seconds_outside);
    json_key(j, "seconds_forward");
    json_double(j, r->seconds_forward);
    json_key(j, "density");
    json_double(j, r->density);
    if (s->info.mask == LAC_MASK_BLOCK_CAUSAL) {
        json_key(j, "union_inflation");
        json_double(j, r->union_inflation);
        json_key(j, "n_active");
        json_double(j, r->n_active);
        json_key(j, "bytes_read");
        json_uint(j, r->bytes_read);
    }
    json_key(j, "text");
    json_text(j, s->text, s->n_text);
    trace_end_line(s->trace);
}

/* ------------------------------------------------------------------ text of the result */

static bool append(char **text, size_t *n, const char *more, size_t n_more)
{
    char *larger = realloc(*text, *n + n_more + 1);
    if (!larger) return false;
    if (n_more) memcpy(larger + *n, more, n_more);
    *n += n_more;
    larger[*n] = 0;
    *text = larger;
    return true;
}

/* Holes that are still open, in the words --canvas reads, so that the text can be resumed. */
static bool append_holes(const run_state *s, char **text, size_t *n, size_t n_holes)
{
    char mark[40];
    const char *hole = s->opt.hole ? s->opt.hole : "[MASK]";
    if (!s->opt.hole && n_holes > 1) {
        snprintf(mark, sizeof mark, "[MASK*%zu]", n_holes);
        hole = mark;
        n_holes = 1;
    }
    bool sound = true;
    for (size_t i = 0; sound && i < n_holes; i++)
        sound = append(text, n, hole, strlen(hole));
    return sound;
}

/* Text of ids in which holes may be left. End tokens have no text, so holes around one run
 * together; holes at the end are left out unless `keep_end`. */
static int decode(const run_state *s, const int32_t *ids, size_t n_ids, bool keep_end, char **text,
                  size_t *n)
{
    *n = 0;
    bool sound = append(text, n, "", 0);
    size_t n_open = 0;
    for (size_t i = 0; sound && i < n_ids;) {
        size_t end = i;
        const bool open = ids[i] == LAC_HOLE;
        while (end < n_ids && (ids[end] == LAC_HOLE) == open)
            end++;
        if (open) {
            n_open += end - i;
        } else {
            lac_error err = { .message = "" };
            char *part = NULL;
            size_t n_part = 0;
            const lac_status st =
                lac_model_decode(s->model, ids + i, end - i, false, &part, &n_part, &err);
            if (st) return console_fail_status(st, &err);
            if (n_part && n_open) {
                sound = append_holes(s, text, n, n_open);
                n_open = 0;
            }
            sound = sound && append(text, n, part, n_part);
            lac_model_free_text(s->model, part);
        }
        i = end;
    }
    if (sound && n_open && keep_end) sound = append_holes(s, text, n, n_open);
    return sound ? EXIT_OK : console_fail(EXIT_MEMORY, "out of memory for the text");
}

/* The generated part: ids of the result, or after a cancellation the new end of the canvas as far
 * as it is committed, gaps shown as holes. */
static int make_text(run_state *s, const lac_result *r)
{
    int code = EXIT_OK;
    if (r->finish == LAC_FINISH_CANCELLED && !s->prompt.has_text_around) {
        const size_t begin = s->prompt.n;
        code = decode(s, r->canvas + begin, r->n_canvas - begin, false, &s->text, &s->n_text);
    } else {
        code = decode(s, r->ids, r->n_ids, false, &s->text, &s->n_text);
    }
    if (code || !s->prompt.has_text_around) return code;
    return decode(s, r->canvas + s->prompt.n_before, r->n_canvas - s->prompt.n_before, true,
                  &s->canvas, &s->n_canvas);
}

static void put_text(const run_state *s)
{
    const char *text = s->canvas ? s->canvas : s->text;
    const size_t n = s->canvas ? s->n_canvas : s->n_text;
    console_put_text(stdout, text, n);
    if (n == 0 || text[n - 1] != '\n') fputc('\n', stdout);
}

/* Draws the plans of the run. */
static int draw_masks(const run_state *s)
{
    if (s->masks_error.code) return console_fail_status(s->masks_error.code, &s->masks_error);
    masks_request how = { .path = s->opt.masks, .step = -1 };
    if (s->info.mask == LAC_MASK_BLOCK_CAUSAL) {
        char title[256];
        snprintf(title, sizeof title, "%s, %s", report_model_name(&s->opt, &s->info),
                 lac_session_sparse(s->session));
        return cache_view_write(&s->cache, s->opt.masks, title);
    }
    snprintf(how.facts.model, sizeof how.facts.model, "%s", report_model_name(&s->opt, &s->info));
    snprintf(how.facts.sparse, sizeof how.facts.sparse, "%s", lac_session_sparse(s->session));
    how.facts.n_prompt = (int)(s->prompt.n - s->prompt.n_holes);
    how.facts.steps = s->generate.steps;
    return masks_write(&s->masks, &how);
}

/* Prints everything there is to say about a result. */
static int finish(run_state *s, const lac_result *r)
{
    int code = make_text(s, r);
    if (code) return code;
    const report_run run = {
        .opt = &s->opt,
        .info = &s->info,
        .prompt = &s->prompt,
        .resolved = &s->generate,
        .result = r,
        .text = s->text,
        .canvas = s->canvas,
        .n_text = s->n_text,
        .n_canvas = s->n_canvas,
        .sparse = lac_session_sparse(s->session),
        .sparse_reason = lac_session_sparse_reason(s->session),
        .n_ctx = s->n_ctx,
        .n_threads = s->plan.n_threads,
        .n_blocks = s->n_blocks,
        .n_fixed = s->n_fixed,
        .seconds_outside = s->seconds_outside,
    };
    if (s->opt.json)
        code = report_json(&run);
    else
        put_text(s);
    const int flushed = console_flush_stdout();
    if (!s->opt.quiet) report_summary(&run);
    if (s->trace) trace_summary(s, r);
    const int drawn = s->opt.masks ? draw_masks(s) : EXIT_OK;
    return code ? code : flushed ? flushed : drawn;
}

static bool wants_color(const run_options *opt)
{
    const char *no_color = getenv("NO_COLOR");
    return !opt->no_color && !(no_color && *no_color);
}

/* The record that --masks draws. */
static int open_picture(run_state *s)
{
    const int n_steps = most_steps(s), n_prompt = (int)(s->prompt.n - s->prompt.n_holes);
    const cache_view sizes = { .n_layers = s->info.n_layers,
                               .n_heads = s->info.n_heads,
                               .n_canvas = (int)s->prompt.n + s->generate.n_tokens,
                               .block = s->info.block_size };
    lac_status st;
    if (s->info.mask == LAC_MASK_BLOCK_CAUSAL) {
        const int code = cache_view_check_name(s->opt.masks);
        if (code) return code;
        st = cache_view_open(&s->cache, &sizes, n_prompt, n_steps, &s->masks_error);
    } else {
        st = masks_open(&s->masks, sizes.n_layers, sizes.n_heads, n_steps, &s->masks_error);
    }
    return st ? console_fail_status(st, &s->masks_error) : EXIT_OK;
}

static int start(run_state *s)
{
    if (s->opt.visual) {
        const canvas_view_options how = { .model = s->model,
                                          .eos_id = s->info.eos_id,
                                          .color = wants_color(&s->opt),
                                          .delay_ms = s->opt.visual_delay };
        s->view = canvas_view_open(&how);
        if (!s->view) return console_fail(EXIT_MEMORY, "out of memory for the view");
    }
    int code = EXIT_OK;
    if (s->opt.masks) code = open_picture(s);
    if (code) return code;
    if (!s->opt.trace) return EXIT_OK;
    code = trace_open(&s->trace, s->opt.trace);
    if (!code && s->opt.trace_masks)
        code = trace_open_plans(s->trace, s->info.n_layers, s->info.n_heads);
    if (!code) trace_header(s);
    return code;
}

static int generate(run_state *s)
{
    int code = start(s);
    if (code) return code;
    lac_generate_options how = s->generate;
    how.on_step = on_step;
    if (s->opt.trace_masks || s->opt.masks) how.on_plan = on_plan;
    how.user = s;
    lac_error err = { .message = "" };
    lac_result result = { .n_ids = 0 };
    interrupt_cooperate(true);
    const lac_status st = lac_generate(s->session, s->prompt.ids, s->prompt.n, &how, &result, &err);
    canvas_view_close(s->view);
    s->view = NULL;
    report_progress_end(&s->progress);
    const bool has_result = !st || st == LAC_ECANCELLED;
    code = has_result ? finish(s, &result) : console_fail_status(st, &err);
    interrupt_cooperate(false);
    const int traced = trace_close(s->trace, has_result && (!code || code == EXIT_RUN));
    s->trace = NULL;
    if (!code) code = traced;
    /* After a hangup the terminal takes no text either: the signal is what happened. */
    const bool is_stopped = st == LAC_ECANCELLED && (!code || code == EXIT_RUN);
    return is_stopped ? 128 + interrupt_signal() : code;
}

static void run_end(run_state *s)
{
    canvas_view_close(s->view);
    if (s->trace) trace_close(s->trace, false);
    masks_free(&s->masks);
    cache_view_free(&s->cache);
    lac_session_free(s->session);
    lac_model_close(s->model);
    lac_model_close(s->card);
    prompt_ids_free(&s->prompt);
    prompt_free(&s->texts);
    free(s->text);
    free(s->canvas);
    args_free(&s->store);
}

int cmd_run(int argc, char **argv)
{
    run_state s = { .n_ctx = 0 };
    int code = run_options_parse(&s.opt, &s.store, argc, argv);
    if (code != ARGS_GO_ON) {
        args_free(&s.store);
        return code;
    }
    interrupt_install();
    s.show_progress = !s.opt.quiet && console_is_tty(stderr);
    code = prepare(&s);
    if (!code) code = load(&s);
    if (!code) {
        lac_model_close(s.card);
        s.card = NULL;
        code = generate(&s);
    }
    run_end(&s);
    return code;
}
