/* tokenizer_vocab.c: the table of ids and their texts, found both ways, and the byte alphabet.
 * Texts lie one after another in one block; the hash table holds ids only. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

/* ------------------------------------------------------------------ growing bytes */

lac_status laci_bytes_append(laci_bytes *bytes, const char *text, size_t n, lac_error *err)
{
    if (n > LACI_MAX_TEXT || bytes->n > LACI_MAX_TEXT - n)
        return laci_fail(err, LAC_EINVAL, 0, "text grows to %zu bytes, limit %d", bytes->n + n,
                         LACI_MAX_TEXT);
    if (bytes->n_max - bytes->n < n || !bytes->data) {
        const size_t room = bytes->n + n + (bytes->n + n) / 2 + 64;
        char *data = laci_resize_array(&bytes->mem, bytes->data, room, 1);
        if (!data) return laci_fail_memory(err, "text", room);
        bytes->data = data;
        bytes->n_max = room;
    }
    if (n) memcpy(bytes->data + bytes->n, text, n);
    bytes->n += n;
    return LAC_OK;
}

void laci_bytes_clear(laci_bytes *bytes)
{
    laci_release(&bytes->mem, bytes->data);
    *bytes = (laci_bytes){ .mem = bytes->mem };
}

/* ------------------------------------------------------------------ vocabulary */

static size_t text_hash(const char *text, size_t n)
{
    uint64_t h = n * 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001B3u;
    h ^= h >> 32;
    return (size_t)(h * 0xBF58476D1CE4E5B9u >> 20);
}

const char *laci_vocab_text(const laci_vocab *vocab, int32_t id, size_t *n)
{
    if (id < 0 || (size_t)id >= vocab->n_ids || !vocab->pieces[id].kind) {
        *n = 0;
        return "";
    }
    *n = vocab->pieces[id].n;
    return vocab->bytes.data + vocab->pieces[id].off;
}

laci_piece_kind laci_vocab_kind(const laci_vocab *vocab, int32_t id)
{
    if (id < 0 || (size_t)id >= vocab->n_ids) return LACI_PIECE_NONE;
    return (laci_piece_kind)vocab->pieces[id].kind;
}

/* The slot that holds `text`, or the empty one where it belongs. */
static size_t vocab_slot(const laci_vocab *vocab, const char *text, size_t n)
{
    size_t at = text_hash(text, n) & vocab->mask;
    for (; vocab->slots[at] >= 0; at = (at + 1) & vocab->mask) {
        const laci_piece *piece = &vocab->pieces[vocab->slots[at]];
        if (piece->n == n && !memcmp(vocab->bytes.data + piece->off, text, n)) break;
    }
    return at;
}

int32_t laci_vocab_find(const laci_vocab *vocab, const char *text, size_t n)
{
    return vocab->slots && n ? vocab->slots[vocab_slot(vocab, text, n)] : -1;
}

static lac_status grow_slots(laci_vocab *vocab, lac_error *err)
{
    const size_t n = vocab->slots ? 2 * (vocab->mask + 1) : 1024;
    int32_t *slots = laci_alloc_array(&vocab->bytes.mem, n, sizeof *slots);
    if (!slots) return laci_fail_memory(err, "the vocabulary index", n * sizeof *slots);
    memset(slots, 0xFF, n * sizeof *slots);
    int32_t *old = vocab->slots;
    const size_t n_old = old ? vocab->mask + 1 : 0;
    vocab->slots = slots;
    vocab->mask = n - 1;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i] < 0) continue;
        const laci_piece *piece = &vocab->pieces[old[i]];
        slots[vocab_slot(vocab, vocab->bytes.data + piece->off, piece->n)] = old[i];
    }
    laci_release(&vocab->bytes.mem, old);
    return LAC_OK;
}

static lac_status grow_pieces(laci_vocab *vocab, size_t n_ids, lac_error *err)
{
    if (n_ids > vocab->n_ids_max) {
        /* Double while ids come in order; one far ahead of the rest gets just its room. */
        const size_t doubled = vocab->n_ids_max ? 2 * vocab->n_ids_max : 1024;
        const size_t room = n_ids > doubled ? n_ids : doubled;
        laci_piece *pieces =
            laci_resize_array(&vocab->bytes.mem, vocab->pieces, room, sizeof *pieces);
        if (!pieces) return laci_fail_memory(err, "the vocabulary", room * sizeof *pieces);
        memset(pieces + vocab->n_ids_max, 0, (room - vocab->n_ids_max) * sizeof *pieces);
        vocab->pieces = pieces;
        vocab->n_ids_max = room;
    }
    if (n_ids > vocab->n_ids) vocab->n_ids = n_ids;
    return LAC_OK;
}

