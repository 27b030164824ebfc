/* model.c: opens a model: container, configuration, tokenizer, tensor map, weights, in that order,
 * each checked before the next is begun. Public functions on models and tokens live here too. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "model/compare.h"
#include "model/files/locate.h"
#include "model/files/safetensors.h"
#include "model/rope.h"

/* Resident bytes of this process, 0 where the system does not say. */
static uint64_t resident_bytes(void)
{
    char line[128] = ""; /* pages: total, resident, ... */
    char *end = line;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fgets(line, sizeof line, file)) (void)strtoull(line, &end, 10);
    fclose(file);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ------------------------------------------------------------------ folders that lack something */

static bool has_file(const lac_model *m, const char *dir, const char *name)
{
    char *path = laci_path_join(&m->mem, dir, name);
    const bool is_there = path && laci_file_exists(path);
    laci_release(&m->mem, path);
    return is_there;
}

static bool has_tokenizer_files(const lac_model *m, const char *dir)
{
    return has_file(m, dir, "tokenizer.json") || has_file(m, dir, "vocab.json");
}

/* What a tokenizer alone says of a model. */
static const laci_config no_config = {
    .family = "",
    .mask_id = -1,
    .bos_id = -1,
    .pad_id = -1,
    .chat_template = "none",
    .tokenizer = "auto",
};

/* Elements of all weights that the configuration asks for. */
static uint64_t count_params(const laci_config *c)
{
    uint64_t n = 0, shape[2];
    for (int part = 0; part < LACI_N_WEIGHTS && c->n_layers; part++) {
        if (!laci_config_uses(c, (laci_weight)part)) continue;
        const int n_dims = laci_weight_shape(c, (laci_weight)part, shape);
        const uint64_t n_layers = part < LACI_N_LAYER_WEIGHTS ? (uint64_t)c->n_layers : 1;
        n += n_layers * shape[0] * (n_dims > 1 ? shape[1] : 1);
    }
    return n;
}

/* ------------------------------------------------------------------ opening */

static laci_rope_wish wish_of(const lac_model_options *opt)
{
    return (laci_rope_wish){ opt->rope_scaling, opt->rope_scale, opt->rope_base };
}

/* Configuration of a folder: config.json is required, generation_config.json is not. */
static lac_status open_folder(lac_model *m, const char *path, const lac_model_options *opt,
                              lac_error *err)
{
    const bool partial = opt->card_only && opt->partial;
    enum { CONFIG_LIMIT = 1 << 20 };
    laci_json *config = NULL, *generation = NULL;
    lac_status st = laci_read_json(&config, path, "config.json", CONFIG_LIMIT, &m->mem, err);
    if (!st && !config && partial && has_tokenizer_files(m, path)) {
        m->config = no_config;
        return LAC_OK;
    }
    if (!st && !config) st = laci_fail(err, LAC_EFORMAT, 0, "%s has no config.json", path);
    if (!st)
        st =
            laci_read_json(&generation, path, "generation_config.json", CONFIG_LIMIT, &m->mem, err);
    laci_config_source src = { .config = config ? laci_json_root(config) : NULL,
                               .generation = generation ? laci_json_root(generation) : NULL,
                               .rope = wish_of(opt),
                               .mask_id = opt->mask_id };
    if (!st) st = laci_family_refuse(&src, err); /* by name, even without its weights */
    m->lacks_weights = partial && !laci_holds_weights(path);
    if (!st && !m->lacks_weights) st = laci_safetensors_open(&m->dir, path, &m->mem, err);
    src.tensors = m->lacks_weights ? NULL : &m->dir;
    if (!st) st = laci_config_read(&m->config, &src, err);
    if (!st) m->family = laci_family_find(&src);
    laci_json_free(config);
    laci_json_free(generation);
    return st;
}

static lac_status open_gguf(lac_model *m, const char *path, const lac_model_options *opt,
                            lac_error *err)
{
    lac_status st = laci_gguf_open(&m->gguf, path, &m->mem, err);
    if (st) return st;
    const laci_config_source src = { .gguf = m->gguf,
                                     .tensors = laci_gguf_tensors(m->gguf),
                                     .rope = wish_of(opt),
                                     .mask_id = opt->mask_id };
    st = laci_config_read(&m->config, &src, err);
    if (!st) m->family = laci_family_find(&src);
    return st;
}

