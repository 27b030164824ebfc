/* test_weight_map.c: which tensor plays which part. A directory of a small network is built in
 * memory; each rule has a directory that breaks only that rule. */
#include "test.h"

#include "model/weight_map.h"

static const laci_config sdar_like = { .family = "sdar",
                                       .n_layers = 2,
                                       .d_model = 8,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .d_head = 4,
                                       .d_ff = 16,
                                       .n_vocab = 12,
                                       .qk_norm = LACI_QK_NORM_BEFORE_ROPE,
                                       .norm_weights = true };

static const laci_family *family_of(const char *name)
{
    for (const laci_family *const *f = laci_families(); *f; f++)
        if (!strcmp((*f)->name, name)) return *f;
    fail_msg("no family %s", name);
    return NULL;
}

static void add(laci_tensor_dir *dir, const char *name, int n_dims, uint64_t d0, uint64_t d1)
{
    static const float ones[1024] = { 1, 1, 1, 1 };
    laci_tensor t = { .dtype = LACI_F32,
                      .dtype_name = "F32",
                      .n_dims = n_dims,
                      .shape = { d0, d1 },
                      .n_elements = d0 * (n_dims == 2 ? d1 : 1),
                      .data = ones,
                      .file = -1 };
    t.n_bytes = 4 * t.n_elements;
    assert_true(laci_tensor_append(dir, &t, name, strlen(name)));
}

/* Every tensor the configuration asks for, under the names of a layout. */
static void fill(laci_tensor_dir *dir, const laci_config *c, const laci_weight_names *names)
{
    *dir = (laci_tensor_dir){ .mem = laci_allocator_or_default(NULL) };
    for (int part = 0; part < LACI_N_WEIGHTS; part++) {
        uint64_t shape[2];
        if (!laci_config_uses(c, (laci_weight)part)) continue;
        const int n_dims = laci_weight_shape(c, (laci_weight)part, shape);
        const int times = part < LACI_N_LAYER_WEIGHTS ? c->n_layers : 1;
        for (int layer = 0; layer < times; layer++) {
            char name[128];
            const char *mark = strstr(names->name[part], "%d");
            if (mark)
                snprintf(name, sizeof name, "%.*s%d%s", (int)(mark - names->name[part]),
                         names->name[part], layer, mark + 2);
            else
                snprintf(name, sizeof name, "%s", names->name[part]);
            add(dir, name, n_dims, shape[0], shape[1]);
        }
    }
}

static lac_status build(laci_weight_map *map, const laci_config *c, laci_tensor_dir *dir,
                        lac_error *err)
{
    const char *twice;
    memset(err, 0, sizeof *err);
    *map = (laci_weight_map){ 0 };
    assert_true(laci_tensor_sort(dir, &twice));
    return laci_weight_map_build(map, c, family_of(c->family), dir, NULL, err);
}

