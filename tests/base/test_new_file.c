/* test_new_file.c: files that appear whole or not at all: what was there lives until the new one is
 * complete, names and links of others are left alone, and nothing stays behind. */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"

#include "base/new_file.h"

static char folder[] = "/tmp/lacuna-new-file-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    umask(022);
    return !mkdtemp(folder) || chdir(folder);
}

static int leave_folder(void **state)
{
    (void)state;
    return chdir("/") || rmdir(folder);
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void holds(const char *path, const char *text)
{
    char got[64] = "";
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is not there", path);
    got[fread(got, 1, sizeof got - 1, file)] = 0;
    fclose(file);
    if (strcmp(got, text) != 0) fail_msg("%s holds \"%s\", expected \"%s\"", path, got, text);
}

static int count_files(void)
{
    int n = -2; /* . and .. */
    DIR *dir = opendir(".");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static unsigned mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static lac_status save(const char *path, const char *text, lac_error *err)
{
    laci_new_file f;
    lac_status st = laci_new_file_open(&f, path, NULL, err);
    if (st) return st;
    st = laci_new_file_write(&f, text, strlen(text), err);
    if (!st) return laci_new_file_commit(&f, err);
    laci_new_file_drop(&f);
    return st;
}

static void the_older_file_lives_until_the_end(void **state)
{
    (void)state;
    laci_new_file f;
    put("a", "older");
    assert_ok(laci_new_file_open(&f, "a", NULL, NULL));
    assert_ok(laci_new_file_write(&f, "newer", 5, NULL));
    holds("a", "older");
    assert_int_equal(count_files(), 2);
    laci_new_file_drop(&f);
    holds("a", "older");
    assert_int_equal(count_files(), 1);
    laci_new_file_drop(&f); /* closed already */
    assert_ok(save("a", "newer", NULL));
    holds("a", "newer");
    assert_int_equal(count_files(), 1);
    unlink("a");
}

static void modes_are_kept(void **state)
{
    (void)state;
    assert_ok(save("new", "x", NULL));
    assert_int_equal(mode_of("new"), 0644);
    put("old", "x");
    static const unsigned modes[] = { 0600, 0640, 0666, 0755 };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        chmod("old", modes[i]);
        assert_ok(save("old", "y", NULL));
        assert_int_equal(mode_of("old"), modes[i]);
    }
    unlink("new");
    unlink("old");
}

/* A name that only looks like a temporary one belongs to somebody, and so does where it leads. */
static void names_of_others_are_left_alone(void **state)
{
    (void)state;
    put("kept", "kept");
    put("a.tmp", "mine");
    assert_int_equal(symlink("kept", "b.tmp"), 0);
    assert_ok(save("a", "x", NULL));
    assert_ok(save("b", "y", NULL));
    holds("a.tmp", "mine");
    holds("kept", "kept");
    unlink("a");
    unlink("b");
    unlink("a.tmp");
    unlink("b.tmp");
    unlink("kept");
    assert_int_equal(count_files(), 0);
}

static void links_are_followed(void **state)
{
    (void)state;
    char where[64];
    assert_int_equal(mkdir("sub", 0755), 0);
    put("sub/real", "older");
    assert_int_equal(symlink("real", "sub/second"), 0);
    assert_int_equal(symlink("sub/second", "first"), 0);
    assert_ok(save("first", "newer", NULL));
    holds("sub/real", "newer");
    assert_int_equal(readlink("first", where, sizeof where), (ssize_t)strlen("sub/second"));
    assert_int_equal(symlink("sub/later", "ahead"), 0); /* leads to what is not there yet */
    assert_ok(save("ahead", "x", NULL));
    holds("sub/later", "x");
    lac_error err = { .message = "" };
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(save("loop", "x", &err), LAC_EIO);
    assert_non_null(strstr(err.message, "cannot write loop"));
    unlink("loop");
    unlink("ahead");
    unlink("first");
    unlink("sub/second");
    unlink("sub/later");
    unlink("sub/real");
    assert_int_equal(rmdir("sub"), 0);
}

static void two_writers_do_not_meet(void **state)
{
    (void)state;
    laci_new_file a, b;
    assert_ok(laci_new_file_open(&a, "x", NULL, NULL));
    assert_ok(laci_new_file_open(&b, "x", NULL, NULL));
    assert_string_not_equal(a.part, b.part);
    assert_ok(laci_new_file_write(&a, "first", 5, NULL));
    assert_ok(laci_new_file_write(&b, "second", 6, NULL));
    assert_ok(laci_new_file_commit(&a, NULL));
    holds("x", "first");
    assert_ok(laci_new_file_commit(&b, NULL));
    holds("x", "second");
    assert_int_equal(count_files(), 1);
    unlink("x");
}

static void pipes_are_written_in_place(void **state)
{
    (void)state;
    char got[8] = "";
    assert_int_equal(mkfifo("pipe", 0600), 0);
    const int reader = open("pipe", O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_ok(save("pipe", "text", NULL));
    assert_int_equal(read(reader, got, sizeof got), 4);
    assert_string_equal(got, "text");
    close(reader);
    assert_int_equal(count_files(), 1);
    unlink("pipe");
}

static void what_cannot_be_written_is_named(void **state)
{
    (void)state;
    lac_error err = { .message = "" };
    assert_int_equal(save(".", "x", &err), LAC_EIO);
    assert_non_null(strstr(err.message, "Is a directory"));
    assert_int_equal(save("none/x", "x", &err), LAC_EIO);
    assert_string_equal(err.message, "cannot write none/x: No such file or directory");
    assert_int_equal(save("", "x", &err), LAC_EIO);
    char longest[256]; /* as long as names may be: the temporary one has to be shorter */
    memset(longest, 'n', 255);
    longest[255] = 0;
    assert_ok(save(longest, "x", &err));
    holds(longest, "x");
    unlink(longest);
    if (access("/dev/full", W_OK)) return;
    assert_int_equal(save("/dev/full", "x", &err), LAC_EIO);
    assert_non_null(strstr(err.message, "/dev/full"));
    assert_int_equal(count_files(), 0);
}

static void no_memory_leaves_nothing(void **state)
{
    (void)state;
    lac_status st = LAC_ENOMEM;
    for (long n = 0; st; n++) {
        fault f = { .left = n };
        const lac_allocator mem = fault_allocator(&f);
        laci_new_file file;
        lac_error err = { .message = "" };
        st = laci_new_file_open(&file, "x", &mem, &err);
        if (!st) laci_new_file_drop(&file);
        if (st) assert_int_equal(st, LAC_ENOMEM);
        assert_int_equal(f.live, 0);
        assert_int_equal(count_files(), 0);
        assert_in_range(n, 0, 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_older_file_lives_until_the_end),
        cmocka_unit_test(modes_are_kept),
        cmocka_unit_test(names_of_others_are_left_alone),
        cmocka_unit_test(links_are_followed),
        cmocka_unit_test(two_writers_do_not_meet),
        cmocka_unit_test(pipes_are_written_in_place),
        cmocka_unit_test(what_cannot_be_written_is_named),
        cmocka_unit_test(no_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
