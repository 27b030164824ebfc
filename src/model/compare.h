/* compare.h: what the files of an open model say about each other: chat template, mask token, head.
 * Settles what they leave open and gathers warnings. */
#ifndef LACI_MODEL_COMPARE_H
#define LACI_MODEL_COMPARE_H

#include "model/model.h"

/* Once configuration, tensors and tokenizer are open, and before the tensors are mapped to parts.
 * `path` is the folder or file; `whole` compares every byte of tensors. Errors: those of reading
 * tokenizer_config.json and the files of chat templates. */
lac_status laci_compare_files(lac_model *m, const char *path, bool whole, lac_error *err);

#endif
