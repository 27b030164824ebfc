/* prefix_policy.c: policies of rows that stand behind a key cache: losa, quest, mage, flashblock
 * and sparsed are five sets of numbers (prefix.c) over this file, which decides rows and keys by
 * them. Ids of keys or pages are kept in a list for each KV head or query head of a layer; a plan
 * is written from them before each read. Sources: see prefix.h. */
#include <math.h>
#include <string.h>

#include "attention/policy.h"
#include "base/arena.h"

/* MOST_ROWS: rows of a block for each key of a page up to which masses are gathered by row. They
 * then take at most twice what the mass of every key takes. GROUP: rows whose masses of keys are
 * averaged at once. */
enum { MOST_ROWS = 4, GROUP = 128 };

/* What is remembered of one layer, within a block. */
typedef struct {
    laci_id_lists lists; /* selected keys or pages */
    int step_read;       /* step of the block in which it last read everything */
    int tokens_read;     /* n_tokens then */
    int step_chosen;     /* in which pages were last chosen; -1 = none are */
} layer_state;

typedef struct {
    laci_prefix how;
    laci_shape shape;
    size_t n_lists, list_size; /* of a layer */
    int block, step, n_tokens; /* of the pass under way; ids that changed since the block began */
    laci_prefix_mode mode;     /* of the layer under way */
    size_t n_unsettled;        /* reads of this pass that only the device knows */
    layer_state *layers;       /* [n_layers] */
    uint32_t *ids;             /* [n_layers, n_lists * (list_size + 2)] behind the lists */
    uint32_t *read;            /* [n_layers, 2] what a device tells of its reads */
    int32_t *last_ids;         /* [block] of the step before */
    bool *is_new;              /* [block] ids that differ from them */
    int32_t *active;           /* [block] rows that read */
    laci_row_drift *drift;     /* [block] */
    double *change, *size;     /* [block] */
    bool *marks;               /* [list_size] */
} prefix;

static size_t n_lists_of(const laci_shape *shape)
{
    const laci_prefix *how = shape->prefix;
    return how->selector != LACI_SELECT_COLUMNS && how->per_head ? shape->n_heads
                                                                 : shape->n_kv_heads;
}

/* The state and its arrays in one piece of memory, which begins with *s; without it only the size.
 */
static size_t carve(prefix *s, void *memory, const laci_shape *shape)
{
    const size_t list_size = laci_prefix_list_size(shape->prefix, shape->n_ctx);
    const size_t n_lists = n_lists_of(shape);
    laci_arena arena = { memory, 0 };
    (void)laci_arena_take(&arena, 1, sizeof *s);
    LACI_TAKE(&arena, s->layers, shape->n_layers);
    LACI_TAKE(&arena, s->ids, shape->n_layers * n_lists * (list_size + 2));
    LACI_TAKE(&arena, s->read, 2 * shape->n_layers);
    LACI_TAKE(&arena, s->last_ids, shape->block);
    LACI_TAKE(&arena, s->is_new, shape->block);
    LACI_TAKE(&arena, s->active, shape->block);
    LACI_TAKE(&arena, s->drift, shape->block);
    LACI_TAKE(&arena, s->change, shape->block);
    LACI_TAKE(&arena, s->size, shape->block);
    LACI_TAKE(&arena, s->marks, list_size);
    return arena.used;
}

/* Whether the attention of a dense step gathers the masses of pages on its way. */
static bool gathers(const laci_shape *shape)
{
    const laci_prefix *how = shape->prefix;
    return laci_prefix_measures(how) && how->selector == LACI_SELECT_BLOCKS &&
           shape->block <= MOST_ROWS * how->page;
}

/* Values that tell how far a row moved. */
static size_t ref_width(const laci_shape *shape)
{
    return shape->prefix->by_hidden ? shape->d_model : shape->n_heads * shape->d_head;
}

static size_t n_groups_of(size_t n_rows)
{
    return (n_rows + GROUP - 1) / GROUP;
}

