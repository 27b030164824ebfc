/* canvas_view.c: when and where the canvas is drawn. Only the holes and a little text around them
 * are shown, so that a prompt of 64k tokens costs nothing to watch. The picture stays in the
 * normal screen while it fits the window and moves to the alternate screen when it does not. */
#define _POSIX_C_SOURCE 200809L
#include "run/canvas_view.h"

#include "run/canvas_text.h"
#include "shell/console.h"
#include "shell/interrupt.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FRAME_MS = 30,
    CONTEXT_BYTES = 200,
    CONTEXT_LINES = 3,
    LOG_LINES = 12,
    LOG_WIDTH = 100,
    LOG_CONTEXT = 6
};

struct canvas_view {
    canvas_view_options opt;
    canvas_text body;
    bool live;      /* a terminal that can move its cursor */
    bool alternate; /* on the alternate screen */
    int columns, rows;
    int drawn;        /* lines of the last frame, above the cursor */
    bool *shown;      /* [n_canvas] positions worth showing */
    int n_holes;      /* at the start */
    int last_block;   /* of the last log line */
    int open_line;    /* line of the first open position */
    double last_draw; /* seconds */
    double seconds;   /* of all steps */
    lac_step last;    /* numbers of the step laid out; its pointers are stale */
    bool pending;     /* laid out but not painted */
    char *frame;      /* bytes of the frame being built */
    size_t n_frame, frame_capacity;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

canvas_view *canvas_view_open(const canvas_view_options *opt)
{
    canvas_view *v = calloc(1, sizeof *v);
    if (!v) return NULL;
    const char *term = getenv("TERM");
    v->opt = *opt;
    v->live = console_is_tty(stderr) && term && *term && strcmp(term, "dumb") != 0;
    v->last_block = -1;
    v->body = (canvas_text){ .model = opt->model,
                             .eos_id = opt->eos_id,
                             .color = opt->color && v->live,
                             .utf8 = console_is_utf8() };
    return v;
}

/* ------------------------------------------------------------------ what is shown */

static bool is_hole(const lac_step *step, int position)
{
    return step->canvas[position] == LAC_HOLE || step->step_map[position] >= 0;
}

/* Marks positions from `from` in direction `by` until enough text is around the hole. */
static void show_context(canvas_view *v, const lac_step *step, int from, int by)
{
    size_t bytes = 0;
    int lines = 0;
    for (int p = from; p >= 0 && p < step->n_canvas; p += by) {
        if (is_hole(step, p) || bytes > CONTEXT_BYTES) return;
        size_t n = 0;
        const char *piece = lac_model_piece(v->opt.model, step->canvas[p], &n);
        if (piece && memchr(piece, '\n', n) && lines++ >= CONTEXT_LINES) return;
        bytes += n ? n : 1;
        v->shown[p] = true;
    }
}

static bool prepare(canvas_view *v, const lac_step *step)
{
    if (v->shown) return true;
    v->shown = calloc((size_t)step->n_canvas, sizeof *v->shown);
    if (!v->shown) return false;
    v->n_holes = step->n_left + step->n_fixed;
    for (int p = 0; p < step->n_canvas; p++) {
        if (!is_hole(step, p)) continue;
        v->shown[p] = true;
        if (p > 0 && !v->shown[p - 1]) show_context(v, step, p - 1, -1);
        if (p + 1 < step->n_canvas && !is_hole(step, p + 1)) show_context(v, step, p + 1, 1);
    }
    return true;
}

/* Lays the shown positions out in lines; long stretches in between shrink to a count. */
static void lay_out(canvas_view *v, const lac_step *step)
{
    canvas_text *t = &v->body;
    canvas_text_clear(t);
    v->open_line = -1;
    for (int p = 0; p < step->n_canvas;) {
        if (v->shown[p]) {
            canvas_text_position(t, step, p);
            if (v->open_line < 0 && step->canvas[p] == LAC_HOLE) v->open_line = (int)t->n_lines;
            p++;
            continue;
        }
        const int begin = p;
        while (p < step->n_canvas && !v->shown[p])
            p++;
        char words[64];
        snprintf(words, sizeof words, "... %d more tokens ...", p - begin);
        canvas_text_end_line(t);
        canvas_text_words(t, words, STYLE_DIM);
        canvas_text_end_line(t);
    }
    canvas_text_end_line(t);
}

/* ------------------------------------------------------------------ drawing */

static void put(canvas_view *v, const char *text)
{
    const size_t n = strlen(text);
    if (n > v->frame_capacity - v->n_frame) {
        const size_t capacity = 2 * v->frame_capacity + n + 4096;
        char *frame = realloc(v->frame, capacity);
        if (!frame) return;
        v->frame = frame;
        v->frame_capacity = capacity;
    }
    memcpy(v->frame + v->n_frame, text, n);
    v->n_frame += n;
}

static void put_line(canvas_view *v, const char *text)
{
    put(v, text);
    put(v, "\x1b[K\r\n");
}

/* The line under the canvas, cut to the window. */
static void put_status(canvas_view *v, const lac_step *step)
{
    char text[256], block[32] = "";
    const double per_step = 1e3 * v->seconds / (step->step + 1);
    if (step->n_blocks > 1)
        snprintf(block, sizeof block, "block %d/%d  ", step->block + 1, step->n_blocks);
    snprintf(text, sizeof text, "step %d/%d  %s%d/%d fixed  %.1f ms/step  density %.0f%%",
             step->step + 1, step->n_steps, block, v->n_holes - step->n_left, v->n_holes, per_step,
             100 * step->density);
    text[v->columns > 0 && v->columns < (int)sizeof text ? v->columns - 1 : 0] = 0;
    put(v, canvas_style(&v->body, STYLE_DIM));
    put(v, text);
    put(v, canvas_style(&v->body, STYLE_PLAIN));
    if (v->body.color && (int)strlen(text) + 2 + 6 + N_RAMP + 5 < v->columns) {
        put(v, "  early ");
        for (int i = 0; i < N_RAMP; i++) {
            put(v, canvas_style(&v->body, STYLE_RAMP + i));
            put(v, v->body.utf8 ? "█" : "#");
        }
        put(v, canvas_style(&v->body, STYLE_PLAIN));
        put(v, " late");
    }
    put(v, "\x1b[K\r\n");
}

static void send(canvas_view *v)
{
    fwrite(v->frame, 1, v->n_frame, stderr);
    fflush(stderr);
    v->n_frame = 0;
}

/* Leaves the small picture for the whole window. */
static void enter_alternate(canvas_view *v)
{
    char text[32];
    if (v->drawn) {
        snprintf(text, sizeof text, "\x1b[%dA\r\x1b[J", v->drawn);
        put(v, text);
    }
    put(v, "\x1b[?1049h");
    interrupt_set_restore("\x1b[?1049l\x1b[?25h\x1b[0m");
    v->alternate = true;
    v->drawn = 0;
}

/* Brings the layout up to date with a step, without touching the terminal. */
static void lay_out_step(canvas_view *v, const lac_step *step)
{
    int columns = 0;
    console_window(stderr, &columns, &v->rows);
    if (columns != v->columns) v->drawn = 0; /* the terminal has re-wrapped the old picture */
    v->columns = columns;
    v->body.width = columns > 2 ? columns - 1 : 1;
    v->last = *step;
    v->pending = true;
    lay_out(v, step);
}

static void paint(canvas_view *v)
{
    const int n_lines = (int)v->body.n_lines;
    const int room = v->rows > 4 ? v->rows - 2 : 2;
    put(v, "\x1b[?25l");
    if (!v->alternate) interrupt_set_restore("\x1b[?25h\x1b[0m");
    if (n_lines > room && !v->alternate) enter_alternate(v);
    if (v->alternate) put(v, "\x1b[H");
    char text[32];
    snprintf(text, sizeof text, "\x1b[%dA\r", v->drawn);
    if (v->drawn) put(v, text);
    int first = 0;
    if (n_lines > room) { /* keep the place of work two thirds down the window */
        const int focus = v->open_line < 0 ? n_lines : v->open_line;
        first = focus - 2 * room / 3;
        if (first > n_lines - room) first = n_lines - room;
        if (first < 0) first = 0;
    }
    const int end = first + room < n_lines ? first + room : n_lines;
    for (int i = first; i < end; i++)
        put_line(v, v->body.text + v->body.line[i]);
    put_status(v, &v->last);
    put(v, "\x1b[J");
    v->drawn = v->alternate ? 0 : end - first + 1;
    v->pending = false;
    send(v);
}

/* ------------------------------------------------------------------ plain lines */

/* One line of the block from `begin` on: its holes, each with a little text before it. After it,
 * t->full says that the line ended before position `until` was shown. */
static void lay_out_log(canvas_text *t, const lac_step *step, int begin, int until)
{
    canvas_text_clear(t);
    t->one_line = true;
    bool full = false, gap = false;
    for (int p = begin; p < step->block_end && !t->full; p++) {
        bool near = false;
        for (int q = p; q <= p + LOG_CONTEXT && q < step->n_canvas && !near; q++)
            near = is_hole(step, q);
        if (near && gap) canvas_text_words(t, "..", STYLE_PLAIN);
        if (near) canvas_text_position(t, step, p);
        gap = !near;
        full = t->full && p <= until;
    }
    canvas_text_end_line(t);
    t->full = full;
}

static void log_step(canvas_view *v, const lac_step *step)
{
    const int stride = (step->n_steps + LOG_LINES - 1) / LOG_LINES;
    const bool due = step->step == 0 || (step->step + 1) % (stride ? stride : 1) == 0 ||
                     step->block != v->last_block || step->n_left == 0;
    if (!due) return;
    v->last_block = step->block;
    char text[96];
    const int n =
        snprintf(text, sizeof text, "step %*d/%d  block %d/%d  fixed %*d/%d  ",
                 step->n_steps > 99 ? 3 : 2, step->step + 1, step->n_steps, step->block + 1,
                 step->n_blocks, v->n_holes > 99 ? 3 : 2, v->n_holes - step->n_left, v->n_holes);
    canvas_text *t = &v->body;
    t->width = LOG_WIDTH - n;
    int newest = step->block_begin;
    for (int p = step->block_begin; p < step->block_end; p++)
        if (step->step_map[p] == step->step) newest = p;
    int begin = step->block_begin > LOG_CONTEXT ? step->block_begin - LOG_CONTEXT : 0;
    lay_out_log(t, step, begin, newest);
    while (t->full && begin < newest) { /* let it begin later, until the newest token is in it */
        begin += begin + 16 < newest ? 16 : 1;
        lay_out_log(t, step, begin, newest);
    }
    fprintf(stderr, "%s%s\n", text, t->n_lines && !t->failed ? t->text + t->line[0] : "");
}

/* ------------------------------------------------------------------ steps */

static void pause_ms(double ms)
{
    if (ms <= 0 || interrupt_signal()) return;
    const long whole = (long)ms;
    const struct timespec t = { whole / 1000, whole % 1000 * 1000000 };
    nanosleep(&t, NULL); /* a signal ends it early, as it should */
}

void canvas_view_step(canvas_view *v, const lac_step *step)
{
    if (!prepare(v, step)) return;
    v->seconds += step->seconds;
    const double begin = now();
    if (v->live)
        lay_out_step(v, step);
    else
        log_step(v, step);
    if (v->live && (v->opt.delay_ms || 1e3 * (begin - v->last_draw) >= FRAME_MS)) {
        v->last_draw = begin;
        paint(v);
    }
    if (v->opt.delay_ms) pause_ms(v->opt.delay_ms - 1e3 * (now() - begin + step->seconds));
}

void canvas_view_close(canvas_view *v)
{
    if (!v) return;
    if (v->live && v->shown) {
        if (v->pending) paint(v);
        fputs(v->alternate ? "\x1b[?1049l\x1b[?25h" : "\x1b[?25h", stderr);
        fflush(stderr);
        interrupt_set_restore(NULL);
    }
    canvas_text_free(&v->body);
    free(v->shown);
    free(v->frame);
    free(v);
}
