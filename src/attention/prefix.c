/* prefix.c: see prefix.h. */
#include "attention/prefix.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attention/auto.h"
#include "base/error.h"

enum { MIN_PREFIX = 1024, MAX_COUNT = 1 << 24, FLASHBLOCK_TOKENS = 3, DEFAULT_PAGE = 16 };

#define DEFAULT_BUDGET 512.0
#define DEFAULT_ACTIVE 5.0
#define AUTO_BUDGET 0.1 /* what bench/block.sh measures */

/* The combinations; as published but for losa's, whose selector, page and min_change are those that
 * measured best: docs/policies-blockwise.md. */
static const laci_prefix policies[] = {
    { .name = "dense", .is_dense = true },
    { .name = "losa",
      .rows = LACI_ROWS_CHANGED,
      .selector = LACI_SELECT_BLOCKS,
      .dense_first = true,
      .page = 64,
      .min_change = 0.01 },
    { .name = "quest" },
    { .name = "mage", .selector = LACI_SELECT_COLUMNS, .dense_first = true },
    { .name = "flashblock",
      .rows = LACI_ROWS_NONE,
      .dense_first = true,
      .refresh_tokens = FLASHBLOCK_TOKENS },
    { .name = "sparsed", .selector = LACI_SELECT_BLOCKS, .per_head = true, .dense_first = true },
};
enum { N_POLICIES = sizeof policies / sizeof policies[0] };

const char *laci_prefix_names(void)
{
    return "auto, off, dense, losa, quest, mage, flashblock, sparsed";
}

static const laci_prefix *find(const char *name)
{
    if (!strcmp(name, "off")) name = "dense";
    for (size_t i = 0; i < N_POLICIES; i++)
        if (!strcmp(policies[i].name, name)) return &policies[i];
    return NULL;
}

/* ------------------------------------------------------------------ options */

static lac_status check_counts(const lac_sparse_options *o, lac_error *err)
{
    const struct {
        const char *name;
        int value, max;
    } counts[] = {
        { "first_layers", o->first_layers, 1024 },
        { "min_prefix", o->min_prefix, MAX_COUNT },
        { "refresh_steps", o->refresh_steps, MAX_COUNT },
        { "refresh_tokens", o->refresh_tokens, MAX_COUNT },
        { "select_every", o->select_every, MAX_COUNT },
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i].value < -1 || counts[i].value > counts[i].max)
            return laci_fail(err, LAC_EINVAL, 0, "%s is %d: must lie in 0 to %d", counts[i].name,
                             counts[i].value, counts[i].max);
    return LAC_OK;
}

/* A share below 1, or a whole number. */
static bool is_share_or_count(double x)
{
    return x > 0 && (x < 1 || (x == floor(x) && x <= MAX_COUNT));
}

static lac_status check_numbers(const lac_sparse_options *o, lac_error *err)
{
    const struct {
        const char *name;
        double value;
    } amounts[] = { { "budget", o->budget }, { "active", o->active } };
    for (size_t i = 0; i < 2; i++)
        if (amounts[i].value != 0 && !is_share_or_count(amounts[i].value))
            return laci_fail(err, LAC_EINVAL, 0,
                             "%s is %g: must be a whole number from 1 to %d or a share below 1",
                             amounts[i].name, amounts[i].value, MAX_COUNT);
    if (!(o->min_change >= -1 && o->min_change <= 1e6))
        return laci_fail(err, LAC_EINVAL, 0, "min_change is %g: must lie in 0 to 1e6",
                         o->min_change);
    if (!(o->refresh_drift >= 0 && o->refresh_drift <= 1e6))
        return laci_fail(err, LAC_EINVAL, 0, "refresh_drift is %g: must lie in 0 to 1e6",
                         o->refresh_drift);
    if (o->page && o->page != 16 && o->page != 32 && o->page != 64)
        return laci_fail(err, LAC_EINVAL, 0, "pages of %d keys: they have 16, 32 or 64", o->page);
    if (o->selector < LAC_SELECTOR_DEFAULT || o->selector > LAC_SELECTOR_BLOCKS)
        return laci_fail(err, LAC_EINVAL, 0, "unknown selector %d", (int)o->selector);
    if ((unsigned)o->drift > LAC_DRIFT_HIDDEN)
        return laci_fail(err, LAC_EINVAL, 0, "unknown drift %d", (int)o->drift);
    if ((unsigned)o->first_step > LAC_FIRST_STEP_SPARSE)
        return laci_fail(err, LAC_EINVAL, 0, "unknown first_step %d", (int)o->first_step);
    if ((unsigned)o->plan_group > LAC_PLAN_PER_KV)
        return laci_fail(err, LAC_EINVAL, 0, "unknown plan_group %d", (int)o->plan_group);
    if ((unsigned)o->page_bounds > LAC_BOUNDS_INT8)
        return laci_fail(err, LAC_EINVAL, 0, "unknown page_bounds %d", (int)o->page_bounds);
    return check_counts(o, err);
}

