/* eval_run.c: see eval_run.h. A run that follows the dense trajectory to its end needs no second
 * one: it has been teacher-forced all along. Only where it left the trajectory is it run again,
 * replaying the dense decisions. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "eval/eval_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eval/eval_score.h"
#include "shell/console.h"
#include "shell/interrupt.h"

/* Logits of the dense run are kept for comparison up to this size; when there are more, only every
 * n-th step is compared. */
enum { MAX_KEPT_BYTES = 256 << 20 };

/* One row of logits of the dense run. */
typedef struct {
    int step;
    int32_t position;
} row_key;

struct eval_run {
    eval_run_options opt;
    lac_model_info info;
    lac_session **sessions; /* [n_policies] */
    const eval_task *task;
    const eval_sample *sample;
    const eval_canvas *canvas;
    lac_generate_options generate; /* of this sample */
    /* the dense run of this sample */
    int32_t *canvas_ids, *step_map; /* [n] when it ended */
    int32_t *answer;                /* [n_answer] */
    size_t n_answer, capacity;
    row_key *keys; /* [n_rows] */
    float *logits; /* [n_rows, n_vocab] */
    size_t n_rows, row_capacity;
    int stride; /* every stride-th step is compared */
    /* the run under way */
    bool is_dense, has_left; /* has_left: its canvas is no longer the dense run's */
    size_t cursor;           /* next row of the dense run */
    size_t n_compared, n_same;
    double kl_sum, kl_worst;
    double needle_rows,
        needle_kept;        /* response rows of sparse plans times needles; which read it */
    double seconds_outside; /* inside callbacks */
    bool failed;            /* out of memory in a callback */
    bool is_broken;         /* its logits were not finite */
    bool is_dense_broken;   /* those of the dense run of this sample: there is nothing to follow */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ logits */

static bool keep_rows(eval_run *r, const lac_logits_view *view)
{
    const size_t n_vocab = (size_t)view->n_vocab, n = (size_t)view->n_rows;
    if (r->n_rows + n > r->row_capacity) {
        const size_t capacity = 2 * (r->n_rows + n);
        row_key *keys = realloc(r->keys, capacity * sizeof *keys);
        if (keys) r->keys = keys;
        float *logits = realloc(r->logits, capacity * n_vocab * sizeof *logits);
        if (logits) r->logits = logits;
        if (!keys || !logits) return false;
        r->row_capacity = capacity;
    }
    for (size_t i = 0; i < n; i++)
        r->keys[r->n_rows + i] = (row_key){ view->step, view->position[i] };
    memcpy(r->logits + r->n_rows * n_vocab, view->logits, n * n_vocab * sizeof *r->logits);
    r->n_rows += n;
    return true;
}

/* Index of the largest, the lowest of equals; *log_sum is the logarithm of the sum of exponentials
 * in double precision. */
static size_t survey(const float *logits, size_t n, double *log_sum)
{
    size_t best = 0;
    double sum = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - (double)logits[best]);
    *log_sum = (double)logits[best] + log(sum);
    return best;
}

static void compare_row(eval_run *r, const float *dense, const float *sparse, size_t n)
{
    double log_dense, log_sparse, kl = 0;
    const size_t best_dense = survey(dense, n, &log_dense);
    const size_t best_sparse = survey(sparse, n, &log_sparse);
    for (size_t i = 0; i < n; i++) {
        const double log_p = (double)dense[i] - log_dense;
        const double log_q = (double)sparse[i] - log_sparse;
        const double p = exp(log_p);
        if (p > 0) kl += p * (log_p - log_q); /* a token without mass adds nothing */
    }
    if (kl < 0) kl = 0; /* rounding of equal distributions */
    r->kl_sum += kl;
    if (!(kl <= r->kl_worst)) r->kl_worst = kl; /* a NaN stays */
    r->n_same += best_dense == best_sparse;
    r->n_compared++;
}

static void compare_rows(eval_run *r, const lac_logits_view *view)
{
    const size_t n_vocab = (size_t)view->n_vocab;
    for (int i = 0; i < view->n_rows && !r->has_left; i++, r->cursor++) {
        const row_key *key = &r->keys[r->cursor];
        if (r->cursor >= r->n_rows || key->step != view->step || key->position != view->position[i])
            r->has_left = true;
        else
            compare_row(r, r->logits + r->cursor * n_vocab, view->logits + (size_t)i * n_vocab,
                        n_vocab);
    }
}

