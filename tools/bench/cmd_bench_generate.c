/* cmd_bench_generate.c: `lacuna bench generate`: what whole generations of a published shape would
 * take, composed of measured steps: a model with random weights and few layers runs a dense step, a
 * dense step that builds the pattern, and a sparse step under that pattern. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/benches.h"
#include "bench/device.h"
#include "bench/made_model.h"
#include "bench/options.h"
#include "run/sparse_options.h"
#include "shell/console.h"

enum {
    HEAD_ROWS = 16384, /* of the head that is timed; the rest costs as much a row */
    LONG_CTX = 16384,  /* from here on one repeat is the default */
    SHORT_REPEATS = 3, /* below */
    WARM_ROWS = 512,   /* positions of the pass that warms up: a chunk of products */
};

/* Steps of the generation that is measured: four steps, of which policies that measure leave two
 * dense, so that the first three are these. */
enum { DENSE_STEP, BUILD_STEP, SPARSE_STEP, N_KINDS };

enum { OFF, WINDOW, STREAMING, SPARSED, FIDELITY, N_POLICIES };
static const char *const policy_names[N_POLICIES] = { "off", "window", "streaming", "sparsed",
                                                      "fidelity" };

typedef struct {
    bench_options common;
    const char *shape, *ctx, *steps, *policies, *dtype;
    const char *backend; /* NULL = cpu */
    const char *density_text;
    sparse_flags sparse; /* skip, select, fidelity and block of it */
    int n_layers, n_generated, block_length;
    double density; /* read from the text; 0 = not imposed */
} generate_options;

#define AT(field) offsetof(generate_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Problem (a LIST gives a row for each)" },
    { ARGS_TEXT, "shape", 0, "NAME", AT(shape), 0, 0, NULL,
      "llada-8b, dream-7b, sdar-8b or nano (default llada-8b)" },
    { ARGS_INT, "layers", 0, "N", AT(n_layers), 1, 64, NULL,
      "layers that are measured, the last one not counted (default 1)" },
    { ARGS_TEXT, "ctx", 'c', "LIST", AT(ctx), 0, 0, NULL, "positions (default 4096)" },
    { ARGS_TEXT, "steps", 0, "LIST", AT(steps), 0, 0, NULL,
      "steps of a generation (default 128,1024)" },
    { ARGS_INT, "generated", 0, "N", AT(n_generated), 1, 1 << 24, NULL,
      "positions at the end that are generated (default 128)" },
    { ARGS_INT, "block-length", 0, "N", AT(block_length), 1, 512, NULL,
      "rows of logits a step computes (default 32)" },
    { ARGS_TEXT, "dtype", 0, "TYPE", AT(dtype), 0, 0, NULL, "f32 or bf16 (default bf16)" },
    BENCH_BACKEND_FLAG(AT(backend)),
    { ARGS_GROUP, .help = "Policy" },
    { ARGS_TEXT, "sparse", 0, "LIST", AT(policies), 0, 0, NULL,
      "off, window, streaming, sparsed, fidelity (default sparsed)" },
    { ARGS_TEXT, "skip", 0, "SHARE", AT(sparse.knob[SPARSE_SKIP]), 0, 0, NULL,
      "share of the steps that stay dense, from 0 to below 1 (default 0.2)" },
    { ARGS_TEXT, "select", 0, "SHARE", AT(sparse.knob[SPARSE_SELECT]), 0, 0, NULL,
      "share of the keys that is kept, above 0 and at most 1 (default 0.3)" },
    { ARGS_TEXT, "fidelity", 0, "SHARE", AT(sparse.knob[SPARSE_FIDELITY]), 0, 0, NULL,
      "--sparse fidelity: mass that is kept, above 0 and at most 1 (default 0.95)" },
    { ARGS_TEXT, "density", 0, "SHARE", AT(density_text), 0, 0, NULL,
      "--sparse fidelity: density to run at, as measured on a trained model" },
    { ARGS_TEXT, "sparse-block", 0, "N", AT(sparse.knob[SPARSE_BLOCK]), 0, 0, NULL,
      "queries and keys of a block: 16, 32, 64, 128 (default 128, below 4096 positions 32)" },
    { ARGS_GROUP, .help = "Measuring" },
    BENCH_FLAG(ARGS_TEXT, "threads", 't', "LIST", threads, 0, 0,
               "threads (default: all cores this process may use)"),
    BENCH_FLAG(ARGS_INT, "repeat", 0, "N", repeat, 1, MAX_REPEATS,
               "repeats of the steps, taking turns (default 3, from 16384 positions 1)"),
    BENCH_FLAG(ARGS_SEED, "seed", 's', "N", seed, 0, 0,
               "seed of weights and ids, or random (default 1)"),
    { ARGS_GROUP, .help = "Output" },
    BENCH_FLAG(ARGS_SWITCH, "json", 0, NULL, json, 0, 0, "one JSON object a row"),
    BENCH_FLAG(ARGS_SWITCH, "csv", 0, NULL, csv, 0, 0, "CSV with a header"),
    BENCH_FLAG(ARGS_SWITCH, "quiet", 'q', NULL, quiet, 0, 0, "no progress on standard error"),
};
#undef AT

