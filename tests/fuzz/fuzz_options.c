/* fuzz_options.c: odd options of sessions and generations: what is refused is refused with a
 * sentence and leaves the result alone; what is accepted ends, fills what it says it filled and
 * names only ids that the model has. The first byte chooses a model that sees whole canvases or one
 * of blocks. */
#define _GNU_SOURCE /* mkdtemp */
#include <math.h>

#include "fuzz/fuzz_file.h"
#include "test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_CTX = 64, MAX_IDS = 24, N_MODELS = 3 };

static const lac_model *models[N_MODELS];

static void open_models(void)
{
    static const char *const paths[N_MODELS] = { "tests/golden/llada-olmo", "tests/golden/sdar",
                                                 "tests/golden/fast-dllm" };
    const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
    for (int i = 0; i < N_MODELS; i++) {
        lac_model *model = NULL;
        if (lac_model_open(&model, test_path(paths[i]), &how, NULL)) {
            fprintf(stderr, "cannot open %s: is LACUNA_TEST_ROOT set?\n", paths[i]);
            abort();
        }
        models[i] = model;
    }
}

/* Small numbers, their negatives, and now and then a wide one. */
static int odd_int(fuzz_bytes *b)
{
    static const int wide[] = { INT32_MAX, INT32_MIN, 65536, 1000, 4096, -1000 };
    const unsigned x = fuzz_next(b, 256);
    if (x < 200) return (int)x % 70 - 3;
    return x < 230 ? (int)x : wide[x % 6];
}

static double odd_real(fuzz_bytes *b)
{
    static const double odd[] = { 0,    1,     0.5,  -1, 1e-9,   1e9, 0.999, 2,
                                  0.05, 1e300, -0.0, 16, 1e-300, 100, 0.3,   -1e-3 };
    const unsigned x = fuzz_next(b, 256);
    return x < 64 ? odd[x % 16] : x == 255 ? (double)NAN : (double)x / 256;
}

static lac_generate_options odd_generate(fuzz_bytes *b)
{
    lac_generate_options o = { .n_tokens = 1 + (int)fuzz_next(b, 12) };
    if (fuzz_next(b, 8) == 0) o.n_tokens = odd_int(b);
    if (fuzz_next(b, 3) == 0) o.steps = odd_int(b);
    if (fuzz_next(b, 3) == 0) o.block_length = odd_int(b);
    o.algorithm = (lac_algorithm)fuzz_next(b, 10);
    float *const reals[] = { &o.temperature, &o.top_p,     &o.threshold,    &o.alg_temp,
                             &o.eps,         &o.cfg_scale, &o.entropy_bound };
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++)
        if (fuzz_next(b, 3) == 0) *reals[i] = (float)odd_real(b);
    if (fuzz_next(b, 3) == 0) o.top_k = odd_int(b);
    o.seed = fuzz_next(b, 256);
    o.ignore_eos = fuzz_next(b, 2);
    o.forbid_eos = fuzz_next(b, 2);
    o.late_eos = fuzz_next(b, 2);
    o.quirks = fuzz_next(b, 64);
    o.shift = (int)fuzz_next(b, 3) - 1;
    return o;
}

static void check_refusal(lac_status st, const lac_error *err)
{
    if (st != err->code || !err->message[0] || strchr(err->message, '\n')) abort();
    if (st == LAC_EINTERNAL || st == LAC_EIO || st == LAC_EFORMAT) abort();
}

static void generate(lac_session *session, const lac_model *model, fuzz_bytes *b)
{
    int32_t ids[MAX_IDS];
    lac_result r = { .n_ids = 77 };
    lac_error err = { 0 };
    lac_model_info info;
    const lac_generate_options how = odd_generate(b);
    const size_t n = fuzz_next(b, MAX_IDS + 1);
    if (lac_model_get_info(model, &info, NULL)) abort();
    for (size_t i = 0; i < n; i++) {
        const unsigned x = fuzz_next(b, 256);
        ids[i] = x == 255 ? odd_int(b) : x >= 240 ? LAC_HOLE : (int32_t)x;
    }
    const lac_status st = lac_generate(session, ids, n, &how, &r, &err);
    if (st) {
        check_refusal(st, &err);
        if (r.n_ids != 77) abort();
        return;
    }
    for (size_t i = 0; i < r.n_ids; i++)
        if (r.ids[i] < 0 || r.ids[i] >= info.n_vocab || r.position[i] < 0 ||
            (size_t)r.position[i] >= r.n_canvas)
            abort();
    if (r.finish == LAC_FINISH_LENGTH)
        for (size_t i = 0; i < r.n_canvas; i++)
            if (r.canvas[i] == LAC_HOLE) abort();
}

/* The text of a policy, with a NUL behind it; in a static buffer. */
static const char *text_of(fuzz_bytes *b)
{
    static char text[256];
    size_t n;
    const char *part = fuzz_part(b, &n);
    if (n >= sizeof text) n = sizeof text - 1;
    if (n) memcpy(text, part, n);
    text[n] = 0;
    return n ? text : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes b = { data, data + size };
    lac_session *session = NULL;
    lac_error err = { 0 };
    if (!models[0]) open_models();
    const lac_model *model = models[fuzz_next(&b, N_MODELS)];
    lac_session_options room = { .n_ctx = N_CTX, .n_threads = 1, .sparse = text_of(&b) };
    if (!fuzz_next(&b, 8)) room.n_ctx = odd_int(&b) % 1024;
    const lac_status st = lac_session_create(&session, model, &room, &err);
    if (st) {
        check_refusal(st, &err);
        return 0;
    }
    generate(session, model, &b);
    generate(session, model, &b);
    lac_session_free(session);
    return 0;
}
