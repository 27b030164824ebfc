/* masks_stats.c: see masks_stats.h. */
#include "picture/masks_stats.h"

#include "base/error.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

double masks_jaccard(const uint8_t *a, const uint8_t *b, size_t n)
{
    uint64_t both = 0, any = 0;
    for (size_t i = 0; i < n; i++) {
        both += a[i] < b[i] ? a[i] : b[i];
        any += a[i] < b[i] ? b[i] : a[i];
    }
    return any ? (double)both / (double)any : 1;
}

void masks_choose(const uint16_t *mass, int n_rows, int n_cols, int stride, double select,
                  uint8_t *out)
{
    const int n = (int)ceil((double)n_cols * select - 1e-9);
    for (int row = 0; row < n_rows; row++) {
        const uint16_t *in = mass + (size_t)row * (size_t)stride;
        uint8_t *marks = out + (size_t)row * (size_t)stride;
        memset(marks, 0, (size_t)stride);
        for (int i = 0; i < n && i < n_cols; i++) {
            int best = -1;
            for (int col = 0; col < n_cols; col++)
                if (!marks[col] && (best < 0 || in[col] > in[best])) best = col;
            marks[best] = 255;
        }
    }
}

/* ------------------------------------------------------------------ patterns */

static const uint8_t *pattern_of(const masks_stats *s, const masks *m, int step, size_t head)
{
    return s->patterns + ((size_t)step * masks_n_heads(m) + head) * masks_n_cells(m);
}

/* Mass of a head in a frame, NULL where its layer was not measured. */
static const uint16_t *mass_of(const masks *m, const masks_frame *f, size_t head)
{
    if (!f->has_mass[head / (size_t)m->n_heads]) return NULL;
    return f->mass + head * masks_n_cells(m);
}

static void make_patterns(masks_stats *s, const masks *m)
{
    const int n_rows = (m->n_q + m->cell - 1) / m->cell, n_cols = (m->n_k + m->cell - 1) / m->cell;
    const size_t n_cells = masks_n_cells(m);
    for (int i = 0; i < s->n_steps; i++) {
        const masks_frame *f = &m->frames[s->frame[i]];
        for (size_t h = 0; h < masks_n_heads(m); h++) {
            uint8_t *out = s->patterns + ((size_t)i * masks_n_heads(m) + h) * n_cells;
            const uint16_t *mass = mass_of(m, f, h);
            if (mass)
                masks_choose(mass, n_rows, n_cols, m->grid, s->select, out);
            else
                memcpy(out, f->kept + h * n_cells, n_cells);
        }
    }
}

/* Mass inside a pattern over all mass; the ragged last row of cells counts as a whole one. */
static double held_mass(const uint8_t *pattern, const uint16_t *mass, size_t n)
{
    uint64_t inside = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        inside += (uint64_t)pattern[i] * mass[i];
        all += mass[i];
    }
    return all ? (double)inside / 255 / (double)all : 1;
}

/* ------------------------------------------------------------------ comparisons */

static void compare_steps(masks_stats *s, const masks *m)
{
    const size_t n_heads = masks_n_heads(m), n_cells = masks_n_cells(m), n = (size_t)s->n_steps;
    for (int a = 0; a < s->n_steps; a++)
        for (int b = a; b < s->n_steps; b++) {
            double sum = 0;
            for (size_t h = 0; h < n_heads; h++) {
                const double j =
                    masks_jaccard(pattern_of(s, m, a, h), pattern_of(s, m, b, h), n_cells);
                sum += j;
                if (b == a + 1) s->own_likeness[h] += (float)(j / (double)(s->n_steps - 1));
            }
            s->step_likeness[(size_t)a * n + (size_t)b] =
                s->step_likeness[(size_t)b * n + (size_t)a] = (float)(sum / (double)n_heads);
        }
}

static void compare_retained(masks_stats *s, const masks *m)
{
    const size_t n_heads = masks_n_heads(m), n_cells = masks_n_cells(m), n = (size_t)s->n_steps;
    for (int a = 0; a < s->n_steps; a++)
        for (int b = 0; b < s->n_steps; b++) {
            const masks_frame *f = &m->frames[s->frame[b]];
            double sum = 0;
            size_t n_known = 0;
            for (size_t h = 0; h < n_heads; h++) {
                const uint16_t *mass = mass_of(m, f, h);
                if (!mass) continue;
                sum += held_mass(pattern_of(s, m, a, h), mass, n_cells);
                n_known++;
            }
            s->retained[(size_t)a * n + (size_t)b] = n_known ? (float)(sum / (double)n_known) : NAN;
        }
}

