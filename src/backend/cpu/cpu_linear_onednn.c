/* cpu_linear_onednn.c: matrix products by oneDNN 2.x, weights reordered once into the library's own
 * layout. The only file that knows oneDNN. Primitives are compiled at load for one thread and for
 * row counts 16, 32, ..., 128, so nothing is compiled inside the denoising loop. Scratchpads are
 * the caller's. The library divides its work by OpenMP, and asks for the number of threads when it
 * runs as well; every call from here is held to the calling thread, and the threads that divide the
 * work are those of cpu_team.h.
 *
 * A matrix is a grid of panels of at most COLS columns by DEPTH inputs. The library cuts longer
 * sums into parts by rules that depend on the number of rows, so a row's result would depend on its
 * company; up to DEPTH it never does (a test compares bits), and panels are added in order. The
 * library's fast products take no strides, so inputs of longer sums are packed panel by panel, and
 * the columns of a slab are gathered before they are put into rows.
 *
 * Where the processor has no bf16 products, which the library then emulates slowly or refuses, bf16
 * activations are widened panel by panel and multiplied in f32 by weights rounded to bf16: the same
 * numbers up to the order of sums.
 */
#include <dnnl.h>
#include <omp.h>
#include <stdatomic.h>

#include "backend/cpu/cpu_linear.h"
#include "base/error.h"
#include "kernels/attend.h"
#include "kernels/isa.h"

enum {
    COLS = 512,   /* columns of a panel at most; a multiple of 64 */
    DEPTH = 1024, /* inputs of a panel at most */
    N_VARIANTS = LACI_LINEAR_ROWS / LACI_ROW_PAD,
    CODE_ROOM = 16 << 20, /* addresses the library takes at most to compile a primitive, 256 KiB for
                             each of its kernels; where it gets none, it writes to address 0 */
};

/* Compiled products of [rows, n_in] by one panel [n_in, n_cols], rows = 16, 32, ... */
typedef struct shape shape;
struct shape {
    shape *next;
    size_t n_cols, n_in;
    laci_dtype act;
    bool accumulate; /* adds to y: every panel of a column but the first */
    dnnl_memory_desc_t x[N_VARIANTS], y[N_VARIANTS], scratch[N_VARIANTS];
    dnnl_memory_desc_t weights; /* packed layout, the same for every variant */
    dnnl_primitive_t run[N_VARIANTS];
};

/* What the matrices of one backend share. */
typedef struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    shape *first;
    size_t scratch_bytes; /* largest over all shapes */
    size_t packed_bytes;  /* longest packed row of inputs; 0 = none is packed */
    size_t slab_cols;     /* widest slab of several; 0 = all matrices are one slab */
    bool has_bf16;        /* the library multiplies bf16 on this processor */
} shapes_list;

/* One panel of weights, packed. */
typedef struct {
    const shape *shape;   /* borrowed */
    void *packed;         /* owned */
    dnnl_memory_t memory; /* handle around packed, owned */
} panel;

typedef struct {
    laci_linear base;   /* base.n_slabs panels across columns */
    size_t cols, depth; /* of a whole panel */
    size_t n_deep;      /* panels along inputs */
    laci_dtype act;     /* type of the inputs */
    laci_dtype type;    /* type of the products: act, or f32 where the library lacks bf16 */
    const shapes_list *shapes;
    panel *panels; /* [n_slabs, n_deep] owned */
} onednn_linear;

/* Its products of f32 below AVX-512 add in another order where there are other rows. */
static bool rows_stand_alone(void)
{
    return (laci_isa_detect() & LACI_ISA_AVX512) != 0;
}

static size_t runtime_bytes(void)
{
    return (size_t)5000 * 1024; /* peak resident size minus what the plan counted, bundled model */
}

/* OpenMP's number of threads belongs to the calling thread: taken down to 1 around the library's
 * work, and put back, for the caller may use OpenMP too. */
static int alone_begin(void)
{
    const int n_threads = omp_get_max_threads();
    if (n_threads != 1) omp_set_num_threads(1);
    return n_threads;
}

static void alone_end(int n_threads)
{
    if (n_threads != 1) omp_set_num_threads(n_threads);
}

