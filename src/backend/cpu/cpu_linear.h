/* cpu_linear.h: matrix products on the CPU, weights packed once. Implemented by
 * cpu_linear_onednn.c, the only file that knows oneDNN, or by cpu_linear_plain.c where oneDNN is
 * absent.
 *
 * A product is cut into tiles of at most LACI_LINEAR_ROWS rows by one slab of columns, and every
 * tile is computed with the same primitive whatever the number of threads, so results do not depend
 * on it. A thread takes a slab for the tiles of a group of rows in turn: weights come from memory
 * once a group. */
#ifndef LACI_BACKEND_CPU_LINEAR_H
#define LACI_BACKEND_CPU_LINEAR_H

#include "backend/backend.h"
#include "backend/cpu/cpu_team.h"

enum { LACI_LINEAR_ROWS = 128, LACI_LINEAR_GROUP = 1024 };

/* Compiled primitives shared by the matrices of one backend; NULL until the first is made. */
typedef struct laci_cpu_shapes laci_cpu_shapes;
void laci_cpu_shapes_free(laci_cpu_shapes *shapes, const lac_allocator *mem);

const char *laci_cpu_linear_name(void);

/* Whether the library's sums for a row depend on nothing else: its products of f32 below AVX-512
 * add in another order where there are other rows. */
bool laci_cpu_linear_rows_stand_alone(void);

/* Resident bytes of the library's code, generated code and tables, measured. */
size_t laci_cpu_linear_runtime_bytes(void);

/* What matrices are made with: `team` packs panels; where it was not started it is for that long.
 */
typedef struct {
    laci_cpu_shapes **shapes;
    laci_team *team;
    laci_dtype act;
    lac_allocator mem;
} laci_linear_maker;

lac_status laci_cpu_linear_new(laci_linear **out, const laci_linear_maker *maker, size_t n_out,
                               size_t n_in, laci_row_source source, lac_error *err);
void laci_cpu_linear_free(laci_linear *linear, const lac_allocator *mem);
size_t laci_cpu_linear_bytes(laci_dtype act, size_t n_out, size_t n_in);

size_t laci_cpu_linear_n_out(const laci_linear *linear);
size_t laci_cpu_linear_n_in(const laci_linear *linear);
size_t laci_cpu_linear_n_slabs(const laci_linear *linear);

/* Scratch for products of at most n_rows rows by any matrix made with `shapes`. */
laci_scratch_size laci_cpu_linear_scratch(const laci_cpu_shapes *shapes, size_t n_rows);

/* Whether products read their inputs from what laci_cpu_linear_pack makes of them; and making it:
 * rows [0, n) of x, n at most LACI_LINEAR_ROWS, to `out`, where the rows of one tile stand in the
 * place of n_in numbers each. Rows up to the next multiple of LACI_ROW_PAD are read and written
 * too. */
bool laci_cpu_linear_packs(const laci_linear *linear);
void laci_cpu_linear_pack(const laci_linear *linear, const void *x, size_t n, void *out);
/* Bytes from one row to the next in what products read. */
size_t laci_cpu_linear_row_bytes(const laci_linear *linear);

/* Rows [0, n) of x (act, or packed) times slab `slab`, into y f32 whose rows are n_out apart. n is
 * at most LACI_LINEAR_GROUP, and no more than `scratch` [per_thread] was taken for; rows up to the
 * next multiple of LACI_ROW_PAD are read and written too. False when the library underneath fails.
 */
bool laci_cpu_linear_slab(const laci_linear *linear, const void *x, size_t n, size_t slab, float *y,
                          void *scratch);

#endif
