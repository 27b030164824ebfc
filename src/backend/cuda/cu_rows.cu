/* cu_rows.cu: operations on rows on the device: embedding, norm, heads on their way to the cache,
 * activation, sums, copies by index, and a plain product for machines without
 * a matrix library. Memory-bound code, one block or one warp a row; each formula is that of
 * kernels_ref.c. */
#include "backend/cuda/cu_device.h"

enum { ROW_THREADS = 128, FLAT_THREADS = 256 };

static unsigned flat_blocks(size_t n)
{
    return static_cast<unsigned>((n + FLAT_THREADS - 1) / FLAT_THREADS);
}

/* ------------------------------------------------------------------ norm, embedding */

/* 1 / sqrt(mean of squares + eps) of x [n]; all threads of the block get it. */
static __device__ float norm_factor(const float *x, uint32_t n, float eps)
{
    __shared__ double sums[32];
    double squares = 0;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
        squares += (double)x[i] * (double)x[i];
    return (float)(1.0 / sqrt(block_sum(squares, sums) / n + (double)eps));
}

template <typename T> static __global__ void norm_rows(const laci_cu_norm a)
{
    const size_t row = a.rows ? (size_t)a.rows[blockIdx.x] : blockIdx.x;
    const float *x = a.x + row * a.d;
    T *out = static_cast<T *>(a.out) + (size_t)blockIdx.x * a.d;
    const float factor = norm_factor(x, a.d, a.eps);
    for (uint32_t c = threadIdx.x; c < a.d; c += blockDim.x)
        put(out + c, x[c] * factor * (a.weight ? a.weight[c] : 1.0f));
}

static void norm(void *stream, const laci_cu_norm *a)
{
    const auto kernel = a->bf16 ? norm_rows<bf16_t> : norm_rows<float>;
    LACI_LAUNCH(kernel, a->n, ROW_THREADS, 0, stream, *a);
}

template <typename T> static __global__ void embed_rows(const laci_cu_embed a)
{
    const uint32_t asked = (uint32_t)a.ids[blockIdx.x], id = asked < a.n_rows ? asked : a.stand_in;
    const T *from = static_cast<const T *>(a.table) + (size_t)id * a.d;
    float *out = a.out + (size_t)blockIdx.x * a.d;
    for (uint32_t c = threadIdx.x; c < a.d; c += blockDim.x)
        out[c] = get(from[c]) + (a.time ? a.time[c] : 0);
    if (!a.normed) return;
    __syncthreads();
    const float factor = norm_factor(out, a.d, a.eps);
    for (uint32_t c = threadIdx.x; c < a.d; c += blockDim.x)
        out[c] = out[c] * factor * (a.weight ? a.weight[c] : 1.0f);
}

static void embed(void *stream, const laci_cu_embed *a)
{
    const auto kernel = a->bf16 ? embed_rows<bf16_t> : embed_rows<float>;
    LACI_LAUNCH(kernel, a->n, ROW_THREADS, 0, stream, *a);
}

/* ------------------------------------------------------------------ heads */

static __device__ void norm_head(float *x, const float *weight, float eps, uint32_t d)
{
    double squares = 0;
    for (uint32_t c = threadIdx.x % WARP; c < d; c += WARP)
        squares += (double)x[c] * (double)x[c];
    const float factor = (float)(1.0 / sqrt(warp_sum(squares) / d + (double)eps));
    for (uint32_t c = threadIdx.x % WARP; c < d; c += WARP)
        x[c] = x[c] * factor * (weight ? weight[c] : 1.0f);
    __syncwarp();
}

static __device__ void rotate_head(float *x, const laci_cu_heads &a, uint64_t position)
{
    const uint32_t n_pairs = a.rope_dim / 2;
    const float *cosines = a.cosines + position * n_pairs, *sines = a.sines + position * n_pairs;
    for (uint32_t i = threadIdx.x % WARP; i < n_pairs; i += WARP) {
        float *first = a.adjacent ? x + 2 * i : x + i;
        float *second = a.adjacent ? first + 1 : first + n_pairs;
        const float one = *first, other = *second;
        *first = one * cosines[i] - other * sines[i];
        *second = other * cosines[i] + one * sines[i];
    }
    __syncwarp();
}

/* Row i of the output of one head. */
template <typename T>
static __device__ __forceinline__ T *head_row(const laci_cu_heads &a, uint32_t i, uint32_t head)
{
    T *out = static_cast<T *>(a.out);
    if (a.keys) return out + (head * a.ctx + a.first_row + i) * a.stride;
    return out + ((size_t)i * a.n_heads + head) * a.d;
}

