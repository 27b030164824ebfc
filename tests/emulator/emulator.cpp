/* emulator.cpp: see emulator.h. Fibers switch by _setjmp and _longjmp, or under the address
 * sanitizer by swapcontext with its annotations. */
#include "emulator/emulator.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <memory>
#include <vector>

#include "emulator/device.h"
#include "sanitized.h"

#if UNDER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator
{

enum { STACK_BYTES = 256 << 10, MOST_THREADS = 1024 };
enum state { READY, AT_BARRIER, AT_NAMED, AT_COUNTED, AT_COLLECTIVE, DONE };

struct copy_job {
    void *to;
    const void *from;
    bool there;
    int group;
};

/* A product of which this lane computes its fragments when it is waited for. */
struct product_job {
    float (*c)[4];
    unsigned n;
    bool is_held;
    float left[2][16]; /* rows g and g + 8 of the left factor, if held */
    uint64_t a, b;
    int group;
};

/* What a fragment array held before the products that are under way. */
struct saved_sums {
    float (*c)[4];
    std::vector<float> x;
};

struct fiber {
    std::unique_ptr<char[]> stack;
    jmp_buf jump;
    ucontext_t context;
    void *fake_stack;
    bool started;
    state at;
    const char *kind; /* of the collective it waits at */
    unsigned turn;    /* collectives it has reached */
    std::vector<copy_job> copies;
    int group; /* of copies not committed yet */
    uint32_t named;    /* the barrier of some threads it waits at */
    uint64_t *counted; /* or the counted one, */
    uint32_t parity;   /* for this phase */
    bool fenced;
    int product_group;
    unsigned n_products; /* all told: the warps of a group take part in the same ones */
    std::vector<product_job> products;
    std::vector<saved_sums> saved;
};

struct box_copy {
    char *to;
    tensor_map map;
    uint32_t channel, key, head;
};

/* A counted barrier (mbarrier); it lies in shared memory by its address alone. */
struct counted_barrier {
    uint64_t *at;
    uint32_t count, pending, phase;
    int64_t bytes; /* still expected */
    std::vector<box_copy> copies; /* under way */
};

struct warp_slots {
    slot of_turn[2][LANES]; /* a lane may be one collective ahead of the others */
};

static std::vector<fiber> fibers;
static std::vector<warp_slots> warps;
static const std::function<void()> *body;
static std::vector<char> shared_memory;
static std::vector<counted_barrier> counted;
#if !UNDER_ASAN
static jmp_buf scheduler_jump;
#endif
static size_t current;
static size_t allowed_shared = 48 << 10;

[[noreturn]] static void stop(const char *what)
{
    fprintf(stderr, "emulator: %s; block (%u, %u, %u), thread %u\n", what, blockIdx.x, blockIdx.y,
            blockIdx.z, threadIdx.x);
    abort();
}

/* ------------------------------------------------------------------ fibers */

static void to_scheduler();

#if UNDER_ASAN
static ucontext_t scheduler_context;
static const void *scheduler_stack;
static size_t scheduler_size;
#endif

static void run_body()
{
#if UNDER_ASAN
    __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_size);
#endif
    (*body)();
    fibers[current].at = DONE;
    to_scheduler();
    stop("a finished thread runs again");
}

static void prepare(fiber &f)
{
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = STACK_BYTES;
    f.context.uc_link = NULL;
    makecontext(&f.context, run_body, 0);
}

#if UNDER_ASAN
static void to_fiber(fiber &f)
{
    void *own = NULL;
    if (!f.started) prepare(f);
    f.started = true;
    __sanitizer_start_switch_fiber(&own, f.stack.get(), STACK_BYTES);
    swapcontext(&scheduler_context, &f.context);
    __sanitizer_finish_switch_fiber(own, NULL, NULL);
}

static void to_scheduler()
{
    fiber &f = fibers[current];
    __sanitizer_start_switch_fiber(f.at == DONE ? NULL : &f.fake_stack, scheduler_stack,
                                   scheduler_size);
    swapcontext(&f.context, &scheduler_context);
    __sanitizer_finish_switch_fiber(f.fake_stack, NULL, NULL);
}
#else
static void to_fiber(fiber &f)
{
    if (_setjmp(scheduler_jump)) return;
    if (f.started) _longjmp(f.jump, 1);
    f.started = true;
    prepare(f);
    setcontext(&f.context);
}

static void to_scheduler()
{
    if (!_setjmp(fibers[current].jump)) _longjmp(scheduler_jump, 1);
}
#endif

static void yield(state at)
{
    const dim3 thread = threadIdx;
    const size_t self = current;
    fibers[self].at = at;
    to_scheduler();
    threadIdx = thread;
    current = self;
}

void barrier()
{
    yield(AT_BARRIER);
}

