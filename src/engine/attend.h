/* attend.h: attention of one sequence in one layer of a pass: it asks the policy which rows read
 * which keys, has that done, shows the policy what was measured and adds up what was read. */
#ifndef LACI_ENGINE_ATTEND_H
#define LACI_ENGINE_ATTEND_H

#include "engine/attend_pieces.h"

/* Rows of one sequence in a pass. What they see: all keys [0, n_keys), of which their own are
 * stored before; with decoding blocks everything before their block and their whole block. */
typedef struct {
    laci_sequence *seq;       /* no two of a pass are the same */
    const int32_t *ids;       /* [n] token ids, no holes */
    const int32_t *positions; /* [n] ascending; NULL = from `first` on */
    size_t first, n;
    size_t n_keys;
    const int32_t *wanted; /* [n_wanted] positions whose logits are wanted, never falling */
    size_t n_wanted;
    size_t first_wanted; /* what the sink counts them from */
    bool is_final;       /* their keys are final, and they read everything: no policy is asked */
    size_t time_row;     /* row of the noise-level table, for models that have one */
    laci_moment at;      /* layer, n_q and n_k are filled in by the pass */
    lac_plan_fn on_plan; /* sees each layer's plan; NULL = none */
    void *user;
} laci_rows;

typedef struct {
    laci_layer_run run;
    const laci_rows *rows;
    laci_moment at;
    laci_buf *x, *q, *o; /* of its rows: normalised input, queries, and what comes out */
    laci_request request;
} laci_attend;

/* Whether results of planned keys are kept and merged with those of the rows' own keys: then all
 * rows take part in every layer. */
bool laci_attend_keeps(const lac_session *s, const laci_rows *rows);

/* Keys [0, n) that a policy plans for them. */
size_t laci_attend_n_planned(const lac_session *s, const laci_rows *rows);

/* All rows, whose queries are in q. Where plans are over canvases the layer has been planned.
 * Errors: what the policy says, EINTERNAL. */
lac_status laci_attend_all(laci_attend *c, lac_error *err);

/* Plans a canvas; its queries need not be there unless request.rehearsal comes back: then
 * attend_all is called for what it measures, and this again. */
lac_status laci_attend_plan(laci_attend *c, bool is_last, lac_error *err);

/* n rows at `positions` alone, in a last layer in which nothing is measured and kept; their queries
 * are in q. */
void laci_attend_wanted(laci_attend *c, const int32_t *positions, size_t n);

/* Adds what a canvas read in the layer and shows its plan; after laci_attend_all or _wanted. */
void laci_attend_report(laci_attend *c);

/* After a pass: completes the sequence's statistics by what a device kept to itself. Waits for it.
 */
void laci_attend_settle(lac_session *s, const laci_rows *rows);

#endif