static lac_status open_tokenizer(lac_model *m, const char *path, bool partial, lac_error *err)
{
    const laci_config *c = &m->config;
    lac_status st;
    if (!strcmp(c->tokenizer, "bytes"))
        st = laci_tokenizer_open_bytes(&m->tokenizer, c->n_vocab, &m->mem, err);
    else if (!strcmp(c->tokenizer, "ascii"))
        st = laci_tokenizer_open_ascii(&m->tokenizer, c->n_vocab, &m->mem, err);
    else if (m->gguf)
        st = laci_tokenizer_open_gguf(&m->tokenizer, m->gguf, &m->mem, err);
    else if (partial && !has_tokenizer_files(m, path))
        return LAC_OK;
    else
        st = laci_tokenizer_open_dir(&m->tokenizer, path, &m->mem, err);
    if (st) return st;
    const int n_tokens = laci_tokenizer_n_tokens(m->tokenizer);
    if (!c->n_layers)
        m->config.n_vocab = n_tokens;
    else if (n_tokens > c->n_vocab)
        return laci_fail(
            err, LAC_EFORMAT, 0,
            "vocabulary mismatch: the tokenizer has ids up to %d, the embedding %d rows",
            n_tokens - 1, c->n_vocab);
    return LAC_OK;
}

/* Marks the ids that no token has, up to the last one that has. */
static lac_status find_gaps(lac_model *m, lac_error *err)
{
    const int n_tokens = laci_tokenizer_n_tokens(m->tokenizer);
    const size_t n_words = ((size_t)m->config.n_vocab + 31) / 32;
    for (int32_t id = 0; id < n_tokens; id++) {
        if (laci_tokenizer_has(m->tokenizer, id)) continue;
        if (!m->gaps) m->gaps = laci_alloc_zero(&m->mem, n_words * sizeof *m->gaps);
        if (!m->gaps)
            return laci_fail_memory(err, "gaps of the vocabulary", n_words * sizeof *m->gaps);
        m->gaps[id / 32] |= UINT32_C(1) << id % 32;
    }
    return LAC_OK;
}

/* "bf16" or "f32 q8_0": the types of the tensors in use. */
static void list_weight_types(lac_model *m)
{
    size_t n = 0;
    for (int type = 0; type < LACI_N_DTYPES; type++) {
        if (!m->map.uses[type] || n >= sizeof m->weight_types - 16) continue;
        n += (size_t)snprintf(m->weight_types + n, sizeof m->weight_types - n, "%s%s", n ? " " : "",
                              laci_dtype_of((laci_dtype)type)->name);
    }
}

static lac_status open_parts(lac_model *m, const char *path, const lac_model_options *opt,
                             lac_error *err)
{
    const bool partial = opt->card_only && opt->partial;
    lac_status st =
        laci_path_is_dir(path) ? open_folder(m, path, opt, err) : open_gguf(m, path, opt, err);
    if (!st) st = open_tokenizer(m, path, partial, err);
    if (!st && m->tokenizer && m->family) st = find_gaps(m, err);
    if (!st && m->tokenizer && m->family) st = laci_compare_files(m, path, !opt->card_only, err);
    if (!st && m->family && !m->lacks_weights)
        st = laci_weight_map_build(&m->map, &m->config, m->family, laci_model_tensors(m), &m->mem,
                                   err);
    if (st) return st;
    list_weight_types(m);
    st = laci_backend_open(&m->be, opt->backend, opt->dtype, opt->n_threads, &m->mem, err);
    m->runtime_bytes = resident_bytes();
    if (st || opt->card_only) return st;
    laci_load_progress progress = { .tell = opt->on_progress, .user = opt->user };
    st = laci_weights_load(&m->weights, &m->config, &m->map, laci_model_tensors(m), m->be,
                           &progress, err);
    if (!st) st = laci_backend_finish(m->be, err);
    m->has_weights = !st;
    return st;
}

