/* backend_ops.h: the function table a device fills. Private to backend/. Each entry means what the
 * function of the same name in backend.h says. */
#ifndef LACI_BACKEND_BACKEND_OPS_H
#define LACI_BACKEND_BACKEND_OPS_H

#include "backend/backend.h"

typedef struct {
    void (*close)(laci_backend *be);
    lac_status (*buf_new)(laci_backend *be, size_t n_bytes, const char *what, laci_buf **out,
                          lac_error *err);
    void (*buf_free)(laci_backend *be, laci_buf *buf);
    lac_status (*view_new)(laci_backend *be, laci_buf **out, lac_error *err);
    void (*view_set)(laci_backend *be, laci_buf *view, const laci_buf *of, size_t offset);
    void (*write)(laci_backend *be, laci_buf *buf, size_t offset, const void *src, size_t n);
    void (*read)(laci_backend *be, const laci_buf *buf, size_t offset, void *dst, size_t n);
    void (*copy)(laci_backend *be, laci_buf *out, size_t out_offset, const laci_buf *in,
                 size_t in_offset, size_t n);
    void (*clear)(laci_backend *be, laci_buf *buf);
    lac_status (*linear_new)(laci_backend *be, size_t n_out, size_t n_in, laci_row_source source,
                             laci_linear **out, lac_error *err);
    void (*linear_free)(laci_backend *be, laci_linear *linear);
    lac_status (*kv_new)(laci_backend *be, size_t n_batch, size_t n_ctx, size_t n_kv_heads,
                         size_t d_head, laci_kv *out, lac_error *err);
    size_t (*linear_bytes)(laci_backend *be, size_t n_out, size_t n_in);
    void (*embed)(laci_backend *be, const laci_embedding *embedding, const int32_t *ids, size_t n,
                  laci_buf *out);
    void (*norm)(laci_backend *be, const laci_buf *x, size_t x_row, const int32_t *rows, size_t n,
                 size_t d, const laci_norm *norm, laci_buf *out, size_t out_row);
    void (*gather)(laci_backend *be, const laci_buf *x, const int32_t *rows, size_t n, size_t d,
                   laci_buf *out);
    void (*linear)(laci_backend *be, const laci_linear *linear, const laci_buf *x, size_t x_row,
                   size_t n, laci_buf *out);
    void (*heads)(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                  const int32_t *positions, size_t first_position, laci_buf *out, size_t out_row);
    void (*store)(laci_backend *be, const laci_head_op *op, const laci_buf *x, size_t n,
                  const laci_kv *kv, laci_kv_part part, size_t batch, size_t row);
    void (*attend)(laci_backend *be, const laci_plan *plan, const laci_attention *a);
    void (*column_mass)(laci_backend *be, const laci_attention *a, size_t q_group, size_t first,
                        size_t n_groups, laci_buf *out);
    void (*merge)(laci_backend *be, laci_buf *out, laci_buf *lse, const laci_buf *other,
                  const laci_buf *other_lse, size_t n_batch, size_t n_q, size_t n_heads,
                  size_t d_head);
    void (*mlp)(laci_backend *be, const laci_buf *gate, const laci_buf *up, size_t n, size_t d,
                laci_buf *out);
    void (*add)(laci_backend *be, laci_buf *sum, size_t sum_row, const laci_buf *x, size_t n,
                size_t d);
    void (*guide)(laci_backend *be, laci_buf *cond, const laci_buf *uncond, size_t n, size_t d,
                  float scale);
    void (*choose)(laci_backend *be, const laci_choice_rule *rule, laci_buf *logits, size_t row,
                   size_t n, const uint64_t *keys, laci_choice *out);
    lac_status (*pages_new)(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                            lac_error *err);
    lac_status (*pages_new_i8)(laci_backend *be, const laci_kv *kv, size_t page, laci_pages *out,
                               lac_error *err); /* EUNSUPPORTED where there are none */
    void (*page_bounds)(laci_backend *be, const laci_kv *kv, const laci_pages *pages, size_t batch,
                        size_t from, size_t n_keys);
    void (*select_pages)(laci_backend *be, const laci_page_query *query,
                         const laci_id_lists *lists);
    void (*top_k)(laci_backend *be, const laci_ranking *ranking, const laci_id_lists *lists);
    void (*gather_rows)(laci_backend *be, laci_dtype type, const laci_buf *x, const int32_t *rows,
                        size_t n, size_t d, laci_buf *out);
    void (*scatter_rows)(laci_backend *be, laci_dtype type, const laci_buf *x, const int32_t *rows,
                         size_t n, size_t d, laci_buf *out);
    void (*row_changes)(laci_backend *be, const laci_buf *x, const laci_buf *ref, size_t n,
                        size_t d, double *change, double *size);
    bool (*paged_read)(laci_backend *be, const laci_paged_read *read); /* NULL: it has none */
    void (*pool_columns)(laci_backend *be, const laci_buf *x, size_t n_rows, size_t stride,
                         size_t n, size_t page, laci_buf *out, size_t out_stride);
    void (*pool_masses)(laci_backend *be, const laci_row_masses *rows, laci_buf *out, size_t stride,
                        size_t first);
    laci_scratch_size (*scratch_need)(const laci_backend *weights, const laci_scratch_dims *dims);
    lac_status (*reserve)(laci_backend *be, laci_scratch_size size, lac_error *err);
    /* NULL: what is queued is done at once, and a pass needs no brackets */
    lac_status (*finish)(laci_backend *be, lac_error *err);
    void (*pass_begin)(laci_backend *be);
    void (*pass_end)(laci_backend *be);
    void (*mark)(laci_backend *be, unsigned i);
    double (*between)(laci_backend *be, unsigned from, unsigned to);
    size_t (*runtime_bytes)(const laci_backend *be);
} laci_backend_ops;

/* First member of every device's own structure. */
struct laci_backend {
    const laci_backend_ops *ops;
    const char *name;
    laci_dtype act;
    int n_threads;
    bool rows_stand_alone;
    lac_allocator mem;
};

lac_status laci_backend_cpu_open(laci_backend **out, lac_dtype dtype, int n_threads,
                                 const lac_allocator *mem, lac_error *err);

/* CUDA (cuda/cuda_open.c): whether this build has it, and whether a device is there. Names are
 * "cuda" and "cuda:N". Errors of opening: EINVAL (no device, no driver, not built, not that many),
 * ENOMEM. */
bool laci_backend_cuda_built(void);
bool laci_backend_cuda_present(void);
lac_status laci_backend_cuda_open(laci_backend **out, const char *name, lac_dtype dtype,
                                  const lac_allocator *mem, lac_error *err);

#endif
