/* bpe.c: merge table and merging. Pieces are mostly words, so short ones are merged by scanning an
 * array for the best pair; long ones, which a hostile text can stretch to megabytes, use a heap
 * over a linked list. Both give the same ids: lowest rank first, leftmost of equals. */
#include "model/tokenizer/bpe.h"

#include <string.h>

#include "base/error.h"

enum {
    SHORT_PIECE = 24, /* symbols up to which scanning beats the heap */
    NO_SYMBOL = -1    /* of a node merged into its left neighbour */
};

/* A symbol of a long piece. */
typedef struct laci_bpe_node {
    int32_t id;          /* NO_SYMBOL once merged away */
    int32_t rank;        /* of the pair with the next node */
    uint32_t prev, next; /* UINT32_MAX at the ends */
} node;

/* ------------------------------------------------------------------ merge table */

static size_t pair_slot(const laci_bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return (size_t)(h >> 32) & bpe->mask;
}

lac_status laci_bpe_init(laci_bpe *bpe, size_t n_merges, const lac_allocator *mem, lac_error *err)
{
    bpe->mem = *mem;
    if (!n_merges) return LAC_OK;
    size_t n = 16;
    while (n / 2 < n_merges && n <= SIZE_MAX / 4)
        n *= 2;
    bpe->slots = laci_alloc_array(mem, n, sizeof *bpe->slots);
    if (!bpe->slots) return laci_fail_memory(err, "the merge table", n * sizeof *bpe->slots);
    memset(bpe->slots, 0xFF, n * sizeof *bpe->slots);
    bpe->mask = n - 1;
    return LAC_OK;
}

void laci_bpe_clear(laci_bpe *bpe)
{
    laci_release(&bpe->mem, bpe->slots);
    bpe->slots = NULL;
    bpe->mask = bpe->n_pairs = 0;
}

bool laci_bpe_add(laci_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t product)
{
    const uint32_t l = (uint32_t)left, r = (uint32_t)right;
    size_t at = pair_slot(bpe, l, r);
    for (; bpe->slots[at].left != UINT32_MAX; at = (at + 1) & bpe->mask)
        if (bpe->slots[at].left == l && bpe->slots[at].right == r) return false;
    bpe->slots[at] = (laci_bpe_pair){ l, r, rank, product };
    bpe->n_pairs++;
    return true;
}

const laci_bpe_pair *laci_bpe_find(const laci_bpe *bpe, int32_t left, int32_t right)
{
    if (!bpe->slots) return NULL;
    const uint32_t l = (uint32_t)left, r = (uint32_t)right;
    for (size_t at = pair_slot(bpe, l, r);; at = (at + 1) & bpe->mask) {
        const laci_bpe_pair *pair = &bpe->slots[at];
        if (pair->left == UINT32_MAX) return NULL;
        if (pair->left == l && pair->right == r) return pair;
    }
}

/* ------------------------------------------------------------------ work area */

lac_status laci_bpe_reserve(laci_bpe_work *work, size_t n, lac_error *err)
{
    if (n > work->n_symbols_max) {
        const size_t room = n < 64 ? 64 : n + n / 2;
        int32_t *symbols = laci_resize_array(&work->mem, work->symbols, room, sizeof *symbols);
        if (!symbols) return laci_fail_memory(err, "symbols of a piece", room * sizeof *symbols);
        work->symbols = symbols;
        work->n_symbols_max = room;
    }
    work->n_symbols = n;
    return LAC_OK;
}

void laci_bpe_work_clear(laci_bpe_work *work)
{
    laci_release(&work->mem, work->symbols);
    laci_release(&work->mem, work->nodes);
    laci_release(&work->mem, work->heap);
    *work = (laci_bpe_work){ .mem = work->mem };
}

/* Nodes for `n` symbols, and a heap for every candidate there can be: n - 1 at first, then at most
 * two more for each of at most n - 1 merges. */
static lac_status reserve_long(laci_bpe_work *work, size_t n, lac_error *err)
{
    if (n <= work->n_nodes_max) return LAC_OK;
    if (n >= UINT32_MAX)
        return laci_fail(err, LAC_EINVAL, 0, "a piece has %zu symbols, limit %u", n,
                         UINT32_MAX - 1);
    laci_release(&work->mem, work->nodes);
    laci_release(&work->mem, work->heap);
    work->n_nodes_max = 0;
    work->nodes = laci_alloc_array(&work->mem, n, sizeof *work->nodes);
    work->heap = laci_alloc_array(&work->mem, n, 3 * sizeof *work->heap);
    if (!work->nodes || !work->heap)
        return laci_fail_memory(err, "merging a long piece",
                                n * (sizeof *work->nodes + 3 * sizeof *work->heap));
    work->n_nodes_max = n;
    return LAC_OK;
}

