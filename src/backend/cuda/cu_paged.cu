/* cu_paged.cu: what lets a read of pages run without the host (laci_cuda_paged_read): rows picked
 * by how far they moved, jobs of attention made from lists on the device, and the rows that read
 * kept for the next comparison. */
#include "backend/cuda/cu_device.h"
#include "backend/cuda/cu_layout.h"

enum { PAGED_THREADS = 256 };

/* ------------------------------------------------------------------ rows */

/* Whether a row that is not new may read: it moved far enough; NaN did. */
static __device__ __forceinline__ bool is_far(const laci_cu_pick &a, uint32_t row)
{
    return !a.is_new[row] && !(a.sums[2 * row] < a.min_change * a.sums[2 * row + 1]);
}

/* Rows that are far and moved further; of equals the lower one. */
static __device__ uint32_t rows_before(const laci_cu_pick &a, uint32_t row)
{
    const double mine = a.sums[2 * row];
    uint32_t n = 0;
    for (uint32_t i = 0; i < a.n; i++) {
        const double change = a.sums[2 * i];
        n += is_far(a, i) && (change > mine || (change == mine && i < row));
    }
    return n;
}

/* One block. */
static __global__ void pick_rows(const laci_cu_pick a)
{
    __shared__ uint32_t shared[32];
    uint32_t n_new = 0, n_picked = 0;
    for (uint32_t row = threadIdx.x; a.sums && row < a.n; row += blockDim.x)
        n_new += a.is_new[row] != 0;
    n_new = block_sum(n_new, shared);
    const uint32_t wanted = a.n_wanted > n_new ? a.n_wanted - n_new : 0;
    for (uint32_t first = 0; first < a.n; first += blockDim.x) {
        const uint32_t row = first + threadIdx.x;
        bool reads = row < a.n;
        if (reads && a.sums)
            reads = a.is_new[row] || (is_far(a, row) && rows_before(a, row) < wanted);
        unsigned total;
        const unsigned mine = block_rank(reads, shared, &total);
        if (reads) a.picks[1 + n_picked + mine] = row;
        n_picked += total;
    }
    if (threadIdx.x == 0) a.picks[0] = n_picked;
}

static void pick(void *stream, const laci_cu_pick *a)
{
    LACI_LAUNCH(pick_rows, 1, PAGED_THREADS, 0, stream, *a);
}

/* One picked row a block. */
static __global__ void keep_rows(const laci_cu_keep a)
{
    if (blockIdx.x >= a.picks[0]) return;
    const size_t at = a.picks[1 + blockIdx.x] * a.bytes / 2;
    const uint16_t *from = static_cast<const uint16_t *>(a.x) + at;
    uint16_t *to = static_cast<uint16_t *>(a.out) + at;
    for (size_t i = threadIdx.x; i < a.bytes / 2; i += blockDim.x)
        to[i] = from[i];
}

static void keep(void *stream, const laci_cu_keep *a)
{
    LACI_LAUNCH(keep_rows, a->n, PAGED_THREADS, 0, stream, *a);
}

/* ------------------------------------------------------------------ jobs */

/* First of n ascending ids that is at least `id`. */
static __device__ uint32_t first_from(const uint32_t *ids, uint32_t n, uint32_t id)
{
    uint32_t low = 0;
    while (low < n) {
        const uint32_t middle = low + (n - low) / 2;
        if (ids[middle] < id)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

/* Keys of n pages, the last one `last`, of which those from n_keys on do not count. */
static __device__ __forceinline__ uint32_t keys_of(uint32_t n, uint32_t last, uint32_t page,
                                                   uint32_t n_keys)
{
    const uint32_t of_last = n_keys - last * page;
    return (n - 1) * page + (of_last < page ? of_last : page);
}

/* Rows and keys of the whole read. */
static __device__ void put_read(const laci_cu_list_jobs &a)
{
    uint32_t n_keys = 0;
    for (uint32_t list = 0; list < a.n_lists && a.picks[0]; list++) {
        const uint32_t n = a.counts[list];
        if (n) n_keys += keys_of(n, a.ids[(size_t)list * a.stride + n - 1], a.page, a.n_all_keys);
    }
    a.read[0] = a.picks[0];
    a.read[1] = n_keys;
}

/* One tile a thread. */
static __global__ void make_jobs(const laci_cu_list_jobs a)
{
    const uint32_t tile = blockIdx.x * blockDim.x + threadIdx.x;
    if (tile == 0 && a.read) put_read(a);
    if (tile >= a.n_tiles) return;
    const uint32_t begin = tile % a.row_tiles * a.tile_rows;
    const uint32_t head = tile / a.row_tiles * a.tile_heads;
    const uint32_t left = a.picks[0] > begin ? a.picks[0] - begin : 0;
    const uint32_t n = left < a.tile_rows ? left : a.tile_rows;
    const uint32_t list = head / (a.n_heads / a.n_lists), count = a.counts[list];
    const uint32_t *ids = a.ids + (size_t)list * a.stride;
    const uint32_t first = first_from(ids, count, a.first_page);
    const uint32_t end = first_from(ids, count, a.end_page);
    const uint32_t n_lanes = end > first ? keys_of(end - first, ids[end - 1], a.page, a.n_keys) : 0;
    const uint32_t part = a.n_parts > 1 ? lanes_of_part(n_lanes) : n_lanes;
    const uint32_t n_parts = n_lanes > part ? (n_lanes + part - 1) / part : 1;
    for (uint32_t i = 0; i < a.n_parts; i++) {
        const uint32_t slot = tile * a.n_parts + i;
        laci_cu_job job = {};
        job.slot = -1;
        if (n && i < n_parts) {
            job.head = head, job.n_heads = a.tile_heads;
            job.begin = begin, job.n = n;
            job.cols = list * a.stride + first;
            job.first = i * part;
            job.end = i + 1 < n_parts ? (i + 1) * part : n_lanes;
            job.full_end = n_lanes;
            if (n_parts > 1) job.slot = static_cast<int32_t>(slot);
        }
        a.jobs[slot] = job;
    }
    const laci_cu_parts parts = {
        0, head, a.tile_heads, begin, n_parts > 1 ? n : 0, tile * a.n_parts, n_parts
    };
    a.parts[tile] = parts;
}

static void list_jobs(void *stream, const laci_cu_list_jobs *a)
{
    LACI_LAUNCH(make_jobs, (a->n_tiles + 63) / 64, 64, 0, stream, *a);
}

void LACI_CU_NAME(fill_paged)(laci_cu_api *api)
{
    api->pick = pick;
    api->keep = keep;
    api->list_jobs = list_jobs;
}