static dnnl_data_type_t type_of(laci_dtype act)
{
    return act == LACI_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* Size of each part when n is cut into equal shares of at most `most`, rounded up to `unit`. */
static size_t share_of(size_t n, size_t most, size_t unit)
{
    const size_t n_parts = (n + most - 1) / most;
    return ((n + n_parts - 1) / n_parts + unit - 1) / unit * unit;
}

/* Length of part i. */
static size_t part_of(size_t n, size_t share, size_t i)
{
    return n - i * share < share ? n - i * share : share;
}

/* Caller's scratchpad; and y += where the panel is not the first of its columns. */
static dnnl_status_t make_attr(dnnl_primitive_attr_t *out, bool accumulate)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t st = dnnl_primitive_attr_create(out);
    if (!st) st = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (st || !accumulate) return st;
    st = dnnl_post_ops_create(&ops);
    if (!st) st = dnnl_post_ops_append_sum(ops, 1.0f);
    if (!st) st = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    return st;
}

/* Compiles the variant for (i + 1) * LACI_ROW_PAD rows. The largest chooses the packed layout, the
 * others must take it. */
static dnnl_status_t compile(shape *s, int i, bool choose_layout, dnnl_engine_t engine)
{
    const dnnl_dim_t rows = (dnnl_dim_t)(i + 1) * LACI_ROW_PAD;
    const dnnl_dim_t n_in = (dnnl_dim_t)s->n_in, n_cols = (dnnl_dim_t)s->n_cols;
    const dnnl_dims_t x_dims = { rows, n_in }, w_dims = { n_in, n_cols }, y_dims = { rows, n_cols };
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_matmul_desc_t desc;
    if (!laci_has_room(CODE_ROOM, 0)) return dnnl_out_of_memory;
    dnnl_status_t st = dnnl_memory_desc_init_by_tag(&s->x[i], 2, x_dims, type_of(s->act), dnnl_ab);
    if (!st) st = dnnl_memory_desc_init_by_tag(&s->y[i], 2, y_dims, dnnl_f32, dnnl_ab);
    if (!st && choose_layout)
        st = dnnl_memory_desc_init_by_tag(&s->weights, 2, w_dims, type_of(s->act),
                                          dnnl_format_tag_any);
    if (!st) st = dnnl_matmul_desc_init(&desc, &s->x[i], &s->weights, NULL, &s->y[i]);
    if (!st) st = make_attr(&attr, s->accumulate);
    if (!st) st = dnnl_primitive_desc_create(&pd, &desc, attr, engine, NULL);
    if (!st) {
        s->scratch[i] = *dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        if (choose_layout) s->weights = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
        st = dnnl_primitive_create(&s->run[i], pd);
    }
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return st;
}

static void free_shape(shape *s, const lac_allocator *mem)
{
    if (!s) return;
    for (int i = 0; i < N_VARIANTS; i++)
        if (s->run[i]) dnnl_primitive_destroy(s->run[i]);
    laci_release(mem, s);
}

/* Compiles all variants, for one thread: tiles are what threads share. */
static dnnl_status_t compile_all(shape *s, dnnl_engine_t engine)
{
    dnnl_status_t st = dnnl_success;
    for (int i = N_VARIANTS; i-- > 0 && !st;)
        st = compile(s, i, i == N_VARIANTS - 1, engine);
    return st;
}

/* The compiled shape like `want`, made if there is none yet. */
static lac_status shape_get(const shape **out, shapes_list *shapes, const shape *want,
                            const lac_allocator *mem, lac_error *err)
{
    for (const shape *s = shapes->first; s; s = s->next) {
        if (s->n_cols == want->n_cols && s->n_in == want->n_in && s->act == want->act &&
            s->accumulate == want->accumulate) {
            *out = s;
            return LAC_OK;
        }
    }
    shape *s = laci_alloc_zero(mem, sizeof *s);
    if (!s) return laci_fail_memory(err, "a matrix product", sizeof *s);
    *s = *want;
    const dnnl_status_t st = compile_all(s, shapes->engine);
    if (st) {
        free_shape(s, mem);
        if (st == dnnl_out_of_memory)
            return laci_fail_memory(err, "the code of a matrix product", CODE_ROOM);
        return laci_fail(err, LAC_EINTERNAL, 0,
                         "oneDNN cannot compile a %zu x %zu product (status %d)", want->n_in,
                         want->n_cols, (int)st);
    }
    for (int i = 0; i < N_VARIANTS; i++) {
        const size_t size = dnnl_memory_desc_get_size(&s->scratch[i]);
        if (size > shapes->scratch_bytes) shapes->scratch_bytes = size;
    }
    s->next = shapes->first;
    shapes->first = s;
    *out = s;
    return LAC_OK;
}

