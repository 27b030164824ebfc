/* safetensors.c: reads the headers of model.safetensors or of the shards an index names. Format: 8
 * bytes little-endian header length, that many bytes of JSON, then the tensors. Everything in a
 * header is checked (lengths, types, shapes, exact tiling) before an entry joins the directory; of
 * the tensors themselves no byte is read here. */
#include "model/files/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/sniff.h"
#include "base/utf8.h"
#include "model/files/locate.h"

enum {
    MAX_HEADER = 100 * 1000 * 1000,
    MAX_TENSORS = 65536,
    MAX_NODES = 2 * 1000 * 1000, /* values and keys of one header: 65,536 entries with room */
    MAX_NAME = 1024,
    MAX_SHARDS = 1024,
    MAX_INDEX = 64 * 1024 * 1024,
};

/* Element types of the format. Those that cannot be computed with still have a size to check. */
static const struct {
    const char *name;
    unsigned bits;
    laci_dtype type;
} types[] = {
    { "F32", 32, LACI_F32 },          { "F16", 16, LACI_F16 },
    { "BF16", 16, LACI_BF16 },        { "BOOL", 8, LACI_OTHER },
    { "U8", 8, LACI_OTHER },          { "I8", 8, LACI_OTHER },
    { "F8_E5M2", 8, LACI_OTHER },     { "F8_E4M3", 8, LACI_OTHER },
    { "F8_E8M0", 8, LACI_OTHER },     { "F8_E4M3FNUZ", 8, LACI_OTHER },
    { "F8_E5M2FNUZ", 8, LACI_OTHER }, { "I16", 16, LACI_OTHER },
    { "U16", 16, LACI_OTHER },        { "I32", 32, LACI_OTHER },
    { "U32", 32, LACI_OTHER },        { "C64", 64, LACI_OTHER },
    { "F64", 64, LACI_OTHER },        { "I64", 64, LACI_OTHER },
    { "U64", 64, LACI_OTHER },        { "F4", 4, LACI_OTHER },
    { "F6_E2M3", 6, LACI_OTHER },     { "F6_E3M2", 6, LACI_OTHER },
};

/* One header while it is read. */
typedef struct {
    laci_tensor_dir *dir;
    const unsigned char *data; /* the byte buffer behind the header */
    uint64_t n_data;
    int file;
    const char *name; /* of the file, for errors */
    lac_error *err;
} header;

/* Tensor names appear in errors, which are one line: no control characters. */
static lac_status check_name(const header *h, const char *name)
{
    const size_t n = strlen(name);
    if (!n || n > MAX_NAME)
        return laci_fail(h->err, LAC_EFORMAT, 0,
                         "%s: tensor name of %zu bytes, allowed are 1 to %d", h->name, n, MAX_NAME);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || laci_is_c1(name + i, n - i))
            return laci_fail(h->err, LAC_EFORMAT, 0,
                             "%s: tensor name with control character 0x%02x at position %zu",
                             h->name, (unsigned)(unsigned char)name[i], i);
    return LAC_OK;
}

static lac_status read_type(const header *h, const char *name, const laci_jval *v, laci_tensor *t,
                            unsigned *bits)
{
    if (!laci_json_is_string(v))
        return laci_fail(h->err, LAC_EFORMAT, 0, "%s: %s: dtype is not a string", h->name, name);
    const char *text = laci_json_string(v);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, text)) continue;
        t->dtype = types[i].type;
        t->dtype_name = types[i].name;
        *bits = types[i].bits;
        return LAC_OK;
    }
    return laci_fail(h->err, LAC_EFORMAT, 0, "%s: %s: dtype is not one of the format's", h->name,
                     name);
}

