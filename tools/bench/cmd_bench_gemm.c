/* cmd_bench_gemm.c: `lacuna bench gemm`: products of m rows of activations with a packed matrix of
 * n outputs and k inputs, as the engine runs them. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "base/error.h"
#include "bench/benches.h"
#include "bench/inputs.h"
#include "bench/options.h"
#include "bench/peak.h"
#include "shell/console.h"

typedef struct {
    bench_options common;
    const char *m, *n, *k, *dtype;
} gemm_options;

#define AT(field) offsetof(gemm_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Problem (a LIST gives a row for each)" },
    { ARGS_TEXT, "m", 0, "LIST", AT(m), 0, 0, NULL, "rows of activations (default 16,128,1024)" },
    { ARGS_TEXT, "n", 0, "LIST", AT(n), 0, 0, NULL, "outputs of the matrix (default 4096)" },
    { ARGS_TEXT, "k", 0, "LIST", AT(k), 0, 0, NULL, "inputs of the matrix (default 4096)" },
    { ARGS_TEXT, "dtype", 0, "LIST", AT(dtype), 0, 0, NULL,
      "type of activations and matrix: f32, bf16 (default bf16)" },
    BENCH_FLAGS,
};
#undef AT

typedef struct {
    const bench_options *opt;
    laci_dtype dtype;
    int n_threads;
    size_t m, n, k;
    laci_backend *be;
    laci_linear *linear;
    laci_buf *x, *y; /* act [m, k], f32 [m, n], rows rounded up */
} product;

/* ------------------------------------------------------------------ numbers */

static float weight_at(const product *p, size_t row, size_t column)
{
    const uint64_t key = laci_rng_key(p->opt->seed, INPUT_WEIGHT, 0, (uint32_t)row);
    return input_rounded(p->dtype, input_normal(key, column));
}

static float input_at(const product *p, size_t row, size_t column)
{
    const uint64_t key = laci_rng_key(p->opt->seed, INPUT_X, 0, (uint32_t)row);
    return input_rounded(p->dtype, input_normal(key, column));
}

static void read_weights(void *user, size_t row, size_t n_rows, float *out)
{
    const product *p = user;
    for (size_t r = row; r < row + n_rows; r++)
        for (size_t c = 0; c < p->k; c++)
            *out++ = weight_at(p, r, c);
}

static lac_status write_inputs(product *p, lac_error *err)
{
    const size_t bytes = laci_act_bytes(p->dtype);
    char *row = malloc(p->k * bytes);
    if (!row) return laci_fail_memory(err, "the inputs", p->k * bytes);
    for (size_t r = 0; r < p->m; r++) {
        for (size_t c = 0; c < p->k; c++) {
            const float x = input_at(p, r, c);
            const uint16_t half = laci_f32_to_bf16(x);
            memcpy(row + c * bytes, p->dtype == LACI_BF16 ? (const void *)&half : &x, bytes);
        }
        laci_backend_write(p->be, p->x, r * p->k * bytes, row, p->k * bytes);
    }
    free(row);
    return LAC_OK;
}

/* Compares elements spread over the result with sums in double precision. */
static void check_product(const product *p, bench_row *row)
{
    enum { CHECKED = 64 };
    double difference = 0, length = 0, largest = 0;
    for (size_t i = 0; i < CHECKED; i++) {
        const size_t r = i * p->m / CHECKED, c = (i * 37 % CHECKED) * p->n / CHECKED;
        double right = 0;
        float got;
        for (size_t k = 0; k < p->k; k++)
            right += (double)input_at(p, r, k) * (double)weight_at(p, c, k);
        laci_backend_read(p->be, p->y, (r * p->n + c) * sizeof got, &got, sizeof got);
        const double apart = fabs((double)got - right);
        difference += apart * apart;
        length += right * right;
        if (apart > largest || isnan(apart)) largest = apart;
    }
    row_real(row, "rel_l2", sqrt(difference / length));
    row_real(row, "max_abs", largest);
}

/* ------------------------------------------------------------------ one product */

static lac_status make_product(product *p, lac_error *err)
{
    const size_t rows = (p->m + LACI_ROW_PAD - 1) / LACI_ROW_PAD * LACI_ROW_PAD;
    const size_t bytes = laci_act_bytes(p->dtype);
    const laci_row_source source = { read_weights, p };
    const laci_scratch_dims dims = { .d_model = p->k, .d_head = 8 };
    lac_status st =
        laci_backend_open(&p->be, NULL, p->dtype == LACI_BF16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                          p->n_threads, NULL, err);
    if (!st) st = laci_linear_new(p->be, p->n, p->k, source, &p->linear, err);
    if (!st) st = laci_backend_reserve(p->be, laci_backend_scratch_need(p->be, &dims), err);
    if (!st) st = laci_buf_new(p->be, rows * p->k * bytes, "activations", &p->x, err);
    if (!st) st = laci_buf_new(p->be, rows * p->n * sizeof(float), "results", &p->y, err);
    return st ? st : write_inputs(p, err);
}

