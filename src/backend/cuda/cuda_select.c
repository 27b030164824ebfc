/* cuda_select.c: selection on the device: bounds and scores of pages, rankings, and the choice of
 * tokens. Lists are host memory by the backend's interface, so each selection ends with one copy
 * to the host. */
#include <assert.h>
#include <math.h>

#include "backend/cuda/cuda_select.h"
#include "base/error.h"
#include "kernels/select.h"

/* ------------------------------------------------------------------ bounds */

/* Pages of a head there is room for: whole panels of 64, so that sizes are laci_pages_bytes. */
static size_t page_room(const laci_pages *pages)
{
    const size_t span = pages->page * LACI_PANEL;
    return (pages->n_ctx + span - 1) / span * LACI_PANEL;
}

lac_status laci_cuda_pages_new(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                               lac_error *err)
{
    laci_pages pages = { NULL, page, kv->n_batch, kv->n_kv_heads, kv->d_head, kv->n_ctx, false };
    const size_t n_bytes = laci_pages_bytes(be->act, kv, page);
    const lac_status st = laci_buf_new(be, n_bytes, "bounds of pages", &pages.bounds, err);
    if (!st) *out = pages;
    return st;
}

lac_status laci_cuda_pages_new_i8(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                                  lac_error *err)
{
    (void)kv, (void)page, (void)out;
    return laci_fail(err, LAC_EUNSUPPORTED, 0,
                     "page bounds in int8: %s keeps them in the type of the keys",
                     laci_backend_name(be));
}

void laci_cuda_page_bounds(laci_backend *be, const laci_kv *kv, const laci_pages *pages,
                           size_t batch, size_t from, size_t n_keys)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const size_t d = pages->d_head, room = page_room(pages);
    if (from < kv->first) from = kv->first;
    if (n_keys > kv->first + kv->n_ctx) n_keys = kv->first + kv->n_ctx;
    if (from >= n_keys) return;
    assert(n_keys <= pages->n_ctx);
    const laci_cu_bounds a = {
        .k = acts_at(be, kv->k, kv_at(kv, batch) * d),
        .bounds = acts_at(be, pages->bounds, batch * pages->n_kv_heads * room * 2 * d),
        .n_kv_heads = (uint32_t)pages->n_kv_heads,
        .d = (uint32_t)d,
        .page = (uint32_t)pages->page,
        .first = (uint32_t)(from / pages->page),
        .end = (uint32_t)((n_keys + pages->page - 1) / pages->page),
        .first_key = (uint32_t)kv->first,
        .n_keys = (uint32_t)n_keys,
        .n_pages = (uint32_t)room,
        .ctx = kv_room(kv),
        .bf16 = is_bf16(be),
    };
    cuda->api.bounds(cuda->stream, &a);
    laci_cuda_note(cuda, cuda->api.last_error());
}

/* ------------------------------------------------------------------ lists */

static size_t to_256(size_t n)
{
    return (n + 255) / 256 * 256;
}

size_t laci_cuda_selection_bytes(const laci_cu_selection *s, bool with_scores)
{
    const size_t n = s->n_lists * s->stride, n_scores = with_scores ? n * s->n_rows : 0;
    return to_256((n_scores + 2 * n + 2 * s->n_lists) * 4 + n);
}

bool laci_cuda_carve(cuda_backend *cuda, laci_cu_selection *s, char *at, bool with_scores)
{
    const size_t n = s->n_lists * s->stride, n_scores = with_scores ? n * s->n_rows : 0;
    if (!at) return false;
    s->scores = (void *)at;
    s->pooled = s->scores + n_scores;
    s->ids = (void *)(s->pooled + n);
    s->counts = s->ids + n;
    s->picked = s->counts + s->n_lists;
    s->marks = (void *)(s->picked + s->n_lists);
    laci_cuda_note(cuda, cuda->api.fill(cuda->stream, s->counts, 0, 2 * s->n_lists * 4 + n));
    return true;
}

/* From the backend's scratch. */
static bool carve(cuda_backend *cuda, laci_cu_selection *s, bool with_scores)
{
    const size_t bytes = laci_cuda_selection_bytes(s, with_scores);
    return laci_cuda_carve(cuda, s, laci_cuda_scratch(cuda, &cuda->scratch, bytes), with_scores);
}

