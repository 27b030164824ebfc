/* cu_select.cu: selection on the device: bounds and scores of pages, what the rows that share a
 * list make of them, the k largest by the same tie rule as kernels_ref.c, marks turned into
 * ascending lists. */
#include "backend/cuda/cu_device.h"

enum { SELECT_THREADS = 256, SCORE_WARPS = 4 };

#define NO_KEYS 3.38953139e38f /* LACI_NO_KEYS, kernels/select.h */

/* ------------------------------------------------------------------ pages */

/* One channel of one page of one head a thread. NaN among the keys: bounds of infinity. */
template <typename T> static __global__ void bound_pages(const laci_cu_bounds a)
{
    const uint32_t page = a.first + blockIdx.x, head = blockIdx.y;
    const uint32_t begin = page * a.page;
    const uint32_t end = begin + a.page < a.n_keys ? begin + a.page : a.n_keys;
    const T *k = static_cast<const T *>(a.k) + head * a.ctx * a.d;
    T *out = static_cast<T *>(a.bounds) + ((size_t)head * a.n_pages + page) * 2 * a.d;
    for (uint32_t c = threadIdx.x; c < a.d; c += blockDim.x) {
        float top = begin < end ? NOTHING : -NO_KEYS, low = -top;
        for (uint32_t j = begin; j < end; j++) {
            const float key = get(k[(size_t)(j - a.first_key) * a.d + c]);
            if (key > top || key != key) top = key == key ? key : INFINITY;
            if (key < low || key != key) low = key == key ? key : NOTHING;
        }
        put(out + c, top);
        put(out + a.d + c, low);
    }
}

static void bounds(void *stream, const laci_cu_bounds *a)
{
    const dim3 grid(a->end - a->first, a->n_kv_heads);
    const auto kernel = a->bf16 ? bound_pages<bf16_t> : bound_pages<float>;
    LACI_LAUNCH(kernel, grid, 64, 0, stream, *a);
}

/* One warp a page, all rows of the list one after another. */
template <typename T> static __global__ void score_pages(const laci_cu_scores a)
{
    const uint32_t list = blockIdx.y, page = blockIdx.x * SCORE_WARPS + threadIdx.x / WARP;
    if (page >= a.n_items[list]) return; /* a whole warp */
    const uint32_t batch = list / a.lists_per_batch;
    const uint32_t first_head = list % a.lists_per_batch * a.n_group;
    const size_t kv = (size_t)batch * a.n_kv_heads + first_head / a.group_of_kv;
    const T *top = static_cast<const T *>(a.bounds) + (kv * a.n_pages + page) * 2 * a.d;
    const uint32_t n_rows = a.picks ? a.picks[0] * a.n_group : a.n_rows;
    for (uint32_t row = 0; row < n_rows; row++) {
        const uint32_t i = a.picks ? a.picks[1 + row / a.n_group] : row / a.n_group;
        const size_t query = (size_t)batch * a.n_q + i;
        const T *q =
            static_cast<const T *>(a.q) + (query * a.n_heads + first_head + row % a.n_group) * a.d;
        float sum = 0;
        for (uint32_t c = threadIdx.x % WARP; c < a.d; c += WARP) {
            const float x = get(q[c]);
            sum += x * get(__float_as_uint(x) >> 31 ? top[a.d + c] : top[c]);
        }
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0)
            a.scores[((size_t)list * a.n_rows + row) * a.stride + page] = sum;
    }
}

static void scores(void *stream, const laci_cu_scores *a)
{
    const dim3 grid((a->stride + SCORE_WARPS - 1) / SCORE_WARPS, a->n_lists);
    const auto kernel = a->bf16 ? score_pages<bf16_t> : score_pages<float>;
    LACI_LAUNCH(kernel, grid, SCORE_WARPS * WARP, 0, stream, *a);
}

/* ------------------------------------------------------------------ pooling */

/* out = the largest of the rows; NaN counts as infinity. */
static __device__ void pool_largest(const laci_cu_pool &a, uint32_t n_rows, const float *x,
                                    uint32_t n, float *out)
{
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
        float most = NOTHING;
        for (uint32_t row = 0; row < n_rows; row++) {
            const float s = x[(size_t)row * a.row_stride + i];
            if (s > most) most = s;
            if (s != s) most = INFINITY;
        }
        out[i] = most;
    }
}

/* out = sum of the rows, in their order. */
static __device__ void pool_sum(const laci_cu_pool &a, const float *x, uint32_t n, float *out)
{
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
        float sum = x[i];
        for (uint32_t row = 1; row < a.n_rows; row++)
            sum += x[(size_t)row * a.row_stride + i];
        out[i] = sum;
    }
}

/* out = sum over rows of the softmax of scale times a row; NaN and infinity rank first. */
static __device__ void pool_softmax(const laci_cu_pool &a, uint32_t n_rows, const float *x,
                                    uint32_t n, float *out)
{
    __shared__ double shared[32];
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
        out[i] = 0;
    for (uint32_t row = 0; row < n_rows; row++, x += a.row_stride) {
        double top = NOTHING, total = 0;
        for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
            if (x[i] < INFINITY && (double)x[i] > top) top = (double)x[i];
        top = block_max(top, shared);
        for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
            if (x[i] < INFINITY && x[i] > NOTHING)
                total += exp((double)a.scale * ((double)x[i] - top));
        total = block_sum(total, shared);
        for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
            if (!(x[i] < INFINITY))
                out[i] = INFINITY;
            else if (x[i] > NOTHING)
                out[i] += (float)(exp((double)a.scale * ((double)x[i] - top)) / total);
        }
    }
}

