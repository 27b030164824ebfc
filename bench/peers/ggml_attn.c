/* ggml_attn.c: times ggml's attention on its CPU backend, one JSON object a line for each variant.
 * flash is ggml_flash_attn_ext over all queries; unfused is mul_mat, soft_max, mul_mat over 512
 * queries at a time with V stored transposed, as a program without flash attention would run it.
 * Inputs are random normal, rounded to the type of K and V before the timing (Q too, kept as f32
 * as ggml wants it); rel_l2 is the error of sampled rows of the last head against double on the
 * same rounded inputs. Compiled and called by peers.sh; uses ggml's public headers only. */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNFUSED_QUERIES = 512, N_SAMPLED_ROWS = 16, N_WARMUP = 1 };

typedef struct {
    const char *name;
    const char *dtype; /* what --dtype asks for; the name says what K and V are stored as */
    enum ggml_type type;
    int flash;
} variant;

static const variant variants[] = {
    { "flash-f16", "bf16", GGML_TYPE_F16, 1 },   { "unfused-bf16", "bf16", GGML_TYPE_BF16, 0 },
    { "unfused-f16", "bf16", GGML_TYPE_F16, 0 }, { "flash-f32", "f32", GGML_TYPE_F32, 1 },
    { "unfused-f32", "f32", GGML_TYPE_F32, 0 },
};
enum { N_VARIANTS = sizeof variants / sizeof variants[0] };

typedef struct {
    int64_t n_ctx, n_heads, n_kv_heads, d_head;
    int n_threads, n_repeat;
    const char *dtype;
} settings;

typedef struct { /* [n_heads or n_kv_heads][n_ctx][d_head] */
    float *q, *k, *v;
} inputs;

typedef struct {
    struct ggml_context *tensors, *nodes;
    ggml_backend_buffer_t buffer;
    ggml_gallocr_t allocator;
    struct ggml_cgraph *graph;
    int64_t n_chunk_queries; /* queries of each chunk but perhaps the last */
    struct ggml_tensor **q;  /* per chunk: [n_heads][n][d_head] f32 */
    struct ggml_tensor *k, *v;
    struct ggml_tensor **output; /* flash: [n][n_heads][d_head], unfused: [n_heads][n][d_head] */
} attention;

static void fail(const char *why)
{
    fprintf(stderr, "ggml_attn: %s\n", why);
    exit(1);
}

static void *take(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (!memory) fail("out of memory");
    return memory;
}

/* A pure function of its state: splitmix64, then Box and Muller. */
static double uniform(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return ((double)(z >> 11) + 0.5) * 0x1p-53;
}

static float *random_normal(size_t n, uint64_t seed)
{
    const double two_pi = 6.283185307179586;
    float *values = take(n, sizeof *values);
    uint64_t state = seed;
    for (size_t i = 0; i < n; i++) {
        const double radius = sqrt(-2.0 * log(uniform(&state)));
        values[i] = (float)(radius * cos(two_pi * uniform(&state)));
    }
    return values;
}

/* Rounds values to a type and back; returns the rounded bits, to be freed. */
static void *round_to(enum ggml_type type, float *values, size_t n)
{
    void *bits = take(n, ggml_type_size(type));
    if (type == GGML_TYPE_F16) {
        ggml_fp32_to_fp16_row(values, bits, (int64_t)n);
        ggml_fp16_to_fp32_row(bits, values, (int64_t)n);
    } else if (type == GGML_TYPE_BF16) {
        ggml_fp32_to_bf16_row(values, bits, (int64_t)n);
        ggml_bf16_to_fp32_row(bits, values, (int64_t)n);
    } else {
        memcpy(bits, values, n * sizeof *values);
    }
    return bits;
}

/* [n_heads][n_ctx][d_head] to [n_heads][d_head][n_ctx]. */
static float *transposed(const float *x, int64_t n_heads, int64_t n_ctx, int64_t d_head)
{
    float *y = take((size_t)(n_heads * n_ctx * d_head), sizeof *y);
    for (int64_t h = 0; h < n_heads; h++)
        for (int64_t i = 0; i < n_ctx; i++)
            for (int64_t d = 0; d < d_head; d++)
                y[(h * d_head + d) * n_ctx + i] = x[(h * n_ctx + i) * d_head + d];
    return y;
}

