/* rope.h: how positions become angles: base, dimensions that rotate, scaling, as config.json in all
 * its spellings or GGUF metadata say it, or as the caller wants it instead. Kinds of scaling that
 * are not computed are refused by name. */
#ifndef LACI_MODEL_ROPE_H
#define LACI_MODEL_ROPE_H

#include "model/config.h"

/* Base, rotating dimensions and scaling of config.json: rope_theta, partial_rotary_factor and
 * rotary_dim, rope_scaling, rope_parameters. Needs out->d_head. Errors: EFORMAT, EUNSUPPORTED. */
lac_status laci_rope_read(laci_config *out, const laci_config_source *src, lac_error *err);

/* The same of a GGUF file of this architecture: ARCH.rope.*. */
lac_status laci_rope_read_gguf(laci_config *out, const laci_config_source *src, const char *arch,
                               lac_error *err);

/* What the caller asks for must be in range. Errors: EINVAL. */
lac_status laci_rope_check_wish(const laci_rope_wish *wish, lac_error *err);

/* Angle per position of pair i, in radians. */
double laci_rope_frequency(const laci_config *config, size_t i);

/* "none", or "linear". Static string. */
const char *laci_rope_scaling_name(const laci_config *config);

#endif
