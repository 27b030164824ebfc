/* same_file.c: which files of a command line are one and the same, by any name: links, folders
 * spelled in two ways, files of a model's folder. See out_file_compare in out_file.h. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shell/console.h"
#include "shell/out_file.h"

enum { MAX_LINKS = 40 };

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_dash(const char *path)
{
    return !strcmp(path, "-");
}

/* What an input is. "-" is what standard input was opened on. */
static bool stat_input(const named_file *input, struct stat *out)
{
    if (input->is_stream && is_dash(input->path)) return fstat(STDIN_FILENO, out) == 0;
    return stat(input->path, out) == 0;
}

/* A regular file in the folder that is `file`: its name goes to `name`. */
static bool find_in_folder(const char *folder, const struct stat *file, char *name, size_t room)
{
    DIR *dir = opendir(folder);
    bool found = false;
    if (!dir) return false;
    for (struct dirent *entry; !found && (entry = readdir(dir));) {
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, 0) || !is_same(&info, file)) continue;
        snprintf(name, room, "%s", entry->d_name);
        found = true;
    }
    closedir(dir);
    return found;
}

static int compare_with_input(const named_file *output, const struct stat *file,
                              const named_file *input)
{
    struct stat info;
    char name[NAME_MAX + 1];
    if (!input->path || !stat_input(input, &info)) return EXIT_OK;
    if (is_same(&info, file))
        return console_fail(EXIT_USAGE, "%s %s is the file that %s %s reads", output->flag,
                            output->path, input->flag, input->path);
    if (S_ISDIR(info.st_mode) && find_in_folder(input->path, file, name, sizeof name))
        return console_fail(EXIT_USAGE, "%s %s is %s in the folder that %s %s reads", output->flag,
                            output->path, name, input->flag, input->path);
    return EXIT_OK;
}

/* Standard output belongs to the text and standard error to the messages; where they are a file, a
 * file in its place would lose them, and in a pipe lines would mix. */
static int compare_with_streams(const named_file *output, const struct stat *file)
{
    struct stat info;
    if (!output->is_stream && fstat(STDOUT_FILENO, &info) == 0 && is_same(&info, file))
        return console_fail(EXIT_USAGE, "%s %s is standard output, where the text goes",
                            output->flag, output->path);
    if (fstat(STDERR_FILENO, &info) == 0 && is_same(&info, file))
        return console_fail(EXIT_USAGE, "%s %s is standard error, where the messages go",
                            output->flag, output->path);
    return EXIT_OK;
}

/* Where a file that is not there would be: its folder, and the name in it. */
typedef struct {
    struct stat folder;
    char path[PATH_MAX];
    const char *name; /* in path */
} place;

static bool find_place(const char *path, place *out)
{
    char link[PATH_MAX];
    if ((size_t)snprintf(out->path, sizeof out->path, "%s", path) >= sizeof out->path) return false;
    for (int i = 0; i < MAX_LINKS; i++) {
        const ssize_t n = readlink(out->path, link, sizeof link - 1);
        char *slash = strrchr(out->path, '/');
        char *name = slash ? slash + 1 : out->path;
        if (n < 0) {
            char folder[PATH_MAX];
            snprintf(folder, sizeof folder, "%.*s", (int)(name - out->path), out->path);
            out->name = name;
            return stat(*folder ? folder : ".", &out->folder) == 0;
        }
        link[n] = 0;
        if (link[0] == '/') name = out->path;
        const size_t room = sizeof out->path - (size_t)(name - out->path);
        if ((size_t)snprintf(name, room, "%s", link) >= room) return false;
    }
    return false;
}

/* Two outputs that are one file, there already or not yet. */
static bool is_one_file(const char *a, const char *b)
{
    struct stat of_a, of_b;
    const bool has_a = stat(a, &of_a) == 0, has_b = stat(b, &of_b) == 0;
    if (has_a || has_b) return has_a && has_b && !S_ISCHR(of_a.st_mode) && is_same(&of_a, &of_b);
    place at_a, at_b;
    return find_place(a, &at_a) && find_place(b, &at_b) && is_same(&at_a.folder, &at_b.folder) &&
           !strcmp(at_a.name, at_b.name);
}

static int compare_one(const named_file *outputs, size_t at, const named_file *inputs,
                       size_t n_inputs)
{
    const named_file *output = &outputs[at];
    struct stat file;
    int code = EXIT_OK;
    if (output->is_stream && is_dash(output->path)) return EXIT_OK;
    if (is_dash(output->path))
        return console_fail(EXIT_USAGE,
                            "%s - would mix with the text on standard output; name a "
                            "file, or ./- for one of that name",
                            output->flag);
    for (size_t i = 0; i < at && !code; i++)
        if (outputs[i].path && is_one_file(outputs[i].path, output->path))
            code = console_fail(EXIT_USAGE, "%s %s and %s %s are one file", outputs[i].flag,
                                outputs[i].path, output->flag, output->path);
    if (code || stat(output->path, &file) || S_ISCHR(file.st_mode)) return code;
    code = compare_with_streams(output, &file);
    for (size_t i = 0; i < n_inputs && !code; i++)
        code = compare_with_input(output, &file, &inputs[i]);
    return code;
}

int out_file_compare(const named_file *outputs, size_t n_outputs, const named_file *inputs,
                     size_t n_inputs)
{
    for (size_t i = 0; i < n_outputs; i++) {
        const int code = outputs[i].path ? compare_one(outputs, i, inputs, n_inputs) : EXIT_OK;
        if (code) return code;
    }
    return EXIT_OK;
}
