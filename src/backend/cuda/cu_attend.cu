/* cu_attend.cu: attention by plan on the device: the tensor-core kernel (FlashAttention-2's
 * recurrence, docs/algorithms.md 2), a plain one for f32 and large heads, merging of
 * parts, masses from statistics, probability by key. A job (cuda_api.h) is one tile of rows and one
 * run of lanes; every kernel reads keys by position, so a dense span, blocks of any size and single
 * keys are one code path. */
#include "backend/cuda/cu_tile.h"

/* ------------------------------------------------------------------ tensor cores: loads */

/* Shared memory of a block, each row of HD bf16 in 16-byte chunks, swizzled (cu_layout.h): queries
 * [WARPS * 16], keys [2][64], values [2][64]; then positions [2][64]. */
template <int HD, int WARPS> struct tile_memory {
    static constexpr int ROWS = WARPS * 16, ROW_BYTES = HD * 2, CHUNKS = HD / 8;
    static constexpr int Q_BYTES = ROWS * ROW_BYTES, TILE_BYTES = LACI_CU_TILE * ROW_BYTES;
    static constexpr int BYTES = Q_BYTES + 4 * TILE_BYTES + 2 * LACI_CU_TILE * 4;
    char *base;
    __device__ char *q() const
    {
        return base;
    }
    __device__ char *k(int stage) const
    {
        return base + Q_BYTES + stage * TILE_BYTES;
    }
    __device__ char *v(int stage) const
    {
        return base + Q_BYTES + (2 + stage) * TILE_BYTES;
    }
    __device__ uint32_t *keys(int stage) const
    {
        return reinterpret_cast<uint32_t *>(base + Q_BYTES + 4 * TILE_BYTES) + stage * LACI_CU_TILE;
    }
};

template <int HD, int WARPS>
static __device__ __forceinline__ void load_queries(const laci_cu_attend &a, const laci_cu_job &job,
                                                    tile_memory<HD, WARPS> m)
{
    const uint32_t n_rows = job.n * job.n_heads;
    const bf16_t *q = static_cast<const bf16_t *>(a.q);
    for (uint32_t i = threadIdx.x; i < m.ROWS * m.CHUNKS; i += WARPS * WARP) {
        const uint32_t row = i / m.CHUNKS, chunk = i % m.CHUNKS;
        const bool there = row < n_rows && chunk * 8 < a.d;
        const size_t at = there ? row_at(a, job, row) * a.d + chunk * 8 : 0;
        copy16_async(m.q() + chunk_offset(row, chunk, m.CHUNKS), q + at, there);
    }
}

/* Keys, values and positions of lanes [lane, lane + 64) into a stage. */
template <int HD, int WARPS>
static __device__ __forceinline__ void load_tile(const laci_cu_attend &a, const laci_cu_job &job,
                                                 tile_memory<HD, WARPS> m, int stage, uint32_t lane)
{
    const size_t first = first_key(a, job);
    const bf16_t *k = static_cast<const bf16_t *>(a.k) + first * a.d;
    const bf16_t *v = static_cast<const bf16_t *>(a.v) + first * a.v_stride;
    for (uint32_t i = threadIdx.x; i < LACI_CU_TILE * m.CHUNKS; i += WARPS * WARP) {
        const uint32_t j = i / m.CHUNKS, chunk = i % m.CHUNKS;
        const uint32_t key = key_at(a, job, lane + j);
        const bool there = key != LACI_CU_NO_KEY && chunk * 8 < a.d;
        const size_t row = there ? key : 0;
        const uint32_t to = chunk_offset(j, chunk, m.CHUNKS);
        copy16_async(m.k(stage) + to, k + row * a.d + (there ? chunk * 8 : 0), there);
        copy16_async(m.v(stage) + to, v + row * a.v_stride + (there ? chunk * 8 : 0), there);
    }
    if (threadIdx.x < LACI_CU_TILE)
        m.keys(stage)[threadIdx.x] = valid_key_at(a, job, lane + threadIdx.x);
}

/* ------------------------------------------------------------------ tensor cores: arithmetic */

/* What a warp holds of its 16 rows, and their queries where registers allow. */
template <int HD> struct warp_rows : row_sums<HD> {
    static constexpr bool HELD = HD <= 128;
    uint32_t q[HELD ? HD / 16 : 1][4];
};

