/* tokenizer_encode.c: text to ids, in the order of docs/tokenizers.md: repair, added tokens of the
 * raw text, normalizers, added tokens of the normalised text, pieces, merges. All scratch lives in
 * one encoder on the stack of the call, so a tokenizer is never written to while it encodes. */
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

enum {
    CACHE_TEXT = 23,       /* longest piece the cache keeps, bytes */
    CACHE_IDS = 9,         /* most ids it keeps for one */
    CACHE_MIN_TEXT = 2048, /* shorter texts do without a cache */
    CACHE_MIN = 512,       /* entries, a power of two */
    CACHE_MAX = 16384,
};

/* A piece met before and its ids; n_ids == 0 = empty. One cache line. */
typedef struct {
    char text[CACHE_TEXT];
    uint8_t n_text, n_ids;
    int32_t ids[CACHE_IDS];
} cache_entry;

typedef struct {
    const laci_tokenizer *tok;
    laci_ids *out;
    laci_normalize_work normalize;
    laci_bpe_work bpe;
    laci_split_work *split;
    cache_entry *cache; /* [cache_mask + 1], NULL = none */
    size_t cache_mask;
} encoder;

/* ------------------------------------------------------------------ first symbols */

static lac_status symbols_of_bytes(encoder *e, const char *piece, size_t n, lac_error *err)
{
    lac_status st = laci_bpe_reserve(&e->bpe, n, err);
    if (st) return st;
    for (size_t i = 0; i < n; i++)
        e->bpe.symbols[i] = e->tok->byte_ids[(unsigned char)piece[i]];
    return LAC_OK;
}

/* Adds the ids of a character without one of its own: its bytes when all have ids, else the unknown
 * token, which a run of unknown characters shares with fuse_unk. */
static void unknown_symbol(encoder *e, const char *character, size_t n, bool *is_after_unknown)
{
    const laci_tokenizer *tok = e->tok;
    bool has_bytes = tok->byte_fallback;
    for (size_t i = 0; i < n && has_bytes; i++)
        has_bytes = tok->byte_ids[(unsigned char)character[i]] >= 0;
    if (has_bytes) {
        for (size_t i = 0; i < n; i++)
            e->bpe.symbols[e->bpe.n_symbols++] = tok->byte_ids[(unsigned char)character[i]];
        *is_after_unknown = false;
    } else if (tok->unk_id >= 0) {
        if (!(*is_after_unknown && tok->fuse_unk)) e->bpe.symbols[e->bpe.n_symbols++] = tok->unk_id;
        *is_after_unknown = true;
    }
}

static lac_status symbols_of_characters(encoder *e, const char *piece, size_t n, lac_error *err)
{
    lac_status st = laci_bpe_reserve(&e->bpe, n, err);
    if (st) return st;
    e->bpe.n_symbols = 0;
    bool is_after_unknown = false;
    for (size_t at = 0, length; at < n; at += length) {
        uint32_t code = 0;
        length = laci_utf8_next(piece + at, n - at, &code);
        const int32_t id = laci_vocab_find(&e->tok->vocab, piece + at, length);
        if (id >= 0) {
            e->bpe.symbols[e->bpe.n_symbols++] = id;
            is_after_unknown = false;
        } else {
            unknown_symbol(e, piece + at, length, &is_after_unknown);
        }
    }
    return LAC_OK;
}

/* ------------------------------------------------------------------ pieces */

static lac_status push_ids(laci_ids *out, const int32_t *ids, size_t n, lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t i = 0; i < n && !st; i++)
        st = laci_ids_push(out, ids[i], err);
    return st;
}

/* Leaves the ids of one piece in e->bpe.symbols. */
static lac_status merge_piece(encoder *e, const char *piece, size_t n, lac_error *err)
{
    const laci_tokenizer *tok = e->tok;
    if (tok->ignore_merges) {
        const int32_t id = laci_vocab_find(&tok->vocab, piece, n);
        if (id >= 0) {
            lac_status st = laci_bpe_reserve(&e->bpe, 1, err);
            if (!st) e->bpe.symbols[0] = id;
            return st;
        }
    }
    lac_status st = tok->is_byte_level ? symbols_of_bytes(e, piece, n, err)
                                       : symbols_of_characters(e, piece, n, err);
    return st ? st : laci_bpe_merge(&tok->bpe, &e->bpe, err);
}

static cache_entry *cache_slot(encoder *e, const char *piece, size_t n)
{
    uint64_t words[3] = { 0, 0, n };
    memcpy(words, piece, n < 16 ? n : 16);
    if (n > 16) memcpy((char *)&words[2] + 1, piece + 16, n - 16);
    uint64_t h = words[0] * 0x9E3779B97F4A7C15u ^ words[1] * 0xBF58476D1CE4E5B9u;
    h = (h ^ h >> 32 ^ words[2]) * 0x94D049BB133111EBu;
    return &e->cache[(size_t)(h >> 32) & e->cache_mask];
}

