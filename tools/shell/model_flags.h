/* model_flags.h: flags that say what a model's files leave out or say wrongly, shared by commands:
 * the mask token, and how positions become angles, as llama.cpp names it. */
#ifndef LACUNA_TOOLS_MODEL_FLAGS_H
#define LACUNA_TOOLS_MODEL_FLAGS_H

#include "lacuna.h"
#include "shell/args.h"

typedef struct {
    const char *rope_scaling, *rope_scale, *rope_freq_scale, *rope_base; /* NULL = not given */
    int mask_id;                                                         /* 0 = not given */
} model_flags;

/* Entries of a flag table; `at` is the offset of a model_flags in the target. */
#define MODEL_FLAGS(at)                                                                            \
    { ARGS_INT,                                                                                    \
      "mask-id",                                                                                   \
      0,                                                                                           \
      "N",                                                                                         \
      (at) + offsetof(model_flags, mask_id),                                                       \
      1,                                                                                           \
      1 << 24,                                                                                     \
      NULL,                                                                                        \
      "id of the mask token (default: as the files say)" },                                        \
        { ARGS_TEXT,                                                                               \
          "rope-scaling",                                                                          \
          0,                                                                                       \
          "KIND",                                                                                  \
          (at) + offsetof(model_flags, rope_scaling),                                              \
          0,                                                                                       \
          0,                                                                                       \
          NULL,                                                                                    \
          "scaling of positions: none, linear (default: as the files say)" },                      \
        { ARGS_TEXT,                                                                               \
          "rope-scale",                                                                            \
          0,                                                                                       \
          "N",                                                                                     \
          (at) + offsetof(model_flags, rope_scale),                                                \
          0,                                                                                       \
          0,                                                                                       \
          NULL,                                                                                    \
          "divide positions by N, so that N times the trained length fits" },                      \
        { ARGS_TEXT,                                                                               \
          "rope-freq-base",                                                                        \
          0,                                                                                       \
          "F",                                                                                     \
          (at) + offsetof(model_flags, rope_base),                                                 \
          0,                                                                                       \
          0,                                                                                       \
          "rope-base",                                                                             \
          "base of the rotation (default: as the files say)" },                                    \
    {                                                                                              \
        ARGS_TEXT, "rope-freq-scale", 0, "F", (at) + offsetof(model_flags, rope_freq_scale), 0, 0, \
            NULL, "the same as --rope-scale 1/F"                                                   \
    }

/* Puts the flags into `out`; EXIT_USAGE after naming what is wrong, or ARGS_GO_ON. */
int model_flags_read(const model_flags *f, lac_model_options *out);

/* Whether a flag about positions was given. */
bool model_flags_rope(const model_flags *f);

#endif
