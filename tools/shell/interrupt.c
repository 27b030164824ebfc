/* interrupt.c: the only file with signal handlers, and with state that they share. */
#define _DEFAULT_SOURCE /* SIGXFSZ */
#include "shell/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum { MAX_GUARDED = 8 }; /* more than a run writes at once */

/* The first N_ASKING ask for an end; the others only clear up before theirs. */
static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU };
enum { N_SIGNALS = sizeof signals / sizeof *signals, N_ASKING = 3 };

/* A copy of a path: the handler may run on a thread of its own while the owner lets go of his. */
typedef struct {
    volatile sig_atomic_t is_set;
    char path[PATH_MAX];
} guard;

static volatile sig_atomic_t caught;
static volatile sig_atomic_t cooperating;
static const char *volatile restore_bytes;
static guard guarded[MAX_GUARDED];
static sigset_t held; /* the mask before interrupt_hold() */

static bool asks(int number)
{
    for (int i = 0; i < N_ASKING; i++)
        if (signals[i] == number) return true;
    return false;
}

static void on_signal(int number)
{
    if (cooperating && !caught && asks(number)) {
        caught = number;
        return;
    }
    const char *bytes = restore_bytes;
    if (bytes) (void)!write(STDERR_FILENO, bytes, strlen(bytes));
    for (int i = 0; i < MAX_GUARDED; i++)
        if (guarded[i].is_set) (void)unlink(guarded[i].path);
    signal(number, SIG_DFL);
    raise(number); /* delivered when the handler returns; the parent sees a death by signal */
}

/* The wrong direction on purpose: reading from standard input, and writing to the others, fails as
 * it does on a closed one. A folder does as well where there is no /dev. */
static void stand_in(int fd)
{
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) return;
    const int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", mode) < 0) (void)!open("/", O_RDONLY);
}

void interrupt_begin(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        stand_in(fd); /* the lowest number that is free: its own */
}

void interrupt_install(void)
{
    /* Also where SIGINT was ignored, as it is for background jobs of a script: whoever sends it to
     * this process by id wants it to stop. SIGHUP is ignored because somebody said nohup. */
    struct sigaction action = { .sa_handler = on_signal }, before;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < N_SIGNALS; i++)
        sigaddset(&action.sa_mask, signals[i]);
    for (int i = 0; i < N_SIGNALS; i++) {
        const bool is_wanted = signals[i] == SIGINT || signals[i] == SIGTERM;
        const bool was_ignored =
            !sigaction(signals[i], NULL, &before) && before.sa_handler == SIG_IGN;
        if (is_wanted || !was_ignored) sigaction(signals[i], &action, NULL);
    }
    /* A pipe whose reader left must not take an unfinished trace with it, nor a file that may not
     * grow the text. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void interrupt_cooperate(bool on)
{
    cooperating = on;
}

int interrupt_signal(void)
{
    return caught;
}

void interrupt_set_restore(const char *bytes)
{
    restore_bytes = bytes;
}

void interrupt_hold(void)
{
    sigset_t mask;
    sigemptyset(&mask);
    for (int i = 0; i < N_SIGNALS; i++)
        sigaddset(&mask, signals[i]);
    sigprocmask(SIG_BLOCK, &mask, &held);
}

void interrupt_release(void)
{
    sigprocmask(SIG_SETMASK, &held, NULL);
}

void interrupt_guard(const char *path)
{
    for (int i = 0; path && strlen(path) < PATH_MAX && i < MAX_GUARDED; i++) {
        if (guarded[i].is_set) continue;
        memcpy(guarded[i].path, path, strlen(path) + 1);
        guarded[i].is_set = 1;
        return;
    }
}

void interrupt_forget(const char *path)
{
    for (int i = 0; path && i < MAX_GUARDED; i++)
        if (guarded[i].is_set && !strcmp(guarded[i].path, path)) guarded[i].is_set = 0;
}
