/* made_model.c: see made_model.h. */
#include "bench/made_model.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/inputs.h"
#include "bench/measure.h"

enum { FEW_ROWS = 256 };

typedef struct {
    int d_model, n_heads, n_kv_heads, d_head, d_ff;
    int n_layers, n_vocab; /* published */
    bool qkv_bias, has_qk_norm;
    double rope_theta, norm_eps;
} shape_traits;

const char *const made_shape_names[N_MADE_SHAPES] = { "llada-8b", "dream-7b", "sdar-8b", "nano" };

static const shape_traits shapes[N_MADE_SHAPES] = {
    { 4096, 32, 32, 128, 12288, 32, 126464, false, false, 5e5, 1e-5 },
    { 3584, 28, 4, 128, 18944, 28, 152064, true, false, 1e6, 1e-6 },
    { 4096, 32, 8, 128, 12288, 36, 151936, false, true, 1e6, 1e-6 },
    { 128, 4, 4, 32, 352, 4, 272, false, true, 1e5, 1e-6 },
};

int made_shape_layers(int shape)
{
    return shapes[shape].n_layers;
}

int made_shape_vocab(int shape)
{
    return shapes[shape].n_vocab;
}

static laci_config config_of(const made_options *opt)
{
    const shape_traits *s = &shapes[opt->shape];
    return (laci_config){ .family = made_shape_names[opt->shape],
                          .n_layers = opt->n_layers,
                          .d_model = s->d_model,
                          .n_heads = s->n_heads,
                          .n_kv_heads = s->n_kv_heads,
                          .d_head = s->d_head,
                          .d_ff = s->d_ff,
                          .n_vocab = opt->n_vocab ? opt->n_vocab : FEW_ROWS,
                          .n_ctx = opt->n_ctx,
                          .n_ctx_train = opt->n_ctx,
                          .rope_theta = s->rope_theta,
                          .rope_scale = 1,
                          .norm_eps = s->norm_eps,
                          .rope_dim = s->d_head,
                          .rope_layout = LACI_ROPE_HALF,
                          .rope_sign = 1,
                          .qk_norm = s->has_qk_norm ? LACI_QK_NORM_BEFORE_ROPE : LACI_QK_NORM_NONE,
                          .mlp = LACI_MLP_SWIGLU,
                          .qkv_bias = s->qkv_bias,
                          .norm_weights = true,
                          .mask = opt->block_size ? LAC_MASK_BLOCK_CAUSAL : LAC_MASK_FULL,
                          .block_size = opt->block_size,
                          .sampler = LACI_SAMPLER_LLADA,
                          .mask_id = 0,
                          .bos_id = -1,
                          .pad_id = -1,
                          .chat_template = "none",
                          .tokenizer = "bytes" };
}

lac_status made_model_new(lac_model **out, const made_options *opt, lac_error *err)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    lac_model *m = laci_alloc_zero(&mem, sizeof *m);
    if (!m) return laci_fail_memory(err, "a model", sizeof *m);
    m->mem = mem;
    m->config = config_of(opt);
    lac_status st = laci_backend_open(&m->be, opt->backend,
                                      opt->dtype == LACI_BF16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
                                      opt->n_threads, &mem, err);
    if (!st) st = laci_config_check(&m->config, err);
    if (st)
        lac_model_close(m);
    else
        *out = m;
    return st;
}

/* ------------------------------------------------------------------ weights */

/* Rows of one random matrix. */
typedef struct {
    uint64_t key;
    size_t n_in;
    float scale;
} matrix_source;

static void read_rows(void *user, size_t row, size_t n_rows, float *out)
{
    const matrix_source *m = user;
    for (size_t i = 0; i < n_rows * m->n_in; i++)
        out[i] = m->scale * input_normal(m->key, row * m->n_in + i);
}

static lac_status make_matrix(laci_linear **out, const lac_model *m, int layer, laci_weight part,
                              uint64_t seed, lac_error *err)
{
    uint64_t shape[2];
    (void)laci_weight_shape(&m->config, part, shape);
    matrix_source from = { laci_rng_key(seed, INPUT_WEIGHT, (uint32_t)layer, (uint32_t)part),
                           (size_t)shape[1], 1 / sqrtf((float)shape[1]) };
    return laci_linear_new(m->be, (size_t)shape[0], (size_t)shape[1],
                           (laci_row_source){ read_rows, &from }, out, err);
}

