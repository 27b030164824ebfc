/* test_head.c: configurations that tie head and embedding beside tensors that say otherwise. */
#include "test.h"

#include "model/head.h"

enum { ROWS = 5, D = 3 };

/* A directory with an embedding and a head of these types and bytes; head NULL = none. */
static void fill(laci_tensor_dir *dir, const void *embed, const void *head, laci_dtype type)
{
    static const char *const names[] = { "model.embed_tokens.weight", "lm_head.weight" };
    const void *data[] = { embed, head };
    *dir = (laci_tensor_dir){ .mem = laci_allocator_or_default(NULL) };
    for (int i = 0; i < 2; i++) {
        const laci_tensor t = { .dtype = i ? type : LACI_BF16,
                                .n_dims = 2,
                                .shape = { ROWS, D },
                                .n_elements = ROWS * D,
                                .data = data[i],
                                .n_bytes = (size_t)ROWS * D * (i && type == LACI_F32 ? 4 : 2),
                                .file = -1 };
        if (data[i]) assert_true(laci_tensor_append(dir, &t, names[i], strlen(names[i])));
    }
    const char *twice;
    assert_true(laci_tensor_sort(dir, &twice));
}

static const laci_family *family(void)
{
    for (const laci_family *const *f = laci_families(); *f; f++)
        if (!strcmp((*f)->name, "fast-dllm")) return *f;
    fail_msg("no family fast-dllm");
    return NULL;
}

/* Whether a model that was tied stays so; *n_warnings receives how many there were. */
static bool stays_tied(const void *embed, const void *head, laci_dtype type, int *n_warnings)
{
    laci_tensor_dir dir;
    laci_config config = { .tied = true };
    laci_warnings warnings = { .n = 0 };
    fill(&dir, embed, head, type);
    laci_head_settle(&config, family(), &dir, true, &warnings);
    laci_tensor_dir_clear(&dir);
    *n_warnings = warnings.n;
    if (warnings.n) assert_int_equal(warnings.items[0].topic, LAC_WARNING_HEAD);
    return config.tied;
}

static void heads_are_compared(void **state)
{
    (void)state;
    unsigned short embed[ROWS * D], head[2 * ROWS * D] = { 0 };
    int n = -1;
    for (int i = 0; i < ROWS * D; i++)
        embed[i] = head[i] = (unsigned short)(0x3f00 + i);
    assert_true(stays_tied(embed, NULL, LACI_BF16, &n) && n == 0);
    assert_true(stays_tied(embed, head, LACI_BF16, &n) && n == 0);
    head[ROWS * D - 1] ^= 1; /* one bit of the last element */
    assert_true(!stays_tied(embed, head, LACI_BF16, &n) && n == 1);
    head[ROWS * D - 1] ^= 1;
    assert_true(!stays_tied(embed, head, LACI_F32, &n) && n == 1); /* another type */
}

static void an_untied_model_stays_untied(void **state)
{
    (void)state;
    const unsigned short same[ROWS * D] = { 1 };
    laci_tensor_dir dir;
    laci_config config = { .tied = false };
    laci_warnings warnings = { .n = 0 };
    fill(&dir, same, same, LACI_BF16);
    laci_head_settle(&config, family(), &dir, true, &warnings);
    laci_tensor_dir_clear(&dir);
    assert_true(!config.tied && !warnings.n);
}

/* Of large heads samples alone tell at first, all bytes in the end. */
static void large_heads_are_sampled_first(void **state)
{
    (void)state;
    enum { N = 80 * 1024 * 1024, RARE = 40 * 1024 * 1024 + 7 * 4096 + 11 };
    char *bytes[2] = { calloc(N, 1), calloc(N, 1) };
    laci_tensor_dir dir;
    laci_config config = { .tied = true };
    laci_warnings warnings = { .n = 0 };
    assert_true(bytes[0] && bytes[1]);
    fill(&dir, bytes[0], bytes[1], LACI_BF16);
    for (size_t i = 0; i < dir.n_tensors; i++)
        dir.tensors[i].n_bytes = N;
    bytes[1][RARE] = 1;
    laci_head_settle(&config, family(), &dir, false, &warnings);
    assert_true(config.tied && !warnings.n);
    laci_head_settle(&config, family(), &dir, true, &warnings);
    assert_true(!config.tied && warnings.n == 1);
    config.tied = true;
    memset(bytes[1], 1, N); /* trained apart: everywhere */
    laci_head_settle(&config, family(), &dir, false, &warnings);
    assert_true(!config.tied && warnings.n == 2);
    laci_tensor_dir_clear(&dir);
    free(bytes[0]);
    free(bytes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_compared),
        cmocka_unit_test(an_untied_model_stays_untied),
        cmocka_unit_test(large_heads_are_sampled_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
