/* backend_flags.c: see backend_flags.h. */
#include "shell/backend_flags.h"

#include <stdio.h>
#include <string.h>

#include "shell/console.h"

static bool is(const backend_flags *f, const char *name)
{
    return f->backend && strcmp(f->backend, name) == 0;
}

int backend_flags_read(backend_flags *f)
{
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