/* -1 stands for a literal zero, 0 for the default. */
static int pick(int given, int otherwise)
{
    return given < 0 ? 0 : given ? given : otherwise;
}

/* Rows that choose pages each for themselves share a list with all that read the same keys. */
static void resolve_lists(laci_prefix *p, const lac_sparse_options *o)
{
    if (o->plan_group)
        p->per_head = o->plan_group == LAC_PLAN_PER_HEAD;
    else if (p->selector == LACI_SELECT_PAGES)
        p->per_head = false;
    p->pooled = o->plan_group != 0;
    p->select_every = o->select_every > 1 ? o->select_every : 1;
}

static lac_status resolve(laci_prefix *p, const lac_sparse_options *o, lac_error *err)
{
    const bool is_sparse_first = o->first_step == LAC_FIRST_STEP_SPARSE;
    p->budget = o->budget > 0 ? o->budget : DEFAULT_BUDGET;
    p->active = o->active > 0 ? o->active : DEFAULT_ACTIVE;
    if (o->page) p->page = (size_t)o->page;
    if (!p->page) p->page = DEFAULT_PAGE;
    p->first_layers = (size_t)pick(o->first_layers, 0);
    p->refresh_steps = pick(o->refresh_steps, p->refresh_steps);
    p->refresh_tokens = pick(o->refresh_tokens, p->refresh_tokens);
    p->refresh_drift = o->refresh_drift;
    if (o->min_change != 0) p->min_change = o->min_change > 0 ? o->min_change : 0;
    if (o->selector) p->selector = (laci_prefix_selector)((int)o->selector - 1);
    resolve_lists(p, o);
    p->int8_bounds = o->page_bounds == LAC_BOUNDS_INT8;
    p->by_hidden = o->drift == LAC_DRIFT_HIDDEN;
    if (is_sparse_first && !p->is_dense &&
        (p->selector != LACI_SELECT_PAGES || p->rows == LACI_ROWS_NONE))
        return laci_fail(err, LAC_EINVAL, 0,
                         "first_step sparse: %s needs what a dense first step of a block finds%s",
                         p->name, p->rows == LACI_ROWS_NONE ? "" : "; selector pages does without");
    p->dense_first = (p->dense_first && !is_sparse_first) ||
                     o->first_step == LAC_FIRST_STEP_DENSE || p->selector != LACI_SELECT_PAGES;
    const double twice = p->budget < 1 ? 0 : 2 * p->budget;
    p->min_prefix = (size_t)pick(o->min_prefix,
                                 twice > MIN_PREFIX && twice < MAX_COUNT ? (int)twice : MIN_PREFIX);
    return LAC_OK;
}

/* losa where prefixes may grow longer than its steps pay from; shorter ones are read whole. */
static const char *choose_auto(const laci_prefix_model *model, lac_sparse_options *opt,
                               char *reason, size_t size)
{
    const size_t from = laci_auto_prefix(model->family);
    if (from >= model->n_ctx) {
        (void)snprintf(reason, size, "auto: reads the whole key cache");
        return "dense";
    }
    if (opt->min_prefix == 0) opt->min_prefix = (int)from;
    if (opt->budget == 0) opt->budget = AUTO_BUDGET;
    (void)snprintf(reason, size, "auto: losa pays behind more than %zu keys, up to there reads all",
                   from);
    return "losa";
}

lac_status laci_prefix_choose(laci_prefix *out, const char *request, const lac_sparse_options *opt,
                              const laci_prefix_model *model, char *reason, size_t reason_size,
                              lac_error *err)
{
    lac_sparse_options own = opt ? *opt : (lac_sparse_options){ 0 };
    const bool is_auto = !request || !strcmp(request, "auto");
    char why[LAC_ERROR_MAX] = "as asked";
    const laci_prefix *policy = find(is_auto ? choose_auto(model, &own, why, sizeof why) : request);
    if (!policy)
        return laci_fail(
            err, LAC_EINVAL, 0,
            "attention policy \"%s\": %s decodes blocks of %zu behind a key cache, for "
            "which this version has %s",
            request, model->family, model->block, laci_prefix_names());
    laci_prefix p = *policy;
    lac_status st = check_numbers(&own, err);
    if (!st) st = resolve(&p, &own, err);
    if (st) return st;
    (void)snprintf(reason, reason_size, "%s", why);
    *out = p;
    return LAC_OK;
}

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
    const bool is_due = (p->refresh_steps && at->steps_since >= p->refresh_steps) ||
                        (p->refresh_tokens && at->tokens_since >= p->refresh_tokens);
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