/* Fragment of 16 rows from `row` on, channels [16 step, +16), as the left factor. */
template <int CHUNKS>
static __device__ __forceinline__ void load_left(uint32_t f[4], const char *rows, uint32_t row,
                                                 uint32_t step)
{
    const uint32_t lane = threadIdx.x % WARP;
    load_matrices(f,
                  rows + chunk_offset(row + left_row(lane), 2 * step + left_chunk(lane), CHUNKS));
}

/* s[j] = scores of 64 keys, 8 a j, of this warp's rows. */
template <int HD, int WARPS>
static __device__ __forceinline__ void score_tile(float s[8][4], const warp_rows<HD> &w,
                                                  tile_memory<HD, WARPS> m, int stage)
{
    const uint32_t lane = threadIdx.x % WARP, row = threadIdx.x / WARP * 16;
#pragma unroll
    for (int j = 0; j < 8; j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
#pragma unroll
    for (int step = 0; step < HD / 16; step++) {
        uint32_t held[4];
        const uint32_t *q = w.q[w.HELD ? step : 0];
        if (!w.HELD) load_left<HD / 8>(held, m.q(), row, step), q = held;
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            uint32_t b[4];
            load_matrices(b, m.k(stage) + chunk_offset(8 * j + right_row(lane),
                                                       2 * step + right_chunk(lane), HD / 8));
            multiply(s[j], q, b[0], b[1]);
            multiply(s[j + 1], q, b[2], b[3]);
        }
    }
}

/* Scores in powers of two; -infinity where a row may not read. */
static __device__ __forceinline__ void mask_tile(float s[8][4], const uint32_t *keys,
                                                 const uint32_t limit[2], float scale, bool masked)
{
    const uint32_t t = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < 8; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[j][i] *= scale;
            if (masked && keys[8 * j + 2 * t + (i & 1)] >= limit[i / 2]) s[j][i] = NOTHING;
        }
    }
}

/* out += p times the values of a stage. The scores' fragments are the left factor's as they lie:
 * keys 16 step + (0..7) are its first half, + (8..15) its second. */
template <int HD, int WARPS>
static __device__ __forceinline__ void add_values(warp_rows<HD> &w, const float s[8][4],
                                                  tile_memory<HD, WARPS> m, int stage)
{
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
    for (int step = 0; step < 4; step++) {
        const float *low = s[2 * step], *high = s[2 * step + 1];
        const uint32_t p[4] = { pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]),
                                pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3]) };
#pragma unroll
        for (int c = 0; c < HD / 8; c += 2) {
            uint32_t b[4];
            load_matrices_t(b, m.v(stage) + chunk_offset(16 * step + left_row(lane),
                                                         c + left_chunk(lane), HD / 8));
            multiply(w.out[c], p, b[0], b[1]);
            multiply(w.out[c + 1], p, b[2], b[3]);
        }
    }
}

/* One job a block; warp i has tile rows [16 i, 16 i + 16). Two stages: while one tile is computed
 * the next one travels. */
template <int HD, int WARPS>
static __global__ void __launch_bounds__(WARPS *WARP) attend_mma(const laci_cu_attend a)
{
    LACI_DYNAMIC_SHARED(shared);
    const tile_memory<HD, WARPS> m = { shared };
    const laci_cu_job job = a.jobs[blockIdx.x];
    if (!job.n) return;
    const uint32_t row = threadIdx.x / WARP * 16;
    const bool works = row < job.n * job.n_heads; /* the same for a whole warp */
    warp_rows<HD> w;
    begin_rows(a, job, w);
    load_queries(a, job, m);
    copy_commit();
    if (job.first < job.end) load_tile(a, job, m, 0, job.first);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    if (w.HELD) {
#pragma unroll
        for (int step = 0; step < HD / 16; step++)
            load_left<HD / 8>(w.q[w.HELD ? step : 0], m.q(), row, step);
    }
    int stage = 0;
    for (uint32_t lane = job.first; lane < job.end; lane += LACI_CU_TILE, stage ^= 1) {
        if (lane + LACI_CU_TILE < job.end) load_tile(a, job, m, stage ^ 1, lane + LACI_CU_TILE);
        copy_commit();
        copy_wait<1>();
        __syncthreads(); /* every thread's part of this tile has arrived */
        if (works) {
            float s[8][4];
            score_tile(s, w, m, stage);
            mask_tile(s, m.keys(stage), w.limit, a.scale,
                      a.valid || lane + LACI_CU_TILE > job.full_end);
            float shrink[2];
            exponentials(s, w, shrink);
            shrink_rows(w, shrink);
            if (a.stats) put_stats(a, job, s, w.top, lane);
            add_values(w, s, m, stage);
        }
        __syncthreads(); /* nobody reads this stage any more */
    }
    if (works) finish_rows(a, job, w);
}

