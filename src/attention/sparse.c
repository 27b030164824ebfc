/* sparse.c: see sparse.h. */
#include "attention/sparse.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

enum { LONG_CTX = 4096, LONG_BLOCK = 128, SHORT_BLOCK = 32, MAX_REFRESHES = 4096 };

#define DEFAULT_FIDELITY 0.95

/* The variant asked for, else the mode's; all are enums that start at 1. */
static unsigned pick(const lac_sparse_options *opt, unsigned asked, unsigned normal, unsigned paper,
                     unsigned reference)
{
    if (asked) return asked;
    if (opt->mode == LAC_SPARSED_REFERENCE) return reference;
    return opt->mode == LAC_SPARSED_PAPER ? paper : normal;
}

static lac_status check_choice(const char *name, int value, int last, lac_error *err)
{
    if (value >= 0 && value <= last) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0, "%s %d: 0 to %d", name, value, last);
}

static lac_status check_choices(const lac_sparse_options *opt, lac_error *err)
{
    const struct {
        const char *name;
        int value, last;
    } choices[] = {
        { "sparsed mode", (int)opt->mode, LAC_SPARSED_REFERENCE },
        { "schedule", (int)opt->schedule, LAC_SCHEDULE_REFERENCE },
        { "isolated selection", (int)opt->isolated, LAC_ISOLATED_NONE },
        { "keep rule", (int)opt->keep, LAC_KEEP_REFERENCE },
        { "boundary", (int)opt->boundary, LAC_BOUNDARY_REFERENCE },
        { "score scale", (int)opt->score, LAC_SCORE_SQRT_H },
        { "ragged block", (int)opt->ragged, LAC_RAGGED_DILUTED },
        { "reset", (int)opt->reset, LAC_RESET_STEP },
        { "plan group", (int)opt->plan_group, LAC_PLAN_PER_KV },
        { "switch", (int)opt->switch_mode, LAC_SWITCH_AUTO },
        { "refresh", (int)opt->refresh_mode, LAC_REFRESH_AUTO },
    };
    lac_status st = LAC_OK;
    for (size_t i = 0; i < sizeof choices / sizeof choices[0] && !st; i++)
        st = check_choice(choices[i].name, choices[i].value, choices[i].last, err);
    return st;
}

/* Ranges of the numbers. Comparisons are written so that NaN fails them. */
static lac_status check_numbers(const lac_sparse_options *opt, lac_error *err)
{
    const int b = opt->block;
    if (!(opt->skip < 1))
        return laci_fail(err, LAC_EINVAL, 0,
                         "skip %g: a share of the steps from 0 to below 1 (negative = none)",
                         opt->skip);
    if (!(opt->select >= 0 && opt->select <= 1))
        return laci_fail(err, LAC_EINVAL, 0, "select %g: a share of the keys above 0 and at most 1",
                         opt->select);
    if (!(opt->fidelity >= 0 && opt->fidelity <= 1))
        return laci_fail(err, LAC_EINVAL, 0, "fidelity %g: a share of the mass from 0 to 1",
                         opt->fidelity);
    if (b && b != 16 && b != 32 && b != 64 && b != 128)
        return laci_fail(err, LAC_EINVAL, 0, "a sparse block of %d: 16, 32, 64 or 128", b);
    if (opt->window < 0)
        return laci_fail(err, LAC_EINVAL, 0,
                         "a window of %d keys: at least 1, or 0 for the default", opt->window);
    if (opt->refreshes < 0 || opt->refreshes > MAX_REFRESHES)
        return laci_fail(err, LAC_EINVAL, 0, "%d refreshes: 1 to %d, or 0 for the default",
                         opt->refreshes, MAX_REFRESHES);
    return LAC_OK;
}

/* The published scale of LLaDA, sqrt(n_heads), is what the statistics can give where it is half of
 * sqrt(d_head), as in the published models, or the same. */
static lac_status resolve_score(laci_sparse *out, const lac_sparse_options *opt,
                                const laci_sparse_model *model, lac_error *err)
{
    const bool is_llada = !strcmp(model->family, "llada");
    const lac_sparse_score score = pick(opt, opt->score, LAC_SCORE_SQRT_D, LAC_SCORE_SQRT_D,
                                        is_llada ? LAC_SCORE_SQRT_H : LAC_SCORE_SQRT_D);
    out->doubled = false;
    if (score == LAC_SCORE_SQRT_D || model->d_head == model->n_heads) return LAC_OK;
    if (model->d_head != 4 * model->n_heads)
        return laci_fail(err, LAC_EUNSUPPORTED, 0,
                         "score scale sqrt_h: %zu heads of %zu; this version scores by sqrt(heads) "
                         "where a head is as large as their number, or four times as large",
                         model->n_heads, model->d_head);
    out->doubled = true;
    return LAC_OK;
}

