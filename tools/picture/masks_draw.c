/* masks_draw.c: the picture of a record of masks, by cairo: on the left every head's map, layers
 * down, heads across; on the right what comparing them says. Sizes are in units of a pixel of the
 * PNG. Maps are painted at whole multiples of a cell, so nothing blurs. */
#include "picture/masks_out.h"

#include "shell/console.h"

#ifndef LACUNA_HAVE_CAIRO

bool masks_can_draw(void)
{
    return false;
}

int masks_draw(const masks_scene *scene, bool is_png, FILE *out)
{
    (void)scene, (void)is_png, (void)out;
    return console_fail(EXIT_USAGE, "this build has no cairo to draw with");
}

#else

#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARGIN = 24,
    TITLE = 64,     /* above everything */
    AXIS = 44,      /* left of and above the maps */
    GAP = 3,        /* between maps */
    SIDE = 300,     /* width of the right column's panels */
    PANEL_GAP = 62, /* between panels: title and axis */
    LEGEND = 64,
};

/* Where things go. */
typedef struct {
    const masks_scene *scene;
    cairo_t *cr;
    int map;          /* side of one map */
    int map_w, map_h; /* all maps together */
    int width, height;
    float top; /* mass of the darkest colour */
} picture;

/* ------------------------------------------------------------------ colours */

/* From nearly white to dark blue, even steps in lightness; `x` in [0, 1]. */
static uint32_t color_of(double x)
{
    static const unsigned char stops[][3] = { { 247, 249, 252 }, { 205, 222, 240 },
                                              { 143, 186, 220 }, { 75, 140, 194 },
                                              { 29, 89, 155 },   { 8, 40, 92 } };
    const int last = (int)(sizeof stops / sizeof stops[0]) - 1;
    if (!(x > 0)) x = 0;
    if (x > 1) x = 1;
    const double at = x * last;
    const int i = at >= last ? last - 1 : (int)at;
    uint32_t rgb = 0xff;
    for (int c = 0; c < 3; c++) {
        const double v = stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c]);
        rgb = rgb << 8 | (uint32_t)(v + 0.5);
    }
    return rgb;
}

/* Nothing is known there. */
static const uint32_t unknown_color = 0xffe9e6e1;

/* ------------------------------------------------------------------ images */

typedef struct {
    cairo_surface_t *surface;
    unsigned char *data;
    int stride;
} image;

static image image_new(int width, int height)
{
    image im = { .surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height) };
    if (cairo_surface_status(im.surface) != CAIRO_STATUS_SUCCESS) return im;
    im.data = cairo_image_surface_get_data(im.surface);
    im.stride = cairo_image_surface_get_stride(im.surface);
    memset(im.data, 255, (size_t)im.stride * (size_t)height);
    return im;
}

static void put_pixel(const image *im, int x, int y, uint32_t color)
{
    memcpy(im->data + (size_t)y * (size_t)im->stride + 4 * (size_t)x, &color, sizeof color);
}

/* Paints it and lets it go; `scale` image pixels make one unit. */
static void image_end(const picture *p, image *im, double x, double y, double scale)
{
    if (im->data) {
        cairo_surface_mark_dirty(im->surface);
        cairo_save(p->cr);
        cairo_translate(p->cr, x, y);
        cairo_scale(p->cr, 1 / scale, 1 / scale);
        cairo_set_source_surface(p->cr, im->surface, 0, 0);
        cairo_pattern_set_filter(cairo_get_source(p->cr), CAIRO_FILTER_NEAREST);
        cairo_paint(p->cr);
        cairo_restore(p->cr);
    }
    cairo_surface_destroy(im->surface);
}

/* ------------------------------------------------------------------ words and lines */

typedef enum { AT_LEFT, AT_MIDDLE, AT_RIGHT } anchor;

static void ink(const picture *p, double grey)
{
    cairo_set_source_rgb(p->cr, grey, grey, grey + 0.02);
}

static void words(const picture *p, double x, double y, double size, anchor from, const char *text)
{
    cairo_text_extents_t box;
    cairo_set_font_size(p->cr, size);
    cairo_text_extents(p->cr, text, &box);
    if (from == AT_MIDDLE) x -= box.x_advance / 2;
    if (from == AT_RIGHT) x -= box.x_advance;
    cairo_move_to(p->cr, x, y);
    cairo_show_text(p->cr, text);
}

