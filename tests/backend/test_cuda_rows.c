/* test_cuda_rows.c: the operations on rows, products and choices of a backend against the CPU's on
 * the same inputs, for both types: odd sizes, rows by index, offsets, NaN. */
#include <math.h>

#include "backend/any_backend.h"
#include "base/rng.h"

enum { N = 5, N_ALL = 9, FIRST = 2, D = 40, HEADS = 3, WIDTH = HEADS * D, N_OUT = 37 };

/* One backend with the inputs of all operations. */
typedef struct {
    laci_backend *be;
    lac_dtype dtype;
    laci_buf *x, *y, *act, *table, *weight, *bias, *cosines, *sines, *out;
} rows;

static float number(uint64_t seed, size_t i)
{
    return 4 * (float)laci_rng_unit(seed, i) - 2;
}

static laci_buf *new_buf(laci_backend *be, size_t n)
{
    laci_buf *buf = NULL;
    assert_ok(laci_buf_new(be, n * sizeof(float), "test", &buf, NULL));
    return buf;
}

static laci_buf *floats(laci_backend *be, uint64_t seed, size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = number(seed, i);
    laci_buf *buf = new_buf(be, n);
    laci_backend_write(be, buf, 0, x, n * sizeof *x);
    free(x);
    return buf;
}

static laci_buf *acts(laci_backend *be, uint64_t seed, size_t n)
{
    if (laci_backend_act(be) == LACI_F32) return floats(be, seed, n);
    uint16_t *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = laci_f32_to_bf16(number(seed, i));
    laci_buf *buf = new_buf(be, n);
    laci_backend_write(be, buf, 0, x, n * sizeof *x);
    free(x);
    return buf;
}

static rows rows_new(const char *name, lac_dtype dtype)
{
    rows r = { .dtype = dtype };
    lac_error err;
    const laci_scratch_dims dims = { .d_model = WIDTH, .d_head = D, .n_vocab = 1000 };
    if (laci_backend_open(&r.be, name, dtype, 2, NULL, &err)) fail_msg("%s", err.message);
    assert_ok(laci_backend_reserve(r.be, laci_backend_scratch_need(r.be, &dims), NULL));
    r.x = floats(r.be, 1, (N_ALL + LACI_ROW_PAD) * WIDTH);
    r.y = floats(r.be, 2, (N_ALL + LACI_ROW_PAD) * WIDTH);
    r.act = acts(r.be, 3, (N_ALL + LACI_ROW_PAD) * WIDTH);
    r.table = acts(r.be, 4, N_ALL * WIDTH);
    r.weight = floats(r.be, 5, WIDTH);
    r.bias = floats(r.be, 6, WIDTH);
    r.cosines = floats(r.be, 7, 64 * D / 2);
    r.sines = floats(r.be, 8, 64 * D / 2);
    r.out = new_buf(r.be, (N_ALL + LACI_ROW_PAD) * WIDTH);
    return r;
}

static void rows_free(rows *r)
{
    laci_buf *all[] = { r->x,    r->y,       r->act,   r->table, r->weight,
                        r->bias, r->cosines, r->sines, r->out };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        laci_buf_free(r->be, all[i]);
    laci_backend_close(r->be);
}

/* First n numbers of a buffer of floats or activations. */
static float *numbers(const rows *r, const laci_buf *buf, bool is_act, size_t n)
{
    float *x = malloc(n * sizeof *x);
    if (!is_act || r->dtype == LAC_DTYPE_F32) {
        laci_backend_read(r->be, buf, 0, x, n * sizeof *x);
        return x;
    }
    uint16_t *half = malloc(n * sizeof *half);
    laci_backend_read(r->be, buf, 0, half, n * sizeof *half);
    for (size_t i = 0; i < n; i++)
        x[i] = laci_bf16_to_f32(half[i]);
    free(half);
    return x;
}

/* What an operation leaves in a buffer, the same on both backends. */
typedef struct {
    const char *name;
    void (*run)(const rows *r);
    bool is_act, in_x; /* the result is activations; is in x, not in out */
} operation;

static const int32_t some[N] = { 7, 0, 3, 8, 3 };

