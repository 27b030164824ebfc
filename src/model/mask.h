/* mask.h: whether the id that a configuration names as the mask is one to the tokenizer too. */
#ifndef LACI_MODEL_MASK_H
#define LACI_MODEL_MASK_H

#include "model/config.h"
#include "model/tokenizer/tokenizer.h"
#include "model/warnings.h"

/* Warns where the mask id is an ordinary token, or where the tokenizer has a mask token and it is
 * another. `declared` is mask_token of tokenizer_config.json, NULL where it names none. */
void laci_mask_check(const laci_config *config, const laci_tokenizer *tok, const char *declared,
                     laci_warnings *warnings);

#endif
