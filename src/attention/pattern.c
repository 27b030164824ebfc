/* pattern.c: see pattern.h. */
#include "attention/pattern.h"

double laci_pattern_kept(const uint64_t *row, const float *mass, size_t n_cols)
{
    double sum = 0;
    for (size_t col = 0; col < n_cols; col++)
        if (laci_pattern_has(row, col)) sum += (double)mass[col];
    return sum;
}

/* Runs of set bits become ranges: one call each. */
static lac_status write_row(const uint64_t *row, size_t n_cols, laci_plan_store *out,
                            lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t col = 0; col < n_cols && !st;) {
        if (!row[col / 64]) {
            col = (col / 64 + 1) * 64;
            continue;
        }
        size_t end = col;
        while (end < n_cols && laci_pattern_has(row, end))
            end++;
        if (end > col) st = laci_plan_add(out, col, end, err);
        col = end + 1;
    }
    laci_plan_end_row(out);
    return st;
}

lac_status laci_pattern_write(const laci_pattern *p, size_t n_heads, size_t q_block, size_t k_block,
                              laci_plan_store *out, lac_error *err)
{
    lac_status st = LAC_OK;
    laci_plan_begin(out, q_block, k_block, n_heads, p->n_rows);
    for (size_t head = 0; head < n_heads && !st; head++)
        for (size_t row = 0; row < p->n_rows && !st; row++)
            st = write_row(laci_pattern_row(p, head * p->n_patterns / n_heads, row), p->n_cols, out,
                           err);
    return st;
}
