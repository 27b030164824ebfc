/* sm90_parts.h: counted barriers, bulk copies and products of four warps; a part of emulator.cpp,
 * whose state it uses. See sm90.h. */

/* ------------------------------------------------------------------ addresses */

enum { SHARED_BEGIN = 128, GROUP_LANES = 128 };

uint32_t shared_offset(const void *p)
{
    return (uint32_t)(static_cast<const char *>(p) - dynamic_shared()) + SHARED_BEGIN;
}

char *shared_pointer(uint32_t offset)
{
    const size_t at = offset - SHARED_BEGIN;
    if (offset < SHARED_BEGIN || at + 128 >= shared_memory.size()) stop("outside shared memory");
    return dynamic_shared() + at;
}

/* Where hardware puts what belongs at an address, in the swizzle of 128 bytes. */
static uint32_t swizzled(uint32_t address)
{
    return address ^ (address >> 7 & 7) << 4;
}

/* ------------------------------------------------------------------ barriers */

static counted_barrier &barrier_at(uint64_t *at)
{
    for (counted_barrier &b : counted)
        if (b.at == at) return b;
    stop("a barrier that was not initialised");
}

void barrier_init(uint64_t *at, uint32_t count)
{
    if ((uintptr_t)at % 8) stop("a barrier off its alignment");
    for (const counted_barrier &b : counted)
        if (b.at == at) stop("a barrier is initialised twice");
    counted.push_back({ at, count, count, 0, 0, {} });
}

static void finish_phase(counted_barrier &b)
{
    if (b.pending || b.bytes) return;
    b.pending = b.count;
    b.phase++;
}

void barrier_arrive(uint64_t *at, uint32_t bytes)
{
    counted_barrier &b = barrier_at(at);
    if (!b.pending) stop("more arrivals than a barrier counts");
    b.bytes += bytes;
    b.pending--;
    finish_phase(b);
}

/* Brings one box: keys or channels outside the tensor are zero. */
static void deliver(const box_copy &c)
{
    const tensor_map &m = c.map;
    const uint32_t to = shared_offset(c.to);
    for (uint32_t j = 0; j < 64; j++)
        for (uint32_t i = 0; i < 64; i++) {
            const uint64_t key = (uint64_t)c.key + j, channel = (uint64_t)c.channel + i;
            uint16_t x = 0;
            if (key < m.n_keys && channel < m.d && c.head < m.n_heads)
                memcpy(&x, m.data + c.head * m.head_bytes + key * m.row_bytes + channel * 2, 2);
            memcpy(shared_pointer(swizzled(to + j * 128 + i * 2)), &x, 2);
        }
}

/* Copies arrive as late as this: nothing but their bytes is missing, and a thread waits. */
static bool is_complete(counted_barrier &b, uint32_t parity)
{
    if ((b.phase & 1) != parity) return true;
    if (b.pending) return false;
    for (const box_copy &c : b.copies) {
        deliver(c);
        b.bytes -= 64 * 128;
    }
    b.copies.clear();
    finish_phase(b);
    return (b.phase & 1) != parity;
}

void barrier_wait(uint64_t *at, uint32_t parity)
{
    while (!is_complete(barrier_at(at), parity)) {
        fibers[current].counted = at;
        fibers[current].parity = parity;
        yield(AT_COUNTED);
    }
}

static bool release_counted(size_t n)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        fiber &f = fibers[i];
        if (f.at != AT_COUNTED || !is_complete(barrier_at(f.counted), f.parity)) continue;
        f.at = READY;
        any = true;
    }
    return any;
}

void named_barrier(uint32_t id, size_t n)
{
    if (!id || id > 15 || n != GROUP_LANES) stop("an odd barrier of some threads");
    fibers[current].named = id;
    yield(AT_NAMED);
}

static bool release_named(size_t n)
{
    size_t waiting[16] = { 0 };
    bool any = false;
    for (size_t i = 0; i < n; i++)
        if (fibers[i].at == AT_NAMED) waiting[fibers[i].named]++;
    for (size_t i = 0; i < n; i++) {
        if (fibers[i].at != AT_NAMED || waiting[fibers[i].named] != GROUP_LANES) continue;
        fibers[i].at = READY;
        any = true;
    }
    return any;
}

/* ------------------------------------------------------------------ copies */

void copy_box(void *to, const tensor_map &map, uint64_t *at, uint32_t channel, uint32_t key,
              uint32_t head)
{
    counted_barrier &b = barrier_at(at);
    if (shared_offset(to) % 1024) stop("a box off its alignment");
    (void)shared_pointer(shared_offset(to) + 64 * 128 - 1);
    memset(to, 0xff, 64 * 128);
    const box_copy c = { static_cast<char *>(to), map, channel, key, head };
    if (laci_emulator_boxes++ / 3 % 2) { /* some are late, some early */
        b.copies.push_back(c);
        return;
    }
    deliver(c);
    b.bytes -= 64 * 128;
    finish_phase(b);
}

/* ------------------------------------------------------------------ products */

/* A descriptor of a matrix: bits 0-13 address, 16-29 lead, 32-45 stride, all / 16; 49-51 offset of
 * the pattern, 62-63 swizzle. */
struct matrix {
    uint32_t address, lead, stride;
};

