/* test_replay_blocks.c: replays behind a key cache that leave holes open: what is stored there are
 * masks, whatever memory held before; every step obeys the trajectory, sub-blocks included. */
#include <math.h>

#include "engine/golden.h"

enum { N_PROMPT = 21, N_NEW = 43, N_ALL = N_PROMPT + N_NEW, N_CTX = 96, MAX_VOCAB = 400 };

/* ------------------------------------------------------------------ memory that is filled */

static void *filled_alloc(void *user, size_t size)
{
    void *ptr = malloc(size);
    if (ptr) memset(ptr, *(const int *)user, size);
    return ptr;
}

static void *filled_resize(void *user, void *ptr, size_t size)
{
    (void)user;
    return realloc(ptr, size);
}

static void filled_release(void *user, void *ptr)
{
    (void)user;
    free(ptr);
}

/* ------------------------------------------------------------------ a replay with open holes */

typedef struct {
    int32_t ids[N_ALL], steps[N_ALL];
} trajectory;

/* Every fifth hole is never named; the others come in an order of their own, some past the end. */
static void make_trajectory(trajectory *t)
{
    for (int i = 0; i < N_ALL; i++) {
        const int hole = i - N_PROMPT;
        t->ids[i] = 65 + i * 11 % 26;
        t->steps[i] = hole < 0 || hole % 5 == 4 ? -1 : hole / 2 * 2 + hole % 3;
    }
}

/* What a run showed and came to. */
typedef struct {
    uint64_t logits; /* digest of all of them, and of the positions they are for */
    int32_t canvas[N_ALL], step_map[N_ALL];
    int n_steps;
} outcome;

static void digest(uint64_t *sum, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        *sum = (*sum ^ bytes[i]) * 1099511628211u;
}

static void see_logits(void *user, const lac_logits_view *v)
{
    outcome *o = user;
    digest(&o->logits, v->position, (size_t)v->n_rows * sizeof *v->position);
    digest(&o->logits, v->logits, (size_t)v->n_rows * (size_t)v->n_vocab * sizeof *v->logits);
}

static int see_step(void *user, const lac_step *step)
{
    outcome *o = user;
    assert_int_equal(step->n_canvas, N_ALL);
    memcpy(o->step_map, step->step_map, sizeof o->step_map);
    o->n_steps++;
    return 0;
}

static lac_generate_options replay_of(const trajectory *t, outcome *o)
{
    *o = (outcome){ 0 };
    return (lac_generate_options){ .n_tokens = N_NEW,
                                   .ignore_eos = true,
                                   .on_step = see_step,
                                   .on_logits = see_logits,
                                   .user = o,
                                   .replay_ids = t->ids,
                                   .replay_steps = t->steps,
                                   .n_replay = N_ALL };
}

static void make_prompt(int32_t *ids)
{
    for (int i = 0; i < N_PROMPT; i++)
        ids[i] = 33 + i * 7 % 60;
}

static void run_alone(const lac_model *model, const lac_session_options *room, const trajectory *t,
                      outcome *o)
{
    int32_t ids[N_PROMPT];
    lac_session *session;
    lac_result r;
    lac_error err = { 0 };
    const lac_generate_options how = replay_of(t, o);
    make_prompt(ids);
    assert_ok(lac_session_create(&session, model, room, NULL));
    if (lac_generate(session, ids, N_PROMPT, &how, &r, &err)) fail_msg("%s", err.message);
    memcpy(o->canvas, r.canvas, sizeof o->canvas);
    lac_session_free(session);
}

/* The replay beside two generations that decide for themselves. */
static void run_in_batch(const lac_model *model, const lac_session_options *room,
                         const trajectory *t, outcome *o)
{
    int32_t ids[N_PROMPT];
    lac_batch *batch;
    lac_result r;
    lac_error err = { 0 };
    const lac_generate_options how = replay_of(t, o), other = { .n_tokens = 30 };
    int number[3], n_running = 1;
    make_prompt(ids);
    assert_ok(lac_batch_create(&batch, model, room, 3, NULL));
    assert_ok(lac_batch_add(batch, ids, 7, &other, &number[0], NULL));
    assert_ok(lac_batch_add(batch, ids, N_PROMPT, &how, &number[1], NULL));
    assert_ok(lac_batch_add(batch, ids, N_PROMPT, &other, &number[2], NULL));
    while (n_running)
        assert_ok(lac_batch_step(batch, &n_running, NULL));
    if (lac_batch_result(batch, number[1], &r, &err)) fail_msg("%s", err.message);
    memcpy(o->canvas, r.canvas, sizeof o->canvas);
    lac_batch_free(batch);
}

static void check_obeyed(const trajectory *t, const outcome *o)
{
    int n_fixed = 0;
    for (int i = N_PROMPT; i < N_ALL; i++) {
        const bool is_fixed = o->canvas[i] != LAC_HOLE;
        assert_int_equal(o->step_map[i], is_fixed ? t->steps[i] : -1);
        if (is_fixed) assert_int_equal(o->canvas[i], t->ids[i]);
        n_fixed += is_fixed;
    }
    assert_true(n_fixed > 0 && n_fixed < N_NEW);
}

