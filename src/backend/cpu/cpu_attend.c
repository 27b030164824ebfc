/* cpu_attend.c: attention over packed keys on the CPU: obeys plans, gathers statistics, merges
 * partial results. Work is cut into jobs, one tile of query rows each: the queries
 * of a plan row, of one head or, where few queries share their keys, of several heads of a KV
 * group. A job reads its keys as a list of packed panels: whole panels in place, smaller pieces
 * gathered. */
#include <math.h>

#include "backend/cpu/cpu_state.h"
#include "backend/plan_rows.h"
#include "base/arena.h"

enum {
    PANELS = 64,        /* panels handed to a kernel at once */
    COLUMN_PANELS = 16, /* panels that the heads of a group read in turn */
    POOL = 4,           /* gathered panels that may wait among them */
};

/* ------------------------------------------------------------------ memory of a job */

typedef struct {
    laci_tile tile;
    char *q;          /* act [LACI_TILE_ROWS, d] */
    float *lse;       /* [LACI_TILE_ROWS] in powers of two */
    uint32_t *limits; /* [LACI_TILE_ROWS] */
    char *pool;       /* POOL gathered panels of keys, then of values */
} workspace;

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* The workspace in a thread's scratch; without memory only the size. */
static size_t carve(workspace *w, void *memory, size_t d, size_t n_ctx, size_t step)
{
    const size_t rows = LACI_TILE_ROWS + LACI_ROWS_IN_FLIGHT, d16 = laci_d16(d);
    const size_t n_panels = (n_ctx + LACI_PANEL - 1) / LACI_PANEL;
    const size_t n_sums = step ? n_panels * (LACI_PANEL / step) : 0;
    laci_arena arena = { memory, 0 };
    memset(w, 0, sizeof *w);
    LACI_TAKE(&arena, w->q, rows * d * sizeof(float));
    LACI_TAKE(&arena, w->tile.acc, rows * d16);
    LACI_TAKE(&arena, w->tile.max, rows);
    LACI_TAKE(&arena, w->tile.sum, rows);
    LACI_TAKE(&arena, w->lse, rows);
    LACI_TAKE(&arena, w->limits, rows);
    w->tile.scratch = laci_arena_take(&arena, 1, laci_tile_scratch(d));
    LACI_TAKE(&arena, w->pool,
              POOL * (laci_k_panel_bytes(LACI_F32, d) + laci_v_panel_bytes(LACI_F32, d)));
    if (n_sums) {
        LACI_TAKE(&arena, w->tile.sums, LACI_TILE_ROWS * n_sums);
        LACI_TAKE(&arena, w->tile.squares, LACI_TILE_ROWS * n_sums);
        LACI_TAKE(&arena, w->tile.sums_max, LACI_TILE_ROWS * n_panels);
    }
    w->tile.q = w->q;
    w->tile.d = d;
    w->tile.step = step;
    return arena.used;
}

/* Keys of one sum: whole panels where blocks are made of them. */
static size_t stats_step(size_t k_block)
{
    return k_block < LACI_PANEL ? k_block : LACI_PANEL;
}

size_t laci_cpu_attend_scratch(size_t d, size_t n_ctx, size_t stats_block)
{
    workspace w;
    return carve(&w, NULL, d, n_ctx, n_ctx ? stats_step(stats_block) : 0);
}

/* Queries [begin, end) of heads [head, head + n_heads), all in plan row `row`. Tile row h * n + i
 * is query begin + i of head head + h. */
typedef struct {
    size_t batch, head, n_heads, row, begin, end;
    int thread; /* whose scratch */
} tile_job;

/* ------------------------------------------------------------------ reading keys */

