/* test_safetensors.c: the container. Files are written byte by byte; each rule of the format has a
 * file that breaks only that rule, and the error must say which. Shards are written to a temporary
 * folder. Every allocation is made to fail once. */
#define _POSIX_C_SOURCE 200809L
#include "fault.h"

#include <sys/stat.h>
#include <unistd.h>

#include "model/files/safetensors.h"

/* A file: length, header text, n_data bytes counting up from 0. Free it. */
static unsigned char *make_file(const char *header, size_t n_data, size_t *size)
{
    const size_t n = strlen(header);
    *size = 8 + n + n_data;
    unsigned char *file = malloc(*size);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        file[8 + n + i] = (unsigned char)i;
    return file;
}

static lac_status parse_bytes(laci_tensor_dir *dir, const unsigned char *file, size_t size,
                              lac_error *err)
{
    *dir = (laci_tensor_dir){ .mem = laci_allocator_or_default(NULL) };
    memset(err, 0, sizeof *err);
    return laci_safetensors_parse(dir, file, size, -1, "x.safetensors", err);
}

static void refuse_bytes(const unsigned char *file, size_t size, const char *word)
{
    laci_tensor_dir dir;
    lac_error err;
    const lac_status st = parse_bytes(&dir, file, size, &err);
    if (st != LAC_EFORMAT) fail_msg("%s: %s, expected EFORMAT", word, lac_status_name(st));
    if (!strstr(err.message, word)) fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    if (!strstr(err.message, "x.safetensors")) fail_msg("\"%s\" names no file", err.message);
    laci_tensor_dir_clear(&dir);
}

static void refuse(const char *header, size_t n_data, const char *word)
{
    size_t size;
    unsigned char *file = make_file(header, n_data, &size);
    refuse_bytes(file, size, word);
    free(file);
}

static void accept(const char *header, size_t n_data, size_t n_tensors)
{
    laci_tensor_dir dir;
    lac_error err;
    size_t size;
    unsigned char *file = make_file(header, n_data, &size);
    if (parse_bytes(&dir, file, size, &err)) fail_msg("%s: %s", header, err.message);
    if (dir.n_tensors != n_tensors)
        fail_msg("%s: %zu tensors, expected %zu", header, dir.n_tensors, n_tensors);
    laci_tensor_dir_clear(&dir);
    free(file);
}

#define ONE(dtype, shape, begin, end) \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}}"

static void entries_are_read(void **state)
{
    (void)state;
    laci_tensor_dir dir;
    lac_error err;
    size_t size;
    const char *twice;
    unsigned char *file =
        make_file("{\"__metadata__\":{\"format\":\"pt\"},"
                  "\"w.b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                  "\"w.a\":{\"data_offsets\":[0,8],\"shape\":[2.0],\"dtype\":\"F32\"}}   ",
                  20, &size);
    if (parse_bytes(&dir, file, size, &err)) fail_msg("%s", err.message);
    assert_true(laci_tensor_sort(&dir, &twice));
    const laci_tensor *t = laci_tensor_find(&dir, "w.b");
    assert_non_null(t);
    assert_int_equal(t->dtype, LACI_BF16);
    assert_string_equal(t->dtype_name, "BF16");
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->n_elements, 6);
    assert_int_equal(t->n_bytes, 12);
    assert_int_equal(*(const unsigned char *)t->data, 8);
    assert_int_equal(t->file, -1);
    assert_string_equal(dir.tensors[0].name, "w.a");
    assert_null(laci_tensor_find(&dir, "w"));
    laci_tensor_dir_clear(&dir);
    free(file);
}

static void unusual_but_legal_entries_pass(void **state)
{
    (void)state;
    accept("{}", 0, 0);
    accept("{\"__metadata__\":{}}", 0, 0);
    accept(ONE("F32", "", "0", "4"), 4, 1);
    accept(ONE("F32", "0,7", "0", "0"), 0, 1);
    accept(ONE("F4", "3,2", "0", "3"), 3, 1);
    accept(ONE("F6_E3M2", "4", "0", "3"), 3, 1);
    accept(ONE("BOOL", "1,1,1,1,1,1,1,5", "0", "5"), 5, 1);
    static const char *const types[] = { "U8",      "I8",          "F8_E5M2",    "F8_E4M3",
                                         "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ" };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[256];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,2]}}", types[i]);
        accept(header, 2, 1);
    }
}

