/* batch_rig.h: requests that are run alone and in a batch, and all that is seen of them, for
 * comparison bit by bit. */
#ifndef LACI_TESTS_ENGINE_BATCH_RIG_H
#define LACI_TESTS_ENGINE_BATCH_RIG_H

#include "engine/golden.h"
#include "fault.h"

enum { MAX_PROMPT = 640, MAX_NEW = 144, MAX_REQUESTS = 8 };

/* ------------------------------------------------------------------ requests and what they give */

typedef struct {
    size_t n_prompt;
    unsigned variant; /* of the prompt's text */
    int join;         /* batch step before which it is added */
    int stop_at;      /* its callback stops it after this step, 0 = never */
    lac_generate_options opt;
} request;

/* Outcome of one request, and a digest of all that its callbacks saw. */
typedef struct {
    lac_status status;
    int32_t ids[MAX_NEW], step_map[MAX_NEW], position[MAX_NEW];
    float logprobs[MAX_NEW];
    lac_result r;
    uint64_t seen;
    int stop_at, n_steps;
} outcome;

static inline void digest(uint64_t *seen, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        *seen = (*seen ^ bytes[i]) * 1099511628211u;
}

static inline int see_step(void *user, const lac_step *step)
{
    outcome *o = user;
    const size_t n = (size_t)step->n_canvas;
    const int counts[] = { step->step,        step->n_steps,   step->block,   step->n_blocks,
                           step->block_begin, step->block_end, step->n_fixed, step->n_left };
    const double read[] = { step->density, step->kept_mass, step->union_inflation, step->n_active };
    digest(&o->seen, counts, sizeof counts);
    digest(&o->seen, read, sizeof read);
    digest(&o->seen, &step->bytes_read, sizeof step->bytes_read);
    digest(&o->seen, step->canvas, n * sizeof *step->canvas);
    digest(&o->seen, step->candidate, n * sizeof *step->candidate);
    o->n_steps++;
    return o->stop_at && step->step + 1 >= o->stop_at;
}

static inline void see_logits(void *user, const lac_logits_view *v)
{
    outcome *o = user;
    digest(&o->seen, v->position, (size_t)v->n_rows * sizeof *v->position);
    digest(&o->seen, v->logits, (size_t)v->n_rows * (size_t)v->n_vocab * sizeof *v->logits);
}

static inline void see_plan(void *user, const lac_plan_view *v)
{
    outcome *o = user;
    const size_t n = (size_t)v->n_heads * (size_t)v->n_rows;
    digest(&o->seen, v->row_ptr, (n + 1) * sizeof *v->row_ptr);
    digest(&o->seen, v->cols, v->row_ptr[n] * sizeof *v->cols);
    if (v->active) digest(&o->seen, v->active, (size_t)v->n_q * sizeof *v->active);
    if (v->kept_mass) digest(&o->seen, v->kept_mass, (size_t)v->n_heads * sizeof *v->kept_mass);
}

/* Keys and values with some order in them; ids below 100, which every model here has. */
static inline void make_prompt(int32_t *ids, size_t n, unsigned variant)
{
    static const char text[] = "lamp: 3141\ngarden: 2718\nriver: 1618\nIt was a cold morning. ";
    for (size_t i = 0; i < n; i++)
        ids[i] = text[(i + (size_t)variant * 17 + i / 97) % (sizeof text - 1)] % 100;
}

static inline lac_generate_options watch(const request *q, outcome *o)
{
    lac_generate_options opt = q->opt;
    *o = (outcome){ .stop_at = q->stop_at };
    opt.on_step = see_step;
    opt.on_logits = see_logits;
    opt.on_plan = see_plan;
    opt.user = o;
    return opt;
}

static inline void keep(outcome *o, lac_status status, const lac_result *r)
{
    o->status = status;
    o->r = *r;
    assert_true(r->n_ids <= MAX_NEW);
    memcpy(o->ids, r->ids, r->n_ids * sizeof *r->ids);
    memcpy(o->step_map, r->step_map, r->n_ids * sizeof *r->step_map);
    memcpy(o->position, r->position, r->n_ids * sizeof *r->position);
    memcpy(o->logprobs, r->logprobs, r->n_ids * sizeof *r->logprobs);
}

static inline void run_alone(const lac_model *model, const lac_session_options *room,
                             const request *q, outcome *o)
{
    int32_t prompt[MAX_PROMPT];
    lac_session *session;
    lac_result r;
    lac_error err = { 0 };
    const lac_generate_options opt = watch(q, o);
    make_prompt(prompt, q->n_prompt, q->variant);
    if (lac_session_create(&session, model, room, &err)) fail_msg("%s", err.message);
    const lac_status st = lac_generate(session, prompt, q->n_prompt, &opt, &r, &err);
    if (st && st != LAC_ECANCELLED) fail_msg("%s", err.message);
    keep(o, st, &r);
    lac_session_free(session);
}

static inline int add(lac_batch *batch, const request *q, outcome *o)
{
    int32_t prompt[MAX_PROMPT];
    lac_error err = { 0 };
    int sequence = -1;
    const lac_generate_options opt = watch(q, o);
    make_prompt(prompt, q->n_prompt, q->variant);
    if (lac_batch_add(batch, prompt, q->n_prompt, &opt, &sequence, &err))
        fail_msg("%s", err.message);
    return sequence;
}

