/* sm90.h: the instructions of cu_sm90.h on the emulator, after PTX ISA 9.7.9.27 (bulk tensor
 * copies), 9.7.13 (mbarrier) and 9.7.15 (wgmma), written from the descriptors' bits, not from what
 * the kernel means by them. Strict where hardware is merely undefined: the target of a copy under
 * way is NaN, some copies arrive at once and others as late as their barrier lets them; the result
 * of a product under way is NaN and is computed when it is waited for, from what shared memory
 * holds then; products without the fence before them, on operands off their alignment, or waits
 * that nothing ends stop the program. Part of emulator.h. */
#ifndef LACI_TESTS_EMULATOR_SM90_H
#define LACI_TESTS_EMULATOR_SM90_H

#define LACI_CU_SM90 1
#define __grid_constant__

struct tensor_map {
    const char *data;
    uint32_t d;
    uint64_t row_bytes, n_keys, head_bytes, n_heads;
};

namespace emulator
{
/* Addresses in shared memory; they do not begin at zero, as on a device. */
uint32_t shared_offset(const void *p);
char *shared_pointer(uint32_t offset);
void barrier_init(uint64_t *barrier, uint32_t count);
void barrier_arrive(uint64_t *barrier, uint32_t bytes);
void barrier_wait(uint64_t *barrier, uint32_t parity);
void named_barrier(uint32_t id, size_t n);
void copy_box(void *to, const tensor_map &map, uint64_t *barrier, uint32_t channel, uint32_t key,
              uint32_t head);
void products_begin();
/* A product this lane has a part in: n / 8 fragments of c. held: the left factor's registers, NULL:
 * a is a descriptor. */
void product(float (*c)[4], unsigned n, const uint32_t *held, uint64_t a, uint64_t b);
void products_commit();
void products_wait(int n_left);
} /* namespace emulator */

static inline uint32_t shared_address(const void *p)
{
    return emulator::shared_offset(p);
}

static inline bool has_maps()
{
    return true;
}

template <typename T> static inline int make_map(tensor_map *out, const void *data, const T &t)
{
    *out = { static_cast<const char *>(data), t.d,      t.stride * 2ull, t.n_keys,
             t.ctx * t.stride * 2ull,         t.n_heads };
    /* what the driver refuses */
    return (uintptr_t)data % 16 || t.stride % 8 || !t.d || !t.n_keys || !t.n_heads;
}

static inline void barrier_init(uint64_t *barrier, uint32_t count)
{
    emulator::barrier_init(barrier, count);
}

static inline void barrier_init_done()
{
}

static inline void barrier_arrive(uint64_t *barrier)
{
    emulator::barrier_arrive(barrier, 0);
}

static inline void barrier_expect(uint64_t *barrier, uint32_t bytes)
{
    emulator::barrier_arrive(barrier, bytes);
}

static inline void barrier_wait(uint64_t *barrier, uint32_t parity)
{
    emulator::barrier_wait(barrier, parity);
}

static inline void group_sync(uint32_t id)
{
    emulator::named_barrier(id, 128);
}

static inline void fence_for_products()
{
}

static inline void copy_box(void *to, const tensor_map *map, uint64_t *barrier, uint32_t channel,
                            uint32_t key, uint32_t head)
{
    emulator::copy_box(to, *map, barrier, channel, key, head);
}

template <int N> static inline void multiply_shared(float (*c)[4], uint64_t a, uint64_t b)
{
    emulator::product(c, N, NULL, a, b);
}

template <int N> static inline void multiply_held(float (*c)[4], const uint32_t a[4], uint64_t b)
{
    emulator::product(c, N, a, 0, b);
}

static inline void products_begin()
{
    emulator::products_begin();
}

static inline void products_commit()
{
    emulator::products_commit();
}

template <int N> static inline void products_wait()
{
    emulator::products_wait(N);
}

template <int N> static inline void settle(float (*)[4])
{
}

template <int N> static inline void hold(const uint32_t (*)[4])
{
}

template <int N> static inline void fewer_registers()
{
    (void)emulator::exchange("setmaxnreg", "", 0);
}

template <int N> static inline void more_registers()
{
    (void)emulator::exchange("setmaxnreg", "", 0);
}

#endif
