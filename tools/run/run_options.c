/* run_options.c: the flag table of `lacuna run` and the words some flags take. Numbers are read by
 * args.c; whether they fit the model is the library's business. */
#include "run/run_options.h"

#include "picture/masks_out.h"
#include "run/llama_flags.h"
#include "shell/console.h"
#include "shell/out_file.h"
#include <stdio.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 24, MAX_THREADS = 1024 };

/* Flags whose text needs a look of its own. */
typedef struct {
    const char *algorithm, *dtype, *quirks, *shift, *chat_template;
    int n_predict;
    sparse_flags sparse;
} words;

typedef struct {
    run_options o;
    words w;
} parsed;

bool dtype_from_name(const char *name, lac_dtype *out)
{
    static const char *const names[] = { "auto", "f32", "bf16" };
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (lac_dtype)i;
        return true;
    }
    return false;
}

const char *dtype_name(lac_dtype dtype)
{
    return dtype == LAC_DTYPE_F32 ? "f32" : dtype == LAC_DTYPE_BF16 ? "bf16" : "auto";
}

/* Names of other programs for the same rules. The numbers are llama.cpp's; its "confidence" is
 * low_confidence for LLaDA and maskgit_plus for Dream, so it waits for the model. */
static bool read_algorithm(const char *name, run_options *out)
{
    static const struct {
        const char *name;
        int algorithm; /* -1 = confidence */
    } others[] = {
        { "0", LAC_ALGORITHM_ORIGIN },
        { "1", LAC_ALGORITHM_ENTROPY },
        { "2", LAC_ALGORITHM_TOPK_MARGIN },
        { "3", LAC_ALGORITHM_RANDOM },
        { "4", -1 },
        { "confidence", -1 },
        { "auto", LAC_ALGORITHM_DEFAULT },
        { "margin", LAC_ALGORITHM_TOPK_MARGIN },
        { "maskgit", LAC_ALGORITHM_MASKGIT_PLUS },
    };
    int found = lac_algorithm_from_name(name);
    bool known = found >= 0;
    for (size_t i = 0; !known && i < sizeof others / sizeof *others; i++) {
        if (strcmp(name, others[i].name) != 0) continue;
        found = others[i].algorithm;
        known = true;
    }
    if (!known) return false;
    out->algorithm_is_confidence = found < 0;
    out->generate.algorithm = found < 0 ? LAC_ALGORITHM_DEFAULT : (lac_algorithm)found;
    return true;
}

static int read_quirks(const char *list, unsigned *out)
{
    static const struct {
        const char *name;
        unsigned bits;
    } known[] = {
        { "none", 0 },
        { "bf16-confidence", LAC_QUIRK_BF16_CONFIDENCE },
        { "zero-step", LAC_QUIRK_ZERO_STEP },
        { "sample-mask", LAC_QUIRK_SAMPLE_MASK },
        { "sample-padding", LAC_QUIRK_SAMPLE_PADDING },
        { "eos-alias", LAC_QUIRK_EOS_ALIAS },
        { "rope-f32", LAC_QUIRK_ROPE_F32 },
        { "all", LAC_QUIRK_BF16_CONFIDENCE | LAC_QUIRK_ZERO_STEP | LAC_QUIRK_SAMPLE_MASK |
                     LAC_QUIRK_SAMPLE_PADDING | LAC_QUIRK_EOS_ALIAS | LAC_QUIRK_ROPE_F32 },
    };
    unsigned bits = 0;
    for (const char *word = list; *word;) {
        const size_t n = strcspn(word, ",");
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            if (strlen(known[i].name) != n || strncmp(word, known[i].name, n) != 0) continue;
            bits |= known[i].bits;
            found = true;
        }
        if (!found)
            return console_fail(EXIT_USAGE,
                                "--quirks: '%.*s' is not one of bf16-confidence, zero-step, "
                                "sample-mask, sample-padding, eos-alias, rope-f32, all, none",
                                (int)n, word);
        word += n + (word[n] == ',');
    }
    *out = bits;
    return ARGS_GO_ON;
}

