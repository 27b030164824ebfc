/* chat.h: the chat templates of the supported families, rendered by code. Markers are added as ids,
 * contents are encoded as plain text, so a user cannot type a role marker. */
#ifndef LACI_MODEL_CHAT_H
#define LACI_MODEL_CHAT_H

#include "model/tokenizer/tokenizer.h"

/* Comma-separated names: "llada,dream,sdar,fast-dllm,llada2,rnd1,chatml,none". Static string. */
const char *laci_chat_names(void);
bool laci_chat_known(const char *name);

/* Appends the ids of the rendered conversation and the next assistant header; nothing on failure.
 * Answers in `messages` count as past ones: "sdar" and "llada2" leave their thoughts out.
 * Errors: EINVAL (unknown template or role, no message), EUNSUPPORTED (a marker is not in the
 * vocabulary; names it), ENOMEM. */
lac_status laci_chat_encode(const laci_tokenizer *tok, const char *name,
                            const lac_chat_message *messages, size_t n_messages, laci_ids *out,
                            lac_error *err);

/* The same as text, markers spelled out; for --verbose and tests. Free with laci_release(mem). */
lac_status laci_chat_render(const char *name, const lac_chat_message *messages, size_t n_messages,
                            const lac_allocator *mem, char **text, size_t *n, lac_error *err);

#endif
