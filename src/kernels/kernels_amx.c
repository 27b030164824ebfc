/* kernels_amx.c: attention for AMX: 16 x 16 tiles of f32 sums of bf16 products. Built with its own
 * flags; static functions and one fill function, so that no instruction leaks out.
 *
 * The tile unit and the vector units work side by side, so the two are interleaved: while the
 * scores of one block of rows are multiplied, the scores of the block before it become
 * probabilities. Rows go by 32 (two tiles), keys by 64 (a panel); output is summed over a chunk of
 * panels at a time, because it costs a load and a store of tiles. */
#define PAIRS 1
#define BIG_ROWS 6
#define TILE_VECS 4
#define SMALL_CASES(CALL)             \
    case 1: CALL(1, TILE_VECS) break; \
    case 2: CALL(2, TILE_VECS) break; \
    case 3: CALL(3, TILE_VECS) break; \
    case 4: CALL(4, TILE_VECS) break; \
    case 5:                           \
        CALL(5, TILE_VECS) break;
#include "kernels/vec_avx512.h"
#include "kernels/vec_bf16.h"

#include "kernels/attend_simd.h"

enum {
    T = 16,             /* rows of a tile, and its columns of 32 bits */
    BLOCK = 2 * T,      /* query rows multiplied at once */
    GROUP = 64,         /* query rows that pass over a chunk together, so that its keys stay near */
    CHUNK = LACI_CHUNK, /* panels between two visits of the output */
    CHUNK_WORDS = CHUNK * P_WORDS + T, /* row of probabilities, padded off a power of two */
};

/* A block of rows against one panel, on its way from scores to probabilities. */
typedef struct {
    const laci_panel *panel;
    float *scores;      /* [BLOCK][64] */
    size_t row, n_rows; /* n_rows at most BLOCK */
    size_t at;          /* the panel within the chunk */
    size_t done;        /* rows that are probabilities already */
    bool masked;
} block;

typedef struct {
    run r;
    const float *q;         /* words [rows up to a whole tile][q_words], zero past the head size */
    size_t q_words;         /* words of a row, whole tiles */
    size_t n_products;      /* tiles along a row */
    size_t tail_words;      /* of the last one that are not padding; T = no padding */
    float *tail;            /* words [T][64]: the keys of the last product, zero in its padding */
    float *scores[2];       /* [BLOCK][64] each */
    float *p;               /* words [n_rows][CHUNK_WORDS]: probabilities of the chunk */
    const laci_panel *next; /* [n_next] panels of the chunk after the one under way */
    size_t n_next;
    bool first;      /* the chunk under way is the first of the call */
    stream ahead[2]; /* keys and values on their way */
    size_t n_more;   /* times 16 lines fetched at each product, beyond the first 16 */
    uint32_t *ones;  /* words [2 * CHUNK][2][T]: see keep_chunk */
    float *sums;     /* [2][T][T] sums of one tile of rows, by row */
} amx;

/* ------------------------------------------------------------------ setting up */

/* Eight tiles of 16 rows by 64 bytes. Static: some compilers tell the optimiser of eight bytes only
 * that the instruction reads. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config = { .palette = 1,
                  .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
                  .rows = { T, T, T, T, T, T, T, T } };

/* Whole tiles of queries, and room for what is made of them. */
static void begin_rows(amx *a, laci_tile *tile)
{
    const size_t words = tile->d / 2, n_rows = (tile->n_rows + T - 1) / T * T;
    float *at = tile->scratch;
    begin_run(&a->r, tile, LACI_BF16);
    a->n_products = (words + T - 1) / T;
    a->q_words = a->n_products * T;
    a->tail_words = words - (a->n_products - 1) * T;
    float *q = at;
    a->p = at += n_rows * a->q_words;
    a->scores[0] = at += n_rows * CHUNK_WORDS;
    a->scores[1] = at += BLOCK * PANEL;
    a->tail = at += BLOCK * PANEL;
    a->ones = (uint32_t *)(at += T * PANEL);
    a->sums = at += 4 * CHUNK * T;
    a->r.last = at + 2 * T * T;
    memset(a->tail, 0, T * PANEL * sizeof *a->tail);
    if (a->q_words == words) {
        a->q = tile->q; /* whole tiles as it is */
    } else {
        memset(q, 0, n_rows * a->q_words * sizeof *q);
        for (size_t row = 0; row < tile->n_rows; row++)
            memcpy(q + row * a->q_words, (const uint16_t *)tile->q + row * tile->d, tile->d * 2);
        a->q = q;
    }
}