/* Reads the shape and multiplies it out, overflow-checked. */
static lac_status read_shape(const header *h, const char *name, const laci_jval *v, laci_tensor *t)
{
    if (!laci_json_is_array(v))
        return laci_fail(h->err, LAC_EFORMAT, 0, "%s: %s: shape is not an array", h->name, name);
    t->n_elements = 1;
    for (const laci_jval *item = laci_json_first(v); item; item = laci_json_next(item)) {
        int64_t size;
        if (t->n_dims == LACI_MAX_DIMS)
            return laci_fail(h->err, LAC_EFORMAT, 0, "%s: %s: shape has %zu dimensions, limit %d",
                             h->name, name, laci_json_count(v), LACI_MAX_DIMS);
        if (!laci_json_integer(item, &size) || size < 0)
            return laci_fail(h->err, LAC_EFORMAT, 0,
                             "%s: %s: dimension %d of the shape is not a non-negative integer",
                             h->name, name, t->n_dims);
        if (size && t->n_elements > UINT64_MAX / (uint64_t)size)
            return laci_fail(h->err, LAC_EFORMAT, 0,
                             "%s: %s: the product of its shape exceeds 64 bits", h->name, name);
        t->n_elements *= (uint64_t)size;
        t->shape[t->n_dims++] = (uint64_t)size;
    }
    return LAC_OK;
}

/* Reads [begin, end) and compares it with what type and shape demand. */
static lac_status read_span(const header *h, const char *name, const laci_jval *v, laci_tensor *t,
                            unsigned bits)
{
    int64_t begin = -1, end = -1;
    const laci_jval *first = laci_json_is_array(v) ? laci_json_first(v) : NULL;
    const laci_jval *second = first ? laci_json_next(first) : NULL;
    if (!second || laci_json_next(second) || !laci_json_integer(first, &begin) ||
        !laci_json_integer(second, &end) || begin < 0 || end < 0)
        return laci_fail(h->err, LAC_EFORMAT, 0,
                         "%s: %s: data_offsets are not two non-negative integers", h->name, name);
    if (begin > end || (uint64_t)end > h->n_data)
        return laci_fail(h->err, LAC_EFORMAT, (uint64_t)begin,
                         "%s: %s: data_offsets %lld to %lld in a buffer of %llu bytes", h->name,
                         name, (long long)begin, (long long)end, (unsigned long long)h->n_data);
    t->n_bytes = (uint64_t)(end - begin);
    t->data = h->data + begin;
    if (t->n_elements > UINT64_MAX / bits || t->n_elements * bits % 8 ||
        t->n_elements * bits / 8 != t->n_bytes)
        return laci_fail(h->err, LAC_EFORMAT, (uint64_t)begin,
                         "%s: %s: %llu elements of type %s in %llu bytes", h->name, name,
                         (unsigned long long)t->n_elements, t->dtype_name,
                         (unsigned long long)t->n_bytes);
    return LAC_OK;
}

static lac_status read_entry(const header *h, const laci_jval *entry)
{
    const char *name = laci_json_key(entry);
    lac_status st = check_name(h, name);
    if (st) return st;
    const laci_jval *type = laci_json_get(entry, "dtype");
    const laci_jval *shape = laci_json_get(entry, "shape");
    const laci_jval *span = laci_json_get(entry, "data_offsets");
    if (!type || !shape || !span || laci_json_count(entry) != 3)
        return laci_fail(h->err, LAC_EFORMAT, 0,
                         "%s: %s: an entry has exactly dtype, shape and data_offsets, this has %zu "
                         "keys%s",
                         h->name, name, laci_json_count(entry),
                         laci_json_is_object(entry) ? "" : " (it is no object)");
    laci_tensor t = { .file = h->file };
    unsigned bits = 0;
    st = read_type(h, name, type, &t, &bits);
    if (!st) st = read_shape(h, name, shape, &t);
    if (!st) st = read_span(h, name, span, &t, bits);
    if (st) return st;
    if (!laci_tensor_append(h->dir, &t, name, strlen(name)))
        return laci_fail_memory(h->err, "the tensor directory", sizeof t);
    return LAC_OK;
}

