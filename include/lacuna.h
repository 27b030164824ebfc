/* lacuna.h: the public interface of liblacuna, and its manual.
 *
 * Lacuna runs diffusion language models: models that write by filling masked positions of a
 * canvas over a number of denoising steps. A whole program, but for its checks:
 *
 *   lac_model_open(&model, "models/nano-f", NULL, &err);
 *   lac_model_encode(model, text, strlen(text), NULL, &ids, &n_ids, &err);
 *   lac_session_create(&session, model, &(lac_session_options){ .n_ctx = 256 }, &err);
 *   lac_generate(session, ids, n_ids, &(lac_generate_options){ .n_tokens = 32 }, &result, &err);
 *   lac_model_decode(model, result.ids, result.n_ids, false, &answer, &n_answer, &err);
 *   fwrite(answer, 1, n_answer, stdout);
 *
 * Objects, in the order of this file:
 *
 *   lac_model      weights, tokenizer and facts of one model; immutable once open
 *   lac_session    all memory one generation changes; sized once, used by one thread at a time
 *   lac_generate   runs the denoising loop: canvas in, filled canvas out
 *   lac_result     what came out: ids, the step that fixed each one, log-probabilities
 *   lac_batch      several generations side by side
 *
 * lacuna_attention.h has attention alone, for programs that run a model themselves.
 *
 * To stop a generation, return something other than 0 from on_step:
 *
 *   static int stop_at_ten(void *user, const lac_step *step) { return step->step >= 10; }
 *   ... (lac_generate_options){ .n_tokens = 32, .on_step = stop_at_ten } ...
 *
 * To run several at once:
 *
 *   lac_batch_create(&batch, model, &(lac_session_options){ .n_ctx = 256 }, 8, &err);
 *   lac_batch_add(batch, ids, n_ids, &options, &sequence, &err);    once a request
 *   do lac_batch_step(batch, &n_running, &err); while (n_running);
 *   lac_batch_result(batch, sequence, &result, &err);
 *
 * Conventions. Every struct of options may be zeroed: zero means "the default" and new fields
 * are only ever appended. What can fail returns lac_status; on failure no output parameter is
 * written, and the optional lac_error says what, where and both numbers. The library never
 * prints, exits or keeps global state. Free functions accept NULL. Strings are UTF-8.
 *
 * Copyright (c) The Lacuna authors. Licensed under the Apache License 2.0. */
#ifndef LACUNA_H
#define LACUNA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define LAC_API
#elif defined(__GNUC__)
#define LAC_API __attribute__((visibility("default")))
#else
#define LAC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ versions and errors */

/* Version of this header. LAC_VERSION is one number that grows with each version, for #if. */
#define LAC_VERSION_MAJOR 0
#define LAC_VERSION_MINOR 1
#define LAC_VERSION_PATCH 0
#define LAC_VERSION (LAC_VERSION_MAJOR * 1000000 + LAC_VERSION_MINOR * 1000 + LAC_VERSION_PATCH)

/* Version of the library that runs as "major.minor.patch". Static string. Any thread. */
LAC_API const char *lac_version(void);

/* One line that names how this library was built and what it found on this machine: version,
 * instruction set chosen, matrix library, backends. Static string. Any thread. */
LAC_API const char *lac_build_info(void);

typedef enum {
    LAC_OK = 0,
    LAC_EINVAL = -1,       /* an argument or option is out of range */
    LAC_ENOMEM = -2,       /* the allocator returned NULL, or the plan exceeds the limit */
    LAC_EIO = -3,          /* a file is missing or cannot be read */
    LAC_EFORMAT = -4,      /* a file is damaged or breaks its format */
    LAC_EUNSUPPORTED = -5, /* a sound file or request that this version does not implement */
    LAC_ECONTEXT = -6,     /* prompt and new tokens do not fit into the context */
    LAC_ECANCELLED = -7,   /* the step callback asked to stop */
    LAC_EINTERNAL = -8,    /* a library underneath failed in a way it should not */
    LAC_ENOTFINITE = -9,   /* a forward pass came to NaN or an infinity */
} lac_status;

enum { LAC_ERROR_MAX = 512 };

/* Filled on failure only. */
typedef struct {
    lac_status code;
    uint64_t offset;             /* byte offset into the file at fault, 0 where it has no meaning */
    char message[LAC_ERROR_MAX]; /* one sentence, no newline */
} lac_error;

/* Short name of a status, such as "EFORMAT". Static string. Any thread. */
LAC_API const char *lac_status_name(lac_status status);

/* ------------------------------------------------------------------ memory */

/* Where the library takes memory from. NULL, or a zeroed struct, means malloc, realloc, free.
 * The functions must be callable from any thread that uses the objects created with them and
 * return memory aligned for any standard type. Tensors ask for 64 bytes more than they need and
 * align themselves. */
