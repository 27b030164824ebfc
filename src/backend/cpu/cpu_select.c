/* cpu_select.c: selection on the CPU: lists are spread over the threads, one list is made by one
 * thread, so the answer does not depend on their number. Scores and rankings are kernels; this file
 * owns where bounds lie, how rows share a list, and the union of lists. */
#include <assert.h>
#include <math.h>

#include "backend/cpu/cpu_state.h"
#include "base/arena.h"

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* ------------------------------------------------------------------ bounds */

/* Bounds panels of one head: 64 pages each. */
static size_t bounds_panels(size_t n_ctx, size_t page)
{
    return (n_ctx + page * LACI_PANEL - 1) / (page * LACI_PANEL);
}

size_t laci_pages_bytes(laci_dtype act, const laci_kv *kv, size_t page)
{
    return kv->n_batch * kv->n_kv_heads * bounds_panels(kv->n_ctx, page) *
           laci_bounds_panel_bytes(act, kv->d_head);
}

size_t laci_pages_bytes_i8(const laci_kv *kv, size_t page)
{
    return kv->n_batch * kv->n_kv_heads * bounds_panels(kv->n_ctx, page) *
           laci_bounds_panel_bytes_i8(kv->d_head);
}

/* Bytes of one bounds panel. */
static size_t panel_bytes(const laci_backend *be, const laci_pages *pages)
{
    return pages->is_i8 ? laci_bounds_panel_bytes_i8(pages->d_head)
                        : laci_bounds_panel_bytes(be->act, pages->d_head);
}

static lac_status take_pages(laci_backend *be, const laci_kv *kv, size_t page, bool is_i8,
                             laci_pages *out, lac_error *err)
{
    laci_pages pages = { NULL, page, kv->n_batch, kv->n_kv_heads, kv->d_head, kv->n_ctx, is_i8 };
    const size_t n_bytes =
        is_i8 ? laci_pages_bytes_i8(kv, page) : laci_pages_bytes(be->act, kv, page);
    const lac_status st = laci_buf_new(be, n_bytes, "bounds of pages", &pages.bounds, err);
    if (!st) *out = pages;
    return st;
}

lac_status laci_cpu_pages_new(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                              lac_error *err)
{
    return take_pages(be, kv, page, false, out, err);
}

lac_status laci_cpu_pages_new_i8(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                                 lac_error *err)
{
    return take_pages(be, kv, page, true, out, err);
}

static char *head_bounds(const laci_backend *be, const laci_pages *pages, size_t batch,
                         size_t kv_head)
{
    const size_t at =
        (batch * pages->n_kv_heads + kv_head) * bounds_panels(pages->n_ctx, pages->page);
    return (char *)pages->bounds->data + at * panel_bytes(be, pages);
}

typedef struct {
    laci_backend *be;
    const laci_kv *kv;
    const laci_pages *pages;
    size_t batch, from, n_keys;
    size_t span, first, n_spans; /* keys of a bounds panel; panels of a head to be filled */
} bounds_job;

/* Fills one bounds panel of a head from the panels of keys in [from, n_keys). */
static void fill_bounds(const bounds_job *j, char *bounds, const char *keys, size_t from,
                        size_t n_keys, void *scratch)
{
    const cpu_backend *cpu = cpu_of(j->be);
    const laci_pages *pages = j->pages;
    const laci_dtype act = cpu->base.act;
    const size_t page = pages->page, d = pages->d_head;
    for (size_t panel = from / LACI_PANEL; panel * LACI_PANEL < n_keys; panel++) {
        const size_t left = n_keys - panel * LACI_PANEL;
        const size_t lane = panel * (LACI_PANEL / page) % LACI_PANEL;
        void *const exact = pages->is_i8 ? scratch : bounds;
        cpu->kernels.page_bounds(
            exact, lane, keys + (panel - j->kv->first / LACI_PANEL) * laci_k_panel_bytes(act, d),
            left < LACI_PANEL ? left : LACI_PANEL, page, act, d);
        if (pages->is_i8) cpu->kernels.round_bounds(bounds, exact, lane, LACI_PANEL / page, act, d);
    }
}

static void fill_panels(void *job, size_t begin, size_t end, int thread)
{
    const bounds_job *j = job;
    const size_t bytes = panel_bytes(j->be, j->pages);
    for (size_t i = begin; i < end; i++) {
        const size_t kv_head = i / j->n_spans, at = j->first + i % j->n_spans;
        const size_t from = at == j->first ? j->from : at * j->span;
        const size_t stop = (at + 1) * j->span < j->n_keys ? (at + 1) * j->span : j->n_keys;
        fill_bounds(j, head_bounds(j->be, j->pages, j->batch, kv_head) + at * bytes,
                    kv_panels(j->be, j->kv, LACI_KEYS, j->batch, kv_head), from, stop,
                    scratch_of(cpu_of(j->be), thread));
    }
}

