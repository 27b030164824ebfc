/* backend.c: opens a backend by name and forwards each operation to its table. */
#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

#include "backend/backend_ops.h"
#include "backend/cpu/cpu_linear.h"
#include "base/error.h"
#include "kernels/isa.h"

lac_status laci_backend_open(laci_backend **out, const char *name, lac_dtype dtype, int n_threads,
                             const lac_allocator *mem, lac_error *err)
{
    const bool is_auto = name && !strcmp(name, "auto");
    if (!name || !strcmp(name, "cpu") || (is_auto && !laci_backend_cuda_present()))
        return laci_backend_cpu_open(out, dtype, n_threads, mem, err);
    if (is_auto || !strcmp(name, "cuda") || !strncmp(name, "cuda:", 5))
        return laci_backend_cuda_open(out, is_auto ? "cuda" : name, dtype, mem, err);
    return laci_fail(err, LAC_EINVAL, 0, "unknown backend \"%s\": there are cpu, cuda and auto",
                     name);
}

void laci_backend_describe(char *out, size_t size)
{
    (void)snprintf(out, size, "backends: cpu%s; kernels: %s; matrix products: %s",
                   laci_backend_cuda_built() ? ", cuda" : "", laci_isa_name(laci_isa_detect()),
                   laci_cpu_linear_name());
}

laci_dtype laci_backend_act(const laci_backend *be)
{
    return be->act;
}

int laci_backend_threads(const laci_backend *be)
{
    return be->n_threads;
}

bool laci_backend_rows_stand_alone(const laci_backend *be)
{
    return be->rows_stand_alone;
}

const lac_allocator *laci_backend_allocator(const laci_backend *be)
{
    return &be->mem;
}

const char *laci_backend_name(const laci_backend *be)
{
    return be->name;
}

void laci_backend_close(laci_backend *be)
{
    if (be) be->ops->close(be);
}

lac_status laci_buf_new(laci_backend *be, size_t n_bytes, const char *what, laci_buf **out,
                        lac_error *err)
{
    return be->ops->buf_new(be, n_bytes, what, out, err);
}

void laci_buf_free(laci_backend *be, laci_buf *buf)
{
    if (buf) be->ops->buf_free(be, buf);
}

lac_status laci_view_new(laci_backend *be, laci_buf **out, lac_error *err)
{
    return be->ops->view_new(be, out, err);
}

void laci_view_set(laci_backend *be, laci_buf *view, const laci_buf *of, size_t offset)
{
    be->ops->view_set(be, view, of, offset);
}

void laci_backend_write(laci_backend *be, laci_buf *buf, size_t offset, const void *src, size_t n)
{
    be->ops->write(be, buf, offset, src, n);
}

void laci_backend_read(laci_backend *be, const laci_buf *buf, size_t offset, void *dst, size_t n)
{
    be->ops->read(be, buf, offset, dst, n);
}

void laci_backend_clear(laci_backend *be, laci_buf *buf)
{
    be->ops->clear(be, buf);
}

void laci_backend_copy(laci_backend *be, laci_buf *out, size_t out_offset, const laci_buf *in,
                       size_t in_offset, size_t n)
{
    be->ops->copy(be, out, out_offset, in, in_offset, n);
}

lac_status laci_linear_new(laci_backend *be, size_t n_out, size_t n_in, laci_row_source source,
                           laci_linear **out, lac_error *err)
{
    return be->ops->linear_new(be, n_out, n_in, source, out, err);
}

void laci_linear_free(laci_backend *be, laci_linear *linear)
{
    if (linear) be->ops->linear_free(be, linear);
}

size_t laci_linear_bytes(laci_backend *be, size_t n_out, size_t n_in)
{
    return be->ops->linear_bytes(be, n_out, n_in);
}

void laci_backend_embed(laci_backend *be, const laci_embedding *embedding, const int32_t *ids,
                        size_t n, laci_buf *out)
{
    be->ops->embed(be, embedding, ids, n, out);
}

void laci_backend_norm(laci_backend *be, const laci_buf *x, size_t x_row, const int32_t *rows,
                       size_t n, size_t d, const laci_norm *norm, laci_buf *out, size_t out_row)
{
    be->ops->norm(be, x, x_row, rows, n, d, norm, out, out_row);
}

void laci_backend_gather(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n,
                         size_t d, laci_buf *out)
{
    be->ops->gather(be, x, rows, n, d, out);
}

void laci_backend_linear(laci_backend *be, const laci_linear *linear, const laci_buf *x,
                         size_t x_row, size_t n, laci_buf *out)
{
    be->ops->linear(be, linear, x, x_row, n, out);
}

void laci_backend_heads(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                        const int32_t *positions, size_t first_position, laci_buf *out,
                        size_t out_row)
{
    be->ops->heads(be, op, x, n, positions, first_position, out, out_row);
}

lac_status laci_kv_new(laci_backend *be, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                       size_t d_head, laci_kv *out, lac_error *err)
{
    return be->ops->kv_new(be, n_batch, n_ctx, n_kv_heads, d_head, out, err);
}

void laci_kv_free(laci_backend *be, laci_kv *kv)
{
    laci_buf_free(be, kv->k);
    laci_buf_free(be, kv->v);
    *kv = (laci_kv){ 0 };
}

void laci_backend_store(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                        const laci_kv *kv, laci_kv_part part, size_t batch, size_t row)
{
    be->ops->store(be, op, x, n, kv, part, batch, row);
}

