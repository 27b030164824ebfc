/* thread.h: what the operating system gives to threads: starting and joining them, sleeping on a
 * word of memory, a clock. backend/cpu/cpu_team.c builds on it; extensions of C11 end here. */
#ifndef LACI_BASE_THREAD_H
#define LACI_BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

typedef void *laci_thread_fn(void *argument);

/* Starts a thread which takes no signals: handlers stay with the threads of the caller. Returns 0
 * or an errno. */
int laci_thread_start(pthread_t *out, laci_thread_fn *fn, void *argument);
void laci_thread_join(pthread_t thread);

/* Sleeps while *word is `value`, until woken; may return for no reason. */
void laci_word_sleep(atomic_uint *word, unsigned value);
/* Wakes at most n threads of this process that sleep on the word. */
void laci_word_wake(atomic_uint *word, unsigned n);

uint64_t laci_clock_ns(void);
/* Of the process: a child made by fork has another. */
int64_t laci_process_id(void);

/* Tells the core that this thread only waits. */
static inline void laci_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