/* Turns ranges of keys into panels and hands them to the kernel: PANELS at once in a dense pass. */
typedef struct {
    const cpu_backend *cpu;
    laci_tile *tile;
    const char *k, *v; /* panels of the head */
    size_t k_bytes, v_bytes;
    const uint64_t *valid; /* of the sequence, NULL = all */
    laci_panel panels[PANELS];
    size_t n_panels;
    /* gathered panels: POOL slots, those taken not yet read by the kernel */
    char *pool;
    bool taken[POOL];
    uint32_t positions[POOL][LACI_PANEL];
    size_t open;     /* slot under assembly from groups of 16 keys, POOL = none */
    size_t n_groups; /* groups it holds */
    uint64_t open_lanes;
    uint32_t keys[LACI_PANEL]; /* single keys waiting */
    size_t n_keys;
    /* Statistics by row, kept whenever the kernel has read a part; NULL = none. */
    const laci_attention *by_row;
    const tile_job *job;
    size_t part;
} reader;

_Static_assert(PANELS *LACI_PANEL == LACI_MASS_PART, "a part is what a kernel reads at once");

/* Weights of the part just read, while its sums are near. */
static void keep_part(reader *r)
{
    const laci_attention *a = r->by_row;
    const laci_mass_stats *s = a->stats;
    const tile_job *job = r->job;
    const size_t n_blocks = (a->n_k + s->k_block - 1) / s->k_block;
    const size_t per_part = LACI_MASS_PART / s->k_block, begin = r->part * per_part;
    const size_t n_parts = (n_blocks + per_part - 1) / per_part, n = job->end - job->begin;
    const laci_mass mass = { .sums = r->tile->sums,
                             .sums_max = r->tile->sums_max,
                             .max = r->tile->max,
                             .n_panels = r->tile->panel_at,
                             .step = r->tile->step,
                             .block = s->k_block,
                             .n_blocks =
                                 n_blocks - begin < per_part ? n_blocks - begin : per_part };
    const size_t share = a->n_heads / a->kv->n_kv_heads * a->n_q; /* rows with the same keys */
    const size_t run = n == a->n_q ? n * job->n_heads : n;        /* of them, side by side */
    for (size_t h = 0; h < job->n_heads; h++) {
        const size_t row = (job->batch * a->n_heads + job->head + h) * a->n_q + job->begin;
        float *out = floats(s->mass, (row / share * n_blocks + begin) * share + row % share);
        if (h * n % run == 0) r->cpu->kernels.mass_each(out, share, &mass, h * n, run);
        for (size_t i = 0; i < n; i++)
            *floats(s->base, (row + i) * n_parts + r->part) =
                r->tile->max[h * n + i] * 0.693147180559945309f;
    }
    r->tile->panel_at = 0;
    r->part++;
}

static void flush(reader *r)
{
    if (r->n_panels) {
        if (r->cpu->base.act == LACI_BF16)
            r->cpu->kernels.attend_bf16(r->tile, r->panels, r->n_panels);
        else
            r->cpu->kernels.attend_f32(r->tile, r->panels, r->n_panels);
        if (r->by_row) keep_part(r);
    }
    r->n_panels = 0;
    for (size_t slot = 0; slot < POOL; slot++)
        r->taken[slot] = slot == r->open;
}

static void push(reader *r, laci_panel panel)
{
    r->panels[r->n_panels++] = panel;
    if (r->n_panels == PANELS) flush(r);
}

static uint64_t valid_word(const reader *r, size_t panel)
{
    return r->valid ? r->valid[panel] : UINT64_MAX;
}

static laci_gather slot_of(const reader *r, size_t slot)
{
    char *at = r->pool + slot * (r->k_bytes + r->v_bytes);
    return (laci_gather){ at, at + r->k_bytes, r->k, r->v, r->cpu->base.act, r->tile->d };
}

static size_t free_slot(const reader *r)
{
    size_t slot = 0;
    while (slot < POOL && r->taken[slot])
        slot++;
    return slot;
}

/* A free slot of the pool. Whoever fills it fills all its lanes: those that do not count must hold
 * numbers too. */
static size_t take_slot(reader *r)
{
    if (free_slot(r) == POOL) flush(r);
    const size_t slot = free_slot(r);
    r->taken[slot] = true;
    return slot;
}

static void push_slot(reader *r, size_t slot, uint64_t lanes)
{
    const laci_gather g = slot_of(r, slot);
    push(r, (laci_panel){ g.k, g.v, lanes, 0, r->positions[slot] });
}