static lac_status prefix_sizes(const laci_shape *shape, laci_policy_sizes *out, lac_error *err)
{
    (void)err;
    const laci_prefix *how = shape->prefix;
    const size_t n_pages = (shape->n_ctx + how->page - 1) / how->page;
    const size_t n_rows = shape->n_heads * n_groups_of(shape->block);
    const bool keeps = laci_prefix_keeps(how), measures = laci_prefix_measures(how);
    const bool by_blocks = measures && how->selector == LACI_SELECT_BLOCKS;
    *out = (laci_policy_sizes){
        .state_bytes = carve(&(prefix){ .n_lists = 0 }, NULL, shape),
        .plan_rows = shape->n_heads,
        .plan_cols = shape->n_heads * laci_prefix_list_size(how, shape->n_ctx),
        .n_kept = keeps ? shape->n_layers : 1,
        .ref_width = keeps ? ref_width(shape) : 0,
        .input = how->by_hidden,
        .counts = how->rows != LACI_ROWS_NONE && how->selector != LACI_SELECT_COLUMNS,
        .measures = { .row_page = gathers(shape) ? how->page : 0,
                      .column_floats = measures && !gathers(shape) ? n_rows * shape->n_ctx : 0,
                      .page_floats =
                          by_blocks ? (gathers(shape) ? shape->n_heads : n_rows) * n_pages : 0,
                      .stats_block = how->page,
                      .n_pages = n_pages,
                      .n_ranked = measures ? shape->n_ctx : 0 },
    };
    if (how->rows != LACI_ROWS_NONE && how->selector == LACI_SELECT_PAGES) {
        out->page = how->page;
        out->int8_bounds = how->int8_bounds;
    }
    return LAC_OK;
}

static lac_status prefix_begin(void *state, const laci_shape *shape, lac_error *err)
{
    (void)err;
    prefix *s = state;
    (void)carve(s, s, shape);
    s->how = *shape->prefix;
    s->shape = *shape;
    s->n_lists = n_lists_of(shape);
    s->list_size = laci_prefix_list_size(shape->prefix, shape->n_ctx);
    s->block = -1;
    for (size_t i = 0; i < shape->n_layers; i++) {
        uint32_t *const ids = s->ids + i * s->n_lists * (s->list_size + 2);
        s->layers[i].lists = (laci_id_lists){ ids, s->list_size, ids + s->n_lists * s->list_size,
                                              ids + s->n_lists * (s->list_size + 1) };
    }
    return LAC_OK;
}

/* ------------------------------------------------------------------ rows */

/* The first look at a pass: which ids are new since the step before. Nothing is remembered over
 * blocks. */
static void look_at_pass(prefix *s, const laci_moment *at, const int32_t *ids)
{
    if (at->layer || (s->block == at->block && s->step == at->block_step)) return;
    s->block = at->block;
    s->step = at->block_step;
    s->n_unsettled = 0;
    if (!s->step) s->n_tokens = 0;
    for (size_t i = 0; !s->step && i < s->shape.n_layers; i++) {
        s->layers[i].step_read = s->layers[i].tokens_read = 0;
        s->layers[i].step_chosen = -1;
    }
    for (size_t i = 0; i < at->n_q; i++) {
        s->is_new[i] = s->step > 0 && ids[i] != s->last_ids[i];
        s->n_tokens += s->is_new[i];
        s->last_ids[i] = ids[i];
    }
}

static void decide(prefix *s, const laci_moment *at)
{
    const layer_state *l = &s->layers[at->layer];
    const laci_prefix_moment now = { .layer = (size_t)at->layer,
                                     .step = s->step,
                                     .n_keys = at->n_k,
                                     .steps_since = s->step - l->step_read,
                                     .tokens_since = s->n_tokens - l->tokens_read };
    s->mode = laci_prefix_decide(&s->how, &now);
}

