/* gguf.h: a GGUF file: metadata and tensor directory, every count, string and span checked against
 * the file before use. */
#ifndef LACI_MODEL_GGUF_H
#define LACI_MODEL_GGUF_H

#include "model/files/tensors.h"

typedef struct laci_gguf laci_gguf;

/* Opens one file, or all shards when it is NAME-00001-of-0000N.gguf. Errors: EIO, EFORMAT,
 * EUNSUPPORTED (version 1, big-endian), ENOMEM. */
lac_status laci_gguf_open(laci_gguf **out, const char *path, const lac_allocator *mem,
                          lac_error *err);
/* The same over bytes already in memory, which must outlive the object; for the fuzz target. */
lac_status laci_gguf_open_bytes(laci_gguf **out, const unsigned char *data, size_t size,
                                const char *name, const lac_allocator *mem, lac_error *err);
void laci_gguf_close(laci_gguf *gguf);

const laci_tensor_dir *laci_gguf_tensors(const laci_gguf *gguf);

/* Metadata by key. Each returns false when the key is absent and fails (EFORMAT) when it is there
 * with another type: *found tells which. Integers of any width and sign are accepted where they
 * fit. Strings are not terminated: use the length. */
lac_status laci_gguf_int(const laci_gguf *gguf, const char *key, int64_t *out, bool *found,
                         lac_error *err);
lac_status laci_gguf_float(const laci_gguf *gguf, const char *key, double *out, bool *found,
                           lac_error *err);
lac_status laci_gguf_bool(const laci_gguf *gguf, const char *key, bool *out, bool *found,
                          lac_error *err);
lac_status laci_gguf_string(const laci_gguf *gguf, const char *key, const char **out, size_t *n,
                            bool *found, lac_error *err);

/* Arrays. An array is described once and then walked in order. */
typedef struct {
    const unsigned char *at; /* next element; each span was checked at open */
    uint64_t left;           /* elements left */
    uint32_t type;           /* GGUF element type */
} laci_gguf_array;
lac_status laci_gguf_get_array(const laci_gguf *gguf, const char *key, laci_gguf_array *out,
                               bool *found, lac_error *err);
/* Next element of an array of strings / of integers or bools / of floats; false at the end or when
 * the type is another. */
bool laci_gguf_next_string(laci_gguf_array *a, const char **out, size_t *n);
bool laci_gguf_next_int(laci_gguf_array *a, int64_t *out);
bool laci_gguf_next_float(laci_gguf_array *a, double *out);

#endif