static int64_t chunk_length(const settings *s, const attention *a, int64_t chunk)
{
    const int64_t left = s->n_ctx - chunk * a->n_chunk_queries;
    return left < a->n_chunk_queries ? left : a->n_chunk_queries;
}

static struct ggml_tensor *attend(const settings *s, const variant *kind, attention *a,
                                  struct ggml_tensor *q)
{
    const float scale = (float)(1.0 / sqrt((double)s->d_head));
    if (kind->flash) return ggml_flash_attn_ext(a->nodes, q, a->k, a->v, NULL, scale, 0, 0);
    struct ggml_tensor *scores = ggml_mul_mat(a->nodes, a->k, q);
    return ggml_mul_mat(a->nodes, a->v, ggml_soft_max_ext(a->nodes, scores, NULL, scale, 0));
}

static void build(const settings *s, const variant *kind, ggml_backend_t backend, attention *a)
{
    a->n_chunk_queries = kind->flash || s->n_ctx < UNFUSED_QUERIES ? s->n_ctx : UNFUSED_QUERIES;
    const int64_t n_chunks = (s->n_ctx + a->n_chunk_queries - 1) / a->n_chunk_queries;
    const size_t n_tensors = (size_t)(8 * n_chunks + 8);
    struct ggml_init_params params = {
        .mem_size =
            n_tensors * ggml_tensor_overhead() + ggml_graph_overhead_custom(n_tensors, false),
        .no_alloc = true,
    };
    a->tensors = ggml_init(params);
    a->nodes = ggml_init(params);
    if (!a->tensors || !a->nodes) fail("out of memory");
    a->q = take((size_t)n_chunks, sizeof *a->q);
    a->output = take((size_t)n_chunks, sizeof *a->output);
    const int64_t d = s->d_head, n = s->n_ctx;
    a->k = ggml_new_tensor_3d(a->tensors, kind->type, d, n, s->n_kv_heads);
    a->v = ggml_new_tensor_3d(a->tensors, kind->type, kind->flash ? d : n, kind->flash ? n : d,
                              s->n_kv_heads);
    a->graph = ggml_new_graph_custom(a->nodes, n_tensors, false);
    for (int64_t c = 0; c < n_chunks; c++) {
        a->q[c] =
            ggml_new_tensor_3d(a->tensors, GGML_TYPE_F32, d, chunk_length(s, a, c), s->n_heads);
        a->output[c] = attend(s, kind, a, a->q[c]);
        ggml_set_output(a->output[c]);
        ggml_build_forward_expand(a->graph, a->output[c]);
    }
    a->buffer = ggml_backend_alloc_ctx_tensors(a->tensors, backend);
    a->allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    if (!a->buffer || !a->allocator || !ggml_gallocr_alloc_graph(a->allocator, a->graph))
        fail("out of memory");
    for (int i = 0; i < ggml_graph_n_nodes(a->graph); i++)
        if (!ggml_backend_supports_op(backend, ggml_graph_node(a->graph, i)))
            fail("the CPU backend lacks an operation");
}

/* Rounds the inputs in place and hands their bits to the tensors. */
static void fill(const settings *s, const variant *kind, const attention *a, inputs *in)
{
    const size_t n_keys = (size_t)(s->n_kv_heads * s->n_ctx * s->d_head);
    free(round_to(kind->type, in->q, (size_t)(s->n_heads * s->n_ctx * s->d_head)));
    for (int64_t c = 0, begin = 0; begin < s->n_ctx; c++, begin += a->n_chunk_queries) {
        const size_t head_bytes = (size_t)(chunk_length(s, a, c) * s->d_head) * sizeof(float);
        for (int64_t h = 0; h < s->n_heads; h++)
            ggml_backend_tensor_set(a->q[c], in->q + (h * s->n_ctx + begin) * s->d_head,
                                    (size_t)h * head_bytes, head_bytes);
    }
    void *bits = round_to(kind->type, in->k, n_keys);
    ggml_backend_tensor_set(a->k, bits, 0, ggml_nbytes(a->k));
    free(bits);
    bits = round_to(kind->type, in->v, n_keys);
    if (!kind->flash) {
        float *columns = transposed(in->v, s->n_kv_heads, s->n_ctx, s->d_head);
        free(bits);
        bits = round_to(kind->type, columns, n_keys);
        free(columns);
    }
    ggml_backend_tensor_set(a->v, bits, 0, ggml_nbytes(a->v));
    free(bits);
}

