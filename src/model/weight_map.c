/* weight_map.c: finds each part of the network among the tensors of the files, compares shape and
 * type with what the configuration demands, and then makes sure that nothing is left over: an
 * unknown tensor means an unknown network. */
#include "model/weight_map.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

enum { MAX_NAME = 96 };

static size_t index_of(int layer, laci_weight part, int n_layers)
{
    if (part < LACI_N_LAYER_WEIGHTS) return (size_t)layer * LACI_N_LAYER_WEIGHTS + (size_t)part;
    return (size_t)n_layers * LACI_N_LAYER_WEIGHTS + (size_t)(part - LACI_N_LAYER_WEIGHTS);
}

static size_t n_slots(int n_layers)
{
    return index_of(0, LACI_N_WEIGHTS, n_layers);
}

/* What one build works with. `used` has a flag for each tensor of the directory. */
typedef struct {
    laci_weight_map *map;
    const laci_config *config;
    const laci_tensor_dir *dir;
    unsigned char *used;
    lac_error *err;
} builder;

/* Puts the layer number for the %d of a pattern. */
static void name_of(char name[MAX_NAME], const char *pattern, int layer)
{
    const char *mark = strstr(pattern, "%d");
    if (mark)
        (void)snprintf(name, MAX_NAME, "%.*s%d%s", (int)(mark - pattern), pattern, layer, mark + 2);
    else
        (void)snprintf(name, MAX_NAME, "%s", pattern);
}

/* The types that can be read, for a sentence. */
static laci_listed readable_types(void)
{
    const char *names[LACI_N_DTYPES];
    size_t n = 0;
    for (int type = 0; type < LACI_N_DTYPES; type++) {
        const laci_dtype_traits *traits = laci_dtype_of((laci_dtype)type);
        if (traits->block_bytes) names[n++] = traits->name;
    }
    return laci_list(names, n);
}

static lac_status check_tensor(const builder *b, const laci_tensor *t, const uint64_t *shape,
                               int n_dims)
{
    char got[LACI_SHAPE_TEXT], wanted[LACI_SHAPE_TEXT];
    if (t->n_dims != n_dims || memcmp(t->shape, shape, (size_t)n_dims * sizeof *shape))
        return laci_fail(b->err, LAC_EFORMAT, 0, "tensor %s has shape %s, expected %s", t->name,
                         laci_shape_text(t->shape, t->n_dims, got),
                         laci_shape_text(shape, n_dims, wanted));
    if (t->dtype == LACI_OTHER)
        return laci_fail(b->err, LAC_EUNSUPPORTED, 0,
                         "tensor %s has type %s, this version reads %s", t->name, t->dtype_name,
                         readable_types().text);
    return LAC_OK;
}

/* Finds and checks one part of one layer (or a global part) and enters it. */
static lac_status add_part(const builder *b, const laci_weight_names *layout, int layer,
                           laci_weight part)
{
    if (!laci_config_uses(b->config, part)) return LAC_OK;
    uint64_t shape[2];
    char name[MAX_NAME] = "", text[LACI_SHAPE_TEXT];
    const int n_dims = laci_weight_shape(b->config, part, shape);
    if (!layout->name[part])
        return laci_fail(
            b->err, LAC_EFORMAT, 0,
            "this family's files have no name for a tensor %s of the network (part %d)",
            laci_shape_text(shape, n_dims, text), (int)part);
    name_of(name, layout->name[part], layer);
    const laci_tensor *t = laci_tensor_find(b->dir, name);
    if (!t)
        return laci_fail(b->err, LAC_EFORMAT, 0, "tensor %s %s is missing", name,
                         laci_shape_text(shape, n_dims, text));
    lac_status st = check_tensor(b, t, shape, n_dims);
    if (st) return st;
    b->map->tensors[index_of(layer, part, b->map->n_layers)] = t;
    b->map->n_params += t->n_elements;
    b->map->n_bytes += t->n_bytes;
    b->map->uses[t->dtype] = true;
    b->used[t - b->dir->tensors] = 1;
    return LAC_OK;
}

