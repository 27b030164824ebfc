/* damage.h: a copy of a model with one number of one tensor changed, for tests. */
#ifndef LACI_TESTS_ENGINE_DAMAGE_H
#define LACI_TESTS_ENGINE_DAMAGE_H

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/golden.h"

#include "base/dtype.h"

static const char *const damage_files[] = { "config.json", "generation_config.json",
                                            "tokenizer.json", "model.safetensors" };
enum { DAMAGE_FILES = sizeof damage_files / sizeof damage_files[0] };

typedef struct {
    char folder[32];
} damaged;

/* A whole file in memory; NULL when there is none. */
static inline char *damage_read(const char *folder, const char *name, size_t *n)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *n = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*n + 1);
    assert_int_equal(fread(data, 1, *n, file), *n);
    fclose(file);
    return data;
}

/* Sets element `at` of a tensor, F32 or BF16, in the bytes of a safetensors file. */
static inline void damage_set(char *data, const char *tensor, size_t at, float value)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    laci_json *doc = NULL;
    lac_error err = { 0 };
    int32_t offsets[2];
    uint64_t n_header;
    memcpy(&n_header, data, sizeof n_header);
    if (laci_json_parse(&doc, data + 8, (size_t)n_header, "model.safetensors", NULL, &mem, &err))
        fail_msg("%s", err.message);
    const laci_jval *v = golden_get(laci_json_root(doc), tensor);
    assert_int_equal(golden_ints(golden_get(v, "data_offsets"), offsets, 2), 2);
    char *const numbers = data + 8 + n_header + offsets[0];
    if (!strcmp(laci_json_string(golden_get(v, "dtype")), "F32")) {
        memcpy(numbers + at * sizeof value, &value, sizeof value);
    } else {
        assert_string_equal(laci_json_string(golden_get(v, "dtype")), "BF16");
        const uint16_t half = laci_f32_to_bf16(value);
        memcpy(numbers + at * sizeof half, &half, sizeof half);
    }
    laci_json_free(doc);
}

/* Copies the model below `path` into a new folder, with element `at` of `tensor` set to `value`. */
static inline damaged damage(const char *path, const char *tensor, size_t at, float value)
{
    damaged d = { "/tmp/lacuna-damaged-XXXXXX" };
    assert_non_null(mkdtemp(d.folder));
    for (size_t i = 0; i < DAMAGE_FILES; i++) {
        char out[128];
        size_t n = 0;
        char *data = damage_read(test_path(path), damage_files[i], &n);
        if (!data) continue;
        if (strstr(damage_files[i], "safetensors")) damage_set(data, tensor, at, value);
        snprintf(out, sizeof out, "%s/%s", d.folder, damage_files[i]);
        FILE *file = fopen(out, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(data, 1, n, file), n);
        assert_int_equal(fclose(file), 0);
        free(data);
    }
    return d;
}

static inline void damage_remove(const damaged *d)
{
    for (size_t i = 0; i < DAMAGE_FILES; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", d->folder, damage_files[i]);
        (void)remove(path);
    }
    assert_int_equal(rmdir(d->folder), 0);
}

#endif
