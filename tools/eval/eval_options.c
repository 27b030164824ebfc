/* eval_options.c: the flag table of `lacuna eval` and the lists some flags take. */
#include "eval/eval_options.h"

#include <stdio.h>
#include <string.h>

#include "run/run_options.h"
#include "run/sparse_options.h"
#include "shell/console.h"
#include "shell/out_file.h"

enum { MAX_CTX = 1 << 24, MAX_THREADS = 1024, MAX_SAMPLES = 100000 };

/* Flags whose text needs a look of its own. */
typedef struct {
    const char *dtype, *chat_template, *tasks, *ctx, *depth;
    sparse_flags sparse; /* the policy is a list */
    bool json, csv, markdown;
} words;

typedef struct {
    eval_options o;
    words w;
} parsed;

/* ------------------------------------------------------------------ lists */

/* The next item of a comma-separated list, copied; false when it is empty or too long. */
static bool next_item(const char **at, char *out, size_t n_out)
{
    const size_t n = strcspn(*at, ",");
    if (!n || n >= n_out) return false;
    memcpy(out, *at, n);
    out[n] = 0;
    *at += n;
    if (**at) (*at)++;
    return **at || (*at)[-1] != ','; /* "a," ends in an item that is not there */
}

static int read_numbers(const char *flag, const char *list, int min, int max, int *out, size_t *n)
{
    char item[32];
    *n = 0;
    for (const char *at = list; *at || !*n;) {
        int64_t value = 0;
        if (*n == EVAL_MAX_LIST)
            return console_fail(EXIT_USAGE, "%s: '%s' names more than %d values", flag, list,
                                EVAL_MAX_LIST);
        if (!next_item(&at, item, sizeof item) || !args_read_int(item, min, max, &value))
            return console_fail(EXIT_USAGE, "%s: '%s' is not a list of whole numbers from %d to %d",
                                flag, list, min, max);
        for (size_t i = 0; i < *n; i++)
            if (out[i] == value)
                return console_fail(EXIT_USAGE, "%s: '%s' names %d twice", flag, list, (int)value);
        out[(*n)++] = (int)value;
    }
    return ARGS_GO_ON;
}

static int fail_task(const char *name)
{
    const char *names[EVAL_MAX_TASKS];
    size_t n = 0;
    char all[512] = "";
    for (; n < eval_n_tasks() && n < EVAL_MAX_TASKS; n++) {
        names[n] = eval_task_at(n)->name;
        const size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", n ? ", " : "", names[n]);
    }
    const char *nearest = args_nearest(name, names, n);
    if (nearest)
        return console_fail(EXIT_USAGE, "--tasks: unknown task '%s'; did you mean %s?", name,
                            nearest);
    return console_fail(EXIT_USAGE,
                        "--tasks: unknown task '%s'; there are %s, and the groups "
                        "compact and ruler",
                        name, all);
}

static int add_task(eval_options *o, const eval_task *task)
{
    for (size_t i = 0; i < o->n_tasks; i++)
        if (o->tasks[i] == task) return ARGS_GO_ON;
    if (o->n_tasks == EVAL_MAX_TASKS)
        return console_fail(EXIT_USAGE, "--tasks: more than %d tasks", EVAL_MAX_TASKS);
    o->tasks[o->n_tasks++] = task;
    return ARGS_GO_ON;
}

static int add_group(eval_options *o, const eval_task *tasks, size_t n)
{
    int code = ARGS_GO_ON;
    for (size_t i = 0; i < n && code == ARGS_GO_ON; i++)
        code = add_task(o, &tasks[i]);
    return code;
}

