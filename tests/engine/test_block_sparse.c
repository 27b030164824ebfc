/* test_block_sparse.c: policies behind a key cache on a trained model: with everything selected
 * they equal dense, without a prefix they are dense, their plans are valid, and what they report
 * adds up. */
#include <math.h>

#include "engine/golden.h"
#include "engine/session.h"
#include "fault.h"
#include "request.h"

enum { MAX_IDS = 1024, BLOCK = 16, N_LAYERS = 4, N_HEADS = 4 };

static const char nano_b[] = "models/nano-b";
/* "losa by pages" is losa with QUEST's selector, as published. */
static const char by_pages[] = "losa by pages";
static const char *const names[] = { "losa", "quest", "mage", "flashblock", "sparsed", by_pages };
enum { N_NAMES = sizeof names / sizeof names[0] };

/* The request of a name with those of the knobs that its policy has. */
static const char *request(const char *name, const char *knobs)
{
    if (name != by_pages) return request_of(name, true, knobs);
    const char *page = strstr(knobs, "page=") ? "" : "page=16,";
    return request_of("losa", true, text_of("selector=pages,%s%s", page, knobs));
}

/* Keys and four-digit values, then a question: attention has to find something. */
static size_t make_prompt(int32_t *ids, size_t n)
{
    static const char question[] = "What is qab? ";
    size_t at = 0;
    for (unsigned i = 0; at + 12 < n - sizeof question; i++) {
        char line[16];
        snprintf(line, sizeof line, "q%c%c: %04u\n", 'a' + (int)(i / 26 % 26), 'a' + (int)(i % 26),
                 i * 7919 % 9000 + 1000);
        for (const char *c = line; *c; c++)
            ids[at++] = *c;
    }
    for (const char *c = question; *c; c++)
        ids[at++] = *c;
    return at;
}

typedef struct {
    int32_t ids[64];
    float logprobs[64];
    int32_t steps[64]; /* of the whole generation, in which a position was decided */
    size_t n;
    lac_result result;
} answer;

static int block_size; /* in place of the model's, 0 = the model's */

static answer run(const char *policy, const char *knobs, lac_dtype dtype, int n_threads,
                  size_t n_prompt, size_t first_end, lac_step_fn on_step, lac_plan_fn on_plan,
                  void *user)
{
    static int32_t prompt[MAX_IDS];
    lac_model *model;
    lac_session *session;
    lac_error err = { 0 };
    answer a = { .n = 0 };
    const lac_model_options how = { .dtype = dtype, .n_threads = n_threads };
    const lac_session_options room = { .n_ctx = MAX_IDS, .sparse = request(policy, knobs) };
    const size_t n = n_prompt ? make_prompt(prompt, n_prompt) : 0;
    if (lac_model_open(&model, test_path(nano_b), &how, &err)) fail_msg("%s", err.message);
    if (block_size) model->config.block_size = block_size;
    if (lac_session_create(&session, model, &room, &err)) fail_msg("%s", err.message);
    if (first_end) session->seq->kv.first_end = first_end;
    const lac_generate_options gen = {
        .n_tokens = 37, .ignore_eos = true, .on_step = on_step, .on_plan = on_plan, .user = user
    };
    if (lac_generate(session, prompt, n, &gen, &a.result, &err)) fail_msg("%s", err.message);
    a.n = a.result.n_ids;
    memcpy(a.ids, a.result.ids, a.n * sizeof *a.ids);
    memcpy(a.steps, a.result.step_map, a.n * sizeof *a.steps);
    memcpy(a.logprobs, a.result.logprobs, a.n * sizeof *a.logprobs);
    lac_session_free(session);
    lac_model_close(model);
    return a;
}

