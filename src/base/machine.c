/* machine.c: see machine.h.
 *
 * A control group is a folder. /proc/self/cgroup names the group of the process in each hierarchy,
 * /proc/self/mountinfo says where a hierarchy is mounted and which of its groups is seen there.
 * Limits hold for all groups below, so the folders from the process's own up to the mount point
 * are read, and the tightest counts. Formats: cgroups(7), proc(5), and the kernel's documents of
 * control groups. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/machine.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LINE_BYTES = 4 * PATH_BYTES };

/* One resource: where its limit stands in both versions, and what a folder says. */
typedef struct {
    const char *controller;                            /* of version 1 */
    bool (*read)(const char *folder, uint64_t *value); /* false: no limit in this folder */
    uint64_t least;                                    /* found so far */
} resource;

/* A mounted hierarchy: which group stands at which folder. */
typedef struct {
    char group[PATH_BYTES], folder[PATH_BYTES];
} mount_point;

/* ------------------------------------------------------------------ limits of one folder */

static bool read_line(const char *folder, const char *name, char *line, int n)
{
    char path[PATH_BYTES + 64];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return false;
    FILE *file = fopen(path, "re");
    const bool found = file && fgets(line, n, file);
    if (file) (void)fclose(file);
    return found;
}

/* A whole number above 0 at *text, which moves behind it; 0 for anything else, such as "max". */
static uint64_t take_number(char **text)
{
    while (**text == ' ')
        (*text)++;
    if (**text < '0' || **text > '9') return 0;
    return strtoull(*text, text, 10);
}

static uint64_t number_in(const char *folder, const char *name)
{
    char line[64], *at = line;
    return read_line(folder, name, line, sizeof line) ? take_number(&at) : 0;
}

/* Cores' worth of time: "quota period" in one file, or in two, in microseconds. */
static bool read_cores(const char *folder, uint64_t *value)
{
    char line[64], *at = line;
    uint64_t quota = 0, period = 0;
    if (read_line(folder, "cpu.max", line, sizeof line)) {
        quota = take_number(&at);
        period = take_number(&at);
    } else {
        quota = number_in(folder, "cpu.cfs_quota_us");
        period = number_in(folder, "cpu.cfs_period_us");
    }
    if (!quota || !period) return false;
    *value = quota / period + (quota % period != 0);
    return true;
}

static bool read_memory(const char *folder, uint64_t *value)
{
    *value = number_in(folder, "memory.max");
    if (!*value) *value = number_in(folder, "memory.limit_in_bytes");
    return *value != 0;
}

/* ------------------------------------------------------------------ groups and mounts */

/* Whether `word` stands in a list divided by commas. */
static bool lists(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = list;; at++) {
        if (!strncmp(at, word, n) && (at[n] == ',' || !at[n])) return true;
        at = strchr(at, ',');
        if (!at) return false;
    }
}

/* The group of this process in the hierarchy of a controller, NULL for that of version 2, from
 * lines "number:controllers:path". */
static bool find_group(const char *root, const char *controller, char *group)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    if (snprintf(path, sizeof path, "%s/proc/self/cgroup", root) >= (int)sizeof path) return false;
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *list = strchr(line, ':'), *name = list ? strchr(list + 1, ':') : NULL;
        if (!name) continue;
        *name++ = 0;
        name[strcspn(name, "\n")] = 0;
        found = controller ? lists(list + 1, controller) : !strncmp(line, "0:", 2) && !list[1];
        if (found) found = snprintf(group, PATH_BYTES, "%s", name) < PATH_BYTES;
    }
    if (file) (void)fclose(file);
    return found;
}

/* Undoes \040 and its like in place. */
static void unescape(char *text)
{
    char *out = text;
    for (const char *at = text; *at; out++) {
        const bool is_octal = at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' &&
                              at[2] <= '7' && at[3] >= '0' && at[3] <= '7';
        *out = is_octal ? (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + at[3] - '0') : *at;
        at += is_octal ? 4 : 1;
    }
    *out = 0;
}

/* Reads "id parent device group folder options [fields] - type source options"; whether it is the
 * mount of the controller's hierarchy (NULL: of version 2). */
