/* cache_view.c: see cache_view.h. Layers of a step that show no plan read everything or nothing:
 * how many rows the step says read the prefix tells which. */
#include "picture/cache_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "shell/console.h"
#include "shell/out_file.h"

/* ------------------------------------------------------------------ the record */

lac_status cache_view_open(cache_view *out, const cache_view *sizes, int n_prompt, int n_steps,
                           lac_error *err)
{
    const size_t n = (size_t)CACHE_VIEW_STEPS * CACHE_VIEW_COLUMNS;
    cache_view v = { .n_layers = sizes->n_layers,
                     .n_heads = sizes->n_heads,
                     .n_canvas = sizes->n_canvas,
                     .block = sizes->block };
    if (v.n_layers < 1 || v.n_heads < 1 || v.block < 1 || n_prompt < 0 || n_steps < 1 ||
        n_prompt >= v.n_canvas)
        return laci_fail(err, LAC_EINVAL, 0,
                         "%d steps of %d layers from position %d of %d in blocks of %d", n_steps,
                         v.n_layers, n_prompt, v.n_canvas, v.block);
    v.stride = (n_steps + CACHE_VIEW_STEPS - 1) / CACHE_VIEW_STEPS;
    v.first = n_prompt / v.block * v.block;
    const int end = (v.n_canvas + v.block - 1) / v.block * v.block;
    v.cell = (end - v.first + CACHE_VIEW_COLUMNS - 1) / CACHE_VIEW_COLUMNS;
    v.n_columns = (end - v.first + v.cell - 1) / v.cell;
    v.key_cell = (v.n_canvas + CACHE_VIEW_COLUMNS - 1) / CACHE_VIEW_COLUMNS;
    v.n_key_columns = (v.n_canvas + v.key_cell - 1) / v.key_cell;
    v.steps = calloc(CACHE_VIEW_STEPS, sizeof *v.steps);
    v.active = calloc(n, sizeof *v.active);
    v.read = calloc(n, sizeof *v.read);
    if (!v.steps || !v.active || !v.read) {
        cache_view_free(&v);
        return laci_fail_memory(err, "a view of the key cache", 2 * n * sizeof *v.active);
    }
    *out = v;
    return LAC_OK;
}

void cache_view_free(cache_view *v)
{
    free(v->steps);
    free(v->active);
    free(v->read);
    *v = (cache_view){ 0 };
}

/* Keys [begin, end) were read, by `share` of a layer's heads. */
static void add_keys(cache_view *v, float *read, int begin, int end, double share)
{
    for (int c = begin / v->key_cell; c * v->key_cell < end; c++) {
        const int from = c * v->key_cell > begin ? c * v->key_cell : begin;
        const int to = (c + 1) * v->key_cell < end ? (c + 1) * v->key_cell : end;
        read[c] += (float)(share * (to - from) / v->key_cell / v->n_layers);
    }
}

static void add_row(const cache_view *v, float *active, int position, double share)
{
    active[(position - v->first) / v->cell] += (float)(share / v->cell / v->n_layers);
}

lac_status cache_view_add_plan(cache_view *v, const lac_plan_view *plan, lac_error *err)
{
    const int end = v->first + v->n_columns * v->cell;
    if (plan->step % v->stride) return LAC_OK;
    if (v->n_steps == CACHE_VIEW_STEPS)
        return laci_fail(err, LAC_EINVAL, 0, "step %d is more than the run was to have",
                         plan->step);
    if (v->n_plans == v->n_layers)
        return laci_fail(err, LAC_EINVAL, 0, "step %d has more plans than %d layers", plan->step,
                         v->n_layers);
    if (plan->n_k < 1 || plan->n_k > v->n_canvas || plan->n_rows != 1 || plan->first < v->first)
        return laci_fail(err, LAC_EINVAL, 0, "%d rows from position %d over a prefix of %d keys",
                         plan->n_rows, plan->first, plan->n_k);
    for (int i = 0; i < plan->n_q; i++)
        if (plan->active[i] < 0 || plan->active[i] >= end - plan->first)
            return laci_fail(err, LAC_EINVAL, 0, "row %d of a block at position %d of %d",
                             plan->active[i], plan->first, v->n_canvas);
    float *active = v->active + (size_t)v->n_steps * CACHE_VIEW_COLUMNS;
    float *read = v->read + (size_t)v->n_steps * CACHE_VIEW_COLUMNS;
    for (int i = 0; i < plan->n_q; i++)
        add_row(v, active, plan->first + plan->active[i], 1);
    for (uint32_t i = 0; i < plan->row_ptr[plan->n_heads]; i++) {
        const int begin = (int)plan->cols[i] * plan->k_block;
        const int past = begin + plan->k_block < plan->n_k ? begin + plan->k_block : plan->n_k;
        add_keys(v, read, begin, past, 1.0 / plan->n_heads);
    }
    v->n_plans++;
    v->n_rows += plan->n_q;
    return LAC_OK;
}

