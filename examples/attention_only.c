/* attention_only.c: sparse attention for a program that has a model of its own. Queries, keys and
 * values of made-up heads drift a little from step to step, as those of a diffusion model do. The
 * first steps are dense, the last of them makes a plan, and the steps after it read what the plan
 * lists. Prints what each head reads and how far sparse outputs are from dense ones.
 *
 *   cc attention_only.c $(pkg-config --cflags --libs lacuna) -lm -o attention_only
 *   ./attention_only plan.lacplan          (where to save the plan)  */
#include <lacuna_attention.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 1024, N_PROMPT = 768, HEADS = 4, KV_HEADS = 2, D = 32, STEPS = 6, DENSE_STEPS = 2 };

/* Numbers in [-1, 1) that look random. */
static float number(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1;
}

/* Rows [N, heads, D]. Positions fall into 16 topics by place; what has the same topic has similar
 * queries and keys, so each head has its own few places to look at. */
static void fill(float *x, int heads, unsigned seed, int step)
{
    unsigned noise = seed + 977u * (unsigned)step;
    for (int row = 0; row < N; row++) {
        for (int head = 0; head < heads; head++) {
            unsigned topic = seed + 31u * (unsigned)(row / (N / 16)) + 7u * (unsigned)(head & 1);
            for (int i = 0; i < D; i++)
                x[(row * heads + head) * D + i] = 3 * number(&topic) + 0.3f * number(&noise);
        }
    }
}

static double distance(const float *a, const float *b, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += (a[i] - b[i]) * (double)(a[i] - b[i]);
        size += b[i] * (double)b[i];
    }
    return sqrt(error / size);
}

static int fail(const lac_error *err)
{
    fprintf(stderr, "attention_only: %s\n", err->message);
    return 1;
}

static int show(const lac_plan *plan)
{
    lac_error err;
    lac_plan_info info;
    if (lac_plan_get_info(plan, &info, &err)) return fail(&err);
    printf("plan: density %.3f, kept mass %.4f\n", info.density, info.kept_mass);
    for (int head = 0; head < info.n_heads; head++)
        printf("  head %d reads %.3f of the keys, which hold %.4f of its softmax\n", head,
               (double)info.pattern_density[head], (double)info.pattern_kept[head]);
    return 0;
}

/* Memory of a step, in the layout that zero strides stand for: [rows, heads, D]. */
typedef struct {
    float q[N * HEADS * D], k[N * KV_HEADS * D], v[N * KV_HEADS * D];
    float out[N * HEADS * D], dense[N * HEADS * D], lse[HEADS * N];
} arrays;

/* One step; the last dense one makes the plan. */
static int run_step(lac_attention *attention, arrays *a, int step, lac_plan **plan)
{
    lac_error err;
    fill(a->q, HEADS, 1, step);
    fill(a->k, KV_HEADS, 1, step);
    fill(a->v, KV_HEADS, 2, step);
    const lac_attention_kv kv = { .k = a->k, .v = a->v, .n = N };
    const lac_attention_call call = { .q = a->q, .n_q = N, .out = a->out, .lse = a->lse };
    if (lac_attention_set_kv(attention, &kv, &err)) return fail(&err);

    if (step < DENSE_STEPS - 1)
        return lac_attention_run(attention, &call, NULL, &err) ? fail(&err) : 0;
    if (step == DENSE_STEPS - 1) {
        /* Here blocks are kept until they hold 90% of the softmax; zeroed options would keep the
         * best 30% of the blocks, whatever they hold. */
        const lac_plan_options how = { .knobs = "fidelity=0.9,block=32", .n_prompt = N_PROMPT };
        if (lac_attention_build(attention, &call, &how, plan, &err)) return fail(&err);
        return show(*plan);
    }
    if (lac_attention_run(attention, &call, *plan, &err)) return fail(&err);
    lac_attention_call check = call;
    check.out = a->dense;
    if (lac_attention_run(attention, &check, NULL, &err)) return fail(&err);
    printf("step %d: sparse output within %.4f of dense\n", step,
           distance(a->out, a->dense, sizeof a->out / sizeof *a->out));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: attention_only FILE\n");
        return 2;
    }
    lac_error err = { .message = "" };
    lac_attention *attention = NULL;
    lac_plan *plan = NULL, *loaded = NULL;
    arrays *a = calloc(1, sizeof *a);
    int code = a ? 0 : 1;

    const lac_attention_options room = {
        .n_k = N, .n_heads = HEADS, .n_kv_heads = KV_HEADS, .d_head = D, .dtype = LAC_DTYPE_F32
    };
    if (!code && lac_attention_create(&attention, &room, &err)) code = fail(&err);
    for (int step = 0; step < STEPS && !code; step++)
        code = run_step(attention, a, step, &plan);

    /* A plan is worth keeping where the same prompt is asked again. */
    if (!code && lac_plan_save(plan, argv[1], &err)) code = fail(&err);
    if (!code && lac_plan_load(&loaded, argv[1], NULL, &err)) code = fail(&err);
    if (!code) printf("saved and loaded: %zu bytes\n", lac_plan_bytes(loaded));

    lac_plan_free(loaded);
    lac_plan_free(plan);
    lac_attention_free(attention);
    free(a);
    return code;
}
