/* fuzz_plan.c: saved attention plans. The checksum would stop nearly every change, so the target
 * also tries each input with its checksum put right; what is accepted must write itself back bit by
 * bit, and its dimensions and ids must be sound. */
#include <stdlib.h>
#include <string.h>

#include "api/saved_plan.h"

enum { CHECKSUM_AT = 40, HEADER = 48 };

static uint64_t hash(uint64_t h, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * UINT64_C(0x100000001b3);
    return h;
}

static void try_plan(const uint8_t *data, size_t size)
{
    lac_plan *plan = NULL;
    lac_error err = { LAC_OK, 0, "" };
    const lac_status st = lac_plan_read(&plan, data, size, NULL, &err);
    if (st) {
        if (plan || st != err.code || !err.message[0] || strchr(err.message, '\n')) abort();
        if (st != LAC_EFORMAT && st != LAC_EUNSUPPORTED) abort();
        return;
    }
    const laci_plan_dims *d = &plan->dims;
    uint8_t *copy = malloc(size);
    lac_plan_info info;
    if (!copy || lac_plan_bytes(plan) != size || lac_plan_write(plan, copy, size, NULL)) abort();
    if (memcmp(copy, data, size) != 0) abort();
    if (laci_plan_validate(&plan->store.plan, d->n_q, d->n_k, d->n_heads, NULL)) abort();
    if (lac_plan_get_info(plan, &info, NULL) || !(info.density > 0 && info.density <= 1)) abort();
    free(copy);
    lac_plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_plan(data, size);
    if (size < HEADER) return 0;
    uint8_t *right = malloc(size);
    if (!right) return 0;
    memcpy(right, data, size);
    const uint64_t h = hash(UINT64_C(0xcbf29ce484222325), data, CHECKSUM_AT);
    const uint64_t sum = hash(h, data + HEADER, size - HEADER);
    for (int i = 0; i < 8; i++)
        right[CHECKSUM_AT + i] = (uint8_t)(sum >> 8 * i);
    try_plan(right, size);
    free(right);
    return 0;
}
