/* interrupt.h: Ctrl-C and SIGTERM. The first signal during a generation asks it to stop after the
 * current step; at any other time, and the second time always, a signal ends the program at once.
 */
#ifndef LACUNA_TOOLS_INTERRUPT_H
#define LACUNA_TOOLS_INTERRUPT_H

#include <stdbool.h>

void interrupt_install(void);

/* While on, the first signal only sets what interrupt_signal() returns. */
void interrupt_cooperate(bool on);

/* SIGINT or SIGTERM once one has come, 0 before. */
int interrupt_signal(void);

/* Bytes written to stderr before a signal ends the program, to leave the terminal as it was found;
 * NULL for none. Static string. */
void interrupt_set_restore(const char *bytes);

#endif
