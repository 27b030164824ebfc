/* test_rope_angles.c: the table of rotations of a session, against angles with sixty digits and
 * against those that published code rounds (tests/golden/rope.json). */
#include <math.h>

#include "engine/golden.h"
#include "engine/session.h"

enum { N_PAIRS = 16, N_CTX = 16384 };

static const double last_place = 6e-8; /* half of f32's at 1 */

static float entry(const lac_session *s, laci_session_buf buf, int position, int pair)
{
    float value;
    const size_t at = ((size_t)position * N_PAIRS + (size_t)pair) * sizeof value;
    laci_backend_read(s->be, s->buf[buf], at, &value, sizeof value);
    return value;
}

/* Columns `from` and `from` + 1 of the golden angles; returns the largest error. */
static double compare(const lac_session *s, const laci_jval *list, int from)
{
    double worst = 0;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        double numbers[6];
        size_t n = 0;
        for (const laci_jval *x = laci_json_first(v); x && n < 6; x = laci_json_next(x))
            numbers[n++] = laci_json_number(x);
        assert_int_equal(n, 6);
        const int position = (int)numbers[0], pair = (int)numbers[1];
        const double sign = s->model->config.rope_sign;
        const double cosine = (double)entry(s, LACI_BUF_COS, position, pair);
        const double sine = (double)entry(s, LACI_BUF_SIN, position, pair) * sign;
        worst = fmax(worst, fabs(cosine - numbers[from]));
        worst = fmax(worst, fabs(sine - numbers[from + 1]));
    }
    return worst;
}

static void angles_are_exact_or_as_published(void **state)
{
    (void)state;
    laci_json *doc = golden_open(test_path("tests/golden/rope.json"));
    const laci_jval *list = golden_get(laci_json_root(doc), "angles");
    lac_model *model;
    const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
    assert_ok(lac_model_open(&model, test_path("models/nano-f"), &how, NULL));
    assert_true(model->config.rope_theta ==
                laci_json_number(golden_get(laci_json_root(doc), "theta")));
    for (int is_f32 = 0; is_f32 < 2; is_f32++) {
        lac_session *s;
        const lac_session_options room = { .n_ctx = N_CTX,
                                           .quirks = is_f32 ? LAC_QUIRK_ROPE_F32 : 0 };
        assert_ok(lac_session_create(&s, model, &room, NULL));
        const double own = compare(s, list, is_f32 ? 4 : 2);
        const double other = compare(s, list, is_f32 ? 2 : 4);
        if (!(own <= last_place)) fail_msg("angles off by %g", own);
        if (!(other > 1e-4)) fail_msg("angles of the other kind are as near as %g", other);
        lac_session_free(s);
    }
    lac_model_close(model);
    laci_json_free(doc);
}

/* Angles are a session's: a generation cannot ask for others. */
static void a_generation_has_its_sessions_angles(void **state)
{
    (void)state;
    lac_model *model;
    lac_session *s;
    lac_error err = { 0 };
    lac_result r;
    const int32_t prompt[] = { 'a', 'b' };
    const lac_generate_options opt = { .n_tokens = 2, .quirks = LAC_QUIRK_ROPE_F32 };
    golden_session(&model, &s, test_path("models/nano-f"), LAC_DTYPE_F32, 1, 16);
    assert_int_equal(lac_generate(s, prompt, 2, &opt, &r, &err), LAC_EINVAL);
    if (!strstr(err.message, "rope-f32")) fail_msg("\"%s\"", err.message);
    lac_session_free(s);
    const lac_session_options room = { .n_ctx = 16, .quirks = LAC_QUIRK_ROPE_F32 };
    assert_ok(lac_session_create(&s, model, &room, NULL));
    assert_ok(lac_generate(s, prompt, 2, &opt, &r, NULL));
    lac_session_free(s);
    lac_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(angles_are_exact_or_as_published),
        cmocka_unit_test(a_generation_has_its_sessions_angles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