static void on_logits(void *user, const lac_logits_view *view)
{
    eval_run *r = user;
    const double begin = now();
    if (view->step % r->stride == 0) {
        if (!r->is_dense)
            compare_rows(r, view);
        else if (!keep_rows(r, view))
            r->failed = true;
    }
    r->seconds_outside += now() - begin;
}

/* ------------------------------------------------------------------ plans */

/* Whether the row, ascending ids [first, end), holds every block from `begin` to before `past`. */
static bool reads_blocks(const uint32_t *first, const uint32_t *end, uint32_t begin, uint32_t past)
{
    while (first < end && *first < begin)
        first++;
    for (; begin < past; begin++, first++)
        if (first == end || *first != begin) return false;
    return true;
}

/* Rows of the response among the active ones of a plan behind a key cache, which has one row. */
static int count_active(const lac_plan_view *view, eval_range response)
{
    int n = 0;
    for (int i = 0; i < view->n_q; i++) {
        const int at = view->first + view->active[i];
        n += at >= response.begin && at < response.end;
    }
    return n;
}

/* Counts, over the plan's patterns, n response rows of row `row` that read the whole of a needle.
 */
static void count_row(eval_run *r, const lac_plan_view *view, int row, int n, eval_range needle)
{
    const int end = needle.end < view->n_k ? needle.end : view->n_k; /* a block sees itself */
    const uint32_t begin = (uint32_t)(needle.begin / view->k_block);
    const uint32_t past = needle.begin < end ? (uint32_t)((end - 1) / view->k_block) + 1 : begin;
    for (int p = 0; p < view->n_heads; p++) {
        const uint32_t *ptr = view->row_ptr + (size_t)p * (size_t)view->n_rows + row;
        r->needle_rows += n;
        if (reads_blocks(view->cols + ptr[0], view->cols + ptr[1], begin, past))
            r->needle_kept += n;
    }
}

static void count_needle(eval_run *r, const lac_plan_view *view, eval_range needle)
{
    const eval_range response = r->canvas->response;
    if (view->active) {
        count_row(r, view, 0, count_active(view, response), needle);
        return;
    }
    for (int row = response.begin / view->q_block; row * view->q_block < response.end; row++) {
        const int from = row * view->q_block, to = from + view->q_block;
        const int n = (to < response.end ? to : response.end) -
                      (from > response.begin ? from : response.begin);
        count_row(r, view, row, n, needle);
    }
}

static void on_plan(void *user, const lac_plan_view *view)
{
    eval_run *r = user;
    const double begin = now();
    /* Dense steps say nothing about a policy; the unguided pass is no answer. */
    for (size_t i = 0; i < r->canvas->n_needles && view->density < 1 && !view->pass; i++)
        if (r->canvas->needles[i].begin >= 0) count_needle(r, view, r->canvas->needles[i]);
    r->seconds_outside += now() - begin;
}

/* Share of the rows counted; 1 where no plan left anything out, NAN without a known needle. */
static double needle_share(const eval_run *r)
{
    for (size_t i = 0; i < r->canvas->n_needles; i++)
        if (r->canvas->needles[i].begin >= 0)
            return r->needle_rows > 0 ? r->needle_kept / r->needle_rows : 1;
    return NAN;
}

/* ------------------------------------------------------------------ steps */

/* Whether the canvas after this step is what the dense run's was. */
static bool follows(const eval_run *r, const lac_step *step)
{
    for (int i = 0; i < step->n_canvas; i++) {
        const bool fixed = r->step_map[i] >= 0 && r->step_map[i] <= step->step;
        if (step->step_map[i] != (fixed ? r->step_map[i] : -1)) return false;
        if (fixed && step->canvas[i] != r->canvas_ids[i]) return false;
    }
    return true;
}

static int on_step(void *user, const lac_step *step)
{
    eval_run *r = user;
    const double begin = now();
    if (!r->is_dense && !r->has_left && !follows(r, step)) r->has_left = true;
    if (r->is_dense) /* the result has no steps of positions behind the end */
        memcpy(r->step_map, step->step_map, (size_t)step->n_canvas * sizeof *r->step_map);
    r->seconds_outside += now() - begin;
    return r->failed || interrupt_signal() != 0;
}

/* ------------------------------------------------------------------ one run */

