/* test_masks.c: records of attention plans: how blocks become cells, what comparing them gives, and
 * what is refused. */
#include "test.h"

#include "picture/masks_stats.h"
#include <math.h>

/* A plan whose row r of pattern p reads the key blocks that `reads` says. */
typedef struct {
    lac_plan_view view;
    uint32_t row_ptr[512], cols[8192];
} plan;

static void fill(plan *p, int step, int layer, int n, int q_block, int k_block, int n_heads,
                 bool (*reads)(int head, int row, int col))
{
    const int n_rows = (n + q_block - 1) / q_block, n_cols = (n + k_block - 1) / k_block;
    uint32_t at = 0;
    size_t row = 0;
    p->row_ptr[0] = 0;
    for (int h = 0; h < n_heads; h++)
        for (int r = 0; r < n_rows; r++) {
            for (int c = 0; c < n_cols; c++)
                if (reads(h, r, c)) p->cols[at++] = (uint32_t)c;
            p->row_ptr[++row] = at;
        }
    p->view = (lac_plan_view){ .step = step,
                               .layer = layer,
                               .n_q = n,
                               .n_k = n,
                               .q_block = q_block,
                               .k_block = k_block,
                               .n_heads = n_heads,
                               .n_rows = n_rows,
                               .row_ptr = p->row_ptr,
                               .cols = p->cols };
}

static bool all(int head, int row, int col)
{
    (void)head, (void)row, (void)col;
    return true;
}

static bool diagonal(int head, int row, int col)
{
    return col == row + head;
}

static bool every_fourth(int head, int row, int col)
{
    (void)head, (void)row;
    return col % 4 == 0;
}

static bool first_or_last(int head, int row, int col)
{
    (void)row;
    return head ? col >= 2 : col < 2;
}

static plan p; /* too large for a stack */

/* ------------------------------------------------------------------ cells */

static void blocks_fill_the_cells_they_cover(void **state)
{
    (void)state;
    masks m;
    assert_ok(masks_open(&m, 2, 2, 4, NULL));
    fill(&p, 0, 1, 100, 32, 32, 2, diagonal);
    assert_ok(masks_add(&m, &p.view, NULL));
    assert_int_equal(m.cell, 16);
    assert_int_equal(m.grid, 7);
    const masks_frame *f = &m.frames[0];
    assert_false(f->has_plan[0]);
    assert_true(f->has_plan[1]);
    for (int h = 0; h < 2; h++)
        for (int q = 0; q < 7; q++)
            for (int k = 0; k < 7; k++)
                assert_int_equal(f->kept[((2 + h) * 7 + q) * 7 + k], k / 2 == q / 2 + h ? 255 : 0);
    /* three blocks of 32 and one of 4 keys and queries; then two of 32 and one of 32 by 4 */
    assert_float_equal(f->density[2], (3 * 32 * 32 + 16) / 1e4F, 1e-6F);
    assert_float_equal(f->density[3], (2 * 32 * 32 + 32 * 4) / 1e4F, 1e-6F);
    masks_free(&m);
}

static void finer_blocks_fill_a_part(void **state)
{
    (void)state;
    masks m;
    assert_ok(masks_open(&m, 1, 3, 1, NULL));
    fill(&p, 0, 0, 64, 32, 1, 1, every_fourth);
    assert_ok(masks_add(&m, &p.view, NULL));
    for (int i = 0; i < 3 * 4 * 4; i++)
        assert_int_equal(m.frames[0].kept[i], 64); /* a quarter of 255, for all heads alike */
    assert_float_equal(m.frames[0].density[2], 0.25, 1e-6);
    masks_free(&m);
}

static void one_block_over_everything_is_everything(void **state)
{
    (void)state;
    masks m;
    assert_ok(masks_open(&m, 1, 1, 1, NULL));
    fill(&p, 0, 0, 1000, 1000, 1000, 1, all);
    assert_ok(masks_add(&m, &p.view, NULL));
    for (size_t i = 0; i < masks_n_cells(&m); i++)
        assert_int_equal(m.frames[0].kept[i], 255);
    assert_float_equal(m.frames[0].density[0], 1, 0);
    masks_free(&m);
}

