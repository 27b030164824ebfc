/* watch.c: see watch.h. Numbers are read back in pieces that fit on the stack: a run that ends here
 * needs no memory for it. */
#include "engine/watch.h"

#include <math.h>
#include <stdio.h>

#include "base/error.h"

enum { PIECE = 4096 }; /* numbers read back at once */

bool laci_all_finite(const float *x, size_t n)
{
    size_t n_odd = 0;
    for (size_t i = 0; i < n; i++)
        n_odd += isfinite(x[i]) ? 0 : 1;
    return n_odd == 0;
}

bool laci_rows_finite(const lac_session *s, const laci_buf *x, bool is_act, size_t first, size_t n)
{
    const size_t d = (size_t)s->model->config.d_model, end = (first + n) * d;
    const bool is_half = is_act && laci_backend_act(s->be) == LACI_BF16;
    float piece[PIECE];
    uint16_t half[PIECE];
    for (size_t at = first * d, n_now; at < end; at += n_now) {
        n_now = end - at < PIECE ? end - at : PIECE;
        if (is_half)
            laci_backend_read(s->be, x, at * sizeof *half, half, n_now * sizeof *half);
        else
            laci_backend_read(s->be, x, at * sizeof *piece, piece, n_now * sizeof *piece);
        for (size_t i = 0; is_half && i < n_now; i++)
            piece[i] = laci_bf16_to_f32(half[i]);
        if (!laci_all_finite(piece, n_now)) return false;
    }
    return true;
}

void laci_watch_rows(const lac_session *s, int layer, const laci_buf *h, size_t first, size_t n)
{
    if (!s->watch || s->watch->first != LACI_WATCH_NOTHING) return;
    if (!laci_rows_finite(s, h, false, first, n)) s->watch->first = layer;
}

lac_status laci_drop_rows(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err)
{
    (void)user, (void)parts, (void)n_parts, (void)err;
    return LAC_OK;
}

void laci_watch_wipe(lac_session *s, laci_sequence *seq)
{
    for (int i = 0; i < LACI_N_BUFS; i++)
        if (s->buf[i] && i != LACI_BUF_COS && i != LACI_BUF_SIN)
            laci_backend_clear(s->be, s->buf[i]);
    laci_keys_wipe(&seq->kv);
}

lac_status laci_watch_fail(const lac_session *s, int32_t position, const char *when, bool is_head,
                           const laci_watch *watch, lac_error *err)
{
    char where[128];
    if (is_head)
        (void)snprintf(where, sizeof where, "the output matrix makes them of finite numbers");
    else if (watch->first == LACI_WATCH_EMBEDDING)
        (void)snprintf(where, sizeof where, "they begin in the embedding of the tokens");
    else if (watch->first == LACI_WATCH_NOTHING)
        (void)snprintf(where, sizeof where, "they begin in the final norm");
    else
        (void)snprintf(where, sizeof where, "they begin in layer %d of 0 to %d", watch->first,
                       s->model->config.n_layers - 1);
    return laci_fail(err, LAC_ENOTFINITE, 0,
                     "the logits of position %d%s hold NaN or an infinity: %s", position, when,
                     where);
}
