/* test_team.c: the threads of a backend: every item once, at any number of threads; they sleep when
 * there is nothing to do; there are as many as were asked for, then none; teams of several callers,
 * children of a fork, threads that cannot be had. */
#define _GNU_SOURCE /* sigset_t, setrlimit, fork */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/cpu/cpu_team.h"
#include "backend/tasks.h"
#include "sanitized.h"

enum { MOST_ITEMS = 1000, MOST_THREADS = 9 };

static lac_allocator mem;

static laci_team *team_of(int n_threads)
{
    laci_team *team = NULL;
    lac_error err;
    assert_ok(laci_team_open(&team, n_threads, &mem, &err));
    if (laci_team_start(team, &err)) fail_msg("%s", err.message);
    return team;
}

typedef struct {
    atomic_int times[MOST_ITEMS]; /* an item was worked on */
    int n_threads;
    size_t longest;
} count;

static void count_items(void *job, size_t begin, size_t end, int thread)
{
    count *c = job;
    if (thread < 0 || thread >= c->n_threads || end - begin > c->longest) return;
    for (size_t i = begin; i < end; i++)
        atomic_fetch_add(&c->times[i], 1);
}

static void check_items(laci_team *team, int n_threads, size_t n, size_t span)
{
    static count c;
    memset(&c, 0, sizeof c);
    c.n_threads = n_threads;
    c.longest = span && n_threads > 1 ? span : n;
    laci_team_run(team, n, span, count_items, &c);
    for (size_t i = 0; i < MOST_ITEMS; i++)
        if (atomic_load(&c.times[i]) != (i < n))
            fail_msg("%d threads, %zu items by %zu: item %zu was done %d times", n_threads, n, span,
                     i, atomic_load(&c.times[i]));
}

static void every_item_is_done_once(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 2, 3, 7, 64, 999, MOST_ITEMS };
    static const int threads[] = { 1, 2, 3, MOST_THREADS };
    static const size_t spans[] = { 0, 1, 2, 5, 400, 5000 };
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        laci_team *team = team_of(threads[t]);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (size_t k = 0; k < sizeof spans / sizeof *spans; k++)
                check_items(team, threads[t], sizes[i], spans[k]);
        laci_team_close(team);
    }
}

static void one_before_it_is_started(void **state)
{
    (void)state;
    laci_team *team = NULL;
    assert_ok(laci_team_open(&team, 3, &mem, NULL));
    check_items(team, 1, 50, 0);
    assert_ok(laci_team_start(team, NULL));
    check_items(team, 3, 50, 7);
    laci_team_stop(team);
    check_items(team, 1, 50, 0);
    assert_ok(laci_team_start(team, NULL));
    check_items(team, 3, 50, 7);
    laci_team_close(team);
}

static void threads_come_and_go(void **state)
{
    (void)state;
    const int before = n_tasks();
    if (before < 0) skip(); /* no /proc */
    laci_team *team = NULL;
    assert_ok(laci_team_open(&team, 5, &mem, NULL));
    assert_int_equal(n_tasks(), before);
    assert_ok(laci_team_start(team, NULL));
    assert_ok(laci_team_start(team, NULL));
    assert_int_equal(n_tasks(), before + 4);
    check_items(team, 5, 900, 1);
    assert_int_equal(n_tasks(), before + 4);
    laci_team_close(team);
    assert_tasks(before);
}

/* A span that waits until as many spans have begun as there are threads: all take part. */
typedef struct {
    atomic_int n_begun, n_open_to_signals;
    int n_threads;
} meeting;

static void meet(void *job, size_t begin, size_t end, int thread)
{
    meeting *m = job;
    sigset_t blocked;
    (void)begin, (void)end;
    if (thread && !pthread_sigmask(SIG_BLOCK, NULL, &blocked) && !sigismember(&blocked, SIGINT))
        atomic_fetch_add(&m->n_open_to_signals, 1);
    atomic_fetch_add(&m->n_begun, 1);
    while (atomic_load(&m->n_begun) < m->n_threads)
        (void)sched_yield();
}

static void all_threads_take_part_and_no_signals(void **state)
{
    (void)state;
    laci_team *team = team_of(4);
    meeting m = { .n_threads = 4 };
    laci_team_run(team, 4, 1, meet, &m);
    assert_int_equal(atomic_load(&m.n_begun), 4);
    assert_int_equal(atomic_load(&m.n_open_to_signals), 0);
    laci_team_close(team);
}

