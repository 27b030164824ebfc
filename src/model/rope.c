/* rope.c: see rope.h. The rules of reading follow transformers: a rope_scaling that is an object
 * stands in place of rope_parameters; what is inside the object wins over the same key beside it;
 * the kind is rope_type, or type as it was called before, or default. GGUF follows llama.cpp: a
 * factor without a kind scales linearly. */
#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

static const char file[] = "config.json";
static const double max_theta = 1e12, max_factor = 1024;

/* What one object, or the keys of a GGUF file, say. */
typedef struct {
    const char *holder; /* key of the object, for errors */
    const char *kind;   /* [n_kind] */
    size_t n_kind;
    double factor; /* 0 = not given */
} scaling;

double laci_rope_frequency(const laci_config *config, size_t i)
{
    const double power = -2.0 * (double)i / (double)config->rope_dim;
    return pow(config->rope_theta, power) / config->rope_scale;
}

const char *laci_rope_scaling_name(const laci_config *config)
{
    return config->rope_scale == 1 ? "none" : "linear";
}

lac_status laci_rope_check_wish(const laci_rope_wish *wish, lac_error *err)
{
    if (wish->scaling < LAC_ROPE_SCALING_AUTO || wish->scaling > LAC_ROPE_SCALING_LINEAR)
        return laci_fail(err, LAC_EINVAL, 0, "unknown RoPE scaling %d", (int)wish->scaling);
    if (wish->scale != 0 && !(wish->scale >= 1 / max_factor && wish->scale <= max_factor))
        return laci_fail(err, LAC_EINVAL, 0, "RoPE scale is %g: must lie in %g to %g", wish->scale,
                         1 / max_factor, max_factor);
    if (wish->scale != 0 && wish->scale != 1 && wish->scaling == LAC_ROPE_SCALING_NONE)
        return laci_fail(err, LAC_EINVAL, 0, "RoPE scale is %g beside a scaling of none",
                         wish->scale);
    if (wish->scaling == LAC_ROPE_SCALING_LINEAR && wish->scale == 0)
        return laci_fail(err, LAC_EINVAL, 0, "linear RoPE scaling without a scale");
    if (wish->base != 0 && !(wish->base >= 1 && wish->base <= max_theta))
        return laci_fail(err, LAC_EINVAL, 0, "RoPE base is %g: must lie in 1 to %g", wish->base,
                         max_theta);
    return LAC_OK;
}

/* The caller's word replaces the file's. */
static void apply_wish(laci_config *out, const laci_rope_wish *wish)
{
    if (wish->base != 0) out->rope_theta = wish->base;
    if (wish->scaling == LAC_ROPE_SCALING_NONE) out->rope_scale = 1;
    if (wish->scale != 0) out->rope_scale = wish->scale;
}

static bool replaces_scaling(const laci_rope_wish *wish)
{
    return wish->scaling != LAC_ROPE_SCALING_AUTO || wish->scale != 0;
}

/* ------------------------------------------------------------------ kinds */

static bool is_kind(const scaling *s, const char *name)
{
    return s->n_kind == strlen(name) && !memcmp(s->kind, name, s->n_kind);
}

/* One case for each kind that is computed. A factor of 1 scales nothing. */
static lac_status set_scaling(laci_config *out, const scaling *s, lac_error *err)
{
    const bool is_default = is_kind(s, "default") || is_kind(s, "none");
    const bool is_linear = is_kind(s, "linear");
    char kind[LACI_PLAIN], factor[48] = "";
    laci_plain_text(s->kind, s->n_kind, kind);
    out->rope_scale = 1;
    if (s->factor != 0 && !(isfinite(s->factor) && s->factor > 0 && s->factor <= 4 * max_factor))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: factor of \"%s\" is %g, allowed are 1 to %g",
                         s->holder, kind, s->factor, max_factor);
    if (is_default && (s->factor == 0 || s->factor == 1)) return LAC_OK;
    if (s->factor == 1 && (is_linear || is_kind(s, "yarn"))) return LAC_OK;
    if (is_linear && s->factor == 0)
        return laci_fail(err, LAC_EFORMAT, 0, "%s is \"linear\" without a factor", s->holder);
    if (is_linear && (s->factor < 1 || s->factor > max_factor))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: factor of \"linear\" is %g, allowed are 1 to %g",
                         s->holder, s->factor, max_factor);
    if (is_linear) {
        out->rope_scale = s->factor;
        return LAC_OK;
    }
    if (s->factor != 0) (void)snprintf(factor, sizeof factor, " with factor %g", s->factor);
    return laci_fail(err, LAC_EUNSUPPORTED, 0,
                     "%s is \"%s\"%s: that RoPE scaling is not implemented, only linear is",
                     s->holder, kind, factor);
}