static double distance(const answer *a, const answer *b)
{
    double worst = a->n == b->n ? 0 : INFINITY;
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        const double error = fabs((double)a->logprobs[i] - (double)b->logprobs[i]);
        if (a->ids[i] != b->ids[i]) return INFINITY;
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

/* All rows, all pages: the budget is a little short of the prefix, or the policy would step aside.
 */
static void everything_selected_equals_dense(void **state)
{
    (void)state;
    const answer dense = run("off", "", LAC_DTYPE_F32, 2, 500, 0, NULL, NULL, NULL);
    for (size_t i = 0; i < N_NAMES; i++) {
        const bool is_mage = !strcmp(names[i], "mage"); /* its least key is left out */
        const bool is_flash = !strcmp(names[i], "flashblock");
        const char *knobs = is_flash ? "min-prefix=0,refresh-tokens=1"
                                     : "budget=0.997,active=99,min-change=0,min-prefix=0";
        const answer a = run(names[i], knobs, LAC_DTYPE_F32, 2, 500, 0, NULL, NULL, NULL);
        const double error = distance(&dense, &a);
        if (!(error <= (is_mage ? 0.02 : 1e-4)))
            fail_msg("%s is off by %g from dense", names[i], error);
    }
}

/* Without a prefix, behind a short one, and with a budget above it: dense, to the bit. */
static void nothing_to_select_is_dense(void **state)
{
    (void)state;
    static const struct {
        size_t n_prompt;
        const char *knobs;
    } cases[] = {
        { 0, "budget=16,min-prefix=40" },
        { 300, "budget=16" },
        { 300, "budget=5000,min-prefix=0,refresh-tokens=1" },
        { 300, "budget=16,min-prefix=0,first-layers=4" },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const answer dense =
            run("off", "", LAC_DTYPE_BF16, 2, cases[c].n_prompt, 0, NULL, NULL, NULL);
        for (size_t i = 0; i < N_NAMES; i++) {
            if (c == 2 && !strcmp(names[i], "flashblock")) continue; /* has no budget */
            const answer a = run(names[i], cases[c].knobs, LAC_DTYPE_BF16, 2, cases[c].n_prompt, 0,
                                 NULL, NULL, NULL);
            if (distance(&dense, &a) > 0) fail_msg("case %zu: %s is not dense", c, names[i]);
            assert_true(a.result.density >= 1);
        }
    }
}

/* The first block of an empty prompt is alone; the next ones have a prefix, of one page or less. */
static void a_prefix_shorter_than_a_page(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        static const char opt[] = "budget=8,page=64,min-prefix=0";
        const answer a = run(names[i], opt, LAC_DTYPE_F32, 1, 0, 0, NULL, NULL, NULL);
        assert_int_equal(a.n, 37);
        for (size_t k = 0; k < a.n; k++)
            assert_true(isfinite(a.logprobs[k]));
    }
}

/* No keys to read: the first block of an empty prompt is dense to the bit, whatever is asked. */
static void a_prefix_of_no_keys_is_exact(void **state)
{
    (void)state;
    const answer dense = run("off", "", LAC_DTYPE_F32, 2, 0, 0, NULL, NULL, NULL);
    for (size_t i = 0; i < N_NAMES; i++) {
        static const char opt[] = "budget=1,active=1,min-prefix=0";
        const answer a = run(names[i], opt, LAC_DTYPE_F32, 2, 0, 0, NULL, NULL, NULL);
        assert_memory_equal(dense.ids, a.ids, BLOCK * sizeof *a.ids);
        assert_memory_equal(dense.logprobs, a.logprobs, BLOCK * sizeof *a.logprobs);
    }
}

/* A block does not know what comes after it, nor that anything does. */
static void later_blocks_change_nothing(void **state)
{
    (void)state;
    static int32_t prompt[MAX_IDS];
    const size_t n_prompt = 640; /* on the border of a block; cut there */
    lac_model *model;
    const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 2 };
    static const char *const knobs[] = {
        "budget=64,active=3,min-prefix=0",
        "budget=64,active=3,min-prefix=0,group=kv,select-every=40",
    };
    assert_true(make_prompt(prompt, n_prompt + 40) >= n_prompt);
    assert_ok(lac_model_open(&model, test_path(nano_b), &how, NULL));
    for (size_t i = 0; i < 2 * N_NAMES; i++) {
        int32_t ids[BLOCK];
        float logprobs[BLOCK];
        lac_session *session;
        const char *const name = names[i % N_NAMES];
        const lac_session_options room = { .n_ctx = MAX_IDS,
                                           .sparse = request(name, knobs[i / N_NAMES]) };
        assert_ok(lac_session_create(&session, model, &room, NULL));
        for (int n_blocks = 1; n_blocks <= 3; n_blocks += 2) {
            lac_result r;
            const lac_generate_options gen = { .n_tokens = n_blocks * BLOCK, .ignore_eos = true };
            assert_ok(lac_generate(session, prompt, n_prompt, &gen, &r, NULL));
            assert_int_equal(r.n_ids, n_blocks * BLOCK);
            if (n_blocks == 1) memcpy(ids, r.ids, sizeof ids);
            if (n_blocks == 1) memcpy(logprobs, r.logprobs, sizeof logprobs);
            assert_memory_equal(ids, r.ids, sizeof ids);
            assert_memory_equal(logprobs, r.logprobs, sizeof logprobs);
        }
        lac_session_free(session);
    }
    lac_model_close(model);
}

