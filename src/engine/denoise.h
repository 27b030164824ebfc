/* denoise.h: the denoising loop: blocks, steps, a forward pass each, decisions, commits. */
#ifndef LACI_ENGINE_DENOISE_H
#define LACI_ENGINE_DENOISE_H

#include "engine/generation.h"

/* The public lac_generate, arguments checked. */
lac_status laci_denoise(lac_session *s, const int32_t *ids, size_t n_ids,
                        const lac_generate_options *opt, lac_result *result, lac_error *err);

/* The public lac_session_logits, arguments checked. */
lac_status laci_session_logits(lac_session *s, const int32_t *ids, size_t n_ids,
                               const int32_t *rows, size_t n_rows, float noise, float *logits,
                               lac_error *err);

#endif
