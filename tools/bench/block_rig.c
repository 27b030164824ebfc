/* block_rig.c: see block_rig.h. One session whose sequences share a forward pass. */
#include "bench/block_rig.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/made_model.h"
#include "bench/made_prefix.h"
#include "engine/block.h"

struct block_rig {
    block_rig_options opt;
    size_t block;
    lac_session *s;       /* owned, of batch sequences */
    laci_generation *all; /* [batch] owned, on the sequence of the same number */
    laci_rows *passes;    /* [batch] owned */
    float *rows;          /* [batch, block, d_model] to be filled in, NULL = not wanted */
};

/* A sink that keeps final rows, which are act in LACI_BUF_X. */
static lac_status keep_rows(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err)
{
    const block_rig *rig = user;
    const lac_session *s = rig->s;
    const size_t d = (size_t)s->model->config.d_model;
    const bool is_bf16 = laci_backend_act(s->be) == LACI_BF16;
    const size_t size = laci_act_bytes(laci_backend_act(s->be));
    (void)err;
    for (size_t p = 0, from = 0; p < n_parts && rig->rows; from += parts[p++].n * d) {
        float *to = rig->rows + (parts[p].pass * rig->block + parts[p].first) * d;
        for (size_t i = 0; i < parts[p].n * d; i++) {
            uint16_t half;
            laci_backend_read(s->be, s->buf[LACI_BUF_X], (from + i) * size,
                              is_bf16 ? (void *)&half : &to[i], size);
            if (is_bf16) to[i] = laci_bf16_to_f32(half);
        }
    }
    return LAC_OK;
}

/* The i-th sequence: a prefix of its own or the owner's. */
static lac_status open_sequence(block_rig *rig, size_t i, lac_error *err)
{
    const block_rig_options *opt = &rig->opt;
    laci_sequence *seq = &rig->s->seq[i];
    rig->all[i] = (laci_generation){ .s = rig->s,
                                     .seq = seq,
                                     .config = &opt->model->config,
                                     .turn = LACI_TURN_STEP,
                                     .n = opt->prefix + rig->block,
                                     .n_candidates = (int)rig->block };
    if (!opt->owner)
        return made_prefix_fill(rig->s, seq, opt->prefix, opt->agreement, opt->seed + i, err);
    made_prefix_lend(rig->s, seq, &opt->owner->s->seq[i], opt->prefix);
    return LAC_OK;
}

lac_status block_rig_open(block_rig **out, const block_rig_options *opt, lac_error *err)
{
    block_rig *rig = calloc(1, sizeof *rig);
    if (!rig) return laci_fail_memory(err, "a batch", sizeof *rig);
    rig->opt = *opt;
    rig->block = (size_t)opt->model->config.block_size;
    rig->all = calloc(opt->batch, sizeof *rig->all);
    rig->passes = calloc(opt->batch, sizeof *rig->passes);
    lac_status st = rig->all && rig->passes
                        ? LAC_OK
                        : laci_fail_memory(err, "a batch", opt->batch * sizeof *rig->all);
    if (!st) st = laci_session_new(&rig->s, opt->model, opt->how, opt->batch, err);
    for (size_t i = 0; i < opt->batch && !st; i++) {
        st = laci_session_begin(rig->s, &rig->s->seq[i], 1, err);
        if (!st) st = open_sequence(rig, i, err);
    }
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
    for (size_t i = 0; rig->s && rig->opt.owner && i < rig->opt.batch; i++)
        made_prefix_return(&rig->s->seq[i]);
    lac_session_free(rig->s);
    free(rig->passes);
    free(rig->all);
    free(rig);
}

lac_status block_rig_begin(block_rig *rig, lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t i = 0; i < rig->opt.batch && !st; i++) {
        laci_sequence *seq = &rig->s->seq[i];
        made_canvas(rig->s, seq, rig->opt.seed + i);
        seq->holes[0] = (int32_t)rig->opt.prefix;
        for (size_t row = 0; row < rig->block; row++)
            seq->rows[row] = (int32_t)(rig->opt.prefix + row);
        rig->all[i].step = rig->all[i].block_step = 0;
        rig->all[i].block++;
        st = laci_block_enter(&rig->all[i], err);
    }
    return st;
}

void block_rig_change(block_rig *rig, size_t position, int32_t by)
{
    for (size_t i = 0; i < rig->opt.batch; i++) {
        int32_t *id = &rig->s->seq[i].input[rig->opt.prefix + position];
        *id = (*id + by) % rig->opt.model->config.n_vocab;
    }
}

lac_status block_rig_run(block_rig *rig, void (*before)(void *user), void *user, float *rows,
                         block_rig_step *out, lac_error *err)
{
    const size_t batch = rig->opt.batch;
    block_rig_step sum = { .density = 0 };
    laci_clock clock = { 0 };
    size_t n_selected = 0;
    rig->rows = rows;
    for (size_t i = 0; i < batch; i++)
        rig->passes[i] = laci_generation_rows(&rig->all[i]);
    before(user);
    const instant start = instant_now();
    const lac_status st =
        laci_pass(rig->s, rig->passes, batch, (laci_row_sink){ keep_rows, rig }, &clock, err);
    const instant end = instant_now();
    if (st) return st;
    sum.time = (instant){ end.wall - start.wall, end.cpu - start.cpu };
    sum.attention = clock.behind_cache;
    for (size_t i = 0; i < batch; i++) {
        laci_generation *g = &rig->all[i];
        laci_generation_note(g, &rig->passes[i]);
        const bool selected = g->seq->stats.n_lists > 0;
        g->step++;
        g->block_step++;
        sum.density += g->density / (double)batch;
        sum.rows_read += g->n_active / (double)batch;
        sum.inflation += selected ? g->union_inflation : 0;
        sum.bytes += (double)g->bytes_read;
        n_selected += selected;
    }
    sum.inflation = n_selected ? sum.inflation / (double)n_selected : (double)NAN;
    *out = sum;
    return LAC_OK;
}

lac_session *block_rig_session(const block_rig *rig)
{
    return rig->s;
}

const laci_prefix *block_rig_policy(const block_rig *rig)
{
    return &rig->s->chosen.settings.prefix;
}

void block_rig_bytes(const block_rig *rig, int n_layers, size_t *cache, size_t *policy)
{
    const lac_session *s = rig->s;
    laci_config c = rig->opt.model->config;
    laci_chosen chosen = s->chosen;
    laci_session_layout l = { .n_ctx = 0 };
    const laci_session_room room = { &c, laci_backend_act(s->be), s->layout.n_ctx, 1, NULL };
    c.n_layers = n_layers;
    (void)laci_session_lay_out(&room, &chosen, &l, NULL); /* as it did for this session */
    *cache = l.kv_bytes;
    *policy = l.policy.n_kept ? l.policy_bytes : 0;
    for (int i = LACI_BUF_MASS; i < LACI_N_BUFS; i++)
        *policy += l.bytes[i];
}
