/* masks_out.c: see masks_out.h. Chooses the writer, and writes the table. */
#include "picture/masks_out.h"

#include "base/error.h"
#include "shell/console.h"
#include "shell/out_file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const endings[] = { ".html", ".svg", ".png", ".csv" };

/* Index into endings, -1 = none of them. */
static int ending_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    for (int i = 0; dot && i < 4; i++)
        if (!strcmp(dot, endings[i])) return i;
    return -1;
}

static double select_of(const masks_request *how)
{
    return how->select > 0 ? how->select : 0.3;
}

bool masks_check_name(const char *path)
{
    if (ending_of(path) >= 0) return true;
    console_fail(EXIT_USAGE, "%s: the name of a picture ends in .html, .svg, .png or .csv", path);
    return false;
}

int masks_check_path(const char *path)
{
    const int ending = ending_of(path);
    if ((ending == 1 || ending == 2) && !masks_can_draw())
        return console_fail(EXIT_USAGE,
                            "%s: this build has no cairo to draw with; write an .html file, or "
                            "build with libcairo2-dev installed",
                            path);
    return out_file_check(path, "picture");
}

/* ------------------------------------------------------------------ table */

static void put_row(FILE *out, const char *what, int a, int b, double value)
{
    if (isnan(value)) return;
    if (b < 0)
        fprintf(out, "%s,%d,,%.6g\n", what, a, value);
    else
        fprintf(out, "%s,%d,%d,%.6g\n", what, a, b, value);
}

void masks_write_csv(const masks_scene *scene, FILE *out)
{
    const masks *m = scene->m;
    const masks_stats *s = scene->stats;
    const int n_heads = (int)masks_n_heads(m);
    fputs("measure,a,b,value\n", out);
    fprintf(out, "cell,,,%d\n", m->cell);
    for (int a = 0; a < s->n_steps; a++)
        for (int b = 0; b < s->n_steps; b++)
            put_row(out, "step_likeness", m->frames[s->frame[a]].step, m->frames[s->frame[b]].step,
                    (double)s->step_likeness[a * s->n_steps + b]);
    for (int a = 0; a < s->n_steps; a++)
        for (int b = 0; b < s->n_steps; b++)
            put_row(out, "retained_mass", m->frames[s->frame[a]].step, m->frames[s->frame[b]].step,
                    (double)s->retained[a * s->n_steps + b]);
    for (int a = 0; a < s->n_paired; a++)
        for (int b = 0; b < s->n_paired; b++)
            put_row(out, "head_likeness", a * s->paired_stride, b * s->paired_stride,
                    (double)s->head_likeness[a * s->n_paired + b]);
    const struct {
        const char *what;
        const float *values;
        int n;
    } lists[] = {
        { "neighbour_likeness", s->own_likeness, s->n_steps > 1 ? n_heads : 0 },
        { "density", s->density, n_heads },
        { "kept_mass", s->kept_mass, n_heads },
        { "own_mass", s->held, n_heads },
        { "mass_at_distance", s->mass_at, m->grid },
        { "read_at_distance", s->read_at, m->grid },
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (int a = 0; a < lists[i].n; a++)
            put_row(out, lists[i].what, a, -1, (double)lists[i].values[a]);
}

/* ------------------------------------------------------------------ choice */

static int check_step(const masks *m, int step)
{
    for (int i = 0; i < m->n_frames; i++)
        if (m->frames[i].step == step) return EXIT_OK;
    return step < 0
               ? EXIT_OK
               : console_fail(EXIT_USAGE, "--step %d: the record holds every %d of steps %d to %d",
                              step, m->stride, m->frames[0].step, m->frames[m->n_frames - 1].step);
}

static int write_file(const masks_scene *scene)
{
    const char *path = scene->how->path;
    const int ending = ending_of(path);
    out_file out = { .file = NULL };
    int code = out_file_open(&out, path, "picture");
    if (code) return code;
    if (ending == 0)
        code = masks_write_page(scene, out.file);
    else if (ending == 3)
        masks_write_csv(scene, out.file);
    else
        code = masks_draw(scene, ending == 2, out.file);
    const int closed = out_file_close(&out, !code, true);
    return code ? code : closed;
}

static int write_cross(const char *path, const float *cross, const float *own, int n_heads)
{
    out_file out = { .file = NULL };
    const int code = out_file_open(&out, path, "table");
    if (code) return code;
    fputs("measure,a,b,value\n", out.file);
    for (int h = 0; h < n_heads; h++)
        put_row(out.file, "cross_mass", h, -1, (double)cross[h]);
    for (int h = 0; h < n_heads; h++)
        put_row(out.file, "own_mass", h, -1, (double)own[h]);
    return out_file_close(&out, true, true);
}

int masks_write_cross(const masks *a, const masks *b, const masks_request *how)
{
    const double select = select_of(how);
    const size_t n_heads = masks_n_heads(b);
    lac_error err = { .message = "" };
    masks_stats of_a = { 0 }, of_b = { 0 };
    float *cross = calloc(2 * n_heads, sizeof *cross);
    lac_status st = cross ? LAC_OK : laci_fail_memory(&err, "a comparison", n_heads);
    if (!st) st = masks_stats_make(&of_a, a, select, &err);
    if (!st) st = masks_stats_make(&of_b, b, select, &err);
    if (!st) st = masks_stats_cross(&of_a, a, &of_b, b, cross, cross + n_heads, &err);
    const int code = st ? console_fail_status(st, &err)
                        : write_cross(how->path, cross, cross + n_heads, (int)n_heads);
    masks_stats_free(&of_a);
    masks_stats_free(&of_b);
    free(cross);
    return code;
}

int masks_write(const masks *m, const masks_request *how)
{
    lac_error err = { .message = "" };
    masks_stats stats;
    const lac_status st = masks_stats_make(&stats, m, select_of(how), &err);
    if (st) return console_fail_status(st, &err);
    masks_scene scene = { m, &stats, how, false, false };
    double density = 0;
    for (int i = 0; i < m->n_frames; i++)
        scene.has_mass = scene.has_mass || m->frames[i].mass;
    for (size_t h = 0; h < masks_n_heads(m); h++)
        density += (double)stats.density[h];
    scene.shows_mass = scene.has_mass && density > 0.99 * (double)masks_n_heads(m);
    int code = check_step(m, how->step);
    if (!code) code = write_file(&scene);
    masks_stats_free(&stats);
    return code;
}
