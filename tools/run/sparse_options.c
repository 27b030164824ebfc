/* sparse_options.c: see sparse_options.h. */
#include "run/sparse_options.h"

#include "shell/console.h"
#include <stdlib.h>
#include <string.h>

/* A share in (0, 1], or with `below_one` in [0, 1). *out receives a literal zero as -1, which is
 * how lac_sparse_options spells it. */
static int read_share(const char *flag, const char *text, bool below_one, const char *range,
                      double *out)
{
    double value;
    if (!text) return ARGS_GO_ON;
    if (!args_read_float(text, 0, 1, &value) || (below_one ? value >= 1 : value <= 0))
        return console_fail(EXIT_USAGE, "%s: '%s' is not %s", flag, text, range);
    *out = value > 0 ? value : -1;
    return ARGS_GO_ON;
}

static int read_block(const char *text, int *out)
{
    int64_t n;
    if (!text) return ARGS_GO_ON;
    if (!args_read_int(text, 16, 128, &n) || (n & (n - 1)))
        return console_fail(EXIT_USAGE, "--sparse-block: '%s' is not 16, 32, 64 or 128", text);
    *out = (int)n;
    return ARGS_GO_ON;
}

/* A number of which a literal zero is spelled -1 in lac_sparse_options. */
static int read_count(const char *flag, const char *text, int max, int *out)
{
    int64_t n;
    if (!text) return ARGS_GO_ON;
    if (!args_read_int(text, 0, max, &n))
        return console_fail(EXIT_USAGE, "%s: '%s' is not a whole number from 0 to %d", flag, text,
                            max);
    *out = n ? (int)n : -1;
    return ARGS_GO_ON;
}

/* One of up to three words; the k-th stands for the value first + k. */
typedef struct {
    const char *flag, *text;
    int first;
    const char *words[3];
} choice;

static int read_choice(const choice *c, int *out)
{
    if (!c->text) return ARGS_GO_ON;
    for (int i = 0; i < 3 && c->words[i]; i++) {
        if (strcmp(c->text, c->words[i]) != 0) continue;
        *out = c->first + i;
        return ARGS_GO_ON;
    }
    return console_fail(EXIT_USAGE, "%s: '%s' is not one of %s, %s%s%s", c->flag, c->text,
                        c->words[0], c->words[1], c->words[2] ? ", " : "",
                        c->words[2] ? c->words[2] : "");
}

/* Words in the order of the public enumerations. */
static int read_choices(const sparse_flags *f, lac_sparse_options *out)
{
    const choice choices[] = {
        { "--sparsed-mode", f->mode, 0, { "default", "paper", "reference" } },
        { "--sparsed-schedule", f->schedule, 1, { "paper", "reference" } },
        { "--sparsed-isolated", f->isolated, 1, { "paper", "reference", "none" } },
        { "--sparsed-keep", f->keep, 1, { "ceil", "reference" } },
        { "--sparsed-boundary", f->boundary, 1, { "keep", "aligned", "reference" } },
        { "--sparsed-score", f->score, 1, { "sqrt_d", "sqrt_h" } },
        { "--sparsed-ragged", f->ragged, 1, { "fair", "diluted" } },
        { "--sparsed-reset", f->reset, 1, { "generation", "block", "step" } },
        { "--plan-group", f->plan_group, 1, { "head", "kv" } },
        { "--switch", f->switch_mode, 1, { "fixed", "auto" } },
        { "--refresh", f->refresh, 1, { "off", "auto" } },
        { "--drift", f->moves_by, 1, { "query", "hidden" } },
        { "--first-step", f->first_step, 1, { "dense", "sparse" } },
        { "--page-bounds", f->bounds, 1, { "exact", "int8" } },
    };
    int values[sizeof choices / sizeof *choices] = { 0 };
    int code = ARGS_GO_ON;
    for (size_t i = 0; i < sizeof choices / sizeof *choices && code == ARGS_GO_ON; i++)
        code = read_choice(&choices[i], &values[i]);
    out->mode = (lac_sparsed_mode)values[0];
    out->schedule = (lac_sparse_schedule)values[1];
    out->isolated = (lac_sparse_isolated)values[2];
    out->keep = (lac_sparse_keep)values[3];
    out->boundary = (lac_sparse_boundary)values[4];
    out->score = (lac_sparse_score)values[5];
    out->ragged = (lac_sparse_ragged)values[6];
    out->reset = (lac_sparse_reset)values[7];
    out->plan_group = (lac_plan_group)values[8];
    out->switch_mode = (lac_switch_mode)values[9];
    out->refresh_mode = (lac_refresh_mode)values[10];
    out->drift = (lac_drift)values[11];
    out->first_step = (lac_first_step)values[12];
    out->page_bounds = (lac_page_bounds)values[13];
    return code;
}

