/* read_stats.c: adds up what the attention of a pass read; see policy.h. */
#include <math.h>

#include "attention/policy.h"

uint64_t laci_read_bytes(const laci_shape *shape, size_t n)
{
    return (uint64_t)n * shape->n_kv_heads * shape->d_head * 2 * laci_act_bytes(shape->act);
}

laci_read_stats laci_read_means(const laci_read_stats *sum)
{
    laci_read_stats m = *sum;
    const double n = sum->n_layers ? (double)sum->n_layers : 1;
    m.density /= n;
    m.kept /= n;
    m.active /= n;
    m.inflation = sum->n_lists ? sum->inflation / (double)sum->n_lists : 1;
    return m;
}

void laci_read_whole(laci_read_stats *sum, const laci_shape *shape, size_t n_rows, size_t n_k)
{
    sum->density += 1;
    sum->kept += 1;
    sum->active += (double)n_rows;
    sum->n_layers++;
    sum->bytes += laci_read_bytes(shape, n_k);
    sum->head_kept = NULL;
}

void laci_read_planned(laci_read_stats *sum, const laci_shape *shape, const laci_moment *at,
                       const laci_plan *plan, const float *kept)
{
    const double density = laci_plan_density(plan, at->n_q, at->n_k);
    double total = 0;
    for (size_t h = 0; kept && h < shape->n_heads; h++)
        total += (double)kept[h];
    sum->density += density;
    sum->kept += density >= 1 ? 1 : kept ? total / (double)shape->n_heads : (double)NAN;
    sum->n_layers++;
    sum->layer_density = density;
    sum->head_kept = kept;
}
