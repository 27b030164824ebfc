/* cpu_team.c: see cpu_team.h.
 *
 * A job is a counter of spans not yet taken. Whoever lowers it owns a span, and the job cannot end
 * before that span is done; so a member that comes late finds nothing, or a span of a later job,
 * and never a job that is over. A second counter holds the spans not yet done; the caller waits
 * for it.
 *
 * Waiting: a member waits for the next job, the caller for the last spans. Each spins for at most
 * its own limit and then sleeps. The limit follows the waits: one that ended within MOST_NS, or
 * would have but for the waking, restores it; a longer one halves it, down to none. On a machine of
 * one's own the next job comes within microseconds and nobody sleeps; where cores are shared, waits
 * are long, and after a few of them nobody spins. */
#include "backend/cpu/cpu_team.h"

#include <limits.h>
#include <string.h>

#include "base/error.h"
#include "base/machine.h"
#include "base/thread.h"

enum {
    MOST_NS = 50000,    /* about what it costs to sleep and to be woken */
    SPANS_A_THREAD = 4, /* of an even cut: the last to end is late by a quarter of its share */
    LINE = 64,
};

typedef struct {
    laci_team *team;
    pthread_t thread;
    int index;
} member;

struct laci_team {
    lac_allocator mem;
    member *members; /* [n_threads - 1], owned */
    int n_threads, n_members;
    int64_t process;    /* in which the members run */
    uint64_t most_spin; /* MOST_NS, or 0 where there are more threads than cores */
    uint64_t spin;      /* limit of the caller */
    /* The job: written by the caller while no span is left, read by owners of a span. */
    laci_span_fn *fn;
    void *job;
    size_t n, span, n_spans;
    _Alignas(LINE) atomic_uint n_free; /* spans not yet taken */
    _Alignas(LINE) atomic_uint n_open; /* spans not yet done; the caller sleeps on it */
    atomic_bool caller_sleeps;
    _Atomic uint64_t done_at;          /* when the last span was done, if the caller slept */
    _Alignas(LINE) atomic_uint number; /* of jobs so far; members sleep on it */
    atomic_uint n_asleep;
    _Atomic uint64_t called_at; /* when the last job began, if a member slept */
    atomic_bool is_over;
};

/* ------------------------------------------------------------------ waiting */

/* Spins until *word differs from `value` or the limit is over; whether it differs. */
static bool spin(atomic_uint *word, unsigned value, uint64_t limit, uint64_t start)
{
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
            laci_relax();
        }
    } while (laci_clock_ns() - start < limit);
    return false;
}

/* The next limit after a wait from `start` to `end`; what was waited for may have been first. */
static uint64_t learn(const laci_team *team, uint64_t limit, uint64_t start, uint64_t end)
{
    return end < start + MOST_NS ? team->most_spin : limit / 2;
}

/* Until there is another job than `seen`. */
static void wait_for_job(laci_team *team, unsigned seen, uint64_t *limit)
{
    const uint64_t start = laci_clock_ns();
    if (*limit && spin(&team->number, seen, *limit, start)) return;
    atomic_fetch_add(&team->n_asleep, 1);
    while (atomic_load(&team->number) == seen)
        laci_word_sleep(&team->number, seen);
    atomic_fetch_sub(&team->n_asleep, 1);
    *limit = learn(team, *limit, start, atomic_load(&team->called_at));
}

/* Until all spans are done. */
static void wait_for_spans(laci_team *team)
{
    unsigned left = atomic_load_explicit(&team->n_open, memory_order_acquire);
    if (!left) return;
    const uint64_t start = laci_clock_ns();
    while (left && team->spin && spin(&team->n_open, left, team->spin, start))
        left = atomic_load_explicit(&team->n_open, memory_order_acquire);
    if (!left) return;
    atomic_store(&team->done_at, laci_clock_ns()); /* should the last span miss the sleeper */
    atomic_store(&team->caller_sleeps, true);
    while ((left = atomic_load(&team->n_open)) != 0)
        laci_word_sleep(&team->n_open, left);
    atomic_store(&team->caller_sleeps, false);
    team->spin = learn(team, team->spin, start, atomic_load(&team->done_at));
}

/* ------------------------------------------------------------------ working */

static void end_span(laci_team *team)
{
    if (atomic_load(&team->caller_sleeps)) atomic_store(&team->done_at, laci_clock_ns());
    if (atomic_fetch_sub(&team->n_open, 1) == 1 && atomic_load(&team->caller_sleeps))
        laci_word_wake(&team->n_open, 1);
}

