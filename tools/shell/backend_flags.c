/* backend_flags.c: see backend_flags.h. */
#include "shell/backend_flags.h"

#include <stdio.h>
#include <string.h>

#include "shell/console.h"

static bool is(const backend_flags *f, const char *name)
{
    return f->backend && strcmp(f->backend, name) == 0;
}

/* A number, or the words llama.cpp has for it. */
static int read_layers(backend_flags *f)
{
    int64_t n = MOST_LAYERS;
    if (!f->layers) return ARGS_GO_ON;
    if (strcmp(f->layers, "auto") == 0) {
        if (!f->backend && f->device == NO_DEVICE) f->backend = "auto";
        return ARGS_GO_ON;
    }
    if (strcmp(f->layers, "all") != 0 && !args_read_int(f->layers, 0, MOST_LAYERS, &n))
        return console_fail(EXIT_USAGE,
                            "--gpu-layers: '%s' is not a whole number from 0 to %d, all or auto",
                            f->layers, MOST_LAYERS);
    f->gpu_layers = (int)n;
    return ARGS_GO_ON;
}

int backend_flags_read(backend_flags *f)
{
    const int code = read_layers(f);
    if (code != ARGS_GO_ON) return code;
    const bool wants_gpu = f->gpu_layers > 0 || f->device != NO_DEVICE;
    if (f->backend && !is(f, "cpu") && !is(f, "cuda") && !is(f, "auto"))
        return console_fail(EXIT_USAGE, "--backend: '%s' is not one of cpu, cuda, auto",
                            f->backend);
    if (wants_gpu && is(f, "cpu"))
        return console_fail(EXIT_USAGE, "--backend cpu and %s exclude each other",
                            f->gpu_layers > 0 ? "--gpu-layers" : "--device");
    if (f->gpu_layers == 0 && (is(f, "cuda") || f->device != NO_DEVICE))
        return console_fail(EXIT_USAGE, "--gpu-layers 0 and %s exclude each other",
                            f->device != NO_DEVICE ? "--device" : "--backend cuda");
    if (f->device != NO_DEVICE)
        (void)snprintf(f->name, sizeof f->name, "cuda:%d", f->device);
    else
        (void)snprintf(f->name, sizeof f->name, "%s",
                       f->gpu_layers > 0    ? "cuda"
                       : f->gpu_layers == 0 ? "cpu"
                       : f->backend         ? f->backend
                                            : "cpu");
    return ARGS_GO_ON;
}
