/* prefix_policies.c: the policies of block-wise models: losa, quest, mage, flashblock, and sparsed
 * behind a key cache. Each is a preset of laci_prefix and the knobs that change it; prefix.c
 * decides by them. Sources: see prefix.h. */
#include "attention/policy.h"

enum { MIN_PREFIX = 1024 };

/* clang-format off */
#define COMMON_KNOBS(tokens)                                                                          \
    { "first-layers", LACI_KNOB_COUNT, LACI_AT(prefix.first_layers), 0, 1024, .normal = "0",          \
      .help = "layers that always read everything" },                                                 \
    { "min-prefix", LACI_KNOB_COUNT, LACI_AT(prefix.min_prefix), 0, LACI_KNOB_MOST, .normal = "auto", \
      .means = "1,024, or twice the budget if more",                                                  \
      .help = "prefixes up to this many keys are read whole" },                                       \
    { "refresh-steps", LACI_KNOB_COUNT, LACI_AT(prefix.refresh_steps), 0, LACI_KNOB_MOST,             \
      .normal = "0", .help = "read everything again after this many steps of a block; 0 = never" },   \
    { "refresh-tokens", LACI_KNOB_COUNT, LACI_AT(prefix.refresh_tokens), 0, LACI_KNOB_MOST,           \
      .normal = tokens, .help = "or after this many new tokens; 0 = never" }
#define BUDGET_KNOB                                                                                   \
    { "budget", LACI_KNOB_AMOUNT, LACI_AT(prefix.budget), .max = LACI_KNOB_MOST, .normal = "512",     \
      .help = "keys of the prefix that a row reads: a number, or below 1 a share" }
#define PAGE_KNOB(size)                                                                               \
    { "page", LACI_KNOB_SIZE, LACI_AT(prefix.page), .words = "16|32|64", .normal = size,              \
      .help = "keys of a page" }
#define BOUNDS_KNOB                                                                                   \
    { "page-bounds", LACI_KNOB_EITHER, LACI_AT(prefix.int8_bounds), .words = "exact|int8",            \
      .normal = "exact", .help = "bounds of pages: exact, or rounded outwards to half the bytes" }
#define EVERY_KNOB                                                                                    \
    { "select-every", LACI_KNOB_COUNT, LACI_AT(prefix.select_every), 1, LACI_KNOB_MOST, .normal = "1",\
      .help = "steps that a choice of pages serves; above 1 it is made for all rows of the block" }
#define FIRST_KNOB(first)                                                                             \
    { "first-step", LACI_KNOB_EITHER, LACI_AT(prefix.dense_first), .words = "sparse|dense",           \
      .normal = first, .help = "what the first step of a block reads: a selection, or everything" }
#define GROUP_KNOB(what)                                                                              \
    { "group", LACI_KNOB_CHOICE, LACI_AT(prefix.group), .words = "head|kv", .normal = "auto",         \
      .means = what, .help = "what has a list of pages of its own" }