/* Says something of its heads: a step that was measured, or has a plan that leaves something out.
 */
static bool tells_heads_apart(const masks *m, const masks_frame *f)
{
    if (f->mass) return true;
    for (size_t h = 0; h < masks_n_heads(m); h++)
        if (f->density[h] < 1) return true;
    return false;
}

/* Over the steps that tell heads apart (all, where none does): few, where there are many heads. */
static void compare_heads(masks_stats *s, const masks *m)
{
    const size_t n_heads = (size_t)s->n_paired, stride = (size_t)s->paired_stride;
    const size_t n_cells = masks_n_cells(m);
    const size_t work = n_heads * n_heads * n_cells, most = work ? (size_t)4000000000 / work : 0;
    int steps[MASKS_MAX_COMPARED] = { 0 }, n_all = 0;
    for (int i = 0; i < s->n_steps; i++)
        if (tells_heads_apart(m, &m->frames[s->frame[i]])) steps[n_all++] = i;
    for (int i = 0; n_all == 0 && i < s->n_steps; i++)
        steps[i] = i;
    if (!n_all) n_all = s->n_steps;
    if (!n_all) return;
    const int n = most < 1 ? 1 : most < (size_t)n_all ? (int)most : n_all;
    for (size_t a = 0; a < n_heads; a++)
        for (size_t b = a; b < n_heads; b++) {
            double sum = 0;
            for (int i = 0; i < n; i++) {
                const int at = steps[n > 1 ? i * (n_all - 1) / (n - 1) : n_all - 1];
                sum += masks_jaccard(pattern_of(s, m, at, a * stride),
                                     pattern_of(s, m, at, b * stride), n_cells);
            }
            s->head_likeness[a * n_heads + b] = s->head_likeness[b * n_heads + a] =
                (float)(sum / n);
        }
}

static lac_status check_same(const masks *a, const masks *b, lac_error *err)
{
    const struct {
        const char *what;
        int a, b;
    } sizes[] = {
        { "layers", a->n_layers, b->n_layers },      { "heads", a->n_heads, b->n_heads },
        { "query positions", a->n_q, b->n_q },       { "key positions", a->n_k, b->n_k },
        { "positions of a cell", a->cell, b->cell }, { "recorded steps", a->n_frames, b->n_frames },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].a != sizes[i].b)
            return laci_fail(err, LAC_EINVAL, 0, "runs to compare differ in %s: %d and %d",
                             sizes[i].what, sizes[i].a, sizes[i].b);
    return LAC_OK;
}

lac_status masks_stats_cross(const masks_stats *a, const masks *m_a, const masks_stats *b,
                             const masks *m_b, float *cross, float *own, lac_error *err)
{
    const lac_status st = check_same(m_a, m_b, err);
    if (st) return st;
    const size_t n_cells = masks_n_cells(m_b);
    for (size_t h = 0; h < masks_n_heads(m_b); h++) {
        double sum_cross = 0, sum_own = 0;
        int n = 0;
        for (int i = 0; i < b->n_steps; i++) {
            const uint16_t *mass = mass_of(m_b, &m_b->frames[b->frame[i]], h);
            if (!mass) continue;
            sum_cross += held_mass(pattern_of(a, m_a, i, h), mass, n_cells);
            sum_own += held_mass(pattern_of(b, m_b, i, h), mass, n_cells);
            n++;
        }
        cross[h] = n ? (float)(sum_cross / n) : NAN;
        own[h] = n ? (float)(sum_own / n) : NAN;
    }
    return LAC_OK;
}

static void average_heads(masks_stats *s, const masks *m)
{
    const size_t n_cells = masks_n_cells(m);
    for (size_t h = 0; h < masks_n_heads(m); h++) {
        double density = 0, kept = 0, held = 0;
        int n_plans = 0, n_kept = 0, n_held = 0;
        for (int i = 0; i < m->n_frames; i++) {
            const masks_frame *f = &m->frames[i];
            if (f->has_plan[h / (size_t)m->n_heads]) {
                density += (double)f->density[h];
                n_plans++;
            }
            if (isnan(f->kept_mass[h])) continue;
            kept += (double)f->kept_mass[h];
            n_kept++;
        }
        for (int i = 0; i < s->n_steps; i++) {
            const uint16_t *mass = mass_of(m, &m->frames[s->frame[i]], h);
            if (!mass) continue;
            held += held_mass(pattern_of(s, m, i, h), mass, n_cells);
            n_held++;
        }
        s->density[h] = n_plans ? (float)(density / n_plans) : NAN;
        s->kept_mass[h] = n_kept ? (float)(kept / n_kept) : NAN;
        s->held[h] = n_held ? (float)(held / n_held) : NAN;
    }
}

