/* cu_sm90.h: instructions of compute capability 9.0 that the attention kernel of cu_attend_sm90.cu
 * is written with: barriers in shared memory with a count of bytes (mbarrier), copies of boxes by
 * the bulk tensor engine (cp.async.bulk.tensor), products of four warps (wgmma), and the driver's
 * maps of tensors; PTX ISA 9.7.9, 9.7.13 and 9.7.15. With LACI_CU_EMULATED the tests' emulator
 * supplies the same names. C++ for the .cu files only. */
#ifndef LACI_BACKEND_CU_SM90_H
#define LACI_BACKEND_CU_SM90_H

#include "backend/cuda/cu_device.h"

/* A tensor [n_heads, ctx, stride] of bf16, of which n_keys rows of d channels count, cut into boxes
 * of 64 keys by 64 channels; what lies outside reads as zero. */
struct tensor_shape {
    uint32_t d, stride;
    uint64_t n_keys, ctx, n_heads;
};

enum { BOX_KEYS = 64, BOX_CHANNELS = 64, BOX_ROW_BYTES = 128, BOX_BYTES = 64 * 128 };

#ifndef LACI_CU_EMULATED
#include <cuda.h> /* types only; the function comes from the driver at run time */

typedef CUtensorMap tensor_map;
typedef CUresult encode_fn(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                           const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                           const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                           CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The driver's function that makes maps; NULL where it has none. */
static encode_fn *map_encoder()
{
    void *found = nullptr;
    cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
    const cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                              12000, cudaEnableDefault, &result);
#else
    const cudaError_t code =
        cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result);
#endif
    if (code != cudaSuccess || result != cudaDriverEntryPointSuccess) {
        (void)cudaGetLastError();
        return nullptr;
    }
    return reinterpret_cast<encode_fn *>(found);
}

static bool has_maps()
{
    return map_encoder() != nullptr;
}

/* 0, or an error of the runtime. */
static int make_map(tensor_map *out, const void *data, const tensor_shape &t)
{
    encode_fn *encode = map_encoder();
    const cuuint64_t sizes[3] = { t.d, t.n_keys, t.n_heads };
    const cuuint64_t strides[2] = { t.stride * 2ull, t.ctx * t.stride * 2ull }; /* bytes */
    const cuuint32_t box[3] = { BOX_CHANNELS, BOX_KEYS, 1 }, steps[3] = { 1, 1, 1 };
    if (!encode) return cudaErrorNotSupported;
    const CUresult code =
        encode(out, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void *>(data), sizes, strides,
               box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return code == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

/* The instructions exist for sm_90a alone; for other targets kernels that use them are empty. */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define LACI_CU_SM90 1

/* ------------------------------------------------------------------ barriers */

/* A barrier completes its phase when `count` arrivals have come and no bytes are expected. */
static __device__ __forceinline__ void barrier_init(uint64_t *barrier, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
}

/* Makes barriers that this thread initialised visible to the copy engine. */
static __device__ __forceinline__ void barrier_init_done()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

/* Arrives, and lets the phase wait for so many bytes of copies. */
static __device__ __forceinline__ void barrier_expect(uint64_t *barrier, uint32_t bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
        "r"(bytes)
        : "memory");
}

/* Waits until a phase of this parity is complete; the first phase has parity 0. */
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{ .reg .pred done; again: "
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; "
                 "@!done bra again; }" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}

/* Waits for the 128 threads of a warp group; `id` 1 to 15. */
static __device__ __forceinline__ void group_sync(uint32_t id)
{
    asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory");
}

/* Makes what this thread stored in shared memory visible to products and copies. */
static __device__ __forceinline__ void fence_for_products()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ------------------------------------------------------------------ copies */

/* Copies the box at (channel, key, head) to 8 KiB at `to`, a multiple of 1024 bytes; its bytes
 * count at the barrier. Row j of the box is 128 bytes in chunks of 16, placed by chunk_offset(..,
 * 8). */
static __device__ __forceinline__ void copy_box(void *to, const tensor_map *map, uint64_t *barrier,
                                                uint32_t channel, uint32_t key, uint32_t head)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
                 "l"(map), "r"(shared_address(barrier)), "r"(channel), "r"(key), "r"(head)
                 : "memory");
}

/* ------------------------------------------------------------------ products of four warps */

/* c [64, N] += a [64, 16] b [16, N], bf16 into f32, begun and not waited for. Warp i of the group
 * has rows 16 i to 16 i + 15 of c, laid out as `multiply` does for N / 8 neighbours; a in
 * registers likewise. "shared": a and b by rows of channels (b is [N, 16]); "held": a in
 * registers, b [16, N] by rows. b and a shared matrix are descriptors (cu_layout.h). */