/* Copies a group of 16 keys to the next lanes of the open slot. */
static void copy_group(reader *r, size_t group)
{
    const laci_gather to = slot_of(r, r->open);
    r->cpu->kernels.gather_group(&to, r->n_groups, group);
    for (size_t j = 0; j < 16; j++)
        r->positions[r->open][r->n_groups * 16 + j] = (uint32_t)(group * 16 + j);
    r->n_groups++;
}

/* Hands over the open slot; lanes that are left repeat the last group and do not count. */
static void close_groups(reader *r)
{
    if (r->open == POOL) return;
    const size_t slot = r->open;
    while (r->n_groups < LACI_PANEL / 16)
        copy_group(r, r->positions[slot][r->n_groups * 16 - 1] / 16);
    r->open = POOL;
    push_slot(r, slot, r->open_lanes);
}

/* Keys [first, end) within one group of 16. */
static void read_group(reader *r, size_t first, size_t end)
{
    if (r->open == POOL) {
        r->open = take_slot(r);
        r->n_groups = 0;
        r->open_lanes = 0;
    }
    const uint64_t word = valid_word(r, first / LACI_PANEL) >> (first / 16 * 16 % LACI_PANEL);
    const uint64_t wanted = ((1u << (end - first)) - 1u) << (first % 16);
    r->open_lanes |= (word & wanted) << (r->n_groups * 16);
    copy_group(r, first / 16);
    if (r->n_groups == LACI_PANEL / 16) close_groups(r);
}

static void close_keys(reader *r)
{
    if (!r->n_keys) return;
    const size_t slot = take_slot(r);
    const laci_gather to = slot_of(r, slot);
    uint64_t lanes = 0;
    for (size_t j = 0; j < r->n_keys; j++)
        lanes |= (valid_word(r, r->keys[j] / LACI_PANEL) >> r->keys[j] % LACI_PANEL & 1) << j;
    for (size_t j = r->n_keys; j < LACI_PANEL; j++)
        r->keys[j] = r->keys[j - 1]; /* a number that does not count */
    r->cpu->kernels.gather_keys(&to, r->keys, LACI_PANEL);
    memcpy(r->positions[slot], r->keys, sizeof r->keys);
    r->n_keys = 0;
    push_slot(r, slot, lanes);
}

static void read_keys(reader *r, size_t first, size_t end)
{
    for (size_t key = first; key < end; key++) {
        r->keys[r->n_keys++] = (uint32_t)key;
        if (r->n_keys == LACI_PANEL) close_keys(r);
    }
}

/* Keys [first, end) of one panel, part of a range: in place where most of the panel counts or the
 * range is long (a dense pass reads panels in order), by groups of 16 or key by key otherwise. */
static void read_piece(reader *r, size_t first, size_t end, bool in_place)
{
    const size_t at = first / LACI_PANEL, n = end - first;
    if (in_place || n > LACI_PANEL / 2) {
        const uint64_t lanes =
            n == LACI_PANEL ? UINT64_MAX : ((UINT64_C(1) << n) - 1) << first % LACI_PANEL;
        push(r, (laci_panel){ r->k + at * r->k_bytes, r->v + at * r->v_bytes,
                              lanes & valid_word(r, at), (uint32_t)(at * LACI_PANEL), NULL });
        return;
    }
    while (first < end) {
        const size_t group_end = round_up(first + 1, 16);
        const size_t stop = group_end < end ? group_end : end;
        if (stop - first >= 8)
            read_group(r, first, stop);
        else
            read_keys(r, first, stop);
        first = stop;
    }
}

static void read_range(reader *r, size_t first, size_t end, size_t n_keys)
{
    const bool in_place = end - first >= LACI_PANEL || (first == 0 && end == n_keys);
    while (first < end) {
        const size_t panel_end = round_up(first + 1, LACI_PANEL);
        const size_t stop = panel_end < end ? panel_end : end;
        read_piece(r, first, stop, in_place);
        first = stop;
    }
}

