/* test_pack_kernels.c: packing keys and values into panels and gathering from them, bit for bit:
 * the plain kernels against the layout drawn in attend.h, those of every instruction set against
 * the plain ones; any lanes, strides, alignment, special values; lanes not named keep what they
 * hold.
 * --bench times them. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include "kernels/checkasm.h"

static const size_t head_sizes[] = { 8, 16, 24, 40, 64, 80, 96, 128, 256, 1000 };
enum { N_HEAD_SIZES = sizeof head_sizes / sizeof head_sizes[0], N_KEYS = 5 * LACI_PANEL };

typedef void (*pack_fn)(void *panel, const float *x, size_t stride, size_t lane, size_t n,
                        size_t d);

/* The four packing kernels by number: keys or values, f32 or bf16. */
static const struct {
    const char *name;
    laci_dtype dtype;
    bool values;
    size_t at;
} packs[] = {
    { "pack_k_f32", LACI_F32, false, offsetof(laci_kernels, pack_k_f32) },
    { "pack_v_f32", LACI_F32, true, offsetof(laci_kernels, pack_v_f32) },
    { "pack_k_bf16", LACI_BF16, false, offsetof(laci_kernels, pack_k_bf16) },
    { "pack_v_bf16", LACI_BF16, true, offsetof(laci_kernels, pack_v_bf16) },
};
enum { N_PACKS = sizeof packs / sizeof packs[0] };

static pack_fn pack_of(const laci_kernels *k, size_t i)
{
    const pack_fn all[] = { k->pack_k_f32, k->pack_v_f32, k->pack_k_bf16, k->pack_v_bf16 };
    return all[i];
}

static size_t panel_bytes(laci_dtype dtype, bool values, size_t d)
{
    return values ? laci_v_panel_bytes(dtype, d) : laci_k_panel_bytes(dtype, d);
}

/* Rows with infinities, NaN of both kinds, zeros of both signs, ties and denormals among them. */
static void fill_special(float *x, size_t n, uint64_t seed)
{
    const float specials[] = { INFINITY, -INFINITY, NAN,    low_nan(),   -0.0f,       1e-40f,
                               -1e-45f,  3.4e38f,   1e-38f, 1.00390625f, 1.01171875f, 65280.0f };
    fill(x, n, seed, 3);
    for (size_t i = 0; i < n; i++) {
        const uint64_t draw = laci_rng_u64(seed + 1, i);
        if (draw % 8 == 0) x[i] = specials[draw / 8 % (sizeof specials / sizeof specials[0])];
    }
}

/* ------------------------------------------------------------------ the layout */

/* Where attend.h puts channel c of key j, in elements. */
static size_t place_of(laci_dtype dtype, bool values, size_t c, size_t j, size_t d)
{
    const size_t d16 = (d + 15) / 16 * 16, pair = j / 32, within = j % 32;
    if (dtype == LACI_F32) return values ? j * d16 + c : c * 64 + j;
    return values ? 2 * ((16 * pair + within % 16) * d16 + c) + within / 16
                  : 2 * (c / 2 * 64 + j) + c % 2;
}

static void plain_packing_is_the_layout_of_the_header(void **state)
{
    (void)state;
    static float x[LACI_PANEL * 40];
    const laci_kernels ref = laci_kernels_ref();
    fill_special(x, LACI_PANEL * 40, 3);
    for (size_t i = 0; i < N_PACKS; i++) {
        const size_t size = laci_act_bytes(packs[i].dtype);
        guarded panel = guarded_new(panel_bytes(packs[i].dtype, packs[i].values, 40), 0);
        pack_of(&ref, i)(panel.data, x, 40, 0, LACI_PANEL, 40);
        guarded_check(&panel, panel.n, packs[i].name);
        for (size_t j = 0; j < LACI_PANEL; j++) {
            for (size_t c = 0; c < (packs[i].values ? 48 : 40); c++) {
                const float want = c < 40 ? x[j * 40 + c] : 0;
                const uint16_t half = laci_f32_to_bf16(want);
                const char *got = (const char *)panel.data +
                                  place_of(packs[i].dtype, packs[i].values, c, j, 40) * size;
                if (memcmp(got, size == 2 ? (const void *)&half : (const void *)&want, size))
                    fail_msg("%s: channel %zu of key %zu is not %g", packs[i].name, c, j,
                             (double)want);
            }
        }
        guarded_free(&panel);
    }
}

/* ------------------------------------------------------------------ packing */

