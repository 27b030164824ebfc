/* sniff.h: what a file is that is not what its name says, told by its first bytes: the files that
 * half a download leaves behind. Used by readers of formats, once their own check has failed. */
#ifndef LACI_BASE_SNIFF_H
#define LACI_BASE_SNIFF_H

#include <stddef.h>

/* A phrase for "%s is ...", such as "an HTML page"; NULL when the bytes are nothing known. `n` is
 * the size of the file, and all its bytes may be looked at. Static string. */
const char *laci_sniff(const void *data, size_t n);

/* The same for formats that are not text: also "a JSON text" and "a text file". */
const char *laci_sniff_binary(const void *data, size_t n);

#endif
