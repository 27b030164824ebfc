/* trace.c: writing the trace. Write errors are looked for once, at the end: a full disk must not
 * stop a run whose text can still be printed. */
#define _POSIX_C_SOURCE 200809L
#include "trace.h"

#include "console.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct trace {
    const char *path;
    char *part; /* path with ".tmp"; NULL: written in place, for pipes and devices */
    FILE *file;
    json_out line;
};

static bool is_special_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

static char *part_name(const char *path)
{
    const size_t n = strlen(path);
    char *part = malloc(n + 5);
    if (!part) return NULL;
    memcpy(part, path, n);
    memcpy(part + n, ".tmp", 5);
    return part;
}

static int fail_path(const char *path)
{
    return console_fail(EXIT_RUN, "cannot write trace %s: %s", path,
                        errno ? strerror(errno) : "write error");
}

static void trace_free(trace *t)
{
    if (t->file) fclose(t->file);
    json_free(&t->line);
    free(t->part);
    free(t);
}

int trace_check(const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        return fail_path(path);
    }
    if (is_special_file(path)) return access(path, W_OK) == 0 ? EXIT_OK : fail_path(path);
    if (access(path, F_OK) == 0 && access(path, W_OK) != 0) return fail_path(path);
    trace *t = NULL;
    const int code = trace_open(&t, path);
    return code ? code : trace_close(t, false);
}

int trace_open(trace **out, const char *path)
{
    trace *t = calloc(1, sizeof *t);
    if (!t) return console_fail(EXIT_MEMORY, "out of memory for the trace");
    t->path = path;
    const bool in_place = is_special_file(path);
    if (!in_place && !(t->part = part_name(path))) {
        trace_free(t);
        return console_fail(EXIT_MEMORY, "out of memory for the trace");
    }
    t->file = fopen(in_place ? path : t->part, "wb");
    if (!t->file) {
        trace_free(t);
        return fail_path(path);
    }
    *out = t;
    return EXIT_OK;
}

json_out *trace_begin_line(trace *t, const char *type)
{
    json_begin_object(&t->line);
    json_key(&t->line, "type");
    json_string(&t->line, type);
    return &t->line;
}

void trace_end_line(trace *t)
{
    json_end_object(&t->line);
    json_write_line(&t->line, t->file);
}

static void put_token(json_out *j, int position, int32_t id, float confidence)
{
    json_begin_object(j);
    json_key(j, "pos");
    json_int(j, position);
    json_key(j, "id");
    json_int(j, id);
    json_key(j, "conf");
    json_float(j, confidence);
    json_end_object(j);
}

void trace_step(trace *t, const lac_step *step)
{
    json_out *j = trace_begin_line(t, "step");
    json_key(j, "step");
    json_int(j, step->step);
    json_key(j, "block");
    json_int(j, step->block);
    json_key(j, "span");
    json_begin_array(j);
    json_int(j, step->block_begin);
    json_int(j, step->block_end);
    json_end_array(j);
    json_key(j, "n_fixed");
    json_int(j, step->n_fixed);
    json_key(j, "n_left");
    json_int(j, step->n_left);
    json_key(j, "fixed");
    json_begin_array(j);
    for (int p = 0; p < step->n_canvas; p++)
        if (step->canvas[p] != LAC_HOLE && step->step_map[p] == step->step)
            put_token(j, p, step->canvas[p], step->confidence[p]);
    json_end_array(j);
    json_key(j, "open");
    json_begin_array(j);
    for (int p = 0; p < step->n_canvas; p++)
        if (step->canvas[p] == LAC_HOLE && step->candidate[p] >= 0)
            put_token(j, p, step->candidate[p], step->confidence[p]);
    json_end_array(j);
    json_key(j, "ms");
    json_double(j, 1e3 * step->seconds);
    json_key(j, "density");
    json_double(j, step->density);
    trace_end_line(t);
}

int trace_close(trace *t, bool keep)
{
    if (!t) return EXIT_OK;
    errno = 0;
    bool sound = !t->line.failed && !ferror(t->file);
    if (fflush(t->file) != 0) sound = false;
    const int flush_errno = errno;
    if (fclose(t->file) != 0) sound = false;
    t->file = NULL;
    if (flush_errno) errno = flush_errno;
    int code = EXIT_OK;
    if (keep && !sound) code = fail_path(t->path);
    if (t->part && keep && sound && rename(t->part, t->path) != 0) {
        code = fail_path(t->path);
        sound = false;
    }
    if (t->part && !(keep && sound)) unlink(t->part);
    trace_free(t);
    return code;
}
