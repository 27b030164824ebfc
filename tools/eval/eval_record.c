/* eval_record.c: see eval_record.h. Each line is written with one call and flushed, so that a run
 * that is killed loses at most the line under way. */
#define _DEFAULT_SOURCE /* flock */
#include "eval/eval_record.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/rng.h"
#include "shell/console.h"
#include "shell/json_out.h"
#include "shell/lines.h"

enum { MAX_LINE = 1 << 24 };

const char *const eval_figure_names[EVAL_N_FIGURES] = {
    "score",      "exact",       "agree",   "kl",          "kl_worst",           "top1",
    "kept_mass",  "needle_kept", "density", "ms_per_step", "tokens_per_forward", "union_inflation",
    "bytes_read",
};

/* The largest value of each figure; none is below 0. Sums of rounded shares end just above 1. */
#define SHARE 1.01
static const double largest_figures[EVAL_N_FIGURES] = {
    SHARE, SHARE, SHARE,   DBL_MAX, DBL_MAX, SHARE,   SHARE,
    SHARE, SHARE, DBL_MAX, DBL_MAX, DBL_MAX, DBL_MAX,
};

static int fail_path(const char *what, const char *path)
{
    return console_fail(EXIT_RUN, "cannot %s %s: %s", what, path,
                        errno ? strerror(errno) : "write error");
}

static bool is_same(const eval_record *a, const eval_record *b)
{
    return a->index == b->index && a->ctx == b->ctx && a->depth == b->depth &&
           !strcmp(a->task, b->task) && !strcmp(a->policy, b->policy);
}

static uint64_t hash_of(const eval_record *r)
{
    uint64_t hash = laci_rng_mix((uint64_t)(uint32_t)r->ctx << 32 | (uint32_t)r->index);
    hash = laci_rng_mix(hash ^ (uint32_t)r->depth);
    for (const char *c = r->task; *c; c++)
        hash = laci_rng_mix(hash ^ (unsigned char)*c);
    for (const char *c = r->policy; *c; c++)
        hash = laci_rng_mix(hash ^ (unsigned char)*c);
    return hash;
}

/* The slot of a record like this one, or the free slot where it would go. */
static size_t slot_of(const eval_records *r, const eval_record *like)
{
    size_t at = hash_of(like) & (r->n_slots - 1);
    while (r->slots[at] && !is_same(&r->all[r->slots[at] - 1], like))
        at = (at + 1) & (r->n_slots - 1);
    return at;
}

const eval_record *eval_records_find(const eval_records *r, const eval_record *like)
{
    const size_t found = r->n_slots ? r->slots[slot_of(r, like)] : 0;
    return found ? &r->all[found - 1] : NULL;
}

/* Twice the room; at most half of the slots are taken. */
static bool grow(eval_records *r)
{
    const size_t capacity = r->capacity ? 2 * r->capacity : 64;
    eval_record *all = realloc(r->all, capacity * sizeof *all);
    if (all) r->all = all;
    size_t *slots = calloc(2 * capacity, sizeof *slots);
    if (!all || !slots) {
        free(slots);
        return false;
    }
    free(r->slots);
    r->slots = slots;
    r->n_slots = 2 * capacity;
    r->capacity = capacity;
    for (size_t i = 0; i < r->n; i++)
        slots[slot_of(r, &all[i])] = i + 1;
    return true;
}

static int push(eval_records *r, const eval_record *record)
{
    if ((!r->all || r->n == r->capacity) && !grow(r))
        return console_fail(EXIT_MEMORY, "out of memory for %zu records", r->n + 1);
    r->slots[slot_of(r, record)] = r->n + 1;
    r->all[r->n++] = *record;
    return EXIT_OK;
}

/* ------------------------------------------------------------------ writing */

static int write_line(const eval_records *r, json_out *line)
{
    errno = 0;
    const bool sound = json_write_line(line, r->file);
    json_free(line);
    if (!sound) return console_fail(EXIT_MEMORY, "out of memory for a record");
    if (fflush(r->file) || ferror(r->file)) return fail_path("write", r->path);
    return EXIT_OK;
}

static int write_settings(const eval_records *r, const eval_setting *settings, size_t n)
{
    json_out j = { .data = NULL };
    json_begin_object(&j);
    json_key(&j, "type");
    json_string(&j, "settings");
    for (size_t i = 0; i < n; i++) {
        json_key(&j, settings[i].flag);
        json_string(&j, settings[i].value);
    }
    json_end_object(&j);
    return write_line(r, &j);
}

static void put_range(json_out *j, const char *key, eval_range range)
{
    if (key) json_key(j, key);
    json_begin_array(j);
    json_int(j, range.begin);
    json_int(j, range.end);
    json_end_array(j);
}

static void put_sample(json_out *j, const eval_sample *s, const eval_canvas *c)
{
    json_key(j, "needle_depth");
    json_double(j, s->depth);
    json_key(j, "n_tokens");
    json_uint(j, c->n);
    json_key(j, "needles");
    json_begin_array(j);
    for (size_t i = 0; i < c->n_needles; i++)
        put_range(j, NULL, c->needles[i]);
    json_end_array(j);
    put_range(j, "question", c->question);
    put_range(j, "response", c->response);
    json_key(j, "expected");
    json_text(j, s->answer.data, s->answer.n);
}

