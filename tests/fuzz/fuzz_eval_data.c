/* fuzz_eval_data.c: a file of samples as `lacuna eval --data` reads it. What is accepted is walked.
 */
#define _GNU_SOURCE /* mkdtemp */
#include "eval/eval_data.h"
#include "fuzz/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned walk(const eval_text *text)
{
    unsigned sum = 0;
    for (size_t i = 0; i < text->n; i++)
        sum += (unsigned char)text->data[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static volatile unsigned sink;
    eval_data samples = { .n = 0 };
    fuzz_be_quiet();
    const int code = eval_data_read(&samples, fuzz_write("data.jsonl", data, size));
    for (size_t i = 0; !code && i < samples.n; i++) {
        const eval_datum *d = &samples.all[i];
        if (d->ctx < 0 || d->index < 0 || !memchr(d->name, 0, sizeof d->name)) abort();
        if (d->sample.n_refs > EVAL_MAX_REFS) abort();
        sink = walk(&d->sample.prompt) + walk(&d->sample.prefix) + walk(&d->sample.answer);
        for (size_t r = 0; r < d->sample.n_refs; r++)
            sink += walk(&d->sample.refs[r]);
    }
    (void)sink;
    eval_data_free(&samples);
    return 0;
}
