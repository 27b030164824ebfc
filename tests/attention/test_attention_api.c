/* test_attention_api.c: the public attention: dense and sparse passes against a softmax in double
 * precision, strides, growing caches, plans built, saved, loaded and refused, memory that ends. */
#define _POSIX_C_SOURCE 200809L /* mkstemp */
#include "test.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attention/plan.h"
#include "base/rng.h"
#include "fault.h"
#include "lacuna_attention.h"

/* ------------------------------------------------------------------ a problem */

typedef struct {
    int n_batch, n_q, n_k, n_heads, n_kv_heads, d;
    lac_dtype dtype;
    bool limits, valid;
    bool scattered; /* caller's rows [heads, batch, rows] with gaps, not [batch, rows, heads] */
    bool out_f32;
} problem;

/* The caller's arrays; values are also kept as f32 in [batch, row, head, d]. */
typedef struct {
    problem p;
    float *q, *k, *v;
    void *q_raw, *k_raw, *v_raw, *out_raw;
    size_t n_out_raw; /* bytes */
    float *lse;
    uint32_t *limits;
    uint64_t *valid;
    lac_attention *attention;
} rig;

static void *take(size_t n, size_t size)
{
    void *p = calloc(n + 1, size);
    assert_non_null(p);
    return p;
}

static size_t size_of(const problem *p)
{
    return p->dtype == LAC_DTYPE_BF16 ? 2 : 4;
}

static lac_strides strides_of(const problem *p, int rows, int heads)
{
    if (!p->scattered) return (lac_strides){ 0 };
    const size_t row = (size_t)p->d + 3, batch = (size_t)rows * row;
    (void)heads;
    return (lac_strides){ batch, (size_t)p->n_batch * batch, row };
}

/* Where [batch, row, head] lies in the caller's memory, in elements. */
static size_t place_of(const problem *p, int rows, int heads, size_t b, size_t r, size_t h)
{
    const lac_strides s = strides_of(p, rows, heads);
    if (p->scattered) return b * s.batch + h * s.head + r * s.row;
    return ((b * (size_t)rows + r) * (size_t)heads + h) * (size_t)p->d;
}

static size_t raw_elements(const problem *p, int rows, int heads)
{
    return (size_t)p->n_batch * (size_t)rows * (size_t)heads * ((size_t)p->d + 3);
}

/* Random rows, larger in a few places so that heads have something to prefer. */
static float *make_rows(const problem *p, uint64_t seed, int rows, int heads, void **raw)
{
    const size_t d = (size_t)p->d, n = (size_t)p->n_batch * (size_t)rows * (size_t)heads;
    float *x = take(n * d, sizeof *x);
    *raw = take(raw_elements(p, rows, heads), size_of(p));
    for (size_t i = 0; i < n; i++) {
        const size_t h = i % (size_t)heads, r = i / (size_t)heads % (size_t)rows;
        const size_t b = i / (size_t)heads / (size_t)rows;
        const float scale = (r / 16 + h) % 5 == 0 ? 3 : 1;
        const size_t to = place_of(p, rows, heads, b, r, h);
        for (size_t j = 0; j < d; j++) {
            float value = scale * (2 * (float)laci_rng_unit(seed, i * d + j) - 1);
            if (p->dtype == LAC_DTYPE_BF16) {
                const uint16_t half = laci_f32_to_bf16(value);
                memcpy((char *)*raw + (to + j) * 2, &half, 2);
                value = laci_bf16_to_f32(half);
            } else {
                memcpy((char *)*raw + (to + j) * 4, &value, 4);
            }
            x[i * d + j] = value;
        }
    }
    return x;
}

static lac_attention_options options_of(const problem *p)
{
    return (lac_attention_options){ .n_batch = p->n_batch,
                                    .n_q = p->n_q,
                                    .n_k = p->n_k,
                                    .n_heads = p->n_heads,
                                    .n_kv_heads = p->n_kv_heads,
                                    .d_head = p->d,
                                    .dtype = p->dtype,
                                    .n_threads = 2 };
}

