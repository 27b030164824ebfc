/* attend_pieces.c: see attend_pieces.h. */
#include "engine/attend_pieces.h"

#include <assert.h>

static laci_backend *be_of(const laci_pieces *p)
{
    return p->run->s->be;
}

static size_t n_heads_of(const laci_pieces *p)
{
    return (size_t)p->run->config->n_heads;
}

/* Every query reads all keys. */
static laci_plan whole_plan(size_t n_q, size_t n_k)
{
    static const uint32_t row_ptr[2] = { 0, 1 }, cols[1] = { 0 };
    return (laci_plan){
        .q_block = n_q, .k_block = n_k, .n_heads = 1, .n_rows = 1, .row_ptr = row_ptr, .cols = cols
    };
}

/* Merges the part in MORE, or `other`, into `out`. */
static void merge(const laci_pieces *p, laci_buf *out, laci_buf *lse, const laci_buf *other,
                  const laci_buf *other_lse, size_t n)
{
    const laci_merge parts = { .out = out,
                               .lse = lse,
                               .other = other,
                               .other_lse = other_lse,
                               .n_batch = 1,
                               .n_q = n,
                               .n_heads = n_heads_of(p),
                               .d_head = (size_t)p->run->config->d_head };
    laci_backend_merge(be_of(p), &parts);
}

/* n f32 rows of PART as activations. */
static void to_activations(const laci_pieces *p, size_t n, laci_buf *out)
{
    const laci_head_op plain = { .n_heads = n_heads_of(p),
                                 .d_head = (size_t)p->run->config->d_head };
    const laci_head_rows rows = {
        .op = &plain, .x = p->run->buf[LACI_BUF_PART], .n = n, .out = out
    };
    laci_backend_heads(be_of(p), &rows);
}

/* ------------------------------------------------------------------ under a plan */

/* The part of the plan that lies in a piece. */
static lac_status cut_plan(laci_plan_store *out, const laci_plan *plan, const laci_key_piece *piece,
                           lac_error *err)
{
    const size_t begin = piece->first / plan->k_block;
    const size_t end = (piece->first + piece->n + plan->k_block - 1) / plan->k_block;
    lac_status st = LAC_OK;
    laci_plan_begin(out, plan->q_block, plan->k_block, plan->n_heads, 1);
    for (size_t h = 0; h < plan->n_heads; h++) {
        for (uint32_t i = plan->row_ptr[h]; i < plan->row_ptr[h + 1] && !st; i++)
            if (plan->cols[i] >= begin && plan->cols[i] < end)
                st = laci_plan_add(out, plan->cols[i] - begin, plan->cols[i] - begin + 1, err);
        laci_plan_end_row(out);
    }
    return st;
}

/* Sets the views of the masses of piece i, of n rows, and of their bases. */
static void view_masses(const laci_pieces *p, size_t i, size_t n, size_t row_page)
{
    const lac_session *s = p->run->s;
    const laci_key_piece *piece = &p->keys->pieces[i];
    const size_t n_rows = n_heads_of(p) * n;
    assert(piece->first % row_page == 0);
    laci_view_set(s->be, s->view[LACI_VIEW_MASS], s->buf[LACI_BUF_ROW_MASS],
                  n_rows * (piece->first / row_page) * sizeof(float));
    laci_view_set(s->be, s->view[LACI_VIEW_BASE], s->buf[LACI_BUF_ROW_BASE],
                  n_rows * (piece->first / LACI_MASS_PART + i) * sizeof(float));
}

lac_status laci_pieces_attend(const laci_pieces *p, const laci_pieces_read *r, lac_error *err)
{
    lac_session *s = p->run->s;
    const laci_mass_stats stats = { .q_block = 1,
                                    .k_block = r->row_page,
                                    .mass = s->view[LACI_VIEW_MASS],
                                    .base = s->view[LACI_VIEW_BASE] };
    const size_t n_pieces = laci_keys_count_pieces(p->keys, r->n_keys);
    for (size_t i = 0; i < n_pieces; i++) {
        const laci_key_piece *piece = &p->keys->pieces[i];
        const size_t n_in = laci_keys_in(piece, r->n_keys);
        laci_plan plan = r->plan ? *r->plan : whole_plan(r->n, n_in);
        if (r->plan && n_pieces > 1) {
            lac_status st = cut_plan(&s->piece_plan, r->plan, piece, err);
            if (st) return st;
            plan = s->piece_plan.plan;
        }
        const laci_attention a = { .q = r->q,
                                   .kv = laci_keys_of(p->keys, piece, p->layer),
                                   .out = i ? s->buf[LACI_BUF_PART] : r->out,
                                   .out_f32 = true,
                                   .lse = i ? s->buf[LACI_BUF_PART_LSE] : r->lse,
                                   .n_q = r->n,
                                   .n_k = n_in,
                                   .n_heads = n_heads_of(p),
                                   .stats = r->row_page ? &stats : NULL };
        if (r->row_page) view_masses(p, i, r->n, r->row_page);
        laci_layer_attend(p->run, &plan, &a);
        if (i) merge(p, r->out, r->lse, s->buf[LACI_BUF_PART], s->buf[LACI_BUF_PART_LSE], r->n);
    }
    return LAC_OK;
}

/* ------------------------------------------------------------------ everything */

