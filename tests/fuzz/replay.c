/* replay.c: runs a fuzz target over every file of the folders named on the command line, so that
 * the corpus is an ordinary test without libFuzzer. Fails when a folder is empty. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *folder, const char *name)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 1;
    FILE *file = fopen(path, "rb");
    if (!file) return 1;
    uint8_t *data = NULL;
    long size = -1;
    if (!fseek(file, 0, SEEK_END) && (size = ftell(file)) >= 0 && !fseek(file, 0, SEEK_SET))
        data = malloc(size ? (size_t)size : 1); /* exact size: a read past it is caught by ASan */
    const int bad = !data || fread(data, 1, (size_t)size, file) != (size_t)size;
    fclose(file);
    if (!bad) (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return bad;
}

int main(int argc, char **argv)
{
    int n_files = 0, n_bad = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) continue;
        for (struct dirent *entry; (entry = readdir(folder));) {
            if (entry->d_name[0] == '.') continue;
            n_files++;
            if (replay_file(argv[i], entry->d_name)) {
                fprintf(stderr, "cannot read %s/%s\n", argv[i], entry->d_name);
                n_bad++;
            }
        }
        closedir(folder);
    }
    printf("%d inputs replayed\n", n_files);
    return n_bad || !n_files;
}
