/* masks.c: see masks.h. Cells are squares of 16, 32, 64... positions, so that blocks, whose sizes
 * are powers of two, either fill cells or are filled by them. */
#include "picture/masks.h"

#include "base/error.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FINEST_CELL = 16 };

/* Bytes all frames together may take: kept 1, mass 2 a cell. */
#define MAX_BYTES ((size_t)256 << 20)

lac_status masks_open(masks *m, int n_layers, int n_heads, int n_steps, lac_error *err)
{
    if (n_layers < 1 || n_heads < 1 || n_steps < 1 || n_layers > MASKS_MAX_HEADS / n_heads)
        return laci_fail(err, LAC_EINVAL, 0,
                         "masks of %d layers with %d heads over %d steps: at least 1 of each and "
                         "%d heads in all",
                         n_layers, n_heads, n_steps, MASKS_MAX_HEADS);
    masks empty = { .n_layers = n_layers,
                    .n_heads = n_heads,
                    .stride = (n_steps + MASKS_MAX_FRAMES - 1) / MASKS_MAX_FRAMES };
    empty.max_frames = (n_steps + empty.stride - 1) / empty.stride;
    empty.frames = calloc((size_t)empty.max_frames, sizeof *empty.frames);
    if (!empty.frames)
        return laci_fail_memory(err, "masks", (size_t)empty.max_frames * sizeof *empty.frames);
    *m = empty;
    return LAC_OK;
}

void masks_free(masks *m)
{
    for (int i = 0; i < m->n_frames; i++) {
        masks_frame *f = &m->frames[i];
        free(f->kept);
        free(f->mass);
        free(f->has_mass);
        free(f->has_plan);
        free(f->density);
        free(f->kept_mass);
    }
    free(m->frames);
    free(m->scratch);
    *m = (masks){ 0 };
}

/* The finest cells for which all frames fit into memory, but no finer than measured blocks. */
static lac_status choose_grid(masks *m, const lac_plan_view *v, lac_error *err)
{
    const int n_q = v->n_q, n_k = v->n_k, n = n_q > n_k ? n_q : n_k;
    size_t most = MASKS_MAX_GRID;
    while (most > 1 && masks_n_heads(m) * most * most * 3 * (size_t)m->max_frames > MAX_BYTES)
        most /= 2;
    int cell = FINEST_CELL;
    while (v->mass && cell < v->mass_block && cell < n)
        cell *= 2;
    while (((size_t)n + (size_t)cell - 1) / (size_t)cell > most)
        cell *= 2;
    m->cell = cell;
    m->grid = (n + cell - 1) / cell;
    m->scratch = calloc(masks_n_cells(m), sizeof *m->scratch);
    if (!m->scratch) return laci_fail_memory(err, "masks", masks_n_cells(m) * sizeof *m->scratch);
    m->n_q = n_q;
    m->n_k = n_k;
    return LAC_OK;
}

