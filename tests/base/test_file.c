/* test_file.c: what is no regular file is refused at once, by what it is; nobody has to write into
 * a pipe for that. */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "test.h"

#include "base/alloc.h"
#include "base/file.h"

static void refuses(const char *path, const char *words)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    lac_error err = { .message = "" };
    laci_file file;
    char *text;
    size_t n;
    alarm(20); /* an open that waits would wait for ever */
    assert_int_equal(laci_file_map(&file, path, &err), LAC_EIO);
    if (!strstr(err.message, words)) fail_msg("%s: \"%s\" lacks \"%s\"", path, err.message, words);
    assert_int_equal(laci_file_read(&text, &n, path, 100, &mem, &err), LAC_EIO);
    if (!strstr(err.message, words)) fail_msg("%s: \"%s\" lacks \"%s\"", path, err.message, words);
    alarm(0);
}

static void only_regular_files_are_opened(void **state)
{
    (void)state;
    char folder[] = "/tmp/lacuna-file-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(symlink("pipe", "link"), 0);
    refuses("pipe", "pipe is a pipe, not a regular file");
    refuses("link", "link is a pipe");
    refuses(".", ". is a folder");
    refuses("/dev/null", "/dev/null is a device");
    refuses("absent", "cannot open absent");
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "socket" };
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof at))
        refuses("socket", "socket"); /* cannot even be opened */
    if (fd >= 0) close(fd);
    unlink("socket");
    unlink("link");
    unlink("pipe");
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void room_is_what_the_limit_leaves(void **state)
{
    (void)state;
    struct rlimit before, narrow;
    assert_true(laci_has_room(1 << 20, 2));
    assert_false(laci_has_room(SIZE_MAX, 0));
    assert_false(laci_has_room(1, SIZE_MAX));
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    narrow = before;
    narrow.rlim_cur = 1; /* all that is there stays, nothing may come */
    assert_int_equal(setrlimit(RLIMIT_AS, &narrow), 0);
    const bool has_room = laci_has_room(1 << 20, 0), has_stack = laci_has_room(0, 1);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_false(has_room || has_stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(room_is_what_the_limit_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