/* What tells how far rows moved: their queries, or the layer's normalised input. */
static const laci_buf *moving_of(const prefix *s, const laci_plan_input *in)
{
    return s->how.by_hidden ? in->x : in->q;
}

/* Rows to recompute, into s->active; SIZE_MAX when all shall read everything. */
static size_t pick_rows(prefix *s, laci_backend *be, const laci_moment *at,
                        const laci_plan_input *in)
{
    const size_t n = at->n_q;
    const bool is_first = !s->step; /* nothing is kept yet */
    const bool compares = s->how.rows == LACI_ROWS_CHANGED && !is_first;
    if (compares)
        laci_backend_row_changes(be, moving_of(s, in), in->kept->ref, n, ref_width(&s->shape),
                                 s->change, s->size);
    for (size_t i = 0; i < n; i++)
        s->drift[i] = (laci_row_drift){ .change = compares ? s->change[i] : 0,
                                        .size = compares ? s->size[i] : 0,
                                        .is_new = is_first || s->is_new[i] };
    const size_t n_active = laci_prefix_pick(&s->how, s->drift, n, s->active);
    return laci_prefix_has_drifted(&s->how, s->drift, n, s->active, n_active) ? SIZE_MAX : n_active;
}

static lac_status prefix_rows(void *state, laci_backend *be, const laci_moment *at,
                              const laci_plan_input *in, laci_row_list *out, lac_error *err)
{
    prefix *s = state;
    size_t n = SIZE_MAX;
    (void)err;
    look_at_pass(s, at, in->ids);
    decide(s, at);
    if (s->mode == LACI_PREFIX_SPARSE) n = pick_rows(s, be, at, in);
    if (n == SIZE_MAX && s->mode == LACI_PREFIX_SPARSE) s->mode = LACI_PREFIX_DENSE;
    *out = (laci_row_list){ .rows = n == SIZE_MAX ? NULL : s->active,
                            .n = n == SIZE_MAX ? at->n_q : n,
                            .whole = s->mode == LACI_PREFIX_WHOLE };
    return LAC_OK;
}

/* ------------------------------------------------------------------ keys */

static laci_budget page_budget(const prefix *s, size_t n_keys)
{
    const size_t n = laci_prefix_budget(&s->how, n_keys, s->how.page);
    return (laci_budget){ n, n > 1, n > 2 };
}

/* Keys of an entry of a list. */
static size_t entry_keys(const prefix *s)
{
    return s->how.selector == LACI_SELECT_COLUMNS ? 1 : s->how.page;
}

/* Pages for the rows that read, unless those of an earlier step still serve. A list that later
 * steps read too is made for every row of the block, because other rows will read then. */
static void choose_pages(prefix *s, laci_backend *be, const laci_moment *at,
                         const laci_plan_input *in)
{
    layer_state *l = &s->layers[at->layer];
    const int every = (int)s->how.select_every;
    if (l->step_chosen >= 0 && s->step - l->step_chosen < every) return;
    const uint32_t n_keys = (uint32_t)at->n_k;
    const laci_page_query query = { .q = every > 1 ? in->q : in->row_q,
                                    .pages = in->pages,
                                    .n_batch = 1,
                                    .n_q = every > 1 ? at->n_q : in->rows.n,
                                    .n_heads = s->shape.n_heads,
                                    .n_keys = &n_keys,
                                    .budget = page_budget(s, at->n_k),
                                    .pool = s->how.pooled ? LACI_POOL_SOFTMAX : LACI_POOL_UNION,
                                    .scale = 1 / sqrtf((float)s->shape.d_head),
                                    .per_head = s->how.per_head };
    laci_backend_select_pages(be, &query, &l->lists);
    l->step_chosen = s->step;
}

