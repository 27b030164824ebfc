/* test_block_reference.c: policies behind a key cache against tests/reference/prefix.py, which was
 * written from the papers in PyTorch: tokens and their steps, the rows that read the prefix in each
 * layer, the pages or keys they read, and logits. */
#include <math.h>

#include "engine/golden.h"
#include "request.h"

enum { MAX_IDS = 512, MAX_LIST = 512 };

static const double closest = 1e-4; /* of logits, absolute */

/* Follows a generation along the steps of a case. */
typedef struct {
    const char *model, *policy;
    const laci_jval *step; /* of the golden file, under way */
    int number;            /* of that step */
    int n_heads, n_plans, n_rows;
    int32_t columns[MAX_LIST];
    size_t n_columns;
    double worst;
} follower;

static const laci_jval *step_at(follower *f, int number)
{
    while (f->step && f->number < number) {
        f->step = laci_json_next(f->step);
        f->number++;
    }
    if (!f->step || f->number != number)
        fail_msg("%s, %s: no step %d", f->model, f->policy, number);
    return f->step;
}

static const laci_jval *at(const laci_jval *list, int i)
{
    const laci_jval *v = laci_json_first(list);
    while (v && i--)
        v = laci_json_next(v);
    assert_non_null(v);
    return v;
}

static void compare_ints(const follower *f, const char *what, int layer, const laci_jval *want,
                         const int32_t *got, size_t n)
{
    const laci_jval *v = laci_json_first(want);
    size_t n_same = 0;
    for (; v && n_same < n && (int32_t)laci_json_number(v) == got[n_same]; v = laci_json_next(v))
        n_same++;
    const bool is_same = !v && n_same == n;
    if (!is_same)
        fail_msg("%s, %s, step %d, layer %d: %zu %s, of which %zu as in the reference's %zu",
                 f->model, f->policy, f->number, layer, n, what, n_same, laci_json_count(want));
}

static void see_plan(void *user, const lac_plan_view *v)
{
    follower *f = user;
    const laci_jval *layer = at(golden_get(step_at(f, v->step), "layers"), v->layer);
    if (!laci_json_is_object(layer))
        fail_msg("%s, %s, step %d: layer %d should read everything", f->model, f->policy, v->step,
                 v->layer);
    compare_ints(f, "active rows", v->layer, golden_get(layer, "active"), v->active,
                 (size_t)v->n_q);
    const laci_jval *lists = golden_get(layer, "lists");
    int n_lists = 0;
    for (const laci_jval *l = laci_json_first(lists); l; l = laci_json_next(l))
        n_lists++;
    assert_true(n_lists > 0 && v->n_heads == f->n_heads);
    for (int h = 0; h < v->n_heads; h++) {
        int32_t ids[MAX_LIST] = { 0 };
        const uint32_t begin = v->row_ptr[h], end = v->row_ptr[h + 1];
        assert_true(end - begin <= MAX_LIST);
        for (uint32_t i = begin; i < end; i++)
            ids[i - begin] = (int32_t)v->cols[i];
        compare_ints(f, v->k_block == 1 ? "keys" : "pages", v->layer,
                     at(lists, h * n_lists / v->n_heads), ids, end - begin);
    }
    f->n_plans++;
}

static void see_logits(void *user, const lac_logits_view *v)
{
    follower *f = user;
    if (v->first) return;
    const laci_jval *step = step_at(f, v->step), *want = golden_get(step, "logits");
    assert_int_equal(v->position[0], laci_json_number(golden_get(step, "position")));
    const laci_jval *x = laci_json_first(want);
    for (size_t i = 0; i < f->n_columns; i++, x = laci_json_next(x)) {
        const double error = fabs((double)v->logits[f->columns[i]] - laci_json_number(x));
        if (!(error <= f->worst)) f->worst = error;
    }
    assert_null(x);
    f->n_rows++;
}

/* Layers of the case in which some rows read a part of the prefix. */
static int count_plans(const laci_jval *steps)
{
    int n = 0;
    for (const laci_jval *s = laci_json_first(steps); s; s = laci_json_next(s)) {
        const laci_jval *layers = golden_get(s, "layers");
        for (const laci_jval *l = laci_json_first(layers); l; l = laci_json_next(l))
            if (laci_json_is_object(l)) n += laci_json_first(golden_get(l, "active")) != NULL;
    }
    return n;
}

static double number_of(const laci_jval *c, const char *key)
{
    return laci_json_number(golden_get(c, key));
}