/* One shape, context, policy and number of threads. */
typedef struct {
    const generate_options *opt;
    lac_model *model; /* the layers that are measured, and a last one */
    int shape, policy, n_threads;
    size_t ctx;
    lac_session *session, *dense; /* the same where the policy's own first step is dense */
    laci_backend *marked;         /* of the session whose step runs */
    double layer[N_KINDS][MAX_REPEATS], last[N_KINDS][MAX_REPEATS]; /* milliseconds */
    double head[MAX_REPEATS];
    size_t n;
    double density;
} generate_run;

static bool measures(int policy)
{
    return policy == SPARSED || policy == FIDELITY;
}

/* ------------------------------------------------------------------ one step */

/* Marks of the backend's clock within a step. */
enum { STEP_BEGIN, LAYERS_DONE, STEP_DONE };

static void see_plan(void *user, const lac_plan_view *plan)
{
    const generate_run *r = user;
    if (plan->layer == r->opt->n_layers - 1) laci_backend_mark(r->marked, LAYERS_DONE);
}

static lac_status run_step(generate_run *r, lac_session *s, size_t n, int kind, lac_error *err)
{
    const generate_options *opt = r->opt;
    const size_t n_new = (size_t)opt->n_generated < n ? (size_t)opt->n_generated : n / 2;
    const size_t n_rows = (size_t)opt->block_length < n_new ? (size_t)opt->block_length : n_new;
    r->marked = s->be;
    const laci_rows rows = { .seq = s->seq,
                             .ids = s->seq->input,
                             .n = n,
                             .n_keys = n,
                             .wanted = s->seq->rows,
                             .n_wanted = n_rows,
                             .at = { .step = kind, .n_steps = 4, .prompt_end = n - n_new },
                             .on_plan = see_plan,
                             .user = r };
    for (size_t i = 0; i < n_rows; i++)
        s->seq->rows[i] = (int32_t)(n - n_new + i);
    laci_backend_mark(s->be, STEP_BEGIN);
    const lac_status st =
        laci_pass(s, &rows, 1, (laci_row_sink){ made_drop_rows, NULL }, NULL, err);
    if (st) return st;
    laci_backend_mark(s->be, STEP_DONE);
    r->layer[kind][r->n] =
        1e3 * laci_backend_between(s->be, STEP_BEGIN, LAYERS_DONE) / opt->n_layers;
    r->last[kind][r->n] = 1e3 * laci_backend_between(s->be, LAYERS_DONE, STEP_DONE);
    return LAC_OK;
}

/* Memory that no pass has seen yet must not cost the first one, which is the dense one. */
static lac_status warm_up(generate_run *r, lac_session *s, lac_error *err)
{
    static const char zeros[1 << 16];
    for (int i = 0; i < LACI_N_BUFS; i++) {
        if (!s->buf[i] || i == LACI_BUF_COS || i == LACI_BUF_SIN) continue;
        for (size_t at = 0; at < s->layout.bytes[i]; at += sizeof zeros) {
            const size_t left = s->layout.bytes[i] - at;
            laci_backend_write(s->be, s->buf[i], at, zeros,
                               left < sizeof zeros ? left : sizeof zeros);
        }
    }
    made_canvas(s, s->seq, r->opt->common.seed);
    lac_status st = laci_session_begin(s, s->seq, 1, err);
    if (!st) st = run_step(r, s, r->ctx < WARM_ROWS ? r->ctx : WARM_ROWS, DENSE_STEP, err);
    return st;
}

