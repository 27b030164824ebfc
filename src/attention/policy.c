/* policy.c: the registry of attention policies and the choice "auto" stands for. */
#include "attention/policy.h"

#include <string.h>

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

lac_status laci_policy_choose(const laci_policy **out, const char *request, const char **reason,
                              lac_error *err)
{
    const bool is_auto = !request || !strcmp(request, "auto");
    const laci_policy *policy = laci_policy_find(is_auto ? "dense" : request);
    if (!policy)
        return laci_fail(err, LAC_EINVAL, 0, "unknown attention policy \"%s\": this version has %s",
                         request, laci_policy_names());
    *out = policy;
    *reason = is_auto ? "auto: dense is the only policy in this version" : "as asked";
    return LAC_OK;
}
