/* weights.c: see weights.h. Every tensor is decoded row by row into the backend's own layout, so no
 * second copy of the model ever exists. */
#include "model/weights.h"

#include <string.h>

#include "base/error.h"

enum { FORGET_BYTES = 4 << 20, EMBED_ROWS = 256 };

/* A tensor being read from its first row to its last; pages behind the reader are let go. */
typedef struct {
    const laci_tensor *tensor;
    const laci_tensor_dir *dir;
    uint64_t forgotten; /* bytes of the tensor already let go */
} reader;

static void forget(reader *r, uint64_t upto)
{
    const laci_file *file = &r->dir->files[r->tensor->file];
    const size_t begin = (size_t)((const unsigned char *)r->tensor->data - file->data);
    laci_file_forget(file, begin + r->forgotten, upto - r->forgotten);
    r->forgotten = upto;
}

/* Hands rows of a 2-D tensor to the packer as f32. */
static void read_rows(void *user, size_t row, size_t n_rows, float *out)
{
    reader *r = user;
    const laci_tensor *t = r->tensor;
    const uint64_t row_bytes = t->n_bytes / t->shape[0], end = (row + n_rows) * row_bytes;
    laci_dtype_to_f32(t->dtype, (const char *)t->data + row * row_bytes, n_rows * t->shape[1], out);
    if (end - r->forgotten >= FORGET_BYTES) forget(r, end);
}

static lac_status load_matrix(laci_linear **out, const laci_tensor *t, const laci_tensor_dir *dir,
                              laci_backend *be, lac_error *err)
{
    if (!t) return LAC_OK;
    reader r = { t, dir, 0 };
    const laci_row_source source = { read_rows, &r };
    lac_status st = laci_linear_new(be, t->shape[0], t->shape[1], source, out, err);
    if (!st) forget(&r, t->n_bytes);
    return st;
}

/* A vector, or a table of vectors, kept in f32. */
static lac_status load_vector(laci_buf **out, const laci_tensor *t, laci_backend *be,
                              lac_error *err)
{
    if (!t) return LAC_OK;
    const lac_allocator *mem = laci_backend_allocator(be);
    float *values = laci_alloc_array(mem, t->n_elements, sizeof *values);
    if (!values) return laci_fail_memory(err, t->name, t->n_elements * sizeof *values);
    laci_dtype_to_f32(t->dtype, t->data, t->n_elements, values);
    lac_status st = laci_buf_new(be, t->n_elements * sizeof *values, t->name, out, err);
    if (!st) laci_backend_write(be, *out, 0, values, t->n_elements * sizeof *values);
    laci_release(mem, values);
    return st;
}

/* The embedding, in the activation type, some rows at a time. */
static lac_status load_embedding(laci_buf **out, const laci_tensor *t, const laci_tensor_dir *dir,
                                 laci_backend *be, lac_error *err)
{
    const lac_allocator *mem = laci_backend_allocator(be);
    const size_t n_rows = t->shape[0], d = t->shape[1];
    const bool is_bf16 = laci_backend_act(be) == LACI_BF16;
    const size_t size = laci_act_bytes(laci_backend_act(be));
    reader r = { t, dir, 0 };
    float *rows = laci_alloc_array(mem, EMBED_ROWS * sizeof *rows, d);
    uint16_t *half = laci_alloc_array(mem, EMBED_ROWS * sizeof *half, d);
    lac_status st = LAC_OK;
    if (!rows || !half) st = laci_fail_memory(err, t->name, EMBED_ROWS * d * sizeof *rows);
    if (!st) st = laci_buf_new(be, n_rows * d * size, t->name, out, err);
    for (size_t i = 0; i < n_rows && !st; i += EMBED_ROWS) {
        const size_t n = (n_rows - i < EMBED_ROWS ? n_rows - i : EMBED_ROWS) * d;
        read_rows(&r, i, n / d, rows);
        for (size_t c = 0; is_bf16 && c < n; c++)
            half[c] = laci_f32_to_bf16(rows[c]);
        laci_backend_write(be, *out, i * d * size, is_bf16 ? (void *)half : rows, n * size);
    }
    laci_release(mem, rows);
    laci_release(mem, half);
    if (!st) forget(&r, t->n_bytes);
    return st;
}

void laci_layer_parts(laci_layer *layer, laci_layer_part parts[LACI_LAYER_PARTS])
{
    const laci_layer_part all[LACI_LAYER_PARTS] = {
        { LACI_W_ATTN_NORM, NULL, &layer->attn_norm },
        { LACI_W_FFN_NORM, NULL, &layer->ffn_norm },
        { LACI_W_Q_BIAS, NULL, &layer->q_bias },
        { LACI_W_K_BIAS, NULL, &layer->k_bias },
        { LACI_W_V_BIAS, NULL, &layer->v_bias },
        { LACI_W_Q_NORM, NULL, &layer->q_norm },
        { LACI_W_K_NORM, NULL, &layer->k_norm },
        { LACI_W_Q, &layer->q, NULL },
        { LACI_W_K, &layer->k, NULL },
        { LACI_W_V, &layer->v, NULL },
        { LACI_W_O, &layer->o, NULL },
        { LACI_W_GATE, &layer->gate, NULL },
        { LACI_W_UP, &layer->up, NULL },
        { LACI_W_DOWN, &layer->down, NULL },
    };
    memcpy(parts, all, sizeof all);
}