/* One warp a head, one block a row. */
template <typename T> static __global__ void treat_heads(const laci_cu_heads a)
{
    const uint32_t row = blockIdx.x, lane = threadIdx.x % WARP;
    const uint64_t position = a.positions ? (uint64_t)a.positions[row] : a.first_position + row;
    for (uint32_t head = threadIdx.x / WARP; head < a.n_heads; head += blockDim.x / WARP) {
        float *x = a.x + ((size_t)row * a.n_heads + head) * a.d;
        for (uint32_t c = lane; a.bias && c < a.d; c += WARP)
            x[c] += a.bias[head * a.d + c];
        __syncwarp();
        if (a.norm_before) norm_head(x, a.weight, a.eps, a.d);
        if (a.cosines) rotate_head(x, a, position);
        if (a.norm_after) norm_head(x, a.weight, a.eps, a.d);
        T *out = head_row<T>(a, row, head);
        for (uint32_t c = lane; c < a.d; c += WARP)
            put(out + c, x[c]);
    }
}

static void heads(void *stream, const laci_cu_heads *a)
{
    const auto kernel = a->bf16 ? treat_heads<bf16_t> : treat_heads<float>;
    LACI_LAUNCH(kernel, a->n, ROW_THREADS, 0, stream, *a);
}

/* ------------------------------------------------------------------ element by element */

template <typename T> static __global__ void activate(const laci_cu_mlp a)
{
    const size_t i = (size_t)blockIdx.x * FLAT_THREADS + threadIdx.x;
    if (i >= a.n) return;
    const float up = a.up[i];
    float y;
    if (a.gate) {
        const float gate = a.gate[i];
        y = gate / (1.0f + expf(-gate)) * up;
    } else {
        const float kept = up < 0 ? 0 : up; /* NaN passes */
        y = kept * kept;
    }
    put(static_cast<T *>(a.out) + i, y);
}

static void mlp(void *stream, const laci_cu_mlp *a)
{
    const auto kernel = a->bf16 ? activate<bf16_t> : activate<float>;
    LACI_LAUNCH(kernel, flat_blocks(a->n), FLAT_THREADS, 0, stream, *a);
}

static __global__ void add_all(const laci_cu_add a)
{
    const size_t i = (size_t)blockIdx.x * FLAT_THREADS + threadIdx.x;
    if (i >= a.n) return;
    const float x = a.x[i], y = a.y[i];
    a.x[i] = a.guide ? y + (a.scale + 1.0f) * (x - y) : x + y;
}

static void add(void *stream, const laci_cu_add *a)
{
    LACI_LAUNCH(add_all, flat_blocks(a->n), FLAT_THREADS, 0, stream, *a);
}

/* ------------------------------------------------------------------ rows by index */

template <typename T> static __global__ void move_rows(const laci_cu_move a)
{
    const size_t n = a.bytes / sizeof(T), row = (size_t)a.rows[blockIdx.x];
    const T *from = static_cast<const T *>(a.x) + (a.scatter ? blockIdx.x : row) * n;
    T *to = static_cast<T *>(a.out) + (a.scatter ? row : blockIdx.x) * n;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x)
        to[i] = from[i];
}

static void move(void *stream, const laci_cu_move *a)
{
    const auto kernel = a->bytes % 16 == 0  ? move_rows<uint4>
                        : a->bytes % 4 == 0 ? move_rows<uint32_t>
                                            : move_rows<uint16_t>;
    LACI_LAUNCH(kernel, a->n, ROW_THREADS, 0, stream, *a);
}

/* ------------------------------------------------------------------ what selection measures */

template <typename T> static __global__ void change_rows(const laci_cu_changes a)
{
    __shared__ double shared[32];
    const T *x = static_cast<const T *>(a.x) + (size_t)blockIdx.x * a.d;
    const T *ref = static_cast<const T *>(a.ref) + (size_t)blockIdx.x * a.d;
    double change = 0, size = 0;
    for (uint32_t c = threadIdx.x; c < a.d; c += blockDim.x) {
        const float before = get(ref[c]), difference = get(x[c]) - before;
        change += (double)(difference * difference);
        size += (double)(before * before);
    }
    change = block_sum(change, shared);
    size = block_sum(size, shared);
    if (threadIdx.x > 0) return;
    a.sums[2 * blockIdx.x] = change;
    a.sums[2 * blockIdx.x + 1] = size;
}

