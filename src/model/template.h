/* template.h: which built-in chat template, if any, is the one that a model's files hold. The
 * files' templates are programs in Jinja, which is not run here: they are recognised by the markers
 * and the fixed system text in them. */
#ifndef LACI_MODEL_TEMPLATE_H
#define LACI_MODEL_TEMPLATE_H

#include "model/config.h"
#include "model/warnings.h"

/* What the files say: nothing that could, no template, or its text. */
typedef struct {
    bool is_told;     /* there is a file, or metadata, that would hold a template */
    const char *text; /* [n] NULL = no template */
    size_t n;
} laci_template_source;

/* Sets config->chat_template, which holds the family's own: kept where the files cannot tell,
 * "none" where they have no template, another built-in one where that is the files'. Warns when the
 * files' template is none of the built-in ones; the family's is then kept. */
void laci_template_settle(laci_config *config, const laci_template_source *src,
                          laci_warnings *warnings);

/* The built-in template that a text of Jinja stands for, `first` tried before the others; NULL when
 * it is none. Static string. */
const char *laci_template_recognise(const char *text, size_t n, const char *first);

#endif
