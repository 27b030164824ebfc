/* tokenizer_added.c: added tokens, such as role markers, found in a text as a whole before it is
 * normalised or split. The leftmost match wins, the longest of those that begin together. Sorted
 * keys are narrowed byte by byte, so a search costs little however many tokens share a prefix. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/error.h"
#include "base/utf8.h"
#include "model/tokenizer/tokenizer_parts.h"

/* ------------------------------------------------------------------ building */

lac_status laci_added_add(laci_added_set *set, const laci_added_info *info, lac_error *err)
{
    if (!info->n_text || info->n_text > LACI_MAX_ADDED_TOKEN)
        return laci_fail(err, LAC_EFORMAT, 0, "added token %lld has %zu bytes, allowed 1 to %d",
                         (long long)info->id, info->n_text, LACI_MAX_ADDED_TOKEN);
    if (set->n == set->n_max) {
        const size_t room = set->n ? 2 * set->n : 32;
        laci_added *items = laci_resize_array(&set->mem, set->items, room, sizeof *items);
        if (!items) return laci_fail_memory(err, "added tokens", room * sizeof *items);
        set->items = items;
        set->n_max = room;
    }
    char *text = laci_copy_string(&set->mem, info->text, info->n_text);
    if (!text) return laci_fail_memory(err, "an added token", info->n_text + 1);
    set->items[set->n++] = (laci_added){
        .text = text,
        .n_text = info->n_text,
        .id = (int32_t)info->id,
        .single_word = info->single_word,
        .lstrip = info->lstrip,
        .rstrip = info->rstrip,
        .normalized = info->normalized,
        .only_named = info->only_named,
    };
    return LAC_OK;
}

static int compare_bytes(const char *a, size_t n_a, const char *b, size_t n_b)
{
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order ? order : (n_a > n_b) - (n_a < n_b);
}

/* By key; of equal keys the earlier added token first. */
static int compare_keys(const void *a, const void *b)
{
    const laci_added *x = *(const laci_added *const *)a, *y = *(const laci_added *const *)b;
    const int order = compare_bytes(x->key, x->n_key, y->key, y->n_key);
    return order ? order : (x > y) - (x < y);
}

static int compare_texts(const void *a, const void *b)
{
    const laci_added *x = *(const laci_added *const *)a, *y = *(const laci_added *const *)b;
    const int order = compare_bytes(x->text, x->n_text, y->text, y->n_text);
    return order ? order : (x > y) - (x < y);
}

/* Sorts the chosen entries and drops those whose key an earlier one has. */
static void index_by_key(laci_added_index *index)
{
    size_t n = 0;
    if (index->n) qsort(index->sorted, index->n, sizeof(const laci_added *), compare_keys);
    for (size_t i = 0; i < index->n; i++) {
        const laci_added *item = index->sorted[i];
        const laci_added *last = n ? index->sorted[n - 1] : NULL;
        if (last && !compare_bytes(last->key, last->n_key, item->key, item->n_key)) continue;
        index->sorted[n++] = item;
        index->first[(unsigned char)item->key[0] + 1]++; /* counts first, then sums of counts */
    }
    index->n = n;
    for (size_t b = 0; b < 256; b++)
        index->first[b + 1] += index->first[b];
}

/* Sorts all entries by spelling; a spelling may repeat only with the same id. */
static lac_status index_by_text(laci_added_index *index, lac_error *err)
{
    size_t n = 0;
    if (index->n) qsort(index->sorted, index->n, sizeof(const laci_added *), compare_texts);
    for (size_t i = 0; i < index->n; i++) {
        const laci_added *item = index->sorted[i];
        const laci_added *last = n ? index->sorted[n - 1] : NULL;
        if (last && !compare_bytes(last->text, last->n_text, item->text, item->n_text)) {
            if (last->id == item->id) continue;
            return laci_fail(err, LAC_EFORMAT, 0, "added token \"%s\" has two ids, %d and %d",
                             laci_quote(item->text, item->n_text).text, (int)last->id,
                             (int)item->id);
        }
        index->sorted[n++] = item;
    }
    index->n = n;
    return LAC_OK;
}

static lac_status fill_keys(laci_added_set *set, const laci_normalizer *steps, int n_steps,
                            lac_error *err)
{
    laci_normalize_work work;
    laci_normalize_work_init(&work, &set->mem);
    lac_status st = LAC_OK;
    for (size_t i = 0; i < set->n && !st; i++) {
        laci_added *item = &set->items[i];
        const char *key = item->text;
        size_t n_key = item->n_text;
        if (item->normalized)
            st = laci_normalize(steps, n_steps, &work, item->text, item->n_text, &key, &n_key, err);
        if (st) break;
        item->key = laci_copy_string(&set->mem, key, n_key);
        item->n_key = n_key;
        if (!item->key) st = laci_fail_memory(err, "an added token", n_key + 1);
    }
    laci_normalize_work_clear(&work);
    return st;
}

