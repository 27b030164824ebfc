/* trace_read.c: reads the plans of a trace back, see trace_masks.h. The file may come from anybody:
 * lines, sizes, ids and digits are checked before they are used, and memory is bounded by the
 * length of a line, by what a record of masks may take and by one plan for each layer. */
#include "picture/trace_masks.h"

#include "base/error.h"
#include "base/json.h"
#include "shell/lines.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_LINE =
        256 << 20, /* bytes; a layer of 128 heads with masses at 1,024 x 1,024 blocks is less */
    MAX_SIZE = 1 << 24,   /* positions, steps */
    MAX_BLOCKS = 1 << 28, /* of one line, over all heads */
    MAX_BLOCK = 1 << 16,  /* positions of a decoding block */
};

/* One plan as it was last given for a layer, in CSR form. */
typedef struct {
    int n_q, n_k, q_block, k_block, n_patterns, n_rows;
    uint32_t *row_ptr, *cols;
} stored_plan;

typedef struct {
    line_reader lines;
    masks *out;         /* sizes; the record, unless the run was block-wise */
    cache_view *cache;  /* block > 0: the record of a block-wise run */
    stored_plan *plans; /* [n_layers] */
    float *mass, *kept; /* of the line at hand */
    int32_t *active;    /* [block] likewise */
    size_t n_mass;
    bool has_summary;
    char what[96]; /* "line 17" */
} reader;

/* ------------------------------------------------------------------ digits */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* An array of `n` strings of `n_digits` hex digits each. */
static lac_status check_digits(const reader *r, const laci_jval *list, const char *key, size_t n,
                               size_t n_digits, lac_error *err)
{
    if (!laci_json_is_array(list) || laci_json_count(list) != n)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is not a list of %zu heads", r->what, key,
                         n);
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        const char *text = laci_json_is_string(v) ? laci_json_string(v) : "";
        const size_t length = strlen(text), good = strspn(text, "0123456789abcdef");
        if (length != n_digits || good != length)
            return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" has %zu hex digits of %zu wanted",
                             r->what, key, good, n_digits);
    }
    return LAC_OK;
}

/* ------------------------------------------------------------------ plans */

static void free_plan(stored_plan *p)
{
    free(p->row_ptr);
    free(p->cols);
    *p = (stored_plan){ 0 };
}

static size_t count_bits(const laci_jval *list)
{
    size_t n = 0;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v))
        for (const char *c = laci_json_string(v); *c; c++) {
            const unsigned d = (unsigned)digit_of(*c);
            n += (d & 1) + (d >> 1 & 1) + (d >> 2 & 1) + (d >> 3 & 1);
        }
    return n;
}

/* Turns checked digits into lists of blocks. */
static lac_status fill_plan(const reader *r, stored_plan *p, const laci_jval *list, size_t n_cols,
                            lac_error *err)
{
    const size_t width = (n_cols + 3) / 4, n_rows = (size_t)p->n_rows;
    uint32_t n = 0, *row_ptr = p->row_ptr;
    *row_ptr++ = 0;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        const char *text = laci_json_string(v);
        for (size_t i = 0; i < n_rows * width; i++) {
            const int d = digit_of(text[i]);
            for (uint32_t bit = 0; bit < 4; bit++) {
                if (!(d >> (3 - bit) & 1)) continue;
                const uint32_t col = (uint32_t)(i % width) * 4 + bit;
                if (col >= n_cols)
                    return laci_fail(err, LAC_EFORMAT, 0,
                                     "%s: \"kept\" names key block %u, there are %zu", r->what, col,
                                     n_cols);
                p->cols[n++] = col;
            }
            if (i % width == width - 1) *row_ptr++ = n;
        }
    }
    return LAC_OK;
}

/* The plan of a line that has one of its own. */
static lac_status read_plan(const reader *r, stored_plan *sizes, const laci_jval *list,
                            stored_plan *out, lac_error *err)
{
    stored_plan p = *sizes;
    const size_t b = (size_t)p.k_block, n_cols = ((size_t)p.n_k + b - 1) / b;
    const size_t n_rows = ((size_t)p.n_q + (size_t)p.q_block - 1) / (size_t)p.q_block;
    const size_t n_lists = laci_json_is_array(list) ? laci_json_count(list) : 0;
    if (n_lists != 1 && n_lists != (size_t)r->out->n_heads)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%s: \"kept\" is neither \"same\" nor a list of 1 or %d heads", r->what,
                         r->out->n_heads);
    if (!n_cols || !n_lists || n_rows > MAX_BLOCKS / n_cols / n_lists)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: %zu heads of %zu x %zu blocks are more than %d",
                         r->what, n_lists, n_rows, n_cols, MAX_BLOCKS);
    lac_status st = check_digits(r, list, "kept", n_lists, n_rows * ((n_cols + 3) / 4), err);
    if (st) return st;
    const size_t n_bits = count_bits(list), n_all = n_lists * n_rows;
    p.n_patterns = (int)n_lists;
    p.n_rows = (int)n_rows;
    p.row_ptr = malloc((n_all + 1) * sizeof *p.row_ptr);
    p.cols = malloc((n_bits + 1) * sizeof *p.cols);
    if (!p.row_ptr || !p.cols)
        st = laci_fail_memory(err, "a plan of the trace", (n_all + n_bits) * sizeof *p.cols);
    else
        st = fill_plan(r, &p, list, n_cols, err);
    if (st) {
        free_plan(&p);
        return st;
    }
    free_plan(out);
    *out = p;
    return LAC_OK;
}

