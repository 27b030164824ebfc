/* schedule.h: how many positions are decided at each step: the blocks a list of holes is cut into,
 * the steps each block gets, and the quota of each step. Pure arithmetic, no memory.
 * Sources: LLaDA (arXiv 2502.09992; ML-GSAI/LLaDA), Dream (2508.15487; DreamLM/Dream). */
#ifndef LACI_ENGINE_SCHEDULE_H
#define LACI_ENGINE_SCHEDULE_H

#include "lacuna.h"

typedef struct {
    int n_holes, block_length, steps; /* resolved: all positive */
    bool is_dream;                    /* Dream's time grid; else LLaDA's even split */
    bool may_fix_none;                /* published: a Dream step may fix nothing */
    float eps;                        /* Dream: end of the time grid */
    int lead;                         /* holes of a first block that is shorter, 0 = it is not */
    int n_wanted;    /* holes `steps` is for, where the last block has more; 0 = n_holes */
    int block_steps; /* > 0: steps of every block, in place of `steps` */
    bool may_defer;  /* quotas are what is due by a step, less what was fixed before */
} laci_schedule;

int laci_schedule_n_blocks(const laci_schedule *s);

/* Holes [begin, end) of block b, by index into the list of holes. */
void laci_schedule_block(const laci_schedule *s, int b, int *begin, int *end);

/* Steps of block b: floor(steps * end / n) - floor(steps * begin / n), which is steps / n_blocks
 * when that divides evenly, as published; at least 1. n is n_wanted: a last block that reaches past
 * it takes the steps of a whole one. */
int laci_schedule_block_steps(const laci_schedule *s, int b);

/* Positions to fix at step i of n_steps, in a block that began with `n_block` holes of which
 * `n_open` are left. Never more than n_open; all of them at the last step and behind it. With
 * block_steps the share is that of a full block, also where fewer are open, as SDAR has it. */
int laci_schedule_quota(const laci_schedule *s, int i, int n_steps, int n_block, int n_open);

/* Dream's `origin`: the chance of each open position to be fixed at step i of n_steps. */
double laci_schedule_chance(const laci_schedule *s, int i, int n_steps);

#endif
