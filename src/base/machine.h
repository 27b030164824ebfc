/* machine.h: what of the machine this process may use: cores and memory. Called by the CPU backend
 * for its default number of threads and by the program before it takes memory. Reads the affinity
 * of the process and the limits of its control groups, version 1 and 2, at every call. */
#ifndef LACI_BASE_MACHINE_H
#define LACI_BASE_MACHINE_H

#include <stdint.h>

/* Cores in the affinity of the calling thread, or the processor time that the control groups grant
 * when that is less, rounded up to whole cores; at least 1. */
int laci_machine_threads(void);

/* Bytes of memory: the machine's, or the control groups' when that is less. */
uint64_t laci_machine_memory(void);

/* The limits of the control groups alone. The tightest of the group of the process and of all its
 * ancestors that can be seen counts. 0 or UINT64_MAX where there is none. `root` is put in front of
 * /proc and of the mount points: "" for this machine. */
int laci_group_threads(const char *root);
uint64_t laci_group_memory(const char *root);

#endif