/* ------------------------------------------------------------------ masses */

static lac_status read_mass(reader *r, const laci_jval *line, const stored_plan *p, int *block,
                            lac_error *err)
{
    const laci_jval *list = laci_json_get(line, "mass");
    *block = 0;
    if (!list) return LAC_OK;
    lac_status st = laci_json_get_int(line, "mass_block", true, 1, MAX_SIZE, block, r->what, err);
    if (st) return st;
    const size_t b = (size_t)*block, n_heads = (size_t)r->out->n_heads;
    const size_t n_rows = ((size_t)p->n_q + b - 1) / b, n_cols = ((size_t)p->n_k + b - 1) / b;
    if (n_rows > MAX_BLOCKS / n_cols / n_heads)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: %zu heads of %zu x %zu masses are more than %d",
                         r->what, n_heads, n_rows, n_cols, MAX_BLOCKS);
    const size_t n = n_rows * n_cols;
    st = check_digits(r, list, "mass", n_heads, 3 * n, err);
    if (st) return st;
    if (n_heads * n > r->n_mass) {
        free(r->mass);
        r->n_mass = 0;
        r->mass = malloc(n_heads * n * sizeof *r->mass);
        if (!r->mass) return laci_fail_memory(err, "masses of the trace", n_heads * n * 4);
        r->n_mass = n_heads * n;
    }
    float *out = r->mass;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        const char *t = laci_json_string(v);
        for (size_t i = 0; i < n; i++, t += 3) {
            const unsigned level = (unsigned)digit_of(t[0]) << 8 | (unsigned)digit_of(t[1]) << 4 |
                                   (unsigned)digit_of(t[2]);
            const float root = (float)level / 4095;
            *out++ = root * root;
        }
    }
    return LAC_OK;
}

static lac_status read_kept_mass(const reader *r, const laci_jval *line, bool *known,
                                 lac_error *err)
{
    const laci_jval *list = laci_json_get(line, "kept_mass");
    *known = list && !laci_json_is_null(list);
    if (!*known) return LAC_OK;
    size_t n = 0;
    if (laci_json_is_array(list) && laci_json_count(list) == (size_t)r->out->n_heads)
        for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
            const double share = laci_json_is_null(v) ? 0 : laci_json_number(v);
            if (!(share >= 0 && share <= 1.01)) break; /* rounding ends just above 1 */
            r->kept[n++] = laci_json_is_null(v) ? NAN : (float)share;
        }
    if (n != (size_t)r->out->n_heads)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"kept_mass\" is not a list of %d shares",
                         r->what, r->out->n_heads);
    return LAC_OK;
}

/* ------------------------------------------------------------------ behind a key cache */

/* Rows of a block that the plan is of. */
static lac_status read_active(const reader *r, const laci_jval *line, lac_plan_view *view,
                              lac_error *err)
{
    const laci_jval *list = laci_json_get(line, "active");
    const size_t n = (size_t)view->n_q;
    lac_status st = laci_json_get_int(line, "first", true, 0, MAX_SIZE, &view->first, r->what, err);
    if (st) return st;
    if (!laci_json_is_array(list) || laci_json_count(list) != n || n > (size_t)r->cache->block)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"active\" is not a list of %zu rows of %d",
                         r->what, n, r->cache->block);
    size_t i = 0;
    for (const laci_jval *v = laci_json_first(list); v; v = laci_json_next(v)) {
        int64_t row = -1;
        if (!laci_json_integer(v, &row) || row < 0 || row >= r->cache->block)
            return laci_fail(err, LAC_EFORMAT, 0, "%s: \"active\" names a row outside 0 to %d",
                             r->what, r->cache->block - 1);
        r->active[i++] = (int32_t)row;
    }
    view->active = r->active;
    return LAC_OK;
}

/* ------------------------------------------------------------------ lines by type */

/* What a record of masks refuses is a fault of the line. */
static lac_status place_fault(const reader *r, lac_status st, lac_error *err)
{
    if (st != LAC_EINVAL) return st;
    if (err) err->code = LAC_EFORMAT;
    return laci_fail_prefix(err, LAC_EFORMAT, r->what);
}

