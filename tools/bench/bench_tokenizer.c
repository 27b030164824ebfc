/* bench_tokenizer.c: encode and decode speed of a tokenizer on text files, on one thread.
 *
 *   bench_tokenizer TOKENIZER FILE...          MB per second of processor time: median, range
 *   bench_tokenizer TOKENIZER --ids [--special]
 *                                              ids of the text on standard input, as JSON
 *
 * TOKENIZER is a folder or a tokenizer.json. The hash printed for each file is that of its ids: a
 * fast wrong answer is not a result. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "model/tokenizer/tokenizer.h"

enum { N_RUNS = 9, MAX_FILE = 1 << 29 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* other programs do not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int report(const char *what, const lac_error *err)
{
    fprintf(stderr, "%s: %s: %s\n", what, lac_status_name(err->code), err->message);
    return 1;
}

static lac_status open_tokenizer(laci_tokenizer **tok, const char *path, lac_error *err)
{
    if (laci_path_is_dir(path)) return laci_tokenizer_open_dir(tok, path, NULL, err);
    const lac_allocator mem = laci_allocator_or_default(NULL);
    char *text = NULL;
    size_t n;
    lac_status st = laci_file_read(&text, &n, path, MAX_FILE, &mem, err);
    if (!st) st = laci_tokenizer_open_json(tok, text, n, NULL, err);
    free(text);
    return st;
}

/* FNV-1a over the ids. */
static uint64_t hash_ids(const laci_ids *ids)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < ids->n; i++)
        h = (h ^ (uint32_t)ids->ids[i]) * 0x100000001b3u;
    return h;
}

static void print_speed(const char *what, double *seconds, size_t n_bytes)
{
    qsort(seconds, N_RUNS, sizeof *seconds, compare_doubles);
    const double megabytes = 1e-6 * (double)n_bytes;
    printf("  %s %.1f MB/s (%.1f to %.1f)", what, megabytes / seconds[N_RUNS / 2],
           megabytes / seconds[N_RUNS - 1], megabytes / seconds[0]);
}

static int bench_text(const laci_tokenizer *tok, const char *name, const char *text, size_t n)
{
    lac_error err = { 0 };
    laci_ids ids = { .mem = laci_allocator_or_default(NULL) };
    double encode[N_RUNS], decode[N_RUNS];
    for (int run = 0; run < N_RUNS; run++) {
        ids.n = 0;
        double start = now();
        if (laci_tokenizer_encode(tok, text, n, false, &ids, &err)) return report(name, &err);
        encode[run] = now() - start;
        char *back = NULL;
        size_t n_back;
        start = now();
        if (laci_tokenizer_decode(tok, ids.ids, ids.n, true, NULL, &back, &n_back, &err))
            return report(name, &err);
        decode[run] = now() - start;
        free(back);
    }
    printf("%s: %zu bytes, %zu ids, hash %016llx\n", name, n, ids.n,
           (unsigned long long)hash_ids(&ids));
    print_speed("encode", encode, n);
    print_speed("decode", decode, n);
    printf("\n");
    laci_ids_clear(&ids);
    return 0;
}

static int bench_file(const laci_tokenizer *tok, const char *path)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    lac_error err = { 0 };
    char *text = NULL;
    size_t n;
    if (laci_file_read(&text, &n, path, MAX_FILE, &mem, &err)) return report(path, &err);
    const int rc = bench_text(tok, path, text, n);
    free(text);
    return rc;
}

static int print_ids(const laci_tokenizer *tok, bool parse_special)
{
    lac_error err = { 0 };
    laci_ids ids = { .mem = laci_allocator_or_default(NULL) };
    char *text = malloc(MAX_FILE);
    if (!text) return 1;
    const size_t n = fread(text, 1, MAX_FILE, stdin);
    if (laci_tokenizer_encode(tok, text, n, parse_special, &ids, &err))
        return report("standard input", &err);
    printf("{\"ids\":[");
    for (size_t i = 0; i < ids.n; i++)
        printf("%s%d", i ? "," : "", (int)ids.ids[i]);
    printf("]}\n");
    laci_ids_clear(&ids);
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer TOKENIZER FILE... | --ids [--special]\n");
        return 2;
    }
    laci_tokenizer *tok = NULL;
    lac_error err = { 0 };
    const double start = now();
    if (open_tokenizer(&tok, argv[1], &err)) return report(argv[1], &err);
    const double seconds = now() - start;
    int rc = 0;
    if (!strcmp(argv[2], "--ids")) {
        rc = print_ids(tok, argc > 3 && !strcmp(argv[3], "--special"));
    } else {
        printf("open %.3f s, %d tokens\n", seconds, laci_tokenizer_n_tokens(tok));
        for (int i = 2; i < argc && !rc; i++)
            rc = bench_file(tok, argv[i]);
    }
    laci_tokenizer_close(tok);
    return rc;
}