/* Marks by rows of scores, then lists: ids and counts on the device. */
static void make_lists(cuda_backend *cuda, const laci_cu_selection *s, const float *scores,
                       size_t n_rows, const uint32_t *picks, const laci_budget *budget)
{
    const laci_cu_top t = { .scores = scores,
                            .n_items = s->n_items,
                            .marks = s->marks,
                            .picked = s->picked,
                            .n_lists = (uint32_t)s->n_lists,
                            .n_rows = (uint32_t)n_rows,
                            .stride = (uint32_t)s->stride,
                            .n = (uint32_t)budget->n,
                            .keep_first = (uint32_t)budget->keep_first,
                            .keep_last = (uint32_t)budget->keep_last,
                            .picks = picks,
                            .n_group = (uint32_t)s->n_group };
    const laci_cu_compact c = { s->marks,  s->n_items,           s->ids,
                                s->counts, (uint32_t)s->n_lists, (uint32_t)s->stride };
    cuda->api.top(cuda->stream, &t);
    cuda->api.compact(cuda->stream, &c);
    laci_cuda_note(cuda, cuda->api.last_error());
}

static void no_lists(const laci_id_lists *lists, size_t n)
{
    memset(lists->counts, 0, n * sizeof *lists->counts);
    if (lists->picked) memset(lists->picked, 0, n * sizeof *lists->picked);
}

/* Brings the lists to the host: one copy. After a failure every list is empty. */
static void deliver(cuda_backend *cuda, const laci_cu_selection *s, const laci_id_lists *lists)
{
    const size_t n = s->n_lists * s->stride, n_words = n + 2 * s->n_lists;
    const uint32_t *host = (void *)laci_cuda_scratch(cuda, &cuda->results, n_words * 4);
    if (host) laci_cuda_get(cuda, cuda->results.data, s->ids, n_words * 4);
    if (!host || cuda->failed) {
        no_lists(lists, s->n_lists);
        return;
    }
    for (size_t i = 0; i < s->n_lists; i++) {
        const uint32_t count = host[n + i];
        assert(count <= lists->stride);
        lists->counts[i] = count;
        if (lists->picked) lists->picked[i] = host[n + s->n_lists + i];
        if (count)
            memcpy(lists->ids + i * lists->stride, host + i * s->stride, count * sizeof *host);
    }
}

/* ------------------------------------------------------------------ pages */

static void score(cuda_backend *cuda, const laci_page_query *query, const laci_cu_selection *s)
{
    const laci_pages *pages = query->pages;
    const size_t group = query->n_heads / pages->n_kv_heads;
    const laci_cu_scores a = {
        .q = query->q->data,
        .bounds = pages->bounds->data,
        .n_items = s->n_items,
        .scores = s->scores,
        .n_lists = (uint32_t)s->n_lists,
        .n_rows = (uint32_t)s->n_rows,
        .stride = (uint32_t)s->stride,
        .lists_per_batch = (uint32_t)(s->n_lists / query->n_batch),
        .n_group = (uint32_t)s->n_group,
        .group_of_kv = (uint32_t)group,
        .n_q = (uint32_t)query->n_q,
        .n_heads = (uint32_t)query->n_heads,
        .n_kv_heads = (uint32_t)pages->n_kv_heads,
        .d = (uint32_t)pages->d_head,
        .n_pages = (uint32_t)page_room(pages),
        .picks = s->picks,
        .bf16 = is_bf16(&cuda->base),
    };
    cuda->api.scores(cuda->stream, &a);
}

static void pool(cuda_backend *cuda, const laci_cu_selection *s, const float *scores, size_t n_rows,
                 size_t row_stride, float scale, int mode)
{
    const laci_cu_pool a = { .scores = scores,
                             .n_items = s->n_items,
                             .pooled = s->pooled,
                             .n_lists = (uint32_t)s->n_lists,
                             .n_rows = (uint32_t)n_rows,
                             .stride = (uint32_t)s->stride,
                             .row_stride = (uint32_t)row_stride,
                             .scale = scale,
                             .mode = mode,
                             .picks = s->picks,
                             .n_group = (uint32_t)s->n_group };
    cuda->api.pool(cuda->stream, &a);
}

bool laci_cuda_count_pages(cuda_backend *cuda, const laci_page_query *query, size_t more_bytes,
                           laci_cu_selection *s)
{
    const size_t n_kv_heads = query->pages->n_kv_heads, page = query->pages->page;
    const size_t per_batch = query->per_head ? query->n_heads : n_kv_heads;
    s->n_lists = query->n_batch * per_batch;
    s->n_group = query->n_heads / per_batch;
    s->n_rows = query->n_q * s->n_group;
    s->stride = 0;
    uint32_t *n_items = laci_cuda_host(cuda, s->n_lists * sizeof *n_items);
    for (size_t i = 0; n_items && i < s->n_lists; i++) {
        n_items[i] = (uint32_t)((query->n_keys[i / per_batch] + page - 1) / page);
        if (n_items[i] > s->stride) s->stride = n_items[i];
    }
    if (!n_items || !s->n_rows || !s->stride) return false;
    laci_cuda_room(cuda, s->n_lists * sizeof *n_items + more_bytes, 2);
    s->n_items = laci_cuda_put(cuda, n_items, s->n_lists * sizeof *n_items);
    return s->n_items != NULL;
}

