/* runtime.cpp: the runtime of the emulated device: memory, streams, events, graphs. Memory is the
 * process's own. It is strict where a device is merely undefined: what a stream is given is done when
 * somebody waits for it and no sooner, so host memory that is changed too early shows; there is no
 * default stream; while a stream captures, waiting, events and memory are errors that spoil the
 * capture, and so is a copy to or from memory of the host, which a graph would read when it is
 * launched; a graph takes another one's arguments only if it has the same kernels in the same order. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <map>
#include <set>
#include <vector>

#include "backend/cuda/cuda_api.h"
#include "emulator/device.h"
#include "emulator/emulator.h"

int laci_emulator_devices = 1;
int laci_emulator_major = 9;
int laci_emulator_allocations_left = -1;
unsigned laci_emulator_waits;
unsigned laci_emulator_boxes;
int laci_emulator_refuses;
laci_emulator_counts laci_emulator_graphs;

enum { NO_MEMORY = 2, NO_DEVICE = 100, NOT_CAPTURED = 900, SPOILT = 901, REFUSED = 999 }; /* CUDA's codes */

typedef std::vector<emulator::operation> operations;

namespace
{

struct stream {
    operations pending, captured;
    bool captures, is_spoilt;
};

struct event {
    double ms;
    stream *of;
};

} /* namespace */

static std::set<stream *> streams;
static std::map<uintptr_t, size_t> device_memory, pinned_memory; /* sizes by address */

/* ------------------------------------------------------------------ streams */

[[noreturn]] static void stop(const char *what)
{
    fprintf(stderr, "emulator: %s\n", what);
    abort();
}

static stream *stream_of(void *p)
{
    stream *s = static_cast<stream *>(p);
    if (!streams.count(s)) stop("work for a stream that is none");
    return s;
}

static void do_all(const operations &all)
{
    for (const emulator::operation &one : all)
        one.run();
}

static void drain(stream *s)
{
    operations now;
    now.swap(s->pending);
    do_all(now);
}

void emulator::queue(void *p, const operation &next)
{
    stream *s = stream_of(p);
    (s->captures ? s->captured : s->pending).push_back(next);
}

void laci_emulator_queue(void *p, void (*run)(const void *job), const void *job, size_t n)
{
    const std::vector<char> copy((const char *)job, (const char *)job + n);
    emulator::queue(p, { "library", (const void *)run, [=] { run(copy.data()); } });
}

int laci_emulator_busy(void)
{
    int n = 0;
    for (const stream *s : streams)
        n += !s->pending.empty() || s->captures;
    return n;
}

/* Whether a stream captures, which is now of no use. */
static bool spoils_captures()
{
    bool some = false;
    for (stream *s : streams)
        if (s->captures) some = s->is_spoilt = true;
    return some;
}

static int stream_new(void **out)
{
    if (laci_emulator_refuses == LACI_REFUSE_STREAM) return REFUSED;
    stream *s = new stream();
    streams.insert(s);
    laci_emulator_graphs.n_alive++;
    *out = s;
    return 0;
}

static void stream_free(void *p)
{
    stream *s = stream_of(p);
    if (s->captures) stop("a stream is freed while it captures");
    drain(s);
    streams.erase(s);
    delete s;
    laci_emulator_graphs.n_alive--;
}

static int sync(void *p)
{
    stream *s = stream_of(p);
    laci_emulator_waits++;
    if (s->captures) {
        s->is_spoilt = true;
        return NOT_CAPTURED;
    }
    drain(s);
    return 0;
}

/* ------------------------------------------------------------------ the device */

static int count(int *n)
{
    *n = laci_emulator_devices;
    return laci_emulator_devices ? 0 : NO_DEVICE;
}

static int info(int, laci_cu_info *out)
{
    *out = laci_cu_info();
    snprintf(out->name, sizeof out->name, "emulator");
    out->major = laci_emulator_major;
    out->n_sm = 4;
    out->shared_bytes = 227 << 10;
    out->free_bytes = out->total_bytes = (size_t)1 << 30;
    out->emulated = true;
    return 0;
}

static int use(int device)
{
    return device < laci_emulator_devices ? 0 : NO_DEVICE;
}

static const char *explain(int code)
{
    return code == NO_DEVICE      ? "no CUDA-capable device is detected"
           : code == NO_MEMORY    ? "out of memory"
           : code == NOT_CAPTURED ? "operation not permitted when stream is capturing"
           : code == SPOILT       ? "operation failed due to a previous error during capture"
                                  : "unknown error";
}

static int last_error(void)
{
    return 0;
}

/* ------------------------------------------------------------------ memory */

static int take(std::map<uintptr_t, size_t> &from, void **p, size_t n)
{
    *p = NULL;
    if (spoils_captures()) return NOT_CAPTURED;
    if (laci_emulator_allocations_left == 0) return NO_MEMORY;
    if (laci_emulator_allocations_left > 0) laci_emulator_allocations_left--;
    if (posix_memalign(p, 256, n ? n : 1)) return NO_MEMORY;
    memset(*p, 0xff, n);
    from[(uintptr_t)*p] = n;
    return 0;
}

static int alloc(void **p, size_t n)
{
    return take(device_memory, p, n);
}

static int host_alloc(void **p, size_t n)
{
    return take(pinned_memory, p, n);
}

static void release(void *p)
{
    (void)spoils_captures();
    if (!device_memory.erase((uintptr_t)p) && !pinned_memory.erase((uintptr_t)p))
        stop("memory is freed that is none");
    free(p);
}