static double processor_seconds(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What a program with a session open takes between two answers. */
static void idle_threads_take_no_time(void **state)
{
    (void)state;
    laci_team *team = team_of(MOST_THREADS);
    check_items(team, MOST_THREADS, MOST_ITEMS, 1);
    const double before = processor_seconds();
    const struct timespec pause = { 0, 200000000 };
    (void)nanosleep(&pause, NULL); /* the time that is measured */
    const double taken = processor_seconds() - before;
    if (taken > 0.05) fail_msg("%d idle threads took %.3f s of 0.2", MOST_THREADS, taken);
    laci_team_close(team);
}

/* Many short jobs one after another: a call that is missed would end in a time-out. */
static void *many_jobs(void *n_threads)
{
    enum { JOBS = 3000, ITEMS = 12 };
    const int n = *(const int *)n_threads;
    laci_team *team = NULL;
    count *c = calloc(1, sizeof *c);
    if (!c || laci_team_open(&team, n, &mem, NULL) || laci_team_start(team, NULL)) {
        free(c);
        laci_team_close(team);
        return "no team";
    }
    c->n_threads = n;
    c->longest = ITEMS;
    for (int i = 0; i < JOBS; i++)
        laci_team_run(team, ITEMS, 1, count_items, c);
    const char *wrong = NULL;
    for (size_t i = 0; i < ITEMS; i++)
        if (atomic_load(&c->times[i]) != JOBS) wrong = "an item was not done";
    laci_team_close(team);
    free(c);
    return (void *)(uintptr_t)wrong;
}

static void callers_do_not_know_each_other(void **state)
{
    (void)state;
    static int sizes[] = { 2, 3, 4 };
    pthread_t callers[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, many_jobs, &sizes[i]), 0);
    for (int i = 0; i < 3; i++) {
        void *wrong;
        assert_int_equal(pthread_join(callers[i], &wrong), 0);
        if (wrong) fail_msg("%s", (const char *)wrong);
    }
}

/* The threads of the parent are missing in the child, which works on, and its own teams are whole.
 */
static void a_child_works_alone(void **state)
{
    (void)state;
    laci_team *team = team_of(3);
    check_items(team, 3, 100, 1);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        alarm(30);
        check_items(team, 3, 100, 1);
        laci_team_close(team);
        team = team_of(3);
        check_items(team, 3, 100, 1);
        laci_team_close(team);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check_items(team, 3, 100, 1);
    laci_team_close(team);
}

static void what_cannot_be_had_is_said(void **state)
{
    (void)state;
    enum { N = 4000 };
    struct rlimit before, less;
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld", &pages) != 1) skip(); /* no /proc */
    fclose(file);
    const int n_before = n_tasks();
    laci_team *team = NULL;
    lac_error err;
    assert_ok(laci_team_open(&team, N, &mem, NULL));
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    less = before;
    less.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)32 << 20);
    assert_int_equal(setrlimit(RLIMIT_AS, &less), 0);
    const lac_status st = laci_team_start(team, &err);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(st, LAC_ENOMEM);
    assert_non_null(strstr(err.message, "cannot start thread"));
    assert_non_null(strstr(err.message, "of 4000"));
    assert_tasks(n_before);
    check_items(team, 1, 100, 0);
    laci_team_close(team);
}

enum { SANITIZED = UNDER_ASAN || UNDER_TSAN }; /* which have address space and forks of their own */

int main(void)
{
    mem = laci_allocator_or_default(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once),
        cmocka_unit_test(one_before_it_is_started),
        cmocka_unit_test(threads_come_and_go),
        cmocka_unit_test(all_threads_take_part_and_no_signals),
        cmocka_unit_test(idle_threads_take_no_time),
        cmocka_unit_test(callers_do_not_know_each_other),
    };
    const struct CMUnitTest of_the_system[] = {
        cmocka_unit_test(a_child_works_alone),
        cmocka_unit_test(what_cannot_be_had_is_said),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return SANITIZED ? failed : failed + cmocka_run_group_tests(of_the_system, NULL, NULL);
}