template <int HD, int WARPS> static void launch_mma(void *stream, const laci_cu_attend *a)
{
    const auto kernel = attend_mma<HD, WARPS>;
    allow_shared(kernel, tile_memory<HD, WARPS>::BYTES);
    LACI_LAUNCH(kernel, a->n_jobs, WARPS * WARP, (tile_memory<HD, WARPS>::BYTES), stream, *a);
}

static void attend_with_mma(void *stream, const laci_cu_attend *a)
{
    if (a->d <= 64)
        a->most_rows <= 64 ? launch_mma<64, 4>(stream, a) : launch_mma<64, 8>(stream, a);
    else if (a->d <= 128)
        a->most_rows <= 64 ? launch_mma<128, 4>(stream, a) : launch_mma<128, 8>(stream, a);
    else
        launch_mma<256, 4>(stream, a); /* jobs of at most 64 rows: cuda_jobs.c */
}

static size_t mma_shared(uint32_t d, uint32_t most_rows)
{
    if (d <= 64) return most_rows <= 64 ? tile_memory<64, 4>::BYTES : tile_memory<64, 8>::BYTES;
    if (d <= 128) return most_rows <= 64 ? tile_memory<128, 4>::BYTES : tile_memory<128, 8>::BYTES;
    return tile_memory<256, 4>::BYTES;
}

/* ------------------------------------------------------------------ plain: any type, any size */

enum { PLAIN_WARPS = 4 };

/* A warp's share of dynamic shared memory: query and sum of values [d], p and positions [64]. */
static __host__ __device__ __forceinline__ size_t plain_floats(uint32_t d)
{
    return 2 * d + 2 * LACI_CU_TILE;
}

template <typename T>
static __device__ __forceinline__ float dot(const float *q, const T *k, uint32_t d)
{
    float sum = 0;
    for (uint32_t c = 0; c < d; c++)
        sum += q[c] * get(k[c]);
    return sum;
}

/* Statistics of one row and tile from p in shared memory. */
static __device__ void put_plain_stats(const laci_cu_attend &a, const laci_cu_job &job,
                                       uint32_t row, uint32_t lane, const float *p, float top)
{
    const uint32_t n = LACI_CU_TILE / a.step, i = threadIdx.x % WARP;
    if (i >= n) return;
    float sum = 0;
    for (uint32_t j = i * a.step; j < (i + 1) * a.step; j++)
        sum += a.squared ? p[j] * p[j] : p[j];
    const size_t at = ((size_t)job.stats_row + row) * a.n_steps + lane / a.step + i;
    a.stats[at] = log2f(sum) + (a.squared ? 2 * top : top);
}