static void lengths_are_checked(void **state)
{
    (void)state;
    unsigned char file[16] = { 2, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    refuse_bytes(file, 0, "an empty file");
    refuse_bytes(file, 7, "7 bytes");
    refuse_bytes(file, 9, "header ends at 10, file has 9");
    refuse_bytes(file, 11, "the buffer has 1");
    file[0] = 1;
    refuse_bytes(file, 10, "header of 1 bytes");
    file[0] = 2;
    file[8] = '[';
    refuse_bytes(file, 10, "not with '{'");
    file[8] = ' ';
    refuse_bytes(file, 10, "not with '{'");
    file[8] = '{';
    file[7] = 0x80; /* a length near 2^63 */
    refuse_bytes(file, 10, "100000000");
    file[7] = 0;
    file[3] = 0x06; /* 100,663,298: just above the limit */
    refuse_bytes(file, 10, "100663298");
}

static void headers_are_strict(void **state)
{
    (void)state;
    refuse("{\"a\":1", 0, "ends at byte");
    refuse("{} x", 0, "nothing may follow");
    refuse("{\"\xff\":1}", 0, "UTF-8");
    refuse("{\"a\":1,}", 0, "key in quotes");
    refuse("{\"a\":{},\"\\u0061\":{}}", 0, "\"a\" occurs twice");
    refuse("{\"__metadata__\":3}", 0, "__metadata__ is not an object");
    refuse("{\"__metadata__\":{\"x\":3}}", 0, "not a string");
}

static void entries_have_exactly_three_keys(void **state)
{
    (void)state;
    refuse("{\"a\":7}", 0, "exactly dtype, shape and data_offsets");
    refuse("{\"a\":{}}", 0, "this has 0 keys");
    refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "this has 2 keys");
    refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"offsets\":[0,0]}}", 0, "exactly");
    refuse("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":1}}", 0, "4 keys");
}

static void names_are_checked(void **state)
{
    (void)state;
    char header[1400];
    for (int n = 1024; n <= 1025; n++) {
        memset(header, 0, sizeof header);
        strcpy(header, "{\"");
        memset(header + 2, 'n', (size_t)n);
        strcat(header, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
        if (n == 1024)
            accept(header, 0, 1);
        else
            refuse(header, 0, "1025 bytes, allowed are 1 to 1024");
    }
    refuse("{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "0 bytes");
    refuse("{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "0x0a");
}

static void types_and_shapes_are_checked(void **state)
{
    (void)state;
    refuse(ONE("F31", "1", "0", "4"), 4, "dtype is not one of");
    refuse("{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
           "dtype is not a string");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4,
           "shape is not an array");
    refuse(ONE("F32", "-1", "0", "4"), 4, "dimension 0");
    refuse(ONE("F32", "1,0.5", "0", "4"), 4, "dimension 1");
    refuse(ONE("F32", "\"1\"", "0", "4"), 4, "dimension 0");
    refuse(ONE("F32", "9007199254740993000", "0", "4"), 4, "dimension 0");
    refuse(ONE("U8", "1,1,1,1,1,1,1,1,1", "0", "1"), 1, "9 dimensions, limit 8");
    refuse(ONE("U8", "4294967296,4294967296", "0", "1"), 1, "exceeds 64 bits");
    refuse(ONE("F64", "4611686018427387904", "0", "0"), 0, "dimension 0");
    refuse(ONE("F64", "2147483648,2147483648", "0", "0"), 0, "4611686018427387904 elements");
}

static void spans_are_checked(void **state)
{
    (void)state;
    refuse(ONE("F32", "2", "0", "4"), 4, "2 elements of type F32 in 4 bytes");
    refuse(ONE("F32", "1", "0", "8"), 8, "1 elements of type F32 in 8 bytes");
    refuse(ONE("F4", "3", "0", "2"), 2, "3 elements of type F4");
    refuse(ONE("F32", "1", "4", "0"), 4, "4 to 0");
    refuse(ONE("F32", "1", "0", "4"), 3, "0 to 4 in a buffer of 3");
    refuse(ONE("F32", "1", "-4", "0"), 4, "non-negative");
    refuse(ONE("F32", "1", "0", "4.5"), 4, "non-negative");
    refuse(ONE("F32", "1", "0", "9007199254740991"), 4, "in a buffer of 4");
    refuse(ONE("F32", "1", "0,4", "8"), 8, "not two");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "not two");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":4}}", 4, "not two");
}

