/* cu_tile.h: what the tensor-core kernels of attention share: the rows of a job, a thread's part of
 * scores and sums, softmax, statistics, and the results. A job (cuda_api.h) is one tile of rows and
 * one run of lanes. C++ for the .cu files only; warp i of a block owns tile rows [16 i, 16 i + 16).
 */
#ifndef LACI_BACKEND_CU_TILE_H
#define LACI_BACKEND_CU_TILE_H

#include "backend/cuda/cu_device.h"
#include "backend/cuda/cu_layout.h"

/* ------------------------------------------------------------------ rows of a job */

/* Row of q, out and lse that is a tile row's query. */
static __device__ __forceinline__ uint32_t query_of(const laci_cu_attend &a, const laci_cu_job &job,
                                                    uint32_t row)
{
    const uint32_t query = job.begin + row % job.n;
    return a.rows ? a.rows[query] : query;
}

/* Index of tile row `row` among [n_batch, n_q, n_heads], whose rows are d apart. */
static __device__ __forceinline__ size_t row_at(const laci_cu_attend &a, const laci_cu_job &job,
                                                uint32_t row)
{
    const size_t query = (size_t)job.batch * a.n_q + query_of(a, job, row);
    return query * a.n_heads + job.head + row / job.n;
}

static __device__ __forceinline__ size_t lse_at(const laci_cu_attend &a, const laci_cu_job &job,
                                                uint32_t row)
{
    const size_t head = (size_t)job.batch * a.n_heads + job.head + row / job.n;
    return head * a.n_q + query_of(a, job, row);
}

static __device__ __forceinline__ uint32_t limit_of(const laci_cu_attend &a, const laci_cu_job &job,
                                                    uint32_t row)
{
    if (!a.limits || row >= job.n * job.n_heads) return LACI_CU_NO_KEY;
    return a.limits[(size_t)job.batch * a.n_q + job.begin + row % job.n];
}

/* The key of a lane, LACI_CU_NO_KEY past the end. */
static __device__ __forceinline__ uint32_t key_at(const laci_cu_attend &a, const laci_cu_job &job,
                                                  uint32_t lane)
{
    if (lane >= job.end) return LACI_CU_NO_KEY;
    return key_of(a.cols + job.cols, lane, a.k_block, a.k_shift) - a.first_key;
}

/* The same, LACI_CU_NO_KEY also for keys that do not count. */
static __device__ __forceinline__ uint32_t valid_key_at(const laci_cu_attend &a,
                                                        const laci_cu_job &job, uint32_t lane)
{
    const uint32_t key = key_at(a, job, lane);
    if (key == LACI_CU_NO_KEY || !a.valid) return key;
    return is_valid(a.valid + (size_t)job.batch * a.words, key) ? key : LACI_CU_NO_KEY;
}

/* First key of the head that `job` reads, among rows of keys. */
static __device__ __forceinline__ size_t first_key(const laci_cu_attend &a, const laci_cu_job &job)
{
    const uint32_t kv_head = job.head / (a.n_heads / a.n_kv_heads);
    return ((size_t)job.batch * a.n_kv_heads + kv_head) * a.ctx;
}

/* Log-sum-exp of a finished row, or of its part: `top` in powers of two. */
static __device__ __forceinline__ void put_lse(const laci_cu_attend &a, const laci_cu_job &job,
                                               uint32_t row, float top, float sum)
{
    const float lse2 = sum == 0 ? NOTHING : top + log2f(sum);
    if (job.slot >= 0)
        a.partial_lse[(size_t)job.slot * LACI_CU_ROWS + row] = lse2;
    else if (a.lse)
        a.lse[lse_at(a, job, row)] = lse2 * LN2;
}

/* Two neighbouring channels of an output row. */
static __device__ __forceinline__ void put_pair(const laci_cu_attend &a, const laci_cu_job &job,
                                                uint32_t row, uint32_t channel, float x, float y)
{
    if (job.slot >= 0) {
        float *to = a.partial + ((size_t)job.slot * LACI_CU_ROWS + row) * a.d + channel;
        to[0] = x, to[1] = y;
        return;
    }
    const size_t at = row_at(a, job, row) * a.d + channel;
    if (a.out_f32 || !a.bf16) {
        float *to = static_cast<float *>(a.out) + at;
        to[0] = x, to[1] = y;
    } else {
        bf16_t *to = static_cast<bf16_t *>(a.out) + at;
        put(to, x), put(to + 1, y);
    }
}

/* ------------------------------------------------------------------ sums of rows */

