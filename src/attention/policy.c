/* policy.c: the registry of attention policies, and the choice among them: a request in words
 * becomes a policy and its settings. */
#include "attention/policy.h"

#include <stdio.h>
#include <string.h>

#include "attention/auto.h"

#define POLICY(id) extern const laci_policy laci_policy_##id;
#include "attention/policies.def"
#undef POLICY

static const laci_policy *const policies[] = {
#define POLICY(id) &laci_policy_##id,
#include "attention/policies.def"
#undef POLICY
};

enum { N_POLICIES = sizeof policies / sizeof policies[0], NAMES_TEXT = 256 };

#define AUTO_BUDGET 0.1 /* what bench/block.sh measures */

const laci_policy *laci_policy_at(size_t i)
{
    return i < N_POLICIES ? policies[i] : NULL;
}

static bool is_text(const char *text, size_t n, const char *word)
{
    return strlen(word) == n && !memcmp(text, word, n);
}

const laci_policy *laci_policy_find(const char *name, size_t n_name, unsigned models)
{
    if (is_text(name, n_name, "off")) return &laci_policy_dense;
    for (size_t i = 0; i < N_POLICIES; i++)
        if ((policies[i]->models & models) && is_text(name, n_name, policies[i]->name))
            return policies[i];
    return NULL;
}

/* ------------------------------------------------------------------ choosing */

/* A request cut at its colon. */
typedef struct {
    const char *name, *knobs;
    size_t n_name, n_knobs;
} request_parts;

static request_parts cut(const char *request)
{
    if (!request) request = "auto";
    const size_t n = strcspn(request, ":");
    request_parts r = { .name = request, .n_name = n, .knobs = request + n };
    if (*r.knobs) r.knobs++;
    r.n_knobs = strlen(r.knobs);
    return r;
}

/* Names a model of these kinds may be asked for. */
static void list_names(unsigned models, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "auto, off");
    for (size_t i = 0; i < N_POLICIES && at < size; i++) {
        const char *name = policies[i]->name;
        const bool is_new = laci_policy_find(name, strlen(name), models) == policies[i];
        if (is_new) at += (size_t)snprintf(out + at, size - at, ", %s", name);
    }
}

static lac_status fail_unknown(const request_parts *r, const laci_policy_model *model,
                               lac_error *err)
{
    const bool is_other = laci_policy_find(r->name, r->n_name, LACI_FULL | LACI_BLOCKWISE) != NULL;
    char names[NAMES_TEXT];
    list_names(model->kind, names, sizeof names);
    return laci_fail(err, LAC_EINVAL, 0, "%sattention policy \"%s\": %s %s and can run %s",
                     is_other ? "" : "unknown ", laci_quote(r->name, r->n_name).text, model->family,
                     model->kind == LACI_BLOCKWISE ? "decodes blocks behind a key cache"
                                                   : "sees the whole sequence",
                     names);
}

/* What "auto" stands for: a policy for contexts long enough to pay for it, dense for all others. */
typedef struct {
    const char *name;
    bool is_dense;
    size_t from; /* length from which the policy pays; SIZE_MAX = it was never seen to */
} auto_choice;

/* Dense below the length at which sparse attention was measured to pay, SparseD above. */
static auto_choice choose_full(const laci_policy_model *model, char reason[LACI_REASON])
{
    const size_t from = laci_auto_crossover(model->family);
    if (from == SIZE_MAX)
        (void)snprintf(reason, LACI_REASON, "auto: sparse attention was not measured on %s models",
                       model->family);
    else
        (void)snprintf(reason, LACI_REASON, "auto: a context of %zu, and sparse pays from %zu on",
                       model->n_ctx, from);
    return (auto_choice){ "sparsed", model->n_ctx < from, from };
}

/* losa where prefixes may grow longer than its steps pay from; shorter ones are read whole. */
static auto_choice choose_blockwise(const laci_policy_model *model, char reason[LACI_REASON])
{
    const size_t from = laci_auto_prefix(model->family);
    const bool is_dense = from >= model->n_ctx;
    if (is_dense)
        (void)snprintf(reason, LACI_REASON, "auto: reads the whole key cache");
    else
        (void)snprintf(reason, LACI_REASON,
                       "auto: losa pays behind more than %zu keys, up to there reads all", from);
    return (auto_choice){ "losa", is_dense, from };
}