/* Threads change no bit, pieces of the cache no more than rounding. */
static void threads_and_pieces(void **state)
{
    (void)state;
    static const char opt[] = "budget=64,min-prefix=0";
    for (size_t i = 0; i < N_NAMES; i++) {
        const answer one = run(names[i], opt, LAC_DTYPE_F32, 1, 600, 0, NULL, NULL, NULL);
        const answer three = run(names[i], opt, LAC_DTYPE_F32, 3, 600, 0, NULL, NULL, NULL);
        const answer cut = run(names[i], opt, LAC_DTYPE_F32, 2, 600, 64, NULL, NULL, NULL);
        assert_int_equal(distance(&one, &three) > 0, 0);
        const double error = distance(&one, &cut);
        if (!(error <= 1e-4)) fail_msg("%s: pieces change a result by %g", names[i], error);
    }
}

/* Mass by page, mass by key and nothing are measured in the first step: its tokens are the same, to
 * the bit. */
static void measuring_changes_no_bit(void **state)
{
    (void)state;
    static const char *const measured[] = { "flashblock", "mage", "sparsed", "losa" };
    for (int cut = 0; cut < 2; cut++) {
        answer a[4];
        for (size_t i = 0; i < 4; i++) {
            a[i] = run(measured[i], "budget=64,min-prefix=0", cut ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                       1 + (int)i, 500, cut ? 64 : 0, NULL, NULL, NULL);
            size_t n_first = 0;
            for (size_t k = 0; k < BLOCK; k++) {
                if (a[i].steps[k] != 0) continue;
                n_first++;
                assert_int_equal(a[i].ids[k], a[0].ids[k]);
                assert_true(a[i].logprobs[k] == a[0].logprobs[k]);
            }
            assert_true(n_first > 0);
        }
    }
}

/* Blocks of more than four rows for each key of a page have their mass measured by key. */
static void large_blocks_are_measured_by_key(void **state)
{
    (void)state;
    static const char all[] = "budget=0.997,min-prefix=0";
    static const char some[] = "budget=64,min-prefix=0";
    block_size = 128;
    for (size_t cut = 0; cut < 256; cut += 128) {
        const answer dense = run("off", "", LAC_DTYPE_F32, 2, 500, cut, NULL, NULL, NULL);
        const answer whole = run("sparsed", all, LAC_DTYPE_F32, 2, 500, cut, NULL, NULL, NULL);
        const answer one = run("sparsed", some, LAC_DTYPE_F32, 1, 500, cut, NULL, NULL, NULL);
        const answer three = run("sparsed", some, LAC_DTYPE_F32, 3, 500, cut, NULL, NULL, NULL);
        assert_true(distance(&dense, &whole) <= 1e-4);
        assert_true(distance(&one, &three) == 0 && one.result.density < 1);
    }
    block_size = 0;
}

/* ------------------------------------------------------------------ plans and reports */

typedef struct {
    const char *name;
    bool has_ends; /* pages by bounds: the first and the last are always among them */
    int n_plans, n_steps;
    int n_active, first; /* of the last plan */
    double least, most;  /* density of steps */
    uint64_t bytes;
    double inflation;
    int32_t before[MAX_IDS];
    bool is_new[MAX_IDS]; /* ids the last step fixed */
} witness;