/* Threads take whole bounds panels: neighbouring pages share cache lines. */
void laci_cpu_page_bounds(laci_backend *be, const laci_kv *kv, const laci_pages *pages,
                          size_t batch, size_t from, size_t n_keys)
{
    const size_t span = pages->page * LACI_PANEL; /* keys of a bounds panel */
    if (from < kv->first) from = kv->first;
    if (n_keys > kv->first + kv->n_ctx) n_keys = kv->first + kv->n_ctx;
    if (from >= n_keys) return;
    assert(n_keys <= pages->n_ctx);
    const size_t first = from / span, n_spans = (n_keys + span - 1) / span - first;
    bounds_job job = { be, kv, pages, batch, from, n_keys, span, first, n_spans };
    spread(be, n_spans * pages->n_kv_heads, 0, (n_keys - from) * pages->d_head * pages->n_kv_heads,
           fill_panels, &job);
}

/* ------------------------------------------------------------------ lists */

/* Writes the ids of a list chosen from n scores; returns how many. order [n rounded up to 16]. */
static size_t choose_ids(const laci_kernels *k, uint32_t *ids, const float *scores, size_t n,
                         const laci_budget *budget, int32_t *order)
{
    const size_t n_first = budget->keep_first < n ? budget->keep_first : n;
    const size_t n_last = budget->keep_last < n - n_first ? budget->keep_last : n - n_first;
    const size_t n_kept = n_first + n_last;
    const size_t n_wanted = budget->n > n_kept ? budget->n - n_kept : 0;
    const size_t n_ranked = k->top_k(ids + n_first, scores + n_first, n - n_kept, n_wanted, order);
    for (size_t i = 0; i < n_first; i++)
        ids[i] = (uint32_t)i;
    for (size_t i = n_first; i < n_first + n_ranked; i++)
        ids[i] += (uint32_t)n_first;
    for (size_t i = 0; i < n_last; i++)
        ids[n_first + n_ranked + i] = (uint32_t)(n - n_last + i);
    return n_kept + n_ranked;
}

static size_t marked_ids(uint32_t *ids, const bool *marks, size_t n)
{
    size_t n_ids = 0;
    for (size_t i = 0; i < n; i++)
        if (marks[i]) ids[n_ids++] = (uint32_t)i;
    return n_ids;
}

/* ------------------------------------------------------------------ pages */

/* Memory of one thread; stride = most pages rounded up to 64. */
typedef struct {
    void *kernel;   /* laci_score_scratch(d) bytes */
    float *scores;  /* [LACI_SCORE_ROWS, stride] */
    float *pooled;  /* [stride] */
    int32_t *order; /* [stride] */
    uint32_t *ids;  /* [stride] one row's own list */
    char *q;        /* act [LACI_SCORE_ROWS, d] */
    bool *marks;    /* [stride] pages of the union */
    size_t stride;
} select_memory;

/* All of it in a thread's scratch; without memory only the size. */
static size_t carve(select_memory *m, void *memory, size_t d, size_t n_pages)
{
    laci_arena arena = { memory, 0 };
    m->stride = round_up(n_pages, LACI_PANEL);
    m->kernel = laci_arena_take(&arena, 1, laci_score_scratch(d));
    LACI_TAKE(&arena, m->scores, LACI_SCORE_ROWS * m->stride);
    LACI_TAKE(&arena, m->pooled, m->stride);
    LACI_TAKE(&arena, m->order, m->stride);
    LACI_TAKE(&arena, m->ids, m->stride);
    LACI_TAKE(&arena, m->q, LACI_SCORE_ROWS * d * sizeof(float));
    LACI_TAKE(&arena, m->marks, m->stride);
    return arena.used;
}

/* Of a ranking of n scores. */
typedef struct {
    float *sum;     /* [n rounded up to 64] */
    int32_t *order; /* the same */
} rank_memory;

static size_t carve_ranks(rank_memory *m, void *memory, size_t n)
{
    laci_arena arena = { memory, 0 };
    LACI_TAKE(&arena, m->sum, round_up(n, LACI_PANEL));
    LACI_TAKE(&arena, m->order, round_up(n, LACI_PANEL));
    return arena.used;
}

