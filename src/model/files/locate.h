/* locate.h: from the path a user gives to the model meant by it: a folder with config.json, the one
 * GGUF file of a folder, the snapshot of a Hugging Face cache folder. Looks at names only. */
#ifndef LACI_MODEL_LOCATE_H
#define LACI_MODEL_LOCATE_H

#include "base/alloc.h"

/* *out receives the path of the folder or GGUF file to open, in memory of `mem`. A path that does
 * not exist is handed on, for opening it says so; with `partial` so is a folder that holds no part
 * of a model that could be opened in its place. Errors: EFORMAT naming what is there and what is
 * wanted, EIO (a folder that cannot be read), ENOMEM. */
lac_status laci_locate(char **out, const char *path, bool partial, const lac_allocator *mem,
                       lac_error *err);

/* Whether the folder holds weights of some kind, read or not. */
bool laci_holds_weights(const char *folder);

/* EIO: the folder holds no weights in safetensors; names weights of another kind it holds. */
lac_status laci_fail_weights(const char *folder, lac_error *err);

#endif
