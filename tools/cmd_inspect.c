/* cmd_inspect.c: `lacuna inspect`: what a model is and what running it would take, from its
 * headers alone; with --masks, what the attention of a traced run looked like. */
#include "commands.h"
#include "picture/masks_out.h"
#include "run/policy_list.h"
#include "run/run_options.h"
#include "shell/args.h"
#include "shell/backend_flags.h"
#include "shell/console.h"
#include "shell/interrupt.h"
#include "shell/json_out.h"
#include "shell/model_flags.h"
#include "shell/out_file.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *model, *dtype;
    int n_ctx, n_threads;
    bool json, policies;
    backend_flags where;
    model_flags files;
    const char *masks, *against, *output, *select;
    int step; /* -1 = all */
} inspect_options;

#define AT(field) offsetof(inspect_options, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Options" },
    { ARGS_TEXT, "model", 'm', "PATH", AT(model), 0, 0, NULL,
      "folder with config.json, or with a GGUF file, or a GGUF file; the weights of a folder may "
      "be "
      "missing" },
    { ARGS_INT, "ctx-size", 'c', "N", AT(n_ctx), 1, 1 << 24, NULL,
      "plan memory for this many positions (default: the context of the model)" },
    { ARGS_INT, "threads", 't', "N", AT(n_threads), 1, 1024, NULL,
      "plan memory for this many threads (default: all cores this process may use)" },
    { ARGS_TEXT, "dtype", 0, "TYPE", AT(dtype), 0, 0, NULL,
      "type of weights and keys in memory: auto, f32, bf16 (default auto)" },
    BACKEND_FLAGS(AT(where)),
    MODEL_FLAGS(AT(files)),
    { ARGS_SWITCH, "json", 0, NULL, AT(json), 0, 0, NULL, "one JSON object" },
    { ARGS_SWITCH, "policies", 0, NULL, AT(policies), 0, 0, NULL,
      "list the attention policies and their knobs; needs no model" },
    { ARGS_GROUP, .help = "Masks" },
    { ARGS_TEXT, "masks", 0, "TRACE", AT(masks), 0, 0, NULL,
      "draw the attention plans in a trace of lacuna run --trace TRACE --trace-masks" },
    { ARGS_TEXT, "against", 0, "TRACE", AT(against), 0, 0, NULL,
      "how much of the softmax of this second run the first one's patterns would hold, head by "
      "head, into a .csv" },
    { ARGS_TEXT, "output", 'o', "FILE", AT(output), 0, 0, NULL,
      "where to: .html, .svg, .png, or the numbers behind them: .csv" },
    { ARGS_INT, "step", 0, "N", AT(step), 0, 1 << 24, NULL,
      "maps of this step in .svg and .png (default: the mean over all)" },
    { ARGS_TEXT, "select", 0, "SHARE", AT(select), 0, 0, NULL,
      "where the softmax was measured, a pattern is the best share of each row's cells (default "
      "0.3)" },
};
#undef AT

/* One fact: a text, or a number when the text is NULL. */
typedef struct {
    const char *key;   /* JSON */
    const char *label; /* table; NULL: JSON only */
    const char *text;
    int64_t number;
    bool is_bytes, is_bool;
} fact;

enum { MAX_FACTS = 40 };