/* One warp a row, 64 lanes a turn, two for each thread. */
template <typename T> static __global__ void attend_simple(const laci_cu_attend a)
{
    LACI_DYNAMIC_SHARED(shared);
    const uint32_t warp = threadIdx.x / WARP, i = threadIdx.x % WARP;
    float *q = reinterpret_cast<float *>(shared) + warp * plain_floats(a.d);
    float *acc = q + a.d, *p = acc + a.d;
    uint32_t *keys = reinterpret_cast<uint32_t *>(p + LACI_CU_TILE);
    const laci_cu_job job = a.jobs[blockIdx.x];
    const uint32_t row = blockIdx.y * PLAIN_WARPS + warp;
    if (row >= job.n * job.n_heads) return; /* a whole warp; no barrier of the block follows */
    const uint32_t limit = limit_of(a, job, row);
    const T *k = static_cast<const T *>(a.k) + first_key(a, job) * a.d;
    const T *v = static_cast<const T *>(a.v) + first_key(a, job) * a.v_stride;
    for (uint32_t c = i; c < a.d; c += WARP) {
        q[c] = get(static_cast<const T *>(a.q)[row_at(a, job, row) * a.d + c]);
        acc[c] = 0;
    }
    __syncwarp();
    float top = NOTHING, sum = 0;
    for (uint32_t lane = job.first; lane < job.end; lane += LACI_CU_TILE) {
        float s[2];
        for (uint32_t h = 0; h < 2; h++) {
            uint32_t key = valid_key_at(a, job, lane + h * WARP + i);
            if (key >= limit) key = LACI_CU_NO_KEY;
            keys[h * WARP + i] = key;
            s[h] = key == LACI_CU_NO_KEY ? NOTHING : dot(q, k + (size_t)key * a.d, a.d) * a.scale;
        }
        const float best = warp_max(fmaxf(s[0], s[1]));
        const float above = fmaxf(top, best), base = above == NOTHING ? 0 : above;
        const float shrink = exp2f(top - base);
        for (uint32_t h = 0; h < 2; h++)
            p[h * WARP + i] = s[h] = s[h] == NOTHING ? 0 : exp2f(s[h] - base);
        sum = sum * shrink + warp_sum(s[0] + s[1]);
        top = above;
        __syncwarp();
        if (a.stats) put_plain_stats(a, job, row, lane, p, top);
        for (uint32_t c = i; c < a.d; c += WARP) {
            float x = acc[c] * shrink;
            for (uint32_t j = 0; j < LACI_CU_TILE; j++)
                if (keys[j] != LACI_CU_NO_KEY) x += p[j] * get(v[(size_t)keys[j] * a.v_stride + c]);
            acc[c] = x;
        }
        __syncwarp(); /* p and keys are free again */
    }
    const float share = sum == 0 ? 0 : 1 / sum;
    for (uint32_t c = 2 * i; c < a.d; c += 2 * WARP)
        put_pair(a, job, row, c, acc[c] * share, acc[c + 1] * share);
    if (i == 0) put_lse(a, job, row, top, sum);
}

static void attend_plain(void *stream, const laci_cu_attend *a)
{
    const dim3 grid(a->n_jobs, (a->most_rows + PLAIN_WARPS - 1) / PLAIN_WARPS);
    const size_t bytes = PLAIN_WARPS * plain_floats(a->d) * sizeof(float);
    const auto kernel = a->bf16 ? attend_simple<bf16_t> : attend_simple<float>;
    LACI_LAUNCH(kernel, grid, PLAIN_WARPS * WARP, bytes, stream, *a);
}

/* ------------------------------------------------------------------ merging */

/* The parts of one tile, one after another: exact, and in the same order every time. One warp a
 * row, a block a tile. */
static __global__ void combine_parts(const laci_cu_attend a, const laci_cu_parts *all)
{
    const laci_cu_parts parts = all[blockIdx.x];
    const laci_cu_job job = {
        parts.batch, parts.head, parts.n_heads, parts.begin, parts.n, 0, 0, 0, 0, -1, 0
    };
    for (uint32_t row = threadIdx.x / WARP; row < job.n * job.n_heads; row += blockDim.x / WARP) {
        const float *lse = a.partial_lse + (size_t)parts.slot * LACI_CU_ROWS + row;
        float top = NOTHING, sum = 0;
        for (uint32_t i = 0; i < parts.n_slots; i++)
            top = fmaxf(top, lse[i * LACI_CU_ROWS]);
        const float base = top == NOTHING ? 0 : top;
        for (uint32_t i = 0; i < parts.n_slots; i++)
            sum += exp2f(lse[i * LACI_CU_ROWS] - base);
        const float share = sum == 0 ? 0 : 1 / sum;
        for (uint32_t c = 2 * (threadIdx.x % WARP); c < a.d; c += 2 * WARP) {
            float x = 0, y = 0;
            for (uint32_t i = 0; i < parts.n_slots; i++) {
                const size_t at = ((size_t)(parts.slot + i) * LACI_CU_ROWS + row) * a.d + c;
                const float weight = exp2f(lse[i * LACI_CU_ROWS] - base) * share;
                if (weight == 0) continue;
                x += weight * a.partial[at], y += weight * a.partial[at + 1];
            }
            put_pair(a, job, row, c, x, y);
        }
        if (threadIdx.x % WARP == 0) put_lse(a, job, row, base, sum);
    }
}

static void combine(void *stream, const laci_cu_attend *a, const laci_cu_parts *parts, uint32_t n)
{
    LACI_LAUNCH(combine_parts, n, 256, 0, stream, *a, parts);
}

