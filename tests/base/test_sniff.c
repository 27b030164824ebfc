/* test_sniff.c: what the first bytes of a file that is not what its name says are taken for. */
#include "test.h"

#include "base/sniff.h"

static void expect(const char *(*sniff)(const void *, size_t), const char *bytes, size_t n,
                   const char *word)
{
    char *exact = malloc(n ? n : 1); /* no byte to read past the end */
    memcpy(exact, bytes, n);
    const char *got = sniff(exact, n);
    free(exact);
    if (!got != !word || (word && !strstr(got, word)))
        fail_msg("%.20s (%zu bytes): %s, expected %s", bytes, n, got ? got : "nothing",
                 word ? word : "nothing");
}

#define BYTES(text) text, sizeof(text) - 1

static void files_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
    } files[] = {
        { BYTES(""), "empty" },
        { BYTES("\0\0\0\0\0\0\0\0\0"), "zero bytes" },
        { BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"), "LFS" },
        { BYTES("# xet version 0\nfilesize = 9\n"), "Xet" },
        { BYTES("<!DOCTYPE html>\n<html>"), "HTML" },
        { BYTES("\xef\xbb\xbf\r\n  <HTML lang=en>"), "HTML" },
        { BYTES("<?xml version=\"1.0\"?><Error/>"), "XML" },
        { BYTES("<Error><Code>AccessDenied</Code>"), "XML" },
        { BYTES("GGUF\3\0\0\0"), "GGUF" },
        { BYTES("PK\3\4\24\0"), "zip" },
        { BYTES("\x80\2}q\1"), "pickle" },
        { BYTES("\x1f\x8b\x08"), "gzip" },
        { BYTES("\x89HDF\r\n"), "HDF5" },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        expect(laci_sniff, files[i].bytes, files[i].n, files[i].word);
        expect(laci_sniff_binary, files[i].bytes, files[i].n, files[i].word);
    }
    expect(laci_sniff, BYTES("{\"error\":\"not found\"}"), NULL);
    expect(laci_sniff_binary, BYTES("{\"error\":\"not found\"}"), "JSON");
    expect(laci_sniff, BYTES("Entry not found"), NULL);
    expect(laci_sniff_binary, BYTES("Entry not found"), "text");
    expect(laci_sniff_binary, BYTES("\xef\xbb\xbf"), "text");
    expect(laci_sniff_binary, BYTES("\1\2\3\4\5\6\7\10{"), NULL);
    expect(laci_sniff, BYTES("vers"), NULL);
    expect(laci_sniff, BYTES("<"), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
