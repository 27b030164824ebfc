/* prompt.h: what a run starts from. Reads documents and canvases, and turns them into ids with
 * holes. Used by cmd_run.c; reading alone also by cmd_tokenize.c. */
#ifndef LACUNA_TOOLS_PROMPT_H
#define LACUNA_TOOLS_PROMPT_H

#include "run/run_options.h"

typedef struct {
    char *data; /* NUL behind it */
    size_t n;
} input_text;

/* Reads a file, or standard input when path is "-". EXIT_OK, or an exit code after a message. */
int input_read(input_text *out, const char *path);
/* The same, for a text: without the byte order mark that some editors put in front. */
int input_read_text(input_text *out, const char *path);
void input_free(input_text *text);

/* Texts of one request, read before the model is opened. */
typedef struct {
    input_text document; /* --file, a line break, --prompt */
    input_text canvas;   /* --canvas */
    size_t n_holes;      /* marked in the canvas; mask tokens are not counted */
} prompt_texts;

int prompt_read(prompt_texts *out, const run_options *opt);
void prompt_free(prompt_texts *texts);

/* The same as ids. Zeroed is empty. */
typedef struct {
    int32_t *ids; /* [n] LAC_HOLE where the text has a hole */
    size_t n, capacity;
    size_t n_before;           /* ids in front of the text that is printed: prompt and template */
    size_t n_holes;            /* of the ids */
    bool has_text_around;      /* holes lie in a text, which is printed whole */
    const char *chat_template; /* used: a name or "none" */
} prompt_ids;

/* Encodes with the tokenizer of `model`; says in one line when bytes had to be replaced. */
int prompt_encode(prompt_ids *out, const prompt_texts *texts, const run_options *opt,
                  const lac_model *model, const lac_model_info *info);
void prompt_ids_free(prompt_ids *ids);

#endif