lac_status laci_added_finish(laci_added_set *set, const laci_normalizer *steps, int n_steps,
                             lac_error *err)
{
    lac_status st = fill_keys(set, steps, n_steps, err);
    if (st) return st;
    laci_added_index *indexes[3] = { &set->raw, &set->normalized, &set->by_text };
    for (int i = 0; i < 3; i++) {
        indexes[i]->sorted = laci_alloc_array(&set->mem, set->n, sizeof(const laci_added *));
        if (!indexes[i]->sorted)
            return laci_fail_memory(err, "added tokens", set->n * sizeof(const laci_added *));
    }
    for (size_t i = 0; i < set->n; i++) {
        const laci_added *item = &set->items[i];
        laci_added_index *index = item->normalized ? &set->normalized : &set->raw;
        if (item->n_key && !item->only_named) /* a normalizer may leave no key */
            index->sorted[index->n++] = item;
        set->by_text.sorted[set->by_text.n++] = item;
    }
    index_by_key(&set->raw);
    index_by_key(&set->normalized);
    return index_by_text(&set->by_text, err);
}

void laci_added_clear(laci_added_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        laci_release(&set->mem, set->items[i].text);
        laci_release(&set->mem, set->items[i].key);
    }
    laci_release(&set->mem, set->items);
    laci_release(&set->mem, set->raw.sorted);
    laci_release(&set->mem, set->normalized.sorted);
    laci_release(&set->mem, set->by_text.sorted);
    *set = (laci_added_set){ .mem = set->mem };
}

int32_t laci_added_find(const laci_added_set *set, const char *text, size_t n)
{
    size_t low = 0, high = set->by_text.n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const laci_added *item = set->by_text.sorted[middle];
        const int order = compare_bytes(item->text, item->n_text, text, n);
        if (!order) return item->id;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* ------------------------------------------------------------------ character classes */

static bool is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

/* Letters, marks, digits, connectors and joiners (Unicode TR18, \w). */
static bool is_word(uint32_t code)
{
    if (code == 0x200C || code == 0x200D) return true;
    if (code >= 0x24B6 && code <= 0x24E9) return true; /* circled letters are alphabetic */
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}

/* Length of the character that ends at `at`; text is well-formed and at > 0. */
static size_t before(const char *text, size_t at, uint32_t *code)
{
    size_t begin = at - 1;
    while (begin && ((unsigned char)text[begin] & 0xC0) == 0x80)
        begin--;
    return laci_utf8_next(text + begin, at - begin, code);
}

static size_t skip_spaces(const char *text, size_t n, size_t at)
{
    uint32_t code = 0;
    for (size_t length; at < n; at += length) {
        length = laci_utf8_next(text + at, n - at, &code);
        if (!length || !is_space(code)) break;
    }
    return at;
}

static size_t skip_spaces_back(const char *text, size_t at, size_t limit)
{
    uint32_t code = 0;
    for (size_t length; at > limit; at -= length) {
        length = before(text, at, &code);
        if (!length || !is_space(code)) break;
    }
    return at;
}

static bool is_single_word(const char *text, size_t n, size_t begin, size_t end)
{
    uint32_t code = 0;
    if (begin && before(text, begin, &code) && is_word(code)) return false;
    return !(end < n && laci_utf8_next(text + end, n - end, &code) && is_word(code));
}

/* ------------------------------------------------------------------ searching */

/* The first entry in [low, high) whose byte `depth` is at least `byte`; all are longer than depth
 * but perhaps the first, which narrowing has stepped over. */
static size_t lower_bound(const laci_added_index *index, size_t low, size_t high, size_t depth,
                          unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((unsigned char)index->sorted[middle]->key[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that begins at text[at]. */
static const laci_added *longest_at(const laci_added_index *index, const char *text, size_t n,
                                    size_t at)
{
    const unsigned byte = (unsigned char)text[at];
    size_t low = index->first[byte], high = index->first[byte + 1];
    const laci_added *best = NULL;
    for (size_t depth = 1; low < high; depth++) {
        if (index->sorted[low]->n_key == depth) best = index->sorted[low++];
        if (at + depth >= n) break;
        const unsigned next = (unsigned char)text[at + depth];
        low = lower_bound(index, low, high, depth, next);
        high = lower_bound(index, low, high, depth, next + 1);
    }
    return best;
}

const laci_added *laci_added_next(const laci_added_index *index, const char *text, size_t n,
                                  size_t from, size_t *begin, size_t *end)
{
    for (size_t at = from; index->n && at < n;) {
        const laci_added *item = longest_at(index, text, n, at);
        if (!item) {
            at++;
            continue;
        }
        const size_t behind = at + item->n_key;
        if (item->single_word && !is_single_word(text, n, at, behind)) {
            at = behind;
            continue;
        }
        *begin = item->lstrip ? skip_spaces_back(text, at, from) : at;
        *end = item->rstrip ? skip_spaces(text, n, behind) : behind;
        return item;
    }
    return NULL;
}
