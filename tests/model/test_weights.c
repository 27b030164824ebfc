/* test_weights.c: the bytes that the memory plan counts for weights are those that the loaded
 * weights hold, for networks with every kind of part. */
#include "test.h"

#include "backend/cpu/cpu_state.h"
#include "model/model.h"

static uint64_t bytes_of(const laci_linear *linear, const laci_buf *buf, laci_dtype act)
{
    if (linear) return linear->kind->bytes(act, linear->n_out, linear->n_in);
    return buf ? buf->n_bytes : 0;
}

static uint64_t held_bytes(lac_model *m)
{
    const laci_dtype act = laci_backend_act(m->be);
    const laci_weights *w = &m->weights;
    uint64_t bytes = bytes_of(NULL, w->embed, act) + bytes_of(NULL, w->time, act) +
                     bytes_of(NULL, w->norm, act) + bytes_of(w->head, NULL, act);
    for (int i = 0; i < w->n_layers; i++) {
        laci_layer_part parts[LACI_LAYER_PARTS];
        laci_layer_parts(&w->layers[i], parts);
        for (size_t p = 0; p < LACI_LAYER_PARTS; p++)
            bytes += bytes_of(parts[p].matrix ? *parts[p].matrix : NULL,
                              parts[p].vector ? *parts[p].vector : NULL, act);
    }
    return bytes;
}

static void plan_counts_what_is_held(void **state)
{
    (void)state;
    static const char *const models[] = {
        "models/nano-f",           "models/nano-b",      "tests/golden/llada-llama",
        "tests/golden/llada-olmo", "tests/golden/dream", "tests/golden/qwen3",
        "tests/golden/fast-dllm",  "tests/golden/sdar",  "tests/golden/tiny-dlm-random",
    };
    for (size_t i = 0; i < 2 * sizeof models / sizeof models[0]; i++) {
        lac_model *m = NULL;
        lac_error err = { 0 };
        const lac_model_options opt = { .dtype = i % 2 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                                        .n_threads = 1 };
        if (lac_model_open(&m, test_path(models[i / 2]), &opt, &err)) fail_msg("%s", err.message);
        assert_int_equal(laci_weights_bytes(&m->config, m->be), held_bytes(m));
        lac_model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(plan_counts_what_is_held) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