static void see_plan(void *user, const lac_plan_view *v)
{
    witness *w = user;
    lac_error err = { 0 };
    const laci_plan plan = { .q_block = (size_t)v->q_block,
                             .k_block = (size_t)v->k_block,
                             .n_heads = (size_t)v->n_heads,
                             .n_rows = (size_t)v->n_rows,
                             .row_ptr = v->row_ptr,
                             .cols = v->cols };
    assert_int_equal(v->n_heads, N_HEADS);
    if (laci_plan_validate(&plan, (size_t)v->n_q, (size_t)v->n_k, N_HEADS, &err))
        fail_msg("%s: %s", w->name, err.message);
    assert_int_equal(v->first % BLOCK, 0);
    for (int i = 0; i < v->n_q; i++)
        assert_true(v->active[i] >= 0 && v->active[i] < BLOCK &&
                    (!i || v->active[i] > v->active[i - 1]));
    for (int h = 0; h < N_HEADS && w->has_ends; h++) {
        assert_int_equal(v->cols[v->row_ptr[h]], 0);
        assert_int_equal(v->cols[v->row_ptr[h + 1] - 1], (v->n_k - 1) / v->k_block);
    }
    for (int i = 0; i < BLOCK && (!strcmp(w->name, "losa") || w->name == by_pages);
         i++) { /* new ids are active */
        bool is_active = !w->is_new[v->first + i];
        for (int k = 0; k < v->n_q; k++)
            is_active = is_active || v->active[k] == i;
        if (!is_active) fail_msg("row %d of the block at %d is new and not active", i, v->first);
    }
    w->n_plans++;
    w->n_active = v->n_q;
}

static int see_step(void *user, const lac_step *step)
{
    witness *w = user;
    for (int i = 0; i < step->n_canvas; i++)
        w->is_new[i] = step->step_map[i] == step->step;
    w->least = step->density < w->least ? step->density : w->least;
    w->most = step->density > w->most ? step->density : w->most;
    w->bytes += step->bytes_read;
    w->inflation = step->union_inflation > w->inflation ? step->union_inflation : w->inflation;
    w->n_steps++;
    return 0;
}

static void what_is_reported_adds_up(void **state)
{
    (void)state;
    static witness w;
    static const char opt[] = "budget=64,min-prefix=0,active=3,min-change=0";
    const answer dense = run("off", "", LAC_DTYPE_BF16, 2, 700, 0, NULL, NULL, NULL);
    for (size_t i = 0; i < N_NAMES; i++) {
        w = (witness){ .name = names[i], .least = 2 };
        w.has_ends = !strcmp(names[i], "quest") || names[i] == by_pages;
        const answer a = run(names[i], opt, LAC_DTYPE_BF16, 2, 700, 0, see_step, see_plan, &w);
        const lac_result *r = &a.result;
        const bool is_flash = !strcmp(names[i], "flashblock");
        const bool is_quest = !strcmp(names[i], "quest");
        assert_true(is_flash ? w.n_plans == 0 : w.n_plans > 10 * N_LAYERS);
        assert_true(is_quest ? w.most < 0.9 : w.most == 1);
        assert_true(w.least < 0.5 && r->density >= w.least && r->density <= w.most);
        assert_true(r->bytes_read == w.bytes && r->bytes_read < dense.result.bytes_read);
        assert_true(w.inflation < BLOCK);
        assert_true(is_quest ? r->n_active == BLOCK : r->n_active <= BLOCK);
        if (!strcmp(names[i], "losa") || names[i] == by_pages) assert_true(r->n_active < 8);
        if (is_quest || names[i] == by_pages) assert_true(r->union_inflation > 1);
        if (!strcmp(names[i], "mage")) assert_true(r->union_inflation == 1);
        if (!strcmp(names[i], "losa")) /* a page of 64, and the last one may be short */
            assert_true(r->union_inflation <= 1 && r->union_inflation > 0.5);
    }
    /* dense: 4 layers, every step all 4 heads of 32 in bf16, keys and values */
    const uint64_t key = 4 * 4 * 32 * 2 * 2, n_steps = (uint64_t)dense.result.steps;
    assert_true(n_steps >= 34);
    assert_true(dense.result.bytes_read > n_steps * 680 * key &&
                dense.result.bytes_read < n_steps * 760 * key);
}

