/* cu_attend_sm90.cu: attention by plan with the instructions of compute capability 9.0: keys and
 * values travel by the bulk tensor engine, wgmma multiplies, and warp groups have roles
 * (FlashAttention-3's arrangement, arXiv 2407.08608, without its overlap inside a group): the last
 * group copies, each other one owns 64 rows, so that one multiplies while another one
 * exponentiates. It takes plans whose lanes come in runs of 64 neighbouring keys; rows, softmax,
 * statistics and results are those of attend_mma (cu_tile.h). */
#include "backend/cuda/cu_sm90.h"
#include "backend/cuda/cu_tile.h"

enum { GROUP = 128 }; /* threads of a warp group */

/* Shared memory of a block for heads of up to HD channels: queries [HD / 64][GROUPS * 64], STAGES
 * of keys [HD / 64][KEYS], as many of values, all in rows of 64 channels, swizzled; then barriers,
 * and the positions where each stage's runs of 64 keys begin. */
template <int HD, int KEYS, int STAGES, int GROUPS> struct tile_memory {
    static constexpr int SLABS = HD / BOX_CHANNELS, RUNS = KEYS / BOX_KEYS;
    static constexpr int Q_SLAB = GROUPS * 64 * BOX_ROW_BYTES, K_SLAB = KEYS * BOX_ROW_BYTES;
    static constexpr int Q_BYTES = SLABS * Q_SLAB, TILE_BYTES = SLABS * K_SLAB;
    static constexpr int BARRIERS = Q_BYTES + 2 * STAGES * TILE_BYTES;
    static constexpr int BYTES = 1024 + BARRIERS + STAGES * (3 * 8 + RUNS * 4);
    char *base; /* at a multiple of 1024 */
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
        return base + Q_BYTES + (STAGES + stage) * TILE_BYTES;
    }
    /* Keys have arrived; values have; the stage is free again. */
    __device__ uint64_t *k_full(int stage) const
    {
        return reinterpret_cast<uint64_t *>(base + BARRIERS) + stage;
    }
    __device__ uint64_t *v_full(int stage) const
    {
        return k_full(STAGES + stage);
    }
    __device__ uint64_t *empty(int stage) const
    {
        return k_full(2 * STAGES + stage);
    }
    __device__ uint32_t *runs(int stage) const
    {
        return reinterpret_cast<uint32_t *>(base + BARRIERS + 3 * STAGES * 8) + stage * RUNS;
    }
};

#ifdef LACI_CU_SM90

/* ------------------------------------------------------------------ the group that copies */

/* One thread fills stage after stage. A run past the last lane repeats the tile's first one: its
 * scores are masked, its values are numbers. */
template <typename M, int STAGES>
static __device__ void copy_tiles(const laci_cu_attend &a, const laci_cu_job &job, M m,
                                  const tensor_map *keys, const tensor_map *values,
                                  uint32_t n_tiles)
{
    constexpr uint32_t KEYS = M::RUNS * BOX_KEYS;
    const uint32_t head = job.batch * a.n_kv_heads + job.head / (a.n_heads / a.n_kv_heads);
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        const int stage = static_cast<int>(tile % STAGES);
        const uint32_t lane = job.first + tile * KEYS, first = key_at(a, job, lane);
        if (tile >= STAGES) barrier_wait(m.empty(stage), (tile / STAGES - 1) & 1);
        for (int run = 0; run < M::RUNS; run++) {
            const uint32_t key = key_at(a, job, lane + static_cast<uint32_t>(run) * BOX_KEYS);
            m.runs(stage)[run] = key == LACI_CU_NO_KEY ? first : key;
        }
        barrier_expect(m.k_full(stage), M::TILE_BYTES);
        for (int i = 0; i < M::SLABS * M::RUNS; i++)
            copy_box(m.k(stage) + i * BOX_BYTES, keys, m.k_full(stage),
                     static_cast<uint32_t>(i / M::RUNS) * BOX_CHANNELS, m.runs(stage)[i % M::RUNS],
                     head);
        barrier_expect(m.v_full(stage), M::TILE_BYTES);
        for (int i = 0; i < M::SLABS * M::RUNS; i++)
            copy_box(m.v(stage) + i * BOX_BYTES, values, m.v_full(stage),
                     static_cast<uint32_t>(i / M::RUNS) * BOX_CHANNELS, m.runs(stage)[i % M::RUNS],
                     head);
    }
}

/* ------------------------------------------------------------------ the groups that multiply */