lac_status lac_model_open(lac_model **out, const char *path, const lac_model_options *opt,
                          lac_error *err)
{
    const lac_model_options defaults = { 0 };
    if (!opt) opt = &defaults;
    if (!out || !path) return laci_fail(err, LAC_EINVAL, 0, "no model path");
    if (opt->dtype < LAC_DTYPE_AUTO || opt->dtype > LAC_DTYPE_BF16)
        return laci_fail(err, LAC_EINVAL, 0, "unknown dtype %d", (int)opt->dtype);
    if (opt->n_threads < 0 || opt->n_threads > 4096)
        return laci_fail(err, LAC_EINVAL, 0, "%d threads: 1 to 4096, or 0 for all cores",
                         opt->n_threads);
    const laci_rope_wish wish = wish_of(opt);
    lac_status st = laci_rope_check_wish(&wish, err);
    if (st) return st;
    if (opt->mask_id < 0)
        return laci_fail(err, LAC_EINVAL, 0, "mask token id %d: must not be negative",
                         opt->mask_id);
    const lac_allocator mem = laci_allocator_or_default(opt->allocator);
    char *found = NULL;
    st = laci_locate(&found, path, opt->card_only && opt->partial, &mem, err);
    if (st) return st;
    lac_model *m = laci_alloc_zero(&mem, sizeof *m);
    if (m) {
        m->mem = mem;
        st = open_parts(m, found, opt, err);
    } else {
        st = laci_fail_memory(err, "a model", sizeof *m);
    }
    laci_release(&mem, found);
    if (st)
        lac_model_close(m);
    else
        *out = m;
    return st;
}

void lac_model_close(lac_model *m)
{
    if (!m) return;
    const lac_allocator mem = m->mem;
    laci_weights_free(&m->weights, m->be);
    laci_backend_close(m->be);
    laci_tokenizer_close(m->tokenizer);
    laci_release(&mem, m->gaps);
    laci_weight_map_clear(&m->map);
    laci_tensor_dir_clear(&m->dir);
    laci_gguf_close(m->gguf);
    laci_release(&mem, m);
}

lac_status lac_model_get_info(const lac_model *m, lac_model_info *out, lac_error *err)
{
    if (!m || !out) return laci_fail(err, LAC_EINVAL, 0, "no model or no place for its facts");
    const laci_config *c = &m->config;
    *out = (lac_model_info){
        .architecture = c->family,
        .name = c->name,
        .container = m->gguf ? "gguf" : "safetensors",
        .tokenizer = laci_tokenizer_kind(m->tokenizer),
        .chat_template = c->chat_template,
        .weight_types = m->weight_types,
        .n_layers = c->n_layers,
        .d_model = c->d_model,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .d_head = c->d_head,
        .d_ff = c->d_ff,
        .n_vocab = c->n_vocab,
        .n_tokens = laci_tokenizer_n_tokens(m->tokenizer),
        .n_ctx = c->n_ctx,
        .n_ctx_train = c->n_ctx_train,
        .block_size = c->block_size,
        .mask = c->mask,
        .shift_logits = c->shift_logits,
        .mask_id = c->mask_id,
        .eos_id = c->n_eos ? c->eos_ids[0] : -1,
        .bos_id = c->bos_id,
        .pad_id = c->pad_id,
        .n_params = m->map.n_params ? m->map.n_params : count_params(c),
        .file_bytes = m->map.n_bytes,
        .dtype = laci_backend_act(m->be) == LACI_BF16 ? LAC_DTYPE_BF16 : LAC_DTYPE_F32,
        .rope_base = c->rope_theta,
        .rope_scale = c->rope_scale,
    };
    return LAC_OK;
}

const char *lac_model_warning(const lac_model *m, size_t index, lac_warning_topic *topic)
{
    if (!m || index >= (size_t)m->warnings.n) return NULL;
    if (topic) *topic = m->warnings.items[index].topic;
    return m->warnings.items[index].text;
}

/* ------------------------------------------------------------------ tokens */

static lac_status check_tokenizer(const lac_model *m, lac_error *err)
{
    if (m->tokenizer) return LAC_OK;
    return laci_fail(err, LAC_EINVAL, 0, "the model was opened without a tokenizer");
}

