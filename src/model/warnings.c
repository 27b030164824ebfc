/* warnings.c: see warnings.h. */
#include "model/warnings.h"

#include <stdarg.h>
#include <stdio.h>

void laci_warn(laci_warnings *list, lac_warning_topic topic, const char *format, ...)
{
    if (list->n == LACI_MAX_WARNINGS) return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(list->items[list->n].text, LACI_WARNING_TEXT, format, args);
    va_end(args);
    list->items[list->n++].topic = topic;
}
