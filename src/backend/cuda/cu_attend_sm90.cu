/* cu_attend_sm90.cu: attention by plan with the instructions of compute capability 9.0: keys and
 * values travel by the bulk tensor engine, wgmma multiplies, and warp groups have roles
 * (FlashAttention-3's arrangement, arXiv 2407.08608): the last group copies, each other one owns 64
 * rows. While one group exponentiates another one multiplies, and within a group the values of a
 * tile are added while the scores of the next one are made and exponentiated. It takes plans whose
 * lanes come in runs of 64 neighbouring keys; rows, softmax, statistics and results are those of
 * attend_mma (cu_tile.h). */
#include "backend/cuda/cu_sm90.h"
#include "backend/cuda/cu_tile.h"

enum { GROUP = 128 }; /* threads of a warp group */
enum { KEYS_HERE, KEYS_FREE, VALUES_HERE, VALUES_FREE, N_BARRIERS };

/* Shared memory of a block for heads of up to HD channels: queries [HD / 64][GROUPS * 64], STAGES
 * of keys [HD / 64][KEYS], as many of values, all in rows of 64 channels, swizzled; then barriers,
 * and the positions where each stage's runs of 64 keys begin. */
template <int HD, int KEYS, int STAGES, int GROUPS> struct tile_memory {
    static constexpr int SLABS = HD / BOX_CHANNELS, RUNS = KEYS / BOX_KEYS;
    static constexpr int Q_SLAB = GROUPS * 64 * BOX_ROW_BYTES, K_SLAB = KEYS * BOX_ROW_BYTES;
    static constexpr int Q_BYTES = SLABS * Q_SLAB, TILE_BYTES = SLABS * K_SLAB;
    static constexpr int BARRIERS = Q_BYTES + 2 * STAGES * TILE_BYTES;
    static constexpr int BYTES = 1024 + BARRIERS + STAGES * (N_BARRIERS * 8 + RUNS * 4);
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
    /* A stage's keys have arrived, and are read no more; its values likewise. */
    __device__ uint64_t *barrier(int kind, int stage) const
    {
        return reinterpret_cast<uint64_t *>(base + BARRIERS) + kind * STAGES + stage;
    }
    __device__ uint32_t *runs(int stage) const
    {
        return reinterpret_cast<uint32_t *>(base + BARRIERS + N_BARRIERS * STAGES * 8) +
               stage * RUNS;
    }
};

#ifdef LACI_CU_SM90

/* ------------------------------------------------------------------ the group that copies */

/* Boxes of a tile, slab by slab. */
template <typename M>
static __device__ __forceinline__ void
copy_boxes(char *to, const tensor_map *map, uint64_t *barrier, const uint32_t *runs, uint32_t head)
{
    barrier_expect(barrier, M::TILE_BYTES);
    for (int i = 0; i < M::SLABS * M::RUNS; i++)
        copy_box(to + i * BOX_BYTES, map, barrier,
                 static_cast<uint32_t>(i / M::RUNS) * BOX_CHANNELS, runs[i % M::RUNS], head);
}

/* Where a tile's runs of keys begin. A run past the last lane repeats the tile's first one: its
 * scores are masked, its values are numbers. */
template <typename M>
static __device__ __forceinline__ void find_runs(const laci_cu_attend &a, const laci_cu_job &job,
                                                 uint32_t tile, uint32_t *runs)
{
    const uint32_t lane = job.first + tile * M::RUNS * BOX_KEYS;
    for (uint32_t run = 0; run < M::RUNS; run++) {
        const uint32_t key = key_at(a, job, lane + run * BOX_KEYS);
        runs[run] = key == LACI_CU_NO_KEY ? runs[0] : key;
    }
}

/* One thread fills stage after stage: the keys of a tile before the values of the one before it, as
 * they are read. */