/* One row of attention in double; scores holds n_ctx values. */
static void expected_row(const settings *s, const inputs *in, int64_t head, int64_t row,
                         double *scores, double *expected)
{
    const int64_t d_head = s->d_head, kv_head = head / (s->n_heads / s->n_kv_heads);
    const float *q = in->q + (head * s->n_ctx + row) * d_head;
    const float *k = in->k + kv_head * s->n_ctx * d_head;
    const float *v = in->v + kv_head * s->n_ctx * d_head;
    double highest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < s->n_ctx; j++) {
        double dot = 0;
        for (int64_t d = 0; d < d_head; d++)
            dot += (double)q[d] * k[j * d_head + d];
        scores[j] = dot / sqrt((double)d_head);
        if (scores[j] > highest) highest = scores[j];
    }
    memset(expected, 0, (size_t)d_head * sizeof *expected);
    for (int64_t j = 0; j < s->n_ctx; j++) {
        const double weight = exp(scores[j] - highest);
        sum += weight;
        for (int64_t d = 0; d < d_head; d++)
            expected[d] += weight * v[j * d_head + d];
    }
    for (int64_t d = 0; d < d_head; d++)
        expected[d] /= sum;
}

/* Relative L2 error of sampled rows of the last head. */
static double rel_l2(const settings *s, const variant *kind, const attention *a, const inputs *in)
{
    const int64_t n_rows = s->n_ctx < N_SAMPLED_ROWS ? s->n_ctx : N_SAMPLED_ROWS;
    const int64_t d_head = s->d_head, head = s->n_heads - 1;
    double *scores = take((size_t)s->n_ctx, sizeof *scores);
    double *expected = take((size_t)d_head, sizeof *expected);
    float *got = take((size_t)d_head, sizeof *got);
    double error = 0, norm = 0;
    for (int64_t r = 0; r < n_rows; r++) {
        const int64_t row = (2 * r + 1) * s->n_ctx / (2 * n_rows);
        const int64_t chunk = row / a->n_chunk_queries, i = row % a->n_chunk_queries;
        const int64_t at =
            kind->flash ? i * s->n_heads + head : head * chunk_length(s, a, chunk) + i;
        ggml_backend_tensor_get(a->output[chunk], got, (size_t)(at * d_head) * sizeof *got,
                                (size_t)d_head * sizeof *got);
        expected_row(s, in, head, row, scores, expected);
        for (int64_t d = 0; d < d_head; d++) {
            error += (got[d] - expected[d]) * (got[d] - expected[d]);
            norm += expected[d] * expected[d];
        }
    }
    free(scores);
    free(expected);
    free(got);
    return sqrt(error / norm);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const settings *s, const variant *kind, double *seconds, double error)
{
    qsort(seconds, (size_t)s->n_repeat, sizeof *seconds, compare_doubles);
    const double flops =
        4.0 * (double)s->n_ctx * (double)s->n_ctx * (double)s->d_head * (double)s->n_heads;
    printf("{\"peer\":\"ggml\",\"variant\":\"%s\",\"version\":\"%s\",\"ctx\":%lld,\"n_heads\":%lld,"
           "\"n_kv_heads\":%lld,\"d_head\":%lld,\"dtype\":\"%s\",\"threads\":%d,\"density\":1.0,"
           "\"seconds_best\":%.6g,\"seconds_median\":%.6g,\"gflops\":%.2f,\"rel_l2\":%.3e}\n",
           kind->name, ggml_version(), (long long)s->n_ctx, (long long)s->n_heads,
           (long long)s->n_kv_heads, (long long)s->d_head, s->dtype, s->n_threads, seconds[0],
           seconds[s->n_repeat / 2], flops / seconds[0] / 1e9, error);
    fflush(stdout);
}