/* The answer is found by every policy, with a third of the keys. */
static void the_needle_is_found(void **state)
{
    (void)state;
    const answer dense = run("off", "", LAC_DTYPE_BF16, 2, 900, 0, NULL, NULL, NULL);
    assert_int_equal(dense.ids[0], '8'); /* qab: 1 * 7919 % 9000 + 1000 = 8919 */
    for (size_t i = 0; i < N_NAMES; i++) {
        static const char opt[] = "budget=300,min-prefix=0";
        const answer a = run(names[i], opt, LAC_DTYPE_BF16, 2, 900, 0, NULL, NULL, NULL);
        int n_same = 0;
        for (int k = 0; k < 4; k++)
            n_same += a.ids[k] == dense.ids[k];
        if (n_same < 3) fail_msg("%s agrees in %d of 4 digits", names[i], n_same);
    }
}

/* What LoSA keeps of a block, over what QUEST needs for one layer at a time: in each layer output
 * in f32, queries in bf16 and a log-sum-exp, H B (6 d + 4) bytes. */
static void losa_keeps_what_was_predicted(void **state)
{
    (void)state;
    enum { D = 32, ROWS = N_HEADS * BLOCK };
    lac_model *model;
    lac_memory_plan plans[2];
    const char *const pair[] = { by_pages, "quest" };
    const lac_model_options how = { .dtype = LAC_DTYPE_BF16, .n_threads = 1 };
    assert_ok(lac_model_open(&model, test_path(nano_b), &how, NULL));
    for (size_t i = 0; i < 2; i++) {
        const lac_session_options room = { .n_ctx = 4096,
                                           .n_threads = 1,
                                           .sparse = request(pair[i], "") };
        assert_ok(lac_session_plan_memory(model, &room, &plans[i], NULL));
    }
    assert_int_equal(plans[0].bytes_workspace - plans[1].bytes_workspace,
                     N_LAYERS * ROWS * (6 * D + 4) - ROWS * (4 * D + 4));
    assert_int_equal(plans[0].bytes_kv, plans[1].bytes_kv);
    lac_model_close(model);
}

/* A page of 16 keys: 4 d bytes a layer and KV head in bf16, 2 d + 4 in int8. */
static void int8_bounds_take_what_was_predicted(void **state)
{
    (void)state;
    enum { D = 32, N_CTX = 4096 };
    lac_model *model;
    lac_memory_plan plans[2];
    const lac_model_options how = { .dtype = LAC_DTYPE_BF16, .n_threads = 1 };
    assert_ok(lac_model_open(&model, test_path(nano_b), &how, NULL));
    for (int i = 0; i < 2; i++) {
        const lac_session_options room = { .n_ctx = N_CTX,
                                           .n_threads = 1,
                                           .sparse = i ? "quest:page-bounds=int8" : "quest" };
        assert_ok(lac_session_plan_memory(model, &room, &plans[i], NULL));
    }
    assert_int_equal(plans[0].bytes_workspace - plans[1].bytes_workspace,
                     N_LAYERS * N_HEADS * (N_CTX / 16) * (4 * D - (2 * D + 4)));
    lac_model_close(model);
}

/* Bounds in int8: fewer bytes, and with every page chosen still dense. */
static void int8_bounds_take_less(void **state)
{
    (void)state;
    const answer dense = run("off", "", LAC_DTYPE_F32, 2, 500, 0, NULL, NULL, NULL);
    const char *const pair[] = { by_pages, "quest" };
    for (size_t i = 0; i < 2; i++) {
        static const char all[] =
            "budget=0.997,active=99,min-change=0,min-prefix=0,page-bounds=int8";
        static const char some[] = "budget=64,min-prefix=0";
        const answer whole = run(pair[i], all, LAC_DTYPE_F32, 2, 500, 0, NULL, NULL, NULL);
        const double error = distance(&dense, &whole);
        if (!(error <= 1e-4)) fail_msg("%s is off by %g from dense", pair[i], error);
        const answer exact = run(pair[i], some, LAC_DTYPE_BF16, 2, 700, 0, NULL, NULL, NULL);
        const answer small = run(pair[i], text_of("%s,page-bounds=int8", some), LAC_DTYPE_BF16, 2,
                                 700, 0, NULL, NULL, NULL);
        assert_true(small.result.bytes_read < exact.result.bytes_read);
        assert_true(small.result.density < 0.6);
    }
}

/* Rows that choose pages together, and pages that serve several steps. */
static const char *const shared[] = {
    "group=kv",
    "group=head",
    "select-every=3",
    "group=kv,select-every=3",
};
enum { N_SHARED = sizeof shared / sizeof shared[0], N_BY_PAGES = 2 /* losa and quest */ };

