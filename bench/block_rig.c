/* block_rig.c: see block_rig.h. A session for every sequence: they run one after another. */
#include "block_rig.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "engine/block.h"
#include "made_model.h"
#include "made_prefix.h"

typedef struct {
    lac_session *s;
    laci_generation gen;
    laci_clock clock;
    float *rows; /* [block, d_model] to be filled in, NULL = not wanted */
} sequence;

struct block_rig {
    block_rig_options opt;
    size_t block;
    sequence *all; /* [batch] owned */
};

/* A sink that keeps final rows, which are act in LACI_BUF_X. */
static lac_status keep_rows(void *user, size_t first, size_t n, lac_error *err)
{
    const sequence *q = user;
    const lac_session *s = q->s;
    const size_t d = (size_t)s->model->config.d_model;
    const bool is_bf16 = laci_backend_act(s->be) == LACI_BF16;
    (void)err;
    for (size_t i = 0; i < n * d && q->rows; i++) {
        uint16_t half;
        float *out = &q->rows[first * d + i];
        laci_backend_read(s->be, s->buf[LACI_BUF_X], i * (is_bf16 ? 2 : 4),
                          is_bf16 ? (void *)&half : out, is_bf16 ? 2 : 4);
        if (is_bf16) *out = laci_bf16_to_f32(half);
    }
    return LAC_OK;
}

/* The i-th sequence: its session, and a prefix of its own or the owner's. */
static lac_status open_sequence(block_rig *rig, size_t i, lac_error *err)
{
    const block_rig_options *opt = &rig->opt;
    sequence *q = &rig->all[i];
    lac_status st = lac_session_create(&q->s, opt->model, opt->how, err);
    if (!st) st = laci_session_begin(q->s, 1, err);
    if (st) return st;
    q->gen = (laci_generation){ .s = q->s,
                                .config = &opt->model->config,
                                .n = opt->prefix + rig->block,
                                .n_candidates = (int)rig->block,
                                .is_blockwise = true,
                                .clock = &q->clock };
    if (!opt->owner) return made_prefix_fill(q->s, opt->prefix, opt->agreement, opt->seed + i, err);
    made_prefix_lend(q->s, opt->owner->all[i].s, opt->prefix);
    return LAC_OK;
}

lac_status block_rig_open(block_rig **out, const block_rig_options *opt, lac_error *err)
{
    block_rig *rig = calloc(1, sizeof *rig);
    if (!rig) return laci_fail_memory(err, "a batch", sizeof *rig);
    rig->opt = *opt;
    rig->block = (size_t)opt->model->config.block_size;
    rig->all = calloc(opt->batch, sizeof *rig->all);
    lac_status st =
        rig->all ? LAC_OK : laci_fail_memory(err, "a batch", opt->batch * sizeof *rig->all);
    for (size_t i = 0; i < opt->batch && !st; i++)
        st = open_sequence(rig, i, err);
    rig->opt.how = NULL; /* the caller's, for the time of the call */
    if (st)
        block_rig_close(rig);
    else
        *out = rig;
    return st;
}

void block_rig_close(block_rig *rig)
{
    if (!rig) return;
    for (size_t i = 0; rig->all && i < rig->opt.batch; i++) {
        if (rig->opt.owner) made_prefix_return(rig->all[i].s);
        lac_session_free(rig->all[i].s);
    }
    free(rig->all);
    free(rig);
}

lac_status block_rig_begin(block_rig *rig, lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t i = 0; i < rig->opt.batch && !st; i++) {
        sequence *q = &rig->all[i];
        made_canvas(q->s, rig->opt.seed + i);
        q->s->holes[0] = (int32_t)rig->opt.prefix;
        for (size_t row = 0; row < rig->block; row++)
            q->s->rows[row] = (int32_t)(rig->opt.prefix + row);
        q->gen.step = 0;
        st = laci_block_enter(&q->gen, 0, 0, (int)rig->block, err);
    }
    return st;
}

void block_rig_change(block_rig *rig, size_t position, int32_t by)
{
    for (size_t i = 0; i < rig->opt.batch; i++) {
        int32_t *id = &rig->all[i].s->input[rig->opt.prefix + position];
        *id = (*id + by) % rig->opt.model->config.n_vocab;
    }
}

lac_status block_rig_run(block_rig *rig, void (*before)(void *user), void *user, float *rows,
                         block_rig_step *out, lac_error *err)
{
    const size_t batch = rig->opt.batch;
    const size_t n = rig->block * (size_t)rig->opt.model->config.d_model;
    block_rig_step sum = { .density = 0 };
    size_t n_selected = 0;
    for (size_t i = 0; i < batch; i++) {
        sequence *q = &rig->all[i];
        q->clock = (laci_clock){ 0 };
        q->rows = rows ? rows + i * n : NULL;
        before(user);
        const instant start = instant_now();
        const lac_status st = laci_block_run(&q->gen, (laci_row_sink){ keep_rows, q }, err);
        const instant end = instant_now();
        if (st) return st;
        const bool selected = q->s->block->stats.n_lists > 0;
        q->gen.step++;
        sum.time.wall += end.wall - start.wall;
        sum.time.cpu += end.cpu - start.cpu;
        sum.attention += q->clock.behind_cache;
        sum.density += q->s->density / (double)batch;
        sum.rows_read += q->gen.n_active / (double)batch;
        sum.inflation += selected ? q->gen.union_inflation : 0;
        sum.bytes += (double)q->gen.bytes_read;
        n_selected += selected;
    }
    sum.inflation = n_selected ? sum.inflation / (double)n_selected : (double)NAN;
    *out = sum;
    return LAC_OK;
}

lac_session *block_rig_session(const block_rig *rig)
{
    return rig->all[0].s;
}

const laci_prefix *block_rig_policy(const block_rig *rig)
{
    return &rig->all[0].s->block->how;
}

void block_rig_bytes(const block_rig *rig, int n_layers, size_t *cache, size_t *policy)
{
    const laci_prefix dense = { .is_dense = true };
    const lac_session *s = rig->all[0].s;
    const laci_dtype act = laci_backend_act(s->be);
    laci_config c = rig->opt.model->config;
    c.n_layers = n_layers;
    *cache = laci_block_cache_need(&c, act, s->layout.n_ctx);
    *policy = laci_block_bytes(&c, act, s->layout.n_ctx, &s->block->how) -
              laci_block_bytes(&c, act, s->layout.n_ctx, &dense);
}
