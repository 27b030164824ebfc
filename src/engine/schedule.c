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
    if (s->block_steps > 0) return s->block_steps;
    laci_schedule_block(s, b, &begin, &end);
    const int n = s->n_wanted > 0 ? s->n_wanted : s->n_holes;
    const int64_t upto_end = (int64_t)s->steps * end / n;
    const int64_t upto_begin = (int64_t)s->steps * begin / n;
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
    if (i >= n_steps - 1) return n_open;
    const int n_split = s->block_steps > 0 ? s->block_length : n_block;
    const int each = n_split / n_steps, rest = n_split % n_steps;
    int quota = each + (i < rest);
    if (s->is_dream) {
        quota = (int)((double)n_open * laci_schedule_chance(s, i, n_steps));
        if (!quota && !s->may_fix_none && n_steps <= n_block) quota = 1;
    } else if (s->may_defer) {
        const int due = each * (i + 1) + (i < rest ? i + 1 : rest);
        quota = due - (n_block - n_open);
    }
    return quota < n_open ? quota : n_open;
}
