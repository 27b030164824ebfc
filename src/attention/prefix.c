/* prefix.c: see prefix.h. */
#include "attention/prefix.h"

#include <math.h>

/* ------------------------------------------------------------------ sizes */

bool laci_prefix_keeps(const laci_prefix *p)
{
    return !p->is_dense && p->rows != LACI_ROWS_ALL;
}

bool laci_prefix_measures(const laci_prefix *p)
{
    return !p->is_dense && p->rows != LACI_ROWS_NONE && p->selector != LACI_SELECT_PAGES;
}

size_t laci_prefix_budget(const laci_prefix *p, size_t n_keys, size_t unit)
{
    double n = p->budget < 1 ? ceil(p->budget * (double)n_keys) : p->budget;
    if (n > (double)n_keys) n = (double)n_keys;
    const size_t units = ((size_t)n + unit - 1) / unit;
    return units ? units : 1;
}

size_t laci_prefix_list_size(const laci_prefix *p, size_t n_ctx)
{
    if (p->is_dense || p->rows == LACI_ROWS_NONE) return 0;
    if (p->selector == LACI_SELECT_COLUMNS) return laci_prefix_budget(p, n_ctx, 1);
    return (n_ctx + p->page - 1) / p->page;
}

/* ------------------------------------------------------------------ decisions */

laci_prefix_mode laci_prefix_decide(const laci_prefix *p, const laci_prefix_moment *at)
{
    const size_t budget = laci_prefix_budget(p, at->n_keys, 1);
    const bool is_small = p->rows != LACI_ROWS_NONE && budget >= at->n_keys;
    if (p->is_dense || at->layer < p->first_layers || at->n_keys <= p->min_prefix || is_small)
        return LACI_PREFIX_WHOLE;
    const bool is_due = (p->refresh_steps && (size_t)at->steps_since >= p->refresh_steps) ||
                        (p->refresh_tokens && (size_t)at->tokens_since >= p->refresh_tokens);
    const bool is_first = !at->step && p->dense_first;
    return is_first || is_due ? LACI_PREFIX_DENSE : LACI_PREFIX_SPARSE;
}

/* The row that moved most of those not taken, and far enough; n when none is left. */
static size_t furthest(const laci_prefix *p, const laci_row_drift *drift, size_t n,
                       const int32_t *taken)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        const bool is_far = !(drift[i].change < p->min_change * drift[i].size);
        const bool is_open = taken[i] < 0 && is_far;
        if (is_open && (best == n || drift[i].change > drift[best].change)) best = i;
    }
    return best;
}

size_t laci_prefix_wanted(const laci_prefix *p, size_t n)
{
    return p->active < 1 ? (size_t)ceil(p->active * (double)n) : (size_t)p->active;
}

size_t laci_prefix_pick(const laci_prefix *p, const laci_row_drift *drift, size_t n,
                        int32_t *active)
{
    const size_t wanted = laci_prefix_wanted(p, n);
    size_t n_taken = 0;
    for (size_t i = 0; i < n; i++) {
        const bool is_taken = p->rows == LACI_ROWS_ALL || drift[i].is_new;
        active[i] = is_taken && p->rows != LACI_ROWS_NONE ? (int32_t)i : -1;
        n_taken += active[i] >= 0;
    }
    while (p->rows == LACI_ROWS_CHANGED && n_taken < wanted && n_taken < n) {
        const size_t at = furthest(p, drift, n, active);
        if (at == n) break;
        active[at] = (int32_t)at;
        n_taken++;
    }
    n_taken = 0;
    for (size_t i = 0; i < n; i++)
        if (active[i] >= 0) active[n_taken++] = active[i];
    return n_taken;
}

bool laci_prefix_has_drifted(const laci_prefix *p, const laci_row_drift *drift, size_t n,
                             const int32_t *active, size_t n_active)
{
    double change = 0, size = 0;
    if (!(p->refresh_drift > 0)) return false;
    for (size_t i = 0, a = 0; i < n; i++) {
        if (a < n_active && active[a] == (int32_t)i) {
            a++;
            continue;
        }
        change += drift[i].change;
        size += drift[i].size;
    }
    return !(change <= p->refresh_drift * size);
}
