/* model.h: one open model: files, configuration, tokenizer and weights as one immutable object.
 * Sessions borrow it; the public functions on models are in model.c. */
#ifndef LACI_MODEL_MODEL_H
#define LACI_MODEL_MODEL_H

#include "model/chat.h"
#include "model/tokenizer/tokenizer.h"
#include "model/warnings.h"
#include "model/weights.h"

struct lac_model {
    lac_allocator mem;
    laci_config config;
    const laci_family *family;
    laci_tensor_dir dir; /* of a safetensors folder; empty for GGUF */
    laci_gguf *gguf;     /* of a GGUF file, else NULL */
    laci_weight_map map;
    laci_tokenizer *tokenizer;
    uint32_t *gaps; /* [n_vocab / 32, rounded up] a bit for each id below the tokenizer's last that
                       no token has; NULL = none; owned */
    laci_backend *be;     /* made the weights; closed last */
    laci_weights weights; /* empty when opened as a card only */
    bool has_weights;
    bool lacks_weights;     /* a partial folder has no files of them; without config.json family is
                               NULL, without a tokenizer that is NULL */
    uint64_t runtime_bytes; /* resident size of the process before the weights, with tokenizer */
    char weight_types[64];
    laci_warnings warnings;
};

/* The tensors, whatever the container. */
static inline const laci_tensor_dir *laci_model_tensors(const lac_model *model)
{
    return model->gguf ? laci_gguf_tensors(model->gguf) : &model->dir;
}

#endif
