/* cmd_bench_step.c: `lacuna bench step`: the forward pass of a whole denoising step, over a model
 * of a published shape with random weights: how long, and which part of it takes the time. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/benches.h"
#include "bench/device.h"
#include "bench/inputs.h"
#include "bench/made_model.h"
#include "bench/options.h"
#include "bench/peak.h"
#include "engine/pass.h"
#include "shell/console.h"

typedef struct {
    bench_options common;
    const char *backend; /* NULL = cpu */
    const char *shape, *ctx, *dtype;
    int n_layers;
} step_options;

#define AT(field) offsetof(step_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Problem (a LIST gives a row for each)" },
    { ARGS_TEXT, "shape", 0, "NAME", AT(shape), 0, 0, NULL,
      "llada-8b, dream-7b, sdar-8b or nano (default llada-8b)" },
    { ARGS_INT, "layers", 0, "N", AT(n_layers), 1, 1024, NULL, "layers (default 1)" },
    { ARGS_TEXT, "ctx", 'c', "LIST", AT(ctx), 0, 0, NULL, "positions (default 4096)" },
    { ARGS_TEXT, "dtype", 0, "LIST", AT(dtype), 0, 0, NULL,
      "type of weights and activations: f32, bf16 (default bf16)" },
    BENCH_BACKEND_FLAG(AT(backend)),
    BENCH_FLAGS,
};
#undef AT

typedef struct {
    const step_options *opt;
    made_options how;
    lac_model *model;
    lac_session *session;
    samples total;
    double linear[MAX_REPEATS], attention[MAX_REPEATS], other[MAX_REPEATS]; /* milliseconds */
    peak_unit linear_unit, attention_unit;
    double linear_peak, attention_peak; /* 1e9 operations a second */
} step_run;

/* ------------------------------------------------------------------ one step */

/* A step that asks for every row, as the first steps of a generation nearly do. */
static lac_status run_step(step_run *r, bool counts, lac_error *err)
{
    lac_session *s = r->session;
    laci_clock clock = { 0 };
    const laci_rows rows = { .seq = s->seq,
                             .ids = s->seq->input,
                             .n = s->layout.n_ctx,
                             .n_keys = s->layout.n_ctx,
                             .wanted = s->seq->rows,
                             .n_wanted = s->layout.n_ctx,
                             .at = { .n_steps = 1 } };
    const instant start = instant_now();
    laci_backend_mark(s->be, 0);
    const lac_status st =
        laci_pass(s, &rows, 1, (laci_row_sink){ made_drop_rows, NULL }, &clock, err);
    laci_backend_mark(s->be, 1);
    if (st || !counts) return st;
    const size_t i = r->total.n;
    device_add(&r->total, start, s->be, 0, 1);
    r->linear[i] = 1e3 * clock.linear;
    r->attention[i] = 1e3 * clock.attention;
    r->other[i] = 1e3 * (r->total.wall[i] - clock.linear - clock.attention);
    return LAC_OK;
}

static void measure_peaks(step_run *r)
{
    const int n_threads = r->how.n_threads;
    laci_backend *be = r->session->be;
    r->linear_peak = fmax(r->linear_peak, device_peak(be, r->linear_unit, n_threads));
    r->attention_peak = fmax(r->attention_peak, device_peak(be, r->attention_unit, n_threads));
}

static lac_status measure(step_run *r, lac_error *err)
{
    const bench_options *opt = &r->opt->common;
    lac_session *s = r->session;
    lac_status st = LAC_OK;
    made_canvas(s, s->seq, opt->seed);
    for (size_t i = 0; i < s->layout.n_ctx; i++)
        s->seq->rows[i] = (int32_t)i;
    r->linear_peak = r->attention_peak = 0;
    measure_peaks(r);
    for (int i = -opt->warmup; i < opt->repeat && !st; i++)
        st = run_step(r, i >= 0, err);
    measure_peaks(r);
    return st;
}

/* Operations of the products and of attention in all layers; the head is not part of the pass. */
static void count_flops(const laci_config *c, double *linear, double *attention)
{
    const double n = (double)c->n_ctx, d = c->d_model, d_ff = c->d_ff;
    const double q = (double)c->n_heads * c->d_head, kv = (double)c->n_kv_heads * c->d_head;
    *linear = c->n_layers * 2.0 * n * d * (2 * q + 2 * kv + 3 * d_ff);
    *attention = c->n_layers * 4.0 * n * n * q;
}