static void masses_are_shared_out_and_kept(void **state)
{
    (void)state;
    static float mass[2 * 4 * 4];
    masks m;
    for (int h = 0; h < 2; h++)
        for (int q = 0; q < 4; q++)
            for (int k = 0; k < 4; k++)
                mass[(h * 4 + q) * 4 + k] = k == q ? 0.7F : 0.1F;
    assert_ok(masks_open(&m, 1, 2, 1, NULL));
    fill(&p, 0, 0, 100, 100, 100, 1, all);
    p.view.mass = mass;
    p.view.mass_block = 32;
    assert_ok(masks_add(&m, &p.view, NULL));
    assert_int_equal(m.cell, 32); /* no finer than what was measured */
    for (int i = 0; i < 2 * 4 * 4; i++)
        assert_int_equal(m.frames[0].mass[i], (int)(65535 * mass[i] + 0.5F));
    masks_free(&m);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    masks m;
    assert_ok(masks_open(&m, 64, 128, 100000, NULL));
    assert_true(m.max_frames <= MASKS_MAX_FRAMES);
    fill(&p, 0, 0, 1 << 20, 1 << 20, 1 << 20, 1, all);
    assert_ok(masks_add(&m, &p.view, NULL));
    assert_true(masks_n_heads(&m) * masks_n_cells(&m) * 3 * (size_t)m.max_frames <= 256U << 20);
    fill(&p, 1, 0, 1 << 20, 1 << 20, 1 << 20, 1, all);
    assert_ok(masks_add(&m, &p.view, NULL)); /* between two that are kept */
    assert_int_equal(m.n_frames, 1);
    masks_free(&m);
}

/* ------------------------------------------------------------------ comparing */

static void likeness_by_hand(void **state)
{
    (void)state;
    const uint8_t a[] = { 255, 255, 0, 0 }, b[] = { 255, 0, 255, 0 }, half[] = { 128, 128, 0, 0 };
    const uint8_t none[4] = { 0 };
    assert_float_equal((float)masks_jaccard(a, a, 4), 1, 0);
    assert_float_equal((float)masks_jaccard(a, b, 4), 1.0F / 3, 1e-6F);
    assert_float_equal((float)masks_jaccard(a, half, 4), 256.0F / 510, 1e-6F);
    assert_float_equal((float)masks_jaccard(a, none, 4), 0, 0);
    assert_float_equal((float)masks_jaccard(none, none, 4), 1, 0);
}

static void the_best_cells_of_a_row(void **state)
{
    (void)state;
    /* five columns of a grid of six; a tie in the second row */
    const uint16_t mass[] = { 1, 5, 3, 4, 2, 99, 7, 7, 7, 0, 0, 99 };
    const uint8_t want[] = { 0, 255, 0, 255, 0, 0, 255, 255, 0, 0, 0, 0 };
    uint8_t got[12];
    masks_choose(mass, 2, 5, 6, 0.4, got);
    assert_memory_equal(got, want, sizeof got);
    masks_choose(mass, 2, 5, 6, 1, got);
    for (int i = 0; i < 12; i++)
        assert_int_equal(got[i], i % 6 < 5 ? 255 : 0);
    masks_choose(mass, 2, 5, 6, 1e-6, got);
    assert_int_equal(got[1] + got[6], 510);
}

static void plans_of_steps_and_heads_are_compared(void **state)
{
    (void)state;
    masks m;
    masks_stats s;
    assert_ok(masks_open(&m, 1, 2, 2, NULL));
    fill(&p, 0, 0, 64, 16, 16, 1, all);
    assert_ok(masks_add(&m, &p.view, NULL));
    fill(&p, 1, 0, 64, 16, 16, 2, first_or_last);
    const float kept[] = { 0.5F, 0.75F };
    p.view.kept_mass = kept;
    assert_ok(masks_add(&m, &p.view, NULL));
    assert_ok(masks_stats_make(&s, &m, 0.3, NULL));
    assert_int_equal(s.n_steps, 2);
    assert_float_equal(s.step_likeness[0], 1, 0);
    assert_float_equal(s.step_likeness[1], 0.5, 1e-6);
    assert_float_equal(s.step_likeness[2], 0.5, 1e-6);
    /* only the sparse step tells heads apart, and they read different halves */
    assert_float_equal(s.head_likeness[1], 0, 0);
    assert_float_equal(s.density[1], 0.75, 1e-6);
    assert_float_equal(s.kept_mass[1], 0.75, 1e-6);
    assert_true(isnan(s.retained[0]) && isnan(s.held[0]) && isnan(s.mass_at[0]));
    assert_float_equal(s.read_at[0], 0.75, 1e-6);
    masks_stats_free(&s);
    masks_free(&m);
}

/* Head 0 looks at its own block, head 1 first there and in step 1 one block further. */
static void masses_of_steps_are_compared(void **state)
{
    (void)state;
    static float mass[2 * 4 * 4];
    masks m;
    masks_stats s;
    assert_ok(masks_open(&m, 1, 2, 2, NULL));
    for (int step = 0; step < 2; step++) {
        for (int i = 0; i < 32; i++)
            mass[i] = i % 4 == (i / 4 % 4 + (i >= 16 && step)) % 4 ? 0.7F : 0.1F;
        fill(&p, step, 0, 64, 64, 64, 1, all);
        p.view.mass = mass;
        p.view.mass_block = 16;
        assert_ok(masks_add(&m, &p.view, NULL));
    }
    assert_ok(masks_stats_make(&s, &m, 0.25, NULL));
    assert_float_equal(s.step_likeness[1], 0.5, 1e-6);        /* 1 and 0 */
    assert_float_equal(s.retained[0], 0.7, 1e-3);             /* in its own step */
    assert_float_equal(s.retained[1], (0.7 + 0.1) / 2, 1e-3); /* step 0's pattern in step 1 */
    assert_float_equal(s.head_likeness[1], 0.5, 1e-6);        /* alike in step 0 only */
    assert_float_equal(s.own_likeness[0], 1, 0);
    assert_float_equal(s.own_likeness[1], 0, 0);
    assert_float_equal(s.held[0], 0.7, 1e-3);
    float sum = 0;
    for (int d = 0; d < m.grid; d++)
        sum += s.mass_at[d];
    assert_float_equal(sum, 1, 1e-3);
    masks_stats_free(&s);
    masks_free(&m);
}