template <typename M, int STAGES>
static __device__ void copy_tiles(const laci_cu_attend &a, const laci_cu_job &job, M m,
                                  const tensor_map *keys, const tensor_map *values,
                                  uint32_t n_tiles)
{
    const uint32_t head = job.batch * a.n_kv_heads + job.head / (a.n_heads / a.n_kv_heads);
    uint32_t runs[2][M::RUNS] = {}; /* of this tile and of the one before it */
    for (uint32_t tile = 0; tile <= n_tiles && n_tiles; tile++) {
        if (tile < n_tiles) {
            const int stage = static_cast<int>(tile % STAGES);
            find_runs<M>(a, job, tile, runs[0]);
            if (tile >= STAGES) barrier_wait(m.barrier(KEYS_FREE, stage), (tile / STAGES - 1) & 1);
            for (int run = 0; run < M::RUNS; run++)
                m.runs(stage)[run] = runs[0][run];
            copy_boxes<M>(m.k(stage), keys, m.barrier(KEYS_HERE, stage), runs[0], head);
        }
        if (tile > 0) {
            const int stage = static_cast<int>((tile - 1) % STAGES);
            if (tile > STAGES)
                barrier_wait(m.barrier(VALUES_FREE, stage), ((tile - 1) / STAGES - 1) & 1);
            copy_boxes<M>(m.v(stage), values, m.barrier(VALUES_HERE, stage), runs[1], head);
        }
        for (int run = 0; run < M::RUNS; run++)
            runs[1][run] = runs[0][run];
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

/* Begins s = scores of a stage's keys: 16 channels a step. */
template <typename M, int N>
static __device__ __forceinline__ void begin_scores(float (&s)[N][4], M m, int stage)
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
    products_commit();
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

/* Probabilities as the left factor of products with values: 16 keys each. */
template <int N>
static __device__ __forceinline__ void pack_tile(uint32_t (&p)[N / 2][4], const float (&s)[N][4])
{
#pragma unroll
    for (int step = 0; step < N / 2; step++) {
        const float *low = s[2 * step], *high = s[2 * step + 1];
        p[step][0] = pack_bf16(low[0], low[1]), p[step][1] = pack_bf16(low[2], low[3]);
        p[step][2] = pack_bf16(high[0], high[1]), p[step][3] = pack_bf16(high[2], high[3]);
    }
}

/* Begins out += p times a stage's values: 16 keys a step, 128 channels a product where there are so
 * many. */
template <typename M, int HD, int STEPS>
static __device__ __forceinline__ void begin_values(row_sums<HD> &w, const uint32_t (&p)[STEPS][4],
                                                    M m, int stage)
{
    constexpr int WIDE = HD < 128 ? HD : 128;
    const uint32_t v = shared_address(m.v(stage));
    products_begin();
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
#pragma unroll
        for (int c = 0; c < HD; c += WIDE)
            multiply_held<WIDE>(w.out + c / 8, p[step],
                                matrix_descriptor(v + c / BOX_CHANNELS * M::K_SLAB +
                                                      static_cast<uint32_t>(step) * 2048,
                                                  M::K_SLAB, 1024));
    }
    products_commit();
}

/* This warp reads a stage's keys or values no more. */
static __device__ __forceinline__ void release(uint64_t *barrier)
{
    __syncwarp();
    if (threadIdx.x % WARP == 0) barrier_arrive(barrier);
}

/* Scores of a tile to probabilities; sums of values shrink later. */
template <typename M, int HD, int N>
static __device__ __forceinline__ void
finish_scores(float (&s)[N][4], const laci_cu_attend &a, const laci_cu_job &job, M m, int stage,
              uint32_t lane, row_sums<HD> &w, float shrink[2])
{
    settle<N>(s);
    mask_keys(s, a, job, m.runs(stage), w.limit, lane);
    release(m.barrier(KEYS_FREE, stage));
    exponentials(s, w, shrink);
    for (uint32_t run = 0; a.stats && run < M::RUNS; run++)
        if (lane + run * BOX_KEYS < job.end)
            put_stats(a, job, s + 8 * run, w.top, lane + run * BOX_KEYS);
}

template <typename M, int HD, int STAGES>
static __device__ __forceinline__ void attend_tiles(const laci_cu_attend &a, const laci_cu_job &job,
                                                    M m, uint32_t n_tiles)
{
    constexpr uint32_t KEYS = M::RUNS * BOX_KEYS;
    row_sums<HD> w;
    float s[KEYS / 8][4], shrink[2];
    uint32_t p[KEYS / 16][4];
    begin_rows(a, job, w);
    store_queries(a, job, m);
    fence_for_products();
    group_sync(1 + threadIdx.x / GROUP);
    if (n_tiles) {
        barrier_wait(m.barrier(KEYS_HERE, 0), 0);
        begin_scores(s, m, 0);
        products_wait<0>();
        finish_scores(s, a, job, m, 0, job.first, w, shrink);
        pack_tile(p, s);
        uint32_t tile = 0;
        for (; tile + 1 < n_tiles; tile++) { /* no branch here while products are under way */
            const uint32_t next = tile + 1;
            const int stage = static_cast<int>(tile % STAGES);
            const int after = static_cast<int>(next % STAGES);
            barrier_wait(m.barrier(KEYS_HERE, after), next / STAGES & 1);
            begin_scores(s, m, after);
            barrier_wait(m.barrier(VALUES_HERE, stage), tile / STAGES & 1);
            begin_values(w, p, m, stage);
            products_wait<1>();
            finish_scores(s, a, job, m, after, job.first + next * KEYS, w, shrink);
            products_wait<0>();
            settle<HD / 8>(w.out);
            hold<KEYS / 16>(p);
            release(m.barrier(VALUES_FREE, stage));
            shrink_rows(w, shrink);
            pack_tile(p, s);
        }
        const int stage = static_cast<int>(tile % STAGES);
        barrier_wait(m.barrier(VALUES_HERE, stage), tile / STAGES & 1);
        begin_values(w, p, m, stage);
        products_wait<0>();
        settle<HD / 8>(w.out);
        hold<KEYS / 16>(p);
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
    if (!job.n) return;
    const uint32_t n_lanes = job.end > job.first ? job.end - job.first : 0;
    const uint32_t n_tiles = (n_lanes + KEYS - 1) / KEYS;
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(m.barrier(KEYS_HERE, stage), 1);
            barrier_init(m.barrier(VALUES_HERE, stage), 1);
            barrier_init(m.barrier(KEYS_FREE, stage), GROUPS * GROUP / WARP);
            barrier_init(m.barrier(VALUES_FREE, stage), GROUPS * GROUP / WARP);
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