static void shared_pages_keep_the_laws(void **state)
{
    (void)state;
    const answer dense = run("off", "", LAC_DTYPE_F32, 2, 500, 0, NULL, NULL, NULL);
    for (size_t i = 0; i < N_BY_PAGES * N_SHARED; i++) {
        const char *const name = names[i / N_SHARED];
        static const char rest[] = "min-prefix=0,min-change=0,selector=pages,page=16";
        const char *how = text_of("%s,%s", shared[i % N_SHARED], rest);
        const char *all = text_of("%s,budget=0.997,active=99", how);
        const char *opt = text_of("%s,budget=64", how);
        const answer whole = run(name, all, LAC_DTYPE_F32, 2, 500, 0, NULL, NULL, NULL);
        const double error = distance(&dense, &whole);
        if (!(error <= 1e-4)) fail_msg("%s, %zu: off by %g from dense", name, i, error);
        const answer one = run(name, opt, LAC_DTYPE_F32, 1, 600, 0, NULL, NULL, NULL);
        const answer three = run(name, opt, LAC_DTYPE_F32, 3, 600, 0, NULL, NULL, NULL);
        const answer cut = run(name, opt, LAC_DTYPE_F32, 2, 600, 64, NULL, NULL, NULL);
        assert_false(distance(&one, &three) > 0);
        if (!(distance(&one, &cut) <= 1e-4)) fail_msg("%s, %zu: pieces change it", name, i);
    }
}

/* Lists of plans, and how often a plan has those of the plan before it of its layer. */
typedef struct {
    witness w; /* the first member: see_plan's */
    uint32_t cols[N_LAYERS][N_HEADS * MAX_IDS];
    size_t n_cols[N_LAYERS];
    int n_same, most_pages;
} list_witness;

static void see_lists(void *user, const lac_plan_view *v)
{
    list_witness *l = user;
    const size_t n = v->row_ptr[N_HEADS];
    see_plan(&l->w, v);
    if (n == l->n_cols[v->layer] && !memcmp(l->cols[v->layer], v->cols, n * sizeof *v->cols))
        l->n_same++;
    memcpy(l->cols[v->layer], v->cols, n * sizeof *v->cols);
    l->n_cols[v->layer] = n;
    for (int h = 0; h < N_HEADS; h++) {
        const int n_pages = (int)(v->row_ptr[h + 1] - v->row_ptr[h]);
        l->most_pages = n_pages > l->most_pages ? n_pages : l->most_pages;
    }
}

static answer see_shared(const char *name, const char *how, list_witness *l)
{
    const char *knobs = text_of("budget=64,min-prefix=0,min-change=0,selector=pages,page=16%s%s",
                                *how ? "," : "", how);
    *l = (list_witness){ .w = { .name = name, .has_ends = true } };
    return run(name, knobs, LAC_DTYPE_BF16, 2, 700, 0, NULL, see_lists, l);
}

/* Rows that choose together read what one of them may: 4 pages of 16. */
static void a_union_chosen_together_is_the_budget(void **state)
{
    (void)state;
    static list_witness l;
    for (size_t i = 0; i < N_BY_PAGES; i++) {
        const answer alone = see_shared(names[i], "", &l);
        assert_true(alone.result.union_inflation > 1 && l.most_pages > 4);
        const answer together = see_shared(names[i], shared[0], &l);
        assert_true(l.w.n_plans > 10 * N_LAYERS);
        assert_int_equal(l.most_pages, 4);
        assert_true(together.result.union_inflation == 1);
        assert_true(together.result.bytes_read < alone.result.bytes_read);
        assert_true(together.result.density < alone.result.density);
    }
}

/* All rows of quest are always served: a list changes in every third step, or in a new block. */
static void pages_serve_as_long_as_asked(void **state)
{
    (void)state;
    static list_witness l;
    static const char once[] = "select-every=1";
    const answer each = see_shared("quest", "", &l);
    const int n_same = l.n_same, n_plans = l.w.n_plans;
    const answer one = see_shared("quest", once, &l);
    assert_false(distance(&each, &one) > 0);
    const answer third = see_shared("quest", shared[2], &l);
    assert_int_equal(l.w.n_plans, n_plans);
    assert_true(n_same < n_plans / 2 && l.n_same >= n_plans * 6 / 10);
    assert_true(l.n_same <= n_plans * 2 / 3 + n_same);
    assert_true(third.result.bytes_read < each.result.bytes_read);
    /* whatever rows of losa are active read what was chosen once: lists of three blocks */
    const answer losa = see_shared("losa", "select-every=99", &l);
    assert_true(losa.n == each.n && l.w.n_plans > 10 * N_LAYERS);
    assert_true(l.n_same >= l.w.n_plans - 4 * N_LAYERS);
}