typedef struct {
    void *(*alloc)(void *user, size_t size);
    void *(*resize)(void *user, void *ptr, size_t size);
    void (*release)(void *user, void *ptr);
    void *user;
} lac_allocator;

/* ------------------------------------------------------------------ models */

typedef struct lac_model lac_model;

typedef enum {
    LAC_DTYPE_AUTO = 0, /* bf16 where the processor multiplies it natively, else f32 */
    LAC_DTYPE_F32 = 1,
    LAC_DTYPE_BF16 = 2,
} lac_dtype;

/* How positions are scaled before they become angles (RoPE). */
typedef enum {
    LAC_ROPE_SCALING_AUTO = 0,   /* as the model's files say */
    LAC_ROPE_SCALING_NONE = 1,   /* not at all, whatever they say */
    LAC_ROPE_SCALING_LINEAR = 2, /* divided by rope_scale */
} lac_rope_scaling;

/* Called now and then on the caller's thread while something long is under way: `done` of `total`
 * are behind it. Return 0 to go on, anything else to stop it with ECANCELLED. */
typedef int (*lac_progress_fn)(void *user, uint64_t done, uint64_t total);

typedef struct {
    lac_dtype dtype;                /* type of weights, activations and keys in memory */
    int n_threads;                  /* 0 = all cores this process may use: its affinity, or what
                                       its control groups grant when that is less */
    bool card_only;                 /* read headers, configuration and tokenizer, load no weights:
                                       enough for lac_model_info, lac_memory_plan and tokens */
    const char *backend;            /* "cpu" (NULL), "cuda", "cuda:N" = device N, or "auto" = cuda
                                       where a device is, else cpu */
    const lac_allocator *allocator; /* copied; NULL = malloc */
    bool partial; /* with card_only, of a folder: its weights may be missing, and its tokenizer or
                     config.json. What they would say is 0, "" or -1 in lac_model_info (n_params is
                     counted from config.json); tokens need the tokenizer, a memory plan needs
                     config.json */
    lac_rope_scaling rope_scaling; /* in place of the files' */
    double rope_scale; /* 1/1024 to 1024; 0 = the files'. A scale alone means linear scaling */
    double rope_base;  /* base of the angles, at least 1; 0 = the files' */
    int mask_id;       /* the mask token, for files that name none or a wrong one; 0 = the files' */
    lac_progress_fn on_progress; /* bytes of weights that are read; NULL = none */
    void *user;                  /* passed to it */
} lac_model_options;

/* Opens the model at `path`: a directory with config.json and safetensors, a GGUF file, a directory
 * that holds one GGUF file, or a Hugging Face cache folder with one snapshot, or more and one of
 * them its main. Maps the files, checks every tensor's span, shape and type before any use, and
 * packs the weights for the backend.
 *
 *   out   receives the model; untouched on failure
 *   opt   NULL, or zeroed fields, mean defaults; copied
 *   err   NULL, or filled on failure only
 *
 * The model is immutable: any number of threads and sessions may share it. Free with
 * lac_model_close(). Errors: EINVAL, ENOMEM, EIO, EFORMAT, EUNSUPPORTED, ECANCELLED. */
LAC_API lac_status lac_model_open(lac_model **out, const char *path, const lac_model_options *opt,
                                  lac_error *err);

/* Frees the model. Every session on it must have been freed before. */
LAC_API void lac_model_close(lac_model *model);

/* How keys see each other in the model's attention. */
typedef enum {
    LAC_MASK_FULL = 0,         /* every position sees every other */
    LAC_MASK_BLOCK_CAUSAL = 1, /* earlier blocks and the whole own block */
} lac_mask_kind;

/* Facts about a model. Strings live as long as the model. Ids that a model does not have are -1. */
typedef struct {
    const char *architecture;  /* family as lacuna names it: "llada", "dream", "sdar", ... */
    const char *name;          /* what the file calls itself; "" when it says nothing */
    const char *container;     /* "safetensors" or "gguf" */
    const char *tokenizer;     /* "bpe", "bytes", "ascii" */
    const char *chat_template; /* name of the built-in template, "none" when its files have none */
    const char *weight_types;  /* types in the file, such as "bf16" or "q8_0 f32" */
    int n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff;
    int n_vocab;        /* rows of the embedding */
    int n_tokens;       /* one past the last id with a token; rows past it are padding. Ids below it
                           may be without a token too: neither they nor padding are chosen */
    int n_ctx;          /* longest context the files allow; lac_session_options.allow_longer */
    int n_ctx_train;    /* longest it was trained on where the file says so, else n_ctx */
    int block_size;     /* decoding block of a block-causal model, 0 otherwise */
    lac_mask_kind mask; /* attention mask */
    bool shift_logits;  /* row i-1 predicts token i */
    int mask_id, eos_id, bos_id, pad_id;
    uint64_t n_params;   /* elements of all weight tensors used */
    uint64_t file_bytes; /* bytes of tensor data on disk */
    lac_dtype dtype;     /* type in memory, never AUTO */
    double rope_base;    /* of the angles in use */
    double rope_scale;   /* positions are divided by it, 1 = they are not scaled */
} lac_model_info;

