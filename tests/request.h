/* request.h: attention requests for tests that run one set of knobs under several policies. */
#ifndef LACI_TESTS_REQUEST_H
#define LACI_TESTS_REQUEST_H

#include "test.h"

/* Formats into one of eight static buffers. */
__attribute__((format(printf, 1, 2))) static inline const char *text_of(const char *format, ...)
{
    static char texts[8][512];
    static unsigned next;
    char *text = texts[next++ % 8];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof texts[0], format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof texts[0]) fail_msg("%s: too long", format);
    return text;
}

/* Whether the policy, on block-wise models or on the others, has a knob of this name. */
static inline bool has_knob(const char *policy, bool blockwise, const char *name, size_t n_name)
{
    lac_policy_info info;
    lac_knob_info knob;
    const char *own = strcmp(policy, "off") ? policy : "dense";
    for (int p = 0; !lac_policy_get_info(p, &info, NULL); p++) {
        if (strcmp(info.name, own) || !(blockwise ? info.blockwise : info.full)) continue;
        for (int k = 0; !lac_policy_get_knob(p, k, &knob, NULL); k++)
            if (strlen(knob.name) == n_name && !memcmp(knob.name, name, n_name)) return true;
    }
    return false;
}

/* "policy:knobs" with those of the knobs that the policy has. */
static inline const char *request_of(const char *policy, bool blockwise, const char *knobs)
{
    char own[400] = "";
    for (const char *at = knobs; *at;) {
        const size_t n = strcspn(at, ",");
        if (has_knob(policy, blockwise, at, strcspn(at, "=")))
            snprintf(own + strlen(own), sizeof own - strlen(own), "%c%.*s", *own ? ',' : ':',
                     (int)n, at);
        at += n + (at[n] == ',');
    }
    return text_of("%s%s", policy, own);
}

#endif