static lac_attention_kv kv_of(const rig *r)
{
    const problem *p = &r->p;
    return (lac_attention_kv){ .k = r->k_raw,
                               .v = r->v_raw,
                               .k_strides = strides_of(p, p->n_k, p->n_kv_heads),
                               .v_strides = strides_of(p, p->n_k, p->n_kv_heads),
                               .n = p->n_k };
}

static lac_attention_call call_of(const rig *r)
{
    const problem *p = &r->p;
    return (lac_attention_call){ .q = r->q_raw,
                                 .q_strides = strides_of(p, p->n_q, p->n_heads),
                                 .n_q = p->n_q,
                                 .out = r->out_raw,
                                 .out_strides = strides_of(p, p->n_q, p->n_heads),
                                 .out_f32 = p->out_f32,
                                 .lse = r->lse,
                                 .limits = p->limits ? r->limits : NULL,
                                 .valid = p->valid ? r->valid : NULL };
}

static rig *rig_new(const problem *p)
{
    rig *r = take(1, sizeof *r);
    const size_t words = ((size_t)p->n_k + 63) / 64;
    r->p = *p;
    r->q = make_rows(p, 1, p->n_q, p->n_heads, &r->q_raw);
    r->k = make_rows(p, 2, p->n_k, p->n_kv_heads, &r->k_raw);
    r->v = make_rows(p, 3, p->n_k, p->n_kv_heads, &r->v_raw);
    r->n_out_raw = raw_elements(p, p->n_q, p->n_heads) * sizeof(float);
    r->out_raw = take(r->n_out_raw, 1);
    memset(r->out_raw, 0xff, r->n_out_raw);
    r->lse = take((size_t)p->n_batch * (size_t)p->n_heads * (size_t)p->n_q, sizeof *r->lse);
    r->limits = take((size_t)p->n_batch * (size_t)p->n_q, sizeof *r->limits);
    r->valid = take((size_t)p->n_batch * words, sizeof *r->valid);
    for (size_t i = 0; i < (size_t)p->n_batch * (size_t)p->n_q; i++)
        r->limits[i] = (uint32_t)(i % (size_t)p->n_q / 20 * 20); /* none for the first 20 */
    for (size_t i = 0; i < (size_t)p->n_batch * words; i++)
        r->valid[i] = laci_rng_u64(9, i) | laci_rng_u64(10, i);
    const lac_attention_options opt = options_of(p);
    const lac_attention_kv kv = kv_of(r);
    assert_ok(lac_attention_create(&r->attention, &opt, NULL));
    assert_ok(lac_attention_set_kv(r->attention, &kv, NULL));
    return r;
}

static void rig_free(rig *r)
{
    lac_attention_free(r->attention);
    free(r->q), free(r->k), free(r->v), free(r->q_raw), free(r->k_raw), free(r->v_raw);
    free(r->out_raw), free(r->lse), free(r->limits), free(r->valid);
    free(r);
}

/* ------------------------------------------------------------------ the definition */

/* Whether a plan (NULL = all) lists the block of a key for a query. */
static bool is_listed(const lac_plan_info *plan, size_t pattern, size_t query, size_t key)
{
    if (!plan) return true;
    const size_t block = (size_t)plan->block;
    const size_t at = pattern * (size_t)plan->n_rows + query / block;
    for (uint32_t c = plan->row_ptr[at]; c < plan->row_ptr[at + 1]; c++)
        if (plan->cols[c] == key / block) return true;
    return false;
}

static bool may_read(const rig *r, size_t b, size_t query, size_t key)
{
    const size_t words = ((size_t)r->p.n_k + 63) / 64;
    if (r->p.limits && key >= r->limits[b * (size_t)r->p.n_q + query]) return false;
    return !r->p.valid || (r->valid[b * words + key / 64] >> key % 64 & 1);
}

