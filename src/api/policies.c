/* policies.c: the public list of attention policies and their knobs. */
#include <string.h>

#include "attention/policy.h"

int lac_policy_count(void)
{
    int n = 0;
    while (laci_policy_at((size_t)n))
        n++;
    return n;
}

lac_status lac_policy_check(const char *request, lac_error *err)
{
    return laci_policy_check(request, err);
}

static lac_status find(int policy, const laci_policy **out, lac_error *err)
{
    *out = policy < 0 ? NULL : laci_policy_at((size_t)policy);
    if (*out) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0, "policy %d: there are %d, from 0 on", policy,
                     lac_policy_count());
}

lac_status lac_policy_get_info(int policy, lac_policy_info *out, lac_error *err)
{
    const laci_policy *p;
    if (!out) return laci_fail(err, LAC_EINVAL, 0, "no place for a policy's facts");
    lac_status st = find(policy, &p, err);
    if (st) return st;
    *out = (lac_policy_info){ .name = p->name,
                              .about = p->about,
                              .full = p->models & LACI_FULL,
                              .blockwise = p->models & LACI_BLOCKWISE,
                              .n_knobs = (int)p->n_knobs };
    return LAC_OK;
}

lac_status lac_policy_get_knob(int policy, int knob, lac_knob_info *out, lac_error *err)
{
    const laci_policy *p;
    if (!out) return laci_fail(err, LAC_EINVAL, 0, "no place for a knob's facts");
    lac_status st = find(policy, &p, err);
    if (st) return st;
    if (knob < 0 || (size_t)knob >= p->n_knobs)
        return laci_fail(err, LAC_EINVAL, 0, "knob %d of %s: there are %zu, from 0 on", knob,
                         p->name, p->n_knobs);
    const laci_knob *k = &p->knobs[knob];
    *out = (lac_knob_info){ .name = k->name, .normal = laci_knob_default(k), .help = k->help };
    _Static_assert(sizeof out->range == LACI_KNOB_TEXT, "a range fits");
    laci_knob_range(k, out->range);
    return LAC_OK;
}
