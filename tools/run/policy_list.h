/* policy_list.h: the attention policies and their knobs, as the library lists them, for people
 * (Markdown tables, which docs/ takes over by scripts/policy_docs.sh) and for machines. */
#ifndef LACUNA_TOOLS_POLICY_LIST_H
#define LACUNA_TOOLS_POLICY_LIST_H

#include <stdbool.h>

/* Writes the list to standard output. EXIT_OK or an exit code after a message. */
int policy_list_print(bool as_json);

#endif