/* Softmax of one query [n_k]; returns the log-sum-exp. */
static double softmax(const rig *r, const lac_plan_info *plan, size_t b, size_t h, size_t query,
                      double *p)
{
    const size_t n_heads = (size_t)r->p.n_heads, n_kv = (size_t)r->p.n_kv_heads;
    const size_t d = (size_t)r->p.d, n_k = (size_t)r->p.n_k;
    const size_t pattern = plan && plan->n_batch == 1 ? h : b * n_heads + h;
    const float *q = r->q + ((b * (size_t)r->p.n_q + query) * n_heads + h) * d;
    double top = -INFINITY, total = 0;
    for (size_t key = 0; key < n_k; key++) {
        const float *k = r->k + ((b * n_k + key) * n_kv + h * n_kv / n_heads) * d;
        double sum = 0;
        for (size_t i = 0; i < d; i++)
            sum += (double)q[i] * (double)k[i];
        const bool reads = may_read(r, b, query, key) && is_listed(plan, pattern, query, key);
        p[key] = reads ? sum / sqrt((double)d) : -INFINITY;
        if (p[key] > top) top = p[key];
    }
    for (size_t key = 0; key < n_k; key++)
        total += p[key] = p[key] == -INFINITY ? 0 : exp(p[key] - top);
    for (size_t key = 0; key < n_k && total > 0; key++)
        p[key] /= total;
    return total > 0 ? top + log(total) : -INFINITY;
}

static double read_out(const rig *r, size_t at)
{
    float value;
    uint16_t half;
    if (r->p.dtype == LAC_DTYPE_BF16 && !r->p.out_f32) {
        memcpy(&half, (char *)r->out_raw + at * 2, 2);
        return (double)laci_bf16_to_f32(half);
    }
    memcpy(&value, (char *)r->out_raw + at * 4, 4);
    return (double)value;
}

/* Outputs and log-sum-exp of the last call against the definition under `plan`. */
static void check(const rig *r, const lac_plan *plan)
{
    const problem *p = &r->p;
    const size_t n_heads = (size_t)p->n_heads, n_q = (size_t)p->n_q, n_k = (size_t)p->n_k;
    const double bound = p->dtype == LAC_DTYPE_BF16 ? 4e-2 : 1e-5;
    double *probability = take(n_k, sizeof *probability);
    lac_plan_info info;
    if (plan) assert_ok(lac_plan_get_info(plan, &info, NULL));
    for (size_t i = 0; i < (size_t)p->n_batch * n_heads * n_q; i++) {
        const size_t query = i % n_q, h = i / n_q % n_heads, b = i / n_q / n_heads;
        const double lse = softmax(r, plan ? &info : NULL, b, h, query, probability);
        if (!((double)r->lse[i] == lse || fabs((double)r->lse[i] - lse) <= bound))
            fail_msg("log-sum-exp %zu is %g, want %g", i, (double)r->lse[i], lse);
        for (size_t j = 0; j < (size_t)p->d; j += 3) {
            double want = 0;
            for (size_t key = 0; key < n_k; key++)
                want += probability[key] * (double)r->v[((b * n_k + key) * (size_t)p->n_kv_heads +
                                                         h * (size_t)p->n_kv_heads / n_heads) *
                                                            (size_t)p->d +
                                                        j];
            const double got = read_out(r, place_of(p, p->n_q, p->n_heads, b, query, h) + j);
            if (!(fabs(got - want) <= bound))
                fail_msg("batch %zu head %zu query %zu: %zu is %g, want %g", b, h, query, j, got,
                         want);
        }
    }
    free(probability);
}

static const problem problems[] = {
    { 1, 100, 100, 2, 2, 16, LAC_DTYPE_F32, false, false, false, false },
    { 2, 70, 130, 4, 2, 24, LAC_DTYPE_F32, false, true, true, false },
    { 2, 96, 96, 4, 1, 32, LAC_DTYPE_F32, true, false, true, false },
    { 1, 33, 200, 6, 3, 64, LAC_DTYPE_BF16, false, false, false, false },
    { 3, 40, 90, 4, 2, 32, LAC_DTYPE_BF16, true, true, true, true },
    { 1, 1, 1, 1, 1, 8, LAC_DTYPE_F32, false, false, false, false },
    { 2, 600, 600, 2, 1, 8, LAC_DTYPE_F32, false, false, true, false },
};
enum { N_PROBLEMS = sizeof problems / sizeof problems[0] };

