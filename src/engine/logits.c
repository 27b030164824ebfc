/* logits.c: the public lac_session_logits: one forward pass over a canvas, through the key cache
 * where a model has one, and the rows of logits that were asked for. Decides nothing. */
#include <math.h>

#include "base/error.h"
#include "engine/block.h"
#include "engine/denoise.h"
#include "engine/watch.h"

typedef struct {
    lac_session *s;
    float *out; /* [n_rows, n_vocab] */
    bool is_broken, is_head_broken;
    size_t broken; /* first row that is not finite */
} logits_sink;

/* Takes note of the first of n rows of logits that is not finite, made of rows of X. */
static void check_logits(logits_sink *sink, size_t row, size_t x_row, size_t n)
{
    const lac_session *s = sink->s;
    const size_t n_vocab = (size_t)s->model->config.n_vocab;
    for (size_t i = 0; i < n && !sink->is_broken; i++) {
        if (laci_all_finite(sink->out + (row + i) * n_vocab, n_vocab)) continue;
        sink->is_broken = true;
        sink->broken = row + i;
        sink->is_head_broken = laci_rows_finite(s, s->buf[LACI_BUF_X], true, x_row + i, 1);
    }
}

static lac_status read_logits(void *user, const laci_row_part *part, size_t n_parts, lac_error *err)
{
    (void)n_parts;
    (void)err;
    logits_sink *sink = user;
    const size_t first = part->first, n = part->n;
    lac_session *s = sink->s;
    const size_t n_vocab = (size_t)s->model->config.n_vocab, chunk = s->layout.logit_rows;
    for (size_t row = 0; row < n; row += chunk) {
        const size_t n_part = n - row < chunk ? n - row : chunk;
        laci_pass_logits(s, s->buf[LACI_BUF_X], row, n_part, s->buf[LACI_BUF_LOGITS]);
        laci_backend_read(s->be, s->buf[LACI_BUF_LOGITS], 0, sink->out + (first + row) * n_vocab,
                          n_part * n_vocab * sizeof(float));
        check_logits(sink, first + row, row, n_part);
    }
    return LAC_OK;
}

static lac_status check_rows(const int32_t *rows, size_t n_rows, size_t n_ids, lac_error *err)
{
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i] < 0 || (size_t)rows[i] >= n_ids || (i && rows[i] < rows[i - 1]))
            return laci_fail(err, LAC_EINVAL, 0,
                             "row %d at index %zu: rows never fall and lie in 0 to %zu", rows[i], i,
                             n_ids - 1);
    return LAC_OK;
}

/* Says where logits that are not finite come from. */
static lac_status fail_logits(const logits_sink *sink, const laci_rows *all, lac_error *err)
{
    lac_session *s = sink->s;
    laci_watch watch = { LACI_WATCH_NOTHING };
    laci_rows again = *all;
    again.wanted += sink->broken;
    again.n_wanted = 1;
    laci_watch_wipe(s, s->seq);
    s->watch = &watch;
    lac_status st = sink->is_head_broken ? LAC_OK : laci_session_begin(s, s->seq, 1, err);
    if (!st && !sink->is_head_broken)
        st = laci_block_passes(s, &again, (laci_row_sink){ laci_drop_rows, NULL }, err);
    s->watch = NULL;
    laci_watch_wipe(s, s->seq);
    if (st) return st;
    return laci_watch_fail(s, all->wanted[sink->broken], "", sink->is_head_broken, &watch, err);
}

lac_status laci_session_logits(lac_session *s, const int32_t *ids, size_t n_ids,
                               const int32_t *rows, size_t n_rows, float noise, float *logits,
                               lac_error *err)
{
    const laci_config *c = &s->model->config;
    const int n_tokens = laci_tokenizer_n_tokens(s->model->tokenizer);
    logits_sink sink = { .s = s, .out = logits };
    if (n_ids > s->layout.n_ctx)
        return laci_fail(err, LAC_ECONTEXT, 0, "%zu ids: the context holds %zu", n_ids,
                         s->layout.n_ctx);
    lac_status st = check_rows(rows, n_rows, n_ids, err);
    if (!st) st = laci_session_begin(s, s->seq, 1, err);
    if (st) return st;
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] != LAC_HOLE && (ids[i] < 0 || ids[i] >= n_tokens))
            return laci_fail(err, LAC_EINVAL, 0, "id %d at position %zu: the model has %d tokens",
                             ids[i], i, n_tokens);
        s->seq->input[i] = ids[i] == LAC_HOLE ? c->mask_id : ids[i];
    }
    const laci_rows all = {
        .seq = s->seq,
        .ids = s->seq->input,
        .n = n_ids,
        .n_keys = n_ids,
        .wanted = rows,
        .n_wanted = n_rows,
        .time_row = c->n_time_steps ? (size_t)lroundf(noise * (float)(c->n_time_steps - 1)) : 0,
        .at = { .n_steps = 1, .prompt_end = n_ids },
    };
    st = laci_block_passes(s, &all, (laci_row_sink){ read_logits, &sink }, err);
    return !st && sink.is_broken ? fail_logits(&sink, &all, err) : st;
}