static void report(step_run *r, rows_out *out)
{
    const laci_config *c = &r->model->config;
    double linear, attention;
    count_flops(c, &linear, &attention);
    const size_t n = r->total.n;
    const double ms_linear = median_of(r->linear, n), ms_attention = median_of(r->attention, n);
    const double ideal = linear / r->linear_peak + attention / r->attention_peak;
    bench_row row = row_of("step");
    row_count(&row, "ctx", (size_t)c->n_ctx);
    row_count(&row, "n_q", (size_t)c->n_ctx);
    row_count(&row, "n_heads", (size_t)c->n_heads);
    row_count(&row, "n_kv_heads", (size_t)c->n_kv_heads);
    row_count(&row, "d_head", (size_t)c->d_head);
    row_text(&row, "dtype", r->how.dtype == LACI_BF16 ? "bf16" : "f32");
    row_count(&row, "threads", (size_t)r->how.n_threads);
    row_real(&row, "density", laci_read_means(&r->session->seq->stats).density);
    row_text(&row, "policy", r->session->policy->name);
    row_time(&row, &r->total);
    row_speed(&row, &r->total, linear + attention, (linear + attention) / ideal,
              device_peak_name(r->session->be, r->linear_unit));
    row_text(&row, "peak_unit_attention", device_peak_name(r->session->be, r->attention_unit));
    row_real(&row, "vs_dense", 1);
    row_text(&row, "backend", laci_backend_name(r->session->be));
    row_text(&row, "shape", made_shape_names[r->how.shape]);
    row_count(&row, "layers", (size_t)c->n_layers);
    /* the parts are timed on the host's clock, which a device does not wait for */
    const double known = device_is_cpu(r->session->be) ? 1 : NAN;
    row_real(&row, "ms_attention", known * ms_attention);
    row_real(&row, "ms_linear", known * ms_linear);
    row_real(&row, "ms_other", known * median_of(r->other, n));
    row_real(&row, "attention_share", known * attention / r->attention_peak * 1e-6 / ms_attention);
    row_real(&row, "linear_share", known * linear / r->linear_peak * 1e-6 / ms_linear);
    rows_add(out, &row);
}

static int run_shape(step_run *r, rows_out *out)
{
    lac_error err = { .message = "" };
    lac_memory_plan plan;
    const lac_session_options session = { .n_ctx = r->how.n_ctx, .sparse = "dense" };
    int code = EXIT_OK;
    lac_status st = made_model_new(&r->model, &r->how, &err);
    if (!st) st = lac_model_plan_memory(r->model, r->how.n_ctx, r->how.n_threads, &plan, &err);
    if (!st) code = memory_check((double)plan.bytes_total);
    if (!st && !code) st = made_model_fill(r->model, r->opt->common.seed, &err);
    if (!st && !code) st = lac_session_create(&r->session, r->model, &session, &err);
    if (!st && !code) st = laci_session_begin(r->session, r->session->seq, 1, &err);
    if (!st && !code) st = measure(r, &err);
    if (!st && !code) report(r, out);
    lac_session_free(r->session);
    lac_model_close(r->model);
    return st ? console_fail_status(st, &err) : code;
}

/* ------------------------------------------------------------------ all of them */

static int step(const step_options *opt)
{
    number_list ctx, threads;
    dtype_list dtype;
    int shape;
    rows_out out = { .n = 0 };
    int code = choice_read(&shape, "--shape", opt->shape, made_shape_names, N_MADE_SHAPES);
    if (!code) code = list_read(&ctx, "--ctx", opt->ctx, true, 1, 1 << 24);
    if (!code) code = dtypes_read(&dtype, opt->dtype);
    if (!code) code = threads_read(&threads, &opt->common);
    if (!code) code = format_read(&out.format, &opt->common);
    if (code) return code;
    for (size_t i = 0; i < dtype.n * threads.n * ctx.n && !code; i++) {
        step_run *r = calloc(1, sizeof *r);
        if (!r) {
            code = console_fail(EXIT_MEMORY, "out of memory");
            break;
        }
        r->opt = opt;
        r->how = (made_options){ .shape = shape,
                                 .n_layers = opt->n_layers,
                                 .n_ctx = (int)ctx.values[i % ctx.n],
                                 .n_threads = (int)threads.values[i / ctx.n % threads.n],
                                 .backend = opt->backend,
                                 .dtype = dtype.values[i / ctx.n / threads.n] };
        r->linear_unit = peak_unit_of_products(r->how.dtype);
        r->attention_unit = peak_unit_of_kernels(r->how.dtype);
        bench_progress(&opt->common, "%s, %d layers, %d positions, %d threads",
                       made_shape_names[shape], r->how.n_layers, r->how.n_ctx, r->how.n_threads);
        code = run_shape(r, &out);
        free(r);
    }
    const int end = rows_end(&out);
    return code ? code : end;
}

int bench_step(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna bench step",
        .usage = "[options]",
        .about = "Times the forward pass of a denoising step, dense, over a network with random "
                 "weights and the dimensions of a published model, logits left out. The peak is "
                 "the rate of a step whose products and attention each ran at the peak of their "
                 "unit; linear_share and attention_share say it of each.",
        .example = "  lacuna bench step --shape llada-8b --layers 1 --ctx 4096 -t 2",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    step_options opt = {
        .common = BENCH_DEFAULTS, .shape = "llada-8b", .ctx = "4096", .dtype = "bf16", .n_layers = 1
    };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = step(&opt);
    args_free(&store);
    return code;
}
