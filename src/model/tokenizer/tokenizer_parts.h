/* tokenizer_parts.h: what a tokenizer is made of, shared by the tokenizer_*.c files (and chat.c,
 * for its growing text) and by nobody else. Loaders (json, files, gguf) fill a zeroed
 * laci_tokenizer through the laci_add_* functions in the order normalizer and pre-tokenizer,
 * vocabulary, merges, added tokens, and call laci_tokenizer_finish(). */
#ifndef LACI_MODEL_TOKENIZER_PARTS_H
#define LACI_MODEL_TOKENIZER_PARTS_H

#include "base/json.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/pretokenizer.h"
#include "model/tokenizer/tokenizer.h"

enum {
    LACI_MAX_TEXT = 1 << 30,     /* bytes of one text, before and after normalisation */
    LACI_MAX_ADDED_TOKEN = 1024, /* bytes of one added token */
    LACI_MAX_NORMALIZERS = 8,
    LACI_MAX_NORMALIZER_STRING = 64 /* bytes put in or replaced by one normalizer */
};

/* ------------------------------------------------------------------ growing bytes */

/* Zero it but for `mem` first. */
typedef struct {
    lac_allocator mem;
    char *data;
    size_t n, n_max;
} laci_bytes;
/* Errors: ENOMEM; EINVAL when more than LACI_MAX_TEXT bytes come together. */
lac_status laci_bytes_append(laci_bytes *bytes, const char *text, size_t n, lac_error *err);
void laci_bytes_clear(laci_bytes *bytes);

/* ------------------------------------------------------------------ vocabulary */

typedef enum {
    LACI_PIECE_NONE = 0, /* a hole in the ids */
    LACI_PIECE_NORMAL = 1,
    LACI_PIECE_LITERAL = 2, /* byte-level entry outside the byte alphabet: text can never give it */
    LACI_PIECE_BYTE = 3,    /* <0xXX> of a byte fallback; its text is the byte */
    LACI_PIECE_ADDED = 4,
    LACI_PIECE_SPECIAL = 5, /* added, and left out of decoded text */
} laci_piece_kind;

typedef struct {
    size_t off; /* into the vocabulary's bytes */
    uint32_t n;
    uint8_t kind; /* laci_piece_kind */
} laci_piece;

typedef struct {
    laci_bytes bytes;   /* texts, each followed by a NUL */
    laci_piece *pieces; /* [n_ids] by id */
    size_t n_ids, n_ids_max;
    int32_t *slots; /* [mask + 1] ids by hash of their text, -1 = empty; at most half full */
    size_t mask, n_used;
} laci_vocab;

/* Gives a free id its text. `is_indexed` makes it findable by text. Errors: EFORMAT (the id or the
 * text is taken, the id is out of range), ENOMEM. */
lac_status laci_vocab_add(laci_vocab *vocab, int64_t id, const char *text, size_t n,
                          laci_piece_kind kind, bool is_indexed, lac_error *err);
/* Id of an indexed text, -1 when there is none. */
int32_t laci_vocab_find(const laci_vocab *vocab, const char *text, size_t n);
const char *laci_vocab_text(const laci_vocab *vocab, int32_t id, size_t *n);
laci_piece_kind laci_vocab_kind(const laci_vocab *vocab, int32_t id);
void laci_vocab_clear(laci_vocab *vocab);

/* The byte alphabet of byte-level models: each byte has a printable character. Appends the bytes
 * that `text` stands for; *is_mapped is false, and nothing appended, when a character is not of the
 * alphabet. Errors: ENOMEM. */
lac_status laci_byte_level_decode(laci_bytes *out, const char *text, size_t n, bool *is_mapped,
                                  lac_error *err);

/* ------------------------------------------------------------------ normalizers */

typedef enum {
    LACI_NORMALIZE_NFC = 0,
    LACI_NORMALIZE_PREPEND = 1,      /* `to` in front of every non-empty text */
    LACI_NORMALIZE_REPLACE = 2,      /* every `from` by `to` */
    LACI_NORMALIZE_PREFIX_SPACE = 3, /* a space in front unless there is one */
} laci_normalize_kind;

typedef struct {
    laci_normalize_kind kind;
    size_t n_from, n_to;
    char from[LACI_MAX_NORMALIZER_STRING], to[LACI_MAX_NORMALIZER_STRING];
} laci_normalizer;

/* Scratch of one thread; zero it but for the three `mem` first. */
typedef struct {
    laci_bytes text[2]; /* output of alternate steps */
    lac_allocator mem;
    int32_t *codes; /* [n_codes_max] code points of a stretch being composed */
    size_t n_codes_max;
    size_t n_given; /* bytes before the first step */
} laci_normalize_work;

/* Applies `steps` in order. *out points into `text` or into `work`. Errors: ENOMEM, EINVAL. */
lac_status laci_normalize(const laci_normalizer *steps, int n_steps, laci_normalize_work *work,
                          const char *text, size_t n, const char **out, size_t *n_out,
                          lac_error *err);
void laci_normalize_work_init(laci_normalize_work *work, const lac_allocator *mem);
void laci_normalize_work_clear(laci_normalize_work *work);
/* Appends the canonical composition (NFC) of well-formed UTF-8 to `out`; *is_same is true, and
 * nothing appended, when the text is composed already. Errors: ENOMEM, EINVAL. */
lac_status laci_nfc(laci_normalize_work *work, const char *text, size_t n, laci_bytes *out,
                    bool *is_same, lac_error *err);