/* Whether a small bf16 product compiles. */
static bool probe_bf16(dnnl_engine_t engine)
{
    shape probe = { .n_cols = 64, .n_in = 64, .act = LACI_BF16 };
    const bool works = !compile(&probe, 0, true, engine);
    if (probe.run[0]) dnnl_primitive_destroy(probe.run[0]);
    return works;
}

/* Holds the library to the level of our own kernels where the user chose one. It listens only once
 * in a process. */
static void narrow_library(void)
{
    static const struct {
        unsigned level;
        dnnl_cpu_isa_t isa;
    } caps[] = {
        { LACI_ISA_AMX, dnnl_cpu_isa_all },
        { LACI_ISA_AVX512_BF16, dnnl_cpu_isa_avx512_core_bf16 },
        { LACI_ISA_AVX512, dnnl_cpu_isa_avx512_core },
        { LACI_ISA_AVX2, dnnl_cpu_isa_avx2 },
        { 0, dnnl_cpu_isa_sse41 },
    };
    const unsigned isa = laci_isa_detect();
    size_t i = 0;
    while (caps[i].level && !(isa & caps[i].level))
        i++;
    if (laci_isa_is_narrowed()) (void)dnnl_set_max_cpu_isa(caps[i].isa);
}

static void free_common(void *common, const lac_allocator *mem)
{
    shapes_list *shapes = common;
    while (shapes->first) {
        shape *s = shapes->first;
        shapes->first = s->next;
        free_shape(s, mem);
    }
    if (shapes->stream) dnnl_stream_destroy(shapes->stream);
    if (shapes->engine) dnnl_engine_destroy(shapes->engine);
    laci_release(mem, shapes);
}

static lac_status shapes_new(void **out, const lac_allocator *mem, lac_error *err)
{
    shapes_list *shapes = laci_alloc_zero(mem, sizeof *shapes);
    if (!shapes) return laci_fail_memory(err, "oneDNN", sizeof *shapes);
    if (!laci_has_room(CODE_ROOM, 0)) { /* the probe below would take that for another processor */
        laci_release(mem, shapes);
        return laci_fail_memory(err, "the code of a matrix product", CODE_ROOM);
    }
    narrow_library();
    dnnl_status_t st = dnnl_engine_create(&shapes->engine, dnnl_cpu, 0);
    if (!st) st = dnnl_stream_create(&shapes->stream, shapes->engine, dnnl_stream_default_flags);
    if (st) {
        free_common(shapes, mem);
        return laci_fail(err, LAC_EINTERNAL, 0, "oneDNN does not start (status %d)", (int)st);
    }
    shapes->has_bf16 = (laci_isa_detect() & LACI_ISA_AVX512_BF16) && probe_bf16(shapes->engine);
    *out = shapes;
    return LAC_OK;
}

/* Takes the memory of one panel. */
static lac_status take_panel(onednn_linear *linear, panel *p, const lac_allocator *mem,
                             lac_error *err)
{
    const size_t size = dnnl_memory_desc_get_size(&p->shape->weights);
    p->packed = laci_alloc_aligned(mem, size);
    if (!p->packed) return laci_fail_memory(err, "packed weights", size);
    if (!laci_has_room(CODE_ROOM, 0))
        return laci_fail_memory(err, "code that packs weights", CODE_ROOM);
    return dnnl_memory_create(&p->memory, &p->shape->weights, linear->shapes->engine, p->packed)
               ? laci_fail_memory(err, "packed weights", size)
               : LAC_OK;
}

/* Packs one panel: rows of W (columns of the product) as f32, n_in apart, reordered and rounded by
 * oneDNN. */