int eval_records_add(eval_records *r, const eval_record *record, const eval_sample *sample,
                     const eval_canvas *canvas, const eval_text *output)
{
    const double *figures = (const double *)&record->figures;
    const int code = push(r, record);
    if (code || !r->file) return code;
    json_out j = { .data = NULL };
    json_begin_object(&j);
    json_key(&j, "type");
    json_string(&j, "sample");
    json_key(&j, "task");
    json_string(&j, record->task);
    json_key(&j, "ctx");
    json_int(&j, record->ctx);
    json_key(&j, "depth");
    json_int(&j, record->depth);
    json_key(&j, "index");
    json_int(&j, record->index);
    json_key(&j, "policy");
    json_string(&j, record->policy);
    for (size_t i = 0; i < EVAL_N_FIGURES; i++) {
        json_key(&j, eval_figure_names[i]);
        json_double(&j, figures[i]);
    }
    if (record->has_failed) {
        json_key(&j, "failed");
        json_bool(&j, true);
    }
    put_sample(&j, sample, canvas);
    json_key(&j, "output");
    json_text(&j, output->data, output->n);
    json_end_object(&j);
    return write_line(r, &j);
}

/* ------------------------------------------------------------------ reading */

/* One line of the file being read. */
typedef struct {
    const char *path;
    size_t number; /* from 1 */
} place;

static bool is_setting(const char *name, const eval_setting *settings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, settings[i].flag)) return true;
    return !strcmp(name, "type");
}

/* Both ways: records of an older version may say less, those of a newer one more. */
static int check_settings(const place *at, const laci_jval *v, const eval_setting *settings,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *there = laci_json_string(laci_json_get(v, settings[i].flag));
        if (!there)
            return console_fail(EXIT_USAGE,
                                "--resume: %s does not say which --%s it was made with, as an "
                                "older version writes it; this run has %s",
                                at->path, settings[i].flag, settings[i].value);
        if (strcmp(there, settings[i].value) != 0)
            return console_fail(EXIT_USAGE, "--resume: %s was made with --%s %s, this run has %s",
                                at->path, settings[i].flag, there, settings[i].value);
    }
    for (const laci_jval *m = laci_json_first(v); m; m = laci_json_next(m))
        if (!is_setting(laci_json_key(m), settings, n))
            return console_fail(EXIT_USAGE,
                                "--resume: %s was made with a setting '%s' that this version does "
                                "not know",
                                at->path, laci_json_key(m));
    return EXIT_OK;
}

static int fail_line(const place *at, const char *what)
{
    return console_fail(EXIT_RUN, "--resume: line %zu of %s %s", at->number, at->path, what);
}

static bool copy_name(char *out, size_t size, const char *text)
{
    const size_t n = text ? strlen(text) : size;
    if (n >= size) return false;
    memcpy(out, text, n + 1);
    return true;
}

static int read_count(const place *at, const laci_jval *v, const char *key, int min, int max,
                      int *out)
{
    int64_t value;
    if (!laci_json_integer(laci_json_get(v, key), &value))
        return console_fail(EXIT_RUN, "--resume: line %zu of %s has no whole number \"%s\"",
                            at->number, at->path, key);
    if (value < min || value > max)
        return console_fail(EXIT_RUN,
                            "--resume: line %zu of %s: \"%s\" is %" PRId64 ", allowed are %d to %d",
                            at->number, at->path, key, value, min, max);
    *out = (int)value;
    return EXIT_OK;
}

/* What is absent or null is not known: figures came with the versions. */
static int read_figure(const place *at, const laci_jval *v, size_t i, double *out)
{
    const char *key = eval_figure_names[i];
    const laci_jval *figure = laci_json_get(v, key);
    *out = NAN;
    if (!figure || laci_json_is_null(figure)) return EXIT_OK;
    if (!laci_json_is_number(figure))
        return console_fail(EXIT_RUN, "--resume: line %zu of %s: \"%s\" is no number", at->number,
                            at->path, key);
    const double value = laci_json_number(figure);
    if (!(value >= 0 && value <= largest_figures[i]))
        return console_fail(EXIT_RUN, "--resume: line %zu of %s: \"%s\" is %g, allowed are 0 to %g",
                            at->number, at->path, key, value, largest_figures[i]);
    *out = value;
    return EXIT_OK;
}

static int read_record(const place *at, const laci_jval *v, eval_record *out)
{
    double *figures = (double *)&out->figures;
    if (!copy_name(out->task, sizeof out->task, laci_json_string(laci_json_get(v, "task"))))
        return fail_line(at, "names no task");
    if (!copy_name(out->policy, sizeof out->policy, laci_json_string(laci_json_get(v, "policy"))))
        return fail_line(at, "names no policy");
    int code = read_count(at, v, "ctx", 1, INT32_MAX, &out->ctx);
    if (!code) code = read_count(at, v, "index", 0, INT32_MAX, &out->index);
    if (!code) code = read_count(at, v, "depth", EVAL_STRATIFIED, 100, &out->depth);
    for (size_t i = 0; i < EVAL_N_FIGURES && !code; i++)
        code = read_figure(at, v, i, &figures[i]);
    const laci_jval *failed = laci_json_get(v, "failed");
    out->has_failed = laci_json_bool(failed);
    return code;
}