/* The keys of one plan row; neighbouring blocks are read as one range. */
static void read_row(reader *r, const laci_plan *plan, size_t at, size_t n_keys)
{
    for (uint32_t c = plan->row_ptr[at]; c < plan->row_ptr[at + 1];) {
        const size_t first = (size_t)plan->cols[c] * plan->k_block;
        size_t end = first;
        for (; c < plan->row_ptr[at + 1] && (size_t)plan->cols[c] * plan->k_block == end; c++)
            end += plan->k_block;
        if (first < n_keys) read_range(r, first, end < n_keys ? end : n_keys, n_keys);
    }
    close_groups(r);
    close_keys(r);
    flush(r);
}

/* ------------------------------------------------------------------ one tile */

static size_t keys_of(const laci_attention *a, size_t batch)
{
    return a->n_keys ? a->n_keys[batch] : a->n_k;
}

static void begin_tile(const cpu_backend *cpu, workspace *w, const laci_attention *a,
                       const tile_job *job)
{
    const size_t d = a->kv->d_head, n = job->end - job->begin, bytes = d * act_size(&cpu->base);
    const size_t n_keys = keys_of(a, job->batch);
    laci_tile *tile = &w->tile;
    tile->n_rows = n * job->n_heads;
    tile->scale = 1.44269504088896341f / sqrtf((float)d);
    tile->limits = a->limits ? w->limits : NULL;
    tile->panel_at = 0;
    for (size_t i = 0; i < tile->n_rows; i++) {
        const size_t at = job->batch * a->n_q + job->begin + i % n;
        memcpy(w->q + i * bytes,
               act_row(&cpu->base, a->q, at, a->n_heads * d) + (job->head + i / n) * bytes, bytes);
        tile->max[i] = -INFINITY;
        tile->sum[i] = 0;
        if (a->limits) w->limits[i] = a->limits[at] < n_keys ? a->limits[at] : (uint32_t)n_keys;
    }
    memset(tile->acc, 0, tile->n_rows * laci_d16(d) * sizeof *tile->acc);
}

/* Outputs and log-sum-exp of a finished tile. */
static void end_tile(const cpu_backend *cpu, workspace *w, const laci_attention *a,
                     const tile_job *job)
{
    const size_t d = a->kv->d_head, n = job->end - job->begin, width = a->n_heads * d;
    for (size_t i = 0; i < w->tile.n_rows; i++) {
        const bool empty = w->tile.sum[i] == 0;
        const size_t head = job->head + i / n, query = job->begin + i % n;
        const size_t at = (job->batch * a->n_q + query) * width + head * d;
        float *acc = w->tile.acc + i * laci_d16(d);
        cpu->kernels.scale(acc, empty ? 0 : 1 / w->tile.sum[i], d);
        if (a->out_f32)
            memcpy(floats(a->out, at), acc, d * sizeof *acc);
        else
            put_act(cpu, act_row(&cpu->base, a->out, at, 1), acc, d);
        if (a->lse)
            *floats(a->lse, (job->batch * a->n_heads + head) * a->n_q + query) =
                empty ? -INFINITY
                      : (w->tile.max[i] + log2f(w->tile.sum[i])) * 0.693147180559945309f;
    }
}

/* ------------------------------------------------------------------ statistics of a tile */

/* Kept masses of queries [begin, stop), in one query block of one head; tile rows start at `row`.
 */
static void keep_mass(const cpu_backend *cpu, const laci_attention *a, const laci_mass *mass,
                      size_t batch, size_t head, size_t begin, size_t stop, size_t row)
{
    const laci_mass_stats *s = a->stats;
    const size_t at = laci_plan_row_of(s->kept, a->n_heads, batch, head, begin / s->q_block);
    const uint32_t first = s->kept->row_ptr[at];
    cpu->kernels.mass_in(floats(s->kept_mass, (batch * a->n_heads + head) * a->n_q + begin), mass,
                         row, stop - begin, s->kept->cols + first,
                         s->kept->row_ptr[at + 1] - first);
}