void laci_backend_column_mass(laci_backend *be, const laci_attention *a, size_t q_group,
                              size_t first, size_t n_groups, laci_buf *out)
{
    be->ops->column_mass(be, a, q_group, first, n_groups, out);
}

void laci_backend_merge(laci_backend *be, laci_buf *out, laci_buf *lse, const laci_buf *other,
                        const laci_buf *other_lse, size_t n_batch, size_t n_q, size_t n_heads,
                        size_t d_head)
{
    be->ops->merge(be, out, lse, other, other_lse, n_batch, n_q, n_heads, d_head);
}

void laci_backend_attend(laci_backend *be, const laci_plan *plan, const laci_attention *a)
{
    be->ops->attend(be, plan, a);
}

void laci_backend_mlp(laci_backend *be, const laci_buf *gate, const laci_buf *up, size_t n,
                      size_t d, laci_buf *out)
{
    be->ops->mlp(be, gate, up, n, d, out);
}

void laci_backend_add(laci_backend *be, laci_buf *sum, size_t sum_row, const laci_buf *x, size_t n,
                      size_t d)
{
    be->ops->add(be, sum, sum_row, x, n, d);
}

void laci_backend_guide(laci_backend *be, laci_buf *cond, const laci_buf *uncond, size_t n,
                        size_t d, float scale)
{
    be->ops->guide(be, cond, uncond, n, d, scale);
}

void laci_backend_choose(laci_backend *be, const laci_choice_rule *rule, laci_buf *logits,
                         size_t row, size_t n, const uint64_t *keys, laci_choice *out)
{
    be->ops->choose(be, rule, logits, row, n, keys, out);
}

static lac_status check_page(size_t page, lac_error *err)
{
    if (page == 16 || page == 32 || page == 64) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0, "pages of %zu keys: they have 16, 32 or 64", page);
}

lac_status laci_pages_new(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                          lac_error *err)
{
    const lac_status st = check_page(page, err);
    return st ? st : be->ops->pages_new(be, kv, page, out, err);
}

lac_status laci_pages_new_i8(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                             lac_error *err)
{
    const lac_status st = check_page(page, err);
    return st ? st : be->ops->pages_new_i8(be, kv, page, out, err);
}

void laci_pages_free(laci_backend *be, laci_pages *pages)
{
    laci_buf_free(be, pages->bounds);
    *pages = (laci_pages){ 0 };
}

void laci_backend_page_bounds(laci_backend *be, const laci_kv *kv, const laci_pages *pages,
                              size_t batch, size_t from, size_t n_keys)
{
    be->ops->page_bounds(be, kv, pages, batch, from, n_keys);
}

void laci_backend_select_pages(laci_backend *be, const laci_page_query *query,
                               const laci_id_lists *lists)
{
    be->ops->select_pages(be, query, lists);
}

void laci_backend_top_k(laci_backend *be, const laci_ranking *ranking, const laci_id_lists *lists)
{
    be->ops->top_k(be, ranking, lists);
}

void laci_backend_gather_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                              const int32_t *rows, size_t n, size_t d, laci_buf *out)
{
    be->ops->gather_rows(be, type, x, rows, n, d, out);
}

void laci_backend_scatter_rows(laci_backend *be, laci_dtype type, const laci_buf *x,
                               const int32_t *rows, size_t n, size_t d, laci_buf *out)
{
    be->ops->scatter_rows(be, type, x, rows, n, d, out);
}

void laci_backend_row_changes(laci_backend *be, const laci_buf *x, const laci_buf *ref, size_t n,
                              size_t d, double *change, double *size)
{
    be->ops->row_changes(be, x, ref, n, d, change, size);
}

bool laci_backend_paged_read(laci_backend *be, const laci_paged_read *read)
{
    return be->ops->paged_read && be->ops->paged_read(be, read);
}

void laci_backend_pool_columns(laci_backend *be, const laci_buf *x, size_t n_rows, size_t stride,
                               size_t n, size_t page, laci_buf *out, size_t out_stride)
{
    be->ops->pool_columns(be, x, n_rows, stride, n, page, out, out_stride);
}

void laci_backend_pool_masses(laci_backend *be, const laci_row_masses *rows, laci_buf *out,
                              size_t stride, size_t first)
{
    be->ops->pool_masses(be, rows, out, stride, first);
}

laci_scratch_size laci_backend_scratch_need(const laci_backend *weights,
                                            const laci_scratch_dims *dims)
{
    return weights->ops->scratch_need(weights, dims);
}

lac_status laci_backend_reserve(laci_backend *be, laci_scratch_size size, lac_error *err)
{
    return be->ops->reserve(be, size, err);
}

lac_status laci_backend_finish(laci_backend *be, lac_error *err)
{
    return be->ops->finish ? be->ops->finish(be, err) : LAC_OK;
}

void laci_backend_pass_begin(laci_backend *be)
{
    if (be->ops->pass_begin) be->ops->pass_begin(be);
}

void laci_backend_pass_end(laci_backend *be)
{
    if (be->ops->pass_end) be->ops->pass_end(be);
}

void laci_backend_mark(laci_backend *be, unsigned i)
{
    be->ops->mark(be, i);
}

double laci_backend_between(laci_backend *be, unsigned from, unsigned to)
{
    return be->ops->between(be, from, to);
}

size_t laci_backend_runtime_bytes(const laci_backend *be)
{
    return be->ops->runtime_bytes(be);
}