LAC_API lac_status lac_model_get_info(const lac_model *model, lac_model_info *out, lac_error *err);

/* What a warning is about. */
typedef enum {
    LAC_WARNING_TEMPLATE = 1, /* the files' chat template is missing, or not the one in use */
    LAC_WARNING_MASK = 2,     /* the mask token is another token to the tokenizer */
    LAC_WARNING_HEAD = 3,     /* head and embedding are said to be one and are not */
} lac_warning_topic;

/* Sentences about what the files say that does not keep the model from running but may surprise:
 * number `index` from 0 on, NULL past the last. A model opened with card_only compares samples only
 * where reading everything would take long. *topic (may be NULL) receives what it is about. The
 * text lives as long as the model. Any thread. */
LAC_API const char *lac_model_warning(const lac_model *model, size_t index,
                                      lac_warning_topic *topic);

/* What running the model will take, in bytes, before it is taken. */
typedef struct {
    int n_ctx, n_threads;
    uint64_t bytes_weights;   /* packed weights */
    uint64_t bytes_kv;        /* keys and values of one pass (full) or of the cache (block-wise) */
    uint64_t bytes_workspace; /* activations, logits chunk, plan, canvas */
    uint64_t bytes_runtime;   /* program, libraries, tokenizer, code generated at run time */
    uint64_t bytes_total;     /* sum: predicted peak resident size */
} lac_memory_plan;

/* Predicts memory for a session of `n_ctx` positions (0 = the model's own context). Works on a
 * model opened with card_only. Any thread. Errors: EINVAL, ECONTEXT. */
LAC_API lac_status lac_model_plan_memory(const lac_model *model, int n_ctx, int n_threads,
                                         lac_memory_plan *out, lac_error *err);

/* ------------------------------------------------------------------ tokens */

/* Text in text is text: unless asked, "<|im_end|>" typed by a user never becomes the special
 * token of that spelling. */
typedef struct {
    bool parse_special; /* recognise special tokens in the text */
} lac_encode_options;

/* Encodes `n_text` bytes of UTF-8. Invalid bytes are replaced by U+FFFD first, except by byte
 * tokenizers, which keep them.
 *
 *   ids    receives a new array of *n_ids ids; free with lac_model_free_ids()
 *   opt    NULL = defaults
 *
 * Any thread. Errors: EINVAL, ENOMEM. */
LAC_API lac_status lac_model_encode(const lac_model *model, const char *text, size_t n_text,
                                    const lac_encode_options *opt, int32_t **ids, size_t *n_ids,
                                    lac_error *err);

/* Decodes ids to bytes, not terminated but followed by one NUL. Special tokens are left out unless
 * `keep_special`; embedding rows past the last token have no text; a byte sequence that is not
 * UTF-8 becomes U+FFFD. Free *text with lac_model_free_text(). Any thread. Errors: EINVAL (an id
 * the model does not have), ENOMEM. */
LAC_API lac_status lac_model_decode(const lac_model *model, const int32_t *ids, size_t n_ids,
                                    bool keep_special, char **text, size_t *n_text, lac_error *err);

/* The text of one token for display, special tokens by name; ids without text give "". Lives as
 * long as the model. Byte tokens may be invalid UTF-8 on their own. *n_piece (may be NULL)
 * receives its length. */
LAC_API const char *lac_model_piece(const lac_model *model, int32_t id, size_t *n_piece);

LAC_API void lac_model_free_ids(const lac_model *model, int32_t *ids);
LAC_API void lac_model_free_text(const lac_model *model, char *text);

typedef struct {
    const char *role;    /* "system", "user" or "assistant" */
    const char *content; /* UTF-8; special tokens in it stay text */
} lac_chat_message;

/* Renders a conversation and the header of the next assistant turn as ids.
 *
 *   template_name   NULL = the model's own; else one of lac_chat_template_names(), or "none":
 *                   the contents one after the other, separated by newlines
 *
 * Free *ids with lac_model_free_ids(). Any thread. Errors: EINVAL (unknown template or role),
 * EUNSUPPORTED (the tokenizer lacks the template's tokens), ENOMEM. */
