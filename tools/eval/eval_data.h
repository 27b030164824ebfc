/* eval_data.h: samples in files, as RULER writes them: a JSON object a line with index, input,
 * outputs, answer_prefix, length; here with task and ctx too, so that one file can hold a whole
 * grid. */
#ifndef LACUNA_TOOLS_EVAL_DATA_H
#define LACUNA_TOOLS_EVAL_DATA_H

#include <stdio.h>

#include "eval/eval_record.h"

/* A sample read from a file. */
typedef struct {
    eval_task task; /* its name points into `name`; cannot make anything */
    char name[EVAL_NAME_MAX];
    int ctx, index; /* ctx 0 = not given */
    eval_sample sample;
} eval_datum;

typedef struct {
    eval_datum *all; /* [n] */
    size_t n;
} eval_data;

/* Reads a file. EXIT_OK or an exit code after a message that names the line. */
int eval_data_read(eval_data *out, const char *path);
void eval_data_free(eval_data *data);

/* Writes a sample and a newline. False when memory ran out; write errors stay in ferror(out). */
bool eval_data_write(FILE *out, const eval_task *task, const eval_request *request,
                     const eval_sample *sample, const eval_canvas *canvas);

#endif
