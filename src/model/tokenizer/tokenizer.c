/* tokenizer.c: opening by kind, queries and lists of ids. The parts are built in tokenizer_build.c,
 * read from files in tokenizer_json.c, _files.c and _gguf.c, and used in _encode.c and _decode.c.
 */
#include "model/tokenizer/tokenizer.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/tokenizer/tokenizer_parts.h"

enum {
    MAX_JSON = 256 * 1024 * 1024, /* bytes of tokenizer.json */
    N_BYTES = 256,
    N_ASCII = 128,
};

/* ------------------------------------------------------------------ opening */

lac_status laci_tokenizer_open_dir(laci_tokenizer **out, const char *path, const lac_allocator *mem,
                                   lac_error *err)
{
    const lac_allocator chosen = laci_allocator_or_default(mem);
    char *name = laci_path_join(&chosen, path, "tokenizer.json");
    if (!name) return laci_fail_memory(err, "a path", strlen(path));
    if (!laci_file_exists(name)) {
        laci_release(&chosen, name);
        return laci_tokenizer_open_files(out, path, mem, err);
    }
    char *text = NULL;
    size_t n = 0;
    lac_status st = laci_file_read(&text, &n, name, MAX_JSON, &chosen, err);
    if (!st) {
        st = laci_tokenizer_open_json(out, text, n, mem, err);
        if (st) laci_fail_prefix(err, st, path);
    }
    laci_release(&chosen, text);
    laci_release(&chosen, name);
    return st;
}

/* Ids 0 .. n_bytes - 1 are single bytes. */
static lac_status add_alphabet(laci_tokenizer *tok, int n_bytes, lac_error *err)
{
    lac_status st = LAC_OK;
    for (int byte = 0; byte < n_bytes && !st; byte++) {
        const char value = (char)byte;
        st = laci_vocab_add(&tok->vocab, byte, &value, 1, LACI_PIECE_NORMAL, true, err);
    }
    for (int byte = 0; byte < 256; byte++)
        tok->byte_ids[byte] = byte < n_bytes ? byte : n_bytes - 1;
    tok->is_byte_level = tok->keeps_bytes = true;
    return st;
}

static lac_status open_alphabet(laci_tokenizer **out, const char *kind, int n_bytes, int n_vocab,
                                const lac_allocator *mem, lac_error *err)
{
    if (n_vocab < n_bytes || n_vocab > LACI_MAX_TOKEN_ID)
        return laci_fail(err, LAC_EINVAL, 0, "%s tokenizer of %d ids, allowed %d to %d", kind,
                         n_vocab, n_bytes, LACI_MAX_TOKEN_ID);
    static const char *const names[] = { "<|mask|>", "<|eos|>", "<|bos|>", "<|sep|>" };
    laci_tokenizer *tok = NULL;
    lac_status st = laci_tokenizer_create(&tok, kind, mem, err);
    if (!st) st = add_alphabet(tok, n_bytes, err);
    for (int i = 0; i < 4 && n_bytes == N_BYTES && N_BYTES + i < n_vocab && !st; i++) {
        const laci_added_info info = {
            .id = N_BYTES + i, .text = names[i], .n_text = strlen(names[i]), .special = true
        };
        st = laci_add_added(tok, &info, false, err);
    }
    if (!st) st = laci_tokenizer_finish(tok, err);
    if (st) {
        laci_tokenizer_close(tok);
        return st;
    }
    tok->n_padding = (size_t)n_vocab - tok->vocab.n_ids;
    *out = tok;
    return LAC_OK;
}

lac_status laci_tokenizer_open_bytes(laci_tokenizer **out, int n_vocab, const lac_allocator *mem,
                                     lac_error *err)
{
    return open_alphabet(out, "bytes", N_BYTES, n_vocab, mem, err);
}

lac_status laci_tokenizer_open_ascii(laci_tokenizer **out, int n_vocab, const lac_allocator *mem,
                                     lac_error *err)
{
    return open_alphabet(out, "ascii", N_ASCII, n_vocab, mem, err);
}

/* ------------------------------------------------------------------ queries */

const char *laci_tokenizer_kind(const laci_tokenizer *tok)
{
    return tok ? tok->kind : "";
}

int laci_tokenizer_n_tokens(const laci_tokenizer *tok)
{
    return tok ? (int)tok->vocab.n_ids : 0;
}

bool laci_tokenizer_has(const laci_tokenizer *tok, int32_t id)
{
    return laci_vocab_kind(&tok->vocab, id) != LACI_PIECE_NONE;
}

int laci_tokenizer_find(const laci_tokenizer *tok, const char *piece, size_t n)
{
    const int32_t id = laci_added_find(&tok->added, piece, n);
    return id >= 0 ? id : laci_vocab_find(&tok->vocab, piece, n);
}

const char *laci_tokenizer_piece(const laci_tokenizer *tok, int32_t id, size_t *n)
{
    size_t length;
    const char *text = laci_vocab_text(&tok->vocab, id, &length);
    if (tok->shown && id >= 0 && (size_t)id < tok->vocab.n_ids) {
        text = tok->shown_bytes.data + tok->shown[id].off;
        length = tok->shown[id].n;
    }
    if (n) *n = length;
    return text;
}

bool laci_tokenizer_is_added(const laci_tokenizer *tok, int32_t id)
{
    return laci_vocab_kind(&tok->vocab, id) >= LACI_PIECE_ADDED;
}

bool laci_tokenizer_is_special(const laci_tokenizer *tok, int32_t id)
{
    return laci_vocab_kind(&tok->vocab, id) == LACI_PIECE_SPECIAL;
}

/* ------------------------------------------------------------------ lists of ids */

lac_status laci_ids_push(laci_ids *list, int32_t id, lac_error *err)
{
    if (list->n == list->capacity) {
        const size_t room = list->capacity ? 2 * list->capacity : 64;
        int32_t *ids = laci_resize_array(&list->mem, list->ids, room, sizeof *ids);
        if (!ids) return laci_fail_memory(err, "a list of ids", room * sizeof *ids);
        list->ids = ids;
        list->capacity = room;
    }
    list->ids[list->n++] = id;
    return LAC_OK;
}

void laci_ids_clear(laci_ids *list)
{
    laci_release(&list->mem, list->ids);
    *list = (laci_ids){ .mem = list->mem };
}