static int read_tasks(const char *list, eval_options *o)
{
    char item[EVAL_NAME_MAX];
    int code = ARGS_GO_ON;
    for (const char *at = list; (*at || !o->n_tasks) && code == ARGS_GO_ON;) {
        if (!next_item(&at, item, sizeof item))
            return console_fail(EXIT_USAGE, "--tasks: '%s' is not a list of names", list);
        const eval_task *task = eval_task_find(item);
        if (!strcmp(item, "compact"))
            code = add_group(o, eval_compact_tasks, eval_n_compact_tasks);
        else if (!strcmp(item, "ruler"))
            code = add_group(o, eval_ruler_tasks, eval_n_ruler_tasks);
        else
            code = task ? add_task(o, task) : fail_task(item);
    }
    return code;
}

/* "off" comes first whatever the list says: everything is compared with it. Each name stands in the
 * records as it was typed; what the library is given has the knobs of the flags too. */
static int read_policies(const sparse_flags *flags, eval_options *o)
{
    sparse_flags own = *flags;
    const char *list = flags->policy;
    snprintf(o->policy_names[0], EVAL_POLICY_MAX, "off");
    o->n_policies = 1;
    for (const char *at = list; *at || at == list;) {
        char item[EVAL_POLICY_MAX];
        if (!sparse_list_next(&at, item, sizeof item))
            return console_fail(EXIT_USAGE, "--sparse: '%s' is not a list of policies", list);
        bool taken = !strcmp(item, "dense");
        for (size_t i = 0; i < o->n_policies; i++)
            taken |= !strcmp(o->policy_names[i], item);
        if (taken) continue;
        if (o->n_policies == EVAL_MAX_POLICIES)
            return console_fail(EXIT_USAGE, "--sparse: more than %d policies", EVAL_MAX_POLICIES);
        own.lists_fidelity |= !strcmp(item, "fidelity");
        snprintf(o->policy_names[o->n_policies++], EVAL_POLICY_MAX, "%s", item);
    }
    for (size_t i = 0; i < o->n_policies; i++)
        o->policies[i] = o->policy_names[i];
    int code = sparse_flags_check(flags, o->policies, o->n_policies);
    for (size_t i = 0; i < o->n_policies && code == ARGS_GO_ON; i++) {
        code = sparse_flags_request(&own, o->policies[i], o->requests[i]);
        o->sparse[i] = o->requests[i];
    }
    sparse_flags_describe(flags, o->knobs, sizeof o->knobs);
    return code;
}

/* ------------------------------------------------------------------ checks */

static int read_format(const words *w, eval_options *o)
{
    if (w->json + w->csv + w->markdown > 1)
        return console_fail(EXIT_USAGE, "--json, --csv and --markdown: one format at a time");
    o->format = w->json ? EVAL_JSON : w->csv ? EVAL_CSV : w->markdown ? EVAL_MARKDOWN : EVAL_TABLE;
    return ARGS_GO_ON;
}

static int check_template(const char *name, eval_options *o)
{
    o->chat_template = strcmp(name, "auto") == 0 ? NULL : name;
    if (!o->chat_template || !strcmp(name, "none")) return ARGS_GO_ON;
    const char *names = lac_chat_template_names();
    if (args_is_listed(names, name, strlen(name))) return ARGS_GO_ON;
    return console_fail(EXIT_USAGE, "--chat-template: '%s' is not one of auto, none, %s", name,
                        names);
}

static int check_words(const words *w, eval_options *o)
{
    lac_model_options ignored = { 0 };
    int code = model_flags_read(&o->files, &ignored);
    if (code == ARGS_GO_ON) code = read_format(w, o);
    if (!dtype_from_name(w->dtype, &o->dtype))
        return console_fail(EXIT_USAGE, "--dtype: '%s' is not one of auto, f32, bf16", w->dtype);
    if (code == ARGS_GO_ON) code = check_template(w->chat_template, o);
    if (code == ARGS_GO_ON) code = read_tasks(w->tasks, o);
    if (code == ARGS_GO_ON) code = read_numbers("--ctx", w->ctx, 1, MAX_CTX, o->ctx, &o->n_ctx);
    if (code == ARGS_GO_ON) code = read_policies(&w->sparse, o);
    o->depths[0] = EVAL_STRATIFIED;
    o->n_depths = 1;
    if (code == ARGS_GO_ON && w->depth)
        code = read_numbers("--depth", w->depth, 0, 100, o->depths, &o->n_depths);
    return code;
}