static lac_status check_metadata(const header *h, const laci_jval *metadata)
{
    if (!laci_json_is_object(metadata))
        return laci_fail(h->err, LAC_EFORMAT, 0, "%s: __metadata__ is not an object", h->name);
    for (const laci_jval *v = laci_json_first(metadata); v; v = laci_json_next(v))
        if (!laci_json_is_string(v))
            return laci_fail(h->err, LAC_EFORMAT, 0,
                             "%s: __metadata__ holds a value that is not a "
                             "string",
                             h->name);
    return LAC_OK;
}

static int compare_spans(const void *left, const void *right)
{
    const laci_tensor *const *a = left, *const *b = right;
    const uintptr_t at_a = (uintptr_t)(*a)->data, at_b = (uintptr_t)(*b)->data;
    if (at_a != at_b) return at_a < at_b ? -1 : 1;
    return (*a)->n_bytes < (*b)->n_bytes ? -1 : (*a)->n_bytes > (*b)->n_bytes;
}

/* The entries from index `first` on must cover the buffer without gap or overlap. */
static lac_status check_tiling(const header *h, size_t first)
{
    const size_t n = h->dir->n_tensors - first;
    const laci_tensor **order = laci_alloc_array(&h->dir->mem, n, sizeof *order);
    if (!order) return laci_fail_memory(h->err, "tensor spans", n * sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = &h->dir->tensors[first + i];
    if (n) qsort(order, n, sizeof *order, compare_spans);
    uint64_t end = 0;
    lac_status st = LAC_OK;
    for (size_t i = 0; i < n && !st; i++) {
        const uint64_t begin = (uint64_t)((const unsigned char *)order[i]->data - h->data);
        if (begin != end)
            st = laci_fail(h->err, LAC_EFORMAT, begin,
                           "%s: %s: begins at %llu, but the tensor before it ends at %llu", h->name,
                           order[i]->name, (unsigned long long)begin, (unsigned long long)end);
        end = begin + order[i]->n_bytes;
    }
    laci_release(&h->dir->mem, order);
    if (!st && end != h->n_data)
        st = laci_fail(h->err, LAC_EFORMAT, end,
                       "%s: tensors end at %llu, the buffer has %llu bytes", h->name,
                       (unsigned long long)end, (unsigned long long)h->n_data);
    return st;
}

static lac_status read_header(const header *h, const laci_jval *root)
{
    if (!laci_json_is_object(root))
        return laci_fail(h->err, LAC_EFORMAT, 8, "%s: the header is not an object", h->name);
    const size_t first = h->dir->n_tensors;
    for (const laci_jval *v = laci_json_first(root); v; v = laci_json_next(v)) {
        if (h->dir->n_tensors - first == MAX_TENSORS)
            return laci_fail(h->err, LAC_EFORMAT, 0, "%s: more than %d tensors", h->name,
                             MAX_TENSORS);
        const bool is_metadata = !strcmp(laci_json_key(v), "__metadata__");
        lac_status st = is_metadata ? check_metadata(h, v) : read_entry(h, v);
        if (st) return st;
    }
    return check_tiling(h, first);
}

/* Checks the length field against the file. */
static lac_status read_length(uint64_t *n, const unsigned char *data, size_t size, const char *name,
                              lac_error *err)
{
    if (size < 8)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: file has %zu bytes, needs at least 8", name,
                         size);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | data[i];
    if (length < 2 || length > MAX_HEADER)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: header of %llu bytes, allowed are 2 to %d", name,
                         (unsigned long long)length, MAX_HEADER);
    if (length > size - 8)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: header ends at %llu, file has %zu bytes", name,
                         (unsigned long long)length + 8, size);
    if (data[8] != '{')
        return laci_fail(err, LAC_EFORMAT, 8, "%s: header begins with 0x%02x, not with '{'", name,
                         (unsigned)data[8]);
    *n = length;
    return LAC_OK;
}

