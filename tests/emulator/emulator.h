/* emulator.h: CUDA's names on a CPU, so that the device's sources compile as plain C++ and run
 * where no GPU is: every thread of a block is a fiber, blocks run one after another. It is strict
 * where hardware is merely undefined: memory starts as NaN, asynchronous copies happen no sooner
 * than they are waited for, a warp whose lanes do not all reach the same collective stops the
 * program, warps take turns in changing order. Instructions follow PTX ISA 9.7.9 (ldmatrix,
 * cp.async) and 9.7.14 (mma) lane by lane; those of compute capability 9.0 are in sm90.h. Slow, and
 * no measure of speed. */
#ifndef LACI_TESTS_EMULATOR_H
#define LACI_TESTS_EMULATOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim; /* of the thread that runs */

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static /* one block runs at a time */
#define LACI_DYNAMIC_SHARED(name) char *name = emulator::dynamic_shared()
#define LACI_LAUNCH(kernel, grid, block, shared, stream, ...) \
    emulator::start(stream, grid, block, shared, kernel, __VA_ARGS__)

namespace emulator
{

enum { LANES = 32, SLOT_BYTES = 32 };

/* What a lane gives to a collective. */
struct slot {
    alignas(8) char bytes[SLOT_BYTES];
};

/* What a stream does in its turn; `kind` and `what` tell whether it can take another one's place in
 * a graph (runtime.cpp). */
struct operation {
    const char *kind;
    const void *what;
    std::function<void()> run;
};

void queue(void *stream, const operation &next);
void launch(void *stream, dim3 grid, dim3 block, size_t shared, const void *name,
            const std::function<void()> &kernel);
char *dynamic_shared();
void barrier();
/* Waits until all lanes of the warp are at a collective of this kind; their slots. */
const slot *exchange(const char *kind, const void *in, size_t n);
void copy_later(void *to, const void *from, bool there);
void commit_copies();
void wait_copies(int n_left);

/* Starts a kernel: its arguments are copied now, it runs in the stream's turn. */
template <typename K, typename... A>
static void start(void *stream, dim3 grid, dim3 block, size_t shared, K kernel, A... arguments)
{
    launch(stream, grid, block, shared, reinterpret_cast<const void *>(kernel),
           [=] { kernel(arguments...); });
}

static inline unsigned lane()
{
    return threadIdx.x % LANES;
}

template <typename T> static inline T from_lane(const slot *slots, unsigned lane)
{
    T x;
    memcpy(&x, slots[lane].bytes, sizeof x);
    return x;
}

static inline float half_of(uint32_t pair, unsigned high)
{
    const uint32_t bits = high ? pair & 0xffff0000u : pair << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff; /* the NaN that cvt makes */
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

} /* namespace emulator */

/* ------------------------------------------------------------------ CUDA's functions */

static inline void __syncthreads()
{
    emulator::barrier();
}

static inline void __syncwarp()
{
    (void)emulator::exchange("syncwarp", "", 0);
}

template <typename T> static inline T __shfl_xor_sync(unsigned, T x, int mask)
{
    return emulator::from_lane<T>(emulator::exchange("shfl", &x, sizeof x),
                                  emulator::lane() ^ (unsigned)mask);
}

static inline unsigned __ballot_sync(unsigned, bool flag)
{
    const uint32_t word = flag;
    const emulator::slot *slots = emulator::exchange("ballot", &word, sizeof word);
    unsigned votes = 0;
    for (unsigned i = 0; i < emulator::LANES; i++)
        votes |= emulator::from_lane<uint32_t>(slots, i) << i;
    return votes;
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

static inline uint32_t __float_as_uint(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float __uint_as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t atomicAdd(uint32_t *to, uint32_t x)
{
    const uint32_t old = *to;
    *to += x;
    return old;
}

/* ------------------------------------------------------------------ cu_device.h's instructions */

void emulator_allow_shared(size_t bytes);
template <typename K> static void allow_shared(K, size_t bytes)
{
    emulator_allow_shared(bytes);
}

static inline void copy16_async(void *to, const void *from, bool there)
{
    emulator::copy_later(to, from, there);
}

static inline void copy_commit()
{
    emulator::commit_copies();
}

template <int N> static inline void copy_wait()
{
    emulator::wait_copies(N);
}

static inline void load_rows(uint32_t r[4], const void *row, bool transposed)
{
    const emulator::slot *slots =
        emulator::exchange(transposed ? "ldmatrix.trans" : "ldmatrix", &row, sizeof row);
    const unsigned g = emulator::lane() / 4, t = emulator::lane() % 4;
    for (unsigned i = 0; i < 4; i++) {
        uint16_t pair[2];
        for (unsigned e = 0; e < 2; e++) {
            const unsigned at_row = transposed ? 2 * t + e : g, at = transposed ? g : 2 * t + e;
            const char *from = emulator::from_lane<const char *>(slots, i * 8 + at_row);
            memcpy(&pair[e], from + at * 2, 2);
        }
        r[i] = (uint32_t)pair[0] | (uint32_t)pair[1] << 16;
    }
}

static inline void load_matrices(uint32_t r[4], const void *row)
{
    load_rows(r, row, false);
}

static inline void load_matrices_t(uint32_t r[4], const void *row)
{
    load_rows(r, row, true);
}

static inline void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    const uint32_t in[6] = { a[0], a[1], a[2], a[3], b0, b1 };
    const emulator::slot *slots = emulator::exchange("mma", in, sizeof in);
    const unsigned g = emulator::lane() / 4, t = emulator::lane() % 4;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned upper = i / 2, col = 2 * t + i % 2;
        float sum = 0;
        for (unsigned k = 0; k < 16; k++) {
            uint32_t left[6], right[6];
            memcpy(left, slots[g * 4 + k % 8 / 2].bytes, sizeof left);
            memcpy(right, slots[col * 4 + k % 8 / 2].bytes, sizeof right);
            sum += emulator::half_of(left[upper + 2 * (k / 8)], k % 2) *
                   emulator::half_of(right[4 + k / 8], k % 2);
        }
        c[i] += sum;
    }
}

static inline float fast_exp2(float x)
{
    return exp2f(x);
}

static inline uint32_t pack_bf16(float low, float high)
{
    return emulator::rounded(low) | emulator::rounded(high) << 16;
}

#include "emulator/sm90.h"

#endif