static void begin_amx(amx *a, laci_tile *tile)
{
    const size_t n_rows = (tile->n_rows + T - 1) / T * T;
    begin_rows(a, tile);
    if (tile->n_rows == n_rows) return;
    /* The rows of the last tile that are not the caller's must not be written. */
    const size_t last = a->r.last_row = n_rows - T;
    memset(a->r.last, 0, T * a->r.d16 * sizeof(float));
    memcpy(a->r.last, tile->acc + last * a->r.d16,
           (tile->n_rows - last) * a->r.d16 * sizeof(float));
}

static void end_amx(amx *a)
{
    laci_tile *tile = a->r.tile;
    const size_t last = a->r.last_row;
    if (last < tile->n_rows)
        memcpy(tile->acc + last * a->r.d16, a->r.last,
               (tile->n_rows - last) * a->r.d16 * sizeof(float));
    end_run(&a->r);
}

/* ------------------------------------------------------------------ scores and probabilities */

/* Turns up to n more rows of a block into probabilities. */
INLINE void soften_some(amx *a, block *b, size_t n)
{
    for (; n > 0 && b->done < b->n_rows; n--, b->done++) {
        const size_t row = b->row + b->done;
        float *scores = b->scores + b->done * PANEL, *words = a->p + row * CHUNK_WORDS;
        if (b->masked) mask_row(&a->r, b->panel, row, scores);
        soften_row(&a->r, row, scores, words, b->at * PANEL);
    }
}

/* Into the first cache where `near`, else into the second. */
INLINE void fetch_stream(stream *ahead, bool near, const size_t N)
{
    if (ahead->left < N * 64) return;
    if (near)
        UNROLL for (size_t i = 0; i < N; i++) __builtin_prefetch(ahead->at + i * 64, 0, 3);
    else
        UNROLL for (size_t i = 0; i < N; i++) __builtin_prefetch(ahead->at + i * 64, 0, 2);
    ahead->at += N * 64;
    ahead->left -= N * 64;
}

/* Fetches some lines of what comes; few rows take few products and fetch more at each, right into
 * the first cache: nothing else is kept there, and 16 queries of 4 heads over a prefix in memory
 * took 17 ms instead of 25. */
INLINE void fetch_some(amx *a)
{
    const bool near = a->r.tile->n_rows <= GROUP;
    for (size_t part = 0; part < 2; part++) {
        fetch_stream(&a->ahead[part], near, 16);
        for (size_t i = 0; __builtin_expect(i < a->n_more, 0); i++)
            fetch_stream(&a->ahead[part], near, 16);
    }
}

/* Rows from `row` on read panel i of a chunk of n: what shall come near meanwhile. Of the first
 * chunk the next keys and these values, which the same rows will read; of the others the same place
 * of the next chunk, keys while the first rows pass and values while the others do. */
static void fetch_around(amx *a, const laci_panel *panels, size_t n, size_t i, size_t row)
{
    const size_t k_bytes = laci_k_panel_bytes(LACI_BF16, a->r.d),
                 v_bytes = laci_v_panel_bytes(LACI_BF16, a->r.d);
    const size_t n_rows = a->r.tile->n_rows, here = n_rows - row < GROUP ? n_rows - row : GROUP;
    const size_t n_steps = (here + T - 1) / T * a->n_products; /* that this panel takes */
    const bool all = a->first || n_rows <= GROUP;
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): begin_amx set it */
    const size_t n_fetches = n_steps ? v_bytes / 1024 / n_steps : 0;
    a->n_more = n_fetches ? n_fetches - 1 : 0;
    a->ahead[0].left = a->ahead[1].left = 0;
    if (a->first && row == 0) {
        if (i + 1 < n) a->ahead[0] = (stream){ panels[i + 1].k, k_bytes };
        a->ahead[1] = (stream){ panels[i].v, v_bytes };
    } else if (i < a->n_next) {
        if (all || row == 0) a->ahead[0] = (stream){ a->next[i].k, k_bytes };
        if (all || row != 0) a->ahead[1] = (stream){ a->next[i].v, v_bytes };
    }
}