/* The 64 rows of this thread's group; rows and channels that are not there are zero. */
template <typename M>
static __device__ void store_queries(const laci_cu_attend &a, const laci_cu_job &job, M m)
{
    const uint32_t n_rows = job.n * job.n_heads, first = threadIdx.x / GROUP * 64;
    const bf16_t *q = static_cast<const bf16_t *>(a.q);
    for (uint32_t i = threadIdx.x % GROUP; i < 64 * M::SLABS * 8; i += GROUP) {
        const uint32_t row = first + i / (M::SLABS * 8), chunk = i % (M::SLABS * 8);
        const uint4 nothing = { 0, 0, 0, 0 };
        const bool there = row < n_rows && chunk * 8 < a.d;
        const size_t at = there ? row_at(a, job, row) * a.d + chunk * 8 : 0;
        *reinterpret_cast<uint4 *>(m.q() + chunk / 8 * M::Q_SLAB +
                                   chunk_offset(row, chunk % 8, 8)) =
            there ? *reinterpret_cast<const uint4 *>(q + at) : nothing;
    }
}

/* s = scores of a stage's keys: 16 channels a step. */
template <typename M, int N>
static __device__ __forceinline__ void score_keys(float (&s)[N][4], M m, int stage)
{
    const uint32_t q = shared_address(m.q()) + threadIdx.x / GROUP * (64 * BOX_ROW_BYTES);
    const uint32_t k = shared_address(m.k(stage));
#pragma unroll
    for (int j = 0; j < N; j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
    products_begin();
#pragma unroll
    for (int step = 0; step < M::SLABS * 4; step++) {
        const uint32_t at = static_cast<uint32_t>(step % 4) * 32;
        multiply_shared<8 * N>(s, matrix_descriptor(q + step / 4 * M::Q_SLAB + at, 16, 1024),
                               matrix_descriptor(k + step / 4 * M::K_SLAB + at, 16, 1024));
    }
    products_end();
    settle<N>(s);
}

/* Scores in powers of two; -infinity where a row may not read. */
template <int N>
static __device__ __forceinline__ void mask_keys(float (&s)[N][4], const laci_cu_attend &a,
                                                 const laci_cu_job &job, const uint32_t *runs,
                                                 const uint32_t limit[2], uint32_t lane)
{
    const uint32_t end = lane + 8 * N; /* a part of a tile may end inside of it */
    const bool masked = a.valid || end > job.full_end || end > job.end;
    const uint64_t *valid = a.valid ? a.valid + (size_t)job.batch * a.words : NULL;
#pragma unroll
    for (int j = 0; j < N; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[j][i] *= a.scale;
            if (!masked) continue;
            const uint32_t at = 8 * j + 2 * (threadIdx.x % 4) + (i & 1);
            const uint32_t key = runs[at / BOX_KEYS] + at % BOX_KEYS;
            const bool reads = lane + at < job.end && key < limit[i / 2] && is_valid(valid, key);
            if (!reads) s[j][i] = NOTHING;
        }
    }
}

/* out += p times a stage's values: 16 keys a step, 128 channels a product where there are so many.
 */
template <typename M, int HD, int N>
static __device__ __forceinline__ void add_products(row_sums<HD> &w, const float (&s)[N][4], M m,
                                                    int stage)
{
    constexpr int WIDE = HD < 128 ? HD : 128;
    const uint32_t v = shared_address(m.v(stage));
    uint32_t p[N / 2][4];
#pragma unroll
    for (int step = 0; step < N / 2; step++) {
        const float *low = s[2 * step], *high = s[2 * step + 1];
        p[step][0] = pack_bf16(low[0], low[1]), p[step][1] = pack_bf16(low[2], low[3]);
        p[step][2] = pack_bf16(high[0], high[1]), p[step][3] = pack_bf16(high[2], high[3]);
    }
    products_begin();
#pragma unroll
    for (int step = 0; step < N / 2; step++) {
#pragma unroll
        for (int c = 0; c < HD; c += WIDE)
            multiply_held<WIDE>(w.out + c / 8, p[step],
                                matrix_descriptor(v + c / BOX_CHANNELS * M::K_SLAB +
                                                      static_cast<uint32_t>(step) * 2048,
                                                  M::K_SLAB, 1024));
    }
    products_end();
    settle<HD / 8>(w.out);
    hold<N / 2>(p);
}