static lac_status settle(const laci_policy *policy, laci_settings *settings, const request_parts *r,
                         const laci_policy_model *model, lac_error *err)
{
    lac_status st = laci_knobs_read(settings, policy->knobs, policy->n_knobs, policy->name,
                                    r->knobs, r->n_knobs, err);
    return st || !policy->complete ? st : policy->complete(settings, model, err);
}

static laci_settings defaults_of(const laci_policy *policy)
{
    laci_settings settings = { 0 };
    if (policy->preset) settings.prefix = *policy->preset;
    laci_knobs_default(&settings, policy->knobs, policy->n_knobs);
    return settings;
}

/* The settings are read as those of the policy for long contexts, so that a request is right or
 * wrong whatever the length; dense reads of them what it has. */
static lac_status choose_auto(const laci_policy **out, laci_settings *settings,
                              const request_parts *r, const laci_policy_model *model,
                              char reason[LACI_REASON], lac_error *err)
{
    const auto_choice choice = model->kind == LACI_BLOCKWISE ? choose_blockwise(model, reason)
                                                             : choose_full(model, reason);
    const laci_policy *policy = laci_policy_find(choice.name, strlen(choice.name), model->kind);
    laci_settings own = defaults_of(policy);
    if (model->kind == LACI_BLOCKWISE && !choice.is_dense) {
        own.prefix.min_prefix = choice.from;
        own.prefix.budget = AUTO_BUDGET;
    }
    lac_status st = settle(policy, &own, r, model, err);
    if (st) return st;
    own.sparse.min_n = choice.from;
    if (choice.is_dense) own.prefix = *laci_policy_dense.preset;
    *settings = own;
    *out = choice.is_dense ? &laci_policy_dense : policy;
    return LAC_OK;
}

lac_status laci_policy_choose(const laci_policy **out, laci_settings *settings, const char *request,
                              const laci_policy_model *model, char reason[LACI_REASON],
                              lac_error *err)
{
    const request_parts r = cut(request);
    char why[LACI_REASON] = "as asked";
    laci_settings own = { 0 };
    const laci_policy *policy = NULL;
    lac_status st = LAC_OK;
    if (is_text(r.name, r.n_name, "auto")) {
        st = choose_auto(&policy, &own, &r, model, why, err);
    } else {
        policy = laci_policy_find(r.name, r.n_name, model->kind);
        if (!policy) return fail_unknown(&r, model, err);
        own = defaults_of(policy);
        st = settle(policy, &own, &r, model, err);
    }
    if (st) return st;
    if (model->kind == LACI_FULL && policy != &laci_policy_dense &&
        own.sparse.block >= model->n_ctx)
        (void)snprintf(why, sizeof why, "as asked; one block of %zu holds the whole context of %zu",
                       own.sparse.block, model->n_ctx);
    memcpy(reason, why, sizeof why);
    *settings = own;
    *out = policy;
    return LAC_OK;
}

/* The policy of a name that has all knobs of the request, else the first one of that name. */
static const laci_policy *find_any(const request_parts *r)
{
    const bool is_auto = is_text(r->name, r->n_name, "auto");
    const laci_policy *found = NULL;
    for (unsigned kind = LACI_FULL; kind <= LACI_BLOCKWISE; kind *= 2) {
        const char *name = is_auto ? kind == LACI_FULL ? "sparsed" : "losa" : r->name;
        const laci_policy *p = laci_policy_find(name, is_auto ? strlen(name) : r->n_name, kind);
        if (p && laci_knobs_have(p->knobs, p->n_knobs, r->knobs, r->n_knobs)) return p;
        if (!found) found = p;
    }
    return found;
}

lac_status laci_policy_check(const char *request, lac_error *err)
{
    const request_parts r = cut(request);
    const laci_policy *policy = find_any(&r);
    char names[NAMES_TEXT];
    laci_settings settings;
    if (!policy) {
        list_names(LACI_FULL | LACI_BLOCKWISE, names, sizeof names);
        return laci_fail(err, LAC_EINVAL, 0, "unknown attention policy \"%s\": there are %s",
                         laci_quote(r.name, r.n_name).text, names);
    }
    settings = defaults_of(policy);
    return laci_knobs_read(&settings, policy->knobs, policy->n_knobs, policy->name, r.knobs,
                           r.n_knobs, err);
}