/* A tensor is done. Returns `st` where loading has failed already. */
static lac_status tell(laci_load_progress *p, const laci_tensor *t, lac_status st, lac_error *err)
{
    if (st || !p->tell || !t) return st;
    p->done += t->n_bytes;
    if (!p->tell(p->user, p->done, p->total)) return LAC_OK;
    return laci_fail(err, LAC_ECANCELLED, 0, "stopped by the caller after %llu of %llu bytes",
                     (unsigned long long)p->done, (unsigned long long)p->total);
}

static lac_status load_layer(laci_layer *layer, int i, const laci_weight_map *map,
                             const laci_tensor_dir *dir, laci_backend *be, laci_load_progress *told,
                             lac_error *err)
{
    laci_layer_part parts[LACI_LAYER_PARTS];
    laci_layer_parts(layer, parts);
    lac_status st = LAC_OK;
    for (int p = 0; p < LACI_LAYER_PARTS && !st; p++) {
        const laci_tensor *t = laci_weight_map_get(map, i, parts[p].part);
        st = parts[p].matrix ? load_matrix(parts[p].matrix, t, dir, be, err)
                             : load_vector(parts[p].vector, t, be, err);
        st = tell(told, t, st, err);
    }
    return st;
}

lac_status laci_weights_load(laci_weights *out, const laci_config *config,
                             const laci_weight_map *map, const laci_tensor_dir *dir,
                             laci_backend *be, laci_load_progress *told, lac_error *err)
{
    const size_t n = (size_t)config->n_layers;
    out->layers = laci_alloc_zero(laci_backend_allocator(be), n * sizeof *out->layers);
    if (!out->layers) return laci_fail_memory(err, "the layer table", n * sizeof *out->layers);
    out->n_layers = config->n_layers;
    const laci_tensor *embed = laci_weight_map_get(map, 0, LACI_W_EMBED);
    const laci_tensor *head = config->tied ? embed : laci_weight_map_get(map, 0, LACI_W_HEAD);
    const laci_tensor *time = laci_weight_map_get(map, 0, LACI_W_TIME);
    const laci_tensor *norm = laci_weight_map_get(map, 0, LACI_W_NORM);
    told->done = 0;
    told->total = map->n_bytes + (config->tied ? embed->n_bytes : 0); /* which is then read twice */
    lac_status st = load_embedding(&out->embed, embed, dir, be, err);
    st = tell(told, embed, st, err);
    for (int i = 0; i < config->n_layers && !st; i++)
        st = load_layer(&out->layers[i], i, map, dir, be, told, err);
    if (!st) st = tell(told, time, load_vector(&out->time, time, be, err), err);
    if (!st) st = tell(told, norm, load_vector(&out->norm, norm, be, err), err);
    if (!st) st = tell(told, head, load_matrix(&out->head, head, dir, be, err), err);
    return st;
}

static void free_layer(laci_layer *layer, laci_backend *be)
{
    laci_layer_part parts[LACI_LAYER_PARTS];
    laci_layer_parts(layer, parts);
    for (int p = 0; p < LACI_LAYER_PARTS; p++) {
        if (parts[p].matrix)
            laci_linear_free(be, *parts[p].matrix);
        else
            laci_buf_free(be, *parts[p].vector);
    }
}

void laci_weights_free(laci_weights *weights, laci_backend *be)
{
    for (int i = 0; weights->layers && i < weights->n_layers; i++)
        free_layer(&weights->layers[i], be);
    if (be) {
        laci_release(laci_backend_allocator(be), weights->layers);
        laci_buf_free(be, weights->embed);
        laci_buf_free(be, weights->time);
        laci_buf_free(be, weights->norm);
        laci_linear_free(be, weights->head);
    }
    *weights = (laci_weights){ 0 };
}

/* Bytes one tensor of the part takes, as laci_weights_load keeps it. */
static uint64_t part_bytes(const laci_config *config, laci_weight part, laci_backend *be)
{
    uint64_t shape[2];
    const int n_dims = laci_weight_shape(config, part, shape);
    if (part == LACI_W_EMBED) return shape[0] * shape[1] * laci_act_bytes(laci_backend_act(be));
    if (part == LACI_W_TIME) return shape[0] * shape[1] * sizeof(float);
    return n_dims == 2 ? laci_linear_bytes(be, shape[0], shape[1]) : shape[0] * sizeof(float);
}

uint64_t laci_weights_bytes(const laci_config *config, laci_backend *be)
{
    uint64_t bytes = 0;
    for (int part = 0; part < LACI_N_WEIGHTS; part++) {
        const uint64_t n = part < LACI_N_LAYER_WEIGHTS ? (uint64_t)config->n_layers : 1;
        /* a tied head is packed for products from the tensor of the embedding */
        if (part == LACI_W_HEAD || laci_config_uses(config, (laci_weight)part))
            bytes += n * part_bytes(config, (laci_weight)part, be);
    }
    return bytes;
}
