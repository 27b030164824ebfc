/* eval_canvas.h: from a sample to token ids: the largest haystack that fits a length, where
 * needles, question and response stand in tokens. Counts with the model's own tokenizer. */
#ifndef LACUNA_TOOLS_EVAL_CANVAS_H
#define LACUNA_TOOLS_EVAL_CANVAS_H

#include "eval/eval_task.h"
#include "lacuna.h"

/* Tokens [begin, end); begin -1 where it could not be found. */
typedef struct {
    int begin, end;
} eval_range;

typedef struct {
    int32_t *ids; /* [n] LAC_HOLE in the response */
    size_t n, capacity;
    eval_range response, question, needles[EVAL_MAX_NEEDLES];
    size_t n_needles;
} eval_canvas;

typedef struct {
    const lac_model *model;
    const char *chat_template; /* NULL = the model's own; "none" = bare text */
    int gen_tokens;            /* response tokens, 0 = the task's own */
} eval_encoding;

/* Encodes a sample with its response slot of n_response tokens. EXIT_OK or an exit code after a
 * message. */
int eval_canvas_encode(eval_canvas *out, const eval_encoding *how, const eval_sample *sample,
                       int n_response);

/* Tokens of the response: the flag's, else the task's, else what the answer takes. */
int eval_canvas_response(int *out, const eval_encoding *how, const eval_task *task,
                         const eval_sample *sample);

/* Makes the sample with the most haystack that fits request->ctx, and its canvas. */
int eval_canvas_fit(eval_canvas *out, eval_sample *sample, const eval_encoding *how,
                    const eval_task *task, const eval_request *request);

void eval_canvas_free(eval_canvas *canvas);

#endif
