/* masks_page.c: one page with a record of masks and the script that shows it; it fetches nothing.
 * The page itself is masks_page.html, built in; here the data is put into it. Maps are bytes in
 * base64: the share that was read, and the square root of the softmax's share. */
#include "masks_page_html.h" /* masks_page_html[], made by the build */
#include "picture/masks_out.h"
#include "shell/console.h"
#include "shell/json_out.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of maps a page may hold; more steps are thinned out. */
#define PAGE_BYTES ((size_t)24 << 20)

static void put_base64(json_out *j, const uint8_t *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((n + 2) / 3 * 4 + 1);
    if (!text) {
        j->failed = true;
        return;
    }
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        const size_t left = n - i;
        const uint32_t word = (uint32_t)data[i] << 16 |
                              (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                              (left > 2 ? data[i + 2] : 0);
        text[at++] = digits[word >> 18];
        text[at++] = digits[word >> 12 & 63];
        text[at++] = left > 1 ? digits[word >> 6 & 63] : '=';
        text[at++] = left > 2 ? digits[word & 63] : '=';
    }
    json_text(j, text, at);
    free(text);
}

static void put_list(json_out *j, const char *key, const float *values, size_t n)
{
    json_key(j, key);
    json_begin_array(j);
    for (size_t i = 0; i < n; i++) {
        const double v = (double)values[i];
        json_double(j, isnan(v) ? v : round(v * 1e4) / 1e4); /* as many digits as can be seen */
    }
    json_end_array(j);
}

static void put_mass(json_out *j, const uint16_t *mass, size_t n)
{
    uint8_t *bytes = malloc(n + 1);
    if (!bytes) {
        j->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(sqrtf((float)mass[i] / 65535) * 255 + 0.5F);
    put_base64(j, bytes, n);
    free(bytes);
}

static void put_frame(json_out *j, const masks *m, const masks_frame *f, const masks_frame *last)
{
    const size_t n_heads = masks_n_heads(m), n = n_heads * masks_n_cells(m);
    json_begin_object(j);
    json_key(j, "step");
    json_int(j, f->step);
    put_list(j, "density", f->density, n_heads);
    put_list(j, "kept_mass", f->kept_mass, n_heads);
    json_key(j, "kept"); /* null: as in the frame before */
    if (last && !memcmp(last->kept, f->kept, n))
        json_string(j, NULL);
    else
        put_base64(j, f->kept, n);
    json_key(j, "mass");
    if (f->mass)
        put_mass(j, f->mass, n);
    else
        json_string(j, NULL);
    json_end_object(j);
}

/* Every how many frames one is put on the page. */
static int frame_stride(const masks *m)
{
    const size_t n = masks_n_heads(m) * masks_n_cells(m);
    size_t total = 0;
    for (int i = 0; i < m->n_frames; i++) {
        const bool same = i && !memcmp(m->frames[i - 1].kept, m->frames[i].kept, n);
        total += (same ? 0 : n) + (m->frames[i].mass ? n : 0);
    }
    return (int)(total / PAGE_BYTES) + 1;
}

static void put_frames(json_out *j, const masks *m)
{
    const int stride = frame_stride(m);
    const masks_frame *last = NULL;
    json_key(j, "frames");
    json_begin_array(j);
    for (int i = 0; i < m->n_frames; i += stride) {
        put_frame(j, m, &m->frames[i], last);
        last = &m->frames[i];
    }
    json_end_array(j);
}

static void put_facts(json_out *j, const masks_scene *scene)
{
    const masks *m = scene->m;
    const trace_facts *facts = &scene->how->facts;
    const struct {
        const char *key;
        int value;
    } counts[] = {
        { "layers", m->n_layers }, { "heads", m->n_heads },
        { "n_q", m->n_q },         { "n_k", m->n_k },
        { "cell", m->cell },       { "grid", m->grid },
        { "steps", facts->steps }, { "n_prompt", facts->n_prompt },
    };
    json_key(j, "model");
    json_string(j, facts->model);
    json_key(j, "sparse");
    json_string(j, facts->sparse);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        json_key(j, counts[i].key);
        json_int(j, counts[i].value);
    }
    json_key(j, "select");
    json_double(j, scene->stats->select);
    json_key(j, "shows_mass");
    json_bool(j, scene->shows_mass);
}

static void put_stats(json_out *j, const masks *m, const masks_stats *s)
{
    const size_t n = (size_t)s->n_steps, n_heads = masks_n_heads(m);
    json_key(j, "compared");
    json_begin_array(j);
    for (int i = 0; i < s->n_steps; i++)
        json_int(j, m->frames[s->frame[i]].step);
    json_end_array(j);
    put_list(j, "step_likeness", s->step_likeness, n * n);
    put_list(j, "retained", s->retained, n * n);
    json_key(j, "paired_stride");
    json_int(j, s->paired_stride);
    put_list(j, "head_likeness", s->head_likeness, (size_t)s->n_paired * (size_t)s->n_paired);
    put_list(j, "held", s->held, n_heads);
    put_list(j, "mass_at", s->mass_at, (size_t)m->grid);
    put_list(j, "read_at", s->read_at, (size_t)m->grid);
}

/* Text from a trace must not end the script: no < leaves as itself. */
static void write_guarded(const char *text, size_t n, FILE *out)
{
    for (size_t from = 0; from < n;) {
        const char *stop = memchr(text + from, '<', n - from);
        const size_t end = stop ? (size_t)(stop - text) : n;
        fwrite(text + from, 1, end - from, out);
        if (stop) fputs("\\u003c", out);
        from = end + (stop != NULL);
    }
}

int masks_write_page(const masks_scene *scene, FILE *out)
{
    static const char mark[] = "/*DATA*/";
    const char *page = (const char *)masks_page_html, *place = strstr(page, mark);
    json_out j = { .data = NULL };
    json_begin_object(&j);
    put_facts(&j, scene);
    put_stats(&j, scene->m, scene->stats);
    put_frames(&j, scene->m);
    json_end_object(&j);
    const bool sound = !j.failed;
    if (sound) {
        fwrite(page, 1, (size_t)(place - page), out);
        write_guarded(j.data, j.n, out);
        fputs(place + sizeof mark - 1, out);
    }
    json_free(&j);
    return sound ? EXIT_OK : console_fail(EXIT_MEMORY, "out of memory for the page");
}
