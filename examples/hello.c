/* hello.c: the whole API in one small program. Opens a model, fills holes after a prompt, prints
 * a line for every denoising step and then the text.
 *
 *   cc hello.c $(pkg-config --cflags --libs lacuna) -o hello
 *   ./hello models/nano-f "$(printf 'lamp: 3141\ngarden: 2718\nWhat is lamp? ')" */
#include <lacuna.h>
#include <stdio.h>
#include <string.h>

/* Called after each step, on our own thread. A diffusion model does not write from left to right:
 * each step fixes the positions it is surest about, wherever they are. */
static int show_step(void *user, const lac_step *step)
{
    (void)user;
    fprintf(stderr, "step %2d of %d: %d fixed, %d holes left\n", step->step + 1, step->n_steps,
            step->n_fixed, step->n_left);
    return 0; /* anything else would stop the generation */
}

/* Every failure leaves one sentence in the error. */
static int fail(const lac_error *err)
{
    fprintf(stderr, "hello: %s\n", err->message);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: hello MODEL PROMPT\n");
        return 2;
    }
    const char *path = argv[1], *prompt = argv[2];

    /* All handles start as NULL: the free functions accept it, so one exit serves every path. */
    lac_model *model = NULL;
    lac_session *session = NULL;
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n_ids = 0, n_text = 0;
    lac_error err = { .message = "" };
    int code = 0;

    /* A model is immutable once open and may be shared by threads; a session holds what one
     * generation changes. NULL options mean defaults, here and everywhere. */
    if (lac_model_open(&model, path, NULL, &err)) code = fail(&err);

    /* Text becomes token ids. A <|special|> token typed by a user stays text unless asked. */
    if (!code && lac_model_encode(model, prompt, strlen(prompt), NULL, &ids, &n_ids, &err))
        code = fail(&err);

    /* 32 holes after the prompt, filled in 8 steps: four tokens at a time. In options, zero means
     * "the default", so only what differs is named. */
    const lac_generate_options how = { .n_tokens = 32, .steps = 8, .on_step = show_step };
    const lac_session_options room = { .n_ctx = (int)n_ids + how.n_tokens };
    if (!code && lac_session_create(&session, model, &room, &err)) code = fail(&err);

    lac_result result; /* its arrays belong to the session */
    if (!code && lac_generate(session, ids, n_ids, &how, &result, &err)) code = fail(&err);

    if (!code && lac_model_decode(model, result.ids, result.n_ids, false, &text, &n_text, &err))
        code = fail(&err);
    if (!code) printf("%s%s\n", prompt, text);

    lac_model_free_text(model, text);
    lac_session_free(session);
    lac_model_free_ids(model, ids);
    lac_model_close(model);
    return code;
}
