/* tensors.c: storage of the tensor directory: entries, names, mapped files. It knows no container:
 * safetensors.c and gguf.c check entries before they append them. */
#include "model/files/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { NAME_CHUNK = 16 * 1024, FIRST_ENTRIES = 64 };

/* Names never move once stored: chunks are chained, not grown. */
struct laci_name_chunk {
    struct laci_name_chunk *previous;
    size_t size, used;
    char text[];
};

/* A terminated copy of `name` that lives as long as the directory. */
static const char *keep_name(laci_tensor_dir *dir, const char *name, size_t n)
{
    struct laci_name_chunk *chunk = dir->names;
    if (!chunk || chunk->size - chunk->used <= n) {
        size_t size = NAME_CHUNK, total;
        if (n >= size && !laci_add_size(n, 1, &size)) return NULL;
        if (!laci_add_size(size, sizeof *chunk, &total)) return NULL;
        chunk = laci_alloc(&dir->mem, total);
        if (!chunk) return NULL;
        *chunk = (struct laci_name_chunk){ .previous = dir->names, .size = size };
        dir->names = chunk;
    }
    char *copy = chunk->text + chunk->used;
    memcpy(copy, name, n);
    copy[n] = 0;
    chunk->used += n + 1;
    return copy;
}

bool laci_tensor_append(laci_tensor_dir *dir, const laci_tensor *tensor, const char *name, size_t n)
{
    if (dir->n_tensors == dir->capacity) {
        const size_t grown = dir->capacity ? dir->capacity * 2 : FIRST_ENTRIES;
        laci_tensor *moved = laci_resize_array(&dir->mem, dir->tensors, grown, sizeof *moved);
        if (!moved) return false;
        dir->tensors = moved;
        dir->capacity = grown;
    }
    const char *kept = keep_name(dir, name, n);
    if (!kept) return false;
    dir->tensors[dir->n_tensors] = *tensor;
    dir->tensors[dir->n_tensors++].name = kept;
    return true;
}

static int compare_entries(const void *left, const void *right)
{
    const laci_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

bool laci_tensor_sort(laci_tensor_dir *dir, const char **twice)
{
    if (dir->n_tensors) qsort(dir->tensors, dir->n_tensors, sizeof *dir->tensors, compare_entries);
    for (size_t i = 1; i < dir->n_tensors; i++) {
        if (strcmp(dir->tensors[i - 1].name, dir->tensors[i].name)) continue;
        *twice = dir->tensors[i].name;
        return false;
    }
    return true;
}

const laci_tensor *laci_tensor_find(const laci_tensor_dir *dir, const char *name)
{
    size_t begin = 0, end = dir->n_tensors;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        const int order = strcmp(dir->tensors[middle].name, name);
        if (!order) return &dir->tensors[middle];
        if (order < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

lac_status laci_tensor_dir_map(laci_tensor_dir *dir, const char *path, lac_error *err)
{
    const size_t n = dir->n_files + 1;
    laci_file *files = laci_resize_array(&dir->mem, dir->files, n, sizeof *files);
    if (!files) return laci_fail_memory(err, path, n * sizeof *files);
    dir->files = files;
    char **names = laci_resize_array(&dir->mem, dir->file_names, n, sizeof *names);
    if (!names) return laci_fail_memory(err, path, n * sizeof *names);
    dir->file_names = names;
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    char *name = laci_copy_string(&dir->mem, base, strlen(base));
    if (!name) return laci_fail_memory(err, path, strlen(base) + 1);
    lac_status st = laci_file_map(&files[n - 1], path, err);
    if (st) {
        laci_release(&dir->mem, name);
        return st;
    }
    names[n - 1] = name;
    dir->n_files = n;
    return LAC_OK;
}

void laci_tensor_dir_clear(laci_tensor_dir *dir)
{
    for (size_t i = 0; i < dir->n_files; i++) {
        laci_file_unmap(&dir->files[i]);
        laci_release(&dir->mem, dir->file_names[i]);
    }
    laci_release(&dir->mem, dir->files);
    laci_release(&dir->mem, dir->file_names);
    laci_release(&dir->mem, dir->tensors);
    for (struct laci_name_chunk *chunk = dir->names; chunk;) {
        struct laci_name_chunk *previous = chunk->previous;
        laci_release(&dir->mem, chunk);
        chunk = previous;
    }
    const lac_allocator mem = dir->mem;
    *dir = (laci_tensor_dir){ .mem = mem };
}

const char *laci_shape_text(const uint64_t *shape, int n_dims, char out[LACI_SHAPE_TEXT])
{
    size_t at = (size_t)snprintf(out, LACI_SHAPE_TEXT, "[");
    for (int i = 0; i < n_dims && at < LACI_SHAPE_TEXT; i++)
        at += (size_t)snprintf(out + at, LACI_SHAPE_TEXT - at, "%s%llu", i ? ", " : "",
                               (unsigned long long)shape[i]);
    if (at < LACI_SHAPE_TEXT) (void)snprintf(out + at, LACI_SHAPE_TEXT - at, "]");
    return out;
}
