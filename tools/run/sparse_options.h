/* sparse_options.h: the flags that choose and shape sparse attention, shared by the commands that
 * generate: a group of rows for their tables, and the reading of what was typed. */
#ifndef LACUNA_TOOLS_SPARSE_OPTIONS_H
#define LACUNA_TOOLS_SPARSE_OPTIONS_H

#include "lacuna.h"
#include "shell/args.h"

/* What was typed; NULL or 0 = not given. Zeroed is valid. */
typedef struct {
    const char *policy; /* --sparse */
    const char *skip, *select, *fidelity, *block, *sink;
    const char *mode, *schedule, *isolated, *keep, *boundary, *score, *ragged, *reset;
    const char *plan_group, *switch_mode, *refresh;
    int window, refreshes;
    bool measure;
    /* behind a key cache */
    const char *budget, *active, *page, *selector, *drift, *min_change, *moves_by, *first_step,
        *bounds;
    const char *first_layers, *min_prefix, *refresh_steps, *refresh_tokens;
    int select_every;
} sparse_flags;

/* Largest number of keys a flag may name. */
enum { SPARSE_MAX_KEYS = 1 << 24 };

/* Rows of a table of flags whose target holds a sparse_flags as `field`; `AT` is the table's own
 * offsetof. */
/* clang-format off */
#define SPARSE_FLAGS(AT, field)                                                                   \
    { ARGS_GROUP, .help = "Attention" },                                                          \
    { ARGS_TEXT, "sparse", 0, "NAME", AT(field.policy), 0, 0, NULL,                               \
      "attention policy: auto, off = dense, sparsed, fidelity, pulsecol, window, streaming; behind "  \
      "a key cache losa, quest, mage, flashblock, sparsed (default auto)" },                          \
    SPARSE_SHAPE_FLAGS(AT, field)