static void measure(const settings *s, const variant *kind, ggml_backend_t backend)
{
    const size_t n_head = (size_t)(s->n_ctx * s->d_head);
    inputs in = { random_normal(n_head * (size_t)s->n_heads, 1),
                  random_normal(n_head * (size_t)s->n_kv_heads, 2),
                  random_normal(n_head * (size_t)s->n_kv_heads, 3) };
    attention a = { 0 };
    build(s, kind, backend, &a);
    fill(s, kind, &a, &in);
    double *seconds = take((size_t)s->n_repeat, sizeof *seconds);
    for (int i = -N_WARMUP; i < s->n_repeat; i++) {
        const int64_t start = ggml_time_us();
        if (ggml_backend_graph_compute(backend, a.graph) != GGML_STATUS_SUCCESS)
            fail("the graph did not run");
        if (i >= 0) seconds[i] = (double)(ggml_time_us() - start) * 1e-6;
    }
    report(s, kind, seconds, rel_l2(s, kind, &a, &in));
    free(seconds);
    ggml_gallocr_free(a.allocator);
    ggml_backend_buffer_free(a.buffer);
    ggml_free(a.nodes);
    ggml_free(a.tensors);
    free(a.q);
    free(a.output);
    free(in.q);
    free(in.k);
    free(in.v);
}

static ggml_backend_t open_cpu(int n_threads)
{
    ggml_backend_load_all();
    ggml_backend_t backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);
    if (!backend) fail("no CPU backend");
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
    ggml_backend_set_n_threads_t set_n_threads;
    void *address = ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads");
    if (!address) fail("the number of threads cannot be set");
    memcpy(&set_n_threads, &address, sizeof address);
    set_n_threads(backend, n_threads);
    return backend;
}

static int64_t positive(const char *name, const char *text)
{
    char *end;
    const long long value = strtoll(text, &end, 10);
    if (*text && !*end && value > 0 && value <= 1 << 20) return value;
    fprintf(stderr, "ggml_attn: %s: %s is not a number from 1 to 1048576\n", name, text);
    exit(2);
}

static settings parse(int argc, char **argv)
{
    settings s = {
        .n_ctx = 4096, .n_heads = 8, .d_head = 128, .n_threads = 1, .n_repeat = 5, .dtype = "bf16"
    };
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(name, "--ctx"))
            s.n_ctx = positive(name, value);
        else if (!strcmp(name, "--heads"))
            s.n_heads = positive(name, value);
        else if (!strcmp(name, "--kv-heads"))
            s.n_kv_heads = positive(name, value);
        else if (!strcmp(name, "--head-dim"))
            s.d_head = positive(name, value);
        else if (!strcmp(name, "--threads"))
            s.n_threads = (int)positive(name, value);
        else if (!strcmp(name, "--repeat"))
            s.n_repeat = (int)positive(name, value);
        else if (!strcmp(name, "--dtype"))
            s.dtype = value;
        else {
            fprintf(stderr, "usage: ggml_attn [--ctx N] [--heads N] [--kv-heads N] [--head-dim N] "
                            "[--dtype bf16|f32] [--threads N] [--repeat N]\n");
            exit(2);
        }
    }
    if (!s.n_kv_heads) s.n_kv_heads = s.n_heads;
    if (s.n_heads % s.n_kv_heads) fail("--heads is not a multiple of --kv-heads");
    return s;
}

int main(int argc, char **argv)
{
    const settings s = parse(argc, argv);
    int n_measured = 0;
    ggml_time_init();
    ggml_backend_t backend = open_cpu(s.n_threads);
    for (int i = 0; i < N_VARIANTS; i++) {
        if (strcmp(variants[i].dtype, s.dtype)) continue;
        measure(&s, &variants[i], backend);
        n_measured++;
    }
    ggml_backend_free(backend);
    if (!n_measured) fail("--dtype is bf16 or f32");
    return 0;
}