static dnnl_status_t pack_panel(const onednn_linear *linear, const panel *p, float *rows)
{
    const shape *s = p->shape;
    const dnnl_dims_t dims = { (dnnl_dim_t)s->n_in, (dnnl_dim_t)s->n_cols };
    const dnnl_dims_t strides = { 1, (dnnl_dim_t)linear->base.n_in };
    dnnl_engine_t engine = linear->shapes->engine;
    dnnl_memory_desc_t plain;
    dnnl_memory_t source = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_status_t st = dnnl_memory_desc_init_by_strides(&plain, 2, dims, dnnl_f32, strides);
    if (!st) st = dnnl_memory_create(&source, &plain, engine, rows);
    if (!st)
        st = dnnl_reorder_primitive_desc_create(&pd, &plain, engine, &s->weights, engine, NULL);
    if (!st) st = dnnl_primitive_create(&reorder, pd);
    if (!st) {
        const dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, source }, { DNNL_ARG_TO, p->memory } };
        st = dnnl_primitive_execute(reorder, linear->shapes->stream, 2, args);
    }
    if (!st) st = dnnl_stream_wait(linear->shapes->stream);
    if (reorder) dnnl_primitive_destroy(reorder);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (source) dnnl_memory_destroy(source);
    return st;
}

/* The panels of a slab, from its rows. */
typedef struct {
    const onednn_linear *linear;
    size_t slab;
    float *rows;
    atomic_int status;
} pack_job;

static void pack_panels(void *job, size_t begin, size_t end, int thread)
{
    pack_job *j = job;
    const int n_threads = alone_begin();
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const dnnl_status_t st =
            pack_panel(j->linear, &j->linear->panels[j->slab * j->linear->n_deep + i],
                       j->rows + i * j->linear->depth);
        if (st) atomic_store(&j->status, (int)st);
    }
    alone_end(n_threads);
}

/* Compiles what the panels of slab `slab` need and packs them from its rows. */
static lac_status pack_slab(onednn_linear *linear, const laci_linear_maker *maker, size_t slab,
                            float *rows, lac_error *err)
{
    lac_status st = LAC_OK;
    for (size_t i = 0; i < linear->n_deep && !st; i++) {
        panel *p = &linear->panels[slab * linear->n_deep + i];
        const shape want = { .n_cols = part_of(linear->base.n_out, linear->cols, slab),
                             .n_in = part_of(linear->base.n_in, linear->depth, i),
                             .act = linear->type,
                             .accumulate = i > 0 };
        st = shape_get(&p->shape, *maker->common, &want, &maker->mem, err);
        if (!st) st = take_panel(linear, p, &maker->mem, err);
    }
    pack_job job = { linear, slab, rows, 0 };
    if (!st) laci_team_run(maker->team, linear->n_deep, 1, pack_panels, &job);
    const int status = atomic_load(&job.status);
    if (!status) return st;
    return laci_fail(err, status == dnnl_out_of_memory ? LAC_ENOMEM : LAC_EINTERNAL, 0,
                     "oneDNN cannot pack weights (status %d)", status);
}

/* Reads rows slab by slab and packs them. `rows` has room for a slab. */
static lac_status pack_all(onednn_linear *linear, const laci_linear_maker *maker,
                           laci_row_source source, float *rows, lac_error *err)
{
    const bool starts = linear->n_deep > 1 && !laci_team_is_started(maker->team);
    lac_status st = starts ? laci_team_start(maker->team, err) : LAC_OK;
    for (size_t i = 0; i < linear->base.n_slabs && !st; i++) {
        const size_t n_rows = part_of(linear->base.n_out, linear->cols, i);
        source.read(source.user, i * linear->cols, n_rows, rows);
        for (size_t k = 0; linear->type != linear->act && k < n_rows * linear->base.n_in; k++)
            rows[k] = laci_bf16_to_f32(laci_f32_to_bf16(rows[k]));
        st = pack_slab(linear, maker, i, rows, err);
    }
    if (starts) laci_team_stop(maker->team);
    return st;
}

/* What scratch depends on. */
static void note_sizes(const onednn_linear *linear, shapes_list *shapes)
{
    const size_t bytes = linear->base.packs ? linear->base.row_bytes : 0;
    const size_t cols = linear->base.n_slabs > 1 ? linear->cols : 0;
    if (bytes > shapes->packed_bytes) shapes->packed_bytes = bytes;
    if (cols > shapes->slab_cols) shapes->slab_cols = cols;
}

