/* fuzz_config.c: config.json and generation_config.json, separated by a NUL byte. Exercises the
 * JSON layer and every family's reader; an accepted configuration must pass its own checks. */
#include <stdlib.h>
#include <string.h>

#include "model/family/family.h"

static laci_json *parse(const uint8_t *text, size_t n)
{
    laci_json *doc = NULL;
    lac_error err = { LAC_OK, 0, "" };
    const laci_json_limits limits = { .max_bytes = 1 << 20 };
    const lac_status st = laci_json_parse(&doc, (const char *)text, n, "fuzz", &limits, NULL, &err);
    if (st == LAC_OK) return doc;
    if (st != LAC_EFORMAT || !err.message[0] || err.offset > n || doc) abort();
    if (strchr(err.message, '\n')) abort();
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t n = nul ? (size_t)(nul - data) : size;
    laci_json *config = parse(data, n);
    laci_json *generation = nul ? parse(nul + 1, size - n - 1) : NULL;
    if (config) {
        const laci_config_source src = { .config = laci_json_root(config),
                                         .generation =
                                             generation ? laci_json_root(generation) : NULL };
        laci_config out;
        lac_error err = { LAC_OK, 0, "" };
        const lac_status st = laci_config_read(&out, &src, &err);
        if (st && (st != err.code || !err.message[0] || strchr(err.message, '\n'))) abort();
        if (!st && (laci_config_check(&out, NULL) || !laci_family_find(&src))) abort();
    }
    laci_json_free(config);
    laci_json_free(generation);
    return 0;
}
