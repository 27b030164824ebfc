/* plan_file.c: plans as bytes and as files. Numbers are little endian. A header of 48 bytes:
 *
 *    0  "LACPLAN\n"                          8 bytes
 *    8  version 1, n_batch, n_heads, n_q, n_k, block, n_prompt, 0     32 bits each
 *   40  FNV-1a of all other bytes in order   64 bits
 *
 * then, for each pattern (sequence by sequence, head by head) and each row of `block` queries,
 * ceil(key blocks / 8) bytes, bit j of byte i saying that key block 8 i + j is read; then for each
 * pattern the mass it kept, a 32-bit float. Bits cannot name a block that is not there, but for
 * those that fill the last byte, and the size follows from the header: little is left to lie. */
#include <string.h>

#include "api/saved_plan.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"
#include "base/new_file.h"

enum { HEADER = 48, VERSION = 1, CHECKSUM_AT = 40, N_NUMBERS = 8 };

static const char magic[] = "LACPLAN\n";

static void put_u32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> 8 * i);
}

static uint32_t get_u32(const unsigned char *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint64_t hash(uint64_t h, const unsigned char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ data[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t checksum(const unsigned char *data, size_t n)
{
    const uint64_t h = hash(UINT64_C(0xcbf29ce484222325), data, CHECKSUM_AT);
    return hash(h, data + HEADER, n - HEADER);
}

static size_t row_bytes(size_t n_k, size_t block)
{
    return ((n_k + block - 1) / block + 7) / 8;
}

/* Bytes of a plan; false when they do not fit a size. */
static bool size_of(const laci_plan_dims *d, size_t *out)
{
    const size_t n_rows = (d->n_q + d->block - 1) / d->block;
    const size_t pattern = n_rows * row_bytes(d->n_k, d->block) + sizeof(float);
    size_t body;
    return laci_mul_size(d->n_batch * d->n_heads, pattern, &body) &&
           laci_add_size(body, HEADER, out);
}

size_t lac_plan_bytes(const lac_plan *plan)
{
    size_t n = 0;
    if (plan) (void)size_of(&plan->dims, &n); /* its bits are in memory */
    return n;
}

/* ------------------------------------------------------------------ writing */

lac_status lac_plan_write(const lac_plan *p, void *data, size_t n_bytes, lac_error *err)
{
    unsigned char *const start = data;
    const size_t need = lac_plan_bytes(p);
    if (!p || !data) return laci_fail(err, LAC_EINVAL, 0, "plan or memory to write it to missing");
    if (n_bytes < need)
        return laci_fail(err, LAC_EINVAL, 0, "a plan of %zu bytes, room for %zu", need, n_bytes);
    const laci_plan_dims *d = &p->dims;
    unsigned char *at = start + HEADER;
    const size_t numbers[N_NUMBERS] = { VERSION, d->n_batch, d->n_heads,  d->n_q,
                                        d->n_k,  d->block,   d->n_prompt, 0 };
    memcpy(start, magic, 8);
    for (size_t i = 0; i < N_NUMBERS; i++)
        put_u32(start + 8 + 4 * i, (uint32_t)numbers[i]);
    for (size_t row = 0; row < p->pattern.n_patterns * p->pattern.n_rows; row++) {
        const uint64_t *bits = laci_pattern_row(&p->pattern, 0, row);
        for (size_t i = 0; i < row_bytes(d->n_k, d->block); i++)
            *at++ = (unsigned char)(bits[i / 8] >> i % 8 * 8);
    }
    for (size_t i = 0; i < p->pattern.n_patterns; i++, at += 4)
        put_u32(at, laci_f32_to_bits(p->kept[i]));
    const uint64_t sum = checksum(start, need);
    put_u32(start + CHECKSUM_AT, (uint32_t)sum);
    put_u32(start + CHECKSUM_AT + 4, (uint32_t)(sum >> 32));
    return LAC_OK;
}

lac_status lac_plan_save(const lac_plan *p, const char *path, lac_error *err)
{
    if (!p || !path) return laci_fail(err, LAC_EINVAL, 0, "plan or path missing");
    const size_t n = lac_plan_bytes(p);
    laci_new_file file = { .is_open = false };
    unsigned char *data = laci_alloc(&p->mem, n);
    lac_status st =
        data ? lac_plan_write(p, data, n, err) : laci_fail_memory(err, "a plan file", n);
    if (!st) st = laci_new_file_open(&file, path, &p->mem, err);
    if (!st) st = laci_new_file_write(&file, data, n, err);
    if (!st) st = laci_new_file_commit(&file, err);
    laci_new_file_drop(&file);
    laci_release(&p->mem, data);
    return st;
}

/* ------------------------------------------------------------------ reading */

static lac_status check_number(const char *name, size_t value, size_t first, size_t last,
                               size_t offset, lac_error *err)
{
    if (value >= first && value <= last) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, offset, "plan: %s is %zu, must be %zu to %zu", name, value,
                     first, last);
}

/* Dimensions in range, and as many bytes as they say. */
static lac_status read_header(laci_plan_dims *out, const unsigned char *data, size_t n_bytes,
                              lac_error *err)
{
    if (n_bytes < HEADER || memcmp(data, magic, 8) != 0)
        return laci_fail(err, LAC_EFORMAT, 0, "not a plan: %zu bytes without its %d-byte header",
                         n_bytes, HEADER);
    size_t numbers[N_NUMBERS], need = 0;
    for (size_t i = 0; i < N_NUMBERS; i++)
        numbers[i] = get_u32(data + 8 + 4 * i);
    if (numbers[0] != VERSION)
        return laci_fail(err, LAC_EUNSUPPORTED, 8, "plan: version %zu, this version reads %d",
                         numbers[0], VERSION);
    const laci_plan_dims d = { numbers[1], numbers[2], numbers[3],
                               numbers[4], numbers[5], numbers[6] };
    lac_status st = check_number("n_batch", d.n_batch, 1, LACI_PLAN_MAX_HEADS, 12, err);
    if (!st) st = check_number("n_heads", d.n_heads, 1, LACI_PLAN_MAX_HEADS, 16, err);
    if (!st) st = check_number("n_q", d.n_q, 1, LACI_PLAN_MAX_TOKENS, 20, err);
    if (!st) st = check_number("n_k", d.n_k, 1, LACI_PLAN_MAX_TOKENS, 24, err);
    if (!st) st = check_number("block", d.block, 16, 128, 28, err);
    if (!st && (d.block & (d.block - 1)))
        st = laci_fail(err, LAC_EFORMAT, 28, "plan: block is %zu, must be 16, 32, 64 or 128",
                       d.block);
    if (!st) st = check_number("n_prompt", d.n_prompt, 0, d.n_k, 32, err);
    if (!st) st = check_number("a reserved number", numbers[7], 0, 0, 36, err);
    if (!st && (!size_of(&d, &need) || need != n_bytes))
        st = laci_fail(err, LAC_EFORMAT, n_bytes, "plan: %zu bytes, its header says %zu", n_bytes,
                       need);
    if (!st) *out = d;
    return st;
}

/* One row of bits: some are set, and none past the last key block. */
static lac_status read_row(const lac_plan *p, size_t row, const unsigned char *start,
                           const unsigned char *from, lac_error *err)
{
    const size_t n = row_bytes(p->dims.n_k, p->dims.block), n_cols = p->pattern.n_cols;
    uint64_t *bits = laci_pattern_row(&p->pattern, 0, row);
    unsigned any = 0;
    for (size_t i = 0; i < n; i++) {
        bits[i / 8] |= (uint64_t)from[i] << i % 8 * 8;
        any |= from[i];
    }
    if (!any)
        return laci_fail(err, LAC_EFORMAT, (uint64_t)(from - start), "plan: row %zu is empty", row);
    if (n_cols % 8 && from[n - 1] >> n_cols % 8)
        return laci_fail(err, LAC_EFORMAT, (uint64_t)(from + n - 1 - start),
                         "plan: row %zu names a block past the last of %zu", row, n_cols);
    return LAC_OK;
}

static lac_status read_body(lac_plan *p, const unsigned char *data, lac_error *err)
{
    const unsigned char *at = data + HEADER;
    lac_status st = LAC_OK;
    for (size_t row = 0; row < p->pattern.n_patterns * p->pattern.n_rows && !st; row++) {
        st = read_row(p, row, data, at, err);
        at += row_bytes(p->dims.n_k, p->dims.block);
    }
    for (size_t i = 0; i < p->pattern.n_patterns && !st; i++, at += 4) {
        p->kept[i] = laci_bits_to_f32(get_u32(at));
        if (p->kept[i] < 0 || p->kept[i] > 1.01f) /* NaN is what a pass over NaN keeps */
            st = laci_fail(err, LAC_EFORMAT, (uint64_t)(at - data),
                           "plan: pattern %zu kept a mass of %g, a share of 1", i,
                           (double)p->kept[i]);
    }
    return st;
}

lac_status lac_plan_read(lac_plan **out, const void *data, size_t n_bytes,
                         const lac_allocator *allocator, lac_error *err)
{
    const lac_allocator mem = laci_allocator_or_default(allocator);
    const unsigned char *bytes = data;
    laci_plan_dims dims;
    lac_plan *p = NULL;
    if (!out || (!data && n_bytes)) return laci_fail(err, LAC_EINVAL, 0, "no bytes of a plan");
    lac_status st = read_header(&dims, bytes, n_bytes, err);
    if (st) return st;
    const uint64_t want = get_u32(bytes + CHECKSUM_AT) | (uint64_t)get_u32(bytes + CHECKSUM_AT + 4)
                                                             << 32;
    if (checksum(bytes, n_bytes) != want)
        return laci_fail(err, LAC_EFORMAT, CHECKSUM_AT, "plan: the checksum does not match");
    st = laci_saved_plan_new(&p, &dims, &mem, err);
    if (!st) st = read_body(p, bytes, err);
    if (!st) st = laci_saved_plan_finish(p, err);
    if (st)
        lac_plan_free(p);
    else
        *out = p;
    return st;
}

lac_status lac_plan_load(lac_plan **out, const char *path, const lac_allocator *allocator,
                         lac_error *err)
{
    laci_file file;
    if (!out || !path) return laci_fail(err, LAC_EINVAL, 0, "path of a plan missing");
    lac_status st = laci_file_map(&file, path, err);
    if (st) return st;
    st = lac_plan_read(out, file.data, file.size, allocator, err);
    laci_file_unmap(&file);
    return st ? laci_fail_prefix(err, st, path) : LAC_OK;
}
