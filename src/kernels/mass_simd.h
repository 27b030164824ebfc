/* mass_simd.h: where the softmax of finished rows lies, by key block; written once and compiled by
 * each instruction set's file after attend_simd.h. Lanes are rows: statistics keep rows side by
 * side. */

/* LANES rows of a finished tile. */
typedef struct {
    const laci_mass *mass;
    size_t row; /* the first, a multiple of LANES */
    vec mask;   /* all bits of the rows that count */
    vec end;    /* what weights are measured from */
} mass_lanes;

/* Rows [row, row + n) cover a part of the lanes from `first` on. */
static mass_lanes mass_begin(const laci_mass *mass, size_t first, size_t row, size_t n)
{
    float end[LANES];
    uint32_t mask[LANES];
    for (size_t i = 0; i < LANES; i++) {
        const bool counts = first + i >= row && first + i < row + n;
        mask[i] = counts ? UINT32_MAX : 0;
        end[i] = counts && mass->max[first + i] != -INFINITY ? mass->max[first + i] : 0;
    }
    return (mass_lanes){ mass, first, v_load((const float *)mask), v_load(end) };
}

/* Weights of the rows in key block `b`. */
INLINE vec block_weights(const mass_lanes *m, size_t b)
{
    const laci_mass *mass = m->mass;
    const size_t per_panel = PANEL / mass->step, per_block = mass->block / mass->step;
    const size_t n = mass->n_panels * per_panel;
    const size_t stop = (b + 1) * per_block < n ? (b + 1) * per_block : n;
    vec weight = v_zero();
    for (size_t i = b * per_block; i < stop;) {
        const size_t panel = i / per_panel;
        const size_t then = (panel + 1) * per_panel < stop ? (panel + 1) * per_panel : stop;
        vec sum = v_load(mass->sums + i * LACI_TILE_ROWS + m->row);
        for (i++; i < then; i++)
            sum = v_add(sum, v_load(mass->sums + i * LACI_TILE_ROWS + m->row));
        vec below = v_sub(v_load(mass->sums_max + panel * LACI_TILE_ROWS + m->row), m->end);
        if (mass->squared) below = v_add(below, below);
        weight = v_fma(sum, exp2_negative(below, true), weight);
    }
    return v_and(weight, m->mask);
}

/* 1 / the rows' weights from block `from` on; 0 where there are none. */
static vec inverse_weights(const mass_lanes *m, size_t from)
{
    float total[LANES];
    vec sum = v_zero();
    for (size_t b = from; b < m->mass->n_blocks; b++)
        sum = v_add(sum, block_weights(m, b));
    v_store(total, sum);
    for (size_t i = 0; i < LANES; i++)
        total[i] = total[i] == 0 ? 0 : 1 / total[i];
    return v_load(total);
}

static void mass_rows(float *out, const laci_mass *mass, size_t row, size_t n, size_t from)
{
    memset(out, 0, mass->n_blocks * sizeof *out);
    for (size_t first = row / LANES * LANES; first < row + n; first += LANES) {
        const mass_lanes m = mass_begin(mass, first, row, n);
        const vec inverse = inverse_weights(&m, from);
        for (size_t b = from; b < mass->n_blocks; b++)
            out[b] += v_add_lanes(v_mul(block_weights(&m, b), inverse));
    }
}

/* Weights of LANES rows from m->row on, of which those in [row, end) are written. */
INLINE void put_weights(float *out, const mass_lanes *m, vec weights, size_t row, size_t end)
{
    float part[LANES];
    const size_t first = m->row > row ? m->row : row;
    const size_t stop = m->row + LANES < end ? m->row + LANES : end;
    if (stop - first == LANES) {
        v_store(out + first - row, weights);
        return;
    }
    v_store(part, weights);
    memcpy(out + first - row, part + first - m->row, (stop - first) * sizeof *out);
}

/* Where blocks are parts of a panel they have one factor between them. */
static void mass_each(float *out, size_t stride, const laci_mass *mass, size_t row, size_t n)
{
    enum { MOST = LACI_TILE_ROWS / LANES };
    const size_t begin = row / LANES, n_groups = (row + n + LANES - 1) / LANES - begin;
    const size_t per_panel = PANEL / mass->step;
    const bool is_part = mass->block == mass->step && per_panel > 1 && !mass->squared;
    mass_lanes m[MOST];
    vec factors[MOST];
    for (size_t g = 0; g < n_groups; g++)
        m[g] = mass_begin(mass, (begin + g) * LANES, row, n);
    for (size_t b = 0; b < mass->n_blocks; b++) {
        const float *sums = mass->sums + b * LACI_TILE_ROWS;
        const float *max = mass->sums_max + b / per_panel * LACI_TILE_ROWS;
        for (size_t g = 0; g < n_groups; g++) {
            vec weights;
            if (is_part && b % per_panel == 0)
                factors[g] = exp2_negative(v_sub(v_load(max + m[g].row), m[g].end), true);
            if (is_part)
                weights = v_mul(v_load(sums + m[g].row), factors[g]);
            else
                weights = block_weights(&m[g], b);
            put_weights(out + b * stride, &m[g], weights, row, row + n);
        }
    }
}

static void mass_in(float *out, const laci_mass *mass, size_t row, size_t n, const uint32_t *blocks,
                    size_t n_listed)
{
    for (size_t first = row / LANES * LANES; first < row + n; first += LANES) {
        const mass_lanes m = mass_begin(mass, first, row, n);
        float sums[LANES];
        vec sum = v_zero();
        for (size_t b = 0; b < n_listed; b++)
            sum = v_add(sum, block_weights(&m, blocks[b]));
        v_store(sums, v_mul(sum, inverse_weights(&m, 0)));
        for (size_t i = 0; i < LANES; i++)
            if (first + i >= row && first + i < row + n) out[first + i - row] = sums[i];
    }
}

static void fill_mass(laci_kernels *table)
{
    table->mass_rows = mass_rows;
    table->mass_each = mass_each;
    table->mass_in = mass_in;
}