template <typename M, int HD, int STAGES>
static __device__ __forceinline__ void attend_tiles(const laci_cu_attend &a, const laci_cu_job &job,
                                                    M m, uint32_t n_tiles)
{
    constexpr uint32_t KEYS = M::RUNS * BOX_KEYS;
    row_sums<HD> w;
    begin_rows(a, job, w);
    store_queries(a, job, m);
    fence_for_products();
    group_sync(1 + threadIdx.x / GROUP);
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        const int stage = static_cast<int>(tile % STAGES);
        const uint32_t lane = job.first + tile * KEYS, parity = tile / STAGES & 1;
        float s[KEYS / 8][4];
        barrier_wait(m.k_full(stage), parity);
        score_keys(s, m, stage);
        mask_keys(s, a, job, m.runs(stage), w.limit, lane);
        exponentials(s, w);
        for (int run = 0; a.stats && run < M::RUNS; run++)
            if (lane + static_cast<uint32_t>(run) * BOX_KEYS < job.end)
                put_stats(a, job, s + 8 * run, w.top, lane + static_cast<uint32_t>(run) * BOX_KEYS);
        barrier_wait(m.v_full(stage), parity);
        add_products(w, s, m, stage);
        __syncwarp(); /* every lane has read where the runs begin */
        if (threadIdx.x % WARP == 0) barrier_arrive(m.empty(stage));
    }
    finish_rows(a, job, w);
}
#endif

/* ------------------------------------------------------------------ the kernel */

/* One job a block of GROUPS + 1 warp groups. */
template <int HD, int KEYS, int STAGES, int GROUPS>
static __global__ void __launch_bounds__((GROUPS + 1) * GROUP, 1)
    attend_wgmma(const __grid_constant__ tensor_map keys, const __grid_constant__ tensor_map values,
                 const laci_cu_attend a)
{
#ifdef LACI_CU_SM90
    typedef tile_memory<HD, KEYS, STAGES, GROUPS> memory;
    LACI_DYNAMIC_SHARED(shared);
    const memory m = { shared + (1024 - shared_address(shared) % 1024) % 1024 };
    const laci_cu_job job = a.jobs[blockIdx.x];
    const uint32_t n_lanes = job.end > job.first ? job.end - job.first : 0;
    const uint32_t n_tiles = (n_lanes + KEYS - 1) / KEYS;
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(m.k_full(stage), 1);
            barrier_init(m.v_full(stage), 1);
            barrier_init(m.empty(stage), GROUPS * GROUP / WARP);
        }
        barrier_init_done();
    }
    __syncthreads();
    if (threadIdx.x >= GROUPS * GROUP) {
        if (GROUPS > 1) fewer_registers<40>();
        if (threadIdx.x == GROUPS * GROUP)
            copy_tiles<memory, STAGES>(a, job, m, &keys, &values, n_tiles);
    } else {
        if (GROUPS > 1) more_registers<232>();
        attend_tiles<memory, HD, STAGES>(a, job, m, n_tiles);
    }
#else
    (void)keys, (void)values, (void)a;
#endif
}

template <int HD, int KEYS, int STAGES, int GROUPS>
static void launch_wgmma(void *stream, const tensor_map &keys, const tensor_map &values,
                         const laci_cu_attend *a)
{
    const auto kernel = attend_wgmma<HD, KEYS, STAGES, GROUPS>;
    constexpr int BYTES = tile_memory<HD, KEYS, STAGES, GROUPS>::BYTES;
    allow_shared(kernel, BYTES);
    LACI_LAUNCH(kernel, a->n_jobs, (GROUPS + 1) * GROUP, BYTES, stream, keys, values, *a);
}

static int attend(void *stream, const laci_cu_attend *a)
{
    tensor_map keys, values;
    tensor_shape shape = { a->d, a->d, a->n_k, a->ctx, (uint64_t)a->n_batch * a->n_kv_heads };
    const bool few = a->most_rows <= 64;
    int code = make_map(&keys, a->k, shape);
    shape.stride = a->v_stride;
    if (!code) code = make_map(&values, a->v, shape);
    if (code) return code;
    if (a->d <= 64)
        few ? launch_wgmma<64, 128, 3, 1>(stream, keys, values, a)
            : launch_wgmma<64, 128, 3, 2>(stream, keys, values, a);
    else if (a->d <= 128)
        few ? launch_wgmma<128, 128, 2, 1>(stream, keys, values, a)
            : launch_wgmma<128, 128, 2, 2>(stream, keys, values, a);
    else
        few ? launch_wgmma<256, 64, 2, 1>(stream, keys, values, a)
            : launch_wgmma<256, 64, 2, 2>(stream, keys, values, a);
    return 0;
}

static size_t shared_bytes(uint32_t d)
{
    return d <= 64    ? tile_memory<64, 128, 3, 2>::BYTES
           : d <= 128 ? tile_memory<128, 128, 2, 2>::BYTES
                      : tile_memory<256, 64, 2, 2>::BYTES;
}

void LACI_CU_NAME(fill_attend_sm90)(laci_cu_api *api)
{
    api->has_wgmma = has_maps;
    api->attend_wgmma = attend;
    api->wgmma_shared = shared_bytes;
}