/* The lists as a plan of n rows: every query head has a row of its own. */
static lac_status write_plan(const prefix *s, const laci_id_lists *lists, size_t n,
                             laci_plan_store *out, lac_error *err)
{
    const size_t n_heads = s->shape.n_heads, per_list = n_heads / s->n_lists;
    lac_status st = LAC_OK;
    laci_plan_begin(out, n, entry_keys(s), n_heads, 1);
    for (size_t h = 0; h < n_heads; h++) {
        const size_t l = h / per_list;
        const uint32_t *ids = lists->ids + l * lists->stride;
        for (uint32_t i = 0, end; i < lists->counts[l] && !st; i = end) {
            end = i + 1;
            while (end < lists->counts[l] && ids[end] == ids[end - 1] + 1)
                end++;
            st = laci_plan_add(out, ids[i], (size_t)ids[end - 1] + 1, err);
        }
        laci_plan_end_row(out);
    }
    return st;
}

static lac_status prefix_plan(void *state, laci_backend *be, const laci_moment *at,
                              const laci_plan_input *in, laci_plan_store *out, lac_error *err)
{
    prefix *s = state;
    if (s->mode == LACI_PREFIX_DENSE) {
        in->request->all = true;
        in->request->pages = gathers(&s->shape);
        in->request->columns = laci_prefix_measures(&s->how) && !gathers(&s->shape);
        return LAC_OK;
    }
    if (s->how.selector == LACI_SELECT_PAGES) choose_pages(s, be, at, in);
    return write_plan(s, &s->layers[at->layer].lists, in->rows.n, out, err);
}

/* Whether nothing but the results of a read is wanted of it. */
static bool is_unseen(const laci_prefix *how)
{
    return how->rows != LACI_ROWS_NONE && how->selector != LACI_SELECT_COLUMNS && !how->per_head &&
           how->select_every <= 1 && !(how->refresh_drift > 0);
}

static bool prefix_on_device(void *state, const laci_moment *at, const laci_plan_input *in,
                             laci_paged_read *out)
{
    prefix *s = state;
    look_at_pass(s, at, in->ids);
    decide(s, at);
    if (s->mode != LACI_PREFIX_SPARSE || !is_unseen(&s->how)) return false;
    const bool by_mass = s->how.selector == LACI_SELECT_BLOCKS;
    out->x = moving_of(s, in);
    out->ref = in->kept->ref;
    out->width = ref_width(&s->shape);
    out->all = s->how.rows == LACI_ROWS_ALL || !s->step;
    out->is_new = s->is_new;
    out->n_wanted = laci_prefix_wanted(&s->how, at->n_q);
    out->min_change = s->how.min_change;
    out->lists = by_mass ? &s->layers[at->layer].lists : NULL;
    out->pages = by_mass ? NULL : in->pages;
    out->page = s->how.page;
    out->budget = page_budget(s, at->n_k);
    out->pool = s->how.pooled ? LACI_POOL_SOFTMAX : LACI_POOL_UNION;
    out->scale = 1 / sqrtf((float)s->shape.d_head);
    out->count_at = s->n_unsettled;
    return true;
}

/* ------------------------------------------------------------------ after attention */

/* What the rows that read are compared with from now on. */
static void keep_moving(const prefix *s, laci_backend *be, const laci_moment *at,
                        const laci_plan_input *in)
{
    const size_t width = ref_width(&s->shape);
    const laci_buf *moving = moving_of(s, in), *rows = in->row_q;
    const laci_dtype act = s->shape.act;
    if (!in->kept->ref) return;
    if (in->rows.n == at->n_q) {
        laci_backend_copy(be, in->kept->ref, 0, moving, 0, at->n_q * width * laci_act_bytes(act));
        return;
    }
    if (s->how.by_hidden) {
        laci_backend_gather_rows(be, act, moving, in->rows.rows, in->rows.n, width, in->spare);
        rows = in->spare;
    }
    laci_backend_scatter_rows(be, act, rows, in->rows.rows, in->rows.n, width, in->kept->ref);
}

