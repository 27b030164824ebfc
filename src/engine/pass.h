/* pass.h: the forward pass of every model: rows of one or several sequences through all layers, in
 * chunks. Their keys are stored at their positions first; what they read of all keys is the affair
 * of attend.h. Over a whole canvas all rows run and the key store keeps one layer; behind a key
 * cache the rows of a block run and the store keeps all layers. Knows nothing of masks, steps or
 * sampling. */
#ifndef LACI_ENGINE_PASS_H
#define LACI_ENGINE_PASS_H

#include "engine/attend.h"

/* Receives final normalised rows, from row 0 of LACI_BUF_X on, act [.., d_model]: those of the
 * parts, one after the other. */
typedef struct {
    lac_status (*take)(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err);
    void *user;
} laci_row_sink;

/* Runs rows of n sequences, of together at most layout.n_pass rows; those that laci_attend_keeps
 * names come first, and canvases run alone. Leaves what attention read in the sequences' stats. No
 * sequence's results depend on the others.
 *
 *   clock   added to; NULL = not timed
 *
 * Errors: what a policy or the sink reports, EINTERNAL. */
lac_status laci_pass(lac_session *s, const laci_rows *rows, size_t n, laci_row_sink sink,
                     laci_clock *clock, lac_error *err);

/* Logits of n <= logit_rows rows of `x` (act, final rows) from row x_row, into `out`. */
void laci_pass_logits(lac_session *s, const laci_buf *x, size_t x_row, size_t n, laci_buf *out);

#endif
