/* fuzz_batch.c: any order of operations on a batch of three sequences, against lac_generate: a
 * sequence that ends by itself comes to exactly what the same request comes to alone; one that is
 * removed and replaced leaves nothing behind; wrong numbers are refused. */
#define _GNU_SOURCE /* mkdtemp */
#include "fuzz/fuzz_file.h"
#include "test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_CTX = 48, MAX_PROMPT = 20, MAX_NEW = 24, N_SEQUENCES = 3, MAX_OPERATIONS = 40 };

typedef struct {
    int32_t ids[MAX_PROMPT];
    size_t n_ids;
    lac_generate_options opt;
    bool is_there, is_cancelled;
} request;

static const lac_model *model;
static lac_session *alone;

static void open_model(void)
{
    const lac_model_options how = { .dtype = LAC_DTYPE_F32, .n_threads = 1 };
    const lac_session_options room = { .n_ctx = N_CTX };
    lac_model *opened = NULL;
    if (lac_model_open(&opened, test_path("tests/golden/sdar"), &how, NULL) ||
        lac_session_create(&alone, opened, &room, NULL)) {
        fprintf(stderr, "cannot open tests/golden/sdar: is LACUNA_TEST_ROOT set?\n");
        abort();
    }
    model = opened;
}

static request next_request(fuzz_bytes *b)
{
    request q = { .n_ids = fuzz_next(b, MAX_PROMPT + 1) };
    for (size_t i = 0; i < q.n_ids; i++)
        q.ids[i] = (int32_t)(33 + (i * 7 + q.n_ids) % 60);
    q.opt.n_tokens = 1 + (int)fuzz_next(b, MAX_NEW);
    q.opt.steps = (int)fuzz_next(b, 8) ? 0 : q.opt.n_tokens;
    q.opt.threshold = fuzz_next(b, 2) ? 0.3f : 0;
    q.opt.temperature = fuzz_next(b, 2) ? 0.8f : 0;
    q.opt.seed = fuzz_next(b, 4);
    return q;
}

static void check_outcome(const request *q, lac_status st, const lac_result *r)
{
    lac_result own;
    if (q->is_cancelled && st == LAC_ECANCELLED) return;
    if (lac_generate(alone, q->ids, q->n_ids, &q->opt, &own, NULL) != st) abort();
    if (st) return;
    if (own.n_ids != r->n_ids || own.steps != r->steps || own.finish != r->finish) abort();
    if (own.n_ids && memcmp(own.ids, r->ids, own.n_ids * sizeof *own.ids) != 0) abort();
    if (own.n_ids && memcmp(own.logprobs, r->logprobs, own.n_ids * sizeof *own.logprobs)) abort();
}

static void add(lac_batch *batch, request *requests, fuzz_bytes *b)
{
    request q = next_request(b);
    int number = -1;
    size_t n_free = 0;
    for (int i = 0; i < N_SEQUENCES; i++)
        n_free += !requests[i].is_there;
    const lac_status st = lac_batch_add(batch, q.ids, q.n_ids, &q.opt, &number, NULL);
    if (st && st != LAC_EINVAL && st != LAC_ECONTEXT) abort();
    if (!n_free && !st) abort();
    if (st) return;
    if (number < 0 || number >= N_SEQUENCES || requests[number].is_there) abort();
    q.is_there = true;
    requests[number] = q;
}

/* One operation on sequence i, which may not be there. */
static void operate(lac_batch *batch, request *requests, unsigned what, int i)
{
    const bool is_there = i < N_SEQUENCES && requests[i].is_there;
    lac_result r;
    lac_status st;
    switch (what) {
    case 0:
        st = lac_batch_cancel(batch, i, NULL);
        if (!st != is_there) abort();
        if (!st) requests[i].is_cancelled = true;
        return;
    case 1:
        if (!lac_batch_remove(batch, i, NULL) != is_there) abort();
        if (is_there) requests[i].is_there = false;
        return;
    default:
        if (lac_batch_is_done(batch, i) && !is_there) abort();
        st = lac_batch_result(batch, i, &r, NULL);
        if (lac_batch_is_done(batch, i))
            check_outcome(&requests[i], st, &r);
        else if (st != LAC_EINVAL)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const lac_session_options room = { .n_ctx = N_CTX };
    request requests[N_SEQUENCES] = { { .n_ids = 0 } };
    fuzz_bytes b = { data, data + size };
    lac_batch *batch = NULL;
    if (!model) open_model();
    if (lac_batch_create(&batch, model, &room, N_SEQUENCES, NULL)) abort();
    for (int n = 0; b.at < b.end && n < MAX_OPERATIONS; n++) {
        const unsigned what = fuzz_next(&b, 8);
        if (what >= 4) {
            if (lac_batch_step(batch, NULL, NULL)) abort();
        } else if (what == 3) {
            add(batch, requests, &b);
        } else {
            operate(batch, requests, what, (int)fuzz_next(&b, N_SEQUENCES + 1));
        }
    }
    lac_batch_free(batch);
    return 0;
}
