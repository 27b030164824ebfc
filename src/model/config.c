/* config.c: from configuration files to one checked laci_config. A family fills it; the rules here
 * hold for every family and every container, so that the rest of the engine can rely on them. */
#include "model/config.h"

#include <math.h>

#include "base/error.h"
#include "base/file.h"
#include "model/family/family.h"

enum {
    MAX_LAYERS = 1024,
    MAX_WIDTH = 65536,
    MAX_HEADS_WIDTH = 1 << 20, /* n_heads * d_head */
    MAX_FF = 1 << 18,
    MAX_HEAD = 1024,
    MAX_VOCAB = 1 << 24,
    MAX_BLOCK = 4096,
    MAX_TIME = 65536,
};

/* ------------------------------------------------------------------ ids */

void laci_config_add_eos(laci_config *config, int id)
{
    for (int i = 0; i < config->n_eos; i++)
        if (config->eos_ids[i] == id) return;
    if (config->n_eos < LACI_MAX_EOS) config->eos_ids[config->n_eos++] = id;
}

/* eos_token_id is one id or an array of them. */
static lac_status read_eos(laci_config *out, const laci_jval *object, const char *what,
                           lac_error *err)
{
    const laci_jval *v = laci_json_get(object, "eos_token_id");
    if (!v || laci_json_is_null(v)) return LAC_OK;
    const bool is_array = laci_json_is_array(v);
    for (const laci_jval *item = is_array ? laci_json_first(v) : v; item;
         item = is_array ? laci_json_next(item) : NULL) {
        int64_t id;
        if (!laci_json_integer(item, &id) || id < 0 || id >= MAX_VOCAB)
            return laci_fail(err, LAC_EFORMAT, 0,
                             "%s: \"eos_token_id\" is neither an id below %d nor an array of such",
                             what, MAX_VOCAB);
        if (out->n_eos == LACI_MAX_EOS)
            return laci_fail(err, LAC_EFORMAT, 0, "%s: more than %d different end ids", what,
                             LACI_MAX_EOS);
        laci_config_add_eos(out, (int)id);
    }
    return LAC_OK;
}

static lac_status read_id(const laci_jval *object, const char *key, int *out, const char *what,
                          lac_error *err)
{
    return laci_json_get_int(object, key, false, 0, INT32_MAX, out, what, err);
}

lac_status laci_config_read_ids(laci_config *out, const laci_config_source *src, lac_error *err)
{
    static const char config[] = "config.json", generation[] = "generation_config.json";
    const laci_jval *c = src->config, *g = src->generation;
    lac_status st = read_id(g, "mask_token_id", &out->mask_id, generation, err);
    if (!st) st = read_id(c, "mask_token_id", &out->mask_id, config, err); /* the last one wins */
    if (!st) st = read_id(c, "bos_token_id", &out->bos_id, config, err);
    if (!st) st = read_id(g, "bos_token_id", &out->bos_id, generation, err);
    if (!st) st = read_id(c, "pad_token_id", &out->pad_id, config, err);
    if (!st) st = read_id(g, "pad_token_id", &out->pad_id, generation, err);
    if (!st) st = read_eos(out, c, config, err);
    return st ? st : read_eos(out, g, generation, err);
}

/* ------------------------------------------------------------------ checks */

static lac_status check_sizes(const laci_config *c, lac_error *err)
{
    const struct {
        const char *name;
        int value, max;
    } sizes[] = {
        { "number of layers", c->n_layers, MAX_LAYERS },
        { "model width", c->d_model, MAX_WIDTH },
        { "number of heads", c->n_heads, MAX_WIDTH },
        { "number of key heads", c->n_kv_heads, MAX_WIDTH },
        { "head size", c->d_head, MAX_HEAD },
        { "feed-forward width", c->d_ff, MAX_FF },
        { "number of embedding rows", c->n_vocab, MAX_VOCAB },
        { "context length", c->n_ctx, LACI_MAX_CTX },
        { "trained length", c->n_ctx_train, LACI_MAX_CTX },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
            return laci_fail(err, LAC_EFORMAT, 0, "%s is %d, allowed are 1 to %d", sizes[i].name,
                             sizes[i].value, sizes[i].max);
    if ((int64_t)c->n_heads * c->d_head > MAX_HEADS_WIDTH)
        return laci_fail(err, LAC_EFORMAT, 0, "%d heads of size %d exceed a width of %d",
                         c->n_heads, c->d_head, MAX_HEADS_WIDTH);
    if (c->n_time_steps < 0 || c->n_time_steps > MAX_TIME)
        return laci_fail(err, LAC_EFORMAT, 0, "number of noise levels is %d, allowed are 0 to %d",
                         c->n_time_steps, MAX_TIME);
    return LAC_OK;
}

static lac_status check_heads(const laci_config *c, lac_error *err)
{
    if (c->n_heads % c->n_kv_heads)
        return laci_fail(err, LAC_EFORMAT, 0, "%d heads cannot share %d key heads evenly",
                         c->n_heads, c->n_kv_heads);
    if (c->d_head % 2)
        return laci_fail(err, LAC_EFORMAT, 0, "head size is %d, it must be even", c->d_head);
    if (c->rope_dim < 2 || c->rope_dim % 2 || c->rope_dim > c->d_head)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%d dimensions rotate, allowed are even numbers from 2 to %d", c->rope_dim,
                         c->d_head);
    if (!(c->rope_scale > 0) || !isfinite(c->rope_scale))
        return laci_fail(err, LAC_EFORMAT, 0, "RoPE scale is %g, it must be above 0",
                         c->rope_scale);
    if (!isfinite(c->rope_theta) || c->rope_theta < 1)
        return laci_fail(err, LAC_EFORMAT, 0, "RoPE theta is %g, it must be at least 1",
                         c->rope_theta);
    if (!(c->norm_eps > 0 && c->norm_eps <= 1))
        return laci_fail(err, LAC_EFORMAT, 0, "RMSNorm epsilon is %g, allowed are 0 to 1",
                         c->norm_eps);
    return LAC_OK;
}

