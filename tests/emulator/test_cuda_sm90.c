/* test_cuda_sm90.c: attention by the kernel of compute capability 9.0 on the emulator, against the
 * definition: head sizes of each of its shapes and between them, dense spans, blocks of 64 and 128,
 * rows of one warp group and of two, ragged ends, limits, masks, empty rows, parts, several
 * sequences; that it is this kernel that ran, and that other plans go to the other one; statistics
 * equal to the other kernel's; names that are refused. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include "backend/attend_check.h"
#include "emulator/device.h"

/* n_batch, n_q, n_k, n_heads, n_kv_heads, d, q_block, k_block, n_patterns, alike */
static const attend_case cases[] = {
    { 1, 130, 300, 2, 1, 128, 130, 300, 1, 1, .density = 1 },
    { 1, 60, 260, 2, 2, 64, 60, 260, 1, 1, .density = 1 },
    { 1, 200, 700, 2, 1, 128, 128, 128, 2, 1, .density = 0.5, .empty_rows = true },
    { 1, 200, 450, 4, 2, 64, 64, 64, 4, 2, .density = 0.5, .active_every = 2 },
    { 2, 140, 333, 2, 2, 80, 128, 64, 2, 1, .density = 0.6, .n_keys = true, .limits = true },
    { 1, 129, 400, 1, 1, 256, 64, 128, 1, 1, .density = 0.7, .valid = true },
    { 1, 70, 200, 2, 1, 200, 70, 200, 1, 1, .density = 1, .limits = true },
    { 2, 16, 1700, 4, 1, 128, 16, 64, 8, 4, .density = 0.6, .valid = true },
    { 1, 50, 900, 8, 4, 40, 50, 900, 1, 1, .density = 1, .limits = true },
    { 1, 4, 8300, 1, 1, 64, 4, 8300, 1, 1, .density = 1 }, /* parts end inside a tile */
    { 1, 1, 1, 1, 1, 8, 1, 1, 1, 1, .density = 1 },
};

/* Plans whose runs of keys are shorter than what is copied at once. */
static const attend_case others[] = {
    { 1, 40, 200, 2, 1, 64, 40, 32, 2, 1, .density = 0.5 },
    { 1, 40, 200, 2, 1, 128, 40, 1, 2, 1, .density = 0.3 },
    { 1, 40, 300, 2, 1, 64, 40, 100, 2, 1, .density = 0.6 },
};

static void runs_equal_the_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        attend_case c = cases[i];
        const unsigned before = laci_emulator_boxes;
        check_case(&c, LAC_DTYPE_BF16, 1);
        c.out_act = true;
        check_case(&c, LAC_DTYPE_BF16, 1);
        if (laci_emulator_boxes == before) fail_msg("case %zu: the other kernel ran", i);
    }
}

static void other_plans_take_the_other_kernel(void **state)
{
    (void)state;
    const unsigned before = laci_emulator_boxes;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        check_case(&others[i], LAC_DTYPE_BF16, 1);
    check_case(&cases[1], LAC_DTYPE_F32, 1);
    assert_int_equal(laci_emulator_boxes, before);
}

/* Masses of key blocks under either kernel. */
static float *masses(const char *kernel, const attend_case *c, size_t k_block, size_t *n)
{
    assert_int_equal(setenv("LAC_CUDA_ATTEND", kernel, 1), 0);
    attend_rig *r = rig_new(c, LAC_DTYPE_BF16, 1, k_block);
    laci_mass_stats stats = { .q_block = 64, .k_block = k_block };
    *n = c->n_heads * n_blocks(c->n_q, 64) * n_blocks(c->n_k, k_block);
    stats.mass = new_floats(r->be, *n);
    r->a.stats = &stats;
    laci_backend_attend(r->be, &r->plan.plan, &r->a);
    float *out = read_floats(r->be, stats.mass, *n);
    laci_buf_free(r->be, stats.mass);
    rig_free(r);
    return out;
}

static void statistics_equal_the_other_kernels(void **state)
{
    (void)state;
    static const size_t k_blocks[] = { 16, 32, 64, 128 };
    const attend_case c = { 1, 150, 330, 2, 1, 64, 64, 330, 1, 1, .density = 1 };
    for (size_t i = 0; i < 4; i++) {
        size_t n;
        const unsigned before = laci_emulator_boxes;
        float *want = masses("mma", &c, k_blocks[i], &n);
        assert_int_equal(laci_emulator_boxes, before);
        float *got = masses("wgmma", &c, k_blocks[i], &n);
        assert_true(laci_emulator_boxes > before);
        for (size_t j = 0; j < n; j++)
            if (!(fabsf(want[j] - got[j]) <= 1e-5f))
                fail_msg("blocks of %zu, mass %zu: %g, the other kernel has %g", k_blocks[i], j,
                         (double)got[j], (double)want[j]);
        free(want), free(got);
    }
}

static void check_refused(const char *name, const char *want)
{
    lac_error err = { 0 };
    laci_backend *be = NULL;
    assert_int_equal(setenv("LAC_CUDA_ATTEND", name, 1), 0);
    assert_int_equal(laci_backend_open(&be, "cuda", LAC_DTYPE_BF16, 1, NULL, &err), LAC_EINVAL);
    if (!strstr(err.message, want)) fail_msg("%s", err.message);
}

static void names_and_devices_are_checked(void **state)
{
    (void)state;
    check_refused("tma", "mma or wgmma");
    laci_emulator_major = 8;
    check_refused("wgmma", "compute capability 9.0");
    laci_emulator_major = 9;
    assert_int_equal(setenv("LAC_CUDA_ATTEND", "wgmma", 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_equal_the_definition),
        cmocka_unit_test(other_plans_take_the_other_kernel),
        cmocka_unit_test(statistics_equal_the_other_kernels),
        cmocka_unit_test(names_and_devices_are_checked),
    };
    if (setenv("LAC_CUDA_ATTEND", "wgmma", 1)) return 1;
    run_on_backend(tests);
}
