/* cu_choose.cu: from rows of logits to tokens on the device, by any rule: the definition is
 * laci_choose (kernels/choose.c), here with one block of threads a row. Filters keep a prefix of
 * the ids sorted by falling logit (of equals the lower id first); where it ends is found by halving
 * the range of logits, not by sorting. Sums are in double, in a fixed order. */
#include "backend/cuda/cu_device.h"

/* The generator is plain C that the host shares; here its functions are the device's too. */
#define inline __host__ __device__ __forceinline__
#include "base/rng.h"
#undef inline

enum { THREADS = 256 };

/* One row and what is known of it; the same in all threads. */
struct row_state {
    const float *x; /* [n_vocab] */
    float top;      /* of the ids that may be chosen */
    double temperature;
    bool is_cut; /* filters keep ids before (cut_key, cut_id), and that one */
    uint32_t cut_key;
    uint32_t cut_id;
    bool is_judged; /* an id is chosen: the unranked ones count no more */
};

static __device__ bool is_allowed(const laci_cu_choose &a, uint32_t id)
{
    bool allowed = id < a.n_allowed;
    for (uint32_t i = 0; i < a.n_forbidden; i++)
        allowed = allowed && a.forbidden[i] != (int32_t)id;
    if (a.gaps) allowed = allowed && !(a.gaps[id / 32] >> id % 32 & 1);
    return allowed;
}

static __device__ bool is_unranked(const laci_cu_choose &a, uint32_t id)
{
    bool unranked = false;
    for (uint32_t i = 0; i < a.n_unranked; i++)
        unranked = unranked || a.unranked[i] == (int32_t)id;
    return unranked;
}

/* Whether an id counts before any filter; NaN does, so that it shows. */
static __device__ __forceinline__ bool counts(const laci_cu_choose &a, const row_state &r,
                                              uint32_t id)
{
    return r.x[id] != NOTHING && is_allowed(a, id) && !(r.is_judged && is_unranked(a, id));
}

/* Logits as integers of the same order; both zeros are one. */
static __device__ __forceinline__ uint32_t key_of_logit(float x)
{
    const uint32_t bits = __float_as_uint(x == 0 ? 0.0f : x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ bool is_kept(const laci_cu_choose &a, const row_state &r,
                                               uint32_t id)
{
    if (!counts(a, r, id)) return false;
    const uint32_t key = key_of_logit(r.x[id]);
    return !r.is_cut || key > r.cut_key || (key == r.cut_key && id <= r.cut_id);
}

static __device__ __forceinline__ double weight_of(const row_state &r, float x, double temperature)
{
    return exp(((double)x - (double)r.top) / temperature);
}

static __device__ double sum_of_block(double x)
{
    __shared__ double shared[32];
    return block_sum(x, shared);
}

/* Sum of the weights of kept ids. */
static __device__ double mass_of(const laci_cu_choose &a, const row_state &r, double temperature)
{
    double sum = 0;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS)
        if (is_kept(a, r, i)) sum += weight_of(r, r.x[i], temperature);
    return sum_of_block(sum);
}

/* ------------------------------------------------------------------ filters */

/* Whether an id stays that has so many ids and so much mass before it; top-p is of `total`, and off
 * where that is 0. */
static __device__ __forceinline__ bool stays(const laci_cu_choose &a, double before, double mass,
                                             double total)
{
    if (a.top_k > 0 && before >= a.top_k) return false;
    return !(total > 0) || before == 0 || !(mass / total > a.top_p);
}

/* Ids above a key: how many, and their mass. */
static __device__ void sum_above(const laci_cu_choose &a, const row_state &r, uint32_t key,
                                 double *n, double *mass)
{
    double count = 0, sum = 0;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS) {
        if (!counts(a, r, i) || key_of_logit(r.x[i]) <= key) continue;
        count += 1;
        sum += weight_of(r, r.x[i], r.temperature);
    }
    *n = sum_of_block(count);
    *mass = sum_of_block(sum);
}

/* Finds the last id that stays: the lowest logit whose first id does, then its last id. */
static __device__ void find_cut(const laci_cu_choose &a, row_state &r, double total)
{
    __shared__ unsigned ranks[32];
    __shared__ float lasts[32];
    uint32_t low = 0, high = key_of_logit(r.top); /* high stays; the answer is in [low, high] */
    double n, mass;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        sum_above(a, r, middle, &n, &mass);
        if (stays(a, n, mass, total))
            high = middle;
        else
            low = middle + 1;
    }
    sum_above(a, r, high, &n, &mass);
    float last = -1; /* ids are below 2^24: floats hold them */
    for (uint32_t first = 0, seen = 0, total_here; first < a.n_vocab;
         first += THREADS, seen += total_here) {
        const uint32_t id = first + threadIdx.x;
        const bool equal = id < a.n_vocab && counts(a, r, id) && key_of_logit(r.x[id]) == high;
        const uint32_t rank = seen + block_rank(equal, ranks, &total_here);
        if (!equal) continue;
        const double own = weight_of(r, r.x[id], r.temperature);
        if (stays(a, n + rank, mass + rank * own, total)) last = (float)id;
    }
    last = block_max(last, lasts);
    if (last < 0) return; /* nothing to choose from, or nothing is cut */
    r.is_cut = true;
    r.cut_key = high;
    r.cut_id = (uint32_t)last;
}