/* ------------------------------------------------------------------ config.json */

/* Absent, null, false and {} mean that there is none. */
static lac_status get_object(const laci_jval *v, const char *key, const laci_jval **out,
                             lac_error *err)
{
    const laci_jval *object = laci_json_get(v, key);
    *out = laci_json_is_object(object) && laci_json_first(object) ? object : NULL;
    if (!object || laci_json_is_null(object) || laci_json_is_object(object)) return LAC_OK;
    if (laci_json_is_bool(object) && !laci_json_bool(object)) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is neither an object nor null", file, key);
}

/* Parameters by type of layer: those of full attention hold, others only beside layer_types, which
 * has been checked to name full attention alone. */
static lac_status pick_layer_type(const laci_jval *config, const laci_jval **object, lac_error *err)
{
    static const char full[] = "full_attention";
    const laci_jval *inner = laci_json_get(*object, full);
    if (!inner) return LAC_OK;
    for (const laci_jval *v = laci_json_first(*object); v; v = laci_json_next(v))
        if (strcmp(laci_json_key(v), full) && !laci_json_get(config, "layer_types")) {
            char key[LACI_PLAIN];
            laci_plain_text(laci_json_key(v), strlen(laci_json_key(v)), key);
            return laci_fail(err, LAC_EUNSUPPORTED, 0,
                             "%s: \"rope_parameters\" has a \"%s\" beside full_attention, and no "
                             "layer_types tell which layers it is for",
                             file, key);
        }
    if (!laci_json_is_object(inner))
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" of \"rope_parameters\" is no object",
                         file, full);
    *object = inner;
    return LAC_OK;
}

/* Keys that say nothing beyond what is read, or only matter to kinds that are refused by name. */
static lac_status check_keys(const laci_jval *object, const scaling *s, lac_error *err)
{
    static const char *const known[] = { "rope_type",
                                         "type",
                                         "factor",
                                         "rope_theta",
                                         "partial_rotary_factor",
                                         "original_max_position_embeddings" };
    static const char *const of_yarn[] = { "beta_fast",      "beta_slow", "mscale",
                                           "mscale_all_dim", "truncate",  "finetuned" };
    for (const laci_jval *v = laci_json_first(object); v; v = laci_json_next(v)) {
        bool is_known = laci_json_is_null(v);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            is_known |= !strcmp(laci_json_key(v), known[i]);
        for (size_t i = 0; i < sizeof of_yarn / sizeof *of_yarn && is_kind(s, "yarn"); i++)
            is_known |= !strcmp(laci_json_key(v), of_yarn[i]);
        if (is_known) continue;
        char key[LACI_PLAIN];
        return laci_fail(err, LAC_EUNSUPPORTED, 0,
                         "%s: \"%s\" has the key \"%s\", which is not implemented", file, s->holder,
                         laci_plain_text(laci_json_key(v), strlen(laci_json_key(v)), key));
    }
    return LAC_OK;
}

static lac_status read_scaling(laci_config *out, const laci_jval *object, const char *holder,
                               lac_error *err)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s: \"%s\"", file, holder);
    scaling s = { .holder = name };
    const char *kind = "default";
    lac_status st = laci_json_get_string(object, "type", false, &kind, file, err);
    if (!st) st = laci_json_get_string(object, "rope_type", false, &kind, file, err);
    if (!st) st = laci_json_get_float(object, "factor", false, 0, 1e6, &s.factor, file, err);
    if (st) return st;
    s.kind = kind;
    s.n_kind = strlen(kind);
    st = set_scaling(out, &s, err);
    if (st) return st;
    s.holder = holder;
    return check_keys(object, &s, err);
}

/* Where a key stands: inside the object, else in the configuration around it. */
static const laci_jval *place_of(const char *key, const laci_jval *config, const laci_jval *object)
{
    const laci_jval *inside = laci_json_get(object, key);
    return inside && !laci_json_is_null(inside) ? object : config;
}

static lac_status read_rotary(laci_config *out, const laci_jval *config, const laci_jval *object,
                              lac_error *err)
{
    static const char key[] = "partial_rotary_factor";
    double share = 1;
    lac_status st =
        laci_json_get_float(place_of(key, config, object), key, false, 0, 1, &share, file, err);
    if (st) return st;
    const double rotary = share * out->d_head;
    if (rotary != floor(rotary))
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%s: partial_rotary_factor %g of head_dim %d is not a whole number", file,
                         share, out->d_head);
    out->rope_dim = (int)rotary;
    st = laci_json_get_int(config, "rotary_dim", false, 2, out->d_head, &out->rope_dim, file, err);
    if (!st && share != 1 && out->rope_dim != (int)rotary)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%s: rotary_dim is %d, partial_rotary_factor makes it %d", file,
                         out->rope_dim, (int)rotary);
    return st;
}