static int check_files(const eval_options *o)
{
    const named_file outputs[] = { { "--out", o->out, false },
                                   { "--svg", o->svg, false },
                                   { "--export", o->export_path, true } };
    const named_file inputs[] = { { "--model", o->model, false },
                                  { "--data", o->data, true },
                                  { "--haystack", o->haystack, true } };
    return out_file_compare(outputs, 3, inputs, 3);
}

static int check_request(eval_options *o)
{
    if (!o->model)
        return console_fail(EXIT_USAGE, "no model: give -m PATH or set LACUNA_ARG_MODEL");
    if (o->resume && !o->out)
        return console_fail(EXIT_USAGE, "--resume needs --out: the file to go on with");
    if (o->data && o->export_path)
        return console_fail(EXIT_USAGE, "--data and --export: a file of samples goes in or out");
    if (o->data && o->haystack)
        return console_fail(EXIT_USAGE, "--data and --haystack: the samples are made already");
    const int code = check_files(o);
    if (code) return code;
    return steps_check(o->generate.steps, o->denoising_steps);
}

/* ------------------------------------------------------------------ the table */

static const char about[] =
    "Measures what sparse attention costs a model in quality: retrieval tasks of chosen lengths, "
    "made from a seed, are run with every policy on the same samples, and each policy is compared "
    "with dense attention: score, exact answers, equal tokens, divergence of the logits, density, "
    "time. Rows go to standard output, progress to standard error.";
static const char example[] =
    "  lacuna eval -m models/nano-f --tasks kv,niah --ctx 512,1024 --sparse off,window,sparsed\n"
    "  lacuna eval -m MODEL --tasks ruler --ctx 4096 --samples 100 --out run.jsonl --resume";