/* As many entries as are allowed, and one more; a quadratic check would not end in time. */
static void number_of_tensors_is_capped(void **state)
{
    (void)state;
    char *header = malloc(65537 * 128);
    for (int n = 65536; n <= 65537; n++) {
        size_t at = (size_t)sprintf(header, "{");
        for (int i = 0; i < n; i++)
            at += (size_t)sprintf(header + at,
                                  "%s\"a tensor name %d\":{\"dtype\":\"U8\",\"shape\":[1],"
                                  "\"data_offsets\":[%d,%d]}",
                                  i ? "," : "", i, n - 1 - i, n - i);
        sprintf(header + at, "}");
        if (n == 65536)
            accept(header, (size_t)n, (size_t)n);
        else
            refuse(header, (size_t)n, "more than 65536 tensors");
    }
    free(header);
}

#define TWO(b0, e0, b1, e1)                                                     \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" b0 "," e0 "]}," \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" b1 "," e1 "]}}"

static void tiling_is_exact(void **state)
{
    (void)state;
    accept(TWO("4", "8", "0", "4"), 8, 2);
    refuse(TWO("0", "4", "3", "7"), 7, "b: begins at 3, but the tensor before it ends at 4");
    refuse(TWO("0", "4", "0", "4"), 4, "begins at 0, but");
    refuse(TWO("0", "4", "5", "9"), 9, "b: begins at 5");
    refuse(TWO("1", "5", "5", "9"), 9, "a: begins at 1");
    refuse(TWO("0", "4", "4", "8"), 9, "tensors end at 8, the buffer has 9");
    refuse("{}", 1, "tensors end at 0, the buffer has 1");
}

/* ------------------------------------------------------------------ folders */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lacuna-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c) */
}

static void write_file(const char *name, const void *data, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("cannot write %s", path);
    if (n && fwrite(data, 1, n, file) != n) fail_msg("cannot write %s", path);
    fclose(file);
}

static void write_tensors(const char *name, const char *header, size_t n_data)
{
    size_t size;
    unsigned char *file = make_file(header, n_data, &size);
    write_file(name, file, size);
    free(file);
}

static void write_index(const char *text)
{
    write_file("model.safetensors.index.json", text, strlen(text));
}

static void refuse_folder(const char *index, lac_status expected, const char *word)
{
    laci_tensor_dir dir = { 0 };
    lac_error err = { LAC_OK, 0, "" };
    write_index(index);
    const lac_status st = laci_safetensors_open(&dir, folder, NULL, &err);
    if (st != expected) fail_msg("%s: %s (%s)", index, lac_status_name(st), err.message);
    if (!strstr(err.message, word)) fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    assert_null(dir.tensors);
}

#define SHARD_A "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"
#define SHARD_B                                                       \
    "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}," \
    "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}"
#define GOOD_INDEX                                       \
    "{\"metadata\":{\"total_size\":7.0},\"weight_map\":" \
    "{\"a\":\"s-1.safetensors\",\"b\":\"s-2.safetensors\",\"c\":\"s-2.safetensors\"}}"

static void write_shards(void)
{
    write_tensors("s-1.safetensors", SHARD_A, 4);
    write_tensors("s-2.safetensors", SHARD_B, 3);
}

static void shards_open_once_each(void **state)
{
    (void)state;
    laci_tensor_dir dir = { 0 };
    lac_error err = { LAC_OK, 0, "" };
    assert_int_equal(laci_safetensors_open(&dir, folder, NULL, &err), LAC_EIO);
    write_shards();
    write_index(GOOD_INDEX);
    if (laci_safetensors_open(&dir, folder, NULL, &err)) fail_msg("%s", err.message);
    assert_int_equal(dir.n_tensors, 3);
    assert_int_equal(dir.n_files, 2);
    const laci_tensor *t = laci_tensor_find(&dir, "c");
    assert_non_null(t);
    assert_string_equal(dir.file_names[t->file], "s-2.safetensors");
    assert_int_equal(*(const unsigned char *)t->data, 2);
    laci_tensor_dir_clear(&dir);
}