/* ------------------------------------------------------------------ added tokens */

/* A token recognised as a whole in front of the pre-tokenizer. */
typedef struct {
    int64_t id;
    const char *text; /* [n_text] */
    size_t n_text;
    bool single_word, lstrip, rstrip, normalized, special;
    bool only_named; /* found by its spelling, never matched in a text */
} laci_added_info;

typedef struct {
    char *text; /* [n_text] as spelled; owned */
    char *key;  /* [n_key] as searched for: normalised where `normalized`; owned */
    size_t n_text, n_key;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, only_named;
} laci_added;

/* Added tokens in order of their key, to find the longest at a place by narrowing a range. */
typedef struct {
    const laci_added **sorted; /* [n] owned array of borrowed entries */
    size_t n;
    size_t first[257]; /* entries whose key begins with byte b are [first[b], first[b + 1]) */
} laci_added_index;

typedef struct {
    lac_allocator mem;
    laci_added *items;
    size_t n, n_max;
    laci_added_index raw, normalized; /* searched before and after the normalizer */
    laci_added_index by_text;         /* all, by spelling */
} laci_added_set;

lac_status laci_added_add(laci_added_set *set, const laci_added_info *info, lac_error *err);
/* Fills keys and indexes once all are added. Errors: EFORMAT, ENOMEM, EINVAL. */
lac_status laci_added_finish(laci_added_set *set, const laci_normalizer *steps, int n_steps,
                             lac_error *err);
int32_t laci_added_find(const laci_added_set *set, const char *text, size_t n);
/* The next added token at or behind `from`; NULL when there is none. [*begin, *end) is what it
 * takes of the text, white space it strips included. */
const laci_added *laci_added_next(const laci_added_index *index, const char *text, size_t n,
                                  size_t from, size_t *begin, size_t *end);
void laci_added_clear(laci_added_set *set);

/* ------------------------------------------------------------------ the tokenizer */

/* How the pieces of ids become text. */
typedef struct {
    laci_normalizer replace; /* of kind REPLACE, applied to each piece; n_from == 0: none */
    bool bytes_one_by_one;   /* an ill-formed run of byte pieces gives one U+FFFD per byte */
    char strip;              /* 0: none; up to strip_begin / strip_end of it are cut off */
    int strip_begin, strip_end;
    int n_steps;   /* read so far, of Replace, ByteFallback, Fuse, Strip; 4 = no more */
    bool is_fused; /* a Fuse was among them */
} laci_decoder;

struct laci_tokenizer {
    lac_allocator mem;
    const char *kind;
    laci_vocab vocab;
    laci_bpe bpe;
    laci_added_set added;
    laci_normalizer normalizers[LACI_MAX_NORMALIZERS];
    int n_normalizers;
    laci_pretokenizer *pre;
    laci_decoder decoder;
    bool is_byte_level; /* first symbols are bytes, not characters */
    bool keeps_bytes;   /* ill-formed UTF-8 is not repaired */
    bool ignore_merges; /* a piece that is a token stays whole */
    bool byte_fallback, fuse_unk;
    int32_t unk_id;        /* -1 = none: unknown characters are dropped */
    int32_t byte_ids[256]; /* first symbol of each byte (byte level), or <0xXX> (-1 = none) */
    size_t n_padding;      /* ids behind the last one that decode to nothing */
    laci_piece *shown;     /* [n_ids] pieces as decoded, NULL = as in the vocabulary */
    laci_bytes shown_bytes;
};

/* A zeroed tokenizer with allocator and defaults. Free with laci_tokenizer_close(). */
lac_status laci_tokenizer_create(laci_tokenizer **out, const char *kind, const lac_allocator *mem,
                                 lac_error *err);
/* Spellings are those of the file: byte-level texts in the byte alphabet. `index` names the entry
 * in errors. Errors: EFORMAT, ENOMEM. */
lac_status laci_add_normalizer(laci_tokenizer *tok, laci_normalize_kind kind, const char *from,
                               const char *to, lac_error *err);
lac_status laci_set_normalizer(laci_normalizer *step, laci_normalize_kind kind, const char *from,
                               const char *to, lac_error *err);
lac_status laci_add_vocab(laci_tokenizer *tok, const char *text, size_t n, int64_t id,
                          lac_error *err);
lac_status laci_add_merge(laci_tokenizer *tok, size_t index, const char *left, size_t n_left,
                          const char *right, size_t n_right, lac_error *err);
/* The same with both parts in one string, cut at the first space. */
lac_status laci_add_merge_line(laci_tokenizer *tok, size_t index, const char *line, size_t n,
                               lac_error *err);
/* `may_repeat_id` allows a second spelling of an id, which is then only a name for it. */
lac_status laci_add_added(laci_tokenizer *tok, const laci_added_info *info, bool may_repeat_id,
                          lac_error *err);
/* The flags of an added token from its JSON object; `file` names it in errors. */
lac_status laci_added_flags(laci_added_info *info, const laci_jval *v, const char *file,
                            lac_error *err);
lac_status laci_tokenizer_finish(laci_tokenizer *tok, lac_error *err);

/* From vocab.json, merges.txt, tokenizer_config.json and added_tokens.json in folder `path`. */
lac_status laci_tokenizer_open_files(laci_tokenizer **out, const char *path,
                                     const lac_allocator *mem, lac_error *err);

#endif
