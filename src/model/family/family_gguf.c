/* family_gguf.c: the metadata of a GGUF file as a configuration. All families read the same keys
 * under their own prefix; the vocabulary size is that of the embedding tensor. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/family/family.h"
#include "model/rope.h"

enum {
    KEY = 128,
    MAX_LAYERS = 1024,
    MAX_WIDTH = 65536,
    MAX_FF = 1 << 18,
    MAX_VOCAB = 1 << 24,
    MAX_CTX = 1 << 24
};

static const char *join_key(char key[KEY], const char *arch, const char *suffix)
{
    (void)snprintf(key, KEY, "%s.%s", arch, suffix);
    return key;
}

static lac_status check_range(const char *key, int64_t value, int64_t min, int64_t max,
                              lac_error *err)
{
    if (value >= min && value <= max) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "key %s is %lld, allowed are %lld to %lld", key,
                     (long long)value, (long long)min, (long long)max);
}

static lac_status read_int(const laci_gguf *gguf, const char *key, bool required, int64_t min,
                           int64_t max, int *out, lac_error *err)
{
    int64_t value = 0;
    bool found;
    lac_status st = laci_gguf_int(gguf, key, &value, &found, err);
    if (st) return st;
    if (!found) return required ? laci_fail(err, LAC_EFORMAT, 0, "key %s is missing", key) : LAC_OK;
    st = check_range(key, value, min, max, err);
    if (!st) *out = (int)value;
    return st;
}

lac_status laci_gguf_read_int(const laci_gguf *gguf, const char *arch, const char *suffix,
                              bool required, int64_t min, int64_t max, int *out, lac_error *err)
{
    char key[KEY];
    return read_int(gguf, join_key(key, arch, suffix), required, min, max, out, err);
}

/* A number, or an array with one number for each layer, which must then all be equal. */
static lac_status read_per_layer(const laci_gguf *gguf, const char *arch, const char *suffix,
                                 bool required, int n_layers, int64_t max, int *out, lac_error *err)
{
    char key[KEY];
    laci_gguf_array array;
    bool found;
    int64_t value = 0, next = 0;
    join_key(key, arch, suffix);
    if (laci_gguf_get_array(gguf, key, &array, &found, NULL) || !found) /* no array: a number */
        return read_int(gguf, key, required, 1, max, out, err);
    if (array.left != (uint64_t)n_layers)
        return laci_fail(err, LAC_EFORMAT, 0, "key %s has %llu entries, %s.block_count is %d", key,
                         (unsigned long long)array.left, arch, n_layers);
    for (int i = 0; i < n_layers; i++) {
        if (!laci_gguf_next_int(&array, &next))
            return laci_fail(err, LAC_EFORMAT, 0, "key %s is not an array of integers", key);
        if (i && next != value)
            return laci_fail(err, LAC_EUNSUPPORTED, 0,
                             "key %s is %lld in layer 0 and %lld in layer %d: layers that differ "
                             "are not implemented",
                             key, (long long)value, (long long)next, i);
        value = next;
    }
    lac_status st = check_range(key, value, 1, max, err);
    if (!st) *out = (int)value;
    return st;
}

static lac_status read_sizes(laci_config *out, const laci_gguf *gguf, const char *arch,
                             lac_error *err)
{
    const struct {
        const char *suffix;
        int max, *value;
    } sizes[] = {
        { "block_count", MAX_LAYERS, &out->n_layers },
        { "embedding_length", MAX_WIDTH, &out->d_model },
        { "context_length", MAX_CTX, &out->n_ctx },
    };
    lac_status st = LAC_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !st; i++)
        st = laci_gguf_read_int(gguf, arch, sizes[i].suffix, true, 1, sizes[i].max, sizes[i].value,
                                err);
    if (!st)
        st = read_per_layer(gguf, arch, "attention.head_count", true, out->n_layers, MAX_WIDTH,
                            &out->n_heads, err);
    if (st) return st;
    out->n_kv_heads = out->n_heads;
    st = read_per_layer(gguf, arch, "attention.head_count_kv", false, out->n_layers, MAX_WIDTH,
                        &out->n_kv_heads, err);
    if (!st)
        st = read_per_layer(gguf, arch, "feed_forward_length", true, out->n_layers, MAX_FF,
                            &out->d_ff, err);
    return st;
}