static void index_and_shards_must_agree(void **state)
{
    (void)state;
    write_shards();
    refuse_folder("[]", LAC_EFORMAT, "weight_map");
    refuse_folder("{\"weight_map\":[]}", LAC_EFORMAT, "weight_map");
    refuse_folder("{\"weight_map\":{}}", LAC_EFORMAT, "empty");
    refuse_folder("{\"weight_map\":{\"a\":\"s-1.safetensors\",\"a\":\"s-1.safetensors\"}}",
                  LAC_EFORMAT, "occurs twice");
    static const char *const bad_names[] = {
        "../s-1.safetensors", "/etc/passwd", ".hidden", "", "a b", "s..1", "x/y", "\\u00e4"
    };
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
        char index[256];
        snprintf(index, sizeof index, "{\"weight_map\":{\"a\":\"%s\"}}", bad_names[i]);
        refuse_folder(index, LAC_EFORMAT, "plain file name");
    }
    refuse_folder("{\"weight_map\":{\"a\":5}}", LAC_EFORMAT, "plain file name");
    refuse_folder("{\"weight_map\":{\"a\":\"absent.safetensors\"}}", LAC_EIO, "absent.safetensors");
    refuse_folder("{\"weight_map\":{\"a\":\"s-1.safetensors\",\"b\":\"s-2.safetensors\"}}",
                  LAC_EFORMAT, "does not list tensor c of s-2");
    refuse_folder("{\"weight_map\":{\"a\":\"s-1.safetensors\",\"d\":\"s-1.safetensors\"}}",
                  LAC_EFORMAT, "lists tensor d, which s-1.safetensors lacks");
    refuse_folder("{\"weight_map\":{\"a\":\"s-2.safetensors\",\"b\":\"s-2.safetensors\","
                  "\"c\":\"s-1.safetensors\"}}",
                  LAC_EFORMAT, "puts tensor a into s-2.safetensors, but it is in s-1");
    write_tensors("s-3.safetensors", SHARD_A, 4);
    refuse_folder("{\"weight_map\":{\"a\":\"s-1.safetensors\",\"x\":\"s-3.safetensors\"}}",
                  LAC_EFORMAT, "tensor a is in two shards");
}

static void shard_count_is_capped(void **state)
{
    (void)state;
    char *index = malloc(1100 * 64);
    size_t at = (size_t)sprintf(index, "{\"weight_map\":{");
    for (int i = 0; i < 1025; i++) {
        char name[32];
        snprintf(name, sizeof name, "t-%04d.safetensors", i);
        write_tensors(name, "{}", 0);
        at += (size_t)sprintf(index + at, "%s\"t%04d\":\"%s\"", i ? "," : "", i, name);
    }
    sprintf(index + at, "}}");
    refuse_folder(index, LAC_EFORMAT, "more than 1024 shards");
    free(index);
}

static void a_single_file_comes_first(void **state)
{
    (void)state;
    write_tensors("model.safetensors", SHARD_A, 4);
    write_index("broken");
    laci_tensor_dir dir = { 0 };
    lac_error err = { LAC_OK, 0, "" };
    if (laci_safetensors_open(&dir, folder, NULL, &err)) fail_msg("%s", err.message);
    assert_int_equal(dir.n_tensors, 1);
    assert_string_equal(dir.file_names[0], "model.safetensors");
    laci_tensor_dir_clear(&dir);
    assert_int_equal(laci_safetensors_open(&dir, "/nonexistent", NULL, &err), LAC_EIO);
}

/* ------------------------------------------------------------------ failing memory */

static void every_failed_allocation_is_clean(void **state)
{
    (void)state;
    write_shards();
    write_index(GOOD_INDEX);
    lac_status st = LAC_ENOMEM;
    int n = 0;
    for (; st && n < 200; n++) {
        fault b = { .left = n };
        const lac_allocator mem = fault_allocator(&b);
        laci_tensor_dir dir = { 0 };
        lac_error err = { LAC_OK, 0, "" };
        st = laci_safetensors_open(&dir, folder, &mem, &err);
        if (st && (st != LAC_ENOMEM || dir.tensors))
            fail_msg("allocation %d: %s (%s)", n, lac_status_name(st), err.message);
        if (!st) laci_tensor_dir_clear(&dir);
        if (b.live) fail_msg("allocation %d: %ld blocks leaked", n, b.live);
    }
    assert_int_equal(st, LAC_OK);
    assert_in_range(n, 10, 199);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_read),
        cmocka_unit_test(unusual_but_legal_entries_pass),
        cmocka_unit_test(lengths_are_checked),
        cmocka_unit_test(headers_are_strict),
        cmocka_unit_test(entries_have_exactly_three_keys),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(types_and_shapes_are_checked),
        cmocka_unit_test(spans_are_checked),
        cmocka_unit_test(number_of_tensors_is_capped),
        cmocka_unit_test(tiling_is_exact),
        IN_FOLDER(shards_open_once_each),
        IN_FOLDER(index_and_shards_must_agree),
        IN_FOLDER(shard_count_is_capped),
        IN_FOLDER(a_single_file_comes_first),
        IN_FOLDER(every_failed_allocation_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
