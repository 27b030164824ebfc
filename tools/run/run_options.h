/* run_options.h: the flags of `lacuna run` and what can be said against them before a model is
 * opened. */
#ifndef LACUNA_TOOLS_RUN_OPTIONS_H
#define LACUNA_TOOLS_RUN_OPTIONS_H

#include "run/sparse_options.h"
#include "shell/backend_flags.h"
#include "shell/model_flags.h"

typedef struct {
    /* model */
    const char *model;
    char sparse[SPARSE_TEXT]; /* policy and knobs */
    lac_dtype dtype;
    int n_ctx, n_threads; /* 0 = default */
    uint64_t max_memory;  /* bytes; 0 = what this machine has */
    backend_flags where;
    model_flags files;
    /* prompt */
    const char *prompt, *file, *system, *canvas; /* NULL = not given */
    const char *hole;                            /* NULL = [MASK] and [MASK*N] */
    const char *chat_template;                   /* NULL = the model's own */
    bool parse_special, adds_nothing;            /* adds_nothing: -n 0 */
    /* decoding; on_step and user are left to the command */
    lac_generate_options generate;
    int denoising_steps; /* of a block of a block-wise model, of all elsewhere; 0 = not given */
    bool algorithm_is_confidence; /* "confidence": resolved by family once the model is known */
    /* output */
    const char *trace; /* NULL = none */
    const char *masks; /* picture of the attention plans; NULL = none */
    bool trace_masks;
    int visual_delay; /* milliseconds */
    bool visual, json, verbose, quiet, no_color;
} run_options;

/* Fills *out from the command line. ARGS_GO_ON or an exit code; see args.h. */
int run_options_parse(run_options *out, args_store *store, int argc, char **argv);

/* Shared with other commands. */
/* clang-format off */
#define DENOISING_STEPS_FLAG(at, most)                                                            \
    { ARGS_INT, "denoising-steps", 0, "N", at, 1, most, "max-denoising-steps",                    \
      "steps of each block of a block-wise model, in place of --steps; of others the same as --steps" }
/* clang-format on */

/* Refuses both ways of counting steps at once; gives the second its meaning for a model. */
int steps_check(int steps, int denoising_steps);
void steps_settle(int denoising_steps, const lac_model_info *info, lac_generate_options *out);
bool dtype_from_name(const char *name, lac_dtype *out);
const char *dtype_name(lac_dtype dtype);

#endif