/* Top-p of the whole row beside top-k, or of what top-k leaves. */
static __device__ void filter(const laci_cu_choose &a, row_state &r)
{
    const bool by_mass = a.top_p > 0 && a.top_p < 1;
    if (!by_mass && !a.top_k) return;
    if (by_mass && a.top_k && a.top_k_first) find_cut(a, r, 0);
    const double total = by_mass ? mass_of(a, r, r.temperature) : 0;
    r.is_cut = false;
    find_cut(a, r, total);
}

/* ------------------------------------------------------------------ choosing */

struct candidate {
    double score;
    int32_t id;
};

/* The better of two: higher score, of equals the lower id; none = -1. */
static __device__ candidate better(candidate x, candidate y)
{
    if (y.id < 0) return x;
    if (x.id < 0 || y.score > x.score) return y;
    return y.score == x.score && y.id < x.id ? y : x;
}

static __device__ candidate best_of_block(candidate x)
{
    __shared__ candidate best[THREADS];
    __syncthreads();
    best[threadIdx.x] = x;
    __syncthreads();
    for (unsigned n = THREADS / 2; n > 0; n /= 2) {
        if (threadIdx.x < n) best[threadIdx.x] = better(best[threadIdx.x], best[threadIdx.x + n]);
        __syncthreads();
    }
    return best[0];
}

/* The most probable id, or with a temperature of logits and Gumbel noise. */
static __device__ int32_t best_id(const laci_cu_choose &a, const row_state &r)
{
    candidate mine = { 0, -1 };
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS) {
        if (!(r.x[i] > NOTHING) || !is_kept(a, r, i)) continue;
        double score = (double)r.x[i];
        if (a.temperature > 0)
            score += a.temperature * -log(-log(laci_rng_unit(a.keys[blockIdx.x], i)));
        const candidate c = { score, (int32_t)i };
        mine = better(mine, c);
    }
    return best_of_block(mine).id;
}

/* The first id, in id order, whose running mass exceeds the draw: each thread has a run of ids. */
static __device__ int32_t drawn_id(const laci_cu_choose &a, const row_state &r)
{
    __shared__ double ends[THREADS]; /* running mass after each thread's ids */
    const uint32_t run = (a.n_vocab + THREADS - 1) / THREADS;
    const uint32_t begin = threadIdx.x * run;
    const uint32_t end = begin + run < a.n_vocab ? begin + run : a.n_vocab;
    double own = 0;
    for (uint32_t i = begin; i < end; i++)
        if (is_kept(a, r, i)) own += weight_of(r, r.x[i], r.temperature);
    ends[threadIdx.x] = own;
    __syncthreads();
    if (threadIdx.x == 0)
        for (uint32_t i = 1; i < THREADS; i++)
            ends[i] += ends[i - 1];
    __syncthreads();
    const double target = laci_rng_unit(a.keys[blockIdx.x], 0) * ends[THREADS - 1];
    double running = threadIdx.x ? ends[threadIdx.x - 1] : 0;
    candidate mine = { 0, -1 };
    /* of runs that hold the draw the first is best, and any is better than the last id of all */
    const bool here = ends[threadIdx.x] > target && !(running > target);
    for (uint32_t i = begin; i < end; i++) {
        if (!is_kept(a, r, i)) continue;
        const double weight = weight_of(r, r.x[i], r.temperature);
        running += weight;
        if (weight > 0) mine.id = (int32_t)i, mine.score = here ? 1 : -1.0 / (1 + i);
        if (here && running > target) break;
    }
    return best_of_block(mine).id;
}

/* ------------------------------------------------------------------ confidence */

/* The probability as a bf16 softmax of bf16 logits yields it (LLaDA's published rounding). */
static __device__ float rounded_bf16(float x)
{
    bf16_t y;
    put(&y, x);
    return get(y);
}

static __device__ double bf16_probability(const laci_cu_choose &a, const row_state &r, int32_t id)
{
    const double top = (double)rounded_bf16(r.top);
    double sum = 0;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS)
        if (counts(a, r, i)) sum += exp((double)rounded_bf16(r.x[i]) - top);
    sum = sum_of_block(sum);
    const double own = exp((double)rounded_bf16(r.x[id]) - top);
    return (double)rounded_bf16((float)(own / sum));
}