/* The same without the policy itself, for commands that take a list of them. */
#define SPARSE_SHAPE_FLAGS(AT, field)                                                             \
    { ARGS_TEXT, "skip", 0, "SHARE", AT(field.skip), 0, 0, NULL,                                  \
      "share of the steps that stay dense, from 0 to below 1 (default 0.2)" },                    \
    { ARGS_TEXT, "select", 0, "SHARE", AT(field.select), 0, 0, NULL,                              \
      "share of the keys that is kept, above 0 and at most 1 (default 0.3)" },                    \
    { ARGS_TEXT, "sparse-block", 0, "N", AT(field.block), 0, 0, NULL,                             \
      "queries and keys of a block: 16, 32, 64, 128 (default 128, below 4096 positions 32)" },    \
    { ARGS_TEXT, "fidelity", 0, "SHARE", AT(field.fidelity), 0, 0, NULL,                          \
      "keep the fewest blocks that hold this share of the softmax, above 0 and at most 1, and no " \
      "more than --select where that is given (default off; --sparse fidelity 0.95)" },           \
    { ARGS_TEXT, "switch", 0, "WHEN", AT(field.switch_mode), 0, 0, NULL,                          \
      "leave the dense steps as --skip says (fixed), or earlier, where a layer's pattern has "    \
      "settled (auto) (default fixed)" },                                                         \
    { ARGS_TEXT, "refresh", 0, "WHEN", AT(field.refresh), 0, 0, NULL,                             \
      "measure a layer again when sampled queries lose mass: off, auto (default off)" },          \
    { ARGS_TEXT, "plan-group", 0, "WHAT", AT(field.plan_group), 0, 0, NULL,                       \
      "what has a pattern of its own: head, or kv = the heads that share keys (default head; "    \
      "behind a key cache: pages each row, for the union, blocks head in sparsed, else kv)" },    \
    { ARGS_INT, "window", 0, "N", AT(field.window), 1, SPARSE_MAX_KEYS, NULL,                     \
      "window, streaming: keys around a query, both sides together (default: as many as give "    \
      "the density of --select)" },                                                               \
    { ARGS_TEXT, "sink", 0, "N", AT(field.sink), 0, 0, NULL,                                      \
      "streaming: first keys that are always read (default: a fifth of --select)" },              \
    { ARGS_INT, "refreshes", 0, "N", AT(field.refreshes), 1, 4096, NULL,                          \
      "pulsecol: steps that choose columns again, within the first 30% (default 16, Dream 8)" },  \
    { ARGS_TEXT, "sparsed-mode", 0, "MODE", AT(field.mode), 0, 0, NULL,                           \
      "SparseD's details: default, paper, reference = as the published code (default default)" }, \
    { ARGS_TEXT, "sparsed-schedule", 0, "HOW", AT(field.schedule), 0, 0, NULL,                    \
      "dense steps: paper = steps * skip, reference = two more (default: the mode's)" },          \
    { ARGS_TEXT, "sparsed-isolated", 0, "HOW", AT(field.isolated), 0, 0, NULL,                    \
      "prompt and generation compete apart: paper, reference, none (default: the mode's)" },      \
    { ARGS_TEXT, "sparsed-keep", 0, "HOW", AT(field.keep), 0, 0, NULL,                            \
      "blocks of n that are kept: ceil(n * select), reference = one above the floor (default: "   \
      "the mode's)" },                                                                            \
    { ARGS_TEXT, "sparsed-boundary", 0, "HOW", AT(field.boundary), 0, 0, NULL,                    \
      "the block that holds the prompt's end: keep, aligned = generation, reference = prompt "    \
      "(default: the mode's)" },                                                                  \
    { ARGS_TEXT, "sparsed-score", 0, "HOW", AT(field.score), 0, 0, NULL,                          \
      "scale of the scores that rank blocks: sqrt_d, sqrt_h (default: the mode's)" },             \
    { ARGS_TEXT, "sparsed-ragged", 0, "HOW", AT(field.ragged), 0, 0, NULL,                        \
      "a short last block ranks by the keys it has (fair) or as if full (diluted) (default: the " \
      "mode's)" },                                                                                \
    { ARGS_TEXT, "sparsed-reset", 0, "HOW", AT(field.reset), 0, 0, NULL,                          \
      "one pattern per generation, per decoding block, or per step, which is slower than dense: " \
      "generation, block, step (default generation)" },                                           \
    { ARGS_SWITCH, "measure", 0, NULL, AT(field.measure), 0, 0, NULL,                             \
      "show in --masks and --trace-masks where the softmax lies; with --sparse off every step "   \
      "is measured" },                                                                            \
    { ARGS_GROUP, .help = "Attention behind a key cache (block-causal models)" },                 \
    { ARGS_TEXT, "budget", 0, "N", AT(field.budget), 0, 0, NULL,                                  \
      "keys of the prefix that a row reads: a number, or below 1 a share (default 512)" },        \
    { ARGS_TEXT, "active", 0, "N", AT(field.active), 0, 0, NULL,                                  \
      "losa: rows of a block that read the prefix again in a step: a number, or below 1 a share " \
      "(default 5)" },                                                                            \
    { ARGS_TEXT, "min-change", 0, "SHARE", AT(field.min_change), 0, 0, NULL,                      \
      "losa: rows whose query moved by less than this share of its size keep what they read, "    \
      "0 = off (default 0.01)" },                                                                 \
    { ARGS_TEXT, "drift", 0, "OF", AT(field.moves_by), 0, 0, NULL,                                \
      "losa: what tells how far a row moved: query, hidden = the layer's input (default query)" },\
    { ARGS_TEXT, "first-step", 0, "HOW", AT(field.first_step), 0, 0, NULL,                        \
      "what the first step of a block reads: dense = everything, sparse (default: quest sparse, " \
      "others dense)" },                                                                          \
    { ARGS_TEXT, "page", 0, "N", AT(field.page), 0, 0, NULL,                                      \
      "keys of a page: 16, 32, 64 (default 16, losa 64)" },                                       \
    { ARGS_TEXT, "page-bounds", 0, "TYPE", AT(field.bounds), 0, 0, NULL,                          \
      "bounds of pages: exact, int8 = rounded outwards, half the bytes (default exact)" },        \
    { ARGS_TEXT, "selector", 0, "NAME", AT(field.selector), 0, 0, NULL,                           \
      "how keys are chosen: pages, by a bound of their scores; columns or blocks, by mass in the "\
      "block's first step (default: the policy's)" },                                             \
    { ARGS_INT, "select-every", 0, "N", AT(field.select_every), 1, SPARSE_MAX_KEYS, NULL,         \
      "pages chosen once serve so many steps of a block; above 1 they are chosen for all its "    \
      "rows (default 1)" },                                                                       \
    { ARGS_TEXT, "sparse-first-layers", 0, "N", AT(field.first_layers), 0, 0, NULL,               \
      "layers that always read everything (default 0)" },                                         \
    { ARGS_TEXT, "min-prefix", 0, "N", AT(field.min_prefix), 0, 0, NULL,                          \
      "prefixes up to this are read whole (default 1024, or twice the budget if more)" },         \
    { ARGS_TEXT, "refresh-steps", 0, "N", AT(field.refresh_steps), 0, 0, NULL,                    \
      "read everything again after so many steps of a block, 0 = never (default 0)" },            \
    { ARGS_TEXT, "refresh-tokens", 0, "N", AT(field.refresh_tokens), 0, 0, NULL,                  \
      "or after so many new tokens, 0 = never (default: flashblock 3, others 0)" },               \
    { ARGS_TEXT, "refresh-drift", 0, "SHARE", AT(field.drift), 0, 0, NULL,                        \
      "losa: or when queries that did not read moved by this share of their size, 0 = never "     \
      "(default 0)" }
/* clang-format on */

/* Fills *out. ARGS_GO_ON or an exit code after one sentence with flag, value and range. */
int sparse_flags_read(const sparse_flags *flags, lac_sparse_options *out);

#endif