static int check_template(const char *name, run_options *out)
{
    out->chat_template = strcmp(name, "auto") == 0 ? NULL : name;
    if (!out->chat_template || strcmp(name, "none") == 0) return ARGS_GO_ON;
    const char *names = lac_chat_template_names();
    if (!args_is_listed(names, name, strlen(name)))
        return console_fail(EXIT_USAGE, "--chat-template: '%s' is not one of auto, none, %s", name,
                            names);
    if (out->parse_special)
        return console_fail(EXIT_USAGE,
                            "--parse-special and --chat-template %s exclude each other: a template "
                            "keeps the prompt plain text",
                            name);
    return ARGS_GO_ON;
}

static int check_words(const words *w, run_options *out)
{
    if (!read_algorithm(w->algorithm, out))
        return console_fail(EXIT_USAGE,
                            "--algorithm: '%s' is not one of auto, confidence, low_confidence, "
                            "random, origin, maskgit_plus, topk_margin, entropy, sequential, "
                            "entropy_bounded, confidence_threshold, 0..4",
                            w->algorithm);
    if (!dtype_from_name(w->dtype, &out->dtype))
        return console_fail(EXIT_USAGE, "--dtype: '%s' is not one of auto, f32, bf16", w->dtype);
    if (strcmp(w->shift, "on") == 0)
        out->generate.shift = 1;
    else if (strcmp(w->shift, "off") == 0)
        out->generate.shift = -1;
    else if (strcmp(w->shift, "auto") != 0)
        return console_fail(EXIT_USAGE, "--shift: '%s' is not one of on, off, auto", w->shift);
    lac_model_options ignored = { 0 };
    int code = model_flags_read(&out->files, &ignored);
    if (code == ARGS_GO_ON) code = read_quirks(w->quirks, &out->generate.quirks);
    const char *policy = w->sparse.policy ? w->sparse.policy : "auto";
    if (code == ARGS_GO_ON) code = sparse_flags_check(&w->sparse, &policy, 1);
    if (code == ARGS_GO_ON) code = sparse_flags_request(&w->sparse, policy, out->sparse);
    return code == ARGS_GO_ON ? check_template(w->chat_template, out) : code;
}

int steps_check(int steps, int denoising_steps)
{
    if (steps && denoising_steps)
        return console_fail(EXIT_USAGE,
                            "--steps %d and --denoising-steps %d: only one can be given", steps,
                            denoising_steps);
    return ARGS_GO_ON;
}

void steps_settle(int denoising_steps, const lac_model_info *info, lac_generate_options *out)
{
    if (!denoising_steps) return;
    if (info->block_size)
        out->block_steps = denoising_steps;
    else
        out->steps = denoising_steps;
}

