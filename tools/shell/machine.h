/* machine.h: what the machine has, for commands that refuse what does not fit. */
#ifndef LACUNA_TOOLS_MACHINE_H
#define LACUNA_TOOLS_MACHINE_H

#include <stdint.h>

/* Bytes of memory this process may use: the machine's, or the container's when that is less. */
uint64_t machine_memory(void);

#endif
