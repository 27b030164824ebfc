/* machine.c: see machine.h. */
#define _POSIX_C_SOURCE 200809L
#include "shell/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

uint64_t machine_memory(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t limit = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "r");
    char line[32] = ""; /* a number, or "max" */
    if (file && fgets(line, sizeof line, file)) {
        const uint64_t container = strtoull(line, NULL, 10);
        if (container && container < limit) limit = container;
    }
    if (file) fclose(file);
    return limit;
}
