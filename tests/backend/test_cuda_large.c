/* test_cuda_large.c: attention in the shapes whose work the CUDA backend divides: few queries over
 * a long prefix (parts, merged exactly), statistics gathered in several chunks, head sizes of every
 * kernel, with the inputs that show races best: many tiles of keys. Against the definition. */
#include "backend/attend_check.h"

/* n_batch, n_q, n_k, n_heads, n_kv_heads, d, q_block, k_block, n_patterns, alike */
static const attend_case cases[] = {
    { 1, 16, 3000, 4, 1, 128, 16, 64, 4, 4, .density = 0.5 },
    { 2, 5, 2500, 8, 2, 64, 5, 2500, 1, 1, .density = 1, .n_keys = true, .limits = true },
    { 1, 33, 1100, 2, 2, 256, 33, 64, 2, 1, .density = 0.7, .valid = true },
    { 1, 20, 2000, 4, 2, 200, 20, 1, 4, 2, .density = 0.4 },
    { 1, 8, 700, 2, 1, 264, 8, 700, 1, 1, .density = 1 },
    { 1, 129, 520, 2, 1, 72, 64, 64, 2, 1, .density = 0.8, .limits = true, .active_every = 2 },
};

static void long_prefixes_equal_the_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        attend_case c = cases[i];
        check_case(&c, LAC_DTYPE_BF16, 1);
        c.out_act = true;
        check_case(&c, LAC_DTYPE_F32, 1);
    }
}

/* The same call twice gives the same bits: a difference would be a race. */
static void results_repeat(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        attend_rig *r = rig_new(&cases[i], LAC_DTYPE_BF16, 1, 0);
        float *out[2], *lse[2];
        for (int k = 0; k < 2; k++) {
            laci_backend_attend(r->be, &r->plan.plan, &r->a);
            out[k] = read_out(r);
            lse[k] = read_floats(r->be, r->lse, n_lse(r));
        }
        compare_bits(describe(r), out[0], out[1], n_out(r));
        compare_bits(describe(r), lse[0], lse[1], n_lse(r));
        free(out[0]), free(out[1]), free(lse[0]), free(lse[1]);
        rig_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_prefixes_equal_the_definition),
        cmocka_unit_test(results_repeat),
    };
    run_on_backend(tests);
}
