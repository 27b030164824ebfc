/* interrupt.h: Ctrl-C, SIGTERM and SIGHUP. The first signal during a
 * generation asks it to stop after the current step; at any other time, and the second time always,
 * a signal ends the program at once, without the files that were being written. */
#ifndef LACUNA_TOOLS_INTERRUPT_H
#define LACUNA_TOOLS_INTERRUPT_H

#include <stdbool.h>

/* Once, before anything is opened: standard streams that are closed become ones that fail, so that
 * no file of ours gets their numbers. */
void interrupt_begin(void);

/* For commands that write files: catches these, and what else ends a program, and makes write
 * errors of a pipe that nobody reads and of the limit of a file's size. */
void interrupt_install(void);

/* While on, the first signal only sets what interrupt_signal() returns. */
void interrupt_cooperate(bool on);

/* SIGINT, SIGTERM or SIGHUP once one has come, 0 before. */
int interrupt_signal(void);

/* Bytes written to stderr before a signal ends the program, to leave the terminal as it was found;
 * NULL for none. Static string. */
void interrupt_set_restore(const char *bytes);

/* A file that is removed when a signal ends the program. Between hold and release this thread takes
 * none, so that a file is hardly ever there without being known here. NULL is no file. */
void interrupt_hold(void);
void interrupt_release(void);
void interrupt_guard(const char *path);
void interrupt_forget(const char *path);

#endif
