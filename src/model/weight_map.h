/* weight_map.h: which tensor of the files plays which part of the network. Every expected tensor is
 * present with the expected shape and a readable type, and nothing unknown is left over, before a
 * weight is touched. Built by model.c, read by weights.c. */
#ifndef LACI_MODEL_WEIGHT_MAP_H
#define LACI_MODEL_WEIGHT_MAP_H

#include "model/family/family.h"

typedef struct {
    lac_allocator mem;
    const laci_tensor **tensors; /* [n_layers * LACI_N_LAYER_WEIGHTS], then the global ones */
    int n_layers;
    uint64_t n_params;        /* elements of all tensors in use */
    uint64_t n_bytes;         /* their bytes on disk */
    bool uses[LACI_N_DTYPES]; /* types in use */
} laci_weight_map;

/* Fills the map. Errors: EFORMAT (missing, unknown or misshapen tensor, by name and with both
 * shapes), EUNSUPPORTED (a tensor type that cannot be read, by name), ENOMEM. */
lac_status laci_weight_map_build(laci_weight_map *out, const laci_config *config,
                                 const laci_family *family, const laci_tensor_dir *dir,
                                 const lac_allocator *mem, lac_error *err);
void laci_weight_map_clear(laci_weight_map *map);

/* The tensor of a part, NULL when this network has none. `layer` is ignored for global parts. */
const laci_tensor *laci_weight_map_get(const laci_weight_map *map, int layer, laci_weight part);

#endif
