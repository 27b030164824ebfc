/* tokenizer.h: bytes <-> ids. One interface over byte-level BPE (tokenizer.json, vocab.json with
 * merges.txt, GGUF metadata) and the fixed byte and ASCII alphabets of small models. Immutable once
 * open: any number of threads may encode at once. */
#ifndef LACI_MODEL_TOKENIZER_H
#define LACI_MODEL_TOKENIZER_H

#include "base/alloc.h"
#include "model/files/gguf.h"

typedef struct laci_tokenizer laci_tokenizer;

/* Opens the tokenizer in folder `path`: tokenizer.json, else vocab.json and merges.txt with the
 * added tokens of tokenizer_config.json and added_tokens.json. Errors: EIO (no tokenizer files),
 * EFORMAT, EUNSUPPORTED (a component this version does not know, by name), ENOMEM. */
lac_status laci_tokenizer_open_dir(laci_tokenizer **out, const char *path, const lac_allocator *mem,
                                   lac_error *err);
/* From GGUF metadata (tokenizer.ggml.*). */
lac_status laci_tokenizer_open_gguf(laci_tokenizer **out, const laci_gguf *gguf,
                                    const lac_allocator *mem, lac_error *err);
/* ids 0..255 are the bytes; ids from 256 to n_vocab - 1 have no text but may carry a name
 * (256 <|mask|>, 257 <|eos|>, 258 <|bos|>, 259 <|sep|>). */
lac_status laci_tokenizer_open_bytes(laci_tokenizer **out, int n_vocab, const lac_allocator *mem,
                                     lac_error *err);
/* ids 0..127 are ASCII codes; other bytes become 127. */
lac_status laci_tokenizer_open_ascii(laci_tokenizer **out, int n_vocab, const lac_allocator *mem,
                                     lac_error *err);
/* From the bytes of a tokenizer.json; exposed for the fuzz target and tests. */
lac_status laci_tokenizer_open_json(laci_tokenizer **out, const char *text, size_t n,
                                    const lac_allocator *mem, lac_error *err);
void laci_tokenizer_close(laci_tokenizer *tok);

/* Of NULL, a tokenizer that is not there: "", 0 and false. */
const char *laci_tokenizer_kind(const laci_tokenizer *tok);     /* "bpe", "bytes", "ascii" */
int laci_tokenizer_n_tokens(const laci_tokenizer *tok);         /* largest known id + 1 */
bool laci_tokenizer_has(const laci_tokenizer *tok, int32_t id); /* whether a token has the id */

/* Id of the token spelled exactly so (added and special tokens included), -1 when there is none. */
int laci_tokenizer_find(const laci_tokenizer *tok, const char *piece, size_t n);

/* Text of an id as bytes; "" for an id without one. *n may be NULL. */
const char *laci_tokenizer_piece(const laci_tokenizer *tok, int32_t id, size_t *n);
/* Whether the id is a token of its own, added to the vocabulary of the text. */
bool laci_tokenizer_is_added(const laci_tokenizer *tok, int32_t id);
bool laci_tokenizer_is_special(const laci_tokenizer *tok, int32_t id);

/* A growing list of ids, owned by the caller; zero it but for `mem` first. */
typedef struct {
    lac_allocator mem;
    int32_t *ids;
    size_t n, capacity;
} laci_ids;
lac_status laci_ids_push(laci_ids *list, int32_t id, lac_error *err);
void laci_ids_clear(laci_ids *list);

/* Appends the ids of `text`. Special tokens in the text are recognised only if `parse_special`.
 * Ill-formed UTF-8 is repaired first (BPE only). Errors: ENOMEM, EINTERNAL (regex engine). */
lac_status laci_tokenizer_encode(const laci_tokenizer *tok, const char *text, size_t n,
                                 bool parse_special, laci_ids *out, lac_error *err);

/* Decodes to bytes with a NUL behind them; ill-formed UTF-8 becomes U+FFFD. Free with
 * laci_release(mem). Errors: EINVAL (id out of range), ENOMEM. */
lac_status laci_tokenizer_decode(const laci_tokenizer *tok, const int32_t *ids, size_t n_ids,
                                 bool keep_special, const lac_allocator *mem, char **text,
                                 size_t *n, lac_error *err);

#endif