static laci_tensor *entry(laci_tensor_dir *dir, const char *name)
{
    for (size_t i = 0; i < dir->n_tensors; i++)
        if (!strcmp(dir->tensors[i].name, name)) return &dir->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void refuse(const laci_config *c, laci_tensor_dir *dir, lac_status expected,
                   const char *word)
{
    laci_weight_map map;
    lac_error err;
    const lac_status st = build(&map, c, dir, &err);
    if (st != expected) fail_msg("\"%s\": %s (%s)", word, lac_status_name(st), err.message);
    if (!strstr(err.message, word)) fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    assert_null(map.tensors);
    laci_tensor_dir_clear(dir);
}

static void accept(const laci_config *c, laci_tensor_dir *dir, laci_weight_map *map)
{
    lac_error err;
    if (build(map, c, dir, &err)) fail_msg("%s", err.message);
}

static void parts_are_found(void **state)
{
    (void)state;
    static const laci_weight_names *const layouts[] = { &laci_names_hf, &laci_names_gguf };
    for (size_t i = 0; i < 2; i++) {
        laci_tensor_dir dir;
        laci_weight_map map;
        fill(&dir, &sdar_like, layouts[i]);
        accept(&sdar_like, &dir, &map);
        const laci_tensor *t = laci_weight_map_get(&map, 1, LACI_W_K);
        assert_string_equal(t->name,
                            i ? "blk.1.attn_k.weight" : "model.layers.1.self_attn.k_proj.weight");
        assert_int_equal(t->shape[0], 8);
        assert_null(laci_weight_map_get(&map, 1, LACI_W_Q_BIAS));
        assert_null(laci_weight_map_get(&map, 0, LACI_W_TIME));
        t = laci_weight_map_get(&map, 7, LACI_W_EMBED); /* the layer does not matter */
        assert_int_equal(t->shape[0], 12);
        uint64_t n = 0;
        for (size_t k = 0; k < dir.n_tensors; k++)
            n += dir.tensors[k].n_elements;
        assert_int_equal(map.n_params, n);
        assert_int_equal(map.n_bytes, 4 * n);
        assert_true(map.uses[LACI_F32] && !map.uses[LACI_F16]);
        laci_weight_map_clear(&map);
        laci_tensor_dir_clear(&dir);
    }
}

static void every_layout_is_complete(void **state)
{
    (void)state;
    for (const laci_family *const *f = laci_families(); *f; f++) {
        laci_config c = sdar_like;
        c.family = (*f)->name;
        c.qk_norm = LACI_QK_NORM_NONE;
        if (!strcmp(c.family, "tiny-dlm")) {
            c.norm_weights = false;
            c.mlp = LACI_MLP_RELU2;
            c.n_time_steps = 3;
        }
        for (const laci_weight_names *const *layout = (*f)->layouts; *layout; layout++) {
            laci_tensor_dir dir;
            laci_weight_map map;
            fill(&dir, &c, *layout);
            accept(&c, &dir, &map);
            laci_weight_map_clear(&map);
            laci_tensor_dir_clear(&dir);
        }
    }
}

static void missing_tensors_are_named(void **state)
{
    (void)state;
    laci_tensor_dir dir;
    fill(&dir, &sdar_like, &laci_names_hf);
    const size_t n = dir.n_tensors;
    laci_tensor_dir_clear(&dir);
    for (size_t i = 0; i < n; i++) { /* each in turn */
        char word[128];
        fill(&dir, &sdar_like, &laci_names_hf);
        const char *name = dir.tensors[i].name;
        snprintf(word, sizeof word, "%s", name);
        dir.tensors[i] = dir.tensors[--dir.n_tensors];
        refuse(&sdar_like, &dir, LAC_EFORMAT, word);
    }
    fill(&dir, &sdar_like, &laci_names_hf);
    laci_config c = sdar_like;
    c.n_time_steps = 3;
    refuse(&c, &dir, LAC_EFORMAT, "no name for a tensor [3, 8]");
    dir = (laci_tensor_dir){ .mem = laci_allocator_or_default(NULL) };
    refuse(&sdar_like, &dir, LAC_EFORMAT, "none of 0 tensors");
}

static void shapes_are_exact(void **state)
{
    (void)state;
    laci_tensor_dir dir;
    fill(&dir, &sdar_like, &laci_names_hf);
    laci_tensor *t = entry(&dir, "model.layers.0.mlp.down_proj.weight");
    t->shape[0] = 16, t->shape[1] = 8;
    refuse(&sdar_like, &dir, LAC_EFORMAT,
           "model.layers.0.mlp.down_proj.weight has shape [16, 8], expected [8, 16]");
    fill(&dir, &sdar_like, &laci_names_hf);
    t = entry(&dir, "model.norm.weight");
    t->n_dims = 2, t->shape[1] = 1;
    refuse(&sdar_like, &dir, LAC_EFORMAT, "has shape [8, 1], expected [8]");
}

static void unreadable_types_are_named(void **state)
{
    (void)state;
    laci_tensor_dir dir;
    fill(&dir, &sdar_like, &laci_names_hf);
    laci_tensor *t = entry(&dir, "model.layers.1.self_attn.q_proj.weight");
    t->dtype = LACI_OTHER;
    t->dtype_name = "q4_k";
    refuse(&sdar_like, &dir, LAC_EUNSUPPORTED,
           "model.layers.1.self_attn.q_proj.weight has type q4_k, this version reads f32, f16, "
           "bf16 and q8_0");
}

static void left_overs_are_refused_unless_harmless(void **state)
{
    (void)state;
    laci_tensor_dir dir;
    laci_weight_map map;
    fill(&dir, &sdar_like, &laci_names_hf);
    add(&dir, "model.layers.2.mlp.up_proj.weight", 2, 16, 8);
    refuse(&sdar_like, &dir, LAC_EFORMAT,
           "model.layers.2.mlp.up_proj.weight [16, 8] is no part of this network (sdar, 2 layers)");
    fill(&dir, &sdar_like, &laci_names_hf);
    add(&dir, "model.layers.0.self_attn.q_proj.bias", 1, 16, 0);
    refuse(&sdar_like, &dir, LAC_EFORMAT, "q_proj.bias [16] is no part");
    fill(&dir, &sdar_like, &laci_names_hf);
    add(&dir, "model.layers.0.self_attn.rotary_emb.inv_freq", 1, 2, 0);
    entry(&dir, "model.layers.0.self_attn.rotary_emb.inv_freq")->dtype = LACI_OTHER;
    accept(&sdar_like, &dir, &map);
    laci_weight_map_clear(&map);
    laci_tensor_dir_clear(&dir);
    for (uint64_t n = 4; n <= 5; n++) { /* the fifth value is not 1 */
        fill(&dir, &sdar_like, &laci_names_gguf);
        add(&dir, "rope_freqs.weight", 1, n, 0);
        if (n == 5) {
            refuse(&sdar_like, &dir, LAC_EFORMAT, "rope_freqs.weight [5] is no part");
            continue;
        }
        accept(&sdar_like, &dir, &map);
        laci_weight_map_clear(&map);
        laci_tensor_dir_clear(&dir);
    }
}

static void tied_models_need_no_head(void **state)
{
    (void)state;
    laci_config c = sdar_like;
    c.tied = true;
    laci_tensor_dir dir;
    laci_weight_map map;
    for (int with_head = 0; with_head < 2; with_head++) {
        fill(&dir, with_head ? &sdar_like : &c, &laci_names_hf);
        accept(&c, &dir, &map);
        assert_null(laci_weight_map_get(&map, 0, LACI_W_HEAD));
        laci_weight_map_clear(&map);
        laci_tensor_dir_clear(&dir);
    }
}

static void *limited_alloc(void *user, size_t size)
{
    int *left = user;
    return (*left)-- > 0 ? malloc(size) : NULL;
}
static void *limited_resize(void *user, void *ptr, size_t size)
{
    int *left = user;
    return (*left)-- > 0 ? realloc(ptr, size) : NULL;
}
static void limited_release(void *user, void *ptr)
{
    (void)user;
    free(ptr);
}

static void no_memory_is_reported(void **state)
{
    (void)state;
    laci_tensor_dir dir;
    lac_status st = LAC_ENOMEM;
    const char *twice;
    fill(&dir, &sdar_like, &laci_names_hf);
    assert_true(laci_tensor_sort(&dir, &twice));
    int n = 0;
    for (; st && n < 10; n++) {
        int left = n;
        const lac_allocator mem = { limited_alloc, limited_resize, limited_release, &left };
        laci_weight_map map = { 0 };
        st = laci_weight_map_build(&map, &sdar_like, family_of("sdar"), &dir, &mem, NULL);
        if (st && st != LAC_ENOMEM) fail_msg("allocation %d: %s", n, lac_status_name(st));
        laci_weight_map_clear(&map);
    }
    assert_int_equal(st, LAC_OK);
    assert_int_equal(n, 3);
    laci_tensor_dir_clear(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_found),
        cmocka_unit_test(every_layout_is_complete),
        cmocka_unit_test(missing_tensors_are_named),
        cmocka_unit_test(shapes_are_exact),
        cmocka_unit_test(unreadable_types_are_named),
        cmocka_unit_test(left_overs_are_refused_unless_harmless),
        cmocka_unit_test(tied_models_need_no_head),
        cmocka_unit_test(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
