/* test_tokenizer_data.c: real vocabularies, where the optional data folder lies beside the source
 * tree: known ids of short strings and long prompts, and that other published files open. */
#include "base/file.h"
#include "base/json.h"
#include "model/tokenizer/tokenizer.h"
#include "test.h"

/* ------------------------------------------------------------------ SHA-256 (FIPS 180-4) */

static uint32_t rotate(uint32_t x, int by)
{
    return x >> by | x << (32 - by);
}

/* First 32 bits of the fractional part of the root (2 or 3) of the i-th prime. */
static uint32_t prime_root(int i, bool cubic)
{
    uint64_t prime = 2;
    for (uint64_t candidate = 3; i > 0; candidate++) {
        uint64_t divisor = 2;
        while (candidate % divisor)
            divisor++;
        if (divisor != candidate) continue;
        prime = candidate;
        i--;
    }
    /* Largest r with r^k <= prime * 2^(32 k), bit by bit in 128 bits or more. */
    uint64_t r = 0;
    for (int bit = 36; bit >= 0; bit--) {
        const uint64_t t = r | (uint64_t)1 << bit;
        const long double value = (long double)t;
        const long double power = cubic ? value * value * value : value * value;
        const long double limit = (long double)prime * (cubic ? 79228162514264337593543950336.0L
                                                              : 18446744073709551616.0L);
        if (power <= limit) r = t;
    }
    return (uint32_t)r;
}

static void sha256_block(uint32_t h[8], const unsigned char *block)
{
    static uint32_t k[64];
    for (int i = 0; i < 64 && !k[63]; i++)
        k[i] = prime_root(i, true);
    uint32_t w[64], v[8];
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        const uint32_t t = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) +
                           ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        const uint32_t u = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) +
                           ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t;
        v[0] = t + u;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

/* Hexadecimal digest of data[0..n); the buffer has room for 72 bytes more. */
static void sha256(char out[65], unsigned char *data, size_t n)
{
    uint32_t h[8];
    for (int i = 0; i < 8; i++)
        h[i] = prime_root(i, false);
    const size_t n_all = (n + 9 + 63) / 64 * 64;
    memset(data + n, 0, n_all - n);
    data[n] = 0x80;
    for (int i = 0; i < 8; i++)
        data[n_all - 1 - (size_t)i] = (unsigned char)((uint64_t)n * 8 >> 8 * i);
    for (size_t at = 0; at < n_all; at += 64)
        sha256_block(h, data + at);
    for (size_t i = 0; i < 8; i++)
        snprintf(out + 8 * i, 9, "%08x", (unsigned)h[i]);
}

/* ------------------------------------------------------------------ fixtures */

static char *read_text(const char *path, size_t *n)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    char *text = NULL;
    lac_error err = { 0 };
    if (laci_file_read(&text, n, path, (size_t)1 << 28, &mem, &err)) fail_msg("%s", err.message);
    return text;
}

static laci_tokenizer *open_file(const char *path)
{
    size_t n;
    char *text = read_text(path, &n);
    laci_tokenizer *tok = NULL;
    lac_error err = { 0 };
    if (laci_tokenizer_open_json(&tok, text, n, NULL, &err)) fail_msg("%s", err.message);
    free(text);
    return tok;
}

/* Reads JSON whose strings may hold \u0000, which the reader refuses: U+E000 stands for it. */
static laci_json *read_json(const char *path)
{
    const lac_allocator mem = laci_allocator_or_default(NULL);
    const laci_json_limits limits = { .max_bytes = 1 << 26 };
    size_t n;
    char *text = read_text(path, &n);
    for (char *hit = text; (hit = strstr(hit, "\\u0000"));)
        hit[2] = 'e';
    laci_json *doc = NULL;
    lac_error err = { 0 };
    if (laci_json_parse(&doc, text, n, path, &limits, &mem, &err)) fail_msg("%s", err.message);
    free(text);
    return doc;
}

static laci_ids encode(const laci_tokenizer *tok, const char *text, bool parse_special)
{
    char *copy = malloc(strlen(text) + 1);
    assert_non_null(copy);
    size_t n = 0;
    for (const char *from = text; *from; from++) {
        const bool is_nul = !strncmp(from, "\xEE\x80\x80", 3);
        copy[n++] = is_nul ? 0 : *from;
        if (is_nul) from += 2;
    }
    laci_ids ids = { .mem = laci_allocator_or_default(NULL) };
    lac_error err = { 0 };
    if (laci_tokenizer_encode(tok, copy, n, parse_special, &ids, &err)) fail_msg("%s", err.message);
    free(copy);
    return ids;
}

/* ------------------------------------------------------------------ tests */