static void reset(eval_run *r, bool is_dense)
{
    r->is_dense = is_dense;
    r->has_left = false;
    r->cursor = r->n_compared = r->n_same = 0;
    r->kl_sum = r->kl_worst = r->seconds_outside = 0;
    r->needle_rows = r->needle_kept = 0;
    if (is_dense) r->n_rows = 0;
}

static int generate(eval_run *r, size_t p, const lac_generate_options *how, lac_result *result)
{
    lac_error err = { .message = "" };
    const lac_status st =
        lac_generate(r->sessions[p], r->canvas->ids, r->canvas->n, how, result, &err);
    if (r->failed) return console_fail(EXIT_MEMORY, "out of memory for logits to compare with");
    if (st == LAC_ECANCELLED) return 128 + interrupt_signal();
    r->is_broken = st == LAC_ENOTFINITE;
    if (r->is_broken)
        console_warn("%s at %zu tokens under %s failed: %s", r->task->name, r->canvas->n,
                     r->opt.policies[p], err.message);
    if (r->is_broken) return EXIT_OK;
    return st ? console_fail_status(st, &err) : EXIT_OK;
}

/* Room for the dense run of a canvas, and how many of its steps are compared. */
static int reserve(eval_run *r)
{
    const size_t n = r->canvas->n;
    if (n > r->capacity) {
        int32_t *const ids = realloc(r->canvas_ids, n * sizeof *ids);
        if (ids) r->canvas_ids = ids;
        int32_t *const steps = realloc(r->step_map, n * sizeof *steps);
        if (steps) r->step_map = steps;
        int32_t *const answer = realloc(r->answer, n * sizeof *answer);
        if (answer) r->answer = answer;
        if (!ids || !steps || !answer)
            return console_fail(EXIT_MEMORY, "out of memory for a canvas of %zu tokens", n);
        r->capacity = n;
    }
    const double rows = (double)r->generate.steps * r->generate.block_length / 2 + 1;
    const double bytes = rows * r->info.n_vocab * (double)sizeof(float);
    r->stride = 1 + (int)(bytes / MAX_KEPT_BYTES);
    return EXIT_OK;
}

static int decode_answer(const eval_run *r, const lac_result *result, eval_text *output)
{
    char *text = NULL;
    size_t n = 0;
    lac_error err = { .message = "" };
    const lac_status st =
        lac_model_decode(r->opt.model, result->ids, result->n_ids, false, &text, &n, &err);
    if (st) return console_fail_status(st, &err);
    eval_text_clear(output);
    eval_text_add(output, text, n);
    lac_model_free_text(r->opt.model, text);
    return output->failed ? console_fail(EXIT_MEMORY, "out of memory for an answer") : EXIT_OK;
}

static void judge(const eval_run *r, const lac_result *result, const eval_text *output,
                  eval_figures *f)
{
    const char *refs[EVAL_MAX_REFS];
    const eval_sample *s = r->sample;
    size_t n_fixed = 0;
    for (size_t i = 0; i < s->n_refs; i++)
        refs[i] = s->refs[i].data;
    for (int i = r->canvas->response.begin; i < r->canvas->response.end; i++)
        n_fixed += result->canvas[i] != LAC_HOLE;
    f->score = eval_score(output->data, output->n, refs, s->n_refs, r->task->part);
    f->exact = eval_is_exact(output->data, output->n, s->answer.data, s->answer.n);
    f->density = result->density;
    f->kept_mass = result->kept_mass;
    f->needle_kept = needle_share(r);
    const double seconds = fmax(0, result->seconds - r->seconds_outside); /* two clocks' rounding */
    f->ms_per_step = result->steps ? 1e3 * seconds / result->steps : NAN;
    f->tokens_per_forward = result->forwards ? (double)n_fixed / result->forwards : NAN;
    if (r->info.mask != LAC_MASK_BLOCK_CAUSAL) return;
    f->union_inflation = result->union_inflation;
    f->bytes_read = result->steps ? (double)result->bytes_read / result->steps : NAN;
}

/* Keeps what the other policies are compared with. */
static void keep_dense(eval_run *r, const lac_result *result)
{
    memcpy(r->canvas_ids, result->canvas, result->n_canvas * sizeof *r->canvas_ids);
    memcpy(r->answer, result->ids, result->n_ids * sizeof *r->answer);
    r->n_answer = result->n_ids;
}

static void read_fidelity(const eval_run *r, eval_figures *f)
{
    if (!r->n_compared) return;
    f->kl = r->kl_sum / (double)r->n_compared;
    f->kl_worst = r->kl_worst;
    f->top1 = (double)r->n_same / (double)r->n_compared;
}