/* What a thread of a warp that owns 16 rows holds of rows g = lane / 4 and g + 8: channels 8 c +
 * 2t, 8 c + 2t + 1 of both, t = lane % 4. Scores of a tile lie the same way: s[j] are those of keys
 * 8 j
 * + 2t, + 1. mma and wgmma agree on this, and on it being the left factor of the next product. */
template <int HD> struct row_sums {
    float out[HD / 8][4];
    float top[2], sum[2]; /* sum: of this thread's lanes only */
    uint32_t limit[2];
};

template <int HD>
static __device__ __forceinline__ void begin_rows(const laci_cu_attend &a, const laci_cu_job &job,
                                                  row_sums<HD> &w)
{
#pragma unroll
    for (int c = 0; c < HD / 8; c++)
        w.out[c][0] = w.out[c][1] = w.out[c][2] = w.out[c][3] = 0;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        w.top[half] = NOTHING, w.sum[half] = 0;
        w.limit[half] =
            limit_of(a, job, threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4 + 8 * half);
    }
}

/* Logarithms of the sums of p (or p^2) over every `step` keys of one row of this tile, to `to`. */
static __device__ __forceinline__ void put_steps(const float (*s)[4], int half, float top,
                                                 uint32_t step, bool squared, float *to)
{
    float part[4];
#pragma unroll
    for (int j = 0; j < 4; j++) { /* 16 keys each */
        part[j] = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float p = s[2 * j + i / 2][2 * half + i % 2];
            part[j] += squared ? p * p : p;
        }
        part[j] += __shfl_xor_sync(ALL_LANES, part[j], 1);
        part[j] += __shfl_xor_sync(ALL_LANES, part[j], 2);
    }
    if (threadIdx.x % 4 || !to) return;
    const float base = squared ? 2 * top : top;
    if (step == 16) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            to[j] = log2f(part[j]) + base;
    } else if (step == 32) {
        to[0] = log2f(part[0] + part[1]) + base;
        to[1] = log2f(part[2] + part[3]) + base;
    } else {
        to[0] = log2f(part[0] + part[1] + (part[2] + part[3])) + base;
    }
}

static __device__ void put_stats(const laci_cu_attend &a, const laci_cu_job &job,
                                 const float (*s)[4], const float top[2], uint32_t lane)
{
    for (int half = 0; half < 2; half++) {
        const uint32_t row = threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4 + 8 * half;
        const bool there = row < job.n * job.n_heads;
        const size_t at = ((size_t)job.stats_row + row) * a.n_steps + lane / a.step;
        put_steps(s, half, top[half], a.step, a.squared, there ? a.stats + at : NULL);
    }
}

/* Probabilities in place of scores, measured from a new maximum, to which sums of values must then
 * shrink (shrink_rows). While no score is above -infinity they are measured from 0: the row stays
 * empty. */
template <int HD, int N>
static __device__ __forceinline__ void exponentials(float (&s)[N][4], row_sums<HD> &w,
                                                    float shrink[2])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = w.top[half];
#pragma unroll
        for (int j = 0; j < N; j++)
            top = fmaxf(top, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
        top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
        const float base = top == NOTHING ? 0 : top;
        shrink[half] = fast_exp2(w.top[half] - base);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < N; j++) {
            s[j][2 * half] = fast_exp2(s[j][2 * half] - base);
            s[j][2 * half + 1] = fast_exp2(s[j][2 * half + 1] - base);
            sum += s[j][2 * half] + s[j][2 * half + 1];
        }
        w.sum[half] = w.sum[half] * shrink[half] + sum;
        w.top[half] = top;
    }
}

template <int HD>
static __device__ __forceinline__ void shrink_rows(row_sums<HD> &w, const float shrink[2])
{
#pragma unroll
    for (int c = 0; c < HD / 8; c++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            w.out[c][i] *= shrink[i / 2];
}

template <int HD>
static __device__ void finish_rows(const laci_cu_attend &a, const laci_cu_job &job,
                                   const row_sums<HD> &w)
{
    const uint32_t g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint32_t row = threadIdx.x / WARP * 16 + g + 8 * half;
        float sum = w.sum[half];
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        if (row >= job.n * job.n_heads) continue;
        const float share = sum == 0 ? 0 : 1 / sum;
#pragma unroll
        for (int c = 0; c < HD / 8; c++)
            if (c * 8u < a.d)
                put_pair(a, job, row, c * 8 + 2 * t, w.out[c][2 * half] * share,
                         w.out[c][2 * half + 1] * share);
        if (t == 0) put_lse(a, job, row, w.top[half], sum);
    }
}

#endif
