/* sparse_options.h: the flags that choose attention, shared by the commands that generate. --sparse
 * takes "NAME:knob=value,...". Each knob also has a flag of its own, which stands for
 * "knob=value". The library owns policies, knobs and ranges; these flags are resolved into its
 * text. */
#ifndef LACUNA_TOOLS_SPARSE_OPTIONS_H
#define LACUNA_TOOLS_SPARSE_OPTIONS_H

#include "lacuna.h"
#include "shell/args.h"

/* Flag, knob, and what the help calls the value. F takes two arguments of the user in front. */
/* clang-format off */
#define SPARSE_KNOB_FLAGS(F, a, b)                                              \
    F(a, b, SKIP, "skip", "skip", "SHARE")                                      \
    F(a, b, SELECT, "select", "select", "SHARE")                                \
    F(a, b, BLOCK, "sparse-block", "block", "N")                                \
    F(a, b, FIDELITY, "fidelity", "fidelity", "SHARE")                          \
    F(a, b, SWITCH, "switch", "switch", "WHEN")                                 \
    F(a, b, REFRESH, "refresh", "refresh", "WHEN")                              \
    F(a, b, GROUP, "plan-group", "group", "WHAT")                               \
    F(a, b, WINDOW, "window", "window", "N")                                    \
    F(a, b, SINK, "sink", "sink", "N")                                          \
    F(a, b, REFRESHES, "refreshes", "refreshes", "N")                           \
    F(a, b, MODE, "sparsed-mode", "mode", "MODE")                               \
    F(a, b, SCHEDULE, "sparsed-schedule", "schedule", "HOW")                    \
    F(a, b, ISOLATED, "sparsed-isolated", "isolated", "HOW")                    \
    F(a, b, KEEP, "sparsed-keep", "keep", "HOW")                                \
    F(a, b, BOUNDARY, "sparsed-boundary", "boundary", "HOW")                    \
    F(a, b, SCORE, "sparsed-score", "score", "HOW")                             \
    F(a, b, RAGGED, "sparsed-ragged", "ragged", "HOW")                          \
    F(a, b, RESET, "sparsed-reset", "reset", "HOW")                             \
    F(a, b, BUDGET, "budget", "budget", "N")                                    \
    F(a, b, ACTIVE, "active", "active", "N")                                    \
    F(a, b, MIN_CHANGE, "min-change", "min-change", "SHARE")                    \
    F(a, b, DRIFT, "drift", "drift", "OF")                                      \
    F(a, b, FIRST_STEP, "first-step", "first-step", "HOW")                      \
    F(a, b, PAGE, "page", "page", "N")                                          \
    F(a, b, PAGE_BOUNDS, "page-bounds", "page-bounds", "TYPE")                  \
    F(a, b, SELECTOR, "selector", "selector", "NAME")                           \
    F(a, b, SELECT_EVERY, "select-every", "select-every", "N")                  \
    F(a, b, FIRST_LAYERS, "sparse-first-layers", "first-layers", "N")           \
    F(a, b, MIN_PREFIX, "min-prefix", "min-prefix", "N")                        \
    F(a, b, REFRESH_STEPS, "refresh-steps", "refresh-steps", "N")               \
    F(a, b, REFRESH_TOKENS, "refresh-tokens", "refresh-tokens", "N")            \
    F(a, b, REFRESH_DRIFT, "refresh-drift", "refresh-drift", "SHARE")
/* clang-format on */

#define SPARSE_FLAG_ID(a, b, id, flag, knob, value) SPARSE_##id,
enum { SPARSE_KNOB_FLAGS(SPARSE_FLAG_ID, , ) SPARSE_N_FLAGS };
#undef SPARSE_FLAG_ID

/* What was typed; NULL = not given. Zeroed is valid. */
typedef struct {
    const char *policy; /* --sparse */
    const char *knob[SPARSE_N_FLAGS];
    bool measure;        /* --measure: knob measure=on */
    bool lists_fidelity; /* a list of policies holds "fidelity", which --fidelity is then for alone
                          */
} sparse_flags;

/* Rows of a table of flags whose target holds a sparse_flags as `field`; `AT` is the table's own
 * offsetof. The second macro leaves out --sparse, for commands that take a list of policies. */
#define SPARSE_FLAG_ROW(AT, field, id, flag, name, value) \
    { ARGS_TEXT, flag, 0, value, AT(field.knob[SPARSE_##id]), 0, 0, NULL, "knob " name },
#define SPARSE_FLAGS(AT, field)                                                              \
    { ARGS_GROUP, .help = "Attention" },                                                     \
        { ARGS_TEXT,                                                                         \
          "sparse",                                                                          \
          0,                                                                                 \
          "NAME[:KNOB=VALUE,...]",                                                           \
          AT(field.policy),                                                                  \
          0,                                                                                 \
          0,                                                                                 \
          NULL,                                                                              \
          "attention policy and its knobs: auto, off = dense, or one of those that `lacuna " \
          "inspect --policies` lists (default auto)" },                                      \
        SPARSE_SHAPE_FLAGS(AT, field)
#define SPARSE_SHAPE_FLAGS(AT, field)                                                \
    { ARGS_SWITCH,                                                                   \
      "measure",                                                                     \
      0,                                                                             \
      NULL,                                                                          \
      AT(field.measure),                                                             \
      0,                                                                             \
      0,                                                                             \
      NULL,                                                                          \
      "knob measure=on: show in --masks and --trace-masks where the softmax lies" }, \
        { ARGS_GROUP, .help = "Attention: one flag for each knob of --sparse" },     \
        SPARSE_KNOB_FLAGS(SPARSE_FLAG_ROW, AT, field)                                \
    {                                                                                \
        ARGS_GROUP, .help = ""                                                       \
    }

enum { SPARSE_TEXT = 1024 };

/* Checks --sparse and the flags of knobs against the policies of a list: each flag must be a knob
 * of at least one of them, with a value in its range. ARGS_GO_ON or an exit code after one
 * sentence. */
int sparse_flags_check(const sparse_flags *flags, const char *const *policies, size_t n_policies);

/* Writes the text for the library: `policy` with its own knobs and those of the flags that it has.
 * NULL stands for "auto". ARGS_GO_ON, or EXIT_USAGE where it is too long. */
int sparse_flags_request(const sparse_flags *flags, const char *policy, char out[SPARSE_TEXT]);

/* The flags as "knob=value,..." for records; "default" where none was given. */
void sparse_flags_describe(const sparse_flags *flags, char *out, size_t size);

/* Cuts the first policy off a list separated by commas: "losa:budget=0.1,page=64,quest" holds two,
 * since a part with '=' and without ':' belongs to the policy before it. False at the end or where
 * a policy is empty or does not fit. */
bool sparse_list_next(const char **at, char *out, size_t size);

#endif
