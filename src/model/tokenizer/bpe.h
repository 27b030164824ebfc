/* bpe.h: the merge table of a byte-pair encoding and the merging of one piece. Knows ids only, not
 * texts: the tokenizer turns text into first symbols and asks here for the rest. The table is
 * immutable once filled; what a merge changes lives in a work area owned by the caller. */
#ifndef LACI_MODEL_BPE_H
#define LACI_MODEL_BPE_H

#include "base/alloc.h"

enum {
    LACI_MAX_TOKEN_ID = 1 << 24, /* ids lie below; as the cap on embedding rows */
    LACI_NO_RANK = INT32_MAX     /* of a pair that is not merged */
};

/* One merge: an adjacent pair of ids becomes one id. Lower ranks go first. */
typedef struct {
    uint32_t left, right; /* left == UINT32_MAX marks an empty slot */
    int32_t rank, product;
} laci_bpe_pair;

typedef struct {
    lac_allocator mem;
    laci_bpe_pair *slots; /* [mask + 1] open addressing, at most half full; NULL = no merge */
    size_t mask, n_pairs;
} laci_bpe;

/* Scratch of one thread; zero it but for `mem` first. */
typedef struct {
    lac_allocator mem;
    int32_t *symbols; /* [n_symbols] first symbols in, merged ids out */
    size_t n_symbols, n_symbols_max;
    struct laci_bpe_node *nodes; /* [n_nodes_max] linked list over a long piece */
    uint64_t *heap;              /* [3 * n_nodes_max] candidate merges of a long piece */
    size_t n_nodes_max;
} laci_bpe_work;

/* Makes room for `n_merges` merges in a zeroed table. Errors: ENOMEM. */
lac_status laci_bpe_init(laci_bpe *bpe, size_t n_merges, const lac_allocator *mem, lac_error *err);
void laci_bpe_clear(laci_bpe *bpe);

/* Adds a merge; room for it was made by init. False when the pair is there already. */
bool laci_bpe_add(laci_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t product);

/* The merge of a pair, NULL when there is none. */
const laci_bpe_pair *laci_bpe_find(const laci_bpe *bpe, int32_t left, int32_t right);

/* Sets work->n_symbols to `n` and makes room for as many. Errors: ENOMEM. */
lac_status laci_bpe_reserve(laci_bpe_work *work, size_t n, lac_error *err);

/* Merges work->symbols until no adjacent pair has a rank: always the pair of lowest rank, the
 * leftmost of equals. O(n log n). Errors: ENOMEM. */
lac_status laci_bpe_merge(const laci_bpe *bpe, laci_bpe_work *work, lac_error *err);

void laci_bpe_work_clear(laci_bpe_work *work);

#endif
