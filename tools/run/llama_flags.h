/* llama_flags.h: flags of llama.cpp that `lacuna run` does not have, with what to say to each.
 * Where leaving a flag out changes nothing in the text, it is dropped with one line; where it
 * would, or where the run could not be what was asked for, it is refused with what to do instead.
 */
#ifndef LACUNA_TOOLS_LLAMA_FLAGS_H
#define LACUNA_TOOLS_LLAMA_FLAGS_H

#include "shell/args.h"

extern const args_foreign llama_flags[];
extern const size_t n_llama_flags;

#endif
