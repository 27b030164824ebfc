/* watch.h: where numbers that are not finite come from. The choice of a token notices them in
 * logits, for nothing; only then is the forward pass repeated under watch, which reads back what
 * each layer leaves. Called by the denoising loop and, in every pass under watch, by layer.c. */
#ifndef LACI_ENGINE_WATCH_H
#define LACI_ENGINE_WATCH_H

#include "engine/pass.h"

/* What a pass under watch came across first. */
enum { LACI_WATCH_NOTHING = -2, LACI_WATCH_EMBEDDING = -1 };
struct laci_watch {
    int first; /* a layer, from 0 on, or one of the above */
};

/* Whether n numbers of the host are all finite. */
bool laci_all_finite(const float *x, size_t n);

/* The same of n rows of a buffer from row `first` on: f32, or with `is_act` activations. */
bool laci_rows_finite(const lac_session *s, const laci_buf *x, bool is_act, size_t first, size_t n);

/* Takes note of rows of the residual stream behind a layer, unless something was found before. */
void laci_watch_rows(const lac_session *s, int layer, const laci_buf *h, size_t first, size_t n);

/* Wipes what a pass left in the session's buffers and the keys of the sequence: NaN in rows that a
 * later, shorter pass does not write would reach it. */
void laci_watch_wipe(lac_session *s, laci_sequence *seq);

/* The sink of a pass under watch: nobody wants its rows. */
lac_status laci_drop_rows(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err);

/* Where logits that are not finite come from: `is_head` when what went into the output matrix was
 * finite, else what a watched pass found. Writes the sentence about the logits of `position`, whose
 * end `when` may tell the step. Returns LAC_ENOTFINITE. */
lac_status laci_watch_fail(const lac_session *s, int32_t position, const char *when, bool is_head,
                           const laci_watch *watch, lac_error *err);

#endif