/* A dense step, one that builds, a sparse one: a generation's own order. */
static lac_status run_repeat(generate_run *r, lac_error *err)
{
    lac_session *s = r->session;
    lac_status st = LAC_OK;
    if (r->dense != s) st = laci_session_begin(r->dense, r->dense->seq, 1, err);
    if (!st) st = laci_session_begin(s, s->seq, 1, err);
    if (!st) st = run_step(r, r->dense, r->ctx, DENSE_STEP, err);
    if (!st && measures(r->policy)) st = run_step(r, s, r->ctx, BUILD_STEP, err);
    if (!st && r->policy != OFF) st = run_step(r, s, r->ctx, SPARSE_STEP, err);
    if (st) return st;
    r->density = laci_read_means(&s->seq->stats).density;
    r->head[r->n] = made_time_head(s, r->shape, (size_t)r->opt->block_length);
    r->n++;
    return LAC_OK;
}

/* ------------------------------------------------------------------ the whole */

/* Milliseconds of a step of the whole model, logits included: its layers as the measured ones, then
 * its last, which computes the wanted rows only. */
static double step_ms(generate_run *r, int kind)
{
    const double layer = median_of(r->layer[kind], r->n), last = median_of(r->last[kind], r->n);
    return (made_shape_layers(r->shape) - 1) * layer + last + median_of(r->head, r->n);
}

static int n_dense_of(const generate_run *r, int n_steps)
{
    laci_sparse how = r->session->chosen.settings.sparse;
    if (r->policy == OFF) return n_steps;
    if (!measures(r->policy)) return 0;
    how.skip = 0.2;
    if (r->opt->sparse.knob[SPARSE_SKIP])
        (void)args_read_float(r->opt->sparse.knob[SPARSE_SKIP], 0, 1, &how.skip);
    const int n = laci_sparse_n_dense(&how, n_steps);
    return n < n_steps ? n : n_steps;
}

/* Keys that say what the row is of. */
static bench_row row_begin(const generate_run *r)
{
    const laci_config *c = &r->model->config;
    const laci_sparse *how = &r->session->chosen.settings.sparse;
    const bool imposed = r->policy == FIDELITY && r->opt->density > 0;
    bench_row row = row_of("generate");
    row_count(&row, "ctx", r->ctx);
    row_count(&row, "n_q", r->ctx);
    row_count(&row, "n_heads", (size_t)c->n_heads);
    row_count(&row, "n_kv_heads", (size_t)c->n_kv_heads);
    row_count(&row, "d_head", (size_t)c->d_head);
    row_text(&row, "backend", laci_backend_name(r->session->be));
    row_text(&row, "dtype", laci_backend_act(r->model->be) == LACI_BF16 ? "bf16" : "f32");
    row_count(&row, "threads", (size_t)r->n_threads);
    if (r->policy != OFF) row_count(&row, "block", how->block);
    row_real(&row, "density", r->density);
    row_text(&row, "policy", policy_names[r->policy]);
    row_text(&row, "shape", made_shape_names[r->shape]);
    row_count(&row, "layers_measured", (size_t)r->opt->n_layers);
    row_count(&row, "layers", (size_t)made_shape_layers(r->shape));
    row_text(&row, "density_from", imposed ? "imposed" : "measured");
    row_count(&row, "repeats", r->n);
    return row;
}

static void report(generate_run *r, const number_list *steps, rows_out *out)
{
    const double dense = step_ms(r, DENSE_STEP);
    const double sparse = r->policy == OFF ? (double)NAN : step_ms(r, SPARSE_STEP);
    const double pattern = measures(r->policy) ? step_ms(r, BUILD_STEP) - dense : (double)NAN;
    for (size_t i = 0; i < steps->n; i++) {
        const int n = (int)steps->values[i], n_dense = n_dense_of(r, n);
        double ms = n_dense * dense;
        if (n_dense < n) ms += (n - n_dense) * sparse + (pattern > 0 ? pattern : 0);
        bench_row row = row_begin(r);
        row_count(&row, "steps", (size_t)n);
        row_count(&row, "dense_steps", (size_t)n_dense);
        row_real(&row, "ms_dense_step", dense);
        row_real(&row, "ms_sparse_step", sparse);
        row_real(&row, "ms_pattern", pattern);
        row_real(&row, "ms_head", median_of(r->head, r->n));
        row_real(&row, "vs_dense", n * dense / ms);
        row_real(&row, "seconds_dense", 1e-3 * n * dense);
        row_real(&row, "seconds_generation", 1e-3 * ms);
        row_text(&row, "composed",
                 "dense_steps * ms_dense_step + ms_pattern + (steps - dense_steps) * "
                 "ms_sparse_step; a step is layers_measured scaled to layers, plus the head");
        rows_add(out, &row);
    }
}