static size_t block_of(const lac_sparse_options *opt, const char *policy,
                       const laci_sparse_model *model)
{
    if (opt->block) return (size_t)opt->block;
    if (!strcmp(policy, "pulsecol")) return SHORT_BLOCK; /* queries that share columns */
    if (opt->mode == LAC_SPARSED_REFERENCE) return LONG_BLOCK;
    return model->n_ctx >= LONG_CTX ? LONG_BLOCK : SHORT_BLOCK;
}

lac_status laci_sparse_resolve(laci_sparse *out, const lac_sparse_options *opt, const char *policy,
                               const laci_sparse_model *model, lac_error *err)
{
    const lac_sparse_options defaults = { 0 };
    if (!opt) opt = &defaults;
    lac_status st = check_choices(opt, err);
    if (!st) st = check_numbers(opt, err);
    laci_sparse how = { 0 };
    if (!st) st = resolve_score(&how, opt, model, err);
    if (st) return st;
    how.skip = opt->skip < 0 ? 0 : opt->skip > 0 ? opt->skip : 0.2;
    how.select = opt->select > 0 ? opt->select : 0.3;
    how.most = opt->select > 0 ? opt->select : 1;
    how.fidelity = opt->fidelity;
    if (!strcmp(policy, "fidelity") && !(how.fidelity > 0)) how.fidelity = DEFAULT_FIDELITY;
    how.block = block_of(opt, policy, model);
    how.schedule =
        pick(opt, opt->schedule, LAC_SCHEDULE_PAPER, LAC_SCHEDULE_PAPER, LAC_SCHEDULE_REFERENCE);
    how.isolated =
        pick(opt, opt->isolated, LAC_ISOLATED_PAPER, LAC_ISOLATED_PAPER, LAC_ISOLATED_REFERENCE);
    how.keep = pick(opt, opt->keep, LAC_KEEP_CEIL, LAC_KEEP_CEIL, LAC_KEEP_REFERENCE);
    how.boundary =
        pick(opt, opt->boundary, LAC_BOUNDARY_KEEP, LAC_BOUNDARY_ALIGNED, LAC_BOUNDARY_REFERENCE);
    how.ragged = pick(opt, opt->ragged, LAC_RAGGED_FAIR, LAC_RAGGED_FAIR, LAC_RAGGED_DILUTED);
    how.reset_blocks = opt->reset == LAC_RESET_BLOCK;
    how.reset_steps = opt->reset == LAC_RESET_STEP;
    how.per_kv = opt->plan_group == LAC_PLAN_PER_KV;
    how.auto_switch = opt->switch_mode == LAC_SWITCH_AUTO;
    how.auto_refresh = opt->refresh_mode == LAC_REFRESH_AUTO;
    how.window = (size_t)opt->window;
    how.sink = opt->sink < 0 ? 0 : opt->sink > 0 ? (size_t)opt->sink : SIZE_MAX;
    how.n_refreshes = opt->refreshes ? opt->refreshes : model->is_dream ? 8 : 16;
    how.measure = opt->measure;
    *out = how;
    return LAC_OK;
}

int laci_sparse_n_dense(const laci_sparse *how, int n_steps)
{
    const int share = (int)(n_steps * how->skip);
    if (how->schedule == LAC_SCHEDULE_REFERENCE) return share + 2;
    return share > 1 ? share : 1;
}

/* ceil forgives what the product of two decimals is too large by: 0.07 * 100 is 7.000000000001 */
static size_t ceil_share(double share, size_t n)
{
    return (size_t)ceil((double)n * share - 1e-9);
}

static size_t at_least_one(size_t k, size_t n)
{
    if (k > n) return n;
    return k || !n ? k : 1;
}

size_t laci_sparse_n_kept(const laci_sparse *how, size_t n)
{
    const bool reference = how->keep == LAC_KEEP_REFERENCE;
    return at_least_one(
        reference ? (size_t)((double)n * how->select) + 1 : ceil_share(how->select, n), n);
}

size_t laci_sparse_n_most(const laci_sparse *how, size_t n)
{
    return at_least_one(ceil_share(how->most, n), n);
}