/* A cache that cannot grow stops the run, and the session then answers as before. */
static void memory_that_runs_out_under_a_policy(void **state)
{
    (void)state;
    enum { N_PROMPT = 120, N_NEW = 24 };
    static int32_t prompt[N_PROMPT + 1];
    int32_t want[N_NEW];
    lac_model *model;
    const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
    const lac_generate_options gen = { .n_tokens = N_NEW, .ignore_eos = true };
    static const char opt[] = "budget=32,active=3,min-prefix=0";
    const size_t n_prompt = make_prompt(prompt, N_PROMPT);
    assert_ok(lac_model_open(&model, test_path(nano_b), &how, NULL));
    for (size_t i = 0; i < 4; i += 2) { /* losa and mage: results, bounds and lists are kept */
        bool has_failed = true;
        for (long n = 0; has_failed; n += 3) {
            fault f = { .left = FAULT_NEVER };
            const lac_allocator mem = fault_allocator(&f);
            const lac_session_options room = { .n_ctx = 256,
                                               .sparse = request(names[i], opt),
                                               .allocator = &mem };
            lac_session *session;
            lac_result r;
            assert_ok(lac_session_create(&session, model, &room, NULL));
            session->seq->kv.first_end = 64;
            f.left = n;
            has_failed = lac_generate(session, prompt, n_prompt, &gen, &r, NULL) != LAC_OK;
            f.left = FAULT_NEVER;
            assert_ok(lac_generate(session, prompt, n_prompt, &gen, &r, NULL));
            if (!n) memcpy(want, r.ids, sizeof want);
            if (!n) assert_true(has_failed);
            assert_memory_equal(want, r.ids, sizeof want);
            lac_session_free(session);
            assert_int_equal(f.live, 0);
            assert_true(n < 1000);
        }
    }
    lac_model_close(model);
}

static void sessions_that_cannot_be_made_leave_nothing(void **state)
{
    (void)state;
    lac_model *model;
    assert_ok(lac_model_open(&model, test_path(nano_b), NULL, NULL));
    for (size_t i = 0; i < N_NAMES; i++) {
        lac_status st = LAC_ENOMEM;
        for (long n = 0; st; n++) {
            fault f = { .left = n };
            const lac_allocator mem = fault_allocator(&f);
            const lac_session_options room = { .n_ctx = 512,
                                               .sparse = request(names[i], ""),
                                               .allocator = &mem };
            lac_session *session = NULL;
            st = lac_session_create(&session, model, &room, NULL);
            if (st) assert_int_equal(st, LAC_ENOMEM);
            lac_session_free(session);
            assert_int_equal(f.live, 0);
            assert_true(n < 1000);
        }
    }
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_selected_equals_dense),
        cmocka_unit_test(nothing_to_select_is_dense),
        cmocka_unit_test(a_prefix_shorter_than_a_page),
        cmocka_unit_test(a_prefix_of_no_keys_is_exact),
        cmocka_unit_test(later_blocks_change_nothing),
        cmocka_unit_test(threads_and_pieces),
        cmocka_unit_test(measuring_changes_no_bit),
        cmocka_unit_test(large_blocks_are_measured_by_key),
        cmocka_unit_test(what_is_reported_adds_up),
        cmocka_unit_test(the_needle_is_found),
        cmocka_unit_test(losa_keeps_what_was_predicted),
        cmocka_unit_test(int8_bounds_take_what_was_predicted),
        cmocka_unit_test(int8_bounds_take_less),
        cmocka_unit_test(shared_pages_keep_the_laws),
        cmocka_unit_test(a_union_chosen_together_is_the_budget),
        cmocka_unit_test(pages_serve_as_long_as_asked),
        cmocka_unit_test(memory_that_runs_out_under_a_policy),
        cmocka_unit_test(sessions_that_cannot_be_made_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