static void check_strings(const laci_tokenizer *tok, const laci_jval *cases)
{
    size_t n_cases = 0;
    for (const laci_jval *v = laci_json_first(cases); v; v = laci_json_next(v), n_cases++) {
        const char *text = laci_json_string(laci_json_get(v, "text"));
        laci_ids ids = encode(tok, text, true);
        const laci_jval *id = laci_json_first(laci_json_get(v, "ids"));
        for (size_t i = 0; i < ids.n || id; i++, id = laci_json_next(id)) {
            const int want = id ? (int)laci_json_number(id) : -1;
            const int have = i < ids.n ? (int)ids.ids[i] : -1;
            if (want != have) fail_msg("id %zu of \"%s\" is %d, expected %d", i, text, have, want);
        }
        laci_ids_clear(&ids);
    }
    assert_int_equal(n_cases, 53);
}

/* Number of ids and the digest of their decimal list. */
static void check_prompts(const laci_tokenizer *tok, const laci_jval *expected,
                          const laci_jval *prompts)
{
    assert_true(laci_json_count(expected) >= 5);
    for (const laci_jval *v = laci_json_first(expected); v; v = laci_json_next(v)) {
        laci_ids ids =
            encode(tok, laci_json_string(laci_json_get(prompts, laci_json_key(v))), false);
        assert_int_equal(ids.n, (size_t)laci_json_number(laci_json_get(v, "tokens")));
        char *list = malloc(12 * ids.n + 80), digest[65];
        assert_non_null(list);
        size_t n = 0;
        for (size_t i = 0; i < ids.n; i++)
            n += (size_t)sprintf(list + n, "%s%d", i ? "," : "", (int)ids.ids[i]);
        sha256(digest, (unsigned char *)list, n);
        assert_string_equal(digest,
                            laci_json_string(laci_json_get(v, "sha256_of_ids_as_comma_decimal")));
        free(list);
        laci_ids_clear(&ids);
    }
}

static void test_sha256(void **state)
{
    (void)state;
    unsigned char text[128] = "abc";
    char digest[65];
    sha256(digest, text, 3);
    assert_string_equal(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_sdar(void **state)
{
    (void)state;
    const char *config = test_data("sdar-4b-chat/tokenizer_config.json");
    const char *json = test_data("derived/sdar-tokenizer.json");
    if (!config || !json || !test_data("sparsed-prompts.json")) {
        print_message("skipped: no SDAR tokenizer in the data folder\n");
        skip();
    }
    char folder[1024];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(config, '/') - config), config);
    laci_tokenizer *files = NULL, *tok = open_file(json);
    lac_error err = { 0 };
    if (laci_tokenizer_open_dir(&files, folder, NULL, &err)) fail_msg("%s", err.message);
    assert_int_equal(laci_tokenizer_n_tokens(files), 151670);
    assert_int_equal(laci_tokenizer_n_tokens(tok), 151670);
    assert_int_equal(laci_tokenizer_find(files, "<MASK>", 6), 151669); /* the files disagree */
    assert_int_equal(laci_tokenizer_find(files, "<|MASK|>", 8), 151669);
    for (int id = 0; id < 151670; id++)
        assert_string_equal(laci_tokenizer_piece(tok, id, NULL),
                            laci_tokenizer_piece(files, id, NULL));
    laci_json *golden = read_json(test_data("derived/sdar-golden-tokens.json"));
    laci_json *prompts = read_json(test_data("sparsed-prompts.json"));
    const laci_jval *root = laci_json_root(golden);
    const laci_jval *questions = laci_json_get(laci_json_root(prompts), "questions");
    check_strings(tok, laci_json_get(root, "cases"));
    check_strings(files, laci_json_get(root, "cases"));
    check_prompts(tok, laci_json_get(root, "sparsed_prompts"), questions);
    check_prompts(files, laci_json_get(root, "sparsed_prompts"), questions);
    laci_json_free(golden);
    laci_json_free(prompts);
    laci_tokenizer_close(files);
    laci_tokenizer_close(tok);
}

static void test_other_files(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int n_tokens;
    } files[] = {
        { "phi-2/tokenizer.json", 50295 },
        { "phi-3-mini/tokenizer.json", 32011 },
        { "wedlm-gpt2/tokenizer.json", 50258 },
        { "ortx-added-tokens/tokenizer.json", 32011 },
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *path = test_data(files[i].file);
        if (!path) {
            print_message("skipped: no %s in the data folder\n", files[i].file);
            continue;
        }
        laci_tokenizer *tok = open_file(path);
        assert_int_equal(laci_tokenizer_n_tokens(tok), files[i].n_tokens);
        laci_tokenizer_close(tok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_sdar),
        cmocka_unit_test(test_other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