static void free_linear(laci_linear *matrix, const lac_allocator *mem)
{
    onednn_linear *linear = (onednn_linear *)matrix;
    if (!linear) return;
    for (size_t i = 0; linear->panels && i < matrix->n_slabs * linear->n_deep; i++) {
        if (linear->panels[i].memory) dnnl_memory_destroy(linear->panels[i].memory);
        laci_release_aligned(mem, linear->panels[i].packed);
    }
    laci_release(mem, linear->panels);
    laci_release(mem, linear);
}

/* How the matrix is cut; no memory yet. */
static onednn_linear cut(size_t n_out, size_t n_in, laci_dtype act, const shapes_list *shapes)
{
    onednn_linear linear = { .base = { &laci_linear_onednn, n_out, n_in, 0, 0, false },
                             .cols = share_of(n_out, COLS, 64),
                             .depth = share_of(n_in, DEPTH, 2),
                             .act = act,
                             .type = act == LACI_BF16 && shapes->has_bf16 ? LACI_BF16 : LACI_F32,
                             .shapes = shapes };
    linear.n_deep = (n_in + linear.depth - 1) / linear.depth;
    linear.base.n_slabs = (n_out + linear.cols - 1) / linear.cols;
    linear.base.row_bytes = n_in * laci_act_bytes(linear.type);
    linear.base.packs = linear.n_deep > 1 || linear.type != linear.act;
    return linear;
}

static lac_status linear_new(laci_linear **out, const laci_linear_maker *maker, size_t n_out,
                             size_t n_in, laci_row_source source, lac_error *err)
{
    const lac_allocator *mem = &maker->mem;
    lac_status st = *maker->common ? LAC_OK : shapes_new(maker->common, mem, err);
    if (st) return st;
    const onednn_linear whole = cut(n_out, n_in, maker->act, *maker->common);
    const size_t n_panels = whole.base.n_slabs * whole.n_deep;
    float *rows = laci_alloc_array(mem, whole.cols * sizeof *rows, n_in);
    onednn_linear *linear = laci_alloc_zero(mem, sizeof *linear);
    if (!rows || !linear) {
        st = laci_fail_memory(err, "a weight matrix", whole.cols * n_in * sizeof *rows);
        goto done;
    }
    *linear = whole;
    note_sizes(linear, *maker->common);
    linear->panels = laci_alloc_zero(mem, n_panels * sizeof *linear->panels);
    st = linear->panels ? pack_all(linear, maker, source, rows, err)
                        : laci_fail_memory(err, "a weight matrix", n_panels * sizeof(panel));
done:
    laci_release(mem, rows);
    if (st)
        free_linear((laci_linear *)linear, mem);
    else
        *out = &linear->base;
    return st;
}

static lac_status make(laci_linear **out, const laci_linear_maker *maker, size_t n_out, size_t n_in,
                       laci_row_source source, lac_error *err)
{
    const int n_threads = alone_begin();
    const lac_status st = linear_new(out, maker, n_out, n_in, source, err);
    alone_end(n_threads);
    return st;
}

/* The packed layouts pad columns to 64 and pairs of inputs; the exact size is the library's, this
 * is the same arithmetic. */
static size_t matrix_bytes(laci_dtype act, size_t n_out, size_t n_in)
{
    const size_t n_cols = (n_out + 63) / 64 * 64;
    return act == LACI_BF16 ? n_cols * ((n_in + 1) / 2 * 2) * 2 : n_cols * n_in * 4;
}

static size_t whole_rows(size_t n)
{
    return (n + LACI_ROW_PAD - 1) / LACI_ROW_PAD * LACI_ROW_PAD;
}

/* Of a thread: outputs of a slab, then the library's scratchpad. */
static laci_scratch_size scratch_need(const void *common, size_t n_rows)
{
    const shapes_list *shapes = common;
    const bool few = n_rows && n_rows < LACI_LINEAR_GROUP;
    const size_t rows = few ? whole_rows(n_rows) : LACI_LINEAR_GROUP;
    return (laci_scratch_size){ .per_thread = rows * shapes->slab_cols * sizeof(float) +
                                              shapes->scratch_bytes,
                                .shared = rows * shapes->packed_bytes };
}

