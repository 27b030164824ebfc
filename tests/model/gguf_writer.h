/* gguf_writer.h: builds GGUF files in memory, field by field, for the tests that break them. */
#ifndef LACI_TESTS_MODEL_GGUF_WRITER_H
#define LACI_TESTS_MODEL_GGUF_WRITER_H

#include "test.h"

#include "model/files/gguf.h"

typedef struct {
    unsigned char bytes[1 << 17];
    size_t n;
} writer;

static writer w; /* one file at a time */

static inline void put(const void *bytes, size_t n)
{
    if (w.n + n > sizeof w.bytes) fail_msg("the test's file is too large");
    memcpy(w.bytes + w.n, bytes, n);
    w.n += n;
}
static inline void put_uint(uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        w.bytes[w.n++] = (unsigned char)(value >> (8 * i));
}
static inline void put_string(const char *text)
{
    put_uint(strlen(text), 8);
    put(text, strlen(text));
}
static inline void begin(unsigned version, uint64_t n_tensors, uint64_t n_pairs)
{
    w.n = 0;
    put("GGUF", 4);
    put_uint(version, 4);
    put_uint(n_tensors, 8);
    put_uint(n_pairs, 8);
}
static inline void put_key(const char *key, unsigned type)
{
    put_string(key);
    put_uint(type, 4);
}
static inline void put_u32(const char *key, uint32_t value)
{
    put_key(key, 4);
    put_uint(value, 4);
}
static inline void put_f32(const char *key, float value)
{
    put_key(key, 6);
    put_uint(laci_f32_to_bits(value), 4);
}
static inline void put_text(const char *key, const char *value)
{
    put_key(key, 8);
    put_string(value);
}
static inline void put_array(const char *key, unsigned type, uint64_t n)
{
    put_key(key, 9);
    put_uint(type, 4);
    put_uint(n, 8);
}
static inline void put_tensor(const char *name, int n_dims, uint64_t d0, uint64_t d1, unsigned type,
                              uint64_t offset)
{
    put_string(name);
    put_uint((uint64_t)n_dims, 4);
    for (int i = 0; i < n_dims; i++)
        put_uint(i == 0 ? d0 : i == 1 ? d1 : 1, 8);
    put_uint(type, 4);
    put_uint(offset, 8);
}
/* Pads to the alignment and appends n data bytes counting up from 0. */
static inline void put_data(size_t alignment, size_t n)
{
    while (w.n % alignment)
        w.bytes[w.n++] = 0;
    for (size_t i = 0; i < n; i++)
        put_uint(i, 1);
}

/* Opens an exact copy, so that a read past the end is seen. */
static inline lac_status open_bytes(laci_gguf **gguf, unsigned char **copy, lac_error *err)
{
    *gguf = NULL;
    memset(err, 0, sizeof *err);
    *copy = malloc(w.n ? w.n : 1);
    memcpy(*copy, w.bytes, w.n);
    return laci_gguf_open_bytes(gguf, *copy, w.n, "x.gguf", NULL, err);
}

#endif