/* Takes spans until none is left. */
static void work(laci_team *team, int thread)
{
    unsigned left = atomic_load_explicit(&team->n_free, memory_order_acquire);
    while (left) {
        if (!atomic_compare_exchange_weak_explicit(&team->n_free, &left, left - 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        const size_t begin = (team->n_spans - left) * team->span;
        const size_t end = team->n - begin < team->span ? team->n : begin + team->span;
        team->fn(team->job, begin, end, thread);
        end_span(team);
        left = atomic_load_explicit(&team->n_free, memory_order_acquire);
    }
}

static void *member_main(void *argument)
{
    const member *m = argument;
    laci_team *team = m->team;
    uint64_t limit = team->most_spin;
    for (;;) {
        const unsigned seen = atomic_load(&team->number); /* before looking for spans */
        if (atomic_load(&team->is_over)) return NULL;
        work(team, m->index);
        wait_for_job(team, seen, &limit);
    }
}

/* Tells members that there is something new. */
static void call_members(laci_team *team, unsigned n)
{
    if (atomic_load(&team->n_asleep)) atomic_store(&team->called_at, laci_clock_ns());
    atomic_fetch_add(&team->number, 1);
    if (atomic_load(&team->n_asleep)) laci_word_wake(&team->number, n);
}

void laci_team_run(laci_team *team, size_t n, size_t span, laci_span_fn *fn, void *job)
{
    const size_t n_parts = (size_t)SPANS_A_THREAD * (size_t)team->n_threads;
    if (!span) span = (n + n_parts - 1) / n_parts;
    if (n > span && (n - 1) / span >= UINT_MAX) span = n / UINT_MAX + 1;
    if (n <= span || !team->n_members) {
        if (n) fn(job, 0, n, 0);
        return;
    }
    team->fn = fn;
    team->job = job;
    team->n = n;
    team->span = span;
    team->n_spans = (n - 1) / span + 1;
    const unsigned n_spans = (unsigned)team->n_spans, most = (unsigned)team->n_members;
    atomic_store_explicit(&team->n_open, n_spans, memory_order_relaxed);
    atomic_store_explicit(&team->n_free, n_spans, memory_order_release);
    call_members(team, n_spans - 1 < most ? n_spans - 1 : most);
    work(team, 0);
    wait_for_spans(team);
}

/* ------------------------------------------------------------------ opening */

lac_status laci_team_open(laci_team **out, int n_threads, const lac_allocator *mem, lac_error *err)
{
    laci_team *team = laci_alloc_aligned(mem, sizeof *team);
    member *members = laci_alloc_array(mem, (size_t)n_threads, sizeof *members);
    if (!team || !members) {
        laci_release_aligned(mem, team);
        laci_release(mem, members);
        return laci_fail_memory(err, "threads", sizeof *team);
    }
    memset(team, 0, sizeof *team);
    team->mem = *mem;
    team->members = members;
    team->n_threads = n_threads;
    team->most_spin = n_threads <= laci_machine_threads() ? MOST_NS : 0;
    team->spin = team->most_spin;
    *out = team;
    return LAC_OK;
}

bool laci_team_is_started(const laci_team *team)
{
    return team->n_members > 0;
}

lac_status laci_team_start(laci_team *team, lac_error *err)
{
    if (laci_team_is_started(team)) return LAC_OK;
    team->process = laci_process_id();
    atomic_store(&team->is_over, false);
    for (int i = 1; i < team->n_threads; i++) {
        member *m = &team->members[i - 1];
        *m = (member){ .team = team, .index = i };
        const int code = laci_thread_start(&m->thread, member_main, m);
        if (code) {
            laci_team_stop(team);
            return laci_fail(err, LAC_ENOMEM, 0, "cannot start thread %d of %d: %s", i + 1,
                             team->n_threads, strerror(code));
        }
        team->n_members = i;
    }
    return LAC_OK;
}

void laci_team_stop(laci_team *team)
{
    if (team->process == laci_process_id()) {
        atomic_store(&team->is_over, true);
        call_members(team, (unsigned)team->n_members);
        for (int i = 0; i < team->n_members; i++)
            laci_thread_join(team->members[i].thread);
    }
    team->n_members = 0;
}

void laci_team_close(laci_team *team)
{
    if (!team) return;
    laci_team_stop(team);
    const lac_allocator mem = team->mem;
    laci_release(&mem, team->members);
    laci_release_aligned(&mem, team);
}