static bool read_mount(char *line, const char *controller, mount_point *out)
{
    char *rest = strstr(line, " - "), *save = NULL, *field[5];
    if (!rest) return false;
    *rest = 0;
    for (int i = 0; i < 5; i++)
        if (!(field[i] = strtok_r(i ? NULL : line, " ", &save))) return false;
    const char *type = strtok_r(rest + 3, " ", &save), *source = strtok_r(NULL, " ", &save);
    const char *options = strtok_r(NULL, " \n", &save);
    if (!type || !source || strcmp(type, controller ? "cgroup" : "cgroup2") != 0) return false;
    if (controller && (!options || !lists(options, controller))) return false;
    unescape(field[3]);
    unescape(field[4]);
    return snprintf(out->group, PATH_BYTES, "%s", field[3]) < PATH_BYTES &&
           snprintf(out->folder, PATH_BYTES, "%s", field[4]) < PATH_BYTES;
}

/* The part of the group's path below the mount's own group; NULL where that group is no ancestor.
 */
static const char *below(const mount_point *mount, const char *group)
{
    const size_t n = strcmp(mount->group, "/") != 0 ? strlen(mount->group) : 0;
    if (strncmp(group, mount->group, n) != 0 || strstr(group, "/..")) return NULL;
    if (!group[n] || !strcmp(group + n, "/")) return "";
    return group[n] == '/' ? group + n : NULL;
}

/* All folders from mount point + part up to the mount point. */
static void read_path(const char *root, const mount_point *mount, const char *part, resource *r)
{
    char folder[2 * PATH_BYTES];
    const int n = snprintf(folder, sizeof folder, "%s%s%s", root, mount->folder, part);
    if (n < 0 || n >= PATH_BYTES) return;
    const size_t top = (size_t)n - strlen(part);
    for (size_t end = (size_t)n + 1; end-- > top;) {
        if (folder[end] && folder[end] != '/') continue;
        folder[end] = 0;
        uint64_t value = 0;
        if (r->read(folder, &value) && value < r->least) r->least = value;
    }
}

/* One pass over the mounts of a hierarchy: those that show the group, or all, of which the mount
 * points are read then. Returns how many there were. */
static int read_mounts(const char *root, const char *controller, const char *group, resource *r)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    mount_point mount;
    int n = 0;
    if (snprintf(path, sizeof path, "%s/proc/self/mountinfo", root) >= (int)sizeof path) return 0;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (!read_mount(line, controller, &mount)) continue;
        const char *part = group ? below(&mount, group) : "";
        if (part) read_path(root, &mount, part, r);
        n += part != NULL;
    }
    if (file) (void)fclose(file);
    return n;
}

/* A group may be named as another namespace sees it, and then no mount shows it; the mount point
 * is its nearest ancestor that can be seen. */
static void read_hierarchy(const char *root, const char *controller, resource *r)
{
    char group[PATH_BYTES];
    if (!find_group(root, controller, group)) return;
    if (!read_mounts(root, controller, group, r)) (void)read_mounts(root, controller, NULL, r);
}

static uint64_t least_of(const char *root, resource r)
{
    r.least = UINT64_MAX;
    read_hierarchy(root, NULL, &r);
    read_hierarchy(root, r.controller, &r);
    return r.least;
}

/* ------------------------------------------------------------------ answers */

int laci_group_threads(const char *root)
{
    const uint64_t n = least_of(root, (resource){ .controller = "cpu", .read = read_cores });
    return n < INT32_MAX ? (int)n : 0;
}

uint64_t laci_group_memory(const char *root)
{
    return least_of(root, (resource){ .controller = "memory", .read = read_memory });
}

/* Cores in the affinity; machines may have more than fit the usual set. */
static int affinity_cores(void)
{
    for (int n_cores = 1024; n_cores <= 1 << 16; n_cores *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)n_cores);
        const size_t size = CPU_ALLOC_SIZE((size_t)n_cores);
        const bool known = set && sched_getaffinity(0, size, set) == 0;
        const int n = known ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (known) return n;
    }
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

int laci_machine_threads(void)
{
    const int cores = affinity_cores(), quota = laci_group_threads("");
    const int n = quota && quota < cores ? quota : cores;
    return n > 1 ? n : 1;
}

uint64_t laci_machine_memory(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    const uint64_t all = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    const uint64_t groups = laci_group_memory("");
    return groups < all ? groups : all;
}
