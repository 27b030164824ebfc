/* lacuna.c: public functions of generation: check arguments, call the engine. Functions on models
 * and tokens are in model/model.c, on sessions in engine/session.c, on errors in base/error.c. */
#include "lacuna.h"

#include <stdio.h>
#include <threads.h>

#include "base/error.h"
#include "engine/denoise.h"

const char *lac_version(void)
{
    return LACI_VERSION;
}

/* Filled once per process, constant after. */
static char build_info[256];
static once_flag build_info_once = ONCE_FLAG_INIT;

static void fill_build_info(void)
{
    char backends[160];
    laci_backend_describe(backends, sizeof backends);
    (void)snprintf(build_info, sizeof build_info, "lacuna %s; %s", LACI_VERSION, backends);
}

const char *lac_build_info(void)
{
    call_once(&build_info_once, fill_build_info);
    return build_info;
}

lac_status lac_generate_resolve(const lac_model *model, size_t n_holes, lac_generate_options *opt,
                                lac_error *err)
{
    if (!model || !opt) return laci_fail(err, LAC_EINVAL, 0, "no model or no options");
    return laci_options_resolve(&model->config, n_holes, opt, err);
}

/* Callbacks run in the middle of a generation, which owns all memory of its session. */
static lac_status check_idle(const lac_session *session, lac_error *err)
{
    if (!session->is_running) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0,
                     "a callback of lac_generate cannot use the session that is running");
}

lac_status lac_generate(lac_session *session, const int32_t *ids, size_t n_ids,
                        const lac_generate_options *opt, lac_result *result, lac_error *err)
{
    const lac_generate_options defaults = { 0 };
    if (!session || (!ids && n_ids) || !result)
        return laci_fail(err, LAC_EINVAL, 0, "generate: session, ids or result missing");
    lac_status st = check_idle(session, err);
    if (st) return st;
    session->is_running = true;
    st = laci_denoise(session, ids, n_ids, opt ? opt : &defaults, result, err);
    session->is_running = false;
    return st;
}

lac_status lac_session_logits(lac_session *session, const int32_t *ids, size_t n_ids,
                              const int32_t *rows, size_t n_rows, float noise, float *logits,
                              lac_error *err)
{
    if (!session || !ids || !n_ids || !rows || !n_rows || !logits)
        return laci_fail(err, LAC_EINVAL, 0, "logits: session, ids, rows or output missing");
    if (!(noise >= 0 && noise <= 1))
        return laci_fail(err, LAC_EINVAL, 0, "noise is %g: must lie in 0 to 1", (double)noise);
    const lac_status st = check_idle(session, err);
    return st ? st : laci_session_logits(session, ids, n_ids, rows, n_rows, noise, logits, err);
}