/* Words of keys that product c multiplies. */
INLINE const float *keys_of(const amx *a, const float *k, size_t c)
{
    return c + 1 == a->n_products && a->tail_words < T ? a->tail : k + c * T * PANEL;
}

/* Scores of two tiles of rows, 32 keys at a time; `before` is softened in between. */
static void score_two(amx *a, block *b, block *before)
{
    const float *k = b->panel->k, *q = a->q + b->row * a->q_words;
    const size_t q_bytes = a->q_words * 4, row_bytes = PANEL * 4;
    const size_t share = (before->n_rows + 2 * a->n_products - 1) / (2 * a->n_products);
    for (size_t key = 0; key < PANEL; key += 2 * T) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (size_t c = 0; c < a->n_products; c++) {
            const float *keys = keys_of(a, k, c) + key;
            _tile_loadd(4, q + c * T, q_bytes);
            _tile_loadd(6, keys, row_bytes);
            _tile_loadd(7, keys + T, row_bytes);
            _tile_loadd(5, q + T * a->q_words + c * T, q_bytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            soften_some(a, before, share);
            fetch_some(a);
        }
        _tile_stored(0, b->scores + key, row_bytes);
        _tile_stored(1, b->scores + key + T, row_bytes);
        _tile_stored(2, b->scores + T * PANEL + key, row_bytes);
        _tile_stored(3, b->scores + T * PANEL + key + T, row_bytes);
    }
}

/* Scores of one tile of rows against all 64 keys. */
static void score_one(amx *a, block *b, block *before)
{
    const float *k = b->panel->k, *q = a->q + b->row * a->q_words;
    const size_t q_bytes = a->q_words * 4, row_bytes = PANEL * 4;
    const size_t share = (before->n_rows + a->n_products - 1) / a->n_products;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t c = 0; c < a->n_products; c++) {
        const float *keys = keys_of(a, k, c);
        _tile_loadd(4, q + c * T, q_bytes);
        _tile_loadd(5, keys, row_bytes);
        _tile_loadd(6, keys + T, row_bytes);
        _tile_loadd(7, keys + 2 * T, row_bytes);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(5, keys + 3 * T, row_bytes);
        _tile_dpbf16ps(1, 4, 6);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 4, 5);
        soften_some(a, before, share);
        fetch_some(a);
    }
    _tile_stored(0, b->scores, row_bytes);
    _tile_stored(1, b->scores + T, row_bytes);
    _tile_stored(2, b->scores + 2 * T, row_bytes);
    _tile_stored(3, b->scores + 3 * T, row_bytes);
}

/* The last product's keys with zeros where the head size ends. */
static void copy_tail(const amx *a, const float *k)
{
    if (a->tail_words < T)
        memcpy(a->tail, k + (a->n_products - 1) * T * PANEL, a->tail_words * PANEL * sizeof *k);
}

/* Probabilities of rows [row, end) against n panels. */
static void score_group(amx *a, const laci_panel *panels, size_t n, size_t row, size_t end)
{
    block blocks[2] = { { .n_rows = 0 }, { .n_rows = 0 } };
    size_t turn = 0;
    for (size_t i = 0; i < n; i++) {
        const bool masked = is_masked(&a->r, &panels[i]);
        copy_tail(a, panels[i].k);
        fetch_around(a, panels, n, i, row);
        for (size_t first = row; first < end; first += BLOCK) {
            block *b = &blocks[turn], *before = &blocks[1 - turn];
            *b = (block){ .panel = &panels[i],
                          .scores = a->scores[turn],
                          .row = first,
                          .n_rows = end - first < BLOCK ? end - first : BLOCK,
                          .at = i,
                          .masked = masked };
            if (b->n_rows > T)
                score_two(a, b, before);
            else
                score_one(a, b, before);
            soften_some(a, before, BLOCK);
            turn = 1 - turn;
        }
    }
    soften_some(a, &blocks[1 - turn], BLOCK);
}