/* One block a row: out = (e^lse out + e^other_lse other) / their sum. */
static __global__ void merge_rows(const laci_cu_merge a)
{
    const uint32_t head = blockIdx.x % a.n_heads, i = blockIdx.x / a.n_heads;
    if (a.picks && i >= a.picks[0]) return;
    const uint32_t query = a.picks ? a.picks[1 + i] : i; /* of all sequences */
    const size_t row = (size_t)query * a.n_heads + head;
    const size_t at = ((size_t)(query / a.n_q) * a.n_heads + head) * a.n_q + query % a.n_q;
    const float mine = a.lse[at], theirs = a.other_lse[at];
    __syncthreads(); /* lse is read before it is written */
    if (theirs == NOTHING) return;
    const float top = mine > theirs ? mine : theirs;
    const float mine_share = expf(mine - top), other_share = expf(theirs - top);
    const float total = mine_share + other_share;
    for (uint32_t c = threadIdx.x; c < a.d; c += blockDim.x) {
        const size_t to = row * a.d + c;
        a.out[to] = (mine_share * a.out[to] + other_share * a.other[to]) / total;
    }
    if (threadIdx.x == 0) a.lse[at] = top + logf(total);
}

static void merge(void *stream, const laci_cu_merge *a)
{
    LACI_LAUNCH(merge_rows, a->n_rows, 64, 0, stream, *a);
}

/* ------------------------------------------------------------------ statistics */

/* Sum of 2^(x - top) over steps [begin, end) of a row; steps that nobody wrote are NaN. */
static __device__ float steps_sum(const float *x, float top, uint32_t begin, uint32_t end)
{
    float sum = 0;
    for (uint32_t i = begin; i < end; i++)
        sum += x[i] == x[i] ? exp2f(x[i] - top) : 0;
    return sum;
}

static __device__ __forceinline__ uint32_t steps_end(const laci_cu_mass &a, uint32_t block)
{
    const uint32_t end = (block + 1) * a.per_block;
    return end < a.n_steps ? end : a.n_steps;
}

/* A row's measure and one over its total, from block `from` on; a warp computes them. */
static __device__ void row_total(const laci_cu_mass &a, const float *x, uint32_t from, float *top,
                                 float *share)
{
    const uint32_t lane = threadIdx.x % WARP, first = from * a.per_block;
    float most = NOTHING, sum = 0;
    for (uint32_t i = lane; i < a.n_steps; i += WARP)
        most = x[i] > most ? x[i] : most;
    most = warp_max(most);
    if (most == NOTHING) most = 0;
    for (uint32_t i = first + lane; i < a.n_steps; i += WARP)
        sum += x[i] == x[i] ? exp2f(x[i] - most) : 0;
    sum = warp_sum(sum);
    *top = most;
    *share = sum > 0 ? 1 / sum : 0;
}

/* Mass each row keeps under the kept plan; a warp a row. */
static __device__ void put_kept(const laci_cu_mass &a, const uint32_t *item, const float *tops,
                                const float *shares)
{
    for (uint32_t r = threadIdx.x / WARP; r < item[1]; r += blockDim.x / WARP) {
        const uint32_t row = item[0] + r, pattern = row / a.n_q;
        uint32_t at = 0;
        if (a.kept_patterns > 1) at = a.kept_patterns > a.n_heads ? pattern : pattern % a.n_heads;
        at = at * a.kept_rows + row % a.n_q / a.q_block;
        const float *x = a.sums + (size_t)(item[2] + r) * a.n_steps;
        float kept = 0;
        for (uint32_t c = a.kept_row_ptr[at] + threadIdx.x % WARP; c < a.kept_row_ptr[at + 1];
             c += WARP) {
            const uint32_t block = a.kept_cols[c];
            kept += steps_sum(x, tops[r], block * a.per_block, steps_end(a, block));
        }
        kept = warp_sum(kept) * shares[r];
        if (threadIdx.x % WARP == 0) a.kept_mass[row] = kept;
    }
}