LAC_API lac_status lac_model_encode_chat(const lac_model *model, const char *template_name,
                                         const lac_chat_message *messages, size_t n_messages,
                                         int32_t **ids, size_t *n_ids, lac_error *err);

/* Comma-separated names of the built-in templates. Static string. */
LAC_API const char *lac_chat_template_names(void);

/* ------------------------------------------------------------------ sessions */

/* Attention policies: which keys are read. A session runs one, named with its knobs in one text:
 * "NAME" or "NAME:knob=value,knob=value", such as "losa:budget=0.1,page=64". What follows lists the
 * policies there are; docs/policies.md and docs/policies-blockwise.md explain them. */
typedef struct {
    const char *name;  /* static, as all texts here */
    const char *about; /* one sentence */
    bool full;         /* runs on models that see the whole sequence (LAC_MASK_FULL) */
    bool blockwise;    /* runs on models that decode behind a key cache (LAC_MASK_BLOCK_CAUSAL) */
    int n_knobs;
} lac_policy_info;

typedef struct {
    const char *name;
    const char *normal; /* the default: as it would be typed, or in words */
    const char *help;
    char range[96]; /* what may be typed, in words */
} lac_knob_info;

/* Policies are numbered from 0 on, knobs of a policy likewise. Two policies may have one name where
 * they run on different models. Any thread. Errors: EINVAL (no such policy or knob). */
LAC_API int lac_policy_count(void);
LAC_API lac_status lac_policy_get_info(int policy, lac_policy_info *out, lac_error *err);
LAC_API lac_status lac_policy_get_knob(int policy, int knob, lac_knob_info *out, lac_error *err);

/* Whether some model could run an attention policy with these knobs; a session then says whether
 * its own can. NULL = "auto". Any thread. Errors: EINVAL, as lac_session_create. */
LAC_API lac_status lac_policy_check(const char *request, lac_error *err);

typedef struct lac_session lac_session;

typedef struct {
    int n_ctx;          /* positions to make room for, 0 = the model's trained context */
    int n_threads;      /* 0 = as the model was opened */
    const char *sparse; /* attention policy with its knobs; NULL or "auto" = chosen by model and
                           n_ctx, "off" = dense. Read during the call */
    uint64_t max_bytes; /* refuse with ENOMEM above this; 0 = no limit */
    const lac_allocator *allocator; /* copied; NULL = the model's */
    bool allow_longer; /* n_ctx may exceed lac_model_info.n_ctx, up to 2^24: positions the model was
                          not made for, see lac_model_options.rope_scale */
    unsigned quirks;   /* bits of lac_quirk that a session has: LAC_QUIRK_ROPE_F32; others have no
                          effect here */
} lac_session_options;

/* Creates a session with room for opt->n_ctx positions. All memory of the denoising loop is taken
 * here: lac_generate takes none inside its steps. The model must outlive the session. One thread
 * at a time. On the CPU n_threads - 1 threads start here and end in lac_session_free; they take no
 * signals and sleep while there is nothing to do. Errors: EINVAL, ENOMEM (threads that cannot be
 * started too), EUNSUPPORTED, ECONTEXT. */
LAC_API lac_status lac_session_create(lac_session **out, const lac_model *model,
                                      const lac_session_options *opt, lac_error *err);

LAC_API void lac_session_free(lac_session *session);

/* Predicts memory like lac_model_plan_memory, for a session of these options: context, threads,
 * policy. A generation with guidance takes a second pass's patterns and logits on top. Any thread.
 * Errors: EINVAL, ECONTEXT, EUNSUPPORTED. */
LAC_API lac_status lac_session_plan_memory(const lac_model *model, const lac_session_options *opt,
                                           lac_memory_plan *out, lac_error *err);

/* Name of the attention policy in use and why it was chosen; one line. Lives as long as the
 * session. */
LAC_API const char *lac_session_sparse(const lac_session *session);
LAC_API const char *lac_session_sparse_reason(const lac_session *session);

/* ------------------------------------------------------------------ generation */

/* A canvas position to be filled. The model's mask token means the same wherever ids go in, as in
 * the published samplers: lac_generate and lac_batch_add fill it. */
enum { LAC_HOLE = -1 };

/* Largest values of the real-valued options below. */
enum { LAC_MAX_TEMPERATURE = 100, LAC_MAX_CFG_SCALE = 100, LAC_MAX_ENTROPY_BOUND = 1000 };
#define LAC_MAX_EPS 0.5