/* ------------------------------------------------------------------ tests */

static void test_dense(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        rig *r = rig_new(&problems[i]);
        const lac_attention_call call = call_of(r);
        assert_ok(lac_attention_run(r->attention, &call, NULL, NULL));
        check(r, NULL);
        rig_free(r);
    }
}

/* Bytes between the rows of the caller's output are not touched. */
static void test_gaps(void **state)
{
    (void)state;
    rig *r = rig_new(&problems[1]);
    const lac_attention_call call = call_of(r);
    assert_ok(lac_attention_run(r->attention, &call, NULL, NULL));
    const size_t row = (size_t)r->p.d + 3;
    for (size_t at = 0; at < raw_elements(&r->p, r->p.n_q, r->p.n_heads); at++)
        if (at % row >= (size_t)r->p.d)
            for (size_t i = 0; i < 4; i++)
                assert_int_equal(((unsigned char *)r->out_raw)[at * 4 + i], 0xff);
    rig_free(r);
}

static void test_plans(void **state)
{
    (void)state;
    const lac_plan_options how[] = {
        { .knobs = "select=0.3,block=16", .n_prompt = 25 },
        { .knobs = "select=0.5,block=32,isolated=reference", .n_prompt = 20 },
        { .knobs = "fidelity=0.8,block=16,group=kv" },
        { .knobs = "select=0.2,block=64,isolated=none" },
    };
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        rig *r = rig_new(&problems[i]);
        const lac_attention_call call = call_of(r);
        for (size_t j = 0; j < sizeof how / sizeof how[0]; j++) {
            lac_plan_options opt = how[j];
            lac_plan *plan = NULL;
            if (opt.n_prompt > r->p.n_k) opt.n_prompt = r->p.n_k;
            assert_ok(lac_attention_build(r->attention, &call, &opt, &plan, NULL));
            check(r, NULL); /* the pass that builds is dense */
            assert_ok(lac_attention_run(r->attention, &call, plan, NULL));
            check(r, plan);
            lac_plan_free(plan);
        }
        rig_free(r);
    }
}

/* A plan of everything gives the dense result, to the bit where the pass is cut alike. */
static void test_full_plan(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_PROBLEMS; i++) {
        rig *r = rig_new(&problems[i]);
        const lac_attention_call call = call_of(r);
        const lac_plan_options opt = { .knobs = "select=1,block=16", .n_prompt = 1 };
        lac_plan *plan = NULL;
        lac_plan_info info;
        assert_ok(lac_attention_build(r->attention, &call, &opt, &plan, NULL));
        assert_ok(lac_plan_get_info(plan, &info, NULL));
        assert_true(info.density == 1);
        if (!r->p.limits) assert_true(fabs(info.kept_mass - 1) < 1e-3);
        assert_ok(lac_attention_run(r->attention, &call, plan, NULL));
        check(r, NULL);
        lac_plan_free(plan);
        rig_free(r);
    }
}

/* Kept mass and density as the definition has them. */
static void test_facts(void **state)
{
    (void)state;
    rig *r = rig_new(&problems[0]);
    const lac_attention_call call = call_of(r);
    const lac_plan_options opt = { .knobs = "select=0.4,block=16", .n_prompt = 50 };
    lac_plan *plan = NULL;
    lac_plan_info info;
    double p[100], mean = 0;
    assert_ok(lac_attention_build(r->attention, &call, &opt, &plan, NULL));
    assert_ok(lac_plan_get_info(plan, &info, NULL));
    assert_int_equal(info.n_rows, 7);
    assert_int_equal(info.n_prompt, 50);
    for (size_t h = 0; h < 2; h++) {
        double kept = 0, read = 0;
        for (size_t query = 0; query < 100; query++) {
            (void)softmax(r, NULL, 0, h, query, p);
            for (size_t key = 0; key < 100; key++) {
                if (!is_listed(&info, h, query, key)) continue;
                kept += p[key] / 100;
                read += 1.0 / (100 * 100);
            }
        }
        assert_true(fabs(kept - (double)info.pattern_kept[h]) < 1e-5);
        assert_true(fabs(read - (double)info.pattern_density[h]) < 1e-5);
        mean += kept / 2;
    }
    assert_true(fabs(mean - info.kept_mass) < 1e-5);
    assert_true(info.density > 0.3 && info.density < 0.75);
    lac_plan_free(plan);
    rig_free(r);
}

