/* tokenizer_build.c: puts a tokenizer together from the entries that the loaders read: checks them,
 * turns spellings of the file into bytes, and fills the tables that encoding needs. */
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

void laci_tokenizer_close(laci_tokenizer *tok)
{
    if (!tok) return;
    laci_vocab_clear(&tok->vocab);
    laci_bpe_clear(&tok->bpe);
    laci_added_clear(&tok->added);
    laci_pretokenizer_free(tok->pre);
    laci_release(&tok->mem, tok->shown);
    laci_release(&tok->mem, tok->shown_bytes.data);
    const lac_allocator mem = tok->mem;
    laci_release(&mem, tok);
}

lac_status laci_tokenizer_create(laci_tokenizer **out, const char *kind, const lac_allocator *mem,
                                 lac_error *err)
{
    const lac_allocator chosen = laci_allocator_or_default(mem);
    laci_tokenizer *tok = laci_alloc_zero(&chosen, sizeof *tok);
    if (!tok) return laci_fail_memory(err, "the tokenizer", sizeof *tok);
    tok->mem = tok->vocab.bytes.mem = tok->bpe.mem = tok->added.mem = chosen;
    tok->kind = kind;
    tok->unk_id = -1;
    memset(tok->byte_ids, 0xFF, sizeof tok->byte_ids);
    lac_status st = laci_pretokenizer_create(&tok->pre, &chosen, err);
    if (st) {
        laci_tokenizer_close(tok);
        return st;
    }
    *out = tok;
    return LAC_OK;
}

lac_status laci_set_normalizer(laci_normalizer *step, laci_normalize_kind kind, const char *from,
                               const char *to, lac_error *err)
{
    const size_t n_from = strlen(from), n_to = strlen(to);
    if (n_from > sizeof step->from || n_to > sizeof step->to)
        return laci_fail(err, LAC_EUNSUPPORTED, 0,
                         "a Replace or Prepend has strings of %zu and %zu bytes, limit %d", n_from,
                         n_to, LACI_MAX_NORMALIZER_STRING);
    if (kind == LACI_NORMALIZE_REPLACE && !n_from)
        return laci_fail(err, LAC_EFORMAT, 0, "a Replace has an empty pattern");
    *step = (laci_normalizer){ .kind = kind, .n_from = n_from, .n_to = n_to };
    memcpy(step->from, from, n_from);
    memcpy(step->to, to, n_to);
    return LAC_OK;
}

lac_status laci_add_normalizer(laci_tokenizer *tok, laci_normalize_kind kind, const char *from,
                               const char *to, lac_error *err)
{
    if (tok->n_normalizers == LACI_MAX_NORMALIZERS)
        return laci_fail(err, LAC_EUNSUPPORTED, 0, "more than %d normalizers",
                         LACI_MAX_NORMALIZERS);
    lac_status st = laci_set_normalizer(&tok->normalizers[tok->n_normalizers], kind, from, to, err);
    if (!st) tok->n_normalizers++;
    return st;
}

/* ------------------------------------------------------------------ vocabulary and merges */

/* The byte that "<0xXX>" names, -1 when `text` is not of this form. */
static int fallback_byte(const char *text, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const char *high = text[3] ? strchr(digits, text[3]) : NULL;
    const char *low = text[4] ? strchr(digits, text[4]) : NULL;
    return high && low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

/* A byte-level entry: its spelling becomes bytes. Entries outside the byte alphabet (added tokens
 * that a vocabulary repeats) keep their spelling and are found only by id. */
static lac_status add_byte_level(laci_tokenizer *tok, const char *text, size_t n, int64_t id,
                                 lac_error *err)
{
    laci_bytes bytes = { .mem = tok->mem };
    bool is_mapped;
    lac_status st = laci_byte_level_decode(&bytes, text, n, &is_mapped, err);
    if (!st && is_mapped)
        st = laci_vocab_add(&tok->vocab, id, bytes.data ? bytes.data : "", bytes.n,
                            LACI_PIECE_NORMAL, true, err);
    else if (!st)
        st = laci_vocab_add(&tok->vocab, id, text, n, LACI_PIECE_LITERAL, false, err);
    if (!st && is_mapped && bytes.n == 1 && bytes.data)
        tok->byte_ids[(unsigned char)bytes.data[0]] = (int32_t)id;
    laci_bytes_clear(&bytes);
    return st;
}

lac_status laci_add_vocab(laci_tokenizer *tok, const char *text, size_t n, int64_t id,
                          lac_error *err)
{
    if (tok->is_byte_level) return add_byte_level(tok, text, n, id, err);
    const int byte = tok->byte_fallback ? fallback_byte(text, n) : -1;
    if (byte < 0) return laci_vocab_add(&tok->vocab, id, text, n, LACI_PIECE_NORMAL, true, err);
    if (tok->byte_ids[byte] >= 0)
        return laci_fail(err, LAC_EFORMAT, 0, "token \"%s\" has two ids, %d and %lld",
                         laci_quote(text, n).text, (int)tok->byte_ids[byte], (long long)id);
    const char value = (char)byte;
    lac_status st = laci_vocab_add(&tok->vocab, id, &value, 1, LACI_PIECE_BYTE, false, err);
    if (!st) tok->byte_ids[byte] = (int32_t)id;
    return st;
}

static lac_status append_part(laci_tokenizer *tok, laci_bytes *both, const char *part, size_t n,
                              bool *is_mapped, lac_error *err)
{
    if (tok->is_byte_level) return laci_byte_level_decode(both, part, n, is_mapped, err);
    *is_mapped = true;
    return laci_bytes_append(both, part, n, err);
}

lac_status laci_add_merge(laci_tokenizer *tok, size_t index, const char *left, size_t n_left,
                          const char *right, size_t n_right, lac_error *err)
{
    laci_bytes both = { .mem = tok->mem };
    bool is_left_mapped = false, is_right_mapped = false;
    lac_status st = append_part(tok, &both, left, n_left, &is_left_mapped, err);
    const size_t cut = both.n;
    if (!st) st = append_part(tok, &both, right, n_right, &is_right_mapped, err);
    int32_t ids[3] = { -1, -1, -1 };
    if (!st && is_left_mapped && is_right_mapped && both.data) {
        ids[0] = laci_vocab_find(&tok->vocab, both.data, cut);
        ids[1] = laci_vocab_find(&tok->vocab, both.data + cut, both.n - cut);
        ids[2] = laci_vocab_find(&tok->vocab, both.data, both.n);
    }
    laci_bytes_clear(&both);
    if (st) return st;
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "merge %zu, \"%s\" with \"%s\": ids of parts and product are %d, %d, %d",
                         index, laci_quote(left, n_left).text, laci_quote(right, n_right).text,
                         (int)ids[0], (int)ids[1], (int)ids[2]);
    if (!laci_bpe_add(&tok->bpe, ids[0], ids[1], (int32_t)tok->bpe.n_pairs, ids[2]))
        return laci_fail(err, LAC_EFORMAT, 0, "merge %zu, \"%s\" with \"%s\", occurs twice", index,
                         laci_quote(left, n_left).text, laci_quote(right, n_right).text);
    return LAC_OK;
}

