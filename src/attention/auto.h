/* auto.h: what "--sparse auto" stands for. */
#ifndef LACI_ATTENTION_AUTO_H
#define LACI_ATTENTION_AUTO_H

#include "attention/sparse.h"

/* Positions from which sparse attention is taken to be faster than dense for a family, the steps
 * that measure included; see the table in auto.c. SIZE_MAX = never seen to be. */
size_t laci_auto_crossover(const char *family);

/* The same behind a key cache: a prefix longer than this is cheaper to read with losa. */
size_t laci_auto_prefix(const char *family);

#endif