/* Lists for the rest of the block, from the mass of this step. */
static void select_by_mass(const prefix *s, laci_backend *be, const laci_moment *at,
                           const laci_plan_input *in)
{
    const laci_measures *m = in->measures;
    const size_t n_keys = at->n_k, page = s->how.page, n_pages = (n_keys + page - 1) / page;
    const size_t n_groups = in->request->pages ? 1 : n_groups_of(at->n_q);
    const size_t n_rows = s->shape.n_heads * n_groups;
    laci_ranking ranking = { .scores = m->columns,
                             .n_lists = s->n_lists,
                             .stride = n_keys,
                             .n_pooled = n_rows / s->n_lists,
                             .n = n_keys,
                             .budget = { .n = laci_prefix_budget(&s->how, n_keys, 1) } };
    if (s->how.selector == LACI_SELECT_BLOCKS) {
        const laci_column_pages pages = { .x = m->columns,
                                          .n_rows = n_rows,
                                          .stride = n_keys,
                                          .n = n_keys,
                                          .page = page,
                                          .out = m->pages,
                                          .out_stride = n_pages };
        if (!in->request->pages) laci_backend_pool_columns(be, &pages);
        ranking.scores = m->pages;
        ranking.stride = ranking.n = n_pages;
        ranking.budget.n = laci_prefix_budget(&s->how, n_keys, page);
    }
    laci_backend_top_k(be, &ranking, &s->layers[at->layer].lists);
}

static lac_status prefix_observe(void *state, laci_backend *be, const laci_moment *at,
                                 const laci_observation *seen, lac_error *err)
{
    prefix *s = state;
    layer_state *l = &s->layers[at->layer];
    (void)err;
    keep_moving(s, be, at, seen->in);
    if (s->mode != LACI_PREFIX_DENSE) return LAC_OK;
    if (laci_prefix_measures(&s->how)) select_by_mass(s, be, at, seen->in);
    l->step_read = s->step;
    l->tokens_read = s->n_tokens;
    return LAC_OK;
}

/* ------------------------------------------------------------------ reports */

/* Keys a list of ids holds, of a prefix of n_keys. */
static size_t keys_of_list(const uint32_t *ids, size_t n, size_t k_block, size_t n_keys)
{
    if (!n) return 0;
    const size_t last = (size_t)ids[n - 1] * k_block;
    const size_t in_last = n_keys - last < k_block ? n_keys - last : k_block;
    return (n - 1) * k_block + in_last;
}

/* Keys that the lists of the query heads of one KV head hold together. */
static size_t keys_of_group(const prefix *s, const laci_id_lists *lists, size_t first,
                            size_t n_lists, size_t n_keys)
{
    const size_t k_block = entry_keys(s);
    if (n_lists == 1)
        return keys_of_list(lists->ids + first * lists->stride, lists->counts[first], k_block,
                            n_keys);
    const size_t n_ids = (n_keys + k_block - 1) / k_block;
    size_t n = 0;
    memset(s->marks, 0, n_ids);
    for (size_t l = first; l < first + n_lists; l++)
        for (size_t i = 0; i < lists->counts[l]; i++)
            s->marks[lists->ids[l * lists->stride + i]] = true;
    for (size_t i = 0; i < n_ids; i++)
        if (s->marks[i]) n += n_keys - i * k_block < k_block ? n_keys - i * k_block : k_block;
    return n;
}

/* Bytes of the bounds of n pages of every KV head. */
static uint64_t bounds_bytes(const prefix *s, size_t n)
{
    if (!s->how.int8_bounds) return laci_read_bytes(&s->shape, n);
    return (uint64_t)n * s->shape.n_kv_heads * (2 * s->shape.d_head + sizeof(float));
}

/* Adds a layer in which n_active rows visited this many pairs of queries and planned keys, and
 * n_read keys were read for them, those of every KV head counted; `by_bounds`: which ones was
 * chosen by bounds of pages. */