/* Pairs of heads grow with their square: of very many, evenly chosen ones are compared. */
static void only_so_many_heads_are_compared(void **state)
{
    (void)state;
    masks m;
    masks_stats s;
    assert_ok(masks_open(&m, MASKS_MAX_HEADS / 2, 2, 1, NULL));
    for (int layer = 0; layer < m.n_layers; layer++) {
        fill(&p, 0, layer, 64, 16, 16, 2, layer % 8 ? all : first_or_last);
        assert_ok(masks_add(&m, &p.view, NULL));
    }
    assert_ok(masks_stats_make(&s, &m, 0.3, NULL));
    assert_int_equal(s.n_paired, MASKS_MAX_PAIRED);
    assert_int_equal(s.paired_stride, MASKS_MAX_HEADS / MASKS_MAX_PAIRED);
    assert_float_equal(s.head_likeness[1], 1, 0); /* heads 0 and 16: layers 0 and 8 */
    assert_float_equal(s.head_likeness[s.n_paired * s.n_paired - 1], 1, 0);
    masks_stats_free(&s);
    masks_free(&m);
    assert_ok(masks_open(&m, 3, 171, 1, NULL)); /* one more than are compared */
    fill(&p, 0, 0, 64, 16, 16, 1, all);
    assert_ok(masks_add(&m, &p.view, NULL));
    assert_ok(masks_stats_make(&s, &m, 0.3, NULL));
    assert_int_equal(s.paired_stride, 2);
    assert_int_equal(s.n_paired, 257);
    masks_stats_free(&s);
    masks_free(&m);
}

/* ------------------------------------------------------------------ refusals */

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    masks m;
    lac_error err = { 0 };
    assert_int_equal(masks_open(&m, 0, 1, 1, &err), LAC_EINVAL);
    assert_int_equal(masks_open(&m, 1, MASKS_MAX_HEADS + 1, 1, &err), LAC_EINVAL);
    assert_int_equal(masks_open(&m, 1 << 20, 1 << 20, 1, &err), LAC_EINVAL);
    assert_ok(masks_open(&m, 2, 4, 3, NULL));
    masks_stats s;
    assert_int_equal(masks_stats_make(&s, &m, 0.3, &err), LAC_EINVAL);
    fill(&p, 1, 0, 64, 16, 16, 1, all);
    assert_ok(masks_add(&m, &p.view, NULL));
    static const struct {
        int step, layer, n, n_heads;
        const char *says;
    } cases[] = {
        { 1, 2, 64, 1, "layer 2" },   { 1, -1, 64, 1, "layer -1" },
        { 1, 1, 64, 2, "2 heads" },   { 1, 1, 96, 1, "96 queries" },
        { 1, 0, 64, 1, "two plans" }, { 0, 1, 64, 1, "step 0 after" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fill(&p, cases[i].step, cases[i].layer, cases[i].n, 16, 16, cases[i].n_heads, all);
        assert_int_equal(masks_add(&m, &p.view, &err), LAC_EINVAL);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s: %s", cases[i].says, err.message);
    }
    for (int step = 2; step < 4; step++) {
        fill(&p, step, 0, 64, 16, 16, 1, all);
        assert_ok(masks_add(&m, &p.view, NULL));
    }
    fill(&p, 4, 0, 64, 16, 16, 1, all);
    assert_int_equal(masks_add(&m, &p.view, &err), LAC_EINVAL);
    fill(&p, 9, 0, 64, 16, 16, 1, all);
    p.view.pass = 1; /* not looked at */
    assert_ok(masks_add(&m, &p.view, NULL));
    masks_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_fill_the_cells_they_cover),
        cmocka_unit_test(finer_blocks_fill_a_part),
        cmocka_unit_test(one_block_over_everything_is_everything),
        cmocka_unit_test(masses_are_shared_out_and_kept),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(likeness_by_hand),
        cmocka_unit_test(the_best_cells_of_a_row),
        cmocka_unit_test(plans_of_steps_and_heads_are_compared),
        cmocka_unit_test(masses_of_steps_are_compared),
        cmocka_unit_test(only_so_many_heads_are_compared),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
