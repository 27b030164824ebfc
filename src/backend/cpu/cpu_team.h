/* cpu_team.h: the threads of one backend. The caller of an operation cuts it into spans of items,
 * and the team works them off; the caller takes part. What a span computes must not depend on who
 * computes it, nor on where it begins, so results are the same at any number of threads.
 *
 * Threads that wait spin briefly and then sleep, in any process and whatever its environment. The
 * caller waits for spans, not for threads: when others hold the cores and no member arrives, it
 * does the work itself. A team serves one thread at a time; different teams do not know each other.
 * In the child of a fork the members are missing, and the caller does everything. */
#ifndef LACI_BACKEND_CPU_TEAM_H
#define LACI_BACKEND_CPU_TEAM_H

#include "base/alloc.h"

typedef struct laci_team laci_team;

/* Items [begin, end) of a job, on thread 0 (the caller's) to n_threads - 1. Starts no other job. */
typedef void laci_span_fn(void *job, size_t begin, size_t end, int thread);

/* A team without threads yet: until it is started, the caller works alone. */
lac_status laci_team_open(laci_team **out, int n_threads, const lac_allocator *mem, lac_error *err);
void laci_team_close(laci_team *team);

/* Starts n_threads - 1 threads, or none; nothing when they run. Errors: ENOMEM. */
lac_status laci_team_start(laci_team *team, lac_error *err);
/* Ends them. */
void laci_team_stop(laci_team *team);
bool laci_team_is_started(const laci_team *team);

/* Runs fn over items [0, n) in spans of `span` items; 0 cuts them evenly, some spans a thread.
 * Returns when all are done. */
void laci_team_run(laci_team *team, size_t n, size_t span, laci_span_fn *fn, void *job);

#endif