static void check_pack(const level *l, size_t i, size_t d, size_t lane, size_t n)
{
    const laci_kernels ref = laci_kernels_ref();
    const size_t stride = d + (lane + n) % 3 * 8 + n % 2,
                 bytes = panel_bytes(packs[i].dtype, packs[i].values, d);
    guarded x = guarded_new(n * stride * sizeof(float), 4);
    guarded want = guarded_new(bytes, 0), got = guarded_new(bytes, 0);
    fill_special(x.data, n * stride, d + lane);
    pack_of(&ref, i)(want.data, x.data, stride, lane, n, d);
    pack_of(&l->table, i)(got.data, x.data, stride, lane, n, d);
    guarded_check(&got, bytes, packs[i].name);
    for (size_t b = 0; b < bytes; b++)
        if (((const char *)got.data)[b] != ((const char *)want.data)[b])
            fail_msg("%s %s, d %zu, lanes %zu + %zu: byte %zu differs", packs[i].name, l->name, d,
                     lane, n, b);
    guarded_free(&x);
    guarded_free(&want);
    guarded_free(&got);
}

static void packing_matches_the_plain_kernels(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    static const size_t parts[][2] = { { 0, 64 },  { 0, 0 },  { 0, 1 },   { 63, 1 }, { 10, 54 },
                                       { 16, 16 }, { 15, 2 }, { 31, 33 }, { 48, 7 }, { 5, 40 } };
    for (size_t l = 0; l < n_levels; l++)
        for (size_t i = 0; i < N_PACKS; i++)
            for (size_t j = 0; j < N_HEAD_SIZES && is_new(levels, l, packs[i].at); j++)
                for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++)
                    check_pack(&levels[l], i, head_sizes[j], parts[p][0], parts[p][1]);
}

/* ------------------------------------------------------------------ gathering */

typedef struct {
    laci_dtype dtype;
    size_t d;
    guarded k, v; /* packed keys of one head */
} source;

static source make_source(laci_dtype dtype, size_t d)
{
    const laci_kernels ref = laci_kernels_ref();
    source s = { .dtype = dtype, .d = d };
    float *x = take(N_KEYS * d, sizeof *x);
    s.k = guarded_new(N_KEYS / LACI_PANEL * laci_k_panel_bytes(dtype, d), 0);
    s.v = guarded_new(N_KEYS / LACI_PANEL * laci_v_panel_bytes(dtype, d), 0);
    fill_special(x, N_KEYS * d, d);
    for (size_t i = 0; i < N_KEYS / LACI_PANEL; i++) {
        char *k = (char *)s.k.data + i * laci_k_panel_bytes(dtype, d);
        char *v = (char *)s.v.data + i * laci_v_panel_bytes(dtype, d);
        const float *rows = x + i * LACI_PANEL * d;
        pack_of(&ref, dtype == LACI_F32 ? 0 : 2)(k, rows, d, 0, LACI_PANEL, d);
        pack_of(&ref, dtype == LACI_F32 ? 1 : 3)(v, rows, d, 0, LACI_PANEL, d);
    }
    free(x);
    return s;
}

static void free_source(source *s)
{
    guarded_free(&s->k);
    guarded_free(&s->v);
}

/* Keys to be copied to lanes from `lane` on. */
typedef struct {
    uint32_t keys[LACI_PANEL];
    size_t n, lane;
    bool by_group; /* gather_group: 16 neighbours, to a multiple of 16 */
} request;

/* What the layout says a panel of junk must then hold. */
static void gather_by_layout(const source *s, const request *r, bool values, unsigned char *out)
{
    const size_t size = laci_act_bytes(s->dtype), bytes = panel_bytes(s->dtype, values, s->d);
    const unsigned char *from = values ? s->v.data : s->k.data;
    memset(out, 0x5c, bytes);
    for (size_t i = 0; i < r->n; i++) {
        const unsigned char *panel = from + r->keys[i] / LACI_PANEL * bytes;
        const size_t j = r->keys[i] % LACI_PANEL;
        for (size_t c = 0; c < (values ? laci_d16(s->d) : s->d); c++)
            memcpy(out + place_of(s->dtype, values, c, r->lane + i, s->d) * size,
                   panel + place_of(s->dtype, values, c, j, s->d) * size, size);
    }
}

static void check_gather(const level *l, const source *s, const request *r)
{
    guarded k = guarded_new(laci_k_panel_bytes(s->dtype, s->d), 0);
    guarded v = guarded_new(laci_v_panel_bytes(s->dtype, s->d), 0);
    unsigned char *want = take(v.n, 1);
    const laci_gather to = { k.data, v.data, s->k.data, s->v.data, s->dtype, s->d };
    if (r->by_group)
        l->table.gather_group(&to, r->lane / 16, r->keys[0] / 16);
    else
        l->table.gather_keys(&to, r->keys, r->n);
    guarded_check(&k, k.n, "gathered keys");
    guarded_check(&v, v.n, "gathered values");
    gather_by_layout(s, r, false, want);
    const bool same_k = !memcmp(want, k.data, k.n);
    gather_by_layout(s, r, true, want);
    if (!same_k || memcmp(want, v.data, v.n))
        fail_msg("%s %s: %zu keys, the first %u, to lane %zu, d %zu, %zu bytes each: %s differs",
                 r->by_group ? "gather_group" : "gather_keys", l->name, r->n, r->keys[0], r->lane,
                 s->d, laci_act_bytes(s->dtype), same_k ? "V" : "K");
    guarded_free(&k);
    guarded_free(&v);
    free(want);
}