lac_status laci_safetensors_parse(laci_tensor_dir *dir, const unsigned char *data, size_t size,
                                  int file, const char *name, lac_error *err)
{
    uint64_t n = 0;
    lac_status st = read_length(&n, data, size, name, err);
    const char *other = st ? laci_sniff_binary(data, size) : NULL;
    if (other) st = laci_fail(err, LAC_EFORMAT, 0, "%s is %s, not safetensors", name, other);
    if (st) return st;
    laci_json *doc;
    const laci_json_limits limits = { .max_bytes = MAX_HEADER, .max_nodes = MAX_NODES };
    st = laci_json_parse(&doc, (const char *)data + 8, (size_t)n, name, &limits, &dir->mem, err);
    if (st) return st;
    const header h = { dir, data + 8 + n, size - 8 - n, file, name, err };
    st = read_header(&h, laci_json_root(doc));
    laci_json_free(doc);
    return st;
}

/* Maps and parses one file of the folder. */
static lac_status add_file(laci_tensor_dir *dir, const char *folder, const char *name,
                           lac_error *err)
{
    char *path = laci_path_join(&dir->mem, folder, name);
    if (!path) return laci_fail_memory(err, "a file name", strlen(folder) + strlen(name));
    lac_status st = laci_tensor_dir_map(dir, path, err);
    laci_release(&dir->mem, path);
    if (st) return st;
    const int file = (int)dir->n_files - 1;
    return laci_safetensors_parse(dir, dir->files[file].data, dir->files[file].size, file,
                                  dir->file_names[file], err);
}

/* ------------------------------------------------------------------ index and shards */

static const char index_name[] = "model.safetensors.index.json";

/* A name such as model-00001-of-00004.safetensors; nothing that could leave the folder. */
static bool is_plain_name(const char *name)
{
    if (!*name || *name == '.' || strstr(name, "..")) return false;
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return strspn(name, plain) == strlen(name);
}

static int compare_by_file(const void *left, const void *right)
{
    const laci_jval *const *a = left, *const *b = right;
    return strcmp(laci_json_string(*a), laci_json_string(*b));
}

static int compare_by_tensor(const void *left, const void *right)
{
    const laci_jval *const *a = left, *const *b = right;
    return strcmp(laci_json_key(*a), laci_json_key(*b));
}

/* Collects the members of weight_map (tensor name -> file name), each checked. */
static lac_status collect_map(const laci_jval **entries, const laci_jval *map, lac_error *err)
{
    size_t n = 0;
    for (const laci_jval *v = laci_json_first(map); v; v = laci_json_next(v)) {
        if (!laci_json_is_string(v) || !is_plain_name(laci_json_string(v)))
            return laci_fail(err, LAC_EFORMAT, 0,
                             "%s: entry %zu of weight_map is not a plain file name", index_name, n);
        entries[n++] = v;
    }
    return LAC_OK;
}

/* Opens each named shard once. */
static lac_status add_shards(laci_tensor_dir *dir, const char *folder, const laci_jval **entries,
                             size_t n, lac_error *err)
{
    qsort(entries, n, sizeof *entries, compare_by_file);
    for (size_t i = 0; i < n; i++) {
        if (i && !compare_by_file(&entries[i - 1], &entries[i])) continue;
        if (dir->n_files == MAX_SHARDS)
            return laci_fail(err, LAC_EFORMAT, 0, "%s: more than %d shards", index_name,
                             MAX_SHARDS);
        lac_status st = add_file(dir, folder, laci_json_string(entries[i]), err);
        if (st) return st;
    }
    return LAC_OK;
}

