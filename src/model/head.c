/* head.c: see head.h. */
#include "model/head.h"

#include <string.h>

enum {
    PIECE = 1 << 20,  /* bytes compared before their pages are let go */
    SAMPLE = 4096,    /* bytes of a sample */
    N_SAMPLES = 1024, /* of a large head */
    SMALL = 64 * 1024 * 1024,
};

static void forget(const laci_tensor_dir *dir, const laci_tensor *t, size_t at, size_t n)
{
    if (t->file < 0) return;
    const laci_file *file = &dir->files[t->file];
    laci_file_forget(file, (size_t)((const unsigned char *)t->data - file->data) + at, n);
}

static bool equal_at(const laci_tensor_dir *dir, const laci_tensor *a, const laci_tensor *b,
                     size_t at, size_t n)
{
    const bool equal = !memcmp((const char *)a->data + at, (const char *)b->data + at, n);
    forget(dir, a, at, n);
    forget(dir, b, at, n);
    return equal;
}

static bool are_equal(const laci_tensor_dir *dir, const laci_tensor *a, const laci_tensor *b,
                      bool whole)
{
    const size_t n = (size_t)a->n_bytes;
    if (a->dtype != b->dtype || a->n_bytes != b->n_bytes || !n) return false;
    const bool all = whole || n <= SMALL;
    const size_t piece = all ? PIECE : SAMPLE;
    const size_t stride = all ? PIECE : (n - SAMPLE) / (N_SAMPLES - 1);
    for (size_t at = 0; at < n; at += stride)
        if (!equal_at(dir, a, b, at, n - at < piece ? n - at : piece)) return false;
    return true;
}

void laci_head_settle(laci_config *config, const laci_family *family, const laci_tensor_dir *dir,
                      bool whole, laci_warnings *warnings)
{
    const laci_weight_names *layout = config->tied ? laci_family_layout(family, dir) : NULL;
    if (!layout || !layout->name[LACI_W_HEAD]) return;
    const laci_tensor *embed = laci_tensor_find(dir, layout->name[LACI_W_EMBED]);
    const laci_tensor *head = laci_tensor_find(dir, layout->name[LACI_W_HEAD]);
    if (!embed || !head || are_equal(dir, embed, head, whole)) return;
    config->tied = false;
    laci_warn(warnings, LAC_WARNING_HEAD,
              "the configuration ties the head to the embedding, but tensor %s differs from %s: "
              "the head of the file is used",
              head->name, embed->name);
}
