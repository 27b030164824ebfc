/* tokenizer_decode.c: ids to text. Pieces are put one after the other; only then is ill-formed
 * UTF-8 repaired, because a character may be spread over several tokens. */
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Ends a run of byte pieces that began at `begin`: as a whole it is UTF-8 or nothing is. */
static lac_status end_byte_run(laci_bytes *text, size_t begin, lac_error *err)
{
    const size_t n = text->n - begin;
    if (laci_utf8_check(text->data + begin, n) == n) return LAC_OK;
    text->n = begin;
    lac_status st = LAC_OK;
    for (size_t i = 0; i < n && !st; i++)
        st = laci_bytes_append(text, replacement, sizeof replacement - 1, err);
    return st;
}

static lac_status append_pieces(const laci_tokenizer *tok, const int32_t *ids, size_t n_ids,
                                bool keep_special, laci_bytes *text, lac_error *err)
{
    const size_t n_known = tok->vocab.n_ids + tok->n_padding;
    size_t run = SIZE_MAX; /* where a run of byte pieces began */
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= n_known)
            return laci_fail(err, LAC_EINVAL, 0, "id %d at position %zu, the tokenizer has %zu",
                             (int)ids[i], i, n_known);
        const laci_piece_kind kind = laci_vocab_kind(&tok->vocab, ids[i]);
        if (kind == LACI_PIECE_SPECIAL && !keep_special) continue;
        const bool is_byte = tok->decoder.bytes_one_by_one && kind == LACI_PIECE_BYTE;
        if (is_byte && run == SIZE_MAX) run = text->n;
        lac_status st = LAC_OK;
        if (!is_byte && run != SIZE_MAX) {
            st = end_byte_run(text, run, err);
            run = SIZE_MAX;
        }
        size_t n;
        const char *piece = laci_tokenizer_piece(tok, ids[i], &n);
        if (!st) st = laci_bytes_append(text, piece, n, err);
        if (st) return st;
    }
    return run != SIZE_MAX ? end_byte_run(text, run, err) : LAC_OK;
}

/* Cuts what the decoder strips; returns the new beginning. */
static size_t strip(const laci_decoder *decoder, laci_bytes *text)
{
    size_t begin = 0;
    if (!decoder->strip) return 0;
    while (begin < text->n && begin < (size_t)decoder->strip_begin &&
           text->data[begin] == decoder->strip)
        begin++;
    for (int i = 0; i < decoder->strip_end && text->n > begin; i++) {
        if (text->data[text->n - 1] != decoder->strip) break;
        text->n--;
    }
    return begin;
}

lac_status laci_tokenizer_decode(const laci_tokenizer *tok, const int32_t *ids, size_t n_ids,
                                 bool keep_special, const lac_allocator *mem, char **text,
                                 size_t *n, lac_error *err)
{
    const lac_allocator chosen = laci_allocator_or_default(mem);
    laci_bytes bytes = { .mem = chosen };
    lac_status st = laci_bytes_append(&bytes, "", 0, err);
    if (!st) st = append_pieces(tok, ids, n_ids, keep_special, &bytes, err);
    if (!st) {
        const size_t begin = strip(&tok->decoder, &bytes);
        st = laci_utf8_repair(text, n, bytes.data + begin, bytes.n - begin, &chosen, err);
    }
    laci_bytes_clear(&bytes);
    return st;
}