lac_status cache_view_add_step(cache_view *v, const cache_view_step *step, lac_error *err)
{
    if (step->step % v->stride) return LAC_OK;
    if (v->n_steps == CACHE_VIEW_STEPS)
        return laci_fail(err, LAC_EINVAL, 0, "step %d is more than the run was to have",
                         step->step);
    if (step->begin < v->first || step->begin >= v->n_canvas)
        return laci_fail(err, LAC_EINVAL, 0, "a block at position %d of %d", step->begin,
                         v->n_canvas);
    float *active = v->active + (size_t)v->n_steps * CACHE_VIEW_COLUMNS;
    float *read = v->read + (size_t)v->n_steps * CACHE_VIEW_COLUMNS;
    const int silent = v->n_layers - v->n_plans;
    const double rows = step->n_active * v->n_layers - v->n_rows;
    const double share = silent ? fmin(fmax(rows / v->block, 0), silent) : 0; /* layers */
    for (int i = 0; i < v->block && share > 0; i++)
        if (step->begin + i < v->first + v->n_columns * v->cell)
            add_row(v, active, step->begin + i, share);
    if (share > 0) add_keys(v, read, 0, step->begin, share);
    v->steps[v->n_steps++] = *step;
    v->n_plans = 0;
    v->n_rows = 0;
    return LAC_OK;
}

/* ------------------------------------------------------------------ pictures */

enum { WIDTH = 640, LEFT = 70, TOP = 56, GAP = 64, CURVE = 120, LEVELS = 16 };

static int row_height(const cache_view *v)
{
    const int height = v->n_steps ? 320 / v->n_steps : 8;
    return height < 2 ? 2 : height > 12 ? 12 : height;
}

static void put_text(FILE *out, double x, double y, const char *anchor, const char *text)
{
    fprintf(out, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, text);
}

static void put_number(FILE *out, double x, double y, const char *anchor, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.4g", value);
    put_text(out, x, y, anchor, text);
}

static int level_of(float share)
{
    if (!(share > 0)) return 0;
    const int level = (int)(LEVELS * share + 0.5F);
    return level < 1 ? 1 : level > LEVELS ? LEVELS : level;
}

/* Shares [n_steps, n_columns] as cells, equal neighbours as one; positions begin at `from`. */
static void put_map(const cache_view *v, FILE *out, const float *shares, int n_columns, int from,
                    int to, const char *title)
{
    const int h = row_height(v);
    const double w = (double)WIDTH / n_columns;
    put_text(out, 0, -8, "start", title);
    for (int s = 0; s < v->n_steps; s++) {
        const float *row = shares + (size_t)s * CACHE_VIEW_COLUMNS;
        for (int c = 0, end; c < n_columns; c = end) {
            const int level = level_of(row[c]);
            for (end = c + 1; end < n_columns && level_of(row[end]) == level;)
                end++;
            if (!level) continue;
            fprintf(out,
                    "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" "
                    "fill=\"rgb(%d,%d,%d)\"/>\n",
                    c * w, s * h, (end - c) * w, h, 235 - 225 * level / LEVELS,
                    243 - 185 * level / LEVELS, 250 - 110 * level / LEVELS);
        }
    }
    fprintf(out, "<rect width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n", WIDTH,
            v->n_steps * h);
    put_number(out, 0, v->n_steps * h + 14, "start", from);
    put_number(out, WIDTH, v->n_steps * h + 14, "end", to);
    put_number(out, -6, 10, "end", v->n_steps ? v->steps[0].step : 0);
    put_number(out, -6, v->n_steps * h, "end", v->n_steps ? v->steps[v->n_steps - 1].step : 0);
}

