/* cu_device.h: what kernels are written with: element types, warp and block helpers, and the few
 * instructions that have no C++ name (ldmatrix, mma, cp.async; PTX ISA 9.7.9 and 9.7.14). With
 * LACI_CU_EMULATED, which names the header of the tests' emulator, that supplies these and CUDA's
 * own names, and kernels run on the CPU, thread by thread. C++ for the .cu files only. */
#ifndef LACI_BACKEND_CU_DEVICE_H
#define LACI_BACKEND_CU_DEVICE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "backend/cuda/cuda_api.h"

#ifdef LACI_CU_EMULATED
#include LACI_CU_EMULATED
#else
#include <cuda_runtime.h>

/* Starts a kernel; `kernel` is a name or a variable, so that template lists need no comma here. */
#define LACI_LAUNCH(kernel, grid, block, shared, stream, ...) \
    kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#define LACI_DYNAMIC_SHARED(name) extern __shared__ __align__(128) char name[]

/* Lets a kernel use more than 48 KiB of dynamic shared memory. */
template <typename K> static void allow_shared(K kernel, size_t bytes)
{
    (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(bytes));
}

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

/* Copies 16 bytes to shared memory, or fills them with zeros if !there (src is then not read). */
static __device__ __forceinline__ void copy16_async(void *to, const void *from, bool there)
{
    const int n = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(n)
                 : "memory");
}

static __device__ __forceinline__ void copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most N of this thread's newest groups are under way. */
template <int N> static __device__ __forceinline__ void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 and
 * receives of matrix i, in r[i], elements (l / 4, 2 (l % 4)) and the next; transposed: (2 (l % 4),
 * l / 4) and the one below. */
static __device__ __forceinline__ void load_matrices(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

static __device__ __forceinline__ void load_matrices_t(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* c [16, 8] += a [16, 16] b [16, 8], bf16 into f32. With g = lane / 4, t = lane % 4: a[0] holds row
 * g, columns 2t, 2t + 1; a[1] row g + 8; a[2], a[3] the same 8 columns on; b0 rows 2t, 2t + 1 of
 * column g, b1 8 rows on; c[0], c[1] row g, columns 2t, 2t + 1; c[2], c[3] row g + 8. */
static __device__ __forceinline__ void multiply(float c[4], const uint32_t a[4], uint32_t b0,
                                                uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* 2^x to about 2 units in the last place; 2^-inf = 0. */
static __device__ __forceinline__ float fast_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Two floats as bf16, the first in the low half. */
static __device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
#endif

/* ------------------------------------------------------------------ element types */

struct bf16_t {
    uint16_t bits;
};

static __device__ __forceinline__ float bits_to_float(uint32_t bits)
{
    return __uint_as_float(bits);
}

static __device__ __forceinline__ float get(float x)
{
    return x;
}

static __device__ __forceinline__ float get(bf16_t x)
{
    return bits_to_float(static_cast<uint32_t>(x.bits) << 16);
}

static __device__ __forceinline__ void put(float *to, float x)
{
    *to = x;
}

/* Round to nearest, ties to even; NaN stays NaN: as laci_f32_to_bf16 does. */
static __device__ __forceinline__ void put(bf16_t *to, float x)
{
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        bits |= 0x400000u;
    else
        bits += 0x7fffu + ((bits >> 16) & 1u);
    to->bits = static_cast<uint16_t>(bits >> 16);
}

/* ------------------------------------------------------------------ warps and blocks */

enum { WARP = 32 };
#define ALL_LANES 0xffffffffu
#define LN2 0.693147180559945309f
#define LOG2E 1.44269504088896341f
#define NOTHING (-INFINITY)

template <typename T> static __device__ __forceinline__ T warp_sum(T x)
{
    for (int i = WARP / 2; i > 0; i /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, i);
    return x;
}

template <typename T> static __device__ __forceinline__ T warp_max(T x)
{
    for (int i = WARP / 2; i > 0; i /= 2) {
        const T other = __shfl_xor_sync(ALL_LANES, x, i);
        x = other > x ? other : x;
    }
    return x;
}

/* Sum over the block, the same order every time; `shared` has room for 32 values. All threads call
 * it and get the result. */
template <typename T> static __device__ T block_sum(T x, T *shared)
{
    const unsigned warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads(); /* the last result has been read */
    if (threadIdx.x % WARP == 0) shared[warp] = x;
    __syncthreads();
    T total = shared[0];
    for (unsigned i = 1; i < n_warps; i++)
        total += shared[i];
    return total;
}

template <typename T> static __device__ T block_max(T x, T *shared)
{
    const unsigned warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) shared[warp] = x;
    __syncthreads();
    T most = shared[0];
    for (unsigned i = 1; i < n_warps; i++)
        most = shared[i] > most ? shared[i] : most;
    return most;
}

/* How many threads before this one have `flag` set, and in *total how many of the block. */
static __device__ unsigned block_rank(bool flag, unsigned *shared, unsigned *total)
{
    const unsigned warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    const unsigned votes = __ballot_sync(ALL_LANES, flag);
    unsigned before = __popc(votes & ((1u << threadIdx.x % WARP) - 1u));
    __syncthreads();
    if (threadIdx.x % WARP == 0) shared[warp] = __popc(votes);
    __syncthreads();
    *total = 0;
    for (unsigned i = 0; i < n_warps; i++) {
        if (i < warp) before += shared[i];
        *total += shared[i];
    }
    return before;
}

/* Position of a lane of a plan row (laci_cu_job). */
static __device__ __forceinline__ uint32_t key_of(const uint32_t *cols, uint32_t lane,
                                                  uint32_t k_block, uint32_t k_shift)
{
    if (k_shift != LACI_CU_WHOLE)
        return (cols[lane >> k_shift] << k_shift) + (lane & (k_block - 1));
    return cols[lane / k_block] * k_block + lane % k_block;
}

static __device__ __forceinline__ bool is_valid(const uint64_t *words, uint32_t key)
{
    return !words || (words[key / 64] >> key % 64 & 1);
}

#endif