static lac_status add_to_index(laci_vocab *vocab, int32_t id, lac_error *err)
{
    if (!vocab->slots || 2 * vocab->n_used > vocab->mask) {
        lac_status st = grow_slots(vocab, err);
        if (st) return st;
    }
    const laci_piece *piece = &vocab->pieces[id];
    const char *text = vocab->bytes.data + piece->off;
    const size_t at = vocab_slot(vocab, text, piece->n);
    if (vocab->slots[at] >= 0)
        return laci_fail(err, LAC_EFORMAT, 0, "token \"%s\" has two ids, %d and %d",
                         laci_quote(text, piece->n).text, (int)vocab->slots[at], (int)id);
    vocab->slots[at] = id;
    vocab->n_used++;
    return LAC_OK;
}

lac_status laci_vocab_add(laci_vocab *vocab, int64_t id, const char *text, size_t n,
                          laci_piece_kind kind, bool is_indexed, lac_error *err)
{
    if (id < 0 || id >= LACI_MAX_TOKEN_ID)
        return laci_fail(err, LAC_EFORMAT, 0, "token \"%s\" has id %lld, allowed 0 to %d",
                         laci_quote(text, n).text, (long long)id, LACI_MAX_TOKEN_ID - 1);
    lac_status st = grow_pieces(vocab, (size_t)id + 1, err);
    if (st) return st;
    laci_piece *piece = &vocab->pieces[id];
    if (piece->kind)
        return laci_fail(err, LAC_EFORMAT, 0, "id %d has two tokens, \"%s\" and \"%s\"", (int)id,
                         laci_quote(vocab->bytes.data + piece->off, piece->n).text,
                         laci_quote(text, n).text);
    const size_t off = vocab->bytes.n;
    st = laci_bytes_append(&vocab->bytes, text, n, err);
    if (!st) st = laci_bytes_append(&vocab->bytes, "", 1, err);
    if (st) return st;
    *piece = (laci_piece){ off, (uint32_t)n, (uint8_t)kind };
    return is_indexed && n ? add_to_index(vocab, (int32_t)id, err) : LAC_OK;
}

void laci_vocab_clear(laci_vocab *vocab)
{
    laci_release(&vocab->bytes.mem, vocab->pieces);
    laci_release(&vocab->bytes.mem, vocab->slots);
    laci_bytes_clear(&vocab->bytes);
    *vocab = (laci_vocab){ .bytes = vocab->bytes };
}

/* ------------------------------------------------------------------ byte alphabet */

/* Printable Latin-1 stands for itself; the other 68 bytes are U+0100, U+0101 ... in order. */
static bool is_printable(uint32_t code)
{
    return (code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xAC) ||
           (code >= 0xAE && code <= 0xFF);
}

/* The byte behind U+0100 + i. */
static unsigned char hidden_byte(uint32_t i)
{
    if (i <= 0x20) return (unsigned char)i;
    return (unsigned char)(i < 67 ? 0x7F + (i - 0x21) : 0xAD); /* 7F..A0, then AD */
}

lac_status laci_byte_level_decode(laci_bytes *out, const char *text, size_t n, bool *is_mapped,
                                  lac_error *err)
{
    const size_t before = out->n;
    *is_mapped = false;
    for (size_t at = 0; at < n;) {
        uint32_t code = 0;
        const size_t length = laci_utf8_next(text + at, n - at, &code);
        const bool is_hidden = code >= 0x100 && code < 0x100 + 68;
        if (!length || !(is_printable(code) || is_hidden)) {
            out->n = before;
            return LAC_OK;
        }
        const char byte = (char)(is_hidden ? hidden_byte(code - 0x100) : code);
        lac_status st = laci_bytes_append(out, &byte, 1, err);
        if (st) return st;
        at += length;
    }
    *is_mapped = true;
    return LAC_OK;
}