size_t laci_cpu_select_scratch(size_t d, size_t n_pages, size_t n_ranked)
{
    const size_t ranks = carve_ranks(&(rank_memory){ 0 }, NULL, n_ranked);
    const size_t pages = carve(&(select_memory){ 0 }, NULL, d, n_pages);
    const size_t bounds = laci_bounds_panel_bytes(LACI_F32, d); /* exact ones, to be rounded */
    const size_t most = pages > bounds ? pages : bounds;
    return n_pages > 0 && most > ranks ? most : ranks;
}

/* One list of a query. Row r is query r / n_group of query head first_head + r % n_group. */
typedef struct {
    const cpu_backend *cpu;
    const laci_page_query *query;
    size_t batch, first_head, n_group, n_pages;
    size_t kv_head;
    select_memory memory;
} page_job;

static page_job job_of(laci_backend *be, const laci_page_query *query, size_t list, int thread)
{
    const laci_pages *pages = query->pages;
    const size_t n_group = query->n_heads / pages->n_kv_heads;
    const size_t n_lists = query->per_head ? query->n_heads : pages->n_kv_heads;
    page_job job = { .cpu = cpu_of(be), .query = query, .batch = list / n_lists };
    job.n_group = query->per_head ? 1 : n_group;
    job.first_head = list % n_lists * job.n_group;
    job.kv_head = job.first_head / n_group;
    job.n_pages = (query->n_keys[job.batch] + pages->page - 1) / pages->page;
    (void)carve(&job.memory, scratch_of(job.cpu, thread), pages->d_head, job.n_pages);
    return job;
}

static void widen_row(float *out, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = laci_bf16_to_f32(x[i]);
}

/* Scores of rows [row, row + n) into memory.scores. */
static void score_rows(const page_job *job, size_t row, size_t n)
{
    const laci_page_query *query = job->query;
    const laci_backend *be = &job->cpu->base;
    const laci_kernels *k = &job->cpu->kernels;
    const select_memory *m = &job->memory;
    const size_t d = query->pages->d_head, d_bytes = d * act_size(be);
    for (size_t i = 0; i < n; i++) {
        const size_t q = (row + i) / job->n_group;
        const size_t head = job->first_head + (row + i) % job->n_group;
        const void *from =
            act_row(be, query->q, (job->batch * query->n_q + q) * query->n_heads + head, d);
        if (query->pages->is_i8 && be->act == LACI_BF16)
            widen_row((float *)(void *)m->q + i * d, from, d);
        else
            memcpy(m->q + i * d_bytes, from, d_bytes);
    }
    const laci_page_scores s = { .scores = m->scores,
                                 .stride = m->stride,
                                 .q = m->q,
                                 .bounds = head_bounds(be, query->pages, job->batch, job->kv_head),
                                 .n_rows = n,
                                 .n_panels = m->stride / LACI_PANEL,
                                 .d = d,
                                 .scratch = m->kernel };
    if (query->pages->is_i8)
        k->page_scores_i8(&s);
    else
        (be->act == LACI_F32 ? k->page_scores_f32 : k->page_scores_bf16)(&s);
}

/* Adds what one row thinks of the pages; returns the ids it picked of its own. */
static size_t pool_row(const page_job *job, float *scores)
{
    const laci_kernels *k = &job->cpu->kernels;
    const select_memory *m = &job->memory;
    size_t n_ids = 0;
    switch (job->query->pool) {
    case LACI_POOL_MAX: k->pool_max(m->pooled, scores, job->n_pages); break;
    case LACI_POOL_SOFTMAX:
        k->pool_softmax(m->pooled, scores, job->query->scale, job->n_pages);
        break;
    case LACI_POOL_UNION:
        n_ids = choose_ids(k, m->ids, scores, job->n_pages, &job->query->budget, m->order);
        for (size_t i = 0; i < n_ids; i++)
            m->marks[m->ids[i]] = true;
        break;
    }
    return n_ids;
}

/* Writes the list; returns its length, and in *n_picked the ids its rows picked before the union.
 */
static size_t select_list(const page_job *job, uint32_t *ids, size_t *n_picked)
{
    const select_memory *m = &job->memory;
    const laci_page_query *query = job->query;
    const size_t n_rows = query->n_q * job->n_group, n_pages = job->n_pages;
    const bool is_union = query->pool == LACI_POOL_UNION;
    const bool takes_all = query->budget.n >= n_pages;
    *n_picked = is_union && takes_all ? n_rows * n_pages : 0;
    for (size_t i = 0; i < n_pages; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a thread has scratch */
        m->pooled[i] = query->pool == LACI_POOL_MAX ? -INFINITY : 0;
        m->marks[i] = takes_all;
    }
    for (size_t row = 0, n; row < n_rows && !takes_all; row += n) {
        n = n_rows - row < LACI_SCORE_ROWS ? n_rows - row : LACI_SCORE_ROWS;
        score_rows(job, row, n);
        for (size_t i = 0; i < n; i++)
            *n_picked += pool_row(job, m->scores + i * m->stride);
    }
    const size_t n_ids = is_union || takes_all ? marked_ids(ids, m->marks, n_pages)
                                               : choose_ids(&job->cpu->kernels, ids, m->pooled,
                                                            n_pages, &query->budget, m->order);
    if (!is_union) *n_picked = n_ids;
    return n_ids;
}