/* Masses of query blocks [begin, end) of one head; tile rows start at `first`. */
static void stats_of_head(const cpu_backend *cpu, const workspace *w, const laci_attention *a,
                          const tile_job *job, size_t head, size_t first)
{
    const laci_mass_stats *s = a->stats;
    const laci_mass mass = { .sums = s->doubled ? w->tile.squares : w->tile.sums,
                             .sums_max = w->tile.sums_max,
                             .max = w->tile.max,
                             .n_panels = w->tile.panel_at,
                             .step = w->tile.step,
                             .block = s->k_block,
                             .n_blocks = (a->n_k + s->k_block - 1) / s->k_block,
                             .squared = s->doubled };
    const size_t pattern = job->batch * a->n_heads + head;
    const size_t n_q_blocks = (a->n_q + s->q_block - 1) / s->q_block;
    for (size_t begin = job->begin; begin < job->end; begin += s->q_block) {
        const size_t stop = begin + s->q_block < job->end ? begin + s->q_block : job->end;
        const size_t at = (pattern * n_q_blocks + begin / s->q_block) * mass.n_blocks;
        const size_t row = first + begin - job->begin, n = stop - begin;
        float *sum = floats(s->mass, at), *late = floats(s->late, at);
        cpu->kernels.mass_rows(sum, &mass, row, n, 0);
        cpu->kernels.scale(sum, 1 / (float)n, mass.n_blocks);
        if (late) {
            cpu->kernels.mass_rows(late, &mass, row, n, s->late_from);
            cpu->kernels.scale(late, 1 / (float)n, mass.n_blocks);
        }
        if (s->kept_mass) keep_mass(cpu, a, &mass, job->batch, head, begin, stop, row);
    }
}

/* ------------------------------------------------------------------ jobs */

static void attend_tile(const cpu_backend *cpu, const laci_plan *plan, const laci_attention *a,
                        const tile_job *job)
{
    const size_t d = a->kv->d_head, kv_head = job->head * a->kv->n_kv_heads / a->n_heads;
    const bool by_row = a->stats && a->stats->base;
    const size_t most_keys = by_row && a->n_k > LACI_MASS_PART ? LACI_MASS_PART : a->n_k;
    workspace w;
    (void)carve(&w, scratch_of(cpu, job->thread), d, a->stats ? most_keys : 0,
                a->stats ? stats_step(a->stats->k_block) : 0);
    if (a->stats && !a->stats->doubled) w.tile.squares = NULL;
    begin_tile(cpu, &w, a, job);
    const size_t words = (a->n_k + LACI_PANEL - 1) / LACI_PANEL;
    reader r = { .cpu = cpu,
                 .tile = &w.tile,
                 .k = kv_panels(&cpu->base, a->kv, LACI_KEYS, job->batch, kv_head),
                 .v = kv_panels(&cpu->base, a->kv, LACI_VALUES, job->batch, kv_head),
                 .k_bytes = laci_k_panel_bytes(cpu->base.act, d),
                 .v_bytes = laci_v_panel_bytes(cpu->base.act, d),
                 .valid = a->valid ? a->valid + job->batch * words : NULL,
                 .pool = w.pool,
                 .open = POOL,
                 .by_row = by_row ? a : NULL,
                 .job = job };
    read_row(&r, plan, laci_plan_row_of(plan, a->n_heads, job->batch, job->head, job->row),
             keys_of(a, job->batch));
    for (size_t h = 0; a->stats && !by_row && h < job->n_heads; h++)
        stats_of_head(cpu, &w, a, job, job->head + h, h * (job->end - job->begin));
    end_tile(cpu, &w, a, job);
}

/* `whole` names `n_heads` heads of a KV group; those in a run with the same keys share a tile. */
static void attend_heads(const cpu_backend *cpu, const laci_plan *plan, const laci_attention *a,
                         const tile_job *whole)
{
    tile_job job = *whole;
    const size_t end = whole->head + whole->n_heads;
    for (; job.head < end; job.head += job.n_heads) {
        const size_t at = laci_plan_row_of(plan, a->n_heads, job.batch, job.head, job.row);
        job.n_heads = 1;
        while (job.head + job.n_heads < end &&
               laci_plan_same_keys(
                   plan, at,
                   laci_plan_row_of(plan, a->n_heads, job.batch, job.head + job.n_heads, job.row)))
            job.n_heads++;
        attend_tile(cpu, plan, a, &job);
    }
}