/* How a step decides which positions to fix, and with which token. */
typedef enum {
    LAC_ALGORITHM_DEFAULT = 0,         /* the model family's own */
    LAC_ALGORITHM_LOW_CONFIDENCE = 1,  /* LLaDA: most confident first (2502.09992) */
    LAC_ALGORITHM_RANDOM = 2,          /* LLaDA: random order */
    LAC_ALGORITHM_ORIGIN = 3,          /* Dream: each position flips with the schedule's chance */
    LAC_ALGORITHM_MASKGIT_PLUS = 4,    /* Dream: probability of the chosen token (2508.15487) */
    LAC_ALGORITHM_TOPK_MARGIN = 5,     /* Dream: best minus second probability */
    LAC_ALGORITHM_ENTROPY = 6,         /* Dream: negative entropy */
    LAC_ALGORITHM_SEQUENTIAL = 7,      /* SDAR: from left to right (2510.06303) */
    LAC_ALGORITHM_ENTROPY_BOUNDED = 8, /* SDAR: lowest entropies while their sum stays below
                                          entropy_bound, and never fewer than the schedule asks */
    LAC_ALGORITHM_CONFIDENCE_THRESHOLD = 9, /* Fast-dLLM v1 for Dream: of as many as the schedule
                                               has by now, the best and those that reach threshold
                                               (0 = 0.9); the others wait, in steps behind the last
                                               where they must */
} lac_algorithm;

/* Published behaviour that is off by default because it is a flaw; for comparison with the
 * published code. Bits of lac_generate_options.quirks. */
typedef enum {
    LAC_QUIRK_BF16_CONFIDENCE = 1, /* LLaDA: confidence rounded to bf16, so many exact ties */
    LAC_QUIRK_ZERO_STEP = 2,       /* Dream: schedule may fix nothing in a step */
    LAC_QUIRK_SAMPLE_MASK = 4,     /* the mask token may be chosen */
    LAC_QUIRK_SAMPLE_PADDING = 8,  /* embedding rows that no token has may be chosen */
    LAC_QUIRK_EOS_ALIAS = 16,      /* LLaDA: confidence_eos_eot_inf leaves the first end token in at
                                      temperatures above 0 */
    LAC_QUIRK_ROPE_F32 = 32, /* angles of rotation rounded to f32 before their cosine is taken:
                                wrong by 2e-3 at 65,535 and by 0.02 at 262,143. Of
                                lac_session_options.quirks */
} lac_quirk;

/* What one step did. Pointers are valid during the callback only. */
typedef struct {
    int step, n_steps;   /* from 0; n_steps is what the schedule plans, it may end earlier and
                            grows where confidence_threshold needs more */
    int block, n_blocks; /* decoding block, from 0 */
    int block_begin, block_end; /* canvas positions the step may fix */
    int n_fixed;                /* positions fixed by this step */
    int n_left;                 /* holes left on the whole canvas */
    int n_canvas;               /* canvas length */
    const int32_t *canvas;      /* [n_canvas] ids; holes hold LAC_HOLE */
    const int32_t *step_map;  /* [n_canvas] step that fixed a position, -1 = given or still open */
    const float *confidence;  /* [n_canvas] of this step's candidates; NAN where none */
    const int32_t *candidate; /* [n_canvas] this step's candidate of open positions, else -1 */
    double seconds;           /* wall time of this step */
    double density;           /* visited over total (query, key) pairs, 1 = dense */
    double kept_mass; /* share of the softmax that the plans in force kept when they were made, mean
                         over layers and heads; 1 = dense, NAN = not known */
    /* behind a key cache, else 1, 0 and 0 */
    double union_inflation; /* keys read for all rows of a KV head over the budget of one row, mean
                               over layers and heads that select */
    double n_active;        /* rows of the block that read the cache, mean over layers */
    uint64_t bytes_read;    /* keys, values and page bounds that attention read */
} lac_step;

/* Logits that a step decides from, a group of rows at a time. Pointers are valid during the
 * callback only. */
typedef struct {
    int step, n_steps; /* as in lac_step */
    int n_rows, n_vocab;
    int first;               /* rows of this step handed out before these */
    const int32_t *position; /* [n_rows] canvas positions the rows decide, ascending */
    const float *logits;     /* [n_rows, n_vocab] natural units, guidance applied */
} lac_logits_view;

/* Called once or more in each step, before it decides, on the caller's thread. */
typedef void (*lac_logits_fn)(void *user, const lac_logits_view *view);

/* Called after each step on the caller's thread. Return 0 to go on, anything else to stop:
 * lac_generate then returns ECANCELLED with the result filled with what was fixed so far. */
typedef int (*lac_step_fn)(void *user, const lac_step *step);

/* Which keys one layer read in one step, in CSR form: pattern p's row r covers queries
 * [r * q_block, ..) and lists key blocks cols[row_ptr[p * n_rows + r]] to row_ptr[.. + 1]. Pointers
 * are valid during the callback only. */