static void check_model(const char *path)
{
    static const int fills[] = { 0x01, 0xaa };
    static outcome first, o;
    trajectory t;
    make_trajectory(&t);
    for (size_t f = 0; f < 2; f++) {
        int fill = fills[f];
        const lac_allocator mem = { filled_alloc, filled_resize, filled_release, &fill };
        const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 2, .allocator = &mem };
        const lac_session_options room = { .n_ctx = N_CTX, .sparse = "off" };
        lac_model *model;
        assert_ok(lac_model_open(&model, test_path(path), &how, NULL));
        run_alone(model, &room, &t, f ? &o : &first);
        check_obeyed(&t, &first);
        if (f) assert_memory_equal(&o, &first, sizeof o);
        run_in_batch(model, &room, &t, &o);
        assert_memory_equal(&o, &first, sizeof o);
        lac_model_close(model);
    }
}

static void open_holes_are_stored_as_masks_whatever_memory_held(void **state)
{
    (void)state;
    check_model("models/nano-b");
    check_model("tests/golden/sdar");
    check_model("tests/golden/fast-dllm");
}

/* ------------------------------------------------------------------ what later blocks read */

typedef struct {
    lac_session *whole;
    int32_t before[N_CTX]; /* the canvas as the step sees it */
    int block, n_vocab, n_compared;
} follower;

/* Each row that a step shows, once more without a cache, over the canvas with its open holes. */
static void follow_logits(void *user, const lac_logits_view *v)
{
    static float logits[MAX_VOCAB];
    follower *f = user;
    for (int i = 0; i < v->n_rows; i++) {
        const int32_t at = v->position[i];
        const size_t end = (size_t)(at / f->block + 1) * (size_t)f->block;
        assert_ok(lac_session_logits(f->whole, f->before, end, &at, 1, 0, logits, NULL));
        for (int id = 0; id < v->n_vocab; id++) {
            const float shown = v->logits[(size_t)i * (size_t)v->n_vocab + (size_t)id];
            if (!(fabsf(shown - logits[id]) <= 1e-3f))
                fail_msg("step %d, position %d, id %d: %g shown, %g without a cache", v->step, at,
                         id, (double)shown, (double)logits[id]);
        }
        f->n_compared++;
    }
}

static int follow_step(void *user, const lac_step *step)
{
    follower *f = user;
    memcpy(f->before, step->canvas, (size_t)step->n_canvas * sizeof *f->before);
    return 0;
}

static void later_blocks_read_masks_in_open_holes(void **state)
{
    (void)state;
    static const char *const paths[] = { "models/nano-b", "tests/golden/sdar" };
    for (size_t p = 0; p < 2; p++) {
        lac_model *model;
        lac_session *session;
        lac_model_info info;
        lac_result r;
        trajectory t;
        static follower f;
        f = (follower){ .n_compared = 0 };
        make_trajectory(&t);
        golden_session(&model, &session, test_path(paths[p]), LAC_DTYPE_F32, 1, N_CTX);
        assert_ok(lac_model_get_info(model, &info, NULL));
        assert_true(info.n_vocab <= MAX_VOCAB);
        assert_ok(
            lac_session_create(&f.whole, model, &(lac_session_options){ .n_ctx = N_CTX }, NULL));
        f.block = info.block_size;
        for (int i = 0; i < N_CTX; i++)
            f.before[i] = LAC_HOLE;
        make_prompt(f.before);
        const lac_generate_options how = { .n_tokens = N_NEW,
                                           .ignore_eos = true,
                                           .on_step = follow_step,
                                           .on_logits = follow_logits,
                                           .user = &f,
                                           .replay_ids = t.ids,
                                           .replay_steps = t.steps,
                                           .n_replay = N_ALL };
        int32_t ids[N_PROMPT];
        make_prompt(ids);
        assert_ok(lac_generate(session, ids, N_PROMPT, &how, &r, NULL));
        assert_true(f.n_compared > N_NEW);
        lac_session_free(f.whole);
        lac_session_free(session);
        lac_model_close(model);
    }
}

/* ------------------------------------------------------------------ sub-blocks */

/* One block of eight behind a prompt of eight, sub-blocks of four: its first token is a step of its
 * own, then the second sub-block comes before the first, then both at once. */
static void steps_name_holes_of_any_sub_block(void **state)
{
    (void)state;
    enum { N = 16 };
    static const int steps[N] = { -1, -1, -1, -1, -1, -1, -1, -1, 0, 2, 3, -1, -1, 1, 3, 99 };
    int32_t ids[N], replay_steps[N];
    lac_model *model;
    lac_session *session;
    lac_result r;
    golden_session(&model, &session, test_path("tests/golden/fast-dllm"), LAC_DTYPE_F32, 1, 32);
    for (int i = 0; i < N; i++) {
        ids[i] = 65 + i;
        replay_steps[i] = steps[i];
    }
    for (int is_named = 0; is_named < 2; is_named++) {
        const lac_generate_options how = { .n_tokens = 8,
                                           .ignore_eos = true,
                                           .replay_ids = ids,
                                           .replay_steps = replay_steps,
                                           .n_replay = N };
        replay_steps[8] = is_named ? 0 : -1;
        assert_ok(lac_generate(session, ids, 8, &how, &r, NULL));
        assert_int_equal(r.n_ids, is_named ? 5 : 4);
        for (int i = 8; i < N; i++) {
            const bool is_open = replay_steps[i] < 0 || replay_steps[i] == 99;
            assert_int_equal(r.canvas[i], is_open ? LAC_HOLE : 65 + i);
        }
        for (size_t i = 0; i < r.n_ids; i++)
            assert_int_equal(r.step_map[i], replay_steps[r.position[i]]);
    }
    lac_session_free(session);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_holes_are_stored_as_masks_whatever_memory_held),
        cmocka_unit_test(later_blocks_read_masks_in_open_holes),
        cmocka_unit_test(steps_name_holes_of_any_sub_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