typedef struct {
    const cpu_backend *cpu;
    const laci_plan *plan;
    const laci_attention *a;
    size_t heads, part, n_parts; /* heads and queries of a tile, tiles of a plan row */
} attend_job;

static void attend_span(void *job, size_t begin, size_t end, int thread)
{
    const attend_job *j = job;
    const laci_plan *plan = j->plan;
    const laci_attention *a = j->a;
    for (size_t i = begin; i < end; i++) {
        const size_t row = i / j->n_parts % plan->n_rows, group = i / j->n_parts / plan->n_rows;
        tile_job tile = { .batch = group / (a->n_heads / j->heads),
                          .head = group % (a->n_heads / j->heads) * j->heads,
                          .n_heads = j->heads,
                          .row = row,
                          .thread = thread };
        const size_t stop = laci_plan_first_query(plan, a->n_q, (row + 1) * plan->q_block);
        tile.begin =
            laci_plan_first_query(plan, a->n_q, row * plan->q_block) + i % j->n_parts * j->part;
        tile.end = tile.begin + j->part < stop ? tile.begin + j->part : stop;
        if (tile.begin < tile.end) attend_heads(j->cpu, plan, a, &tile);
    }
}

void laci_cpu_attend(laci_backend *be, const laci_plan *plan, const laci_attention *a)
{
    /* A plan row may hold more queries than a tile: it is cut into n_parts, the last ones empty
     * where few of its queries are active. */
    const size_t longest = plan->q_block < a->n_q ? plan->q_block : a->n_q;
    const size_t heads = laci_heads_per_tile(a, longest, LACI_TILE_ROWS);
    const size_t part = LACI_TILE_ROWS / heads;
    const size_t n_parts = (longest + part - 1) / part;
    const size_t n_batch = a->n_batch ? a->n_batch : 1;
    const size_t n_jobs = n_batch * (a->n_heads / heads) * plan->n_rows * n_parts;
    attend_job job = { cpu_of(be), plan, a, heads, part, n_parts };
    spread(be, n_jobs, 1, a->n_q * a->n_k * a->n_heads * n_batch, attend_span, &job);
}

/* ------------------------------------------------------------------ columns and merging */

/* Probabilities of keys [first, end), at most COLUMN_PANELS panels, of one group of queries of one
 * head, into sums[end - first]. */
static void columns_of_head(const cpu_backend *cpu, const laci_attention *a, const tile_job *job,
                            size_t first, size_t end, float *sums)
{
    const size_t d = a->kv->d_head, n = job->end - job->begin;
    const size_t kv_head = job->head * a->kv->n_kv_heads / a->n_heads;
    const size_t k_bytes = laci_k_panel_bytes(cpu->base.act, d);
    const char *k = kv_panels(&cpu->base, a->kv, LACI_KEYS, job->batch, kv_head);
    const char *v = kv_panels(&cpu->base, a->kv, LACI_VALUES, job->batch, kv_head);
    const size_t words = (a->n_k + LACI_PANEL - 1) / LACI_PANEL;
    const float *lse = floats(a->lse, (job->batch * a->n_heads + job->head) * a->n_q + job->begin);
    workspace w;
    laci_panel panels[COLUMN_PANELS];
    float padded[COLUMN_PANELS * LACI_PANEL] = { 0 };
    size_t n_panels = 0;
    (void)carve(&w, scratch_of(cpu, job->thread), d, 0, 0);
    begin_tile(cpu, &w, a, job);
    for (size_t i = 0; i < n; i++)
        w.lse[i] = lse[i] * 1.44269504088896341f;
    for (size_t key = first; key < end; key += LACI_PANEL) {
        const size_t at = key / LACI_PANEL;
        const uint64_t held =
            end - key < LACI_PANEL ? (UINT64_C(1) << (end - key)) - 1 : UINT64_MAX;
        const uint64_t valid = a->valid ? a->valid[job->batch * words + at] : UINT64_MAX;
        panels[n_panels++] = (laci_panel){ k + at * k_bytes, v, held & valid, (uint32_t)key, NULL };
    }
    if (cpu->base.act == LACI_BF16)
        cpu->kernels.column_mass_bf16(&w.tile, panels, n_panels, w.lse, padded);
    else
        cpu->kernels.column_mass_f32(&w.tile, panels, n_panels, w.lse, padded);
    for (size_t i = 0; i < end - first; i++)
        sums[i] = padded[i] / (float)n;
}

