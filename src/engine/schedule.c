/* schedule.c: see schedule.h. */
#include "engine/schedule.h"

/* Holes of the first block. */
static int first_block(const laci_schedule *s)
{
    const int n = s->lead ? s->lead : s->block_length;
    return n < s->n_holes ? n : s->n_holes;
}

int laci_schedule_n_blocks(const laci_schedule *s)
{
    return 1 + (s->n_holes - first_block(s) + s->block_length - 1) / s->block_length;
}

void laci_schedule_block(const laci_schedule *s, int b, int *begin, int *end)
{
    const int n_first = first_block(s), n = b ? s->block_length : n_first;
    *begin = b ? n_first + (b - 1) * s->block_length : 0;
    *end = s->n_holes - *begin < n ? s->n_holes : *begin + n;
}

int laci_schedule_block_steps(const laci_schedule *s, int b)
{
    int begin, end;
    laci_schedule_block(s, b, &begin, &end);
    const int64_t upto_end = (int64_t)s->steps * end / s->n_holes;
    const int64_t upto_begin = (int64_t)s->steps * begin / s->n_holes;
    return upto_end > upto_begin ? (int)(upto_end - upto_begin) : 1;
}

/* Point i of the grid from 1 to eps in n_steps equal parts, in float as published: counted from the
 * nearer end, rounded once. */
static float grid(const laci_schedule *s, int i, int n_steps)
{
    const double part = (double)((s->eps - 1.0f) / (float)n_steps);
    if (i < (n_steps + 1) / 2) return (float)(1.0 + part * i);
    return (float)((double)s->eps - part * (n_steps - i));
}

double laci_schedule_chance(const laci_schedule *s, int i, int n_steps)
{
    if (i >= n_steps - 1) return 1.0;
    return 1.0 - (double)grid(s, i + 1, n_steps) / (double)grid(s, i, n_steps);
}

int laci_schedule_quota(const laci_schedule *s, int i, int n_steps, int n_block, int n_open)
{
    int quota;
    if (i >= n_steps - 1) return n_open;
    if (s->is_dream) {
        quota = (int)((double)n_open * laci_schedule_chance(s, i, n_steps));
        if (!quota && !s->may_fix_none) quota = 1;
    } else {
        quota = n_block / n_steps + (i < n_block % n_steps);
    }
    return quota < n_open ? quota : n_open;
}