/* Fidelity is met by every row, so by every head. */
static void test_fidelity(void **state)
{
    (void)state;
    rig *r = rig_new(&problems[6]);
    const lac_attention_call call = call_of(r);
    const lac_plan_options opt = { .knobs = "fidelity=0.9,block=16", .n_prompt = 300 };
    lac_plan *plan = NULL;
    lac_plan_info info;
    assert_ok(lac_attention_build(r->attention, &call, &opt, &plan, NULL));
    assert_ok(lac_plan_get_info(plan, &info, NULL));
    for (size_t i = 0; i < 4; i++)
        assert_true((double)info.pattern_kept[i] >= 0.9 - 1e-5);
    assert_true(info.density < 1);
    lac_plan_free(plan);
    rig_free(r);
}

/* A cache that grows by calls holds what one call would have put there. */
static void test_growth(void **state)
{
    (void)state;
    const problem p = { 2, 50, 150, 2, 2, 16, LAC_DTYPE_F32, false, false, true, false };
    rig *r = rig_new(&p);
    const lac_attention_call call = call_of(r);
    const int ends[] = { 1, 64, 70, 150 };
    for (int i = 0, begin = 0; i < 4; begin = ends[i++]) {
        lac_attention_kv kv = kv_of(r);
        const size_t skip = (size_t)begin * kv.k_strides.row * sizeof(float);
        kv.k = (const char *)kv.k + skip;
        kv.v = (const char *)kv.v + skip;
        kv.begin = begin;
        kv.n = ends[i] - begin;
        assert_ok(lac_attention_set_kv(r->attention, &kv, NULL));
    }
    assert_ok(lac_attention_run(r->attention, &call, NULL, NULL));
    check(r, NULL);
    rig_free(r);
}

/* A cache that shrinks forgets: NaN left behind the last key does not reach the result. */
static void test_shrink(void **state)
{
    (void)state;
    problem p = { 1, 20, 100, 2, 2, 16, LAC_DTYPE_F32, false, false, false, false };
    rig *r = rig_new(&p);
    const size_t n = 100 * 2 * 16;
    float *bad = take(n, sizeof *bad);
    for (size_t i = 0; i < n; i++)
        bad[i] = NAN;
    const lac_attention_kv poison = { .k = bad, .v = bad, .n = 100 };
    lac_attention_kv kv = kv_of(r);
    kv.n = r->p.n_k = 70; /* one sequence: its rows lie the same way */
    const lac_attention_call call = call_of(r);
    assert_ok(lac_attention_set_kv(r->attention, &poison, NULL));
    assert_ok(lac_attention_set_kv(r->attention, &kv, NULL));
    assert_ok(lac_attention_run(r->attention, &call, NULL, NULL));
    check(r, NULL);
    free(bad);
    rig_free(r);
}

/* A plan of one sequence serves a batch. */
static void test_shared_plan(void **state)
{
    (void)state;
    problem p = problems[0];
    rig *one = rig_new(&p);
    p.n_batch = 3;
    rig *three = rig_new(&p);
    const lac_attention_call first = call_of(one), call = call_of(three);
    const lac_plan_options opt = { .knobs = "block=16" };
    lac_plan *plan = NULL;
    assert_ok(lac_attention_build(one->attention, &first, &opt, &plan, NULL));
    assert_ok(lac_attention_run(three->attention, &call, plan, NULL));
    check(three, plan);
    lac_plan_free(plan);
    rig_free(one);
    rig_free(three);
}

