/* cuda_jobs.h: from a plan to the jobs of the attention kernels: which tiles of query rows there
 * are, which of a row's lanes each job reads, which tiles are cut into parts. Host arithmetic only:
 * no device, no memory of its own.
 *
 * A tile is the queries of a plan row, of one head or, where few queries share their keys, of
 * several heads of a KV group. Where a call has few queries (a block being denoised over a long
 * prefix) there would be fewer tiles than multiprocessors, so the lanes of a tile are cut into
 * parts that are merged exactly afterwards. The cut depends on the number of lanes alone: results
 * do not depend on what else is in the batch. */
#ifndef LACI_BACKEND_CUDA_JOBS_H
#define LACI_BACKEND_CUDA_JOBS_H

#include "backend/backend.h"
#include "backend/cuda/cuda_api.h"

typedef struct {
    laci_cu_job *jobs;    /* [n_jobs] */
    laci_cu_parts *parts; /* [n_parts] tiles that were cut */
    size_t n_jobs, n_parts, n_slots;
    uint32_t most_rows; /* of a job */
} laci_cu_jobs;

/* Counts the jobs of a call, with `out->jobs` NULL, or writes them into arrays of the sizes it
 * counted. most_rows: rows of a tile the kernel takes. With statistics a tile holds
 * two heads only with all their queries, and jobs ascend over (sequence, head, query). */
void laci_cuda_jobs(const laci_plan *plan, const laci_attention *a, size_t most_rows,
                    laci_cu_jobs *out);

/* Statistics of a call are gathered in chunks of jobs, so that they need bounded memory: jobs
 * [first, end), which hold rows [row, row + n_rows) of all (sequence, head, query), and items
 * [item, item_end) of query blocks of those rows (laci_cu_mass). */
typedef struct {
    size_t first, end, row, n_rows, item, item_end;
} laci_cu_chunk;

/* Sets stats_row of every job and writes the chunks, at most n_jobs, and the items, at most
 * patterns * query blocks; returns how many chunks. A chunk has at most most_rows rows if its tiles
 * allow, and begins where a query block begins. */
size_t laci_cuda_chunks(const laci_attention *a, laci_cu_job *jobs, size_t n_jobs, size_t most_rows,
                        laci_cu_chunk *chunks, uint32_t *items);

/* Lanes of plan row `at` whose keys are below `end`: they come first. */
size_t laci_cuda_lanes(const laci_plan *plan, size_t at, size_t end);

/* Lanes of a part of a tile of n lanes: a multiple of LACI_CU_TILE. */
size_t laci_cuda_part(size_t n_lanes);

#endif
