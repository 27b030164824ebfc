/* policy.c: the registry of attention policies and the choice "auto" stands for. */
#include "attention/policy.h"

#include <stdio.h>
#include <string.h>

#include "attention/auto.h"
#include "base/error.h"

#define POLICY(id, text) extern const laci_policy laci_policy_##id;
#include "attention/policies.def"
#undef POLICY

static const laci_policy *const policies[] = {
#define POLICY(id, text) &laci_policy_##id,
#include "attention/policies.def"
#undef POLICY
};

const laci_policy *laci_policy_find(const char *name)
{
    if (!strcmp(name, "off")) name = "dense";
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++)
        if (!strcmp(policies[i]->name, name)) return policies[i];
    return NULL;
}

const char *laci_policy_names(void)
{
    return "auto, off"
#define POLICY(id, text) ", " text
#include "attention/policies.def"
#undef POLICY
        ;
}

/* Dense below the length at which sparse attention was measured to pay, SparseD above. */
static const char *choose_auto(const laci_sparse_model *model, char reason[LACI_REASON])
{
    const size_t from = laci_auto_crossover(model->family);
    const bool is_long = model->n_ctx >= from;
    if (from == SIZE_MAX)
        snprintf(reason, LACI_REASON, "auto: sparse attention was not measured on %s models",
                 model->family);
    else
        snprintf(reason, LACI_REASON, "auto: a context of %zu, and sparse pays from %zu on",
                 model->n_ctx, from);
    return is_long ? "sparsed" : "dense";
}

lac_status laci_policy_choose(const laci_policy **out, laci_sparse *sparse, const char *request,
                              const lac_sparse_options *opt, const laci_sparse_model *model,
                              char reason[LACI_REASON], lac_error *err)
{
    const bool is_auto = !request || !strcmp(request, "auto");
    char why[LACI_REASON] = "as asked";
    const char *name = is_auto ? choose_auto(model, why) : request;
    const laci_policy *policy = laci_policy_find(name);
    laci_sparse how;
    if (!policy)
        return laci_fail(err, LAC_EINVAL, 0, "unknown attention policy \"%s\": this version has %s",
                         request, laci_policy_names());
    lac_status st = laci_sparse_resolve(&how, opt, policy->name, model, err);
    if (st) return st;
    if (is_auto) how.min_n = laci_auto_crossover(model->family);
    if (policy != &laci_policy_dense && how.block >= model->n_ctx)
        snprintf(why, sizeof why, "as asked; one block of %zu holds the whole context of %zu",
                 how.block, model->n_ctx);
    memcpy(reason, why, sizeof why);
    *sparse = how;
    *out = policy;
    return LAC_OK;
}