static const laci_knob losa_knobs[] = {
    BUDGET_KNOB,
    { "active", LACI_KNOB_AMOUNT, LACI_AT(prefix.active), .max = LACI_KNOB_MOST, .normal = "5",
      .help = "rows of a block that read the prefix again in a step: a number, or below 1 a share" },
    { "min-change", LACI_KNOB_NUMBER, LACI_AT(prefix.min_change), .max = 1e6, .normal = "0.01",
      .help = "rows whose query moved by less than this share of its squared size do not read again" },
    { "drift", LACI_KNOB_EITHER, LACI_AT(prefix.by_hidden), .words = "query|hidden", .normal = "query",
      .help = "what tells how far a row moved: its query, or the input of the layer" },
    { "selector", LACI_KNOB_CHOICE, LACI_AT(prefix.selector), .words = "pages|columns|blocks",
      .normal = "blocks",
      .help = "how keys are chosen: pages by a bound of their scores; single keys (columns) or pages "
              "(blocks) by their mass in the block's first step" },
    PAGE_KNOB("64"),
    GROUP_KNOB("the heads that share keys; with selector pages each row for the union"),
    EVERY_KNOB,
    BOUNDS_KNOB,
    FIRST_KNOB("dense"),
    { "refresh-drift", LACI_KNOB_NUMBER, LACI_AT(prefix.refresh_drift), .max = 1e6, .normal = "0",
      .help = "or when rows that did not read moved by more than this share; 0 = never" },
    COMMON_KNOBS("0"),
};
static const laci_knob quest_knobs[] = {
    BUDGET_KNOB, PAGE_KNOB("16"), GROUP_KNOB("each row, for the union"), EVERY_KNOB, BOUNDS_KNOB,
    FIRST_KNOB("sparse"), COMMON_KNOBS("0"),
};
static const laci_knob mage_knobs[] = { BUDGET_KNOB, COMMON_KNOBS("0") };
static const laci_knob flashblock_knobs[] = { COMMON_KNOBS("3") };
static const laci_knob sparsed_knobs[] = {
    BUDGET_KNOB, PAGE_KNOB("16"), GROUP_KNOB("a query head"), COMMON_KNOBS("0"),
};
/* clang-format on */

/* As published but for losa's selector, page and min-change, which are those that measured best:
 * docs/policies-blockwise.md. What has no knob is set here. */
static const laci_prefix losa_preset = { .rows = LACI_ROWS_CHANGED };
static const laci_prefix quest_preset = { .selector = LACI_SELECT_PAGES };
static const laci_prefix mage_preset = {
    .selector = LACI_SELECT_COLUMNS, .dense_first = true, .page = 16, .select_every = 1
};
static const laci_prefix flashblock_preset = { .rows = LACI_ROWS_NONE,
                                               .selector = LACI_SELECT_PAGES,
                                               .dense_first = true,
                                               .budget = 512,
                                               .page = 16,
                                               .select_every = 1 };
static const laci_prefix sparsed_preset = {
    .selector = LACI_SELECT_BLOCKS, .per_head = true, .dense_first = true, .select_every = 1
};

static lac_status prefix_complete(laci_settings *settings, const laci_policy_model *model,
                                  lac_error *err)
{
    laci_prefix *p = &settings->prefix;
    const double twice = p->budget < 1 ? 0 : 2 * p->budget;
    (void)model;
    if (!p->dense_first && p->selector != LACI_SELECT_PAGES)
        return laci_fail(
            err, LAC_EINVAL, 0,
            "knob first-step: a sparse first step needs selector=pages; the others rank "
            "by what a dense first step finds");
    if (p->group) p->per_head = p->group == 1;
    p->pooled = p->group != 0;
    if (p->min_prefix == LACI_KNOB_AUTO)
        p->min_prefix = twice > MIN_PREFIX && twice < LACI_KNOB_MOST ? (size_t)twice : MIN_PREFIX;
    return LAC_OK;
}

#define PREFIX(text, sentence, table, given)                                                     \
    {                                                                                            \
        .name = text, .about = sentence, .models = LACI_BLOCKWISE, .knobs = table,               \
        .n_knobs = sizeof table / sizeof *table, .preset = &(given), .complete = prefix_complete \
    }

const laci_policy laci_policy_losa = PREFIX(
    "losa", "Rows that changed read part of the prefix, the others keep what they read (LoSA)",
    losa_knobs, losa_preset);
const laci_policy laci_policy_quest =
    PREFIX("quest", "Every row reads the pages with the highest bound of their scores (QUEST)",
           quest_knobs, quest_preset);
const laci_policy laci_policy_mage =
    PREFIX("mage", "Every row reads the keys that held most mass in the block's first step (MAGE)",
           mage_knobs, mage_preset);
const laci_policy laci_policy_flashblock =
    PREFIX("flashblock", "All rows keep what they read of the prefix, for some tokens (FlashBlock)",
           flashblock_knobs, flashblock_preset);
const laci_policy laci_policy_sparsed_prefix = PREFIX(
    "sparsed", "Every head reads the pages that held most of its mass in the block's first step",
    sparsed_knobs, sparsed_preset);