lac_status laci_rope_read(laci_config *out, const laci_config_source *src, lac_error *err)
{
    static const char old[] = "rope_scaling", new[] = "rope_parameters", theta[] = "rope_theta";
    const laci_jval *config = src->config, *object = NULL, *newer = NULL;
    lac_status st = get_object(config, old, &object, err);
    if (!st) st = get_object(config, new, &newer, err);
    const char *holder = object ? old : new;
    if (!object) object = newer;
    if (!st && object) st = pick_layer_type(config, &object, err);
    if (!st)
        st = laci_json_get_float(place_of(theta, config, object), theta, true, 1, max_theta,
                                 &out->rope_theta, file, err);
    if (!st) st = read_rotary(out, config, object, err);
    out->rope_scale = 1;
    if (!st && object && !replaces_scaling(&src->rope)) st = read_scaling(out, object, holder, err);
    if (!st) apply_wish(out, &src->rope);
    return st;
}

/* ------------------------------------------------------------------ GGUF */

enum { KEY = 128 };

static const char *join_key(char key[KEY], const char *arch, const char *suffix)
{
    (void)snprintf(key, KEY, "%s.%s", arch, suffix);
    return key;
}

/* Keys of other kinds of scaling, and values that mean that they do nothing. */
static lac_status check_gguf_keys(const laci_gguf *gguf, const char *arch, lac_error *err)
{
    static const struct {
        const char *suffix;
        double harmless, as_well;
    } keys[] = { { "rope.scaling.attn_factor", 1, 0 },
                 { "rope.scaling.alpha", 0, 1 },
                 { "attention.temperature_scale", 0, 0 } };
    char key[KEY];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double value = keys[i].harmless;
        bool found;
        lac_status st =
            laci_gguf_float(gguf, join_key(key, arch, keys[i].suffix), &value, &found, err);
        if (st) return st;
        if (value != keys[i].harmless && value != keys[i].as_well)
            return laci_fail(err, LAC_EUNSUPPORTED, 0, "key %s is %g, which is not implemented",
                             key, value);
    }
    laci_gguf_array sections;
    bool found;
    lac_status st = laci_gguf_get_array(gguf, join_key(key, arch, "rope.dimension_sections"),
                                        &sections, &found, err);
    if (!st && found)
        st = laci_fail(err, LAC_EUNSUPPORTED, 0, "key %s is set, which is not implemented", key);
    return st;
}

static lac_status read_gguf_scaling(laci_config *out, const laci_gguf *gguf, const char *arch,
                                    lac_error *err)
{
    char key[KEY], type_key[KEY];
    bool has_type, has_factor;
    scaling s = { .holder = type_key, .kind = "linear", .n_kind = 6 };
    lac_status st = laci_gguf_string(gguf, join_key(type_key, arch, "rope.scaling.type"), &s.kind,
                                     &s.n_kind, &has_type, err);
    if (!st)
        st = laci_gguf_float(gguf, join_key(key, arch, "rope.scaling.factor"), &s.factor,
                             &has_factor, err);
    if (!st && !has_factor)
        st = laci_gguf_float(gguf, join_key(key, arch, "rope.scale_linear"), &s.factor, &has_factor,
                             err);
    if (st) return st;
    if (is_kind(&s, "none") || (is_kind(&s, "linear") && s.factor == 0)) return LAC_OK;
    char name[KEY + 8];
    (void)snprintf(name, sizeof name, "key %s", has_type ? type_key : key);
    s.holder = name;
    st = set_scaling(out, &s, err);
    return st ? st : check_gguf_keys(gguf, arch, err);
}

lac_status laci_rope_read_gguf(laci_config *out, const laci_config_source *src, const char *arch,
                               lac_error *err)
{
    char key[KEY];
    bool found;
    out->rope_theta = 10000; /* what the format means when the key is absent */
    out->rope_scale = 1;
    lac_status st = laci_gguf_float(src->gguf, join_key(key, arch, "rope.freq_base"),
                                    &out->rope_theta, &found, err);
    if (!st && !replaces_scaling(&src->rope)) st = read_gguf_scaling(out, src->gguf, arch, err);
    if (!st) apply_wish(out, &src->rope);
    return st;
}