/* Means over pairs of cells at one distance; in the mass every row of cells weighs the same. */
static void measure_distance(masks_stats *s, const masks *m)
{
    const size_t n_cells = masks_n_cells(m);
    const int grid = m->grid, n_rows = (m->n_q + m->cell - 1) / m->cell;
    double mass_at[MASKS_MAX_GRID] = { 0 }, read_at[MASKS_MAX_GRID] = { 0 };
    double n_mass = 0, n_pairs[MASKS_MAX_GRID] = { 0 };
    for (int i = 0; i < s->n_steps; i++)
        for (size_t h = 0; h < masks_n_heads(m); h++) {
            const masks_frame *f = &m->frames[s->frame[i]];
            const uint16_t *mass = mass_of(m, f, h);
            n_mass += mass ? n_rows : 0;
            for (int q = 0; q < n_rows; q++)
                for (int k = 0; k < grid; k++) {
                    const size_t at = (size_t)q * (size_t)grid + (size_t)k;
                    const int d = abs(q - k);
                    if (mass) mass_at[d] += (double)mass[at] / 65535;
                    read_at[d] += (double)f->kept[h * n_cells + at] / 255;
                    n_pairs[d]++;
                }
        }
    for (int d = 0; d < grid; d++) {
        s->mass_at[d] = n_mass > 0 ? (float)(mass_at[d] / n_mass) : NAN;
        s->read_at[d] = n_pairs[d] > 0 ? (float)(read_at[d] / n_pairs[d]) : NAN;
    }
}

/* ------------------------------------------------------------------ memory */

static bool take_memory(masks_stats *s, const masks *m)
{
    const size_t n = (size_t)s->n_steps, n_heads = masks_n_heads(m), grid = (size_t)m->grid;
    s->frame = calloc(n, sizeof *s->frame);
    s->step_likeness = calloc(n * n, sizeof(float));
    s->retained = calloc(n * n, sizeof(float));
    s->head_likeness = calloc((size_t)s->n_paired * (size_t)s->n_paired, sizeof(float));
    s->own_likeness = calloc(n_heads, sizeof(float));
    s->density = calloc(n_heads, sizeof(float));
    s->kept_mass = calloc(n_heads, sizeof(float));
    s->held = calloc(n_heads, sizeof(float));
    s->mass_at = calloc(grid, sizeof(float));
    s->read_at = calloc(grid, sizeof(float));
    s->patterns = calloc(n * n_heads, masks_n_cells(m));
    return s->frame && s->step_likeness && s->retained && s->head_likeness && s->own_likeness &&
           s->density && s->kept_mass && s->held && s->mass_at && s->read_at && s->patterns;
}

lac_status masks_stats_make(masks_stats *out, const masks *m, double select, lac_error *err)
{
    if (!m->n_frames) return laci_fail(err, LAC_EINVAL, 0, "no plans to show");
    masks_stats s = { .select = select,
                      .n_steps =
                          m->n_frames < MASKS_MAX_COMPARED ? m->n_frames : MASKS_MAX_COMPARED };
    const int n_heads = (int)masks_n_heads(m);
    s.paired_stride = (n_heads + MASKS_MAX_PAIRED - 1) / MASKS_MAX_PAIRED;
    s.n_paired = (n_heads + s.paired_stride - 1) / s.paired_stride;
    if (!take_memory(&s, m)) {
        masks_stats_free(&s);
        return laci_fail_memory(err, "statistics of masks", masks_n_heads(m) * masks_n_cells(m));
    }
    for (int i = 0; i < s.n_steps; i++)
        s.frame[i] = s.n_steps > 1 ? i * (m->n_frames - 1) / (s.n_steps - 1) : 0;
    make_patterns(&s, m);
    compare_steps(&s, m);
    compare_retained(&s, m);
    compare_heads(&s, m);
    average_heads(&s, m);
    measure_distance(&s, m);
    *out = s;
    return LAC_OK;
}

void masks_stats_free(masks_stats *s)
{
    free(s->frame);
    free(s->step_likeness);
    free(s->retained);
    free(s->head_likeness);
    free(s->own_likeness);
    free(s->density);
    free(s->kept_mass);
    free(s->held);
    free(s->mass_at);
    free(s->read_at);
    free(s->patterns);
    *s = (masks_stats){ 0 };
}