/* clang-format off */
#define AT(field) offsetof(parsed, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Model" },
    { ARGS_TEXT, "model", 'm', "PATH", AT(o.model), 0, 0, NULL,
      "folder with config.json and safetensors or with a GGUF file, or a GGUF file" },
    { ARGS_INT, "threads", 't', "N", AT(o.n_threads), 1, MAX_THREADS, NULL,
      "threads (default: all cores this process may use)" },
    { ARGS_TEXT, "dtype", 0, "TYPE", AT(w.dtype), 0, 0, NULL,
      "type of weights and keys in memory: auto, f32, bf16 (default auto)" },
    { ARGS_SIZE, "max-memory", 0, "SIZE", AT(o.max_memory), 0, 0, NULL,
      "refuse to start above this, such as 8G (default: the memory of this machine)" },
    MODEL_FLAGS(AT(o.files)),
    { ARGS_TEXT, "chat-template", 0, "NAME", AT(w.chat_template), 0, 0, NULL,
      "auto = the model's own, none = the bare text, or a name (default auto)" },
    { ARGS_GROUP, .help = "Samples" },
    { ARGS_TEXT, "tasks", 0, "LIST", AT(w.tasks), 0, 0, NULL,
      "kv, niah, niah1, multivalue, multiquery, vt, fwe, copy, span; RULER's niah_single_1 to 3, "
      "niah_multikey_1 to 3, niah_multivalue, niah_multiquery, ruler_vt, cwe, ruler_fwe; compact "
      "or ruler for all of them (default kv,niah)" },
    { ARGS_TEXT, "ctx", 0, "LIST", AT(w.ctx), 0, 0, NULL,
      "lengths in tokens, prompt and response together (default 512)" },
    { ARGS_INT, "samples", 0, "N", AT(o.samples), 1, MAX_SAMPLES, "limit",
      "samples of each task, length and depth (default 20)" },
    { ARGS_TEXT, "depth", 0, "LIST", AT(w.depth), 0, 0, NULL,
      "where the asked needle stands, in percent of the haystack (default: ten bins in turn)" },
    { ARGS_TEXT, "haystack", 0, "FILE", AT(o.haystack), 0, 0, NULL,
      "hide the needles in this text, - = standard input (default: a novel of 1905 that comes with "
      "the program)" },
    { ARGS_TEXT, "data", 0, "FILE", AT(o.data), 0, 0, NULL,
      "read samples instead of making them, - = standard input: a line of JSON each, with input, "
      "outputs and perhaps answer_prefix, index, task, ctx, as RULER writes them" },
    { ARGS_TEXT, "export", 0, "FILE", AT(o.export_path), 0, 0, NULL,
      "write the samples so, and run nothing" },
    { ARGS_SEED, "seed", 's', "N", AT(o.generate.seed), 0, 0, NULL,
      "seed of the samples and of every random choice, or random (default 0)" },
    { ARGS_GROUP, .help = "Runs" },
    { ARGS_INT, "gen-tokens", 'n', "N", AT(o.gen_tokens), 1, MAX_CTX,
      "n-predict,max-new-tokens,gen-length",
      "tokens of the response (default: the task's: kv and niah 8, RULER's needles 128)" },
    { ARGS_INT, "steps", 0, "N", AT(o.generate.steps), 1, MAX_CTX,
      "diffusion-steps", "denoising steps, at most one per token (default: one per token)" },
    DENOISING_STEPS_FLAG(AT(o.denoising_steps), MAX_CTX),
    { ARGS_INT, "block-length", 0, "N", AT(o.generate.block_length), 1, MAX_CTX,
      "diffusion-block-length", "tokens decided together (default: the model family's)" },
    { ARGS_GROUP, .help = "Attention" },
    { ARGS_TEXT, "sparse", 0, "LIST", AT(w.sparse.policy), 0, 0, NULL,
      "policies: off = dense is always run, first; sparsed, fidelity, pulsecol, window, "
      "streaming, auto (default off)" },
    SPARSE_SHAPE_FLAGS(AT, w.sparse),
    { ARGS_GROUP, .help = "Output" },
    { ARGS_TEXT, "out", 'o', "FILE", AT(o.out), 0, 0, NULL,
      "write a line of JSON for every sample and policy as it is finished" },
    { ARGS_SWITCH, "resume", 0, NULL, AT(o.resume), 0, 0, NULL,
      "go on with the file of --out; what it holds is not run again" },
    { ARGS_SWITCH, "json", 0, NULL, AT(w.json), 0, 0, NULL,
      "a JSON object a line for each task, length and policy" },
    { ARGS_SWITCH, "csv", 0, NULL, AT(w.csv), 0, 0, NULL, "the same as CSV" },
    { ARGS_SWITCH, "markdown", 0, NULL, AT(w.markdown), 0, 0, NULL, "the table as markdown" },
    { ARGS_TEXT, "svg", 0, "FILE", AT(o.svg), 0, 0, NULL, "a chart of score over length" },
    { ARGS_SWITCH, "quiet", 'q', NULL, AT(o.quiet), 0, 0, NULL, "no progress" },
};
#undef AT
/* clang-format on */

int eval_options_parse(eval_options *out, args_store *store, int argc, char **argv)
{
    static const args_command command = {
        .name = "lacuna eval",
        .usage = "-m MODEL [--tasks LIST] [--ctx LIST] [--sparse LIST] [options]",
        .about = about,
        .example = example,
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    parsed p = { .o = { .samples = 20 },
                 .w = { .dtype = "auto",
                        .chat_template = "auto",
                        .tasks = "kv,niah",
                        .ctx = "512",
                        .sparse = { .policy = "off" } } };
    int code = args_parse(store, &command, &p, argc, argv);
    *out = p.o;
    if (code == ARGS_GO_ON) code = check_words(&p.w, out);
    if (code == ARGS_GO_ON) code = check_request(out);
    return code;
}