static void add_read(const prefix *s, const laci_moment *at, size_t n_active, double pairs,
                     size_t n_read, bool by_bounds, laci_read_stats *sum)
{
    const size_t n_keys = at->n_k, n_own = at->n_q, k_block = entry_keys(s);
    const double all = (double)n_own * (double)(n_keys + n_own);
    sum->density += (pairs + (double)(n_own * n_own)) / all;
    sum->kept += (double)NAN;
    sum->active += (double)n_active;
    sum->n_layers++;
    sum->bytes += laci_read_bytes(&s->shape, n_own) +
                  laci_read_bytes(&s->shape, n_read) / s->shape.n_kv_heads;
    if (!n_active) return;
    if (by_bounds) sum->bytes += bounds_bytes(s, (n_keys + s->how.page - 1) / s->how.page);
    const double budget = (double)laci_prefix_budget(&s->how, n_keys, k_block) * (double)k_block;
    sum->inflation += (double)n_read / budget;
    sum->n_lists += s->shape.n_kv_heads;
}

/* The same where the rows read what the layer's lists hold. */
static void add_lists(const prefix *s, const laci_moment *at, size_t n_active, laci_read_stats *sum)
{
    const layer_state *own = &s->layers[at->layer];
    const laci_id_lists *lists = &own->lists;
    const size_t n_kv_heads = s->shape.n_kv_heads, per_group = s->n_lists / n_kv_heads;
    double pairs = 0;
    size_t n_read = 0;
    for (size_t l = 0; l < s->n_lists && n_active; l++)
        pairs += (double)keys_of_list(lists->ids + l * lists->stride, lists->counts[l],
                                      entry_keys(s), at->n_k);
    for (size_t g = 0; g < n_kv_heads && n_active; g++)
        n_read += keys_of_group(s, lists, g * per_group, per_group, at->n_k);
    if (n_active) pairs *= (double)n_active / (double)s->n_lists;
    const bool is_new = own->step_chosen == s->step;
    add_read(s, at, n_active, pairs, n_read, s->how.selector == LACI_SELECT_PAGES && is_new, sum);
}

/* Adds what a device decided by itself. */
static void settle(prefix *s, laci_backend *be, const laci_moment *at, const laci_buf *counts,
                   laci_read_stats *sum)
{
    const size_t n = s->n_unsettled;
    if (!n) return;
    laci_backend_read(be, counts, 0, s->read, 2 * n * sizeof *s->read);
    for (size_t i = 0; i < n; i++) {
        const size_t n_active = s->read[2 * i], n_read = s->read[2 * i + 1];
        const double pairs = (double)n_read * (double)n_active / (double)s->shape.n_kv_heads;
        add_read(s, at, n_active, pairs, n_read, s->how.selector == LACI_SELECT_PAGES, sum);
    }
    s->n_unsettled = 0;
}

static void prefix_report(void *state, laci_backend *be, const laci_moment *at,
                          const laci_observation *seen, const laci_buf *counts,
                          laci_read_stats *sum)
{
    prefix *s = state;
    if (!seen)
        settle(s, be, at, counts, sum);
    else if (seen->by_device)
        s->n_unsettled++;
    else if (s->mode == LACI_PREFIX_DENSE)
        laci_read_whole(sum, &s->shape, at->n_q, at->n_k + at->n_q);
    else
        add_lists(s, at, seen->in->rows.n, sum);
}

/* ------------------------------------------------------------------ knobs */

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

#define PREFIX(text, sentence, table, given)                                                      \
    {                                                                                             \
        .name = text, .about = sentence, .models = LACI_BLOCKWISE, .knobs = table,                \
        .n_knobs = sizeof table / sizeof *table, .preset = &(given), .complete = prefix_complete, \
        .sizes = prefix_sizes, .begin = prefix_begin, .rows = prefix_rows, .plan = prefix_plan,   \
        .observe = prefix_observe, .on_device = prefix_on_device, .report = prefix_report         \
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