/* ------------------------------------------------------------------ sessions */

static lac_status open_session(generate_run *r, int policy, lac_session **out, int *code,
                               lac_error *err)
{
    const bool imposed = policy == FIDELITY && r->opt->density > 0;
    sparse_flags own = r->opt->sparse;
    char request[SPARSE_TEXT], density[32];
    own.knob[SPARSE_SKIP] = "0.5"; /* of the four steps of the generation that is measured */
    if (policy != FIDELITY || imposed) own.knob[SPARSE_FIDELITY] = NULL;
    snprintf(density, sizeof density, "%.17g", r->opt->density);
    if (imposed) own.knob[SPARSE_SELECT] = density;
    (void)sparse_flags_request(&own, imposed ? "sparsed" : policy_names[policy], request);
    const lac_session_options how = { .n_ctx = (int)r->ctx,
                                      .n_threads = r->n_threads,
                                      .sparse = request };
    lac_memory_plan plan;
    lac_status st = lac_session_plan_memory(r->model, &how, &plan, err);
    if (st) return st;
    /* two sessions of a policy that has no dense step of its own */
    *code = memory_check((double)plan.bytes_total * (policy == r->policy ? 1 : 2) -
                         (policy == r->policy ? 0 : (double)plan.bytes_weights));
    return *code ? LAC_OK : lac_session_create(out, r->model, &how, err);
}

static lac_status open_sessions(generate_run *r, int *code, lac_error *err)
{
    lac_status st = open_session(r, r->policy, &r->session, code, err);
    if (st || *code) return st;
    r->dense = r->session;
    if (r->policy != WINDOW && r->policy != STREAMING) return LAC_OK;
    r->dense = NULL;
    return open_session(r, OFF, &r->dense, code, err);
}

static int run_policy(generate_run *r, const number_list *steps, rows_out *out)
{
    const int asked = r->opt->common.repeat;
    const int n = asked ? asked : r->ctx < LONG_CTX ? SHORT_REPEATS : 1;
    lac_error err = { .message = "" };
    int code = EXIT_OK;
    lac_status st = open_sessions(r, &code, &err);
    if (!st && !code) st = warm_up(r, r->session, &err);
    if (!st && !code && r->dense != r->session) st = warm_up(r, r->dense, &err);
    for (int i = 0; i < n && !st && !code; i++)
        st = run_repeat(r, &err);
    if (!st && !code) report(r, steps, out);
    if (r->dense != r->session) lac_session_free(r->dense);
    lac_session_free(r->session);
    return st ? console_fail_status(st, &err) : code;
}

/* ------------------------------------------------------------------ all of them */

typedef struct {
    number_list ctx, steps, threads;
    choice_list policies;
    dtype_list dtype;
    int shape;
} generate_lists;

static int read_numbers(generate_options *opt)
{
    if (opt->density_text &&
        (!args_read_float(opt->density_text, 0, 1, &opt->density) || opt->density <= 0))
        return console_fail(EXIT_USAGE, "--density: '%s' is not a share above 0 and at most 1",
                            opt->density_text);
    return EXIT_OK;
}

static int read_lists(generate_lists *l, const generate_options *opt)
{
    int code = choice_read(&l->shape, "--shape", opt->shape, made_shape_names, N_MADE_SHAPES);
    if (!code) code = list_read(&l->ctx, "--ctx", opt->ctx, true, 2, 1 << 24);
    if (!code) code = list_read(&l->steps, "--steps", opt->steps, true, 1, 1 << 24);
    if (!code)
        code = choices_read(&l->policies, "--sparse", opt->policies, policy_names, N_POLICIES);
    if (!code) code = dtypes_read(&l->dtype, opt->dtype);
    if (!code) code = threads_read(&l->threads, &opt->common);
    if (!code && l->dtype.n > 1) code = console_fail(EXIT_USAGE, "--dtype: one type at a time");
    return code;
}