static lac_status read_plan_line(reader *r, const laci_jval *line, lac_error *err)
{
    stored_plan sizes = { 0 };
    lac_plan_view view = { 0 };
    const struct {
        const char *key;
        int min, max, *out;
    } counts[] = {
        { "step", 0, MAX_SIZE, &view.step },
        { "pass", 0, 1, &view.pass },
        { "layer", 0, r->out->n_layers - 1, &view.layer },
        { "n_q", 1, MAX_SIZE, &sizes.n_q },
        { "n_k", 1, MAX_SIZE, &sizes.n_k },
        { "q_block", 1, MAX_SIZE, &sizes.q_block },
        { "k_block", 1, MAX_SIZE, &sizes.k_block },
    };
    lac_status st = LAC_OK;
    for (size_t i = 0; i < sizeof counts / sizeof *counts && !st; i++)
        st = laci_json_get_int(line, counts[i].key, true, counts[i].min, counts[i].max,
                               counts[i].out, r->what, err);
    if (st || view.pass) return st; /* pictures show the guided pass */
    const laci_jval *kept = laci_json_get(line, "kept");
    stored_plan *plan = &r->plans[view.layer];
    const bool is_same = laci_json_is_string(kept) && !strcmp(laci_json_string(kept), "same");
    if (is_same && (!plan->row_ptr || plan->n_q != sizes.n_q || plan->n_k != sizes.n_k ||
                    plan->q_block != sizes.q_block || plan->k_block != sizes.k_block))
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%s: the same plan of layer %d as before, but there was no such plan",
                         r->what, view.layer);
    bool knows_kept = false;
    if (!is_same) st = read_plan(r, &sizes, kept, plan, err);
    if (!st) st = read_mass(r, line, plan, &view.mass_block, err);
    if (!st) st = read_kept_mass(r, line, &knows_kept, err);
    view.n_q = plan->n_q;
    if (!st && r->cache->block) st = read_active(r, line, &view, err);
    if (st) return st;
    view.n_k = plan->n_k;
    view.q_block = plan->q_block;
    view.k_block = plan->k_block;
    view.n_heads = plan->n_patterns;
    view.n_rows = plan->n_rows;
    view.row_ptr = plan->row_ptr;
    view.cols = plan->cols;
    view.kept_mass = knows_kept ? r->kept : NULL;
    view.mass = view.mass_block ? r->mass : NULL;
    st =
        r->cache->block ? cache_view_add_plan(r->cache, &view, err) : masks_add(r->out, &view, err);
    return place_fault(r, st, err);
}

static lac_status read_real(const reader *r, const laci_jval *line, const char *key, double *out,
                            lac_error *err)
{
    const laci_jval *v = laci_json_get(line, key);
    *out = v && laci_json_is_number(v) ? laci_json_number(v) : NAN;
    if (*out >= 0 && *out < 1e18) return LAC_OK;
    return laci_fail(err, LAC_EFORMAT, 0, "%s: \"%s\" is no number from 0 to 1e18", r->what, key);
}

/* A step of a block-wise run. */
static lac_status read_step_line(const reader *r, const laci_jval *line, lac_error *err)
{
    cache_view_step step = { .step = 0 };
    int64_t begin = -1;
    lac_status st = laci_json_get_int(line, "step", true, 0, MAX_SIZE, &step.step, r->what, err);
    if (!st) st = read_real(r, line, "density", &step.density, err);
    if (!laci_json_get(line, "bytes_read")) return st; /* it read nothing */
    if (!st) st = read_real(r, line, "union_inflation", &step.union_inflation, err);
    if (!st) st = read_real(r, line, "n_active", &step.n_active, err);
    if (!st) st = read_real(r, line, "bytes_read", &step.bytes_read, err);
    if (st) return st;
    const laci_jval *span = laci_json_get(line, "span");
    if (!laci_json_is_array(span) || !laci_json_integer(laci_json_first(span), &begin) ||
        begin < 0 || begin > MAX_SIZE)
        return laci_fail(err, LAC_EFORMAT, 0, "%s: \"span\" is no list of positions", r->what);
    step.begin = (int)begin / r->cache->block * r->cache->block;
    return place_fault(r, cache_view_add_step(r->cache, &step, err), err);
}