/* ------------------------------------------------------------------ short pieces */

static int32_t pair_rank(const laci_bpe *bpe, const int32_t *symbols)
{
    const laci_bpe_pair *pair = laci_bpe_find(bpe, symbols[0], symbols[1]);
    return pair ? pair->rank : LACI_NO_RANK;
}

static void merge_short(const laci_bpe *bpe, laci_bpe_work *work)
{
    int32_t ranks[SHORT_PIECE];
    int32_t *symbols = work->symbols;
    size_t n = work->n_symbols;
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = pair_rank(bpe, symbols + i);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == LACI_NO_RANK) break;
        symbols[best] = laci_bpe_find(bpe, symbols[best], symbols[best + 1])->product;
        n--;
        for (size_t i = best + 1; i < n; i++) {
            symbols[i] = symbols[i + 1];
            ranks[i - 1] = ranks[i];
        }
        if (best) ranks[best - 1] = pair_rank(bpe, symbols + best - 1);
        if (best + 1 < n) ranks[best] = pair_rank(bpe, symbols + best);
    }
    work->n_symbols = n;
}

/* ------------------------------------------------------------------ long pieces */

/* A heap of candidates, smallest on top. A candidate is rank << 32 | position: one comparison
 * orders by rank, then leftmost. */
static void heap_push(uint64_t *heap, size_t *n, uint64_t value)
{
    size_t at = (*n)++;
    for (; at && heap[(at - 1) / 2] > value; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = value;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    const uint64_t top = heap[0], last = heap[--*n];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < *n; at = child) {
        if (child + 1 < *n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* Looks up the pair that begins at `at` and makes it a candidate. */
static void consider(const laci_bpe *bpe, laci_bpe_work *work, uint32_t at, size_t *n_heap)
{
    node *left = &work->nodes[at];
    left->rank = LACI_NO_RANK;
    if (left->next == UINT32_MAX) return;
    const laci_bpe_pair *pair = laci_bpe_find(bpe, left->id, work->nodes[left->next].id);
    if (!pair) return;
    left->rank = pair->rank;
    heap_push(work->heap, n_heap, (uint64_t)(uint32_t)pair->rank << 32 | at);
}

static size_t link_symbols(const laci_bpe *bpe, laci_bpe_work *work)
{
    const uint32_t n = (uint32_t)work->n_symbols;
    size_t n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        work->nodes[i] = (node){ work->symbols[i], LACI_NO_RANK, i ? i - 1 : UINT32_MAX,
                                 i + 1 < n ? i + 1 : UINT32_MAX };
    for (uint32_t i = 0; i < n; i++)
        consider(bpe, work, i, &n_heap);
    return n_heap;
}

static lac_status merge_long(const laci_bpe *bpe, laci_bpe_work *work, lac_error *err)
{
    lac_status st = reserve_long(work, work->n_symbols, err);
    if (st) return st;
    node *nodes = work->nodes;
    for (size_t n_heap = link_symbols(bpe, work); n_heap;) {
        const uint64_t top = heap_pop(work->heap, &n_heap);
        node *left = &nodes[top & UINT32_MAX];
        /* A candidate is stale when a neighbour changed since: the pair then has another rank. */
        if (left->id == NO_SYMBOL || left->rank != (int32_t)(top >> 32)) continue;
        node *right = &nodes[left->next];
        left->id = laci_bpe_find(bpe, left->id, right->id)->product;
        right->id = NO_SYMBOL;
        left->next = right->next;
        if (right->next != UINT32_MAX) nodes[right->next].prev = (uint32_t)(top & UINT32_MAX);
        if (left->prev != UINT32_MAX) consider(bpe, work, left->prev, &n_heap);
        consider(bpe, work, (uint32_t)(top & UINT32_MAX), &n_heap);
    }
    work->n_symbols = 0;
    for (uint32_t at = 0; at != UINT32_MAX; at = nodes[at].next)
        work->symbols[work->n_symbols++] = nodes[at].id;
    return LAC_OK;
}

lac_status laci_bpe_merge(const laci_bpe *bpe, laci_bpe_work *work, lac_error *err)
{
    if (!bpe->slots || work->n_symbols < 2) return LAC_OK;
    if (work->n_symbols > SHORT_PIECE) return merge_long(bpe, work, err);
    merge_short(bpe, work);
    return LAC_OK;
}