static size_t collect(const lac_model_info *i, const lac_memory_plan *p, const char *scaling,
                      fact out[MAX_FACTS])
{
    const fact facts[] = {
        { "architecture", "architecture", i->architecture, 0, false, false },
        { "name", "name", i->name, 0, false, false },
        { "container", "container", i->container, 0, false, false },
        { "weight_types", "weights in file", i->weight_types, 0, false, false },
        { "file_bytes", "size of weights in file", NULL, (int64_t)i->file_bytes, true, false },
        { "n_params", "parameters", NULL, (int64_t)i->n_params, false, false },
        { "n_layers", "layers", NULL, i->n_layers, false, false },
        { "d_model", "width", NULL, i->d_model, false, false },
        { "n_heads", "heads", NULL, i->n_heads, false, false },
        { "n_kv_heads", "key-value heads", NULL, i->n_kv_heads, false, false },
        { "d_head", "head width", NULL, i->d_head, false, false },
        { "d_ff", "feed-forward width", NULL, i->d_ff, false, false },
        { "n_vocab", "vocabulary", NULL, i->n_vocab, false, false },
        { "n_tokens", "tokens with text", NULL, i->n_tokens, false, false },
        { "tokenizer", "tokenizer", i->tokenizer, 0, false, false },
        { "chat_template", "chat template", i->chat_template, 0, false, false },
        { "attention_mask", "attention mask", i->mask == LAC_MASK_FULL ? "full" : "block causal", 0,
          false, false },
        { "block_size", "block size", NULL, i->block_size, false, false },
        { "shift_logits", "shifted logits", NULL, i->shift_logits, false, true },
        { "context", "context", NULL, i->n_ctx, false, false },
        { "context_trained", "trained context", NULL, i->n_ctx_train, false, false },
        { "rope_base", "rotation base", NULL, llround(i->rope_base), false, false },
        { "rope_scaling", "rotation scaling", scaling, 0, false, false },
        { "mask_id", "mask token", NULL, i->mask_id, false, false },
        { "eos_id", "end token", NULL, i->eos_id, false, false },
        { "bos_id", "begin token", NULL, i->bos_id, false, false },
        { "pad_id", "padding token", NULL, i->pad_id, false, false },
        { "dtype", "type in memory", dtype_name(i->dtype), 0, false, false },
        { "n_ctx", "planned positions", NULL, p->n_ctx, false, false },
        { "n_threads", "planned threads", NULL, p->n_threads, false, false },
        { "bytes_weights", "memory: weights", NULL, (int64_t)p->bytes_weights, true, false },
        { "bytes_kv", "memory: keys and values", NULL, (int64_t)p->bytes_kv, true, false },
        { "bytes_workspace", "memory: workspace", NULL, (int64_t)p->bytes_workspace, true, false },
        { "bytes_runtime", "memory: program", NULL, (int64_t)p->bytes_runtime, true, false },
        { "bytes_total", "memory: total", NULL, (int64_t)p->bytes_total, true, false },
    };
    memcpy(out, facts, sizeof facts);
    return sizeof facts / sizeof *facts;
}

static void print_json(const fact *facts, size_t n)
{
    json_out j = { .data = NULL };
    json_begin_object(&j);
    for (size_t i = 0; i < n; i++) {
        json_key(&j, facts[i].key);
        if (facts[i].text)
            json_string(&j, facts[i].text);
        else if (facts[i].is_bool)
            json_bool(&j, facts[i].number != 0);
        else
            json_int(&j, facts[i].number);
    }
    json_end_object(&j);
    json_write_line(&j, stdout);
    json_free(&j);
}

static void print_bytes(int64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    printf(unit ? "%.1f %s\n" : "%.0f %s\n", value, units[unit]);
}

static void print_table(const fact *facts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("%-24s ", facts[i].label);
        if (facts[i].text) {
            const char *text = *facts[i].text ? facts[i].text : "-";
            console_put_safe(stdout, text, strlen(text), false);
            putchar('\n');
        } else if (facts[i].is_bytes) {
            print_bytes(facts[i].number);
        } else if (facts[i].is_bool) {
            puts(facts[i].number ? "yes" : "no");
        } else if (facts[i].number < 0) {
            puts("-");
        } else {
            printf("%lld\n", (long long)facts[i].number);
        }
    }
}

static int inspect(inspect_options *opt)
{
    int code = backend_flags_read(&opt->where);
    if (code != ARGS_GO_ON) return code;
    lac_model_options how = {
        .n_threads = opt->n_threads, .card_only = true, .partial = true, .backend = opt->where.name
    };
    if (!dtype_from_name(opt->dtype, &how.dtype))
        return console_fail(EXIT_USAGE, "--dtype: '%s' is not one of auto, f32, bf16", opt->dtype);
    code = model_flags_read(&opt->files, &how);
    if (code != ARGS_GO_ON) return code;
    if (!opt->model)
        return console_fail(EXIT_USAGE, "no model: give -m PATH or set LACUNA_ARG_MODEL");
    lac_model *model = NULL;
    code = console_open_model(&model, opt->model, &how);
    if (code) return code;
    lac_error err = { .message = "" };
    lac_model_info info;
    lac_memory_plan plan;
    lac_status st = lac_model_get_info(model, &info, &err);
    if (!st && !info.n_layers) {
        lac_model_close(model);
        return console_fail(EXIT_MODEL, "%s has no config.json", opt->model);
    }
    if (!st && !*info.weight_types)
        console_note("%s has no weights: this is what its config.json says", opt->model);
    const lac_session_options room = { .n_ctx = opt->n_ctx,
                                       .n_threads = opt->n_threads,
                                       .allow_longer = opt->n_ctx > 0 };
    if (!st) st = lac_session_plan_memory(model, &room, &plan, &err);
    if (st) {
        code = console_fail_status(st, &err);
    } else {
        fact facts[MAX_FACTS];
        console_warn_model(model, NULL, 0);
        if (plan.n_ctx > info.n_ctx)
            console_warn("%d positions are more than the %d of the model", plan.n_ctx, info.n_ctx);
        char scaling[48] = "none";
        if (info.rope_scale != 1)
            snprintf(scaling, sizeof scaling, "linear %.12g", info.rope_scale);
        const size_t n = collect(&info, &plan, scaling, facts);
        if (opt->json)
            print_json(facts, n);
        else
            print_table(facts, n);
        code = console_flush_stdout();
    }
    lac_model_close(model);
    return code;
}

