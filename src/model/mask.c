/* mask.c: see mask.h. Mask tokens are known by how the published tokenizers spell them. */
#include "model/mask.h"

#include <string.h>

#include "base/error.h"

static const char *const spellings[] = { "<|mask|>", "<|MASK|>", "<MASK>",   "|<MASK>|",
                                         "<mask>",   "[MASK]",   "<[MASK]>", "<|mdm_mask|>" };

static laci_quoted piece_of(const laci_tokenizer *tok, int id)
{
    size_t n;
    const char *text = laci_tokenizer_piece(tok, id, &n);
    return laci_quote(text, n);
}

void laci_mask_check(const laci_config *config, const laci_tokenizer *tok, const char *declared,
                     laci_warnings *warnings)
{
    const int mask = config->mask_id;
    int other = declared ? laci_tokenizer_find(tok, declared, strlen(declared)) : -1;
    bool is_mask = other == mask;
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        const int id = laci_tokenizer_find(tok, spellings[i], strlen(spellings[i]));
        is_mask |= id == mask;
        if (other < 0 && id >= 0 && laci_tokenizer_is_added(tok, id)) other = id;
    }
    if (is_mask || !strcmp(laci_tokenizer_kind(tok), "ascii")) return;
    const bool is_ordinary = laci_tokenizer_has(tok, mask) && !laci_tokenizer_is_added(tok, mask);
    const laci_quoted text = piece_of(tok, mask);
    if (other >= 0)
        laci_warn(
            warnings, LAC_WARNING_MASK,
            "the mask token id is %d (\"%s\"), but the mask token of the tokenizer is \"%s\", "
            "id %d",
            mask, text.text, piece_of(tok, other).text, other);
    else if (is_ordinary)
        laci_warn(warnings, LAC_WARNING_MASK,
                  "the mask token id is %d, which the tokenizer has as the ordinary token \"%s\"",
                  mask, text.text);
}
