/* eval_record.h: what is known of every sample, in memory and in the file of --out: a line of
 * settings, then a line per sample and policy, appended as they are finished. A file can be taken
 * up again: a torn last line is cut off, other settings are refused by name. */
#ifndef LACUNA_TOOLS_EVAL_RECORD_H
#define LACUNA_TOOLS_EVAL_RECORD_H

#include "eval/eval_run.h"

enum { EVAL_NAME_MAX = 48, EVAL_POLICY_MAX = 160 };

typedef struct {
    char task[EVAL_NAME_MAX], policy[EVAL_POLICY_MAX];
    int ctx, index;
    int depth; /* percent asked for, or EVAL_STRATIFIED */
    eval_figures figures;
    bool has_failed; /* the run ended with logits that are not finite */
} eval_record;

/* Settings every record of a file depends on, as flag and text. */
typedef struct {
    const char *flag; /* "seed" */
    char value[512];
} eval_setting;

typedef struct {
    eval_record *all; /* [n] */
    size_t n, capacity;
    size_t *slots; /* [n_slots] index + 1 into all by hash, 0 = free; n_slots a power of two */
    size_t n_slots;
    const char *path; /* NULL = in memory only */
    void *file;       /* FILE */
} eval_records;

/* Opens the file, if there is a path: a new one, or with `resume` one to go on with. EXIT_OK or an
 * exit code after a message. */
int eval_records_open(eval_records *out, const char *path, bool resume,
                      const eval_setting *settings, size_t n_settings);

const eval_record *eval_records_find(const eval_records *records, const eval_record *like);

/* Adds a record and its line; the sample's own facts go into the line too. */
int eval_records_add(eval_records *records, const eval_record *record, const eval_sample *sample,
                     const eval_canvas *canvas, const eval_text *output);

/* Closes the file. EXIT_OK, or EXIT_RUN after saying that lines were lost. */
int eval_records_close(eval_records *records);
void eval_records_free(eval_records *records);

/* Names of the figures in files, in the order of eval_figures. */
extern const char *const eval_figure_names[EVAL_N_FIGURES];

#endif
