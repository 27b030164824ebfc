/* test_eval_record.c: files of records written by one version and read by another, by hand or by a
 * fault: what is absent, of another kind or out of range is refused by name, and nothing is lost.
 */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <unistd.h>

#include "test.h"

#include "eval/eval_record.h"
#include "shell/console.h"

#define SETTINGS "{\"type\":\"settings\",\"seed\":\"1\",\"steps\":\"default\"}\n"
#define SAMPLE(policy, rest)                                                               \
    "{\"type\":\"sample\",\"task\":\"kv\",\"ctx\":96,\"depth\":-1,\"index\":0,\"policy\":" \
    "\"" policy "\"" rest "}\n"

static const eval_setting settings[] = { { "seed", "1" }, { "steps", "default" } };
enum { N_SETTINGS = sizeof settings / sizeof *settings };

static char folder[] = "/tmp/lacuna-record-XXXXXX";
static char path[64], messages[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/run.jsonl", folder);
    snprintf(messages, sizeof messages, "%s/stderr", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(messages);
    return rmdir(folder);
}

static void put_file(const char *text, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static size_t get_file(const char *name, char *out, size_t room)
{
    FILE *file = fopen(name, "rb");
    assert_non_null(file);
    const size_t n = fread(out, 1, room - 1, file);
    fclose(file);
    out[n] = 0;
    return n;
}

/* Exit code of taking up `text`; what was said goes to `said`. */
static int resume(const char *text, eval_records *r, char *said, size_t room)
{
    put_file(text, strlen(text));
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    assert_non_null(freopen(messages, "wb", stderr));
    const int code = eval_records_open(r, path, true, settings, N_SETTINGS);
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    (void)get_file(messages, said, room);
    return code;
}

static void refuses(const char *text, int code, const char *words)
{
    eval_records r;
    char said[2048], left[4096];
    const int got = resume(text, &r, said, sizeof said);
    eval_records_free(&r);
    if (got != code) fail_msg("%s gives %d, expected %d: %s", text, got, code, said);
    if (!strstr(said, words)) fail_msg("%s: \"%s\" lacks \"%s\"", text, said, words);
    (void)get_file(path, left, sizeof left);
    assert_string_equal(left, text); /* refused is left as it was */
}

static void lines_without_a_key_are_refused(void **state)
{
    (void)state;
    static const char *const no_settings[] = { "{}\n",           "5\n",           "null\n", "[]\n",
                                               "\"settings\"\n", "{\"type\":5}\n" };
    for (size_t i = 0; i < sizeof no_settings / sizeof *no_settings; i++)
        refuses(no_settings[i], EXIT_RUN, "line 1");
    static const char *const no_sample[] = {
        SETTINGS "{}\n",
        SETTINGS "7\n",
        SETTINGS "{\"type\":\"sample\"}\n",
        SETTINGS "{\"type\":\"sample\",\"task\":\"kv\",\"ctx\":96,\"depth\":-1,\"index\":0}\n",
        SETTINGS "{\"type\":\"sample\",\"task\":3,\"ctx\":96,\"depth\":-1,\"index\":0,"
                 "\"policy\":\"off\"}\n",
        SETTINGS "{\"type\":\"sample\",\"task\":\"kv\",\"policy\":\"off\"}\n",
        SETTINGS "{\"type\":\"sample\",\"task\":\"kv\",\"policy\":\"off\",\"ctx\":\"96\","
                 "\"depth\":-1,\"index\":0}\n",
    };
    for (size_t i = 0; i < sizeof no_sample / sizeof *no_sample; i++)
        refuses(no_sample[i], EXIT_RUN, "line 2");
}

static void settings_are_compared_both_ways(void **state)
{
    (void)state;
    refuses("{\"type\":\"settings\"}\n", EXIT_USAGE, "does not say which --seed");
    refuses("{\"type\":\"settings\",\"seed\":\"1\"}\n", EXIT_USAGE, "does not say which --steps");
    refuses("{\"type\":\"settings\",\"seed\":1,\"steps\":\"default\"}\n", EXIT_USAGE, "--seed");
    refuses("{\"type\":\"settings\",\"seed\":\"2\",\"steps\":\"default\"}\n", EXIT_USAGE,
            "made with --seed 2, this run has 1");
    refuses("{\"type\":\"settings\",\"seed\":\"1\",\"steps\":\"default\",\"colour\":\"red\"}\n",
            EXIT_USAGE, "'colour'");
}

static void numbers_keep_their_range(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        { SETTINGS SAMPLE("off", ",\"score\":-77"), "\"score\" is -77, allowed are 0 to 1" },
        { SETTINGS SAMPLE("off", ",\"exact\":2"), "\"exact\" is 2" },
        { SETTINGS SAMPLE("off", ",\"kl\":-0.5"), "\"kl\" is -0.5" },
        { SETTINGS SAMPLE("off", ",\"density\":1.5"), "\"density\" is 1.5" },
        { SETTINGS SAMPLE("off", ",\"ms_per_step\":-1"), "\"ms_per_step\" is -1" },
        { SETTINGS SAMPLE("off", ",\"bytes_read\":-1"), "\"bytes_read\" is -1" },
        { SETTINGS SAMPLE("off", ",\"score\":\"1\""), "\"score\" is no number" },
        { SETTINGS "{\"type\":\"sample\",\"task\":\"kv\",\"policy\":\"off\",\"ctx\":0,\"depth\":-1,"
                   "\"index\":0}\n",
          "\"ctx\" is 0, allowed are 1 to 2147483647" },
        { SETTINGS "{\"type\":\"sample\",\"task\":\"kv\",\"policy\":\"off\",\"ctx\":96,"
                   "\"depth\":101,\"index\":0}\n",
          "\"depth\" is 101" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refuses(bad[i].text, EXIT_RUN, bad[i].words);
        refuses(bad[i].text, EXIT_RUN, "line 2");
    }
}

/* Figures that an older version did not have are not known; they are no reason to refuse. */
static void records_of_fewer_figures_are_taken_up(void **state)
{
    (void)state;
    eval_records r;
    char said[2048];
    const char *text = SETTINGS SAMPLE("off", ",\"score\":1,\"kl\":null") SAMPLE("window", "");
    assert_int_equal(resume(text, &r, said, sizeof said), EXIT_OK);
    assert_string_equal(said, "");
    assert_int_equal(r.n, 2);
    assert_true(r.all[0].figures.score == 1);
    assert_true(r.all[0].figures.kl != r.all[0].figures.kl);
    assert_true(r.all[1].figures.score != r.all[1].figures.score);
    eval_records_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_without_a_key_are_refused),
        cmocka_unit_test(settings_are_compared_both_ways),
        cmocka_unit_test(numbers_keep_their_range),
        cmocka_unit_test(records_of_fewer_figures_are_taken_up),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
