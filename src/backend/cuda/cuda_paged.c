/* cuda_paged.c: a read of pages that the host only starts: rows are picked, pages are chosen and
 * attention is done by work queued at once, in sizes that are the most there can be. What is true
 * stands on the device: blocks of threads beyond it find nothing to do and end. */
#include <math.h>
#include <string.h>

#include "backend/cuda/cuda_select.h"
#include "backend/plan_rows.h"

/* One call and its scratch, one piece of memory since all of it is alive at once. */
typedef struct {
    cuda_backend *cuda;
    const laci_paged_read *read;
    laci_page_query query;
    laci_cu_selection s;
    double *sums;                                              /* [n_q, 2] how far rows moved */
    uint32_t *picks;                                           /* [1 + n_q] */
    size_t tile_heads, tile_rows, row_tiles, n_tiles, n_parts; /* n_parts: most of a tile */
    laci_cu_job *jobs;                                         /* [n_tiles, n_parts] */
    laci_cu_parts *parts;                                      /* [n_tiles] */
    float *partial; /* [n_tiles * n_parts, LACI_CU_ROWS, d], then their log-sum-exps */
} read_call;

/* Keys of the sequence's first n_keys that are in a piece. */
static size_t keys_in(const laci_kv *kv, size_t n_keys)
{
    if (n_keys <= kv->first) return 0;
    return n_keys - kv->first < kv->n_ctx ? n_keys - kv->first : kv->n_ctx;
}

/* Tiles as laci_cuda_jobs cuts them, for as many queries and lanes as there can be. */
static void cut_tiles(read_call *c)
{
    const laci_paged_read *r = c->read;
    const size_t n_q = r->n_q, d = r->pieces[0]->d_head;
    const size_t most = laci_cuda_tile_rows(c->cuda, d, r->page, SIZE_MAX);
    const laci_attention a = { .kv = r->pieces[0], .n_heads = r->n_heads };
    size_t lanes = 0;
    for (size_t i = 0; i < r->n_pieces; i++)
        if (keys_in(r->pieces[i], r->n_keys) > lanes) lanes = keys_in(r->pieces[i], r->n_keys);
    c->tile_heads = laci_heads_per_tile(&a, n_q, most);
    c->tile_rows = n_q < most / c->tile_heads ? n_q : most / c->tile_heads;
    c->row_tiles = (n_q + c->tile_rows - 1) / c->tile_rows;
    c->n_tiles = c->row_tiles * (r->n_heads / c->tile_heads);
    c->n_parts = (lanes + LACI_CU_SHORTEST_PART - 1) / LACI_CU_SHORTEST_PART;
    if (c->n_parts > LACI_CU_MOST_PARTS) c->n_parts = LACI_CU_MOST_PARTS;
    if (n_q > LACI_CU_FEW_QUERIES) c->n_parts = 1;
}

/* The next array of n bytes; with `base` NULL only counts. */
static void *next(char *base, size_t *at, size_t n)
{
    char *const array = base ? base + *at : NULL;
    *at += (n + 255) / 256 * 256;
    return array;
}

static size_t carve(read_call *c, char *base)
{
    const size_t n_q = c->read->n_q, n_slots = c->n_tiles * c->n_parts;
    const size_t floats = LACI_CU_ROWS * (c->read->pieces[0]->d_head + 1);
    size_t at = c->read->lists ? 0 : laci_cuda_selection_bytes(&c->s, true);
    c->sums = next(base, &at, 2 * n_q * sizeof *c->sums);
    c->picks = next(base, &at, (1 + n_q) * sizeof *c->picks);
    c->jobs = next(base, &at, n_slots * sizeof *c->jobs);
    c->parts = next(base, &at, c->n_tiles * sizeof *c->parts);
    c->partial = next(base, &at, c->n_parts > 1 ? n_slots * floats * sizeof *c->partial : 0);
    return at;
}

/* ------------------------------------------------------------------ rows */

