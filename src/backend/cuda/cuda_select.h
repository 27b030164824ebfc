/* cuda_select.h: steps of a selection on the device, for those who go on from there without the
 * host: memory, scores of pages, lists. Private to backend/cuda/. */
#ifndef LACI_BACKEND_CUDA_SELECT_H
#define LACI_BACKEND_CUDA_SELECT_H

#include "backend/cuda/cuda_state.h"

/* Device memory of one selection. */
typedef struct {
    size_t n_lists, n_rows, stride; /* stride: most items of a list, rounded up */
    const uint32_t *n_items;        /* [n_lists] */
    size_t n_group;                 /* rows of a query */
    const uint32_t *picks;          /* the queries that count, [0] of them; NULL = all */
    float *scores;                  /* [n_lists, n_rows, stride]; not for rankings */
    float *pooled;                  /* [n_lists, stride] */
    uint32_t *ids;                  /* [n_lists, stride] */
    uint32_t *counts, *picked;      /* [n_lists] each, side by side after ids */
    uint8_t *marks;                 /* [n_lists, stride] */
} laci_cu_selection;

/* Bytes of the arrays above, for the dimensions set; a multiple of 256. */
size_t laci_cuda_selection_bytes(const laci_cu_selection *s, bool with_scores);
/* Carves them from `at` (NULL: the device has failed, false). The counters and marks are zero. */
bool laci_cuda_carve(cuda_backend *cuda, laci_cu_selection *s, char *at, bool with_scores);
/* Sets n_lists, n_rows, stride and n_items for the pages of a query, with room for one more
 * argument; false when there is nothing to choose from, or no memory. */
bool laci_cuda_count_pages(cuda_backend *cuda, const laci_page_query *query, size_t more_bytes,
                           laci_cu_selection *s);
/* Scores of pages by the queries that count, then lists: ids and counts on the device. */
void laci_cuda_list_pages(cuda_backend *cuda, const laci_page_query *query,
                          const laci_cu_selection *s);

/* In cuda_attend.c: rows of a tile of the kernel that takes a call, and its launch. n_k: keys a
 * call reads at most; k_block, d as in laci_cu_attend. */
size_t laci_cuda_tile_rows(const cuda_backend *cuda, size_t d, size_t k_block, size_t n_k);
void laci_cuda_launch(cuda_backend *cuda, const laci_cu_attend *args);
/* Logarithm of a power of two, LACI_CU_WHOLE for other numbers. */
uint32_t laci_cuda_shift(size_t k_block);

#endif