/* Head size: key_length, else embedding_length / head_count. */
static lac_status read_head(laci_config *out, const laci_gguf *gguf, const char *arch,
                            lac_error *err)
{
    out->d_head = out->d_model / out->n_heads;
    lac_status st = laci_gguf_read_int(gguf, arch, "attention.key_length", false, 2, MAX_WIDTH,
                                       &out->d_head, err);
    int value_length = out->d_head;
    if (!st)
        st = laci_gguf_read_int(gguf, arch, "attention.value_length", false, 2, MAX_WIDTH,
                                &value_length, err);
    if (st) return st;
    if (value_length != out->d_head)
        return laci_fail(err, LAC_EUNSUPPORTED, 0,
                         "keys have %d dimensions and values %d: only equal sizes are implemented",
                         out->d_head, value_length);
    out->rope_dim = out->d_head;
    return laci_gguf_read_int(gguf, arch, "rope.dimension_count", false, 2, out->d_head,
                              &out->rope_dim, err);
}

static lac_status read_float(const laci_gguf *gguf, const char *arch, const char *suffix,
                             bool required, double *out, lac_error *err)
{
    char key[KEY];
    bool found;
    lac_status st = laci_gguf_float(gguf, join_key(key, arch, suffix), out, &found, err);
    if (!st && !found && required) return laci_fail(err, LAC_EFORMAT, 0, "key %s is missing", key);
    return st;
}

/* What would change the arithmetic and is not implemented. */
static lac_status refuse_features(const laci_gguf *gguf, const char *arch, lac_error *err)
{
    static const char *const off[] = { "expert_count", "attention.sliding_window" };
    char key[KEY];
    bool found, causal = false;
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        int64_t value = 0;
        lac_status st = laci_gguf_int(gguf, join_key(key, arch, off[i]), &value, &found, err);
        if (st) return st;
        if (value)
            return laci_fail(err, LAC_EUNSUPPORTED, 0, "key %s is %lld, which is not implemented",
                             key, (long long)value);
    }
    lac_status st =
        laci_gguf_bool(gguf, join_key(key, arch, "attention.causal"), &causal, &found, err);
    if (st) return st;
    if (causal)
        return laci_fail(err, LAC_EUNSUPPORTED, 0,
                         "key %s is true: causal attention is not "
                         "implemented",
                         key);
    return LAC_OK;
}

/* A file that names no mask leaves the family's own, if that is a token of the file. */
static lac_status check_mask(const laci_config *out, const laci_gguf *gguf, int wanted,
                             lac_error *err)
{
    static const char key[] = "tokenizer.ggml.mask_token_id";
    laci_gguf_array tokens = { .left = 0 };
    int64_t value;
    bool found;
    lac_status st = laci_gguf_int(gguf, key, &value, &found, err);
    if (st || found || wanted) return st;
    st = laci_gguf_get_array(gguf, "tokenizer.ggml.tokens", &tokens, &found, err);
    if (st || (out->mask_id >= 0 && found && (uint64_t)out->mask_id < tokens.left)) return st;
    char own[64] = "";
    if (out->mask_id >= 0)
        (void)snprintf(own, sizeof own, ", and %s's own, %d, is none of %llu tokens", out->family,
                       out->mask_id, (unsigned long long)tokens.left);
    return laci_fail(err, LAC_EFORMAT, 0,
                     "key %s is missing%s: convert the model again, or name its mask token's id",
                     key, own);
}

static lac_status read_ids(laci_config *out, const laci_gguf *gguf, int wanted_mask, lac_error *err)
{
    int eos = -1, eot = -1;
    const struct {
        const char *key;
        int *value;
    } ids[] = {
        { "tokenizer.ggml.mask_token_id", &out->mask_id },
        { "tokenizer.ggml.bos_token_id", &out->bos_id },
        { "tokenizer.ggml.padding_token_id", &out->pad_id },
        { "tokenizer.ggml.eos_token_id", &eos },
        { "tokenizer.ggml.eot_token_id", &eot },
    };
    lac_status st = LAC_OK;
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !st; i++)
        st = read_int(gguf, ids[i].key, false, 0, MAX_VOCAB, ids[i].value, err);
    if (!st) st = check_mask(out, gguf, wanted_mask, err);
    if (eos >= 0) laci_config_add_eos(out, eos);
    if (eot >= 0) laci_config_add_eos(out, eot);
    return st;
}

