/* tasks.h: how many threads this process has. */
#ifndef LACI_TESTS_TASKS_H
#define LACI_TESTS_TASKS_H

#include <dirent.h>
#include <sched.h>
#include <time.h>

/* -1 where there is no /proc. */
static inline int n_tasks(void)
{
    DIR *folder = opendir("/proc/self/task");
    if (!folder) return -1;
    int n = 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

/* A thread that was joined stays in the list for a moment. */
static inline void assert_tasks(int want)
{
    const time_t end = time(NULL) + 20;
    int n;
    while ((n = n_tasks()) > want && time(NULL) < end)
        (void)sched_yield();
    assert_int_equal(n, want);
}

#endif
