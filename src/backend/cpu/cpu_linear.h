/* cpu_linear.h: matrix products on the CPU, weights packed once. A matrix is of a kind, and kinds
 * live side by side: cpu_linear_onednn.c, the only file that knows oneDNN, where it is found, and
 * cpu_linear_plain.c everywhere. cpu_linear.c lists them and runs a product of any kind.
 *
 * A product is cut into tiles of at most LACI_LINEAR_ROWS rows by one slab of columns, and every
 * tile is computed with the same primitive whatever the number of threads, so results do not depend
 * on it. A thread takes a slab for the tiles of a group of rows in turn: weights come from memory
 * once a group. */
#ifndef LACI_BACKEND_CPU_LINEAR_H
#define LACI_BACKEND_CPU_LINEAR_H

#include "backend/backend.h"
#include "backend/cpu/cpu_team.h"

enum { LACI_LINEAR_ROWS = 128, LACI_LINEAR_GROUP = 1024, LACI_LINEAR_KINDS = 2 };

typedef struct laci_linear_kind laci_linear_kind;

/* What every kind of matrix has; the first member of its own structure. */
struct laci_linear {
    const laci_linear_kind *kind;
    size_t n_out, n_in;
    size_t n_slabs;
    size_t row_bytes; /* from one row to the next in what products read */
    bool packs;       /* products read their inputs from what kind->pack makes of them */
};

/* What matrices are made with. `common` is what the matrices of one kind and backend share: *common
 * is NULL until the first is made, and always where they share nothing. `team` packs; where it was
 * not started it is for that long. Products take rows of type `act`. */
typedef struct {
    void **common;
    laci_team *team;
    laci_dtype act;
    lac_allocator mem;
} laci_linear_maker;

/* One kind. Functions that take `common` are not called where it is NULL. */
struct laci_linear_kind {
    const char *name;
    /* Whether a row's sums depend on nothing else than the row. */
    bool (*rows_stand_alone)(void);
    /* Resident bytes of the code, generated code and tables underneath, measured. */
    size_t (*runtime_bytes)(void);
    /* Bytes of a matrix for inputs of type `act`. */
    size_t (*bytes)(laci_dtype act, size_t n_out, size_t n_in);
    /* Scratch for products of at most n_rows rows by any matrix that shares `common`. */
    laci_scratch_size (*scratch_need)(const void *common, size_t n_rows);
    void (*free_common)(void *common, const lac_allocator *mem);
    /* Errors: ENOMEM, EINTERNAL. */
    lac_status (*make)(laci_linear **out, const laci_linear_maker *maker, size_t n_out, size_t n_in,
                       laci_row_source source, lac_error *err);
    void (*free)(laci_linear *linear, const lac_allocator *mem);
    /* Rows [0, n) of x, n at most LACI_LINEAR_ROWS, to `out`, where the rows of one tile stand in
     * the place of n_in numbers each. Rows up to the next multiple of LACI_ROW_PAD are read and
     * written too. NULL where no matrix packs. */
    void (*pack)(const laci_linear *linear, const void *x, size_t n, void *out);
    /* Rows [0, n) of x (act, or packed) times slab `slab`, into y f32 whose rows are n_out apart. n
     * is at most LACI_LINEAR_GROUP, and no more than `scratch` [per_thread] was taken for; rows up
     * to the next multiple of LACI_ROW_PAD are read and written too. False when the library
     * underneath fails. */
    bool (*slab)(const laci_linear *linear, const void *x, size_t n, size_t slab, float *y,
                 void *scratch);
};

#ifdef LACI_HAVE_ONEDNN
extern const laci_linear_kind laci_linear_onednn;
#endif
extern const laci_linear_kind laci_linear_plain;

/* The kinds of this build, [LACI_LINEAR_KINDS], the one that matrices are made of first; NULL where
 * there are fewer. */
extern const laci_linear_kind *const laci_linear_kinds[LACI_LINEAR_KINDS];

#endif
