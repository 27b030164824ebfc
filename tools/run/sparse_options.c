/* sparse_options.c: see sparse_options.h. */
#include "run/sparse_options.h"

#include <stdio.h>
#include <string.h>

#include "shell/console.h"

typedef struct {
    const char *flag, *knob;
} knob_flag;

#define ENTRY(a, b, id, flag, knob, value) { flag, knob },
static const knob_flag knob_flags[SPARSE_N_FLAGS] = { SPARSE_KNOB_FLAGS(ENTRY, , ) };
#undef ENTRY

/* The i-th flag of a knob; the one after the last is --measure. False where it was not given. */
static bool given(const sparse_flags *f, size_t i, knob_flag *out, const char **value)
{
    *out = i < SPARSE_N_FLAGS ? knob_flags[i] : (knob_flag){ "measure", "measure" };
    *value = i < SPARSE_N_FLAGS ? f->knob[i] : f->measure ? "on" : NULL;
    return *value != NULL;
}

/* Whether one of the policies called `name`, on any kind of model, has the knob. */
static bool has_knob(const char *name, size_t n_name, const char *knob)
{
    lac_policy_info info;
    lac_knob_info k;
    const bool is_auto = n_name == 4 && !memcmp(name, "auto", 4);
    const bool is_off = n_name == 3 && !memcmp(name, "off", 3);
    for (int p = 0; !lac_policy_get_info(p, &info, NULL); p++) {
        const char *own = is_off ? "dense" : NULL;
        bool is_it = own ? !strcmp(info.name, own)
                         : strlen(info.name) == n_name && !memcmp(info.name, name, n_name);
        if (is_auto) is_it = !strcmp(info.name, "sparsed") || !strcmp(info.name, "losa");
        for (int i = 0; is_it && !lac_policy_get_knob(p, i, &k, NULL); i++)
            if (!strcmp(k.name, knob)) return true;
    }
    return false;
}

/* --fidelity is meant for the policy of that name where a list holds it. */
static bool applies(const char *policy, const char *knob, bool lists_fidelity)
{
    const size_t n = strcspn(policy, ":");
    const bool is_fidelity = n == 8 && !memcmp(policy, "fidelity", 8);
    if (!strcmp(knob, "fidelity") && lists_fidelity && !is_fidelity) return false;
    return has_knob(policy, n, knob);
}

static int check_flag(const knob_flag *flag, const char *value, const char *const *policies,
                      size_t n_policies)
{
    char request[SPARSE_TEXT];
    lac_error err = { .message = "" };
    size_t p = 0;
    while (p + 1 < n_policies && !has_knob(policies[p], strcspn(policies[p], ":"), flag->knob))
        p++;
    if (strchr(value, ','))
        return console_fail(EXIT_USAGE, "--%s: '%s' is one value", flag->flag, value);
    const int n = snprintf(request, sizeof request, "%.*s:%s=%s", (int)strcspn(policies[p], ":"),
                           policies[p], flag->knob, value);
    if (n < 0 || (size_t)n >= sizeof request)
        return console_fail(EXIT_USAGE, "--%s: '%.40s...' is too long", flag->flag, value);
    if (!lac_policy_check(request, &err)) return ARGS_GO_ON;
    /* the flag stands for what the library calls the knob of a policy */
    const char *what = strncmp(err.message, "knob ", 5) ? NULL : strstr(err.message, ": ");
    return console_fail(EXIT_USAGE, "--%s: %s", flag->flag, what ? what + 2 : err.message);
}

int sparse_flags_check(const sparse_flags *f, const char *const *policies, size_t n_policies)
{
    knob_flag flag;
    const char *value;
    lac_error err = { .message = "" };
    int code = ARGS_GO_ON;
    for (size_t p = 0; p < n_policies; p++)
        if (lac_policy_check(policies[p], &err))
            return console_fail(EXIT_USAGE, "--sparse: %s", err.message);
    for (size_t i = 0; i <= SPARSE_N_FLAGS && code == ARGS_GO_ON; i++)
        if (given(f, i, &flag, &value)) code = check_flag(&flag, value, policies, n_policies);
    return code;
}

int sparse_flags_request(const sparse_flags *f, const char *policy, char out[SPARSE_TEXT])
{
    knob_flag flag;
    const char *value;
    if (!policy) policy = "auto";
    size_t n = (size_t)snprintf(out, SPARSE_TEXT, "%s", policy);
    bool has_knobs = strchr(policy, ':') != NULL;
    for (size_t i = 0; i <= SPARSE_N_FLAGS && n < SPARSE_TEXT; i++) {
        if (!given(f, i, &flag, &value) || !applies(policy, flag.knob, f->lists_fidelity)) continue;
        n += (size_t)snprintf(out + n, SPARSE_TEXT - n, "%c%s=%s", has_knobs ? ',' : ':', flag.knob,
                              value);
        has_knobs = true;
    }
    if (n < SPARSE_TEXT) return ARGS_GO_ON;
    return console_fail(EXIT_USAGE, "--sparse: more than %d bytes of policy and knobs",
                        SPARSE_TEXT - 1);
}

void sparse_flags_describe(const sparse_flags *f, char *out, size_t size)
{
    knob_flag flag;
    const char *value;
    size_t n = 0;
    (void)snprintf(out, size, "default");
    for (size_t i = 0; i <= SPARSE_N_FLAGS && n < size; i++)
        if (given(f, i, &flag, &value))
            n += (size_t)snprintf(out + n, size - n, "%s%s=%s", n ? "," : "", flag.knob, value);
}

bool sparse_list_next(const char **at, char *out, size_t size)
{
    size_t n = strcspn(*at, ",");
    while ((*at)[n] == ',') {
        const char *next = *at + n + 1;
        const size_t length = strcspn(next, ",");
        if (!memchr(next, '=', length) || memchr(next, ':', length)) break;
        n += 1 + length;
    }
    if (!n || n >= size) return false;
    memcpy(out, *at, n);
    out[n] = 0;
    *at += n + ((*at)[n] == ',');
    return true;
}
