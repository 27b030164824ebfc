/* backend.c: opens a backend by name and forwards each operation of backend_ops.def to its table.
 */
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
                   laci_linear_kinds[0]->name);
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

void laci_buf_free(laci_backend *be, laci_buf *buf)
{
    if (buf) be->ops->buf_free(be, buf);
}

void laci_linear_free(laci_backend *be, laci_linear *linear)
{
    if (linear) be->ops->linear_free(be, linear);
}

void laci_kv_free(laci_backend *be, laci_kv *kv)
{
    laci_buf_free(be, kv->k);
    laci_buf_free(be, kv->v);
    *kv = (laci_kv){ 0 };
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

/* The forwarders, by the shapes of backend_ops.def. */
#define BODY(statement) \
    {                   \
        statement;      \
    }
#define CALLS(result, entry, arguments) BODY(be->ops->entry arguments)
#define GIVES(result, entry, arguments) BODY(return be->ops->entry arguments)
#define MAY_CALL(result, entry, arguments) BODY(if (be->ops->entry) be->ops->entry arguments)
#define MAY_GIVE(result, entry, arguments) \
    BODY(return be->ops->entry ? be->ops->entry arguments : (result)0)
#define BY_HAND(result, entry, arguments) ;
#define OP(shape, result, function, entry, parameters, arguments) \
    result function parameters shape(result, entry, arguments)
#include "backend/backend_ops.def"