static void pick_rows(const read_call *c, const uint8_t *is_new)
{
    const laci_paged_read *r = c->read;
    cuda_backend *cuda = c->cuda;
    const laci_cu_pick pick = { r->all ? NULL : c->sums, is_new,           c->picks,
                                r->min_change,           (uint32_t)r->n_q, (uint32_t)r->n_wanted };
    if (!r->all) {
        const laci_cu_changes changes = {
            r->x->data,       r->ref->data,       c->sums,
            (uint32_t)r->n_q, (uint32_t)r->width, is_bf16(&cuda->base)
        };
        cuda->api.changes(cuda->stream, &changes);
    }
    cuda->api.pick(cuda->stream, &pick);
    laci_cuda_note(cuda, cuda->api.last_error());
}

/* What the picked rows are compared with from now on. */
static void keep_rows(const read_call *c)
{
    const laci_paged_read *r = c->read;
    const laci_cu_keep keep = { .picks = c->picks,
                                .x = r->ref ? r->x->data : NULL,
                                .out = r->ref ? r->ref->data : NULL,
                                .n = (uint32_t)r->n_q,
                                .bytes = r->width * laci_act_bytes(c->cuda->base.act) };
    if (!r->ref) return;
    c->cuda->api.keep(c->cuda->stream, &keep);
    laci_cuda_note(c->cuda, c->cuda->api.last_error());
}

/* ------------------------------------------------------------------ attention */

static void list_jobs(const read_call *c, const laci_kv *kv, uint32_t *counts)
{
    const laci_paged_read *r = c->read;
    const size_t page = r->page, end = kv->first + keys_in(kv, r->n_keys);
    const laci_cu_list_jobs a = {
        .ids = c->s.ids,
        .counts = c->s.counts,
        .picks = c->picks,
        .jobs = c->jobs,
        .parts = c->parts,
        .read = counts,
        .n_lists = (uint32_t)c->s.n_lists,
        .stride = (uint32_t)c->s.stride,
        .n_heads = (uint32_t)r->n_heads,
        .n_tiles = (uint32_t)c->n_tiles,
        .row_tiles = (uint32_t)c->row_tiles,
        .tile_heads = (uint32_t)c->tile_heads,
        .tile_rows = (uint32_t)c->tile_rows,
        .n_parts = (uint32_t)c->n_parts,
        .page = (uint32_t)page,
        .first_page = (uint32_t)(kv->first / page),
        .end_page = (uint32_t)((end + page - 1) / page),
        .n_keys = (uint32_t)end,
        .n_all_keys = (uint32_t)r->n_keys,
    };
    c->cuda->api.list_jobs(c->cuda->stream, &a);
    laci_cuda_note(c->cuda, c->cuda->api.last_error());
}

/* The picked rows over one piece. */
static void attend_piece(const read_call *c, const laci_kv *kv, const laci_buf *out,
                         const laci_buf *lse)
{
    const laci_paged_read *r = c->read;
    cuda_backend *cuda = c->cuda;
    const size_t d = kv->d_head, n_slots = c->n_tiles * c->n_parts;
    const laci_cu_attend a = {
        .q = r->q->data,
        .k = kv->k->data,
        .v = kv->v->data,
        .out = out->data,
        .lse = floats_at(lse, 0),
        .jobs = c->jobs,
        .cols = c->s.ids,
        .partial = c->partial,
        .partial_lse = c->partial + n_slots * LACI_CU_ROWS * d,
        .scale = 1.44269504088896341f / sqrtf((float)d),
        .n_jobs = (uint32_t)n_slots,
        .most_rows = (uint32_t)(c->tile_heads * c->tile_rows),
        .n_batch = 1,
        .n_q = (uint32_t)r->n_q,
        .n_k = (uint32_t)keys_in(kv, r->n_keys),
        .n_heads = (uint32_t)r->n_heads,
        .n_kv_heads = (uint32_t)kv->n_kv_heads,
        .d = (uint32_t)d,
        .v_stride = (uint32_t)v_stride(d),
        .k_block = (uint32_t)r->page,
        .k_shift = laci_cuda_shift(r->page),
        .ctx = kv_room(kv),
        .rows = c->picks + 1,
        .first_key = (uint32_t)kv->first,
        .bf16 = is_bf16(&cuda->base),
        .out_f32 = true,
    };
    laci_cuda_launch(cuda, &a);
    if (c->n_parts > 1) cuda->api.combine(cuda->stream, &a, c->parts, (uint32_t)c->n_tiles);
    laci_cuda_note(cuda, cuda->api.last_error());
}

