/* pretokenizer.h: cuts normalised text into the pieces that are merged one by one. A pre-tokenizer
 * is a short list of steps, each refining the pieces of the step before. Only patterns known by
 * their exact spelling are accepted, so that a new pattern is an error and never a wrong split. */
#ifndef LACI_MODEL_PRETOKENIZER_H
#define LACI_MODEL_PRETOKENIZER_H

#include "base/alloc.h"

/* Patterns that a vocabulary without tokenizer.json names by its family. */
extern const char laci_pattern_gpt2[];
extern const char laci_pattern_qwen[];
extern const char laci_pattern_bailing[];

typedef struct laci_pretokenizer laci_pretokenizer; /* immutable once its steps are added */
typedef struct laci_split_work laci_split_work;     /* scratch of one thread */

/* One without steps leaves the text in one piece. Errors: ENOMEM. */
lac_status laci_pretokenizer_create(laci_pretokenizer **out, const lac_allocator *mem,
                                    lac_error *err);
void laci_pretokenizer_free(laci_pretokenizer *pre);

/* Adds a step that makes each match, and each gap between matches, a piece. `pattern` is spelled as
 * in tokenizer.json. Errors: EUNSUPPORTED (unknown pattern, too many steps), ENOMEM, EINTERNAL. */
lac_status laci_pretokenizer_add_regex(laci_pretokenizer *pre, const char *pattern, lac_error *err);
/* Adds a step that cuts around each occurrence of `string`; the occurrence becomes a piece, or,
 * with `to_previous`, the end of the piece before it. Errors: EFORMAT (empty), EUNSUPPORTED,
 * ENOMEM. */
lac_status laci_pretokenizer_add_string(laci_pretokenizer *pre, const char *string,
                                        bool to_previous, lac_error *err);

int laci_pretokenizer_n_steps(const laci_pretokenizer *pre);

/* Receives one piece, never empty; it points into the text. */
typedef lac_status (*laci_piece_fn)(void *user, const char *piece, size_t n, lac_error *err);

/* Scratch for any number of splits. Free with laci_split_end(). Errors: ENOMEM. */
lac_status laci_split_begin(laci_split_work **out, const laci_pretokenizer *pre, lac_error *err);
/* Calls `fn` with the pieces of well-formed UTF-8 in order and returns its first failure. */
lac_status laci_split(const laci_pretokenizer *pre, laci_split_work *work, const char *text,
                      size_t n, laci_piece_fn fn, void *user, lac_error *err);
void laci_split_end(laci_split_work *work);

#endif