static void heading(const picture *p, double x, double y, const char *text)
{
    ink(p, 0.1);
    cairo_select_font_face(p->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
    words(p, x, y, 13, AT_LEFT, text);
    cairo_select_font_face(p->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    ink(p, 0.35);
}

static void frame_box(const picture *p, double x, double y, double w, double h)
{
    ink(p, 0.6);
    cairo_set_line_width(p->cr, 1);
    cairo_rectangle(p->cr, x - 0.5, y - 0.5, w + 1, h + 1);
    cairo_stroke(p->cr);
    ink(p, 0.35);
}

/* A bar of the colours with what its ends stand for. */
static void color_bar(const picture *p, double x, double y, const char *low, const char *high)
{
    enum { W = 120, H = 10 };
    image im = image_new(W, H);
    for (int i = 0; im.data && i < W; i++)
        for (int j = 0; j < H; j++)
            put_pixel(&im, i, j, color_of((double)i / (W - 1)));
    image_end(p, &im, x, y, 1);
    frame_box(p, x, y, W, H);
    words(p, x, y + 24, 11, AT_LEFT, low);
    words(p, x + W, y + 24, 11, AT_RIGHT, high);
}

/* ------------------------------------------------------------------ the maps */

/* Values of one head in [0, 1] of the colours: of the chosen step, or the mean over all. */
static void head_values(const picture *p, size_t head, float *out)
{
    const masks *m = p->scene->m;
    const size_t n = masks_n_cells(m);
    const int step = p->scene->how->step;
    int n_frames = 0;
    memset(out, 0, n * sizeof *out);
    for (int i = 0; i < m->n_frames; i++) {
        const masks_frame *f = &m->frames[i];
        if (step >= 0 && f->step != step) continue;
        if (p->scene->shows_mass && !f->has_mass[head / (size_t)m->n_heads]) continue;
        n_frames++;
        for (size_t c = 0; c < n; c++)
            out[c] += p->scene->shows_mass ? (float)f->mass[head * n + c] / 65535
                                           : (float)f->kept[head * n + c] / 255;
    }
    for (size_t c = 0; c < n; c++)
        out[c] = n_frames ? out[c] / (float)n_frames : NAN;
}

static double shade(const picture *p, float value)
{
    return p->scene->shows_mass ? sqrt((double)(value / p->top)) : (double)value;
}

/* Largest mass of any cell shown. */
static float find_top(const picture *p, float *values)
{
    float top = 1e-6F;
    for (size_t h = 0; h < masks_n_heads(p->scene->m); h++) {
        head_values(p, h, values);
        for (size_t c = 0; c < masks_n_cells(p->scene->m); c++)
            if (values[c] > top) top = values[c];
    }
    return top;
}

/* Image pixels of one unit: at least a pixel per cell. */
static int map_scale(const picture *p)
{
    return (p->scene->m->grid + p->map - 1) / p->map;
}

static void paint_head(const picture *p, const image *im, int x0, int y0, const float *values)
{
    const masks *m = p->scene->m;
    const int side = p->map * map_scale(p);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const int row = (int)((int64_t)y * m->grid / side);
            const int col = (int)((int64_t)x * m->grid / side);
            const float v = values[row * m->grid + col];
            put_pixel(im, x0 + x, y0 + y, isnan(v) ? unknown_color : color_of(shade(p, v)));
        }
}

static void map_labels(const picture *p, double x, double y)
{
    const masks *m = p->scene->m;
    const int pitch = p->map + GAP;
    const int every = pitch < 22 ? 4 : pitch < 34 ? 2 : 1;
    char text[32];
    ink(p, 0.35);
    words(p, x + p->map_w / 2.0, y - 24, 12, AT_MIDDLE, "head");
    for (int h = 0; h < m->n_heads; h += every) {
        snprintf(text, sizeof text, "%d", h);
        words(p, x + h * pitch + p->map / 2.0, y - 8, 11, AT_MIDDLE, text);
    }
    for (int l = 0; l < m->n_layers; l += every) {
        snprintf(text, sizeof text, "%d", l);
        words(p, x - 8, y + l * pitch + p->map / 2.0 + 4, 11, AT_RIGHT, text);
    }
    cairo_save(p->cr);
    cairo_translate(p->cr, x - 30, y + p->map_h / 2.0);
    cairo_rotate(p->cr, -acos(-1) / 2);
    words(p, 0, 0, 12, AT_MIDDLE, "layer");
    cairo_restore(p->cr);
}

/* The prompt's end, where maps are large enough for lines. */
static void prompt_lines(const picture *p, double x, double y)
{
    const masks *m = p->scene->m;
    const double dashes[] = { 3, 3 };
    const int n = p->scene->how->facts.n_prompt;
    if (p->map < 60 || n <= 0 || n >= m->n_k) return;
    cairo_save(p->cr);
    cairo_set_source_rgba(p->cr, 0.85, 0.3, 0.1, 0.8);
    cairo_set_line_width(p->cr, 0.8);
    cairo_set_dash(p->cr, dashes, 2, 0);
    for (int l = 0; l < m->n_layers; l++)
        for (int h = 0; h < m->n_heads; h++) {
            const double at = (double)n / (m->grid * m->cell) * p->map;
            const double left = x + h * (p->map + GAP), top = y + l * (p->map + GAP);
            cairo_move_to(p->cr, left + at, top);
            cairo_line_to(p->cr, left + at, top + p->map);
            cairo_move_to(p->cr, left, top + at);
            cairo_line_to(p->cr, left + p->map, top + at);
        }
    cairo_stroke(p->cr);
    cairo_restore(p->cr);
}

static void draw_maps(picture *p, double x, double y, float *values)
{
    const masks *m = p->scene->m;
    const int scale = map_scale(p), pitch = (p->map + GAP) * scale;
    image im = image_new(p->map_w * scale, p->map_h * scale);
    p->top = p->scene->shows_mass ? find_top(p, values) : 1;
    for (int l = 0; l < m->n_layers && im.data; l++)
        for (int h = 0; h < m->n_heads; h++) {
            head_values(p, (size_t)l * (size_t)m->n_heads + (size_t)h, values);
            paint_head(p, &im, h * pitch, l * pitch, values);
        }
    image_end(p, &im, x, y, scale);
    for (int l = 0; l < m->n_layers && p->map >= 40; l++)
        for (int h = 0; h < m->n_heads; h++)
            frame_box(p, x + h * (p->map + GAP), y + l * (p->map + GAP), p->map, p->map);
    prompt_lines(p, x, y);
    map_labels(p, x, y);
}

static void map_legend(const picture *p, double x, double y)
{
    const masks *m = p->scene->m;
    char text[160], high[32];
    const int n_prompt = p->scene->how->facts.n_prompt;
    snprintf(high, sizeof high, p->scene->shows_mass ? "%.0f%% (square root)" : "%.0f%%",
             p->scene->shows_mass ? 100 * (double)p->top : 100.0);
    color_bar(p, x, y, "0", high);
    snprintf(text, sizeof text, "each map: queries down, keys across, %d cells of %d positions",
             m->grid, m->cell);
    words(p, x + 140, y + 9, 11, AT_LEFT, text);
    snprintf(text, sizeof text, "%s%s",
             p->scene->shows_mass ? "share of a query's softmax in a cell"
                                  : "share of a cell that is read",
             n_prompt > 0 && n_prompt < m->n_k && p->map >= 60 ? "; dashed: end of the prompt"
                                                               : "");
    words(p, x + 140, y + 24, 11, AT_LEFT, text);
}

/* ------------------------------------------------------------------ the panels */

/* A square matrix; returns the y below it. */
static double draw_matrix(const picture *p, double x, double y, int n, const float *values,
                          const char *title, const char *first, const char *last, const char *axis)
{
    heading(p, x, y - 10, title);
    const int side = 2 * SIDE;
    image im = image_new(side, side);
    for (int row = 0; row < side && im.data; row++)
        for (int col = 0; col < side; col++) {
            const size_t a = (size_t)row * (size_t)n / (size_t)side;
            const size_t b = (size_t)col * (size_t)n / (size_t)side;
            const float v = values[a * (size_t)n + b];
            put_pixel(&im, col, row, isnan(v) ? unknown_color : color_of((double)v));
        }
    image_end(p, &im, x, y, 2);
    frame_box(p, x, y, SIDE, SIDE);
    words(p, x, y + SIDE + 15, 11, AT_LEFT, first);
    words(p, x + SIDE / 2.0, y + SIDE + 15, 11, AT_MIDDLE, axis);
    words(p, x + SIDE, y + SIDE + 15, 11, AT_RIGHT, last);
    return y + SIDE + PANEL_GAP;
}

/* One number per head, layers down; written into the fields where they are large enough. */
static double draw_heads(const picture *p, double x, double y, const float *values,
                         const char *title)
{
    const masks *m = p->scene->m;
    const double w = (double)SIDE / m->n_heads;
    const double h = m->n_layers * 26.0 < 220 ? 26 : 220.0 / m->n_layers;
    char text[16];
    heading(p, x, y - 10, title);
    for (int l = 0; l < m->n_layers; l++)
        for (int i = 0; i < m->n_heads; i++) {
            const float v = values[l * m->n_heads + i];
            const uint32_t c = isnan(v) ? unknown_color : color_of((double)v);
            cairo_set_source_rgb(p->cr, (c >> 16 & 255) / 255.0, (c >> 8 & 255) / 255.0,
                                 (c & 255) / 255.0);
            cairo_rectangle(p->cr, x + i * w, y + l * h, w + 0.3, h + 0.3);
            cairo_fill(p->cr);
            if (w < 30 || h < 16 || isnan(v)) continue;
            ink(p, v > 0.55F ? 1 - 0.02 : 0.15);
            snprintf(text, sizeof text, "%.0f%%", 100 * (double)v);
            words(p, x + (i + 0.5) * w, y + (l + 0.5) * h + 4, 11, AT_MIDDLE, text);
        }
    frame_box(p, x, y, SIDE, m->n_layers * h);
    words(p, x, y + m->n_layers * h + 15, 11, AT_LEFT, "heads across, layers down");
    return y + m->n_layers * h + PANEL_GAP;
}

static void curve(const picture *p, double x, double y, double h, const float *values, int n,
                  double top)
{
    for (int i = 0; i < n; i++) {
        if (isnan(values[i])) return;
        const double px = x + (n > 1 ? (double)i / (n - 1) : 0) * SIDE;
        const double py = y + h - (double)values[i] / top * h;
        if (i)
            cairo_line_to(p->cr, px, py);
        else
            cairo_move_to(p->cr, px, py);
    }
    cairo_stroke(p->cr);
}

/* What the colours of the panels stand for. */
static void panel_legend(const picture *p, double x, double y)
{
    color_bar(p, x, y, "0", "100%");
    words(p, x + 140, y + 9, 11, AT_LEFT, "colours of these panels");
}

/* Mass (or what is read) against distance from the diagonal. */
static double draw_distance(const picture *p, double x, double y)
{
    enum { H = 150 };
    const masks *m = p->scene->m;
    const float *values =
        p->scene->shows_mass ? p->scene->stats->mass_at : p->scene->stats->read_at;
    double top = 0.01;
    char text[64];
    for (int i = 0; i < m->grid; i++)
        if ((double)values[i] > top) top = (double)values[i];
    heading(p, x, y - 10,
            p->scene->shows_mass ? "softmax against distance" : "share read against distance");
    cairo_set_source_rgb(p->cr, 0.11, 0.35, 0.61);
    cairo_set_line_width(p->cr, 2);
    curve(p, x, y, H, values, m->grid, top);
    frame_box(p, x, y, SIDE, H);
    snprintf(text, sizeof text, "%.3g%%", 100 * top);
    words(p, x - 4, y + 10, 11, AT_RIGHT, text);
    words(p, x - 4, y + H, 11, AT_RIGHT, "0");
    words(p, x, y + H + 15, 11, AT_LEFT, "0");
    words(p, x + SIDE / 2.0, y + H + 15, 11, AT_MIDDLE, "positions between query and key");
    snprintf(text, sizeof text, "%d", (m->grid - 1) * m->cell);
    words(p, x + SIDE, y + H + 15, 11, AT_RIGHT, text);
    return y + H + PANEL_GAP;
}

static void draw_panels(const picture *p, double x, double y)
{
    const masks *m = p->scene->m;
    const masks_stats *s = p->scene->stats;
    char first[32], last[32];
    const double second = x + SIDE + 60;
    snprintf(first, sizeof first, "step %d", m->frames[s->frame[0]].step);
    snprintf(last, sizeof last, "step %d", m->frames[s->frame[s->n_steps - 1]].step);
    double left = draw_matrix(p, x, y, s->n_steps, s->step_likeness,
                              "similarity of steps (Jaccard)", first, last, "");
    left = draw_heads(p, x, left, s->density, "density of each head");
    draw_distance(p, x, left);
    snprintf(last, sizeof last, "head %d", (s->n_paired - 1) * s->paired_stride);
    double right = draw_matrix(p, second, y, s->n_paired, s->head_likeness,
                               "similarity of heads (Jaccard)", "head 0", last, "layer by layer");
    if (p->scene->has_mass) {
        char title[64];
        snprintf(title, sizeof title, "softmax in the best %.0f%% of cells", 100 * s->select);
        right = draw_heads(p, second, right, s->held, title);
    } else {
        right = draw_heads(p, second, right, s->kept_mass, "softmax kept when the plan was made");
    }
    right = draw_heads(p, second, right, s->own_likeness, "similarity of neighbouring steps");
    panel_legend(p, second, right - 24);
}

/* ------------------------------------------------------------------ the page */

static void draw_title(const picture *p)
{
    const masks *m = p->scene->m;
    const masks_request *how = p->scene->how;
    char text[256];
    ink(p, 0.1);
    cairo_select_font_face(p->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
    snprintf(text, sizeof text, "%s, attention policy %s: %s", how->facts.model, how->facts.sparse,
             p->scene->shows_mass ? "where the softmax lies" : "what is read");
    words(p, MARGIN, MARGIN + 16, 18, AT_LEFT, text);
    cairo_select_font_face(p->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    ink(p, 0.35);
    if (how->step >= 0)
        snprintf(text, sizeof text, "step %d of %d; %d positions, %d of them prompt", how->step,
                 how->facts.steps, m->n_k, how->facts.n_prompt);
    else
        snprintf(text, sizeof text, "mean over %d of %d steps; %d positions, %d of them prompt",
                 m->n_frames, how->facts.steps, m->n_k, how->facts.n_prompt);
    words(p, MARGIN, MARGIN + 38, 13, AT_LEFT, text);
}

static void lay_out(picture *p)
{
    const masks *m = p->scene->m;
    const int most = m->n_layers > m->n_heads ? m->n_layers : m->n_heads;
    p->map = 960 / most - GAP;
    p->map = p->map > 200 ? 200 : p->map < 12 ? 12 : p->map;
    if (p->map > m->grid) p->map -= p->map % m->grid; /* whole pixels a cell */
    p->map_w = m->n_heads * (p->map + GAP) - GAP;
    p->map_h = m->n_layers * (p->map + GAP) - GAP;
    const int heads = m->n_layers * 26 < 220 ? m->n_layers * 26 : 220;
    const int below = heads > 150 ? heads : 150;
    const int panels = SIDE + heads + below + 3 * PANEL_GAP - 20, maps = p->map_h + LEGEND;
    p->width = 2 * MARGIN + AXIS + (p->map_w > 560 ? p->map_w : 560) + 90 + 2 * SIDE + 60;
    p->height = TITLE + AXIS + MARGIN + (maps > panels ? maps : panels);
}

static cairo_status_t put_bytes(void *closure, const unsigned char *data, unsigned n)
{
    return fwrite(data, 1, n, closure) == n ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

bool masks_can_draw(void)
{
    return true;
}

int masks_draw(const masks_scene *scene, bool is_png, FILE *out)
{
    picture p = { .scene = scene };
    lay_out(&p);
    float *values = malloc(masks_n_cells(scene->m) * sizeof *values);
    if (!values) return console_fail(EXIT_MEMORY, "out of memory for the picture");
    cairo_surface_t *surface =
        is_png ? cairo_image_surface_create(CAIRO_FORMAT_RGB24, p.width, p.height)
               : cairo_svg_surface_create_for_stream(put_bytes, out, p.width, p.height);
    p.cr = cairo_create(surface);
    cairo_set_source_rgb(p.cr, 1, 1, 1);
    cairo_paint(p.cr);
    draw_title(&p);
    const double x = MARGIN + AXIS, y = MARGIN + TITLE + AXIS;
    draw_maps(&p, x, y, values);
    map_legend(&p, x, y + p.map_h + 20);
    draw_panels(&p, x + (p.map_w > 560 ? p.map_w : 560) + 90, y);
    cairo_status_t st = cairo_status(p.cr);
    cairo_destroy(p.cr);
    if (!st && is_png) st = cairo_surface_write_to_png_stream(surface, put_bytes, out);
    cairo_surface_finish(surface);
    if (!st) st = cairo_surface_status(surface);
    cairo_surface_destroy(surface);
    free(values);
    if (!st) return EXIT_OK;
    return console_fail(st == CAIRO_STATUS_NO_MEMORY ? EXIT_MEMORY : EXIT_RUN, "cannot draw %s: %s",
                        scene->how->path, cairo_status_to_string(st));
}

#endif
