/* backend_flags.h: the flags that choose where a model runs, shared by commands: --backend by name,
 * --device by number, -ngl as llama.cpp has it. */
#ifndef LACUNA_TOOLS_BACKEND_FLAGS_H
#define LACUNA_TOOLS_BACKEND_FLAGS_H

#include "shell/args.h"

enum { NO_GPU_LAYERS = -1, NO_DEVICE = -1, MOST_DEVICES = 1024, MOST_LAYERS = 1 << 20 };

typedef struct {
    const char *backend, *layers; /* NULL = not given */
    int device, gpu_layers;       /* NO_... = not given; layers as a number */
    char name[24];                /* for lac_model_options: "cpu", "cuda", "cuda:1", "auto" */
} backend_flags;

#define BACKEND_FLAGS_DEFAULTS                           \
    {                                                    \
        .device = NO_DEVICE, .gpu_layers = NO_GPU_LAYERS \
    }

/* Entries of a flag table; `at` is the offset of a backend_flags in the target. */
#define BACKEND_FLAGS(at)                                                                  \
    { ARGS_TEXT,                                                                           \
      "backend",                                                                           \
      0,                                                                                   \
      "NAME",                                                                              \
      (at) + offsetof(backend_flags, backend),                                             \
      0,                                                                                   \
      0,                                                                                   \
      NULL,                                                                                \
      "where the model runs: cpu, cuda, or auto = cuda where a device is (default cpu)" }, \
        { ARGS_INT,                                                                        \
          "device",                                                                        \
          0,                                                                               \
          "N",                                                                             \
          (at) + offsetof(backend_flags, device),                                          \
          0,                                                                               \
          MOST_DEVICES - 1,                                                                \
          "main-gpu,mg",                                                                   \
          "CUDA device; implies --backend cuda (default 0)" },                             \
    {                                                                                      \
        ARGS_TEXT, "gpu-layers", 0, "N", (at) + offsetof(backend_flags, layers), 0, 0,     \
            "ngl,n-gpu-layers",                                                            \
            "0 = cpu, any other number or all = cuda, auto = cuda where a device is: all " \
            "layers run in one place (default: --backend)"                                 \
    }

/* Fills `name` from the flags; EXIT_USAGE after naming what contradicts what, or ARGS_GO_ON. */
int backend_flags_read(backend_flags *f);

#endif