static lac_status add_frame(masks *m, int step, lac_error *err)
{
    const size_t n = masks_n_heads(m), n_layers = (size_t)m->n_layers;
    masks_frame *f = &m->frames[m->n_frames++];
    *f = (masks_frame){ .step = step,
                        .kept = calloc(n, masks_n_cells(m)),
                        .has_mass = calloc(n_layers, sizeof(bool)),
                        .has_plan = calloc(n_layers, sizeof(bool)),
                        .density = calloc(n, sizeof(float)),
                        .kept_mass = calloc(n, sizeof(float)) };
    if (!f->kept || !f->has_mass || !f->has_plan || !f->density || !f->kept_mass)
        return laci_fail_memory(err, "masks of a step", n * masks_n_cells(m));
    for (size_t i = 0; i < n; i++)
        f->kept_mass[i] = NAN;
    return LAC_OK;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Positions of cell c of n, the last one being short. */
static int cell_size(const masks *m, int c, int n)
{
    const int left = n - c * m->cell;
    return left < 0 ? 0 : least(left, m->cell);
}

/* Adds amount to the cells that queries [q0, q1) and keys [k0, k1) touch, per pair. */
static void spread(const masks *m, int q0, int q1, int k0, int k1, float amount)
{
    for (int qc = q0 / m->cell; qc * m->cell < q1; qc++) {
        const int top = qc * m->cell, q_from = q0 > top ? q0 : top;
        const int n_q = least(q1, top + m->cell) - q_from;
        for (int kc = k0 / m->cell; kc * m->cell < k1; kc++) {
            const int left = kc * m->cell, k_from = k0 > left ? k0 : left;
            const int n_k = least(k1, left + m->cell) - k_from;
            m->scratch[qc * m->grid + kc] += amount * (float)n_q * (float)n_k;
        }
    }
}

/* Pairs one pattern of the plan reads, per cell in scratch; returns their sum. */
static double paint_plan(const masks *m, const lac_plan_view *v, int pattern)
{
    double pairs = 0;
    memset(m->scratch, 0, masks_n_cells(m) * sizeof *m->scratch);
    for (int row = 0; row < v->n_rows; row++) {
        const size_t at = (size_t)pattern * (size_t)v->n_rows + (size_t)row;
        const int q0 = row * v->q_block, q1 = least(q0 + v->q_block, v->n_q);
        for (uint32_t i = v->row_ptr[at]; i < v->row_ptr[at + 1]; i++) {
            const int k0 = (int)v->cols[i] * v->k_block, k1 = least(k0 + v->k_block, v->n_k);
            spread(m, q0, q1, k0, k1, 1);
            pairs += (double)(q1 - q0) * (double)(k1 - k0);
        }
    }
    return pairs;
}

static void keep_plan(const masks *m, uint8_t *kept)
{
    for (int qc = 0; qc < m->grid; qc++)
        for (int kc = 0; kc < m->grid; kc++) {
            const float pairs = (float)cell_size(m, qc, m->n_q) * (float)cell_size(m, kc, m->n_k);
            const float read = m->scratch[qc * m->grid + kc];
            const int level = pairs > 0 ? (int)(255 * read / pairs + 0.5F) : 0;
            /* what was read is seen, however little of a cell it is */
            kept[qc * m->grid + kc] = (uint8_t)(level || !(read > 0) ? least(level, 255) : 1);
        }
}

/* A block's mass is that of a mean query; every pair of it takes an equal part. */
static void paint_mass(const masks *m, const lac_plan_view *v, int head)
{
    const int b = v->mass_block, n_rows = (v->n_q + b - 1) / b, n_cols = (v->n_k + b - 1) / b;
    const float *mass = v->mass + (size_t)head * (size_t)n_rows * (size_t)n_cols;
    memset(m->scratch, 0, masks_n_cells(m) * sizeof *m->scratch);
    for (int row = 0; row < n_rows; row++)
        for (int col = 0; col < n_cols; col++) {
            const int k0 = col * b, k1 = least(k0 + b, v->n_k);
            spread(m, row * b, least((row + 1) * b, v->n_q), k0, k1,
                   mass[(size_t)row * (size_t)n_cols + (size_t)col] / (float)(k1 - k0));
        }
}

static void keep_mass(const masks *m, uint16_t *out)
{
    for (int qc = 0; qc < m->grid; qc++)
        for (int kc = 0; kc < m->grid; kc++) {
            const int n = cell_size(m, qc, m->n_q);
            const float share = n ? m->scratch[qc * m->grid + kc] / (float)n : 0;
            out[qc * m->grid + kc] = (uint16_t)(share >= 1  ? 65535
                                                : share > 0 ? 65535 * share + 0.5F
                                                            : 0);
        }
}

static lac_status check_view(const masks *m, const lac_plan_view *v, lac_error *err)
{
    if (v->layer < 0 || v->layer >= m->n_layers)
        return laci_fail(err, LAC_EINVAL, 0, "a plan of layer %d: there are %d", v->layer,
                         m->n_layers);
    if (v->n_heads != 1 && v->n_heads != m->n_heads)
        return laci_fail(err, LAC_EINVAL, 0, "a plan of %d heads: 1 or %d", v->n_heads, m->n_heads);
    if (v->n_q < 1 || v->n_k < 1 || v->q_block < 1 || v->k_block < 1 ||
        (v->mass && v->mass_block < 1))
        return laci_fail(err, LAC_EINVAL, 0,
                         "a plan of %d queries by %d keys in blocks of %d by %d", v->n_q, v->n_k,
                         v->q_block, v->k_block);
    if (m->n_q && (v->n_q != m->n_q || v->n_k != m->n_k))
        return laci_fail(err, LAC_EINVAL, 0,
                         "a plan of %d queries by %d keys among plans of %d by %d", v->n_q, v->n_k,
                         m->n_q, m->n_k);
    return LAC_OK;
}

static lac_status fill_layer(masks *m, masks_frame *f, const lac_plan_view *v, lac_error *err)
{
    const size_t n_cells = masks_n_cells(m), first = (size_t)v->layer * (size_t)m->n_heads;
    if (v->mass && !f->mass && !(f->mass = calloc(masks_n_heads(m) * n_cells, sizeof *f->mass)))
        return laci_fail_memory(err, "masses of a step",
                                masks_n_heads(m) * n_cells * sizeof *f->mass);
    for (int h = 0; h < m->n_heads; h++) {
        const size_t head = first + (size_t)h;
        if (h < v->n_heads) {
            const double pairs = paint_plan(m, v, h);
            keep_plan(m, f->kept + head * n_cells);
            f->density[head] = (float)(pairs / ((double)v->n_q * (double)v->n_k));
        } else {
            memcpy(f->kept + head * n_cells, f->kept + first * n_cells, n_cells);
            f->density[head] = f->density[first];
        }
        if (v->kept_mass && v->n_heads == m->n_heads) f->kept_mass[head] = v->kept_mass[h];
        if (!v->mass) continue;
        paint_mass(m, v, h);
        keep_mass(m, f->mass + head * n_cells);
    }
    f->has_plan[v->layer] = true;
    f->has_mass[v->layer] = v->mass != NULL;
    return LAC_OK;
}

lac_status masks_add(masks *m, const lac_plan_view *v, lac_error *err)
{
    lac_status st = check_view(m, v, err);
    if (st || v->pass || v->step % m->stride) return st;
    if (!m->n_q) st = choose_grid(m, v, err);
    if (st) return st;
    const int last = m->n_frames ? m->frames[m->n_frames - 1].step : -1;
    if (v->step < last)
        return laci_fail(err, LAC_EINVAL, 0, "a plan of step %d after one of step %d", v->step,
                         last);
    if (v->step > last) {
        if (m->n_frames == m->max_frames)
            return laci_fail(err, LAC_EINVAL, 0, "step %d is more than the run was to have",
                             v->step);
        st = add_frame(m, v->step, err);
    }
    if (st) return st;
    masks_frame *f = &m->frames[m->n_frames - 1];
    if (f->has_plan[v->layer])
        return laci_fail(err, LAC_EINVAL, 0, "two plans of layer %d in step %d", v->layer, v->step);
    return fill_layer(m, f, v, err);
}