static bool is_text(const laci_jval *c, const char *key, const char *text)
{
    return !strcmp(laci_json_string(golden_get(c, key)), text);
}

/* The case as a request; knobs that its policy does not have are at their defaults. */
static const char *request_of_case(const laci_jval *c)
{
    const char *name = laci_json_string(golden_get(c, "name"));
    const bool is_losa = !strcmp(name, "losa"), is_sparse = is_text(c, "first_step", "sparse");
    const char *group = is_text(c, "plan_group", "kv")     ? ",group=kv"
                        : is_text(c, "plan_group", "head") ? ",group=head"
                                                           : "";
    const char *knobs = text_of(
        "min-prefix=0,budget=%.17g,active=%.17g,page=%g,min-change=%.17g,refresh-steps=%g,"
        "refresh-tokens=%g,select-every=%g,drift=%s%s%s%s",
        number_of(c, "budget"), number_of(c, "active"), number_of(c, "page"),
        number_of(c, "min_change"), number_of(c, "refresh_steps"), number_of(c, "refresh_tokens"),
        number_of(c, "select_every"), is_text(c, "drift", "hidden") ? "hidden" : "query", group,
        !is_losa                           ? ""
        : is_text(c, "selector", "blocks") ? ",selector=blocks"
                                           : ",selector=pages",
        is_sparse ? ",first-step=sparse" : "");
    return request_of(name, true, knobs);
}

static void check_case(const char *name, const lac_model *model, int n_heads, const laci_jval *c)
{
    static int32_t prompt[MAX_IDS], want[MAX_IDS], steps[MAX_IDS];
    lac_error err = { 0 };
    lac_session *session;
    lac_result r;
    const size_t n_prompt = golden_ints(golden_get(c, "prompt"), prompt, MAX_IDS);
    const size_t n = golden_ints(golden_get(c, "ids"), want, MAX_IDS);
    (void)golden_ints(golden_get(c, "step_map"), steps, MAX_IDS);
    follower f = { .model = name,
                   .policy = laci_json_string(golden_get(c, "name")),
                   .step = laci_json_first(golden_get(c, "steps")),
                   .n_heads = n_heads };
    f.n_columns = golden_ints(golden_get(c, "columns"), f.columns, MAX_LIST);
    const lac_session_options room = { .n_ctx = MAX_IDS, .sparse = request_of_case(c) };
    const lac_generate_options gen = { .n_tokens = (int)n,
                                       .ignore_eos = true,
                                       .cut_last_block = true, /* as the reference has it */
                                       .on_plan = see_plan,
                                       .on_logits = see_logits,
                                       .user = &f };
    if (lac_session_create(&session, model, &room, &err)) fail_msg("%s", err.message);
    if (lac_generate(session, prompt, n_prompt, &gen, &r, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.n_ids, n);
    for (size_t i = 0; i < n; i++)
        if (r.ids[i] != want[i] || r.step_map[i] != steps[i])
            fail_msg("%s, %s, token %zu: id %d at step %d, not %d at %d", name, f.policy, i,
                     r.ids[i], r.step_map[i], want[i], steps[i]);
    assert_int_equal(f.n_plans, count_plans(golden_get(c, "steps")));
    assert_int_equal(f.n_rows, n);
    if (!(f.worst <= closest)) fail_msg("%s, %s: a logit is off by %g", name, f.policy, f.worst);
    lac_session_free(session);
}

static void check_model(const char *name, int n_heads)
{
    char path[128];
    lac_model *model;
    lac_error err = { 0 };
    int n_cases = 0;
    const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 2 };
    snprintf(path, sizeof path, "tests/golden/%s", name);
    if (lac_model_open(&model, test_path(path), &how, &err)) fail_msg("%s", err.message);
    snprintf(path, sizeof path, "tests/golden/%s/prefix.json", name);
    laci_json *doc = golden_open(test_path(path));
    const laci_jval *cases = golden_get(laci_json_root(doc), "cases");
    for (const laci_jval *c = laci_json_first(cases); c; c = laci_json_next(c), n_cases++)
        check_case(name, model, n_heads, c);
    assert_true(n_cases >= 15);
    laci_json_free(doc);
    lac_model_close(model);
}

static void sdar_reads_what_the_reference_reads(void **state)
{
    (void)state;
    check_model("sdar", 4);
}

static void fast_dllm_reads_what_the_reference_reads(void **state)
{
    (void)state;
    check_model("fast-dllm", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sdar_reads_what_the_reference_reads),
        cmocka_unit_test(fast_dllm_reads_what_the_reference_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