const slot *exchange(const char *kind, const void *in, size_t n)
{
    fiber &f = fibers[current];
    warp_slots &w = warps[current / LANES];
    const unsigned turn = f.turn++ % 2;
    memcpy(w.of_turn[turn][current % LANES].bytes, in, n);
    f.kind = kind;
    yield(AT_COLLECTIVE);
    return w.of_turn[turn];
}

/* ------------------------------------------------------------------ asynchronous copies */

void copy_later(void *to, const void *from, bool there)
{
    if ((uintptr_t)to % 16 || (there && (uintptr_t)from % 16)) stop("cp.async off its alignment");
    fiber &f = fibers[current];
    f.copies.push_back({ to, from, there, f.group });
}

void commit_copies()
{
    fibers[current].group++;
}

void wait_copies(int n_left)
{
    fiber &f = fibers[current];
    size_t n = 0;
    for (const copy_job &c : f.copies) {
        if (c.group >= f.group - n_left) break;
        if (c.there)
            memcpy(c.to, c.from, 16);
        else
            memset(c.to, 0, 16);
        n++;
    }
    f.copies.erase(f.copies.begin(), f.copies.begin() + (ptrdiff_t)n);
}

#include "emulator/sm90_parts.h"

/* ------------------------------------------------------------------ blocks */

static void run_thread(size_t thread)
{
    current = thread;
    threadIdx = dim3((unsigned)thread, 0, 0);
    to_fiber(fibers[thread]);
}

/* Lets the lanes of a warp go on that all wait at the same collective. */
static bool release_warp(size_t first)
{
    size_t n_waiting = 0, n_done = 0;
    const char *kind = NULL;
    for (size_t i = first; i < first + LANES; i++) {
        n_done += fibers[i].at == DONE;
        if (fibers[i].at != AT_COLLECTIVE) continue;
        n_waiting++;
        if (kind && strcmp(kind, fibers[i].kind) != 0) stop("lanes at different collectives");
        kind = fibers[i].kind;
    }
    if (!n_waiting || n_waiting + n_done < LANES) return false;
    if (n_done) stop("a collective that lanes have left");
    for (size_t i = first; i < first + LANES; i++)
        fibers[i].at = READY;
    return true;
}

static bool release_barrier(size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fibers[i].at != AT_BARRIER && fibers[i].at != DONE) return false;
    for (size_t i = 0; i < n; i++)
        if (fibers[i].at == AT_BARRIER) fibers[i].at = READY;
    return true;
}

/* Runs a block to its end. Warps go in turn, forwards and backwards, each until it stands still. */
static void run_block(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fiber &f = fibers[i];
        f.started = false, f.at = READY, f.turn = 0, f.group = 0;
        f.copies.clear();
        f.fenced = false, f.n_products = 0, f.product_group = 0;
        f.products.clear(), f.saved.clear();
    }
    counted.clear();
    for (unsigned round = 0;; round++) {
        size_t n_done = 0;
        for (size_t w = 0; w < n / LANES; w++) {
            const size_t first = (round % 2 ? n / LANES - 1 - w : w) * LANES;
            do {
                for (size_t i = 0; i < LANES; i++) {
                    const size_t thread = first + (round % 3 == 1 ? LANES - 1 - i : i);
                    if (fibers[thread].at == READY) run_thread(thread);
                }
            } while (release_warp(first));
        }
        for (size_t i = 0; i < n; i++)
            n_done += fibers[i].at == DONE;
        if (n_done == n) {
            check_products(n);
            return;
        }
        const bool some = release_named(n), others = release_counted(n);
        if (!release_barrier(n) && !some && !others) stop("threads wait for each other");
    }
}

static void run_grid(dim3 grid, dim3 block, size_t shared, const std::function<void()> &kernel)
{
    const size_t n = block.x;
    while (fibers.size() < n) {
        fibers.emplace_back();
        fibers.back().stack.reset(new char[STACK_BYTES]);
    }
    warps.resize(MOST_THREADS / LANES);
    body = &kernel;
    blockDim = block, gridDim = grid;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = dim3(x, y, z);
                std::vector<char>(shared + 128, (char)0xff).swap(shared_memory); /* NaN */
                run_block(n);
            }
}

void launch(void *stream, dim3 grid, dim3 block, size_t shared, const void *name,
            const std::function<void()> &kernel)
{
    const size_t n = block.x;
    if (n % LANES || n > MOST_THREADS || block.y * block.z != 1) stop("a block of an odd size");
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535) stop("an odd grid");
    if (shared > allowed_shared) stop("more shared memory than was allowed");
    allowed_shared = 48 << 10; /* the next kernel asks for itself */
    queue(stream, { "kernel", name, [=] { run_grid(grid, block, shared, kernel); } });
}

char *dynamic_shared()
{
    const uintptr_t at = (uintptr_t)shared_memory.data();
    return shared_memory.data() + (128 - at % 128) % 128;
}

} /* namespace emulator */

void emulator_allow_shared(size_t bytes)
{
    emulator::allowed_shared = bytes;
}