/* Best minus second of the kept ids. */
static __device__ double margin_of(const laci_cu_choose &a, const row_state &r, double mass)
{
    __shared__ float tops[32];
    float second = NOTHING;
    double n_best = 0;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS) {
        if (!is_kept(a, r, i)) continue;
        if (r.x[i] == r.top)
            n_best += 1;
        else if (r.x[i] > second)
            second = r.x[i];
    }
    second = block_max(second, tops);
    if (sum_of_block(n_best) > 1) second = r.top;
    return (1.0 - weight_of(r, second, r.temperature)) / mass;
}

static __device__ double entropy_of(const laci_cu_choose &a, const row_state &r, double mass)
{
    double sum = 0;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS) {
        if (!is_kept(a, r, i)) continue;
        const double p = weight_of(r, r.x[i], r.temperature) / mass;
        sum += p * log(p + 1e-10);
    }
    return sum_of_block(sum);
}

/* Largest logit of the ids that count. */
static __device__ float top_of(const laci_cu_choose &a, const row_state &r)
{
    __shared__ float tops[32];
    float top = NOTHING;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS)
        if (r.x[i] > top && counts(a, r, i)) top = r.x[i];
    return block_max(top, tops);
}

static __device__ double confidence_of(const laci_cu_choose &a, row_state r, int32_t id)
{
    if (is_unranked(a, (uint32_t)id)) return a.confidence == LACI_CU_ENTROPY ? (double)NOTHING : 0;
    if (a.n_unranked) {
        r.is_judged = true;
        r.top = top_of(a, r);
    }
    if (a.confidence == LACI_CU_MODEL) {
        r.is_cut = false;
        if (a.bf16_confidence) return bf16_probability(a, r, id);
        return weight_of(r, r.x[id], 1) / mass_of(a, r, 1);
    }
    const double mass = mass_of(a, r, r.temperature);
    if (a.confidence == LACI_CU_MARGIN) return margin_of(a, r, mass);
    if (a.confidence == LACI_CU_ENTROPY) return entropy_of(a, r, mass);
    return weight_of(r, r.x[id], r.temperature) / mass;
}

/* ------------------------------------------------------------------ a row */

/* Whether a number is NaN or an infinity: all bits of its exponent are set. */
static __device__ __forceinline__ bool is_odd(float x)
{
    return (__float_as_uint(x) & 0x7f800000u) == 0x7f800000u;
}

/* Tops of the whole row, returned, and of the ids that may be chosen, into r; whether all of the
 * row is finite, into `broken`. */
static __device__ float find_tops(const laci_cu_choose &a, row_state &r, bool *broken)
{
    __shared__ float tops[32];
    float whole = NOTHING, top = NOTHING, odd = 0;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS) {
        if (r.x[i] > whole) whole = r.x[i];
        if (r.x[i] > top && is_allowed(a, i)) top = r.x[i];
        if (is_odd(r.x[i])) odd = 1;
    }
    r.top = block_max(top, tops);
    *broken = block_max(odd, tops) > 0;
    return block_max(whole, tops);
}

static __global__ void choose_rows(const laci_cu_choose a)
{
    row_state r = { a.logits + (size_t)blockIdx.x * a.n_vocab, 0, 1, false, 0, 0, false };
    if (a.temperature > 0) r.temperature = a.temperature;
    bool broken;
    const float whole_top = find_tops(a, r, &broken);
    double whole = 0;
    for (uint32_t i = threadIdx.x; i < a.n_vocab; i += THREADS)
        whole += exp((double)r.x[i] - (double)whole_top);
    whole = sum_of_block(whole);
    int32_t id = -1;
    double confidence = 0;
    if (r.top > NOTHING) {
        filter(a, r);
        id = a.temperature > 0 && a.categorical ? drawn_id(a, r) : best_id(a, r);
        if (id >= 0) confidence = confidence_of(a, r, id);
    }
    if (threadIdx.x > 0) return;
    a.ids[blockIdx.x] = id;
    a.broken[blockIdx.x] = broken;
    a.numbers[2 * blockIdx.x] = id < 0 ? 0 : (double)r.x[id] - (double)whole_top - log(whole);
    a.numbers[2 * blockIdx.x + 1] = confidence;
}

static void choose(void *stream, const laci_cu_choose *a)
{
    LACI_LAUNCH(choose_rows, a->n, THREADS, 0, stream, *a);
}

void LACI_CU_NAME(fill_choose)(laci_cu_api *api)
{
    api->choose = choose;
}