typedef struct {
    int step, layer, n_q, n_k, q_block, k_block;
    int n_heads; /* patterns: 1 = all heads share it, else one for each query head */
    int n_rows;
    const uint32_t *row_ptr, *cols;
    double density;
    const float *kept_mass; /* [n_heads] mean softmax mass the plan kept when it was made, NULL =
                               not known */
    int pass;               /* 0, or 1 in the unguided pass of guidance */
    /* Behind a key cache the plan is over the n_k keys of the prefix, in one row of the n_q active
     * queries: those at positions first + active[i]. */
    const int32_t *active; /* [n_q], NULL = all */
    int first;
    const float *mass; /* [heads of the model, n_q / mass_block, n_k / mass_block, rounded up] mean
                          share of the softmax that the queries of a block give to the keys of a
                          block; NULL = not measured, see the knob measure of dense and sparsed */
    int mass_block;    /* queries and keys of a block of `mass` */
} lac_plan_view;

/* Called after each layer of each step, on the caller's thread. */
typedef void (*lac_plan_fn)(void *user, const lac_plan_view *plan);

typedef struct {
    int n_tokens;            /* holes to append after the ids; exact. 0 = 128 when the ids hold no
                                hole, else none. End tokens close the text in the run of holes
                                that ends the canvas; in holes before given text they do not */
    int steps;               /* denoising steps over all blocks; 0 = one per token. Steps above the
                                tokens are run as published: Dream's fix nothing until there are as
                                many left as tokens, a block of others ends when it is full */
    int block_length;        /* holes decided together; 0 = family default (LLaDA 32, Dream all). A
                                block-causal model has its own and accepts no other */
    lac_algorithm algorithm; /* 0 = family default */
    float temperature;       /* 0 = greedy, at most LAC_MAX_TEMPERATURE, as alg_temp is */
    int top_k;               /* 0 = off */
    float top_p;             /* 0 = off, else in (0, 1] */
    float threshold;         /* > 0: fix every position at least this confident, and never fewer
                                than the schedule asks, so that steps bounds the loop; with a step
                                per token this is 2505.22618 */
    float alg_temp;          /* Dream: > 0 draws positions from softmax(confidence / alg_temp) */
    float eps;               /* Dream: end of the schedule, at most LAC_MAX_EPS; 0 = 1e-3 */
    float cfg_scale;         /* classifier-free guidance, at most LAC_MAX_CFG_SCALE; 0 = off */
    uint64_t seed;           /* same seed, same output, at any number of threads */
    bool ignore_eos;         /* do not stop at end tokens */
    bool forbid_eos;         /* never choose an end token of any kind */
    bool late_eos;           /* end tokens are fixed after all others, whose order stays */
    unsigned quirks;         /* bits of lac_quirk */
    int shift;               /* logits shift: 0 = as the model says, 1 = on, -1 = off */
    lac_step_fn on_step;     /* NULL = none */
    void *user;              /* passed to every callback */
    lac_plan_fn on_plan;     /* NULL = none */
    lac_logits_fn on_logits; /* NULL = none */
    /* Replays a trajectory instead of deciding: at step t the holes with replay_steps[i] = t
     * receive replay_ids[i]. A hole whose step never comes stays open, and every later pass reads
     * the mask token there, also from the key cache. The result's log-probability is NAN where the
     * model's own choice was another token. NULL = decide */
    const int32_t *replay_ids, *replay_steps; /* [n_replay], borrowed for the call */
    size_t n_replay;                          /* canvas length */
    float entropy_bound; /* entropy_bounded: most nats a step fixes together, 0 = 0.35 */
    bool logits_eos_inf; /* LLaDA: never choose the first end token, which ends a text; those that
                            end a turn may be chosen */
    int block_steps;     /* denoising steps of each block of a block-causal model, as SDAR counts
                            them: B / block_steps tokens in each, first those of the remainder, also
                            in a block that is open in part. In place of steps. 0 = off */
    bool cut_last_block; /* a block-causal model fills its last block up to the wanted tokens only,
                            masks behind. Off: the whole block is denoised, as it was trained and as
                            published code does, and what is not wanted is cut; where the context
                            ends inside the block, the block ends there */
    bool confidence_eos_eot_inf; /* LLaDA: confidence is taken without the logits of end tokens. One
                                    that is chosen has the least confidence there is; all other
                                    positions are ranked by what the softmax is without them */
    lac_progress_fn on_prompt; /* positions of the prompt in the key cache, of those that are to be
                                  there before the first step; NULL = none. To stop is as from
                                  on_step */
} lac_generate_options;

