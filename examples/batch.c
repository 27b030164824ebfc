/* batch.c: several prompts answered side by side by a model that decodes block by block. Each step
 * is one forward pass over all of them, so the weights are read once for everybody; each text is
 * what the prompt would have got alone.
 *
 *   cc batch.c $(pkg-config --cflags --libs lacuna) -o batch
 *   ./batch models/nano-b "lamp: 3141\nWhat is lamp? " "river: 1618\nWhat is river? " */
#include <lacuna.h>
#include <stdio.h>
#include <string.h>

enum { N_TOKENS = 32, N_CTX = 2048, MAX_SEQUENCES = 4 };

static int fail(const lac_error *err)
{
    fprintf(stderr, "batch: %s\n", err->message);
    return 1;
}

/* Adds a prompt; the batch keeps its own copy of the ids. */
static int add(lac_batch *batch, const lac_model *model, const char *prompt, int *sequence)
{
    const lac_generate_options how = { .n_tokens = N_TOKENS };
    lac_error err = { .message = "" };
    int32_t *ids = NULL;
    size_t n_ids = 0;
    int code = 0;
    if (lac_model_encode(model, prompt, strlen(prompt), NULL, &ids, &n_ids, &err))
        code = fail(&err);
    if (!code && lac_batch_add(batch, ids, n_ids, &how, sequence, &err)) code = fail(&err);
    lac_model_free_ids(model, ids);
    return code;
}

/* Prints what a finished sequence says and gives its place to the next. */
static int finish(lac_batch *batch, const lac_model *model, const char *prompt, int sequence)
{
    lac_error err = { .message = "" };
    lac_result result; /* its arrays live until the sequence is removed */
    char *text = NULL;
    size_t n_text = 0;
    int code = 0;
    if (lac_batch_result(batch, sequence, &result, &err) ||
        lac_model_decode(model, result.ids, result.n_ids, false, &text, &n_text, &err))
        code = fail(&err);
    if (!code) printf("%s%s\n", prompt, text);
    lac_model_free_text(model, text);
    if (lac_batch_remove(batch, sequence, &err)) code = fail(&err);
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: batch MODEL PROMPT...\n");
        return 2;
    }
    lac_model *model = NULL;
    lac_batch *batch = NULL;
    lac_error err = { .message = "" };
    const lac_session_options room = { .n_ctx = N_CTX }; /* of each sequence */
    const char *prompts[MAX_SEQUENCES] = { NULL };       /* by sequence */
    int code = 0;
    if (lac_model_open(&model, argv[1], NULL, &err) ||
        lac_batch_create(&batch, model, &room, MAX_SEQUENCES, &err))
        code = fail(&err);

    /* Prompts join whenever there is room, the others being in the middle of theirs. */
    for (int next = 2, held = 0; !code && (next < argc || held);) {
        for (; !code && next < argc && held < MAX_SEQUENCES; next++, held++) {
            int sequence = 0;
            code = add(batch, model, argv[next], &sequence);
            if (!code) prompts[sequence] = argv[next];
        }
        if (!code && lac_batch_step(batch, NULL, &err)) code = fail(&err);
        for (int i = 0; !code && i < MAX_SEQUENCES; i++) {
            if (!lac_batch_is_done(batch, i)) continue;
            code = finish(batch, model, prompts[i], i);
            held--;
        }
    }
    lac_batch_free(batch);
    lac_model_close(model);
    return code;
}