void laci_cuda_list_pages(cuda_backend *cuda, const laci_page_query *query,
                          const laci_cu_selection *s)
{
    score(cuda, query, s);
    if (query->pool == LACI_POOL_UNION) {
        make_lists(cuda, s, s->scores, s->n_rows, s->picks, &query->budget);
        return;
    }
    pool(cuda, s, s->scores, s->n_rows, s->stride, query->scale, query->pool == LACI_POOL_SOFTMAX);
    make_lists(cuda, s, s->pooled, 1, NULL, &query->budget);
}

void laci_cuda_select_pages(laci_backend *be, const laci_page_query *query,
                            const laci_id_lists *lists)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    laci_cu_selection s = { 0 };
    if (!laci_cuda_count_pages(cuda, query, 0, &s) || !carve(cuda, &s, true)) {
        no_lists(lists, s.n_lists);
        return;
    }
    laci_cuda_list_pages(cuda, query, &s);
    deliver(cuda, &s, lists);
}

/* ------------------------------------------------------------------ any scores */

void laci_cuda_top_k(laci_backend *be, const laci_ranking *ranking, const laci_id_lists *lists)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const size_t n = ranking->n_lists;
    laci_cu_selection s = { .n_lists = n, .n_rows = 1, .stride = ranking->n };
    uint32_t *n_items = laci_cuda_host(cuda, n * sizeof *n_items);
    for (size_t i = 0; n_items && i < n; i++)
        n_items[i] = (uint32_t)ranking->n;
    if (n_items && n && ranking->n) s.n_items = laci_cuda_put_one(cuda, n_items, n * 4);
    if (!s.n_items || !carve(cuda, &s, false)) {
        no_lists(lists, n);
        return;
    }
    pool(cuda, &s, floats_at(ranking->scores, 0), ranking->n_pooled ? ranking->n_pooled : 1,
         ranking->stride, 0, 2);
    make_lists(cuda, &s, s.pooled, 1, NULL, &ranking->budget);
    deliver(cuda, &s, lists);
}

/* ------------------------------------------------------------------ changes, columns */

void laci_cuda_row_changes(laci_backend *be, const laci_buf *x, const laci_buf *ref, size_t n,
                           size_t d, double *change, double *size)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const size_t bytes = n * 2 * sizeof(double);
    if (!n) return;
    const laci_cu_changes a = {
        x->data,     ref->data,   (void *)laci_cuda_scratch(cuda, &cuda->scratch, bytes),
        (uint32_t)n, (uint32_t)d, is_bf16(be)
    };
    double *sums = (void *)laci_cuda_scratch(cuda, &cuda->results, bytes);
    if (a.sums && sums) {
        cuda->api.changes(cuda->stream, &a);
        laci_cuda_note(cuda, cuda->api.last_error());
        laci_cuda_get(cuda, sums, a.sums, bytes);
    }
    const bool is_known = sums && !cuda->failed;
    for (size_t i = 0; i < n; i++) {
        change[i] = is_known ? sums[2 * i] : NAN;
        size[i] = is_known ? sums[2 * i + 1] : NAN;
    }
}

void laci_cuda_pool_columns(laci_backend *be, const laci_column_pages *c)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const laci_cu_page_sums a = { .x = floats_at(c->x, 0),
                                  .out = floats_at(c->out, 0),
                                  .stride = c->stride,
                                  .out_stride = c->out_stride,
                                  .n_rows = (uint32_t)c->n_rows,
                                  .n = (uint32_t)c->n,
                                  .page = (uint32_t)c->page };
    if (!c->n_rows || !c->n) return;
    cuda->api.page_sums(cuda->stream, &a);
    laci_cuda_note(cuda, cuda->api.last_error());
}