/* Whether n bytes at p lie in such memory. */
static bool lies_in(const std::map<uintptr_t, size_t> &memory, const void *p, size_t n)
{
    auto after = memory.upper_bound((uintptr_t)p);
    if (after == memory.begin()) return false;
    --after;
    return (uintptr_t)p + n <= after->first + after->second;
}

static int copy(void *p, void *to, const void *from, size_t n)
{
    stream *s = stream_of(p);
    bool is_pageable = false, is_host = false;
    for (const void *side : { (const void *)to, from }) {
        if (lies_in(device_memory, side, n)) continue;
        is_host = true;
        is_pageable = is_pageable || !lies_in(pinned_memory, side, n);
    }
    if (s->captures && is_host) {
        s->is_spoilt = true;
        return NOT_CAPTURED;
    }
    emulator::queue(s, { "copy", NULL, [=] { memmove(to, from, n); } });
    if (is_pageable) drain(s); /* as the device's runtime does */
    return 0;
}

static int fill(void *p, void *at, int byte, size_t n)
{
    if (!lies_in(device_memory, at, n)) stop("a fill of what is no device memory");
    emulator::queue(p, { "fill", NULL, [=] { memset(at, byte, n); } });
    return 0;
}

/* ------------------------------------------------------------------ events */

static int event_new(void **out)
{
    *out = new event();
    return 0;
}

static void event_free(void *e)
{
    delete static_cast<event *>(e);
}

static int event_record(void *p, void *on)
{
    event *e = static_cast<event *>(p);
    if (spoils_captures()) return NOT_CAPTURED;
    e->of = stream_of(on);
    emulator::queue(on, { "event", NULL, [=] {
                             struct timespec t;
                             clock_gettime(CLOCK_MONOTONIC, &t);
                             e->ms = (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
                         } });
    return 0;
}

static int event_ms(float *ms, void *from, void *to)
{
    const event *a = static_cast<event *>(from), *b = static_cast<event *>(to);
    if (spoils_captures()) return NOT_CAPTURED;
    drain(b->of);
    *ms = (float)(b->ms - a->ms);
    return 0;
}

/* ------------------------------------------------------------------ graphs */

static int capture_begin(void *p)
{
    stream *s = stream_of(p);
    if (s->captures || laci_emulator_refuses == LACI_REFUSE_BEGIN) return REFUSED;
    s->captures = true;
    s->is_spoilt = false;
    laci_emulator_graphs.n_begun++;
    return 0;
}

static int capture_end(void *p, void **graph, size_t *n_nodes)
{
    stream *s = stream_of(p);
    operations all;
    *graph = NULL;
    *n_nodes = 0;
    if (!s->captures) stop("the end of a capture that has not begun");
    s->captures = false;
    all.swap(s->captured);
    if (s->is_spoilt) return SPOILT;
    if (laci_emulator_refuses == LACI_REFUSE_END) return REFUSED;
    *n_nodes = all.size();
    *graph = new operations(all);
    laci_emulator_graphs.n_alive++;
    return 0;
}

static void graph_free(void *graph)
{
    delete static_cast<operations *>(graph);
    laci_emulator_graphs.n_alive--;
}

static int exec_new(void **exec, void *graph)
{
    if (laci_emulator_refuses == LACI_REFUSE_EXEC) return REFUSED;
    *exec = new operations(*static_cast<operations *>(graph));
    laci_emulator_graphs.n_alive++;
    laci_emulator_graphs.n_made++;
    return 0;
}

static bool exec_update(void *exec, void *graph)
{
    operations &own = *static_cast<operations *>(exec), &next = *static_cast<operations *>(graph);
    bool is_alike = own.size() == next.size();
    for (size_t i = 0; is_alike && i < own.size(); i++)
        is_alike = !strcmp(own[i].kind, next[i].kind) && own[i].what == next[i].what;
    if (is_alike) own = next;
    (is_alike ? laci_emulator_graphs.n_updated : laci_emulator_graphs.n_refused)++;
    return is_alike;
}

static int exec_launch(void *exec, void *p)
{
    stream *s = stream_of(p);
    if (s->captures || laci_emulator_refuses == LACI_REFUSE_LAUNCH) return REFUSED;
    const operations &all = *static_cast<operations *>(exec); /* as they are now */
    s->pending.insert(s->pending.end(), all.begin(), all.end());
    laci_emulator_graphs.n_launched++;
    return 0;
}

static void exec_free(void *exec)
{
    delete static_cast<operations *>(exec);
    laci_emulator_graphs.n_alive--;
}

void laci_emulated_fill_runtime(laci_cu_api *api)
{
    api->count = count;
    api->info = info;
    api->use = use;
    api->explain = explain;
    api->last_error = last_error;
    api->sync = sync;
    api->alloc = alloc;
    api->release = release;
    api->host_alloc = host_alloc;
    api->host_release = release;
    api->copy = copy;
    api->fill = fill;
    api->event_new = event_new;
    api->event_free = event_free;
    api->event_record = event_record;
    api->event_ms = event_ms;
    api->stream_new = stream_new;
    api->stream_free = stream_free;
    api->capture_begin = capture_begin;
    api->capture_end = capture_end;
    api->graph_free = graph_free;
    api->exec_new = exec_new;
    api->exec_update = exec_update;
    api->exec_launch = exec_launch;
    api->exec_free = exec_free;
}
