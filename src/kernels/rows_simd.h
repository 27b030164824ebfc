/* rows_simd.h: operations on rows of numbers, compiled by each instruction set's file after
 * select_simd.h. Where plain loops become vectors by themselves they are plain loops. */

static void scale(float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

static void add(float *restrict sum, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += x[i];
}

/* laci_f32_to_bf16 without branches. */
static void to_bf16(uint16_t *restrict out, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = laci_f32_to_bits(x[i]);
        const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
        const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
        out[i] = (uint16_t)((is_nan ? bits | 0x400000u : rounded) >> 16);
    }
}

static void from_bf16(float *restrict out, const uint16_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = laci_bf16_to_f32(x[i]);
}

static void rms_norm(float *out, const float *x, const float *weight, float eps, size_t n)
{
    double squares = 0;
    /* Short runs, so that the sum is as exact as the bound asks. */
    for (size_t at = 0; at < n;) {
        const size_t stop = n - at < 256 ? n : at + 256;
        vec sum = v_zero();
        for (; at + LANES <= stop; at += LANES)
            sum = v_fma(v_load(x + at), v_load(x + at), sum);
        if (at < stop) {
            const vec rest = load_some(x + at, stop - at, 0);
            sum = v_fma(rest, rest, sum);
            at = stop;
        }
        squares += (double)v_add_lanes(sum);
    }
    const float factor = (float)(1.0 / sqrt(squares / (double)n + (double)eps));
    if (weight)
        for (size_t i = 0; i < n; i++)
            out[i] = x[i] * factor * weight[i];
    else
        for (size_t i = 0; i < n; i++)
            out[i] = x[i] * factor;
}

/* gate * up / (1 + e^-gate); the exponential is of -|gate|, which cannot overflow. */
INLINE vec swiglu_lanes(vec gate, vec up)
{
    const vec e = exp2_negative(v_mul(v_abs(gate), v_set1(-1.44269504088896341f)), true);
    const vec top = v_if_negative(gate, v_mul(gate, e), gate);
    return v_mul(v_div(top, v_add(v_set1(1), e)), up);
}

static void swiglu(float *out, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(out + i, swiglu_lanes(v_load(gate + i), v_load(up + i)));
    if (i < n)
        store_some(out + i,
                   swiglu_lanes(load_some(gate + i, n - i, 0), load_some(up + i, n - i, 0)), n - i);
}

static void rope(float *x, const float *restrict cosines, const float *restrict sines,
                 size_t n_pairs, bool adjacent)
{
    const size_t step = adjacent ? 2 : 1;
    float *restrict a = x, *restrict b = x + (adjacent ? 1 : n_pairs);
    for (size_t i = 0; i < n_pairs; i++) {
        const float first = a[i * step], second = b[i * step];
        a[i * step] = first * cosines[i] - second * sines[i];
        b[i * step] = second * cosines[i] + first * sines[i];
    }
}

static void fill_rows(laci_kernels *table)
{
    table->scale = scale;
    table->add = add;
    table->to_bf16 = to_bf16;
    table->from_bf16 = from_bf16;
    table->rms_norm = rms_norm;
    table->swiglu = swiglu;
    table->rope = rope;
}