static lac_status read_header(reader *r, const laci_jval *line, trace_facts *facts, lac_error *err)
{
    int n_layers = 0, n_heads = 0;
    const char *model = "", *sparse = "";
    lac_status st =
        laci_json_get_int(line, "n_layers", true, 1, MASKS_MAX_HEADS, &n_layers, r->what, err);
    if (!st)
        st = laci_json_get_int(line, "n_heads", true, 1, MASKS_MAX_HEADS, &n_heads, r->what, err);
    if (!st)
        st = laci_json_get_int(line, "n_prompt", true, 0, MAX_SIZE, &facts->n_prompt, r->what, err);
    if (!st) st = laci_json_get_int(line, "steps", true, 1, MAX_SIZE, &facts->steps, r->what, err);
    if (!st) st = laci_json_get_string(line, "model", true, &model, r->what, err);
    if (!st) st = laci_json_get_string(line, "sparse", true, &sparse, r->what, err);
    if (st) return st;
    snprintf(facts->model, sizeof facts->model, "%s", model);
    snprintf(facts->sparse, sizeof facts->sparse, "%s", sparse);
    const bool is_blockwise = laci_json_get(line, "block_size") != NULL;
    cache_view sizes = { .n_layers = n_layers, .n_heads = n_heads };
    if (is_blockwise)
        st = laci_json_get_int(line, "block_size", true, 0, MAX_BLOCK, &sizes.block, r->what, err);
    if (!st && sizes.block)
        st = laci_json_get_int(line, "n_canvas", true, 1, MAX_SIZE, &sizes.n_canvas, r->what, err);
    int most = facts->steps;
    if (!st) st = laci_json_get_int(line, "most_steps", false, 1, MAX_SIZE, &most, r->what, err);
    if (!st) st = place_fault(r, masks_open(r->out, n_layers, n_heads, most, err), err);
    if (!st && sizes.block)
        st = place_fault(r, cache_view_open(r->cache, &sizes, facts->n_prompt, most, err), err);
    if (st) return st;
    r->active = calloc((size_t)sizes.block + 1, sizeof *r->active);
    r->plans = calloc((size_t)n_layers, sizeof *r->plans);
    r->kept = calloc((size_t)n_heads, sizeof *r->kept);
    return r->plans && r->kept && r->active ? LAC_OK
                                            : laci_fail_memory(err, "a trace", (size_t)n_layers);
}

static lac_status read_line(reader *r, trace_facts *facts, lac_error *err)
{
    const laci_json_limits limits = { .max_bytes = MAX_LINE };
    laci_json *doc = NULL;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    snprintf(r->what, sizeof r->what, "line %zu", r->lines.number);
    lac_status st = laci_json_parse(&doc, r->lines.text, r->lines.n, r->what, &limits, &mem, err);
    if (st) return st;
    const laci_jval *line = laci_json_root(doc);
    const char *type = "";
    st = laci_json_is_object(line) ? laci_json_get_string(line, "type", true, &type, r->what, err)
                                   : laci_fail(err, LAC_EFORMAT, 0, "%s: not an object", r->what);
    if (!st && (r->lines.number == 1) != !strcmp(type, "header"))
        st = laci_fail(err, LAC_EFORMAT, 0, "%s: a trace begins with one header", r->what);
    if (!st && r->lines.number == 1)
        st = read_header(r, line, facts, err);
    else if (!st && !strcmp(type, "plan"))
        st = read_plan_line(r, line, err);
    else if (!st && !strcmp(type, "step") && r->cache->block)
        st = read_step_line(r, line, err);
    r->has_summary = !strcmp(type, "summary");
    laci_json_free(doc);
    return st;
}

static lac_status read_all(reader *r, trace_facts *facts, lac_error *err)
{
    for (;;) {
        bool end = false;
        lac_status st = line_next(&r->lines, &end, err);
        if (!st && end) break;
        if (!st) st = read_line(r, facts, err);
        if (st) return st;
    }
    if (!r->has_summary)
        return laci_fail(err, LAC_EFORMAT, 0, "ends after line %zu without a summary",
                         r->lines.number - 1);
    if (r->cache->block ? !r->cache->n_steps : !r->out->n_frames)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "holds no plans; record it with --trace FILE --trace-masks");
    return LAC_OK;
}

lac_status trace_masks_read(const char *path, masks *out, cache_view *cache, trace_facts *facts,
                            lac_error *err)
{
    masks m = { 0 };
    cache_view c = { 0 };
    trace_facts f = { .steps = 0 };
    reader r = { .lines = { .limit = MAX_LINE }, .out = &m, .cache = &c };
    errno = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return laci_fail(err, LAC_EIO, 0, "cannot read %s: %s", path, strerror(errno));
    r.lines.file = file;
    lac_status st = read_all(&r, &f, err);
    if (st) laci_fail_prefix(err, st, path);
    fclose(file);
    for (int i = 0; r.plans && i < m.n_layers; i++)
        free_plan(&r.plans[i]);
    free(r.plans);
    free(r.kept);
    free(r.active);
    free(r.mass);
    line_free(&r.lines);
    if (st) {
        masks_free(&m);
        cache_view_free(&c);
        return st;
    }
    *out = m;
    *cache = c;
    *facts = f;
    return LAC_OK;
}