/* rope_freqs holds divisors of the RoPE frequencies: without effect only where all are 1. */
static bool is_all_one(const laci_tensor *t)
{
    float value;
    for (uint64_t i = 0; i < t->n_elements && t->dtype == LACI_F32; i++) {
        memcpy(&value, (const char *)t->data + i * sizeof value, sizeof value);
        if (value != 1) return false;
    }
    return t->dtype == LACI_F32;
}

static bool ends_with(const char *text, const char *tail)
{
    const size_t n = strlen(text), n_tail = strlen(tail);
    return n >= n_tail && !strcmp(text + n - n_tail, tail);
}

/* Known extras without effect: RoPE tables that follow from theta, the unused head of a tied
 * model. */
static bool may_skip(const builder *b, const laci_weight_names *layout, const laci_tensor *t)
{
    if (ends_with(t->name, ".rotary_emb.inv_freq")) return true;
    if (!strcmp(t->name, "rope_freqs.weight")) return is_all_one(t);
    const char *head = layout->name[LACI_W_HEAD];
    return b->config->tied && head && !strcmp(t->name, head);
}

static lac_status check_left_over(const builder *b, const laci_weight_names *layout)
{
    for (size_t i = 0; i < b->dir->n_tensors; i++) {
        const laci_tensor *t = &b->dir->tensors[i];
        if (b->used[i] || may_skip(b, layout, t)) continue;
        char text[LACI_SHAPE_TEXT];
        return laci_fail(b->err, LAC_EFORMAT, 0,
                         "tensor %.200s %s is no part of this network (%s, %d layers)", t->name,
                         laci_shape_text(t->shape, t->n_dims, text), b->config->family,
                         b->config->n_layers);
    }
    return LAC_OK;
}

static lac_status add_all(const builder *b, const laci_weight_names *layout)
{
    lac_status st = LAC_OK;
    for (int part = LACI_N_LAYER_WEIGHTS; part < LACI_N_WEIGHTS && !st; part++)
        st = add_part(b, layout, 0, (laci_weight)part);
    for (int layer = 0; layer < b->config->n_layers && !st; layer++)
        for (int part = 0; part < LACI_N_LAYER_WEIGHTS && !st; part++)
            st = add_part(b, layout, layer, (laci_weight)part);
    return st ? st : check_left_over(b, layout);
}

lac_status laci_weight_map_build(laci_weight_map *out, const laci_config *config,
                                 const laci_family *family, const laci_tensor_dir *dir,
                                 const lac_allocator *mem, lac_error *err)
{
    const laci_weight_names *layout = laci_family_layout(family, dir);
    if (!layout)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "none of %zu tensors is the embedding of a %s model (%s is missing)",
                         dir->n_tensors, family->name, family->layouts[0]->name[LACI_W_EMBED]);
    laci_weight_map map = { .mem = laci_allocator_or_default(mem), .n_layers = config->n_layers };
    const size_t n = n_slots(config->n_layers);
    map.tensors = laci_alloc_zero(&map.mem, n * sizeof *map.tensors);
    builder b = { &map, config, dir, laci_alloc_zero(&map.mem, dir->n_tensors), err };
    lac_status st =
        map.tensors && b.used
            ? add_all(&b, layout)
            : laci_fail_memory(err, "the weight map", n * sizeof *map.tensors + dir->n_tensors);
    laci_release(&map.mem, b.used);
    if (st)
        laci_weight_map_clear(&map);
    else
        *out = map;
    return st;
}

void laci_weight_map_clear(laci_weight_map *map)
{
    laci_release(&map->mem, (void *)map->tensors);
    const lac_allocator mem = map->mem;
    *map = (laci_weight_map){ .mem = mem };
}

const laci_tensor *laci_weight_map_get(const laci_weight_map *map, int layer, laci_weight part)
{
    return map->tensors[index_of(layer, part, map->n_layers)];
}
