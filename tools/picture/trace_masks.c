/* trace_masks.c: writing plan lines; see trace_masks.h. Reading is in trace_read.c. */
#include "picture/trace_masks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

bool trace_plans_open(trace_plans *t, int n_layers, int n_heads)
{
    t->n_layers = n_layers;
    t->n_heads = n_heads;
    t->hashes = calloc(2 * (size_t)n_layers, sizeof *t->hashes);
    return t->hashes != NULL;
}

void trace_plans_free(trace_plans *t)
{
    free(t->hashes);
    *t = (trace_plans){ 0 };
}

/* FNV-1a over the words of a plan; never 0. */
static uint64_t hash_of(const lac_plan_view *v)
{
    const size_t n_rows = (size_t)v->n_heads * (size_t)v->n_rows;
    uint64_t h = 1469598103934665603U;
    const int sizes[] = { v->n_q, v->n_k, v->q_block, v->k_block, v->n_heads };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        h = (h ^ (uint64_t)sizes[i]) * 1099511628211U;
    for (size_t i = 0; i <= n_rows; i++)
        h = (h ^ v->row_ptr[i]) * 1099511628211U;
    for (size_t i = 0; i < v->row_ptr[n_rows]; i++)
        h = (h ^ v->cols[i]) * 1099511628211U;
    return h ? h : 1;
}

/* Hex digits under construction; a failed allocation shows in the json_out. */
typedef struct {
    json_out *j;
    char *text;
} hex_text;

/* One pattern: its rows one after another, each padded to whole digits; the first block of four is
 * the highest bit. */
static void put_pattern(hex_text *x, const lac_plan_view *v, int pattern)
{
    const size_t n_cols = ((size_t)v->n_k + (size_t)v->k_block - 1) / (size_t)v->k_block;
    const size_t width = (n_cols + 3) / 4, n_rows = (size_t)v->n_rows;
    memset(x->text, 0, n_rows * width);
    for (size_t row = 0; row < n_rows; row++) {
        const size_t at = (size_t)pattern * n_rows + row;
        char *digits = x->text + row * width;
        for (uint32_t i = v->row_ptr[at]; i < v->row_ptr[at + 1]; i++)
            digits[v->cols[i] / 4] = (char)(digits[v->cols[i] / 4] | 8 >> v->cols[i] % 4);
    }
    for (size_t i = 0; i < n_rows * width; i++)
        x->text[i] = hex_digits[(int)x->text[i]];
    json_text(x->j, x->text, n_rows * width);
}

static void put_plan(json_out *j, const lac_plan_view *v)
{
    const size_t n_cols = ((size_t)v->n_k + (size_t)v->k_block - 1) / (size_t)v->k_block;
    hex_text x = { j, malloc((size_t)v->n_rows * ((n_cols + 3) / 4)) };
    json_begin_array(j);
    if (!x.text) j->failed = true;
    for (int p = 0; p < v->n_heads && x.text; p++)
        put_pattern(&x, v, p);
    json_end_array(j);
    free(x.text);
}

/* Masses of one head: three digits each, the square root in units of 1/4095, so that small shares
 * keep their precision. */
static void put_masses(json_out *j, const lac_plan_view *v, int n_heads)
{
    const size_t b = (size_t)v->mass_block;
    const size_t n = ((size_t)v->n_q + b - 1) / b * (((size_t)v->n_k + b - 1) / b);
    char *text = malloc(3 * n);
    json_begin_array(j);
    if (!text) j->failed = true;
    for (int h = 0; h < n_heads && text; h++) {
        for (size_t i = 0; i < n; i++) {
            const float share = v->mass[(size_t)h * n + i];
            const unsigned level = share >= 1  ? 4095
                                   : share > 0 ? (unsigned)(4095 * sqrtf(share) + 0.5F)
                                               : 0;
            text[3 * i] = hex_digits[level >> 8];
            text[3 * i + 1] = hex_digits[level >> 4 & 15];
            text[3 * i + 2] = hex_digits[level & 15];
        }
        json_text(j, text, 3 * n);
    }
    json_end_array(j);
    free(text);
}

void trace_plan_put(trace_plans *t, json_out *j, const lac_plan_view *v)
{
    const struct {
        const char *key;
        int value;
    } counts[] = {
        { "step", v->step },       { "pass", v->pass }, { "layer", v->layer },
        { "n_q", v->n_q },         { "n_k", v->n_k },   { "q_block", v->q_block },
        { "k_block", v->k_block },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        json_key(j, counts[i].key);
        json_int(j, counts[i].value);
    }
    json_key(j, "density");
    json_double(j, v->density);
    json_key(j, "kept_mass");
    if (v->kept_mass) {
        json_begin_array(j);
        for (int h = 0; h < v->n_heads; h++)
            json_float(j, v->kept_mass[h]);
        json_end_array(j);
    } else {
        json_string(j, NULL);
    }
    if (v->active) {
        json_key(j, "first");
        json_int(j, v->first);
        json_key(j, "active");
        json_begin_array(j);
        for (int i = 0; i < v->n_q; i++)
            json_int(j, v->active[i]);
        json_end_array(j);
    }
    uint64_t *last = &t->hashes[(v->pass ? t->n_layers : 0) + v->layer];
    const uint64_t hash = hash_of(v);
    json_key(j, "kept");
    if (*last == hash)
        json_string(j, "same");
    else
        put_plan(j, v);
    *last = hash;
    if (!v->mass) return;
    json_key(j, "mass_block");
    json_int(j, v->mass_block);
    json_key(j, "mass");
    put_masses(j, v, t->n_heads);
}
