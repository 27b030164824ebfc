/* weights.h: the tensors of a network in backend memory, in the types the forward pass wants:
 * matrices packed for products, norms and biases as f32 vectors, the embedding as activations. */
#ifndef LACI_MODEL_WEIGHTS_H
#define LACI_MODEL_WEIGHTS_H

#include "backend/backend_memory.h"
#include "model/weight_map.h"

typedef struct {
    /* vectors f32; NULL where the network has none */
    laci_buf *attn_norm, *ffn_norm;     /* [d_model] */
    laci_buf *q_bias, *k_bias, *v_bias; /* [heads * d_head] */
    laci_buf *q_norm, *k_norm;          /* [d_head] */
    /* matrices */
    laci_linear *q, *k, *v, *o;
    laci_linear *gate, *up, *down; /* gate NULL for relu2 */
} laci_layer;

/* One weight of a layer and where the layer keeps it: either a matrix or a vector. */
typedef struct {
    laci_weight part;
    laci_linear **matrix;
    laci_buf **vector;
} laci_layer_part;

enum { LACI_LAYER_PARTS = 14 };

/* Every weight that a layer can have, in the order in which they are loaded. */
void laci_layer_parts(laci_layer *layer, laci_layer_part parts[LACI_LAYER_PARTS]);

typedef struct {
    laci_layer *layers; /* [n_layers] owned */
    int n_layers;
    laci_buf *embed;   /* act [n_vocab, d_model] */
    laci_buf *time;    /* f32 [n_time_steps, d_model], NULL = none */
    laci_buf *norm;    /* f32 [d_model], NULL = norm without weight */
    laci_linear *head; /* [n_vocab, d_model] */
} laci_weights;

/* Who is told how far loading is. */
typedef struct {
    lac_progress_fn tell; /* NULL = nobody */
    void *user;
    uint64_t done, total; /* bytes of the files; filled in by laci_weights_load */
} laci_load_progress;

/* Decodes and packs every tensor of the map; pages of the files are released as they are done.
 * `out` is zeroed by the caller. Errors: ENOMEM, EINTERNAL, ECANCELLED; then `out` must still be
 * freed. */
lac_status laci_weights_load(laci_weights *out, const laci_config *config,
                             const laci_weight_map *map, const laci_tensor_dir *dir,
                             laci_backend *be, laci_load_progress *progress, lac_error *err);
void laci_weights_free(laci_weights *weights, laci_backend *be);

/* Bytes laci_weights_load will take. */
uint64_t laci_weights_bytes(const laci_config *config, laci_backend *be);

#endif