static matrix decoded(uint64_t bits)
{
    if (bits >> 62 != 1 || bits >> 46 & 0xffff || bits >> 30 & 3 || bits >> 14 & 3)
        stop("a descriptor of another kind");
    const matrix m = { (uint32_t)(bits & 0x3fff) * 16, (uint32_t)(bits >> 16 & 0x3fff) * 16,
                       (uint32_t)(bits >> 32 & 0x3fff) * 16 };
    if (m.address >> 7 & 7) stop("a matrix that begins inside a pattern");
    return m;
}

static float element(uint32_t address)
{
    uint16_t x;
    memcpy(&x, shared_pointer(swizzled(address)), 2);
    return half_of(x, 0);
}

/* Row r, channel k of a matrix by rows ("K-major"). */
static float by_rows(const matrix &m, unsigned r, unsigned k)
{
    return element(m.address + r / 8 * m.stride + r % 8 * 128 + k * 2);
}

/* Row k, column n of a matrix whose rows are the sum's index ("MN-major"). */
static float by_columns(const matrix &m, unsigned k, unsigned n)
{
    return element(m.address + n / 64 * m.lead + n % 64 * 2 + k / 8 * m.stride + k % 8 * 128);
}

void products_begin()
{
    (void)exchange("wgmma.fence", "", 0);
    fibers[current].fenced = true;
}

static bool is_under_way(const fiber &f, const float (*c)[4])
{
    for (const saved_sums &s : f.saved)
        if (s.c == c) return true;
    return false;
}

/* The lane's rows of a left factor in registers: fragments of the four lanes of its quad. */
static void gather_left(product_job &job, const slot *slots)
{
    const unsigned quad = lane() / 4 * 4;
    for (unsigned half = 0; half < 2; half++)
        for (unsigned k = 0; k < 16; k++) {
            uint32_t a[4];
            memcpy(a, slots[quad + k % 8 / 2].bytes, sizeof a);
            job.left[half][k] = half_of(a[half + 2 * (k / 8)], k % 2);
        }
}

void product(float (*c)[4], unsigned n, const uint32_t *held, uint64_t a, uint64_t b)
{
    struct {
        uint32_t held[4];
        uint64_t a, b;
    } in = { { 0, 0, 0, 0 }, a, b };
    if (held) memcpy(in.held, held, sizeof in.held);
    const slot *slots = exchange("wgmma", &in, sizeof in);
    fiber &f = fibers[current];
    if (memcmp(slots[0].bytes + 16, &in.a, 16) != 0) stop("lanes with different descriptors");
    if (!f.fenced) stop("a product without a fence before it");
    product_job job = { c, n, held != NULL, {}, a, b, f.product_group };
    if (held) gather_left(job, slots);
    for (const product_job &other : f.products) /* in order only within one group */
        if (other.c == c && other.group != f.product_group) stop("sums of a group under way");
    f.products.push_back(job);
    f.n_products++;
    if (is_under_way(f, c)) return;
    f.saved.push_back({ c, std::vector<float>(&c[0][0], &c[0][0] + n / 2) });
    memset(c, 0xff, n / 2 * sizeof(float));
}

static void compute(const product_job &job, float *sums)
{
    const unsigned row = threadIdx.x % GROUP_LANES / LANES * 16 + lane() / 4;
    const matrix b = decoded(job.b);
    float left[2][16];
    memcpy(left, job.left, sizeof left);
    if (!job.is_held) {
        const matrix a = decoded(job.a);
        for (unsigned i = 0; i < 32; i++)
            left[i / 16][i % 16] = by_rows(a, row + i / 16 * 8, i % 16);
    }
    for (unsigned j = 0; j < job.n / 8; j++)
        for (unsigned e = 0; e < 2; e++) {
            const unsigned col = 8 * j + 2 * (lane() % 4) + e;
            for (unsigned k = 0; k < 16; k++) {
                const float x = job.is_held ? by_columns(b, k, col) : by_rows(b, col, k);
                sums[4 * j + e] += left[0][k] * x;
                sums[4 * j + 2 + e] += left[1][k] * x;
            }
        }
}

void products_commit()
{
    (void)exchange("wgmma.commit_group", "", 0);
    fibers[current].product_group++;
    fibers[current].fenced = false;
}

/* Computes what must be done, and gives fragments back that no product is left for. */
void products_wait(int n_left)
{
    (void)exchange("wgmma.wait_group", "", 0);
    fiber &f = fibers[current];
    size_t n = 0;
    for (; n < f.products.size() && f.products[n].group < f.product_group - n_left; n++)
        for (saved_sums &s : f.saved)
            if (s.c == f.products[n].c) compute(f.products[n], s.x.data());
    f.products.erase(f.products.begin(), f.products.begin() + (ptrdiff_t)n);
    std::vector<saved_sums> rest;
    for (const saved_sums &s : f.saved) {
        bool is_busy = false;
        for (const product_job &job : f.products)
            is_busy = is_busy || job.c == s.c;
        if (is_busy)
            rest.push_back(s);
        else
            memcpy(s.c, s.x.data(), s.x.size() * sizeof(float));
    }
    f.saved.swap(rest);
}

/* All warps of a group took part in the same products, and waited for them. */
static void check_products(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!fibers[i].products.empty()) stop("a product that nobody waited for");
        if (fibers[i].n_products != fibers[i / GROUP_LANES * GROUP_LANES].n_products)
            stop("a product of some warps of a group");
    }
}
