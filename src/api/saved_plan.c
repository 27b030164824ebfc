/* saved_plan.c: see saved_plan.h. */
#include "api/saved_plan.h"

#include "base/error.h"

lac_status laci_saved_plan_new(lac_plan **out, const laci_plan_dims *dims, const lac_allocator *mem,
                               lac_error *err)
{
    const size_t n_rows = (dims->n_q + dims->block - 1) / dims->block;
    const size_t n_cols = (dims->n_k + dims->block - 1) / dims->block;
    const size_t n_patterns = dims->n_batch * dims->n_heads;
    size_t bytes;
    if (!laci_mul_size(n_patterns, n_rows * laci_pattern_words(n_cols) * sizeof(uint64_t), &bytes))
        return laci_fail_memory(err, "an attention plan", SIZE_MAX);
    lac_plan *p = laci_alloc_zero(mem, sizeof *p);
    if (!p) return laci_fail_memory(err, "an attention plan", sizeof *p);
    p->mem = *mem;
    p->dims = *dims;
    p->bits = laci_alloc_zero(mem, bytes);
    p->kept = laci_alloc_array(mem, n_patterns, sizeof *p->kept);
    p->density = laci_alloc_array(mem, n_patterns, sizeof *p->density);
    p->pattern = (laci_pattern){ n_patterns, n_rows, n_cols, p->bits };
    if (!p->bits || !p->kept || !p->density) {
        lac_plan_free(p);
        return laci_fail_memory(err, "an attention plan", bytes);
    }
    *out = p;
    return LAC_OK;
}

void lac_plan_free(lac_plan *plan)
{
    if (!plan) return;
    const lac_allocator mem = plan->mem;
    laci_plan_clear(&plan->store);
    laci_release(&mem, plan->bits);
    laci_release(&mem, plan->kept);
    laci_release(&mem, plan->density);
    laci_release(&mem, plan);
}

static size_t count_bits(const lac_plan *p)
{
    const size_t n_rows = p->pattern.n_patterns * p->pattern.n_rows;
    const size_t n_words = n_rows * laci_pattern_words(p->pattern.n_cols);
    size_t n = 0;
    for (size_t i = 0; i < n_words; i++)
        for (uint64_t left = p->bits[i]; left; left &= left - 1)
            n++;
    return n;
}

/* Of each pattern alone: offsets of its rows are those of the whole. */
static void measure_density(lac_plan *p)
{
    for (size_t i = 0; i < p->pattern.n_patterns; i++) {
        laci_plan one = p->store.plan;
        one.n_heads = 1;
        one.row_ptr += i * one.n_rows;
        p->density[i] = (float)laci_plan_density(&one, p->dims.n_q, p->dims.n_k);
    }
    p->total_density = laci_plan_density(&p->store.plan, p->dims.n_q, p->dims.n_k);
}

lac_status laci_saved_plan_finish(lac_plan *p, lac_error *err)
{
    const size_t n = count_bits(p);
    if (n > UINT32_MAX)
        return laci_fail(err, LAC_EUNSUPPORTED, 0, "a plan of %zu entries: at most %u", n,
                         UINT32_MAX);
    lac_status st =
        laci_plan_reserve(&p->store, p->pattern.n_patterns * p->pattern.n_rows, n, &p->mem, err);
    if (!st)
        st = laci_pattern_write(&p->pattern, p->pattern.n_patterns, p->dims.block, p->dims.block,
                                &p->store, err);
    if (!st)
        st = laci_plan_validate(&p->store.plan, p->dims.n_q, p->dims.n_k, p->pattern.n_patterns,
                                err);
    if (!st) measure_density(p);
    return st;
}

lac_status lac_plan_get_info(const lac_plan *p, lac_plan_info *out, lac_error *err)
{
    if (!p || !out) return laci_fail(err, LAC_EINVAL, 0, "plan or place for its facts missing");
    double kept = 0;
    for (size_t i = 0; i < p->pattern.n_patterns; i++)
        kept += (double)p->kept[i];
    *out = (lac_plan_info){ .n_batch = (int)p->dims.n_batch,
                            .n_heads = (int)p->dims.n_heads,
                            .n_q = (int)p->dims.n_q,
                            .n_k = (int)p->dims.n_k,
                            .block = (int)p->dims.block,
                            .n_rows = (int)p->pattern.n_rows,
                            .n_prompt = (int)p->dims.n_prompt,
                            .density = p->total_density,
                            .kept_mass = kept / (double)p->pattern.n_patterns,
                            .pattern_density = p->density,
                            .pattern_kept = p->kept,
                            .row_ptr = p->store.plan.row_ptr,
                            .cols = p->store.plan.cols };
    return LAC_OK;
}