/* The arrays of the tokenizer must agree with each other, the ids and the embedding. */
static lac_status check_tokenizer(const laci_config *out, const laci_gguf *gguf, lac_error *err)
{
    static const char *const beside[] = { "tokenizer.ggml.token_type", "tokenizer.ggml.scores" };
    laci_gguf_array tokens, other;
    bool found;
    lac_status st = laci_gguf_get_array(gguf, "tokenizer.ggml.tokens", &tokens, &found, err);
    if (st || !found) return st;
    if (!tokens.left || tokens.left > (uint64_t)out->n_vocab)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "tokenizer.ggml.tokens has %llu entries, the embedding %d rows",
                         (unsigned long long)tokens.left, out->n_vocab);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        st = laci_gguf_get_array(gguf, beside[i], &other, &found, err);
        if (st) return st;
        if (found && other.left != tokens.left)
            return laci_fail(err, LAC_EFORMAT, 0, "%s has %llu entries, tokenizer.ggml.tokens %llu",
                             beside[i], (unsigned long long)other.left,
                             (unsigned long long)tokens.left);
    }
    const int ids[] = { out->mask_id, out->bos_id, out->pad_id, out->n_eos ? out->eos_ids[0] : -1 };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i] >= 0 && (uint64_t)ids[i] >= tokens.left)
            return laci_fail(err, LAC_EFORMAT, 0,
                             "special token id %d, but tokenizer.ggml.tokens has %llu entries",
                             ids[i], (unsigned long long)tokens.left);
    return LAC_OK;
}

static lac_status read_vocab(laci_config *out, const laci_config_source *src, const char *arch,
                             lac_error *err)
{
    const char *name = laci_names_gguf.name[LACI_W_EMBED];
    const laci_tensor *embed = src->tensors ? laci_tensor_find(src->tensors, name) : NULL;
    if (!embed || embed->n_dims != 2)
        return laci_fail(err, LAC_EFORMAT, 0, "tensor %s is missing or not a matrix", name);
    if (embed->shape[0] > MAX_VOCAB)
        return laci_fail(err, LAC_EFORMAT, 0, "tensor %s has %llu rows, limit %d", name,
                         (unsigned long long)embed->shape[0], MAX_VOCAB);
    out->n_vocab = (int)embed->shape[0];
    int stated = out->n_vocab;
    lac_status st =
        laci_gguf_read_int(src->gguf, arch, "vocab_size", false, 1, MAX_VOCAB, &stated, err);
    if (!st && stated != out->n_vocab)
        return laci_fail(err, LAC_EFORMAT, 0, "%s.vocab_size is %d, the embedding has %d rows",
                         arch, stated, out->n_vocab);
    return st;
}

/* Copies general.name, and leaves out of the tokenizer's kind what needs its files. */
static lac_status read_texts(laci_config *out, const laci_gguf *gguf, lac_error *err)
{
    const char *text = NULL;
    size_t n = 0;
    bool found;
    char plain[LACI_PLAIN];
    lac_status st = laci_gguf_string(gguf, "general.name", &text, &n, &found, err);
    if (st) return st;
    if (found) memcpy(out->name, laci_plain_text(text, n, plain), sizeof plain);
    st = laci_gguf_string(gguf, "tokenizer.ggml.model", &text, &n, &found, err);
    if (st || !found) return st;
    if (n == 5 && !memcmp(text, "bytes", n)) out->tokenizer = "bytes";
    if (n == 5 && !memcmp(text, "ascii", n)) out->tokenizer = "ascii";
    return LAC_OK;
}

lac_status laci_gguf_read(laci_config *out, const laci_config_source *src, const char *arch,
                          lac_error *err)
{
    const laci_gguf *gguf = src->gguf;
    bool found;
    lac_status st = refuse_features(gguf, arch, err);
    if (!st) st = read_sizes(out, gguf, arch, err);
    if (!st) st = read_head(out, gguf, arch, err);
    if (!st) st = laci_rope_read_gguf(out, src, arch, err);
    if (!st)
        st = read_float(gguf, arch, "attention.layer_norm_rms_epsilon", true, &out->norm_eps, err);
    if (!st) st = read_vocab(out, src, arch, err);
    if (!st) st = read_ids(out, gguf, src->mask_id, err);
    if (src->mask_id) out->mask_id = src->mask_id;
    if (!st) st = check_tokenizer(out, gguf, err);
    if (!st) st = read_texts(out, gguf, err);
    if (!st) st = laci_gguf_bool(gguf, "diffusion.shift_logits", &out->shift_logits, &found, err);
    if (st) return st;
    out->tied = !laci_source_has_tensor(src, laci_names_gguf.name[LACI_W_HEAD]);
    out->n_ctx_train = out->n_ctx;
    return laci_gguf_read_int(gguf, arch, "context_length_train", false, 1, out->n_ctx,
                              &out->n_ctx_train, err);
}
