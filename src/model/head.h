/* head.h: whether the head of a model is its embedding, where configuration and tensors disagree.
 */
#ifndef LACI_MODEL_HEAD_H
#define LACI_MODEL_HEAD_H

#include "model/family/family.h"
#include "model/warnings.h"

/* A configuration that ties head and embedding beside a file that holds a head of its own: equal
 * bytes are a copy, which is left aside; a head that differs is used, with a warning, as
 * transformers 5 does. Compares every byte where `whole`, of large heads else only samples, for
 * reading all of them takes as long as loading them. */
void laci_head_settle(laci_config *config, const laci_family *family, const laci_tensor_dir *dir,
                      bool whole, laci_warnings *warnings);

#endif
