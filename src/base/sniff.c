/* sniff.c: see sniff.h. */
#include "base/sniff.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { LOOKED_AT = 4096 };

/* Whether `data` begins with `head`, letters of either case where `any_case`. */
static bool begins(const unsigned char *data, size_t n, const char *head, size_t n_head,
                   bool any_case)
{
    if (n < n_head) return false;
    for (size_t i = 0; i < n_head; i++) {
        const int c = any_case && data[i] >= 'A' && data[i] <= 'Z' ? data[i] + 32 : data[i];
        if (c != (unsigned char)head[i]) return false;
    }
    return true;
}

static bool is_space(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Bytes in front of the first that says something: a byte order mark, white space. */
static size_t skip_blank(const unsigned char *data, size_t n)
{
    size_t at = begins(data, n, "\xef\xbb\xbf", 3, false) ? 3 : 0;
    while (at < n && is_space(data[at]))
        at++;
    return at;
}

static bool is_zero(const unsigned char *data, size_t n)
{
    for (size_t i = 0; i < n && i < LOOKED_AT; i++)
        if (data[i]) return false;
    return true;
}

const char *laci_sniff(const void *bytes, size_t n)
{
    static const struct {
        const char *head, *what;
        bool any_case;
    } texts[] = {
        { "version https://git-lfs",
          "a Git LFS pointer: the file itself was not downloaded "
          "(git lfs pull fetches it)",
          false },
        { "# xet version", "a Xet pointer: the file itself was not downloaded", false },
        { "<!doctype html", "an HTML page", true },
        { "<html", "an HTML page", true },
        { "<head", "an HTML page", true },
        { "<?xml", "an XML document", true },
        { "<error", "an XML error message", true },
    };
    static const struct {
        const char *head;
        size_t n;
        const char *what;
    } binaries[] = {
        { "GGUF", 4, "a GGUF file" },
        { "lmgg", 4, "a GGML file older than GGUF" },
        { "fmgg", 4, "a GGML file older than GGUF" },
        { "tjgg", 4, "a GGML file older than GGUF" },
        { "PK\3\4", 4, "a zip archive, as PyTorch saves weights" },
        { "\x80\2", 2, "a Python pickle, as PyTorch saves weights" },
        { "\x80\3", 2, "a Python pickle" },
        { "\x80\4", 2, "a Python pickle" },
        { "\x80\5", 2, "a Python pickle" },
        { "\x1f\x8b", 2, "a gzip archive" },
        { "\x28\xb5\x2f\xfd", 4, "a Zstandard archive" },
        { "\xfd"
          "7zXZ",
          5, "an xz archive" },
        { "\x89HDF", 4, "an HDF5 file, as Keras saves weights" },
        { "%PDF", 4, "a PDF document" },
    };
    const unsigned char *data = bytes;
    if (!n) return "an empty file";
    if (is_zero(data, n)) return "nothing but zero bytes, as an unfinished download leaves them";
    const size_t at = skip_blank(data, n);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (begins(data + at, n - at, texts[i].head, strlen(texts[i].head), texts[i].any_case))
            return texts[i].what;
    for (size_t i = 0; i < sizeof binaries / sizeof *binaries; i++)
        if (begins(data, n, binaries[i].head, binaries[i].n, false)) return binaries[i].what;
    return NULL;
}

const char *laci_sniff_binary(const void *bytes, size_t n)
{
    enum { ENOUGH = 64 };
    const unsigned char *data = bytes;
    const char *known = laci_sniff(bytes, n);
    if (known) return known;
    const size_t at = skip_blank(data, n);
    if (at < n && data[at] == '{') return "a JSON text";
    for (size_t i = 0; i < n && i < ENOUGH; i++)
        if ((data[i] < 0x20 && !is_space(data[i])) || data[i] == 0x7f) return NULL;
    return "a text file";
}
