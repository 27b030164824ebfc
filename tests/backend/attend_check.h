/* attend_check.h: attention by its definition, a straight masked softmax in double precision over
 * the keys the plan lists and the masks allow; and comparing a run of the backend with it. */
#ifndef LACI_TESTS_ATTEND_CHECK_H
#define LACI_TESTS_ATTEND_CHECK_H

#include <math.h>

#include "backend/attend_rig.h"

/* ------------------------------------------------------------------ the definition */

/* Whether query `row` of a head may read a key under the masks, the plan aside. */
static inline bool may_read(const attend_rig *r, size_t batch, size_t row, size_t key)
{
    const size_t words = (r->c.n_k + 63) / 64;
    return key < r->n_keys[batch] && key < r->limits[batch * r->n_rows + row] &&
           (r->valid[batch * words + key / 64] >> key % 64 & 1);
}

/* Marks in kept [n_k] the keys a plan lists for a query. */
static inline void kept_keys(const laci_plan *plan, const attend_case *c, size_t batch, size_t head,
                             size_t position, bool *kept)
{
    const size_t pattern = plan->n_heads == 1            ? 0
                           : plan->n_heads == c->n_heads ? head
                                                         : batch * c->n_heads + head;
    const size_t at = pattern * plan->n_rows + position / plan->q_block;
    memset(kept, 0, c->n_k * sizeof *kept);
    for (uint32_t i = plan->row_ptr[at]; i < plan->row_ptr[at + 1]; i++)
        for (size_t j = 0; j < plan->k_block && plan->cols[i] * plan->k_block + j < c->n_k; j++)
            kept[plan->cols[i] * plan->k_block + j] = true;
}

static inline double score_of(const attend_rig *r, size_t batch, size_t head, size_t row,
                              size_t key)
{
    const attend_case *c = &r->c;
    const size_t kv = head / (c->n_heads / c->n_kv_heads);
    const float *q = r->q_host + ((batch * r->n_rows + row) * c->n_heads + head) * c->d;
    const float *k = r->k_host + ((batch * c->n_k + key) * c->n_kv_heads + kv) * c->d;
    double sum = 0;
    for (size_t i = 0; i < c->d; i++)
        sum += (double)q[i] * (double)k[i];
    return sum / sqrt((double)c->d);
}

/* One query of one head; p [n_k]. Returns the log-sum-exp. */
static inline double brute_force_row(attend_rig *r, size_t batch, size_t head, size_t row,
                                     const bool *kept, double *p, double *out)
{
    const attend_case *c = &r->c;
    const size_t kv = head / (c->n_heads / c->n_kv_heads);
    double top = -INFINITY, total = 0;
    for (size_t j = 0; j < c->n_k; j++) {
        p[j] = kept[j] && may_read(r, batch, row, j) ? score_of(r, batch, head, row, j) : -INFINITY;
        if (p[j] > top) top = p[j];
        if (p[j] > -INFINITY && fabs(p[j]) * 1.4427 > r->score_size)
            r->score_size = fabs(p[j]) * 1.4427;
    }
    for (size_t j = 0; j < c->n_k; j++)
        total += p[j] = p[j] == -INFINITY ? 0 : exp(p[j] - top);
    for (size_t j = 0; j < c->n_k; j++) {
        if (p[j] == 0) continue;
        p[j] /= total;
        const float *v = r->v_host + ((batch * c->n_k + j) * c->n_kv_heads + kv) * c->d;
        for (size_t i = 0; i < c->d; i++)
            out[i] += p[j] * (double)v[i];
    }
    return total == 0 ? -INFINITY : top + log(total);
}

static inline void brute_force(attend_rig *r)
{
    const attend_case *c = &r->c;
    bool *kept = take(c->n_k, sizeof *kept);
    const size_t n = c->n_batch * c->n_heads * r->n_rows;
    r->p = take(n * c->n_k, sizeof *r->p);
    r->want = take(n * c->d, sizeof *r->want);
    r->want_lse = take(n, sizeof *r->want_lse);
    for (size_t i = 0; i < n; i++) {
        const size_t row = i % r->n_rows, head = i / r->n_rows % c->n_heads;
        const size_t batch = i / r->n_rows / c->n_heads;
        kept_keys(&r->plan.plan, c, batch, head, position_of(r, row), kept);
        r->want_lse[i] =
            brute_force_row(r, batch, head, row, kept, r->p + i * c->n_k,
                            r->want + ((batch * r->n_rows + row) * c->n_heads + head) * c->d);
    }
    free(kept);
}

/* ------------------------------------------------------------------ comparing */

static inline const char *describe(const attend_rig *r)
{
    static char text[300];
    const attend_case *c = &r->c;
    snprintf(
        text, sizeof text,
        "%s, %zu x %zu queries, %zu keys, %zu/%zu heads of %zu, blocks %zu x %zu, %zu patterns",
        r->dtype == LAC_DTYPE_F32 ? "f32" : "bf16", c->n_batch, r->n_rows, c->n_k, c->n_heads,
        c->n_kv_heads, c->d, c->q_block, c->k_block, c->n_patterns);
    return text;
}

/* Of an output over the largest one: the kernels' bound, what the rounding of scores adds, and half
 * a unit of bf16 outputs. */
static inline double bound_of(const attend_rig *r)
{
    const bool wide = r->dtype == LAC_DTYPE_F32;
    return (wide ? 2e-6 : 1e-2) + 3e-7 * r->score_size + (wide || !r->c.out_act ? 0 : 4e-3);
}

/* Fails unless |got - want| <= bound * largest |want| for all n, infinities where they are wanted.
 */
static inline void compare(const char *what, const float *got, const double *want, size_t n,
                           double bound)
{
    double size = 1e-30;
    for (size_t i = 0; i < n; i++)
        if (isfinite(want[i]) && fabs(want[i]) > size) size = fabs(want[i]);
    for (size_t i = 0; i < n; i++)
        if (!((double)got[i] == want[i] || fabs((double)got[i] - want[i]) <= bound * size))
            fail_msg("%s: value %zu is %g, want %g; error %g, bound %g", what, i, (double)got[i],
                     want[i], fabs((double)got[i] - want[i]) / size, bound);
}

/* Output and log-sum-exp of the backend against the definition. */
static inline void check_result(const attend_rig *r)
{
    float *out = read_out(r), *lse = read_floats(r->be, r->lse, n_lse(r));
    char what[320];
    compare(describe(r), out, r->want, n_out(r), bound_of(r));
    snprintf(what, sizeof what, "log-sum-exp of %s", describe(r));
    for (size_t i = 0; i < n_lse(r); i++) /* its error is absolute */
        if (!((double)lse[i] == r->want_lse[i] ||
              fabs((double)lse[i] - r->want_lse[i]) <= 2 * bound_of(r)))
            fail_msg("%s: %g, want %g", what, (double)lse[i], r->want_lse[i]);
    free(out), free(lse);
}

/* Runs a case and compares it. */
static inline void check_case(const attend_case *c, lac_dtype dtype, int n_threads)
{
    attend_rig *r = rig_new(c, dtype, n_threads, 0);
    brute_force(r);
    laci_backend_attend(r->be, &r->plan.plan, &r->a);
    check_result(r);
    rig_free(r);
}

/* Fails unless two arrays are the same bits. */
static inline void compare_bits(const char *what, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("%s: value %zu is %.9g and %.9g", what, i, (double)a[i], (double)b[i]);
}

#endif