/* Index and shards must list the same tensors in the same files. Walks two lists sorted by name. */
static lac_status compare_with_index(const laci_tensor_dir *dir, const laci_jval **entries,
                                     size_t n, lac_error *err)
{
    qsort(entries, n, sizeof *entries, compare_by_tensor);
    for (size_t i = 0; i < n || i < dir->n_tensors; i++) {
        const laci_tensor *t = i < dir->n_tensors ? &dir->tensors[i] : NULL;
        const char *listed = i < n ? laci_json_key(entries[i]) : NULL;
        char plain[LACI_PLAIN];
        if (t && (!listed || strcmp(t->name, listed) < 0))
            return laci_fail(err, LAC_EFORMAT, 0, "%s: does not list tensor %s of %s", index_name,
                             t->name, dir->file_names[t->file]);
        if (listed && (!t || strcmp(t->name, listed) > 0))
            return laci_fail(err, LAC_EFORMAT, 0, "%s: lists tensor %s, which %s lacks", index_name,
                             laci_plain_text(listed, strlen(listed), plain),
                             laci_json_string(entries[i]));
        const char *shard = laci_json_string(entries[i]);
        if (t && strcmp(dir->file_names[t->file], shard))
            return laci_fail(err, LAC_EFORMAT, 0, "%s: puts tensor %s into %s, but it is in %s",
                             index_name, t->name, shard, dir->file_names[t->file]);
    }
    return LAC_OK;
}

static lac_status sort_dir(laci_tensor_dir *dir, lac_error *err)
{
    const char *twice;
    if (laci_tensor_sort(dir, &twice)) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "tensor %s is in two shards", twice);
}

static lac_status open_map(laci_tensor_dir *dir, const char *folder, const laci_jval *map,
                           lac_error *err)
{
    const size_t n = laci_json_count(map);
    if (!n) return laci_fail(err, LAC_EFORMAT, 0, "%s: weight_map is missing or empty", index_name);
    const laci_jval **entries = laci_alloc_array(&dir->mem, n, sizeof *entries);
    if (!entries) return laci_fail_memory(err, index_name, n * sizeof *entries);
    lac_status st = collect_map(entries, map, err);
    if (!st) st = add_shards(dir, folder, entries, n, err);
    if (!st) st = sort_dir(dir, err);
    if (!st) st = compare_with_index(dir, entries, n, err);
    laci_release(&dir->mem, entries);
    return st;
}

static lac_status open_index(laci_tensor_dir *dir, const char *folder, const char *path,
                             lac_error *err)
{
    laci_json *doc;
    const laci_json_limits limits = { .max_bytes = MAX_INDEX,
                                      .max_nodes = MAX_NODES,
                                      .is_loose = true };
    lac_status st = laci_json_read(&doc, path, &limits, &dir->mem, err);
    if (st) return st;
    const laci_jval *map = laci_json_get(laci_json_root(doc), "weight_map");
    st = laci_json_is_object(map) ? open_map(dir, folder, map, err)
                                  : laci_fail(err, LAC_EFORMAT, 0,
                                              "%s: weight_map is missing or "
                                              "no object",
                                              index_name);
    laci_json_free(doc);
    return st;
}

lac_status laci_safetensors_open(laci_tensor_dir *out, const char *path, const lac_allocator *mem,
                                 lac_error *err)
{
    static const char single_name[] = "model.safetensors";
    laci_tensor_dir dir = { .mem = laci_allocator_or_default(mem) };
    lac_status st = LAC_OK;
    char *single = laci_path_join(&dir.mem, path, single_name);
    char *index = laci_path_join(&dir.mem, path, index_name);
    if (!single || !index)
        st = laci_fail_memory(err, "a file name", strlen(path) + sizeof index_name);
    else if (laci_file_exists(single))
        st = add_file(&dir, path, single_name, err);
    else if (laci_file_exists(index))
        st = open_index(&dir, path, index, err);
    else
        st = laci_fail_weights(path, err);
    if (!st) st = sort_dir(&dir, err);
    laci_release(&dir.mem, single);
    laci_release(&dir.mem, index);
    if (st)
        laci_tensor_dir_clear(&dir);
    else
        *out = dir;
    return st;
}
