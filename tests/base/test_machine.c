/* test_machine.c: cores and memory of a process: affinity, and limits of control groups read from
 * made trees of folders in the place of /proc and the mounts. */
#define _GNU_SOURCE /* sched_setaffinity, mkdtemp */
#include "test.h"

#include <errno.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/machine.h"

static char root[] = "/tmp/lacuna-machine-XXXXXX";
static bool is_made; /* there is a tree to be taken away */

/* Writes a file below the root, and the folders it needs. */
static void put(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        if (mkdir(path, 0777)) assert_int_equal(errno, EEXIST);
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int clear(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    if (is_made && system(command)) return -1;
    is_made = false;
    return 0;
}

static int make(void **state)
{
    (void)state;
    memcpy(root + sizeof root - 7, "XXXXXX", 6);
    is_made = mkdtemp(root) != NULL;
    return is_made ? 0 : -1;
}

/* A process in `group` of version 2, of which `seen` stands at /sys/fs/cgroup. */
static void put_v2(const char *group, const char *seen)
{
    char line[512];
    snprintf(line, sizeof line, "0::%s\n", group);
    put("proc/self/cgroup", line);
    snprintf(line, sizeof line,
             "22 1 0:20 / /proc rw - proc proc rw\n"
             "29 22 0:26 %s /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
             seen);
    put("proc/self/mountinfo", line);
}

static void no_groups_set_no_limit(void **state)
{
    (void)state;
    assert_int_equal(laci_group_threads(root), 0);
    assert_true(laci_group_memory(root) == UINT64_MAX);
    put_v2("/", "/");
    assert_int_equal(laci_group_threads(root), 0);
    assert_true(laci_group_memory(root) == UINT64_MAX);
}

static void quotas_round_up_to_whole_cores(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int cores;
    } cases[] = { { "200000 100000\n", 2 },
                  { "150000 100000\n", 2 },
                  { "1000 100000\n", 1 },
                  { "250001 50000\n", 6 },
                  { "max 100000\n", 0 },
                  { "100000 0\n", 0 },
                  { "", 0 },
                  { "-5 100000\n", 0 },
                  { "300000\n", 0 },
                  { "a lot\n", 0 },
                  { "100000 100000 7\n", 1 } };
    put_v2("/", "/");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("sys/fs/cgroup/cpu.max", cases[i].text);
        if (laci_group_threads(root) != cases[i].cores)
            fail_msg("'%s': %d cores, not %d", cases[i].text, laci_group_threads(root),
                     cases[i].cores);
    }
}

static void every_ancestor_limits(void **state)
{
    (void)state;
    put_v2("/pod/box/task", "/");
    put("sys/fs/cgroup/pod/box/task/cpu.max", "800000 100000\n");
    put("sys/fs/cgroup/pod/box/task/memory.max", "max\n");
    assert_int_equal(laci_group_threads(root), 8);
    put("sys/fs/cgroup/pod/box/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/pod/box/memory.max", "5000000\n");
    put("sys/fs/cgroup/pod/cpu.max", "300000 100000\n");
    put("sys/fs/cgroup/pod/memory.max", "7000000\n");
    put("sys/fs/cgroup/other/cpu.max", "100000 100000\n");
    assert_int_equal(laci_group_threads(root), 3);
    assert_true(laci_group_memory(root) == 5000000);
    put("sys/fs/cgroup/memory.max", "4000000\n"); /* as a namespace's root has it */
    put("sys/fs/cgroup/cpu.max", "100000 100000\n");
    assert_int_equal(laci_group_threads(root), 1);
    assert_true(laci_group_memory(root) == 4000000);
}

static void a_mount_may_show_a_part_of_the_tree(void **state)
{
    (void)state;
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("sys/fs/cgroup/inner/cpu.max", "100000 100000\n");
    put_v2("/docker/ab", "/docker/ab");
    assert_int_equal(laci_group_threads(root), 2);
    put_v2("/docker/ab/inner", "/docker/ab");
    assert_int_equal(laci_group_threads(root), 1);
    put_v2("/docker/abc/inner", "/docker/ab"); /* another group: what the mount point says */
    assert_int_equal(laci_group_threads(root), 2);
    put_v2("/../other", "/");
    assert_int_equal(laci_group_threads(root), 2);
}

/* A folder of another group that is mounted as well says nothing about this process. */
static void other_groups_mounts_do_not_count(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/mine\n");
    put("proc/self/mountinfo", "29 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
                               "30 22 0:26 /other /mnt/a\\040b rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/mine/cpu.max", "400000 100000\n");
    put("mnt/a b/cpu.max", "100000 100000\n");
    assert_int_equal(laci_group_threads(root), 4);
    put("proc/self/cgroup", "0::/other\n");
    assert_int_equal(laci_group_threads(root), 1);
}

static void version_1_limits_too(void **state)
{
    (void)state;
    put("proc/self/cgroup", "9:memory:/a/b\n8:cpuset:/\n4:cpuacct,cpu:/a\n0::/\n");
    put("proc/self/mountinfo",
        "30 22 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu\n"
        "31 22 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "32 22 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        "33 22 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(laci_group_threads(root), 0);
    assert_true(laci_group_memory(root) == 9223372036854771712u);
    put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
    put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "123456789\n");
    assert_int_equal(laci_group_threads(root), 3);
    assert_true(laci_group_memory(root) == 123456789);
    put("sys/fs/cgroup/unified/memory.max", "99\n");
    assert_true(laci_group_memory(root) == 99);
}

static void affinity_counts(void **state)
{
    (void)state;
    cpu_set_t before, one;
    if (sched_getaffinity(0, sizeof before, &before)) skip(); /* more than 1,024 cores */
    assert_in_range(laci_machine_threads(), 1, CPU_COUNT(&before));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    const int n = laci_machine_threads();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(n, 1);
}

static void there_is_memory(void **state)
{
    (void)state;
    assert_in_range(laci_machine_memory() >> 20, 1, UINT64_C(1) << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_groups_set_no_limit, make, clear),
        cmocka_unit_test_setup_teardown(quotas_round_up_to_whole_cores, make, clear),
        cmocka_unit_test_setup_teardown(every_ancestor_limits, make, clear),
        cmocka_unit_test_setup_teardown(a_mount_may_show_a_part_of_the_tree, make, clear),
        cmocka_unit_test_setup_teardown(other_groups_mounts_do_not_count, make, clear),
        cmocka_unit_test_setup_teardown(version_1_limits_too, make, clear),
        cmocka_unit_test(affinity_counts),
        cmocka_unit_test(there_is_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