static void run_embed(const rows *r)
{
    const laci_norm norm = { r->weight, 1e-5f };
    const laci_embedding e = {
        .table = r->table, .time_table = r->y, .d = WIDTH, .time_row = 4, .norm = &norm, .n_rows = 9
    };
    laci_backend_embed(r->be, &e, some, N, r->out);
}

static void run_embed_bare(const rows *r)
{
    const laci_embedding e = { .table = r->table, .d = WIDTH, .n_rows = 9 };
    laci_backend_embed(r->be, &e, some, N, r->out);
}

/* Ids outside the table: in their place stands one of the table. */
static void run_embed_strange(const rows *r)
{
    static const int32_t strange[N] = { -1, 0, INT32_MAX, 9, INT32_MIN };
    const laci_embedding e = { .table = r->table, .d = WIDTH, .n_rows = 9, .stand_in = 2 };
    laci_backend_embed(r->be, &e, strange, N, r->out);
}

static void run_norm(const rows *r)
{
    const laci_norm norm = { r->weight, 1e-6f };
    laci_backend_norm(r->be, &(laci_norm_rows){ r->x, FIRST, NULL, N, WIDTH, norm, r->out, 1 });
}

static void run_norm_of_some(const rows *r)
{
    const laci_norm norm = { NULL, 1e-6f };
    laci_backend_norm(r->be, &(laci_norm_rows){ r->x, 0, some, N, WIDTH, norm, r->out, 0 });
}

static void run_gather(const rows *r)
{
    laci_backend_gather(r->be, r->x, some, N, WIDTH, r->out);
}

static void run_add(const rows *r)
{
    laci_backend_add(r->be, r->x, FIRST, r->y, N, WIDTH);
}

static void run_guide(const rows *r)
{
    laci_backend_guide(r->be, r->x, r->y, N, WIDTH, 1.5f);
}

static void run_swiglu(const rows *r)
{
    laci_backend_mlp(r->be, r->x, r->y, N, WIDTH, r->out);
}

static void run_relu2(const rows *r)
{
    laci_backend_mlp(r->be, NULL, r->y, N, WIDTH, r->out);
}

static void run_heads(const rows *r)
{
    const laci_head_op op = { .n_heads = HEADS,
                              .d_head = D,
                              .bias = r->bias,
                              .norm_before = true,
                              .norm = { r->weight, 1e-6f },
                              .cosines = r->cosines,
                              .sines = r->sines,
                              .rope_dim = D - 8 };
    laci_backend_heads(r->be, &(laci_head_rows){ &op, r->x, N, some, 0, r->out, 1 });
}

static void run_heads_adjacent(const rows *r)
{
    const laci_head_op op = { .n_heads = HEADS,
                              .d_head = D,
                              .norm_after = true,
                              .norm = { NULL, 1e-6f },
                              .cosines = r->cosines,
                              .sines = r->sines,
                              .rope_dim = D,
                              .rope_adjacent = true };
    laci_backend_heads(r->be, &(laci_head_rows){ &op, r->x, N, NULL, 11, r->out, 0 });
}

static void run_copy(const rows *r)
{
    laci_backend_copy(r->be, r->out, 12, r->x, 40, 4 * WIDTH);
}

/* The last page is shorter; pages are further apart than there are. */
static void run_pool_columns(const rows *r)
{
    laci_backend_pool_columns(r->be,
                              &(laci_column_pages){ r->x, N, WIDTH, WIDTH - 7, 16, r->out, 11 });
}

/* Three heads of five queries in two parts, of which one reads nothing of the first. */
static void run_pool_masses(const rows *r)
{
    const float nothing = -INFINITY;
    const laci_row_masses masses = { r->x, r->bias, r->weight, HEADS, 1, N, 67, 64 };
    laci_backend_write(r->be, r->bias, 14 * sizeof nothing, &nothing, sizeof nothing);
    laci_backend_pool_masses(r->be, &masses, r->out, 80, 4);
}