/* Options of --masks without it, or of the model's card with it, are mistakes. */
static int check_masks(const inspect_options *opt, double *select)
{
    *select = 0;
    if (opt->select && (!args_read_float(opt->select, 0, 1, select) || *select <= 0))
        return console_fail(EXIT_USAGE, "--select: '%s' is not a share above 0 and at most 1",
                            opt->select);
    if (!opt->masks)
        return opt->output || opt->select || opt->against || opt->step >= 0
                   ? console_fail(EXIT_USAGE,
                                  "-o, --against, --step and --select need --masks TRACE")
                   : EXIT_OK;
    if (opt->model || opt->json)
        return console_fail(EXIT_USAGE, "--masks reads a trace: it takes neither -m nor --json");
    if (!opt->output)
        return console_fail(EXIT_USAGE, "--masks needs -o FILE.html, .svg, .png or .csv");
    if (!masks_check_name(opt->output)) return EXIT_USAGE;
    const named_file output = { "--output", opt->output, false };
    const named_file inputs[] = { { "--masks", opt->masks, false },
                                  { "--against", opt->against, false } };
    const int code = out_file_compare(&output, 1, inputs, 2);
    if (code) return code;
    const char *dot = strrchr(opt->output, '.');
    if (opt->against && (strcmp(dot, ".csv") != 0 || opt->step >= 0))
        return console_fail(EXIT_USAGE, "--against writes a table over all steps: -o FILE.csv, "
                                        "and no --step");
    return EXIT_OK;
}

static int read_trace(const char *path, masks *out, cache_view *cache, masks_request *how)
{
    lac_error err = { .message = "" };
    const lac_status st = trace_masks_read(path, out, cache, &how->facts, &err);
    return st ? console_fail(st == LAC_ENOMEM ? EXIT_MEMORY : EXIT_RUN, "%s", err.message)
              : EXIT_OK;
}

static int inspect_masks(const inspect_options *opt, double select)
{
    masks_request how = { .path = opt->output, .step = opt->step, .select = select };
    masks m = { 0 }, other = { 0 };
    cache_view cache = { 0 }, other_cache = { 0 };
    char title[256];
    interrupt_install();
    int code = masks_check_path(opt->output);
    if (code) return code;
    code = read_trace(opt->masks, &m, &cache, &how);
    if (!code && opt->against) code = read_trace(opt->against, &other, &other_cache, &how);
    snprintf(title, sizeof title, "%s, %s", how.facts.model, how.facts.sparse);
    if (!code && opt->against && (cache.block || other_cache.block))
        code = console_fail(EXIT_USAGE, "--against compares runs without a key cache");
    else if (!code && opt->against)
        code = masks_write_cross(&m, &other, &how);
    else if (!code)
        code = cache.block ? cache_view_write(&cache, opt->output, title) : masks_write(&m, &how);
    masks_free(&m);
    masks_free(&other);
    cache_view_free(&cache);
    cache_view_free(&other_cache);
    return code;
}

int cmd_inspect(int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna inspect",
        .usage = "(-m MODEL | --masks TRACE -o FILE | --policies) [options]",
        .about = "Prints what a model is and how much memory a run would take. Reads headers "
                 "only: no weights are loaded. With --masks, draws what the attention of a run "
                 "read, step by step, from its trace; lacuna run --masks draws it without one.",
        .example = "  lacuna inspect -m models/nano-f -c 4096\n"
                   "  lacuna inspect --masks run.trace -o masks.html",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    inspect_options opt = { .dtype = "auto", .step = -1, .where = BACKEND_FLAGS_DEFAULTS };
    args_store store = { .n_owned = 0 };
    int code = args_parse(&store, &command, &opt, argc, argv);
    double select = 0;
    if (code == ARGS_GO_ON && opt.policies) {
        code = policy_list_print(opt.json);
    } else if (code == ARGS_GO_ON) {
        code = check_masks(&opt, &select);
        if (!code) code = opt.masks ? inspect_masks(&opt, select) : inspect(&opt);
    }
    args_free(&store);
    return code;
}
