/* plan.c: see plan.h. */
#include "attention/plan.h"

#include "base/error.h"

lac_status laci_plan_reserve(laci_plan_store *store, size_t n_rows, size_t n_cols,
                             const lac_allocator *mem, lac_error *err)
{
    laci_plan_clear(store);
    store->mem = *mem;
    store->row_ptr = laci_alloc_array(mem, n_rows + 1, sizeof *store->row_ptr);
    store->cols = laci_alloc_array(mem, n_cols, sizeof *store->cols);
    if (!store->row_ptr || !store->cols) {
        laci_plan_clear(store);
        return laci_fail_memory(err, "an attention plan", (n_rows + n_cols + 1) * 4);
    }
    store->row_capacity = n_rows;
    store->col_capacity = n_cols;
    return LAC_OK;
}

void laci_plan_clear(laci_plan_store *store)
{
    if (store->row_ptr) laci_release(&store->mem, store->row_ptr);
    if (store->cols) laci_release(&store->mem, store->cols);
    *store = (laci_plan_store){ 0 };
}

void laci_plan_begin(laci_plan_store *store, size_t q_block, size_t k_block, size_t n_heads,
                     size_t n_rows)
{
    store->plan = (laci_plan){ .q_block = q_block,
                               .k_block = k_block,
                               .n_heads = n_heads,
                               .n_rows = n_rows,
                               .row_ptr = store->row_ptr,
                               .cols = store->cols };
    store->n_written = 0;
    store->row_ptr[0] = 0;
    if (store->row_capacity) store->row_ptr[1] = 0;
}

lac_status laci_plan_add(laci_plan_store *store, size_t first, size_t end, lac_error *err)
{
    if (store->n_written >= store->row_capacity)
        return laci_fail(err, LAC_EINTERNAL, 0, "plan has room for %zu rows, row %zu written",
                         store->row_capacity, store->n_written);
    uint32_t *n = &store->row_ptr[store->n_written + 1];
    if (end - first > store->col_capacity - *n)
        return laci_fail(err, LAC_EINTERNAL, 0, "plan has room for %zu entries, %zu written",
                         store->col_capacity, *n + (end - first));
    for (size_t id = first; id < end; id++)
        store->cols[(*n)++] = (uint32_t)id;
    return LAC_OK;
}

void laci_plan_end_row(laci_plan_store *store)
{
    store->n_written++;
    if (store->n_written < store->row_capacity)
        store->row_ptr[store->n_written + 1] = store->row_ptr[store->n_written];
}

void laci_plan_set_active(laci_plan_store *store, const int32_t *active, size_t n)
{
    store->plan.active = active;
    store->plan.n_active = active ? n : 0;
}

/* True when some query that will be computed lies in plan row `row`. */
static bool row_is_active(const laci_plan *plan, size_t row)
{
    if (!plan->active) return true;
    for (size_t i = 0; i < plan->n_active; i++)
        if ((size_t)plan->active[i] / plan->q_block == row) return true;
    return false;
}

static lac_status validate_row(const laci_plan *plan, size_t head, size_t row, size_t n_k,
                               lac_error *err)
{
    const size_t at = head * plan->n_rows + row;
    const size_t n_blocks = (n_k + plan->k_block - 1) / plan->k_block;
    const uint32_t begin = plan->row_ptr[at], end = plan->row_ptr[at + 1];
    if (begin > end || end - begin > n_blocks)
        return laci_fail(err, LAC_EINTERNAL, 0,
                         "plan: head %zu row %zu: entries %u to %u, for %zu blocks", head, row,
                         begin, end, n_blocks);
    if (begin == end && row_is_active(plan, row))
        return laci_fail(err, LAC_EINTERNAL, 0, "plan: head %zu row %zu is empty", head, row);
    for (uint32_t c = begin; c < end; c++) {
        if (plan->cols[c] >= n_blocks)
            return laci_fail(err, LAC_EINTERNAL, 0, "plan: head %zu row %zu names block %u of %zu",
                             head, row, plan->cols[c], n_blocks);
        if (c > begin && plan->cols[c] <= plan->cols[c - 1])
            return laci_fail(err, LAC_EINTERNAL, 0,
                             "plan: head %zu row %zu: block %u follows block %u", head, row,
                             plan->cols[c], plan->cols[c - 1]);
    }
    return LAC_OK;
}

lac_status laci_plan_validate(const laci_plan *plan, size_t n_q, size_t n_k, size_t n_heads,
                              lac_error *err)
{
    if (!plan->q_block || !plan->k_block || !plan->row_ptr || !plan->cols)
        return laci_fail(err, LAC_EINTERNAL, 0, "plan: not built");
    if (plan->n_heads != 1 && (!plan->n_heads || !n_heads || plan->n_heads % n_heads))
        return laci_fail(err, LAC_EINTERNAL, 0, "plan: %zu heads for a layer of %zu", plan->n_heads,
                         n_heads);
    if (plan->n_rows != (n_q + plan->q_block - 1) / plan->q_block)
        return laci_fail(err, LAC_EINTERNAL, 0, "plan: %zu rows of %zu for %zu queries",
                         plan->n_rows, plan->q_block, n_q);
    for (size_t i = 0; i < plan->n_active; i++) {
        if (plan->active[i] < 0 || (size_t)plan->active[i] >= n_q ||
            (i && plan->active[i] < plan->active[i - 1]))
            return laci_fail(err, LAC_EINTERNAL, 0, "plan: active query %d at %zu of %zu",
                             plan->active[i], i, n_q);
    }
    if (plan->row_ptr[0] != 0)
        return laci_fail(err, LAC_EINTERNAL, 0, "plan: head 0 row 0: entries start at %u, not 0",
                         plan->row_ptr[0]);
    for (size_t head = 0; head < plan->n_heads; head++) {
        for (size_t row = 0; row < plan->n_rows; row++) {
            lac_status st = validate_row(plan, head, row, n_k, err);
            if (st) return st;
        }
    }
    return LAC_OK;
}

/* Tokens of block `id` when `n` tokens are cut into blocks. */
static size_t tokens_of(size_t id, size_t block, size_t n)
{
    return (id + 1) * block <= n ? block : n - id * block;
}

double laci_plan_density(const laci_plan *plan, size_t n_q, size_t n_k)
{
    double visited = 0;
    for (size_t at = 0; at < plan->n_heads * plan->n_rows; at++) {
        double keys = 0;
        for (uint32_t c = plan->row_ptr[at]; c < plan->row_ptr[at + 1]; c++)
            keys += (double)tokens_of(plan->cols[c], plan->k_block, n_k);
        visited += keys * (double)tokens_of(at % plan->n_rows, plan->q_block, n_q);
    }
    return visited / ((double)plan->n_heads * (double)n_q * (double)n_k);
}
