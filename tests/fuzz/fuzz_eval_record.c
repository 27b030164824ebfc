/* fuzz_eval_record.c: a file of records as `lacuna eval --resume` takes it up. What is accepted
 * must be sound, and must be accepted once more: taking it up only cuts off a torn last line. */
#define _GNU_SOURCE /* mkdtemp */
#include <math.h>

#include "eval/eval_record.h"
#include "fuzz/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const eval_setting settings[] = { { "seed", "1" }, { "model", "m" } };
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

/* Number of records, or -1 when the file is refused. */
static long take_up(const char *path)
{
    eval_records records;
    long n = -1;
    if (!eval_records_open(&records, path, true, settings, N_SETTINGS)) {
        n = (long)records.n;
        for (size_t i = 0; i < records.n; i++) {
            const eval_record *r = &records.all[i];
            if (r->ctx < 1 || r->index < 0 || eval_records_find(&records, r) != r) abort();
            if (!memchr(r->task, 0, EVAL_NAME_MAX) || !memchr(r->policy, 0, EVAL_POLICY_MAX))
                abort();
        }
    }
    eval_records_free(&records);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_be_quiet();
    const char *path = fuzz_write("records.jsonl", data, size);
    const long n = take_up(path);
    if (n >= 0 && take_up(path) != n) abort();
    return 0;
}
