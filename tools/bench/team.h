/* team.h: one function on several threads at once, timed. For the micro-benchmarks, which measure
 * the machine and not the library, and so do without its threads. */
#ifndef LACUNA_BENCH_TEAM_H
#define LACUNA_BENCH_TEAM_H

/* `thread` counts from 0; 0 is the caller's own. */
typedef void team_fn(void *user, int thread);

/* Seconds from the first start to the last end; NaN when the threads cannot be had, and then no
 * thread has run `fn`. */
double team_time(int n_threads, team_fn *fn, void *user);

#endif