static lac_status check_id(const laci_config *c, const char *name, int id, lac_error *err)
{
    if (id >= -1 && id < c->n_vocab) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "%s id is %d, the embedding has %d rows", name, id,
                     c->n_vocab);
}

static lac_status check_ids(const laci_config *c, lac_error *err)
{
    if (c->mask_id < 0)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "no mask token id is given: the configuration needs a mask_token_id");
    lac_status st = check_id(c, "mask token", c->mask_id, err);
    if (!st) st = check_id(c, "begin token", c->bos_id, err);
    if (!st) st = check_id(c, "padding token", c->pad_id, err);
    for (int i = 0; i < c->n_eos && !st; i++) {
        st = check_id(c, "end token", c->eos_ids[i], err);
        if (!st && c->eos_ids[i] == c->mask_id)
            st = laci_fail(err, LAC_EFORMAT, 0, "id %d is both the mask and an end token",
                           c->mask_id);
    }
    return st;
}

lac_status laci_config_check(const laci_config *config, lac_error *err)
{
    lac_status st = check_sizes(config, err);
    if (!st) st = check_heads(config, err);
    if (!st) st = check_ids(config, err);
    if (st) return st;
    const bool is_block = config->mask == LAC_MASK_BLOCK_CAUSAL;
    if (is_block ? config->block_size < 1 || config->block_size > MAX_BLOCK : config->block_size)
        return laci_fail(err, LAC_EFORMAT, 0, "block size is %d, allowed are %d to %d",
                         config->block_size, is_block, is_block ? MAX_BLOCK : 0);
    return LAC_OK;
}

/* ------------------------------------------------------------------ reading */

/* What holds for most families; a family overwrites what differs. */
static const laci_config preset = {
    .rope_layout = LACI_ROPE_HALF,
    .rope_sign = 1,
    .rope_scale = 1,
    .qk_norm = LACI_QK_NORM_NONE,
    .mlp = LACI_MLP_SWIGLU,
    .norm_weights = true,
    .mask = LAC_MASK_FULL,
    .mask_id = -1,
    .bos_id = -1,
    .pad_id = -1,
    .chat_template = "none",
    .tokenizer = "auto",
};

/* Whether the files or the caller name the mask. */
static bool names_mask(const laci_config_source *src)
{
    const laci_jval *c = laci_json_get(src->config, "mask_token_id");
    const laci_jval *g = laci_json_get(src->generation, "mask_token_id");
    return src->mask_id || src->gguf || laci_json_is_number(c) || laci_json_is_number(g);
}

lac_status laci_config_read(laci_config *out, const laci_config_source *src, lac_error *err)
{
    if (!src->gguf && !laci_json_is_object(src->config))
        return laci_fail(err, LAC_EFORMAT, 0, "config.json is not an object");
    if (src->generation && !laci_json_is_object(src->generation))
        return laci_fail(err, LAC_EFORMAT, 0, "generation_config.json is not an object");
    lac_status st = laci_family_refuse(src, err);
    if (st) return st;
    const laci_family *family = laci_family_find(src);
    if (!family) return laci_family_unknown(src, err);
    laci_config config = preset;
    st = family->read(&config, src, err);
    if (st) return st;
    if (src->mask_id) config.mask_id = src->mask_id;
    if (config.mask_id >= config.n_vocab && config.n_vocab > 0 && !names_mask(src))
        return laci_fail(err, LAC_EFORMAT, 0,
                         "no mask token id is given (\"mask_token_id\"), and %s's own, %d, is past "
                         "the %d rows of the embedding",
                         config.family, config.mask_id, config.n_vocab);
    if (!config.n_ctx_train) config.n_ctx_train = config.n_ctx;
    st = laci_config_check(&config, err);
    if (st) return st;
    *out = config;
    return LAC_OK;
}

lac_status laci_read_json(laci_json **out, const char *dir, const char *name, size_t max_bytes,
                          const lac_allocator *mem, lac_error *err)
{
    const laci_json_limits limits = { .max_bytes = max_bytes, .is_loose = true };
    char *path = laci_path_join(mem, dir, name);
    if (!path) return laci_fail_memory(err, name, strlen(dir));
    lac_status st = LAC_OK;
    if (laci_file_exists(path)) st = laci_json_read(out, path, &limits, mem, err);
    laci_release(mem, path);
    return st;
}