typedef struct {
    laci_backend *be;
    const laci_page_query *query;
    const laci_id_lists *lists;
} pages_job;

static void select_lists(void *job, size_t begin, size_t end, int thread)
{
    const pages_job *j = job;
    const laci_id_lists *lists = j->lists;
    for (size_t list = begin; list < end; list++) {
        const page_job one = job_of(j->be, j->query, list, thread);
        size_t n_picked;
        const size_t n_ids = select_list(&one, lists->ids + list * lists->stride, &n_picked);
        assert(n_ids <= lists->stride);
        lists->counts[list] = (uint32_t)n_ids;
        if (lists->picked) lists->picked[list] = (uint32_t)n_picked;
    }
}

void laci_cpu_select_pages(laci_backend *be, const laci_page_query *query,
                           const laci_id_lists *lists)
{
    const size_t n_lists =
        query->n_batch * (query->per_head ? query->n_heads : query->pages->n_kv_heads);
    const size_t work = query->n_batch * query->n_q * query->n_heads * query->pages->d_head *
                        (query->pages->n_ctx / query->pages->page);
    pages_job job = { be, query, lists };
    spread(be, n_lists, 1, work, select_lists, &job);
}

/* ------------------------------------------------------------------ any scores, any rows */

typedef struct {
    const cpu_backend *cpu;
    const laci_ranking *ranking;
    const laci_id_lists *lists;
    size_t n_pooled;
} ranks_job;

static void rank_lists(void *job, size_t begin, size_t end, int thread)
{
    const ranks_job *j = job;
    const laci_ranking *ranking = j->ranking;
    const laci_id_lists *lists = j->lists;
    const size_t n = ranking->n;
    rank_memory m;
    (void)carve_ranks(&m, scratch_of(j->cpu, thread), n);
    for (size_t list = begin; list < end; list++) {
        const float *rows = floats(ranking->scores, list * j->n_pooled * ranking->stride);
        memcpy(m.sum, rows, n * sizeof *m.sum);
        for (size_t row = 1; row < j->n_pooled; row++)
            j->cpu->kernels.add(m.sum, rows + row * ranking->stride, n);
        const size_t n_ids = choose_ids(&j->cpu->kernels, lists->ids + list * lists->stride, m.sum,
                                        n, &ranking->budget, m.order);
        assert(n_ids <= lists->stride);
        lists->counts[list] = (uint32_t)n_ids;
        if (lists->picked) lists->picked[list] = (uint32_t)n_ids;
    }
}

void laci_cpu_top_k(laci_backend *be, const laci_ranking *ranking, const laci_id_lists *lists)
{
    const size_t n_pooled = ranking->n_pooled ? ranking->n_pooled : 1;
    ranks_job job = { cpu_of(be), ranking, lists, n_pooled };
    spread(be, ranking->n_lists, 1, ranking->n_lists * n_pooled * ranking->n, rank_lists, &job);
}

typedef struct {
    const laci_buf *x;
    laci_buf *out;
    const int32_t *rows;
    size_t bytes; /* of a row */
} rows_job;

static void gather_span(void *job, size_t begin, size_t end, int thread)
{
    const rows_job *j = job;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        memcpy((char *)j->out->data + i * j->bytes,
               (const char *)j->x->data + (size_t)j->rows[i] * j->bytes, j->bytes);
}

static void scatter_span(void *job, size_t begin, size_t end, int thread)
{
    const rows_job *j = job;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        memcpy((char *)j->out->data + (size_t)j->rows[i] * j->bytes,
               (const char *)j->x->data + i * j->bytes, j->bytes);
}

void laci_cpu_gather_rows(laci_backend *be, laci_dtype type, const laci_buf *x, const int32_t *rows,
                          size_t n, size_t d, laci_buf *out)
{
    rows_job job = { x, out, rows, d * laci_act_bytes(type) };
    spread(be, n, 0, n * d, gather_span, &job);
}

void laci_cpu_scatter_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                           const int32_t *rows, size_t n, size_t d, laci_buf *out)
{
    rows_job job = { x, out, rows, d * laci_act_bytes(type) };
    spread(be, n, 0, n * d, scatter_span, &job);
}