/* ------------------------------------------------------------------ files */

static lac_plan *some_plan(void)
{
    rig *r = rig_new(&problems[1]);
    const lac_attention_call call = call_of(r);
    const lac_plan_options opt = { .knobs = "block=16", .n_prompt = 77 };
    lac_plan *plan = NULL;
    assert_ok(lac_attention_build(r->attention, &call, &opt, &plan, NULL));
    rig_free(r); /* plans outlive what made them */
    return plan;
}

static void test_round_trip(void **state)
{
    (void)state;
    char path[] = "/tmp/lacuna_plan_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    lac_plan *plan = some_plan(), *loaded = NULL;
    lac_plan_info a, b;
    char planted[96];
    struct stat info;
    snprintf(planted, sizeof planted, "%s.tmp", path);
    assert_int_equal(symlink("/nowhere/at/all", planted), 0); /* a name of somebody else's */
    assert_ok(lac_plan_save(plan, path, NULL));
    assert_int_equal(lstat(planted, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600); /* as mkstemp made it */
    (void)remove(planted);
    assert_ok(lac_plan_load(&loaded, path, NULL, NULL));
    assert_ok(lac_plan_get_info(plan, &a, NULL));
    assert_ok(lac_plan_get_info(loaded, &b, NULL));
    const size_t n = (size_t)(a.n_batch * a.n_heads * a.n_rows);
    assert_int_equal(a.n_prompt, b.n_prompt);
    assert_memory_equal(a.row_ptr, b.row_ptr, (n + 1) * 4);
    assert_memory_equal(a.cols, b.cols, a.row_ptr[n] * 4);
    assert_memory_equal(a.pattern_kept, b.pattern_kept, (size_t)(a.n_batch * a.n_heads) * 4);
    assert_true(a.density == b.density && a.kept_mass == b.kept_mass);
    assert_int_equal(lac_plan_save(plan, "/nowhere/at/all", NULL), LAC_EIO);
    assert_int_equal(lac_plan_load(&loaded, "/nowhere/at/all", NULL, NULL), LAC_EIO);
    lac_plan_free(plan);
    lac_plan_free(loaded);
    (void)remove(path);
}

static void test_damage(void **state)
{
    (void)state;
    lac_plan *plan = some_plan(), *read = NULL;
    const size_t n = lac_plan_bytes(plan);
    unsigned char *data = take(n, 1);
    lac_error err;
    assert_int_equal(lac_plan_write(plan, data, n - 1, &err), LAC_EINVAL);
    assert_int_equal(lac_plan_write(plan, NULL, n, &err), LAC_EINVAL);
    assert_int_equal(lac_plan_write(NULL, data, n, &err), LAC_EINVAL);
    assert_int_equal(lac_plan_read(&read, NULL, 0, NULL, &err), LAC_EFORMAT);
    assert_ok(lac_plan_write(plan, data, n, NULL));
    for (size_t cut = 0; cut < n; cut++) {
        unsigned char *part = take(cut, 1); /* a read past the end is caught by ASan */
        memcpy(part, data, cut);
        assert_int_equal(lac_plan_read(&read, part, cut, NULL, &err), LAC_EFORMAT);
        free(part);
    }
    assert_int_equal(lac_plan_read(&read, data, n + 1, NULL, &err), LAC_EFORMAT);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        const lac_status st = lac_plan_read(&read, data, n, NULL, &err);
        if (st != LAC_EFORMAT && st != LAC_EUNSUPPORTED) fail_msg("bit %zu went unseen", bit);
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    assert_null(read);
    assert_ok(lac_plan_read(&read, data, n, NULL, NULL));
    lac_plan_free(read);
    lac_plan_free(plan);
    free(data);
}

/* ------------------------------------------------------------------ refusals */

static void expect_einval(lac_status st, const lac_error *err, const char *part)
{
    assert_int_equal(st, LAC_EINVAL);
    if (!strstr(err->message, part)) fail_msg("\"%s\" does not say \"%s\"", err->message, part);
}

static void test_bad_options(void **state)
{
    (void)state;
    const struct {
        lac_attention_options opt;
        const char *says;
    } bad[] = {
        { { .n_k = 0, .n_heads = 1, .d_head = 8 }, "n_k is 0" },
        { { .n_k = 1, .n_heads = 0, .d_head = 8 }, "n_heads is 0" },
        { { .n_k = 1, .n_heads = 3, .n_kv_heads = 2, .d_head = 8 }, "multiple of the 2" },
        { { .n_k = 1, .n_heads = 1, .d_head = 12 }, "multiple of 8" },
        { { .n_k = 1, .n_heads = 1, .d_head = 2048 }, "d_head is 2048" },
        { { .n_k = 1, .n_heads = 1, .d_head = 8, .dtype = (lac_dtype)7 }, "dtype is 7" },
        { { .n_k = 1, .n_heads = 1, .d_head = 8, .n_threads = -1 }, "n_threads is -1" },
        { { .n_k = 1, .n_heads = 1, .d_head = 8, .n_batch = -2 }, "n_batch is -2" },
        { { .n_k = 1, .n_heads = 60000, .d_head = 1024 }, "at most" },
    };
    lac_attention *a = NULL;
    lac_error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_einval(lac_attention_create(&a, &bad[i].opt, &err), &err, bad[i].says);
    assert_null(a);
    expect_einval(lac_attention_create(&a, NULL, &err), &err, "dimensions");
}

static void test_bad_calls(void **state)
{
    (void)state;
    rig *r = rig_new(&problems[1]), *other = rig_new(&problems[0]);
    lac_attention_call call = call_of(r);
    lac_attention_kv kv = kv_of(r);
    const lac_attention_call fits = call_of(other);
    const lac_attention_options room = options_of(&r->p);
    lac_plan_options how = { .n_prompt = 131 };
    lac_plan *plan = NULL;
    lac_attention *fresh = NULL;
    lac_error err;
    expect_einval(lac_attention_build(r->attention, &call, &how, &plan, &err), &err,
                  "n_prompt is 131");
    how = (lac_plan_options){ .knobs = "select=1.5" };
    expect_einval(lac_attention_build(r->attention, &call, &how, &plan, &err), &err,
                  "'1.5' is not a share");
    how = (lac_plan_options){ .knobs = "skip=0.5" };
    expect_einval(lac_attention_build(r->attention, &call, &how, &plan, &err), &err,
                  "a plan has no knob \"skip\": it has select");
    assert_null(plan);
    assert_ok(lac_attention_build(other->attention, &fits, NULL, &plan, NULL));
    expect_einval(lac_attention_run(r->attention, &call, plan, &err), &err, "2 heads, 100 queries");
    call.n_q = r->p.n_q + 1;
    expect_einval(lac_attention_run(r->attention, &call, NULL, &err), &err, "n_q is 71");
    call = call_of(r);
    call.out_strides.head = 5;
    expect_einval(lac_attention_run(r->attention, &call, NULL, &err), &err, "within a head");
    kv.begin = r->p.n_k;
    expect_einval(lac_attention_set_kv(r->attention, &kv, &err), &err, "new keys");
    kv.begin = -1;
    expect_einval(lac_attention_set_kv(r->attention, &kv, &err), &err, "first new key");
    assert_ok(lac_attention_create(&fresh, &room, NULL));
    call = call_of(r);
    expect_einval(lac_attention_run(fresh, &call, NULL, &err), &err, "no keys");
    kv = kv_of(r);
    kv.begin = 1;
    expect_einval(lac_attention_set_kv(fresh, &kv, &err), &err, "must be 0 to 0");
    lac_attention_free(fresh);
    lac_plan_free(plan);
    rig_free(r);
    rig_free(other);
}

/* ------------------------------------------------------------------ memory */

/* Everything once, with memory that ends after `left` allocations; the failure, if any. */
static lac_status run_all(const rig *r, const lac_allocator *mem)
{
    const lac_attention_kv kv = kv_of(r);
    const lac_attention_call call = call_of(r);
    const lac_plan_options how = { .knobs = "block=16,isolated=reference", .n_prompt = 50 };
    lac_attention_options opt = options_of(&r->p);
    lac_attention *a = NULL;
    lac_plan *plan = NULL, *read = NULL;
    unsigned char data[4096];
    opt.allocator = mem;
    opt.n_threads = 1;
    lac_status st = lac_attention_create(&a, &opt, NULL);
    if (!st) st = lac_attention_set_kv(a, &kv, NULL);
    if (!st) st = lac_attention_build(a, &call, &how, &plan, NULL);
    if (!st) st = lac_attention_run(a, &call, plan, NULL);
    if (!st) st = lac_plan_write(plan, data, sizeof data, NULL);
    if (!st) st = lac_plan_read(&read, data, lac_plan_bytes(plan), mem, NULL);
    lac_plan_free(read);
    lac_plan_free(plan);
    lac_attention_free(a);
    return st;
}

static void test_memory_ends(void **state)
{
    (void)state;
    rig *r = rig_new(&problems[1]);
    lac_status st = LAC_ENOMEM;
    for (long left = 0; st; left++) {
        fault f = { .left = left };
        const lac_allocator mem = fault_allocator(&f);
        st = run_all(r, &mem);
        if (st) assert_int_equal(st, LAC_ENOMEM);
        assert_int_equal(f.live, 0);
        assert_true(left < 100);
    }
    rig_free(r);
}

/* Keys are set and passes run without the allocator. */
static void test_no_allocation(void **state)
{
    (void)state;
    rig *r = rig_new(&problems[1]);
    fault f = { .left = FAULT_NEVER };
    const lac_allocator mem = fault_allocator(&f);
    const lac_attention_kv kv = kv_of(r);
    const lac_attention_call call = call_of(r);
    lac_attention_options opt = options_of(&r->p);
    lac_attention *a = NULL;
    lac_plan *plan = NULL;
    opt.allocator = &mem;
    assert_ok(lac_attention_create(&a, &opt, NULL));
    assert_ok(lac_attention_set_kv(a, &kv, NULL));
    assert_ok(lac_attention_build(a, &call, NULL, &plan, NULL));
    const long n_calls = f.n_calls;
    for (int i = 0; i < 3; i++) {
        assert_ok(lac_attention_set_kv(a, &kv, NULL));
        assert_ok(lac_attention_run(a, &call, i ? plan : NULL, NULL));
    }
    assert_int_equal(f.n_calls, n_calls);
    lac_plan_free(plan);
    lac_attention_free(a);
    rig_free(r);
}

/* Same bits at any number of threads. */
static void test_threads(void **state)
{
    (void)state;
    rig *r = rig_new(&problems[6]);
    const lac_attention_kv kv = kv_of(r);
    const lac_attention_call call = call_of(r);
    unsigned char *first = take(r->n_out_raw, 1);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        lac_attention_options opt = options_of(&r->p);
        lac_attention *a = NULL;
        lac_plan *plan = NULL;
        opt.n_threads = n_threads;
        assert_ok(lac_attention_create(&a, &opt, NULL));
        assert_ok(lac_attention_set_kv(a, &kv, NULL));
        assert_ok(lac_attention_build(a, &call, NULL, &plan, NULL));
        assert_ok(lac_attention_run(a, &call, plan, NULL));
        if (n_threads == 1)
            memcpy(first, r->out_raw, r->n_out_raw);
        else
            assert_memory_equal(first, r->out_raw, r->n_out_raw);
        lac_plan_free(plan);
        lac_attention_free(a);
    }
    free(first);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense),       cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_plans),       cmocka_unit_test(test_full_plan),
        cmocka_unit_test(test_facts),       cmocka_unit_test(test_fidelity),
        cmocka_unit_test(test_growth),      cmocka_unit_test(test_shared_plan),
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_damage),
        cmocka_unit_test(test_bad_options), cmocka_unit_test(test_bad_calls),
        cmocka_unit_test(test_memory_ends), cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_shrink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
