/* eval_options.h: the flags of `lacuna eval` and what can be said against them before a model is
 * opened. */
#ifndef LACUNA_TOOLS_EVAL_OPTIONS_H
#define LACUNA_TOOLS_EVAL_OPTIONS_H

#include "eval/eval_report.h"
#include "run/sparse_options.h"
#include "shell/args.h"
#include "shell/model_flags.h"

enum { EVAL_MAX_TASKS = 32, EVAL_MAX_LIST = 32, EVAL_MAX_POLICIES = 16 };

typedef struct {
    /* model */
    const char *model, *chat_template; /* template NULL = the model's own */
    lac_dtype dtype;
    int n_threads;
    uint64_t max_memory; /* bytes; 0 = what this machine has */
    model_flags files;
    /* samples */
    const eval_task *tasks[EVAL_MAX_TASKS];
    int ctx[EVAL_MAX_LIST], depths[EVAL_MAX_LIST];
    size_t n_tasks, n_ctx, n_depths;
    int samples;
    const char *haystack, *data, *export_path; /* NULL = not given */
    /* runs */
    const char *policies[EVAL_MAX_POLICIES]; /* the first one is dense; point into this struct */
    char policy_names[EVAL_MAX_POLICIES][EVAL_POLICY_MAX];
    size_t n_policies;
    char requests[EVAL_MAX_POLICIES][SPARSE_TEXT]; /* the same with the knobs of the flags */
    const char *sparse[EVAL_MAX_POLICIES];         /* pointers to these */
    char knobs[SPARSE_TEXT];                       /* the flags of knobs, for records */
    lac_generate_options generate;                 /* steps, block length, seed */
    int denoising_steps;                           /* as of `lacuna run`; 0 = not given */
    int gen_tokens;                                /* 0 = the task's own */
    /* output */
    const char *out, *svg;
    bool resume, quiet;
    eval_format format;
} eval_options;

/* Fills `out`, which must not be moved. Texts of the flags live in `store`. ARGS_GO_ON or an exit
 * code. */
int eval_options_parse(eval_options *out, args_store *store, int argc, char **argv);

#endif