/* How far the policy of a run that is over is from the dense one; runs it again along the dense
 * decisions where it left them. Nothing is known beside a dense run that failed. */
static int compare(eval_run *r, size_t p, lac_generate_options *how, lac_result *result,
                   eval_figures *f)
{
    int code = EXIT_OK;
    f->agree =
        r->is_dense_broken ? 0 : eval_agreement(r->answer, r->n_answer, result->ids, result->n_ids);
    if (r->is_dense_broken) return code;
    if (r->has_left) {
        how->replay_ids = r->canvas_ids;
        how->replay_steps = r->step_map;
        how->n_replay = r->canvas->n;
        reset(r, false);
        code = generate(r, p, how, result);
    }
    read_fidelity(r, f);
    return code;
}

int eval_run_policy(eval_run *r, size_t p, eval_figures *figures, eval_text *output,
                    bool *has_failed)
{
    static const eval_figures unknown = { NAN, NAN, NAN, NAN, NAN, NAN, NAN,
                                          NAN, NAN, NAN, NAN, NAN, NAN };
    eval_figures f = unknown;
    lac_result result = { .n_ids = 0 };
    lac_generate_options how = r->generate;
    int code = p == 0 ? reserve(r) : EXIT_OK;
    if (code) return code;
    reset(r, p == 0);
    r->has_left = p > 0 && r->is_dense_broken;
    how.on_step = on_step;
    how.on_logits = on_logits;
    how.on_plan = on_plan;
    how.user = r;
    code = generate(r, p, &how, &result);
    if (!code && !r->is_broken) code = decode_answer(r, &result, output);
    if (code) return code;
    if (p == 0) r->is_dense_broken = r->is_broken;
    if (!r->is_broken) judge(r, &result, output, &f);
    if (p == 0 && !r->is_broken) {
        keep_dense(r, &result);
        f.agree = f.top1 = 1;
        f.kl = f.kl_worst = 0;
    } else if (!r->is_broken) {
        code = compare(r, p, &how, &result, &f);
    }
    if (r->is_broken) {
        eval_text_clear(output);
        f = unknown;
        f.score = f.exact = f.agree = f.top1 = 0;
    }
    *has_failed = r->is_broken;
    if (!code) *figures = f;
    return code;
}

/* ------------------------------------------------------------------ setting out */

void eval_run_sample(eval_run *r, const eval_task *task, const eval_sample *sample,
                     const eval_canvas *canvas)
{
    const int n_response = canvas->response.end - canvas->response.begin;
    lac_error err = { .message = "" };
    r->task = task;
    r->sample = sample;
    r->canvas = canvas;
    r->generate = r->opt.generate;
    if (r->generate.steps > n_response) r->generate.steps = n_response;
    /* What is wrong here is said by lac_generate. */
    (void)lac_generate_resolve(r->opt.model, (size_t)n_response, &r->generate, &err);
}

lac_session_options eval_run_room(const eval_run_options *opt, size_t p)
{
    return (lac_session_options){ .n_ctx = opt->n_ctx,
                                  .allow_longer = opt->allow_longer,
                                  .n_threads = opt->n_threads,
                                  .sparse = opt->sparse[p] };
}

int eval_run_open(eval_run **out, const eval_run_options *opt)
{
    lac_error err = { .message = "" };
    eval_run *r = calloc(1, sizeof *r);
    if (r) r->sessions = calloc(opt->n_policies, sizeof(lac_session *));
    if (!r || !r->sessions) {
        free(r);
        return console_fail(EXIT_MEMORY, "out of memory for %zu sessions", opt->n_policies);
    }
    r->opt = *opt;
    lac_status st = lac_model_get_info(opt->model, &r->info, &err);
    for (size_t p = 0; p < opt->n_policies && !st; p++) {
        const lac_session_options room = eval_run_room(opt, p);
        st = lac_session_create(&r->sessions[p], opt->model, &room, &err);
    }
    if (!st) {
        *out = r;
        return EXIT_OK;
    }
    eval_run_close(r);
    return console_fail_status(st, &err);
}

void eval_run_close(eval_run *r)
{
    if (!r) return;
    for (size_t p = 0; p < r->opt.n_policies; p++)
        lac_session_free(r->sessions[p]);
    free(r->sessions);
    free(r->canvas_ids);
    free(r->step_map);
    free(r->answer);
    free(r->keys);
    free(r->logits);
    free(r);
}
