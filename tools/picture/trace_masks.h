/* trace_masks.h: attention plans in a trace, one line of JSON per pass and layer of a step (lines
 * of type "plan"; docs/trace.md), written during a run and read back, strictly, into masks. */
#ifndef LACUNA_TOOLS_TRACE_MASKS_H
#define LACUNA_TOOLS_TRACE_MASKS_H

#include "picture/cache_view.h"
#include "picture/masks.h"
#include "shell/json_out.h"

/* What was written last, so that a plan that stays is not written again. Zeroed is empty. */
typedef struct {
    uint64_t *hashes; /* [2, n_layers] of the last plan of a pass and layer; 0 = none */
    int n_layers, n_heads;
} trace_plans;

/* False without memory. */
bool trace_plans_open(trace_plans *t, int n_layers, int n_heads);
void trace_plans_free(trace_plans *t);

/* Adds the members of a plan line to an object begun by the caller. */
void trace_plan_put(trace_plans *t, json_out *j, const lac_plan_view *view);

/* What else a picture says of a run. */
typedef struct {
    char model[128], sparse[64];
    int n_prompt, steps;
} trace_facts;

/* Reads the plans of a trace: into `cache`, whose block is then above 0, if the run was block-wise,
 * else into `out`. Both are to be freed. Errors: EIO, EFORMAT naming file, line and what is wrong
 * with it, ENOMEM. */
lac_status trace_masks_read(const char *path, masks *out, cache_view *cache, trace_facts *facts,
                            lac_error *err);

#endif
