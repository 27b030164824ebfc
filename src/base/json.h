/* json.h: strict reading of JSON from strangers, over cJSON. A text is accepted only if it is
 * valid UTF-8, keeps the grammar exactly, stays within depth, size and node limits and repeats no
 * key in an object; after that the typed getters below name the place in every error. Objects of
 * unknown size are iterated; laci_json_get is linear and meant for small ones. */
#ifndef LACI_BASE_JSON_H
#define LACI_BASE_JSON_H

#include "base/alloc.h"

typedef struct laci_json laci_json; /* a parsed document; owns all values */
typedef struct cJSON laci_jval;     /* one value; borrowed from its document */

typedef struct {
    size_t max_bytes; /* 0 = 16 MiB */
    size_t max_nodes; /* 0 = 8 million values and keys */
    int max_depth;    /* 0 = 64 */
    bool is_loose;    /* as Python and editors write files: a byte order mark in front is passed
                         over; NaN, Infinity and -Infinity are taken, as strings, so that a getter
                         of numbers refuses them */
} laci_json_limits;

/* Parses `n` bytes. `what` names the text in errors ("config.json"); error offsets are byte
 * offsets into it. The text is not needed afterwards. Errors: EFORMAT, ENOMEM. */
lac_status laci_json_parse(laci_json **out, const char *text, size_t n, const char *what,
                           const laci_json_limits *limits, const lac_allocator *mem,
                           lac_error *err);
/* Reads and parses a file. Errors: EIO, EFORMAT, ENOMEM. */
lac_status laci_json_read(laci_json **out, const char *path, const laci_json_limits *limits,
                          const lac_allocator *mem, lac_error *err);
void laci_json_free(laci_json *doc);
const laci_jval *laci_json_root(const laci_json *doc);

/* Kinds. All accept NULL and say false. */
bool laci_json_is_object(const laci_jval *v);
bool laci_json_is_array(const laci_jval *v);
bool laci_json_is_string(const laci_jval *v);
bool laci_json_is_number(const laci_jval *v);
bool laci_json_is_bool(const laci_jval *v);
bool laci_json_is_null(const laci_jval *v);

/* Iteration over an array or object in file order; key of an object's member. NULL gives NULL. */
const laci_jval *laci_json_first(const laci_jval *v);
const laci_jval *laci_json_next(const laci_jval *v);
const char *laci_json_key(const laci_jval *v);
size_t laci_json_count(const laci_jval *v);

/* Member of a small object, NULL when absent or when `v` is no object. */
const laci_jval *laci_json_get(const laci_jval *v, const char *key);

/* Raw values. What is of another kind, or NULL because it is absent, gives NULL, NAN and false, so
 * that the answer of laci_json_get may be handed on. */
const char *laci_json_string(const laci_jval *v);
double laci_json_number(const laci_jval *v);
bool laci_json_bool(const laci_jval *v);
/* True, and *out set, when `v` is a number with an integral value within +-2^53. */
bool laci_json_integer(const laci_jval *v, int64_t *out);

/* Typed members of `object`. An absent or null member leaves *out untouched (callers preset the
 * default) unless `required`. `what` names the file in errors. Errors: EFORMAT. */
lac_status laci_json_get_int(const laci_jval *object, const char *key, bool required, int64_t min,
                             int64_t max, int *out, const char *what, lac_error *err);
lac_status laci_json_get_float(const laci_jval *object, const char *key, bool required, double min,
                               double max, double *out, const char *what, lac_error *err);
lac_status laci_json_get_bool(const laci_jval *object, const char *key, bool required, bool *out,
                              const char *what, lac_error *err);
/* The string is borrowed from the document. */
lac_status laci_json_get_string(const laci_jval *object, const char *key, bool required,
                                const char **out, const char *what, lac_error *err);

#endif