static void free_product(product *p)
{
    if (!p->be) return;
    laci_linear_free(p->be, p->linear);
    laci_buf_free(p->be, p->x);
    laci_buf_free(p->be, p->y);
    laci_backend_close(p->be);
}

static void measure(product *p, rows_out *out)
{
    const peak_unit unit = peak_unit_of_products(p->dtype);
    samples times = { .n = 0 };
    double peak = peak_unit_rate(unit, p->n_threads);
    for (int r = -p->opt->warmup; r < p->opt->repeat; r++) {
        const instant start = instant_now();
        laci_backend_linear(p->be, p->linear, p->x, 0, p->m, p->y);
        if (r >= 0) samples_add(&times, start);
    }
    peak = fmax(peak, peak_unit_rate(unit, p->n_threads));
    bench_row row = row_of("gemm");
    const size_t weight_bytes = laci_linear_bytes(p->be, p->n, p->k);
    row_text(&row, "dtype", p->dtype == LACI_BF16 ? "bf16" : "f32");
    row_count(&row, "threads", (size_t)p->n_threads);
    row_time(&row, &times);
    row_speed(&row, &times, 2.0 * (double)p->m * (double)p->n * (double)p->k, peak,
              peak_unit_name(unit));
    check_product(p, &row);
    row_count(&row, "m", p->m);
    row_count(&row, "n", p->n);
    row_count(&row, "k", p->k);
    row_real(&row, "weight_gb_per_s", (double)weight_bytes / samples_best(&times) * 1e-9);
    rows_add(out, &row);
}

static int run_product(product *p, rows_out *out)
{
    lac_error err = { .message = "" };
    const double m = (double)p->m, n = (double)p->n, k = (double)p->k;
    const size_t act = laci_act_bytes(p->dtype);
    const int code = memory_check((m * k + n * k) * (double)act + 4 * m * n);
    if (code) return code;
    bench_progress(p->opt, "m %zu, n %zu, k %zu, %d threads", p->m, p->n, p->k, p->n_threads);
    const lac_status st = make_product(p, &err);
    if (!st) measure(p, out);
    free_product(p);
    return st ? console_fail_status(st, &err) : EXIT_OK;
}

static int gemm(const gemm_options *opt)
{
    enum { MOST = 1 << 20 };
    number_list m, n, k, threads;
    dtype_list dtype;
    rows_out out = { .n = 0 };
    int code = list_read(&m, "--m", opt->m, true, 1, MOST);
    if (!code) code = list_read(&n, "--n", opt->n, true, 1, MOST);
    if (!code) code = list_read(&k, "--k", opt->k, true, 1, MOST);
    if (!code) code = dtypes_read(&dtype, opt->dtype);
    if (!code) code = threads_read(&threads, &opt->common);
    if (!code) code = format_read(&out.format, &opt->common);
    if (code) return code;
    const size_t n_products = dtype.n * threads.n * n.n * k.n * m.n;
    for (size_t i = 0; i < n_products && !code; i++) {
        size_t at = i / m.n;
        product p = { .opt = &opt->common, .m = (size_t)m.values[i % m.n] };
        p.k = (size_t)k.values[at % k.n];
        at /= k.n;
        p.n = (size_t)n.values[at % n.n];
        at /= n.n;
        p.n_threads = (int)threads.values[at % threads.n];
        p.dtype = dtype.values[at / threads.n];
        code = run_product(&p, &out);
    }
    const int end = rows_end(&out);
    return code ? code : end;
}

int bench_gemm(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna bench gemm",
        .usage = "[options]",
        .about = "Times products of activations with a packed matrix. The peak is that of the "
                 "fastest unit for the type. rel_l2 and max_abs compare 64 elements with sums in "
                 "double precision.",
        .example = "  lacuna bench gemm --m 16,128,1024 --n 4096 --k 4096 -t 1",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    gemm_options opt = {
        .common = BENCH_DEFAULTS, .m = "16,128,1024", .n = "4096", .k = "4096", .dtype = "bf16"
    };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = gemm(&opt);
    args_free(&store);
    return code;
}
