/* auto.h: what "--sparse auto" stands for. */
#ifndef LACI_ATTENTION_AUTO_H
#define LACI_ATTENTION_AUTO_H

#include "attention/sparse.h"

/* Positions from which sparse attention is faster than dense for a family, the steps that measure
 * included; measured, see the table in auto.c. SIZE_MAX = never seen to be. */
size_t laci_auto_crossover(const char *family);

#endif
