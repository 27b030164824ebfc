/* safetensors.h: opens model.safetensors or the shards of model.safetensors.index.json in a folder,
 * and checks every rule of the format before anything is used: strict header, exact tiling,
 * shapes, plain shard names, index and shards in agreement. */
#ifndef LACI_MODEL_SAFETENSORS_H
#define LACI_MODEL_SAFETENSORS_H

#include "model/files/tensors.h"

/* `path` is a folder. `out` is zeroed by the caller and untouched on failure.
 * Errors: EIO, EFORMAT, ENOMEM. */
lac_status laci_safetensors_open(laci_tensor_dir *out, const char *path, const lac_allocator *mem,
                                 lac_error *err);

/* Checks one header and appends its tensors; exposed for the fuzz target. `file` is the index of
 * the mapping in `dir` that holds them. */
lac_status laci_safetensors_parse(laci_tensor_dir *dir, const unsigned char *data, size_t size,
                                  int file, const char *name, lac_error *err);

#endif
