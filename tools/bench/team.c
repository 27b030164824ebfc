/* team.c: see team.h. Threads are made anew for each call and start together: the last to arrive
 * opens the gate. */
#define _POSIX_C_SOURCE 200809L
#include "bench/team.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench/measure.h"

enum { WAIT, RUN, GIVE_UP };

typedef struct {
    team_fn *fn;
    void *user;
    atomic_int n_waiting, gate;
} team;

typedef struct {
    team *team;
    pthread_t id;
    int thread;
    double start, end;
} member;

static void run(member *m)
{
    m->start = instant_now().wall;
    m->team->fn(m->team->user, m->thread);
    m->end = instant_now().wall;
}

static void *wait_and_run(void *argument)
{
    member *m = argument;
    atomic_fetch_add(&m->team->n_waiting, 1);
    while (atomic_load(&m->team->gate) == WAIT)
        sched_yield(); /* there may be fewer cores than threads */
    if (atomic_load(&m->team->gate) == RUN) run(m);
    return NULL;
}

double team_time(int n_threads, team_fn *fn, void *user)
{
    team t = { .fn = fn, .user = user };
    member *members = calloc((size_t)n_threads, sizeof *members);
    if (!members) return NAN;
    int n = 1;
    members[0].team = &t;
    for (; n < n_threads; n++) {
        members[n].team = &t;
        members[n].thread = n;
        if (pthread_create(&members[n].id, NULL, wait_and_run, &members[n])) break;
    }
    while (n == n_threads && atomic_load(&t.n_waiting) < n_threads - 1)
        sched_yield();
    atomic_store(&t.gate, n == n_threads ? RUN : GIVE_UP);
    if (n == n_threads) run(&members[0]);
    double start = members[0].start, end = members[0].end;
    for (int i = 1; i < n; i++) {
        pthread_join(members[i].id, NULL);
        if (members[i].start < start) start = members[i].start;
        if (members[i].end > end) end = members[i].end;
    }
    free(members);
    return n == n_threads ? end - start : NAN;
}