typedef enum {
    LAC_FINISH_LENGTH = 0,    /* every hole is filled */
    LAC_FINISH_STOP = 1,      /* an end token closed the text */
    LAC_FINISH_CANCELLED = 2, /* the callback stopped it */
} lac_finish;

/* Result of one generation; arrays belong to the session and live until its next generation.
 * Generated positions in canvas order, cut before the first end token. */
typedef struct {
    const int32_t *ids;      /* [n_ids] */
    const int32_t *position; /* [n_ids] canvas position of each */
    const int32_t *step_map; /* [n_ids] step that fixed each */
    const float *logprobs;   /* [n_ids] natural log-probability at the step that fixed it, under
                                the unfiltered distribution at temperature 1 */
    size_t n_ids;
    const int32_t *canvas; /* [n_canvas] the whole canvas; LAC_HOLE where nothing was fixed */
    size_t n_canvas;
    lac_finish finish;
    int steps;              /* steps run */
    int forwards;           /* forward passes, guidance included */
    double seconds;         /* wall time of the whole loop */
    double seconds_forward; /* inside forward passes */
    double density;         /* mean over forward passes */
    double kept_mass;       /* of the last step, see lac_step */
    /* behind a key cache; the first three as in lac_step, over the steps, density likewise */
    double union_inflation, n_active;
    uint64_t bytes_read;
    double seconds_prefill; /* putting the prompt into the key cache, inside seconds */
    size_t n_reused; /* positions of the prompt that were in the key cache: see lac_batch_keep */
} lac_result;

/* Fills the holes of a canvas.
 *
 *   ids      [n_ids] prompt, and LAC_HOLE or the mask token at positions to fill; copied. Any row
 *            of the embedding may be given, here and in a replay, also one that no token has
 *   opt      NULL = defaults; opt->n_tokens more holes are appended
 *   result   receives the outcome; also on ECANCELLED
 *
 * Callbacks run inside the call: there the session refuses lac_generate and lac_session_logits with
 * EINVAL, and freeing it, or closing its model, frees memory that is in use. Other sessions are
 * free to be used.
 *
 * Logits that are not finite end a run in the first step that has any: ENOTFINITE, with a sentence
 * that names the step, the position and the layer in which they begin, for which the pass is run
 * once more.
 *
 * One thread at a time per session. Errors: EINVAL, ECONTEXT, ECANCELLED, ENOMEM, ENOTFINITE.
 * Source: LLaDA (arXiv 2502.09992), Dream (arXiv 2508.15487), threshold decoding (2505.22618). */
LAC_API lac_status lac_generate(lac_session *session, const int32_t *ids, size_t n_ids,
                                const lac_generate_options *opt, lac_result *result,
                                lac_error *err);

/* ------------------------------------------------------------------ batches */

/* Several generations side by side, each at its own block and step. Of a model that decodes block
 * by block, every lac_batch_step is one forward pass over the rows of all sequences, so that the
 * weights are read once for all. A pass over a whole canvas has rows enough: of other models a step
 * runs the passes of its sequences one after the other, in memory that they share.
 *
 * A sequence gives the same result whatever else is in the batch: ids, steps, log-probabilities,
 * logits and statistics are bit for bit what lac_generate gives for the same request in a session
 * of the same options. Where products could not keep that promise (a processor without AVX-512,
 * CUDA), passes run one after the other for every model. Seconds are those of the passes a sequence
 * took part in, from lac_batch_add on.
 *
 * One thread at a time per batch; several batches may share a model. */
typedef struct lac_batch lac_batch;

/* Creates a batch with room for max_sequences (1 to 1024) of opt->n_ctx positions each; all of them
 * run opt's policy. Takes all memory but the key caches, which lac_batch_add takes; a step takes
 * none. The model must outlive the batch. Free with lac_batch_free().
 * Errors: EINVAL, ENOMEM, ECONTEXT, EUNSUPPORTED. */
LAC_API lac_status lac_batch_create(lac_batch **out, const lac_model *model,
                                    const lac_session_options *opt, int max_sequences,
                                    lac_error *err);
LAC_API void lac_batch_free(lac_batch *batch);

/* Predicts memory like lac_session_plan_memory, with every cache at its longest. Any thread.
 * Errors: EINVAL, ECONTEXT, EUNSUPPORTED. */
LAC_API lac_status lac_batch_plan_memory(const lac_model *model, const lac_session_options *opt,
                                         int max_sequences, lac_memory_plan *out, lac_error *err);

/* Adds a request, between any two steps. On failure the batch is as before.
 *
 *   ids, opt   as for lac_generate; copied, but the arrays of a replay, which are borrowed until
 *              the sequence is done. The callbacks' user pointer is opt->user
 *   sequence   receives its number, from 0 on and below max_sequences, which is its own until it
 *              is removed
 *
 * Errors: EINVAL (also: the batch is full), ECONTEXT, ENOMEM (its key cache). */
