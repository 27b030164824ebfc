/* knobs.h: the settings of a policy as text, "budget=0.1,page=64". Every policy has a table of its
 * knobs. The parser, its messages, the program's help, the man page and the tables in docs/ all
 * come from that table. */
#ifndef LACI_ATTENTION_KNOBS_H
#define LACI_ATTENTION_KNOBS_H

#include "base/error.h"

typedef enum {
    LACI_KNOB_PART,   /* double: a share above 0 and at most 1 */
    LACI_KNOB_LESS,   /* double: a share from 0 to below 1 */
    LACI_KNOB_NUMBER, /* double: from 0 to `max` */
    LACI_KNOB_AMOUNT, /* double: a whole number from 1 to `max`, or a share above 0 and below 1 */
    LACI_KNOB_COUNT,  /* size_t: a whole number from `min` to `max` */
    LACI_KNOB_SIZE,   /* size_t: one of `words`, which are numbers */
    LACI_KNOB_CHOICE, /* int: one of `words`; the first is 1 */
    LACI_KNOB_EITHER, /* bool: the first of two `words` is false, the second true */
} laci_knob_kind;

typedef struct {
    const char *name;
    laci_knob_kind kind;
    size_t at; /* offset of the field in the settings */
    double min, max;
    const char *words;  /* separated by '|' */
    const char *normal; /* the default as it would be typed; "auto" leaves the field to the policy,
                           which then holds 0, or LACI_KNOB_AUTO in a count */
    const char *means;  /* what "auto" comes to, NULL = "auto" cannot be typed */
    const char *help;
} laci_knob;

/* Largest number of keys, tokens or steps a knob may name. */
#define LACI_KNOB_MOST 16777216.0

#define LACI_KNOB_AUTO SIZE_MAX

enum { LACI_KNOB_TEXT = 96 };

/* Fills the fields of all knobs with their defaults. */
void laci_knobs_default(void *settings, const laci_knob *knobs, size_t n);

/* Reads `text` [length] over what the settings hold: pieces "name=value" between commas; '_' in a
 * name stands for '-'. Errors: EINVAL naming the policy and its knobs, or the knob, what was typed
 * and what may be. */
lac_status laci_knobs_read(void *settings, const laci_knob *knobs, size_t n, const char *policy,
                           const char *text, size_t length, lac_error *err);

/* Whether every knob that the text names is one of these. */
bool laci_knobs_have(const laci_knob *knobs, size_t n, const char *text, size_t length);

/* What may be typed, such as "a share above 0 and at most 1". */
void laci_knob_range(const laci_knob *knob, char out[LACI_KNOB_TEXT]);

/* The default in words: what is typed for it, or what "auto" means. */
const char *laci_knob_default(const laci_knob *knob);

#endif