/* Gives the collected ids to the caller, or frees them on failure. */
static lac_status hand_over(lac_status st, laci_ids *list, int32_t **ids, size_t *n_ids,
                            lac_error *err)
{
    if (!st && !list->ids && !(list->ids = laci_alloc(&list->mem, sizeof *list->ids)))
        st = laci_fail_memory(err, "token ids", sizeof *list->ids);
    if (st) {
        laci_ids_clear(list);
        return st;
    }
    *ids = list->ids;
    *n_ids = list->n;
    return LAC_OK;
}

lac_status lac_model_encode(const lac_model *m, const char *text, size_t n_text,
                            const lac_encode_options *opt, int32_t **ids, size_t *n_ids,
                            lac_error *err)
{
    if (!m || (!text && n_text) || !ids || !n_ids)
        return laci_fail(err, LAC_EINVAL, 0, "encode: model, text or output missing");
    laci_ids list = { .mem = m->mem };
    lac_status st = check_tokenizer(m, err);
    if (!st)
        st = laci_tokenizer_encode(m->tokenizer, text ? text : "", n_text,
                                   opt && opt->parse_special, &list, err);
    return hand_over(st, &list, ids, n_ids, err);
}

/* Ids of embedding rows past the last token: they have no text. NULL in *out when there are none.
 */
static lac_status without_padding(const lac_model *m, const int32_t *ids, size_t *n_ids,
                                  int32_t **out, lac_error *err)
{
    const int n_tokens = laci_tokenizer_n_tokens(m->tokenizer);
    size_t n = 0;
    for (size_t i = 0; i < *n_ids; i++)
        n += ids[i] < n_tokens || ids[i] >= m->config.n_vocab;
    if (n == *n_ids) return LAC_OK;
    int32_t *kept = laci_alloc_array(&m->mem, n, sizeof *kept);
    if (!kept) return laci_fail_memory(err, "token ids", n * sizeof *kept);
    n = 0;
    for (size_t i = 0; i < *n_ids; i++)
        if (ids[i] < n_tokens || ids[i] >= m->config.n_vocab) kept[n++] = ids[i];
    *out = kept;
    *n_ids = n;
    return LAC_OK;
}

lac_status lac_model_decode(const lac_model *m, const int32_t *ids, size_t n_ids, bool keep_special,
                            char **text, size_t *n_text, lac_error *err)
{
    size_t n;
    int32_t *kept = NULL;
    if (!m || (!ids && n_ids) || !text)
        return laci_fail(err, LAC_EINVAL, 0, "decode: model, ids or output missing");
    lac_status st = check_tokenizer(m, err);
    if (!st) st = without_padding(m, ids, &n_ids, &kept, err);
    if (!st)
        st = laci_tokenizer_decode(m->tokenizer, kept ? kept : ids, n_ids, keep_special, &m->mem,
                                   text, n_text ? n_text : &n, err);
    laci_release(&m->mem, kept);
    return st;
}

const char *lac_model_piece(const lac_model *m, int32_t id, size_t *n_piece)
{
    if (m->tokenizer) return laci_tokenizer_piece(m->tokenizer, id, n_piece);
    if (n_piece) *n_piece = 0;
    return "";
}

void lac_model_free_ids(const lac_model *m, int32_t *ids)
{
    if (m) laci_release(&m->mem, ids);
}

void lac_model_free_text(const lac_model *m, char *text)
{
    if (m) laci_release(&m->mem, text);
}

lac_status lac_model_encode_chat(const lac_model *m, const char *template_name,
                                 const lac_chat_message *messages, size_t n_messages, int32_t **ids,
                                 size_t *n_ids, lac_error *err)
{
    if (!m || !messages || !ids || !n_ids)
        return laci_fail(err, LAC_EINVAL, 0, "chat: model, messages or output missing");
    laci_ids list = { .mem = m->mem };
    const char *name = template_name ? template_name : m->config.chat_template;
    lac_status st = check_tokenizer(m, err);
    if (!st) st = laci_chat_encode(m->tokenizer, name, messages, n_messages, &list, err);
    return hand_over(st, &list, ids, n_ids, err);
}

const char *lac_chat_template_names(void)
{
    return laci_chat_names();
}