/* All keys, for the heads that share them: some panels at a time, which the heads read in turn
 * while they are near. `out` is of the first head; the next one's is `stride` further. */
static void columns_of_heads(const cpu_backend *cpu, const laci_attention *a, const tile_job *whole,
                             float *out, size_t stride)
{
    const size_t n_keys = keys_of(a, whole->batch), chunk = (size_t)COLUMN_PANELS * LACI_PANEL;
    for (size_t h = 0; h < whole->n_heads; h++)
        memset(out + h * stride + n_keys, 0, (a->n_k - n_keys) * sizeof *out);
    for (size_t first = 0; first < n_keys; first += chunk) {
        const size_t end = first + chunk < n_keys ? first + chunk : n_keys;
        for (size_t h = 0; h < whole->n_heads; h++) {
            tile_job job = *whole;
            job.head += h;
            job.n_heads = 1;
            columns_of_head(cpu, a, &job, first, end, out + h * stride + first);
        }
    }
}

typedef struct {
    const cpu_backend *cpu;
    const laci_attention *a;
    laci_buf *out;
    size_t q_group, first, n_groups;
} columns_job;

static void columns_span(void *job, size_t begin, size_t end, int thread)
{
    const columns_job *j = job;
    const laci_attention *a = j->a;
    const size_t n_groups = j->n_groups, heads = a->n_heads / a->kv->n_kv_heads;
    for (size_t i = begin; i < end; i++) {
        const size_t head = i / n_groups * heads, query = (j->first + i % n_groups) * j->q_group;
        const tile_job tile = { .batch = head / a->n_heads,
                                .head = head % a->n_heads,
                                .n_heads = heads,
                                .begin = query,
                                .end = query + j->q_group < a->n_q ? query + j->q_group : a->n_q,
                                .thread = thread };
        columns_of_heads(j->cpu, a, &tile,
                         floats(j->out, (head * n_groups + i % n_groups) * a->n_k),
                         n_groups * a->n_k);
    }
}

void laci_cpu_column_mass(laci_backend *be, const laci_attention *a, size_t q_group, size_t first,
                          size_t n_groups, laci_buf *out)
{
    const size_t n_batch = a->n_batch ? a->n_batch : 1;
    columns_job job = { cpu_of(be), a, out, q_group, first, n_groups };
    spread(be, n_batch * a->kv->n_kv_heads * n_groups, 1,
           n_batch * a->n_heads * n_groups * q_group * a->n_k, columns_span, &job);
}

typedef struct {
    const cpu_backend *cpu;
    const laci_merge *parts;
} merge_job;

static void merge_span(void *job, size_t begin, size_t end, int thread)
{
    const cpu_backend *cpu = ((const merge_job *)job)->cpu;
    const laci_merge *p = ((const merge_job *)job)->parts;
    const size_t n_q = p->n_q, n_heads = p->n_heads, d = p->d_head;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const size_t head = i % n_heads, query = i / n_heads % n_q, batch = i / n_heads / n_q;
        const size_t at = (batch * n_heads + head) * n_q + query;
        cpu->kernels.merge(floats(p->out, i * d), floats(p->lse, at), floats(p->other, i * d),
                           *floats(p->other_lse, at), d);
    }
}

void laci_cpu_merge(laci_backend *be, const laci_merge *parts)
{
    const size_t n_rows = parts->n_batch * parts->n_q * parts->n_heads;
    merge_job job = { cpu_of(be), parts };
    spread(be, n_rows, 0, n_rows * parts->d_head, merge_span, &job);
}