LAC_API lac_status lac_batch_add(lac_batch *batch, const int32_t *ids, size_t n_ids,
                                 const lac_generate_options *opt, int *sequence, lac_error *err);

/* Bytes that lac_batch_add would take for this request now, besides some kilobytes of bookkeeping:
 * of its key cache, what the batch does not hold already; and what guidance and on_logits need.
 * Errors: EINVAL (also: the batch is full), ECONTEXT. */
LAC_API lac_status lac_batch_add_bytes(const lac_batch *batch, const int32_t *ids, size_t n_ids,
                                       const lac_generate_options *opt, uint64_t *bytes,
                                       lac_error *err);

/* How much of a sequence's prompt is in its key cache: positions, of those that are to be there
 * before its first step; both 0 for models that see whole canvases. Errors: EINVAL. */
LAC_API lac_status lac_batch_progress(const lac_batch *batch, int sequence, size_t *done,
                                      size_t *total, lac_error *err);

/* One forward pass for each sequence that is not done: a denoising step, the pass that puts a
 * finished block into its key cache, or a chunk of its prompt; where several prompts are on their
 * way, as many chunks as fit, oldest first. Calls the callbacks of each sequence, on this thread;
 * they cannot change the batch, must not free it, and one that asks to stop ends its own sequence
 * only.
 *
 *   n_running   NULL, or receives how many sequences are not done afterwards
 *
 * A sequence that fails is done, with its error as its result; the others go on. Errors: EINVAL
 * (from a callback). */
LAC_API lac_status lac_batch_step(lac_batch *batch, int *n_running, lac_error *err);

/* Whether a sequence has ended: its text is whole, it was stopped, or it failed. */
LAC_API bool lac_batch_is_done(const lac_batch *batch, int sequence);

/* Outcome of a sequence that is done: the status, result and error that lac_generate would have
 * given. The result's arrays live until the sequence is removed or the batch freed.
 * Errors: as lac_generate; EINVAL (no such sequence, or it is not done). */
LAC_API lac_status lac_batch_result(const lac_batch *batch, int sequence, lac_result *result,
                                    lac_error *err);

/* Ends a sequence where it stands: it is done, with ECANCELLED and what was fixed so far. One that
 * was done already stays as it is. Errors: EINVAL. */
LAC_API lac_status lac_batch_cancel(lac_batch *batch, int sequence, lac_error *err);

/* Forgets a sequence, done or not, and makes room for another. The memory of its key cache serves
 * the next. Errors: EINVAL. */
LAC_API lac_status lac_batch_remove(lac_batch *batch, int sequence, lac_error *err);

/* The same of a sequence that is done, but what its key cache holds stays there for a while. A
 * later lac_batch_add whose ids begin with the same whole decoding blocks, of prompt or answer,
 * takes them over: it begins behind them (lac_result.n_reused) and gives the same bits as without.
 * Kept caches take no room from requests: one that shares nothing uses an empty place first, then
 * the cache that was kept first. Models that see whole canvases have nothing to keep. Errors:
 * EINVAL. */
LAC_API lac_status lac_batch_keep(lac_batch *batch, int sequence, lac_error *err);

/* ------------------------------------------------------------------ parts of generation */

/* Fills in what zero fields mean for this model, as lac_generate will. `n_holes` is the number of
 * holes in the ids, mask tokens counted. Useful to print what will run. Errors: EINVAL. */
LAC_API lac_status lac_generate_resolve(const lac_model *model, size_t n_holes,
                                        lac_generate_options *opt, lac_error *err);

/* Name of an algorithm as typed after --algorithm ("low_confidence"), and back: -1 if unknown. */
LAC_API const char *lac_algorithm_name(lac_algorithm algorithm);
LAC_API int lac_algorithm_from_name(const char *name);

/* One forward pass, for checks and for programs with a sampler of their own.
 *
 *   ids      [n_ids] canvas; LAC_HOLE is read as the mask token
 *   rows     [n_rows] positions whose logits are wanted, never falling, before any shift
 *   logits   [n_rows, n_vocab] receives them, natural units
 *   noise    noise level in [0, 1] for models with a time input, ignored by others: row
 *            round(noise * (steps - 1)) of their table
 *
 * One thread at a time per session. Errors: EINVAL, ECONTEXT, ENOTFINITE: a logit is NaN or an
 * infinity, and the rows are written all the same. */
LAC_API lac_status lac_session_logits(lac_session *session, const int32_t *ids, size_t n_ids,
                                      const int32_t *rows, size_t n_rows, float noise,
                                      float *logits, lac_error *err);

#ifdef __cplusplus
}
#endif
#endif