static void run_move_rows(const rows *r)
{
    const laci_dtype type = laci_backend_act(r->be);
    static const int32_t places[N] = { 4, 8, 1, 0, 6 };
    laci_backend_scatter_rows(r->be, type, r->act, places, N, WIDTH, r->out);
    laci_backend_gather_rows(r->be, type, r->out, places, 2, D, r->x);
    laci_backend_copy(r->be, r->out, 0, r->x, 0, (size_t)2 * D * (type == LACI_BF16 ? 2 : 4));
}

static void run_row_changes(const rows *r)
{
    double sums[2 * N];
    float narrow[2 * N];
    laci_backend_row_changes(r->be, r->act, r->table, N, WIDTH, sums, sums + N);
    for (size_t i = 0; i < (size_t)2 * N; i++)
        narrow[i] = (float)sums[i];
    laci_backend_write(r->be, r->out, 0, narrow, sizeof narrow);
}

/* Keys and values of a piece of a sequence that begins at position 64, read by attention. */
static void run_store_in_piece(const rows *r)
{
    enum { PIECE = 64, N_STORED = 9, AT = 30 };
    static const uint32_t row_ptr[2] = { 0, 1 }, cols[1] = { 0 };
    const laci_plan plan = { N, AT + N_STORED, 1, 1, row_ptr, cols, NULL, 0 };
    const laci_head_op op = {
        .n_heads = HEADS, .d_head = D, .cosines = r->cosines, .sines = r->sines, .rope_dim = 8
    };
    laci_kv kv;
    assert_ok(laci_kv_new(r->be, 2, PIECE, HEADS, D, &kv, NULL));
    kv.first = PIECE;
    laci_backend_store(r->be,
                       &(laci_kv_rows){ &op, r->x, N_STORED, &kv, LACI_KEYS, 1, PIECE + AT });
    laci_backend_store(r->be,
                       &(laci_kv_rows){ &op, r->y, N_STORED, &kv, LACI_VALUES, 1, PIECE + AT });
    const laci_attention a = { .q = r->act,
                               .kv = &kv,
                               .out = r->out,
                               .n_batch = 2,
                               .n_q = N,
                               .n_k = AT + N_STORED,
                               .n_heads = HEADS };
    laci_backend_attend(r->be, &plan, &a);
    laci_kv_free(r->be, &kv);
}

static void read_weights(void *user, size_t row, size_t n_rows, float *out)
{
    (void)user;
    for (size_t i = 0; i < n_rows * WIDTH; i++)
        out[i] = number(9, row * WIDTH + i);
}

static void run_linear(const rows *r)
{
    laci_linear *linear = NULL;
    assert_ok(laci_linear_new(r->be, N_OUT, WIDTH, (laci_row_source){ read_weights, NULL }, &linear,
                              NULL));
    const laci_scratch_dims dims = { .d_model = WIDTH, .d_head = D, .n_vocab = 1000 };
    assert_ok(laci_backend_reserve(r->be, laci_backend_scratch_need(r->be, &dims), NULL));
    laci_backend_linear(r->be, linear, r->act, FIRST, N, r->out);
    laci_linear_free(r->be, linear);
}

static const operation operations[] = {
    { "embed", run_embed, false, false },
    { "embed without norm", run_embed_bare, false, false },
    { "embed ids outside the table", run_embed_strange, false, false },
    { "norm", run_norm, true, false },
    { "norm of rows by index", run_norm_of_some, true, false },
    { "gather", run_gather, false, false },
    { "add", run_add, false, true },
    { "guide", run_guide, false, true },
    { "swiglu", run_swiglu, true, false },
    { "relu2", run_relu2, true, false },
    { "heads", run_heads, true, false },
    { "heads, adjacent pairs", run_heads_adjacent, true, false },
    { "copy", run_copy, false, false },
    { "columns into pages", run_pool_columns, false, false },
    { "masses of a part", run_pool_masses, false, false },
    { "rows by index", run_move_rows, true, false },
    { "changes of rows", run_row_changes, false, false },
    { "a piece of a sequence", run_store_in_piece, true, false },
    { "linear", run_linear, false, false },
};

