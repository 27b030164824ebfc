/* fuzz_trace.c: a trace as `lacuna inspect --masks` reads it. What is accepted is written as a
 * table, a page and a drawing; the first byte chooses which, so that each run is short. */
#define _GNU_SOURCE /* mkdtemp */
#include "fuzz/fuzz_file.h"
#include "picture/masks_out.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void draw(const masks *m, const cache_view *cache, const trace_facts *facts, unsigned kind)
{
    static const char *const names[] = { "out.csv", "out.html", "out.svg" };
    const char *path = fuzz_path(names[kind % 3]);
    const masks_request how = { .path = path, .step = -1, .facts = *facts };
    if (cache->block)
        (void)cache_view_write(cache, path, "fuzz");
    else
        (void)masks_write(m, &how);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    masks m = { 0 };
    cache_view cache = { 0 };
    trace_facts facts = { .steps = 0 };
    lac_error err = { .message = "" };
    if (!size) return 0;
    fuzz_be_quiet();
    const char *path = fuzz_write("trace.jsonl", data + 1, size - 1);
    const lac_status st = trace_masks_read(path, &m, &cache, &facts, &err);
    if (st && (st != err.code || !err.message[0] || strchr(err.message, '\n'))) abort();
    if (!st) draw(&m, &cache, &facts, data[0]);
    masks_free(&m);
    cache_view_free(&cache);
    return 0;
}
