/* masks_out.h: pictures, a page or a table of a record of masks, chosen by the end of the file's
 * name: .html needs nothing, .svg and .png need cairo, .csv holds the numbers of all of them. */
#ifndef LACUNA_TOOLS_MASKS_OUT_H
#define LACUNA_TOOLS_MASKS_OUT_H

#include "picture/masks_stats.h"
#include "picture/trace_masks.h"
#include <stdio.h>

typedef struct {
    const char *path;
    int step;      /* to draw; -1 = mean over all steps */
    double select; /* 0 = 0.3 */
    trace_facts facts;
} masks_request;

/* Writes a table of what the patterns of each head of run `a` hold of the softmax of run `b`,
 * beside what b's own hold. EXIT_OK, or an exit code after a message. */
int masks_write_cross(const masks *a, const masks *b, const masks_request *how);

/* What the writers below share. */
typedef struct {
    const masks *m;
    const masks_stats *stats;
    const masks_request *how;
    bool has_mass;   /* some step was measured */
    bool shows_mass; /* pictures show the softmax: it was measured, and everything is read */
} masks_scene;

/* True when the name ends in a known way; else false after a message. */
bool masks_check_name(const char *path);

/* EXIT_OK when `path` can be written in this build, else an exit code after a message. */
int masks_check_path(const char *path);

/* Writes how->path. EXIT_OK, or an exit code after a message. */
int masks_write(const masks *m, const masks_request *how);

/* Writers: EXIT_OK, or an exit code after a message; write errors stay in ferror(out). Drawing is
 * by cairo; a build without it says so. */
void masks_write_csv(const masks_scene *scene, FILE *out);
int masks_write_page(const masks_scene *scene, FILE *out);
bool masks_can_draw(void);
int masks_draw(const masks_scene *scene, bool is_png, FILE *out);

#endif