/* Norms are ones, biases zeros. */
static lac_status make_vector(laci_buf **out, const lac_model *m, laci_weight part, lac_error *err)
{
    uint64_t shape[2];
    (void)laci_weight_shape(&m->config, part, shape);
    const size_t bytes = (size_t)shape[0] * sizeof(float);
    const bool is_bias = part == LACI_W_Q_BIAS || part == LACI_W_K_BIAS || part == LACI_W_V_BIAS;
    const float value = is_bias ? 0 : 1;
    lac_status st = laci_buf_new(m->be, bytes, "a norm", out, err);
    for (size_t i = 0; i < (size_t)shape[0] && !st; i++)
        laci_backend_write(m->be, *out, i * sizeof value, &value, sizeof value);
    return st;
}

static lac_status make_embedding(lac_model *m, uint64_t seed, lac_error *err)
{
    const size_t d = (size_t)m->config.d_model, n = (size_t)m->config.n_vocab * d;
    const bool is_bf16 = laci_backend_act(m->be) == LACI_BF16;
    const size_t size = laci_act_bytes(laci_backend_act(m->be));
    const uint64_t key = laci_rng_key(seed, INPUT_WEIGHT, 0, LACI_W_EMBED);
    lac_status st = laci_buf_new(m->be, n * size, "the embedding", &m->weights.embed, err);
    for (size_t i = 0; i < n && !st; i++) {
        const float x = input_normal(key, i);
        const uint16_t half = laci_f32_to_bf16(x);
        laci_backend_write(m->be, m->weights.embed, i * size, is_bf16 ? (const void *)&half : &x,
                           size);
    }
    return st;
}

static lac_status make_layer(lac_model *m, int i, uint64_t seed, lac_error *err)
{
    laci_layer_part parts[LACI_LAYER_PARTS];
    laci_layer_parts(&m->weights.layers[i], parts);
    lac_status st = LAC_OK;
    for (int p = 0; p < LACI_LAYER_PARTS && !st; p++) {
        if (!laci_config_uses(&m->config, parts[p].part)) continue;
        st = parts[p].matrix ? make_matrix(parts[p].matrix, m, i, parts[p].part, seed, err)
                             : make_vector(parts[p].vector, m, parts[p].part, err);
    }
    return st;
}

lac_status made_model_fill(lac_model *m, uint64_t seed, lac_error *err)
{
    const size_t n = (size_t)m->config.n_layers;
    m->weights.layers =
        laci_alloc_zero(laci_backend_allocator(m->be), n * sizeof *m->weights.layers);
    if (!m->weights.layers)
        return laci_fail_memory(err, "the layer table", n * sizeof *m->weights.layers);
    m->weights.n_layers = m->config.n_layers;
    lac_status st = make_embedding(m, seed, err);
    for (int i = 0; i < m->config.n_layers && !st; i++)
        st = make_layer(m, i, seed, err);
    if (!st) st = make_vector(&m->weights.norm, m, LACI_W_NORM, err);
    if (!st) st = make_matrix(&m->weights.head, m, 0, LACI_W_HEAD, seed, err);
    if (!st) st = laci_backend_finish(m->be, err);
    m->has_weights = !st;
    return st;
}

/* ------------------------------------------------------------------ running */

void made_canvas(const lac_session *s, laci_sequence *seq, uint64_t seed)
{
    const uint64_t key = laci_rng_key(seed, INPUT_IDS, 0, 0);
    for (size_t i = 0; i < s->layout.n_ctx; i++)
        seq->input[i] = (int32_t)(laci_rng_u64(key, i) % (uint64_t)s->model->config.n_vocab);
}

double made_time_head(lac_session *s, int shape, size_t n_rows)
{
    const size_t n = n_rows < s->layout.logit_rows ? n_rows : s->layout.logit_rows;
    laci_backend_mark(s->be, 0);
    laci_pass_logits(s, s->buf[LACI_BUF_X], 0, n, s->buf[LACI_BUF_LOGITS]);
    laci_backend_mark(s->be, 1);
    return 1e3 * laci_backend_between(s->be, 0, 1) * (double)n_rows / (double)n *
           (double)made_shape_vocab(shape) / s->model->config.n_vocab;
}

lac_status made_drop_rows(void *user, const laci_row_part *parts, size_t n_parts, lac_error *err)
{
    (void)user, (void)parts, (void)n_parts, (void)err;
    return LAC_OK;
}
