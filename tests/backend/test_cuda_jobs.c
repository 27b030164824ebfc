/* test_cuda_jobs.c: host logic of the CUDA backend without a device: jobs cover every query of
 * every head once and every lane of its plan row once, limits included; parts and chunks; index
 * arithmetic of the tensor-core kernel. */
#include "test.h"

#include "backend/attend_rig.h"
#include "backend/cuda/cu_layout.h"
#include "backend/cuda/cuda_jobs.h"
#include "backend/plan_rows.h"

/* n_batch, n_q, n_k, n_heads, n_kv_heads, d, q_block, k_block, n_patterns, alike */
static const attend_case cases[] = {
    { 1, 1, 1, 1, 1, 8, 1, 1, 1, 1, .density = 1 },
    { 2, 300, 700, 4, 2, 8, 128, 64, 8, 1, .density = 0.5, .n_keys = true },
    { 3, 40, 5000, 8, 2, 8, 16, 16, 8, 4, .density = 0.6, .limits = true },
    { 1, 16, 40000, 8, 2, 8, 16, 40000, 1, 1, .density = 1 },
    { 2, 100, 3000, 4, 1, 8, 33, 7, 4, 1, .density = 0.3, .active_every = 3, .n_keys = true },
    { 1, 200, 900, 2, 1, 8, 64, 1, 2, 1, .density = 0.2, .empty_rows = true, .limits = true },
};

/* Lanes of the plan row of a job's first row that its keys put below `end`, counted one by one. */
static size_t count_lanes(const laci_plan *plan, size_t at, size_t end)
{
    size_t n = 0;
    for (uint32_t c = plan->row_ptr[at]; c < plan->row_ptr[at + 1]; c++)
        for (size_t i = 0; i < plan->k_block; i++)
            n += plan->cols[c] * plan->k_block + i < end;
    return n;
}

static size_t limit_of(const attend_rig *r, size_t batch, size_t query)
{
    const size_t limit = r->a.limits ? r->limits[batch * r->n_rows + query] : SIZE_MAX;
    return limit < r->n_keys[batch] ? limit : r->n_keys[batch];
}

/* Checks one job against the plan; adds the lanes it reads to every row of it. */
static void check_job(const attend_rig *r, const laci_cu_job *job, size_t most_rows, size_t *lanes)
{
    const attend_case *c = &r->c;
    assert_true(job->n > 0 && job->n * job->n_heads <= most_rows);
    assert_int_equal(job->head / (c->n_heads / c->n_kv_heads),
                     (job->head + job->n_heads - 1) / (c->n_heads / c->n_kv_heads));
    assert_int_equal(job->first % LACI_CU_TILE, 0);
    assert_true(job->end == 0 || job->first < job->end);
    size_t most = 0;
    for (size_t i = 0; i < (size_t)job->n * job->n_heads; i++) {
        const size_t query = job->begin + i % job->n, head = job->head + i / job->n;
        const size_t at = laci_plan_row_of(&r->plan.plan, c->n_heads, job->batch, head,
                                           position_of(r, query) / c->q_block);
        const uint32_t first = r->plan.plan.row_ptr[at];
        const size_t n = r->plan.plan.row_ptr[at + 1] - first;
        assert_memory_equal(r->plan.plan.cols + first, r->plan.plan.cols + job->cols,
                            n * sizeof(uint32_t));
        const size_t reads = count_lanes(&r->plan.plan, at, limit_of(r, job->batch, query));
        assert_true(job->full_end <= reads);
        if (reads > most) most = reads;
        lanes[(job->batch * c->n_heads + head) * r->n_rows + query] += job->end - job->first;
    }
    assert_true(job->end <= most);
}

static void check_cover(const attend_case *c, size_t most_rows)
{
    attend_rig *r = rig_new(c, LAC_DTYPE_F32, 1, 0);
    laci_cu_jobs jobs = { 0 };
    laci_cuda_jobs(&r->plan.plan, &r->a, most_rows, &jobs);
    jobs.jobs = take(jobs.n_jobs, sizeof *jobs.jobs);
    jobs.parts = take(jobs.n_parts, sizeof *jobs.parts);
    const laci_cu_jobs counted = jobs;
    laci_cuda_jobs(&r->plan.plan, &r->a, most_rows, &jobs);
    assert_int_equal(jobs.n_jobs, counted.n_jobs);
    assert_int_equal(jobs.n_parts, counted.n_parts);
    assert_int_equal(jobs.n_slots, counted.n_slots);
    size_t *lanes = take(n_lse(r), sizeof *lanes), n_slots = 0;
    for (size_t i = 0; i < jobs.n_jobs; i++) {
        check_job(r, &jobs.jobs[i], most_rows, lanes);
        if (jobs.jobs[i].slot >= 0) assert_int_equal(jobs.jobs[i].slot, n_slots++);
    }
    assert_int_equal(n_slots, jobs.n_slots);
    for (size_t i = 0; i < jobs.n_parts; i++)
        assert_true(jobs.parts[i].slot + jobs.parts[i].n_slots <= n_slots);
    for (size_t i = 0; i < n_lse(r); i++) { /* at least its own limit, at most that of its tile */
        const size_t query = i % r->n_rows, head = i / r->n_rows % c->n_heads;
        const size_t batch = i / r->n_rows / c->n_heads;
        const size_t at = laci_plan_row_of(&r->plan.plan, c->n_heads, batch, head,
                                           position_of(r, query) / c->q_block);
        assert_true(lanes[i] >= count_lanes(&r->plan.plan, at, limit_of(r, batch, query)));
    }
    free(jobs.jobs), free(jobs.parts), free(lanes);
    rig_free(r);
}

