/* policy_list.c: see policy_list.h. */
#include "run/policy_list.h"

#include <stdio.h>

#include "lacuna.h"
#include "shell/console.h"
#include "shell/json_out.h"

static const char *models_of(const lac_policy_info *p)
{
    return p->full && p->blockwise ? "all models"
           : p->full               ? "models that see the whole sequence"
                                   : "models that decode blocks behind a key cache";
}

static void print_policy(int policy, const lac_policy_info *p)
{
    lac_knob_info knob;
    printf("%s## %s, on %s\n\n%s.\n", policy ? "\n" : "", p->name, models_of(p), p->about);
    if (p->n_knobs) printf("\n| knob | default | range | meaning |\n| --- | --- | --- | --- |\n");
    for (int k = 0; !lac_policy_get_knob(policy, k, &knob, NULL); k++)
        printf("| `%s` | %s | %s | %s |\n", knob.name, knob.normal, knob.range, knob.help);
}

static void write_policy(json_out *j, int policy, const lac_policy_info *p)
{
    lac_knob_info knob;
    json_begin_object(j);
    json_key(j, "name");
    json_string(j, p->name);
    json_key(j, "about");
    json_string(j, p->about);
    json_key(j, "full");
    json_bool(j, p->full);
    json_key(j, "blockwise");
    json_bool(j, p->blockwise);
    json_key(j, "knobs");
    json_begin_array(j);
    for (int k = 0; !lac_policy_get_knob(policy, k, &knob, NULL); k++) {
        json_begin_object(j);
        json_key(j, "name");
        json_string(j, knob.name);
        json_key(j, "default");
        json_string(j, knob.normal);
        json_key(j, "range");
        json_string(j, knob.range);
        json_key(j, "help");
        json_string(j, knob.help);
        json_end_object(j);
    }
    json_end_array(j);
    json_end_object(j);
}

int policy_list_print(bool as_json)
{
    lac_policy_info p;
    json_out j = { .n = 0 };
    if (!as_json)
        printf(
            "A policy is asked for as --sparse NAME or --sparse NAME:knob=value,knob=value.\n\n");
    json_begin_array(&j);
    for (int i = 0; !lac_policy_get_info(i, &p, NULL); i++) {
        if (as_json)
            write_policy(&j, i, &p);
        else
            print_policy(i, &p);
    }
    json_end_array(&j);
    const bool is_written = !as_json || json_write_line(&j, stdout);
    json_free(&j);
    return is_written ? EXIT_OK : console_fail(EXIT_MEMORY, "out of memory for the policies");
}