template <int N> static __device__ void multiply_shared(float (*c)[4], uint64_t a, uint64_t b);
template <int N>
static __device__ void multiply_held(float (*c)[4], const uint32_t a[4], uint64_t b);

#define LACI_CU_FOUR(x) "+f"(x[0]), "+f"(x[1]), "+f"(x[2]), "+f"(x[3])

template <>
__device__ __forceinline__ void multiply_shared<64>(float (*c)[4], uint64_t a, uint64_t b)
{
    asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; "
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, "
                 "%8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31}, "
                 "%32, %33, p, 1, 1, 0, 0; }"
                 : LACI_CU_FOUR(c[0]), LACI_CU_FOUR(c[1]), LACI_CU_FOUR(c[2]), LACI_CU_FOUR(c[3]),
                   LACI_CU_FOUR(c[4]), LACI_CU_FOUR(c[5]), LACI_CU_FOUR(c[6]), LACI_CU_FOUR(c[7])
                 : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void multiply_shared<128>(float (*c)[4], uint64_t a, uint64_t b)
{
    asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; "
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, "
                 "%8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, "
                 "%40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, "
                 "%56, %57, %58, %59, %60, %61, %62, %63}, "
                 "%64, %65, p, 1, 1, 0, 0; }"
                 : LACI_CU_FOUR(c[0]), LACI_CU_FOUR(c[1]), LACI_CU_FOUR(c[2]), LACI_CU_FOUR(c[3]),
                   LACI_CU_FOUR(c[4]), LACI_CU_FOUR(c[5]), LACI_CU_FOUR(c[6]), LACI_CU_FOUR(c[7]),
                   LACI_CU_FOUR(c[8]), LACI_CU_FOUR(c[9]), LACI_CU_FOUR(c[10]), LACI_CU_FOUR(c[11]),
                   LACI_CU_FOUR(c[12]), LACI_CU_FOUR(c[13]), LACI_CU_FOUR(c[14]),
                   LACI_CU_FOUR(c[15])
                 : "l"(a), "l"(b));
}

template <>
__device__ __forceinline__ void multiply_held<64>(float (*c)[4], const uint32_t a[4], uint64_t b)
{
    asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; "
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, "
                 "%8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31}, "
                 "{%32, %33, %34, %35}, %36, p, 1, 1, 1; }"
                 : LACI_CU_FOUR(c[0]), LACI_CU_FOUR(c[1]), LACI_CU_FOUR(c[2]), LACI_CU_FOUR(c[3]),
                   LACI_CU_FOUR(c[4]), LACI_CU_FOUR(c[5]), LACI_CU_FOUR(c[6]), LACI_CU_FOUR(c[7])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

template <>
__device__ __forceinline__ void multiply_held<128>(float (*c)[4], const uint32_t a[4], uint64_t b)
{
    asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; "
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, "
                 "%8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, "
                 "%40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, "
                 "%56, %57, %58, %59, %60, %61, %62, %63}, "
                 "{%64, %65, %66, %67}, %68, p, 1, 1, 1; }"
                 : LACI_CU_FOUR(c[0]), LACI_CU_FOUR(c[1]), LACI_CU_FOUR(c[2]), LACI_CU_FOUR(c[3]),
                   LACI_CU_FOUR(c[4]), LACI_CU_FOUR(c[5]), LACI_CU_FOUR(c[6]), LACI_CU_FOUR(c[7]),
                   LACI_CU_FOUR(c[8]), LACI_CU_FOUR(c[9]), LACI_CU_FOUR(c[10]), LACI_CU_FOUR(c[11]),
                   LACI_CU_FOUR(c[12]), LACI_CU_FOUR(c[13]), LACI_CU_FOUR(c[14]),
                   LACI_CU_FOUR(c[15])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef LACI_CU_FOUR

/* Before the first of a row of products: registers written so far may be read. */
static __device__ __forceinline__ void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/* After the last of a row of products: they are one group. */
static __device__ __forceinline__ void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Waits until at most N groups, the newest ones, are under way. */
template <int N> static __device__ __forceinline__ void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* Keeps reads of c behind products_wait: the compiler sees no other tie between them. */
template <int N> static __device__ __forceinline__ void settle(float (*c)[4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
        asm volatile("" : "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])::"memory");
}

/* Keeps the left factor of products in registers up to here. */
template <int N> static __device__ __forceinline__ void hold(const uint32_t (*a)[4])
{
#pragma unroll
    for (int j = 0; j < N; j++)
        asm volatile("" ::"r"(a[j][0]), "r"(a[j][1]), "r"(a[j][2]), "r"(a[j][3]) : "memory");
}

/* Moves registers between warp groups: N, a multiple of 8, a thread. */
template <int N> static __device__ __forceinline__ void fewer_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> static __device__ __forceinline__ void more_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

#endif /* sm_90a */
#endif /* LACI_CU_EMULATED */
#endif
