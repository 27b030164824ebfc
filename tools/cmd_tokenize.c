/* cmd_tokenize.c: `lacuna tokenize`: text to ids and back, with the tokenizer of a model. */
#include "base/json.h"
#include "commands.h"
#include "run/prompt.h"
#include "shell/args.h"
#include "shell/console.h"
#include "shell/json_out.h"
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *model;
    bool decode, json, parse_special, pieces;
} tokenize_options;

#define AT(field) offsetof(tokenize_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Options" },
    { ARGS_TEXT, "model", 'm', "PATH", AT(model), 0, 0, NULL,
      "folder with a tokenizer or with a GGUF file, or a GGUF file; weights may be missing" },
    { ARGS_SWITCH, "decode", 0, NULL, AT(decode), 0, 0, NULL,
      "read ids (JSON or separated by blanks), print text; special tokens by name" },
    { ARGS_SWITCH, "parse-special", 0, NULL, AT(parse_special), 0, 0, NULL,
      "recognise special tokens spelled in the text" },
    { ARGS_SWITCH, "pieces", 0, NULL, AT(pieces), 0, 0, NULL,
      "one token a line, id and text (with --json: an array of texts beside the ids)" },
    { ARGS_SWITCH, "json", 0, NULL, AT(json), 0, 0, NULL, "one JSON object" },
};
#undef AT

typedef struct {
    int32_t *ids;
    size_t n, capacity;
} id_list;

/* ------------------------------------------------------------------ encode */

static void print_pieces(const lac_model *model, const int32_t *ids, size_t n_ids)
{
    for (size_t i = 0; i < n_ids; i++) {
        size_t n = 0;
        const char *piece = lac_model_piece(model, ids[i], &n);
        printf("%d\t", (int)ids[i]);
        console_put_safe(stdout, piece, n, false);
        putchar('\n');
    }
}

static int print_ids_json(const lac_model *model, const tokenize_options *opt, const int32_t *ids,
                          size_t n_ids)
{
    json_out j = { .data = NULL };
    json_begin_object(&j);
    json_key(&j, "ids");
    json_begin_array(&j);
    for (size_t i = 0; i < n_ids; i++)
        json_int(&j, ids[i]);
    json_end_array(&j);
    if (opt->pieces) {
        json_key(&j, "pieces");
        json_begin_array(&j);
        for (size_t i = 0; i < n_ids; i++) {
            size_t n = 0;
            const char *piece = lac_model_piece(model, ids[i], &n);
            json_text(&j, piece, n);
        }
        json_end_array(&j);
    }
    json_end_object(&j);
    const bool sound = json_write_line(&j, stdout);
    json_free(&j);
    return sound ? EXIT_OK : console_fail(EXIT_MEMORY, "out of memory for the JSON output");
}

static int encode(const lac_model *model, const tokenize_options *opt, const input_text *text)
{
    const lac_encode_options how = { .parse_special = opt->parse_special };
    lac_error err = { .message = "" };
    int32_t *ids = NULL;
    size_t n_ids = 0;
    const lac_status st = lac_model_encode(model, text->data, text->n, &how, &ids, &n_ids, &err);
    if (st) return console_fail_status(st, &err);
    int code = EXIT_OK;
    if (opt->json) {
        code = print_ids_json(model, opt, ids, n_ids);
    } else if (opt->pieces) {
        print_pieces(model, ids, n_ids);
    } else {
        for (size_t i = 0; i < n_ids; i++)
            printf(i ? " %d" : "%d", (int)ids[i]);
        putchar('\n');
    }
    lac_model_free_ids(model, ids);
    return code;
}

/* ------------------------------------------------------------------ decode */

static int add_id(id_list *list, int64_t id)
{
    if (list->n == list->capacity) {
        const size_t capacity = 2 * list->capacity + 256;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids) return console_fail(EXIT_MEMORY, "out of memory for the ids");
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = (int32_t)id;
    return EXIT_OK;
}

static int fail_id(const id_list *list, const char *text, int n_tokens)
{
    return console_fail(EXIT_USAGE, "id %zu of the input, '%s', is not a whole number from 0 to %d",
                        list->n, text, n_tokens - 1);
}

