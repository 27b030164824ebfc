/* interrupt.c: the only file with signal handlers, and with state that they share. */
#define _POSIX_C_SOURCE 200809L
#include "shell/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static volatile sig_atomic_t cooperating;
static const char *volatile restore_bytes;

static void on_signal(int number)
{
    if (cooperating && !caught) {
        caught = number;
        return;
    }
    const char *bytes = restore_bytes;
    if (bytes) (void)!write(STDERR_FILENO, bytes, strlen(bytes));
    signal(number, SIG_DFL);
    raise(number); /* delivered when the handler returns; the parent sees a death by signal */
}

void interrupt_install(void)
{
    /* Also where SIGINT was ignored, as it is for background jobs of a script: whoever sends it to
     * this process by id wants it to stop. */
    struct sigaction action = { .sa_handler = on_signal };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
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