/* Inputs of one panel after another, of the type of the product. */
static void pack(const laci_linear *matrix, const void *x, size_t n, void *out)
{
    const onednn_linear *linear = (const onednn_linear *)matrix;
    const size_t size = laci_act_bytes(linear->act), wide = laci_act_bytes(linear->type);
    const size_t n_rows = whole_rows(n);
    char *to = out;
    for (size_t i = 0; i < linear->n_deep; i++) {
        const size_t n_in = linear->panels[i].shape->n_in;
        for (size_t r = 0; r < n_rows; r++, to += n_in * wide) {
            const char *from = (const char *)x + (r * linear->base.n_in + i * linear->depth) * size;
            if (linear->type == linear->act)
                memcpy(to, from, n_in * size);
            else
                laci_dtype_to_f32(LACI_BF16, from, n_in, (float *)(void *)to);
        }
    }
}

static dnnl_status_t run_panel(const onednn_linear *linear, const panel *p, size_t variant,
                               const void *x, float *y, void *scratch)
{
    const shape *s = p->shape;
    dnnl_engine_t engine = linear->shapes->engine;
    dnnl_memory_t x_memory = NULL, y_memory = NULL, scratch_memory = NULL;
    dnnl_status_t st = dnnl_memory_create(&x_memory, &s->x[variant], engine, (void *)(uintptr_t)x);
    if (!st) st = dnnl_memory_create(&y_memory, &s->y[variant], engine, y);
    if (!st) st = dnnl_memory_create(&scratch_memory, &s->scratch[variant], engine, scratch);
    if (!st) {
        const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, x_memory },
                                         { DNNL_ARG_WEIGHTS, p->memory },
                                         { DNNL_ARG_DST, y_memory },
                                         { DNNL_ARG_SCRATCHPAD, scratch_memory } };
        st = dnnl_primitive_execute(s->run[variant], linear->shapes->stream, 4, args);
    }
    if (x_memory) dnnl_memory_destroy(x_memory);
    if (y_memory) dnnl_memory_destroy(y_memory);
    if (scratch_memory) dnnl_memory_destroy(scratch_memory);
    return st;
}

/* Tiles take turns at each panel, which stays near meanwhile. */
static bool run_slab(const onednn_linear *linear, const void *x, size_t n, size_t slab, float *y,
                     void *scratch)
{
    const size_t n_cols = part_of(linear->base.n_out, linear->cols, slab);
    const size_t bytes = linear->base.row_bytes;
    const bool direct = linear->base.n_slabs == 1;
    float *out = direct ? y : scratch;
    char *library = (char *)scratch + whole_rows(n) * linear->shapes->slab_cols * sizeof *y;
    for (size_t i = 0; i < linear->n_deep; i++) {
        const panel *p = &linear->panels[slab * linear->n_deep + i];
        for (size_t row = 0; row < n; row += LACI_LINEAR_ROWS) {
            const size_t left = part_of(n, LACI_LINEAR_ROWS, row / LACI_LINEAR_ROWS);
            const size_t n_rows = whole_rows(left); /* of the tile */
            const char *inputs = (const char *)x + row * bytes +
                                 i * linear->depth * n_rows * laci_act_bytes(linear->type);
            if (run_panel(linear, p, n_rows / LACI_ROW_PAD - 1, inputs, out + row * n_cols,
                          library))
                return false;
        }
    }
    for (size_t r = 0; !direct && r < n; r++)
        memcpy(y + r * linear->base.n_out + slab * linear->cols, out + r * n_cols,
               n_cols * sizeof *y);
    return true;
}

static bool multiply_slab(const laci_linear *matrix, const void *x, size_t n, size_t slab, float *y,
                          void *scratch)
{
    const int n_threads = alone_begin();
    const bool done = run_slab((const onednn_linear *)matrix, x, n, slab, y, scratch);
    alone_end(n_threads);
    return done;
}

const laci_linear_kind laci_linear_onednn = { .name = "oneDNN",
                                              .rows_stand_alone = rows_stand_alone,
                                              .runtime_bytes = runtime_bytes,
                                              .bytes = matrix_bytes,
                                              .scratch_need = scratch_need,
                                              .free_common = free_common,
                                              .make = make,
                                              .free = free_linear,
                                              .pack = pack,
                                              .slab = multiply_slab };
