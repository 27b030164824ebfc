/* warnings.h: what a model's files say that does not keep it from running but may surprise.
 * Gathered while the model is opened, read through lac_model_warning(). */
#ifndef LACI_MODEL_WARNINGS_H
#define LACI_MODEL_WARNINGS_H

#include "lacuna.h"

enum { LACI_MAX_WARNINGS = 8, LACI_WARNING_TEXT = 512 };

typedef struct {
    int n;
    struct {
        lac_warning_topic topic;
        char text[LACI_WARNING_TEXT]; /* one sentence */
    } items[LACI_MAX_WARNINGS];
} laci_warnings;

/* Adds a sentence; those beyond the last place are lost. */
void laci_warn(laci_warnings *list, lac_warning_topic topic, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