lac_status laci_add_merge_line(laci_tokenizer *tok, size_t index, const char *line, size_t n,
                               lac_error *err)
{
    const char *space = n ? memchr(line, ' ', n) : NULL;
    if (!space)
        return laci_fail(err, LAC_EFORMAT, 0, "merge %zu, \"%s\", has no space between its parts",
                         index, laci_quote(line, n).text);
    const size_t n_left = (size_t)(space - line);
    return laci_add_merge(tok, index, line, n_left, space + 1, n - n_left - 1, err);
}

/* ------------------------------------------------------------------ added tokens */

lac_status laci_add_added(laci_tokenizer *tok, const laci_added_info *info, bool may_repeat_id,
                          lac_error *err)
{
    laci_vocab *vocab = &tok->vocab;
    const laci_piece_kind kind = info->special ? LACI_PIECE_SPECIAL : LACI_PIECE_ADDED;
    const bool is_in_range = info->id >= 0 && info->id < LACI_MAX_TOKEN_ID;
    const int32_t id = is_in_range ? (int32_t)info->id : -1;
    const laci_piece_kind old = laci_vocab_kind(vocab, id);
    const bool is_added = old == LACI_PIECE_ADDED || old == LACI_PIECE_SPECIAL;
    laci_added_info item = *info;
    item.only_named = is_added && may_repeat_id;
    lac_status st = laci_added_add(&tok->added, &item, err);
    if (st || item.only_named) return st;
    if (old == LACI_PIECE_NONE)
        return laci_vocab_add(vocab, info->id, info->text, info->n_text, kind, false, err);
    size_t n;
    const char *text = laci_vocab_text(vocab, id, &n);
    if (n != info->n_text || memcmp(text, info->text, n) != 0)
        return laci_fail(err, LAC_EFORMAT, 0, "id %d has two tokens, \"%s\" and \"%s\"", (int)id,
                         laci_quote(text, n).text, laci_quote(info->text, info->n_text).text);
    if (!is_added || info->special) vocab->pieces[id].kind = (uint8_t)kind;
    return LAC_OK;
}

/* ------------------------------------------------------------------ the end */

/* Pieces as decoding shows them, where the decoder replaces a string by another. */
static lac_status fill_shown(laci_tokenizer *tok, lac_error *err)
{
    const laci_normalizer *replace = &tok->decoder.replace;
    const size_t n_ids = tok->vocab.n_ids;
    tok->shown_bytes.mem = tok->mem;
    if (!replace->n_from) return LAC_OK;
    tok->shown = laci_alloc_array(&tok->mem, n_ids, sizeof *tok->shown);
    if (!tok->shown) return laci_fail_memory(err, "shown pieces", n_ids * sizeof *tok->shown);
    laci_normalize_work work;
    laci_normalize_work_init(&work, &tok->mem);
    lac_status st = LAC_OK;
    for (size_t id = 0; id < n_ids && !st; id++) {
        size_t n;
        const char *text = laci_vocab_text(&tok->vocab, (int32_t)id, &n);
        tok->shown[id] = tok->vocab.pieces[id];
        tok->shown[id].off = tok->shown_bytes.n;
        if (tok->shown[id].kind != LACI_PIECE_BYTE)
            st = laci_normalize(replace, 1, &work, text, n, &text, &n, err);
        tok->shown[id].n = (uint32_t)n;
        if (!st) st = laci_bytes_append(&tok->shown_bytes, text, n, err);
        if (!st) st = laci_bytes_append(&tok->shown_bytes, "", 1, err);
    }
    laci_normalize_work_clear(&work);
    return st;
}

lac_status laci_tokenizer_finish(laci_tokenizer *tok, lac_error *err)
{
    if (!tok->vocab.n_ids) return laci_fail(err, LAC_EFORMAT, 0, "the vocabulary is empty");
    for (int byte = 0; byte < 256 && tok->is_byte_level; byte++)
        if (tok->byte_ids[byte] < 0)
            return laci_fail(err, LAC_EFORMAT, 0,
                             "byte 0x%02x is not in the vocabulary of a byte-level model",
                             (unsigned)byte);
    lac_status st = laci_added_finish(&tok->added, tok->normalizers, tok->n_normalizers, err);
    return st ? st : fill_shown(tok, err);
}