/* One query block of at most LACI_CU_ROWS rows a block of threads. */
static __global__ void mass_of_rows(const laci_cu_mass a)
{
    __shared__ float tops[LACI_CU_ROWS], shares[LACI_CU_ROWS], late_shares[LACI_CU_ROWS];
    const uint32_t *item = a.items + 3 * blockIdx.x;
    const uint32_t first = item[0], n = item[1];
    for (uint32_t r = threadIdx.x / WARP; r < n; r += blockDim.x / WARP) {
        const float *x = a.sums + (size_t)(item[2] + r) * a.n_steps;
        float top, share, late = 0;
        row_total(a, x, 0, &top, &share);
        if (a.late) row_total(a, x, a.late_from, &top, &late);
        if (threadIdx.x % WARP == 0) tops[r] = top, shares[r] = share, late_shares[r] = late;
    }
    __syncthreads();
    const size_t out = ((size_t)(first / a.n_q) * a.n_q_blocks + first % a.n_q / a.q_block);
    for (uint32_t b = threadIdx.x; b < a.n_blocks; b += blockDim.x) {
        float sum = 0, late = 0;
        for (uint32_t r = 0; r < n; r++) {
            const float *x = a.sums + (size_t)(item[2] + r) * a.n_steps;
            const float mass = steps_sum(x, tops[r], b * a.per_block, steps_end(a, b));
            sum += mass * shares[r], late += mass * late_shares[r];
        }
        const size_t by_row = ((size_t)(first / a.share) * a.n_blocks + b) * a.share;
        a.mass[a.base ? by_row + first % a.share : out * a.n_blocks + b] = sum / (float)n;
        if (a.late) a.late[out * a.n_blocks + b] = b < a.late_from ? 0 : late / (float)n;
    }
    if (a.kept_mass) put_kept(a, item, tops, shares);
    for (uint32_t i = threadIdx.x; a.base && i < n * a.n_parts; i += blockDim.x) {
        const uint32_t r = i / a.n_parts; /* masses are normalised: measured from the row's sum */
        a.base[(size_t)first * a.n_parts + i] =
            shares[r] > 0 ? (tops[r] - log2f(shares[r])) / LOG2E : NOTHING;
    }
}

static void mass(void *stream, const laci_cu_mass *a)
{
    LACI_LAUNCH(mass_of_rows, a->n_items, 256, 0, stream, *a);
}

/* ------------------------------------------------------------------ probability by key */

enum { COLUMN_THREADS = 128 };

/* One key a thread, one group of queries of one head a row of blocks. */
template <typename T> static __global__ void column_means(const laci_cu_columns a)
{
    LACI_DYNAMIC_SHARED(shared);
    float *q = reinterpret_cast<float *>(shared); /* [d] the query under way */
    const uint32_t key = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    const uint32_t head = blockIdx.z, batch = head / a.n_heads, h = head % a.n_heads;
    const uint32_t begin = (a.first + blockIdx.y) * a.q_group;
    const uint32_t end = begin + a.q_group < a.n_q ? begin + a.q_group : a.n_q;
    const size_t kv = (size_t)batch * a.n_kv_heads + h / (a.n_heads / a.n_kv_heads);
    const T *k = static_cast<const T *>(a.k) + (kv * a.ctx + (key < a.n_k ? key : 0)) * a.d;
    const bool counts = key < a.n_keys[batch] && key < a.n_k &&
                        is_valid(a.valid ? a.valid + (size_t)batch * a.words : NULL, key);
    float sum = 0;
    for (uint32_t i = begin; i < end; i++) {
        const size_t row = ((size_t)batch * a.n_q + i) * a.n_heads + h;
        for (uint32_t c = threadIdx.x; c < a.d; c += COLUMN_THREADS)
            q[c] = get(static_cast<const T *>(a.q)[row * a.d + c]);
        __syncthreads();
        const float lse = a.lse[(size_t)head * a.n_q + i];
        const bool reads =
            counts && lse != NOTHING && (!a.limits || key < a.limits[(size_t)batch * a.n_q + i]);
        if (reads) sum += exp2f(dot(q, k, a.d) * a.scale - lse * LOG2E);
        __syncthreads();
    }
    if (key < a.n_k)
        a.out[((size_t)head * a.n_groups + blockIdx.y) * a.n_k + key] = sum / (float)(end - begin);
}

static void columns(void *stream, const laci_cu_columns *a)
{
    const dim3 grid((a->n_k + COLUMN_THREADS - 1) / COLUMN_THREADS, a->n_groups,
                    a->n_batch * a->n_heads);
    const auto kernel = a->bf16 ? column_means<bf16_t> : column_means<float>;
    LACI_LAUNCH(kernel, grid, COLUMN_THREADS, a->d * sizeof(float), stream, *a);
}

void LACI_CU_NAME(fill_attend)(laci_cu_api *api)
{
    api->attend_plain = attend_plain;
    api->attend_mma = attend_with_mma;
    api->mma_shared = mma_shared;
    api->combine = combine;
    api->mass = mass;
    api->columns = columns;
    api->merge = merge;
}