/* A batch and the number each request has in it, -1 once its outcome is kept. */
typedef struct {
    lac_batch *batch;
    outcome *o; /* of the requests */
    int number[MAX_REQUESTS];
    size_t n_added;
    int held;
} crowd;

/* Keeps the outcome of who is done and removes it; returns how many were. */
static inline size_t take_done(crowd *c)
{
    size_t n_done = 0;
    for (size_t i = 0; i < c->n_added; i++) {
        lac_result r;
        if (c->number[i] < 0 || !lac_batch_is_done(c->batch, c->number[i])) continue;
        const lac_status st = lac_batch_result(c->batch, c->number[i], &r, NULL);
        keep(&c->o[i], st, &r);
        assert_ok(lac_batch_remove(c->batch, c->number[i], NULL));
        c->number[i] = -1;
        c->held--;
        n_done++;
    }
    return n_done;
}

/* All requests through a batch with room for `width`, each as soon as it may join and there is
 * room; returns the steps it took. */
static inline int run_together(const lac_model *model, const lac_session_options *room,
                               const request *q, size_t n, int width, outcome *o)
{
    int running = 0, t = 0;
    crowd c = { .o = o };
    lac_error err = { 0 };
    if (lac_batch_create(&c.batch, model, room, width, &err)) fail_msg("%s", err.message);
    for (size_t n_done = 0; n_done < n; t++) {
        for (; c.n_added < n && q[c.n_added].join <= t && c.held < width; c.n_added++, c.held++)
            c.number[c.n_added] = add(c.batch, &q[c.n_added], &o[c.n_added]);
        assert_ok(lac_batch_step(c.batch, &running, &err));
        n_done += take_done(&c);
        assert_int_equal(c.held, running);
        assert_true(t < 2000);
    }
    lac_batch_free(c.batch);
    return t;
}

static inline void check_same(const char *what, size_t i, const outcome *want, const outcome *got)
{
    const lac_result *a = &want->r, *b = &got->r;
    if (want->status != got->status || a->n_ids != b->n_ids || a->finish != b->finish)
        fail_msg("%s, request %zu: %d, %zu ids, finish %d, alone %d, %zu, %d", what, i, got->status,
                 b->n_ids, b->finish, want->status, a->n_ids, a->finish);
    if (a->steps != b->steps || (a->forwards != b->forwards && !b->n_reused))
        fail_msg("%s, request %zu: %d steps, %d passes, alone %d, %d", what, i, b->steps,
                 b->forwards, a->steps, a->forwards);
    assert_memory_equal(want->ids, got->ids, a->n_ids * sizeof *want->ids);
    assert_memory_equal(want->position, got->position, a->n_ids * sizeof *want->position);
    assert_memory_equal(want->step_map, got->step_map, a->n_ids * sizeof *want->step_map);
    assert_memory_equal(want->logprobs, got->logprobs, a->n_ids * sizeof *want->logprobs);
    if (want->seen != got->seen) fail_msg("%s, request %zu: callbacks saw other bits", what, i);
    const double x[] = { a->density, a->kept_mass, a->union_inflation, a->n_active };
    const double y[] = { b->density, b->kept_mass, b->union_inflation, b->n_active };
    assert_memory_equal(x, y, sizeof x);
    assert_int_equal(a->bytes_read, b->bytes_read);
    assert_true(want->n_steps == got->n_steps && got->n_steps > 0);
    assert_true(b->seconds >= b->seconds_forward && b->seconds_forward > 0);
    assert_true(b->seconds >= b->seconds_prefill && b->seconds_prefill >= 0);
}

static inline void open_model(lac_model **model, const char *path, lac_dtype dtype, int n_threads)
{
    lac_error err = { 0 };
    const lac_model_options how = { .dtype = dtype, .n_threads = n_threads };
    if (lac_model_open(model, test_path(path), &how, &err)) fail_msg("%s", err.message);
}

static inline void expect(lac_status got, lac_status want, const lac_error *err, const char *words)
{
    if (got != want || !strstr(err->message, words))
        fail_msg("%s \"%s\", not %s with \"%s\"", lac_status_name(got), err->message,
                 lac_status_name(want), words);
}

/* Bytes asked of an allocator and not yet released. */
typedef struct {
    size_t live, n_calls;
} counter;

static inline void *count_alloc(void *user, size_t size)
{
    counter *c = user;
    size_t *const block = malloc(size + 16);
    c->live += size;
    c->n_calls++;
    if (block) block[0] = size;
    return block ? block + 2 : NULL;
}

static inline void count_release(void *user, void *ptr)
{
    if (!ptr) return;
    size_t *const block = (size_t *)ptr - 2;
    ((counter *)user)->live -= block[0];
    free(block);
}

static inline void *count_resize(void *user, void *ptr, size_t size)
{
    void *const out = count_alloc(user, size);
    const size_t before = ptr ? ((size_t *)ptr)[-2] : 0;
    if (out && ptr) memcpy(out, ptr, before < size ? before : size);
    if (out) count_release(user, ptr);
    return out;
}

static inline lac_allocator counting_allocator(counter *c)
{
    return (lac_allocator){ count_alloc, count_resize, count_release, c };
}

#endif