static __global__ void pool_rows(const laci_cu_pool a)
{
    const float *x = a.scores + (size_t)blockIdx.x * a.n_rows * a.row_stride;
    float *out = a.pooled + (size_t)blockIdx.x * a.stride;
    const uint32_t n = a.n_items[blockIdx.x];
    const uint32_t n_rows = a.picks ? a.picks[0] * a.n_group : a.n_rows;
    if (a.mode == 0)
        pool_largest(a, n_rows, x, n, out);
    else if (a.mode == 1)
        pool_softmax(a, n_rows, x, n, out);
    else
        pool_sum(a, x, n, out);
}

static void pool(void *stream, const laci_cu_pool *a)
{
    LACI_LAUNCH(pool_rows, a->n_lists, SELECT_THREADS, 0, stream, *a);
}

/* ------------------------------------------------------------------ the k largest */

/* Orders as the numbers do, as an unsigned integer: NaN like +infinity, -0 like 0. */
static __device__ __forceinline__ uint32_t rank_of(float x)
{
    const uint32_t bits = __float_as_uint(x == x ? x + 0.0f : INFINITY);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static __device__ uint32_t count_from(const float *x, uint32_t n, uint32_t rank, uint32_t *shared)
{
    uint32_t count = 0;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
        count += rank_of(x[i]) >= rank;
    return block_sum(count, shared);
}

/* Marks the k (at least 1, less than n) largest of x: bit by bit the largest rank that k reach,
 * then all above it and the first of those on it. */
static __device__ void mark_largest(const float *x, uint32_t n, uint32_t k, uint8_t *marks)
{
    __shared__ uint32_t shared[32];
    uint32_t rank = 0;
    for (int bit = 31; bit >= 0; bit--) {
        const uint32_t higher = rank | 1u << bit;
        if (count_from(x, n, higher, shared) >= k) rank = higher;
    }
    uint32_t ties = k;
    if (rank < 0xffffffffu) ties -= count_from(x, n, rank + 1, shared);
    uint32_t before = 0; /* ties seen in earlier turns */
    for (uint32_t first = 0; first < n; first += blockDim.x) {
        const uint32_t i = first + threadIdx.x;
        const bool is_tie = i < n && rank_of(x[i]) == rank;
        unsigned total;
        const unsigned mine = block_rank(is_tie, shared, &total);
        if (i < n && (rank_of(x[i]) > rank || (is_tie && before + mine < ties))) marks[i] = 1;
        before += total;
    }
}

/* One row of one list a block. Several rows may mark the same id: they write the same. */
static __global__ void mark_rows(const laci_cu_top a)
{
    const uint32_t list = blockIdx.x / a.n_rows;
    if (a.picks && blockIdx.x % a.n_rows >= a.picks[0] * a.n_group) return;
    const float *x = a.scores + (size_t)blockIdx.x * a.stride;
    uint8_t *marks = a.marks + (size_t)list * a.stride;
    const uint32_t n = a.n_items[list];
    const uint32_t first = a.keep_first < n ? a.keep_first : n;
    const uint32_t last = a.keep_last < n - first ? a.keep_last : n - first;
    const uint32_t left = n - first - last;
    uint32_t wanted = a.n > first + last ? a.n - first - last : 0;
    if (wanted > left) wanted = left;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
        if (i < first || i >= n - last || wanted == left) marks[i] = 1;
    if (wanted > 0 && wanted < left) mark_largest(x + first, left, wanted, marks + first);
    if (threadIdx.x == 0) atomicAdd(a.picked + list, first + last + wanted);
}

static void top(void *stream, const laci_cu_top *a)
{
    LACI_LAUNCH(mark_rows, a->n_lists * a->n_rows, SELECT_THREADS, 0, stream, *a);
}

static __global__ void list_marks(const laci_cu_compact a)
{
    __shared__ uint32_t shared[32];
    const uint8_t *marks = a.marks + (size_t)blockIdx.x * a.stride;
    uint32_t *ids = a.ids + (size_t)blockIdx.x * a.stride;
    const uint32_t n = a.n_items[blockIdx.x];
    uint32_t before = 0;
    for (uint32_t first = 0; first < n; first += blockDim.x) {
        const uint32_t i = first + threadIdx.x;
        const bool is_marked = i < n && marks[i];
        unsigned total;
        const unsigned mine = block_rank(is_marked, shared, &total);
        if (is_marked) ids[before + mine] = i;
        before += total;
    }
    if (threadIdx.x == 0) a.counts[blockIdx.x] = before;
}

static void compact(void *stream, const laci_cu_compact *a)
{
    LACI_LAUNCH(list_marks, a->n_lists, SELECT_THREADS, 0, stream, *a);
}

void LACI_CU_NAME(fill_select)(laci_cu_api *api)
{
    api->bounds = bounds;
    api->scores = scores;
    api->pool = pool;
    api->top = top;
    api->compact = compact;
}