/* Union inflation and density over the steps. */
static void put_curves(const cache_view *v, FILE *out)
{
    double most = 1;
    for (int i = 0; i < v->n_steps; i++)
        most = fmax(most, v->steps[i].union_inflation);
    put_text(out, 0, -8, "start",
             "union inflation (dark) over steps, and density (light, of the same height = 1)");
    for (int k = 0; k < 2; k++) {
        fputs("<polyline fill=\"none\" points=\"", out);
        for (int i = 0; i < v->n_steps; i++) {
            const double value = k ? v->steps[i].density : v->steps[i].union_inflation / most;
            fprintf(out, "%s%.1f,%.1f", i ? " " : "",
                    v->n_steps > 1 ? (double)WIDTH * i / (v->n_steps - 1) : 0,
                    CURVE * (1 - fmin(fmax(value, 0), 1)));
        }
        fprintf(out, "\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", k ? "#9bbcd8" : "#0a3a78");
    }
    fprintf(out, "<rect width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n", WIDTH,
            CURVE);
    put_number(out, -6, 10, "end", most);
    put_number(out, -6, CURVE, "end", 0);
    put_number(out, 0, CURVE + 14, "start", v->n_steps ? v->steps[0].step : 0);
    put_number(out, WIDTH, CURVE + 14, "end", v->n_steps ? v->steps[v->n_steps - 1].step : 0);
}

/* Text that came from a file. */
static void put_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("<>&\"", *text) || (unsigned char)*text < ' ')
            fprintf(out, "&#%d;", (unsigned char)*text < ' ' ? ' ' : *text);
        else
            fputc(*text, out);
    }
}

static void put_svg(const cache_view *v, FILE *out, const char *title)
{
    const int map = v->n_steps * row_height(v), height = TOP + 2 * (map + GAP) + CURVE + GAP;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<title>",
            LEFT + WIDTH + 24, height);
    put_escaped(out, title);
    fputs("</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
          "<text x=\"16\" y=\"22\" font-weight=\"bold\">",
          out);
    put_escaped(out, title);
    fprintf(out, "</text>\n<g transform=\"translate(%d %d)\">\n", LEFT, TOP);
    put_map(v, out, v->active, v->n_columns, v->first, v->n_canvas,
            "rows that read the prefix: position across, step down; dark = in all layers");
    fprintf(out, "</g>\n<g transform=\"translate(%d %d)\">\n", LEFT, TOP + map + GAP);
    put_map(v, out, v->read, v->n_key_columns, 0, v->n_canvas,
            "keys that were read: position across, step down; dark = by all heads of all layers");
    fprintf(out, "</g>\n<g transform=\"translate(%d %d)\">\n", LEFT, TOP + 2 * (map + GAP));
    put_curves(v, out);
    fputs("</g>\n</svg>\n", out);
}

/* ------------------------------------------------------------------ files */

static void put_page(const cache_view *v, FILE *out, const char *title)
{
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", out);
    put_escaped(out, title);
    fputs("</title></head><body>\n", out);
    put_svg(v, out, title);
    fputs("</body></html>\n", out);
}

static void put_table(const cache_view *v, FILE *out)
{
    fputs("measure,a,b,value\n", out);
    for (int s = 0; s < v->n_steps; s++) {
        const cache_view_step *step = &v->steps[s];
        const float *active = v->active + (size_t)s * CACHE_VIEW_COLUMNS;
        const float *read = v->read + (size_t)s * CACHE_VIEW_COLUMNS;
        fprintf(out, "union_inflation,%d,,%.6g\n", step->step, step->union_inflation);
        fprintf(out, "density,%d,,%.6g\n", step->step, step->density);
        fprintf(out, "n_active,%d,,%.6g\n", step->step, step->n_active);
        fprintf(out, "bytes_read,%d,,%.0f\n", step->step, step->bytes_read);
        for (int c = 0; c < v->n_columns; c++)
            if (active[c] > 0)
                fprintf(out, "active,%d,%d,%.6g\n", step->step, v->first + c * v->cell,
                        (double)active[c]);
        for (int c = 0; c < v->n_key_columns; c++)
            if (read[c] > 0)
                fprintf(out, "read,%d,%d,%.6g\n", step->step, c * v->key_cell, (double)read[c]);
    }
}

static bool ends_in(const char *path, const char *end)
{
    const char *dot = strrchr(path, '.');
    return dot && !strcmp(dot, end);
}

int cache_view_check_name(const char *path)
{
    if (ends_in(path, ".svg") || ends_in(path, ".html") || ends_in(path, ".csv")) return EXIT_OK;
    return console_fail(EXIT_USAGE,
                        "%s: what was read of a key cache is drawn as .html or .svg, or written as "
                        ".csv",
                        path);
}

int cache_view_write(const cache_view *v, const char *path, const char *title)
{
    out_file out = { .file = NULL };
    int code = cache_view_check_name(path);
    if (!code) code = out_file_open(&out, path, "picture");
    if (code) return code;
    if (ends_in(path, ".svg"))
        put_svg(v, out.file, title);
    else if (ends_in(path, ".html"))
        put_page(v, out.file, title);
    else
        put_table(v, out.file);
    return out_file_close(&out, true, true);
}
