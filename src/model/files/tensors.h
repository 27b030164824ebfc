/* tensors.h: the tensor directory of one model, whatever its container. Every entry's span has been
 * checked against its file before the directory is handed out. Filled by safetensors.c and gguf.c,
 * read by config.c, weight_map.c and weights.c. */
#ifndef LACI_MODEL_TENSORS_H
#define LACI_MODEL_TENSORS_H

#include "base/dtype.h"
#include "base/file.h"

enum { LACI_MAX_DIMS = 8 };

typedef struct {
    const char *name; /* owned by the directory; no control characters */
    laci_dtype dtype;
    const char *dtype_name; /* static, as the format spells it; for errors about LACI_OTHER */
    int n_dims;
    uint64_t shape[LACI_MAX_DIMS]; /* row-major, outermost first (GGUF's order reversed) */
    uint64_t n_elements;
    const void *data; /* into a mapping; no alignment promised */
    uint64_t n_bytes;
    int file; /* index into the directory's files, -1 when the bytes are the
                 caller's (laci_gguf_open_bytes, laci_safetensors_parse) */
} laci_tensor;

typedef struct {
    lac_allocator mem;
    laci_tensor *tensors; /* [n_tensors] ascending by name once sorted */
    size_t n_tensors, capacity;
    laci_file *files;  /* [n_files] mappings, owned */
    char **file_names; /* [n_files] base names, owned */
    size_t n_files;
    struct laci_name_chunk *names; /* storage of the tensor names, owned */
} laci_tensor_dir;

/* Entry by exact name, NULL when absent. Binary search: the directory must be sorted. */
const laci_tensor *laci_tensor_find(const laci_tensor_dir *dir, const char *name);

/* Sorts entries by name; false when two share one (then *twice names it). */
bool laci_tensor_sort(laci_tensor_dir *dir, const char **twice);

/* For the readers of containers. Appends an entry, its name copied from n bytes; false when out of
 * memory. */
bool laci_tensor_append(laci_tensor_dir *dir, const laci_tensor *tensor, const char *name,
                        size_t n);
/* Maps the file at `path` and adds it to the directory; its index is n_files - 1.
 * Errors: EIO, ENOMEM. */
lac_status laci_tensor_dir_map(laci_tensor_dir *dir, const char *path, lac_error *err);

/* Unmaps and frees everything; accepts a zeroed or half-built directory. */
void laci_tensor_dir_clear(laci_tensor_dir *dir);

/* Writes "[a, b, c]" to `out`, for errors about shapes; returns `out`. */
enum { LACI_SHAPE_TEXT = 192 };
const char *laci_shape_text(const uint64_t *shape, int n_dims, char out[LACI_SHAPE_TEXT]);

#endif