static void jobs_cover_the_plan(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_cover(&cases[i], 128);
        check_cover(&cases[i], 64);
    }
}

static void parts_are_whole_tiles(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200000; n += 1 + n / 5) {
        const size_t part = laci_cuda_part(n);
        assert_int_equal(part % LACI_CU_TILE, 0);
        assert_true(part >= 256 && (n + part - 1) / part <= LACI_CU_MOST_PARTS);
    }
}

/* ------------------------------------------------------------------ chunks of statistics */

static void check_chunks(size_t q_block, size_t plan_block, size_t most_rows)
{
    const attend_case c = { 2, 500, 90, 3, 3, 8, plan_block, 90, 1, 1, .density = 1 };
    attend_rig *r = rig_new(&c, LAC_DTYPE_F32, 1, 0);
    const laci_mass_stats stats = { .q_block = q_block, .k_block = 16 };
    r->a.stats = &stats;
    laci_cu_jobs jobs = { 0 };
    laci_cuda_jobs(&r->plan.plan, &r->a, 128, &jobs);
    jobs.jobs = take(jobs.n_jobs, sizeof *jobs.jobs);
    laci_cu_chunk *chunks = take(jobs.n_jobs, sizeof *chunks);
    uint32_t *items = take(3 * 6 * n_blocks(500, q_block), sizeof *items);
    laci_cuda_jobs(&r->plan.plan, &r->a, 128, &jobs);
    const size_t n = laci_cuda_chunks(&r->a, jobs.jobs, jobs.n_jobs, most_rows, chunks, items);
    size_t job = 0, item = 0, row = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(chunks[i].first, job);
        assert_int_equal(chunks[i].item, item);
        assert_int_equal(chunks[i].row, row);
        assert_true(chunks[i].n_rows <= most_rows || most_rows < 256);
        for (; item < chunks[i].item_end; item++) {
            assert_int_equal(items[3 * item], row);
            assert_int_equal(items[3 * item + 2], row - chunks[i].row);
            assert_true(row % 500 % q_block == 0 && items[3 * item + 1] > 0);
            row += items[3 * item + 1];
        }
        for (job = chunks[i].first; job < chunks[i].end; job++)
            assert_true(jobs.jobs[job].stats_row + jobs.jobs[job].n <= chunks[i].n_rows);
    }
    assert_int_equal(row, 2 * 3 * 500);
    assert_int_equal(job, jobs.n_jobs);
    assert_int_equal(item, 6 * n_blocks(500, q_block));
    free(jobs.jobs), free(chunks), free(items);
    rig_free(r);
}

static void chunks_cover_the_rows(void **state)
{
    (void)state;
    check_chunks(16, 500, SIZE_MAX);
    check_chunks(16, 500, 256);
    check_chunks(128, 500, 300);
    check_chunks(16, 48, 256);
    check_chunks(32, 96, 1);
}

/* ------------------------------------------------------------------ index arithmetic */

/* Every chunk has its own place, and eight neighbouring rows of a column lie in different banks. */
static void swizzled_chunks_do_not_collide(void **state)
{
    (void)state;
    for (uint32_t n = 8; n <= 32; n *= 2) {
        bool taken[64 * 32] = { false };
        for (uint32_t row = 0; row < 64; row++)
            for (uint32_t chunk = 0; chunk < n; chunk++) {
                const uint32_t at = chunk_offset(row, chunk, n);
                assert_true(at % 16 == 0 && at < 64 * n * 16 && !taken[at / 16]);
                taken[at / 16] = true;
            }
        for (uint32_t row = 0; row < 64; row += 8)
            for (uint32_t chunk = 0; chunk < n; chunk++) {
                unsigned banks = 0; /* groups of four banks, 16 bytes */
                for (uint32_t i = 0; i < 8; i++)
                    banks |= 1u << chunk_offset(row + i, chunk, n) / 16 % 8;
                assert_int_equal(banks, 0xff);
            }
    }
}

static void lanes_name_every_row_once(void **state)
{
    (void)state;
    for (int right = 0; right < 2; right++) {
        bool named[16][2] = { { false } };
        for (uint32_t lane = 0; lane < 32; lane++) {
            const uint32_t row = right ? right_row(lane) : left_row(lane);
            const uint32_t chunk = right ? right_chunk(lane) : left_chunk(lane);
            assert_true(row < 16 && chunk < 2 && !named[row][chunk]);
            named[row][chunk] = true;
        }
    }
    assert_int_equal(left_row(8), 8);    /* second matrix: rows 8 to 15 */
    assert_int_equal(left_chunk(16), 1); /* third: channels 8 to 15 */
    assert_int_equal(right_chunk(8), 1); /* the other way round */
    assert_int_equal(right_row(16), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_cover_the_plan),
        cmocka_unit_test(parts_are_whole_tiles),
        cmocka_unit_test(chunks_cover_the_rows),
        cmocka_unit_test(swizzled_chunks_do_not_collide),
        cmocka_unit_test(lanes_name_every_row_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