static bool is_stdin(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

static int check_files(const run_options *o)
{
    const named_file outputs[] = { { "--trace", o->trace, false }, { "--masks", o->masks, false } };
    const named_file inputs[] = { { "--model", o->model, false },
                                  { "--file", o->file, true },
                                  { "--canvas", o->canvas, true } };
    return out_file_compare(outputs, 2, inputs, 3);
}

static int check_request(const words *w, run_options *out)
{
    if (!out->model)
        return console_fail(EXIT_USAGE, "no model: give -m PATH or set LACUNA_ARG_MODEL");
    if (!out->prompt && !out->file && !out->canvas)
        return console_fail(EXIT_USAGE, "nothing to do: give -p TEXT, -f FILE or --canvas FILE");
    if (is_stdin(out->file) && is_stdin(out->canvas))
        return console_fail(EXIT_USAGE, "--file - and --canvas - cannot both read standard input");
    out->adds_nothing = w->n_predict == 0;
    if (out->adds_nothing && !out->canvas && !out->parse_special)
        return console_fail(EXIT_USAGE, "-n 0 leaves nothing to generate without --canvas");
    if (out->hole && !out->canvas) return console_fail(EXIT_USAGE, "--hole needs --canvas");
    if (out->hole && !*out->hole)
        return console_fail(EXIT_USAGE, "--hole: the mark of a hole cannot be empty");
    if (out->trace_masks && !out->trace)
        return console_fail(EXIT_USAGE, "--trace-masks needs --trace FILE");
    if (out->masks && !masks_check_name(out->masks)) return EXIT_USAGE;
    const int code = check_files(out);
    if (code) return code;
    out->generate.n_tokens = w->n_predict > 0 ? w->n_predict : 0;
    return steps_check(out->generate.steps, out->denoising_steps);
}

static const char about[] =
    "Generates text with a diffusion language model: holes after the prompt, or holes inside a "
    "text (--canvas), are filled over a number of denoising steps. The text goes to standard "
    "output, everything else to standard error.";
static const char example[] =
    "  printf 'lamp: 3141\\ngarden: 2718\\n' |\n"
    "      lacuna run -m models/nano-f -f - -p \"What is garden? \" -n 8 --visual\n"
    "  echo \"There was a lit[MASK*3] girl who lived wi[MASK*2] her mother.\" |\n"
    "      lacuna run -m models/nano-f --canvas -";

static const char common[] = "model,prompt,file,canvas,system-prompt,n-predict,steps,block-length,"
                             "algorithm,temp,top-p,threshold,seed,sparse,ctx-size,threads,backend,"
                             "visual,masks,json,quiet";

/* The table keeps its own layout: one flag per entry. */
/* clang-format off */
#define AT(field) offsetof(parsed, field)
static const args_flag flags[] = {
    { ARGS_GROUP, .help = "Model" },
    { ARGS_TEXT, "model", 'm', "PATH", AT(o.model), 0, 0, NULL,
      "folder with config.json and safetensors, or a GGUF file" },
    { ARGS_INT, "ctx-size", 'c', "N", AT(o.n_ctx), 0, MAX_TOKENS, NULL,
      "positions to make room for, also beyond those of the model (default, and 0: what prompt and "
      "holes need)" },
    { ARGS_INT, "threads", 't', "N", AT(o.n_threads), 1, MAX_THREADS, NULL,
      "threads (default: all cores this process may use)" },
    { ARGS_TEXT, "dtype", 0, "TYPE", AT(w.dtype), 0, 0, NULL,
      "type of weights and keys in memory: auto, f32, bf16 (default auto)" },
    BACKEND_FLAGS(AT(o.where)),
    MODEL_FLAGS(AT(o.files)),
    { ARGS_SIZE, "max-memory", 0, "SIZE", AT(o.max_memory), 0, 0, NULL,
      "refuse to start above this, such as 8G (default: the memory of this machine)" },
    { ARGS_GROUP, .help = "Prompt" },
    { ARGS_TEXT, "prompt", 'p', "TEXT", AT(o.prompt), 0, 0, NULL, "what to ask or continue" },
    { ARGS_TEXT, "file", 'f', "FILE", AT(o.file), 0, 0, NULL,
      "document in front of the prompt; - = standard input" },
    { ARGS_TEXT, "system-prompt", 0, "TEXT", AT(o.system), 0, 0, "sys",
      "instructions in front of everything (default none)" },
    { ARGS_TEXT, "chat-template", 0, "NAME", AT(w.chat_template), 0, 0, NULL,
      "auto = the model's own, none = the bare text, or a name (default auto)" },
    { ARGS_SWITCH, "parse-special", 0, NULL, AT(o.parse_special), 0, 0, NULL,
      "recognise special tokens spelled in the text, the mask token as a hole; implies "
      "--chat-template none" },
    { ARGS_TEXT, "canvas", 0, "FILE", AT(o.canvas), 0, 0, NULL,
      "fill the holes of this text: [MASK] is one hole, [MASK*8] eight; - = standard input; a "
      "prompt, if given, stands in front" },
    { ARGS_TEXT, "hole", 0, "TEXT", AT(o.hole), 0, 0, NULL,
      "another mark for one hole of the canvas (default [MASK])" },
    { ARGS_GROUP, .help = "Decoding" },
    { ARGS_INT, "n-predict", 'n', "N", AT(w.n_predict), 0, MAX_TOKENS,
      "predict,max-tokens,max-new-tokens,gen-length",
      "tokens to generate, exact (default 128, none in a text with holes)" },
    { ARGS_INT, "steps", 0, "N", AT(o.generate.steps), 1, MAX_TOKENS, "diffusion-steps",
      "denoising steps over all blocks (default: one per token)" },
    DENOISING_STEPS_FLAG(AT(o.denoising_steps), MAX_TOKENS),
    { ARGS_INT, "block-length", 0, "N", AT(o.generate.block_length), 1, MAX_TOKENS,
      "diffusion-block-length,dllm-block-length",
      "tokens decided together (default: the model family's; block-causal models accept no other)" },
    { ARGS_SWITCH, "cut-last-block", 0, NULL, AT(o.generate.cut_last_block), 0, 0, NULL,
      "block-wise models: end the last block with the last token asked for, not denoise it whole" },
    { ARGS_TEXT, "algorithm", 0, "NAME", AT(w.algorithm), 0, 0,
      "remasking,alg,diffusion-algorithm",
      "which positions a step fixes: low_confidence, random, origin, maskgit_plus, "
      "topk_margin, entropy, sequential, entropy_bounded, confidence_threshold "
      "(default: the family's)" },
    { ARGS_FLOAT, "entropy-bound", 0, "H", AT(o.generate.entropy_bound), 0, LAC_MAX_ENTROPY_BOUND,
      NULL, "entropy_bounded: most nats a step fixes together (default, and 0: 0.35)" },
    { ARGS_FLOAT, "temp", 0, "T", AT(o.generate.temperature), 0, LAC_MAX_TEMPERATURE, "temperature",
      "sampling temperature, 0 = greedy (default 0)" },
    { ARGS_INT, "top-k", 0, "K", AT(o.generate.top_k), 0, MAX_TOKENS, NULL,
      "sample from the K likeliest tokens, 0 = all (default 0)" },
    { ARGS_FLOAT, "top-p", 0, "P", AT(o.generate.top_p), 0, 1, NULL,
      "sample from the likeliest tokens of total probability P (0 = off)" },
    { ARGS_FLOAT, "threshold", 0, "P", AT(o.generate.threshold), 0, 1,
      "confidence-threshold,dllm-confidence-threshold",
      "fix every position at least this confident, 0 = off (default 0; confidence_threshold 0.9)" },
    { ARGS_FLOAT, "alg-temp", 0, "T", AT(o.generate.alg_temp), 0, LAC_MAX_TEMPERATURE, "diffusion-alg-temp",
      "Dream: draw the positions to fix at this temperature, 0 = off (default 0)" },
    { ARGS_FLOAT, "eps", 0, "E", AT(o.generate.eps), 0, LAC_MAX_EPS, "diffusion-eps",
      "Dream: end of the schedule (default, and 0: 0.001)" },
    { ARGS_FLOAT, "cfg-scale", 0, "S", AT(o.generate.cfg_scale), 0, LAC_MAX_CFG_SCALE, "diffusion-cfg-scale",
      "classifier-free guidance, 0 = off (default 0)" },
    { ARGS_SEED, "seed", 's', "N", AT(o.generate.seed), 0, 0, NULL,
      "seed of all random choices, or random (default 0)" },
    { ARGS_SWITCH, "ignore-eos", 0, NULL, AT(o.generate.ignore_eos), 0, 0, NULL,
      "do not stop at end tokens" },
    { ARGS_SWITCH, "forbid-eos", 0, NULL, AT(o.generate.forbid_eos), 0, 0, NULL,
      "never choose an end token of any kind" },
    { ARGS_SWITCH, "late-eos", 0, NULL, AT(o.generate.late_eos), 0, 0, NULL,
      "fix end tokens last; the order of all others stays" },
    { ARGS_SWITCH, "logits-eos-inf", 0, NULL, AT(o.generate.logits_eos_inf), 0, 0, NULL,
      "never choose the token that ends a text, as LLaDA does; those that end a turn may be" },
    { ARGS_SWITCH, "confidence-eos-eot-inf", 0, NULL, AT(o.generate.confidence_eos_eot_inf), 0, 0,
      NULL, "take confidence without end tokens, as LLaDA does: they come last, and all others are "
      "ranked by the probability without them" },
    { ARGS_TEXT, "shift", 0, "HOW", AT(w.shift), 0, 0, NULL,
      "row i-1 predicts token i: on, off, auto = as the model says (default auto)" },
    { ARGS_TEXT, "quirks", 0, "LIST", AT(w.quirks), 0, 0, NULL,
      "flaws of the published code to repeat: bf16-confidence, zero-step, sample-mask, "
      "sample-padding, eos-alias, rope-f32, all, none (default none)" },
    SPARSE_FLAGS(AT, w.sparse),
    { ARGS_GROUP, .help = "Output" },
    { ARGS_SWITCH, "visual", 0, NULL, AT(o.visual), 0, 0, "diffusion-visual",
      "show the canvas while it resolves (lines where no terminal is)" },
    { ARGS_INT, "visual-delay", 0, "MS", AT(o.visual_delay), 0, 60000, NULL,
      "show each step at least this long (default 0)" },
    { ARGS_TEXT, "trace", 0, "FILE", AT(o.trace), 0, 0, NULL,
      "write every step as a line of JSON" },
    { ARGS_SWITCH, "trace-masks", 0, NULL, AT(o.trace_masks), 0, 0, NULL,
      "put the attention plan of every layer into the trace, for lacuna inspect --masks" },
    { ARGS_TEXT, "masks", 0, "FILE", AT(o.masks), 0, 0, NULL,
      "draw the attention plans of this run: .html, .svg, .png, or their numbers: .csv" },
    { ARGS_SWITCH, "json", 0, NULL, AT(o.json), 0, 0, NULL,
      "one JSON object on standard output instead of text" },
    { ARGS_SWITCH, "verbose", 'v', NULL, AT(o.verbose), 0, 0, NULL,
      "say what was chosen and how much memory it takes" },
    { ARGS_SWITCH, "quiet", 'q', NULL, AT(o.quiet), 0, 0, NULL,
      "no progress and no summary" },
    { ARGS_SWITCH, "no-color", 0, NULL, AT(o.no_color), 0, 0, NULL,
      "no colours; so does NO_COLOR in the environment" },
};
#undef AT
/* clang-format on */

int run_options_parse(run_options *out, args_store *store, int argc, char **argv)
{
    const args_command command = {
        .name = "lacuna run",
        .usage = "-m MODEL (-p TEXT | -f FILE | --canvas FILE) [options]",
        .about = about,
        .example = example,
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .common = common,
        .foreign = llama_flags,
        .n_foreign = n_llama_flags,
    };
    parsed p = { .o = { .where = BACKEND_FLAGS_DEFAULTS },
                 .w = { .algorithm = "auto",
                        .dtype = "auto",
                        .quirks = "none",
                        .shift = "auto",
                        .chat_template = "auto",
                        .n_predict = -1 } };
    int code = args_parse(store, &command, &p, argc, argv);
    if (code == ARGS_GO_ON) code = check_words(&p.w, &p.o);
    if (code == ARGS_GO_ON) code = backend_flags_read(&p.o.where);
    if (code == ARGS_GO_ON) code = check_request(&p.w, &p.o);
    *out = p.o;
    return code;
}