/* ------------------------------------------------------------------ output */

/* Output of two tiles of rows by up to two tiles of channels over n panels. */
static void weigh_two(const amx *a, const laci_panel *panels, size_t n, size_t row, size_t col)
{
    const size_t d16 = a->r.d16, out_bytes = d16 * 4, p_bytes = CHUNK_WORDS * 4;
    const float *p = a->p + row * CHUNK_WORDS;
    float *low = row_output(&a->r, row) + col, *high = row_output(&a->r, row + T) + col;
    const size_t right = col + T < d16 ? T : 0; /* 0: one tile of channels, computed twice */
    _tile_loadd(0, low, out_bytes);
    _tile_loadd(1, low + right, out_bytes);
    _tile_loadd(2, high, out_bytes);
    _tile_loadd(3, high + right, out_bytes);
    for (size_t i = 0; i < 2 * n; i++) {
        const float *v = (const float *)panels[i / 2].v + i % 2 * T * d16 + col;
        _tile_loadd(4, p + i * T, p_bytes);
        _tile_loadd(6, v, out_bytes);
        _tile_loadd(7, v + right, out_bytes);
        _tile_loadd(5, p + T * CHUNK_WORDS + i * T, p_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, low, out_bytes);
    _tile_stored(1, low + right, out_bytes);
    _tile_stored(2, high, out_bytes);
    _tile_stored(3, high + right, out_bytes);
}

/* One tile of rows by one tile of channels. */
static void weigh_one(const amx *a, const laci_panel *panels, size_t n, size_t row, size_t col)
{
    const size_t d16 = a->r.d16, out_bytes = d16 * 4;
    const float *p = a->p + row * CHUNK_WORDS;
    float *out = row_output(&a->r, row) + col;
    _tile_loadd(0, out, out_bytes);
    for (size_t i = 0; i < n; i++) {
        const float *v = (const float *)panels[i].v + col;
        _tile_loadd(4, p + i * P_WORDS, CHUNK_WORDS * 4);
        _tile_loadd(6, v, out_bytes);
        _tile_loadd(5, p + i * P_WORDS + T, CHUNK_WORDS * 4);
        _tile_loadd(7, v + T * d16, out_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(0, 5, 7);
    }
    _tile_stored(0, out, out_bytes);
}

static void weigh_group(const amx *a, const laci_panel *panels, size_t n, size_t row, size_t end)
{
    for (size_t col = 0; col < a->r.d16; col += 2 * T) {
        for (size_t first = row; first < end; first += BLOCK) {
            if (end - first > T) {
                weigh_two(a, panels, n, first, col);
                continue;
            }
            weigh_one(a, panels, n, first, col);
            if (col + T < a->r.d16) weigh_one(a, panels, n, first, col + T);
        }
    }
}

/* ------------------------------------------------------------------ statistics */

/* Which sum each of the 32 probabilities of a word row belongs to, as columns of ones: word row
 * `half` (0 or 1) of panel i, keys 32 * half + j in the low halves of words and 16 more in the high
 * ones, goes to column i * n + (32 * half + j) / step. All rows of such a matrix are the same, so
 * one line of it, read with a stride of 0, is the tile; two lines where there are 32 columns. */
static void write_ones(const amx *a)
{
    const size_t step = a->r.tile->step, n = PANEL / step;
    memset(a->ones, 0, (size_t)4 * CHUNK * T * sizeof *a->ones);
    for (size_t half = 0; half < 2 * CHUNK; half++) {
        const size_t at = half / 2 * n, low = at + half % 2 * 32 / step,
                     high = at + (half % 2 * 32 + 16) / step;
        a->ones[half * 2 * T + low] |= 0x3f80u;
        a->ones[half * 2 * T + high] |= 0x3f800000u;
    }
}

/* Sums of a chunk of n panels: products of the probabilities, as they weigh the values, with ones.
 * The tile unit has time to spare. */
static void keep_chunk(const amx *a, size_t n)
{
    const laci_tile *tile = a->r.tile;
    const size_t per_panel = PANEL / tile->step, n_sums = n * per_panel, two = n_sums > T;
    float *out = tile->sums + tile->panel_at * per_panel * LACI_TILE_ROWS;
    for (size_t row = 0; row < tile->n_rows; row += T) {
        _tile_zero(0);
        _tile_zero(1);
        for (size_t half = 0; half < 2 * n; half++) {
            _tile_loadd(4, a->p + row * CHUNK_WORDS + half * T, CHUNK_WORDS * 4);
            _tile_loadd(6, a->ones + half * 2 * T, 0);
            _tile_dpbf16ps(0, 4, 6);
            if (!two) continue;
            _tile_loadd(7, a->ones + half * 2 * T + T, 0);
            _tile_dpbf16ps(1, 4, 7);
        }
        _tile_stored(0, a->sums, T * 4);
        _tile_stored(1, a->sums + (size_t)T * T, T * 4);
        for (size_t part = 0; part < 1 + two; part++) {
            vec sums[T];
            for (size_t i = 0; i < T; i++)
                sums[i] = v_load(a->sums + (part * T + i) * T);
            v_transpose(sums);
            for (size_t i = 0; i < T && part * T + i < n_sums; i++)
                v_store(out + (part * T + i) * LACI_TILE_ROWS + row, sums[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (tile->squares)
            keep_panel(tile, tile->panel_at + i, a->p + i * P_WORDS, CHUNK_WORDS, true);
        keep_max(tile, tile->panel_at + i);
    }
}

static void attend_amx(laci_tile *tile, const laci_panel *panels, size_t n)
{
    amx a;
    _tile_loadconfig(&tile_config);
    begin_amx(&a, tile);
    if (tile->sums) write_ones(&a);
    for (size_t first = 0; first < n; first += CHUNK) {
        const size_t count = n - first < CHUNK ? n - first : CHUNK;
        a.first = first == 0;
        a.next = panels + first + count;
        a.n_next = n - first - count;
        for (size_t row = 0; row < tile->n_rows; row += GROUP) {
            const size_t end = tile->n_rows - row < GROUP ? tile->n_rows : row + GROUP;
            score_group(&a, panels + first, count, row, end);
            weigh_group(&a, panels + first, count, row, end);
        }
        if (tile->sums) keep_chunk(&a, count);
        tile->panel_at += count;
    }
    end_amx(&a);
    _tile_release();
}

/* ------------------------------------------------------------------ probability by key */

static void column_mass_amx(const laci_tile *tile, const laci_panel *panels, size_t n,
                            const float *lse, float *sums)
{
    amx a;
    laci_tile rows = *tile;
    block none = { .n_rows = 0 };
    _tile_loadconfig(&tile_config);
    begin_rows(&a, &rows);
    a.ahead[0].left = a.ahead[1].left = a.n_more = 0;
    for (size_t i = 0; i < n; i++) {
        copy_tail(&a, panels[i].k);
        a.r.masked = is_masked(&a.r, &panels[i]);
        for (size_t row = 0; row < tile->n_rows; row += BLOCK) {
            block b = { .panel = &panels[i],
                        .scores = a.scores[0],
                        .row = row,
                        .n_rows = tile->n_rows - row < BLOCK ? tile->n_rows - row : BLOCK };
            if (b.n_rows > T)
                score_two(&a, &b, &none);
            else
                score_one(&a, &b, &none);
            add_columns(&a.r, &panels[i], b.scores, row, b.n_rows, lse, sums + i * PANEL);
        }
    }
    _tile_release();
}

#include "kernels/select_amx.h"

void laci_kernels_fill_amx(laci_kernels *table)
{
    table->page_scores_bf16 = page_scores_amx;
    table->attend_bf16 = attend_amx;
    table->column_mass_bf16 = column_mass_amx;
    (void)attend_bf16; /* the plain AVX-512 BF16 forms of the shared header */
    (void)column_mass_bf16;
}