static int read_line(eval_records *r, const place *at, const char *text, size_t n,
                     const eval_setting *settings, size_t n_settings)
{
    laci_json *doc = NULL;
    lac_error err = { .message = "" };
    eval_record record;
    int code = EXIT_OK;
    if (laci_json_parse(&doc, text, n, at->path, NULL, NULL, &err))
        return console_fail(EXIT_RUN, "--resume: line %zu of %s: %s", at->number, at->path,
                            err.message);
    const laci_jval *v = laci_json_root(doc);
    const char *type = laci_json_string(laci_json_get(v, "type"));
    const char *expected = at->number == 1 ? "settings" : "sample";
    if (!type || strcmp(type, expected) != 0)
        code = fail_line(at, at->number == 1 ? "is no line of settings" : "is no line of a sample");
    else if (at->number == 1)
        code = check_settings(at, v, settings, n_settings);
    else
        code = read_record(at, v, &record);
    if (!code && at->number > 1 && !eval_records_find(r, &record)) code = push(r, &record);
    laci_json_free(doc);
    return code;
}

/* Reads all whole lines; *n_whole receives their bytes. */
static int read_lines(eval_records *r, FILE *file, const eval_setting *settings, size_t n_settings,
                      size_t *n_whole)
{
    line_reader lines = { .file = file, .limit = MAX_LINE };
    lac_error err = { .message = "" };
    int code = EXIT_OK;
    while (!code) {
        bool end = false;
        if (line_next(&lines, &end, &err))
            code = console_fail(err.code == LAC_ENOMEM ? EXIT_MEMORY : EXIT_RUN,
                                "--resume: %s of %s", err.message, r->path);
        if (code || end) break;
        if (lines.is_torn) {
            console_warn("%s: the last line is torn; the sample is run again", r->path);
            break;
        }
        const place at = { r->path, lines.number };
        code = read_line(r, &at, lines.text, lines.n, settings, n_settings);
    }
    *n_whole = lines.n_whole;
    line_free(&lines);
    return code;
}

static int resume_file(eval_records *r, const eval_setting *settings, size_t n_settings)
{
    size_t n_whole = 0;
    const int code = read_lines(r, r->file, settings, n_settings, &n_whole);
    if (code) return code;
    errno = 0;
    if (fflush(r->file) || ftruncate(fileno(r->file), (off_t)n_whole) ||
        fseeko(r->file, (off_t)n_whole, SEEK_SET))
        return fail_path("write", r->path);
    return n_whole ? EXIT_OK : write_settings(r, settings, n_settings);
}

/* One program writes a file at a time. The lock goes with the descriptor, whatever ends the
 * program; where a file system knows no locks, the file is written without one. */
static int lock_file(int fd, const char *path)
{
    struct stat info;
    if (fstat(fd, &info)) return fail_path("read", path);
    if (!S_ISREG(info.st_mode))
        return console_fail(EXIT_USAGE, "--out: %s is not a regular file", path);
    if (!flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK) return EXIT_OK;
    return console_fail(EXIT_RUN,
                        "--out: another program is writing %s; wait for it, or write to "
                        "another file and join them",
                        path);
}

/* An older file to go on with, or a new one; never both. A pipe is not waited for. */
static int open_locked(eval_records *r, bool exists)
{
    const int flags = exists ? O_RDWR : O_RDWR | O_CREAT | O_EXCL;
    const int fd = open(r->path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
    if (fd < 0) return fail_path(exists ? "read" : "write", r->path);
    const int code = lock_file(fd, r->path);
    if (!code) r->file = fdopen(fd, "r+b");
    if (r->file) return EXIT_OK;
    close(fd);
    return code ? code : fail_path("read", r->path);
}

int eval_records_open(eval_records *out, const char *path, bool resume,
                      const eval_setting *settings, size_t n_settings)
{
    *out = (eval_records){ .path = path };
    if (!path) return EXIT_OK;
    errno = 0;
    const bool exists = access(path, F_OK) == 0;
    if (exists && !resume)
        return console_fail(EXIT_USAGE, "--out: %s exists; --resume goes on with it", path);
    const int code = open_locked(out, exists);
    if (code) return code;
    return exists ? resume_file(out, settings, n_settings)
                  : write_settings(out, settings, n_settings);
}

int eval_records_close(eval_records *r)
{
    if (!r->file) return EXIT_OK;
    errno = 0;
    const bool lost = fclose(r->file) != 0;
    r->file = NULL;
    return lost ? fail_path("write", r->path) : EXIT_OK;
}

void eval_records_free(eval_records *r)
{
    (void)eval_records_close(r);
    free(r->all);
    free(r->slots);
    *r = (eval_records){ .all = NULL };
}