static void check_operation(const operation *o, lac_dtype dtype)
{
    const size_t n = N_ALL * WIDTH;
    rows want_rows = rows_new("cpu", dtype), got_rows = rows_new(backend_name(), dtype);
    float *parts[2];
    for (int i = 0; i < 2; i++) {
        const rows *r = i ? &got_rows : &want_rows;
        o->run(r);
        parts[i] = numbers(r, o->in_x ? r->x : r->out, o->is_act, n);
    }
    const double bound = dtype == LAC_DTYPE_F32 ? 4e-6 : o->is_act ? 8e-3 : 2e-5;
    double size = 0;
    for (size_t i = 0; i < n; i++)
        size = fmax(size, fabs((double)parts[0][i]));
    /* the rows of a product after the last one may hold anything */
    const size_t n_checked = o->run == run_linear ? N * N_OUT : n;
    for (size_t i = 0; i < n_checked; i++)
        if (!(fabs((double)parts[0][i] - (double)parts[1][i]) <= bound * size))
            fail_msg("%s, %s: value %zu is %g, the CPU has %g", o->name,
                     dtype == LAC_DTYPE_F32 ? "f32" : "bf16", i, (double)parts[1][i],
                     (double)parts[0][i]);
    assert_true(size > 0);
    free(parts[0]), free(parts[1]);
    rows_free(&want_rows), rows_free(&got_rows);
}

static void operations_equal_the_cpus(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        check_operation(&operations[i], LAC_DTYPE_F32);
        check_operation(&operations[i], LAC_DTYPE_BF16);
    }
}

/* NaN goes through: it must not become a number on the way. */
static void nan_stays_nan(void **state)
{
    (void)state;
    const float bad = NAN;
    rows r = rows_new(backend_name(), LAC_DTYPE_BF16);
    laci_backend_write(r.be, r.y, 3 * sizeof bad, &bad, sizeof bad);
    for (int i = 0; i < 2; i++) {
        (i ? run_swiglu : run_relu2)(&r);
        float *x = numbers(&r, r.out, true, 8);
        for (size_t j = 0; j < 8; j++)
            assert_true(isnan(x[j]) == (j == 3));
        free(x);
    }
    rows_free(&r);
}

/* ------------------------------------------------------------------ choices */

enum { N_VOCAB = 1000, N_ROWS = 6 };

static float logit(size_t i)
{
    if (i / N_VOCAB == 5) return i % 3 ? -INFINITY : 1.0f; /* equal ones */
    if (i / N_VOCAB == 4) return -INFINITY;                /* nothing */
    return 8 * (float)laci_rng_unit(31, i) - (float)(i % 7);
}

static void choose_on(const char *name, const laci_choice_rule *rule, laci_choice *out)
{
    rows r = rows_new(name, LAC_DTYPE_F32);
    laci_buf *logits = new_buf(r.be, (N_ROWS + 1) * N_VOCAB);
    float *x = malloc(N_ROWS * N_VOCAB * sizeof *x);
    uint64_t keys[N_ROWS];
    for (size_t i = 0; i < N_ROWS * N_VOCAB; i++)
        x[i] = logit(i);
    for (size_t i = 0; i < N_ROWS; i++)
        keys[i] = laci_rng_key(3, LACI_RNG_TOKEN, 1, (uint32_t)i);
    laci_backend_write(r.be, logits, N_VOCAB * sizeof *x, x, N_ROWS * N_VOCAB * sizeof *x);
    laci_backend_choose(r.be, rule, logits, 1, N_ROWS, keys, out);
    free(x);
    laci_buf_free(r.be, logits);
    rows_free(&r);
}

