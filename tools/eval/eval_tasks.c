/* eval_tasks.c: the list of tasks, of both skins. */
#include <string.h>

#include "eval/eval_task.h"

size_t eval_n_tasks(void)
{
    return eval_n_compact_tasks + eval_n_ruler_tasks;
}

const eval_task *eval_task_at(size_t i)
{
    return i < eval_n_compact_tasks ? &eval_compact_tasks[i]
                                    : &eval_ruler_tasks[i - eval_n_compact_tasks];
}

const eval_task *eval_task_find(const char *name)
{
    for (size_t i = 0; i < eval_n_tasks(); i++)
        if (!strcmp(eval_task_at(i)->name, name)) return eval_task_at(i);
    return NULL;
}
