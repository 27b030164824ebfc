/* made_prefix.h: a key cache full of keys and values that no model wrote, so that a step behind a
 * long prefix can be measured without computing the prefix. */
#ifndef LACUNA_BENCH_MADE_PREFIX_H
#define LACUNA_BENCH_MADE_PREFIX_H

#include "engine/session.h"

/* Reserves n_ctx positions of the cache of a session's sequence and fills the first n of every
 * layer. Keys and values are normal numbers; the keys of every 64 positions of a KV head are
 * exp(agreement * z) times as long, z normal: with 0, queries have no keys in common that they
 * would rather read; the larger, the more they agree. Errors: ENOMEM, ECONTEXT. */
lac_status made_prefix_fill(lac_session *session, laci_sequence *seq, size_t n, double agreement,
                            uint64_t seed, lac_error *err);

/* Lets a sequence of `session`, which has no cache yet, read the first n positions of that of
 * `owner`, page bounds included, and write after them. To be returned before either is freed. */
void made_prefix_lend(lac_session *session, laci_sequence *seq, const laci_sequence *owner,
                      size_t n);
void made_prefix_return(laci_sequence *seq);

#endif