static void changes(void *stream, const laci_cu_changes *a)
{
    const auto kernel = a->bf16 ? change_rows<bf16_t> : change_rows<float>;
    LACI_LAUNCH(kernel, a->n, ROW_THREADS, 0, stream, *a);
}

/* One page a thread, its keys in order: the CPU's bits. */
static __global__ void sum_pages(const laci_cu_page_sums a)
{
    const uint32_t page = blockIdx.y * ROW_THREADS + threadIdx.x;
    const size_t begin = (size_t)page * a.page, left = begin < a.n ? a.n - begin : 0;
    if (!left) return;
    const float *x = a.x + blockIdx.x * a.stride + begin;
    float sum = 0;
    for (size_t i = 0; i < a.page && i < left; i++)
        sum += x[i];
    a.out[blockIdx.x * a.out_stride + page] = sum;
}

static void page_sums(void *stream, const laci_cu_page_sums *a)
{
    const uint32_t n_pages = (a->n + a->page - 1) / a->page;
    const dim3 grid(a->n_rows, (n_pages + ROW_THREADS - 1) / ROW_THREADS);
    LACI_LAUNCH(sum_pages, grid, ROW_THREADS, 0, stream, *a);
}

/* One block of keys of one head a thread, its queries in order. */
static __global__ void pool_masses(const laci_cu_masses a)
{
    const uint32_t i = blockIdx.y * ROW_THREADS + threadIdx.x;
    const size_t row = (size_t)blockIdx.x * a.n_q;
    const float *mass = a.mass + ((size_t)(blockIdx.x / a.group) * a.n + i) * a.group * a.n_q +
                        blockIdx.x % a.group * a.n_q;
    if (i >= a.n) return;
    float sum = 0;
    for (uint32_t q = 0; q < a.n_q; q++) {
        const float base = a.base[(row + q) * a.n_parts + i / a.per_part];
        if (base == -INFINITY) continue;
        sum += expf(base - a.lse[row + q]) / (float)a.n_q * mass[q];
    }
    a.out[blockIdx.x * a.stride + a.first + i] = sum;
}

static void masses(void *stream, const laci_cu_masses *a)
{
    const dim3 grid(a->n_heads, (a->n + ROW_THREADS - 1) / ROW_THREADS);
    LACI_LAUNCH(pool_masses, grid, ROW_THREADS, 0, stream, *a);
}

/* ------------------------------------------------------------------ a plain product */

enum { EDGE = 16 };

/* Tiles of 16 x 16, one output a thread; sums in f32, in the order of the channels. */
template <typename T> static __global__ void multiply_rows(const laci_cu_product a)
{
    __shared__ float x[EDGE][EDGE + 1], w[EDGE][EDGE + 1];
    const uint32_t i = threadIdx.x / EDGE, j = threadIdx.x % EDGE;
    const uint32_t row = blockIdx.y * EDGE + i, col = blockIdx.x * EDGE + j;
    const uint32_t w_row = blockIdx.x * EDGE + i; /* this thread loads row i of the weights */
    float sum = 0;
    for (uint32_t c = 0; c < a.n_in; c += EDGE) {
        const bool in = c + j < a.n_in;
        x[i][j] =
            in && row < a.n ? get(static_cast<const T *>(a.x)[(size_t)row * a.n_in + c + j]) : 0;
        w[i][j] = in && w_row < a.n_out
                      ? get(static_cast<const T *>(a.w)[(size_t)w_row * a.n_in + c + j])
                      : 0;
        __syncthreads();
        for (uint32_t k = 0; k < EDGE; k++)
            sum += x[i][k] * w[j][k];
        __syncthreads();
    }
    if (row < a.n && col < a.n_out) a.y[(size_t)row * a.n_out + col] = sum;
}

static void product(void *stream, const laci_cu_product *a)
{
    const dim3 grid((a->n_out + EDGE - 1) / EDGE, (a->n + EDGE - 1) / EDGE);
    const auto kernel = a->bf16 ? multiply_rows<bf16_t> : multiply_rows<float>;
    LACI_LAUNCH(kernel, grid, EDGE * EDGE, 0, stream, *a);
}

void LACI_CU_NAME(fill_rows)(laci_cu_api *api)
{
    api->embed = embed;
    api->norm = norm;
    api->move = move;
    api->changes = changes;
    api->page_sums = page_sums;
    api->masses = masses;
    api->heads = heads;
    api->product = product;
    api->mlp = mlp;
    api->add = add;
}