/* {"ids": [...]} or [...] */
static int read_json_ids(id_list *list, const input_text *text, int n_tokens)
{
    lac_error err = { .message = "" };
    laci_json *doc = NULL;
    const lac_allocator mem = laci_allocator_or_default(NULL);
    if (laci_json_parse(&doc, text->data, text->n, "standard input", NULL, &mem, &err)) {
        console_fail_status(err.code, &err);
        return err.code == LAC_ENOMEM ? EXIT_MEMORY : EXIT_USAGE;
    }
    const laci_jval *ids = laci_json_root(doc);
    if (laci_json_is_object(ids)) ids = laci_json_get(ids, "ids");
    int code = EXIT_OK;
    if (!laci_json_is_array(ids))
        code = console_fail(EXIT_USAGE, "standard input holds no array of ids, nor an object with "
                                        "\"ids\"");
    const laci_jval *item = code ? NULL : laci_json_first(ids);
    for (; item && !code; item = laci_json_next(item)) {
        int64_t id = -1;
        const bool whole = laci_json_is_number(item) && laci_json_integer(item, &id);
        char shown[32] = "not a whole number";
        if (whole) snprintf(shown, sizeof shown, "%lld", (long long)id);
        code =
            whole && id >= 0 && id < n_tokens ? add_id(list, id) : fail_id(list, shown, n_tokens);
    }
    laci_json_free(doc);
    return code;
}

static int read_plain_ids(id_list *list, char *text, int n_tokens)
{
    static const char blanks[] = " \t\r\n\v\f,";
    int code = EXIT_OK;
    for (char *word = strtok(text, blanks); word && !code; word = strtok(NULL, blanks)) {
        int64_t id = 0;
        code = args_read_int(word, 0, n_tokens - 1, &id) ? add_id(list, id)
                                                         : fail_id(list, word, n_tokens);
    }
    return code;
}

static int read_ids(id_list *list, const input_text *text, int n_tokens)
{
    const char *begin = text->data;
    while (isspace((unsigned char)*begin))
        begin++;
    if (*begin == '{' || *begin == '[') return read_json_ids(list, text, n_tokens);
    if (strlen(text->data) != text->n)
        return console_fail(EXIT_USAGE, "standard input has a NUL byte among the ids");
    return read_plain_ids(list, text->data, n_tokens);
}

static int decode(const lac_model *model, const tokenize_options *opt, const input_text *input)
{
    lac_model_info info;
    lac_error err = { .message = "" };
    lac_status st = lac_model_get_info(model, &info, &err);
    if (st) return console_fail_status(st, &err);
    id_list list = { .n = 0 };
    int code = read_ids(&list, input, info.n_vocab);
    char *text = NULL;
    size_t n = 0;
    if (!code) {
        st = lac_model_decode(model, list.ids, list.n, true, &text, &n, &err);
        if (st) code = console_fail_status(st, &err);
    }
    if (!code && opt->json) {
        json_out j = { .data = NULL };
        json_begin_object(&j);
        json_key(&j, "text");
        json_text(&j, text, n);
        json_end_object(&j);
        json_write_line(&j, stdout);
        json_free(&j);
    } else if (!code) {
        console_put_text(stdout, text, n);
    }
    lac_model_free_text(model, text);
    free(list.ids);
    return code;
}

/* A folder that has config.json need not have a tokenizer yet. */
static int check_tokenizer(const lac_model *model, const char *path)
{
    lac_model_info info;
    lac_error err = { .message = "" };
    const lac_status st = lac_model_get_info(model, &info, &err);
    if (st) return console_fail_status(st, &err);
    if (*info.tokenizer) return EXIT_OK;
    return console_fail(EXIT_MODEL, "%s has neither tokenizer.json nor vocab.json", path);
}

static int tokenize(const tokenize_options *opt)
{
    if (!opt->model)
        return console_fail(EXIT_USAGE, "no model: give -m PATH or set LACUNA_ARG_MODEL");
    if (opt->decode && opt->pieces)
        return console_fail(EXIT_USAGE, "--decode and --pieces exclude each other");
    const lac_model_options how = { .card_only = true, .partial = true };
    lac_model *model = NULL;
    int code = console_open_model(&model, opt->model, &how);
    if (code) return code;
    input_text text = { .data = NULL };
    code = check_tokenizer(model, opt->model);
    if (!code) code = input_read(&text, "-");
    if (!code) code = opt->decode ? decode(model, opt, &text) : encode(model, opt, &text);
    input_free(&text);
    lac_model_close(model);
    const int flushed = console_flush_stdout();
    return code ? code : flushed;
}

int cmd_tokenize(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna tokenize",
        .usage = "-m MODEL [options] < TEXT",
        .about = "Turns the text on standard input into token ids, or ids into text (--decode).",
        .example = "  echo \"a gap in a text\" | lacuna tokenize -m models/nano-f --json\n"
                   "  echo \"97 98 99\" | lacuna tokenize -m models/nano-f --decode",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    tokenize_options opt = { .model = NULL };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    if (code == ARGS_GO_ON) code = tokenize(&opt);
    args_free(&store);
    return code;
}