void laci_cuda_pool_masses(laci_backend *be, const laci_row_masses *rows, laci_buf *out,
                           size_t stride, size_t first)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const size_t per_part = LACI_MASS_PART / rows->k_block;
    const laci_cu_masses a = { .mass = floats_at(rows->mass, 0),
                               .base = floats_at(rows->base, 0),
                               .lse = floats_at(rows->lse, 0),
                               .out = floats_at(out, 0),
                               .stride = stride,
                               .first = first,
                               .n_heads = (uint32_t)rows->n_heads,
                               .group = (uint32_t)(rows->n_heads / rows->n_kv_heads),
                               .n_q = (uint32_t)rows->n_q,
                               .n = (uint32_t)rows->n_blocks,
                               .per_part = (uint32_t)per_part,
                               .n_parts = (uint32_t)((rows->n_blocks + per_part - 1) / per_part) };
    if (!a.n_heads || !a.n) return;
    cuda->api.masses(cuda->stream, &a);
    laci_cuda_note(cuda, cuda->api.last_error());
}

/* ------------------------------------------------------------------ tokens */

_Static_assert((int)LACI_CU_MODEL == (int)LACI_CONFIDENCE_MODEL &&
                   (int)LACI_CU_CHOSEN == (int)LACI_CONFIDENCE_CHOSEN &&
                   (int)LACI_CU_MARGIN == (int)LACI_CONFIDENCE_MARGIN &&
                   (int)LACI_CU_ENTROPY == (int)LACI_CONFIDENCE_ENTROPY,
               "kinds of confidence cross the border as numbers");

/* The device's answers to the caller's. */
static void take_choices(cuda_backend *cuda, const char *device, size_t n, laci_choice *out)
{
    const size_t bytes = n * (2 * sizeof(double) + 2 * sizeof(int32_t));
    char *host = laci_cuda_scratch(cuda, &cuda->results, bytes);
    if (host) laci_cuda_get(cuda, host, device, bytes);
    for (size_t i = 0; i < n; i++) {
        double numbers[2] = { NAN, NAN };
        int32_t id = -1, broken = 0;
        if (host && !cuda->failed) {
            const char *ids = host + n * sizeof numbers;
            memcpy(numbers, host + i * sizeof numbers, sizeof numbers);
            memcpy(&id, ids + i * sizeof id, sizeof id);
            memcpy(&broken, ids + (n + i) * sizeof broken, sizeof broken);
        }
        out[i] = id < 0 ? (laci_choice){ 0, NAN, NAN, broken }
                        : (laci_choice){ id, (float)numbers[0], numbers[1], broken };
    }
}

void laci_cuda_choose(laci_backend *be, const laci_choice_rule *rule, laci_buf *logits, size_t row,
                      size_t n, const uint64_t *keys, laci_choice *out)
{
    cuda_backend *cuda = laci_cuda_enter(be);
    const size_t n_vocab = (size_t)rule->n_vocab;
    assert(n_vocab < 1 << 24); /* the device compares ids as floats */
    if (!n) return;
    char *answers = laci_cuda_scratch(cuda, &cuda->scratch, n * 24);
    const size_t key_bytes = n * sizeof *keys;
    const size_t gap_bytes = rule->gaps ? (n_vocab + 31) / 32 * sizeof *rule->gaps : 0;
    laci_cuda_room(cuda, key_bytes + gap_bytes, 2);
    laci_cu_choose a = {
        .logits = floats_at(logits, row * n_vocab),
        .keys = laci_cuda_put(cuda, keys, key_bytes),
        .gaps = laci_cuda_put(cuda, rule->gaps, gap_bytes),
        .numbers = (void *)answers,
        .temperature = rule->temperature,
        .top_p = rule->top_p,
        .n = (uint32_t)n,
        .n_vocab = (uint32_t)n_vocab,
        .n_allowed = (uint32_t)(rule->n_allowed > 0 ? rule->n_allowed : 0),
        .n_forbidden = (uint32_t)rule->n_forbidden,
        .top_k = (uint32_t)(rule->top_k > 0 ? rule->top_k : 0),
        .confidence = (uint32_t)rule->confidence,
        .categorical = rule->draw == LACI_DRAW_CATEGORICAL,
        .bf16_confidence = rule->bf16_confidence,
        .top_k_first = rule->top_k_first,
        .n_unranked = (uint32_t)rule->n_unranked,
    };
    for (int i = 0; i < rule->n_forbidden; i++)
        a.forbidden[i] = rule->forbidden[i];
    for (int i = 0; i < rule->n_unranked; i++)
        a.unranked[i] = rule->unranked[i];
    if (answers && a.keys && (a.gaps || !rule->gaps)) {
        a.ids = (void *)(answers + n * 2 * sizeof(double));
        a.broken = a.ids + n;
        cuda->api.choose(cuda->stream, &a);
        laci_cuda_note(cuda, cuda->api.last_error());
    }
    take_choices(cuda, answers, n, out);
}