static lac_status on_piece(void *user, const char *piece, size_t n, lac_error *err)
{
    encoder *e = user;
    cache_entry *entry = e->cache && n <= CACHE_TEXT ? cache_slot(e, piece, n) : NULL;
    if (entry && entry->n_ids && entry->n_text == n && !memcmp(entry->text, piece, n))
        return push_ids(e->out, entry->ids, entry->n_ids, err);
    lac_status st = merge_piece(e, piece, n, err);
    if (st) return st;
    const size_t n_ids = e->bpe.n_symbols;
    if (entry && n_ids && n_ids <= CACHE_IDS) {
        memcpy(entry->text, piece, n);
        memcpy(entry->ids, e->bpe.symbols, n_ids * sizeof *entry->ids);
        entry->n_text = (uint8_t)n;
        entry->n_ids = (uint8_t)n_ids;
    }
    return push_ids(e->out, e->bpe.symbols, n_ids, err);
}

/* ------------------------------------------------------------------ stretches */

/* Text between added tokens. */
static lac_status encode_plain(encoder *e, const char *text, size_t n, lac_error *err)
{
    return laci_split(e->tok->pre, e->split, text, n, on_piece, e, err);
}

/* Normalises a stretch and encodes it. */
static lac_status encode_stretch(encoder *e, const char *text, size_t n, bool parse_special,
                                 lac_error *err)
{
    const laci_tokenizer *tok = e->tok;
    lac_status st = laci_normalize(tok->normalizers, tok->n_normalizers, &e->normalize, text, n,
                                   &text, &n, err);
    for (size_t at = 0, begin, end; !st && at < n; at = end) {
        const laci_added *item = NULL;
        if (parse_special)
            item = laci_added_next(&tok->added.normalized, text, n, at, &begin, &end);
        if (!item) begin = end = n;
        st = encode_plain(e, text + at, begin - at, err);
        if (!st && item) st = laci_ids_push(e->out, item->id, err);
    }
    return st;
}

static lac_status encode_text(encoder *e, const char *text, size_t n, bool parse_special,
                              lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t at = 0, begin, end; !st && at < n; at = end) {
        const laci_added *item = NULL;
        if (parse_special) item = laci_added_next(&e->tok->added.raw, text, n, at, &begin, &end);
        if (!item) begin = end = n;
        st = encode_stretch(e, text + at, begin - at, parse_special, err);
        if (!st && item) st = laci_ids_push(e->out, item->id, err);
    }
    return st;
}

/* A cache as large as the text is worth. */
static lac_status make_cache(encoder *e, size_t n_text, lac_error *err)
{
    if (n_text < CACHE_MIN_TEXT || !e->tok->bpe.slots) return LAC_OK;
    size_t n = CACHE_MIN;
    while (n < CACHE_MAX && n < n_text / 16)
        n *= 2;
    e->cache = laci_alloc_array(&e->tok->mem, n, sizeof *e->cache);
    if (!e->cache) return laci_fail_memory(err, "the piece cache", n * sizeof *e->cache);
    memset(e->cache, 0, n * sizeof *e->cache);
    e->cache_mask = n - 1;
    return LAC_OK;
}

lac_status laci_tokenizer_encode(const laci_tokenizer *tok, const char *text, size_t n,
                                 bool parse_special, laci_ids *out, lac_error *err)
{
    if (n > LACI_MAX_TEXT)
        return laci_fail(err, LAC_EINVAL, 0, "text has %zu bytes, limit %d", n, LACI_MAX_TEXT);
    encoder e = { .tok = tok, .out = out, .bpe = { .mem = tok->mem } };
    laci_normalize_work_init(&e.normalize, &tok->mem);
    const size_t n_before = out->n;
    char *repaired = NULL;
    lac_status st = LAC_OK;
    if (!tok->keeps_bytes && laci_utf8_check(text, n) < n) {
        st = laci_utf8_repair(&repaired, &n, text, n, &tok->mem, err);
        text = repaired;
    }
    if (!st) st = laci_split_begin(&e.split, tok->pre, err);
    if (!st) st = make_cache(&e, n, err);
    if (!st) st = encode_text(&e, text, n, parse_special, err);
    if (st) out->n = n_before;
    laci_release(&tok->mem, e.cache);
    laci_release(&tok->mem, repaired);
    laci_split_end(e.split);
    laci_bpe_work_clear(&e.bpe);
    laci_normalize_work_clear(&e.normalize);
    return st;
}
