/* model_flags.c: see model_flags.h. */
#include "shell/model_flags.h"

#include <string.h>

#include "shell/console.h"

/* A flag's number; what is not given leaves *out alone. */
static int read_number(const char *flag, const char *text, double min, double max, double *out)
{
    if (!text || args_read_float(text, min, max, out)) return ARGS_GO_ON;
    return console_fail(EXIT_USAGE, "%s: '%s' is not a number from %g to %g", flag, text, min, max);
}

int model_flags_read(const model_flags *f, lac_model_options *out)
{
    static const double most = 1024;
    double inverse = 0;
    lac_rope_scaling scaling = LAC_ROPE_SCALING_AUTO;
    if (f->rope_scaling && !strcmp(f->rope_scaling, "none"))
        scaling = LAC_ROPE_SCALING_NONE;
    else if (f->rope_scaling && !strcmp(f->rope_scaling, "linear"))
        scaling = LAC_ROPE_SCALING_LINEAR;
    else if (f->rope_scaling)
        return console_fail(EXIT_USAGE, "--rope-scaling: '%s' is not one of none, linear",
                            f->rope_scaling);
    if (f->rope_scale && f->rope_freq_scale)
        return console_fail(EXIT_USAGE,
                            "--rope-scale and --rope-freq-scale say the same: give one of them");
    int code = read_number("--rope-scale", f->rope_scale, 1 / most, most, &out->rope_scale);
    if (code == ARGS_GO_ON)
        code = read_number("--rope-freq-scale", f->rope_freq_scale, 1 / most, most, &inverse);
    if (code == ARGS_GO_ON)
        code = read_number("--rope-freq-base", f->rope_base, 1, 1e12, &out->rope_base);
    if (code != ARGS_GO_ON) return code;
    if (inverse > 0) out->rope_scale = 1 / inverse;
    if (scaling == LAC_ROPE_SCALING_LINEAR && out->rope_scale == 0)
        return console_fail(EXIT_USAGE, "--rope-scaling linear needs --rope-scale N");
    if (scaling == LAC_ROPE_SCALING_NONE && out->rope_scale != 0)
        return console_fail(EXIT_USAGE, "--rope-scaling none and %s exclude each other",
                            f->rope_scale ? "--rope-scale" : "--rope-freq-scale");
    out->rope_scaling = scaling;
    out->mask_id = f->mask_id;
    return ARGS_GO_ON;
}

bool model_flags_rope(const model_flags *f)
{
    return f->rope_scaling || f->rope_scale || f->rope_freq_scale || f->rope_base;
}