static void merge_spare(const read_call *c)
{
    const laci_paged_read *r = c->read;
    const laci_cu_merge a = { .out = floats_at(r->out, 0),
                              .lse = floats_at(r->lse, 0),
                              .other = floats_at(r->spare, 0),
                              .other_lse = floats_at(r->spare_lse, 0),
                              .n_rows = (uint32_t)(r->n_q * r->n_heads),
                              .n_q = (uint32_t)r->n_q,
                              .n_heads = (uint32_t)r->n_heads,
                              .d = (uint32_t)r->pieces[0]->d_head,
                              .picks = c->picks };
    c->cuda->api.merge(c->cuda->stream, &a);
    laci_cuda_note(c->cuda, c->cuda->api.last_error());
}

/* ------------------------------------------------------------------ pages */

/* Counts and ids of the lists that are given, as one argument without the room between them; room
 * for more_bytes of another one. False when there are none, or no memory. */
static bool put_lists(read_call *c, size_t more_bytes)
{
    const laci_id_lists *lists = c->read->lists;
    const size_t n = c->s.n_lists = c->read->pieces[0]->n_kv_heads;
    size_t stride = 0;
    for (size_t l = 0; l < n; l++)
        if (lists->counts[l] > stride) stride = lists->counts[l];
    const size_t bytes = n * (1 + stride) * sizeof(uint32_t);
    uint32_t *packed = laci_cuda_host(c->cuda, bytes);
    if (!packed || !stride) return false;
    memset(packed, 0, bytes);
    for (size_t l = 0; l < n; l++) {
        packed[l] = lists->counts[l];
        memcpy(packed + n + l * stride, lists->ids + l * lists->stride,
               lists->counts[l] * sizeof *packed);
    }
    laci_cuda_room(c->cuda, bytes + more_bytes, 2);
    uint32_t *put = laci_cuda_put(c->cuda, packed, bytes);
    c->s.counts = put;
    c->s.ids = put ? put + n : NULL;
    c->s.stride = stride;
    return put != NULL;
}

/* What pages are chosen by, with room for more_bytes of another argument. */
static bool count_pages(read_call *c, const uint32_t *n_keys, size_t more_bytes)
{
    const laci_paged_read *r = c->read;
    c->query = (laci_page_query){ .q = r->q,
                                  .pages = r->pages,
                                  .n_batch = 1,
                                  .n_q = r->n_q,
                                  .n_heads = r->n_heads,
                                  .n_keys = n_keys,
                                  .budget = r->budget,
                                  .pool = r->pool,
                                  .scale = r->scale };
    return laci_cuda_count_pages(c->cuda, &c->query, more_bytes, &c->s);
}

/* ------------------------------------------------------------------ all of it */

bool laci_cuda_paged_read(laci_backend *be, const laci_paged_read *r)
{
    read_call c = { .cuda = laci_cuda_enter(be), .read = r };
    const uint32_t n_keys = (uint32_t)r->n_keys;
    if (!r->n_q || !n_keys) return false;
    if (!(r->lists ? put_lists(&c, r->n_q) : count_pages(&c, &n_keys, r->n_q)))
        return true; /* it has failed */
    const uint8_t *is_new = r->all ? NULL : laci_cuda_put(c.cuda, r->is_new, r->n_q);
    cut_tiles(&c);
    char *memory = laci_cuda_scratch(c.cuda, &c.cuda->scratch, carve(&c, NULL));
    if (!memory || (!r->all && !is_new)) return true;
    if (!r->lists && !laci_cuda_carve(c.cuda, &c.s, memory, true)) return true;
    (void)carve(&c, memory);
    c.s.picks = c.picks;
    pick_rows(&c, is_new);
    if (!r->lists) laci_cuda_list_pages(c.cuda, &c.query, &c.s);
    for (size_t i = 0; i < r->n_pieces; i++) {
        uint32_t *counts = i ? NULL : (uint32_t *)(void *)r->counts->data + 2 * r->count_at;
        list_jobs(&c, r->pieces[i], counts);
        attend_piece(&c, r->pieces[i], i ? r->spare : r->out, i ? r->spare_lse : r->lse);
        if (i) merge_spare(&c);
    }
    keep_rows(&c);
    return true;
}