void laci_pieces_attend_whole(const laci_pieces *p, const laci_buf *q, size_t n, size_t n_keys,
                              const uint32_t *limits, laci_buf *out)
{
    const lac_session *s = p->run->s;
    laci_buf *const *buf = s->buf;
    uint32_t *in_piece = s->arrays.in_piece;
    const size_t n_pieces = laci_keys_count_pieces(p->keys, n_keys);
    for (size_t i = 0; i < n_pieces; i++) {
        const laci_key_piece *piece = &p->keys->pieces[i];
        const size_t n_in = laci_keys_in(piece, n_keys);
        const laci_plan plan = whole_plan(n, n_in);
        for (size_t r = 0; r < n && limits; r++)
            in_piece[r] = limits[r] > piece->first ? limits[r] - (uint32_t)piece->first : 0;
        laci_attention a = { .q = q,
                             .kv = laci_keys_of(p->keys, piece, p->layer),
                             .out = out,
                             .n_q = n,
                             .n_k = n_in,
                             .n_heads = n_heads_of(p),
                             .limits = limits ? in_piece : NULL };
        if (n_pieces > 1) {
            a.out = buf[i ? LACI_BUF_MORE : LACI_BUF_PART];
            a.lse = buf[i ? LACI_BUF_MORE_LSE : LACI_BUF_PART_LSE];
            a.out_f32 = true;
        }
        laci_layer_attend(p->run, &plan, &a);
        if (i)
            merge(p, buf[LACI_BUF_PART], buf[LACI_BUF_PART_LSE], buf[LACI_BUF_MORE],
                  buf[LACI_BUF_MORE_LSE], n);
    }
    if (n_pieces > 1) to_activations(p, n, out);
}

void laci_pieces_attend_own(const laci_pieces *p, const laci_buf *q, size_t n, size_t first,
                            const laci_kept *kept, laci_buf *out)
{
    laci_buf *const *buf = p->run->s->buf;
    const laci_key_piece *piece = &p->keys->pieces[laci_keys_count_pieces(p->keys, first + 1) - 1];
    const size_t block = p->run->s->layout.block;
    const uint32_t row_ptr[2] = { 0, 1 }, col = (uint32_t)((first - piece->first) / block);
    const laci_plan plan = {
        .q_block = n, .k_block = block, .n_heads = 1, .n_rows = 1, .row_ptr = row_ptr, .cols = &col
    };
    const laci_attention a = { .q = q,
                               .kv = laci_keys_of(p->keys, piece, p->layer),
                               .out = buf[LACI_BUF_PART],
                               .out_f32 = true,
                               .lse = buf[LACI_BUF_PART_LSE],
                               .n_q = n,
                               .n_k = first - piece->first + n,
                               .n_heads = n_heads_of(p) };
    laci_layer_attend(p->run, &plan, &a);
    merge(p, buf[LACI_BUF_PART], buf[LACI_BUF_PART_LSE], kept->out, kept->lse, n);
    to_activations(p, n, out);
}

/* ------------------------------------------------------------------ measuring */

void laci_pieces_pool(const laci_pieces *p, const laci_buf *lse, size_t n, size_t n_keys,
                      size_t row_page, laci_buf *out)
{
    const lac_session *s = p->run->s;
    const size_t n_pages = (n_keys + row_page - 1) / row_page;
    const size_t n_pieces = laci_keys_count_pieces(p->keys, n_keys);
    for (size_t i = 0; i < n_pieces; i++) {
        const laci_key_piece *piece = &p->keys->pieces[i];
        const laci_row_masses rows = { .mass = s->view[LACI_VIEW_MASS],
                                       .base = s->view[LACI_VIEW_BASE],
                                       .lse = lse,
                                       .n_heads = n_heads_of(p),
                                       .n_kv_heads = (size_t)p->run->config->n_kv_heads,
                                       .n_q = n,
                                       .n_blocks =
                                           (laci_keys_in(piece, n_keys) + row_page - 1) / row_page,
                                       .k_block = row_page };
        view_masses(p, i, n, row_page);
        laci_backend_pool_masses(s->be, &rows, out, n_pages, piece->first / row_page);
    }
}

void laci_pieces_columns(const laci_pieces *p, const laci_buf *q, laci_buf *lse, size_t n,
                         size_t n_keys, laci_buf *out)
{
    enum { GROUP = 128 };
    laci_backend *be = be_of(p);
    const size_t n_groups = (n + GROUP - 1) / GROUP;
    const size_t n_pieces = laci_keys_count_pieces(p->keys, n_keys);
    laci_buf *const part = n_pieces > 1 ? p->run->buf[LACI_BUF_PIECE_COLUMNS] : out;
    for (size_t i = 0; i < n_pieces; i++) {
        const laci_key_piece *piece = &p->keys->pieces[i];
        const size_t n_in = laci_keys_in(piece, n_keys);
        const laci_attention a = { .q = q,
                                   .kv = laci_keys_of(p->keys, piece, p->layer),
                                   .lse = lse,
                                   .n_q = n,
                                   .n_k = n_in,
                                   .n_heads = n_heads_of(p) };
        laci_backend_column_mass(be, &a, GROUP, 0, n_groups, part);
        for (size_t row = 0; n_pieces > 1 && row < n_heads_of(p) * n_groups; row++)
            laci_backend_copy(be, out, (row * n_keys + piece->first) * sizeof(float), part,
                              row * n_in * sizeof(float), n_in * sizeof(float));
    }
}
