/* eval_run.h: one sample under one attention policy after another: the answer, and how far the
 * policy's computation is from the dense one. The dense run comes first and is kept; every other
 * run is compared with it step by step on the same canvas (teacher-forced), and by its own answer
 * (free-running). */
#ifndef LACUNA_TOOLS_EVAL_RUN_H
#define LACUNA_TOOLS_EVAL_RUN_H

#include "eval/eval_canvas.h"

/* What one run of one sample gives; NAN where it is not known. */
typedef struct {
    double score, exact;       /* [0, 1] */
    double agree;              /* share of the dense run's tokens, end included */
    double kl, kl_worst;       /* nats, mean and largest over steps and open positions */
    double top1;               /* share of open positions with the same best token */
    double kept_mass;          /* of the policy's plans */
    double needle_kept;        /* share of response rows whose plan reads the whole needle */
    double density;            /* visited over total pairs */
    double ms_per_step;        /* without what the comparison itself takes */
    double tokens_per_forward; /* response tokens fixed over forward passes */
    /* behind a key cache, else NAN */
    double union_inflation; /* keys read for the rows of a KV head over the budget of one row */
    double bytes_read;      /* keys, values and page bounds that attention read in a step */
} eval_figures;
enum { EVAL_N_FIGURES = sizeof(eval_figures) / sizeof(double) };

typedef struct {
    const lac_model *model;
    int n_ctx, n_threads;
    bool allow_longer;             /* n_ctx is more than the model's */
    lac_generate_options generate; /* steps, block length, seed; the rest is filled in per sample */
    const char *const *policies;   /* [n_policies]; the first one is dense */
    size_t n_policies;
    const char *const *sparse; /* [n_policies] the same with their knobs, as sessions take them */
} eval_run_options;

typedef struct eval_run eval_run;

/* Options of the session of policy `p`. Pointers live as long as `opt`. */
lac_session_options eval_run_room(const eval_run_options *opt, size_t p);

/* Opens a session for each policy. EXIT_OK or an exit code after a message. */
int eval_run_open(eval_run **out, const eval_run_options *opt);
void eval_run_close(eval_run *run);

/* Takes up the next sample; all three are borrowed until the next call. */
void eval_run_sample(eval_run *run, const eval_task *task, const eval_sample *sample,
                     const eval_canvas *canvas);

/* Runs policy `p` on it; policy 0 must come first. `output` receives the text of the answer. A run
 * whose logits are not finite has failed: no text, no figures but a score and an agreement of 0.
 * EXIT_OK, or an exit code after a message; 128 + number without one after a signal. */
int eval_run_policy(eval_run *run, size_t p, eval_figures *figures, eval_text *output,
                    bool *has_failed);

#endif