static void choices_equal_the_cpus(void **state)
{
    (void)state;
    static uint32_t gaps[(N_VOCAB + 31) / 32] = { 0xffffffff, 1, 0, 0x80000001, 0xf0f0f0f0 };
    gaps[(N_VOCAB - 1) / 32] = 1;
    static const laci_choice_rule rules[] = {
        { .n_vocab = N_VOCAB, .n_allowed = N_VOCAB },
        { .n_vocab = N_VOCAB, .n_allowed = 700, .forbidden = { 0, 5, 30 }, .n_forbidden = 3 },
        { .n_vocab = N_VOCAB, .n_allowed = N_VOCAB, .temperature = 0.7 },
        { .n_vocab = N_VOCAB,
          .n_allowed = 900,
          .temperature = 1.3,
          .confidence = LACI_CONFIDENCE_CHOSEN },
        { .n_vocab = N_VOCAB, .n_allowed = N_VOCAB, .confidence = LACI_CONFIDENCE_ENTROPY },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .temperature = 1,
          .top_k = 20,
          .top_p = 0.9,
          .draw = LACI_DRAW_CATEGORICAL,
          .confidence = LACI_CONFIDENCE_MARGIN },
        { .n_vocab = N_VOCAB, .n_allowed = N_VOCAB, .confidence = LACI_CONFIDENCE_MARGIN },
        { .n_vocab = N_VOCAB, .n_allowed = 990, .bf16_confidence = true, .temperature = 0.3 },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .temperature = 2,
          .draw = LACI_DRAW_CATEGORICAL,
          .confidence = LACI_CONFIDENCE_CHOSEN },
        { .n_vocab = N_VOCAB, .n_allowed = 990, .temperature = 1.5, .top_p = 0.6 },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .forbidden = { 3, 999 },
          .n_forbidden = 2,
          .temperature = 0.9,
          .top_k = 1,
          .confidence = LACI_CONFIDENCE_CHOSEN },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .temperature = 4,
          .top_k = 7,
          .draw = LACI_DRAW_CATEGORICAL,
          .confidence = LACI_CONFIDENCE_ENTROPY },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .temperature = 3,
          .top_p = 0.001,
          .draw = LACI_DRAW_CATEGORICAL,
          .confidence = LACI_CONFIDENCE_MARGIN },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .temperature = 1,
          .top_k = 5000,
          .top_p = 0.9999,
          .confidence = LACI_CONFIDENCE_CHOSEN },
        { .n_vocab = N_VOCAB, .n_allowed = N_VOCAB, .gaps = gaps },
        { .n_vocab = N_VOCAB, .n_allowed = 900, .temperature = 2, .gaps = gaps },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .temperature = 1.5,
          .top_k = 30,
          .top_p = 0.95,
          .draw = LACI_DRAW_CATEGORICAL,
          .confidence = LACI_CONFIDENCE_ENTROPY,
          .gaps = gaps },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .temperature = 2,
          .top_k = 20,
          .top_p = 0.7,
          .top_k_first = true,
          .draw = LACI_DRAW_CATEGORICAL,
          .confidence = LACI_CONFIDENCE_CHOSEN },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .top_k = 3000,
          .top_p = 0.9,
          .top_k_first = true,
          .confidence = LACI_CONFIDENCE_ENTROPY },
        { .n_vocab = N_VOCAB,
          .n_allowed = 990,
          .temperature = 3,
          .unranked = { 3, 100, 101 },
          .n_unranked = 3 },
        { .n_vocab = N_VOCAB,
          .n_allowed = N_VOCAB,
          .unranked = { 7, 999 },
          .n_unranked = 2,
          .top_k = 9,
          .confidence = LACI_CONFIDENCE_MARGIN },
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        laci_choice want[N_ROWS], got[N_ROWS];
        choose_on("cpu", &rules[i], want);
        choose_on(backend_name(), &rules[i], got);
        for (size_t row = 0; row < N_ROWS; row++) {
            const laci_choice *w = &want[row], *g = &got[row];
            const bool none = isnan(w->confidence);
            if (w->is_broken != g->is_broken || w->id != g->id ||
                none != (bool)isnan(g->confidence) ||
                (!none && !(fabs(w->confidence - g->confidence) < 1e-9 &&
                            fabs((double)w->logprob - (double)g->logprob) < 1e-5)))
                fail_msg("rule %zu, row %zu: %d (%g, %g), the CPU %d (%g, %g)", i, row, g->id,
                         g->confidence, (double)g->logprob, w->id, w->confidence,
                         (double)w->logprob);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_equal_the_cpus),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(choices_equal_the_cpus),
    };
    if (is_cpu()) {
        printf("skipped: LAC_TEST_BACKEND names no backend to compare with the CPU\n");
        return TEST_SKIPPED;
    }
    run_on_backend(tests);
}
