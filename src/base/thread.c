/* thread.c: see thread.h. On Linux a word is slept on by futex(2), elsewhere by giving the core
 * away again and again. */
#define _DEFAULT_SOURCE
#include "base/thread.h"

#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

/* Of a thread: what kernels and the matrix library put there is some kilobytes. */
enum { STACK_BYTES = 1 << 20 };

int laci_thread_start(pthread_t *out, laci_thread_fn *fn, void *argument)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int code = pthread_attr_init(&attr);
    if (code) return code;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES); /* refused: the system's size */
    (void)sigfillset(&all);
    code = pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits the mask */
    if (!code) {
        code = pthread_create(out, &attr, fn, argument);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    (void)pthread_attr_destroy(&attr);
    return code;
}

void laci_thread_join(pthread_t thread)
{
    (void)pthread_join(thread, NULL);
}

void laci_word_sleep(atomic_uint *word, unsigned value)
{
#ifdef __linux__
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
    if (atomic_load(word) == value) (void)sched_yield();
#endif
}

void laci_word_wake(atomic_uint *word, unsigned n)
{
#ifdef __linux__
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, (int)n, NULL, NULL, 0);
#else
    (void)word, (void)n;
#endif
}

uint64_t laci_clock_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t laci_process_id(void)
{
    return getpid();
}