/* A whole number from 1, or a share above 0 and below 1. */
static int read_amount(const char *flag, const char *text, double *out)
{
    double value;
    if (!text) return ARGS_GO_ON;
    if (!args_read_float(text, 0, SPARSE_MAX_KEYS, &value) || value <= 0 ||
        (value >= 1 && value != (double)(int)value))
        return console_fail(EXIT_USAGE,
                            "%s: '%s' is not a whole number from 1 to %d or a share above 0 and "
                            "below 1",
                            flag, text, SPARSE_MAX_KEYS);
    *out = value;
    return ARGS_GO_ON;
}

/* Numbers of policies behind a key cache. */
static int read_cache_flags(const sparse_flags *f, lac_sparse_options *out)
{
    int64_t page = 0;
    double drift = 0;
    int code = read_amount("--budget", f->budget, &out->budget);
    if (code == ARGS_GO_ON) code = read_amount("--active", f->active, &out->active);
    if (code != ARGS_GO_ON) return code;
    if (f->page && (!args_read_int(f->page, 16, 64, &page) || (page & (page - 1))))
        return console_fail(EXIT_USAGE, "--page: '%s' is not 16, 32 or 64", f->page);
    if (f->drift && !args_read_float(f->drift, 0, 1e6, &drift))
        return console_fail(EXIT_USAGE, "--refresh-drift: '%s' is not a number from 0 to 1e6",
                            f->drift);
    if (f->min_change && !args_read_float(f->min_change, 0, 1e6, &out->min_change))
        return console_fail(EXIT_USAGE, "--min-change: '%s' is not a number from 0 to 1e6",
                            f->min_change);
    if (f->min_change && !(out->min_change > 0)) out->min_change = -1;
    const choice selector = { "--selector", f->selector, 1, { "pages", "columns", "blocks" } };
    int found = 0;
    code = read_choice(&selector, &found);
    const struct {
        const char *flag, *text;
        int max, *out;
    } counts[] = {
        { "--sparse-first-layers", f->first_layers, 1024, &out->first_layers },
        { "--min-prefix", f->min_prefix, SPARSE_MAX_KEYS, &out->min_prefix },
        { "--refresh-steps", f->refresh_steps, SPARSE_MAX_KEYS, &out->refresh_steps },
        { "--refresh-tokens", f->refresh_tokens, SPARSE_MAX_KEYS, &out->refresh_tokens },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts && code == ARGS_GO_ON; i++)
        code = read_count(counts[i].flag, counts[i].text, counts[i].max, counts[i].out);
    out->page = (int)page;
    out->refresh_drift = drift;
    out->selector = (lac_selector)found;
    return code;
}

int sparse_flags_read(const sparse_flags *flags, lac_sparse_options *out)
{
    static const char above_zero[] = "a share above 0 and at most 1";
    lac_sparse_options o = { .window = flags->window,
                             .refreshes = flags->refreshes,
                             .select_every = flags->select_every,
                             .measure = flags->measure };
    int code = read_share("--skip", flags->skip, true, "a share from 0 to below 1", &o.skip);
    if (code == ARGS_GO_ON)
        code = read_share("--select", flags->select, false, above_zero, &o.select);
    if (code == ARGS_GO_ON)
        code = read_share("--fidelity", flags->fidelity, false, above_zero, &o.fidelity);
    if (code == ARGS_GO_ON) code = read_block(flags->block, &o.block);
    if (code == ARGS_GO_ON) code = read_count("--sink", flags->sink, SPARSE_MAX_KEYS, &o.sink);
    if (code == ARGS_GO_ON) code = read_choices(flags, &o);
    if (code == ARGS_GO_ON) code = read_cache_flags(flags, &o);
    *out = o;
    return code;
}