static void check_groups(const level *l, const source *s)
{
    for (uint32_t from = 0; from < N_KEYS / 16; from += 3) {
        request r = { .n = 16, .by_group = true };
        for (uint32_t i = 0; i < 16; i++)
            r.keys[i] = from * 16 + i;
        for (r.lane = 0; r.lane < LACI_PANEL; r.lane += 16)
            check_gather(l, s, &r);
    }
}

static void check_lists(const level *l, const source *s)
{
    static const size_t counts[] = { 0, 1, 2, 15, 16, 17, 63, 64 };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        request r = { .n = counts[i] };
        for (size_t j = 0; j < r.n; j++)
            r.keys[j] = (uint32_t)(laci_rng_u64(r.n, j) % N_KEYS);
        check_gather(l, s, &r);
    }
}

static void gathering_matches_the_layout(void **state)
{
    (void)state;
    level levels[MAX_LEVELS];
    const size_t n_levels = get_levels(levels);
    for (size_t j = 0; j < 2 * N_HEAD_SIZES; j++) {
        source s = make_source(j % 2 ? LACI_BF16 : LACI_F32, head_sizes[j / 2]);
        for (size_t l = 0; l < n_levels; l++) {
            if (IS_NEW(levels, l, gather_group)) check_groups(&levels[l], &s);
            if (IS_NEW(levels, l, gather_keys)) check_lists(&levels[l], &s);
        }
        free_source(&s);
    }
}

/* ------------------------------------------------------------------ --bench */

typedef struct {
    source s;
    void *panel[2];
    float *x;
    size_t which;
    uint32_t keys[LACI_PANEL];
} pack_bench;

static void run_pack(const laci_kernels *k, void *user)
{
    const pack_bench *b = user;
    pack_of(k, b->which)(b->panel[0], b->x, b->s.d, 0, LACI_PANEL, b->s.d);
}

static void run_gather(const laci_kernels *k, void *user)
{
    const pack_bench *b = user;
    const laci_gather to = {
        b->panel[0], b->panel[1], b->s.k.data, b->s.v.data, b->s.dtype, b->s.d
    };
    if (b->which) {
        k->gather_keys(&to, b->keys, LACI_PANEL);
        return;
    }
    for (size_t group = 0; group < 4; group++)
        k->gather_group(&to, group, group * 5);
}

static int bench_all(void)
{
    for (size_t i = 0; i < N_PACKS; i++) {
        const laci_dtype dtype = packs[i].dtype;
        pack_bench b = { .s = make_source(dtype, 128) };
        guarded k = guarded_new(laci_k_panel_bytes(LACI_F32, 128), 0);
        guarded v = guarded_new(laci_v_panel_bytes(LACI_F32, 128), 0);
        char what[80];
        b.panel[0] = k.data, b.panel[1] = v.data;
        b.x = take(LACI_PANEL * 128, sizeof *b.x);
        fill(b.x, LACI_PANEL * 128, 1, 1);
        for (size_t j = 0; j < LACI_PANEL; j++)
            b.keys[j] = (uint32_t)(laci_rng_u64(5, j) % N_KEYS);
        b.which = i;
        snprintf(what, sizeof what, "%s, 64 keys, d 128", packs[i].name);
        bench_kernel(&(bench_case){ what, packs[i].at, run_pack, &b, 0 });
        b.which = packs[i].values;
        snprintf(what, sizeof what, "%s %s, 64 keys, d 128",
                 b.which ? "gather_keys" : "gather_group", dtype == LACI_F32 ? "f32" : "bf16");
        bench_kernel(&(bench_case){ what,
                                    b.which ? offsetof(laci_kernels, gather_keys)
                                            : offsetof(laci_kernels, gather_group),
                                    run_gather, &b, 0 });
        free(b.x);
        guarded_free(&k), guarded_free(&v);
        free_source(&b.s);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_packing_is_the_layout_of_the_header),
        cmocka_unit_test(packing_matches_the_plain_kernels),
        cmocka_unit_test(gathering_matches_the_layout),
    };
    if (argc > 1 && !strcmp(argv[1], "--bench")) return bench_all();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