/* A flag that no policy of the list would read is a mistake. */
static int check_flags(const generate_lists *l, const generate_options *opt)
{
    const char *names[MAX_LIST];
    bool has_fidelity = false;
    for (size_t i = 0; i < l->policies.n; i++) {
        has_fidelity |= l->policies.values[i] == FIDELITY;
        names[i] = policy_names[l->policies.values[i]];
    }
    if (!has_fidelity && opt->density > 0)
        return console_fail(EXIT_USAGE, "--density: only --sparse fidelity reads it");
    if (!has_fidelity && opt->sparse.knob[SPARSE_FIDELITY])
        return console_fail(EXIT_USAGE, "--fidelity: only --sparse fidelity reads it");
    if (opt->density > 0 && opt->sparse.knob[SPARSE_FIDELITY])
        return console_fail(EXIT_USAGE, "--density and --fidelity: one of them");
    const int code = sparse_flags_check(&opt->sparse, names, l->policies.n);
    return code == ARGS_GO_ON ? EXIT_OK : code;
}

static int make_model(lac_model **out, const generate_lists *l, const generate_options *opt)
{
    made_options how = { .shape = l->shape,
                         .n_layers = opt->n_layers + 1,
                         .n_threads = (int)l->threads.values[0],
                         .backend = opt->backend,
                         .dtype = l->dtype.values[0],
                         .n_vocab = made_shape_vocab(l->shape) };
    lac_error err = { .message = "" };
    if (how.n_vocab > HEAD_ROWS) how.n_vocab = HEAD_ROWS;
    for (size_t i = 0; i < l->ctx.n; i++)
        if (l->ctx.values[i] > how.n_ctx) how.n_ctx = (int)l->ctx.values[i];
    bench_progress(&opt->common, "%s, %d layers of random weights", made_shape_names[l->shape],
                   how.n_layers);
    lac_memory_plan plan;
    int code = EXIT_OK;
    lac_status st = made_model_new(out, &how, &err);
    if (!st) st = lac_model_plan_memory(*out, how.n_ctx, how.n_threads, &plan, &err);
    if (!st) code = memory_check((double)plan.bytes_total);
    if (!st && !code) st = made_model_fill(*out, opt->common.seed, &err);
    return st ? console_fail_status(st, &err) : code;
}

static int generate(generate_options *opt)
{
    generate_lists l;
    rows_out out = { .n = 0 };
    lac_model *model = NULL;
    int code = read_numbers(opt);
    if (!code) code = read_lists(&l, opt);
    if (!code) code = check_flags(&l, opt);
    if (!code) code = format_read(&out.format, &opt->common);
    if (!code) code = make_model(&model, &l, opt);
    for (size_t i = 0; i < l.threads.n * l.ctx.n * l.policies.n && !code; i++) {
        generate_run *r = calloc(1, sizeof *r);
        if (!r) {
            code = console_fail(EXIT_MEMORY, "out of memory");
            break;
        }
        r->opt = opt;
        r->model = model;
        r->shape = l.shape;
        r->policy = l.policies.values[i % l.policies.n];
        r->ctx = (size_t)l.ctx.values[i / l.policies.n % l.ctx.n];
        r->n_threads = (int)l.threads.values[i / l.policies.n / l.ctx.n];
        bench_progress(&opt->common, "%s, %zu positions, %s, %d threads", made_shape_names[l.shape],
                       r->ctx, policy_names[r->policy], r->n_threads);
        code = run_policy(r, &l.steps, &out);
        free(r);
    }
    lac_model_close(model);
    const int end = rows_end(&out);
    return code ? code : end;
}

int bench_generate(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna bench generate",
        .usage = "[options]",
        .about = "Says what a whole generation takes on a model of a published shape, dense and "
                 "sparse. Nothing is generated: a dense step, one that builds the pattern and a "
                 "sparse one are measured on a few layers of random weights, scaled to the "
                 "layers of the shape, the logits of a block added, and composed by the number of "
                 "steps. Attention over random weights is nearly uniform, so this is about speed "
                 "alone; what fidelity would keep of a trained model, --density tells it.",
        .example =
            "  lacuna bench generate --ctx 4096,65536 --steps 128,1024 --sparse sparsed -t 2",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    generate_options opt = { .common = { .seed = 1 },
                             .shape = "llada-8b",
                             .ctx = "4096",
                             .steps = "128,1024",
                             .policies = "sparsed",
                             .dtype = "bf16",
                             .n_layers = 1,
                             .n_generated = 128,
                             .block_length = 32 };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = generate(&opt);
    args_free(&store);
    return code;
}
